//! Limits on length.

use super::*;

#[test]
fn a_full_queue_drops_its_head() {
    let mut bench = Bench::new(&with_dead_letters(&[("x-max-length", 2.into())]));
    bench.publish_all(&["0", "1", "2", "3"]);
    assert_eq!(bench.dead(), ["0: maxlen", "1: maxlen"]);
    assert_eq!(bench.drain(), ["2", "3"]);
}

#[test]
fn the_head_of_a_queue_with_priorities_is_the_highest() {
    let arguments = [("x-max-length", 2.into()), ("x-max-priority", 5.into())];
    let mut bench = Bench::new(&with_dead_letters(&arguments));
    for (body, priority) in [("0", 0), ("5", 5), ("3", 3), ("1", 1)] {
        bench.publish_with(body, Properties::builder().priority(priority));
    }
    assert_eq!(bench.dead(), ["5: maxlen", "3: maxlen"]);
    assert_eq!(bench.drain(), ["1", "0"]);
}

#[test]
fn octets_of_bodies_are_limited_too() {
    let mut bench = Bench::new(&[("x-max-length-bytes", 10.into())]);
    bench.publish_all(&["aaaaa", "bbbbb"]);
    assert_eq!(bench.queue.ready(), 2);
    bench.publish("c");
    assert_eq!(bench.queue.ready(), 2);
    bench.publish_all(&["dddddddddddd", "e"]);
    assert_eq!(bench.drain(), ["e"]);
}

#[test]
fn a_full_queue_that_rejects_accepts_again_once_there_is_room() {
    let arguments = [
        ("x-max-length", 2.into()),
        ("x-overflow", "reject-publish".into()),
    ];
    let mut bench = Bench::new(&with_dead_letters(&arguments));
    bench.publish_all(&["0", "1"]);
    assert_eq!(bench.publish("2"), Published::Rejected);
    bench.get().unwrap();
    assert_eq!(bench.publish("3"), Published::Accepted);
    assert_eq!(bench.drain(), ["1", "3"]);
    assert_eq!(bench.dead(), [""; 0]);
}

#[test]
fn a_message_is_rejected_that_has_more_octets_than_there_is_room_for() {
    let arguments = [
        ("x-max-length-bytes", 10.into()),
        ("x-overflow", "reject-publish".into()),
    ];
    let mut bench = Bench::new(&arguments);
    bench.publish_all(&["aaaaa", "bbbbb"]);
    assert_eq!(bench.publish("c"), Published::Rejected);
    assert_eq!(bench.publish(""), Published::Accepted);
}

#[test]
fn what_is_rejected_may_be_dead_lettered_as_well() {
    let arguments = [
        ("x-max-length", 1.into()),
        ("x-overflow", "reject-publish-dlx".into()),
    ];
    let mut bench = Bench::new(&with_dead_letters(&arguments));
    bench.publish("0");
    assert_eq!(bench.publish("1"), Published::Rejected);
    assert_eq!(bench.dead(), ["1: maxlen"]);
    assert_eq!(bench.drain(), ["0"]);
}

#[test]
fn a_quorum_queue_drops_its_head_where_a_classic_one_would_reject_to_the_dead_letters() {
    let arguments = [
        ("x-max-length", 1.into()),
        ("x-overflow", "reject-publish-dlx".into()),
    ];
    let mut bench = Bench::quorum(&with_dead_letters(&arguments));
    bench.publish_all(&["0", "1"]);
    assert_eq!(bench.dead(), ["0: maxlen"]);
    assert_eq!(bench.drain(), ["1"]);
}

#[test]
fn a_waiting_consumer_gets_what_a_queue_of_length_0_would_not_keep() {
    let mut bench = Bench::new(&with_dead_letters(&[("x-max-length", 0.into())]));
    bench.publish("nobody waits");
    assert_eq!(bench.dead(), ["nobody waits: maxlen"]);
    bench.consume(1, 0);
    bench.publish("a");
    assert_eq!(bench.deliveries(&[1]), ["1: a"]);
    bench.publish("b");
    assert_eq!(bench.deliveries(&[]), [""; 0]);
    assert_eq!(bench.dead(), ["b: maxlen"]);
}

#[test]
fn what_comes_back_to_a_full_queue_is_at_its_head_and_dropped() {
    let mut bench = Bench::new(&with_dead_letters(&[("x-max-length", 2.into())]));
    bench.publish_all(&["0", "1"]);
    let held: Vec<_> = (0..2).map_while(|_| bench.get()).collect();
    bench.publish_all(&["2", "3"]);
    for entry in held {
        bench.requeue(entry);
    }
    assert_eq!(bench.dead(), ["0: maxlen", "1: maxlen"]);
    assert_eq!(bench.drain(), ["2", "3"]);
}

#[test]
fn unacked_messages_do_not_count() {
    let mut bench = Bench::new(&[("x-max-length", 1.into())]);
    bench.publish("0");
    bench.get().unwrap();
    bench.publish("1");
    assert_eq!((bench.queue.ready(), bench.queue.unacked()), (1, 1));
}
