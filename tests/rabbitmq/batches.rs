//! Batches of a real broker's deliveries.

use std::sync::mpsc::channel;
use std::time::Duration;

use amqp_uring::{
    BatchPolicy, Binding, DetachedBatch, Disposition, Driver, Exchange, Properties, Queue,
};
use macro_rules_attribute::apply;

use super::on_every_driver;
use super::support::{Scratch, WAIT};

fn texts(batch: &DetachedBatch) -> Vec<String> {
    let text = |body: &[u8]| String::from_utf8_lossy(body).into_owned();
    batch.iter().map(|d| text(d.body())).collect()
}

fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn batches_come_in_order_and_one_answer_acks_each(driver: Driver) {
    const MESSAGES: u32 = 5000;
    let engine = Scratch::new(driver);
    let queue = engine.queue("batches");
    engine.fill(&queue, MESSAGES);
    let policy = BatchPolicy {
        messages_max: 700,
        ..BatchPolicy::default()
    };
    let (sender, bodies) = channel();
    let consumer = engine
        .consume_batches(Queue::named(&queue), policy, move |batch| {
            assert!((1..=700).contains(&batch.len()));
            for delivery in batch.iter() {
                assert!(!delivery.redelivered());
                let body = String::from_utf8_lossy(delivery.body()).into_owned();
                sender.send(body).unwrap();
            }
            Disposition::Ack
        })
        .unwrap();
    for number in numbers(0..MESSAGES) {
        assert_eq!(bodies.recv_timeout(WAIT).unwrap(), number);
    }
    consumer.cancel().wait(WAIT).unwrap();
    assert_eq!(engine.depth(&queue), 0);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_batch_that_is_nacked_comes_again_and_others_do_not(driver: Driver) {
    let engine = Scratch::new(driver);
    let queue = engine.queue("nacked");
    engine.fill(&queue, 60);
    let policy = BatchPolicy {
        messages_max: 20,
        wait_max: Duration::from_secs(3600),
        ..BatchPolicy::default()
    };
    let (sender, batches) = channel();
    let _consumer = engine
        .consumer(Queue::named(&queue))
        .prefetch(60)
        .batches(policy, move |batch| {
            sender.send(batch.detach()).unwrap();
            Disposition::Detached
        })
        .wait(WAIT)
        .unwrap();
    let [first, second, third] = std::array::from_fn(|_| batches.recv_timeout(WAIT).unwrap());
    assert_eq!(texts(&second), numbers(20..40));
    third.acker.ack().unwrap();
    second.acker.nack(true).unwrap();
    first.acker.ack().unwrap();
    let again = batches.recv_timeout(WAIT).unwrap();
    assert_eq!(texts(&again), numbers(20..40));
    assert!(again.iter().all(|delivery| delivery.redelivered()));
    again.acker.ack().unwrap();
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn deliveries_in_a_batch_have_all_that_came_with_them(driver: Driver) {
    let engine = Scratch::new(driver);
    let queue = engine.queue("whole");
    let exchange = engine.exchange("whole", Exchange::topic);
    let binding = Binding::queue(&queue, &exchange, "key.*");
    engine.bind(&binding).wait(WAIT).unwrap();
    // In one frame, in several, and in none.
    let sizes = [100, 400_000, 0, 5];
    let mut publisher = engine.confirming();
    for (number, size) in sizes.iter().enumerate() {
        let properties = Properties::builder()
            .message_id(&format!("m-{number}"))
            .build()
            .unwrap();
        let key = format!("key.{number}");
        let body = vec![number as u8; *size];
        publisher
            .publish(&exchange, &key, &properties, body)
            .unwrap();
    }
    publisher.wait_for_confirms(WAIT).unwrap();
    let policy = BatchPolicy {
        messages_max: sizes.len(),
        wait_max: Duration::from_secs(3600),
        ..BatchPolicy::default()
    };
    let (sender, batches) = channel();
    let _consumer = engine
        .consume_batches(Queue::named(&queue), policy, move |batch| {
            sender.send(batch.detach()).unwrap();
            Disposition::Detached
        })
        .unwrap();
    let batch = batches.recv_timeout(WAIT).unwrap();
    assert_eq!(batch.len(), sizes.len());
    for (number, (delivery, size)) in batch.iter().zip(sizes).enumerate() {
        assert!(delivery.body() == vec![number as u8; size]);
        assert_eq!(delivery.body_bytes(), delivery.body());
        assert_eq!(delivery.exchange(), exchange.as_str());
        assert_eq!(delivery.routing_key(), format!("key.{number}").as_str());
        let message_id = delivery.properties().message_id().unwrap().unwrap();
        assert_eq!(message_id, format!("m-{number}").as_str());
    }
    batch.acker.ack().unwrap();
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_smaller_window_makes_smaller_batches(driver: Driver) {
    let engine = Scratch::new(driver);
    let queue = engine.queue("window");
    let policy = BatchPolicy {
        messages_max: 1000,
        wait_max: Duration::from_secs(3600),
        ..BatchPolicy::default()
    };
    let (sender, batches) = channel();
    let consumer = engine
        .consume_batches(Queue::named(&queue), policy, move |batch| {
            sender.send(batch.len()).unwrap();
            Disposition::Ack
        })
        .unwrap();
    consumer.set_prefetch(10).wait(WAIT).unwrap();
    engine.fill(&queue, 15);
    for _ in 0..3 {
        assert_eq!(batches.recv_timeout(WAIT).unwrap(), 5);
    }
}
