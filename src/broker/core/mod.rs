//! The broker as a state machine without I/O and without a clock.
//!
//! ```text
//!            octets read, now                       ┌──▶ output(): octets for each connection
//!   line ───▶ receive() ───┐                        │
//!                          ├──▶ Core ── settle() ───┤
//!   time ───▶ tick() ──────┘                        └──▶ touched(): connections to look at; deadline(): when to tick()
//! ```
//!
//! Whoever drives it gives it what was read, then calls [`settle`](Core::settle), then sends what is in the output of each
//! connection that was touched.
//!
//! | file | concern |
//! |---|---|
//! | `session`, `channel`, `unacked` | a connection, its channels, deliveries without an answer |
//! | `handshake`, `dispatch`, `content`, `closing` | what comes in, and the ends of channels and connections |
//! | `exchanges`, `queues`, `publishing`, `consuming`, `settling`, `tx`, `confirms`, `replies` | methods, by theme |
//! | `vhost`, `routing`, `queue`, `message` | what is kept |
//! | `delivering` | from queues to consumers |
//! | `operating`, `faults`, `records` | what only a broker for tests has |
//!
//! Invariants:
//! - **NOBODY WAITS INSIDE**: every method that came in is answered, or refused, before the next one is looked at; only what a
//!   fault holds back waits.
//! - **NUMBERS OUTLIVE QUEUES**: the number of a queue that was deleted is not used again before nobody names it.
//! - **ONE PLACE**: a message is in its queue, or unacked on one channel, or gone.

mod channel;
mod closing;
mod confirms;
mod consuming;
mod content;
mod context;
mod delivering;
mod dispatch;
mod exchanges;
mod faults;
mod handshake;
mod ids;
mod memory;
mod message;
mod names;
mod operating;
mod publishing;
mod queue;
mod queues;
mod records;
mod refusal;
mod replies;
mod routing;
mod session;
mod settling;
mod time_to_live;
mod tx;
mod unacked;
mod value;
mod vhost;

use std::time::Instant;

use slab::Slab;

pub(crate) use dispatch::Progress;
pub(crate) use faults::Faults;
pub(crate) use ids::SessionId;
pub use records::{Received, ReceivedMessage};

use super::settings::Settings;
use context::Shared;
use session::{BACKLOG_OCTETS_MAX, Phase, Session, UNREAD_OCTETS_MAX};
use vhost::Vhost;

pub(crate) struct Core {
    sessions: Slab<Session>,
    vhosts: Vec<Vhost>,
    shared: Shared,
    /// Connections that something has happened to.
    touched: Vec<SessionId>,
}

impl Core {
    pub fn new(settings: Settings, now: Instant) -> Self {
        let vhosts = settings
            .vhosts
            .iter()
            .map(|name| Vhost::new(name))
            .collect();
        let records = records::Records::new(settings.records_max, settings.memory_octets_max);
        Self {
            sessions: Slab::new(),
            vhosts,
            shared: Shared {
                settings,
                faults: Faults::default(),
                records,
                names: names::Names::default(),
                replies: replies::Replies::default(),
                totals: Default::default(),
                memory: memory::Memory::default(),
                started: now,
                direct: Vec::new(),
            },
            touched: Vec::new(),
        }
    }

    /// A new connection. `None` when there are as many as there may be.
    pub fn accept(&mut self, now: Instant) -> Option<SessionId> {
        let is_full = self.sessions.len() >= self.shared.settings.connections_max;
        if is_full || self.shared.faults.refuse_connections {
            return None;
        }
        let entry = self.sessions.vacant_entry();
        let id = SessionId(u32::try_from(entry.key()).ok()?);
        entry.insert(Session::new(id, now));
        let connections = &mut self.shared.totals.connections;
        self.shared.records.accepted(id, *connections);
        *connections += 1;
        Some(id)
    }

    /// The line of a connection has ended.
    pub fn lost(&mut self, now: Instant, id: SessionId) {
        self.release_session(now, id);
        self.shared
            .direct
            .retain(|(consumer, _)| consumer.session != id);
        self.sessions.try_remove(id.0 as usize);
    }

    /// So many octets of a connection's output wait to be taken by the kernel.
    pub fn unsent(&mut self, now: Instant, id: SessionId, unsent: usize) {
        let Some(session) = self.sessions.get_mut(id.0 as usize) else {
            return;
        };
        if unsent < session.unsent && session.backlog() >= UNREAD_OCTETS_MAX {
            // It is not read, so whatever it says goes unheard; but somebody is there who takes what it is sent.
            session.received(now);
        }
        session.unsent = unsent;
        if !session.is_congested || session.backlog() >= BACKLOG_OCTETS_MAX / 2 {
            return;
        }
        session.is_congested = false;
        let Some(vhost) = self.vhosts.get_mut(session.vhost) else {
            return;
        };
        for (_, channel) in session.channels.iter_mut() {
            for queue in channel
                .consumers
                .iter()
                .filter_map(|(_, consumer)| consumer.queue)
            {
                vhost.queues.stir(queue);
            }
        }
    }

    /// Octets for a connection, to be taken away.
    pub fn output(&mut self, id: SessionId) -> Option<&mut Vec<u8>> {
        Some(&mut self.sessions.get_mut(id.0 as usize)?.out)
    }

    /// The output was taken.
    pub fn sent(&mut self, now: Instant, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(id.0 as usize) {
            session.sent(now);
        }
    }

    /// Whether the line is to be closed once the output has left.
    pub fn is_over(&self, id: SessionId) -> bool {
        let session = self.sessions.get(id.0 as usize);
        session.is_none_or(Session::is_over)
    }

    /// Whether the line is to be closed at once.
    pub fn is_lost(&self, id: SessionId) -> bool {
        let session = self.sessions.get(id.0 as usize);
        session.is_none_or(|session| session.phase == Phase::Lost)
    }

    /// Whether the connection is to be read: those that have published in spite of an alarm are not until it is over, and
    /// nobody is whose own answers pile up.
    pub fn is_read(&self, id: SessionId) -> bool {
        let Some(session) = self.sessions.get(id.0 as usize) else {
            return false;
        };
        let is_blocked = session.publishes && self.alarm().is_some();
        !is_blocked && !session.is_frozen && session.backlog() < UNREAD_OCTETS_MAX
    }

    fn touch(&mut self, id: SessionId) {
        self.touched.push(id);
    }

    /// Connections to look at: their output, and whether they are over. Some may be named more than once.
    pub fn touched(&mut self) -> Vec<SessionId> {
        std::mem::take(&mut self.touched)
    }

    /// Does everything that has become possible: dead letters, deliveries, confirms, the news of an alarm.
    pub fn settle(&mut self, now: Instant) {
        for index in 0..self.vhosts.len() {
            self.settle_vhost(index, now);
        }
        for (consumer, message) in std::mem::take(&mut self.shared.direct) {
            let is_delivered = delivering::deliver_reply(&mut self.sessions, consumer, &message);
            self.shared.totals.delivered += u64::from(is_delivered);
        }
        self.measure_memory();
        let alarm = self.alarm().map(|reason| context::cut(reason.to_owned()));
        for (_, session) in &mut self.sessions {
            session.flush_confirms(now, self.shared.faults.confirms);
            session.publishes &= alarm.is_some();
            session.tell_alarm(alarm.as_deref());
            if !session.out.is_empty() || session.is_over() {
                self.touched.push(session.id);
            }
        }
    }

    /// Tells dead letters the time.
    fn set_clocks(&mut self, now: Instant) {
        let unix_seconds = self.shared.wall_clock(now);
        for vhost in &mut self.vhosts {
            vhost.effects.unix_seconds = unix_seconds;
        }
    }

    /// Makes the deliveries that cannot wait until everything has been read.
    fn settle_pressing(&mut self, now: Instant, id: SessionId) {
        let Some(session) = self.sessions.get(id.0 as usize) else {
            return;
        };
        let index = session.vhost;
        let is_pressing = self
            .vhosts
            .get_mut(index)
            .map(|vhost| &mut vhost.is_pressing);
        if is_pressing.is_some_and(std::mem::take) {
            self.settle_vhost(index, now);
        }
    }

    fn settle_vhost(&mut self, index: usize, now: Instant) {
        loop {
            let Some(vhost) = self.vhosts.get_mut(index) else {
                return;
            };
            let gone = std::mem::take(&mut vhost.gone);
            if !gone.is_empty() {
                self.bury(index, &gone);
            }
            let Some(vhost) = self.vhosts.get_mut(index) else {
                return;
            };
            vhost.bring_dead_letters(now);
            let Some(queue) = vhost.queues.next_restless() else {
                return;
            };
            let delivered = delivering::deliver_from(&mut self.sessions, vhost, queue, now);
            self.shared.totals.delivered += delivered;
        }
    }

    /// Why publishers are held back, if they are.
    fn alarm(&self) -> Option<&str> {
        let memory = self.shared.memory.is_short().then_some("low on memory");
        self.shared.faults.blocked.as_deref().or(memory)
    }

    fn measure_memory(&mut self) {
        let (vhosts, sessions) = (&self.vhosts, &self.sessions);
        let max = self.shared.settings.memory_octets_max;
        let held = || {
            let queues = vhosts.iter().map(|vhost| vhost.queues.octets());
            let sessions = sessions.iter().map(|(_, session)| session.octets());
            queues.chain(sessions).sum()
        };
        if self.shared.memory.measure(max, held) {
            self.touch_all();
        }
    }

    /// When time alone makes something due.
    pub fn deadline(&self) -> Option<Instant> {
        let sessions = self
            .sessions
            .iter()
            .filter_map(|(_, session)| session.deadline());
        let queues = self
            .vhosts
            .iter()
            .filter_map(|vhost| vhost.queues.deadline());
        sessions.chain(queues).min()
    }

    /// Does what is due. [`settle`](Self::settle) is to follow.
    pub fn tick(&mut self, now: Instant) {
        self.set_clocks(now);
        for vhost in &mut self.vhosts {
            vhost.tick(now);
        }
        let has_alarm = self.alarm().is_some();
        for (_, session) in &mut self.sessions {
            if has_alarm && session.publishes {
                // It is not read: it may well have said something.
                session.received(now);
            }
            session.tick(now);
        }
    }
}

#[cfg(test)]
mod tests;
