//! Bodies of every size that matters, there and back, compared octet by octet.

use std::sync::mpsc::channel;
use std::time::Duration;

use amqp_uring::{Disposition, Driver, Engine, Outcome, Properties, PublisherOptions, Queue};
use bytes::Bytes;
use macro_rules_attribute::apply;

use super::on_every_driver;
use super::support::{Scratch, WAIT, builder, receive};

const FRAME_MAX: u32 = 128 * 1024;

/// Octets in which every position and every length looks different.
fn body(octets: usize) -> Vec<u8> {
    let mut body = Vec::with_capacity(octets + 8);
    let mut word = octets as u64 ^ 0x9e37_79b9_7f4a_7c15;
    while body.len() < octets {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        body.extend_from_slice(&word.to_le_bytes());
    }
    body.truncate(octets);
    body
}

/// Publishes each body copied and shared, and compares what comes back, borrowed and kept.
fn round_trip(engine: Engine, bodies: &[Vec<u8>]) {
    let engine = Scratch::on(engine);
    let queue = engine.queue("bodies");
    let (sender, receiver) = channel();
    let consumer = engine
        .consume(Queue::named(&queue), move |delivery| {
            let is_same = delivery.body_bytes() == delivery.body();
            let _ = sender.send((delivery.body().to_vec(), delivery.body_bytes(), is_same));
            Disposition::Ack
        })
        .unwrap();
    let mut publisher = engine.confirming();
    let properties = Properties::default();
    for body in bodies {
        let shared = Bytes::copy_from_slice(body);
        let mut receipts = [
            publisher.publish("", &queue, &properties, body).unwrap(),
            publisher.publish("", &queue, &properties, shared).unwrap(),
        ];
        for way in ["copied", "shared"] {
            let (copy, view, is_same) = receive(&receiver, 1).remove(0);
            assert!(is_same);
            let octets = body.len();
            assert_eq!((copy.len(), view.len()), (octets, octets), "{way}");
            assert!(copy == *body && view == copy, "{octets} octets, {way}");
        }
        for receipt in &mut receipts {
            assert_eq!(receipt.wait(WAIT), Ok(Outcome::Acked));
        }
    }
    consumer.cancel().wait(WAIT).unwrap();
    assert_eq!(engine.depth(&queue), 0);
}

fn sizes_around(frame_max: u32) -> Vec<Vec<u8>> {
    let frame_max = frame_max as usize;
    let around = (frame_max - 9..=frame_max + 9).map(body);
    [0, 1].map(body).into_iter().chain(around).collect()
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn bodies_around_the_default_frame_size_come_back_as_they_were(driver: Driver) {
    let builder = builder(driver).frame_max(FRAME_MAX);
    round_trip(
        builder.start().wait(WAIT).unwrap(),
        &sizes_around(FRAME_MAX),
    );
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn bodies_around_a_small_frame_size_come_back_as_they_were(driver: Driver) {
    let builder = builder(driver).frame_max(8192);
    let mut bodies = sizes_around(8192);
    // Shared bodies leave uncopied from here on.
    bodies.extend((64 * 1024 - 9..=64 * 1024 + 9).map(body));
    bodies.extend([2 * 8184, 3 * 8184 - 1, 3 * 8184 + 1].map(body));
    round_trip(builder.start().wait(WAIT).unwrap(), &bodies);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn large_bodies_come_back_as_they_were(driver: Driver) {
    let engine = super::support::connect(driver);
    round_trip(engine, &[body(1 << 20), body((4 << 20) + 1)]);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn bodies_of_64_mib_come_back_as_they_were(driver: Driver) {
    round_trip(super::support::connect(driver), &[body(64 << 20)]);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn bodies_of_all_sizes_between_one_another_stay_apart(driver: Driver) {
    let engine = Scratch::new(driver);
    let queue = engine.queue("mixed");
    let sizes: Vec<usize> = (0..600)
        .map(|number: usize| (number * 7919) % 3000 * if number % 50 == 7 { 100 } else { 1 })
        .collect();
    let mut publisher = engine.confirming();
    for (number, octets) in sizes.iter().enumerate() {
        let properties = Properties::default();
        if number % 2 == 0 {
            publisher
                .publish("", &queue, &properties, body(*octets).as_slice())
                .unwrap();
        } else {
            publisher
                .publish("", &queue, &properties, body(*octets))
                .unwrap();
        }
    }
    assert!(
        publisher
            .wait_for_confirms(WAIT)
            .unwrap()
            .counts
            .all_acked()
    );
    let taken = engine.take(&queue, sizes.len());
    for (taken, octets) in taken.iter().zip(sizes) {
        assert!(taken.body == body(octets), "{octets} octets");
    }
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn views_of_more_than_all_chunks_can_be_held(driver: Driver) {
    // 32 MiB, where the driver has 4 MiB of chunks.
    const MESSAGES: usize = 2000;
    let engine = Scratch::new(driver);
    let queue = engine.queue("views");
    let (sender, receiver) = channel();
    engine
        .consumer(Queue::named(&queue))
        .prefetch(0)
        .start(move |delivery| {
            let _ = sender.send(delivery.detach());
            Disposition::Detached
        })
        .wait(WAIT)
        .unwrap();
    let mut publisher = engine.confirming();
    for number in 0..MESSAGES {
        let body = body(16 * 1024 + number % 100);
        publisher
            .publish("", &queue, &Properties::default(), body)
            .unwrap();
    }
    let held = receive(&receiver, MESSAGES);
    for (number, held) in held.iter().enumerate() {
        assert!(
            held.body == body(16 * 1024 + number % 100),
            "message {number}"
        );
    }
    held.into_iter()
        .next_back()
        .unwrap()
        .acker
        .ack_up_to()
        .unwrap();
    assert!(
        publisher
            .wait_for_confirms(WAIT)
            .unwrap()
            .counts
            .all_acked()
    );
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn large_bodies_leave_without_confirms_too(driver: Driver) {
    let engine = Scratch::new(driver);
    let queue = engine.queue("unconfirmed");
    let options = PublisherOptions::default()
        .window_octets(1 << 20)
        .publish_timeout(Duration::from_secs(30));
    let mut publisher = engine.unconfirmed_publisher(options).unwrap();
    for number in 0..40 {
        let body = body((256 << 10) + number);
        publisher
            .publish("", &queue, &Properties::default(), body)
            .unwrap();
    }
    publisher.close().wait(WAIT).unwrap();
    for (number, taken) in engine.take(&queue, 40).iter().enumerate() {
        assert!(taken.body == body((256 << 10) + number), "message {number}");
    }
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_body_over_the_limit_ends_the_connection_with_a_clear_reason(driver: Driver) {
    let scratch = Scratch::new(driver);
    let queue = scratch.queue("limit");
    let builder = builder(driver).body_size_max(1000);
    let (engine, events) = super::support::listen(builder);
    let (sender, receiver) = channel();
    // One at a time: the acks of the first two have arrived when the third is sent.
    engine
        .consumer(Queue::named(&queue))
        .prefetch(1)
        .start(move |delivery| {
            let _ = sender.send(delivery.body().len());
            Disposition::Ack
        })
        .wait(WAIT)
        .unwrap();
    let mut publisher = scratch.confirming();
    for octets in [999, 1000, 1001] {
        publisher
            .publish("", &queue, &Properties::default(), body(octets))
            .unwrap();
    }
    assert_eq!(receive(&receiver, 2), [999, 1000]);
    let event = format!("{:?}", receive(&events, 1));
    assert!(event.contains("BodyTooLarge"), "{event}");
    engine.shutdown(WAIT).unwrap();
    assert_eq!(scratch.take(&queue, 1)[0].body.len(), 1001);
}
