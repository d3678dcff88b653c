//! In which order messages leave.

use super::*;

#[test]
fn messages_leave_in_the_order_in_which_they_were_published() {
    let mut bench = Bench::new(&[]);
    bench.publish_all(&["a", "b", "c"]);
    assert_eq!(bench.queue.ready(), 3);
    assert_eq!(bench.drain(), ["a", "b", "c"]);
    assert!(bench.get().is_none());
}

#[test]
fn what_is_requeued_goes_back_to_where_it_was() {
    let mut bench = Bench::new(&[]);
    bench.publish_all(&["0", "1", "2", "3", "4", "5"]);
    let mut held: Vec<_> = (0..4).map(|_| bench.get()).collect();
    for index in [2, 0, 3] {
        let entry = held[index].take().unwrap();
        bench.requeue(entry);
    }
    assert_eq!(bench.drain(), ["0!", "2!", "3!", "4", "5"]);
    let last = held[1].take().unwrap();
    bench.abandon(last);
    assert_eq!(bench.drain(), ["1!"]);
}

#[test]
fn a_quorum_queue_without_delivery_limit_appends_what_a_client_requeues() {
    let mut bench = Bench::quorum(&[]);
    bench.publish_all(&["0", "1", "2", "3", "4"]);
    let mut held: VecDeque<_> = (0..3).map_while(|_| bench.get()).collect();
    let (last, first) = (held.pop_back().unwrap(), held.pop_front().unwrap());
    bench.requeue(last);
    bench.requeue(first);
    assert_eq!(bench.drain(), ["3", "4", "2!", "0!"]);
}

#[test]
fn a_quorum_queue_with_delivery_limit_puts_it_before_the_rest_in_the_order_of_requeueing() {
    let mut bench = Bench::quorum(&[("x-delivery-limit", 5.into())]);
    bench.publish_all(&["0", "1", "2", "3", "4"]);
    let mut held: VecDeque<_> = (0..3).map_while(|_| bench.get()).collect();
    let (last, first) = (held.pop_back().unwrap(), held.pop_front().unwrap());
    bench.requeue(last);
    bench.requeue(first);
    assert_eq!(bench.drain(), ["2!", "0!", "3", "4"]);
}

#[test]
fn what_the_end_of_a_channel_gives_back_comes_first_in_any_quorum_queue() {
    let mut bench = Bench::quorum(&[]);
    bench.publish_all(&["0", "1", "2"]);
    let held: Vec<_> = (0..2).map_while(|_| bench.get()).collect();
    for entry in held {
        bench.abandon(entry);
    }
    assert_eq!(bench.drain(), ["0!", "1!", "2"]);
}

#[test]
fn the_highest_priority_leaves_first_and_a_higher_one_than_the_queue_has_counts_as_its_highest() {
    let mut bench = Bench::new(&[("x-max-priority", 5.into())]);
    bench.publish("none");
    for (body, priority) in [("0", 0), ("5", 5), ("3", 3), ("9", 9), ("3 again", 3)] {
        bench.publish_with(body, Properties::builder().priority(priority));
    }
    assert_eq!(bench.drain(), ["5", "9", "3", "3 again", "none", "0"]);
}

#[test]
fn a_queue_without_priorities_does_not_look_at_them() {
    let mut bench = Bench::new(&[]);
    bench.publish_with("low", Properties::builder().priority(0));
    bench.publish_with("high", Properties::builder().priority(9));
    assert_eq!(bench.drain(), ["low", "high"]);
}

#[test]
fn what_is_requeued_keeps_its_priority() {
    let mut bench = Bench::new(&[("x-max-priority", 5.into())]);
    bench.publish_all(&["low 1", "low 2"]);
    let entry = bench.get().unwrap();
    bench.publish_with("high", Properties::builder().priority(4));
    bench.requeue(entry);
    assert_eq!(bench.drain(), ["high", "low 1!", "low 2"]);
}

#[test]
fn purging_takes_what_is_ready_and_leaves_what_is_unacked() {
    let mut bench = Bench::new(&[]);
    bench.publish_all(&["a", "b", "c"]);
    let held = bench.get().unwrap();
    assert_eq!(bench.queue.purge(), 2);
    assert_eq!((bench.queue.ready(), bench.queue.unacked()), (0, 1));
    bench.requeue(held);
    assert_eq!(bench.drain(), ["a!"]);
}

/// Each of the second half goes between two of the first: moving what is behind it would take minutes.
#[test]
fn very_much_is_given_back_in_turns_as_fast_as_it_was_taken() {
    const MESSAGES: usize = 300_000;
    let mut bench = Bench::new(&[]);
    for number in 0..MESSAGES {
        bench.publish(&number.to_string());
    }
    let held = (0..MESSAGES).map_while(|_| bench.get());
    let (mut even, mut odd) = (Vec::new(), Vec::new());
    for (number, entry) in held.collect::<Vec<_>>().into_iter().enumerate() {
        match number % 2 {
            0 => even.push(entry),
            _ => odd.push(entry),
        }
    }
    let before = Instant::now();
    for entry in even.into_iter().chain(odd) {
        bench.abandon(entry);
    }
    assert!(before.elapsed() < Duration::from_secs(20));
    let expected = (0..MESSAGES).map(|number| format!("{number}!"));
    assert!(bench.drain().into_iter().eq(expected));
}
