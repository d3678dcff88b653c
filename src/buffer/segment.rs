//! Octets to be sent, and used buffers kept for the next ones.

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;

/// Octets to be sent on a link.
pub enum Segment {
    /// A buffer of its own; it is recycled once sent.
    Owned(Vec<u8>),
    /// Octets that somebody else may hold too; they are never copied.
    Shared(Bytes),
}

impl Deref for Segment {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Owned(octets) => octets,
            Self::Shared(octets) => octets,
        }
    }
}

impl From<Vec<u8>> for Segment {
    fn from(octets: Vec<u8>) -> Self {
        Self::Owned(octets)
    }
}

impl From<Bytes> for Segment {
    fn from(octets: Bytes) -> Self {
        Self::Shared(octets)
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The octets may hold credentials, so that only their number is shown.
        let name = match self {
            Self::Owned(_) => "Owned",
            Self::Shared(_) => "Shared",
        };
        f.debug_tuple(name).field(&self.len()).finish()
    }
}

/// A few empty buffers whose memory is used again.
#[derive(Debug, Default)]
pub struct Spares {
    buffers: Vec<Vec<u8>>,
}

impl Spares {
    /// The most buffers that are kept: enough for a segment in flight and one gathering on each of a few links.
    pub const BUFFERS_MAX: usize = 16;

    /// The most octets of capacity that a kept buffer may have, so that one huge message does not hold memory for ever.
    pub const BUFFER_OCTETS_MAX: usize = 1 << 20;

    /// An empty buffer, with the capacity of an earlier one where there is one.
    #[must_use]
    pub fn take(&mut self) -> Vec<u8> {
        self.buffers.pop().unwrap_or_default()
    }

    /// Keeps the buffer of a segment that is done with, within the limits.
    pub fn recycle(&mut self, segment: Segment) {
        if let Segment::Owned(mut buffer) = segment
            && self.buffers.len() < Self::BUFFERS_MAX
            && (1..=Self::BUFFER_OCTETS_MAX).contains(&buffer.capacity())
        {
            buffer.clear();
            self.buffers.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spare_is_empty_and_keeps_its_capacity() {
        let mut spares = Spares::default();
        spares.recycle(Segment::Owned(vec![1; 100]));
        spares.recycle(Segment::Shared(Bytes::from_static(b"x")));
        let spare = spares.take();
        assert!(spare.is_empty() && spare.capacity() >= 100);
        assert_eq!(spares.take().capacity(), 0);
    }

    #[test]
    fn spares_are_bounded_in_number_and_size() {
        let mut spares = Spares::default();
        spares.recycle(Segment::Owned(Vec::with_capacity(
            Spares::BUFFER_OCTETS_MAX + 1,
        )));
        assert_eq!(spares.take().capacity(), 0);
        for _ in 0..=Spares::BUFFERS_MAX {
            spares.recycle(Segment::Owned(vec![0]));
        }
        let kept = (0..=Spares::BUFFERS_MAX)
            .filter(|_| spares.take().capacity() > 0)
            .count();
        assert_eq!(kept, Spares::BUFFERS_MAX);
    }

    #[test]
    fn debug_shows_no_octets() {
        assert_eq!(
            format!("{:?}", Segment::Owned(b"secret".to_vec())),
            "Owned(6)"
        );
    }
}
