//! The driver on epoll, for where io_uring is missing or forbidden.
//!
//! ```text
//!  turn:  send and receive what is ready ─▶ announce sleep ─▶ epoll_pwait2 ─▶ send and receive what became ready
//! ```
//!
//! Octets are received into chunks that all links share, each to its end, so that a stream stays in one piece as it does
//! with io_uring's incremental buffers. Invariants:
//!
//! - **E1, edges are remembered.** Sockets are watched edge-triggered, once and for all: what one is ready for stays noted
//!   until a call says that it is not.
//! - **E2, nothing ready is forgotten.** A link that may do something is listed, and a turn waits only when none is.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};

use self::link::{Connection, Phase, Received};
use super::slots::Slots;
use super::{Adopt, Drive, DriverError, DriverStats, Event, Link, Options, Waker};
use crate::buffer::{Pool, Segment, Spares, Vacant};

mod link;

/// What epoll says for the waker's event descriptor, instead of a slot.
const WAKE: u64 = u64::MAX;

/// The most changes that one wait brings; the others come with the next one.
const CHANGES_MAX: usize = 256;

/// A chunk with less room is given up for a fresh one, so that no call is made for a few octets. Of chunks that are
/// small themselves, a quarter.
const ROOM_MIN: usize = 4096;

/// Moves octets with sockets and epoll.
pub struct EpollDriver {
    epoll: OwnedFd,
    pool: Pool,
    /// The chunk that is being filled.
    vacant: Option<Vacant>,
    slots: Slots<Connection>,
    /// Slots whose links may do something (E2).
    listed: VecDeque<u32>,
    /// Slots whose links found no chunk.
    starved: Vec<u32>,
    /// Whether the worker was told that links are starved.
    has_told_starvation: bool,
    /// How often starved links were fed.
    feedings: u64,
    spares: Spares,
    waker: Waker,
    changes: Vec<epoll::Event>,
    counts: DriverStats,
}

impl EpollDriver {
    /// A driver with its chunks: [`Options::chunks`] of [`Options::chunk_octets`].
    ///
    /// # Errors
    ///
    /// When memory or descriptors are short.
    pub fn new(options: &Options) -> Result<Self, DriverError> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)
            .map_err(|error| descriptor("epoll descriptor")(error.into()))?;
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let event =
            eventfd(0, flags).map_err(|error| descriptor("event descriptor")(error.into()))?;
        let event = Arc::new(event);
        // Never read: each write is an edge of its own.
        let edges = EventFlags::IN | EventFlags::ET;
        epoll::add(&epoll, &event, EventData::new_u64(WAKE), edges)
            .map_err(|error| descriptor("watch of an event descriptor")(error.into()))?;
        // Adding 1 fails only when 2^64 - 2 wakes were never read, and then the descriptor is readable anyway.
        let waker = Waker::new(move || {
            let _ = rustix::io::write(&event, &1u64.to_ne_bytes());
        });
        let pool = Pool::new(options.chunks, options.chunk_octets)?;
        let hook = waker.clone();
        pool.on_return(move || hook.wake());
        Ok(Self {
            epoll,
            pool,
            vacant: None,
            slots: Slots::new(options.links_max),
            listed: VecDeque::new(),
            starved: Vec::new(),
            has_told_starvation: false,
            feedings: 0,
            spares: Spares::default(),
            waker,
            changes: Vec::with_capacity(CHANGES_MAX),
            counts: DriverStats::default(),
        })
    }

    /// The chunks, to be counted.
    #[cfg(test)]
    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Makes sure that a link is looked at.
    fn list(&mut self, slot: u32) {
        if let Some(connection) = self.slots.occupant(slot)
            && !mem::replace(&mut connection.is_listed, true)
        {
            self.listed.push_back(slot);
        }
    }

    /// Lists starved links when there is a chunk again.
    fn feed(&mut self) {
        self.starved.retain(|slot| {
            let occupant = self.slots.occupant(*slot);
            occupant.is_some_and(|connection| connection.is_starved)
        });
        if self.starved.is_empty() || !self.has_room() {
            return;
        }
        self.has_told_starvation = false;
        // The first may take all there is, so that it is the one that has gone without for longest.
        self.feedings += 1;
        let slots = &mut self.slots;
        self.starved
            .sort_by_key(|slot| slots.occupant(*slot).map_or(0, |link| link.fed));
        for slot in mem::take(&mut self.starved) {
            if let Some(connection) = self.slots.occupant(slot) {
                connection.is_starved = false;
            }
            self.list(slot);
        }
    }

    /// Says once when links are starved.
    fn tell_starvation(&mut self, events: &mut Vec<Event>) {
        if self.starved.is_empty() {
            self.has_told_starvation = false;
        } else {
            // B5: the look after this mark is the one before sleeping.
            self.pool.mark_starved();
            if !mem::replace(&mut self.has_told_starvation, true) {
                events.push(Event::Starved);
            }
        }
    }

    /// Whether there is room to receive into, if need be in a fresh chunk.
    fn has_room(&mut self) -> bool {
        let enough = ROOM_MIN.min(self.pool.chunk_octets() as usize / 4).max(1);
        let room = self.vacant.as_ref().map_or(0, Vacant::room);
        if room < enough {
            match Vacant::take(&self.pool) {
                Some(fresh) => self.vacant = Some(fresh),
                None if room > 0 => {}
                None => {
                    self.vacant = None;
                    return false;
                }
            }
        }
        true
    }

    /// Lets every listed link do once what it is ready for.
    fn work(&mut self, events: &mut Vec<Event>) {
        for _ in 0..self.listed.len() {
            let Some(slot) = self.listed.pop_front() else {
                break;
            };
            if let Some(connection) = self.slots.occupant(slot) {
                connection.is_listed = false;
                self.work_on(slot, events);
            }
        }
        self.tell_starvation(events);
    }

    fn work_on(&mut self, slot: u32, events: &mut Vec<Event>) {
        let link = self.slots.link(slot);
        let Some(connection) = self.slots.occupant(slot) else {
            return;
        };
        match connection.connected() {
            Some(Ok(())) => events.push(Event::Connected(link)),
            Some(Err(error)) => return self.lose(slot, error, events),
            None if matches!(connection.phase, Phase::Connecting) => return,
            None => {}
        }
        if let Err(error) = self.send_on(slot, events) {
            return self.lose(slot, error, events);
        }
        if let Err(error) = self.receive_on(slot, events) {
            return self.lose(slot, error, events);
        }
        let more = self
            .slots
            .occupant(slot)
            .is_some_and(|connection| connection.may_send() || connection.may_receive());
        if more {
            self.list(slot);
        }
    }

    /// Sends until the queue is empty or the socket is full.
    fn send_on(&mut self, slot: u32, events: &mut Vec<Event>) -> io::Result<()> {
        let link = self.slots.link(slot);
        let Some(connection) = self.slots.occupant(slot) else {
            return Ok(());
        };
        let mut sent = 0;
        while connection.may_send() {
            self.counts.enters += 1;
            sent += connection.send(&mut self.spares)?;
        }
        if sent > 0 {
            self.counts.octets_out += sent as u64;
            let unsent = connection.unsent();
            events.push(Event::Sent { link, unsent });
        }
        Ok(())
    }

    /// Receives up to a chunk's worth of octets, so that no link keeps the others waiting.
    fn receive_on(&mut self, slot: u32, events: &mut Vec<Event>) -> io::Result<()> {
        let link = self.slots.link(slot);
        let mut budget = self.pool.chunk_octets() as usize;
        while budget > 0 {
            if !self.slots.peek(link).is_some_and(Connection::may_receive) {
                return Ok(());
            }
            let has_room = self.has_room();
            let Some(connection) = self.slots.occupant(slot) else {
                return Ok(());
            };
            let Some(vacant) = self.vacant.as_mut().filter(|_| has_room) else {
                if matches!(connection.phase, Phase::Draining(_)) {
                    // No chunk for what the peer sent last: better the error now than at an unknown time.
                    return Err(connection.lost_with(io::ErrorKind::OutOfMemory.into()));
                }
                self.counts.starvations += 1;
                connection.is_starved = true;
                self.starved.push(slot);
                return Ok(());
            };
            self.counts.enters += 1;
            match connection.receive(vacant.unfilled()) {
                Received::Octets(octets) => {
                    budget = budget.saturating_sub(octets);
                    self.counts.octets_in += octets as u64;
                    connection.fed = self.feedings;
                    events.push(Event::Received(link, vacant.fill(octets)));
                }
                Received::Nothing => {}
                Received::Lost(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Gives a connection a slot and watches its socket.
    fn watch(&mut self, connection: Connection) -> Result<Link, DriverError> {
        let max = self.slots.max();
        let link = self
            .slots
            .occupy(connection)
            .ok_or(DriverError::LinksExhausted { max })?;
        let Some(connection) = self.slots.get(link) else {
            return Err(DriverError::LinksExhausted { max });
        };
        let edges = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        let slot = EventData::new_u64(link.slot().into());
        if let Err(error) = epoll::add(&self.epoll, connection.socket(), slot, edges) {
            self.close(link);
            return Err(descriptor("watch of a socket")(error.into()));
        }
        self.list(link.slot());
        Ok(link)
    }

    /// Tells the end of a link, once (D1), and frees its slot.
    fn lose(&mut self, slot: u32, error: io::Error, events: &mut Vec<Event>) {
        let link = self.slots.link(slot);
        if self.slots.retire(slot) {
            events.push(Event::Lost(link, error));
            self.slots.free(slot);
        }
    }

    /// Waits for changes and notes them.
    fn wait(&mut self, timeout: Option<Duration>) -> Result<(), DriverError> {
        self.counts.enters += 1;
        self.changes.clear();
        // A time that the system cannot count is as good as for ever.
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let buffer = rustix::buffer::spare_capacity(&mut self.changes);
        match epoll::wait(&self.epoll, buffer, timeout.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(error) => {
                return Err(DriverError::Wait {
                    call: "epoll_pwait2",
                    error: error.into(),
                });
            }
        }
        self.counts.completions += self.changes.len() as u64;
        let mut changes = mem::take(&mut self.changes);
        for change in changes.drain(..) {
            // A closed socket is not watched any more, so the slot holds the link that is meant.
            let Ok(slot) = u32::try_from(change.data.u64()) else {
                continue;
            };
            if let Some(connection) = self.slots.occupant(slot) {
                connection.told(change.flags);
                self.list(slot);
            }
        }
        self.changes = changes;
        Ok(())
    }

    /// The last look before sleeping, after the sleep was announced.
    fn may_sleep(&self, more_work: impl FnOnce() -> bool) -> bool {
        let chunk_came_back = !self.starved.is_empty() && self.pool.has_free();
        !more_work() && !chunk_came_back
    }
}

impl Drive for EpollDriver {
    fn connect(&mut self, peer: SocketAddr) -> Result<Link, DriverError> {
        if self.slots.is_full() {
            let max = self.slots.max();
            return Err(DriverError::LinksExhausted { max });
        }
        self.watch(Connection::new(peer).map_err(descriptor("socket"))?)
    }

    fn send(&mut self, link: Link, segment: Segment) {
        match self.slots.get(link) {
            Some(connection) => {
                if connection.queue(segment, &mut self.spares) {
                    self.list(link.slot());
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
            self.list(link.slot());
        }
    }

    fn close(&mut self, link: Link) {
        if self.slots.get(link).is_some() {
            self.slots.retire(link.slot());
            self.slots.free(link.slot());
        }
    }

    async fn turn(
        &mut self,
        deadline: Option<Instant>,
        more_work: impl FnOnce() -> bool,
        events: &mut Vec<Event>,
    ) -> Result<(), DriverError> {
        self.counts.turns += 1;
        let told = events.len();
        self.feed();
        self.work(events);
        let has_told = events.len() > told;
        if has_told || !self.listed.is_empty() {
            self.wait(Some(Duration::ZERO))?;
        } else {
            self.waker.announce_sleep();
            let timeout = if self.may_sleep(more_work) {
                deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
            } else {
                Some(Duration::ZERO)
            };
            let outcome = self.wait(timeout);
            self.counts.wakes += u64::from(self.waker.awake());
            outcome?;
        }
        self.work(events);
        Ok(())
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Nothing changes: epoll does not gather.
    fn set_latency_budget(&mut self, _budget: Duration) {}

    fn stats(&self) -> DriverStats {
        let pool = self.pool.stats();
        let posted = usize::from(self.vacant.is_some());
        DriverStats {
            links: self.slots.used(),
            chunks_total: pool.total,
            chunks_free: pool.free,
            chunks_posted: posted,
            chunks_held: pool.out.saturating_sub(posted),
            incremental: true,
            ..self.counts
        }
    }
}

impl Adopt for EpollDriver {
    type Socket = TcpStream;

    fn adopt(&mut self, socket: TcpStream) -> Result<Link, DriverError> {
        self.watch(Connection::adopted(socket).map_err(descriptor("socket"))?)
    }
}

/// What could not be made.
fn descriptor(what: &'static str) -> impl Fn(io::Error) -> DriverError {
    move |error| DriverError::Descriptor { what, error }
}
