//! The provided-buffer ring: the chunks that the kernel may receive into.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::io;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

use crate::buffer::{Filled, Lease, Pool};

/// The one buffer group of a ring.
pub(super) const GROUP: u16 = 0;

/// `IOU_PBUF_RING_INC`: a buffer is used up bit by bit (Linux 6.12).
const INCREMENTAL: u16 = 2;

/// The kernel wants the ring of buffers on a page of its own.
const PAGE_OCTETS: usize = 4096;

/// A chunk that the kernel may write to, from `used` on.
struct Posted {
    lease: Arc<Lease>,
    used: u32,
}

/// The ring of buffers, and the leases of what is in it.
///
/// **U1, offsets are counted.** With incremental use the kernel fills a chunk from its beginning to its very end, and
/// completions come in the order in which it did so. A completion's `BUF_MORE` flag says the same, but not reliably at
/// the end of a stream; so only the octets received say where the next ones are and when a chunk is full.
pub(super) struct Chunks {
    pool: Pool,
    entries: Entries,
    incremental: bool,
    posted: Vec<Option<Posted>>,
    posted_count: usize,
}

impl Chunks {
    /// Registers an empty ring of buffers that has room for all of the pool's chunks.
    ///
    /// # Safety
    ///
    /// The result is dropped after `ring`.
    pub(super) unsafe fn new(ring: &IoUring, pool: Pool, incremental: bool) -> io::Result<Self> {
        let entries = Entries::new(pool.chunks().next_power_of_two())?;
        // SAFETY: passed on to the caller.
        unsafe { entries.register(ring, incremental)? };
        let posted = (0..pool.chunks()).map(|_| None).collect();
        Ok(Self {
            pool,
            entries,
            incremental,
            posted,
            posted_count: 0,
        })
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }

    pub(super) fn incremental(&self) -> bool {
        self.incremental
    }

    /// How many chunks the kernel has.
    pub(super) fn posted(&self) -> usize {
        self.posted_count
    }

    /// Gives the kernel every chunk that is free.
    pub(super) fn post_free(&mut self) {
        if !self.pool.has_free() {
            return;
        }
        while let Some(lease) = self.pool.take() {
            let Some(place) = self.posted.get_mut(usize::from(lease.id())) else {
                continue;
            };
            self.entries.add(&lease);
            *place = Some(Posted { lease, used: 0 });
            self.posted_count += 1;
        }
        self.entries.publish();
    }

    /// Leaves all memory that the kernel knows of to it, for ever.
    pub(super) fn leak(&mut self) {
        self.entries.leaked = true;
        std::mem::forget(std::mem::take(&mut self.posted));
    }

    /// What a completion with this chunk and this many octets brought. `None` when the kernel does not have the chunk or
    /// the octets do not fit, which cannot be.
    pub(super) fn filled(&mut self, chunk: u16, octets: u32) -> Option<Filled> {
        let place = self.posted.get_mut(usize::from(chunk))?;
        let posted = place.as_mut()?;
        let offset = posted.used;
        let used = offset
            .checked_add(octets)
            .filter(|used| *used <= posted.lease.len())?;
        posted.used = used;
        let lease = if self.incremental && used < posted.lease.len() {
            Arc::clone(&posted.lease)
        } else {
            self.posted_count -= 1;
            place.take()?.lease
        };
        // SAFETY: the kernel has written these octets, and by U1 it never writes to them again while the chunk is
        // leased; the chunk is posted again only under a new lease.
        Some(unsafe { Filled::new(lease, offset, octets) })
    }
}

/// The memory of the ring of buffers.
struct Entries {
    start: NonNull<BufRingEntry>,
    layout: Layout,
    count: u16,
    tail: u16,
    /// The kernel may use the memory for ever; it is not freed.
    leaked: bool,
}

impl Entries {
    fn new(count: u16) -> io::Result<Self> {
        let layout = Layout::array::<BufRingEntry>(usize::from(count))
            .and_then(|layout| layout.align_to(PAGE_OCTETS))
            .map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: the layout is not empty: `count` is a power of two.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) }.cast())
            .ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self {
            start,
            layout,
            count,
            tail: 0,
            leaked: false,
        })
    }

    /// # Safety
    ///
    /// The entries are dropped after `ring`.
    unsafe fn register(&self, ring: &IoUring, incremental: bool) -> io::Result<()> {
        let flags = if incremental { INCREMENTAL } else { 0 };
        let address = self.start.as_ptr().expose_provenance() as u64;
        // SAFETY: the memory has room for `count` entries and, by the caller's promise, outlives the ring.
        unsafe {
            ring.submitter()
                .register_buf_ring_with_flags(address, self.count, GROUP, flags)
        }
    }

    /// Writes the next entry; the kernel sees it after `publish`. At most `count` entries are in use, as each names
    /// another chunk of the pool.
    fn add(&mut self, lease: &Lease) {
        let index = self.tail & (self.count - 1);
        // SAFETY: `index` is below `count`, a power of two. The kernel reads entries up to the published tail only, and
        // the setters leave alone the tail itself, which lies in unused octets of entry 0.
        let entry = unsafe { &mut *self.start.as_ptr().add(usize::from(index)) };
        entry.set_addr(lease.as_mut_ptr().expose_provenance() as u64);
        entry.set_len(lease.len());
        entry.set_bid(lease.id());
        self.tail = self.tail.wrapping_add(1);
    }

    fn publish(&self) {
        // SAFETY: `start` is the first entry of the ring, so this is the ring's tail: aligned, valid while `self` lives,
        // written by this thread only and read by the kernel atomically.
        let tail =
            unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.start.as_ptr()).cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}

impl Drop for Entries {
    fn drop(&mut self) {
        if !self.leaked {
            // SAFETY: allocated with this very layout and freed only here, after the ring (see `Chunks::new`).
            unsafe { dealloc(self.start.as_ptr().cast(), self.layout) }
        }
    }
}

/// Whether a ring accepts incremental buffers, asked of a ring made for the question.
pub(super) fn accepts_incremental(ring: IoUring) -> bool {
    let Ok(entries) = Entries::new(1) else {
        return false;
    };
    // SAFETY: the ring is dropped here, before the entries.
    let accepted = unsafe { entries.register(&ring, true) }.is_ok();
    drop(ring);
    accepted
}
