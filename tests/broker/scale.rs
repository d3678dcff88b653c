//! Much of everything at once. The numbers are large enough that anything that grows with their square would be noticed:
//! [`TIME_MAX`] is many times what the tests take without optimizations on a busy machine.

use std::time::{Duration, Instant};

use amqp_uring::protocol::{basic, channel, confirm, queue as queues};
use amqp_uring::{Driver, Queue};
use macro_rules_attribute::apply;

use super::client::{Client, publish, short};
use super::drivers::on_every_driver;
use super::support::*;

const TIME_MAX: Duration = Duration::from_secs(30);

/// Sends requests and reads so many answers, all of which are the same.
fn ask(client: &mut Client, octets: &[u8], count: usize, answer: &str) {
    // Both directions at a time, as the answers may be more than the kernel keeps.
    let mut writing = client.stream.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || std::io::Write::write_all(&mut writing, octets).unwrap());
        for number in 0..count {
            assert_eq!(client.next(), answer, "{number}");
        }
    });
}

fn encoded<'m>(
    methods: impl IntoIterator<Item = (u16, amqp_uring::protocol::Method<'m>)>,
) -> Vec<u8> {
    let mut octets = Vec::new();
    for (channel, method) in methods {
        method.encode_frame(channel, &mut octets);
    }
    octets
}

#[apply(on_every_driver!)]
fn ten_thousand_exclusive_queues_with_a_consumer_each_come_and_go(driver: Driver) {
    const QUEUES: usize = 10_000;
    let before = Instant::now();
    let broker = start(driver);
    let mut client = Client::open(&broker);
    let names: Vec<_> = (0..QUEUES).map(|number| number.to_string()).collect();
    let declares = names.iter().map(|name| {
        let declare = queues::Declare {
            queue: short(name),
            exclusive: true,
            ..Default::default()
        };
        (1, declare.into())
    });
    ask(
        &mut client,
        &encoded(declares),
        QUEUES,
        "1 queue.declare-ok",
    );
    let consumes = names.iter().map(|name| {
        let consume = basic::Consume {
            queue: short(name),
            ..Default::default()
        };
        (1, consume.into())
    });
    ask(
        &mut client,
        &encoded(consumes),
        QUEUES,
        "1 basic.consume-ok",
    );
    for name in &names {
        client.write(&publish(1, name, b"m", 4096));
    }
    for _ in 0..QUEUES {
        assert_eq!(client.nexts(3)[2], "1 body of 1");
    }
    let acks = (1..=QUEUES as u64).map(|delivery_tag| {
        let ack = basic::Ack {
            delivery_tag,
            multiple: false,
        };
        (1, ack.into())
    });
    client.write(&encoded(acks.take(QUEUES / 2)));
    broker
        .wait_for(WAIT, |state| {
            let unacked = state.queues.values().map(|queue| queue.unacked);
            unacked.sum::<u32>() as usize == QUEUES / 2
        })
        .unwrap();
    drop(client);
    broker
        .wait_for(WAIT, |state| state.queues.is_empty())
        .unwrap();
    assert!(before.elapsed() < TIME_MAX, "{:?}", before.elapsed());
}

#[apply(on_every_driver!)]
fn two_thousand_channels_consume_and_publish(driver: Driver) {
    const CHANNELS: u16 = 2000;
    let before = Instant::now();
    let broker = start(driver);
    let mut client = Client::open(&broker);
    client.declare("q");
    let opens = (2..=CHANNELS).map(|number| (number, channel::Open {}.into()));
    client.write(&encoded(opens));
    for number in 2..=CHANNELS {
        assert_eq!(client.next(), format!("{number} channel.open-ok"));
    }
    for number in 1..=CHANNELS {
        let consume = basic::Consume {
            queue: short("q"),
            no_wait: true,
            consumer_tag: short("c"),
            ..Default::default()
        };
        let select = confirm::Select { nowait: true };
        client.write(&encoded([
            (number, select.into()),
            (number, consume.into()),
        ]));
        client.write(&publish(number, "q", b"m", 4096));
    }
    // Each gets a confirm, and each a message as it is their turn: four frames.
    let frames = 4 * usize::from(CHANNELS);
    let seen = client.nexts(frames);
    let count = |what: &str| seen.iter().filter(|one| one.ends_with(what)).count();
    assert_eq!(count(" basic.ack"), usize::from(CHANNELS));
    assert_eq!(count(" body of 1"), usize::from(CHANNELS));
    assert_eq!(queue(&broker, "q").consumers, u32::from(CHANNELS));
    drop(client);
    wait_for_queue(&broker, "q", |queue| {
        queue.consumers == 0 && queue.ready == u32::from(CHANNELS)
    });
    assert!(before.elapsed() < TIME_MAX, "{:?}", before.elapsed());
}

#[apply(on_every_driver!)]
fn five_hundred_connections_share_a_queue(driver: Driver) {
    const CONNECTIONS: usize = 500;
    let before = Instant::now();
    let broker = start(driver);
    let mut clients: Vec<_> = (0..CONNECTIONS).map(|_| Client::open(&broker)).collect();
    clients[0].declare("q");
    for client in &mut clients {
        client.send(
            1,
            basic::Consume {
                queue: short("q"),
                ..Default::default()
            },
        );
        assert_eq!(client.next(), "1 basic.consume-ok");
    }
    for client in &mut clients {
        client.write(&publish(1, "q", b"m", 4096));
    }
    // Everyone has the same turns, so everyone gets one.
    for client in &mut clients {
        assert_eq!(
            client.nexts(3),
            ["1 basic.deliver", "1 header", "1 body of 1"]
        );
    }
    assert_eq!(broker.state().unwrap().connections, CONNECTIONS);
    broker.faults().reset().unwrap();
    for client in &mut clients {
        assert_eq!(client.next(), "end");
    }
    wait_for_queue(&broker, "q", |queue| queue.ready == CONNECTIONS as u32);
    assert!(before.elapsed() < TIME_MAX, "{:?}", before.elapsed());
}

#[test]
fn two_consumers_that_hold_very_much_give_it_back_in_its_order() {
    const MESSAGES: u32 = 40_000;
    let before = Instant::now();
    let broker = start(Driver::Epoll);
    let engine = connect(&broker);
    engine.declare(&Queue::transient("q")).wait(WAIT).unwrap();
    let mut holders = [Client::open(&broker), Client::open(&broker)];
    for holder in &mut holders {
        holder.send(
            1,
            basic::Consume {
                queue: short("q"),
                ..Default::default()
            },
        );
        assert_eq!(holder.next(), "1 basic.consume-ok");
    }
    fill(&engine, "q", (0..MESSAGES).map(|number| number.to_string()));
    wait_for_queue(&broker, "q", |queue| queue.unacked == MESSAGES);
    broker.faults().cancel_consumers().unwrap();
    // One after the other, so that what the second one held goes between what the first one did.
    for (holder, left) in holders.into_iter().zip([MESSAGES / 2, 0]) {
        drop(holder);
        wait_for_queue(&broker, "q", move |queue| queue.unacked == left);
    }
    let (_consumer, taken) = take(&engine, Queue::named("q"));
    for number in 0..MESSAGES {
        assert_eq!(next(&taken), (number.to_string(), true));
    }
    assert!(before.elapsed() < TIME_MAX, "{:?}", before.elapsed());
}
