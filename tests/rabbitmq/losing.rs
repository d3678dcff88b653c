//! Lines that break: what is told, what comes again, and how the engine goes on.

use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock};

use amqp_uring::{
    CancelReason, ConnectionError, ConsumerState, DetachedDelivery, Disposition, Driver, Engine,
    Error, Event, Outcome, Properties, PublisherOptions, Queue, ReplyCode,
};
use macro_rules_attribute::apply;

use super::on_every_driver;
use super::proxy::Proxy;
use super::support::{
    Reasons, Scratch, WAIT, builder, evaluate, listen, node, receive, unique, wait_until,
};

const NONE: Properties = Properties::empty();

fn through(driver: Driver, proxy: &Proxy) -> Engine {
    proxy.builder(driver).start().wait(WAIT).unwrap()
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn what_was_not_answered_when_the_line_broke_comes_again(driver: Driver) {
    let proxy = Proxy::start();
    let scratch = Scratch::new(driver);
    let queue = scratch.queue("again");
    scratch.fill(&queue, 10);
    let engine = through(driver, &proxy);
    let (sender, receiver) = channel();
    let reasons = Reasons::new();
    let consumer = engine
        .consumer(Queue::named(&queue))
        .on_cancel(reasons.note())
        .start(move |delivery| {
            let _ = sender.send(delivery.detach());
            Disposition::Detached
        })
        .wait(WAIT)
        .unwrap();
    let held = receive(&receiver, 10);
    proxy.cut();
    let reason = reasons.wait();
    assert!(
        matches!(
            reason[..],
            [CancelReason::ConnectionLost(ConnectionError::Lost(_))]
        ),
        "{reason:?}"
    );
    assert_eq!(consumer.state(), ConsumerState::Cancelled);
    let again = scratch.take(&queue, 10);
    assert!(again.iter().all(|taken| taken.redelivered));
    // Answers for the old line are without effect on the next one.
    scratch.fill(&queue, 10);
    let (sender, receiver) = channel::<DetachedDelivery>();
    engine
        .consume(Queue::named(&queue), move |delivery| {
            let _ = sender.send(delivery.detach());
            Disposition::Detached
        })
        .unwrap();
    let new = receive(&receiver, 10);
    for old in held {
        old.acker.ack().unwrap();
    }
    drop(new);
    for again in receive(&receiver, 10) {
        assert!(again.redelivered);
        again.acker.ack().unwrap();
    }
    engine.shutdown(WAIT).unwrap();
    assert_eq!(scratch.depth(&queue), 0);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn publishes_without_an_answer_are_unknown_when_the_line_breaks(driver: Driver) {
    let proxy = Proxy::start();
    let scratch = Scratch::new(driver);
    let queue = scratch.queue("unknown");
    let engine = through(driver, &proxy);
    let mut publisher = engine.publisher(PublisherOptions::default()).unwrap();
    let mut known = publisher.publish("", &queue, &NONE, "known").unwrap();
    assert_eq!(known.wait(WAIT), Ok(Outcome::Acked));
    proxy.hold();
    let mut receipts: Vec<_> = (0..50)
        .map(|_| publisher.publish("", &queue, &NONE, "x").unwrap())
        .collect();
    proxy.cut();
    for receipt in &mut receipts {
        assert_eq!(receipt.wait(WAIT), Ok(Outcome::Unknown));
    }
    assert_eq!(known.wait(WAIT), Ok(Outcome::Acked));
    let report = publisher.wait_for_confirms(WAIT).unwrap();
    assert_eq!((report.counts.acked, report.counts.unknown), (1, 50));
    let error = publisher.publish("", &queue, &NONE, "x").unwrap_err();
    assert!(matches!(error, Error::ConnectionLost { .. }), "{error:?}");
    proxy.let_go();
    // Another publisher finds another line.
    let mut publisher = engine.publisher(PublisherOptions::default()).unwrap();
    let mut receipt = publisher.publish("", &queue, &NONE, "x").unwrap();
    assert_eq!(receipt.wait(WAIT), Ok(Outcome::Acked));
    engine.shutdown(WAIT).unwrap();
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn operations_under_way_fail_and_later_ones_connect_again(driver: Driver) {
    let proxy = Proxy::start();
    let (engine, events) = listen(proxy.builder(driver));
    proxy.hold();
    let calls: Vec<_> = (0..3)
        .map(|_| engine.declare(&Queue::server_named()))
        .collect();
    proxy.wait_until_holding();
    proxy.cut();
    for call in calls {
        let error = call.wait(WAIT).unwrap_err();
        assert!(matches!(error, Error::ConnectionLost { .. }), "{error:?}");
    }
    proxy.let_go();
    for lines in 2..5 {
        let event = receive(&events, 1).remove(0);
        assert!(
            matches!(event, Event::ConnectionLost { worker: 0, .. }),
            "{event:?}"
        );
        engine.declare(&Queue::server_named()).wait(WAIT).unwrap();
        assert_eq!(proxy.lines(), lines);
        assert!(events.try_recv().is_err(), "a loss is told once");
        proxy.cut();
    }
    engine.shutdown(WAIT).unwrap();
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn when_the_broker_is_gone_operations_say_so_until_it_is_back(driver: Driver) {
    let proxy = Proxy::start();
    let elsewhere = node().with_port(1);
    let builder = Engine::builder().node(elsewhere).node(proxy.node());
    let (engine, events) = listen(builder.driver(driver));
    drop(proxy);
    receive(&events, 1);
    for _ in 0..3 {
        let error = engine
            .declare(&Queue::server_named())
            .wait(WAIT)
            .unwrap_err();
        assert!(
            matches!(&error, Error::Connect(failures) if failures.len() == 2),
            "{error:?}"
        );
    }
    let error = engine.publisher(PublisherOptions::default()).unwrap_err();
    assert!(matches!(error, Error::Connect(_)), "{error:?}");
    engine.shutdown(WAIT).unwrap();
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_connection_closed_by_the_broker_is_told_once_with_its_reason(driver: Driver) {
    let name = unique("closed-by-broker");
    let builder = builder(driver).connection_name(&name);
    let (engine, events) = listen(builder);
    let scratch = Scratch::new(driver);
    let queue = scratch.queue("closed");
    let reasons = Reasons::new();
    engine
        .consumer(Queue::named(&queue))
        .on_cancel(reasons.note())
        .start(|_| Disposition::Ack)
        .wait(WAIT)
        .unwrap();
    evaluate(&format!(
        "[rabbit_networking:close_connection(Pid, \"closed by a test\") || \
         [{{pid, Pid}}, {{client_properties, P}}] <- rabbit_networking:connection_info_all([pid, client_properties]), \
         is_list(P), lists:keyfind(<<\"connection_name\">>, 1, P) =:= {{<<\"connection_name\">>, longstr, <<\"{name}\">>}}]."
    ));
    let event = receive(&events, 1).remove(0);
    let Event::ConnectionLost {
        cause: ConnectionError::ClosedByBroker(reason),
        ..
    } = event
    else {
        panic!("{event:?}");
    };
    assert_eq!(
        reason.reply_code(),
        Some(ReplyCode::ConnectionForced),
        "{reason}"
    );
    assert!(reason.text.contains("closed by a test"), "{reason}");
    let cause = ConnectionError::ClosedByBroker(reason);
    assert_eq!(reasons.wait(), [CancelReason::ConnectionLost(cause)]);
    engine.declare(&Queue::named(&queue)).wait(WAIT).unwrap();
    engine.shutdown(WAIT).unwrap();
    assert!(events.try_recv().is_err());
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn what_is_asked_while_a_connection_ends_waits_for_the_next_one(driver: Driver) {
    let scratch = Scratch::new(driver);
    let queue = scratch.queue("ending");
    let engine = Arc::new(OnceLock::<Engine>::new());
    let (sender, receiver) = channel();
    let builder = builder(driver).on_event({
        let (engine, queue) = (Arc::clone(&engine), queue.clone());
        let sender = std::sync::Mutex::new(sender);
        move |event| {
            if let (Event::ConnectionLost { .. }, Some(engine)) = (event, engine.get()) {
                // connection.close-ok has not even left yet.
                let declared = engine.declare(&Queue::named(&queue));
                let consumed = engine
                    .consumer(Queue::named(&queue))
                    .start(|_| Disposition::Ack);
                let _ = sender.lock().unwrap().send((declared, consumed));
            }
        }
    });
    engine.set(builder.start().wait(WAIT).unwrap()).unwrap();
    let started = engine.get().unwrap();
    let bad = amqp_uring::Exchange::of_kind("x", "no-such-type");
    started.declare_exchange(&bad).wait(WAIT).unwrap_err();
    let (declared, consumed) = receive(&receiver, 1).remove(0);
    assert_eq!(declared.wait(WAIT).unwrap().name, queue);
    consumed.wait(WAIT).unwrap().cancel().wait(WAIT).unwrap();
    block_until_closed(started);
}

/// An engine that its own listener holds cannot be given away.
fn block_until_closed(engine: &Engine) {
    super::support::block_on(engine.close(WAIT)).unwrap();
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_line_that_breaks_under_full_load_loses_nothing_that_was_confirmed(driver: Driver) {
    let proxy = Proxy::start();
    let scratch = Scratch::new(driver);
    let queue = scratch.queue("full-load");
    let engine = through(driver, &proxy);
    let mut publisher = engine.publisher(PublisherOptions::default()).unwrap();
    let mut receipts = Vec::new();
    for number in 0..100_000 {
        match publisher.publish("", &queue, &NONE, number.to_string()) {
            Ok(receipt) => receipts.push(receipt),
            Err(error) => {
                assert!(matches!(error, Error::ConnectionLost { .. }), "{error:?}");
                break;
            }
        }
        if number == 5000 {
            proxy.cut();
        }
    }
    let confirmed: Vec<_> = receipts
        .iter_mut()
        .map(|receipt| receipt.wait(WAIT).unwrap() == Outcome::Acked)
        .collect();
    engine.shutdown(WAIT).unwrap();
    // The broker may have read more than it could confirm. It reads no more once the connection is gone.
    let connected = || {
        let arrived = scratch.depth(&queue) as usize;
        arrived >= confirmed.iter().filter(|acked| **acked).count()
    };
    wait_until("what was confirmed", connected);
    let arrived = scratch.take_texts(&queue, scratch.depth(&queue) as usize);
    for (number, acked) in confirmed.iter().enumerate() {
        if *acked {
            assert_eq!(arrived[number], number.to_string());
        }
    }
}
