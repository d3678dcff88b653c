#![allow(missing_docs)]
//! Engines in simulated worlds, with a broker that is just enough of one.

mod broker;
mod brokers;

use std::future::IntoFuture;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use amqp_uring::driver::sim::{Conditions, Fault, World, WorldStats};
use amqp_uring::{
    ConnectCause, ConnectionError, Disposition, Driver, Engine, EngineBuilder, Error, Event,
    Properties, PublisherOptions, Queue,
};

use broker::Manners;

const PATIENCE: Duration = Duration::from_secs(600);
/// What is published.
const MESSAGES: usize = 700;
const SECOND: Duration = Duration::from_secs(1);

const KIND: Manners = Manners {
    heartbeat: 10,
    is_silent: false,
};

const SILENT: Manners = Manners {
    is_silent: true,
    ..KIND
};

fn address() -> SocketAddr {
    "10.0.0.1:5672".parse().unwrap()
}

fn builder() -> EngineBuilder {
    Engine::builder().uri("amqp://10.0.0.1")
}

/// Starts an engine in a world.
fn start(world: &World, builder: EngineBuilder) -> Result<Engine, Error> {
    let call = builder.start_in(world);
    world.run(PATIENCE, call.into_future()).unwrap()
}

/// The causes of a start that failed, and how long it took.
fn failure(world: &World, builder: EngineBuilder) -> (Vec<ConnectCause>, Duration) {
    let before = world.now();
    let Err(Error::Connect(failures)) = start(world, builder) else {
        panic!("it started, or failed otherwise");
    };
    let causes = failures.into_iter().map(|failure| failure.cause).collect();
    (causes, world.now() - before)
}

/// Publishes, confirms, consumes and shuts down. Gives what was consumed, and the world's history.
fn work(seed: u64, conditions: Conditions) -> (Vec<Vec<u8>>, u64, WorldStats) {
    let world = World::new(seed);
    world.conditions(conditions);
    let shared = broker::run(&world, address(), KIND);
    let engine = start(&world, builder()).unwrap();
    let got = Arc::<Mutex<Vec<Vec<u8>>>>::default();
    let run = async {
        let sink = Arc::clone(&got);
        let consumer = engine
            .consumer(Queue::named("orders"))
            .prefetch(0)
            .start(move |delivery| {
                sink.lock().unwrap().push(delivery.body().to_vec());
                Disposition::Ack
            })
            .await?;
        let mut publisher = engine.open_publisher(PublisherOptions::default()).await?;
        for number in 0..MESSAGES {
            let body = vec![number as u8; number * 7 % 20_000];
            publisher.ready().await;
            publisher.try_publish("", "orders", &Properties::default(), body)?;
        }
        let report = publisher.confirmed().await?;
        assert_eq!(report.counts.acked, MESSAGES as u64);
        while got.lock().unwrap().len() < MESSAGES {
            world.sleep(Duration::from_millis(1)).await;
        }
        // Long enough for many heartbeats.
        world.sleep(SECOND * 300).await;
        publisher.close().await?;
        consumer.cancel().await?;
        engine.close(SECOND * 5).await
    };
    world.run(PATIENCE, run).unwrap().unwrap();
    assert_eq!(shared.borrow().acked, MESSAGES as u64, "{seed}");
    let got = std::mem::take(&mut *got.lock().unwrap());
    (got, world.fingerprint(), world.stats())
}

#[test]
fn an_engine_publishes_with_confirms_and_consumes_over_simulated_time() {
    for seed in 0..3 {
        let (got, _, stats) = work(seed, Conditions::default());
        for (number, body) in got.iter().enumerate() {
            assert!(*body == vec![number as u8; number * 7 % 20_000], "{seed}");
        }
        assert!(stats.time >= SECOND * 300);
    }
}

#[test]
fn an_engine_works_over_a_narrow_and_slow_network() {
    let narrow = Conditions {
        latency: Duration::from_millis(1)..=Duration::from_millis(80),
        octets_per_second: Some(1_000_000),
        send_octets: 5_000,
        receive_octets: 5_000,
        parcel_octets: 3_000,
        short_one_in: 2,
    };
    let (got, _, _) = work(1, narrow);
    assert_eq!(got.len(), MESSAGES);
}

#[test]
fn one_seed_gives_an_engine_one_history() {
    let first = work(7, Conditions::default());
    assert!(first == work(7, Conditions::default()));
    assert_ne!(first.1, work(8, Conditions::default()).1);
}

#[test]
fn a_silent_peer_is_dead_after_exactly_two_missed_heartbeats() {
    let world = World::new(1);
    let _broker = broker::run(&world, address(), SILENT);
    let events = Arc::<Mutex<Vec<Event>>>::default();
    let told = Arc::clone(&events);
    let builder = builder().on_event(move |event| told.lock().unwrap().push(event.clone()));
    let engine = start(&world, builder).unwrap();
    // The broker's last octets have opened the connection.
    let opened_at = world.now();
    world
        .run_until(PATIENCE, || !events.lock().unwrap().is_empty())
        .unwrap();
    assert_eq!(world.now() - opened_at, SECOND * 20);
    let lost = events.lock().unwrap().remove(0);
    let interval = SECOND * 10;
    let expected = Event::ConnectionLost {
        worker: 0,
        cause: ConnectionError::HeartbeatMissed { interval },
    };
    assert_eq!(format!("{lost:?}"), format!("{expected:?}"));
    drop(engine);
}

#[test]
fn a_handler_that_works_for_long_does_not_take_its_own_time_for_the_brokers() {
    let world = World::new(1);
    let shared = broker::run(&world, address(), KIND);
    shared
        .borrow_mut()
        .queue
        .extend([vec![1], vec![2], vec![3]]);
    let events = Arc::<Mutex<Vec<Event>>>::default();
    let told = Arc::clone(&events);
    let builder = builder().on_event(move |event| told.lock().unwrap().push(event.clone()));
    let engine = start(&world, builder).unwrap();
    let (clock, work) = (world.clock(), SECOND * 25);
    let began_at = Arc::<Mutex<Vec<Instant>>>::default();
    let began = Arc::clone(&began_at);
    let consumer = engine.consumer(Queue::named("orders")).start(move |_| {
        began.lock().unwrap().push(clock.now());
        clock.spend(work);
        Disposition::Ack
    });
    let consumer = world.run(PATIENCE, consumer.into_future()).unwrap();
    world
        .run_until(PATIENCE, || shared.borrow().acked == 3)
        .unwrap();
    let began_at = began_at.lock().unwrap();
    assert!(began_at.windows(2).all(|pair| pair[1] - pair[0] >= work));
    assert!(events.lock().unwrap().is_empty());
    drop(consumer);
}

#[test]
fn an_idle_engine_lives_for_a_thousand_simulated_hours() {
    let world = World::new(1);
    let manners = Manners {
        heartbeat: 600,
        ..KIND
    };
    let _broker = broker::run(&world, address(), manners);
    let minutes = Duration::from_secs(600);
    let engine = start(&world, builder().heartbeat(minutes)).unwrap();
    world.run_for(SECOND * 3600 * 1000).unwrap();
    let shutdown = world.run(PATIENCE, engine.close(SECOND * 5)).unwrap();
    assert_eq!(shutdown, Ok(()));
    assert_eq!(world.stats().connections, 1);
}

#[test]
fn a_connect_into_a_black_hole_times_out_to_the_nanosecond() {
    let world = World::new(1);
    let _broker = broker::run(&world, address(), KIND);
    world.inject(address(), Fault::BlackHole);
    let timeout = Duration::from_nanos(7_000_000_001);
    let (causes, took) = failure(&world, builder().connect_timeout(timeout));
    assert_eq!(took, timeout);
    assert!(
        matches!(causes[..], [ConnectCause::Timeout(after)] if after == timeout),
        "{causes:?}"
    );
    world.heal();
    start(&world, builder().connect_timeout(timeout)).unwrap();
}

#[test]
fn hosts_are_those_that_the_world_knows() {
    let world = World::new(1);
    let _broker = broker::run(&world, address(), KIND);
    let by_name = || Engine::builder().uri("amqp://broker.example");
    let (causes, took) = failure(&world, by_name());
    assert_eq!(took, Duration::ZERO);
    assert!(
        matches!(causes[..], [ConnectCause::Resolve(_)]),
        "{causes:?}"
    );
    // Nobody listens at the first of its addresses.
    let addresses = ["10.0.0.2", "10.0.0.1"].map(|address| address.parse().unwrap());
    world.name("broker.example", addresses);
    start(&world, by_name()).unwrap();
}

#[test]
fn a_shutdown_that_is_not_answered_ends_when_its_simulated_time_is_up() {
    let world = World::new(1);
    let _broker = broker::run(&world, address(), SILENT);
    // Simulated time is far from the system's by then.
    world.run_for(SECOND * 1_000_000).unwrap();
    let engine = start(&world, builder()).unwrap();
    let (before, timeout) = (world.now(), SECOND * 3);
    let outcome = world.run(PATIENCE, engine.close(timeout)).unwrap();
    assert!(
        matches!(outcome, Err(Error::ShutdownIncomplete { .. })),
        "{outcome:?}"
    );
    assert_eq!(world.now() - before, timeout);
}

#[test]
fn after_a_reset_the_next_operation_connects_again() {
    let world = World::new(1);
    let _broker = broker::run(&world, address(), KIND);
    let engine = start(&world, builder()).unwrap();
    world.inject(address(), Fault::Reset);
    let run = async {
        let mut publisher = engine.open_publisher(PublisherOptions::default()).await?;
        world.inject(address(), Fault::Reset);
        publisher.try_publish("", "orders", &Properties::default(), "lost")?;
        let report = publisher.confirmed().await?;
        assert_eq!(report.counts.acked, 0);
        let mut publisher = engine.open_publisher(PublisherOptions::default()).await?;
        publisher.try_publish("", "orders", &Properties::default(), "not lost")?;
        publisher.confirmed().await
    };
    let report = world.run(PATIENCE, run).unwrap().unwrap();
    assert_eq!(report.counts.acked, 1);
}

#[test]
fn an_engine_and_its_world_may_end_in_any_order() {
    for world_first in [true, false] {
        let world = World::new(1);
        let _broker = broker::run(&world, address(), KIND);
        let engine = start(&world, builder().workers(3)).unwrap();
        let before = Instant::now();
        if world_first {
            drop(world);
            let operation = engine.declare(&Queue::named("orders")).wait(SECOND);
            assert!(matches!(operation, Err(Error::Stopped)), "{operation:?}");
            drop(engine);
        } else {
            drop(engine);
            world.run_for(SECOND * 10).unwrap();
            assert!(
                world.wires(address()).is_empty(),
                "its connections are closed"
            );
        }
        assert!(
            before.elapsed() < SECOND * 2,
            "nobody waits for the system's clock"
        );
    }
}

#[test]
fn an_engine_whose_workers_never_ran_ends_with_its_world() {
    let before = Instant::now();
    let world = World::new(1);
    let call = builder().workers(2).start_in(&world);
    drop((world, call));
    let world = World::new(1);
    let call = builder().workers(2).start_in(&world);
    drop(call);
    drop(world);
    assert!(
        before.elapsed() < SECOND * 2,
        "nobody waits for the system's clock"
    );
}

#[test]
fn what_does_not_fit_a_world_is_refused() {
    let world = World::new(1);
    for (builder, parameter) in [
        (builder().driver(Driver::Epoll), "driver"),
        (builder().pin_workers([0]), "pin_workers"),
    ] {
        let error = start(&world, builder).unwrap_err();
        assert!(
            matches!(error, Error::Parameter { what, .. } if what == parameter),
            "{error:?}"
        );
    }
    let started = builder().driver(Driver::Sim).start().wait(SECOND);
    assert!(matches!(started, Err(Error::Driver(_))), "{started:?}");
}
