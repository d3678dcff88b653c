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

impl Run {
    fn is_continued_by(&self, next: &Run) -> bool {
        self.last + 1 == next.first
            && self.is_acked == next.is_acked
            && self.not_before == next.not_before
    }
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
    /// In the order in which they are due.
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

    /// The outcome of the next publish. True when there was nothing to tell before, and now there is.
    pub fn settled(&mut self, now: Instant, is_acked: bool, disturbance: Disturbance) -> bool {
        let tag = self.next;
        self.next += 1;
        if disturbance.drop {
            return false;
        }
        // What is held back beyond the end of time is never sent.
        let Some(not_before) = now.checked_add(disturbance.delay) else {
            return false;
        };
        let run = Run {
            first: tag,
            last: tag,
            is_acked: is_acked && !disturbance.nack,
            not_before,
        };
        let was_empty = self.runs.is_empty();
        let place = self
            .runs
            .partition_point(|other| other.not_before <= not_before);
        match place.checked_sub(1).and_then(|at| self.runs.get_mut(at)) {
            Some(last) if last.is_continued_by(&run) => last.last = tag,
            _ => self.runs.insert(place, run),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Decoded, Frame};

    const SECOND: Duration = Duration::from_secs(1);

    struct Bench {
        confirms: Confirms,
        now: Instant,
        disturbance: Disturbance,
    }

    impl Bench {
        fn new(disturbance: Disturbance) -> Self {
            Self {
                confirms: Confirms::new(),
                now: Instant::now(),
                disturbance,
            }
        }

        fn publishes(&mut self, outcomes: &[bool]) {
            for is_acked in outcomes {
                let disturbance = self.disturbance;
                self.confirms.settled(self.now, *is_acked, disturbance);
            }
        }

        /// What is sent: `+3*` is an ack of all up to 3, `-4` a nack of 4.
        fn told(&mut self) -> Vec<String> {
            let mut octets = Vec::new();
            self.confirms
                .flush(self.now, 1, &mut octets, self.disturbance);
            let (mut rest, mut told) = (&*octets, Vec::new());
            while let Ok(Decoded::Frame { frame, octets }) = Frame::decode(rest, u32::MAX) {
                let (sign, tag, multiple) = match Method::decode(frame.payload).unwrap() {
                    Method::BasicAck(ack) => ('+', ack.delivery_tag, ack.multiple),
                    Method::BasicNack(nack) => ('-', nack.delivery_tag, nack.multiple),
                    other => panic!("{other:?}"),
                };
                told.push(format!("{sign}{tag}{}", if multiple { "*" } else { "" }));
                rest = &rest[octets..];
            }
            told
        }
    }

    #[test]
    fn neighbours_with_the_same_outcome_are_told_together() {
        let mut bench = Bench::new(Disturbance::default());
        bench.publishes(&[true, true, true, false, true]);
        assert_eq!(bench.told(), ["+3*", "-4*", "+5"]);
        bench.publishes(&[true]);
        assert_eq!(bench.told(), ["+6"]);
        assert_eq!(bench.told(), [""; 0]);
        assert_eq!(bench.confirms.deadline(), None);
    }

    #[test]
    fn the_channel_has_something_to_tell_with_the_first_publish_and_not_with_those_behind_it() {
        let (mut confirms, now) = (Confirms::new(), Instant::now());
        let none = Disturbance::default();
        assert!(confirms.settled(now, true, none));
        assert!(!confirms.settled(now, true, none));
        let dropped = Disturbance { drop: true, ..none };
        assert!(!Confirms::new().settled(now, true, dropped));
    }

    #[test]
    fn what_was_dropped_is_never_confirmed_with_others() {
        let mut bench = Bench::new(Disturbance::default());
        bench.publishes(&[true]);
        bench.disturbance.drop = true;
        bench.publishes(&[true, true]);
        bench.disturbance.drop = false;
        bench.publishes(&[true, true]);
        assert_eq!(bench.told(), ["+1", "+4", "+5"]);
    }

    #[test]
    fn everything_is_refused_where_that_is_asked_for() {
        let mut bench = Bench::new(Disturbance {
            nack: true,
            ..Default::default()
        });
        bench.publishes(&[true, false]);
        assert_eq!(bench.told(), ["-2*"]);
    }

    #[test]
    fn the_later_ones_are_told_first_and_one_by_one_where_that_is_asked_for() {
        let mut bench = Bench::new(Disturbance {
            reorder: true,
            ..Default::default()
        });
        bench.publishes(&[true, true, false]);
        assert_eq!(bench.told(), ["-3", "+2", "+1"]);
    }

    #[test]
    fn what_is_held_back_is_told_in_time_and_holds_nothing_else_back() {
        let mut bench = Bench::new(Disturbance {
            delay: 2 * SECOND,
            ..Default::default()
        });
        bench.publishes(&[true, true]);
        assert_eq!(bench.told(), [""; 0]);
        assert_eq!(bench.confirms.deadline(), Some(bench.now + 2 * SECOND));
        bench.disturbance.delay = Duration::ZERO;
        bench.publishes(&[true, true]);
        assert_eq!(bench.told(), ["+3", "+4"]);
        bench.now += 2 * SECOND;
        assert_eq!(bench.told(), ["+2*"]);
        bench.publishes(&[true]);
        assert_eq!(
            bench.told(),
            ["+5"],
            "all before it are told, if not in this order"
        );
    }

    #[test]
    fn what_is_held_back_for_ever_is_never_told() {
        let mut bench = Bench::new(Disturbance {
            delay: Duration::MAX,
            ..Default::default()
        });
        bench.publishes(&[true]);
        assert_eq!(bench.told(), [""; 0]);
        assert_eq!(bench.confirms.deadline(), None);
    }
}
