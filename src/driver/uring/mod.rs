//! The driver on io_uring.
//!
//! ```text
//!  turn:  post free chunks ─▶ push what links want ─▶ announce sleep ─▶ one io_uring_enter ─▶ collect completions
//! ```
//!
//! One ring belongs to one thread: the kernel runs completions only inside that thread's enters, so that a turn is one
//! system call which submits, runs and waits. Receiving is multishot from chunks that all links share. Invariants:
//!
//! - **U1, offsets are counted.** See `chunks.rs`.
//! - **U2, memory stays** while the kernel may use it. See `link.rs` for what operations name; chunks and their ring are
//!   dropped after the ring of operations, and that is dropped when nothing is in flight.
//! - **U3, slots wait.** A link's slot is used again only after the last completion of each operation on it.
//! - **U4, wants are derived.** No submission is ever stored outside the submission queue: what a link wants next follows
//!   from its state, so a full queue delays an operation and never loses it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::marker::PhantomData;
use std::mem;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use io_uring::opcode;
use io_uring::types::{CancelBuilder, Fd};

#[cfg(feature = "tokio-uring")]
use tokio::io::{Interest, unix::AsyncFd};

use self::chunks::Chunks;
use self::link::{Connection, ReceiveEnd};
use self::operation::{Completion, Operation};
use self::ring::{Ring, Wait};
use super::slots::{Occupant, Slots};
use super::{Adopt, Drive, DriverError, DriverStats, Event, Incremental, Link, Options, Waker};
use crate::buffer::{Pool, Segment, Spares};

mod chunks;
mod link;
mod operation;
mod probe;
mod ring;
mod unavailable;

pub use probe::{Capabilities, probe};
pub use unavailable::{KernelVersion, Unavailable};

/// How long a dropped driver waits for the kernel to let go of its memory.
const DROP_WAIT_MAX: Duration = Duration::from_secs(1);

/// Moves octets with io_uring. Made on the thread that uses it, and not to be sent to another.
pub struct UringDriver {
    ring: Ring,
    chunks: Chunks,
    slots: Slots<Connection>,
    /// Slots whose links may want an operation.
    wanting: VecDeque<u32>,
    /// Slots whose links found no chunk.
    starved: Vec<u32>,
    starvation: Starvation,
    /// How often starved links were fed.
    feedings: u64,
    spares: Spares,
    waker: Waker,
    event: Arc<File>,
    wake: Wake,
    completions: Vec<Completion>,
    counts: DriverStats,
    /// The ring belongs to this thread.
    _not_send: PhantomData<*const ()>,
}

/// How a wake-up reaches the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wake {
    /// By a poll of the event descriptor in the ring, which has to be pushed.
    Unpolled,
    /// By that poll.
    Polled,
    /// Whoever sleeps for the driver watches the event descriptor.
    #[cfg_attr(not(feature = "tokio-uring"), expect(dead_code))]
    Signalled,
}

/// Whether the worker was told that links are starved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Starvation {
    NotTold,
    Told,
}

impl UringDriver {
    /// A driver with its ring and its chunks.
    ///
    /// # Errors
    ///
    /// [`DriverError::Unavailable`] says why there is no io_uring and what to do; the others, that memory or descriptors
    /// are short.
    pub fn new(options: &Options) -> Result<Self, DriverError> {
        Self::with_wake(options, Wake::Unpolled)
    }

    /// A driver that does not sleep in the ring: [`UringDriver::signal`] tells when there is something to collect.
    #[cfg(feature = "tokio-uring")]
    pub(super) fn signalling(options: &Options) -> Result<Self, DriverError> {
        let mut driver = Self::with_wake(options, Wake::Signalled)?;
        let signal = driver.event.as_raw_fd();
        driver
            .ring
            .signal(signal)
            .map_err(|error| probe::explain("IORING_REGISTER_EVENTFD", &error))?;
        Ok(driver)
    }

    fn with_wake(options: &Options, wake: Wake) -> Result<Self, DriverError> {
        let ring = Ring::new(options).map_err(|error| probe::explain(probe::SETUP, &error))?;
        probe::require(ring.inner())?;
        let event = Arc::new(event_descriptor()?);
        let signalled = Arc::clone(&event);
        // Adding 1 fails only when 2^64 - 2 wakes were never read, and then the descriptor is readable anyway.
        let waker = Waker::new(move || drop((&*signalled).write(&1u64.to_ne_bytes())));
        // The last thing that can fail: from here on the chunks are dropped after the ring, as fields.
        let chunks = register_chunks(&ring, options)?;
        let hook = waker.clone();
        chunks.pool().on_return(move || hook.wake());
        Ok(Self {
            ring,
            chunks,
            slots: Slots::new(options.links_max),
            wanting: VecDeque::new(),
            starved: Vec::new(),
            starvation: Starvation::NotTold,
            feedings: 0,
            spares: Spares::default(),
            waker,
            event,
            wake,
            completions: Vec::new(),
            counts: DriverStats::default(),
            _not_send: PhantomData,
        })
    }

    /// The beginning of a turn: queues all that links want. True when nothing speaks against sleeping so far.
    fn prepare(&mut self, events: &mut Vec<Event>) -> Result<bool, DriverError> {
        self.counts.turns += 1;
        let tell = self.feed();
        if tell {
            events.push(Event::Starved);
        }
        Ok(self.push_wanted()? && !tell)
    }

    /// Submits what is queued, waits, and collects.
    fn enter(&mut self, wait: Wait, events: &mut Vec<Event>) -> Result<(), DriverError> {
        self.ring.enter(wait).map_err(enter_failed)?;
        self.collect(events);
        Ok(())
    }

    /// Gives a connection a slot and lets it begin.
    fn occupy(&mut self, connection: io::Result<Connection>) -> Result<Link, DriverError> {
        let connection = connection.map_err(|error| DriverError::Descriptor {
            what: "socket",
            error,
        })?;
        let max = self.slots.max();
        let link = self.slots.occupy(connection);
        let link = link.ok_or(DriverError::LinksExhausted { max })?;
        self.wanting.push_back(link.slot());
        Ok(link)
    }

    /// The chunks, to be counted.
    #[cfg(test)]
    pub(super) fn pool(&self) -> &Pool {
        self.chunks.pool()
    }

    /// Posts chunks that came back, and feeds starved links. True when the worker must be told of a starvation.
    fn feed(&mut self) -> bool {
        self.chunks.post_free();
        self.starved.retain(|slot| {
            self.slots
                .occupant(*slot)
                .is_some_and(|connection| connection.is_starved())
        });
        if self.starved.is_empty() {
            self.starvation = Starvation::NotTold;
            return false;
        }
        if self.chunks.posted() == 0 {
            // B5: the look after this mark is the one in `may_sleep`.
            self.chunks.pool().mark_starved();
            return mem::replace(&mut self.starvation, Starvation::Told) == Starvation::NotTold;
        }
        self.starvation = Starvation::NotTold;
        // The first may take all there is, so that it is the one that has gone without for longest.
        self.feedings += 1;
        let slots = &mut self.slots;
        self.starved
            .sort_by_key(|slot| slots.occupant(*slot).map_or(0, |link| link.fed));
        for slot in self.starved.drain(..) {
            if let Some(connection) = self.slots.occupant(slot) {
                connection.feed();
                self.wanting.push_back(slot);
            }
        }
        false
    }

    /// Pushes all that links want, as far as there is room. False when there was none.
    fn push_wanted(&mut self) -> Result<bool, DriverError> {
        if self.wake == Wake::Unpolled {
            let poll = opcode::PollAdd::new(Fd(self.event.as_raw_fd()), libc::POLLIN as u32)
                .multi(true)
                .build();
            // SAFETY: the entry names the descriptor only, which lives as long as the driver.
            let pushed = unsafe { self.ring.push(&poll.user_data(Operation::Wake.tag())) };
            if !pushed.map_err(enter_failed)? {
                return Ok(false);
            }
            self.wake = Wake::Polled;
        }
        while let Some(slot) = self.wanting.pop_front() {
            if !self.push_wanted_by(slot)? {
                self.wanting.push_front(slot);
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn push_wanted_by(&mut self, slot: u32) -> Result<bool, DriverError> {
        let Some(connection) = self.slots.occupant(slot) else {
            return Ok(true);
        };
        while let Some(operation) = connection.wants(slot) {
            let entry = connection.build(operation);
            // SAFETY: by U2 and U3 the connection, and with it all that the entry names, stays until its last completion;
            // chunks stay until the ring is gone (see `drop`).
            if !unsafe { self.ring.push(&entry) }.map_err(enter_failed)? {
                connection.not_pushed(operation);
                return Ok(false);
            }
            connection.pushed(operation);
        }
        Ok(true)
    }

    /// After anything that may change what a slot's link wants: frees the slot when the connection is over.
    fn settle(&mut self, slot: u32) {
        match self.slots.occupant(slot) {
            Some(connection) if connection.is_over() => self.slots.free(slot),
            Some(_) => self.wanting.push_back(slot),
            None => {}
        }
    }

    /// The last look before sleeping, after the sleep was announced.
    fn may_sleep(&self, more_work: impl FnOnce() -> bool) -> bool {
        let chunk_came_back = !self.starved.is_empty() && self.chunks.pool().has_free();
        !more_work() && !chunk_came_back
    }

    fn collect(&mut self, events: &mut Vec<Event>) {
        let mut completions = mem::take(&mut self.completions);
        self.ring.collect(&mut completions);
        self.counts.completions += completions.len() as u64;
        for completion in completions.drain(..) {
            self.complete(&completion, events);
        }
        self.completions = completions;
    }

    fn complete(&mut self, completion: &Completion, events: &mut Vec<Event>) {
        let slot = match Operation::from_tag(completion.tag) {
            Some(Operation::Wake) => {
                if completion.is_last() {
                    self.wake = Wake::Unpolled;
                }
                return;
            }
            Some(Operation::CancelAll) | None => return,
            Some(Operation::Connect(slot)) => {
                self.connected(slot, completion, events);
                slot
            }
            Some(Operation::Receive(slot)) => {
                self.received(slot, completion, events);
                if !completion.is_last() {
                    return;
                }
                self.received_last(slot, completion.result, events);
                slot
            }
            Some(Operation::Send(slot)) => {
                self.sent(slot, completion, events);
                slot
            }
            Some(Operation::Pause(slot)) => {
                if let Some(connection) = self.slots.occupant(slot) {
                    connection.paused(completion.result);
                }
                slot
            }
            Some(Operation::Cancel(slot)) => {
                if let Some(connection) = self.slots.occupant(slot) {
                    connection.cancelled();
                }
                slot
            }
        };
        self.settle(slot);
    }

    fn connected(&mut self, slot: u32, completion: &Completion, events: &mut Vec<Event>) {
        let Some(connection) = self.slots.occupant(slot) else {
            return;
        };
        match connection.connected(completion.result) {
            Some(Ok(())) => events.push(Event::Connected(self.slots.link(slot))),
            Some(Err(error)) => self.lose(slot, error, events),
            None => {}
        }
    }

    fn received(&mut self, slot: u32, completion: &Completion, events: &mut Vec<Event>) {
        // Chunks are counted whoever the octets are for (U1).
        let octets = u32::try_from(completion.result).unwrap_or(0);
        let filled = completion
            .chunk()
            .map(|chunk| self.chunks.filled(chunk, octets));
        let Some(connection) = self.slots.occupant(slot) else {
            return;
        };
        if octets > 0 && !connection.is_closing() {
            self.counts.octets_in += u64::from(octets);
            connection.fed = self.feedings;
            match filled.flatten() {
                Some(filled) => events.push(Event::Received(self.slots.link(slot), filled)),
                None => {
                    let error = io::Error::new(
                        io::ErrorKind::InvalidData,
                        "the kernel named a chunk it does not have",
                    );
                    self.lose(slot, error, events);
                }
            }
        }
    }

    fn received_last(&mut self, slot: u32, result: i32, events: &mut Vec<Event>) {
        let Some(connection) = self.slots.occupant(slot) else {
            return;
        };
        match connection.received_last(result) {
            ReceiveEnd::Again | ReceiveEnd::Closed => {}
            ReceiveEnd::Starved => {
                self.counts.starvations += 1;
                self.starved.push(slot);
            }
            ReceiveEnd::Lost(error) => self.lose(slot, error, events),
        }
    }

    fn sent(&mut self, slot: u32, completion: &Completion, events: &mut Vec<Event>) {
        let Some(connection) = self.slots.occupant(slot) else {
            return;
        };
        let outcome = connection.sent(completion.result, &mut self.spares);
        let (told, unsent) = (!connection.is_closing(), connection.unsent());
        match outcome {
            Ok(octets) => {
                self.counts.octets_out += octets as u64;
                if told && octets > 0 {
                    events.push(Event::Sent {
                        link: self.slots.link(slot),
                        unsent,
                    });
                }
            }
            Err(error) => self.lose(slot, error, events),
        }
    }

    /// Tells the end of a link, once (D1), and closes it; its slot is to be settled after that.
    fn lose(&mut self, slot: u32, error: io::Error, events: &mut Vec<Event>) {
        let link = self.slots.link(slot);
        if self.slots.retire(slot) {
            events.push(Event::Lost(link, error));
            self.wanting.push_back(slot);
        }
    }

    /// Ends every operation. False when the kernel has not let go in time.
    fn cancel_all(&mut self) -> bool {
        let deadline = Instant::now() + DROP_WAIT_MAX;
        self.slots.retire_all();
        let entry = opcode::AsyncCancel2::new(CancelBuilder::any().all())
            .build()
            .user_data(Operation::CancelAll.tag());
        // SAFETY: the entry names no memory.
        let mut asked = unsafe { self.ring.push(&entry) }.unwrap_or(false);
        let mut events = Vec::new();
        self.ring.set_gather(Duration::ZERO);
        while self.ring.in_flight() > 0 {
            if self.ring.enter(Wait::Until(deadline)).is_err() || Instant::now() >= deadline {
                return false;
            }
            self.collect(&mut events);
            events.clear();
            if !asked {
                // SAFETY: the entry names no memory.
                asked = unsafe { self.ring.push(&entry) }.unwrap_or(false);
            }
        }
        true
    }
}

/// The parts of a turn, for a driver that sleeps elsewhere than in the ring.
#[cfg(feature = "tokio-uring")]
impl UringDriver {
    /// What becomes readable, in the runtime whose task calls this, when there is something to collect or a waker was
    /// used while the driver sleeps.
    pub(super) fn watch_signal(&self) -> io::Result<AsyncFd<Arc<File>>> {
        let event = Arc::clone(&self.event);
        // SAFETY: the watch holds the file, whose descriptor stays open and the same as long as it does.
        unsafe { AsyncFd::register_with_interest(event, Interest::READABLE) }
            .map_err(io::Error::from)
    }

    /// Submits what links want and collects what is there. True when there was nothing, and nothing else speaks against
    /// sleeping so far.
    pub(super) fn begin(&mut self, events: &mut Vec<Event>) -> Result<bool, DriverError> {
        let is_idle = self.prepare(events)?;
        let completions = self.counts.completions;
        self.enter(Wait::No, events)?;
        Ok(is_idle && self.counts.completions == completions)
    }

    /// Announces the sleep and takes the last look; true when the sleep may begin. [`UringDriver::wake_up`] follows in
    /// either case.
    pub(super) fn fall_asleep(&mut self, more_work: impl FnOnce() -> bool) -> bool {
        self.waker.announce_sleep();
        self.may_sleep(more_work) && self.ring.arm_signal()
    }

    /// Ends the sleep and collects what there is.
    pub(super) fn wake_up(&mut self, events: &mut Vec<Event>) -> Result<(), DriverError> {
        self.ring.disarm_signal();
        self.counts.wakes += u64::from(self.waker.awake());
        self.enter(Wait::No, events)
    }
}

impl Drive for UringDriver {
    fn connect(&mut self, peer: SocketAddr) -> Result<Link, DriverError> {
        if self.slots.is_full() {
            let max = self.slots.max();
            return Err(DriverError::LinksExhausted { max });
        }
        self.occupy(Connection::new(peer))
    }

    fn send(&mut self, link: Link, segment: Segment) {
        match self.slots.get(link) {
            Some(connection) => {
                if connection.queue(segment, &mut self.spares) {
                    self.wanting.push_back(link.slot());
                }
            }
            None => self.spares.recycle(segment),
        }
    }

    fn unsent(&self, link: Link) -> usize {
        self.slots.peek(link).map_or(0, Connection::unsent)
    }

    fn spare(&mut self) -> Vec<u8> {
        self.spares.take()
    }

    fn set_reading(&mut self, link: Link, reading: bool) {
        if let Some(connection) = self.slots.get(link) {
            connection.set_reading(reading);
            self.wanting.push_back(link.slot());
        }
    }

    fn close(&mut self, link: Link) {
        if self.slots.get(link).is_some() {
            self.slots.retire(link.slot());
            self.settle(link.slot());
        }
    }

    async fn turn(
        &mut self,
        deadline: Option<Instant>,
        more_work: impl FnOnce() -> bool,
        events: &mut Vec<Event>,
    ) -> Result<(), DriverError> {
        if !self.prepare(events)? {
            return self.enter(Wait::No, events);
        }
        self.waker.announce_sleep();
        let wait = match (self.may_sleep(more_work), deadline) {
            (false, _) => Wait::No,
            (true, None) => Wait::Forever,
            (true, Some(deadline)) => Wait::Until(deadline),
        };
        let outcome = self.enter(wait, events);
        self.counts.wakes += u64::from(self.waker.awake());
        outcome
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn set_latency_budget(&mut self, budget: Duration) {
        self.ring.set_gather(budget);
    }

    fn stats(&self) -> DriverStats {
        let pool = self.chunks.pool().stats();
        let posted = self.chunks.posted();
        DriverStats {
            enters: self.ring.enters(),
            links: self.slots.used(),
            chunks_total: pool.total,
            chunks_free: pool.free,
            chunks_posted: posted,
            chunks_held: pool.out.saturating_sub(posted),
            incremental: self.chunks.incremental(),
            gathers: self.ring.gathers(),
            ..self.counts
        }
    }
}

impl Adopt for UringDriver {
    type Socket = TcpStream;

    fn adopt(&mut self, socket: TcpStream) -> Result<Link, DriverError> {
        self.occupy(Connection::adopted(socket))
    }
}

impl Drop for UringDriver {
    fn drop(&mut self) {
        if !self.cancel_all() {
            // The kernel may still use what operations name, and closing the ring does not wait for it: better never
            // freed than freed too early.
            tracing::error!(
                in_flight = self.ring.in_flight(),
                "io_uring operations did not end; their memory is leaked"
            );
            mem::forget(mem::take(&mut self.slots));
            self.chunks.leak();
        }
        // From here the fields go in their order: the ring, then the chunks and the links.
    }
}

fn enter_failed(error: io::Error) -> DriverError {
    DriverError::Wait {
        call: "io_uring_enter",
        error,
    }
}

/// Registers the chunks: incremental ones where they are wanted and the kernel has them, plain ones otherwise.
fn register_chunks(ring: &Ring, options: &Options) -> Result<Chunks, DriverError> {
    if options.incremental == Incremental::Auto {
        let pool = Pool::new(options.chunks, options.chunk_octets)?;
        // SAFETY: the driver's fields are dropped in their order, the ring before the chunks.
        if let Ok(chunks) = unsafe { Chunks::new(ring.inner(), pool, true) } {
            return Ok(chunks);
        }
    }
    let pool = Pool::new(options.plain_chunks, options.plain_chunk_octets)?;
    // SAFETY: as above.
    let plain = unsafe { Chunks::new(ring.inner(), pool, false) };
    plain.map_err(|error| probe::explain(probe::BUFFER_RING, &error).into())
}

fn event_descriptor() -> Result<File, DriverError> {
    // SAFETY: the call takes no pointers.
    let descriptor = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if descriptor < 0 {
        return Err(DriverError::Descriptor {
            what: "event descriptor",
            error: io::Error::last_os_error(),
        });
    }
    // SAFETY: the descriptor is new and nobody else owns it.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(descriptor) }))
}
