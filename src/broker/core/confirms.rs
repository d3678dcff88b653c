//! What a channel in confirm mode still has to tell its publisher.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::protocol::{Method, basic};

/// Neighbouring publishes with the same outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    first: u64,
    last: u64,
    is_acked: bool,
    not_before: Instant,
}

/// How confirms are disturbed for the sake of a test.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Disturbance {
    /// They are held back this long.
    pub delay: Duration,
    /// They are never sent.
    pub drop: bool,
    /// Every publish is answered with `basic.nack`.
    pub nack: bool,
    /// Those of one turn are sent one by one, the last one first.
    pub reorder: bool,
}

/// Outcomes are known in the order of the publishes, because a message is routed when it has come; what is sent of them is
/// gathered into one `basic.ack` with `multiple` where nothing that is still open lies before it.
#[derive(Debug)]
pub(crate) struct Confirms {
    /// The number of the next publish.
    next: u64,
    /// All publishes up to this one are confirmed to the client.
    told_up_to: u64,
    runs: VecDeque<Run>,
}

impl Confirms {
    pub fn new() -> Self {
        Self {
            next: 1,
            told_up_to: 0,
            runs: VecDeque::new(),
        }
    }

    /// The outcome of the next publish. True when there was nothing to tell before.
    pub fn settled(&mut self, now: Instant, is_acked: bool, disturbance: Disturbance) -> bool {
        let tag = self.next;
        self.next += 1;
        if disturbance.drop {
            return false;
        }
        let not_before = now.checked_add(disturbance.delay).unwrap_or(now);
        let run = Run {
            first: tag,
            last: tag,
            is_acked: is_acked && !disturbance.nack,
            not_before,
        };
        let was_empty = self.runs.is_empty();
        match self.runs.back_mut() {
            Some(last)
                if last.last + 1 == tag
                    && last.is_acked == run.is_acked
                    && last.not_before == not_before =>
            {
                last.last = tag;
            }
            _ => self.runs.push_back(run),
        }
        was_empty
    }

    /// When the next confirm that is held back leaves.
    pub fn deadline(&self) -> Option<Instant> {
        self.runs.front().map(|run| run.not_before)
    }

    /// Sends what is due.
    pub fn flush(
        &mut self,
        now: Instant,
        channel: u16,
        out: &mut Vec<u8>,
        disturbance: Disturbance,
    ) {
        let is_due = |run: &&Run| run.not_before <= now;
        let due = self.runs.iter().take_while(is_due).count();
        if disturbance.reorder {
            let runs: Vec<_> = self.runs.drain(..due).collect();
            for run in runs.into_iter().rev() {
                for tag in (run.first..=run.last).rev() {
                    tell(out, channel, tag, false, run.is_acked);
                }
            }
        } else {
            for run in self.runs.drain(..due) {
                if run.first == self.told_up_to + 1 {
                    // RabbitMQ says of a nack that it is for all so far, also where it is for one.
                    let multiple = run.first < run.last || !run.is_acked;
                    tell(out, channel, run.last, multiple, run.is_acked);
                    self.told_up_to = run.last;
                } else {
                    for tag in run.first..=run.last {
                        tell(out, channel, tag, false, run.is_acked);
                    }
                }
            }
        }
    }
}

fn tell(out: &mut Vec<u8>, channel: u16, delivery_tag: u64, multiple: bool, is_acked: bool) {
    if is_acked {
        let ack = basic::Ack {
            delivery_tag,
            multiple,
        };
        Method::from(ack).encode_frame(channel, out);
    } else {
        let nack = basic::Nack {
            delivery_tag,
            multiple,
            requeue: true,
        };
        Method::from(nack).encode_frame(channel, out);
    }
}
