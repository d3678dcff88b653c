//! What each switch of `Broker::faults` does to clients.

use std::time::{Duration, Instant};

use amqp_uring::broker::ConfirmFault;
use amqp_uring::protocol::{basic, channel, connection};
use amqp_uring::{
    CancelReason, ConnectionError, Disposition, Driver, Engine, Error, Event, Outcome, Properties,
    Publisher, PublisherOptions, Queue, Receipt, ReplyCode,
};

use macro_rules_attribute::apply;

use super::client::{Client, Wishes, publish, short};
use super::drivers::on_every_driver;
use super::support::*;

fn publisher(engine: &Engine) -> Publisher {
    engine.publisher(PublisherOptions::default()).unwrap()
}

fn send(publisher: &mut Publisher, queue: &str) -> Receipt {
    let published = publisher.publish("", queue, &Properties::empty(), "message");
    published.unwrap()
}

// --- confirms ---------------------------------------------------------------------------------------------------------

#[apply(on_every_driver!)]
fn confirms_come_later_and_not_at_all_and_as_refusals(driver: Driver) {
    let broker = start(driver);
    let engine = connect(&broker);
    engine.declare(&Queue::transient("q")).wait(WAIT).unwrap();
    let mut publisher = publisher(&engine);

    let delay = Duration::from_millis(50);
    broker
        .faults()
        .confirms(Some(ConfirmFault::Delay(delay)))
        .unwrap();
    let before = Instant::now();
    assert_eq!(
        send(&mut publisher, "q").wait(WAIT).unwrap(),
        Outcome::Acked
    );
    assert!(before.elapsed() >= delay);

    broker.faults().confirms(Some(ConfirmFault::Nack)).unwrap();
    assert_eq!(
        send(&mut publisher, "q").wait(WAIT).unwrap(),
        Outcome::Nacked
    );

    broker.faults().confirms(Some(ConfirmFault::Drop)).unwrap();
    let mut dropped = send(&mut publisher, "q");
    wait_for_queue(&broker, "q", |queue| queue.ready == 3);
    broker.faults().confirms(None).unwrap();
    assert_eq!(
        send(&mut publisher, "q").wait(WAIT).unwrap(),
        Outcome::Acked
    );
    assert_eq!(dropped.try_outcome().unwrap(), None);
    broker.faults().reset().unwrap();
    assert_eq!(dropped.wait(WAIT).unwrap(), Outcome::Unknown);
}

#[test]
fn confirms_come_one_by_one_and_the_later_ones_first() {
    let broker = start(Driver::Epoll);
    broker
        .faults()
        .confirms(Some(ConfirmFault::Reorder))
        .unwrap();
    let mut client = Client::open(&broker);
    client.send(1, amqp_uring::protocol::confirm::Select::default());
    assert_eq!(client.next(), "1 confirm.select-ok");
    // All in one piece, so that they come in one turn.
    client.write(&publish(1, "q", b"m", 4096).repeat(3));
    assert_eq!(client.nexts(3), ["1 basic.ack"; 3]);
    let engine = connect(&broker);
    let mut publisher = publisher(&engine);
    for _ in 0..1000 {
        drop(send(&mut publisher, "nowhere"));
    }
    let report = publisher.wait_for_confirms(WAIT).unwrap();
    assert_eq!(report.counts.acked, 1000);
}

#[test]
fn everything_mandatory_comes_back_and_everything_else_does_not() {
    let broker = start(Driver::Epoll);
    let engine = connect(&broker);
    engine.declare(&Queue::transient("q")).wait(WAIT).unwrap();
    let mut publisher = publisher(&engine);
    broker.faults().return_everything(true).unwrap();
    let mandatory = publisher.publish_mandatory("", "q", &Properties::empty(), "m");
    match mandatory.unwrap().wait(WAIT).unwrap() {
        Outcome::Returned(returned) => assert_eq!(returned.code, 312),
        other => panic!("{other:?}"),
    }
    assert_eq!(
        send(&mut publisher, "q").wait(WAIT).unwrap(),
        Outcome::Acked
    );
    assert_eq!(queue(&broker, "q").ready, 1);
    broker.faults().return_everything(false).unwrap();
    let mandatory = publisher.publish_mandatory("", "q", &Properties::empty(), "m");
    assert_eq!(mandatory.unwrap().wait(WAIT).unwrap(), Outcome::Acked);
}

// --- alarms -----------------------------------------------------------------------------------------------------------

#[apply(on_every_driver!)]
fn publishes_stop_while_there_is_an_alarm_and_acks_go_on(driver: Driver) {
    let broker = start(driver);
    let consuming = connect(&broker);
    let (publishing, events) = listen(builder(&broker));
    let mut publisher = publisher(&publishing);
    consuming
        .declare(&Queue::transient("q"))
        .wait(WAIT)
        .unwrap();
    for _ in 0..10 {
        assert_eq!(
            send(&mut publisher, "q").wait(WAIT).unwrap(),
            Outcome::Acked
        );
    }

    broker.faults().block("test").unwrap();
    assert_eq!(
        send(&mut publisher, "q").wait(WAIT).unwrap(),
        Outcome::Acked
    );
    let blocked = Event::Blocked {
        worker: 0,
        reason: "test".to_owned(),
    };
    assert_eq!(next(&events), blocked);
    let mut waiting: Vec<_> = (0..5).map(|_| send(&mut publisher, "q")).collect();
    let (_consumer, taken) = take(&consuming, Queue::named("q"));
    nexts(&taken, 11);
    wait_for_queue(&broker, "q", |queue| queue.ready + queue.unacked == 0);
    assert_eq!(broker.state().unwrap().totals.published, 11);
    assert!(waiting[0].try_outcome().unwrap().is_none());

    broker.faults().unblock().unwrap();
    assert_eq!(next(&events), Event::Unblocked { worker: 0 });
    for receipt in &mut waiting {
        assert_eq!(receipt.wait(WAIT).unwrap(), Outcome::Acked);
    }
    nexts(&taken, 5);
}

/// The shortest interval there is: the test takes three of them.
#[test]
fn a_publisher_outlasts_an_alarm_that_is_longer_than_its_heartbeats() {
    let broker = start(Driver::Epoll);
    let (engine, events) = listen(builder(&broker).heartbeat(Duration::from_secs(1)));
    let mut publisher = publisher(&engine);
    assert_eq!(
        send(&mut publisher, "q").wait(WAIT).unwrap(),
        Outcome::Acked
    );
    broker.faults().block("test").unwrap();
    assert_eq!(
        send(&mut publisher, "q").wait(WAIT).unwrap(),
        Outcome::Acked
    );
    assert!(matches!(next(&events), Event::Blocked { .. }));
    let mut waiting = send(&mut publisher, "q");
    let refused = waiting.wait(Duration::from_secs(3));
    assert!(matches!(refused, Err(Error::Timeout(_))), "{refused:?}");
    broker.faults().unblock().unwrap();
    assert_eq!(waiting.wait(WAIT).unwrap(), Outcome::Acked);
    assert!(matches!(next(&events), Event::Unblocked { .. }));
}

// --- ends -------------------------------------------------------------------------------------------------------------

/// A consumer, and the reason of its end.
fn watched(engine: &Engine, queue: Queue) -> std::sync::mpsc::Receiver<CancelReason> {
    let (sender, receiver) = std::sync::mpsc::channel();
    let consumer = engine
        .consumer(queue)
        .on_cancel(move |reason| drop(sender.send(reason.clone())))
        .start(|_| Disposition::Ack)
        .wait(WAIT)
        .unwrap();
    drop(consumer);
    receiver
}

#[apply(on_every_driver!)]
fn channels_and_connections_are_closed_with_the_code_that_is_given(driver: Driver) {
    let broker = start(driver);
    let (engine, events) = listen(builder(&broker));
    let ended = watched(&engine, Queue::transient("q"));
    broker
        .faults()
        .close_channels(ReplyCode::NotFound, "gone")
        .unwrap();
    match next(&ended) {
        CancelReason::ChannelClosed(reason) => {
            assert_eq!((reason.code, &*reason.text), (404, "NOT_FOUND - gone"));
        }
        other => panic!("{other:?}"),
    }
    let ended = watched(&engine, Queue::transient("q"));
    broker
        .faults()
        .close_connections(ReplyCode::ConnectionForced, "over")
        .unwrap();
    assert!(matches!(next(&ended), CancelReason::ConnectionLost(_)));
    match next(&events) {
        Event::ConnectionLost {
            cause: ConnectionError::ClosedByBroker(reason),
            ..
        } => {
            assert_eq!(
                (reason.code, &*reason.text),
                (320, "CONNECTION_FORCED - over")
            );
        }
        other => panic!("{other:?}"),
    }
    broker
        .wait_for(WAIT, |state| state.connections == 0)
        .unwrap();
}

#[test]
fn a_hard_code_for_channels_closes_the_connection_once() {
    let broker = start(Driver::Epoll);
    let mut client = Client::open(&broker);
    client.send(2, channel::Open {});
    assert_eq!(client.next(), "2 channel.open-ok");
    let closed = broker.faults().close_channels(ReplyCode::FrameError, "x");
    closed.unwrap();
    assert_eq!(client.next(), "0 connection.close 501");
    client.send(0, connection::CloseOk {});
    assert_eq!(client.next(), "end");
}

#[test]
fn consumers_are_cancelled_and_may_come_again() {
    let broker = start(Driver::Epoll);
    let engine = connect(&broker);
    let ended = watched(&engine, Queue::transient("q"));
    broker.faults().cancel_consumers().unwrap();
    assert_eq!(next(&ended), CancelReason::ByBroker);
    assert_eq!(queue(&broker, "q").consumers, 0);
    let (_consumer, taken) = take(&engine, Queue::transient("q"));
    fill(&engine, "q", ["again"]);
    assert_eq!(next(&taken).0, "again");
}

#[apply(on_every_driver!)]
fn connections_are_reset_or_end_half_and_what_was_unacked_comes_again(driver: Driver) {
    for half in [false, true] {
        let broker = start(driver);
        let (engine, events) = listen(builder(&broker));
        engine.declare(&Queue::transient("q")).wait(WAIT).unwrap();
        fill(&engine, "q", ["m"]);
        let held = engine.get("q").wait(WAIT).unwrap().unwrap();
        match half {
            false => broker.faults().reset().unwrap(),
            true => broker.faults().half_close().unwrap(),
        }
        assert!(matches!(next(&events), Event::ConnectionLost { .. }));
        drop(held);
        wait_for_queue(&broker, "q", |queue| queue.ready == 1);
        let engine = connect(&broker);
        let (_consumer, taken) = take(&engine, Queue::transient("q"));
        assert_eq!(next(&taken), ("m".to_owned(), true));
    }
}

#[test]
fn what_a_client_sends_after_a_half_close_still_comes_in() {
    let broker = start(Driver::Epoll);
    let mut client = Client::open(&broker);
    client.declare("q");
    broker.faults().half_close().unwrap();
    assert_eq!(client.next(), "end");
    client.write(&publish(1, "q", b"m", 4096));
    wait_for_queue(&broker, "q", |queue| queue.ready == 1);
}

// --- silence ----------------------------------------------------------------------------------------------------------

#[apply(on_every_driver!)]
fn nothing_is_lost_while_connections_are_frozen(driver: Driver) {
    let broker = start(driver);
    let engine = connect(&broker);
    let (_consumer, taken) = take(&engine, Queue::transient("q"));
    let mut publisher = publisher(&engine);
    broker.faults().freeze(true).unwrap();
    let mut receipts: Vec<_> = (0..100).map(|_| send(&mut publisher, "q")).collect();
    // Others go on, and nothing of the frozen one is seen.
    let other = connect(&broker);
    fill(&other, "q", ["other"]);
    assert_eq!(broker.state().unwrap().totals.published, 1);
    assert!(taken.try_recv().is_err());
    assert!(receipts[0].try_outcome().unwrap().is_none());
    broker.faults().freeze(false).unwrap();
    for receipt in &mut receipts {
        assert_eq!(receipt.wait(WAIT).unwrap(), Outcome::Acked);
    }
    assert_eq!(nexts(&taken, 101)[0].0, "other");
    wait_for_queue(&broker, "q", |queue| queue.ready + queue.unacked == 0);
}

/// The shortest interval there is: the test takes two of them.
#[test]
fn a_client_with_heartbeats_gives_a_frozen_connection_up() {
    let broker = start(Driver::Epoll);
    let (engine, events) = listen(builder(&broker).heartbeat(Duration::from_secs(1)));
    broker.faults().freeze(true).unwrap();
    match next(&events) {
        Event::ConnectionLost {
            cause: ConnectionError::HeartbeatMissed { .. },
            ..
        } => {}
        other => panic!("{other:?}"),
    }
    broker.faults().freeze(false).unwrap();
    broker
        .wait_for(WAIT, |state| state.connections == 0)
        .unwrap();
    drop(engine);
}

// --- handshakes -------------------------------------------------------------------------------------------------------

#[test]
fn new_connections_are_offered_other_frames() {
    let broker = start(Driver::Epoll);
    let old = connect(&broker);
    broker.faults().frame_max(Some(1)).unwrap();
    let new = connect(&broker);
    for engine in [&old, &new] {
        engine.declare(&Queue::transient("q")).wait(WAIT).unwrap();
        fill(engine, "q", [vec![b'.'; 100_000]]);
    }
    let (_consumer, taken) = take(&new, Queue::transient("q"));
    assert!(
        nexts(&taken, 2)
            .iter()
            .all(|(text, _)| text.len() == 100_000)
    );
    let mut client = Client::open_as(
        &broker,
        &Wishes {
            frame_max: 4096,
            ..Wishes::default()
        },
    );
    client.declare("r");
    fill(&new, "r", [vec![b'.'; 4089]]);
    let get = basic::Get {
        queue: short("r"),
        no_ack: true,
    };
    client.send(1, get);
    let expected = [
        "1 basic.get-ok",
        "1 header",
        "1 body of 4088",
        "1 body of 1",
    ];
    assert_eq!(client.nexts(4), expected);
    let mut greedy = Client::connect(&broker);
    greedy.greet(&Wishes::default());
    assert_eq!(greedy.nexts(3)[2], "end", "more was asked for than offered");
}

#[test]
fn new_connections_are_refused_and_the_old_ones_stay() {
    let broker = start(Driver::Epoll);
    let engine = connect(&broker);
    broker.faults().refuse_connections(true).unwrap();
    let refused = builder(&broker).start().wait(WAIT);
    assert!(matches!(refused, Err(Error::Connect { .. })), "{refused:?}");
    engine.declare(&Queue::transient("q")).wait(WAIT).unwrap();
    broker.faults().refuse_connections(false).unwrap();
    connect(&broker);
}

/// A handler is on a worker's thread of the engine, which the broker does not need.
#[test]
fn a_handler_may_ask_and_disturb_the_broker() {
    let broker = std::sync::Arc::new(start(Driver::Epoll));
    let engine = connect(&broker);
    let (sender, answers) = std::sync::mpsc::channel();
    let asked = std::sync::Arc::clone(&broker);
    let consumer = engine.consume(Queue::transient("q"), move |_| {
        let unacked = queue(&asked, "q").unacked;
        asked.faults().confirms(Some(ConfirmFault::Nack)).unwrap();
        let _ = sender.send(unacked);
        Disposition::Ack
    });
    let mut publisher = publisher(&engine);
    drop(send(&mut publisher, "q"));
    assert_eq!(next(&answers), 1);
    assert_eq!(
        send(&mut publisher, "q").wait(WAIT).unwrap(),
        Outcome::Nacked
    );
    drop(consumer.unwrap());
}
