//! What a user's test of a consumer looks like, and what it costs.

use std::time::{Duration, Instant};

use amqp_uring::broker::Broker;
use amqp_uring::{Disposition, Engine, Properties, PublisherOptions, Queue};

/// The consumer under test.
fn handle(order: &str) -> Disposition {
    match order.parse::<u32>() {
        Ok(_) => Disposition::Ack,
        Err(_) => Disposition::Reject { requeue: false },
    }
}

fn orders_are_taken_and_anything_else_is_rejected() {
    let broker = Broker::builder().start().unwrap();
    let engine = Engine::connect(broker.uri()).unwrap();
    let dead = Queue::transient("dead");
    engine.declare(&dead).wait(Duration::from_secs(5)).unwrap();
    let orders = Queue::transient("orders")
        .argument("x-dead-letter-exchange", "")
        .argument("x-dead-letter-routing-key", "dead");
    let _consumer = engine
        .consume(orders, |order| {
            handle(std::str::from_utf8(order.body()).unwrap())
        })
        .unwrap();
    let mut publisher = engine.publisher(PublisherOptions::default()).unwrap();
    for order in ["1", "two", "3"] {
        publisher
            .publish("", "orders", &Properties::empty(), order)
            .unwrap();
    }
    let is_done = |queue: &amqp_uring::broker::QueueState| queue.ready + queue.unacked == 0;
    let state = broker.wait_for(Duration::from_secs(5), move |state| {
        state.totals.delivered == 3 && state.queue("orders").is_some_and(is_done)
    });
    assert_eq!(state.unwrap().queue("dead").unwrap().ready, 1);
}

/// The best of some runs: how fast it can be, and not how busy the machine is.
#[test]
fn a_test_of_a_consumer_takes_less_than_100_milliseconds() {
    let times = (0..5).map(|_| {
        let before = Instant::now();
        orders_are_taken_and_anything_else_is_rejected();
        before.elapsed()
    });
    let best = times.min().unwrap();
    println!("a broker, an engine, three messages: {best:?}");
    assert!(best < Duration::from_millis(100), "{best:?}");
}
