//! Exchange types and bindings.

use amqp_uring::{Binding, Driver, Exchange, FieldTable, Outcome, Properties, Queue};
use macro_rules_attribute::apply;

use super::on_every_driver;
use super::support::{Scratch, WAIT};

/// Publishes one message per key; its body is the key.
fn publish(engine: &Scratch, exchange: &str, keys: &[&str]) {
    let mut publisher = engine.confirming();
    for key in keys {
        publisher
            .publish(exchange, key, &Properties::default(), *key)
            .unwrap();
    }
    assert!(
        publisher
            .wait_for_confirms(WAIT)
            .unwrap()
            .counts
            .all_acked()
    );
}

/// What is in a queue.
fn contents(engine: &Scratch, queue: &str) -> Vec<String> {
    engine.take_texts(queue, engine.depth(queue) as usize)
}

fn bound(engine: &Scratch, exchange: &str, key: &str) -> String {
    let queue = engine.queue("bound");
    let binding = Binding::queue(&queue, exchange, key);
    engine.bind(&binding).wait(WAIT).unwrap();
    queue
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_direct_exchange_routes_by_the_very_key(driver: Driver) {
    let engine = Scratch::new(driver);
    let exchange = engine.exchange("direct", Exchange::direct);
    let red = bound(&engine, &exchange, "red");
    let blue = bound(&engine, &exchange, "blue");
    publish(&engine, &exchange, &["red", "green", "blue", "red"]);
    assert_eq!(contents(&engine, &red), ["red", "red"]);
    assert_eq!(contents(&engine, &blue), ["blue"]);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_fanout_exchange_routes_to_every_queue(driver: Driver) {
    let engine = Scratch::new(driver);
    let exchange = engine.exchange("fanout", Exchange::fanout);
    let queues = [
        bound(&engine, &exchange, ""),
        bound(&engine, &exchange, "ignored"),
    ];
    publish(&engine, &exchange, &["a", "b"]);
    for queue in queues {
        assert_eq!(contents(&engine, &queue), ["a", "b"]);
    }
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_topic_exchange_routes_by_patterns(driver: Driver) {
    let engine = Scratch::new(driver);
    let exchange = engine.exchange("topic", Exchange::topic);
    let star = bound(&engine, &exchange, "stock.*.eu");
    let hash = bound(&engine, &exchange, "stock.#");
    publish(
        &engine,
        &exchange,
        &["stock.oil.eu", "stock", "stock.oil.us", "bonds.oil.eu"],
    );
    assert_eq!(contents(&engine, &star), ["stock.oil.eu"]);
    assert_eq!(
        contents(&engine, &hash),
        ["stock.oil.eu", "stock", "stock.oil.us"]
    );
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_headers_exchange_routes_by_the_arguments_of_bindings(driver: Driver) {
    let engine = Scratch::new(driver);
    let exchange = engine.exchange("headers", Exchange::headers);
    let [all, any] = ["all", "any"].map(|mode| {
        let queue = engine.queue(mode);
        let binding = Binding::queue(&queue, &exchange, "")
            .argument("x-match", mode)
            .argument("size", 7i32)
            .argument("colour", "red");
        engine.bind(&binding).wait(WAIT).unwrap();
        queue
    });
    let mut publisher = engine.confirming();
    for (size, colour) in [(7, "red"), (7, "blue"), (8, "red"), (8, "blue")] {
        let headers = FieldTable::new()
            .with("size", size)
            .and_then(|table| table.with("colour", colour))
            .unwrap();
        let properties = Properties::builder().headers(&headers).build().unwrap();
        let body = format!("{size} {colour}");
        publisher.publish(&exchange, "", &properties, body).unwrap();
    }
    publisher.wait_for_confirms(WAIT).unwrap();
    assert_eq!(contents(&engine, &all), ["7 red"]);
    assert_eq!(contents(&engine, &any), ["7 red", "7 blue", "8 red"]);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn an_exchange_can_be_bound_to_an_exchange_and_unbound(driver: Driver) {
    let engine = Scratch::new(driver);
    let front = engine.exchange("front", Exchange::topic);
    let back = engine.exchange("back", |name| Exchange::fanout(name).internal(true));
    let queue = bound(&engine, &back, "");
    let binding = Binding::exchange(&back, &front, "eu.#");
    engine.bind(&binding).wait(WAIT).unwrap();
    publish(&engine, &front, &["eu.1", "us.1"]);
    engine.unbind(&binding).wait(WAIT).unwrap();
    publish(&engine, &front, &["eu.2"]);
    assert_eq!(contents(&engine, &queue), ["eu.1"]);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn an_unbound_queue_gets_nothing_more(driver: Driver) {
    let engine = Scratch::new(driver);
    let exchange = engine.exchange("unbind", Exchange::direct);
    let queue = bound(&engine, &exchange, "k");
    publish(&engine, &exchange, &["k"]);
    let binding = Binding::queue(&queue, &exchange, "k");
    engine.unbind(&binding).wait(WAIT).unwrap();
    engine.unbind(&binding).wait(WAIT).unwrap();
    publish(&engine, &exchange, &["k"]);
    assert_eq!(engine.depth(&queue), 1);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn an_alternate_exchange_takes_what_is_not_routed(driver: Driver) {
    let engine = Scratch::new(driver);
    let rest = engine.exchange("rest", Exchange::fanout);
    let queue = bound(&engine, &rest, "");
    let exchange = engine.exchange("main", |name| {
        Exchange::of_kind(name, "direct").argument("alternate-exchange", &rest)
    });
    let mut publisher = engine.confirming();
    let mut receipt = publisher
        .publish_mandatory(
            &exchange,
            "nowhere",
            &Properties::default(),
            "lost and found",
        )
        .unwrap();
    assert_eq!(receipt.wait(WAIT), Ok(Outcome::Acked));
    assert_eq!(contents(&engine, &queue), ["lost and found"]);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_consumer_declares_and_binds_its_queue(driver: Driver) {
    let engine = Scratch::new(driver);
    let exchange = engine.exchange("events", Exchange::topic);
    let name = engine.queue_name("bound");
    let queue = Queue::durable(&name)
        .bound_to(&exchange, "a.*")
        .bound_to(&exchange, "b.*");
    let (sender, receiver) = std::sync::mpsc::channel();
    let consumer = engine
        .consume(queue, move |delivery| {
            let _ = sender.send(delivery.routing_key().to_string());
            amqp_uring::Disposition::Ack
        })
        .unwrap();
    assert_eq!(consumer.queue(), name);
    publish(&engine, &exchange, &["a.1", "c.1", "b.1"]);
    assert_eq!(super::support::receive(&receiver, 2), ["a.1", "b.1"]);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_consumer_of_a_queue_named_by_the_broker_learns_the_name(driver: Driver) {
    let engine = Scratch::new(driver);
    let exchange = engine.exchange("broadcast", Exchange::fanout);
    let (sender, receiver) = std::sync::mpsc::channel();
    let queue = Queue::server_named().bound_to(&exchange, "");
    let consumer = engine
        .consume(queue, move |delivery| {
            let _ = sender.send(delivery.body().to_vec());
            amqp_uring::Disposition::Ack
        })
        .unwrap();
    assert!(consumer.queue().starts_with("amq.gen-"), "{consumer:?}");
    publish(&engine, &exchange, &["hello"]);
    assert_eq!(super::support::receive(&receiver, 1), [b"hello"]);
}
