//! What other threads ask for.

use std::time::Instant;

use super::jobs::refuse_job;
use super::line::{GET_LANE, TOPOLOGY_LANE};
use super::{MAIN, Worker};
use crate::driver::Drive;
use crate::engine::command::{Command, Job};
use crate::engine::error::Error;

impl<D: Drive> Worker<D> {
    pub(super) fn command(&mut self, now: Instant, command: Command) {
        if self.shutdown.is_some() {
            match command {
                Command::Consume(_) | Command::OpenPublisher { .. } | Command::Job(_) => {
                    return Self::refuse(command, Error::Stopped);
                }
                _ => {}
            }
        }
        match command {
            Command::Job(job) => {
                let lane = match job {
                    Job::Topology(..) => TOPOLOGY_LANE,
                    Job::Get { .. } => GET_LANE,
                };
                self.lines[MAIN].lanes[lane].queue.push_back(job);
                self.ensure_line(MAIN, now);
            }
            Command::Consume(request) => self.start_consumer(now, request),
            Command::Cancel {
                consumer,
                serial,
                answer,
            } => self.cancel_consumer(consumer, serial, answer),
            Command::SetPrefetch {
                consumer,
                serial,
                prefetch,
                answer,
            } => self.set_prefetch(consumer, serial, prefetch, answer),
            Command::OpenPublisher {
                options,
                confirms,
                answer,
            } => self.open_publisher(now, options, confirms, answer),
            Command::PublisherReady { publisher, serial } => {
                self.publisher_ready(publisher, serial);
            }
            Command::ClosePublisher { outlet, answer } => self.close_publisher(&outlet, answer),
            Command::Settle(settle) => self.settle_deliveries(settle),
            Command::Shutdown { timeout, answer } => self.begin_shutdown(now, timeout, answer),
        }
    }

    /// Answers a command with an error; those that ask for nothing are dropped.
    pub(super) fn refuse(command: Command, error: Error) {
        match command {
            Command::Job(job) => refuse_job(job, error),
            Command::Consume(request) => request.answer.send(Err(error)),
            Command::OpenPublisher { answer, .. } => drop(answer.send(Err(error))),
            Command::Cancel { answer, .. }
            | Command::SetPrefetch { answer, .. }
            | Command::Shutdown { answer, .. } => drop(answer.send(Err(error))),
            Command::ClosePublisher { answer, .. } => {
                if let Some(answer) = answer {
                    let _ = answer.send(Err(error));
                }
            }
            Command::PublisherReady { .. } | Command::Settle(_) => {}
        }
    }
}
