//! A worker: one thread, one driver, and the connections on it.
//!
//! ```text
//!  loop ─▶ commands ─▶ what is due by time ─▶ acks, output, publishes ─▶ driver.turn() ─▶ what happened ─┐
//!   ▲                                                                                                    │
//!   └────────────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Invariants:
//! - **ONE TURN**: everything that a turn brought is answered in the next turn's single system call.
//! - **SLOTS OUTLIVE CHANNELS**: a consumer's or publisher's slot is removed only when its channel is gone, because until then the connection may name it.

mod batching;
mod commands;
mod consuming;
mod jobs;
mod line;
mod publishing;
mod shutdown;
mod start;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use slab::Slab;

use super::command::Mailbox;
use super::error::{ConnectCause, Error};
use super::event::Event as EngineEvent;
use super::hands::{Hands, Panicked};
use super::region::Region;
use super::settings::Settings;
use super::stats::{Board, WorkerStats};
use crate::buffer::{Parsed, Segment};
use crate::connection::{self, ChannelError, ConnectionError, Reply, Token};
use crate::driver::{self, Drive, Link};

pub(super) use consuming::{ConsumerSlot, SlotState};
pub(super) use publishing::PublisherSlot;
#[cfg(feature = "tokio-uring")]
pub use start::LocalWorker;
#[cfg(feature = "sim")]
pub(super) use start::in_world;
pub(super) use start::{StartGate, Starting, on_thread};

use line::{Line, Pending, Phase, Session};
use shutdown::Shutdown;

/// The line for consumers and everything but publishers, and the line for those.
const MAIN: usize = 0;
const PUBLISHING: usize = 1;

/// The most commands that one turn looks at, so that a flood of them does not keep the line waiting.
const COMMANDS_PER_TURN_MAX: usize = 8192;

/// Where a node can be reached, as it was resolved when the worker started.
#[derive(Debug, Clone)]
struct Candidate {
    node: usize,
    address: SocketAddr,
}

pub(super) struct Worker<D> {
    index: usize,
    driver: D,
    mailbox: Arc<Mailbox>,
    board: Arc<Board>,
    settings: Arc<Settings>,
    candidates: Vec<Candidate>,
    lines: [Line; 2],
    consumers: Slab<ConsumerSlot>,
    publishers: Slab<PublisherSlot>,
    /// Tells slots that were used one after the other apart.
    serial: u64,
    panicked: Vec<Panicked>,
    /// No batch is due before that.
    batches_due: Option<Instant>,
    shutdown: Option<Shutdown>,
    /// Whether a session has ended since the last turn. What follows from that is done in the next pass, and nothing else
    /// may bring it about: the turn must not wait.
    is_restless: bool,
    /// The engine's start, until this worker is connected.
    gate: Option<Arc<StartGate>>,
    /// Why it could not be.
    start_failed: Option<Error>,
}

impl<D: Drive> Worker<D> {
    /// Runs until it is shut down, or its driver fails.
    async fn run(&mut self) -> Result<(), Error> {
        let mut events = Vec::new();
        // Silence is measured up to the last look at the lines: a slow handler must not take its own time for the peer's.
        let mut looked = self.driver.now();
        loop {
            if let Some(error) = self.start_failed.take() {
                return Err(error);
            }
            let now = self.driver.now();
            // Before the commands: handlers answer by commands, which are to leave in this turn.
            self.hand_over_due(now);
            self.take_commands(now);
            self.tick(looked);
            for line in [MAIN, PUBLISHING] {
                self.settle(line, now);
            }
            if let Some(result) = self.step_shutdown(now) {
                self.finish_shutdown(now, &result).await;
                return Ok(());
            }
            let deadline = self.deadline();
            let (mailbox, is_restless) = (&self.mailbox, std::mem::take(&mut self.is_restless));
            self.driver
                .turn(deadline, || is_restless || !mailbox.is_empty(), &mut events)
                .await?;
            self.board.show(&WorkerStats {
                driver: self.driver.stats(),
            });
            looked = self.driver.now();
            for event in events.drain(..) {
                self.driver_event(looked, event);
            }
        }
    }

    fn take_commands(&mut self, now: Instant) {
        for _ in 0..COMMANDS_PER_TURN_MAX {
            match self.mailbox.take() {
                Some(command) => self.command(now, command),
                None => return,
            }
        }
    }

    /// What is due because of the time.
    fn tick(&mut self, now: Instant) {
        for line in [MAIN, PUBLISHING] {
            let Some(session) = &mut self.lines[line].session else {
                continue;
            };
            session.connection.tick(now);
            if session.deadline.is_some_and(|deadline| now >= deadline) {
                self.session_timed_out(line, now);
            }
        }
    }

    fn session_timed_out(&mut self, line: usize, now: Instant) {
        let Some(session) = &self.lines[line].session else {
            return;
        };
        match session.phase {
            Phase::Connecting | Phase::Handshaking => {
                let timeout = session.timeout;
                self.candidate_failed(line, now, ConnectCause::Timeout(timeout));
            }
            Phase::Open => {}
            Phase::Ending => self.drop_session(line),
        }
    }

    /// The next moment at which time alone makes something due.
    fn deadline(&self) -> Option<Instant> {
        let sessions = self.lines.iter().filter_map(|line| line.session.as_ref());
        sessions
            .flat_map(|session| [session.deadline, session.connection.deadline()])
            .chain([self.shutdown.as_ref().map(|shutdown| shutdown.deadline)])
            .chain([self.batches_due])
            .flatten()
            .min()
    }

    fn driver_event(&mut self, now: Instant, event: driver::Event) {
        match event {
            driver::Event::Connected(link) => {
                if let Some(line) = self.line_of(link)
                    && let Some(session) = &mut self.lines[line].session
                    && session.phase == Phase::Connecting
                {
                    session.phase = Phase::Handshaking;
                }
            }
            driver::Event::Received(link, filled) => {
                if let Some(line) = self.line_of(link) {
                    if let Some(session) = &mut self.lines[line].session {
                        session.inbox.push(filled);
                    }
                    self.read(line, now);
                }
            }
            // What waits for room is looked at in every turn.
            driver::Event::Sent { .. } => {}
            driver::Event::Lost(link, error) => {
                if let Some(line) = self.line_of(link) {
                    self.link_lost(line, now, &error);
                }
            }
            driver::Event::Starved => {
                for session in self.lines.iter_mut().filter_map(|l| l.session.as_mut()) {
                    session.inbox.release();
                }
                self.hand_over_all();
            }
        }
    }

    fn line_of(&self, link: Link) -> Option<usize> {
        self.lines
            .iter()
            .position(|line| line.session.as_ref().is_some_and(|s| s.link == link))
    }

    /// Shows the connection what came in; handlers run in here.
    fn read(&mut self, line: usize, now: Instant) {
        let copies = {
            let stats = self.driver.stats();
            stats.chunks_held * 2 > stats.chunks_total
        };
        let this = &mut self.lines[line];
        let Some(session) = &mut this.session else {
            return;
        };
        let Session {
            connection, inbox, ..
        } = session;
        let get_no_ack = this.lanes[line::GET_LANE].gets_without_ack();
        let result = inbox.parse(|octets, filled| {
            let region = Region::new(octets, filled, copies);
            let mut hands = Hands {
                consumers: &mut self.consumers,
                publishers: &self.publishers,
                region: &region,
                mailbox: &self.mailbox,
                line,
                get_no_ack,
                got: &mut this.got,
                panicked: &mut self.panicked,
                now,
                batches_due: &mut self.batches_due,
            };
            let progress = connection.receive(now, octets, &mut hands)?;
            Ok::<_, ConnectionError>(Parsed {
                consumed: progress.consumed,
                missing: progress.missing,
            })
        });
        if let Err(error) = result {
            tracing::warn!(worker = self.index, %error, "the broker broke the protocol");
        }
        self.events(line, now);
        self.report_panics();
    }

    /// Handles what the connection has to say.
    fn events(&mut self, line: usize, now: Instant) {
        while let Some(session) = &mut self.lines[line].session
            && let Some(event) = session.connection.poll_event()
        {
            match event {
                connection::Event::Open { .. } => self.line_opened(line, now),
                connection::Event::Reply { call, reply } => self.replied(line, call, reply),
                connection::Event::ChannelClosed { channel, error } => {
                    self.channel_closed(line, channel, error);
                }
                connection::Event::ConsumerCancelled { consumer } => {
                    self.consumer_ended(consumer, super::CancelReason::ByBroker);
                }
                connection::Event::Blocked { reason } => {
                    let worker = self.index;
                    self.tell(&EngineEvent::Blocked { worker, reason });
                }
                connection::Event::Unblocked => {
                    self.lines[line].unpark();
                    let worker = self.index;
                    self.tell(&EngineEvent::Unblocked { worker });
                }
                connection::Event::Flow { .. } => self.lines[line].unpark(),
                connection::Event::Closed(error) => self.connection_ended(line, now, error),
            }
        }
    }

    fn replied(&mut self, line: usize, call: Token, reply: Result<Reply, ChannelError>) {
        match self.lines[line].calls.try_remove(call as usize) {
            Some(Pending::LaneOpen) | None => {}
            Some(Pending::Job(lane)) => self.job_answered(line, lane, reply),
            Some(Pending::ConsumerSetup {
                consumer,
                operation,
            }) => self.consumer_progressed(consumer, operation, reply),
            Some(Pending::ConsumerCancel { consumer }) => {
                let reason = match reply {
                    Ok(_) => None,
                    Err(error) => Some(consuming::reason_of(error)),
                };
                self.consumer_cancelled(consumer, reason);
            }
            Some(Pending::ConsumerClosed { consumer }) => self.forget_consumer(consumer),
            Some(Pending::Prefetch { consumer, answer }) => {
                self.prefetch_changed(consumer, answer, reply);
            }
            Some(Pending::PublisherSetup { publisher, is_last }) => {
                self.publisher_progressed(publisher, is_last, reply)
            }
            Some(Pending::PublisherClosed { publisher }) => self.forget_publisher(publisher),
        }
    }

    fn channel_closed(&mut self, line: usize, channel: connection::ChannelId, error: ChannelError) {
        if self.lines[line].lose_lane(channel) {
            return;
        }
        if let Some(consumer) = self.consumer_on(channel) {
            self.consumer_ended(consumer, consuming::reason_of(error));
            self.forget_consumer(consumer);
        } else if let Some(publisher) = self.publisher_on(channel) {
            self.publisher_ended(publisher, Error::from_channel("basic.publish", error));
        }
    }

    /// The end of a turn for one line: what is due leaves.
    fn settle(&mut self, line: usize, now: Instant) {
        self.events(line, now);
        self.renew_line(line, now);
        self.report_panics();
        self.close_idle_publishers(line);
        for lane in line::LANES {
            self.run_lane(line, lane);
        }
        self.send(line, now);
    }

    fn send(&mut self, line: usize, now: Instant) {
        let this = &mut self.lines[line];
        let Some(session) = &mut this.session else {
            return;
        };
        if session.phase == Phase::Connecting {
            return;
        }
        session.connection.flush_acks(now);
        if !session.connection.output().is_empty() {
            let spare = self.driver.spare();
            let output = std::mem::replace(session.connection.output(), spare);
            self.driver.send(session.link, Segment::Owned(output));
            session.connection.sent(now);
        }
        if session.phase == Phase::Ending {
            if session.connection.is_closed() && self.driver.unsent(session.link) == 0 {
                self.drop_session(line);
            }
            return;
        }
        self.send_publishes(line, now);
    }

    fn tell(&self, event: &EngineEvent) {
        self.settings.listeners.tell(event);
    }

    fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }
}
