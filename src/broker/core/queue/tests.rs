use std::collections::VecDeque;
use std::time::Duration;

use super::*;
use crate::protocol::{EncodeError, FieldTable, Properties, PropertiesBuilder, Table, Value};

/// A queue with a clock, and the sums of what it has given out.
struct Bench {
    queue: Queue,
    now: Instant,
    effects: Effects,
}

fn consumer_id(consumer: u32) -> ConsumerId {
    ConsumerId {
        session: SessionId(1),
        channel: 1,
        consumer,
    }
}

fn message(body: &str, properties: PropertiesBuilder) -> Message {
    let properties = properties.build().unwrap();
    Message::new(b"x", b"key", properties.encoded(), &[body.as_bytes()]).unwrap()
}

fn body(entry: &Entry) -> String {
    String::from_utf8_lossy(entry.message.body()).into_owned()
}

fn new_consumer(consumer: u32) -> NewConsumer<'static> {
    NewConsumer {
        id: consumer_id(consumer),
        no_ack: false,
        exclusive: false,
        arguments: Table::default(),
    }
}

impl Bench {
    fn new(arguments: &[(&str, Value<'_>)]) -> Self {
        let table: Result<_, EncodeError> = arguments
            .iter()
            .try_fold(FieldTable::new(), |table, (name, value)| {
                table.with(name, *value)
            });
        let table = table.unwrap();
        let declaration = Declaration {
            vhost: "/",
            name: "q",
            durable: true,
            exclusive: false,
            auto_delete: false,
            arguments: table.as_table(),
        };
        Self::declared(&declaration)
    }

    fn quorum(arguments: &[(&str, Value<'_>)]) -> Self {
        let kind = ("x-queue-type", Value::from("quorum"));
        Self::new(&[&[kind], arguments].concat())
    }

    fn declared(declaration: &Declaration<'_>) -> Self {
        let now = Instant::now();
        Self {
            queue: Queue::declare(QueueId(1), declaration, SessionId(1), now).unwrap(),
            now,
            effects: Effects::default(),
        }
    }

    fn publish(&mut self, body: &str) -> Published {
        self.publish_with(body, Properties::builder())
    }

    fn publish_with(&mut self, body: &str, properties: PropertiesBuilder) -> Published {
        let message = message(body, properties);
        self.queue.publish(self.now, message, &mut self.effects)
    }

    fn publish_all(&mut self, bodies: &[&str]) {
        for body in bodies {
            assert_eq!(self.publish(body), Published::Accepted);
        }
    }

    fn consume(&mut self, consumer: u32, priority: i32) {
        let arguments = FieldTable::new().with("x-priority", priority).unwrap();
        let new = NewConsumer {
            arguments: arguments.as_table(),
            ..new_consumer(consumer)
        };
        self.queue.add_consumer(&new).unwrap();
    }

    fn get(&mut self) -> Option<Entry> {
        self.queue.pop(self.now, false, &mut self.effects)
    }

    /// What is delivered while these consumers can take anything, `consumer: body`.
    fn deliveries(&mut self, willing: &[u32]) -> Vec<String> {
        let entries = self.delivered_entries(willing);
        let shown = entries
            .iter()
            .map(|(to, entry)| format!("{to}: {}", body(entry)));
        shown.collect()
    }

    fn delivered_entries(&mut self, willing: &[u32]) -> Vec<(u32, Entry)> {
        let mut entries = Vec::new();
        while let Some((to, entry)) = self.queue.next_delivery(
            self.now,
            |id| willing.contains(&id.consumer),
            &mut self.effects,
        ) {
            entries.push((to.consumer, entry));
        }
        entries
    }

    /// Takes all that is ready; `!` marks what was delivered before.
    fn drain(&mut self) -> Vec<String> {
        let mut bodies = Vec::new();
        while let Some(entry) = self.queue.pop(self.now, true, &mut self.effects) {
            let mark = if entry.redelivered { "!" } else { "" };
            bodies.push(format!("{}{mark}", body(&entry)));
        }
        bodies
    }

    fn requeue(&mut self, entry: Entry) {
        self.queue.requeue(entry, Requeue::Asked, &mut self.effects);
    }

    fn abandon(&mut self, entry: Entry) {
        self.queue
            .requeue(entry, Requeue::Abandoned, &mut self.effects);
    }

    fn pass(&mut self, milliseconds: u64) -> Fate {
        self.now += Duration::from_millis(milliseconds);
        self.queue.tick(self.now, &mut self.effects)
    }

    /// `body: reason` of what has died since the last look.
    fn dead(&mut self) -> Vec<String> {
        let dead = std::mem::take(&mut self.effects.dead);
        let shown = dead.iter().map(|dead| {
            let body = String::from_utf8_lossy(dead.message.body());
            format!("{body}: {}", dead.reason.as_str())
        });
        shown.collect()
    }
}

fn expiring(milliseconds: &str) -> PropertiesBuilder {
    Properties::builder().expiration(milliseconds)
}

/// With dead letters, so that a test sees them.
fn with_dead_letters<'v>(arguments: &[(&'v str, Value<'v>)]) -> Vec<(&'v str, Value<'v>)> {
    let target = ("x-dead-letter-exchange", Value::from("dlx"));
    [&[target], arguments].concat()
}

mod order {
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
    fn the_highest_priority_leaves_first_and_a_higher_one_than_the_queue_has_counts_as_its_highest()
    {
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
}

mod sums {
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
}

mod turns {
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
}

mod length {
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
}

mod time {
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
}

mod delivery_count {
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
}

mod life {
    use super::*;

    const LOCKED: &str = "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'q' in vhost '/'. It could be \
                          originally declared on another connection or the exclusive property value does not match that \
                          of the original declaration.";

    #[test]
    fn an_exclusive_queue_is_its_connections_own() {
        let plain = Declaration {
            vhost: "/",
            name: "q",
            durable: false,
            exclusive: false,
            auto_delete: false,
            arguments: Table::default(),
        };
        let exclusive = Declaration {
            exclusive: true,
            ..plain
        };
        let (own, other) = (SessionId(1), SessionId(2));
        let mut bench = Bench::declared(&exclusive);
        let queue = &mut bench.queue;
        assert_eq!(queue.check_access(own), Ok(()));
        assert_eq!(queue.check_access(other).unwrap_err().reply_text(), LOCKED);
        assert_eq!(queue.declare_again(&exclusive, own, bench.now), Ok(()));
        for (declaration, session) in [(&plain, own), (&plain, other), (&exclusive, other)] {
            let refused = queue.declare_again(declaration, session, bench.now);
            assert_eq!(refused.unwrap_err().reply_text(), LOCKED);
        }
        let mut bench = Bench::declared(&plain);
        let refused = bench.queue.declare_again(&exclusive, own, bench.now);
        assert_eq!(refused.unwrap_err().reply_text(), LOCKED);
        assert_eq!(bench.queue.check_access(other), Ok(()));
    }

    #[test]
    fn a_quorum_queue_with_a_single_active_consumer_has_no_get() {
        let arguments = [("x-single-active-consumer", true.into())];
        let refused = Bench::quorum(&arguments).queue.check_get().unwrap_err();
        assert_eq!(
            refused.reply_text(),
            "RESOURCE_LOCKED - cannot obtain access to locked queue 'q' in vhost '/'. basic.get operations are not \
             supported by quorum queues with single active consumer"
        );
        assert_eq!(Bench::new(&arguments).queue.check_get(), Ok(()));
    }

    #[test]
    fn a_restart_keeps_what_is_persistent_in_a_durable_queue_and_no_consumers() {
        let mut bench = Bench::new(&[]);
        bench.publish("transient");
        for body in ["a", "b"] {
            bench.publish_with(body, Properties::builder().delivery_mode(2));
        }
        bench.publish_with("mode 1", Properties::builder().delivery_mode(1));
        let held: Vec<_> = (0..2).map_while(|_| bench.get()).collect();
        bench.consume(1, 0);
        for entry in held {
            bench.abandon(entry);
        }
        assert_eq!(bench.queue.restart(bench.now), Fate::Stays);
        assert_eq!(bench.queue.consumer_count(), 0);
        assert_eq!(bench.drain(), ["a!", "b"]);
    }

    #[test]
    fn a_restart_keeps_all_of_a_quorum_queue() {
        let mut bench = Bench::quorum(&[]);
        bench.publish_all(&["a", "b"]);
        assert_eq!(bench.queue.restart(bench.now), Fate::Stays);
        assert_eq!(bench.drain(), ["a", "b"]);
    }

    #[test]
    fn a_restart_ends_a_queue_that_is_not_durable() {
        let mut bench = Bench::declared(&Declaration {
            vhost: "/",
            name: "q",
            durable: false,
            exclusive: false,
            auto_delete: false,
            arguments: Table::default(),
        });
        assert_eq!(bench.queue.restart(bench.now), Fate::Ends);
    }

    #[test]
    fn a_queue_without_dead_letter_exchange_drops_what_is_rejected() {
        let mut bench = Bench::new(&[]);
        bench.publish("a");
        let entry = bench.get().unwrap();
        bench.queue.reject(entry, &mut bench.effects);
        assert_eq!(bench.dead(), [""; 0]);
        assert_eq!((bench.queue.unacked(), bench.queue.octets()), (0, 0));
    }
}
