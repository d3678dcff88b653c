//! Fills batches and hands them over.
//!
//! - **NOTHING IS STRANDED**: what is in a batch is answered by the handler, or goes back to the queue when the batch is dropped, whatever
//!   dropped it.
//! - **NEVER EMPTY**: a batch begins with its first delivery, and so does its time.

use std::time::Instant;

use super::batch::{Batch, BatchDelivery, BatchPolicy};
use super::call::after;
use super::delivery::{Acker, Delivery, Disposition};

/// What is called for each batch, on the worker's thread.
pub(super) type BatchHandler = Box<dyn FnMut(&mut Batch) -> Disposition + Send>;

pub(super) struct Batcher {
    policy: BatchPolicy,
    /// Half of the prefetch window; `None` when nothing is ever held back.
    half_window: Option<usize>,
    handler: BatchHandler,
    filling: Option<Filling>,
    /// The deliveries of the batch that is being filled. Their room is used again.
    deliveries: Vec<BatchDelivery>,
}

/// A batch that is not empty and not full.
struct Filling {
    /// For all of it so far.
    acker: Acker,
    body_octets: usize,
    due: Instant,
}

impl Batcher {
    pub fn new(policy: BatchPolicy, handler: BatchHandler) -> Self {
        Batcher {
            policy,
            half_window: None,
            handler,
            filling: None,
            deliveries: Vec::new(),
        }
    }

    /// The consumer's prefetch window; `None` when it has none.
    pub fn set_window(&mut self, window: Option<u16>) {
        self.half_window = window.map(|window| usize::from(window / 2).max(1));
    }

    /// Takes a delivery in. The batch may be full then.
    pub fn push(&mut self, delivery: &Delivery<'_>, now: Instant) {
        let filling = self.filling.get_or_insert_with(|| Filling {
            acker: delivery.acker(),
            body_octets: 0,
            due: after(now, self.policy.wait_max),
        });
        filling.acker.extend_to(delivery.delivery_tag());
        filling.body_octets += delivery.body().len();
        self.deliveries.push(BatchDelivery::of(delivery));
    }

    /// Whether the batch is to be handed over, whatever the time.
    pub fn is_full(&self) -> bool {
        let messages_max = self.half_window.unwrap_or(usize::MAX);
        self.filling.as_ref().is_some_and(|filling| {
            self.deliveries.len() >= self.policy.messages_max.min(messages_max)
                || filling.body_octets >= self.policy.bytes_max
        })
    }

    /// When the batch is to be handed over at the latest; `None` while there is none.
    pub fn due(&self) -> Option<Instant> {
        self.filling.as_ref().map(|filling| filling.due)
    }

    /// Hands the batch over, if there is one. A panic of the handler requeues it.
    pub fn hand_over(&mut self) {
        let Some(Filling { acker, .. }) = self.filling.take() else {
            return;
        };
        let deliveries = std::mem::take(&mut self.deliveries);
        let room = deliveries.len();
        let mut batch = Batch::new(deliveries, acker);
        let disposition = (self.handler)(&mut batch);
        self.deliveries = batch.answer(disposition);
        // A batch that was detached took its room along; the next one will need as much.
        self.deliveries.reserve(room);
    }
}

#[cfg(test)]
mod tests;
