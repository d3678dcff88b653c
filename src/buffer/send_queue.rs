//! What one link has still to send.

use std::collections::VecDeque;

use super::segment::{Segment, Spares};

/// Segments in the order in which they leave, and how much of the first one has left already.
///
/// **B6, pinned segments.** The octets of the first [`SendQueue::pinned`] segments may be in the kernel's hands. They are
/// neither changed, moved in memory nor dropped until [`SendQueue::advance`] or [`SendQueue::unpin`] says that the kernel
/// is done. The queue itself has no limit: whoever pushes looks at [`SendQueue::queued_octets`].
#[derive(Debug, Default)]
pub struct SendQueue {
    segments: VecDeque<Segment>,
    /// Octets of the first segment that have been sent. Below its length.
    sent: usize,
    octets: usize,
    pinned: usize,
}

impl SendQueue {
    /// Up to this many octets are copied behind the last segment where it has room: a copy this small is cheaper than
    /// a segment and an iovec of its own.
    pub const FLATTEN_OCTETS_MAX: usize = 4096;

    /// Appends a segment. An empty one is recycled at once.
    pub fn push(&mut self, segment: Segment, spares: &mut Spares) {
        self.octets += segment.len();
        if self.flatten(&segment) {
            spares.recycle(segment);
        } else {
            self.segments.push_back(segment);
        }
    }

    /// Copies a small segment into the spare room of the last one, unless the kernel may be reading that (B6).
    fn flatten(&mut self, segment: &Segment) -> bool {
        if segment.is_empty() {
            return true;
        }
        if segment.len() > Self::FLATTEN_OCTETS_MAX || self.segments.len() <= self.pinned {
            return false;
        }
        let Some(Segment::Owned(last)) = self.segments.back_mut() else {
            return false;
        };
        let fits = last.capacity() - last.len() >= segment.len();
        if fits {
            last.extend_from_slice(segment);
        }
        fits
    }

    /// Octets that have not been sent yet.
    #[must_use]
    pub fn queued_octets(&self) -> usize {
        self.octets
    }

    /// Whether there is nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// How many segments are pinned (B6).
    #[must_use]
    pub fn pinned(&self) -> usize {
        self.pinned
    }

    /// Pins the first `segments_max` segments and gives what of each is still to be sent.
    pub fn pin(&mut self, segments_max: usize) -> impl ExactSizeIterator<Item = &[u8]> {
        self.pinned = self.segments.len().min(segments_max);
        let sent = self.sent;
        self.segments
            .iter()
            .take(segments_max)
            .enumerate()
            .map(move |(index, segment)| {
                let from = if index == 0 { sent } else { 0 };
                segment.get(from..).unwrap_or_default()
            })
    }

    /// The kernel is done and took nothing.
    pub fn unpin(&mut self) {
        self.pinned = 0;
    }

    /// The kernel is done and took `octets`: segments that are wholly sent are recycled.
    pub fn advance(&mut self, octets: usize, spares: &mut Spares) {
        self.pinned = 0;
        let octets = octets.min(self.octets);
        self.octets -= octets;
        self.sent += octets;
        while let Some(first) = self.segments.front()
            && self.sent >= first.len()
        {
            self.sent -= first.len();
            if let Some(segment) = self.segments.pop_front() {
                spares.recycle(segment);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_short_send_goes_on_in_the_middle_of_a_segment() {
        let (mut queue, mut spares) = (SendQueue::default(), Spares::default());
        queue.push(Segment::Shared(Bytes::from_static(b"abc")), &mut spares);
        queue.push(Segment::Shared(Bytes::from_static(b"def")), &mut spares);
        assert_eq!(queue.pin(64).collect::<Vec<_>>(), [b"abc", b"def"]);
        queue.advance(4, &mut spares);
        assert_eq!(queue.pin(64).collect::<Vec<_>>(), [b"ef"]);
        assert_eq!(queue.queued_octets(), 2);
        queue.advance(2, &mut spares);
        assert!(queue.is_empty());
    }

    #[test]
    fn small_segments_join_the_last_one_but_never_a_pinned_one() {
        let (mut queue, mut spares) = (SendQueue::default(), Spares::default());
        let with_room = |octets: &[u8]| {
            let mut buffer = Vec::with_capacity(64);
            buffer.extend_from_slice(octets);
            Segment::Owned(buffer)
        };
        queue.push(with_room(b"a"), &mut spares);
        queue.push(with_room(b"b"), &mut spares);
        assert_eq!(queue.pin(64).collect::<Vec<_>>(), [b"ab"]);
        queue.push(with_room(b"c"), &mut spares);
        queue.push(with_room(b"d"), &mut spares);
        assert_eq!(queue.pinned(), 1);
        queue.unpin();
        assert_eq!(queue.pin(64).collect::<Vec<_>>(), [b"ab", b"cd"]);
    }

    #[test]
    fn an_empty_segment_leaves_nothing_behind() {
        let (mut queue, mut spares) = (SendQueue::default(), Spares::default());
        queue.push(Segment::Owned(Vec::with_capacity(10)), &mut spares);
        assert!(queue.is_empty());
        assert!(spares.take().capacity() >= 10);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn any_short_sends_give_the_octets_in_order(
            pieces in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..50), any::<bool>(), 0..80usize), 0..30),
            segments_max in 1..5usize,
        ) {
            let (mut queue, mut spares) = (SendQueue::default(), Spares::default());
            let (mut expected, mut sent) = (Vec::new(), Vec::new());
            let mut send = |queue: &mut SendQueue, spares: &mut Spares, octets_max: usize| {
                let octets: Vec<u8> = queue.pin(segments_max).flatten().copied().take(octets_max).collect();
                queue.advance(octets.len(), spares);
                sent.extend(octets);
            };
            for (octets, owned, octets_max) in pieces {
                expected.extend_from_slice(&octets);
                let segment = if owned { Segment::Owned(octets) } else { Segment::Shared(octets.into()) };
                queue.push(segment, &mut spares);
                send(&mut queue, &mut spares, octets_max);
            }
            while !queue.is_empty() {
                send(&mut queue, &mut spares, usize::MAX);
            }
            prop_assert_eq!(queue.queued_octets(), 0);
            prop_assert_eq!(sent, expected);
        }
    }
}
