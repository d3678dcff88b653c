//! The end of a worker, by the protocol and within its time.
//!
//! 1. Consumers are cancelled and drained, publishers send what they have and get their confirms, jobs are answered.
//! 2. Connections are closed.
//! 3. The worker ends.
//!
//! When the time is up, the rest is cut short: what was not acknowledged is delivered again, what was not confirmed is unknown.

use std::time::{Duration, Instant};

use super::line::{GET_LANE, LANES};
use super::{MAIN, PUBLISHING, Phase, Worker};
use crate::connection::ConnectionError;
use crate::driver::Drive;
use crate::engine::call::{Answer, after};
use crate::engine::consumer::CancelReason;
use crate::engine::error::Error;
use crate::protocol::ReplyCode;

/// A shutdown under way.
pub(super) struct Shutdown {
    pub deadline: Instant,
    timeout: Duration,
    answers: Vec<Answer<()>>,
    is_closing: bool,
    /// The connection that was lost before everything on it was finished.
    lost: Option<ConnectionError>,
}

impl Shutdown {
    /// Whether connections are being closed: nothing new is begun.
    pub fn is_closing(&self) -> bool {
        self.is_closing
    }

    /// A connection has ended.
    pub fn note_lost(&mut self, error: &ConnectionError) {
        if !self.is_closing {
            self.lost.get_or_insert_with(|| error.clone());
        }
    }
}

impl<D: Drive> Worker<D> {
    pub(super) fn begin_shutdown(&mut self, now: Instant, timeout: Duration, answer: Answer<()>) {
        let deadline = after(now, timeout);
        if let Some(shutdown) = &mut self.shutdown {
            shutdown.answers.push(answer);
            shutdown.deadline = shutdown.deadline.min(deadline);
            return;
        }
        self.shutdown = Some(Shutdown {
            deadline,
            timeout,
            answers: vec![answer],
            is_closing: false,
            lost: None,
        });
        let consumers: Vec<_> = self.consumers.iter().map(|(token, _)| token).collect();
        for consumer in consumers {
            self.begin_cancel(consumer as u64, CancelReason::Shutdown);
        }
        self.end_publishers();
    }

    /// Goes on with a shutdown; its result when the worker is to end.
    pub(super) fn step_shutdown(&mut self, now: Instant) -> Option<Result<(), Error>> {
        let shutdown = self.shutdown.as_mut()?;
        if now >= shutdown.deadline {
            let timeout = shutdown.timeout;
            let left = self.left_undone();
            return Some(Err(Error::ShutdownIncomplete { timeout, left }));
        }
        if !shutdown.is_closing && self.is_at_rest() {
            if let Some(shutdown) = &mut self.shutdown {
                shutdown.is_closing = true;
            }
            self.close_connections(now);
        }
        let is_done = [MAIN, PUBLISHING]
            .iter()
            .all(|line| self.lines[*line].session.is_none());
        is_done.then(|| {
            let lost = self.shutdown.as_ref().and_then(|shutdown| {
                Some(Error::ShutdownIncomplete {
                    timeout: shutdown.timeout,
                    left: format!("the connection was lost: {}", shutdown.lost.as_ref()?),
                })
            });
            lost.map_or(Ok(()), Err)
        })
    }

    /// Whether nothing that was begun waits for its end.
    fn is_at_rest(&mut self) -> bool {
        let got = self.lines[MAIN].lanes[GET_LANE].channel;
        if let Some(channel) = got
            && let Some((connection, _)) = self.lines[MAIN].open_connection()
            && connection.open_deliveries(channel) > 0
        {
            return false;
        }
        let lanes_idle = |line: usize| self.lines[line].lanes.iter().all(|lane| lane.is_idle());
        self.consumers.is_empty() && self.publishers.is_empty() && lanes_idle(MAIN)
    }

    fn close_connections(&mut self, now: Instant) {
        for line in [MAIN, PUBLISHING] {
            match &mut self.lines[line].session {
                Some(session) if session.phase == Phase::Open => {
                    session
                        .connection
                        .close(ReplyCode::ReplySuccess, "the engine is shut down");
                }
                Some(session) if session.phase == Phase::Ending => {}
                _ => self.drop_session(line),
            }
            self.settle(line, now);
        }
    }

    fn left_undone(&self) -> String {
        let publishing: usize = self
            .publishers
            .iter()
            .filter_map(|(_, slot)| slot.outlet.as_ref())
            .map(|outlet| outlet.lock().confirms.pending() as usize)
            .sum();
        let connections = self.lines.iter().filter(|l| l.session.is_some()).count();
        format!(
            "{} consumers with deliveries that nobody answered, {} publishers with {publishing} messages without a confirm, {connections} connections",
            self.consumers.len(),
            self.publishers.len(),
        )
    }

    /// Says goodbye as far as that takes no waiting, and answers.
    pub(super) async fn finish_shutdown(&mut self, now: Instant, result: &Result<(), Error>) {
        self.close_connections(now);
        if result.is_err()
            && let Err(error) = self.driver.turn(Some(now), || true, &mut Vec::new()).await
        {
            tracing::debug!(%error, "the last turn failed");
        }
        for line in [MAIN, PUBLISHING] {
            self.abandon(line, now);
            for lane in LANES {
                self.fail_lane(line, lane, &Error::Stopped);
            }
        }
        if let Some(shutdown) = self.shutdown.take() {
            for answer in shutdown.answers {
                let _ = answer.send(result.clone());
            }
        }
    }
}
