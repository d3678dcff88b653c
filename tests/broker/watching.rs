//! Looking into a broker: its state, waiting for it, and what it has received.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use amqp_uring::broker::{Broker, BrokerError};
use amqp_uring::{Driver, Properties, PublisherOptions, Queue};

use super::client::Client;
use super::support::*;

#[test]
fn the_state_tells_what_is_there_and_what_there_has_been() {
    let broker = start(Driver::Epoll);
    let engine = connect(&broker);
    engine.declare(&Queue::transient("q")).wait(WAIT).unwrap();
    fill(&engine, "q", ["a", "b", "c"]);
    let held = engine.get("q").wait(WAIT).unwrap().unwrap();
    let state = broker.state().unwrap();
    let queue = state.queue("q").unwrap();
    assert_eq!((queue.ready, queue.unacked, queue.consumers), (2, 1, 0));
    assert_eq!(state.queue("r"), None);
    assert_eq!((state.totals.published, state.totals.delivered), (3, 1));
    assert_eq!(state.exchanges[""].kind, "direct");
    assert_eq!(state.exchanges["amq.topic"].kind, "topic");
    let connections = state.connections;
    drop(Client::open(&broker));
    let state = broker
        .wait_for(WAIT, move |state| state.connections == connections)
        .unwrap();
    assert_eq!(state.totals.connections, connections as u64 + 1);
    drop(held);
}

#[test]
fn waiting_in_vain_ends_in_time_and_says_what_there_was() {
    let broker = start(Driver::Epoll);
    let mut client = Client::open(&broker);
    client.declare("orders");
    let looks = Arc::new(AtomicUsize::new(0));
    let timeout = Duration::from_millis(20);
    let before = Instant::now();
    let waited = broker.wait_for(timeout, {
        let looks = Arc::clone(&looks);
        move |state| {
            looks.fetch_add(1, Ordering::SeqCst);
            state.connections == 7
        }
    });
    assert!(before.elapsed() >= timeout);
    let error = waited.unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("within 20ms") && text.contains("orders"),
        "{text}"
    );
    assert!(matches!(error, BrokerError::TimedOut { state, .. } if state.connections == 1));
    // Nobody waits any more, so nobody looks.
    let looked = looks.load(Ordering::SeqCst);
    client.declare("more");
    client.declare("still more");
    assert_eq!(looks.load(Ordering::SeqCst), looked);
    assert_eq!(Arc::strong_count(&looks), 1);
}

#[test]
fn a_condition_that_panics_fails_its_own_test_and_not_the_broker() {
    let broker = start(Driver::Epoll);
    let mut client = Client::open(&broker);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = broker.wait_for(WAIT, |state| state.queue("q").unwrap().ready == 0);
    }));
    assert!(outcome.is_err());
    client.declare("q");
    assert_eq!(queue(&broker, "q").ready, 0);
}

#[test]
fn many_may_wait_at_a_time() {
    let broker = start(Driver::Epoll);
    let mut client = Client::open(&broker);
    std::thread::scope(|scope| {
        let waiting = ["a", "b", "c"].map(|name| {
            let broker = &broker;
            scope.spawn(move || {
                let waited = broker.wait_for(WAIT, move |state| state.queue(name).is_some());
                waited.unwrap().queues.len()
            })
        });
        for name in ["a", "b", "c"] {
            client.declare(name);
        }
        for waiter in waiting {
            assert!((1..=3).contains(&waiter.join().unwrap()));
        }
    });
}

#[test]
fn what_was_received_is_told_once_with_its_messages_and_without_credentials() {
    let broker = Broker::builder().record(1000).driver(Driver::Epoll).start();
    let broker = broker.unwrap();
    for _ in 0..2 {
        let engine = connect(&broker);
        let mut publisher = engine.publisher(PublisherOptions::default()).unwrap();
        let properties = Properties::builder().message_id("id").build().unwrap();
        publisher
            .publish("", "nowhere", &properties, "body")
            .unwrap();
        publisher.wait_for_confirms(WAIT).unwrap();
        publisher.close().wait(WAIT).unwrap();
        engine.shutdown(WAIT).unwrap();
    }
    let received = broker.received().unwrap();
    assert!(broker.received().unwrap().is_empty());
    let text = format!("{received:?}");
    assert!(!text.contains("response"), "{text}");
    let publishes = received.iter().filter(|one| one.method == "basic.publish");
    let publishes: Vec<_> = publishes.collect();
    assert_eq!(publishes.len(), 2);
    assert!(publishes[0].connection < publishes[1].connection);
    for publish in publishes {
        let message = publish.message.as_ref().unwrap();
        assert_eq!(
            (&*message.routing_key, &*message.body),
            ("nowhere", &b"body"[..])
        );
        let id = message.properties.as_ref().message_id().unwrap().unwrap();
        assert_eq!(id, "id");
    }
}

#[test]
fn only_the_last_methods_are_kept_and_none_unless_asked() {
    let broker = Broker::builder().record(2).driver(Driver::Epoll).start();
    let broker = broker.unwrap();
    let mut client = Client::open(&broker);
    client.declare("a");
    client.declare("b");
    let received = broker.received().unwrap();
    let methods: Vec<_> = received.iter().map(|one| one.method).collect();
    assert_eq!(methods, ["queue.declare"; 2]);
    let silent = start(Driver::Epoll);
    Client::open(&silent).declare("a");
    assert!(silent.received().unwrap().is_empty());
}
