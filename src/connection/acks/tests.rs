use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::protocol::{Decoded, Frame, Method};

const CHANNEL: u16 = 7;

#[derive(Debug, Clone)]
enum Op {
    /// `gap` tags are left out before it.
    Deliver {
        gap: u64,
        answer: Option<Answer>,
    },
    DeliverNoAck,
    /// The tag is that many below the last one; negative means above it.
    Settle {
        below: i64,
        answer: Answer,
    },
    /// And so many tags before that one.
    SettleRange {
        below: i64,
        before: u64,
        answer: Answer,
    },
    RequeueOpen,
    Flush,
    FlushAll,
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        4 => Just(Answer::Ack),
        1 => any::<bool>().prop_map(|requeue| Answer::Nack { requeue }),
        1 => any::<bool>().prop_map(|requeue| Answer::Reject { requeue }),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (prop_oneof![9 => Just(0), 1 => 1..4u64], proptest::option::of(answer()))
            .prop_map(|(gap, answer)| Op::Deliver { gap, answer }),
        1 => Just(Op::DeliverNoAck),
        8 => (-2..30i64, answer()).prop_map(|(below, answer)| Op::Settle { below, answer }),
        2 => (-2..30i64, prop_oneof![Just(u64::MAX), 0..30u64], answer())
            .prop_map(|(below, before, answer)| Op::SettleRange { below, before, answer }),
        1 => Just(Op::RequeueOpen),
        4 => Just(Op::Flush),
        1 => Just(Op::FlushAll),
    ]
}

/// What the user knows and what a broker like RabbitMQ would.
#[derive(Default)]
struct Model {
    last: u64,
    /// Every delivery that needs an answer, with its answer.
    answers: BTreeMap<u64, Option<Answer>>,
    outstanding: BTreeSet<u64>,
}

impl Model {
    fn deliver(&mut self, tag: u64, answer: Option<Answer>) {
        self.last = tag;
        self.answers.insert(tag, answer);
        self.outstanding.insert(tag);
    }

    fn settle(&mut self, tags: std::ops::RangeInclusive<u64>, answer: Answer) -> Settlement {
        if *tags.end() == 0 || *tags.end() > self.last {
            return Settlement::Unknown;
        }
        let mut settlement = Settlement::Already;
        for (_, state) in self.answers.range_mut(tags) {
            if state.is_none() {
                *state = Some(answer);
                settlement = Settlement::Done;
            }
        }
        settlement
    }

    fn open(&self) -> usize {
        self.answers.values().filter(|a| a.is_none()).count()
    }

    /// Acks that the user gave and the broker has not got.
    fn unsent(&self) -> usize {
        let is_acked = |tag: &&u64| self.answers[*tag] == Some(Answer::Ack);
        self.outstanding.iter().filter(is_acked).count()
    }

    /// Takes what was sent, as strictly as RabbitMQ: a tag that is not outstanding closes the channel.
    fn broker_reads(&mut self, mut octets: &[u8]) {
        while !octets.is_empty() {
            let Ok(Decoded::Frame { frame, octets: n }) = Frame::decode(octets, 4096) else {
                panic!("not a frame: {octets:?}");
            };
            assert_eq!(frame.channel, CHANNEL);
            match Method::decode(frame.payload).unwrap() {
                Method::BasicAck(ack) => self.acked(ack.delivery_tag, ack.multiple),
                Method::BasicNack(nack) => {
                    assert!(!nack.multiple);
                    let requeue = nack.requeue;
                    self.refused(nack.delivery_tag, Answer::Nack { requeue });
                }
                Method::BasicReject(reject) => {
                    let requeue = reject.requeue;
                    self.refused(reject.delivery_tag, Answer::Reject { requeue });
                }
                other => panic!("{other:?}"),
            }
            octets = &octets[n..];
        }
    }

    fn acked(&mut self, tag: u64, multiple: bool) {
        assert!(self.outstanding.contains(&tag), "NAMED TAG: {tag}");
        let first = if multiple { 1 } else { tag };
        let tags: Vec<u64> = self.outstanding.range(first..=tag).copied().collect();
        for tag in tags {
            assert_eq!(self.answers[&tag], Some(Answer::Ack), "PREFIX: {tag}");
            self.outstanding.remove(&tag);
        }
    }

    fn refused(&mut self, tag: u64, answer: Answer) {
        assert!(self.outstanding.remove(&tag), "ONCE: {tag}");
        assert_eq!(self.answers[&tag], Some(answer));
    }
}

fn run(window: u16, ops: &[Op]) {
    let half_window = (usize::from(window) / 2).max(1);
    let mut acks = Acks::new();
    acks.set_window(Some(window));
    let mut model = Model::default();
    for op in ops {
        let mut out = Vec::new();
        match *op {
            Op::Deliver { gap, answer } => {
                let tag = model.last + gap + 1;
                assert!(acks.follows(tag));
                acks.delivered(tag, answer, CHANNEL, &mut out);
                model.deliver(tag, answer);
            }
            Op::DeliverNoAck => {
                model.last += 1;
                acks.delivered_settled(model.last);
            }
            Op::Settle { below, answer } => {
                let tag = model.last.saturating_add_signed(-below);
                let expected = model.settle(tag..=tag, answer);
                assert_eq!(acks.settle(tag..=tag, answer, CHANNEL, &mut out), expected);
            }
            Op::SettleRange {
                below,
                before,
                answer,
            } => {
                let last = model.last.saturating_add_signed(-below);
                let tags = last.saturating_sub(before)..=last;
                let expected = model.settle(tags.clone(), answer);
                assert_eq!(acks.settle(tags, answer, CHANNEL, &mut out), expected);
            }
            Op::RequeueOpen => {
                acks.requeue_open(CHANNEL, &mut out);
                model.settle(1..=model.last, Answer::Nack { requeue: true });
            }
            Op::Flush => acks.flush(CHANNEL, &mut out),
            Op::FlushAll => acks.flush_all(CHANNEL, &mut out),
        }
        model.broker_reads(&out);
        assert_eq!(acks.open() as usize, model.open());
        assert_eq!(acks.last(), model.last);
        assert!(!acks.follows(model.last));
        let prefix_end = model.answers.iter().find(|(_, a)| a.is_none());
        let prefix_end = prefix_end.map_or(u64::MAX, |(tag, _)| *tag);
        assert_eq!(acks.has_unsent(), model.unsent() > 0);
        assert!(acks.waiting.len() <= 2 * model.outstanding.len(), "BOUNDED");
        match op {
            Op::Flush => {
                assert!(model.unsent() < half_window, "the broker may starve");
                assert!(model.outstanding.range(..prefix_end).next().is_none());
            }
            Op::FlushAll => assert_eq!(model.unsent(), 0),
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..Default::default() })]

    #[test]
    fn every_interleaving_keeps_the_invariants_at_a_strict_broker(
        window in 1..12u16,
        ops in proptest::collection::vec(op(), 1..200),
    ) {
        run(window, &ops);
    }
}

fn sent(acks: &mut Acks) -> Vec<(u64, bool)> {
    let mut out = Vec::new();
    acks.flush(CHANNEL, &mut out);
    let mut rest = out.as_slice();
    let mut found = Vec::new();
    while let Ok(Decoded::Frame { frame, octets }) = Frame::decode(rest, 4096) {
        let Ok(Method::BasicAck(ack)) = Method::decode(frame.payload) else {
            panic!("not an ack");
        };
        found.push((ack.delivery_tag, ack.multiple));
        rest = &rest[octets..];
    }
    found
}

#[test]
fn acks_in_order_are_one_multiple_ack_and_store_nothing() {
    let mut acks = Acks::new();
    for tag in 1..=500 {
        acks.delivered(tag, Some(Answer::Ack), CHANNEL, &mut Vec::new());
    }
    assert_eq!(acks.waiting.capacity(), 0);
    assert_eq!(sent(&mut acks), [(500, true)]);
    assert_eq!(sent(&mut acks), []);
    acks.delivered(501, Some(Answer::Ack), CHANNEL, &mut Vec::new());
    assert_eq!(sent(&mut acks), [(501, false)]);
}

#[test]
fn one_delivery_that_stays_open_neither_starves_the_broker_nor_lets_the_memory_grow() {
    let mut acks = Acks::new();
    acks.set_window(Some(20));
    acks.delivered(1, None, CHANNEL, &mut Vec::new());
    let mut acked = 0;
    for tag in 2..=10_001 {
        acks.delivered(tag, Some(Answer::Ack), CHANNEL, &mut Vec::new());
        if acks.is_due() {
            acked += sent(&mut acks).len();
        }
        assert!(acks.waiting.len() <= 20, "{}", acks.waiting.len());
    }
    assert_eq!(acked, 10_000);
    assert_eq!(acks.open(), 1);
}

#[test]
fn an_unlimited_window_is_flushed_after_a_fixed_number() {
    let mut acks = Acks::new();
    acks.set_window(None);
    for tag in 1..HALF_OF_UNLIMITED.into() {
        acks.delivered(tag, Some(Answer::Ack), CHANNEL, &mut Vec::new());
        assert!(!acks.is_due());
    }
    acks.delivered(
        HALF_OF_UNLIMITED.into(),
        Some(Answer::Ack),
        CHANNEL,
        &mut Vec::new(),
    );
    assert!(acks.is_due());
}

#[test]
fn tag_0_and_tags_to_come_are_unknown_and_a_tag_that_was_left_out_is_no_delivery() {
    let mut acks = Acks::new();
    let out = &mut Vec::new();
    acks.delivered(1, None, CHANNEL, out);
    acks.delivered(9, None, CHANNEL, out);
    assert_eq!(
        acks.settle(0..=0, Answer::Ack, CHANNEL, out),
        Settlement::Unknown
    );
    assert_eq!(
        acks.settle(10..=10, Answer::Ack, CHANNEL, out),
        Settlement::Unknown
    );
    assert_eq!(
        acks.settle(u64::MAX..=u64::MAX, Answer::Ack, CHANNEL, out),
        Settlement::Unknown
    );
    assert_eq!(
        acks.settle(5..=5, Answer::Ack, CHANNEL, out),
        Settlement::Already
    );
    assert_eq!(
        acks.settle(9..=9, Answer::Ack, CHANNEL, out),
        Settlement::Done
    );
    assert_eq!(
        acks.settle(9..=9, Answer::Ack, CHANNEL, out),
        Settlement::Already
    );
}

#[test]
fn the_highest_tag_that_64_bits_can_hold_overflows_nothing() {
    let mut acks = Acks::new();
    let out = &mut Vec::new();
    acks.delivered(u64::MAX - 1, None, CHANNEL, out);
    acks.delivered(u64::MAX, Some(Answer::Ack), CHANNEL, out);
    assert!(!acks.follows(u64::MAX));
    let up_to = acks.settle(1..=u64::MAX, Answer::Ack, CHANNEL, out);
    assert_eq!(up_to, Settlement::Done);
    assert_eq!(sent(&mut acks), [(u64::MAX, true)]);
}
