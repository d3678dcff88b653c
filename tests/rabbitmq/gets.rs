//! `basic.get`.

use amqp_uring::{Driver, Queue, ReplyCode};
use macro_rules_attribute::apply;

use super::on_every_driver;
use super::support::{Scratch, WAIT, connect, wait_until};

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn an_empty_queue_gives_nothing(driver: Driver) {
    let engine = Scratch::new(driver);
    let queue = engine.queue("empty");
    assert!(engine.get(&queue).wait(WAIT).unwrap().is_none());
    assert!(engine.get_no_ack(&queue).wait(WAIT).unwrap().is_none());
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn what_is_got_is_answered_through_its_acker(driver: Driver) {
    let scratch = Scratch::new(driver);
    let queue = scratch.queue("get");
    scratch.fill(&queue, 3);
    let engine = connect(driver);
    let get = || engine.get(&queue).wait(WAIT).unwrap().expect("a message");
    let first = get();
    assert_eq!(
        (&first.body[..], &*first.routing_key, first.redelivered),
        (&b"0"[..], &*queue, false)
    );
    first.acker.ack().unwrap();
    let second = get();
    assert_eq!(second.body, "1");
    drop(second);
    wait_until("the return of what was dropped", || {
        scratch.depth(&queue) == 2
    });
    let again = get();
    assert!(again.redelivered && again.body == "1");
    again.acker.reject(false).unwrap();
    let last = get();
    assert_eq!(last.body, "2");
    assert!(engine.get(&queue).wait(WAIT).unwrap().is_none());
    last.acker.ack().unwrap();
    engine.shutdown(WAIT).unwrap();
    assert_eq!(scratch.depth(&queue), 0);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn what_is_got_without_ack_is_gone(driver: Driver) {
    let engine = Scratch::new(driver);
    let queue = engine.queue("get-no-ack");
    engine.fill(&queue, 2);
    let first = engine.get_no_ack(&queue).wait(WAIT).unwrap().unwrap();
    assert_eq!(first.body, "0");
    // To say more of it would be an error of the channel, on which the next get would fail.
    first.acker.ack().unwrap();
    let second = engine.get_no_ack(&queue).wait(WAIT).unwrap().unwrap();
    drop(second.acker);
    assert!(engine.get(&queue).wait(WAIT).unwrap().is_none());
    assert_eq!(engine.depth(&queue), 0);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn many_gets_at_once_are_answered_in_order(driver: Driver) {
    let engine = Scratch::new(driver);
    let queue = engine.queue("gets");
    engine.fill(&queue, 300);
    let calls: Vec<_> = (0..301).map(|_| engine.get(&queue)).collect();
    let mut got = Vec::new();
    for call in calls {
        got.push(call.wait(WAIT).unwrap());
    }
    assert!(got.pop().unwrap().is_none());
    for (number, got) in got.into_iter().enumerate() {
        let got = got.unwrap();
        assert_eq!(got.body, number.to_string());
        got.acker.ack().unwrap();
    }
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_failed_get_requeues_what_was_got_before_and_the_next_one_works(driver: Driver) {
    let engine = Scratch::new(driver);
    let queue = engine.queue("get-fails");
    engine.fill(&queue, 1);
    let held = engine.get(&queue).wait(WAIT).unwrap().unwrap();
    let refused = engine.get("no-such-queue").wait(WAIT).unwrap_err();
    assert_eq!(refused.code(), Some(ReplyCode::NotFound));
    wait_until("the return of what was got", || engine.depth(&queue) == 1);
    // Its channel is gone: the answer is of no effect, above all not on the next channel.
    held.acker.ack().unwrap();
    let again = engine.get(&queue).wait(WAIT).unwrap().unwrap();
    assert!(again.redelivered);
    again.acker.ack().unwrap();
    assert!(engine.get(&queue).wait(WAIT).unwrap().is_none());
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_got_message_does_not_wait_for_declares(driver: Driver) {
    let engine = Scratch::new(driver);
    let queue = engine.queue("both");
    engine.fill(&queue, 1);
    let declare = engine.declare(&Queue::named("no-such-queue"));
    let got = engine.get(&queue);
    assert!(declare.wait(WAIT).is_err());
    let got = got.wait(WAIT).unwrap().unwrap();
    got.acker.ack().unwrap();
    assert_eq!(engine.depth(&queue), 0);
}
