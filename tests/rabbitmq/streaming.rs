//! Deliveries as a stream, and asynchronous handlers.

use std::cell::Cell;
use std::collections::HashSet;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use amqp_uring::{
    CancelReason, ConsumerState, DeleteIf, Deliveries, DetachedDelivery, Disposition, Driver,
    Engine, Error, Properties, Queue, Stream,
};
use macro_rules_attribute::apply;

use super::on_every_driver;
use super::support::{Reasons, Scratch, WAIT, block_on, connect, wait_until};

fn stream(engine: &Engine, queue: &str, prefetch: u16) -> Deliveries {
    let call = engine
        .consumer(Queue::named(queue))
        .prefetch(prefetch)
        .deliveries();
    call.wait(WAIT).unwrap()
}

/// So many deliveries.
fn next(deliveries: &mut Deliveries, count: usize) -> Vec<DetachedDelivery> {
    (0..count)
        .map(|_| block_on(deliveries.next()).expect("a delivery"))
        .collect()
}

/// Lets other futures of the same task run, so many times.
async fn step_aside(times: u32) {
    for _ in 0..times {
        let mut has_waited = false;
        poll_fn(|context| {
            if std::mem::replace(&mut has_waited, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_stream_brings_all_messages_in_order(driver: Driver) {
    const MESSAGES: u32 = 5000;
    let engine = Scratch::new(driver);
    let queue = engine.queue("stream");
    engine.fill(&queue, MESSAGES);
    let mut deliveries = stream(&engine, &queue, 7);
    block_on(async {
        for number in 0..MESSAGES {
            let next = poll_fn(|context| Pin::new(&mut deliveries).poll_next(context));
            let delivery = next.await.expect("a delivery");
            assert_eq!(delivery.body, number.to_string());
            assert_eq!(*delivery.routing_key, *queue);
            assert!(!delivery.redelivered);
            delivery.acker.ack().unwrap();
        }
    });
    deliveries.consumer().cancel().wait(WAIT).unwrap();
    assert!(block_on(deliveries.next()).is_none());
    wait_until("the last ack", || engine.depth(&queue) == 0);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_stream_that_waits_is_woken_by_each_message(driver: Driver) {
    let engine = Scratch::new(driver);
    let queue = engine.queue("woken");
    let mut deliveries = stream(&engine, &queue, 10);
    let thread = std::thread::spawn(move || {
        for _ in 0..300 {
            next(&mut deliveries, 1).remove(0).acker.ack().unwrap();
        }
    });
    let mut publisher = engine.confirming();
    for _ in 0..300 {
        let sent = publisher.publish("", &queue, &Properties::default(), "x");
        sent.unwrap().wait(WAIT).unwrap();
    }
    thread.join().unwrap();
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn it_ends_after_a_cancel_with_what_was_queued(driver: Driver) {
    let engine = Scratch::new(driver);
    let queue = engine.queue("cancel");
    engine.fill(&queue, 10);
    let (reasons, starts) = (Reasons::new(), Arc::new(AtomicU32::new(0)));
    let started = Arc::clone(&starts);
    let consumer = engine
        .consumer(Queue::named(&queue))
        .tag("a-stream")
        .on_start(move || {
            started.fetch_add(1, Ordering::Relaxed);
        })
        .on_cancel(reasons.note());
    let mut deliveries = consumer.deliveries().wait(WAIT).unwrap();
    assert_eq!(deliveries.consumer().tag(), "a-stream");
    let first = next(&mut deliveries, 1).remove(0);
    // The others have come with it, or are on their way back by the end.
    deliveries.consumer().cancel().wait(WAIT).unwrap();
    first.acker.ack().unwrap();
    let mut taken = 1;
    while let Some(delivery) = block_on(deliveries.next()) {
        assert_eq!(delivery.body, taken.to_string());
        delivery.acker.ack().unwrap();
        taken += 1;
    }
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..3 {
        let again = Pin::new(&mut deliveries).poll_next(&mut context);
        assert!(matches!(again, Poll::Ready(None)));
    }
    assert_eq!(
        deliveries.consumer().cancel_reason(),
        Some(CancelReason::Requested)
    );
    assert_eq!(reasons.wait(), [CancelReason::Requested]);
    assert_eq!(starts.load(Ordering::Relaxed), 1);
    engine.take(&queue, 10 - taken);
    assert_eq!(engine.depth(&queue), 0);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn it_ends_when_its_queue_is_deleted(driver: Driver) {
    let engine = Scratch::new(driver);
    let queue = engine.queue("deleted");
    let mut deliveries = stream(&engine, &queue, 10);
    let deleted = engine.delete_queue(&queue, DeleteIf::Always);
    assert!(block_on(deliveries.next()).is_none());
    assert_eq!(
        deliveries.consumer().cancel_reason(),
        Some(CancelReason::ByBroker)
    );
    deleted.wait(WAIT).unwrap();
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn it_ends_when_the_engine_is_shut_down_which_waits_for_answers(driver: Driver) {
    let scratch = Scratch::new(driver);
    let queue = scratch.queue("shutdown");
    scratch.fill(&queue, 20);
    let engine = connect(driver);
    let mut deliveries = stream(&engine, &queue, 20);
    let consumer = deliveries.consumer().clone();
    wait_until("all deliveries", || scratch.depth(&queue) == 0);
    let first = next(&mut deliveries, 1).remove(0);
    let thread = std::thread::spawn(move || engine.shutdown(WAIT));
    wait_until("the end of the consumer", || {
        consumer.state() == ConsumerState::Cancelled
    });
    assert_eq!(consumer.cancel_reason(), Some(CancelReason::Shutdown));
    first.acker.ack().unwrap();
    while let Some(delivery) = block_on(deliveries.next()) {
        delivery.acker.ack().unwrap();
    }
    thread.join().unwrap().unwrap();
    let left = scratch.depth(&queue) as usize;
    // Those that were on their way when the shutdown began went back.
    scratch.take(&queue, left);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn what_is_queued_is_dropped_when_it_cannot_be_answered(driver: Driver) {
    let scratch = Scratch::new(driver);
    let queue = scratch.queue("lost");
    scratch.fill(&queue, 50);
    let engine = connect(driver);
    let mut deliveries = stream(&engine, &queue, 50);
    wait_until("all deliveries", || scratch.depth(&queue) == 0);
    let first = next(&mut deliveries, 1).remove(0);
    // Nobody answers in time: the rest of the shutdown takes the connection along.
    engine.shutdown(Duration::from_millis(100)).unwrap_err();
    assert!(block_on(deliveries.next()).is_none());
    assert!(first.acker.ack().is_err());
    assert_eq!(scratch.take(&queue, 50).len(), 50);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_dropped_stream_cancels_and_requeues(driver: Driver) {
    let engine = Scratch::new(driver);
    let queue = engine.queue("dropped");
    engine.fill(&queue, 100);
    let mut deliveries = stream(&engine, &queue, 60);
    let consumer = deliveries.consumer().clone();
    let held = next(&mut deliveries, 5);
    drop(deliveries);
    wait_until("the end of the consumer", || {
        consumer.state() == ConsumerState::Cancelled
    });
    assert_eq!(consumer.cancel_reason(), Some(CancelReason::Requested));
    // What was taken can still be answered.
    held.into_iter().for_each(|d| d.acker.ack().unwrap());
    let mut taken: Vec<u32> = engine
        .take_texts(&queue, 95)
        .iter()
        .map(|text| text.parse().unwrap())
        .collect();
    taken.sort_unstable();
    assert!(taken.into_iter().eq(5..100));
    wait_until("an empty queue", || engine.depth(&queue) == 0);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_stream_nobody_waited_for_is_cancelled(driver: Driver) {
    let engine = Scratch::new(driver);
    let queue = engine.queue("unwanted");
    engine.fill(&queue, 30);
    for _ in 0..20 {
        drop(engine.consumer(Queue::named(&queue)).deliveries());
    }
    assert_eq!(engine.take(&queue, 30).len(), 30);
    assert_eq!(engine.depth(&queue), 0);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn what_has_no_bound_is_refused(driver: Driver) {
    let engine = Scratch::new(driver);
    let queue = engine.queue("unbounded");
    let consumer = || engine.consumer(Queue::named(&queue));
    let what = |error| match error {
        Error::Parameter { what, .. } => what,
        other => panic!("{other}"),
    };
    let refused = consumer().no_ack(true).deliveries().wait(WAIT).unwrap_err();
    assert_eq!(what(refused), "no_ack");
    let refused = consumer().prefetch(0).deliveries().wait(WAIT).unwrap_err();
    assert_eq!(what(refused), "prefetch");
    let idle = |_| async { Disposition::Ack };
    let refused = block_on(consumer().in_flight_max(0).run_async(idle)).unwrap_err();
    assert_eq!(what(refused), "in_flight_max");
    let deliveries = stream(&engine, &queue, 10);
    let changed = deliveries.consumer().set_prefetch(0).wait(WAIT);
    assert_eq!(what(changed.unwrap_err()), "prefetch");
    deliveries.consumer().set_prefetch(3).wait(WAIT).unwrap();
    let missing = engine.consume_async(Queue::named("no-such-queue"), idle);
    let code = block_on(missing).unwrap_err().code();
    assert_eq!(code, Some(amqp_uring::ReplyCode::NotFound));
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn the_bound_on_what_is_in_flight_is_reached_and_kept(driver: Driver) {
    const MESSAGES: u32 = 2000;
    let engine = Scratch::new(driver);
    let queue = engine.queue("bound");
    engine.fill(&queue, MESSAGES);
    for (bound, prefetch) in [(1, 10), (16, 100), (100, 8)] {
        let deliveries = stream(&engine, &queue, prefetch);
        let consumer = deliveries.consumer().clone();
        let limit = bound.min(prefetch.into());
        let (now, most, done) = (Cell::new(0), Cell::new(0), Cell::new(0));
        let ended = deliveries.for_each_async(bound, |_| {
            now.set(now.get() + 1);
            most.set(most.get().max(now.get()));
            assert!(now.get() <= limit);
            let (now, most, done, consumer) = (&now, &most, &done, &consumer);
            async move {
                // Nobody is done before the bound was reached, however slowly the messages come.
                while most.get() < limit {
                    step_aside(1).await;
                }
                step_aside(5).await;
                now.set(now.get() - 1);
                done.set(done.get() + 1);
                if done.get() == 500 {
                    drop(consumer.cancel());
                }
                Disposition::Ack
            }
        });
        assert_eq!(block_on(ended), CancelReason::Requested);
        assert_eq!(now.get(), 0);
        assert_eq!(most.get(), limit);
    }
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_slow_message_does_not_stop_the_others(driver: Driver) {
    const MESSAGES: u32 = 3000;
    let scratch = Scratch::new(driver);
    let queue = scratch.queue("slow");
    scratch.fill(&queue, MESSAGES);
    let engine = connect(driver);
    let deliveries = stream(&engine, &queue, 40);
    let consumer = deliveries.consumer().clone();
    let done = Cell::new(0);
    let first = Cell::new(None);
    let seen = std::cell::RefCell::new(HashSet::new());
    let ended = deliveries.for_each_async(8, |message| {
        let (done, first, seen, consumer) = (&done, &first, &seen, &consumer);
        async move {
            assert!(!message.redelivered);
            let number: u32 = std::str::from_utf8(&message.body).unwrap().parse().unwrap();
            assert!(seen.borrow_mut().insert(number));
            if number == 0 {
                // Until all others have ended.
                poll_fn(|context| {
                    if done.get() == MESSAGES - 1 {
                        return Poll::Ready(());
                    }
                    first.set(Some(context.waker().clone()));
                    Poll::Pending
                })
                .await;
                drop(consumer.cancel());
                return Disposition::Ack;
            }
            step_aside(number % 7).await;
            done.set(done.get() + 1);
            if done.get() == MESSAGES - 1
                && let Some(first) = first.take()
            {
                first.wake();
            }
            Disposition::Ack
        }
    });
    assert_eq!(block_on(ended), CancelReason::Requested);
    assert_eq!(seen.borrow().len(), MESSAGES as usize);
    engine.shutdown(WAIT).unwrap();
    assert_eq!(scratch.depth(&queue), 0);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn each_disposition_counts(driver: Driver) {
    let engine = Scratch::new(driver);
    let queue = engine.queue("dispositions");
    engine.fill(&queue, 4);
    let deliveries = stream(&engine, &queue, 10);
    let consumer = deliveries.consumer().clone();
    let mut seen = Vec::new();
    let ended = deliveries.for_each_async(1, |message| {
        seen.push((message.body.clone(), message.redelivered));
        if seen.len() == 6 {
            drop(consumer.cancel());
        }
        let disposition = match (&message.body[..], message.redelivered) {
            (b"0", false) => Disposition::Nack { requeue: true },
            (b"1", false) => Disposition::Detached,
            (b"2", false) => Disposition::Reject { requeue: false },
            _ => Disposition::Ack,
        };
        async move { disposition }
    });
    assert_eq!(block_on(ended), CancelReason::Requested);
    seen.sort();
    let expected = [
        ("0", false),
        ("0", true),
        ("1", false),
        ("1", true),
        ("2", false),
        ("3", false),
    ];
    let seen = seen
        .iter()
        .map(|(body, again)| (std::str::from_utf8(body).unwrap(), *again));
    assert!(seen.eq(expected));
    wait_until("an empty queue", || engine.depth(&queue) == 0);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_panic_and_a_dropped_future_requeue_what_was_in_flight(driver: Driver) {
    let engine = Scratch::new(driver);
    let queue = engine.queue("panic");
    engine.fill(&queue, 20);
    let ended = engine.consume_async(Queue::named(&queue), |message| async move {
        step_aside(3).await;
        assert_ne!(message.body, "5", "as the test wants it");
        std::future::pending().await
    });
    let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| block_on(ended)));
    assert!(unwound.is_err());
    assert_eq!(engine.take(&queue, 20).len(), 20);

    engine.fill(&queue, 20);
    let begun = Cell::new(0);
    {
        let mut run = pin!(
            engine
                .consumer(Queue::named(&queue))
                .in_flight_max(20)
                .run_async(|_| {
                    begun.set(begun.get() + 1);
                    std::future::pending()
                })
        );
        block_on(poll_fn(|context| {
            assert!(run.as_mut().poll(context).is_pending());
            match begun.get() {
                20 => Poll::Ready(()),
                _ => Poll::Pending,
            }
        }));
    }
    assert_eq!(engine.take(&queue, 20).len(), 20);
    assert_eq!(engine.depth(&queue), 0);
}

/// A worker that is a task of the program's own runtime: there is one driver for that.
#[cfg(feature = "tokio-uring")]
mod local {
    use std::rc::Rc;

    use amqp_uring::{EngineBuilder, Outcome};
    use tokio_uring::fs::File;

    use super::super::support::node;
    use super::*;

    fn local() -> EngineBuilder {
        Engine::builder().node(node())
    }

    #[test]
    #[ignore = "needs RabbitMQ: tests/run starts one"]
    fn handlers_that_are_not_send_write_files() {
        const MESSAGES: u32 = 1000;
        let scratch = Scratch::new(Driver::TokioUring);
        let queue = scratch.queue("files");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bodies");
        let name = queue.clone();
        tokio_uring::start(async {
            let (engine, worker) = local().start_local();
            let worker = tokio_uring::spawn(worker);
            let engine = Rc::new(engine.await.unwrap());
            // The same thread publishes, and awaits its confirms.
            let mut publisher = engine.open_publisher(Default::default()).await.unwrap();
            let mut receipts = Vec::new();
            for number in 0..MESSAGES {
                publisher.ready().await;
                let body = format!("{number:08}");
                let sent = publisher.try_publish("", &name, &Properties::default(), body);
                receipts.push(sent.unwrap());
            }
            for receipt in receipts {
                assert_eq!(receipt.await, Ok(Outcome::Acked));
            }
            publisher.close().await.unwrap();

            let file = Rc::new(File::create(&path).await.unwrap());
            let (written, done) = (Rc::new(Cell::new(0)), Rc::new(tokio::sync::Notify::new()));
            let consuming = tokio_uring::spawn({
                let (engine, file) = (Rc::clone(&engine), Rc::clone(&file));
                let done = Rc::clone(&done);
                async move {
                    let consumed = engine.consume_async(Queue::durable(&name), |message| {
                        let (file, written) = (Rc::clone(&file), Rc::clone(&written));
                        let done = Rc::clone(&done);
                        async move {
                            let text = std::str::from_utf8(&message.body).unwrap();
                            let at = text.parse::<u64>().unwrap() * 8;
                            file.write_all_at(message.body, at).await.0.unwrap();
                            written.set(written.get() + 1);
                            if written.get() == MESSAGES {
                                done.notify_one();
                            }
                            Disposition::Ack
                        }
                    });
                    consumed.await
                }
            });
            done.notified().await;
            engine.close(WAIT).await.unwrap();
            assert_eq!(consuming.await.unwrap(), Ok(CancelReason::Shutdown));
            worker.await.unwrap().unwrap();
        });
        let expected: String = (0..MESSAGES).map(|number| format!("{number:08}")).collect();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
        assert_eq!(scratch.depth(&queue), 0);
    }

    #[test]
    #[ignore = "needs RabbitMQ: tests/run starts one"]
    fn blocking_on_the_workers_thread_is_refused() {
        tokio_uring::start(async {
            let (engine, worker) = local().start_local();
            let worker = tokio_uring::spawn(worker);
            let engine = engine.await.unwrap();
            let blocks = Error::WouldBlockWorker;
            let queue = Queue::server_named();
            let declared = engine.declare(&queue).wait(WAIT);
            assert_eq!(declared.unwrap_err(), blocks);
            let opened = engine.publisher(Default::default());
            assert_eq!(opened.map(drop).unwrap_err(), blocks);
            let opened = engine.unconfirmed_publisher(Default::default());
            assert_eq!(opened.map(drop).unwrap_err(), blocks);
            let consumed = engine.consume(queue.clone(), |_| Disposition::Ack);
            assert_eq!(consumed.map(drop).unwrap_err(), blocks);
            let streamed = engine.consumer(queue).deliveries().wait(WAIT);
            assert_eq!(streamed.map(drop).unwrap_err(), blocks);
            engine.close(WAIT).await.unwrap();
            worker.await.unwrap().unwrap();
        });
        // The thread is an ordinary one again.
        let engine = connect(Driver::TokioUring);
        engine.declare(&Queue::server_named()).wait(WAIT).unwrap();
    }

    #[test]
    #[ignore = "needs RabbitMQ: tests/run starts one"]
    fn what_a_local_worker_cannot_be_is_refused() {
        let refused = |builder: EngineBuilder| {
            tokio_uring::start(async {
                let (engine, worker) = builder.start_local();
                let Err(Error::Parameter { what, .. }) = engine.await else {
                    panic!("it started");
                };
                worker.await.unwrap();
                what
            })
        };
        assert_eq!(refused(local().workers(2)), "workers");
        assert_eq!(refused(local().pin_workers([0])), "pin_workers");
        assert_eq!(refused(local().driver(Driver::Epoll)), "driver");
    }

    #[test]
    #[ignore = "needs RabbitMQ: tests/run starts one"]
    fn a_dropped_engine_ends_its_worker() {
        tokio_uring::start(async {
            let (engine, worker) = local().start_local();
            let worker = tokio_uring::spawn(worker);
            drop(engine.await.unwrap());
            assert_eq!(worker.await.unwrap(), Ok(()));
        });
    }

    #[test]
    #[ignore = "needs RabbitMQ: tests/run starts one"]
    fn a_dropped_worker_ends_streams() {
        let scratch = Scratch::new(Driver::TokioUring);
        let queue = scratch.queue("worker");
        scratch.fill(&queue, 10);
        tokio_uring::start(async {
            let (engine, worker) = local().start_local();
            let worker = tokio_uring::spawn(worker);
            let engine = engine.await.unwrap();
            let consumer = engine.consumer(Queue::named(&queue));
            let mut deliveries = consumer.deliveries().await.unwrap();
            let first = deliveries.next().await.expect("a delivery");
            worker.abort();
            assert!(worker.await.is_err());
            assert!(deliveries.next().await.is_none());
            assert_eq!(first.acker.ack(), Err(Error::Stopped));
        });
        assert_eq!(scratch.take(&queue, 10).len(), 10);
    }
}
