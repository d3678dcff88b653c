//! Sleeping, and what ends it.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

#[apply(on_every_driver!)]
fn a_turn_sleeps_until_its_deadline_and_not_much_longer(kind: Kind) {
    let mut worker = Worker::new(kind, &small());
    worker.turn(Some(Instant::now()));
    for millis in [1, 10, 40] {
        let wait = Duration::from_millis(millis);
        let before = Instant::now();
        assert_eq!(worker.turn(Some(before + wait)), 0);
        let slept = before.elapsed();
        // The upper bound is for a busy machine; alone it is within 100 µs.
        assert!(
            slept >= wait && slept < wait + Duration::from_millis(500),
            "{wait:?}: {slept:?}"
        );
    }
}

#[apply(on_every_driver!)]
fn a_deadline_that_has_passed_or_more_work_makes_no_wait(kind: Kind) {
    let mut worker = Worker::new(kind, &small());
    worker.turn(Some(Instant::now()));
    let enters = worker.driver.stats().enters;
    worker.turn(Some(Instant::now()));
    worker.driver.turn(None, || true, &mut Vec::new()).unwrap();
    // A ring shows without a system call that it has nothing; epoll has to be asked.
    let looks = if kind == Kind::Epoll { 2 } else { 0 };
    assert_eq!(worker.driver.stats().enters, enters + looks);
}

#[apply(on_every_driver!)]
fn what_has_come_in_is_seen_without_waiting(kind: Kind) {
    let (address, peers) = listen(1, |_, mut stream| {
        stream.write_all(b"x").unwrap();
        drop(stream.read(&mut [0]));
    });
    let mut worker = Worker::new(kind, &small());
    let link = worker.connect(address);
    let deadline = Instant::now() + PATIENCE;
    let mut events = Vec::new();
    while events.is_empty() {
        assert!(Instant::now() < deadline);
        worker.driver.turn(None, || true, &mut events).unwrap();
    }
    assert!(
        matches!(&events[..], [Event::Received(from, octets)] if *from == link && octets[..] == *b"x")
    );
    worker.driver.close(link);
    worker.until(|worker| worker.driver.stats().links == 0);
    peers.join().unwrap();
}

#[apply(on_every_driver!)]
fn another_thread_ends_an_endless_turn_and_no_wake_up_is_lost(kind: Kind) {
    const ITEMS: usize = 20_000;
    let queue = std::sync::Arc::new(AtomicUsize::new(0));
    let mut driver = Any::new(kind, &small());
    let producer = thread::spawn({
        let (queue, waker) = (queue.clone(), driver.waker());
        move || {
            for item in 0..ITEMS {
                queue.fetch_add(1, Ordering::Relaxed);
                waker.wake();
                // Lets the worker fall asleep now and then.
                if item % 16 == 0 {
                    while queue.load(Ordering::Relaxed) > 0 {
                        thread::yield_now();
                    }
                }
            }
        }
    });
    let mut taken = 0;
    while taken < ITEMS {
        driver
            .turn(None, || queue.load(Ordering::Relaxed) > 0, &mut Vec::new())
            .unwrap();
        taken += queue.swap(0, Ordering::Relaxed);
    }
    producer.join().unwrap();
}

#[apply(on_every_driver!)]
fn a_wake_up_while_the_worker_is_awake_writes_nothing(kind: Kind) {
    let mut worker = Worker::new(kind, &small());
    worker.turn(Some(Instant::now()));
    let waker = worker.driver.waker();
    for _ in 0..100 {
        waker.wake();
    }
    worker.turn(Some(Instant::now() + Duration::from_millis(1)));
    assert_eq!(worker.driver.stats().wakes, 0);
}

#[apply(on_every_driver!)]
fn a_waker_outlives_its_driver(kind: Kind) {
    let driver = Any::new(kind, &small());
    let waker = driver.waker();
    drop(driver);
    waker.wake();
}

#[apply(on_every_driver!)]
fn a_latency_budget_gathers_and_the_deadline_still_wins(kind: Kind) {
    let (address, peers) = listen(1, |_, mut stream| {
        let mut order = [0];
        while stream.read_exact(&mut order).is_ok() {
            stream.write_all(b"a").unwrap();
        }
    });
    let mut worker = Worker::new(kind, &small());
    let link = worker.connect(address);
    if worker.driver.stats().gathers {
        let budget = Duration::from_millis(30);
        worker.driver.set_latency_budget(budget);
        worker.driver.send(link, Segment::from(vec![1]));
        let before = Instant::now();
        worker.until(|worker| worker.received(link).len() == 1);
        assert!(before.elapsed() >= budget);

        worker.driver.set_latency_budget(Duration::from_secs(1));
        worker.driver.send(link, Segment::from(vec![1]));
        let before = Instant::now();
        worker.turn(Some(before + Duration::from_millis(5)));
        assert!(before.elapsed() < Duration::from_millis(900));

        worker.driver.set_latency_budget(Duration::ZERO);
    }
    worker.driver.close(link);
    worker.until(|worker| worker.driver.stats().links == 0);
    peers.join().unwrap();
}
