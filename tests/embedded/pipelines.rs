//! Consume, transform, publish: an input is acked after its output is confirmed, and nothing is lost in between.

use std::collections::HashSet;
use std::sync::mpsc::channel;
use std::time::Duration;

use amqp_uring::broker::{ConfirmFault, State};
use amqp_uring::{
    Batch, BatchPolicy, CancelReason, Consumer, ConsumerBuilder, Delivery, Disposition, Driver,
    Error, Properties, Publisher, PublisherOptions, Queue,
};
use macro_rules_attribute::apply;

use super::{ENDLESS, INPUT, OUTPUT, Scene, WAIT, numbers, on_every_driver};

const MESSAGES: u32 = 2000;

fn publisher(scene: &Scene) -> Publisher {
    scene.engine.publisher(PublisherOptions::default()).unwrap()
}

/// One on a new line: the old one may not have heard of its end yet.
fn publisher_again(scene: &Scene) -> Publisher {
    let open = || scene.engine.publisher(PublisherOptions::default());
    std::iter::repeat_with(open).find_map(Result::ok).unwrap()
}

/// A handler that passes each message on.
fn pass_on(mut publisher: Publisher) -> impl FnMut(&Delivery<'_>) -> Disposition + Send {
    move |delivery| {
        let body = delivery.body_bytes();
        match publisher.try_publish("", OUTPUT, &Properties::persistent(), body) {
            Ok(receipt) => Disposition::AckAfter(receipt),
            // The connection is lost: what is answered now reaches nobody.
            Err(_) => Disposition::Nack { requeue: true },
        }
    }
}

fn beside(scene: &Scene, publisher: &Publisher) -> ConsumerBuilder {
    scene.engine.consumer(Queue::named(INPUT)).beside(publisher)
}

fn start(scene: &Scene) -> Consumer {
    let publisher = publisher(scene);
    let consumer = beside(scene, &publisher);
    consumer.start(pass_on(publisher)).wait(WAIT).unwrap()
}

fn counts(state: &State) -> (u32, u32, u32) {
    let (input, output) = (state.queue(INPUT).unwrap(), state.queue(OUTPUT).unwrap());
    (input.ready, input.unacked, output.ready)
}

fn await_counts(scene: &Scene, holds: impl Fn(u32, u32, u32) -> bool + Send + 'static) {
    scene
        .broker
        .wait_for(WAIT, move |state| {
            let (ready, unacked, output) = counts(state);
            // No input is acked that has no output.
            assert!(ready + unacked + output >= MESSAGES, "{state:?}");
            holds(ready, unacked, output)
        })
        .unwrap();
}

fn all() -> HashSet<String> {
    numbers(0..MESSAGES).into_iter().collect()
}

#[apply(on_every_driver!)]
fn every_message_is_passed_on_once_and_nobody_is_woken(driver: Driver) {
    let scene = Scene::new(driver, 0);
    let _consumer = start(&scene);
    // The last wake-up is for this; the figures show it before it is answered.
    scene
        .engine
        .declare(&Queue::named(INPUT))
        .wait(WAIT)
        .unwrap();
    let wakes = || scene.engine.stats().workers[0].driver.wakes;
    let before = wakes();
    scene.fill(0..MESSAGES);
    await_counts(&scene, |ready, unacked, output| {
        (ready, unacked, output) == (0, 0, MESSAGES)
    });
    assert_eq!(wakes(), before);
    assert_eq!(scene.output(), all());
}

#[apply(on_every_driver!)]
fn no_input_is_acked_while_its_output_has_no_confirm(driver: Driver) {
    let scene = Scene::new(driver, MESSAGES);
    let faults = scene.broker.faults();
    faults.confirms(Some(ConfirmFault::Drop)).unwrap();
    let publisher = publisher(&scene);
    let (sender, ended) = channel();
    let _consumer = beside(&scene, &publisher)
        .prefetch(0)
        .on_cancel(move |reason| drop(sender.send(reason.clone())))
        .start(pass_on(publisher))
        .wait(WAIT)
        .unwrap();
    await_counts(&scene, |ready, unacked, output| {
        (ready, unacked, output) == (0, MESSAGES, MESSAGES)
    });
    // Nobody will ever know: all of it comes again.
    faults.confirms(None).unwrap();
    faults.reset().unwrap();
    await_counts(&scene, |ready, unacked, _| {
        (ready, unacked) == (MESSAGES, 0)
    });
    ended.recv_timeout(WAIT).unwrap();
    let publisher = publisher_again(&scene);
    let consumer = beside(&scene, &publisher);
    let _consumer = consumer.start(pass_on(publisher)).wait(WAIT).unwrap();
    await_counts(&scene, |ready, unacked, output| {
        (ready, unacked, output) == (0, 0, 2 * MESSAGES)
    });
}

#[apply(on_every_driver!)]
fn an_input_whose_output_is_nacked_comes_again(driver: Driver) {
    let scene = Scene::new(driver, MESSAGES);
    let faults = scene.broker.faults();
    faults.confirms(Some(ConfirmFault::Nack)).unwrap();
    let _consumer = start(&scene);
    // The broker has the messages although it says otherwise, so that those that come again show here.
    await_counts(&scene, |_, _, output| output > MESSAGES + 100);
    faults.confirms(None).unwrap();
    await_counts(&scene, |ready, unacked, _| (ready, unacked) == (0, 0));
    assert_eq!(scene.output(), all());
}

#[apply(on_every_driver!)]
fn confirms_that_are_late_or_out_of_order_ack_the_right_inputs(driver: Driver) {
    let faults = [
        ConfirmFault::Delay(Duration::from_millis(3)),
        ConfirmFault::Reorder,
    ];
    for fault in faults {
        let scene = Scene::new(driver, MESSAGES);
        scene.broker.faults().confirms(Some(fault)).unwrap();
        let _consumer = start(&scene);
        await_counts(&scene, |ready, unacked, output| {
            (ready, unacked, output) == (0, 0, MESSAGES)
        });
        assert_eq!(scene.output(), all());
    }
}

#[apply(on_every_driver!)]
fn lines_that_are_lost_again_and_again_lose_no_message(driver: Driver) {
    let scene = Scene::new(driver, MESSAGES);
    let late = ConfirmFault::Delay(Duration::from_millis(1));
    scene.broker.faults().confirms(Some(late)).unwrap();
    for part in 1..=4 {
        let (sender, ended) = channel();
        let publisher = publisher_again(&scene);
        let _consumer = beside(&scene, &publisher)
            .prefetch(100)
            .on_cancel(move |reason| drop(sender.send(reason.clone())))
            .start(pass_on(publisher))
            .wait(WAIT)
            .unwrap();
        await_counts(&scene, move |_, _, output| output >= MESSAGES / 5 * part);
        scene.broker.faults().reset().unwrap();
        let reason = ended.recv_timeout(WAIT).unwrap();
        assert!(matches!(reason, CancelReason::ConnectionLost(_)));
    }
    let publisher = publisher_again(&scene);
    let consumer = beside(&scene, &publisher);
    let _consumer = consumer.start(pass_on(publisher)).wait(WAIT).unwrap();
    await_counts(&scene, |ready, unacked, _| (ready, unacked) == (0, 0));
    assert_eq!(scene.output(), all());
}

#[apply(on_every_driver!)]
fn publisher_and_consumer_may_live_on_different_workers(driver: Driver) {
    let scene = Scene::built(driver, MESSAGES, |builder| builder.workers(2));
    let (first, second) = (publisher(&scene), publisher(&scene));
    let start = |beside_one: &Publisher, to: Publisher| {
        let consumer = beside(&scene, beside_one).prefetch(50);
        consumer.start(pass_on(to)).wait(WAIT).unwrap()
    };
    let _consumer = start(&first, second);
    await_counts(&scene, |ready, unacked, output| {
        (ready, unacked, output) == (0, 0, MESSAGES)
    });
    assert_eq!(scene.output(), all());
}

/// A consumer that passes messages on in batches of a hundred.
fn start_batches(scene: &Scene) -> Consumer {
    let mut publisher = publisher(scene);
    let policy = BatchPolicy {
        messages_max: 100,
        wait_max: Duration::from_millis(5),
        ..ENDLESS
    };
    let consumer = beside(scene, &publisher).prefetch(200);
    let handler = move |batch: &mut Batch| {
        let properties = Properties::persistent();
        let receipts = batch
            .iter()
            .map(|delivery| publisher.try_publish("", OUTPUT, &properties, delivery.body()));
        receipts.collect::<Result<_, _>>().map_or(
            Disposition::Nack { requeue: true },
            Disposition::AckAfterAll,
        )
    };
    consumer.batches(policy, handler).wait(WAIT).unwrap()
}

#[apply(on_every_driver!)]
fn a_batch_is_acked_when_all_that_was_made_of_it_is_confirmed(driver: Driver) {
    let scene = Scene::new(driver, MESSAGES);
    let _consumer = start_batches(&scene);
    await_counts(&scene, |ready, unacked, output| {
        (ready, unacked, output) == (0, 0, MESSAGES)
    });
    assert_eq!(scene.output(), all());
}

#[apply(on_every_driver!)]
fn a_batch_without_confirms_comes_again_when_the_line_is_lost(driver: Driver) {
    let scene = Scene::new(driver, MESSAGES);
    let faults = scene.broker.faults();
    faults.confirms(Some(ConfirmFault::Drop)).unwrap();
    let _consumer = start_batches(&scene);
    await_counts(&scene, |_, unacked, output| (unacked, output) == (200, 200));
    faults.reset().unwrap();
    await_counts(&scene, |ready, unacked, _| {
        (ready, unacked) == (MESSAGES, 0)
    });
}

#[apply(on_every_driver!)]
fn a_full_window_is_an_error_in_a_handler_and_no_deadlock(driver: Driver) {
    let scene = Scene::new(driver, MESSAGES);
    let faults = scene.broker.faults();
    faults.confirms(Some(ConfirmFault::Drop)).unwrap();
    let small = PublisherOptions::default().window_messages(3);
    let mut publisher = scene.engine.publisher(small).unwrap();
    let (sender, errors) = channel();
    let _consumer = beside(&scene, &publisher)
        .prefetch(5)
        .start(move |delivery| {
            let (body, properties) = (delivery.body(), Properties::persistent());
            let tried = publisher.try_publish("", OUTPUT, &properties, body);
            let error = match tried {
                Ok(receipt) => return Disposition::AckAfter(receipt),
                Err(error) => error,
            };
            let waited = publisher.publish("", OUTPUT, &properties, body);
            let _ = sender.send((error, waited.map(drop)));
            drop(delivery.detach());
            Disposition::Detached
        })
        .wait(WAIT)
        .unwrap();
    let (tried, waited) = errors.recv_timeout(WAIT).unwrap();
    assert!(matches!(tried, Error::WindowFull { messages: 3, .. }));
    assert_eq!(waited, Err(Error::WouldBlockWorker));
    await_counts(&scene, |_, _, output| output == 3);
    faults.confirms(None).unwrap();
    faults.reset().unwrap();
    await_counts(&scene, |ready, unacked, output| {
        (ready, unacked, output) == (MESSAGES, 0, 3)
    });
}

#[apply(on_every_driver!)]
fn a_shutdown_waits_for_the_confirms_that_acks_wait_for(driver: Driver) {
    let scene = Scene::new(driver, MESSAGES);
    let late = ConfirmFault::Delay(Duration::from_millis(20));
    scene.broker.faults().confirms(Some(late)).unwrap();
    let _consumer = start(&scene);
    await_counts(&scene, |_, _, output| output > 0);
    let Scene { broker, engine } = scene;
    engine.shutdown(WAIT).unwrap();
    let (ready, unacked, output) = counts(&broker.state().unwrap());
    assert_eq!((unacked, ready + output), (0, MESSAGES));
}
