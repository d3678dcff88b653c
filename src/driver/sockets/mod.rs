//! Links over sockets that tell when they are ready: what the driver on epoll and the simulated one share.
//!
//! ```text
//!  driver: a socket has become ready ── told() ─▶ listed ── work() ─▶ send, receive ─▶ events
//!  owner:  send, set_reading ───────────────────▶   ▲                    │ may do more, or there is a chunk again
//!                                                   └────────────────────┘
//! ```
//!
//! Octets are received into chunks that all links share, each to its end, so that a stream stays in one piece as it does
//! with io_uring's incremental buffers. Invariants:
//!
//! - **E1, edges are remembered.** Sockets are watched edge-triggered, once and for all: what one is ready for stays noted
//!   until a call says that it is not.
//! - **E2, nothing ready is forgotten.** A link that may do something is listed, and a turn waits only when none is.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem;

use self::link::{Connection, Phase, Received};
use super::slots::Slots;
use super::{DriverError, DriverStats, Event, Link, Options};
use crate::buffer::{Pool, Segment, Spares, Vacant};

mod link;

/// A chunk with less room is given up for a fresh one, so that no call is made for a few octets. Of chunks that are
/// small themselves, a quarter.
const ROOM_MIN: usize = 4096;

/// A socket whose calls never block.
pub(super) trait Socket {
    /// Takes octets from the beginning of what the pieces hold, as many as there is room for.
    fn send(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Gives octets that have come; 0 at their end. Less than the room has emptied the socket, unless a readiness is told
    /// again.
    fn receive(&mut self, room: &mut [u8]) -> io::Result<usize>;

    /// How its connect has failed, if it has, or how asking for that has.
    fn take_error(&mut self) -> io::Result<Option<io::Error>>;

    /// Ends both directions: what has come can still be received, and then the end.
    fn shut_down(&mut self);
}

/// What a socket has become ready for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Readiness {
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// The peer or the system ended it: after the last octets a receive says how.
    pub(super) ended: bool,
}

/// Links, their sockets, and the chunks that they receive into.
pub(super) struct Sockets<S> {
    pool: Pool,
    /// The chunk that is being filled.
    vacant: Option<Vacant>,
    slots: Slots<Connection<S>>,
    /// Slots whose links may do something (E2).
    listed: VecDeque<u32>,
    /// Slots whose links found no chunk.
    starved: Vec<u32>,
    /// Whether the worker was told that links are starved.
    has_told_starvation: bool,
    /// How often starved links were fed.
    feedings: u64,
    spares: Spares,
    pub(super) counts: DriverStats,
}

impl<S: Socket> Sockets<S> {
    /// No links yet, and [`Options::chunks`] chunks of [`Options::chunk_octets`]. `wake` wakes the driver.
    pub(super) fn new(
        options: &Options,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, DriverError> {
        let pool = Pool::new(options.chunks, options.chunk_octets)?;
        pool.on_return(wake);
        Ok(Self {
            pool,
            vacant: None,
            slots: Slots::new(options.links_max),
            listed: VecDeque::new(),
            starved: Vec::new(),
            has_told_starvation: false,
            feedings: 0,
            spares: Spares::default(),
            counts: DriverStats::default(),
        })
    }

    /// The chunks, to be counted.
    #[cfg(test)]
    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Whether there is room for another link.
    pub(super) fn check_room(&self) -> Result<(), DriverError> {
        let max = self.slots.max();
        if self.slots.is_full() {
            return Err(DriverError::LinksExhausted { max });
        }
        Ok(())
    }

    /// Gives a connecting socket a slot; `refused` says that its connect has failed already.
    pub(super) fn connecting(
        &mut self,
        socket: S,
        refused: Option<io::Error>,
    ) -> Result<Link, DriverError> {
        self.occupy(socket, refused.map_or(Phase::Connecting, Phase::Refused))
    }

    /// Gives a connected socket a slot.
    pub(super) fn connected(&mut self, socket: S) -> Result<Link, DriverError> {
        self.occupy(socket, Phase::Open)
    }

    fn occupy(&mut self, socket: S, phase: Phase) -> Result<Link, DriverError> {
        let max = self.slots.max();
        let link = self.slots.occupy(Connection::new(socket, phase));
        let link = link.ok_or(DriverError::LinksExhausted { max })?;
        self.list(link.slot());
        Ok(link)
    }

    pub(super) fn socket(&mut self, link: Link) -> Option<&S> {
        self.slots.get(link).map(|connection| connection.socket())
    }

    /// The link in a slot.
    pub(super) fn link(&self, slot: u32) -> Link {
        self.slots.link(slot)
    }

    /// A socket has become ready for something.
    pub(super) fn told(&mut self, link: Link, readiness: Readiness) {
        if let Some(connection) = self.slots.get(link) {
            connection.told(readiness);
            self.list(link.slot());
        }
    }

    /// The beginning of a turn. True when nothing speaks against sleeping so far: nothing was told, and no link may do
    /// anything (E2).
    pub(super) fn begin(&mut self, events: &mut Vec<Event>) -> bool {
        self.counts.turns += 1;
        let told = events.len();
        self.feed();
        self.work(events);
        events.len() == told && self.listed.is_empty()
    }

    /// The last look before sleeping, after the sleep was announced.
    pub(super) fn may_sleep(&self, more_work: impl FnOnce() -> bool) -> bool {
        let chunk_came_back = !self.starved.is_empty() && self.pool.has_free();
        !more_work() && !chunk_came_back
    }

    /// See [`super::Drive::send`].
    pub(super) fn send(&mut self, link: Link, segment: Segment) {
        match self.slots.get(link) {
            Some(connection) => {
                if connection.queue(segment, &mut self.spares) {
                    self.list(link.slot());
                }
            }
            None => self.spares.recycle(segment),
        }
    }

    /// See [`super::Drive::unsent`].
    pub(super) fn unsent(&self, link: Link) -> usize {
        self.slots.peek(link).map_or(0, Connection::unsent)
    }

    /// See [`super::Drive::spare`].
    pub(super) fn spare(&mut self) -> Vec<u8> {
        self.spares.take()
    }

    /// See [`super::Drive::set_reading`].
    pub(super) fn set_reading(&mut self, link: Link, reading: bool) {
        if let Some(connection) = self.slots.get(link) {
            connection.set_reading(reading);
            self.list(link.slot());
        }
    }

    /// See [`super::Drive::close`].
    pub(super) fn close(&mut self, link: Link) {
        if self.slots.get(link).is_some() {
            self.slots.retire(link.slot());
            self.slots.free(link.slot());
        }
    }

    /// See [`super::Drive::stats`].
    pub(super) fn stats(&self) -> DriverStats {
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
    pub(super) fn work(&mut self, events: &mut Vec<Event>) {
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
            if !self
                .slots
                .peek(link)
                .is_some_and(Connection::<S>::may_receive)
            {
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

    /// Tells the end of a link, once (D1), and frees its slot.
    fn lose(&mut self, slot: u32, error: io::Error, events: &mut Vec<Event>) {
        let link = self.slots.link(slot);
        if self.slots.retire(slot) {
            events.push(Event::Lost(link, error));
            self.slots.free(slot);
        }
    }
}
