//! Brokers that come and go.

use std::net::TcpStream;
use std::process::Command;
use std::time::Instant;

use amqp_uring::broker::Broker;
use amqp_uring::{Driver, Event, Properties, PublisherOptions, Queue};
use macro_rules_attribute::apply;

use super::client::Client;
use super::drivers::on_every_driver;
use super::support::*;

/// Set for the process in which nothing but one test runs, so that it may count what the process holds.
const ALONE: &str = "AMQP_URING_TEST_ALONE";

fn held() -> (usize, usize) {
    let count = |what| {
        std::fs::read_dir(format!("/proc/self/{what}"))
            .unwrap()
            .count()
    };
    (count("task"), count("fd"))
}

/// Runs a test of this program again, in a process of its own.
fn run_alone(test: &str) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn come_and_go(driver: Driver, test: &str) {
    if std::env::var_os(ALONE).is_none() {
        return run_alone(test);
    }
    const CYCLES: usize = 1000;
    drop(start(driver));
    let before = held();
    for cycle in 0..CYCLES {
        let broker = start(driver);
        if cycle % 10 == 0 {
            let mut client = Client::open(&broker);
            client.declare("q");
            drop(broker);
            assert_eq!(client.next(), "end");
        }
    }
    assert_eq!(held(), before);
}

#[test]
fn brokers_on_uring_come_and_go_and_leave_nothing_behind() {
    let test = "lifecycle::brokers_on_uring_come_and_go_and_leave_nothing_behind";
    come_and_go(Driver::Uring, test);
}

#[test]
fn brokers_on_epoll_come_and_go_and_leave_nothing_behind() {
    let test = "lifecycle::brokers_on_epoll_come_and_go_and_leave_nothing_behind";
    come_and_go(Driver::Epoll, test);
}

#[cfg(feature = "tokio-uring")]
#[test]
fn brokers_on_tokio_uring_come_and_go_and_leave_nothing_behind() {
    let test = "lifecycle::brokers_on_tokio_uring_come_and_go_and_leave_nothing_behind";
    come_and_go(Driver::TokioUring, test);
}

#[apply(on_every_driver!)]
fn a_broker_ends_while_clients_are_connected_and_busy(driver: Driver) {
    let broker = start(driver);
    let (engine, events) = listen(builder(&broker));
    let (consumer, taken) = take(&engine, Queue::transient("q"));
    let mut publisher = engine.publisher(PublisherOptions::default()).unwrap();
    let mut half = Client::connect(&broker);
    half.write(b"AMQP");
    for _ in 0..1000 {
        publisher
            .publish("", "q", &Properties::empty(), "m")
            .unwrap();
    }
    next(&taken);
    let address = broker.address();
    let before = Instant::now();
    drop(broker);
    assert!(before.elapsed() < WAIT / 8, "{:?}", before.elapsed());
    assert!(matches!(next(&events), Event::ConnectionLost { .. }));
    assert_eq!(half.next(), "end");
    assert!(TcpStream::connect(address).is_err());
    drop(consumer);
}

#[test]
fn a_broker_may_listen_where_one_has_just_ended() {
    let first = start(Driver::Epoll);
    let address = first.address();
    let mut client = Client::open(&first);
    drop(first);
    let second = Broker::builder()
        .listen(address)
        .driver(Driver::Epoll)
        .start();
    let second = second.unwrap();
    assert_eq!(client.next(), "end");
    Client::open(&second);
}

#[apply(on_every_driver!)]
fn brokers_side_by_side_know_nothing_of_each_other(driver: Driver) {
    let (one, other) = (start(driver), start(driver));
    assert_ne!(one.uri(), other.uri());
    let engines = [connect(&one), connect(&other)];
    for (engine, queue) in engines.iter().zip(["a", "b"]) {
        engine.declare(&Queue::transient(queue)).wait(WAIT).unwrap();
        fill(engine, queue, [queue]);
    }
    one.faults().reset().unwrap();
    for (broker, queue) in [(&one, "a"), (&other, "b")] {
        let state = broker.state().unwrap();
        let queues: Vec<_> = state.queues.keys().collect();
        assert_eq!(queues, [queue]);
        assert_eq!(state.totals.published, 1);
    }
    let (_consumer, taken) = take(&engines[1], Queue::named("b"));
    assert_eq!(next(&taken).0, "b");
}

#[test]
fn a_broker_listens_where_it_should() {
    let listen = |address: &str| Broker::builder().listen(address.parse().unwrap()).start();
    let broker = listen("[::1]:0").unwrap();
    assert!(broker.uri().contains("@[::1]:"), "{}", broker.uri());
    connect(&broker);
}
