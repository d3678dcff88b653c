//! What expires, and when.

use super::*;

#[test]
fn a_message_lives_no_longer_than_it_or_its_queue_allows() {
    let mut bench = Bench::new(&with_dead_letters(&[("x-message-ttl", 100.into())]));
    bench.publish_with("short", expiring("10"));
    bench.publish("plain");
    bench.publish_with("long", expiring("1000"));
    assert_eq!(
        bench.queue.deadline(),
        Some(bench.now + Duration::from_millis(10))
    );
    bench.pass(9);
    assert_eq!(bench.dead(), [""; 0]);
    bench.pass(1);
    assert_eq!(bench.dead(), ["short: expired"]);
    bench.pass(90);
    assert_eq!(bench.dead(), ["plain: expired", "long: expired"]);
    assert_eq!(bench.queue.deadline(), None);
}

#[test]
fn a_message_behind_one_that_lives_longer_waits_and_expires_when_it_gets_to_the_head() {
    let mut bench = Bench::new(&with_dead_letters(&[]));
    bench.publish_with("long", expiring("100000"));
    bench.publish_with("short", expiring("50"));
    bench.publish("last");
    bench.pass(300);
    assert_eq!(bench.queue.ready(), 3);
    assert_eq!(bench.drain(), ["long", "last"]);
    assert_eq!(bench.dead(), ["short: expired"]);
}

#[test]
fn each_priority_has_a_head() {
    let mut bench = Bench::new(&[("x-max-priority", 5.into())]);
    bench.publish_with("low", expiring("50"));
    bench.publish_with("high", Properties::builder().priority(3));
    bench.publish_with("behind high", expiring("50").priority(3));
    bench.pass(300);
    assert_eq!(bench.queue.ready(), 2);
    assert_eq!(bench.drain(), ["high"]);
}

#[test]
fn a_message_that_lives_for_0_ms_gets_to_a_consumer_that_waits() {
    let mut bench = Bench::new(&with_dead_letters(&[("x-message-ttl", 0.into())]));
    bench.publish("nobody waits");
    assert_eq!(bench.dead(), ["nobody waits: expired"]);
    bench.consume(1, 0);
    bench.publish("a");
    assert_eq!(bench.deliveries(&[1]), ["1: a"]);
    bench.publish("b");
    assert_eq!(bench.deliveries(&[]), [""; 0]);
    assert_eq!(bench.dead(), ["b: expired"]);
}

#[test]
fn what_expired_is_not_delivered_before_a_tick_either() {
    let mut bench = Bench::new(&[("x-message-ttl", 10.into())]);
    bench.consume(1, 0);
    bench.publish("a");
    bench.now += Duration::from_millis(11);
    assert_eq!(bench.deliveries(&[1]), [""; 0]);
    bench.publish("b");
    bench.now += Duration::from_millis(10);
    assert!(bench.get().is_none());
}

#[test]
fn what_is_requeued_expires_when_it_would_have() {
    let mut bench = Bench::new(&with_dead_letters(&[("x-message-ttl", 200.into())]));
    bench.publish("a");
    let published = bench.now;
    let entry = bench.get().unwrap();
    bench.pass(400);
    bench.requeue(entry);
    assert_eq!(
        bench.queue.deadline(),
        Some(published + Duration::from_millis(200))
    );
    bench.pass(0);
    assert_eq!(bench.dead(), ["a: expired"]);
}

#[test]
fn an_unused_queue_expires() {
    let mut bench = Bench::new(&[("x-expires", 100.into())]);
    assert_eq!(
        bench.queue.deadline(),
        Some(bench.now + Duration::from_millis(100))
    );
    assert_eq!(bench.pass(99), Fate::Stays);
    assert!(bench.get().is_none());
    assert_eq!(bench.pass(99), Fate::Stays);
    bench.queue.touch(bench.now);
    bench.publish("is no use");
    assert_eq!(bench.pass(99), Fate::Stays);
    assert_eq!(bench.pass(1), Fate::Ends);
}

#[test]
fn a_queue_with_consumers_does_not_expire() {
    let mut bench = Bench::new(&[("x-expires", 100.into())]);
    bench.consume(1, 0);
    assert_eq!(bench.queue.deadline(), None);
    assert_eq!(bench.pass(1000), Fate::Stays);
    bench.queue.remove_consumer(consumer_id(1), bench.now);
    assert_eq!(bench.pass(99), Fate::Stays);
    assert_eq!(bench.pass(1), Fate::Ends);
}
