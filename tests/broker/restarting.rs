//! What outlasts a restart of the broker, and what does not.

use amqp_uring::broker::{Broker, Contents};
use amqp_uring::{Binding, Driver, Engine, Event, Exchange, Properties, PublisherOptions, Queue};
use macro_rules_attribute::apply;

use super::drivers::on_every_driver;
use super::support::*;

/// Messages, some of them persistent, in all kinds of queues.
fn furnish(engine: &Engine) {
    for exchange in [
        Exchange::direct("lasting-x").durable(true),
        Exchange::direct("fleeting-x").durable(false),
    ] {
        engine.declare_exchange(&exchange).wait(WAIT).unwrap();
    }
    for queue in [
        Queue::durable("lasting"),
        Queue::transient("fleeting"),
        Queue::durable("mine").exclusive(true),
        Queue::durable("deleted-with-its-consumer").auto_delete(true),
    ] {
        engine.declare(&queue).wait(WAIT).unwrap();
    }
    for (queue, exchange) in [
        ("lasting", "lasting-x"),
        ("lasting", "fleeting-x"),
        ("fleeting", "lasting-x"),
    ] {
        let binding = Binding::queue(queue, exchange, "key");
        engine.bind(&binding).wait(WAIT).unwrap();
    }
    let mut publisher = engine.publisher(PublisherOptions::default()).unwrap();
    for number in 0..10 {
        let properties = match number % 2 {
            0 => Properties::persistent(),
            _ => Properties::empty(),
        };
        for queue in ["lasting", "fleeting"] {
            let sent = publisher.publish("", queue, &properties, number.to_string());
            sent.unwrap();
        }
    }
    publisher.wait_for_confirms(WAIT).unwrap();
}

#[apply(on_every_driver!)]
fn what_is_durable_is_there_again_and_in_its_order(driver: Driver) {
    let broker = start(driver);
    let (engine, events) = listen(builder(&broker));
    furnish(&engine);
    let held: Vec<_> = (0..3)
        .map(|_| engine.get("lasting").wait(WAIT).unwrap().unwrap())
        .collect();
    broker.restart(Contents::Durable).unwrap();
    assert!(matches!(next(&events), Event::ConnectionLost { .. }));
    drop(held);

    let state = broker.state().unwrap();
    let queues: Vec<_> = state.queues.keys().collect();
    // As by RabbitMQ: a queue that is deleted with its last consumer has had none yet.
    assert_eq!(queues, ["deleted-with-its-consumer", "lasting"]);
    assert_eq!(state.queue("lasting").unwrap().ready, 5);
    assert_eq!(state.exchanges["lasting-x"].bindings, 1);
    assert!(!state.exchanges.contains_key("fleeting-x"));

    let engine = connect(&broker);
    let (_consumer, taken) = take(&engine, Queue::named("lasting"));
    let expected = [
        ("0", true),
        ("2", true),
        ("4", false),
        ("6", false),
        ("8", false),
    ];
    let expected = expected.map(|(body, redelivered)| (body.to_owned(), redelivered));
    assert_eq!(nexts(&taken, 5), expected);
    let mut publisher = engine.publisher(PublisherOptions::default()).unwrap();
    publisher
        .publish("lasting-x", "key", &Properties::empty(), "bound")
        .unwrap();
    assert_eq!(next(&taken).0, "bound");
}

#[test]
fn a_broker_that_has_lost_everything_has_nothing_but_what_was_there_first() {
    let broker = start(Driver::Epoll);
    let before = broker.state().unwrap().exchanges;
    furnish(&connect(&broker));
    broker.restart(Contents::Nothing).unwrap();
    let state = broker.state().unwrap();
    assert_eq!((state.connections, state.queues.len()), (0, 0));
    assert_eq!(state.exchanges, before);
    let engine = connect(&broker);
    engine
        .declare(&Queue::durable("lasting"))
        .wait(WAIT)
        .unwrap();
    assert_eq!(queue(&broker, "lasting").ready, 0);
}

#[test]
fn it_may_be_restarted_again_and_again_while_clients_are_busy() {
    let broker = start(Driver::Epoll);
    for round in 0..20 {
        let engine = connect(&broker);
        let (_consumer, taken) = take(&engine, Queue::durable("q"));
        let mut publisher = engine.publisher(PublisherOptions::default()).unwrap();
        for _ in 0..50 {
            publisher
                .publish("", "q", &Properties::persistent(), round.to_string())
                .unwrap();
        }
        next(&taken);
        broker.restart(Contents::Durable).unwrap();
    }
    assert_is_sound(&broker);
}

fn assert_is_sound(broker: &Broker) {
    let engine = connect(broker);
    engine
        .declare(&Queue::transient("sound"))
        .wait(WAIT)
        .unwrap();
    fill(&engine, "sound", ["m"]);
    let (_consumer, taken) = take(&engine, Queue::named("sound"));
    assert_eq!(next(&taken).0, "m");
}
