//! Delivery counts of quorum queues.

use super::*;

fn count(entry: &Entry) -> Option<i64> {
    let count = entry.message.headers().get("x-delivery-count").unwrap();
    count.and_then(|count| count.as_i64())
}

#[test]
fn a_message_that_comes_back_more_often_than_the_limit_is_dead() {
    for limit in [0, 1, 2] {
        let arguments = [("x-delivery-limit", limit.into())];
        let mut bench = Bench::quorum(&with_dead_letters(&arguments));
        bench.publish("a");
        for deliveries in 0..=i64::from(limit) {
            let entry = bench.get().unwrap();
            assert_eq!(count(&entry), Some(deliveries));
            assert_eq!(entry.redelivered, deliveries > 0);
            bench.requeue(entry);
        }
        assert!(bench.get().is_none());
        assert_eq!(bench.dead(), ["a: delivery_limit"]);
        assert_eq!(bench.queue.octets(), 0);
    }
}

#[test]
fn a_consumer_sees_the_count_from_the_second_delivery_on() {
    let mut bench = Bench::quorum(&[]);
    bench.consume(1, 0);
    bench.publish("a");
    for expected in [None, Some(1), Some(2)] {
        let (_, entry) = bench.delivered_entries(&[1]).pop().unwrap();
        assert_eq!(count(&entry), expected);
        bench.requeue(entry);
    }
}

#[test]
fn dead_letters_bear_the_count_that_was_published_and_none_of_the_queues() {
    let mut bench = Bench::quorum(&with_dead_letters(&[]));
    let headers = FieldTable::new().with("x-delivery-count", 7).unwrap();
    bench.publish_with("a", Properties::builder().headers(&headers));
    let entry = bench.get().unwrap();
    assert_eq!(count(&entry), Some(0));
    bench.queue.reject(entry, &mut bench.effects);
    let headers = bench.effects.dead[0].message.headers();
    assert_eq!(headers.get("x-delivery-count"), Ok(Some(Value::I32(7))));
}

#[test]
fn a_classic_queue_counts_nothing() {
    let mut bench = Bench::new(&[]);
    bench.publish("a");
    let entry = bench.get().unwrap();
    bench.requeue(entry);
    assert_eq!(count(&bench.get().unwrap()), None);
}
