//! Declaring, purging and deleting queues and exchanges.

use amqp_uring::{DeleteIf, Disposition, Driver, Error, Exchange, Queue, ReplyCode};
use macro_rules_attribute::apply;

use super::on_every_driver;
use super::support::{Scratch, WAIT, connect};

fn code<T: std::fmt::Debug>(result: Result<T, Error>) -> ReplyCode {
    let error = result.expect_err("an error");
    error.code().unwrap_or_else(|| panic!("{error:?}"))
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_queue_is_declared_filled_purged_and_deleted(driver: Driver) {
    let engine = Scratch::new(driver);
    let name = engine.queue_name("queue");
    let info = engine.declare(&Queue::durable(&name)).wait(WAIT).unwrap();
    assert_eq!(
        (info.name, info.message_count, info.consumer_count),
        (name.clone(), 0, 0)
    );
    engine.fill(&name, 7);
    let info = engine.declare(&Queue::named(&name)).wait(WAIT).unwrap();
    assert_eq!(info.message_count, 7);
    assert_eq!(engine.purge(&name).wait(WAIT), Ok(7));
    assert_eq!(engine.purge(&name).wait(WAIT), Ok(0));
    engine.fill(&name, 2);
    assert_eq!(
        engine.delete_queue(&name, DeleteIf::Always).wait(WAIT),
        Ok(2)
    );
    let gone = engine.declare(&Queue::named(&name)).wait(WAIT);
    assert_eq!(code(gone), ReplyCode::NotFound);
    assert_eq!(
        engine.delete_queue(&name, DeleteIf::Always).wait(WAIT),
        Ok(0)
    );
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn declaring_again_changes_nothing_and_otherwise_fails(driver: Driver) {
    let engine = Scratch::new(driver);
    let name = engine.queue("again");
    engine.declare(&Queue::durable(&name)).wait(WAIT).unwrap();
    let other = Queue::durable(&name).auto_delete(true);
    assert_eq!(
        code(engine.declare(&other).wait(WAIT)),
        ReplyCode::PreconditionFailed
    );
    let exchange = engine.exchange("again", Exchange::direct);
    engine
        .declare_exchange(&Exchange::named(&exchange))
        .wait(WAIT)
        .unwrap();
    let other = engine.declare_exchange(&Exchange::fanout(&exchange));
    assert_eq!(code(other.wait(WAIT)), ReplyCode::PreconditionFailed);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn queues_in_use_or_not_empty_are_deleted_only_without_a_condition(driver: Driver) {
    let engine = Scratch::new(driver);
    let name = engine.queue("conditions");
    engine.fill(&name, 1);
    for condition in [DeleteIf::Empty, DeleteIf::UnusedAndEmpty] {
        let refused = engine.delete_queue(&name, condition).wait(WAIT);
        assert_eq!(code(refused), ReplyCode::PreconditionFailed);
    }
    engine.take(&name, 1);
    let consumer = engine
        .consume(Queue::named(&name), |_| Disposition::Ack)
        .unwrap();
    for condition in [DeleteIf::Unused, DeleteIf::UnusedAndEmpty] {
        let refused = engine.delete_queue(&name, condition).wait(WAIT);
        assert_eq!(code(refused), ReplyCode::PreconditionFailed);
    }
    consumer.cancel().wait(WAIT).unwrap();
    let deleted = engine.delete_queue(&name, DeleteIf::UnusedAndEmpty);
    assert_eq!(deleted.wait(WAIT), Ok(0));
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn an_exchange_with_bindings_is_in_use(driver: Driver) {
    let engine = Scratch::new(driver);
    let exchange = engine.exchange("in-use", Exchange::topic);
    let queue = engine.queue("in-use");
    let binding = amqp_uring::Binding::queue(&queue, &exchange, "#");
    engine.bind(&binding).wait(WAIT).unwrap();
    let refused = engine.delete_exchange(&exchange, DeleteIf::Unused);
    assert_eq!(code(refused.wait(WAIT)), ReplyCode::PreconditionFailed);
    engine.unbind(&binding).wait(WAIT).unwrap();
    engine
        .delete_exchange(&exchange, DeleteIf::Unused)
        .wait(WAIT)
        .unwrap();
    let gone = engine.declare_exchange(&Exchange::named(&exchange));
    assert_eq!(code(gone.wait(WAIT)), ReplyCode::NotFound);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn the_broker_names_a_queue_without_a_name(driver: Driver) {
    let engine = Scratch::new(driver);
    let first = engine.declare(&Queue::server_named()).wait(WAIT).unwrap();
    let second = engine.declare(&Queue::server_named()).wait(WAIT).unwrap();
    assert!(first.name.starts_with("amq.gen-"), "{first:?}");
    assert_ne!(first.name, second.name);
    engine.fill(&first.name, 1);
    assert_eq!(engine.depth(&first.name), 1);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn an_exclusive_queue_is_locked_for_others_and_goes_with_its_engine(driver: Driver) {
    let others = Scratch::new(driver);
    let owner = connect(driver);
    let name = others.queue_name("exclusive");
    let queue = Queue::transient(&name).exclusive(true);
    owner.declare(&queue).wait(WAIT).unwrap();
    let refused = [
        others.declare(&Queue::named(&name)).wait(WAIT).map(drop),
        others.purge(&name).wait(WAIT).map(drop),
        others.get(&name).wait(WAIT).map(drop),
        others
            .consume(Queue::named(&name), |_| Disposition::Ack)
            .map(drop),
        others
            .delete_queue(&name, DeleteIf::Always)
            .wait(WAIT)
            .map(drop),
    ];
    for refused in refused {
        assert_eq!(code(refused), ReplyCode::ResourceLocked);
    }
    owner.shutdown(WAIT).unwrap();
    let gone = others.declare(&Queue::named(&name)).wait(WAIT);
    assert_eq!(code(gone), ReplyCode::NotFound);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn arguments_of_a_queue_reach_the_broker(driver: Driver) {
    let engine = Scratch::new(driver);
    let name = engine.queue_name("arguments");
    let queue = Queue::durable(&name).argument("x-max-length", 3i64);
    engine.declare(&queue).wait(WAIT).unwrap();
    engine.fill(&name, 5);
    assert_eq!(engine.take_texts(&name, 3), ["2", "3", "4"]);
    let bad = Queue::durable(&name).argument("x-max-length", "three");
    assert_eq!(
        code(engine.declare(&bad).wait(WAIT)),
        ReplyCode::PreconditionFailed
    );
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn quorum_queues_and_streams_can_be_declared_and_used(driver: Driver) {
    let engine = Scratch::new(driver);
    let quorum = engine.queue_name("quorum");
    engine.declare(&Queue::quorum(&quorum)).wait(WAIT).unwrap();
    engine.fill(&quorum, 3);
    assert_eq!(engine.take_texts(&quorum, 3), ["0", "1", "2"]);
    let stream = engine.queue_name("stream");
    engine.declare(&Queue::stream(&stream)).wait(WAIT).unwrap();
    engine.fill(&stream, 3);
    for _ in 0..2 {
        let (sender, receiver) = std::sync::mpsc::channel();
        let consumer = engine
            .consumer(Queue::named(&stream))
            .prefetch(10)
            .argument("x-stream-offset", "first")
            .start(move |delivery| {
                let _ = sender.send(delivery.body().to_vec());
                Disposition::Ack
            })
            .wait(WAIT)
            .unwrap();
        let read = super::support::receive(&receiver, 3);
        assert_eq!(read, [b"0", b"1", b"2"]);
        consumer.cancel().wait(WAIT).unwrap();
    }
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn many_operations_can_be_under_way_at_once(driver: Driver) {
    let engine = Scratch::new(driver);
    let names: Vec<_> = (0..200).map(|_| engine.queue_name("many")).collect();
    let calls: Vec<_> = names
        .iter()
        .map(|name| engine.declare(&Queue::transient(name)))
        .collect();
    for (call, name) in calls.into_iter().zip(&names) {
        assert_eq!(&call.wait(WAIT).unwrap().name, name);
    }
    let calls: Vec<_> = names
        .iter()
        .map(|name| engine.delete_queue(name, DeleteIf::Always))
        .collect();
    for call in calls {
        call.wait(WAIT).unwrap();
    }
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn an_error_is_the_answer_to_its_operation_and_to_no_other(driver: Driver) {
    let engine = Scratch::new(driver);
    let good = engine.queue("good");
    let calls: Vec<_> = (0..40)
        .map(|number| {
            let name = if number % 3 == 0 {
                "no-such-queue"
            } else {
                &good
            };
            engine.declare(&Queue::named(name))
        })
        .collect();
    for (number, call) in calls.into_iter().enumerate() {
        let answer = call.wait(WAIT);
        if number % 3 == 0 {
            assert_eq!(code(answer), ReplyCode::NotFound);
        } else {
            assert_eq!(answer.unwrap().name, good);
        }
    }
}
