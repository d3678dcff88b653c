//! What becomes of deliveries, returns and confirms while a connection reads: the hot path between the connection and the user.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use slab::Slab;

use super::command::Mailbox;
use super::consumer::Handler;
use super::delivery::{Delivery, DetachedDelivery, Site};
use super::region::Region;
use super::worker::{ConsumerSlot, PublisherSlot, SlotState};
use crate::connection::{self, Answer, BadConfirm, Confirm, Returned, Sink, Token};

/// A handler that panicked, and its message.
pub(super) struct Panicked {
    pub consumer: Token,
    pub message: String,
}

/// Borrows what a worker needs for the time that one piece of input is read.
pub(super) struct Hands<'a> {
    pub consumers: &'a mut Slab<ConsumerSlot>,
    pub publishers: &'a Slab<PublisherSlot>,
    pub region: &'a Region<'a>,
    pub mailbox: &'a Arc<Mailbox>,
    pub line: usize,
    /// Whether the `basic.get` under way needs no answer.
    pub get_no_ack: bool,
    /// What `basic.get` brought; its call's reply follows.
    pub got: &'a mut Option<DetachedDelivery>,
    pub panicked: &'a mut Vec<Panicked>,
    pub now: Instant,
    /// When the first of all batches is to be handed over.
    pub batches_due: &'a mut Option<Instant>,
}

impl Sink for Hands<'_> {
    #[inline]
    fn delivery(&mut self, consumer: Token, delivery: &connection::Delivery<'_>) -> Option<Answer> {
        const GIVE_BACK: Option<Answer> = Some(Answer::Nack { requeue: true });
        let Some(slot) = self.consumers.get_mut(consumer as usize) else {
            return GIVE_BACK;
        };
        match slot.state {
            SlotState::Consuming => {}
            // The reply to basic.consume is among the events, and deliveries may follow it in the same read.
            SlotState::Starting => slot.begin(),
            // The broker has forgotten them already: nobody else will get them.
            SlotState::Cancelling if slot.no_ack => {}
            _ => return GIVE_BACK,
        }
        let site = Site {
            region: self.region,
            mailbox: self.mailbox,
            line: self.line,
            no_ack: slot.no_ack,
            is_shared: false,
        };
        let delivery = Delivery::new(delivery, site);
        let answered = call(slot, consumer, self.panicked, |handler| match handler {
            Handler::Each(handler) => delivery.answer(handler(&delivery)),
            Handler::Batches(batcher) => {
                batcher.push(&delivery, self.now);
                if batcher.is_full() {
                    batcher.hand_over();
                } else {
                    *self.batches_due = earlier(*self.batches_due, batcher.due());
                }
                None
            }
        });
        answered.unwrap_or(GIVE_BACK)
    }

    fn got(&mut self, _call: Token, delivery: &connection::Delivery<'_>) {
        let site = Site {
            region: self.region,
            mailbox: self.mailbox,
            line: self.line,
            no_ack: self.get_no_ack,
            is_shared: true,
        };
        *self.got = Some(Delivery::new(delivery, site).detach());
    }

    fn returned(&mut self, publisher: Token, returned: Returned, fingerprint: u64) {
        if let Some(outlet) = self.outlet(publisher) {
            outlet.returned(returned, fingerprint);
        }
    }

    fn confirmed(&mut self, publisher: Token, confirm: Confirm) -> Result<(), BadConfirm> {
        match self.outlet(publisher) {
            Some(outlet) => outlet.confirmed(confirm),
            None => Err(BadConfirm {
                why: "was never published",
            }),
        }
    }
}

/// The earlier one of two times, as far as there are any.
pub(super) fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}

/// Has a consumer's handler do something; `None` when there is no handler, or it panicked: no further delivery reaches one that
/// may be half way through something.
#[inline]
pub(super) fn call<T>(
    slot: &mut ConsumerSlot,
    consumer: Token,
    panicked: &mut Vec<Panicked>,
    work: impl FnOnce(&mut Handler) -> T,
) -> Option<T> {
    let handler = slot.handler.as_mut()?;
    match catch_unwind(AssertUnwindSafe(|| work(handler))) {
        Ok(done) => Some(done),
        Err(panic) => {
            let broken = slot.handler.take();
            shielded("dropping a handler", || drop(broken));
            panicked.push(Panicked {
                consumer,
                message: message(panic.as_ref()),
            });
            None
        }
    }
}

impl Hands<'_> {
    fn outlet(&self, publisher: Token) -> Option<&super::outlet::Outlet> {
        self.publishers.get(publisher as usize)?.outlet.as_deref()
    }
}

/// Calls what a user gave, so that its panic is reported and goes no further: other users live on the same worker.
pub(super) fn shielded(what: &'static str, callback: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(callback)) {
        tracing::error!(message = %message(panic.as_ref()), "{what} panicked");
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "(no message)".into())
}
