//! The part of a chunk that nothing was received into yet.

use std::fmt;
use std::sync::Arc;

use super::filled::Filled;
use super::pool::{Lease, Pool};

/// A leased chunk that is filled from its beginning to its end, piece by piece, by whoever owns this. For drivers that
/// receive by calls of their own; io_uring does the same in the kernel.
pub struct Vacant {
    lease: Arc<Lease>,
    used: u32,
}

impl Vacant {
    /// A free chunk, or `None` when all are leased.
    #[must_use]
    pub fn take(pool: &Pool) -> Option<Self> {
        let lease = pool.take()?;
        Some(Self { lease, used: 0 })
    }

    /// Octets that still have room.
    #[must_use]
    pub fn room(&self) -> usize {
        (self.lease.len() - self.used) as usize
    }

    /// What may be written to: all that was not handed out. It holds octets of earlier use, or zeros.
    pub fn unfilled(&mut self) -> &mut [u8] {
        // SAFETY: the chunk is memory of `lease.len()` octets that was zeroed when it was made, so it is initialised. This
        // lease was taken here, so that nobody else but the views given out by `fill` holds it; those lie below `used`,
        // and what is below `used` is not in this slice (B2).
        unsafe {
            let start = self.lease.as_mut_ptr().add(self.used as usize);
            std::slice::from_raw_parts_mut(start, self.room())
        }
    }

    /// The first `octets` of [`Vacant::unfilled`] have been written: gives a view of them, which nobody writes to any
    /// more. Cut to the room there is.
    pub fn fill(&mut self, octets: usize) -> Filled {
        let octets = octets.min(self.room()) as u32;
        let offset = self.used;
        self.used += octets;
        // SAFETY: the octets are initialised, and from here on `unfilled` begins behind them.
        unsafe { Filled::new(Arc::clone(&self.lease), offset, octets) }
    }
}

impl fmt::Debug for Vacant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vacant")
            .field("chunk", &self.lease.id())
            .field("used", &self.used)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_filled_piece_by_piece_and_views_do_not_change() {
        let pool = Pool::new(1, 10).unwrap();
        let mut vacant = Vacant::take(&pool).unwrap();
        assert!(Vacant::take(&pool).is_none());
        vacant.unfilled()[..4].copy_from_slice(b"abcd");
        let first = vacant.fill(4);
        assert_eq!(vacant.room(), 6);
        vacant.unfilled().copy_from_slice(b"efghij");
        let second = vacant.fill(7);
        assert_eq!((&first[..], &second[..]), (&b"abcd"[..], &b"efghij"[..]));
        assert!(vacant.unfilled().is_empty() && vacant.fill(1).is_empty());
        let mut whole = first.clone();
        assert!(whole.try_extend(&second));
        assert_eq!(&whole[..], b"abcdefghij");
    }

    #[test]
    fn the_chunk_comes_back_with_the_last_view() {
        let pool = Pool::new(1, 10).unwrap();
        let mut vacant = Vacant::take(&pool).unwrap();
        let view = vacant.fill(3);
        drop(vacant);
        assert!(!pool.has_free());
        drop(view);
        assert!(pool.has_free());
    }
}
