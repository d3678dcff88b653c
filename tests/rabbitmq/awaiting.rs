//! Everything that waits can be awaited, in any executor: here one of a few lines.

use std::pin::pin;
use std::sync::mpsc::channel;
use std::task::{Context, Poll, Waker};

use amqp_uring::{
    Binding, DeleteIf, Disposition, Driver, Engine, Error, Exchange, Outcome, Properties, Queue,
    ReplyCode,
};
use macro_rules_attribute::apply;

use super::on_every_driver;
use super::support::{Scratch, WAIT, block_on, builder, node, receive};

const NONE: Properties = Properties::empty();

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_whole_life_can_be_awaited(driver: Driver) {
    let scratch = Scratch::new(driver);
    let (queue, exchange) = (scratch.queue_name("await"), scratch.exchange_name("await"));
    let (sender, receiver) = channel();
    block_on(async {
        let engine = builder(driver).workers(2).start().await?;
        engine.declare(&Queue::durable(&queue)).await?;
        engine.declare_exchange(&Exchange::topic(&exchange)).await?;
        engine.bind(&Binding::queue(&queue, &exchange, "#")).await?;
        let mut publisher = engine.open_publisher(Default::default()).await?;
        let receipt = publisher.publish(&exchange, "a.b", &NONE, "zero")?;
        assert_eq!(receipt.await?, Outcome::Acked);
        for _ in 0..100 {
            publisher.ready().await;
            publisher.try_publish(&exchange, "a.b", &NONE, "more")?;
        }
        assert_eq!(publisher.confirmed().await?.counts.acked, 101);
        publisher.close().await?;
        let got = engine.get(&queue).await?.expect("a message");
        assert_eq!(got.body, "zero");
        got.acker.ack()?;
        assert_eq!(engine.get_no_ack(&queue).await?.unwrap().body, "more");
        let consumer = engine
            .consumer(Queue::named(&queue))
            .start(move |_| {
                let _ = sender.send(());
                Disposition::Ack
            })
            .await?;
        consumer.set_prefetch(10).await?;
        receive(&receiver, 99);
        consumer.cancel().await?;
        let mut unconfirmed = engine
            .open_unconfirmed_publisher(Default::default())
            .await?;
        unconfirmed.publish(&exchange, "c", &NONE, "last")?;
        unconfirmed.close().await?;
        assert_eq!(engine.purge(&queue).await?, 1);
        engine
            .unbind(&Binding::queue(&queue, &exchange, "#"))
            .await?;
        engine
            .delete_queue(&queue, DeleteIf::UnusedAndEmpty)
            .await?;
        engine.delete_exchange(&exchange, DeleteIf::Unused).await?;
        engine.close(WAIT).await
    })
    .unwrap();
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn errors_arrive_at_who_awaits(driver: Driver) {
    let engine = Scratch::new(driver);
    let missing = block_on(async { engine.declare(&Queue::named("no-such-queue")).await });
    assert_eq!(missing.unwrap_err().code(), Some(ReplyCode::NotFound));
    let start = Engine::builder()
        .node(node().with_vhost("no-such-host"))
        .driver(driver)
        .start();
    let refused = block_on(async { start.await }).unwrap_err();
    assert_eq!(refused.code(), Some(ReplyCode::NotAllowed));
    let stopped = block_on(async {
        let engine = builder(driver).start().await?;
        engine.close(WAIT).await?;
        engine.declare(&Queue::server_named()).await
    });
    assert_eq!(stopped.unwrap_err(), Error::Stopped);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn hundreds_of_receipts_can_be_awaited_at_once(driver: Driver) {
    let engine = Scratch::new(driver);
    let queue = engine.queue("receipts");
    let mut publisher = engine.confirming();
    let receipts: Vec<_> = (0..500)
        .map(|_| publisher.publish("", &queue, &NONE, "x").unwrap())
        .collect();
    block_on(async {
        // The last first: by then the others are known.
        for receipt in receipts.into_iter().rev() {
            assert_eq!(receipt.await, Ok(Outcome::Acked));
        }
    });
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_dropped_future_forgets_nothing(driver: Driver) {
    let engine = Scratch::new(driver);
    let queue = engine.queue("dropped");
    let mut publisher = engine.confirming();
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..100 {
        let receipt = publisher.publish("", &queue, &NONE, "x").unwrap();
        let _ = pin!(receipt).poll(&mut context);
        let _ = pin!(publisher.confirmed()).poll(&mut context);
    }
    drop(engine.declare(&Queue::durable(&queue)));
    let mut declared = Box::pin(async { engine.declare(&Queue::named(&queue)).await });
    assert!(matches!(
        declared.as_mut().poll(&mut context),
        Poll::Pending | Poll::Ready(Ok(_))
    ));
    drop(declared);
    publisher.wait_for_confirms(WAIT).unwrap();
    assert_eq!(publisher.pending(), 0);
    assert_eq!(engine.depth(&queue), 100);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn an_abandoned_start_leaves_no_engine_behind(driver: Driver) {
    drop(builder(driver).connection_name("abandoned").start());
    super::support::wait_until("the end of its thread", || {
        !super::shutdown::threads()
            .iter()
            .any(|name| name.starts_with("abandoned"))
    });
}
