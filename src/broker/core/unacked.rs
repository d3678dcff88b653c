//! Deliveries that a channel has not settled yet.

use std::collections::VecDeque;

use super::ids::QueueId;
use super::queue::Entry;

/// A delivery that waits for its ack.
pub(crate) struct Pending {
    pub tag: u64,
    /// `None` once the queue is gone: the answer still counts as one, and changes nothing.
    pub queue: Option<QueueId>,
    /// The consumer it was delivered to, while that exists; none for `basic.get`.
    pub consumer: Option<u32>,
    pub entry: Entry,
}

/// Deliveries in the order of their tags.
///
/// One that is settled out of order leaves a gap, so that settling costs no more than looking it up.
#[derive(Default)]
pub(crate) struct Unacked {
    pending: VecDeque<(u64, Option<Pending>)>,
    of_consumers: usize,
}

impl Unacked {
    /// Tags ascend.
    pub fn push(&mut self, pending: Pending) {
        self.of_consumers += usize::from(pending.consumer.is_some());
        self.pending.push_back((pending.tag, Some(pending)));
    }

    /// Puts back what a transaction had taken and has not used.
    pub fn restore(&mut self, settled: Vec<Pending>) {
        for pending in settled {
            self.of_consumers += usize::from(pending.consumer.is_some());
            let tag = pending.tag;
            match self.pending.binary_search_by_key(&tag, |(tag, _)| *tag) {
                Ok(at) => {
                    if let Some(place) = self.pending.get_mut(at) {
                        place.1 = Some(pending);
                    }
                }
                Err(at) => self.pending.insert(at, (tag, Some(pending))),
            }
        }
    }

    /// How many were delivered to consumers that still exist.
    pub fn of_consumers(&self) -> usize {
        self.of_consumers
    }

    /// Takes the one with this tag out.
    pub fn take(&mut self, tag: u64) -> Option<Pending> {
        let at = self.pending.binary_search_by_key(&tag, |(tag, _)| *tag);
        let taken = self.pending.get_mut(at.ok()?)?.1.take()?;
        self.of_consumers -= usize::from(taken.consumer.is_some());
        self.trim();
        Some(taken)
    }

    /// Whether there is one with this tag.
    pub fn contains(&self, tag: u64) -> bool {
        let at = self.pending.binary_search_by_key(&tag, |(tag, _)| *tag);
        at.is_ok_and(|at| self.pending.get(at).is_some_and(|(_, held)| held.is_some()))
    }

    /// Takes the first one out, if its tag is at most this.
    pub fn take_up_to(&mut self, tag: u64) -> Option<Pending> {
        self.pending.front().filter(|(first, _)| *first <= tag)?;
        let (_, taken) = self.pending.pop_front()?;
        self.trim();
        if let Some(pending) = &taken {
            self.of_consumers -= usize::from(pending.consumer.is_some());
        }
        taken
    }

    /// Takes everything out, in order.
    pub fn take_all(&mut self) -> impl Iterator<Item = Pending> + use<> {
        self.of_consumers = 0;
        std::mem::take(&mut self.pending)
            .into_iter()
            .filter_map(|(_, pending)| pending)
    }

    /// A queue is gone.
    pub fn forget_queue(&mut self, queue: QueueId) {
        for pending in self.iter_mut() {
            if pending.queue == Some(queue) {
                pending.queue = None;
            }
        }
    }

    /// A consumer is gone: what it has does not count for a prefetch window any more.
    pub fn forget_consumer(&mut self, consumer: u32) {
        let mut forgotten = 0;
        for pending in self.iter_mut() {
            if pending.consumer == Some(consumer) {
                pending.consumer = None;
                forgotten += 1;
            }
        }
        self.of_consumers -= forgotten;
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut Pending> {
        self.pending
            .iter_mut()
            .filter_map(|(_, held)| held.as_mut())
    }

    /// Keeps a delivery, or the end, at the front.
    fn trim(&mut self) {
        while let Some((_, None)) = self.pending.front() {
            self.pending.pop_front();
        }
    }
}
