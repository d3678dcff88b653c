//! Consumers: order, options, prefetch, answers.

use std::collections::HashSet;
use std::sync::mpsc::channel;
use std::time::Duration;

use amqp_uring::{
    CancelReason, ConsumerState, Disposition, Driver, Error, Properties, PublisherOptions, Queue,
    ReplyCode,
};
use macro_rules_attribute::apply;

use super::on_every_driver;
use super::support::{Scratch, WAIT, builder, keep, receive, tally, wait_until};

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn tens_of_thousands_of_deliveries_come_in_order(driver: Driver) {
    const MESSAGES: u64 = 40_000;
    let engine = Scratch::new(driver);
    let queue = engine.queue("order");
    let (sender, receiver) = channel();
    let mut next = 0;
    let consumer = engine
        .consume(Queue::named(&queue), move |delivery| {
            let number = u64::from_le_bytes(delivery.body().try_into().unwrap());
            if number != next || delivery.redelivered() || next + 1 == MESSAGES {
                let _ = sender.send((number, next));
            }
            next += 1;
            Disposition::Ack
        })
        .unwrap();
    let mut publisher = engine.confirming();
    for number in 0..MESSAGES {
        publisher
            .publish("", &queue, &Properties::default(), &number.to_le_bytes())
            .unwrap();
    }
    assert_eq!(
        publisher.wait_for_confirms(WAIT).unwrap().counts.acked,
        MESSAGES
    );
    assert_eq!(receive(&receiver, 1), [(MESSAGES - 1, MESSAGES - 1)]);
    consumer.cancel().wait(WAIT).unwrap();
    assert_eq!(consumer.state(), ConsumerState::Cancelled);
    wait_until("an empty queue without unanswered deliveries", || {
        engine.depth(&queue) == 0
    });
    engine.purge(&queue).wait(WAIT).unwrap();
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn two_consumers_share_a_queue(driver: Driver) {
    const MESSAGES: u32 = 5_000;
    let builder = builder(driver).workers(2);
    let engine = Scratch::on(builder.start().wait(WAIT).unwrap());
    let queue = engine.queue("shared");
    let (sender, receiver) = channel();
    for name in ["one", "two"] {
        let sender = sender.clone();
        engine
            .consumer(Queue::named(&queue))
            .prefetch(100)
            .start(move |delivery| {
                let _ = sender.send((name, delivery.body().to_vec(), delivery.redelivered()));
                Disposition::Ack
            })
            .wait(WAIT)
            .unwrap();
    }
    engine.fill(&queue, MESSAGES);
    let seen = receive(&receiver, MESSAGES as usize);
    let distinct: HashSet<_> = seen.iter().map(|(_, body, _)| body).collect();
    assert_eq!(distinct.len(), MESSAGES as usize);
    assert!(seen.iter().all(|(.., redelivered)| !redelivered));
    let shares = tally(seen.iter().map(|(name, ..)| name.to_string()));
    assert_eq!(shares.len(), 2, "{shares:?}");
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn no_more_deliveries_come_than_the_prefetch_allows(driver: Driver) {
    let engine = Scratch::new(driver);
    let queue = engine.queue("prefetch");
    engine.fill(&queue, 30);
    let (consumer, receiver) = keep(&engine, &queue, 7);
    let mut held = receive(&receiver, 7);
    // What is not on the way to the consumer is ready in the queue.
    assert_eq!(engine.depth(&queue), 23);
    for round in 0..4 {
        held.remove(0).acker.ack().unwrap();
        held.extend(receive(&receiver, 1));
        assert_eq!(engine.depth(&queue), 22 - round);
    }
    let bodies: Vec<_> = held.iter().map(|held| held.body.clone()).collect();
    assert_eq!(bodies, ["4", "5", "6", "7", "8", "9", "10"]);
    assert!(receiver.try_recv().is_err());
    drop(held);
    consumer.cancel().wait(WAIT).unwrap();
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn the_prefetch_of_a_running_consumer_can_be_raised_and_lowered(driver: Driver) {
    let engine = Scratch::new(driver);
    let queue = engine.queue("set-prefetch");
    engine.fill(&queue, 100);
    let (consumer, receiver) = keep(&engine, &queue, 2);
    let tag = consumer.tag();
    let mut held = receive(&receiver, 2);
    assert_eq!(engine.depth(&queue), 98);
    // What came before does not count in the new window.
    consumer.set_prefetch(10).wait(WAIT).unwrap();
    held.extend(receive(&receiver, 10));
    assert_eq!(engine.depth(&queue), 88);
    assert_eq!(consumer.state(), ConsumerState::Consuming);
    assert_ne!(consumer.tag(), tag);
    consumer.set_prefetch(1).wait(WAIT).unwrap();
    held.extend(receive(&receiver, 1));
    assert_eq!(engine.depth(&queue), 87);
    for held in held {
        held.acker.ack().unwrap();
    }
    for depth in (0..=86).rev() {
        let next = receive(&receiver, 1).remove(0);
        assert_eq!(engine.depth(&queue), depth);
        assert!(!next.redelivered);
        next.acker.ack().unwrap();
    }
    consumer.cancel().wait(WAIT).unwrap();
    assert_eq!(consumer.set_prefetch(5).wait(WAIT), Err(Error::Cancelled));
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn changing_the_prefetch_under_load_loses_and_doubles_nothing(driver: Driver) {
    const MESSAGES: u32 = 10_000;
    let engine = Scratch::new(driver);
    let quorum = engine.queue_name("set-prefetch-quorum");
    engine.declare(&Queue::quorum(&quorum)).wait(WAIT).unwrap();
    for queue in [engine.queue("set-prefetch-load"), quorum] {
        engine.fill(&queue, MESSAGES);
        let (sender, receiver) = channel();
        let consumer = engine
            .consumer(Queue::named(&queue))
            .prefetch(100)
            .start(move |delivery| {
                let _ = sender.send((delivery.body().to_vec(), delivery.redelivered()));
                Disposition::Ack
            })
            .wait(WAIT)
            .unwrap();
        for prefetch in [500, 7, 0, 1000, 50] {
            consumer.set_prefetch(prefetch).wait(WAIT).unwrap();
            let twice = [consumer.set_prefetch(prefetch), consumer.set_prefetch(200)];
            let [first, second] = twice.map(|call| call.wait(WAIT));
            assert_eq!(first, Ok(()));
            assert!(
                second.is_ok() || matches!(second, Err(Error::Refused { .. })),
                "{second:?}"
            );
        }
        let mut again = 0;
        let mut seen: Vec<u32> = receive(&receiver, MESSAGES as usize)
            .into_iter()
            .map(|(body, redelivered)| {
                again += u32::from(redelivered);
                String::from_utf8(body).unwrap().parse().unwrap()
            })
            .collect();
        // A quorum queue marks what the cancelled consumer was about to get, although it never came.
        assert!(again == 0 || queue.contains("quorum"), "{again} in {queue}");
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..MESSAGES));
        consumer.cancel().wait(WAIT).unwrap();
    }
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_prefetch_of_zero_is_no_limit(driver: Driver) {
    let engine = Scratch::new(driver);
    let queue = engine.queue("unlimited");
    engine.fill(&queue, 3000);
    let (consumer, receiver) = keep(&engine, &queue, 0);
    let held = receive(&receiver, 3000);
    held.into_iter()
        .next_back()
        .unwrap()
        .acker
        .ack_up_to()
        .unwrap();
    consumer.cancel().wait(WAIT).unwrap();
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn without_acks_the_broker_forgets_at_once(driver: Driver) {
    let engine = Scratch::new(driver);
    let queue = engine.queue("no-ack");
    engine.fill(&queue, 500);
    let (sender, receiver) = channel();
    let consumer = engine
        .consumer(Queue::named(&queue))
        .no_ack(true)
        .prefetch(1)
        .start(move |delivery| {
            let _ = sender.send(delivery.detach());
            Disposition::Detached
        })
        .wait(WAIT)
        .unwrap();
    // Ackers of such deliveries have nothing to say, and do no harm.
    for (number, delivery) in receive(&receiver, 500).into_iter().enumerate() {
        assert_eq!(delivery.body, number.to_string());
        match number % 3 {
            0 => delivery.acker.ack().unwrap(),
            1 => delivery.acker.nack(true).unwrap(),
            _ => drop(delivery),
        }
    }
    consumer.cancel().wait(WAIT).unwrap();
    assert_eq!(engine.depth(&queue), 0);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_consumer_has_the_tag_it_was_given_or_one_of_the_broker(driver: Driver) {
    let engine = Scratch::new(driver);
    let queue = engine.queue("tag");
    let (sender, receiver) = channel();
    let given = engine
        .consumer(Queue::named(&queue))
        .tag("my-tag")
        .start(move |delivery| {
            let _ = sender.send(delivery.consumer_tag().to_string());
            Disposition::Ack
        })
        .wait(WAIT)
        .unwrap();
    assert_eq!(
        (given.tag(), given.queue()),
        ("my-tag".to_owned(), queue.clone())
    );
    engine.fill(&queue, 1);
    assert_eq!(receive(&receiver, 1), ["my-tag"]);
    given.cancel().wait(WAIT).unwrap();
    let chosen = engine
        .consume(Queue::named(&queue), |_| Disposition::Ack)
        .unwrap();
    assert!(chosen.tag().starts_with("amq.ctag-"), "{chosen:?}");
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn an_exclusive_consumer_is_alone(driver: Driver) {
    let engine = Scratch::new(driver);
    let queue = engine.queue("exclusive");
    let exclusive = || engine.consumer(Queue::named(&queue)).exclusive(true);
    let first = exclusive().start(|_| Disposition::Ack).wait(WAIT).unwrap();
    let refused = exclusive()
        .start(|_| Disposition::Ack)
        .wait(WAIT)
        .unwrap_err();
    assert_eq!(refused.code(), Some(ReplyCode::AccessRefused), "{refused}");
    first.cancel().wait(WAIT).unwrap();
    exclusive().start(|_| Disposition::Ack).wait(WAIT).unwrap();
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn the_consumer_with_the_higher_priority_is_served_first(driver: Driver) {
    let engine = Scratch::new(driver);
    let queue = engine.queue("priority");
    let (sender, receiver) = channel();
    for priority in [1, 10] {
        let sender = sender.clone();
        engine
            .consumer(Queue::named(&queue))
            .priority(priority)
            .start(move |_| {
                let _ = sender.send(priority);
                Disposition::Ack
            })
            .wait(WAIT)
            .unwrap();
    }
    engine.fill(&queue, 50);
    assert_eq!(receive(&receiver, 50), [10; 50]);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_nacked_or_rejected_delivery_comes_again(driver: Driver) {
    let engine = Scratch::new(driver);
    let queue = engine.queue("again");
    engine.fill(&queue, 4);
    let (sender, receiver) = channel();
    let consumer = engine
        .consume(Queue::named(&queue), move |delivery| {
            let body = delivery.body().to_vec();
            let is_first = !delivery.redelivered();
            let _ = sender.send((body.clone(), delivery.redelivered()));
            match body.as_slice() {
                b"1" if is_first => Disposition::Nack { requeue: true },
                b"2" if is_first => Disposition::Reject { requeue: true },
                // Nobody detached it: it must not hang for ever.
                b"3" if is_first => Disposition::Detached,
                _ => Disposition::Ack,
            }
        })
        .unwrap();
    let mut seen = receive(&receiver, 7);
    consumer.cancel().wait(WAIT).unwrap();
    seen.sort();
    let expected = [
        ("0", false),
        ("1", false),
        ("1", true),
        ("2", false),
        ("2", true),
        ("3", false),
        ("3", true),
    ];
    assert_eq!(
        seen,
        expected.map(|(body, again)| (body.as_bytes().to_vec(), again))
    );
    assert_eq!(engine.depth(&queue), 0);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn what_is_refused_without_requeue_is_dead_lettered(driver: Driver) {
    let engine = Scratch::new(driver);
    let dead = engine.queue("dead");
    let queue = engine.queue_name("alive");
    let declared = Queue::durable(&queue)
        .argument("x-dead-letter-exchange", "")
        .argument("x-dead-letter-routing-key", &dead);
    engine.declare(&declared).wait(WAIT).unwrap();
    let mut number = 0;
    engine
        .consume(Queue::named(&queue), move |_| {
            number += 1;
            match number {
                1 => Disposition::Nack { requeue: false },
                2 => Disposition::Reject { requeue: false },
                _ => Disposition::Ack,
            }
        })
        .unwrap();
    engine.fill(&queue, 3);
    let letters = engine.take(&dead, 2);
    assert_eq!([letters[0].text(), letters[1].text()], ["0", "1"]);
    let headers = letters[0].properties.as_ref().headers().unwrap().unwrap();
    let (_, death) = headers
        .iter()
        .map(Result::unwrap)
        .find(|(name, _)| name.as_bytes() == b"x-death")
        .unwrap();
    let first = death.as_array().unwrap().iter().next().unwrap().unwrap();
    let reason = first.as_table().unwrap().get("reason").unwrap().unwrap();
    assert_eq!(reason.as_str(), Some("rejected"));
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_handler_may_publish_but_not_wait(driver: Driver) {
    let engine = Scratch::new(driver);
    let (input, output) = (engine.queue("input"), engine.queue("output"));
    let mut publisher = engine.confirming();
    let helper = super::support::connect(driver);
    let (sender, receiver) = channel();
    let to = output.clone();
    engine
        .consume(Queue::named(&input), move |delivery| {
            let mut receipt = publisher
                .publish("", &to, &Properties::default(), delivery.body())
                .unwrap();
            let refused = [
                receipt.wait(WAIT).map(drop),
                publisher.wait_for_confirms(WAIT).map(drop),
                helper.declare(&Queue::named(&to)).wait(WAIT).map(drop),
                helper.publisher(PublisherOptions::default()).map(drop),
            ];
            let _ = sender.send(refused);
            Disposition::Ack
        })
        .unwrap();
    engine.fill(&input, 100);
    for refused in receive(&receiver, 100) {
        assert_eq!(refused, [const { Err(Error::WouldBlockWorker) }; 4]);
    }
    let expected: Vec<_> = (0..100).map(|number| number.to_string()).collect();
    assert_eq!(engine.take_texts(&output, 100), expected);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_full_window_inside_a_handler_is_an_error_and_no_standstill(driver: Driver) {
    let engine = Scratch::new(driver);
    let (input, output) = (engine.queue("input"), engine.queue("output"));
    let options = PublisherOptions::default().window_messages(1);
    let mut publisher = engine.publisher(options).unwrap();
    let (sender, receiver) = channel();
    engine
        .consume(Queue::named(&input), move |delivery| {
            let mut publish =
                || publisher.publish("", &output, &Properties::default(), delivery.body());
            // The confirm of the first cannot be read while the handler runs.
            let (_, second) = (publish(), publish());
            let _ = sender.send(second.map(drop));
            Disposition::Ack
        })
        .unwrap();
    engine.fill(&input, 1);
    assert_eq!(receive(&receiver, 1), [Err(Error::WouldBlockWorker)]);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn dropping_the_handle_does_not_end_the_consumer(driver: Driver) {
    let engine = Scratch::new(driver);
    let queue = engine.queue("dropped");
    let (sender, receiver) = channel();
    drop(engine.consume(Queue::named(&queue), move |delivery| {
        let _ = sender.send(delivery.body().to_vec());
        Disposition::Ack
    }));
    engine.fill(&queue, 1);
    assert_eq!(receive(&receiver, 1), [b"0"]);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn cancelling_twice_at_once_and_later_is_answered(driver: Driver) {
    let engine = Scratch::new(driver);
    let queue = engine.queue("twice");
    let consumer = engine
        .consume(Queue::named(&queue), |_| Disposition::Ack)
        .unwrap();
    let calls = [consumer.cancel(), consumer.cancel(), consumer.cancel()];
    for call in calls {
        call.wait(WAIT).unwrap();
    }
    consumer.cancel().wait(Duration::from_secs(5)).unwrap();
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn the_prefetch_of_a_consumer_whose_queue_would_go_with_it_stays(driver: Driver) {
    let engine = Scratch::new(driver);
    let call = engine.consumer(Queue::server_named());
    let consumer = call.start(|_| Disposition::Ack).wait(WAIT).unwrap();
    let refused = consumer.set_prefetch(5).wait(WAIT);
    assert!(
        matches!(
            refused,
            Err(Error::Parameter {
                what: "prefetch",
                ..
            })
        ),
        "{refused:?}"
    );
    assert_eq!(consumer.state(), ConsumerState::Consuming);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_cancel_is_answered_after_its_callback(driver: Driver) {
    let engine = Scratch::new(driver);
    let (sender, receiver) = std::sync::mpsc::channel();
    let consumer = engine
        .consumer(Queue::server_named())
        .on_cancel(move |reason| sender.send(reason.clone()).unwrap())
        .start(|_| Disposition::Ack)
        .wait(WAIT)
        .unwrap();
    consumer.cancel().wait(WAIT).unwrap();
    assert_eq!(receiver.try_recv(), Ok(CancelReason::Requested));
}
