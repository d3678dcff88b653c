//! Channels that do one thing at a time: topology, and `basic.get`. An error closes such a channel; the next job opens another.

use std::collections::VecDeque;

use super::Worker;
use super::line::{Pending, pend};
use crate::connection::{ChannelError, ChannelId, Reply};
use crate::driver::Drive;
use crate::engine::command::{Job, TopologyAnswer};
use crate::engine::delivery::DetachedDelivery;
use crate::engine::error::Error;
use crate::engine::topology::QueueInfo;
use crate::protocol::{Method, ShortStr, basic};

/// One such channel. One job is under way at a time: an error is the answer to that job and to no other.
#[derive(Default)]
pub(super) struct Lane {
    pub channel: Option<ChannelId>,
    pub queue: VecDeque<Job>,
    pub current: Option<Job>,
}

impl Lane {
    /// Whether a `basic.get` without ack is under way.
    pub fn gets_without_ack(&self) -> bool {
        matches!(self.current, Some(Job::Get { no_ack: true, .. }))
    }

    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.current.is_none()
    }
}

impl<D: Drive> Worker<D> {
    /// Begins the next job, if the lane has nothing under way and the line is open.
    pub(super) fn run_lane(&mut self, line: usize, lane: usize) {
        let this = &mut self.lines[line];
        let Some(session) = &mut this.session else {
            return;
        };
        let connection = &mut session.connection;
        while connection.is_open() && this.lanes[lane].current.is_none() {
            let Some(job) = this.lanes[lane].queue.pop_front() else {
                return;
            };
            let channel = match this.lanes[lane].channel {
                Some(channel) => Ok(channel),
                None => pend(&mut this.calls, Pending::LaneOpen, |call| {
                    connection.open_channel(call)
                }),
            };
            let begun = channel.and_then(|channel| {
                this.lanes[lane].channel = Some(channel);
                pend(&mut this.calls, Pending::Job(lane), |call| {
                    connection.call(channel, call, &method_of(&job))
                })
            });
            match begun {
                Ok(()) => this.lanes[lane].current = Some(job),
                Err(refused) => {
                    let operation = job.name();
                    refuse_job(job, Error::Refused { operation, refused });
                }
            }
        }
    }

    pub(super) fn job_answered(
        &mut self,
        line: usize,
        lane: usize,
        reply: Result<Reply, ChannelError>,
    ) {
        let got = self.lines[line].got.take();
        let Some(job) = self.lines[line].lanes[lane].current.take() else {
            return;
        };
        match reply {
            Ok(reply) => answer_job(job, reply, got),
            Err(error) => {
                let operation = job.name();
                refuse_job(job, Error::from_channel(operation, error));
            }
        }
    }

    /// Answers everything on a lane with an error.
    pub(super) fn fail_lane(&mut self, line: usize, lane: usize, error: &Error) {
        let lane = &mut self.lines[line].lanes[lane];
        let jobs = lane.current.take().into_iter().chain(lane.queue.drain(..));
        jobs.for_each(|job| refuse_job(job, error.clone()));
    }
}

fn method_of(job: &Job) -> Method<'_> {
    match job {
        Job::Topology(operation, _) => operation.method(),
        Job::Get { queue, no_ack, .. } => basic::Get {
            // Its length was checked when the job was made.
            queue: ShortStr::new(queue).unwrap_or_default(),
            no_ack: *no_ack,
        }
        .into(),
    }
}

/// Whoever asked may have gone: then nobody hears the answer.
fn answer_job(job: Job, reply: Reply, got: Option<DetachedDelivery>) {
    match (job, reply) {
        (Job::Get { answer, .. }, _) => drop(answer.send(Ok(got))),
        (
            Job::Topology(_, TopologyAnswer::Queue(answer)),
            Reply::Queue {
                name,
                message_count,
                consumer_count,
            },
        ) => {
            let info = QueueInfo {
                name,
                message_count,
                consumer_count,
            };
            let _ = answer.send(Ok(info));
        }
        (Job::Topology(_, TopologyAnswer::Count(answer)), Reply::Removed { message_count }) => {
            let _ = answer.send(Ok(message_count));
        }
        (Job::Topology(_, TopologyAnswer::Done(answer)), _) => drop(answer.send(Ok(()))),
        // The connection has made sure that a reply answers its request: dropping the answer is all that is left to do.
        (Job::Topology(..), _) => {}
    }
}

pub(super) fn refuse_job(job: Job, error: Error) {
    match job {
        Job::Get { answer, .. } => drop(answer.send(Err(error))),
        Job::Topology(_, TopologyAnswer::Queue(answer)) => drop(answer.send(Err(error))),
        Job::Topology(_, TopologyAnswer::Count(answer)) => drop(answer.send(Err(error))),
        Job::Topology(_, TopologyAnswer::Done(answer)) => drop(answer.send(Err(error))),
    }
}
