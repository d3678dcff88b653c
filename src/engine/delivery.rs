//! Deliveries as handlers see them, in place or taken along.

use std::cell::Cell;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::{SmallVec, smallvec};

use super::command::Mailbox;
use super::command::{Command, Settle};
use super::error::Error;
use super::pipeline::Tie;
use super::publisher::Receipt;
use super::region::Region;
use crate::connection::{self, Answer, Body, ChannelId};
use crate::protocol::{Properties, PropertiesRef, ShortStr};

/// What a handler says of a delivery, or of all deliveries of a batch.
#[derive(Debug)]
#[must_use]
pub enum Disposition {
    /// Done with it. Acks leave in batches: one `basic.ack(multiple)` for all that were finished in a turn.
    Ack,
    /// Not done (`basic.nack`): with `requeue` the broker delivers it again, otherwise it is dropped or dead-lettered.
    Nack {
        /// Whether the broker is to deliver it again.
        requeue: bool,
    },
    /// Not wanted (`basic.reject`): the same as `Nack`, for brokers without `basic.nack`.
    Reject {
        /// Whether the broker is to deliver it again.
        requeue: bool,
    },
    /// It was taken along with [`Delivery::detach`] and is answered later through its [`Acker`]. Said of a delivery that was not
    /// detached, it requeues it: nobody could answer it any more.
    Detached,
    /// It is done when what was made of it is in the broker's hands: an ack when the publish of this receipt is acked, a requeue when it is
    /// nacked, returned or unknown. So nothing is lost between consuming and publishing, whatever fails; messages may come, and be
    /// published, twice.
    ///
    /// Publish with [`Publisher::try_publish`](super::Publisher::try_publish), to a publisher whose window is larger than the prefetch
    /// window: then there is always room. On the publisher's own worker ([`ConsumerBuilder::beside`](super::ConsumerBuilder::beside)) the
    /// output leaves in the same turn and the ack in the turn that brings the confirm, without a wake-up.
    AckAfter(Receipt),
    /// As [`Disposition::AckAfter`], when all of these are acked; without any, an ack at once. One that is not acked requeues, although
    /// others may have been. They may be of different publishers.
    AckAfterAll(Vec<Receipt>),
}

/// What a delivery needs to know of the worker that it is on.
#[derive(Clone, Copy)]
pub(super) struct Site<'a> {
    pub region: &'a Region<'a>,
    pub mailbox: &'a Arc<Mailbox>,
    pub line: usize,
    /// Whether its deliveries need no answer.
    pub no_ack: bool,
    /// Whether deliveries of other users come on the same channel: all that were got.
    pub is_shared: bool,
}

/// A message in a consumer's handler, borrowed from the receive path: nothing was copied, and nothing is decoded that the handler does not
/// read. Valid for the call; [`Delivery::detach`] makes one that may be kept.
pub struct Delivery<'a> {
    raw: &'a connection::Delivery<'a>,
    site: Site<'a>,
    is_detached: Cell<bool>,
}

impl<'a> Delivery<'a> {
    pub(super) fn new(raw: &'a connection::Delivery<'a>, site: Site<'a>) -> Self {
        Delivery {
            raw,
            site,
            is_detached: Cell::new(false),
        }
    }

    /// The body, in one piece.
    #[inline]
    pub fn body(&self) -> &'a [u8] {
        self.raw.body.as_slice()
    }

    /// The body to keep: a view that shares the receive chunk, without a copy, where that is possible. A view keeps its chunk from being
    /// used again; when views hold more than half of the chunks, copies are made instead.
    pub fn body_bytes(&self) -> Bytes {
        match self.raw.body {
            Body::Gathered(bytes) => bytes.clone(),
            Body::Borrowed(octets) => self.site.region.share(octets),
        }
    }

    /// The exchange it was published to; empty for the default exchange.
    #[inline]
    pub fn exchange(&self) -> ShortStr<'a> {
        self.raw.exchange
    }

    /// The routing key it was published with.
    #[inline]
    pub fn routing_key(&self) -> ShortStr<'a> {
        self.raw.routing_key
    }

    /// The consumer's tag.
    #[inline]
    pub fn consumer_tag(&self) -> ShortStr<'a> {
        self.raw.consumer_tag
    }

    /// Its tag, unique for its channel.
    #[inline]
    pub fn delivery_tag(&self) -> u64 {
        self.raw.delivery_tag
    }

    /// Whether the broker has, or may have, delivered it before.
    #[inline]
    pub fn redelivered(&self) -> bool {
        self.raw.redelivered
    }

    /// Its properties, decoded as they are asked for.
    #[inline]
    pub fn properties(&self) -> PropertiesRef<'a> {
        self.raw.properties
    }

    /// Takes it along: a delivery that owns what it needs, may go to another thread and is answered there. The handler returns
    /// [`Disposition::Detached`]; any other answer counts, and the acker's comes too late and does nothing.
    pub fn detach(&self) -> DetachedDelivery {
        self.is_detached.set(true);
        DetachedDelivery {
            message: Message {
                body: self.body_bytes(),
                properties: Properties::try_from(self.raw.properties).unwrap_or_default(),
                exchange: self.raw.exchange.to_string().into(),
                routing_key: self.raw.routing_key.to_string().into(),
                redelivered: self.raw.redelivered,
            },
            acker: self.acker(),
        }
    }

    /// What answers it.
    pub(super) fn acker(&self) -> Acker {
        Acker {
            mailbox: Arc::clone(self.site.mailbox),
            line: self.site.line,
            channel: self.raw.channel,
            first: self.raw.delivery_tag,
            last: self.raw.delivery_tag,
            is_answered: self.site.no_ack,
            is_shared: self.site.is_shared,
        }
    }

    /// The body as it came.
    pub(super) fn raw_body(&self) -> Body<'a> {
        self.raw.body
    }

    /// Where views of it are cut from.
    pub(super) fn region(&self) -> &'a Region<'a> {
        self.site.region
    }

    /// The handler's word, as the connection understands it.
    #[inline]
    pub(super) fn answer(&self, disposition: Disposition) -> Option<Answer> {
        match disposition {
            Disposition::Ack => Some(Answer::Ack),
            Disposition::Nack { requeue } => Some(Answer::Nack { requeue }),
            Disposition::Reject { requeue } => Some(Answer::Reject { requeue }),
            Disposition::Detached if self.is_detached.get() => None,
            Disposition::Detached => Some(Answer::Nack { requeue: true }),
            Disposition::AckAfter(receipt) => {
                self.acker().ack_after(receipt);
                None
            }
            Disposition::AckAfterAll(receipts) => {
                self.acker().ack_after_all(receipts);
                None
            }
        }
    }
}

impl fmt::Debug for Delivery<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("delivery_tag", &self.delivery_tag())
            .field("exchange", &self.exchange())
            .field("routing_key", &self.routing_key())
            .field("redelivered", &self.redelivered())
            .field("body_len", &self.body().len())
            .finish_non_exhaustive()
    }
}

/// What a delivery brought: all of it but the right to answer. `Send`, and cheap to clone but for its properties.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Message {
    /// The body: a view of the receive chunk, or a copy (see [`Delivery::body_bytes`]).
    pub body: Bytes,
    /// The properties.
    pub properties: Properties,
    /// The exchange it was published to; empty for the default exchange.
    pub exchange: Box<str>,
    /// The routing key it was published with.
    pub routing_key: Box<str>,
    /// Whether the broker has, or may have, delivered it before.
    pub redelivered: bool,
}

/// A delivery that was taken along: `Send`, and independent of the handler's call. Read it as the [`Message`] that it holds:
/// `delivery.body`.
#[derive(Debug)]
pub struct DetachedDelivery {
    /// What came.
    pub message: Message,
    /// Answers it.
    pub acker: Acker,
}

impl Deref for DetachedDelivery {
    type Target = Message;

    fn deref(&self) -> &Message {
        &self.message
    }
}

/// Answers one delivery, or all of a batch, once, from any thread. Dropped without an answer it requeues what it is for, so that nothing is lost
/// when its holder fails.
#[derive(Debug)]
pub struct Acker {
    mailbox: Arc<Mailbox>,
    line: usize,
    channel: ChannelId,
    /// The tags of what it is for: nothing else is among them.
    first: u64,
    last: u64,
    is_answered: bool,
    is_shared: bool,
}

impl Acker {
    /// The delivery's tag; of a batch, that of its last one.
    pub fn delivery_tag(&self) -> u64 {
        self.last
    }

    /// Answers this delivery of the same consumer too, the next one that came.
    pub(super) fn extend_to(&mut self, delivery_tag: u64) {
        self.last = delivery_tag;
    }

    /// Stands in for one that was taken away: it answers nothing.
    pub(super) fn spent(&self) -> Acker {
        Acker {
            mailbox: Arc::clone(&self.mailbox),
            is_answered: true,
            ..*self
        }
    }

    /// Done with it. Acks leave in batches; this one when those before it are finished too, when half the prefetch window is, or after
    /// 200 ms.
    ///
    /// # Errors
    /// [`Error::Stopped`] when the engine has ended: the broker delivers it again. An answer for a channel that is gone is dropped by the
    /// worker, for the same reason.
    pub fn ack(self) -> Result<(), Error> {
        self.answer(Answer::Ack)
    }

    /// Done with it and with every delivery before it of its consumer that has no answer yet. For a message that was got
    /// ([`Engine::get`](super::Engine::get)) the same as [`Acker::ack`]: what others have got is theirs to answer.
    ///
    /// # Errors
    /// As [`Acker::ack`].
    pub fn ack_up_to(mut self) -> Result<(), Error> {
        if !self.is_shared {
            self.first = 1;
        }
        self.answer(Answer::Ack)
    }

    /// Not done with it.
    ///
    /// # Errors
    /// As [`Acker::ack`].
    pub fn nack(self, requeue: bool) -> Result<(), Error> {
        self.answer(Answer::Nack { requeue })
    }

    /// Not wanted.
    ///
    /// # Errors
    /// As [`Acker::ack`].
    pub fn reject(self, requeue: bool) -> Result<(), Error> {
        self.answer(Answer::Reject { requeue })
    }

    /// Answers as the handler of an in-place delivery would; [`Disposition::Detached`] requeues.
    ///
    /// # Errors
    /// As [`Acker::ack`].
    pub fn settle(self, disposition: Disposition) -> Result<(), Error> {
        match disposition {
            Disposition::Ack => self.ack(),
            Disposition::Nack { requeue } => self.nack(requeue),
            Disposition::Reject { requeue } => self.reject(requeue),
            Disposition::Detached => self.nack(true),
            Disposition::AckAfter(receipt) => {
                self.ack_after(receipt);
                Ok(())
            }
            Disposition::AckAfterAll(receipts) => {
                self.ack_after_all(receipts);
                Ok(())
            }
        }
    }

    /// Done with it when the publish of this receipt is acked; otherwise it is requeued. See [`Disposition::AckAfter`]. Returns at once,
    /// on any thread.
    pub fn ack_after(self, receipt: Receipt) {
        self.tie(smallvec![receipt]);
    }

    /// Done with it when the publishes of all these receipts are acked. See [`Disposition::AckAfterAll`].
    pub fn ack_after_all(self, receipts: Vec<Receipt>) {
        self.tie(receipts.into());
    }

    fn tie(self, receipts: SmallVec<[Receipt; 1]>) {
        if !self.is_answered {
            Tie::new(self, receipts).go_on(true);
        }
    }

    fn answer(mut self, answer: Answer) -> Result<(), Error> {
        if std::mem::replace(&mut self.is_answered, true) {
            return Ok(());
        }
        self.post(answer)
    }

    fn post(&self, answer: Answer) -> Result<(), Error> {
        let settle = Settle {
            line: self.line,
            channel: self.channel,
            tags: self.first..=self.last,
            answer,
        };
        Ok(self.mailbox.post(Command::Settle(settle))?)
    }
}

impl Drop for Acker {
    fn drop(&mut self) {
        if !self.is_answered {
            // When the worker is gone, so is the connection: the broker requeues by itself.
            let _ = self.post(Answer::Nack { requeue: true });
        }
    }
}
