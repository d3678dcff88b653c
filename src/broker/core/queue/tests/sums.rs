//! What the queue counts.

use super::*;

#[test]
fn messages_and_octets_are_counted_until_they_are_acked() {
    let mut bench = Bench::new(&[]);
    bench.publish_all(&["one", "two"]);
    let octets = bench.queue.octets();
    assert_eq!(octets, 2 * message("one", Properties::builder()).octets());
    let entry = bench.get().unwrap();
    assert_eq!((bench.queue.ready(), bench.queue.unacked()), (1, 1));
    assert_eq!(bench.queue.octets(), octets);
    bench.queue.acked(&entry);
    assert_eq!((bench.queue.ready(), bench.queue.unacked()), (1, 0));
    assert_eq!(bench.queue.octets(), octets / 2);
    bench.drain();
    assert_eq!(bench.queue.octets(), 0);
}

#[test]
fn deliveries_without_acks_are_not_unacked() {
    let mut bench = Bench::new(&[]);
    let new = NewConsumer {
        no_ack: true,
        ..new_consumer(1)
    };
    bench.queue.add_consumer(&new).unwrap();
    bench.publish("a");
    assert_eq!(bench.deliveries(&[1]), ["1: a"]);
    assert_eq!((bench.queue.unacked(), bench.queue.octets()), (0, 0));
}

#[test]
fn a_delivery_count_on_a_message_leaves_no_octets_behind() {
    let mut bench = Bench::quorum(&[]);
    bench.publish("a");
    for _ in 0..3 {
        let entry = bench.get().unwrap();
        bench.requeue(entry);
    }
    let entry = bench.get().unwrap();
    bench.queue.acked(&entry);
    assert_eq!(bench.queue.octets(), 0);
}
