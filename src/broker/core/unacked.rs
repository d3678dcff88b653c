//! Deliveries that a channel has not settled yet.

use std::collections::{HashSet, VecDeque};

use super::ids::QueueId;
use super::queue::Entry;

/// A delivery that waits for its ack.
#[derive(Debug)]
pub(crate) struct Pending {
    pub tag: u64,
    /// What is owed to which queue; `None` once that is gone: the answer still counts as one, and changes nothing.
    pub owed: Option<(QueueId, Entry)>,
    /// The consumer it was delivered to, while that exists; none for `basic.get`.
    pub consumer: Option<u32>,
}

impl Pending {
    /// Some queues are gone.
    pub fn forget_queues(&mut self, gone: &HashSet<QueueId>) {
        self.owed.take_if(|(queue, _)| gone.contains(queue));
    }
}

/// Fewer places than these are not worth closing the gaps in between.
const PLACES_MIN: usize = 64;

/// Deliveries in the order of their tags.
///
/// One that is settled out of order leaves a gap, so that settling costs no more than looking it up. Invariants: the first
/// place is no gap, and above [`PLACES_MIN`] places no more than half of them are.
#[derive(Debug, Default)]
pub(crate) struct Unacked {
    places: VecDeque<(u64, Option<Pending>)>,
    /// How many places are gaps.
    gaps: usize,
    of_consumers: usize,
}

impl Unacked {
    /// Tags ascend.
    pub fn push(&mut self, pending: Pending) {
        self.of_consumers += usize::from(pending.consumer.is_some());
        self.places.push_back((pending.tag, Some(pending)));
    }

    /// Puts back what a transaction had taken and has not used.
    pub fn restore(&mut self, settled: impl Iterator<Item = Pending>) {
        self.close_gaps();
        for pending in settled {
            self.push(pending);
        }
        let places = self.places.make_contiguous();
        places.sort_by_key(|(tag, _)| *tag);
    }

    /// How many were delivered to consumers that still exist.
    pub fn of_consumers(&self) -> usize {
        self.of_consumers
    }

    /// About what it takes of memory, without the messages that queues count.
    pub fn octets(&self) -> usize {
        self.places.capacity() * size_of::<(u64, Option<Pending>)>()
    }

    /// Takes the one with this tag out.
    pub fn take(&mut self, tag: u64) -> Option<Pending> {
        let at = self.find(tag)?;
        let taken = self.places.get_mut(at)?.1.take()?;
        self.of_consumers -= usize::from(taken.consumer.is_some());
        self.gaps += 1;
        self.trim();
        if self.places.len() > PLACES_MIN && self.gaps > self.places.len() / 2 {
            self.close_gaps();
        }
        Some(taken)
    }

    /// Whether there is one with this tag.
    pub fn contains(&self, tag: u64) -> bool {
        let place = self.find(tag).and_then(|at| self.places.get(at));
        place.is_some_and(|(_, held)| held.is_some())
    }

    /// Takes the first one out, if its tag is at most this.
    pub fn take_up_to(&mut self, tag: u64) -> Option<Pending> {
        self.places.front().filter(|(first, _)| *first <= tag)?;
        let (_, taken) = self.places.pop_front()?;
        self.trim();
        if let Some(pending) = &taken {
            self.of_consumers -= usize::from(pending.consumer.is_some());
        }
        taken
    }

    /// Takes everything out, in order.
    pub fn take_all(&mut self) -> impl Iterator<Item = Pending> + use<> {
        std::mem::take(self)
            .places
            .into_iter()
            .filter_map(|(_, pending)| pending)
    }

    /// Some queues are gone.
    pub fn forget_queues(&mut self, gone: &HashSet<QueueId>) {
        for pending in self.iter_mut() {
            pending.forget_queues(gone);
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

    fn find(&self, tag: u64) -> Option<usize> {
        self.places.binary_search_by_key(&tag, |(tag, _)| *tag).ok()
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut Pending> {
        self.places.iter_mut().filter_map(|(_, held)| held.as_mut())
    }

    /// Keeps a delivery, or the end, at the front.
    fn trim(&mut self) {
        while self
            .places
            .pop_front_if(|(_, held)| held.is_none())
            .is_some()
        {
            self.gaps -= 1;
        }
    }

    fn close_gaps(&mut self) {
        self.places.retain(|(_, held)| held.is_some());
        self.gaps = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::Message;
    use super::*;

    fn pending(tag: u64, consumer: Option<u32>) -> Pending {
        let message = Message::new(b"", b"q", &[0, 0], &[b"body"]).unwrap();
        let entry = Entry::new(message, tag, None);
        Pending {
            tag,
            owed: Some((QueueId(tag as u32 % 2), entry)),
            consumer,
        }
    }

    fn of(tags: impl IntoIterator<Item = u64>) -> Unacked {
        let mut unacked = Unacked::default();
        for tag in tags {
            unacked.push(pending(tag, Some(7)));
        }
        unacked
    }

    fn tags(unacked: &mut Unacked) -> Vec<u64> {
        unacked.take_all().map(|pending| pending.tag).collect()
    }

    #[test]
    fn one_is_taken_once() {
        let mut unacked = of(1..=3);
        assert_eq!(unacked.take(2).unwrap().tag, 2);
        assert!(!unacked.contains(2));
        assert!(unacked.take(2).is_none());
        assert!(unacked.take(4).is_none());
        assert_eq!(unacked.of_consumers(), 2);
        assert_eq!(tags(&mut unacked), [1, 3]);
        assert_eq!(unacked.of_consumers(), 0);
    }

    #[test]
    fn taking_up_to_a_tag_takes_them_in_order_and_stops_there() {
        let mut unacked = of([1, 2, 4, 5]);
        unacked.take(2).unwrap();
        let mut taken = Vec::new();
        while let Some(pending) = unacked.take_up_to(4) {
            taken.push(pending.tag);
        }
        assert_eq!(taken, [1, 4]);
        assert!(unacked.contains(5));
    }

    #[test]
    fn one_that_is_never_settled_does_not_keep_the_places_of_those_behind_it() {
        let mut unacked = of([1]);
        for tag in 2..100_000 {
            unacked.push(pending(tag, None));
            unacked.take(tag).unwrap();
            assert!(unacked.places.len() <= PLACES_MIN + 1, "{tag}");
        }
        assert_eq!(tags(&mut unacked), [1]);
    }

    #[test]
    fn what_is_put_back_is_in_order_again_and_counts_again() {
        let mut unacked = of(1..=200);
        let taken: Vec<_> = [150, 7, 3, 199]
            .map(|tag| unacked.take(tag).unwrap())
            .into();
        while unacked.take_up_to(2).is_some() {}
        assert_eq!(unacked.of_consumers(), 194);
        unacked.restore(taken.into_iter());
        assert_eq!(unacked.of_consumers(), 198);
        assert!(unacked.contains(150));
        assert_eq!(tags(&mut unacked), (3..=200).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_of_a_queue_that_is_gone_holds_no_message_and_is_there_still() {
        let mut unacked = of(1..=4);
        unacked.forget_queues(&HashSet::from([QueueId(0)]));
        let owed: Vec<_> = unacked
            .take_all()
            .map(|pending| (pending.tag, pending.owed.is_some()))
            .collect();
        assert_eq!(owed, [(1, true), (2, false), (3, true), (4, false)]);
    }

    #[test]
    fn what_a_consumer_that_is_gone_had_counts_for_no_window() {
        let mut unacked = of(1..=3);
        unacked.push(pending(4, Some(8)));
        unacked.forget_consumer(7);
        assert_eq!(unacked.of_consumers(), 1);
        unacked.take(1).unwrap();
        unacked.take(4).unwrap();
        assert_eq!(unacked.of_consumers(), 0);
    }
}
