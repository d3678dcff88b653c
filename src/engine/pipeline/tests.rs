//! Ties without a worker: confirms are booked here, and answers are read from the inputs' mailbox.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::connection::{self, Answer, Body, ChannelId, Confirm, Outcome, Returned};
use crate::engine::command::{Command, Mailbox};
use crate::engine::delivery::{Delivery, Site};
use crate::engine::outlet::Outlet;
use crate::engine::publisher::Handle;
use crate::engine::region::Region;
use crate::engine::{Error, Publisher, PublisherOptions};
use crate::protocol::{Properties, ShortStr};

const REQUEUED: Answer = Answer::Nack { requeue: true };

/// A publisher, and what stands for its worker.
struct Output {
    outlet: Arc<Outlet>,
    publisher: Publisher,
}

impl Output {
    fn new() -> Self {
        let mailbox = Arc::new(Mailbox::new());
        let outlet = Arc::new(Outlet::new(
            PublisherOptions::default(),
            true,
            ChannelId::new(1),
            4096,
            Arc::clone(&mailbox),
            (0, 1),
        ));
        let publisher = Publisher::new(Handle::new(Arc::clone(&outlet), mailbox));
        Output { outlet, publisher }
    }

    fn publish(&mut self) -> Receipt {
        let properties = Properties::empty();
        self.publisher
            .try_publish("", "out", &properties, "output")
            .unwrap()
    }

    fn confirm(&self, delivery_tag: u64, multiple: bool, acked: bool) {
        let confirm = Confirm {
            delivery_tag,
            multiple,
            acked,
        };
        // A broker that confirms twice is told apart elsewhere.
        let _ = self.outlet.confirmed(confirm);
    }
}

/// Where inputs come from.
struct Input {
    mailbox: Arc<Mailbox>,
    channel: ChannelId,
}

impl Input {
    fn new() -> Self {
        Input {
            mailbox: Arc::new(Mailbox::new()),
            channel: ChannelId::new(2),
        }
    }

    fn acker(&self, delivery_tag: u64) -> Acker {
        let raw = connection::Delivery {
            channel: self.channel,
            delivery_tag,
            redelivered: false,
            consumer_tag: ShortStr::default(),
            exchange: ShortStr::default(),
            routing_key: ShortStr::default(),
            properties: Default::default(),
            body: Body::Borrowed(&[]),
        };
        let site = Site {
            region: &Region::new(&[], None, false),
            mailbox: &self.mailbox,
            line: 0,
            no_ack: false,
            is_shared: false,
        };
        Delivery::new(&raw, site).acker()
    }

    /// What was answered since the last look.
    fn answers(&self) -> Vec<(RangeInclusive<u64>, Answer)> {
        std::iter::from_fn(|| self.mailbox.take())
            .map(|command| match command {
                Command::Settle(settle) => {
                    assert_eq!(settle.channel, self.channel);
                    (settle.tags, settle.answer)
                }
                _ => panic!("inputs are only answered"),
            })
            .collect()
    }
}

#[test]
fn an_input_is_acked_when_its_output_is_and_not_before() {
    let (mut output, input) = (Output::new(), Input::new());
    input.acker(7).ack_after(output.publish());
    assert_eq!(input.answers(), []);
    output.confirm(1, false, true);
    assert_eq!(input.answers(), [(7..=7, Answer::Ack)]);
}

#[test]
fn an_output_that_is_confirmed_before_it_is_tied_answers_at_once() {
    let (mut output, input) = (Output::new(), Input::new());
    let receipts = [output.publish(), output.publish(), output.publish()];
    output.confirm(1, false, true);
    output.confirm(2, false, false);
    output.confirm(3, false, true);
    let [acked, nacked, mut known] = receipts;
    assert_eq!(known.try_outcome().unwrap(), Some(Outcome::Acked));
    input.acker(1).ack_after(acked);
    input.acker(2).ack_after(nacked);
    input.acker(3).ack_after(known);
    assert_eq!(
        input.answers(),
        [
            (1..=1, Answer::Ack),
            (2..=2, REQUEUED),
            (3..=3, Answer::Ack)
        ]
    );
}

#[test]
fn an_output_that_came_back_requeues_its_input_although_it_is_acked() {
    let (mut output, input) = (Output::new(), Input::new());
    let receipt = output
        .publisher
        .publish_mandatory("", "nowhere", &Properties::empty(), "output")
        .unwrap();
    input.acker(1).ack_after(receipt);
    let route = [ShortStr::default(), ShortStr::new("nowhere").unwrap()];
    let properties = Properties::empty();
    let print = connection::fingerprint(route[0], route[1], properties.as_ref(), b"output");
    let returned = Returned {
        code: 312,
        text: "NO_ROUTE".into(),
        exchange: String::new(),
        routing_key: "nowhere".into(),
        properties,
        body: "output".into(),
    };
    output.outlet.returned(returned, print);
    assert_eq!(input.answers(), []);
    output.confirm(1, false, true);
    assert_eq!(input.answers(), [(1..=1, REQUEUED)]);
}

#[test]
fn what_is_not_known_requeues() {
    let (mut output, input) = (Output::new(), Input::new());
    input.acker(1).ack_after(output.publish());
    output.outlet.lose(Error::Stopped);
    assert_eq!(input.answers(), [(1..=1, REQUEUED)]);
}

#[test]
fn no_outputs_are_an_ack_and_an_input_that_needs_no_answer_gets_none() {
    let (mut output, input) = (Output::new(), Input::new());
    input.acker(1).ack_after_all(Vec::new());
    assert_eq!(input.answers(), [(1..=1, Answer::Ack)]);
    let spent = input.acker(2);
    spent.spent().ack_after(output.publish());
    output.confirm(1, false, true);
    assert_eq!(input.answers(), []);
    drop(spent);
    assert_eq!(input.answers(), [(2..=2, REQUEUED)]);
}

#[test]
fn outputs_of_two_publishers_are_both_waited_for() {
    for first in [0, 1] {
        let mut outputs = [Output::new(), Output::new()];
        let input = Input::new();
        let receipts = outputs.each_mut().map(Output::publish);
        input.acker(4).ack_after_all(receipts.into());
        outputs[first].confirm(1, false, true);
        assert_eq!(input.answers(), []);
        outputs[1 - first].confirm(1, false, true);
        assert_eq!(input.answers(), [(4..=4, Answer::Ack)]);
    }
}

#[test]
fn a_hundred_thousand_outputs_of_one_input_are_no_recursion() {
    let (mut output, input) = (Output::new(), Input::new());
    let mut receipts = Vec::new();
    for _ in 0..10 {
        receipts.extend((0..10_000).map(|_| output.publish()));
        output.confirm(0, true, true);
    }
    input.acker(1).ack_after_all(receipts);
    assert_eq!(input.answers(), [(1..=1, Answer::Ack)]);
}

#[derive(Debug, Clone)]
enum Op {
    /// An input, tied to so many outputs.
    Tie { outputs: usize },
    /// An output that nothing is tied to.
    Publish,
    /// The tag is that many below the last one.
    Confirm {
        below: u64,
        multiple: bool,
        acked: bool,
    },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..4usize).prop_map(|outputs| Op::Tie { outputs }),
        1 => Just(Op::Publish),
        6 => (0..12u64, any::<bool>(), prop::bool::weighted(0.8))
            .prop_map(|(below, multiple, acked)| Op::Confirm { below, multiple, acked }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn each_input_is_answered_once_by_what_became_of_its_outputs(
        ops in proptest::collection::vec(op(), 0..60),
    ) {
        let (mut output, input) = (Output::new(), Input::new());
        let mut outcomes: BTreeMap<u64, bool> = BTreeMap::new();
        let mut inputs: Vec<Vec<u64>> = Vec::new();
        let mut answered: BTreeMap<u64, Answer> = BTreeMap::new();
        let mut last = 0;
        for op in ops {
            match op {
                Op::Tie { outputs } => {
                    let receipts: Vec<_> = (0..outputs).map(|_| output.publish()).collect();
                    let tags: Vec<_> = receipts.iter().map(Receipt::delivery_tag).collect();
                    last += outputs as u64;
                    inputs.push(tags);
                    input.acker(inputs.len() as u64).ack_after_all(receipts);
                }
                Op::Publish => {
                    drop(output.publish());
                    last += 1;
                }
                Op::Confirm { below, multiple, acked } => {
                    let Some(tag) = last.checked_sub(below).filter(|tag| *tag > 0) else {
                        continue;
                    };
                    output.confirm(tag, multiple, acked);
                    let first = if multiple { 1 } else { tag };
                    for tag in first..=tag {
                        outcomes.entry(tag).or_insert(acked);
                    }
                }
            }
            for (tags, answer) in input.answers() {
                let outputs = &inputs[*tags.start() as usize - 1];
                let all_acked = outputs.iter().all(|tag| outcomes.get(tag) == Some(&true));
                prop_assert_eq!(answer == Answer::Ack, all_acked);
                prop_assert_eq!(answered.insert(*tags.start(), answer), None);
            }
            for (number, outputs) in (1..).zip(&inputs) {
                let is_resolved = outputs.iter().all(|tag| outcomes.contains_key(tag));
                prop_assert!(!is_resolved || answered.contains_key(&number), "{}", number);
            }
        }
        output.outlet.lose(Error::Stopped);
        for (tags, answer) in input.answers() {
            prop_assert_eq!(answer, REQUEUED);
            prop_assert_eq!(answered.insert(*tags.start(), answer), None);
        }
        prop_assert_eq!(answered.len(), inputs.len());
    }
}
