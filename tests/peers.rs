#![allow(missing_docs)]
//! The engine and peers that are no broker, or one that follows a script: what RabbitMQ cannot be made to do. Each test runs
//! once on every driver.

mod drivers;
mod peer;

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use amqp_uring::protocol::{basic, channel as channel_class, connection as connection_class};
use amqp_uring::{
    CancelReason, ConnectCause, ConnectionError, ConsumerState, Disposition, Driver, Engine,
    EngineBuilder, Error, Event, Outcome, Properties, PublisherOptions, Queue, ReplyCode,
};
use macro_rules_attribute::apply;

use drivers::on_every_driver;
use peer::{Peer, Session};

const WAIT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_millis(400);

fn builder(driver: Driver, peer: &Peer) -> EngineBuilder {
    Engine::builder().node(peer.node()).driver(driver)
}

fn connect(driver: Driver, peer: &Peer) -> Engine {
    builder(driver, peer).start().wait(WAIT).expect("an engine")
}

/// An engine, and what it tells.
fn listen(builder: EngineBuilder) -> (Engine, Receiver<Event>) {
    let (sender, receiver) = channel();
    let sender = Mutex::new(sender);
    let builder = builder.on_event(move |event| {
        let _ = sender.lock().unwrap().send(event.clone());
    });
    (builder.start().wait(WAIT).expect("an engine"), receiver)
}

/// Connects to a peer that is no broker; the cause of the failure, which came in time.
fn failure(driver: Driver, talk: impl Fn(&mut TcpStream) + Send + Sync + 'static) -> ConnectCause {
    let peer = Peer::raw(talk);
    let start = Instant::now();
    let started = builder(driver, &peer)
        .connect_timeout(CONNECT_TIMEOUT)
        .start();
    let error = started.wait(WAIT).expect_err("an engine");
    assert!(
        start.elapsed() < CONNECT_TIMEOUT + Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    assert!(!format!("{error} {error:?}").contains(peer::PASSWORD));
    let Error::Connect(mut failures) = error else {
        panic!("{error:?}");
    };
    assert_eq!(failures.len(), 1, "{failures:?}");
    failures.remove(0).cause
}

#[apply(on_every_driver!)]
fn a_silent_peer_is_given_up_when_the_time_is_over(driver: Driver) {
    let cause = failure(driver, peer::wait_for_end);
    assert_eq!(cause, ConnectCause::Timeout(CONNECT_TIMEOUT));
    assert!(cause.to_string().contains("is this an AMQP broker's port"));
}

#[apply(on_every_driver!)]
fn a_peer_that_stops_in_the_middle_of_the_handshake_is_given_up(driver: Driver) {
    let cause = failure(driver, |stream| {
        let mut start = Vec::new();
        peer::start().encode_frame(0, &mut start);
        stream.write_all(&start[..start.len() / 2]).unwrap();
        peer::wait_for_end(stream);
    });
    assert_eq!(cause, ConnectCause::Timeout(CONNECT_TIMEOUT));
    let cause = failure(driver, |stream| {
        let mut session = Session::new(stream.try_clone().unwrap());
        session.send(0, peer::start());
        session.expect("connection.start-ok");
        peer::wait_for_end(stream);
    });
    assert_eq!(cause, ConnectCause::Timeout(CONNECT_TIMEOUT));
}

#[apply(on_every_driver!)]
fn a_peer_that_closes_at_once_is_named_as_such(driver: Driver) {
    let cause = failure(driver, |_| {});
    let ConnectCause::Line(text) = &cause else {
        panic!("{cause:?}");
    };
    assert!(
        text.contains("is it an AMQP 0-9-1 broker?") || text.contains("reset"),
        "{text}"
    );
}

#[apply(on_every_driver!)]
fn a_peer_that_resets_the_line_is_named_as_such(driver: Driver) {
    let cause = failure(driver, |stream| {
        peer::read_protocol_header(stream);
        socket2::SockRef::from(&*stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    });
    assert!(
        matches!(&cause, ConnectCause::Line(text) if text.contains("reset")),
        "{cause:?}"
    );
}

#[apply(on_every_driver!)]
fn a_web_server_is_no_broker(driver: Driver) {
    let cause = failure(driver, |stream| {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        peer::wait_for_end(stream);
    });
    let ConnectCause::Amqp(ConnectionError::Decode(_)) = &cause else {
        panic!("{cause:?}");
    };
    assert!(cause.to_string().contains("not AMQP 0-9-1"), "{cause}");
}

#[apply(on_every_driver!)]
fn garbage_is_no_broker(driver: Driver) {
    for seed in 0..20u8 {
        let cause = failure(driver, move |stream| {
            let garbage: Vec<u8> = (0..200u8)
                .map(|at| at.wrapping_mul(31) ^ seed | 0x10)
                .collect();
            let _ = stream.write_all(&garbage);
            peer::wait_for_end(stream);
        });
        assert!(
            matches!(cause, ConnectCause::Amqp(ConnectionError::Decode(_))),
            "{cause:?}"
        );
    }
}

#[apply(on_every_driver!)]
fn a_broker_of_another_version_is_named_with_its_version(driver: Driver) {
    let cause = failure(driver, |stream| {
        peer::read_protocol_header(stream);
        let _ = stream.write_all(b"AMQP\x00\x01\x00\x00");
    });
    assert!(
        matches!(cause, ConnectCause::Amqp(ConnectionError::Decode(_))),
        "{cause:?}"
    );
    assert!(cause.to_string().contains("1"), "{cause}");
    let cause = failure(driver, |stream| {
        let mut session = Session::new(stream.try_clone().unwrap());
        session.send(
            0,
            connection_class::Start {
                version_minor: 8,
                version_major: 8,
                ..peer::plain_start()
            },
        );
        peer::wait_for_end(stream);
    });
    assert_eq!(
        cause,
        ConnectCause::Amqp(ConnectionError::Version { major: 8, minor: 8 })
    );
}

#[apply(on_every_driver!)]
fn a_broker_without_plain_is_refused_before_the_password_is_sent(driver: Driver) {
    let cause = failure(driver, |stream| {
        let mut session = Session::new(stream.try_clone().unwrap());
        let start = connection_class::Start {
            mechanisms: peer::long("EXTERNAL AMQPLAIN"),
            ..peer::plain_start()
        };
        session.send(0, start);
        peer::wait_for_end(stream);
    });
    let ConnectCause::Amqp(ConnectionError::Mechanism { offered }) = &cause else {
        panic!("{cause:?}");
    };
    assert_eq!(offered, "EXTERNAL AMQPLAIN");
}

#[apply(on_every_driver!)]
fn impossible_tuning_is_refused(driver: Driver) {
    let cause = failure(driver, |stream| {
        let mut session = Session::new(stream.try_clone().unwrap());
        session.send(0, peer::start());
        session.expect("connection.start-ok");
        session.send(
            0,
            connection_class::Tune {
                channel_max: 10,
                frame_max: 100,
                heartbeat: 0,
            },
        );
        peer::wait_for_end(stream);
    });
    assert!(
        matches!(cause, ConnectCause::Amqp(ConnectionError::Violation(_))),
        "{cause:?}"
    );
    assert!(cause.to_string().contains("frame_max 100"), "{cause}");
}

#[apply(on_every_driver!)]
fn a_handshake_octet_by_octet_is_a_handshake(driver: Driver) {
    let peer = Peer::scripted(|session, _| {
        session.is_slow = true;
        session.handshake(0);
        session.serve();
    });
    let engine = connect(driver, &peer);
    engine.declare(&Queue::durable("slow")).wait(WAIT).unwrap();
    engine.shutdown(WAIT).unwrap();
}

#[apply(on_every_driver!)]
fn a_peer_that_answers_nothing_after_the_handshake_does_not_hold_the_shutdown(driver: Driver) {
    let peer = Peer::scripted(|session, _| {
        session.handshake(0);
        session.ignore_everything();
    });
    let engine = connect(driver, &peer);
    let consumer = engine
        .consumer(Queue::named("q"))
        .start(|_| Disposition::Ack);
    let declared = engine.declare(&Queue::durable("q"));
    let short = Duration::from_millis(100);
    assert_eq!(
        engine.declare(&Queue::named("q")).wait(short),
        Err(Error::Timeout(short))
    );
    let timeout = Duration::from_millis(300);
    let start = Instant::now();
    let error = engine.shutdown(timeout).unwrap_err();
    assert!(
        matches!(error, Error::ShutdownIncomplete { .. }),
        "{error:?}"
    );
    assert!(
        start.elapsed() < timeout + Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    assert!(declared.wait(WAIT).is_err());
    assert!(consumer.wait(WAIT).is_err());
}

#[apply(on_every_driver!)]
fn dropping_an_engine_whose_peer_answers_nothing_takes_a_few_seconds_at_most(driver: Driver) {
    let peer = Peer::scripted(|session, _| {
        session.handshake(0);
        session.ignore_everything();
    });
    let engine = connect(driver, &peer);
    let start = Instant::now();
    drop(engine);
    assert!(
        start.elapsed() < Duration::from_secs(8),
        "{:?}",
        start.elapsed()
    );
}

#[apply(on_every_driver!)]
fn a_peer_that_reads_nothing_does_not_hold_the_shutdown(driver: Driver) {
    let peer = Peer::scripted(|session, line| {
        session.handshake(0);
        match line {
            0 => session.serve(),
            _ => {
                session.open_publisher();
                session.hold_until_released();
            }
        }
    });
    let engine = connect(driver, &peer);
    let options = PublisherOptions::default().publish_timeout(Duration::from_millis(100));
    let mut publisher = engine.publisher(options).unwrap();
    let body = vec![1; 1 << 20];
    let full = loop {
        if let Err(error) = publisher.publish("", "q", &Properties::default(), body.clone()) {
            break error;
        }
    };
    assert!(matches!(full, Error::WindowFull { .. }), "{full:?}");
    let timeout = Duration::from_millis(300);
    let start = Instant::now();
    let error = engine.shutdown(timeout).unwrap_err();
    assert!(
        matches!(error, Error::ShutdownIncomplete { .. }),
        "{error:?}"
    );
    assert!(
        start.elapsed() < timeout + Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    peer.release();
}

#[apply(on_every_driver!)]
fn a_second_connection_that_nobody_answers_fails_within_the_connect_timeout(driver: Driver) {
    let peer = Peer::scripted(|session, line| match line {
        0 => {
            session.handshake(0);
            session.serve();
        }
        _ => session.ignore_everything(),
    });
    let builder = builder(driver, &peer).connect_timeout(CONNECT_TIMEOUT);
    let engine = builder.start().wait(WAIT).unwrap();
    let start = Instant::now();
    let error = engine.publisher(PublisherOptions::default()).unwrap_err();
    let Error::Connect(failures) = &error else {
        panic!("{error:?}");
    };
    assert_eq!(failures[0].cause, ConnectCause::Timeout(CONNECT_TIMEOUT));
    assert!(start.elapsed() < CONNECT_TIMEOUT + Duration::from_secs(2));
    engine.shutdown(WAIT).unwrap();
}

#[apply(on_every_driver!)]
fn octets_that_are_no_frame_end_the_connection_with_frame_error(driver: Driver) {
    let (sender, receiver) = channel();
    let sender = Mutex::new(sender);
    let peer = Peer::scripted(move |session, _| {
        session.handshake(0);
        session.expect("channel.open");
        session.write(&[77; 20]);
        let _ = sender.lock().unwrap().send(session.expect_close());
    });
    let (engine, events) = listen(builder(driver, &peer));
    let error = engine.declare(&Queue::durable("q")).wait(WAIT).unwrap_err();
    assert_eq!(error.code(), Some(ReplyCode::FrameError), "{error}");
    assert_eq!(
        receiver.recv_timeout(WAIT),
        Ok(ReplyCode::FrameError.code())
    );
    let event = events.recv_timeout(WAIT).unwrap();
    let decoded = matches!(
        &event,
        Event::ConnectionLost {
            worker: 0,
            cause: ConnectionError::Decode(_),
            ..
        }
    );
    assert!(decoded, "{event:?}");
    engine.shutdown(WAIT).unwrap();
    assert!(events.try_recv().is_err());
}

#[apply(on_every_driver!)]
fn a_channel_closed_by_the_broker_ends_its_consumer_and_no_other(driver: Driver) {
    let peer = Peer::scripted(|session, _| {
        session.handshake(0);
        let channels = [session.open_consumer(), session.open_consumer()];
        let close = channel_class::Close {
            reply_code: ReplyCode::PreconditionFailed.code(),
            reply_text: peer::short("PRECONDITION_FAILED - delivery acknowledgement timed out"),
            ..Default::default()
        };
        session.send(channels[0], close);
        session.expect("channel.close-ok");
        session.serve();
    });
    let engine = connect(driver, &peer);
    let reasons = Arc::new(Mutex::new(Vec::new()));
    let (sender, receiver) = channel();
    let consume = |number: usize| {
        let (reasons, sender) = (Arc::clone(&reasons), sender.clone());
        engine
            .consumer(Queue::named("q"))
            .on_cancel(move |reason| {
                reasons.lock().unwrap().push((number, reason.clone()));
                let _ = sender.send(());
            })
            .start(|_| Disposition::Ack)
            .wait(WAIT)
            .unwrap()
    };
    let (first, second) = (consume(0), consume(1));
    receiver.recv_timeout(WAIT).unwrap();
    assert_eq!(first.state(), ConsumerState::Cancelled);
    assert_eq!(second.state(), ConsumerState::Consuming);
    engine.shutdown(WAIT).unwrap();
    let reasons = reasons.lock().unwrap();
    let (0, CancelReason::ChannelClosed(reason)) = &reasons[0] else {
        panic!("{reasons:?}");
    };
    assert_eq!(reason.reply_code(), Some(ReplyCode::PreconditionFailed));
    assert_eq!(reasons[1..], [(1, CancelReason::Shutdown)]);
}

#[apply(on_every_driver!)]
fn a_blocked_connection_holds_publishes_back_until_it_is_unblocked(driver: Driver) {
    let (said, say) = channel::<()>();
    let say = Mutex::new(say);
    let early = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&early);
    let peer = Peer::scripted(move |session, line| {
        session.handshake(0);
        if line == 0 {
            return session.serve();
        }
        session.open_publisher();
        let reason = peer::short("low on memory");
        session.send(0, connection_class::Blocked { reason });
        say.lock().unwrap().recv_timeout(WAIT).unwrap();
        seen.store(session.octets_waiting(), Ordering::SeqCst);
        session.send(0, connection_class::Unblocked {});
        session.expect("basic.publish");
        session.send(
            1,
            basic::Ack {
                delivery_tag: 1,
                multiple: false,
            },
        );
        session.serve();
    });
    let (engine, events) = listen(builder(driver, &peer));
    let mut publisher = engine.publisher(PublisherOptions::default()).unwrap();
    let reason = "low on memory".to_owned();
    let event = events.recv_timeout(WAIT).unwrap();
    assert!(
        matches!(&event, Event::Blocked { reason: said, .. } if *said == reason),
        "{event:?}"
    );
    let mut receipt = publisher
        .publish("", "q", &Properties::default(), "x")
        .unwrap();
    let short = Duration::from_millis(200);
    assert_eq!(receipt.wait(short), Err(Error::Timeout(short)));
    // What is not a publish goes on.
    engine.declare(&Queue::durable("q")).wait(WAIT).unwrap();
    said.send(()).unwrap();
    let event = events.recv_timeout(WAIT).unwrap();
    assert!(matches!(event, Event::Unblocked { .. }), "{event:?}");
    assert_eq!(receipt.wait(WAIT), Ok(Outcome::Acked));
    assert_eq!(
        early.load(Ordering::SeqCst),
        0,
        "octets of a publish came while blocked"
    );
    engine.shutdown(WAIT).unwrap();
}

#[apply(on_every_driver!)]
fn a_slow_handler_does_not_take_its_own_silence_for_the_peers(driver: Driver) {
    let peer = Peer::scripted(|session, _| {
        session.handshake(1);
        let channel = session.open_consumer();
        session.deliver(channel, 1, b"slow");
        // More than two intervals, in which this peer shows that it lives.
        for _ in 0..12 {
            session.heartbeat();
            std::thread::sleep(Duration::from_millis(200));
        }
        session.serve();
    });
    let (engine, events) = listen(builder(driver, &peer).heartbeat(Duration::from_secs(1)));
    let (sender, receiver) = channel();
    engine
        .consume(Queue::named("q"), move |_| {
            std::thread::sleep(Duration::from_millis(2300));
            let _ = sender.send(());
            Disposition::Ack
        })
        .unwrap();
    receiver.recv_timeout(WAIT).unwrap();
    engine.declare(&Queue::durable("q")).wait(WAIT).unwrap();
    engine.shutdown(WAIT).unwrap();
    assert!(events.try_recv().is_err());
}

#[apply(on_every_driver!)]
fn wrong_confirms_end_the_connection_and_the_publishes_are_unknown(driver: Driver) {
    let peer = Peer::scripted(|session, line| {
        session.handshake(0);
        if line == 0 {
            return session.serve();
        }
        session.open_publisher();
        session.expect("basic.publish");
        session.send(
            1,
            basic::Ack {
                delivery_tag: 7,
                multiple: false,
            },
        );
        assert_eq!(session.expect_close(), ReplyCode::CommandInvalid.code());
    });
    let engine = connect(driver, &peer);
    let mut publisher = engine.publisher(PublisherOptions::default()).unwrap();
    let mut receipt = publisher
        .publish("", "q", &Properties::default(), "x")
        .unwrap();
    assert_eq!(receipt.wait(WAIT), Ok(Outcome::Unknown));
    let error = publisher
        .publish("", "q", &Properties::default(), "x")
        .unwrap_err();
    assert_eq!(error.code(), Some(ReplyCode::CommandInvalid), "{error}");
    engine.shutdown(WAIT).unwrap();
}
