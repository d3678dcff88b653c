//! Any sequence of operations does to a queue what it does to a naive one, which keeps its messages in a sorted list, looks
//! at every one of them each time, and gives a message to a consumer that waits before it puts it in.

use std::cmp::Reverse;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
struct Plan {
    quorum: bool,
    priority_max: u8,
    length_max: Option<u8>,
    octets_max: Option<u8>,
    overflow: &'static str,
    message_ttl: Option<u8>,
    delivery_limit: Option<u8>,
}

#[derive(Debug, Clone)]
enum Operation {
    Publish {
        priority: u8,
        expiration: Option<u8>,
        padding: usize,
    },
    Get {
        no_ack: bool,
    },
    /// The consumer can take so many messages more.
    Credit(usize),
    Ack(usize),
    Requeue(usize, Requeue),
    Reject(usize),
    Pass(u8),
    Purge,
}

fn plans() -> impl Strategy<Value = Plan> {
    let overflow = prop::sample::select(vec!["drop-head", "reject-publish", "reject-publish-dlx"]);
    let small = || prop::option::of(0..6u8);
    (
        any::<bool>(),
        0..4u8,
        small(),
        prop::option::of(0..30u8),
        overflow,
        prop::option::of(0..20u8),
        small(),
    )
        .prop_map(
            |(quorum, priority_max, length_max, octets_max, overflow, message_ttl, limit)| Plan {
                quorum,
                priority_max: if quorum { 0 } else { priority_max },
                length_max,
                octets_max,
                overflow,
                message_ttl,
                delivery_limit: limit.filter(|_| quorum),
            },
        )
}

fn operations() -> impl Strategy<Value = Operation> {
    let why = prop::sample::select(vec![Requeue::Asked, Requeue::Abandoned]);
    prop_oneof![
        8 => (0..6u8, prop::option::of(0..20u8), 0..4usize).prop_map(
            |(priority, expiration, padding)| Operation::Publish { priority, expiration, padding }
        ),
        4 => any::<bool>().prop_map(|no_ack| Operation::Get { no_ack }),
        2 => (0..4usize).prop_map(Operation::Credit),
        2 => (0..8usize).prop_map(Operation::Ack),
        4 => (0..8usize, why).prop_map(|(held, why)| Operation::Requeue(held, why)),
        1 => (0..8usize).prop_map(Operation::Reject),
        3 => (0..15u8).prop_map(Operation::Pass),
        1 => Just(Operation::Purge),
    ]
}

/// A message of the naive queue.
#[derive(Debug, Clone)]
struct Item {
    body: String,
    priority: u8,
    /// 0 for what a quorum queue puts before the rest.
    group: u8,
    sequence: usize,
    expires: Option<u64>,
    returns: u8,
    redelivered: bool,
}

#[derive(Debug)]
struct Naive {
    plan: Plan,
    now: u64,
    ready: Vec<Item>,
    held: Vec<Item>,
    sequences: usize,
    credit: usize,
    log: Vec<String>,
}

impl Naive {
    fn publish(&mut self, body: &str, priority: u8, expiration: Option<u8>) {
        let sum = self.ready.iter().map(|item| item.body.len()).sum::<usize>() + body.len();
        let fits = self.is_within(self.ready.len() + 1, sum);
        let dead_letters = self.plan.overflow == "reject-publish-dlx";
        let rejects = self.plan.overflow == "reject-publish" || dead_letters && !self.plan.quorum;
        if rejects && !fits {
            if dead_letters {
                self.log.push(format!("{body}: maxlen"));
            }
            self.log.push(format!("{body} rejected"));
            return;
        }
        let time_to_live = [expiration, self.plan.message_ttl]
            .into_iter()
            .flatten()
            .min();
        let item = Item {
            body: body.to_owned(),
            priority: priority.min(self.plan.priority_max),
            group: 1,
            sequence: self.next_sequence(),
            expires: time_to_live.map(|milliseconds| self.now + u64::from(milliseconds)),
            returns: 0,
            redelivered: false,
        };
        if self.credit > 0 {
            self.credit -= 1;
            self.hand_out(item, false);
        } else {
            self.ready.push(item);
        }
        self.settle();
    }

    fn next_sequence(&mut self) -> usize {
        self.sequences += 1;
        self.sequences
    }

    fn is_within(&self, messages: usize, octets: usize) -> bool {
        let within = |limit: Option<u8>, value| limit.is_none_or(|max| value <= usize::from(max));
        within(self.plan.length_max, messages) && within(self.plan.octets_max, octets)
    }

    fn sort(&mut self) {
        self.ready
            .sort_by_key(|item| (Reverse(item.priority), item.group, item.sequence));
    }

    fn heads(&mut self) -> Vec<Item> {
        self.sort();
        let mut heads = self.ready.clone();
        heads.dedup_by_key(|item| item.priority);
        heads
    }

    fn take(&mut self, body: &str) -> Item {
        let at = self
            .ready
            .iter()
            .position(|item| item.body == body)
            .unwrap();
        self.ready.remove(at)
    }

    fn drop_surplus(&mut self) {
        self.sort();
        while !self.is_within(
            self.ready.len(),
            self.ready.iter().map(|item| item.body.len()).sum(),
        ) {
            let dropped = self.ready.remove(0);
            self.log.push(format!("{}: maxlen", dropped.body));
        }
    }

    fn drop_expired(&mut self, latest: Option<u64>) {
        let Some(latest) = latest else { return };
        let expired = |item: &Item| item.expires.is_some_and(|at| at <= latest);
        while let Some(head) = self.heads().into_iter().find(expired) {
            self.take(&head.body);
            self.log.push(format!("{}: expired", head.body));
        }
    }

    fn settle(&mut self) {
        self.drop_surplus();
        self.drop_expired(Some(self.now));
    }

    fn hand_out(&mut self, item: Item, no_ack: bool) {
        let again = if item.redelivered { " again" } else { "" };
        self.log.push(format!("{} delivered{again}", item.body));
        if !no_ack {
            self.held.push(item);
        }
    }

    fn deliver(&mut self) {
        self.drop_expired(self.now.checked_sub(1));
        while self.credit > 0 && !self.ready.is_empty() {
            self.sort();
            self.credit -= 1;
            let item = self.ready.remove(0);
            self.hand_out(item, false);
            self.drop_expired(self.now.checked_sub(1));
        }
        self.settle();
    }

    fn get(&mut self, no_ack: bool) {
        self.settle();
        self.sort();
        if !self.ready.is_empty() {
            let item = self.ready.remove(0);
            self.drop_expired(Some(self.now));
            self.hand_out(item, no_ack);
        }
    }

    fn requeue(&mut self, held: usize, why: Requeue) {
        let mut item = self.held.remove(held);
        item.redelivered = true;
        if self.plan.quorum {
            item.returns += 1;
            item.sequence = self.next_sequence();
            let is_appended = self.plan.delivery_limit.is_none() && why == Requeue::Asked;
            item.group = u8::from(is_appended);
        }
        if self
            .plan
            .delivery_limit
            .is_some_and(|limit| item.returns > limit)
        {
            self.log.push(format!("{}: delivery_limit", item.body));
        } else {
            self.ready.push(item);
        }
        self.drop_surplus();
        self.deliver();
    }
}

/// The queue under test, with the same operations.
struct Real {
    bench: Bench,
    held: Vec<Entry>,
    credit: usize,
    log: Vec<String>,
}

impl Real {
    fn new(plan: &Plan) -> Self {
        let mut arguments = vec![("x-dead-letter-exchange", Value::from("dlx"))];
        let limits = [
            ("x-max-length", plan.length_max),
            ("x-max-length-bytes", plan.octets_max),
            ("x-message-ttl", plan.message_ttl),
            ("x-delivery-limit", plan.delivery_limit),
        ];
        arguments.extend(
            limits
                .into_iter()
                .filter_map(|(name, limit)| Some((name, limit?.into()))),
        );
        arguments.push(("x-overflow", plan.overflow.into()));
        let mut bench = if plan.quorum {
            Bench::quorum(&arguments)
        } else {
            arguments.push(("x-max-priority", plan.priority_max.into()));
            Bench::new(&arguments)
        };
        bench.consume(1, 0);
        Self {
            bench,
            held: Vec::new(),
            credit: 0,
            log: Vec::new(),
        }
    }

    fn hand_out(&mut self, entry: Entry, no_ack: bool) {
        let again = if entry.redelivered { " again" } else { "" };
        self.log.extend(self.bench.dead());
        self.log.push(format!("{} delivered{again}", body(&entry)));
        if !no_ack {
            self.held.push(entry);
        }
    }

    fn deliver(&mut self) {
        while let Some((_, entry)) = self.bench.queue.next_delivery(
            self.bench.now,
            |_| self.credit > 0,
            &mut self.bench.effects,
        ) {
            self.credit -= 1;
            self.hand_out(entry, false);
        }
        self.log.extend(self.bench.dead());
    }

    fn publish(&mut self, body: &str, priority: u8, expiration: Option<u8>) {
        let mut properties = Properties::builder().priority(priority);
        if let Some(expiration) = expiration {
            properties = properties.expiration(&expiration.to_string());
        }
        let published = self.bench.publish_with(body, properties);
        self.log.extend(self.bench.dead());
        match published {
            Published::Rejected => self.log.push(format!("{body} rejected")),
            Published::Accepted => self.deliver(),
        }
    }

    fn get(&mut self, no_ack: bool) {
        let got = self
            .bench
            .queue
            .pop(self.bench.now, no_ack, &mut self.bench.effects);
        self.log.extend(self.bench.dead());
        if let Some(entry) = got {
            self.hand_out(entry, no_ack);
        }
    }
}

fn apply(operation: &Operation, number: usize, real: &mut Real, naive: &mut Naive) {
    let held = |index: usize| (!naive.held.is_empty()).then(|| index % naive.held.len());
    match *operation {
        Operation::Publish {
            priority,
            expiration,
            padding,
        } => {
            let body = format!("{number}{}", ".".repeat(padding));
            real.publish(&body, priority, expiration);
            naive.publish(&body, priority, expiration);
        }
        Operation::Get { no_ack } => {
            real.get(no_ack);
            naive.get(no_ack);
        }
        Operation::Credit(more) => {
            (real.credit, naive.credit) = (real.credit + more, naive.credit + more);
            real.deliver();
            naive.deliver();
        }
        Operation::Ack(index) => {
            let Some(index) = held(index) else { return };
            real.bench.queue.acked(&real.held.remove(index));
            naive.held.remove(index);
        }
        Operation::Requeue(index, why) => {
            let Some(index) = held(index) else { return };
            let entry = real.held.remove(index);
            real.bench
                .queue
                .requeue(entry, why, &mut real.bench.effects);
            real.deliver();
            naive.requeue(index, why);
        }
        Operation::Reject(index) => {
            let Some(index) = held(index) else { return };
            let entry = real.held.remove(index);
            real.bench.queue.reject(entry, &mut real.bench.effects);
            real.log.extend(real.bench.dead());
            let item = naive.held.remove(index);
            naive.log.push(format!("{}: rejected", item.body));
        }
        Operation::Pass(milliseconds) => {
            real.bench.pass(milliseconds.into());
            real.log.extend(real.bench.dead());
            naive.now += u64::from(milliseconds);
            naive.settle();
        }
        Operation::Purge => {
            real.log
                .push(format!("{} purged", real.bench.queue.purge()));
            naive.log.push(format!("{} purged", naive.ready.len()));
            naive.ready.clear();
        }
    }
}

proptest! {
    #[test]
    fn a_queue_does_what_a_naive_one_does(
        plan in plans(),
        operations in prop::collection::vec(operations(), 1..60),
    ) {
        let mut real = Real::new(&plan);
        let start = real.bench.now;
        let mut naive = Naive {
            plan,
            now: 0,
            ready: Vec::new(),
            held: Vec::new(),
            sequences: 0,
            credit: 0,
            log: Vec::new(),
        };
        for (number, operation) in operations.iter().enumerate() {
            apply(operation, number, &mut real, &mut naive);
            prop_assert_eq!(&real.log, &naive.log, "after {}: {:?}", number, operation);
            prop_assert_eq!(real.credit, naive.credit);
            let queue = &real.bench.queue;
            prop_assert_eq!(queue.ready() as usize, naive.ready.len());
            prop_assert_eq!(queue.unacked() as usize, naive.held.len());
            let deadline = naive.heads().iter().filter_map(|head| head.expires).min();
            let deadline = deadline.map(|at| start + Duration::from_millis(at));
            prop_assert_eq!(queue.deadline(), deadline);
        }
        for entry in real.held.drain(..) {
            real.bench.queue.acked(&entry);
        }
        real.bench.queue.purge();
        prop_assert_eq!(real.bench.queue.octets(), 0);
    }
}
