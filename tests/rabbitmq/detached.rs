//! Deliveries that leave their handler: acks from other threads, in any order.

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use amqp_uring::{DetachedDelivery, Disposition, Driver, Error, Queue};
use macro_rules_attribute::apply;

use super::on_every_driver;
use super::support::{Scratch, WAIT, connect, keep, receive, wait_until};

/// Acknowledges `messages` deliveries on four threads, each holding a few back and answering them in reverse.
fn ack_in_disorder(receiver: Receiver<DetachedDelivery>, messages: usize, held_max: usize) {
    let shared = Arc::new(Mutex::new((receiver, messages)));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let mut held = Vec::new();
                loop {
                    let next = {
                        let (receiver, left) = &mut *shared.lock().unwrap();
                        if *left == 0 {
                            break;
                        }
                        *left -= 1;
                        receiver.recv_timeout(WAIT).unwrap()
                    };
                    held.push(next.acker);
                    if held.len() == held_max {
                        held.drain(..).rev().for_each(|acker| acker.ack().unwrap());
                    }
                }
                held.drain(..).rev().for_each(|acker| acker.ack().unwrap());
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn acks_in_any_order_from_many_threads_leave_nothing_behind(driver: Driver) {
    const MESSAGES: u32 = 4000;
    let scratch = Scratch::new(driver);
    // With four threads that hold two each, a window of nine always has one that can be delivered.
    for prefetch in [9, 50] {
        let queue = scratch.queue("disorder");
        scratch.fill(&queue, MESSAGES);
        let engine = connect(driver);
        let (_, receiver) = keep(&engine, &queue, prefetch);
        ack_in_disorder(receiver, MESSAGES as usize, 2);
        engine.shutdown(WAIT).unwrap();
        assert_eq!(scratch.depth(&queue), 0);
        scratch.fill(&queue, 1);
        let fresh = scratch.take(&queue, 1);
        assert!(!fresh[0].redelivered);
    }
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_window_of_one_goes_on_with_every_ack(driver: Driver) {
    let engine = Scratch::new(driver);
    let queue = engine.queue("one");
    engine.fill(&queue, 300);
    let (_consumer, receiver) = keep(&engine, &queue, 1);
    for number in 0..300 {
        let delivery = receive(&receiver, 1).remove(0);
        assert_eq!(delivery.body, number.to_string());
        delivery.acker.ack().unwrap();
    }
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn one_delivery_that_is_held_does_not_stop_the_others(driver: Driver) {
    let engine = Scratch::new(driver);
    let queue = engine.queue("held");
    engine.fill(&queue, 1000);
    let (consumer, receiver) = keep(&engine, &queue, 10);
    let held = receive(&receiver, 1).remove(0);
    for _ in 0..999 {
        receive(&receiver, 1).remove(0).acker.ack().unwrap();
    }
    assert_eq!(held.body, "0");
    held.acker.ack().unwrap();
    consumer.cancel().wait(WAIT).unwrap();
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_dropped_acker_requeues(driver: Driver) {
    let engine = Scratch::new(driver);
    let queue = engine.queue("dropped");
    engine.fill(&queue, 5);
    let (_consumer, receiver) = keep(&engine, &queue, 100);
    drop(receive(&receiver, 5));
    for (number, again) in receive(&receiver, 5).into_iter().enumerate() {
        assert!(again.redelivered);
        assert_eq!(again.body, number.to_string());
        again.acker.ack().unwrap();
    }
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn ackers_nack_and_reject_with_and_without_requeue(driver: Driver) {
    let engine = Scratch::new(driver);
    let queue = engine.queue("nack");
    engine.fill(&queue, 4);
    let (consumer, receiver) = keep(&engine, &queue, 100);
    for (number, delivery) in receive(&receiver, 4).into_iter().enumerate() {
        let requeue = number % 2 == 0;
        match number < 2 {
            true => delivery.acker.nack(requeue).unwrap(),
            false => delivery.acker.reject(requeue).unwrap(),
        }
    }
    let mut again = receive(&receiver, 2);
    again.sort_by_key(|delivery| delivery.body.clone());
    assert_eq!([&again[0].body[..], &again[1].body[..]], [b"0", b"2"]);
    assert!(again.iter().all(|delivery| delivery.redelivered));
    again
        .into_iter()
        .for_each(|delivery| delivery.acker.ack().unwrap());
    consumer.cancel().wait(WAIT).unwrap();
    assert_eq!(engine.depth(&queue), 0);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn ack_up_to_answers_everything_before(driver: Driver) {
    let scratch = Scratch::new(driver);
    let queue = scratch.queue("up-to");
    scratch.fill(&queue, 20);
    let engine = connect(driver);
    let (_, receiver) = keep(&engine, &queue, 100);
    let mut held = receive(&receiver, 20);
    let rest = held.split_off(15);
    let fifteenth = held.pop().unwrap();
    held.remove(3).acker.reject(false).unwrap();
    fifteenth.acker.ack_up_to().unwrap();
    // Those before it are answered: that their ackers are dropped now has no effect.
    drop(held);
    drop(rest);
    engine.shutdown(WAIT).unwrap();
    let expected: Vec<_> = (15..20).map(|number| number.to_string()).collect();
    assert_eq!(scratch.take_texts(&queue, 5), expected);
    assert_eq!(scratch.depth(&queue), 0);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_cancelled_consumers_deliveries_can_still_be_answered(driver: Driver) {
    let scratch = Scratch::new(driver);
    let queue = scratch.queue("late");
    scratch.fill(&queue, 10);
    let engine = connect(driver);
    let (consumer, receiver) = keep(&engine, &queue, 10);
    let held = receive(&receiver, 10);
    consumer.cancel().wait(WAIT).unwrap();
    for delivery in held {
        delivery.acker.ack().unwrap();
    }
    engine.shutdown(WAIT).unwrap();
    assert_eq!(scratch.depth(&queue), 0);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn an_answer_after_the_end_of_the_engine_says_so(driver: Driver) {
    let scratch = Scratch::new(driver);
    let queue = scratch.queue("stopped");
    scratch.fill(&queue, 2);
    let engine = connect(driver);
    let (_, receiver) = keep(&engine, &queue, 10);
    let mut held = receive(&receiver, 2);
    drop(engine.shutdown(std::time::Duration::ZERO));
    let acker = held.remove(0).acker;
    wait_until("the end of the worker", || {
        // An acker of the same engine tells without being used up: a dropped one is ignored.
        scratch.depth(&queue) == 2
    });
    assert_eq!(acker.ack(), Err(Error::Stopped));
    drop(held);
    assert!(
        scratch
            .take(&queue, 2)
            .iter()
            .all(|taken| taken.redelivered)
    );
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn an_answer_beside_an_acker_counts_once(driver: Driver) {
    let engine = Scratch::new(driver);
    let queue = engine.queue("beside");
    engine.fill(&queue, 50);
    let (sender, receiver) = channel();
    let consumer = engine
        .consume(Queue::named(&queue), move |delivery| {
            // Detached, and answered in place all the same: the acker comes too late.
            let _ = sender.send(delivery.detach());
            Disposition::Ack
        })
        .unwrap();
    for delivery in receive(&receiver, 50) {
        delivery.acker.nack(true).unwrap();
    }
    consumer.cancel().wait(WAIT).unwrap();
    assert_eq!(engine.depth(&queue), 0);
}
