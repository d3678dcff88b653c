//! Batches of a worker's consumers that do not wait until they are full.

use std::time::Instant;

use super::{ConsumerSlot, Worker};
use crate::connection::Token;
use crate::driver::Drive;
use crate::engine::consumer::Handler;
use crate::engine::hands::{Panicked, call, earlier};

impl ConsumerSlot {
    /// When its batch is due; `None` while it fills none.
    fn batch_due(&self) -> Option<Instant> {
        match &self.handler {
            Some(Handler::Batches(batcher)) => batcher.due(),
            _ => None,
        }
    }

    /// Hands its batch over as it is, if it fills one.
    fn hand_over(&mut self, consumer: Token, panicked: &mut Vec<Panicked>) {
        call(self, consumer, panicked, |handler| {
            if let Handler::Batches(batcher) = handler {
                batcher.hand_over();
            }
        });
    }
}

impl<D: Drive> Worker<D> {
    /// Hands a consumer's batch over as it is, if it fills one.
    pub(super) fn hand_over(&mut self, consumer: Token) {
        if let Some(slot) = self.consumers.get_mut(consumer as usize) {
            slot.hand_over(consumer, &mut self.panicked);
        }
    }

    /// Hands over the batches whose time has come. Consumers are looked at only when one is due, or was and has been handed over since.
    pub(super) fn hand_over_due(&mut self, now: Instant) {
        if self.batches_due.is_some_and(|due| now >= due) {
            self.hand_over_where(|due| now >= due);
        }
    }

    /// Hands over every batch: what they hold is needed elsewhere.
    pub(super) fn hand_over_all(&mut self) {
        if self.batches_due.is_some() {
            self.hand_over_where(|_| true);
        }
    }

    fn hand_over_where(&mut self, is_due: impl Fn(Instant) -> bool) {
        self.batches_due = None;
        for (consumer, slot) in &mut self.consumers {
            if slot.batch_due().is_some_and(&is_due) {
                slot.hand_over(consumer as Token, &mut self.panicked);
            }
            self.batches_due = earlier(self.batches_due, slot.batch_due());
        }
        self.report_panics();
    }
}
