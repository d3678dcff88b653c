//! The publisher's window, with a broker whose confirms are held back.

use std::thread;
use std::time::{Duration, Instant};

use amqp_uring::{Driver, Engine, Error, Outcome, Properties, Publisher, PublisherOptions};
use macro_rules_attribute::apply;

use super::on_every_driver;
use super::proxy::Proxy;
use super::support::{Scratch, WAIT, block_on};

const NONE: Properties = Properties::empty();
const SHORT: Duration = Duration::from_millis(150);

/// A publisher whose broker is silent from now on, and a queue.
fn silent(
    driver: Driver,
    options: PublisherOptions,
) -> (Proxy, Scratch, Engine, Publisher, String) {
    let proxy = Proxy::start();
    let scratch = Scratch::new(driver);
    let queue = scratch.queue("window");
    let engine = proxy.builder(driver).start().wait(WAIT).unwrap();
    let publisher = engine.publisher(options).unwrap();
    proxy.hold();
    (proxy, scratch, engine, publisher, queue)
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_window_of_messages_is_exact(driver: Driver) {
    let options = PublisherOptions::default().window_messages(10);
    let (proxy, scratch, engine, mut publisher, queue) =
        silent(driver, options.publish_timeout(SHORT));
    let mut receipts: Vec<_> = (0..10)
        .map(|_| publisher.try_publish("", &queue, &NONE, "x").unwrap())
        .collect();
    let full = publisher.try_publish("", &queue, &NONE, "x").map(drop);
    assert!(
        matches!(full, Err(Error::WindowFull { messages: 10, .. })),
        "{full:?}"
    );
    let start = Instant::now();
    let full = publisher.publish("", &queue, &NONE, "x").map(drop);
    assert!(
        matches!(full, Err(Error::WindowFull { messages: 10, .. })),
        "{full:?}"
    );
    assert!(start.elapsed() >= SHORT);
    assert_eq!(publisher.pending(), 10);
    assert_eq!(receipts[0].wait(SHORT), Err(Error::Timeout(SHORT)));
    assert_eq!(receipts[0].try_outcome(), Ok(None));
    assert_eq!(
        publisher.wait_for_confirms(SHORT),
        Err(Error::Timeout(SHORT))
    );
    proxy.let_go();
    for receipt in &mut receipts {
        assert_eq!(receipt.wait(WAIT), Ok(Outcome::Acked));
    }
    publisher.try_publish("", &queue, &NONE, "x").unwrap();
    engine.shutdown(WAIT).unwrap();
    assert_eq!(scratch.depth(&queue), 11);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_window_of_octets_is_exceeded_by_one_message_at_most(driver: Driver) {
    let options = PublisherOptions::default().window_octets(10_000);
    let (proxy, _scratch, engine, mut publisher, queue) = silent(driver, options);
    let body = [7; 4000];
    for _ in 0..3 {
        publisher.try_publish("", &queue, &NONE, &body).unwrap();
    }
    let full = publisher.try_publish("", &queue, &NONE, "x").map(drop);
    let Err(Error::WindowFull {
        messages: 3,
        octets,
    }) = full
    else {
        panic!("{full:?}");
    };
    assert!((12_000..14_000).contains(&octets), "{octets}");
    proxy.let_go();
    assert_eq!(publisher.wait_for_confirms(WAIT).unwrap().counts.acked, 3);
    publisher.try_publish("", &queue, &NONE, &body).unwrap();
    engine.shutdown(WAIT).unwrap();
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_message_larger_than_the_window_goes_when_it_is_alone(driver: Driver) {
    let options = PublisherOptions::default().window_octets(1);
    let (proxy, scratch, engine, mut publisher, queue) = silent(driver, options);
    publisher
        .try_publish("", &queue, &NONE, vec![1; 300_000])
        .unwrap();
    let full = publisher.try_publish("", &queue, &NONE, "").map(drop);
    assert!(
        matches!(full, Err(Error::WindowFull { messages: 1, .. })),
        "{full:?}"
    );
    proxy.let_go();
    publisher
        .publish("", &queue, &NONE, vec![2; 300_000])
        .unwrap();
    engine.shutdown(WAIT).unwrap();
    assert_eq!(scratch.depth(&queue), 2);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn publishing_waits_for_room(driver: Driver) {
    let options = PublisherOptions::default().window_messages(1);
    let (proxy, scratch, engine, mut publisher, queue) = silent(driver, options);
    publisher.publish("", &queue, &NONE, "0").unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            for number in 1..100 {
                let body = number.to_string();
                publisher.publish("", &queue, &NONE, body).unwrap();
            }
            publisher.wait_for_confirms(WAIT).unwrap().counts.acked
        });
        proxy.let_go();
        assert_eq!(waiting.join().unwrap(), 100);
    });
    engine.shutdown(WAIT).unwrap();
    let expected: Vec<_> = (0..100).map(|number| number.to_string()).collect();
    assert_eq!(scratch.take_texts(&queue, 100), expected);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn room_can_be_awaited(driver: Driver) {
    let options = PublisherOptions::default().window_messages(2);
    let (proxy, scratch, engine, mut publisher, queue) = silent(driver, options);
    block_on(publisher.ready());
    for _ in 0..2 {
        publisher.try_publish("", &queue, &NONE, "x").unwrap();
    }
    assert!(publisher.try_publish("", &queue, &NONE, "x").is_err());
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..50 {
                block_on(publisher.ready());
                publisher.try_publish("", &queue, &NONE, "x").unwrap();
            }
            assert_eq!(block_on(publisher.confirmed()).unwrap().counts.acked, 52);
        });
        proxy.let_go();
    });
    engine.shutdown(WAIT).unwrap();
    assert_eq!(scratch.depth(&queue), 52);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn whoever_waits_for_room_hears_of_the_end(driver: Driver) {
    let options = PublisherOptions::default().window_messages(1);
    let (proxy, _scratch, engine, mut publisher, queue) = silent(driver, options);
    let mut receipt = publisher.publish("", &queue, &NONE, "x").unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| publisher.publish("", &queue, &NONE, "y").map(drop));
        proxy.cut();
        let ended = waiting.join().unwrap();
        assert!(
            matches!(ended, Err(Error::ConnectionLost { .. })),
            "{ended:?}"
        );
    });
    block_on(publisher.ready());
    assert_eq!(receipt.wait(WAIT), Ok(Outcome::Unknown));
    proxy.let_go();
    engine.shutdown(WAIT).unwrap();
}
