//! A message in a queue.

use std::time::Instant;

use super::super::message::Message;

/// Set on what a quorum queue delivers again; the message itself stays as it was published.
const DELIVERY_COUNT: &str = "x-delivery-count";

/// A message's place in a queue. Who gets one owes it back to the queue, by `acked`, `requeue` or `reject`, unless it was
/// delivered without acks.
#[derive(Debug)]
pub(crate) struct Entry {
    /// As it is to be delivered.
    pub message: Message,
    /// As it was published, where that differs.
    original: Option<Message>,
    /// Whether it was delivered before.
    pub redelivered: bool,
    /// How often it came back unacked.
    pub(super) delivery_count: u32,
    /// Grows from message to message as they are published.
    pub(super) position: u64,
    pub(super) expires: Option<Instant>,
}

impl Entry {
    pub(crate) const fn new(message: Message, position: u64, expires: Option<Instant>) -> Self {
        Self {
            message,
            original: None,
            redelivered: false,
            delivery_count: 0,
            position,
            expires,
        }
    }

    pub(super) fn show_delivery_count(&mut self) {
        let count = i64::from(self.delivery_count);
        // A table that takes no more entries stays without it.
        let counted = self.message.with_headers(|headers| {
            let _ = headers.insert(DELIVERY_COUNT, count);
        });
        self.original = Some(std::mem::replace(&mut self.message, counted));
    }

    /// The entry with the message as it was published.
    pub(super) fn restored(mut self) -> Self {
        if let Some(original) = self.original.take() {
            self.message = original;
        }
        self
    }

    pub(super) fn expires_by(&self, now: Instant) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }

    pub(super) fn expired_before(&self, now: Instant) -> bool {
        self.expires.is_some_and(|at| at < now)
    }
}
