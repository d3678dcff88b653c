//! How consumers end: `on_start` and `on_cancel`, once and with the reason.

use std::sync::mpsc::channel;

use amqp_uring::{
    CancelReason, Consumer, ConsumerState, DeleteIf, Disposition, Driver, Engine, Queue, ReplyCode,
};
use macro_rules_attribute::apply;

use super::on_every_driver;
use super::support::{Reasons, Scratch, WAIT, connect, receive, wait_until};

fn watched(engine: &Engine, queue: &str) -> (Consumer, Reasons) {
    let reasons = Reasons::new();
    let consumer = engine
        .consumer(Queue::named(queue))
        .on_cancel(reasons.note())
        .start(|_| Disposition::Ack)
        .wait(WAIT)
        .unwrap();
    (consumer, reasons)
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn on_start_comes_before_the_first_delivery_and_on_cancel_after_the_last(driver: Driver) {
    let engine = Scratch::new(driver);
    let queue = engine.queue("callbacks");
    engine.fill(&queue, 3);
    let (sender, receiver) = channel();
    let say = |what: &'static str| {
        let sender = sender.clone();
        move || {
            let _ = sender.send(what);
        }
    };
    let (started, delivered, cancelled) = (say("started"), say("delivered"), say("cancelled"));
    let consumer = engine
        .consumer(Queue::named(&queue))
        .on_start(started)
        .on_cancel(move |_| cancelled())
        .start(move |_| {
            delivered();
            Disposition::Ack
        })
        .wait(WAIT)
        .unwrap();
    assert_eq!(
        receive(&receiver, 4),
        ["started", "delivered", "delivered", "delivered"]
    );
    consumer.cancel().wait(WAIT).unwrap();
    engine.fill(&queue, 1);
    assert_eq!(receive(&receiver, 1), ["cancelled"]);
    assert!(receiver.try_recv().is_err());
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_cancel_that_was_asked_for_says_so(driver: Driver) {
    let engine = Scratch::new(driver);
    let queue = engine.queue("requested");
    let (consumer, reasons) = watched(&engine, &queue);
    assert_eq!(consumer.state(), ConsumerState::Consuming);
    assert_eq!(consumer.cancel_reason(), None);
    consumer.cancel().wait(WAIT).unwrap();
    assert_eq!(consumer.state(), ConsumerState::Cancelled);
    assert_eq!(consumer.cancel_reason(), Some(CancelReason::Requested));
    assert_eq!(reasons.wait(), [CancelReason::Requested]);
    let info = engine.declare(&Queue::named(&queue)).wait(WAIT).unwrap();
    assert_eq!(info.consumer_count, 0);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn deleting_its_queue_cancels_a_consumer(driver: Driver) {
    let engine = Scratch::new(driver);
    let queue = engine.queue("deleted");
    let (consumer, reasons) = watched(&engine, &queue);
    engine
        .delete_queue(&queue, DeleteIf::Always)
        .wait(WAIT)
        .unwrap();
    assert_eq!(reasons.wait(), [CancelReason::ByBroker]);
    assert_eq!(consumer.state(), ConsumerState::Cancelled);
    assert_eq!(consumer.cancel_reason(), Some(CancelReason::ByBroker));
    consumer.cancel().wait(WAIT).unwrap();
    assert_eq!(reasons.now().len(), 1);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_queue_deleted_under_full_load_cancels_its_consumer(driver: Driver) {
    let engine = Scratch::new(driver);
    let queue = engine.queue("deleted-busy");
    engine.fill(&queue, 5000);
    let reasons = Reasons::new();
    let (sender, receiver) = channel();
    engine
        .consumer(Queue::named(&queue))
        .prefetch(100)
        .on_cancel(reasons.note())
        .start(move |_| {
            let _ = sender.send(());
            Disposition::Ack
        })
        .wait(WAIT)
        .unwrap();
    receive(&receiver, 10);
    engine
        .delete_queue(&queue, DeleteIf::Always)
        .wait(WAIT)
        .unwrap();
    assert_eq!(reasons.wait(), [CancelReason::ByBroker]);
    // The engine is fine.
    engine.declare(&Queue::durable(&queue)).wait(WAIT).unwrap();
    engine.fill(&queue, 1);
    assert_eq!(engine.take_texts(&queue, 1), ["0"]);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_shutdown_tells_consumers(driver: Driver) {
    let scratch = Scratch::new(driver);
    let queue = scratch.queue("shutdown");
    let engine = connect(driver);
    let (consumer, reasons) = watched(&engine, &queue);
    engine.shutdown(WAIT).unwrap();
    assert_eq!(reasons.now(), [CancelReason::Shutdown]);
    assert_eq!(consumer.state(), ConsumerState::Cancelled);
    assert_eq!(
        consumer.cancel().wait(WAIT),
        Err(amqp_uring::Error::Stopped)
    );
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_consumer_that_could_not_start_has_no_callbacks(driver: Driver) {
    let engine = Scratch::new(driver);
    let (sender, receiver) = channel();
    let reasons = Reasons::new();
    let refused = engine
        .consumer(Queue::named("no-such-queue"))
        .on_start(move || sender.send(()).unwrap())
        .on_cancel(reasons.note())
        .start(|_| Disposition::Ack)
        .wait(WAIT)
        .unwrap_err();
    assert_eq!(refused.code(), Some(ReplyCode::NotFound));
    // What its callbacks hold is let go.
    assert!(receiver.recv_timeout(WAIT).is_err());
    assert!(reasons.now().is_empty());
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_cancelled_consumers_handler_is_dropped(driver: Driver) {
    struct Tells(std::sync::mpsc::Sender<()>);
    impl Drop for Tells {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }
    let engine = Scratch::new(driver);
    let queue = engine.queue("dropped-handler");
    let (sender, receiver) = channel();
    let tells = Tells(sender);
    let consumer = engine
        .consume(Queue::named(&queue), move |_| {
            let _ = &tells;
            Disposition::Ack
        })
        .unwrap();
    consumer.cancel().wait(WAIT).unwrap();
    receive(&receiver, 1);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn what_was_on_the_way_when_a_consumer_is_cancelled_goes_back(driver: Driver) {
    const MESSAGES: u32 = 3000;
    let scratch = Scratch::new(driver);
    let quorum = scratch.queue_name("on-the-way-quorum");
    scratch.declare(&Queue::quorum(&quorum)).wait(WAIT).unwrap();
    for queue in [scratch.queue("on-the-way"), quorum] {
        scratch.fill(&queue, MESSAGES);
        cancel_under_load(driver, &scratch, &queue, MESSAGES);
    }
}

fn cancel_under_load(driver: Driver, scratch: &Scratch, queue: &str, messages: u32) {
    let engine = connect(driver);
    let (sender, receiver) = channel();
    let consumer = engine
        .consumer(Queue::named(queue))
        .prefetch(0)
        .start(move |_| {
            let _ = sender.send(());
            Disposition::Ack
        })
        .wait(WAIT)
        .unwrap();
    receive(&receiver, 1);
    consumer.cancel().wait(WAIT).unwrap();
    engine.shutdown(WAIT).unwrap();
    let handled = 1 + u32::try_from(receiver.try_iter().count()).unwrap();
    wait_until("the rest in its queue", || {
        scratch.depth(queue) == messages - handled
    });
}
