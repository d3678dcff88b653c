//! Batches without a worker: deliveries are made here, and answers are read from the mailbox.

use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::super::command::{Command, Mailbox};
use super::super::delivery::Site;
use super::super::region::Region;
use super::*;
use crate::buffer::{Filled, Pool, Vacant};
use crate::connection::{self, Answer, Body, ChannelId};
use crate::engine::DetachedBatch;
use crate::protocol::{Properties, ShortStr};

const ENDLESS: BatchPolicy = BatchPolicy {
    messages_max: usize::MAX,
    bytes_max: usize::MAX,
    wait_max: Duration::from_secs(3600),
};

/// A batcher, and what stands for its worker.
struct Bench {
    batcher: Batcher,
    mailbox: Arc<Mailbox>,
    channel: ChannelId,
    start: Instant,
    no_ack: bool,
}

impl Bench {
    fn new(
        policy: BatchPolicy,
        handler: impl FnMut(&mut Batch) -> Disposition + Send + 'static,
    ) -> Self {
        Bench {
            batcher: Batcher::new(policy, Box::new(handler)),
            mailbox: Arc::new(Mailbox::new()),
            channel: ChannelId::new(3),
            start: Instant::now(),
            no_ack: false,
        }
    }

    /// A delivery that lies in `region`.
    fn push_from(&mut self, region: &Region<'_>, delivery: &connection::Delivery<'_>, ms: u64) {
        let site = Site {
            region,
            mailbox: &self.mailbox,
            line: 0,
            no_ack: self.no_ack,
            is_shared: false,
        };
        let now = self.start + Duration::from_millis(ms);
        self.batcher.push(&Delivery::new(delivery, site), now);
    }

    fn push(&mut self, delivery_tag: u64, body: &[u8], ms: u64) {
        let delivery = connection::Delivery {
            delivery_tag,
            body: Body::Borrowed(body),
            ..self.plain()
        };
        self.push_from(&Region::new(body, None, false), &delivery, ms);
    }

    fn plain<'a>(&self) -> connection::Delivery<'a> {
        connection::Delivery {
            channel: self.channel,
            delivery_tag: 1,
            redelivered: false,
            consumer_tag: ShortStr::default(),
            exchange: ShortStr::default(),
            routing_key: ShortStr::default(),
            properties: Default::default(),
            body: Body::Borrowed(&[]),
        }
    }

    /// What was answered since the last look.
    fn answers(&self) -> Vec<(RangeInclusive<u64>, Answer)> {
        std::iter::from_fn(|| self.mailbox.take())
            .map(|command| match command {
                Command::Settle(settle) => {
                    assert_eq!(settle.channel, self.channel);
                    (settle.tags, settle.answer)
                }
                _ => panic!("a batcher only answers"),
            })
            .collect()
    }
}

fn tags(batch: &[BatchDelivery]) -> Vec<u64> {
    batch.iter().map(BatchDelivery::delivery_tag).collect()
}

const REQUEUED: Answer = Answer::Nack { requeue: true };

/// A message that arrives so many milliseconds after the one before.
#[derive(Debug, Clone)]
struct Arrival {
    after_ms: u64,
    octets: usize,
}

fn arrival() -> impl Strategy<Value = Arrival> {
    (prop_oneof![3 => Just(0), 2 => 1..40u64], 0..30usize)
        .prop_map(|(after_ms, octets)| Arrival { after_ms, octets })
}

/// How many messages each batch has, by the words of the documentation: from its first message on, the shortest run that reaches a
/// limit, or all that came in its time.
fn expected(arrivals: &[Arrival], policy: &BatchPolicy, half_window: usize) -> Vec<usize> {
    let mut at = 0;
    let times: Vec<u64> = arrivals
        .iter()
        .map(|arrival| {
            at += arrival.after_ms;
            at
        })
        .collect();
    let mut sizes = Vec::new();
    let mut first = 0;
    while first < arrivals.len() {
        let due = times[first] + policy.wait_max.as_millis() as u64;
        let in_time = 1 + times[first + 1..].iter().filter(|at| **at < due).count();
        let by_octets = (1..=in_time).find(|size| {
            let bodies = arrivals[first..first + size].iter().map(|a| a.octets);
            bodies.sum::<usize>() >= policy.bytes_max
        });
        let size = policy.messages_max.min(half_window);
        let size = size.min(by_octets.unwrap_or(in_time)).min(in_time);
        sizes.push(size);
        first += size;
    }
    sizes
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn batches_end_where_their_policy_says(
        arrivals in proptest::collection::vec(arrival(), 0..80),
        messages_max in 1..12usize,
        bytes_max in 1..120usize,
        wait_ms in 0..60u64,
        window in proptest::option::of(1..40u16),
    ) {
        let wait_max = Duration::from_millis(wait_ms);
        let policy = BatchPolicy { messages_max, bytes_max, wait_max };
        let sizes = Arc::<Mutex<Vec<usize>>>::default();
        let seen = Arc::clone(&sizes);
        let mut bench = Bench::new(policy, move |batch| {
            seen.lock().unwrap().push(batch.len());
            Disposition::Ack
        });
        bench.batcher.set_window(window);
        let mut ms = 0;
        for (tag, arrival) in (1..).zip(&arrivals) {
            ms += arrival.after_ms;
            let now = bench.start + Duration::from_millis(ms);
            if bench.batcher.due().is_some_and(|due| now >= due) {
                bench.batcher.hand_over();
            }
            bench.push(tag, &vec![0; arrival.octets], ms);
            if bench.batcher.is_full() {
                bench.batcher.hand_over();
                prop_assert_eq!(bench.batcher.due(), None);
            }
        }
        bench.batcher.hand_over();
        let half_window = window.map_or(usize::MAX, |window| usize::from(window / 2).max(1));
        let expected = expected(&arrivals, &policy, half_window);
        prop_assert_eq!(&*sizes.lock().unwrap(), &expected);
        // Each is answered as a whole, and together they are all there was.
        let mut next = 1;
        for ((tags, answer), size) in bench.answers().into_iter().zip(expected) {
            prop_assert_eq!(tags, next..=next + size as u64 - 1);
            prop_assert_eq!(answer, Answer::Ack);
            next += size as u64;
        }
        prop_assert_eq!(next, arrivals.len() as u64 + 1);
    }
}

/// A bench whose batches are all taken along.
fn detaching() -> (Bench, Receiver<DetachedBatch>) {
    let (sender, receiver) = channel();
    let bench = Bench::new(ENDLESS, move |batch| {
        sender.send(batch.detach()).unwrap();
        Disposition::Detached
    });
    (bench, receiver)
}

#[test]
fn a_detached_batch_is_answered_once_by_its_acker_from_another_thread() {
    let (mut bench, batches) = detaching();
    for tag in 5..=8 {
        bench.push(tag, b"body", 0);
    }
    bench.batcher.hand_over();
    bench.push(9, b"next", 0);
    assert_eq!(bench.answers(), []);
    let batch = batches.recv().unwrap();
    assert_eq!(tags(&batch), [5, 6, 7, 8]);
    let answered = std::thread::spawn(move || batch.acker.reject(false));
    answered.join().unwrap().unwrap();
    assert_eq!(
        bench.answers(),
        [(5..=8, Answer::Reject { requeue: false })]
    );
}

#[test]
fn what_nobody_answers_goes_back() {
    let (mut bench, batches) = detaching();
    bench.push(1, b"", 0);
    bench.push(2, b"", 0);
    bench.batcher.hand_over();
    bench.push(3, b"", 0);
    drop(batches.recv().unwrap());
    assert_eq!(bench.answers(), [(1..=2, REQUEUED)]);
    let Bench {
        batcher, mailbox, ..
    } = bench;
    drop(batcher);
    let Some(Command::Settle(settle)) = mailbox.take() else {
        panic!("the batch that was being filled");
    };
    assert_eq!((settle.tags, settle.answer), (3..=3, REQUEUED));
}

#[test]
fn a_handler_that_says_detached_and_detaches_nothing_requeues() {
    let mut bench = Bench::new(ENDLESS, |_| Disposition::Detached);
    bench.push(1, b"", 0);
    bench.batcher.hand_over();
    assert_eq!(bench.answers(), [(1..=1, REQUEUED)]);
}

#[test]
fn the_acker_alone_answers_a_batch_that_was_detached() {
    let (sender, receiver) = channel();
    let mut bench = Bench::new(ENDLESS, move |batch| {
        sender.send(batch.detach()).unwrap();
        assert!(batch.is_empty());
        let again = batch.detach();
        assert!(again.is_empty());
        again.acker.reject(false).unwrap();
        Disposition::Nack { requeue: true }
    });
    bench.push(1, b"", 0);
    bench.batcher.hand_over();
    assert_eq!(bench.answers(), []);
    receiver.recv().unwrap().acker.ack().unwrap();
    assert_eq!(bench.answers(), [(1..=1, Answer::Ack)]);
}

#[test]
fn a_handler_that_panics_requeues_its_batch() {
    let mut bench = Bench::new(ENDLESS, |_| panic!("on purpose"));
    bench.push(1, b"", 0);
    bench.push(2, b"", 0);
    let panicked = catch_unwind(AssertUnwindSafe(|| bench.batcher.hand_over()));
    assert!(panicked.is_err());
    assert_eq!(bench.answers(), [(1..=2, REQUEUED)]);
}

#[test]
fn a_consumer_without_acks_answers_nothing() {
    let mut bench = Bench::new(ENDLESS, |_| Disposition::Ack);
    bench.no_ack = true;
    bench.push(1, b"", 0);
    bench.batcher.hand_over();
    assert_eq!(bench.answers(), []);
}

fn received(pool: &Pool, octets: &[u8]) -> Filled {
    let mut vacant = Vacant::take(pool).unwrap();
    vacant.unfilled()[..octets.len()].copy_from_slice(octets);
    vacant.fill(octets.len())
}

#[test]
fn a_delivery_has_what_came_in_place_and_gathered() {
    let properties = Properties::builder().message_id("m-7").build().unwrap();
    let mut octets = b"<exchange<some.key<".to_vec();
    properties.as_ref().encode(&mut octets);
    octets.extend(b"<the body");
    let pool = Pool::new(1, 256).unwrap();
    let filled = received(&pool, &octets);
    let gathered = Bytes::from_static(b"the body");
    let (mut bench, batches) = detaching();
    let list_at = 19;
    let body_at = octets.len() - 8;
    let delivery = connection::Delivery {
        redelivered: true,
        exchange: ShortStr::from_bytes(&filled[1..9]).unwrap(),
        routing_key: ShortStr::from_bytes(&filled[10..18]).unwrap(),
        properties: crate::protocol::PropertiesRef::decode(&filled[list_at..body_at - 1]).unwrap(),
        body: Body::Borrowed(&filled[body_at..]),
        ..bench.plain()
    };
    let in_pieces = connection::Delivery {
        delivery_tag: 2,
        body: Body::Gathered(&gathered),
        ..delivery
    };
    let region = Region::new(&filled, Some(&filled), false);
    bench.push_from(&region, &delivery, 0);
    bench.push_from(&region, &in_pieces, 0);
    bench.batcher.hand_over();
    let batch = batches.recv().unwrap();
    for delivery in batch.iter() {
        assert_eq!(delivery.body(), b"the body");
        assert_eq!(delivery.body_bytes(), b"the body"[..]);
        assert_eq!(delivery.exchange(), "exchange");
        assert_eq!(delivery.routing_key(), "some.key");
        let message_id = delivery.properties().message_id().unwrap().unwrap();
        assert_eq!(message_id, "m-7");
        assert!(delivery.redelivered());
    }
    assert_eq!(batch[0].body().as_ptr(), filled[body_at..].as_ptr());
    assert_eq!(batch[1].body().as_ptr(), gathered.as_ptr());
}

#[test]
fn a_delivery_in_a_batch_is_small() {
    assert_eq!(size_of::<BatchDelivery>(), 128);
}
