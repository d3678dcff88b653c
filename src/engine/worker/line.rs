//! One connection of a worker: how it is made, what waits on it, and how it ends.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use slab::Slab;

use super::jobs::Lane;
use super::shutdown::Shutdown;
use super::{MAIN, Worker, consuming};
use crate::buffer::Inbox;
use crate::connection::{ChannelId, Connection, ConnectionError, Refused, Token};
use crate::driver::{Drive, Link};
use crate::engine::call::Answer;
use crate::engine::command::Command;
use crate::engine::delivery::DetachedDelivery;
use crate::engine::error::{ConnectCause, ConnectFailure, Error};
use crate::engine::event::Event as EngineEvent;

/// How long the last octets of a connection that has ended may take to leave.
const ENDING_TIMEOUT: Duration = Duration::from_secs(1);

/// The lanes of a line, by index.
pub(super) const LANES: [usize; 2] = [TOPOLOGY_LANE, GET_LANE];
/// Declares and the like.
pub(super) const TOPOLOGY_LANE: usize = 0;
/// `basic.get`: its channel must live while messages wait for their answers.
pub(super) const GET_LANE: usize = 1;

/// What a call on the connection was for.
pub(super) enum Pending {
    LaneOpen,
    Job(usize),
    ConsumerSetup {
        consumer: Token,
        operation: &'static str,
    },
    ConsumerCancel {
        consumer: Token,
    },
    ConsumerClosed {
        consumer: Token,
    },
    Prefetch {
        consumer: Token,
        answer: Answer<()>,
    },
    PublisherSetup {
        publisher: Token,
        is_last: bool,
    },
    PublisherClosed {
        publisher: Token,
    },
}

/// Makes a call under a token that stands for `pending` until its reply comes; a call that is refused leaves nothing behind.
pub(super) fn pend<T>(
    calls: &mut Slab<Pending>,
    pending: Pending,
    call: impl FnOnce(Token) -> Result<T, Refused>,
) -> Result<T, Refused> {
    let token = calls.insert(pending);
    call(token as Token).inspect_err(|_| {
        calls.remove(token);
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Connecting,
    Handshaking,
    Open,
    /// Over; the last octets are leaving.
    Ending,
}

/// A link and the connection on it.
pub(super) struct Session {
    pub link: Link,
    pub connection: Connection,
    pub inbox: Inbox,
    pub phase: Phase,
    /// When the present phase has taken too long.
    pub deadline: Option<Instant>,
    pub timeout: Duration,
}

/// See the module's page. Without a session until something needs one.
#[derive(Default)]
pub(super) struct Line {
    pub session: Option<Session>,
    pub calls: Slab<Pending>,
    pub lanes: [Lane; 2],
    /// What waits for the connection to open.
    pub waiting: Vec<Command>,
    /// What a `basic.get` brought, until its reply is handled.
    pub got: Option<DetachedDelivery>,
    /// Publishers with something to send, and those that may not send now.
    pub ready: VecDeque<Token>,
    pub parked: Vec<Token>,
    candidate: usize,
    failures: Vec<ConnectFailure>,
}

impl Line {
    pub fn is_open(&self) -> bool {
        self.session
            .as_ref()
            .is_some_and(|session| session.phase == Phase::Open)
    }

    /// The open connection with the table of its calls.
    pub fn open_connection(&mut self) -> Option<(&mut Connection, &mut Slab<Pending>)> {
        match &mut self.session {
            Some(session) if session.phase == Phase::Open => {
                Some((&mut session.connection, &mut self.calls))
            }
            _ => None,
        }
    }

    /// Whether something waits for a connection.
    fn is_wanted(&self) -> bool {
        !self.waiting.is_empty() || !self.lanes.iter().all(Lane::is_idle)
    }

    pub fn unpark(&mut self) {
        self.ready.extend(self.parked.drain(..));
    }

    /// Whether the channel was a lane's; the lane opens another when it needs one.
    pub fn lose_lane(&mut self, channel: ChannelId) -> bool {
        let lane = self.lanes.iter_mut().find(|l| l.channel == Some(channel));
        match lane {
            Some(lane) => {
                lane.channel = None;
                true
            }
            None => false,
        }
    }
}

impl<D: Drive> Worker<D> {
    /// Makes sure that a line is open or on its way.
    pub(super) fn ensure_line(&mut self, line: usize, now: Instant) {
        if self.lines[line].session.is_none() {
            self.lines[line].candidate = 0;
            self.lines[line].failures.clear();
            self.try_candidate(line, now);
        }
    }

    /// What was asked for while a connection was ending gets a new one.
    pub(super) fn renew_line(&mut self, line: usize, now: Instant) {
        let is_closing = self.shutdown.as_ref().is_some_and(Shutdown::is_closing);
        if self.lines[line].is_wanted() && !is_closing {
            self.ensure_line(line, now);
        }
    }

    fn try_candidate(&mut self, line: usize, now: Instant) {
        while let Some(candidate) = self.candidates.get(self.lines[line].candidate).cloned() {
            let node = &self.settings.nodes[candidate.node];
            let timeout = self.settings.connect_timeout(node);
            match self.driver.connect(candidate.address) {
                Ok(link) => {
                    self.lines[line].session = Some(Session {
                        link,
                        connection: Connection::new(self.settings.config(node), now),
                        inbox: Inbox::default(),
                        phase: Phase::Connecting,
                        deadline: now.checked_add(timeout),
                        timeout,
                    });
                    return;
                }
                Err(error) => self.note_failure(line, ConnectCause::Line(error.to_string())),
            }
        }
        self.line_failed(line);
    }

    fn note_failure(&mut self, line: usize, cause: ConnectCause) {
        let this = &mut self.lines[line];
        if let Some(candidate) = self.candidates.get(this.candidate) {
            tracing::debug!(address = %candidate.address, %cause, "cannot connect");
            this.failures
                .push(ConnectFailure::new(candidate.address, cause));
        }
        this.candidate += 1;
    }

    /// The present address will not do; the next one may.
    pub(super) fn candidate_failed(&mut self, line: usize, now: Instant, cause: ConnectCause) {
        self.drop_session(line);
        self.note_failure(line, cause);
        self.try_candidate(line, now);
    }

    /// No address will do.
    fn line_failed(&mut self, line: usize) {
        let error = Error::Connect(std::mem::take(&mut self.lines[line].failures));
        self.refuse_waiting(line, &error);
        if line == MAIN {
            self.gate_failed(error);
        }
    }

    fn refuse_waiting(&mut self, line: usize, error: &Error) {
        for command in std::mem::take(&mut self.lines[line].waiting) {
            Self::refuse(command, error.clone());
        }
        for lane in LANES {
            self.fail_lane(line, lane, error);
        }
    }

    pub(super) fn line_opened(&mut self, line: usize, now: Instant) {
        let mut is_open = false;
        if let Some(session) = &mut self.lines[line].session {
            session.phase = Phase::Open;
            session.deadline = None;
            is_open = session.connection.is_open();
        }
        // One that has ended since says next why, to those who wait for it too.
        if is_open {
            for command in std::mem::take(&mut self.lines[line].waiting) {
                self.command(now, command);
            }
        }
        if line == MAIN {
            self.gate_opened();
        }
    }

    pub(super) fn link_lost(&mut self, line: usize, now: Instant, error: &io::Error) {
        let Some(session) = &mut self.lines[line].session else {
            return;
        };
        match session.phase {
            Phase::Connecting => {
                self.candidate_failed(line, now, ConnectCause::Line(error.to_string()));
            }
            Phase::Handshaking => {
                let text = if error.kind() == io::ErrorKind::UnexpectedEof {
                    "the peer closed the line during the AMQP handshake: is it an AMQP 0-9-1 broker?"
                        .to_owned()
                } else {
                    format!("the line was lost during the AMQP handshake: {error}")
                };
                self.candidate_failed(line, now, ConnectCause::Line(text));
            }
            Phase::Open => {
                session
                    .connection
                    .abandon(ConnectionError::Lost(error.to_string()));
                self.events(line, now);
                self.drop_session(line);
            }
            Phase::Ending => self.drop_session(line),
        }
    }

    /// The connection is over. What is in its output still leaves, if it can.
    pub(super) fn connection_ended(&mut self, line: usize, now: Instant, error: ConnectionError) {
        let Some(session) = &mut self.lines[line].session else {
            return;
        };
        let was_open = session.phase == Phase::Open;
        if session.phase == Phase::Handshaking {
            self.candidate_failed(line, now, ConnectCause::Amqp(error));
            return;
        }
        session.phase = Phase::Ending;
        session.deadline = now.checked_add(ENDING_TIMEOUT);
        self.end_everything_on(line, &error);
        if let Some(shutdown) = &mut self.shutdown {
            shutdown.note_lost(&error);
        } else if was_open {
            let worker = self.index;
            self.tell(&EngineEvent::ConnectionLost {
                worker,
                cause: error,
            });
        }
    }

    fn end_everything_on(&mut self, line: usize, cause: &ConnectionError) {
        let lost = |operation| Error::ConnectionLost {
            operation,
            cause: cause.clone(),
        };
        let reason =
            consuming::reason_of(crate::connection::ChannelError::Connection(cause.clone()));
        for consumer in self.consumers_on_line(line) {
            self.consumer_ended(consumer, reason.clone());
            self.forget_consumer(consumer);
        }
        for publisher in self.publishers_on_line(line) {
            self.publisher_ended(publisher, lost("basic.publish"));
        }
        let this = &mut self.lines[line];
        this.ready.clear();
        this.parked.clear();
        for lane in &mut this.lanes {
            lane.channel = None;
        }
        // Jobs that were not begun can wait for another connection; there is none yet.
        self.refuse_waiting(line, &lost("the connection"));
    }

    /// Lets go of the link, whatever state it is in.
    pub(super) fn drop_session(&mut self, line: usize) {
        if let Some(session) = self.lines[line].session.take() {
            self.driver.close(session.link);
            self.is_restless = true;
        }
    }
}
