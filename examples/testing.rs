//! How to test a consumer and a publisher of one's own: a broker inside the test, and faults when they are wanted.
//!
//! ```text
//! cargo test --example testing
//! cargo run --example testing
//! ```
//!
//! `add_up` and `order` are the program under test; `docs/testing.md` explains the tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use amqp_uring::broker::Broker;
use amqp_uring::{
    Consumer, Disposition, Engine, Outcome, Properties, Publisher, PublisherOptions, Queue,
};

const WAIT: Duration = Duration::from_secs(5);

/// How often an order is published before it is given up.
const ATTEMPTS_MAX: u32 = 5;

/// Adds up the amounts of the orders in a queue. What is no amount is rejected.
fn add_up(engine: &Engine, total: Arc<AtomicU64>) -> Result<Consumer, amqp_uring::Error> {
    engine.consume(Queue::durable("orders"), move |order| {
        let text = std::str::from_utf8(order.body()).ok();
        match text.and_then(|text| text.parse::<u64>().ok()) {
            Some(amount) => {
                total.fetch_add(amount, Ordering::Relaxed);
                Disposition::Ack
            }
            None => Disposition::Reject { requeue: false },
        }
    })
}

/// Publishes an order until the broker has it. How many attempts that took, or `None` when it was given up.
fn order(publisher: &mut Publisher, amount: u64) -> Result<Option<u32>, amqp_uring::Error> {
    for attempt in 1..=ATTEMPTS_MAX {
        let body = amount.to_string();
        let mut receipt = publisher.publish("", "orders", &Properties::persistent(), body)?;
        if receipt.wait(WAIT)? == Outcome::Acked {
            return Ok(Some(attempt));
        }
    }
    Ok(None)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let broker = Broker::builder().start()?;
    let engine = Engine::connect(broker.uri())?;
    let total = Arc::new(AtomicU64::new(0));
    let consumer = add_up(&engine, Arc::clone(&total))?;
    let mut publisher = engine.publisher(PublisherOptions::default())?;
    for amount in 1..=100 {
        order(&mut publisher, amount)?;
    }
    broker.wait_for(WAIT, |state| {
        let orders = state.queue("orders");
        orders.is_some_and(|queue| queue.ready + queue.unacked == 0)
    })?;
    println!("100 orders: {} in all", total.load(Ordering::Relaxed));
    consumer.cancel().wait(WAIT)?;
    engine.shutdown(WAIT)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use amqp_uring::broker::ConfirmFault;

    use super::*;

    #[test]
    fn amounts_are_added_and_anything_else_is_rejected() {
        let broker = Broker::builder().start().unwrap();
        let engine = Engine::connect(broker.uri()).unwrap();
        let total = Arc::new(AtomicU64::new(0));
        let _consumer = add_up(&engine, Arc::clone(&total)).unwrap();
        let mut publisher = engine.publisher(PublisherOptions::default()).unwrap();
        for body in ["1", "20", "no number", "300"] {
            let sent = publisher.publish("", "orders", &Properties::empty(), body);
            sent.unwrap();
        }
        let done = |state: &amqp_uring::broker::State| {
            let orders = state.queue("orders").copied().unwrap_or_default();
            state.totals.delivered == 4 && orders.ready + orders.unacked == 0
        };
        broker.wait_for(WAIT, done).unwrap();
        assert_eq!(total.load(Ordering::Relaxed), 321);
    }

    #[test]
    fn an_order_that_the_broker_refuses_is_published_again_and_given_up_in_the_end() {
        let broker = Broker::builder().start().unwrap();
        let engine = Engine::connect(broker.uri()).unwrap();
        let mut publisher = engine.publisher(PublisherOptions::default()).unwrap();
        broker.faults().confirms(Some(ConfirmFault::Nack)).unwrap();
        assert_eq!(order(&mut publisher, 7).unwrap(), None);
        broker.faults().confirms(None).unwrap();
        assert_eq!(order(&mut publisher, 7).unwrap(), Some(1));
        assert_eq!(broker.state().unwrap().totals.published, 6);
    }

    #[test]
    fn a_lost_connection_ends_the_consumer_and_its_orders_stay() {
        let broker = Broker::builder().start().unwrap();
        let engine = Engine::connect(broker.uri()).unwrap();
        let consumer = add_up(&engine, Arc::default()).unwrap();
        broker.faults().reset().unwrap();
        broker
            .wait_for(WAIT, |state| state.connections == 0)
            .unwrap();
        let engine = Engine::connect(broker.uri()).unwrap();
        let mut publisher = engine.publisher(PublisherOptions::default()).unwrap();
        assert_eq!(order(&mut publisher, 1).unwrap(), Some(1));
        let orders = *broker.state().unwrap().queue("orders").unwrap();
        assert_eq!((orders.ready, orders.consumers), (1, 0));
        drop(consumer);
    }
}
