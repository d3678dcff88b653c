//! Batches: what is lost, kept and given back when lines break and consumers end.

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use amqp_uring::driver::Options;
use amqp_uring::{
    BatchPolicy, CancelReason, Consumer, DetachedBatch, Disposition, Driver, Error, Properties,
    PublisherOptions, Queue,
};
use macro_rules_attribute::apply;

use super::{ENDLESS, INPUT, Scene, WAIT, numbers, on_every_driver};

/// A consumer whose batches are all taken along.
fn detach(scene: &Scene, policy: BatchPolicy) -> (Consumer, Receiver<DetachedBatch>) {
    let (sender, receiver) = channel();
    let consumer = scene
        .engine
        .consume_batches(Queue::named(INPUT), policy, move |batch| {
            let _ = sender.send(batch.detach());
            Disposition::Detached
        })
        .unwrap();
    (consumer, receiver)
}

fn bodies(batch: &DetachedBatch) -> Vec<String> {
    let text = |body: &[u8]| String::from_utf8_lossy(body).into_owned();
    batch.iter().map(|d| text(d.body())).collect()
}

#[apply(on_every_driver!)]
fn a_batch_is_handed_over_when_half_of_the_window_is_in_it(driver: Driver) {
    let scene = Scene::new(driver, 30);
    let (sender, batches) = channel();
    let _consumer = scene
        .engine
        .consumer(Queue::named(INPUT))
        .prefetch(20)
        .batches(ENDLESS, move |batch| {
            let _ = sender.send(batch.detach());
            Disposition::Detached
        })
        .wait(WAIT)
        .unwrap();
    let first = batches.recv_timeout(WAIT).unwrap();
    let second = batches.recv_timeout(WAIT).unwrap();
    assert_eq!(bodies(&first), numbers(0..10));
    assert_eq!(bodies(&second), numbers(10..20));
    scene.await_input(10, 20);
    // Out of order: what comes after them is not held up.
    second.acker.ack().unwrap();
    let third = batches.recv_timeout(WAIT).unwrap();
    assert_eq!(bodies(&third), numbers(20..30));
    third.acker.ack().unwrap();
    first.acker.ack().unwrap();
    scene.await_input(0, 0);
}

#[apply(on_every_driver!)]
fn a_batch_that_is_not_full_is_handed_over_in_time(driver: Driver) {
    let scene = Scene::new(driver, 3);
    let wait_max = Duration::from_millis(20);
    let (_consumer, batches) = detach(
        &scene,
        BatchPolicy {
            wait_max,
            ..ENDLESS
        },
    );
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let batch = batches.recv_timeout(WAIT).unwrap();
        seen.extend(bodies(&batch));
        batch.acker.ack().unwrap();
    }
    assert_eq!(seen, numbers(0..3));
    scene.await_input(0, 0);
}

#[apply(on_every_driver!)]
fn cancelling_hands_over_what_was_collected(driver: Driver) {
    let scene = Scene::new(driver, 7);
    let (consumer, batches) = detach(&scene, ENDLESS);
    scene.await_read(7);
    consumer.cancel().wait(WAIT).unwrap();
    assert_eq!(consumer.cancel_reason(), Some(CancelReason::Requested));
    let collected = batches.try_recv().unwrap();
    assert_eq!(bodies(&collected), numbers(0..7));
    scene.await_input(0, 7);
    collected.acker.ack().unwrap();
    scene.await_input(0, 0);
    assert!(batches.try_recv().is_err(), "the handler is gone");
}

#[apply(on_every_driver!)]
fn a_shutdown_hands_over_what_was_collected_and_waits_for_its_answer(driver: Driver) {
    let scene = Scene::new(driver, 5);
    let (consumer, batches) = detach(&scene, ENDLESS);
    scene.await_read(5);
    let answering = std::thread::spawn(move || {
        let batch = batches.recv_timeout(WAIT).unwrap();
        batch.acker.ack().unwrap();
        batch.deliveries.len()
    });
    let Scene { broker, engine } = scene;
    engine.shutdown(WAIT).unwrap();
    assert_eq!(answering.join().unwrap(), 5);
    assert_eq!(consumer.cancel_reason(), Some(CancelReason::Shutdown));
    let state = broker.state().unwrap();
    let queue = state.queue(INPUT).unwrap();
    assert_eq!((queue.ready, queue.unacked), (0, 0));
}

#[apply(on_every_driver!)]
fn the_brokers_cancel_hands_over_what_was_collected(driver: Driver) {
    let scene = Scene::new(driver, 12);
    let policy = BatchPolicy {
        messages_max: 10,
        ..ENDLESS
    };
    let (sender, reasons) = channel();
    let (batches_in, batches) = channel();
    let _consumer = scene
        .engine
        .consumer(Queue::named(INPUT))
        .on_cancel(move |reason| drop(sender.send(reason.clone())))
        .batches(policy, move |batch| {
            let _ = batches_in.send(batch.detach());
            Disposition::Detached
        })
        .wait(WAIT)
        .unwrap();
    let first = batches.recv_timeout(WAIT).unwrap();
    assert_eq!(bodies(&first), numbers(0..10));
    scene.await_read(12);
    let delete = amqp_uring::DeleteIf::Always;
    scene.engine.delete_queue(INPUT, delete).wait(WAIT).unwrap();
    assert_eq!(reasons.recv_timeout(WAIT).unwrap(), CancelReason::ByBroker);
    let rest = batches.try_recv().unwrap();
    assert_eq!(bodies(&rest), numbers(10..12));
    first.acker.ack().unwrap();
    rest.acker.ack().unwrap();
}

#[apply(on_every_driver!)]
fn a_lost_line_loses_no_message_and_acks_none_that_is_not_answered(driver: Driver) {
    let scene = Scene::new(driver, 25);
    let policy = BatchPolicy {
        messages_max: 10,
        ..ENDLESS
    };
    let (consumer, batches) = detach(&scene, policy);
    let answered = batches.recv_timeout(WAIT).unwrap();
    let out = batches.recv_timeout(WAIT).unwrap();
    scene.await_read(25);
    answered.acker.ack().unwrap();
    scene.await_input(0, 15);
    scene.broker.faults().reset().unwrap();
    // The batch that is out comes too late, and the one that was being filled was never handed over.
    scene.await_input(15, 0);
    assert!(
        batches.recv_timeout(WAIT).is_err(),
        "the handler is dropped"
    );
    assert!(matches!(
        consumer.cancel_reason(),
        Some(CancelReason::ConnectionLost(_))
    ));
    out.acker.ack().unwrap();
    let all = BatchPolicy {
        messages_max: 15,
        ..ENDLESS
    };
    let (_consumer, batches) = detach(&scene, all);
    let again = batches.recv_timeout(WAIT).unwrap();
    assert_eq!(bodies(&again), numbers(10..25));
    assert!(again.iter().all(|delivery| delivery.redelivered()));
    again.acker.ack().unwrap();
    scene.await_input(0, 0);
}

#[apply(on_every_driver!)]
fn a_consumer_without_acks_gets_its_batch_when_the_line_is_lost(driver: Driver) {
    let scene = Scene::new(driver, 9);
    let (sender, batches) = channel();
    let _consumer = scene
        .engine
        .consumer(Queue::named(INPUT))
        .no_ack(true)
        .batches(ENDLESS, move |batch| {
            let _ = sender.send(batch.detach());
            Disposition::Detached
        })
        .wait(WAIT)
        .unwrap();
    scene.await_read(0);
    scene.broker.faults().reset().unwrap();
    let batch = batches.recv_timeout(WAIT).unwrap();
    assert_eq!(bodies(&batch), numbers(0..9));
}

#[apply(on_every_driver!)]
fn a_panic_in_a_batch_handler_requeues_everything_that_it_held(driver: Driver) {
    let scene = Scene::new(driver, 10);
    let (sender, reasons) = channel();
    let (held_in, held) = channel();
    let policy = BatchPolicy {
        messages_max: 4,
        ..ENDLESS
    };
    let _consumer = scene
        .engine
        .consumer(Queue::named(INPUT))
        .on_cancel(move |reason| drop(sender.send(reason.clone())))
        .batches(policy, move |batch| {
            assert!(batch[0].body() != b"4", "on purpose");
            held_in.send(batch.detach()).unwrap();
            Disposition::Detached
        })
        .wait(WAIT)
        .unwrap();
    let reason = reasons.recv_timeout(WAIT).unwrap();
    assert_eq!(reason, CancelReason::HandlerPanicked);
    scene.await_input(10, 0);
    assert_eq!(bodies(&held.try_recv().unwrap()), numbers(0..4));
}

#[apply(on_every_driver!)]
fn views_in_a_batch_do_not_stop_the_reading(driver: Driver) {
    const BODY: usize = 40_000;
    const MESSAGES: usize = 600;
    let scene = Scene::new(driver, 0);
    let mut publisher = scene.engine.publisher(PublisherOptions::default()).unwrap();
    for number in 0..MESSAGES {
        let body = vec![number as u8; BODY];
        let properties = Properties::persistent();
        publisher.publish("", INPUT, &properties, body).unwrap();
    }
    publisher.wait_for_confirms(WAIT).unwrap();
    // 24 MB in one batch: far more than all receive chunks together.
    let policy = BatchPolicy {
        messages_max: MESSAGES,
        ..ENDLESS
    };
    let (_consumer, batches) = detach(&scene, policy);
    let mut seen = 0;
    while seen < MESSAGES {
        let batch = batches.recv_timeout(WAIT).unwrap();
        for delivery in batch.iter() {
            assert!(*delivery.body() == [seen as u8; BODY]);
            seen += 1;
        }
        batch.acker.ack().unwrap();
    }
    scene.await_input(0, 0);
}

#[apply(on_every_driver!)]
fn a_batch_that_holds_all_receive_chunks_is_handed_over_early(driver: Driver) {
    let two_small_ones = Options {
        chunks: 2,
        chunk_octets: 4096,
        plain_chunks: 2,
        plain_chunk_octets: 4096,
        ..Options::default()
    };
    let scene = Scene::built(driver, 1000, |builder| {
        builder.driver_options(two_small_ones)
    });
    let (sender, bodies) = channel();
    let _consumer = scene
        .engine
        .consume_batches(Queue::named(INPUT), ENDLESS, move |batch| {
            for delivery in batch.iter() {
                let body = String::from_utf8_lossy(delivery.body()).into_owned();
                sender.send(body).unwrap();
            }
            Disposition::Ack
        })
        .unwrap();
    // They have some 70 octets on the wire: what comes after these fits into two chunks.
    for number in numbers(0..850) {
        assert_eq!(bodies.recv_timeout(WAIT).unwrap(), number);
    }
}

#[test]
fn a_policy_of_nothing_is_refused() {
    let scene = Scene::new(Driver::Auto, 0);
    for (messages_max, bytes_max) in [(0, 1), (1, 0)] {
        let policy = BatchPolicy {
            messages_max,
            bytes_max,
            ..ENDLESS
        };
        let queue = Queue::named(INPUT);
        let refused = scene
            .engine
            .consume_batches(queue, policy, |_| Disposition::Ack);
        assert!(matches!(refused, Err(Error::Parameter { .. })));
    }
}
