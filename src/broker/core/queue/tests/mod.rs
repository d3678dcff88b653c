//! A queue rule by rule, as RabbitMQ 3.10 has them.

mod delivery_count;
mod length;
mod life;
mod model;
mod order;
mod spec;
mod sums;
mod time;
mod turns;

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
            queue: Queue::declare(declaration, SessionId(1), now).unwrap(),
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
