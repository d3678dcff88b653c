//! The end of an engine: by the protocol, in time, and without a trace.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use amqp_uring::{
    Disposition, Driver, Engine, Error, Outcome, Properties, PublisherOptions, Queue,
};
use macro_rules_attribute::apply;

use super::alone::{runs_alone, variant};
use super::on_every_driver;
use super::proxy::Proxy;
use super::support::{Scratch, WAIT, builder, connect, node, receive, wait_until};

const NONE: Properties = Properties::empty();

/// The names of this process's threads.
pub fn threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .collect()
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_shutdown_sends_every_ack(driver: Driver) {
    const MESSAGES: u32 = 2000;
    let scratch = Scratch::new(driver);
    let queue = scratch.queue("acks");
    scratch.fill(&queue, MESSAGES);
    let engine = connect(driver);
    let (sender, receiver) = channel();
    let mut held = Vec::new();
    engine
        .consumer(Queue::named(&queue))
        .prefetch(0)
        .start(move |delivery| {
            // Every other one, and so the last one, is answered later.
            if delivery.delivery_tag() % 2 == 0 {
                held.push(delivery.detach());
                if held.len() * 2 == MESSAGES as usize {
                    let _ = sender.send(std::mem::take(&mut held));
                }
                return Disposition::Detached;
            }
            Disposition::Ack
        })
        .wait(WAIT)
        .unwrap();
    for held in receive(&receiver, 1).remove(0) {
        held.acker.ack().unwrap();
    }
    engine.shutdown(WAIT).unwrap();
    assert_eq!(scratch.depth(&queue), 0);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_shutdown_waits_for_every_confirm(driver: Driver) {
    let scratch = Scratch::new(driver);
    let queue = scratch.queue("confirms");
    let engine = connect(driver);
    let mut publisher = engine.publisher(PublisherOptions::default()).unwrap();
    let mut receipts: Vec<_> = (0..5000)
        .map(|_| publisher.publish("", &queue, &NONE, "x").unwrap())
        .collect();
    let mut unconfirmed = engine.unconfirmed_publisher(Default::default()).unwrap();
    for _ in 0..5000 {
        unconfirmed.publish("", &queue, &NONE, "x").unwrap();
    }
    engine.shutdown(WAIT).unwrap();
    for receipt in &mut receipts {
        assert_eq!(receipt.try_outcome(), Ok(Some(Outcome::Acked)));
    }
    // Without confirms, the broker has read every message, and hands them to their queue in its own time.
    wait_until("every message", || scratch.depth(&queue) == 10_000);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_shutdown_lets_detached_deliveries_be_answered(driver: Driver) {
    let scratch = Scratch::new(driver);
    let queue = scratch.queue("detached");
    scratch.fill(&queue, 10);
    let engine = connect(driver);
    let (sender, receiver) = channel();
    engine
        .consume(Queue::named(&queue), move |delivery| {
            let _ = sender.send(delivery.detach());
            Disposition::Detached
        })
        .unwrap();
    let held = receive(&receiver, 10);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let ending = scope.spawn(|| {
            let result = engine.shutdown(WAIT);
            is_over.store(true, Ordering::SeqCst);
            result
        });
        for held in held {
            assert!(!is_over.load(Ordering::SeqCst));
            held.acker.ack().unwrap();
        }
        ending.join().unwrap().unwrap();
    });
    assert_eq!(scratch.depth(&queue), 0);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_delivery_that_is_held_for_ever_does_not_hold_the_shutdown(driver: Driver) {
    let scratch = Scratch::new(driver);
    let queue = scratch.queue("held");
    scratch.fill(&queue, 3);
    let engine = connect(driver);
    let (sender, receiver) = channel();
    engine
        .consume(Queue::named(&queue), move |delivery| {
            let _ = sender.send(delivery.detach());
            Disposition::Detached
        })
        .unwrap();
    let mut held = receive(&receiver, 3);
    held.remove(0).acker.ack().unwrap();
    let timeout = Duration::from_millis(300);
    let start = Instant::now();
    let error = engine.shutdown(timeout).unwrap_err();
    assert!(
        start.elapsed() < timeout + Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    let Error::ShutdownIncomplete { left, .. } = &error else {
        panic!("{error:?}");
    };
    assert!(left.contains("1 consumers"), "{left}");
    // What was answered has been sent, the rest comes again.
    assert_eq!(held.pop().unwrap().acker.ack(), Err(Error::Stopped));
    let again = scratch.take(&queue, 2);
    assert!(again.iter().all(|taken| taken.redelivered));
    assert_eq!([again[0].text(), again[1].text()], ["1", "2"]);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_broker_that_does_not_answer_does_not_hold_the_shutdown(driver: Driver) {
    let proxy = Proxy::start();
    let scratch = Scratch::new(driver);
    let queue = scratch.queue("silent");
    let engine = proxy.builder(driver).workers(2);
    let engine = engine.start().wait(WAIT).unwrap();
    engine
        .consume(Queue::named(&queue), |_| Disposition::Ack)
        .unwrap();
    let mut publisher = engine.publisher(PublisherOptions::default()).unwrap();
    proxy.hold();
    let mut receipt = publisher.publish("", &queue, &NONE, "x").unwrap();
    let declared = engine.declare(&Queue::server_named());
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
    assert_eq!(receipt.wait(Duration::ZERO), Ok(Outcome::Unknown));
    assert!(declared.wait(Duration::ZERO).is_err());
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_shutdown_with_no_time_returns_at_once(driver: Driver) {
    let engine = connect(driver);
    let start = Instant::now();
    let _ = engine.shutdown(Duration::ZERO);
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_publisher_that_goes_on_does_not_hold_the_shutdown(driver: Driver) {
    let scratch = Scratch::new(driver);
    let queue = scratch.queue("goes-on");
    let engine = connect(driver);
    let mut publisher = engine.publisher(PublisherOptions::default()).unwrap();
    thread::scope(|scope| {
        let (sender, receiver) = channel();
        let publishing = scope.spawn(move || {
            let mut accepted = 0u64;
            loop {
                match publisher.publish("", &queue, &NONE, "x") {
                    Ok(_) => accepted += 1,
                    Err(error) => break (publisher, accepted, error, queue),
                }
                if accepted == 1000 {
                    sender.send(()).unwrap();
                }
            }
        });
        receive(&receiver, 1);
        engine.shutdown(WAIT).unwrap();
        let (mut publisher, accepted, error, queue) = publishing.join().unwrap();
        assert_eq!(error, Error::Stopped);
        // What was accepted has been confirmed, to the last message.
        let counts = publisher.wait_for_confirms(WAIT).unwrap().counts;
        assert_eq!((counts.acked, counts.total()), (accepted, accepted));
        assert_eq!(u64::from(scratch.depth(&queue)), accepted);
    });
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_dropped_engine_shuts_itself_down(driver: Driver) {
    let scratch = Scratch::new(driver);
    let queue = scratch.queue("dropped");
    let engine = connect(driver);
    let reasons = super::support::Reasons::new();
    engine
        .consumer(Queue::named(&queue))
        .on_cancel(reasons.note())
        .start(|_| Disposition::Ack)
        .wait(WAIT)
        .unwrap();
    let mut publisher = engine.publisher(PublisherOptions::default()).unwrap();
    let mut receipt = publisher.publish("", &queue, &NONE, "x").unwrap();
    drop(engine);
    assert_eq!(receipt.try_outcome(), Ok(Some(Outcome::Acked)));
    assert_eq!(reasons.now(), [amqp_uring::CancelReason::Shutdown]);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn an_engine_can_be_closed_twice(driver: Driver) {
    let engine = connect(driver);
    super::support::block_on(engine.close(WAIT)).unwrap();
    let later = engine.declare(&Queue::server_named()).wait(WAIT);
    assert_eq!(later, Err(Error::Stopped));
    let refused = engine.publisher(PublisherOptions::default()).map(drop);
    assert_eq!(refused, Err(Error::Stopped));
    engine.shutdown(WAIT).unwrap();
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn an_engine_dropped_by_its_own_handler_ends(driver: Driver) {
    let scratch = Scratch::new(driver);
    let queue = scratch.queue("own-handler");
    scratch.fill(&queue, 1);
    let name = "drops-itself";
    let builder = builder(driver).connection_name(name);
    let engine = builder.start().wait(WAIT).unwrap();
    let (sender, receiver) = channel::<Engine>();
    let consumer = engine.consumer(Queue::named(&queue));
    let start = consumer.start(move |_| {
        drop(receiver.recv_timeout(WAIT));
        Disposition::Ack
    });
    sender.send(engine).unwrap();
    let _ = start.wait(WAIT);
    wait_until("the end of its worker", || {
        !threads().iter().any(|thread| thread.starts_with(name))
    });
    wait_until("its last ack", || scratch.depth(&queue) == 0);
}

/// Threads, and descriptors.
fn held_by_process() -> (usize, usize) {
    let count = |path: &str| std::fs::read_dir(path).unwrap().count();
    (count("/proc/self/task"), count("/proc/self/fd"))
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn fifty_engines_leave_no_threads_and_no_descriptors(driver: Driver) {
    let test = variant(
        "shutdown::fifty_engines_leave_no_threads_and_no_descriptors",
        driver,
    );
    if runs_alone(&test, &[]) {
        return;
    }
    let queue = super::support::unique("fifty");
    let use_engine = |number: usize| {
        let engine = connect(driver);
        let consumed = Queue::transient(&queue).auto_delete(true);
        engine.consume(consumed, |_| Disposition::Ack).unwrap();
        let mut publisher = engine.publisher(PublisherOptions::default()).unwrap();
        publisher.publish("", &queue, &NONE, "x").unwrap();
        match number % 3 {
            0 => engine.shutdown(WAIT).unwrap(),
            1 => drop(engine),
            // The worker ends by itself; nobody waits for it.
            _ => drop(engine.shutdown(Duration::ZERO)),
        }
    };
    use_engine(0);
    let before = held_by_process();
    (1..=50).for_each(use_engine);
    wait_until("what there was before", || held_by_process() == before);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn failed_starts_leave_no_threads_and_no_descriptors(driver: Driver) {
    let test = variant(
        "shutdown::failed_starts_leave_no_threads_and_no_descriptors",
        driver,
    );
    if runs_alone(&test, &[]) {
        return;
    }
    let fail = |number: usize| {
        let node = match number % 2 {
            0 => node().with_port(1),
            _ => node().with_vhost("no-such-host"),
        };
        let started = Engine::builder()
            .node(node)
            .driver(driver)
            .workers(2)
            .start();
        assert!(started.wait(WAIT).is_err());
    };
    // A runtime has descriptors that the process keeps once it has had one.
    fail(0);
    let before = held_by_process();
    (1..=4).for_each(fail);
    // The workers of the first one may still have been about to end.
    wait_until("no more than there was before", || {
        let now = held_by_process();
        now.0 <= before.0 && now.1 <= before.1
    });
}
