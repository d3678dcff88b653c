//! The chunks that a driver receives into, and their way back from whoever held them last.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::fmt;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, OnceLock};

use crossbeam_queue::ArrayQueue;

/// The most chunks a pool may have: as many as a kernel buffer ring has entries.
pub const CHUNKS_MAX: u16 = 1 << 15;

/// The most octets a chunk may have: 64 MiB, far above what is useful and far below what an offset can count.
pub const CHUNK_OCTETS_MAX: u32 = 64 << 20;

/// Chunks begin on a page, so that no chunk shares a page with anything else.
const PAGE_OCTETS: usize = 4096;

/// A fixed number of equal chunks in one allocation. Cloning it gives another handle to the same pool.
///
/// A chunk is taken as an exclusive [`Lease`] and comes back by itself when the last hold on the lease goes, on any
/// thread, without a lock.
#[derive(Clone)]
pub struct Pool {
    shared: Arc<Shared>,
}

/// Why a pool could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// The number of chunks is zero or above [`CHUNKS_MAX`].
    #[error("a pool has 1 to {CHUNKS_MAX} chunks, not {0}")]
    Chunks(u16),
    /// The size of a chunk is zero or above [`CHUNK_OCTETS_MAX`].
    #[error("a chunk has 1 to {CHUNK_OCTETS_MAX} octets, not {0}")]
    ChunkOctets(u32),
    /// The allocator has no room for this many octets.
    #[error("no memory for {octets} octets of receive chunks: ask for fewer or smaller chunks")]
    OutOfMemory {
        /// The octets asked for.
        octets: usize,
    },
}

/// How the chunks of a pool are spread at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolStats {
    /// Chunks in all.
    pub total: usize,
    /// Chunks that nobody holds.
    pub free: usize,
    /// Chunks that are leased: posted to the kernel or held by views.
    pub out: usize,
}

struct Shared {
    memory: Memory,
    chunks: u16,
    chunk_octets: u32,
    /// Octets from one chunk's beginning to the next one's: `chunk_octets` rounded up to whole pages.
    stride: usize,
    /// Ids of free chunks. Its capacity is `chunks` and each id is in it at most once (B1), so that it is never full.
    free: ArrayQueue<u16>,
    starved: AtomicBool,
    on_return: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Pool {
    /// A pool of `chunks` zeroed chunks of `chunk_octets` octets each.
    ///
    /// # Errors
    ///
    /// When a number is zero or above its limit, or when there is no memory.
    pub fn new(chunks: u16, chunk_octets: u32) -> Result<Self, PoolError> {
        if chunks == 0 || chunks > CHUNKS_MAX {
            return Err(PoolError::Chunks(chunks));
        }
        if chunk_octets == 0 || chunk_octets > CHUNK_OCTETS_MAX {
            return Err(PoolError::ChunkOctets(chunk_octets));
        }
        let stride = (chunk_octets as usize).next_multiple_of(PAGE_OCTETS);
        let memory = Memory::new(stride * chunks as usize)?;
        let free = ArrayQueue::new(chunks as usize);
        for id in 0..chunks {
            let pushed = free.push(id);
            debug_assert!(pushed.is_ok(), "the queue has room for every id");
        }
        let starved = AtomicBool::new(false);
        let on_return = OnceLock::new();
        Ok(Self {
            shared: Arc::new(Shared {
                memory,
                chunks,
                chunk_octets,
                stride,
                free,
                starved,
                on_return,
            }),
        })
    }

    /// Sets what is called once, on the thread that returns a chunk, after each [`Pool::mark_starved`].
    ///
    /// Only the first hook counts; false says that there was one already. The hook must not panic or block.
    pub fn on_return(&self, hook: impl Fn() + Send + Sync + 'static) -> bool {
        self.shared.on_return.set(Box::new(hook)).is_ok()
    }

    /// A free chunk, or `None` when all are leased.
    #[must_use]
    pub fn take(&self) -> Option<Arc<Lease>> {
        let id = self.shared.free.pop()?;
        Some(Arc::new(Lease {
            shared: Arc::clone(&self.shared),
            id,
        }))
    }

    /// Says that somebody waits for a chunk: the next one to come back calls the hook.
    ///
    /// **B5, no lost return.** A chunk that came back just before this call does not call the hook. So the caller marks
    /// first and looks for a free chunk ([`Pool::has_free`], [`Pool::take`]) after that: with the fences on both sides,
    /// either the caller finds the chunk or the returning thread finds the mark.
    pub fn mark_starved(&self) {
        self.shared.starved.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// Whether [`Pool::take`] would find a chunk now.
    #[must_use]
    pub fn has_free(&self) -> bool {
        !self.shared.free.is_empty()
    }

    /// How many octets a chunk has.
    #[must_use]
    pub fn chunk_octets(&self) -> u32 {
        self.shared.chunk_octets
    }

    /// How many chunks there are.
    #[must_use]
    pub fn chunks(&self) -> u16 {
        self.shared.chunks
    }

    /// How the chunks are spread now; other threads may change it at any time.
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        let total = usize::from(self.shared.chunks);
        let free = self.shared.free.len().min(total);
        PoolStats {
            total,
            free,
            out: total - free,
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("chunk_octets", &self.shared.chunk_octets)
            .field("stats", &self.stats())
            .finish()
    }
}

/// The exclusive right of use of one chunk (B1). Dropping it gives the chunk back to the pool.
pub struct Lease {
    shared: Arc<Shared>,
    id: u16,
}

impl Lease {
    /// Which chunk it is, from 0.
    #[must_use]
    pub fn id(&self) -> u16 {
        self.id
    }

    /// How many octets the chunk has. Never 0.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a chunk is never empty")]
    pub fn len(&self) -> u32 {
        self.shared.chunk_octets
    }

    /// Where the chunk begins, for the kernel to write to.
    ///
    /// The pointer is valid for reads and writes of [`Lease::len`] octets while the lease lives. Whoever writes through
    /// it keeps B2.
    #[must_use]
    pub fn as_mut_ptr(&self) -> *mut u8 {
        // SAFETY: `id` is below the number of chunks, so the offset is within the one allocation.
        unsafe {
            self.shared
                .memory
                .start
                .as_ptr()
                .add(usize::from(self.id) * self.shared.stride)
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let pushed = self.shared.free.push(self.id);
        debug_assert!(pushed.is_ok(), "B1: an id is in the queue at most once");
        // The other half of B5: the push stands before the look at the mark, for all threads.
        fence(Ordering::SeqCst);
        if self.shared.starved.load(Ordering::SeqCst)
            && self.shared.starved.swap(false, Ordering::SeqCst)
            && let Some(hook) = self.shared.on_return.get()
        {
            hook();
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("id", &self.id)
            .field("len", &self.len())
            .finish()
    }
}

/// One zeroed, page-aligned allocation.
struct Memory {
    start: NonNull<u8>,
    layout: Layout,
}

impl Memory {
    /// `octets` is a multiple of the page size and not 0.
    fn new(octets: usize) -> Result<Self, PoolError> {
        let error = PoolError::OutOfMemory { octets };
        let layout = Layout::from_size_align(octets, PAGE_OCTETS).map_err(|_| error)?;
        // SAFETY: the layout's size is not 0.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or(error)?;
        Ok(Self { start, layout })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: `start` came from `alloc_zeroed` with this very layout, and is freed only here.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}

// SAFETY: `Memory` is plain owned memory without ties to a thread. Who may read or write which part of it, and when, is
// the business of leases (B1, B2).
unsafe impl Send for Memory {}
// SAFETY: as for `Send`: a shared `Memory` gives out nothing but its address.
unsafe impl Sync for Memory {}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::thread;

    use super::*;

    #[test]
    fn every_chunk_is_leased_once_and_comes_back() {
        let pool = Pool::new(3, 100).unwrap();
        let leases: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
        let mut ids: Vec<_> = leases.iter().map(|lease| lease.id()).collect();
        ids.sort_unstable();
        assert_eq!(ids, [0, 1, 2]);
        assert_eq!(
            pool.stats(),
            PoolStats {
                total: 3,
                free: 0,
                out: 3
            }
        );
        assert!(!pool.has_free());
        drop(leases);
        assert_eq!(
            pool.stats(),
            PoolStats {
                total: 3,
                free: 3,
                out: 0
            }
        );
    }

    #[test]
    fn a_lease_outlives_its_pool() {
        let pool = Pool::new(1, 10).unwrap();
        let lease = pool.take().unwrap();
        drop(pool);
        // SAFETY: the lease is exclusive and has 10 octets.
        unsafe { lease.as_mut_ptr().add(9).write(7) };
    }

    #[test]
    fn chunks_are_page_aligned_and_do_not_overlap() {
        let pool = Pool::new(4, 4097).unwrap();
        let leases: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
        let mut starts: Vec<_> = leases
            .iter()
            .map(|lease| lease.as_mut_ptr().addr())
            .collect();
        starts.sort_unstable();
        assert!(starts.iter().all(|start| start.is_multiple_of(4096)));
        assert!(starts.windows(2).all(|pair| pair[1] - pair[0] >= 4097));
    }

    #[test]
    fn limits_are_checked_at_and_above() {
        assert_eq!(Pool::new(0, 1).unwrap_err(), PoolError::Chunks(0));
        assert_eq!(
            Pool::new(CHUNKS_MAX + 1, 1).unwrap_err(),
            PoolError::Chunks(CHUNKS_MAX + 1)
        );
        assert_eq!(Pool::new(1, 0).unwrap_err(), PoolError::ChunkOctets(0));
        assert_eq!(
            Pool::new(1, CHUNK_OCTETS_MAX + 1).unwrap_err(),
            PoolError::ChunkOctets(CHUNK_OCTETS_MAX + 1)
        );
        assert!(Pool::new(1, 1).is_ok());
    }

    #[test]
    fn the_hook_is_called_once_per_mark() {
        let pool = Pool::new(2, 1).unwrap();
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        assert!(pool.on_return(move || {
            counted.fetch_add(1, Ordering::SeqCst);
        }));
        assert!(!pool.on_return(|| ()));
        drop(pool.take());
        assert_eq!(calls.load(Ordering::SeqCst), 0);
        let (first, second) = (pool.take(), pool.take());
        pool.mark_starved();
        drop(first);
        drop(second);
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn no_return_is_lost_between_the_mark_and_the_look() {
        let rounds = if cfg!(miri) { 20 } else { 20_000 };
        let pool = Pool::new(1, 1).unwrap();
        let (told, tell) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicBool::new(false)),
        );
        let hook = Arc::clone(&tell);
        pool.on_return(move || hook.store(true, Ordering::SeqCst));
        let (give, receive) = std::sync::mpsc::sync_channel::<Arc<Lease>>(1);
        let dropper = thread::spawn(move || receive.into_iter().for_each(drop));
        for _ in 0..rounds {
            let lease = pool.take().unwrap();
            tell.store(false, Ordering::SeqCst);
            give.send(lease).unwrap();
            pool.mark_starved();
            while !pool.has_free() && !tell.load(Ordering::SeqCst) {
                std::hint::spin_loop();
            }
            while !pool.has_free() {
                std::hint::spin_loop();
            }
            told.store(true, Ordering::SeqCst);
        }
        drop(give);
        dropper.join().unwrap();
        assert!(told.load(Ordering::SeqCst));
    }
}
