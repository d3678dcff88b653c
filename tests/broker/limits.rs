//! What may be chosen about a broker, and that it keeps to it.

use std::time::{Duration, Instant};

use amqp_uring::broker::{Broker, BrokerBuilder};
use amqp_uring::protocol::{basic, channel, connection};
use amqp_uring::{Driver, Error, Event, Properties, PublisherOptions, Queue};
use macro_rules_attribute::apply;

use super::client::{Client, Wishes, publish, short};
use super::drivers::on_every_driver;
use super::support::*;

const MEBIOCTET: usize = 1 << 20;

fn start_with(driver: Driver, choose: impl FnOnce(BrokerBuilder) -> BrokerBuilder) -> Broker {
    choose(Broker::builder().driver(driver)).start().unwrap()
}

// --- memory -----------------------------------------------------------------------------------------------------------

#[apply(on_every_driver!)]
fn publishers_wait_at_the_limit_of_memory_until_something_is_consumed(driver: Driver) {
    const MESSAGES: usize = 64;
    let limit = 4 * MEBIOCTET;
    let broker = start_with(driver, |builder| builder.memory_octets_max(limit));
    let (publishing, events) = listen(builder(&broker));
    let consuming = connect(&broker);
    consuming
        .declare(&Queue::transient("q"))
        .wait(WAIT)
        .unwrap();
    let mut publisher = publishing.publisher(PublisherOptions::default()).unwrap();
    let body = vec![b'.'; MEBIOCTET / 4];
    for _ in 0..MESSAGES {
        publisher
            .publish("", "q", &Properties::empty(), body.clone())
            .unwrap();
    }
    assert!(matches!(next(&events), Event::Blocked { reason, .. } if reason == "low on memory"));
    // All of it is 16 MiB. What has come in by now is no more than the limit and what one turn takes in.
    let held = queue(&broker, "q").ready as usize * body.len();
    assert!(
        (limit - MEBIOCTET..limit + 3 * MEBIOCTET).contains(&held),
        "{held}"
    );

    let (_consumer, taken) = take(&consuming, Queue::named("q"));
    nexts(&taken, MESSAGES);
    assert!(matches!(next(&events), Event::Unblocked { .. }));
    let report = publisher.wait_for_confirms(WAIT).unwrap();
    assert_eq!(report.counts.acked, MESSAGES as u64);
}

#[apply(on_every_driver!)]
fn nothing_piles_up_for_a_consumer_that_does_not_read(driver: Driver) {
    let broker = start(driver);
    let mut slow = Client::open(&broker);
    slow.declare("q");
    let consume = basic::Consume {
        queue: short("q"),
        no_ack: true,
        ..Default::default()
    };
    slow.send(1, consume);
    assert_eq!(slow.next(), "1 basic.consume-ok");
    let engine = connect(&broker);
    const MESSAGES: u64 = 64;
    fill(&engine, "q", (0..MESSAGES).map(|_| vec![b'.'; MEBIOCTET]));
    // What was taken from the queue is on its way: at most what the kernel and the broker hold for one connection.
    let state = broker.state().unwrap();
    let ready = u64::from(state.queue("q").unwrap().ready);
    assert_eq!(state.totals.delivered, MESSAGES - ready);
    assert!(ready > MESSAGES / 2, "{ready}");
    // It gets everything when it reads.
    let mut octets = 0;
    while octets < MESSAGES as usize * MEBIOCTET {
        if let Some(body) = slow.next().strip_prefix("1 body of ") {
            octets += body.parse::<usize>().unwrap();
        }
    }
    assert_eq!(queue(&broker, "q").ready, 0);
}

#[apply(on_every_driver!)]
fn a_client_that_asks_without_reading_the_answers_is_answered_when_it_reads(driver: Driver) {
    const MESSAGES: u32 = 64;
    let broker = start(driver);
    let engine = connect(&broker);
    engine.declare(&Queue::transient("q")).wait(WAIT).unwrap();
    fill(&engine, "q", (0..MESSAGES).map(|_| vec![b'.'; MEBIOCTET]));
    let mut client = Client::open(&broker);
    let get = basic::Get {
        queue: short("q"),
        no_ack: true,
    };
    for _ in 0..=MESSAGES {
        client.send(1, get);
    }
    assert_eq!(client.next(), "1 basic.get-ok");
    let ready = queue(&broker, "q").ready;
    assert!(ready > MESSAGES / 2, "{ready}");
    while client.next() != "1 basic.get-empty" {}
    assert_eq!(broker.state().unwrap().totals.delivered, MESSAGES.into());
}

#[test]
fn a_body_that_is_too_large_closes_its_channel() {
    let broker = start_with(Driver::Epoll, |builder| builder.message_octets_max(1000));
    let mut client = Client::open(&broker);
    client.declare("q");
    client.write(&publish(1, "q", &[b'.'; 1000], 4096));
    client.write(&publish(1, "q", &[b'.'; 1001], 4096));
    assert_eq!(client.next(), "1 channel.close 406");
    assert_eq!(queue(&broker, "q").ready, 1);
}

#[test]
fn a_body_of_many_frames_arrives_whole() {
    let broker = start_with(Driver::Epoll, |builder| builder.frame_max(1));
    let engine = connect(&broker);
    let (_consumer, taken) = take(&engine, Queue::transient("q"));
    let body: String = (0..3_000_000)
        .map(|at| char::from(b'a' + (at % 23) as u8))
        .collect();
    fill(&engine, "q", [&body]);
    assert_eq!(next(&taken).0, body);
}

// --- connections and channels -----------------------------------------------------------------------------------------

#[test]
fn as_many_connections_as_there_may_be_and_not_one_more() {
    let broker = start_with(Driver::Epoll, |builder| builder.connections_max(2));
    let (one, _other) = (Client::open(&broker), Client::open(&broker));
    let mut refused = Client::connect(&broker);
    assert_eq!(refused.next(), "end");
    drop(one);
    broker
        .wait_for(WAIT, |state| state.connections == 1)
        .unwrap();
    Client::open(&broker);
    assert_eq!(broker.state().unwrap().totals.connections, 3);
}

#[test]
fn as_many_channels_as_were_agreed_and_not_one_more() {
    let broker = start_with(Driver::Epoll, |builder| builder.channel_max(3));
    let wishes = Wishes {
        channel_max: 2,
        ..Wishes::default()
    };
    let mut client = Client::open_as(&broker, &wishes);
    client.send(7, channel::Open {});
    assert_eq!(client.next(), "7 channel.open-ok");
    client.send(2, channel::Open {});
    assert_eq!(client.next(), "0 connection.close 530");
    let mut greedy = Client::connect(&broker);
    greedy.greet(&Wishes::default());
    assert_eq!(greedy.nexts(3)[2], "end", "more was asked for than offered");
}

// --- who may log in ---------------------------------------------------------------------------------------------------

#[test]
fn those_who_are_named_may_log_in_to_the_virtual_hosts_that_are_named_and_nobody_else() {
    let broker = start_with(Driver::Epoll, |builder| {
        let builder = builder.user("näme:@/", "p%s").user("other", "word");
        builder.vhost("one/host").vhost("two")
    });
    connect(&broker);
    let node: amqp_uring::Node = broker.uri().parse().unwrap();
    let attempt = |user: &str, password: &str, vhost: &str| {
        let node = node
            .clone()
            .with_credentials(user, password)
            .with_vhost(vhost);
        let engine = amqp_uring::Engine::builder()
            .node(node)
            .driver(Driver::Epoll);
        engine.start().wait(WAIT)
    };
    attempt("other", "word", "two").unwrap();
    for (user, password, vhost) in [
        ("guest", "guest", "two"),
        ("other", "p%s", "two"),
        ("other", "word", "/"),
    ] {
        let refused = attempt(user, password, vhost);
        assert!(
            matches!(refused, Err(Error::Connect { .. })),
            "{user} {vhost}"
        );
    }
}

#[test]
fn virtual_hosts_have_nothing_in_common() {
    let broker = start_with(Driver::Epoll, |builder| builder.vhost("one").vhost("two"));
    let one = connect(&broker);
    let node: amqp_uring::Node = broker.uri().parse().unwrap();
    let builder = amqp_uring::Engine::builder().node(node.with_vhost("two"));
    let two = builder.driver(Driver::Epoll).start().wait(WAIT).unwrap();
    for engine in [&one, &two] {
        engine.declare(&Queue::transient("q")).wait(WAIT).unwrap();
    }
    fill(&one, "q", ["of one"]);
    assert!(two.get_no_ack("q").wait(WAIT).unwrap().is_none());
    assert!(one.get_no_ack("q").wait(WAIT).unwrap().is_some());
}

#[test]
fn a_name_is_believed_where_that_was_asked_for_and_nowhere_else() {
    for is_offered in [true, false] {
        let broker = start_with(Driver::Epoll, |builder| match is_offered {
            true => builder.external(),
            false => builder,
        });
        for (response, is_known) in [(b"guest".as_slice(), true), (b"nobody", false)] {
            let mut client = Client::connect(&broker);
            client.greet(&Wishes {
                mechanism: "EXTERNAL",
                response,
                ..Wishes::default()
            });
            assert_eq!(client.next(), "0 connection.start");
            let answer = match (is_offered, is_known) {
                (true, true) => "0 connection.tune",
                (true, false) => "0 connection.close 403",
                (false, _) => "end",
            };
            assert_eq!(client.next(), answer);
        }
    }
}

#[test]
fn a_broker_that_nobody_could_use_does_not_start() {
    let taken = start(Driver::Epoll);
    let again = Broker::builder().listen(taken.address()).start();
    let text = again.unwrap_err().to_string();
    let expected = format!("cannot listen on {}: ", taken.address());
    assert!(text.starts_with(&expected), "{text}");
}

// --- heartbeats -------------------------------------------------------------------------------------------------------

/// The shortest interval there is: the test takes two of them.
#[apply(on_every_driver!)]
fn a_silent_client_is_dropped_after_two_intervals_and_what_it_held_comes_again(driver: Driver) {
    let interval = Duration::from_secs(1);
    let broker = start_with(driver, |builder| builder.heartbeat(interval));
    let wishes = Wishes {
        heartbeat: 1,
        ..Wishes::default()
    };
    let mut silent = Client::open_as(&broker, &wishes);
    let mut alive = Client::open_as(&broker, &wishes);
    silent.declare("q");
    silent.write(&publish(1, "q", b"m", 4096));
    silent.send(
        1,
        basic::Get {
            queue: short("q"),
            no_ack: false,
        },
    );
    let before = Instant::now();
    assert_eq!(silent.nexts(3)[0], "1 basic.get-ok");
    assert_eq!(queue(&broker, "q").unacked, 1);
    let mut beats = 0;
    while queue(&broker, "q").ready == 0 {
        assert!(before.elapsed() < WAIT);
        assert_eq!(alive.next(), "heartbeat");
        alive.beat();
        beats += 1;
    }
    assert!(
        before.elapsed() > interval * 3 / 2,
        "{:?}",
        before.elapsed()
    );
    assert!((3..=6).contains(&beats), "{beats}");
    while silent.next() == "heartbeat" {}
    assert_eq!(broker.state().unwrap().connections, 1);
}

/// As above; this one does not even read, and so its last words cannot leave.
#[test]
fn a_client_that_neither_reads_nor_writes_is_dropped_too() {
    let broker = start_with(Driver::Epoll, |builder| {
        builder.heartbeat(Duration::from_secs(1))
    });
    let mut dead = Client::open_as(
        &broker,
        &Wishes {
            heartbeat: 1,
            ..Wishes::default()
        },
    );
    dead.declare("q");
    dead.send(
        1,
        basic::Consume {
            queue: short("q"),
            ..Default::default()
        },
    );
    let engine = connect(&broker);
    fill(&engine, "q", (0..32).map(|_| vec![b'.'; MEBIOCTET]));
    wait_for_queue(&broker, "q", |queue| {
        queue.consumers == 0 && queue.ready == 32
    });
}

#[test]
fn a_client_that_closes_is_gone_at_once() {
    let broker = start(Driver::Epoll);
    let mut client = Client::open(&broker);
    client.send(0, connection::Close::default());
    assert_eq!(client.nexts(2), ["0 connection.close-ok", "end"]);
    broker
        .wait_for(WAIT, |state| state.connections == 0)
        .unwrap();
}
