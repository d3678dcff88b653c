//! Handlers and callbacks that panic.

use std::sync::mpsc::channel;

use amqp_uring::{CancelReason, ConsumerState, Disposition, Driver, Event, Properties, Queue};
use macro_rules_attribute::apply;

use super::on_every_driver;
use super::support::{Reasons, Scratch, WAIT, builder, listen, receive};

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_panicking_handler_ends_its_consumer_and_requeues_what_it_held(driver: Driver) {
    let (engine, events) = listen(builder(driver));
    let engine = Scratch::on(engine);
    let (queue, other) = (engine.queue("panics"), engine.queue("lives"));
    let (sender, receiver) = channel();
    let neighbour = engine
        .consume(Queue::named(&other), move |delivery| {
            let _ = sender.send(delivery.body().to_vec());
            Disposition::Ack
        })
        .unwrap();
    let reasons = Reasons::new();
    let mut held = Vec::new();
    let consumer = engine
        .consumer(Queue::named(&queue))
        .on_cancel(reasons.note())
        .start(move |delivery| {
            held.push(delivery.detach());
            assert!(held.len() < 5, "the fifth is too much");
            Disposition::Detached
        })
        .wait(WAIT)
        .unwrap();
    engine.fill(&queue, 20);
    assert_eq!(reasons.wait(), [CancelReason::HandlerPanicked]);
    let event = receive(&events, 1).remove(0);
    let Event::HandlerPanicked {
        consumer_tag,
        message,
        ..
    } = event
    else {
        panic!("{event:?}");
    };
    assert_eq!(consumer_tag, consumer.tag());
    assert!(message.contains("the fifth is too much"), "{message}");
    assert_eq!(consumer.state(), ConsumerState::Cancelled);
    // Everything is there again, and the worker serves others.
    let again = engine.take(&queue, 20);
    let mut texts: Vec<u32> = again
        .iter()
        .map(|taken| taken.text().parse().unwrap())
        .collect();
    texts.sort_unstable();
    assert_eq!(texts, (0..20).collect::<Vec<_>>());
    assert!(again.iter().filter(|taken| taken.redelivered).count() >= 5);
    engine.fill(&other, 1);
    assert_eq!(receive(&receiver, 1), [b"0"]);
    assert_eq!(neighbour.state(), ConsumerState::Consuming);
    assert!(events.try_recv().is_err());
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn what_was_finished_before_a_panic_stays_finished(driver: Driver) {
    let engine = Scratch::new(driver);
    let queue = engine.queue("finished");
    engine.fill(&queue, 10);
    let reasons = Reasons::new();
    engine
        .consumer(Queue::named(&queue))
        .on_cancel(reasons.note())
        .start(|delivery| {
            assert_ne!(delivery.body(), b"6", "six");
            Disposition::Ack
        })
        .wait(WAIT)
        .unwrap();
    assert_eq!(reasons.wait(), [CancelReason::HandlerPanicked]);
    let mut texts = engine.take_texts(&queue, 4);
    texts.sort();
    assert_eq!(texts, ["6", "7", "8", "9"]);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_panic_without_acks_ends_the_consumer_all_the_same(driver: Driver) {
    let engine = Scratch::new(driver);
    let queue = engine.queue("panics-no-ack");
    let reasons = Reasons::new();
    engine
        .consumer(Queue::named(&queue))
        .no_ack(true)
        .on_cancel(reasons.note())
        .start(|_| panic!("{}", "formatted".repeat(2)))
        .wait(WAIT)
        .unwrap();
    engine.fill(&queue, 3);
    assert_eq!(reasons.wait(), [CancelReason::HandlerPanicked]);
    engine.declare(&Queue::named(&queue)).wait(WAIT).unwrap();
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn callbacks_that_panic_leave_the_worker_alive(driver: Driver) {
    let builder = builder(driver);
    let builder = builder.on_event(|event| panic!("the listener at {event:?}"));
    let engine = Scratch::on(builder.start().wait(WAIT).unwrap());
    let queue = engine.queue("callbacks");
    let consumer = engine
        .consumer(Queue::named(&queue))
        .on_start(|| panic!("on_start"))
        .on_cancel(|_| panic!("on_cancel"))
        .start(|_| panic!("the handler"))
        .wait(WAIT)
        .unwrap();
    let mut publisher = engine.confirming();
    publisher
        .publish("", &queue, &Properties::default(), "x")
        .unwrap();
    assert!(
        publisher
            .wait_for_confirms(WAIT)
            .unwrap()
            .counts
            .all_acked()
    );
    super::support::wait_until("the end of the consumer", || {
        consumer.state() == ConsumerState::Cancelled
    });
    assert_eq!(
        consumer.cancel_reason(),
        Some(CancelReason::HandlerPanicked)
    );
    assert_eq!(engine.take_texts(&queue, 1), ["x"]);
}
