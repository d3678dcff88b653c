//! A view of octets that have been received.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

use bytes::Bytes;

use super::pool::Lease;

/// Octets that the kernel has written and will not touch again while this view lives (B2).
///
/// Cloning is one atomic increment; the octets are never copied. As long as a view or a `Bytes` made from it lives, its
/// chunk cannot receive anything new.
#[derive(Clone)]
pub struct Filled {
    lease: Arc<Lease>,
    offset: u32,
    len: u32,
}

impl Filled {
    /// A view of `len` octets of the lease's chunk, from `offset`; cut to what the chunk has.
    ///
    /// # Safety
    ///
    /// The octets are initialised, and nobody writes to them until the last hold on the lease is dropped.
    #[must_use]
    pub unsafe fn new(lease: Arc<Lease>, offset: u32, len: u32) -> Self {
        let offset = offset.min(lease.len());
        let len = len.min(lease.len() - offset);
        Self { lease, offset, len }
    }

    /// The octets as `Bytes` that hold the chunk. Allocates a small owner: make it once for a region and slice it.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }

    /// A view of a part of this one, counted from its beginning; cut to what it has. Nothing is copied or allocated.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        let start = range.start.min(self.len as usize) as u32;
        let end = (range.end.min(self.len as usize) as u32).max(start);
        Self {
            lease: Arc::clone(&self.lease),
            offset: self.offset + start,
            len: end - start,
        }
    }

    /// Takes `next` in when its octets follow these in the same chunk; otherwise says no and changes nothing.
    pub fn try_extend(&mut self, next: &Self) -> bool {
        let follows =
            Arc::ptr_eq(&self.lease, &next.lease) && self.offset + self.len == next.offset;
        if follows {
            self.len += next.len;
        }
        follows
    }

    /// Forgets the first `octets`; all of them when there are not so many.
    pub fn advance(&mut self, octets: usize) {
        let octets = octets.min(self.len as usize) as u32;
        self.offset += octets;
        self.len -= octets;
    }

    /// Which chunk these octets are in.
    #[must_use]
    pub fn chunk(&self) -> u16 {
        self.lease.id()
    }
}

impl Deref for Filled {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: `new` and every change keep `offset + len` within the chunk, the lease keeps the memory, and by the
        // contract of `new` these octets are initialised and not written while the lease is held.
        unsafe {
            let start = self.lease.as_mut_ptr().add(self.offset as usize);
            std::slice::from_raw_parts(start, self.len as usize)
        }
    }
}

impl AsRef<[u8]> for Filled {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Filled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The octets may hold credentials or bodies, so that only their place is shown.
        f.debug_struct("Filled")
            .field("chunk", &self.chunk())
            .field("offset", &self.offset)
            .field("len", &self.len)
            .finish()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::pool::Pool;
    use super::*;

    /// Writes `octets` at `offset` of the lease's chunk and gives the view.
    pub(crate) fn fill(lease: &Arc<Lease>, offset: u32, octets: &[u8]) -> Filled {
        assert!(offset as usize + octets.len() <= lease.len() as usize);
        // SAFETY: within the chunk, and the tests write each octet once per lease.
        unsafe {
            let to = lease.as_mut_ptr().add(offset as usize);
            to.copy_from_nonoverlapping(octets.as_ptr(), octets.len());
            Filled::new(Arc::clone(lease), offset, octets.len() as u32)
        }
    }

    #[test]
    fn a_view_stays_the_same_while_the_rest_of_the_chunk_is_written() {
        let pool = Pool::new(1, 64).unwrap();
        let lease = pool.take().unwrap();
        let first = fill(&lease, 0, b"hello");
        let bytes = first.clone().into_bytes();
        let held: &[u8] = &first;
        let second = fill(&lease, 5, b" world");
        assert_eq!(held, b"hello");
        assert_eq!(&second[..], b" world");
        drop((first, second, lease, pool));
        assert_eq!(bytes, b"hello"[..]);
    }

    #[test]
    fn views_join_only_when_they_touch_in_the_same_chunk() {
        let pool = Pool::new(2, 64).unwrap();
        let (lease, other) = (pool.take().unwrap(), pool.take().unwrap());
        let mut run = fill(&lease, 0, b"ab");
        assert!(!run.try_extend(&fill(&other, 2, b"cd")));
        assert!(!run.try_extend(&fill(&lease, 3, b"d")));
        assert!(run.try_extend(&fill(&lease, 2, b"c")));
        assert_eq!(&run[..], b"abc");
        run.advance(2);
        assert_eq!(&run[..], b"c");
        run.advance(9);
        assert!(run.is_empty());
    }

    #[test]
    fn the_chunk_comes_back_only_when_the_last_view_goes_wherever_that_is() {
        let pool = Pool::new(1, 64).unwrap();
        let lease = pool.take().unwrap();
        let view = fill(&lease, 0, b"abcdef");
        drop(lease);
        let part = view.slice(2..4);
        let bytes = view.into_bytes();
        assert!(pool.take().is_none());
        drop(part.clone());
        let thread = std::thread::spawn(move || assert_eq!(bytes, b"abcdef"[..]));
        thread.join().unwrap();
        assert!(pool.take().is_none());
        assert_eq!(&part[..], b"cd");
        drop(part);
        assert!(pool.take().is_some());
    }

    #[test]
    fn a_view_is_cut_to_its_chunk() {
        let pool = Pool::new(1, 8).unwrap();
        let lease = pool.take().unwrap();
        // SAFETY: the chunk is zeroed and nobody writes to it.
        let (inside, outside) = unsafe {
            (
                Filled::new(lease.clone(), 6, 9),
                Filled::new(lease.clone(), 9, 9),
            )
        };
        assert_eq!(inside.len(), 2);
        assert!(outside.is_empty());
        assert_eq!(inside.slice(1..100).len(), 1);
        assert_eq!(inside.slice(9..9).len(), 0);
    }
}
