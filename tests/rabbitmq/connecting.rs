//! Connecting: URI and builder, workers, what goes wrong, heartbeats.

use std::collections::HashSet;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use amqp_uring::{
    ConnectCause, ConnectionError, Disposition, Driver, Engine, Error, Event, Node, Queue,
    ReplyCode,
};
use macro_rules_attribute::apply;

use super::on_every_driver;
use super::proxy::Proxy;
use super::support::{
    Scratch, WAIT, builder, evaluate, listen, node, receive, unique, uri, wait_until,
};

/// How long these tests let connecting take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

fn failure(driver: Driver, node: Node) -> Error {
    let start = Instant::now();
    let started = Engine::builder()
        .node(node)
        .driver(driver)
        .connect_timeout(CONNECT_TIMEOUT)
        .start();
    let error = started.wait(WAIT).expect_err("an engine");
    assert!(start.elapsed() < CONNECT_TIMEOUT, "{:?}", start.elapsed());
    error
}

fn unused_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn an_engine_connects_by_uri_and_is_shut_down(driver: Driver) {
    let builder = Engine::builder().uri(&uri()).driver(driver);
    let engine = builder.start().wait(WAIT).unwrap();
    engine.shutdown(WAIT).unwrap();
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_uri_may_set_the_numbers_of_the_connection(driver: Driver) {
    let uri = format!(
        "{}?heartbeat=7&frame_max=8192&channel_max=9&connection_timeout=5000",
        uri()
    );
    let builder = Engine::builder().uri(&uri).driver(driver);
    let engine = Scratch::on(builder.start().wait(WAIT).unwrap());
    let queue = engine.queue("uri");
    engine.fill(&queue, 3);
    assert_eq!(engine.take_texts(&queue, 3), ["0", "1", "2"]);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn wrong_credentials_are_refused_with_access_refused(driver: Driver) {
    let error = failure(driver, node().with_credentials("guest", "s3cret"));
    assert_eq!(error.code(), Some(ReplyCode::AccessRefused), "{error}");
    assert!(error.is_hard());
    assert!(!format!("{error} {error:?}").contains("s3cret"));
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_virtual_host_that_does_not_exist_is_named_in_the_error(driver: Driver) {
    let error = failure(driver, node().with_vhost("no-such-host"));
    assert_eq!(error.code(), Some(ReplyCode::NotAllowed), "{error}");
    assert!(error.to_string().contains("no-such-host"), "{error}");
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_port_where_nobody_listens_is_named_in_the_error(driver: Driver) {
    let port = unused_port();
    let error = failure(driver, node().with_port(port));
    let Error::Connect(failures) = &error else {
        panic!("{error}");
    };
    assert!(
        matches!(failures[0].cause, ConnectCause::Line(_)),
        "{error}"
    );
    assert!(error.to_string().contains(&port.to_string()), "{error}");
}

#[test]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_host_without_an_address_is_named_in_the_error() {
    let start = Instant::now();
    let error = Engine::connect("amqp://no-such-host.invalid").unwrap_err();
    let Error::Connect(failures) = &error else {
        panic!("{error}");
    };
    assert!(
        matches!(failures[0].cause, ConnectCause::Resolve(_)),
        "{error}"
    );
    assert!(
        error.to_string().contains("no-such-host.invalid"),
        "{error}"
    );
    assert!(start.elapsed() < WAIT);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn the_next_node_is_tried_when_one_fails(driver: Driver) {
    let engine = Engine::builder()
        .node(node().with_port(unused_port()))
        .node(node().with_credentials("guest", "wrong"))
        .node(node())
        .driver(driver)
        .start()
        .wait(WAIT)
        .unwrap();
    engine.shutdown(WAIT).unwrap();
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn when_every_node_fails_each_failure_is_reported(driver: Driver) {
    let started = Engine::builder()
        .node(node().with_port(unused_port()))
        .node(node().with_vhost("no-such-host"))
        .driver(driver)
        .start();
    let Err(Error::Connect(failures)) = started.wait(WAIT) else {
        panic!("an engine");
    };
    assert_eq!(failures.len(), 2, "{failures:?}");
    assert!(matches!(failures[0].cause, ConnectCause::Line(_)));
    assert!(matches!(failures[1].cause, ConnectCause::Amqp(_)));
}

/// The cores that this process may use.
fn cores() -> Vec<usize> {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
        .unwrap();
    let bounds = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        first.parse().unwrap()..=last.parse().unwrap()
    };
    list.trim().split(',').flat_map(bounds).collect()
}

/// Consumers on every worker of an engine tell what they see of their threads.
fn seen_by_consumers<T: Send + 'static>(
    engine: Engine,
    consumers: usize,
    look: impl Fn() -> T + Clone + Send + 'static,
) -> Vec<T> {
    let engine = Scratch::on(engine);
    let (sender, receiver) = channel();
    for _ in 0..consumers {
        let queue = engine.queue("workers");
        let (sender, look) = (sender.clone(), look.clone());
        let handler = move |_: &amqp_uring::Delivery<'_>| {
            let _ = sender.send(look());
            Disposition::Ack
        };
        engine.consume(Queue::named(&queue), handler).unwrap();
        engine.fill(&queue, 1);
    }
    receive(&receiver, consumers)
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn consumers_are_placed_on_workers_by_turns(driver: Driver) {
    let engine = builder(driver).workers(3);
    let engine = engine.start().wait(WAIT).unwrap();
    let threads = seen_by_consumers(engine, 6, || std::thread::current().id());
    let distinct: HashSet<_> = threads.iter().collect();
    assert_eq!(distinct.len(), 3, "{threads:?}");
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn pinned_workers_stay_on_their_cores(driver: Driver) {
    let available = cores();
    let engine = builder(driver).workers(2).pin_workers(available.clone());
    let engine = engine.start().wait(WAIT).unwrap();
    let mut seen = seen_by_consumers(engine, 2, cores);
    seen.sort();
    let mut expected: Vec<_> = (0..2)
        .map(|i| vec![available[i % available.len()]])
        .collect();
    expected.sort();
    assert_eq!(seen, expected);
}

#[test]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_core_that_does_not_exist_is_refused() {
    for core in [1000, usize::MAX] {
        let started = Engine::builder().node(node()).pin_workers([core]).start();
        match started.wait(WAIT) {
            Err(Error::Parameter { what, .. }) => assert_eq!(what, "pin_workers"),
            other => panic!("{other:?}"),
        }
    }
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn connection_name_and_client_properties_reach_the_broker(driver: Driver) {
    let name = unique("named");
    let engine = builder(driver)
        .connection_name(&name)
        .client_property("team", "ingest")
        .start()
        .wait(WAIT)
        .unwrap();
    let found = evaluate(&format!(
        "[P || [{{client_properties, P}}] <- rabbit_networking:connection_info_all([client_properties]), \
         is_list(P), lists:keyfind(<<\"connection_name\">>, 1, P) =:= {{<<\"connection_name\">>, longstr, <<\"{name}\">>}}]."
    ));
    for expected in [
        name.as_str(),
        "team",
        "ingest",
        "amqp-uring",
        "consumer_cancel_notify",
    ] {
        assert!(found.contains(expected), "{expected} is not in {found}");
    }
    engine.shutdown(WAIT).unwrap();
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn an_idle_engine_outlives_many_heartbeat_intervals(driver: Driver) {
    let builder = builder(driver).heartbeat(Duration::from_secs(1));
    let (engine, events) = listen(builder);
    // The publishing connection has to show signs of life too.
    let publisher = engine.publisher(Default::default()).unwrap();
    let idle = events.recv_timeout(Duration::from_millis(4500));
    assert_eq!(idle, Err(RecvTimeoutError::Timeout));
    publisher.close().wait(WAIT).unwrap();
    engine.shutdown(WAIT).unwrap();
    assert_eq!(events.try_recv().ok(), None);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_silent_broker_is_given_up_after_two_heartbeat_intervals(driver: Driver) {
    let proxy = Proxy::start();
    let interval = Duration::from_secs(1);
    let builder = proxy.builder(driver).heartbeat(interval);
    let (engine, events) = listen(builder);
    proxy.hold();
    let start = Instant::now();
    let event = events.recv_timeout(WAIT).unwrap();
    assert_eq!(
        event,
        Event::ConnectionLost {
            worker: 0,
            cause: ConnectionError::HeartbeatMissed { interval }
        }
    );
    assert!(start.elapsed() >= interval, "{:?}", start.elapsed());
    assert!(start.elapsed() < 8 * interval, "{:?}", start.elapsed());
    proxy.let_go();
    engine.declare(&Queue::server_named()).wait(WAIT).unwrap();
    engine.shutdown(WAIT).unwrap();
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn without_heartbeats_silence_is_no_loss(driver: Driver) {
    let proxy = Proxy::start();
    let builder = proxy.builder(driver).heartbeat(Duration::ZERO);
    let (engine, events) = listen(builder);
    proxy.hold();
    let idle = events.recv_timeout(Duration::from_millis(2500));
    assert_eq!(idle, Err(RecvTimeoutError::Timeout));
    proxy.let_go();
    let call = engine.declare(&Queue::server_named());
    call.wait(WAIT).unwrap();
    wait_until("a single line", || proxy.lines() == 1);
    engine.shutdown(WAIT).unwrap();
}
