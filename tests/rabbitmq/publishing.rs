//! Publishers: outcomes, returns, refusals, ends.

use std::thread;

use amqp_uring::{
    Driver, Error, Exchange, Outcome, Payload, Properties, Publisher, PublisherOptions, Queue,
};
use bytes::Bytes;
use macro_rules_attribute::apply;

use super::on_every_driver;
use super::support::{Scratch, WAIT, builder, connect, wait_until};

const NONE: Properties = Properties::empty();

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn every_publish_is_confirmed_and_counted(driver: Driver) {
    let engine = Scratch::new(driver);
    let queue = engine.queue("confirms");
    let mut publisher = engine.confirming();
    let mut receipts: Vec<_> = (0..1000)
        .map(|_| {
            publisher
                .publish("", &queue, &Properties::persistent(), "x")
                .unwrap()
        })
        .collect();
    for (number, receipt) in receipts.iter_mut().enumerate() {
        assert_eq!(receipt.delivery_tag(), number as u64 + 1);
        assert_eq!(receipt.wait(WAIT), Ok(Outcome::Acked));
        assert_eq!(receipt.wait(WAIT), Ok(Outcome::Acked));
        assert_eq!(receipt.try_outcome(), Ok(Some(Outcome::Acked)));
    }
    assert_eq!(publisher.pending(), 0);
    let report = publisher.wait_for_confirms(WAIT).unwrap();
    assert_eq!((report.counts.acked, report.counts.total()), (1000, 1000));
    assert!(report.failures.is_empty());
    let nothing_new = publisher.wait_for_confirms(WAIT).unwrap();
    assert_eq!(nothing_new.counts.total(), 0);
    assert_eq!(engine.depth(&queue), 1000);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn bodies_can_be_given_in_many_ways(driver: Driver) {
    let engine = Scratch::new(driver);
    let queue = engine.queue("payloads");
    let mut publisher = engine.confirming();
    let text = String::from("text");
    let octets = vec![b't', b'e', b'x', b't'];
    let payloads: [Payload<'_>; 8] = [
        "text".into(),
        b"text".into(),
        (&octets[..]).into(),
        (&octets).into(),
        (&text).into(),
        text.clone().into(),
        octets.clone().into(),
        Bytes::from_static(b"text").into(),
    ];
    for payload in payloads {
        publisher.publish("", &queue, &NONE, payload).unwrap();
    }
    publisher.wait_for_confirms(WAIT).unwrap();
    assert_eq!(engine.take_texts(&queue, 8), ["text"; 8]);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn an_unroutable_mandatory_message_comes_back_with_its_receipt(driver: Driver) {
    let engine = Scratch::new(driver);
    let queue = engine.queue("routable");
    let mut publisher = engine.confirming();
    let properties = Properties::builder().message_id("m").build().unwrap();
    let mut receipts = Vec::new();
    for number in 0..300 {
        let key = if number % 3 == 0 { "nowhere" } else { &queue };
        let body = format!("body {number}");
        receipts.push(match number % 2 {
            0 => publisher
                .publish_mandatory("", key, &properties, body)
                .unwrap(),
            _ => publisher.publish("", key, &properties, body).unwrap(),
        });
    }
    for (number, receipt) in receipts.iter_mut().enumerate() {
        let outcome = receipt.wait(WAIT).unwrap();
        if number % 6 == 0 {
            let Outcome::Returned(returned) = outcome else {
                panic!("{number}: {outcome:?}");
            };
            assert_eq!((returned.code, returned.text.as_str()), (312, "NO_ROUTE"));
            assert_eq!(
                (returned.exchange.as_str(), returned.routing_key.as_str()),
                ("", "nowhere")
            );
            assert_eq!(returned.body, format!("body {number}"));
            assert_eq!(returned.properties, properties);
        } else {
            assert_eq!(outcome, Outcome::Acked, "{number}");
        }
    }
    let report = publisher.wait_for_confirms(WAIT).unwrap();
    assert_eq!((report.counts.acked, report.counts.returned), (250, 50));
    assert!(
        report.failures.is_empty(),
        "the receipts were asked: {:?}",
        report.failures
    );
    assert_eq!(engine.depth(&queue), 200);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn equal_unroutable_messages_are_each_returned(driver: Driver) {
    let engine = Scratch::new(driver);
    let mut publisher = engine.confirming();
    for _ in 0..50 {
        publisher
            .publish_mandatory("", "nowhere", &NONE, "same")
            .unwrap();
    }
    let report = publisher.wait_for_confirms(WAIT).unwrap();
    assert_eq!((report.counts.returned, report.counts.total()), (50, 50));
    let tags: Vec<_> = report.failures.iter().map(|(tag, _)| *tag).collect();
    assert_eq!(tags, (1..=50).collect::<Vec<_>>());
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_large_mandatory_message_comes_back_whole(driver: Driver) {
    let engine = Scratch::new(driver);
    let mut publisher = engine.confirming();
    let body: Vec<u8> = (0..1_000_000u32).map(|number| number as u8).collect();
    for payload in [
        Payload::Borrowed(&body),
        Payload::Shared(body.clone().into()),
    ] {
        let mut receipt = publisher
            .publish_mandatory("", "nowhere", &NONE, payload)
            .unwrap();
        let Ok(Outcome::Returned(returned)) = receipt.wait(WAIT) else {
            panic!("not returned");
        };
        assert!(returned.body == body);
    }
}

/// A queue with room for so many, that refuses more.
fn bounded(engine: &Scratch, messages: i64) -> String {
    let name = engine.queue_name("bounded");
    let queue = Queue::durable(&name)
        .argument("x-max-length", messages)
        .argument("x-overflow", "reject-publish");
    engine.declare(&queue).wait(WAIT).unwrap();
    name
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn what_a_full_queue_refuses_is_nacked(driver: Driver) {
    let engine = Scratch::new(driver);
    let queue = bounded(&engine, 3);
    let mut publisher = engine.confirming();
    let mut outcomes = Vec::new();
    for _ in 0..6 {
        let mut receipt = publisher.publish("", &queue, &NONE, "x").unwrap();
        outcomes.push(receipt.wait(WAIT).unwrap());
    }
    assert_eq!(outcomes[..3], [const { Outcome::Acked }; 3]);
    assert_eq!(outcomes[3..], [const { Outcome::Nacked }; 3]);
    let report = publisher.wait_for_confirms(WAIT).unwrap();
    assert_eq!((report.counts.acked, report.counts.nacked), (3, 3));
    assert!(!report.counts.all_acked());
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn failures_without_a_receipt_are_in_the_report_once(driver: Driver) {
    let engine = Scratch::new(driver);
    let queue = bounded(&engine, 1);
    let mut publisher = engine.confirming();
    let acked = publisher
        .publish("", &queue, &NONE, "x")
        .unwrap()
        .wait(WAIT);
    assert_eq!(acked, Ok(Outcome::Acked));
    for _ in 0..100 {
        publisher.publish("", &queue, &NONE, "x").unwrap();
    }
    let report = publisher.wait_for_confirms(WAIT).unwrap();
    assert_eq!((report.counts.acked, report.counts.nacked), (1, 100));
    let expected: Vec<_> = (2..=101).map(|tag| (tag, Outcome::Nacked)).collect();
    assert_eq!(report.failures, expected);
    let again = publisher.wait_for_confirms(WAIT).unwrap();
    assert_eq!((again.counts.total(), again.failures), (0, Vec::new()));
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn acks_nacks_and_returns_of_a_mixed_stream_find_their_publishes(driver: Driver) {
    let engine = Scratch::new(driver);
    let (open, full) = (engine.queue("open"), bounded(&engine, 0));
    let mut publisher = engine.confirming();
    let mut receipts: Vec<_> = (0..3000)
        .map(|number| {
            let key = match number % 3 {
                0 => open.as_str(),
                1 => full.as_str(),
                _ => "nowhere",
            };
            publisher
                .publish_mandatory("", key, &NONE, number.to_string())
                .unwrap()
        })
        .collect();
    for (number, receipt) in receipts.iter_mut().enumerate() {
        let outcome = receipt.wait(WAIT).unwrap();
        match (number % 3, &outcome) {
            (0, Outcome::Acked) | (1, Outcome::Nacked) => {}
            (2, Outcome::Returned(returned)) => assert_eq!(returned.body, number.to_string()),
            _ => panic!("{number}: {outcome:?}"),
        }
    }
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_queue_with_no_room_stops_a_publisher_that_never_looks(driver: Driver) {
    let engine = Scratch::new(driver);
    let full = bounded(&engine, 0);
    let options = PublisherOptions::default().window_messages(100);
    let mut publisher = engine.publisher(options).unwrap();
    let mut stopped = None;
    for _ in 0..20_000 {
        if let Err(error) = publisher.publish("", &full, &NONE, "x") {
            stopped = Some(error);
            break;
        }
    }
    assert!(
        matches!(stopped, Some(Error::OutcomesNotCollected(_))),
        "{stopped:?}"
    );
    let report = publisher.wait_for_confirms(WAIT).unwrap();
    assert_eq!(report.failures.len() as u64, report.counts.nacked);
    publisher.publish("", &full, &NONE, "x").unwrap();
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn unconfirmed_messages_arrive_in_order(driver: Driver) {
    let engine = Scratch::new(driver);
    let queue = engine.queue("unconfirmed");
    let mut publisher = engine.unconfirmed_publisher(Default::default()).unwrap();
    for number in 0..20_000 {
        publisher
            .publish("", &queue, &NONE, number.to_string())
            .unwrap();
    }
    publisher.close().wait(WAIT).unwrap();
    let texts = engine.take_texts(&queue, 20_000);
    assert!(
        texts
            .iter()
            .enumerate()
            .all(|(number, text)| *text == number.to_string())
    );
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_small_window_of_octets_limits_an_unconfirmed_publisher_and_nothing_is_lost(driver: Driver) {
    let engine = Scratch::new(driver);
    let queue = engine.queue("small-window");
    let options = PublisherOptions::default().window_octets(1);
    let mut publisher = engine.unconfirmed_publisher(options).unwrap();
    for number in 0..2000 {
        publisher
            .publish("", &queue, &NONE, number.to_string())
            .unwrap();
    }
    publisher.close().wait(WAIT).unwrap();
    wait_until("every message", || engine.depth(&queue) == 2000);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_dropped_publisher_sends_what_it_has(driver: Driver) {
    let engine = Scratch::new(driver);
    let queue = engine.queue("dropped");
    let mut publisher = engine.confirming();
    let mut receipts: Vec<_> = (0..500)
        .map(|_| publisher.publish("", &queue, &NONE, "x").unwrap())
        .collect();
    drop(publisher);
    for receipt in &mut receipts {
        assert_eq!(receipt.wait(WAIT), Ok(Outcome::Acked));
    }
    let mut unconfirmed = engine.unconfirmed_publisher(Default::default()).unwrap();
    for _ in 0..500 {
        unconfirmed.publish("", &queue, &NONE, "x").unwrap();
    }
    drop(unconfirmed);
    wait_until("every message", || engine.depth(&queue) == 1000);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn publishers_on_several_threads_and_workers_do_not_disturb_each_other(driver: Driver) {
    let builder = builder(driver).workers(2);
    let engine = Scratch::on(builder.start().wait(WAIT).unwrap());
    let exchange = engine.exchange("threads", Exchange::fanout);
    let queue = engine.queue("threads");
    let binding = amqp_uring::Binding::queue(&queue, &exchange, "");
    engine.bind(&binding).wait(WAIT).unwrap();
    let publish = |mut publisher: Publisher, from: usize| {
        for number in 0..2500 {
            let body = format!("{from} {number}");
            publisher.publish(&exchange, "", &NONE, body).unwrap();
        }
        publisher.wait_for_confirms(WAIT).unwrap().counts
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|from| {
                let publisher = engine.confirming();
                scope.spawn(move || publish(publisher, from))
            })
            .collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap().acked, 2500);
        }
    });
    let mut next = [0; 4];
    for text in engine.take_texts(&queue, 10_000) {
        let (from, number) = text.split_once(' ').unwrap();
        let next = &mut next[from.parse::<usize>().unwrap()];
        assert_eq!(number.parse(), Ok(*next));
        *next += 1;
    }
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn a_publisher_after_the_end_of_its_engine_says_so(driver: Driver) {
    let scratch = Scratch::new(driver);
    let queue = scratch.queue("stopped");
    let engine = connect(driver);
    let mut publisher = engine.publisher(Default::default()).unwrap();
    let mut receipt = publisher.publish("", &queue, &NONE, "x").unwrap();
    engine.shutdown(WAIT).unwrap();
    assert_eq!(receipt.wait(WAIT), Ok(Outcome::Acked));
    let error = publisher.publish("", &queue, &NONE, "x").unwrap_err();
    assert_eq!(error, Error::Stopped);
    assert_eq!(publisher.wait_for_confirms(WAIT).unwrap().counts.acked, 1);
    assert_eq!(publisher.close().wait(WAIT), Err(Error::Stopped));
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn many_publishers_come_and_go(driver: Driver) {
    let engine = Scratch::new(driver);
    let queue = engine.queue("come-and-go");
    for _ in 0..60 {
        let mut publishers: Vec<_> = (0..5).map(|_| engine.confirming()).collect();
        for publisher in &mut publishers {
            publisher.publish("", &queue, &NONE, "x").unwrap();
        }
        for (number, publisher) in publishers.into_iter().enumerate() {
            if number % 2 == 0 {
                publisher.close().wait(WAIT).unwrap();
            }
        }
    }
    wait_until("every message", || engine.depth(&queue) == 300);
}
