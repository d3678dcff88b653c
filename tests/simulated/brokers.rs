//! The broker in a simulated world.

use std::future::IntoFuture;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use amqp_uring::broker::{Broker, BrokerError, Contents, SimBroker, Tap};
use amqp_uring::driver::sim::{Conditions, Fault, World};
use amqp_uring::protocol::{Decoded, Frame, PROTOCOL_HEADER};
use amqp_uring::{
    ConnectionError, Disposition, Engine, Error, Outcome, Properties, PublisherOptions, Queue,
    ReplyCode,
};

use super::{PATIENCE, SECOND, address, start};

fn broker(world: &World) -> SimBroker {
    Broker::builder().listen(address()).start_in(world).unwrap()
}

fn engine(world: &World, broker: &SimBroker) -> Engine {
    start(world, Engine::builder().uri(broker.uri())).unwrap()
}

/// Publishes a persistent message to a durable queue, with its outcome.
async fn publish(engine: &Engine, queue: &str, body: &str) -> Result<Outcome, Error> {
    let options = PublisherOptions::default();
    let mut publisher = engine.open_publisher(options).await?;
    engine.declare(&Queue::durable(queue)).await?;
    let receipt = publisher.try_publish("", queue, &Properties::persistent(), body)?;
    receipt.await
}

#[test]
fn an_engine_and_a_broker_live_in_one_world() {
    let world = World::new(1);
    let broker = broker(&world);
    let engine = engine(&world, &broker);
    let got = Arc::<Mutex<Vec<String>>>::default();
    let sink = Arc::clone(&got);
    let run = async {
        assert_eq!(publish(&engine, "orders", "one").await?, Outcome::Acked);
        let consumer = engine
            .consumer(Queue::durable("orders"))
            .start(move |order| {
                let body = String::from_utf8_lossy(order.body()).into_owned();
                sink.lock().unwrap().push(body);
                Disposition::Ack
            });
        let consumer = consumer.await?;
        while got.lock().unwrap().is_empty() {
            world.sleep(SECOND / 1000).await;
        }
        consumer.cancel().await?;
        engine.close(SECOND).await
    };
    world.run(PATIENCE, run).unwrap().unwrap();
    assert_eq!(*got.lock().unwrap(), ["one"]);
    let state = world.run(PATIENCE, broker.state()).unwrap().unwrap();
    assert_eq!((state.connections, state.totals.delivered), (0, 1));
    let orders = state.queue("orders").unwrap();
    assert_eq!((orders.ready, orders.unacked, orders.consumers), (0, 0, 0));
}

#[test]
fn a_restart_resets_connections_and_keeps_what_is_durable_or_nothing() {
    for (contents, kept) in [(Contents::Durable, Some(1)), (Contents::Nothing, None)] {
        let world = World::new(1);
        let broker = broker(&world);
        let engine = engine(&world, &broker);
        let run = async {
            let outcome = publish(&engine, "orders", "one").await;
            assert_eq!(outcome, Ok(Outcome::Acked));
            broker.restart(contents).await.unwrap();
            broker.state().await.unwrap()
        };
        let state = world.run(PATIENCE, run).unwrap();
        assert_eq!(state.connections, 0);
        assert_eq!(state.queue("orders").map(|orders| orders.ready), kept);
        // The engine has found out, and connects again.
        world.run_for(SECOND).unwrap();
        let outcome = world.run(PATIENCE, publish(&engine, "orders", "two"));
        assert_eq!(outcome, Ok(Ok(Outcome::Acked)));
    }
}

#[test]
fn faults_of_the_broker_are_in_effect_from_its_next_turn_on() {
    let world = World::new(1);
    let broker = broker(&world);
    let engine = engine(&world, &broker);
    broker.faults().reset().unwrap();
    world
        .run_until(PATIENCE, || world.wires(address()).is_empty())
        .unwrap();
    broker.faults().refuse_connections(true).unwrap();
    let refused = world
        .run(PATIENCE, publish(&engine, "orders", "one"))
        .unwrap();
    assert!(matches!(refused, Err(Error::Connect(_))), "{refused:?}");
    broker.faults().refuse_connections(false).unwrap();
    let published = world.run(PATIENCE, publish(&engine, "orders", "one"));
    assert_eq!(published, Ok(Ok(Outcome::Acked)));
    broker.faults().half_close().unwrap();
    world
        .run_until(PATIENCE, || world.wires(address()).is_empty())
        .unwrap();
}

#[test]
fn a_world_has_one_listener_at_an_address_and_a_dropped_broker_leaves_it() {
    let world = World::new(1);
    let first = broker(&world);
    let second = Broker::builder().listen(address()).start_in(&world);
    assert!(
        matches!(second, Err(BrokerError::AddressInUse(_))),
        "{second:?}"
    );
    let engine = engine(&world, &first);
    drop(first);
    world
        .run_until(PATIENCE, || world.wires(address()).is_empty())
        .unwrap();
    let _second = broker(&world);
    let published = world.run(PATIENCE, publish(&engine, "orders", "one"));
    assert_eq!(published, Ok(Ok(Outcome::Acked)));
}

#[test]
fn what_waits_for_a_connection_that_is_closed_as_it_opens_learns_of_its_loss() {
    let world = World::new(1);
    world.conditions(Conditions {
        short_one_in: 0,
        ..Conditions::default()
    });
    let broker = broker(&world);
    let engine = engine(&world, &broker);
    broker.faults().reset().unwrap();
    world
        .run_until(PATIENCE, || world.wires(address()).is_empty())
        .unwrap();
    let consumer = engine.consumer(Queue::durable("orders"));
    let consumer = consumer.start(|_| Disposition::Ack);
    while world
        .run(PATIENCE, broker.state())
        .unwrap()
        .unwrap()
        .connections
        == 0
    {
        world.run_for(Duration::from_micros(10)).unwrap();
    }
    // open-ok is on its way, and connection.close overtakes nothing but arrives with it.
    world.inject(address(), Fault::Stall(SECOND));
    let code = ReplyCode::ConnectionForced;
    broker
        .faults()
        .close_connections(code, "simulated")
        .unwrap();
    let error = world.run(PATIENCE, consumer.into_future()).unwrap();
    let error = error.expect_err("nothing was started");
    let is_forced = |cause: &ConnectionError| matches!(cause, ConnectionError::ClosedByBroker(reason) if reason.reply_code() == Some(code));
    assert!(
        matches!(&error, Error::ConnectionLost { cause, .. } if is_forced(cause)),
        "{error:?}"
    );
}

/// What a tap has heard: connections that came and went, and whole frames of each direction.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    opened: usize,
    closed: usize,
    received: usize,
    sent: usize,
}

struct Ear(Arc<Mutex<Heard>>);

fn frames(mut octets: &[u8]) -> usize {
    let mut frames = 0;
    while !octets.is_empty() {
        let Ok(Decoded::Frame { octets: size, .. }) = Frame::decode(octets, u32::MAX) else {
            panic!("a frame in pieces");
        };
        octets = &octets[size..];
        frames += 1;
    }
    frames
}

impl Tap for Ear {
    fn opened(&mut self, _: u32) {
        self.0.lock().unwrap().opened += 1;
    }

    fn received(&mut self, _: u32, octets: &[u8]) {
        let octets = octets.strip_prefix(&PROTOCOL_HEADER).unwrap_or(octets);
        self.0.lock().unwrap().received += frames(octets);
    }

    fn sent(&mut self, _: u32, octets: &[u8]) {
        self.0.lock().unwrap().sent += frames(octets);
    }

    fn closed(&mut self, _: u32) {
        self.0.lock().unwrap().closed += 1;
    }
}

#[test]
fn a_tap_hears_whole_frames_and_connections_come_and_go() {
    let world = World::new(1);
    // Nothing arrives in one piece.
    world.conditions(Conditions {
        parcel_octets: 3,
        ..Conditions::default()
    });
    let broker = broker(&world);
    let heard = Arc::<Mutex<Heard>>::default();
    broker.tap(Ear(Arc::clone(&heard))).unwrap();
    let engine = engine(&world, &broker);
    world.run(PATIENCE, engine.close(SECOND)).unwrap().unwrap();
    world.run_for(SECOND).unwrap();
    let expected = Heard {
        opened: 1,
        closed: 1,
        // start-ok, tune-ok, open and close, and what they answer or are answered with.
        received: 4,
        sent: 4,
    };
    assert_eq!(*heard.lock().unwrap(), expected);
}
