//! Consume, transform, publish on a real broker.

use std::sync::mpsc::channel;

use amqp_uring::{
    BatchPolicy, Disposition, Driver, Properties, Publisher, PublisherOptions, Queue, Receipt,
};
use macro_rules_attribute::apply;

use super::on_every_driver;
use super::support::{Scratch, WAIT, builder, keep, wait_until};

const MESSAGES: u32 = 3000;

fn numbers() -> Vec<String> {
    (0..MESSAGES).map(|number| number.to_string()).collect()
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn every_message_is_passed_on_once_and_in_order(driver: Driver) {
    let engine = Scratch::new(driver);
    let (input, output) = (engine.queue("input"), engine.queue("output"));
    engine.fill(&input, MESSAGES);
    let mut publisher = engine.publisher(PublisherOptions::default()).unwrap();
    let to = output.clone();
    let consumer = engine
        .consumer(Queue::named(&input))
        .beside(&publisher)
        .start(move |delivery| {
            let properties = Properties::persistent();
            match publisher.try_publish("", &to, &properties, delivery.body()) {
                Ok(receipt) => Disposition::AckAfter(receipt),
                Err(_) => Disposition::Nack { requeue: true },
            }
        })
        .wait(WAIT)
        .unwrap();
    wait_until("all outputs", || engine.depth(&output) == MESSAGES);
    consumer.cancel().wait(WAIT).unwrap();
    assert_eq!(engine.take_texts(&output, MESSAGES as usize), numbers());
    assert_eq!(engine.depth(&input), 0);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn batches_are_passed_on_whole(driver: Driver) {
    let engine = Scratch::new(driver);
    let (input, output) = (engine.queue("input"), engine.queue("output"));
    engine.fill(&input, MESSAGES);
    let mut publisher = engine.publisher(PublisherOptions::default()).unwrap();
    let to = output.clone();
    let consumer = engine
        .consumer(Queue::named(&input))
        .batches(BatchPolicy::default(), move |batch| {
            let properties = Properties::persistent();
            let receipts: Result<Vec<Receipt>, _> = batch
                .iter()
                .map(|delivery| publisher.try_publish("", &to, &properties, delivery.body()))
                .collect();
            receipts.map_or(
                Disposition::Nack { requeue: true },
                Disposition::AckAfterAll,
            )
        })
        .wait(WAIT)
        .unwrap();
    wait_until("all outputs", || engine.depth(&output) == MESSAGES);
    consumer.cancel().wait(WAIT).unwrap();
    assert_eq!(engine.take_texts(&output, MESSAGES as usize), numbers());
    assert_eq!(engine.depth(&input), 0);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn an_input_whose_output_has_no_queue_or_no_room_comes_again(driver: Driver) {
    let engine = Scratch::new(driver);
    let (input, full) = (engine.queue("input"), engine.queue_name("full"));
    let no_room = Queue::durable(&full)
        .argument("x-max-length", 0)
        .argument("x-overflow", "reject-publish");
    engine.declare(&no_room).wait(WAIT).unwrap();
    engine.fill(&input, 2);
    let mut publisher = engine.publisher(PublisherOptions::default()).unwrap();
    let (sender, seen) = channel();
    let consumer = engine
        .consumer(Queue::named(&input))
        .start(move |delivery| {
            let (properties, body) = (Properties::persistent(), delivery.body());
            if delivery.redelivered() {
                sender.send(body.to_vec()).unwrap();
                return Disposition::Ack;
            }
            let receipt = match body {
                b"0" => publisher.publish_mandatory("", "no such queue", &properties, body),
                _ => publisher.publish("", &full, &properties, body),
            };
            Disposition::AckAfter(receipt.unwrap())
        })
        .wait(WAIT)
        .unwrap();
    let mut again = [0, 1].map(|_| seen.recv_timeout(WAIT).unwrap());
    again.sort();
    assert_eq!(again, [b"0", b"1"]);
    consumer.cancel().wait(WAIT).unwrap();
    assert_eq!(engine.depth(&input), 0);
}

#[apply(on_every_driver!)]
#[ignore = "needs RabbitMQ: tests/run starts one"]
fn detached_inputs_are_tied_on_any_thread_and_across_workers(driver: Driver) {
    let engine = Scratch::on(builder(driver).workers(2).start().wait(WAIT).unwrap());
    let (input, output) = (engine.queue("input"), engine.queue("output"));
    engine.fill(&input, MESSAGES);
    let mut publishers = [(); 2].map(|()| engine.publisher(PublisherOptions::default()).unwrap());
    let (consumer, deliveries) = keep(&engine, &input, 500);
    for number in 0..MESSAGES as usize {
        let delivery = deliveries.recv_timeout(WAIT).unwrap();
        let properties = Properties::persistent();
        let publish = |publisher: &mut Publisher| {
            let body = delivery.message.body.clone();
            publisher.publish("", &output, &properties, body).unwrap()
        };
        match number % 3 {
            0 => delivery.acker.ack_after(publish(&mut publishers[0])),
            1 => delivery.acker.ack_after(publish(&mut publishers[1])),
            _ => {
                let receipts = publishers.each_mut().map(publish);
                delivery.acker.ack_after_all(receipts.into());
            }
        }
    }
    wait_until("all outputs", || {
        engine.depth(&output) == MESSAGES + MESSAGES / 3
    });
    consumer.cancel().wait(WAIT).unwrap();
    drop(deliveries);
    engine.fill(&input, 1);
    assert!(!engine.take(&input, 1)[0].redelivered, "nothing came back");
}
