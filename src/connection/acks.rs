//! The ack coalescer of one channel.
//!
//! ```text
//!            first unanswered ┐
//!  answered with an ack, or   │ waiting: Open ─ Acked ─ Settled ─ Open ─ …     │ last
//!  never in need of an answer │                                                │
//!  ───────────────────────────┼────────────────────────────────────────────────┼── not delivered yet
//! ```
//!
//! Invariants:
//! - **PREFIX**: no tag below the first of `waiting` is unanswered, so `basic.ack(multiple)` up to there acknowledges finished deliveries
//!   only.
//! - **NAMED TAG**: a `multiple` ack always names a tag that was finished with an ack and is still outstanding at the broker.
//!   RabbitMQ looks for exactly that tag and closes the channel (406, "unknown delivery tag") when it is not there.
//! - **ONCE**: each tag is answered at most once, whatever the order, and a second answer is harmless.
//! - **BOUNDED**: at most twice as many entries wait as deliveries are outstanding at the broker, however long one of them stays
//!   unanswered.
//!
//! In order, the common case, nothing is stored per delivery: two tags and a counter move.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use super::write_method;
use crate::protocol::basic;

/// How a delivery was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// `basic.ack`: done with it.
    Ack,
    /// `basic.nack`: not done; `requeue` puts it back, otherwise it is dropped or dead-lettered.
    Nack {
        /// Whether the broker is to deliver it again.
        requeue: bool,
    },
    /// `basic.reject`: the same as a nack of one delivery, for brokers without `basic.nack`.
    Reject {
        /// Whether the broker is to deliver it again.
        requeue: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Delivered, not answered.
    Open,
    /// Answered with an ack that has not been sent.
    Acked,
    /// Answered, and the broker will know from what is in the output.
    Settled,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    tag: u64,
    state: State,
}

/// Whether an answer changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// The answer was taken.
    Done,
    /// The delivery was answered before: nothing happened.
    Already,
    /// No delivery with the last of the tags has come on this channel.
    Unknown,
}

#[derive(Debug)]
pub(super) struct Acks {
    /// The tag of the last delivery; 0 for none.
    last: u64,
    /// From the first unanswered delivery on, by tag; its front is `Open`.
    waiting: VecDeque<Waiting>,
    /// Entries of `waiting` that are `Settled`.
    settled: usize,
    open: u32,
    /// The highest acked tag below `waiting` that the broker has not been told of.
    ack_up_to: u64,
    /// Acks not yet sent: below `waiting`, and within.
    unsent_prefix: u32,
    unsent_behind: u32,
    /// Acks are sent when this many are finished, without waiting for the end of the turn.
    half_window: u32,
}

/// Half of an unlimited prefetch window.
const HALF_OF_UNLIMITED: u32 = 1024;

impl Acks {
    pub fn new() -> Self {
        Acks {
            last: 0,
            waiting: VecDeque::new(),
            settled: 0,
            open: 0,
            ack_up_to: 0,
            unsent_prefix: 0,
            unsent_behind: 0,
            half_window: HALF_OF_UNLIMITED,
        }
    }

    /// The smallest prefetch window that any consumer of the channel has; `None` is unlimited.
    pub fn set_window(&mut self, window: Option<u16>) {
        self.half_window = window.map_or(HALF_OF_UNLIMITED, |w| (u32::from(w) / 2).max(1));
    }

    /// The tag of the last delivery; 0 for none.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Deliveries that nobody has answered.
    pub fn open(&self) -> u32 {
        self.open
    }

    /// Whether acks wait to be sent.
    pub fn has_unsent(&self) -> bool {
        self.unsent_prefix > 0 || self.has_behind()
    }

    /// Whether acks are held back behind an unfinished delivery.
    pub fn has_behind(&self) -> bool {
        self.unsent_behind > 0
    }

    /// Whether so much is finished that the broker may run out of window.
    #[inline]
    pub fn is_due(&self) -> bool {
        self.unsent_prefix + self.unsent_behind >= self.half_window
    }

    /// Whether `tag` can be the next delivery's. RabbitMQ counts by one; a broker that leaves tags out costs nothing.
    #[inline]
    pub fn follows(&self, tag: u64) -> bool {
        tag > self.last
    }

    /// A delivery that was answered in the consumer's handler. `tag` must follow the last one: see [`Acks::follows`].
    #[inline]
    pub fn delivered(&mut self, tag: u64, answer: Option<Answer>, channel: u16, out: &mut Vec<u8>) {
        // A mistake on purpose, in builds with `--cfg amqp_uring_canary` only: what is to be answered later is acked.
        let answer = match answer {
            None if cfg!(amqp_uring_canary) && tag.is_multiple_of(8) => Some(Answer::Ack),
            answer => answer,
        };
        self.last = tag;
        if answer == Some(Answer::Ack) && self.waiting.is_empty() {
            self.ack_up_to = tag;
            self.unsent_prefix += 1;
            return;
        }
        self.waiting.push_back(Waiting {
            tag,
            state: State::Open,
        });
        self.open += 1;
        if let Some(answer) = answer {
            self.answer_at(self.waiting.len() - 1, answer, channel, out);
            self.tidy();
        }
    }

    /// A delivery that needs no answer (`no_ack`).
    pub fn delivered_settled(&mut self, tag: u64) {
        self.last = tag;
    }

    /// Answers every open delivery among `tags`. Negative answers are written to `out` at once, so that they come before any later
    /// `multiple` ack.
    pub fn settle(
        &mut self,
        tags: RangeInclusive<u64>,
        answer: Answer,
        channel: u16,
        out: &mut Vec<u8>,
    ) -> Settlement {
        let (first, last) = tags.into_inner();
        if last == 0 || last > self.last {
            return Settlement::Unknown;
        }
        let mut settlement = Settlement::Already;
        let mut index = self.position(first);
        while self.waiting.get(index).is_some_and(|w| w.tag <= last) {
            if self.answer_at(index, answer, channel, out) {
                settlement = Settlement::Done;
            }
            index += 1;
        }
        self.tidy();
        settlement
    }

    /// Gives everything that nobody has answered back to the broker.
    pub fn requeue_open(&mut self, channel: u16, out: &mut Vec<u8>) {
        self.settle(1..=self.last, Answer::Nack { requeue: true }, channel, out);
    }

    /// Writes what can be acknowledged now: the finished prefix as one ack; and, when half the window waits behind an unfinished delivery,
    /// those one by one.
    pub fn flush(&mut self, channel: u16, out: &mut Vec<u8>) {
        let due = self.is_due();
        if self.unsent_prefix > 0 {
            let ack = basic::Ack {
                delivery_tag: self.ack_up_to,
                multiple: self.unsent_prefix > 1,
            };
            write_method(out, channel, |out| ack.encode(out));
            self.unsent_prefix = 0;
        }
        if due {
            self.flush_behind(channel, out);
        }
    }

    /// Writes all acks, those behind an unfinished delivery one by one: before the channel closes.
    pub fn flush_all(&mut self, channel: u16, out: &mut Vec<u8>) {
        self.flush(channel, out);
        self.flush_behind(channel, out);
    }

    /// Writes the acks behind an unfinished delivery, one by one.
    pub fn flush_behind(&mut self, channel: u16, out: &mut Vec<u8>) {
        if self.unsent_behind == 0 {
            return;
        }
        self.waiting.retain(|waiting| {
            if waiting.state == State::Acked {
                let ack = basic::Ack {
                    delivery_tag: waiting.tag,
                    multiple: false,
                };
                write_method(out, channel, |out| ack.encode(out));
            }
            waiting.state == State::Open
        });
        self.settled = 0;
        self.unsent_behind = 0;
    }

    /// The first that waits with this tag or a later one.
    fn position(&self, tag: u64) -> usize {
        // Where it stands unless something before it was left out or removed.
        let front = self.waiting.front().map_or(0, |w| w.tag);
        let guess = tag.saturating_sub(front) as usize;
        match self.waiting.get(guess) {
            Some(waiting) if waiting.tag == tag => guess,
            _ => self.waiting.partition_point(|w| w.tag < tag),
        }
    }

    /// False when it was answered before. To be followed by [`Acks::tidy`].
    fn answer_at(&mut self, index: usize, answer: Answer, channel: u16, out: &mut Vec<u8>) -> bool {
        let Some(waiting) = self.waiting.get_mut(index) else {
            return false;
        };
        if waiting.state != State::Open {
            return false;
        }
        let delivery_tag = waiting.tag;
        self.open -= 1;
        match answer {
            Answer::Ack => {
                waiting.state = State::Acked;
                self.unsent_behind += 1;
                return true;
            }
            Answer::Nack { requeue } => {
                let nack = basic::Nack {
                    delivery_tag,
                    multiple: false,
                    requeue,
                };
                write_method(out, channel, |out| nack.encode(out));
            }
            Answer::Reject { requeue } => {
                let reject = basic::Reject {
                    delivery_tag,
                    requeue,
                };
                write_method(out, channel, |out| reject.encode(out));
            }
        }
        waiting.state = State::Settled;
        self.settled += 1;
        true
    }

    /// Moves the prefix past what is answered (PREFIX, NAMED TAG), and forgets settled entries once they are the majority (BOUNDED).
    fn tidy(&mut self) {
        while let Some(waiting) = self.waiting.front() {
            match waiting.state {
                State::Open => break,
                State::Acked => {
                    self.ack_up_to = waiting.tag;
                    self.unsent_behind -= 1;
                    self.unsent_prefix += 1;
                }
                State::Settled => self.settled -= 1,
            }
            self.waiting.pop_front();
        }
        if self.settled > self.waiting.len() / 2 {
            self.waiting.retain(|w| w.state != State::Settled);
            self.settled = 0;
        }
    }
}

#[cfg(test)]
mod tests;
