//! What the broker refuses: the code, the text, and that everything else goes on.

use amqp_uring::{
    Binding, ConnectionError, Disposition, Driver, Error, Event, Exchange, Outcome, Properties,
    Queue, ReplyCode,
};
use macro_rules_attribute::apply;

use super::on_every_driver;
use super::support::{Scratch, WAIT, builder, listen, receive};

fn refused<T>(result: Result<T, Error>, operation: &str, code: ReplyCode) {
    let Err(error) = result else {
        panic!("{operation} was not refused");
    };
    assert_eq!(error.code(), Some(code), "{error}");
    assert!(!error.is_hard(), "{error}");
    let text = error.to_string();
    assert!(text.starts_with(operation), "{text}");
    assert!(text.contains(code.name()), "{text}");
    assert!(text.contains(&code.code().to_string()), "{text}");
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn what_does_not_exist_is_not_found(driver: Driver) {
    let engine = Scratch::new(driver);
    let queue = engine.queue("here");
    let nowhere = "no-such-thing";
    let code = ReplyCode::NotFound;
    refused(
        engine.declare(&Queue::named(nowhere)).wait(WAIT),
        "queue.declare",
        code,
    );
    let exchange = Exchange::named(nowhere);
    refused(
        engine.declare_exchange(&exchange).wait(WAIT),
        "exchange.declare",
        code,
    );
    refused(
        engine.bind(&Binding::queue(&queue, nowhere, "")).wait(WAIT),
        "queue.bind",
        code,
    );
    refused(
        engine
            .bind(&Binding::queue(nowhere, "amq.topic", ""))
            .wait(WAIT),
        "queue.bind",
        code,
    );
    let binding = Binding::exchange(nowhere, "amq.topic", "");
    refused(engine.bind(&binding).wait(WAIT), "exchange.bind", code);
    refused(engine.purge(nowhere).wait(WAIT), "queue.purge", code);
    refused(engine.get(nowhere).wait(WAIT), "basic.get", code);
    let consumed = engine.consume(Queue::named(nowhere), |_| Disposition::Ack);
    refused(consumed, "basic.consume", code);
    let bound = Queue::durable(&queue).bound_to(nowhere, "");
    refused(
        engine.consume(bound, |_| Disposition::Ack),
        "queue.bind",
        code,
    );
    // The engine is as good as before.
    assert_eq!(engine.depth(&queue), 0);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn what_is_there_with_other_properties_is_a_failed_precondition(driver: Driver) {
    let engine = Scratch::new(driver);
    let queue = engine.queue("there");
    let code = ReplyCode::PreconditionFailed;
    let other = Queue::durable(&queue).argument("x-max-length", 5i32);
    refused(engine.declare(&other).wait(WAIT), "queue.declare", code);
    refused(
        engine.consume(other, |_| Disposition::Ack),
        "queue.declare",
        code,
    );
    let bad = engine
        .consumer(Queue::named(&queue))
        .argument("x-priority", "high");
    refused(
        bad.start(|_| Disposition::Ack).wait(WAIT),
        "basic.consume",
        code,
    );
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn reserved_names_are_access_refused(driver: Driver) {
    let engine = Scratch::new(driver);
    let code = ReplyCode::AccessRefused;
    let queue = Queue::durable("amq.mine");
    refused(engine.declare(&queue).wait(WAIT), "queue.declare", code);
    let exchange = Exchange::direct("amq.mine");
    refused(
        engine.declare_exchange(&exchange).wait(WAIT),
        "exchange.declare",
        code,
    );
    let default = engine.delete_exchange("amq.direct", Default::default());
    refused(default.wait(WAIT), "exchange.delete", code);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn anothers_exclusive_queue_is_locked(driver: Driver) {
    let owner = Scratch::new(driver);
    let name = owner
        .declare(&Queue::server_named())
        .wait(WAIT)
        .unwrap()
        .name;
    let engine = Scratch::new(driver);
    let code = ReplyCode::ResourceLocked;
    refused(
        engine.declare(&Queue::named(&name)).wait(WAIT),
        "queue.declare",
        code,
    );
    let consumed = engine.consume(Queue::named(&name), |_| Disposition::Ack);
    refused(consumed, "basic.consume", code);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_publish_to_no_exchange_ends_its_publisher_only(driver: Driver) {
    let engine = Scratch::new(driver);
    let queue = engine.queue("fine");
    let (mut bad, mut good) = (engine.confirming(), engine.confirming());
    let properties = Properties::default();
    let mut receipt = bad
        .publish("no-such-exchange", "", &properties, "x")
        .unwrap();
    assert_eq!(receipt.wait(WAIT), Ok(Outcome::Unknown));
    let report = bad.wait_for_confirms(WAIT).unwrap();
    assert_eq!(report.counts.unknown, 1);
    let error = bad.publish("", &queue, &properties, "x").map(drop);
    refused(error, "basic.publish", ReplyCode::NotFound);
    let mut receipt = good.publish("", &queue, &properties, "x").unwrap();
    assert_eq!(receipt.wait(WAIT), Ok(Outcome::Acked));
    let closed = bad.close().wait(WAIT);
    refused(closed, "basic.publish", ReplyCode::NotFound);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn an_unconfirmed_publisher_learns_of_its_end_too(driver: Driver) {
    let engine = Scratch::new(driver);
    let mut publisher = engine.unconfirmed_publisher(Default::default()).unwrap();
    let mut publish = || publisher.publish("no-such-exchange", "", &Properties::default(), "x");
    let mut error = publish();
    super::support::wait_until("the error", || {
        error = publish();
        error.is_err()
    });
    refused(error, "basic.publish", ReplyCode::NotFound);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn an_error_of_the_connection_is_reported_once_and_the_engine_connects_again(driver: Driver) {
    let (engine, events) = listen(builder(driver));
    let engine = Scratch::on(engine);
    let queue = engine.queue("hard");
    // A type that no plugin brings is an error of the whole connection for RabbitMQ.
    let bad = engine.declare_exchange(&Exchange::of_kind("x", "no-such-type"));
    let error = bad.wait(WAIT).unwrap_err();
    assert_eq!(error.code(), Some(ReplyCode::CommandInvalid), "{error}");
    assert!(error.is_hard());
    assert!(error.to_string().starts_with("exchange.declare"), "{error}");
    let event = receive(&events, 1).remove(0);
    let Event::ConnectionLost {
        worker: 0,
        cause: ConnectionError::ClosedByBroker(reason),
    } = event
    else {
        panic!("{event:?}");
    };
    assert_eq!(reason.reply_code(), Some(ReplyCode::CommandInvalid));
    engine.fill(&queue, 1);
    assert_eq!(engine.take_texts(&queue, 1), ["0"]);
    assert!(events.try_recv().is_err());
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn what_cannot_be_encoded_is_refused_before_it_is_sent(driver: Driver) {
    let engine = Scratch::new(driver);
    let long = "x".repeat(256);
    let errors = [
        engine.declare(&Queue::durable(&long)).wait(WAIT).map(drop),
        engine.declare_exchange(&Exchange::direct(&long)).wait(WAIT),
        engine.bind(&Binding::queue("q", "e", &long)).wait(WAIT),
        engine.purge(&long).wait(WAIT).map(drop),
        engine.get(&long).wait(WAIT).map(drop),
        engine
            .consume(Queue::named(&long), |_| Disposition::Ack)
            .map(drop),
        engine
            .consumer(Queue::named("q"))
            .tag(&long)
            .start(|_| Disposition::Ack)
            .wait(WAIT)
            .map(drop),
        engine
            .declare(&Queue::durable("q").argument(&long, true))
            .wait(WAIT)
            .map(drop),
    ];
    for error in errors {
        assert!(matches!(error, Err(Error::Encode(_))), "{error:?}");
    }
    let mut publisher = engine.confirming();
    let error = publisher
        .publish("", &long, &Properties::default(), "x")
        .map(drop);
    assert!(matches!(error, Err(Error::Encode(_))), "{error:?}");
    assert_eq!(publisher.pending(), 0);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn properties_larger_than_a_frame_are_refused(driver: Driver) {
    let builder = builder(driver).frame_max(4096);
    let engine = Scratch::on(builder.start().wait(WAIT).unwrap());
    let queue = engine.queue("large-header");
    let text = "x".repeat(4096);
    let headers = amqp_uring::FieldTable::new().with("text", &text).unwrap();
    let properties = Properties::builder().headers(&headers).build().unwrap();
    let mut publisher = engine.confirming();
    let error = publisher.publish("", &queue, &properties, "x").map(drop);
    assert!(matches!(error, Err(Error::Refused { .. })), "{error:?}");
    // Nothing of it was sent: the next one is whole.
    let mut receipt = publisher
        .publish("", &queue, &Properties::default(), "y")
        .unwrap();
    assert_eq!(receipt.wait(WAIT), Ok(Outcome::Acked));
    assert_eq!(engine.take_texts(&queue, 1), ["y"]);
}
