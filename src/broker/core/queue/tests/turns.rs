//! Which consumer gets a message.

use super::*;

#[test]
fn consumers_take_turns() {
    let mut bench = Bench::new(&[]);
    for consumer in [1, 2, 3] {
        bench.consume(consumer, 0);
    }
    bench.publish_all(&["a", "b", "c", "d"]);
    let all = bench.deliveries(&[1, 2, 3]);
    assert_eq!(all, ["1: a", "2: b", "3: c", "1: d"]);
    bench.publish_all(&["e", "f"]);
    assert_eq!(bench.deliveries(&[1, 3]), ["3: e", "1: f"]);
}

#[test]
fn a_consumer_of_a_lower_priority_gets_what_the_higher_ones_cannot_take() {
    let mut bench = Bench::new(&[]);
    for (consumer, priority) in [(1, 0), (2, 5), (3, 5), (4, -1)] {
        bench.consume(consumer, priority);
    }
    bench.publish_all(&["a", "b", "c"]);
    assert_eq!(bench.deliveries(&[1, 2, 3, 4]), ["2: a", "3: b", "2: c"]);
    bench.publish("d");
    assert_eq!(bench.deliveries(&[1, 4]), ["1: d"]);
    bench.publish("e");
    assert_eq!(bench.deliveries(&[4]), ["4: e"]);
    bench.publish("f");
    assert_eq!(bench.deliveries(&[]), [""; 0]);
    assert_eq!(bench.queue.ready(), 1);
}

#[test]
fn turns_go_on_with_the_next_when_a_consumer_is_gone() {
    let mut bench = Bench::new(&[]);
    for consumer in [1, 2, 3] {
        bench.consume(consumer, 0);
    }
    bench.publish_all(&["a", "b"]);
    assert_eq!(bench.deliveries(&[1, 2, 3]), ["1: a", "2: b"]);
    bench.queue.remove_consumer(consumer_id(1), bench.now);
    bench.publish_all(&["c", "d", "e"]);
    assert_eq!(bench.deliveries(&[1, 2, 3]), ["3: c", "2: d", "3: e"]);
    bench.queue.remove_consumer(consumer_id(3), bench.now);
    bench.publish("f");
    assert_eq!(bench.deliveries(&[1, 2, 3]), ["2: f"]);
}

#[test]
fn a_single_active_consumer_gets_all_until_it_is_gone() {
    let mut bench = Bench::new(&[("x-single-active-consumer", true.into())]);
    for (consumer, priority) in [(1, 0), (2, 5), (3, 5), (4, 9)] {
        bench.consume(consumer, priority);
    }
    bench.publish_all(&["a", "b"]);
    assert_eq!(bench.deliveries(&[2, 3, 4]), [""; 0]);
    assert_eq!(bench.deliveries(&[1, 2, 3, 4]), ["1: a", "1: b"]);
    for (gone, next) in [(1, "4: c"), (4, "2: c"), (2, "3: c")] {
        bench.queue.remove_consumer(consumer_id(gone), bench.now);
        bench.publish("c");
        assert_eq!(bench.deliveries(&[1, 2, 3, 4]), [next]);
    }
}

#[test]
fn in_a_quorum_queue_the_oldest_consumer_is_the_next_single_active_one() {
    let mut bench = Bench::quorum(&[("x-single-active-consumer", true.into())]);
    for (consumer, priority) in [(1, 0), (2, 5), (3, 9)] {
        bench.consume(consumer, priority);
    }
    bench.queue.remove_consumer(consumer_id(1), bench.now);
    bench.publish("a");
    assert_eq!(bench.deliveries(&[1, 2, 3]), ["2: a"]);
}

fn exclusive(consumer: u32) -> NewConsumer<'static> {
    NewConsumer {
        exclusive: true,
        ..new_consumer(consumer)
    }
}

const IN_USE: &str = "ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use";

#[test]
fn an_exclusive_consumer_is_alone() {
    let mut bench = Bench::new(&[]);
    bench.queue.add_consumer(&new_consumer(1)).unwrap();
    let refused = bench.queue.add_consumer(&exclusive(2)).unwrap_err();
    assert_eq!(refused.reply_text(), IN_USE);
    bench.queue.remove_consumer(consumer_id(1), bench.now);
    bench.queue.add_consumer(&exclusive(2)).unwrap();
    let refused = bench.queue.add_consumer(&new_consumer(1)).unwrap_err();
    assert_eq!(refused.reply_text(), IN_USE);
    bench.queue.remove_consumer(consumer_id(2), bench.now);
    assert_eq!(bench.queue.add_consumer(&new_consumer(1)), Ok(()));
    assert_eq!(bench.queue.consumer_count(), 1);
}

#[test]
fn an_exclusive_consumer_cannot_be_single_active() {
    let mut bench = Bench::new(&[("x-single-active-consumer", true.into())]);
    let refused = bench.queue.add_consumer(&exclusive(1)).unwrap_err();
    assert_eq!(refused.reply_text(), IN_USE);
}

#[test]
fn a_quorum_queue_takes_exclusive_consumers_for_any_others() {
    let mut bench = Bench::quorum(&[]);
    for consumer in [1, 2] {
        assert_eq!(bench.queue.add_consumer(&exclusive(consumer)), Ok(()));
    }
}

#[test]
fn wrong_arguments_of_a_consumer_are_refused() {
    let mut bench = Bench::new(&[]);
    for (name, value, reason) in [
        (
            "x-priority",
            "a".into(),
            r#": "expected integer, got longstr""#,
        ),
        (
            "x-cancel-on-ha-failover",
            Value::I32(1),
            ": {unacceptable_type,signedint}",
        ),
        (
            "x-stream-offset",
            Value::I32(1),
            " of queue type rabbit_classic_queue",
        ),
    ] {
        let arguments = FieldTable::new().with(name, value).unwrap();
        let new = NewConsumer {
            arguments: arguments.as_table(),
            ..new_consumer(1)
        };
        assert_eq!(
            bench.queue.add_consumer(&new).unwrap_err().reply_text(),
            format!(
                "PRECONDITION_FAILED - invalid arg '{name}' for queue 'q' in vhost '/'{reason}"
            )
        );
    }
    assert_eq!(bench.queue.consumer_count(), 0);
}

#[test]
fn an_auto_delete_queue_ends_with_its_last_consumer() {
    let declaration = Declaration {
        vhost: "/",
        name: "q",
        durable: false,
        exclusive: false,
        auto_delete: true,
        arguments: Table::default(),
    };
    let mut bench = Bench::declared(&declaration);
    let now = bench.now;
    assert_eq!(
        bench.queue.remove_consumer(consumer_id(1), now),
        Fate::Stays
    );
    bench.consume(1, 0);
    bench.consume(2, 0);
    assert_eq!(
        bench.queue.remove_consumer(consumer_id(1), now),
        Fate::Stays
    );
    assert_eq!(bench.queue.remove_consumer(consumer_id(2), now), Fate::Ends);
}
