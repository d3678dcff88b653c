//! What becomes of deliveries, returns and confirms while a connection reads: the hot path between the connection and the user.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use slab::Slab;

use super::command::Mailbox;
use super::delivery::{Delivery, DetachedDelivery, Region, Site};
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
        let Some(handler) = slot.handler.as_mut() else {
            return GIVE_BACK;
        };
        let site = Site {
            region: self.region,
            mailbox: self.mailbox,
            line: self.line,
            no_ack: slot.no_ack,
            is_shared: false,
        };
        let delivery = Delivery::new(delivery, site);
        match catch_unwind(AssertUnwindSafe(|| handler(&delivery))) {
            Ok(disposition) => delivery.answer(disposition),
            Err(panic) => {
                // No further delivery reaches a handler that may be half way through something.
                let broken = slot.handler.take();
                shielded("dropping a handler", || drop(broken));
                self.panicked.push(Panicked {
                    consumer,
                    message: message(panic.as_ref()),
                });
                GIVE_BACK
            }
        }
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
