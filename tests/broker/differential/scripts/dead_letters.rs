//! Where messages go that a queue gives up, and what is written on them.

use amqp_uring::protocol::{FieldTable, confirm, queue as class};

use crate::differential::methods::{
    ack, bind, cancel, consume, consume_no_ack, delete, delete_exchange, exchange, get, int, list,
    nack, passive, plain, properties, queue, queue_with, reject, table, text, to, to_queue,
};
use crate::differential::session::{A1, A2, Session};

/// A queue whose dead letters go to another one, with a consumer that takes them from there.
fn prepare(s: &mut Session, name: &str, arguments: &FieldTable) {
    s.open_with(A1);
    s.open_channel(A2);
    s.call(A1, queue_with(name, arguments));
    let dead = format!("{name}.dead");
    s.call(A1, queue(&dead));
    s.call(A2, consume_no_ack(&dead, "dead"));
}

fn clear_away(s: &mut Session, name: &str) {
    s.call(A2, cancel("dead"));
    s.call(A1, delete(name));
    s.call(A1, delete(&format!("{name}.dead")));
}

fn to_dead(name: &str) -> FieldTable {
    let dead = format!("{name}.dead");
    table([
        ("x-dead-letter-exchange", text("")),
        ("x-dead-letter-routing-key", text(&dead)),
    ])
}

pub fn rejected(s: &mut Session) {
    let name = "dead.rejected";
    prepare(s, name, &to_dead(name));
    let headers = table([("n", int(1))]);
    s.publish(
        A1,
        to_queue(name),
        &properties(|set| set.headers(&headers).delivery_mode(2)),
        b"rejected",
    );
    s.call(A1, get(name));
    s.send(A1, reject(1, false));
    s.expect(A2, &["basic.deliver"]);
    s.note("without headers, by nack");
    s.publish(A1, to_queue(name), &plain(), b"1");
    s.publish(A1, to_queue(name), &plain(), b"2");
    s.call(A1, get(name));
    s.call(A1, get(name));
    s.send(A1, nack(0, true, false));
    s.expect(A2, &["basic.deliver", "basic.deliver"]);
    s.note("an ack is no reason, a requeue neither");
    s.publish(A1, to_queue(name), &plain(), b"3");
    s.call(A1, get(name));
    s.send(A1, reject(4, true));
    s.call(A1, get(name));
    s.send(A1, ack(5));
    clear_away(s, name);
}

pub fn expired(s: &mut Session) {
    let name = "dead.expired";
    prepare(s, name, &to_dead(name));
    s.note("the message's own time: its expiration is taken off and noted");
    s.publish(
        A1,
        to_queue(name),
        &properties(|set| set.expiration("1").priority(3)),
        b"1",
    );
    s.expect(A2, &["basic.deliver"]);
    s.publish(
        A1,
        to_queue(name),
        &properties(|set| set.expiration("0")),
        b"2",
    );
    s.expect(A2, &["basic.deliver"]);
    clear_away(s, name);

    s.note("the queue's time");
    let mut arguments = to_dead("dead.expired");
    arguments
        .insert("x-message-ttl", int(1))
        .expect("an argument");
    s.leave("a");
    prepare(s, name, &arguments);
    s.publish(A1, to_queue(name), &plain(), b"3");
    s.expect(A2, &["basic.deliver"]);
    s.publish(
        A1,
        to_queue(name),
        &properties(|set| set.expiration("3600000")),
        b"4",
    );
    s.expect(A2, &["basic.deliver"]);
    clear_away(s, name);
}

pub fn over_the_length(s: &mut Session) {
    let name = "dead.length";
    let mut arguments = to_dead(name);
    arguments
        .insert("x-max-length", int(1))
        .expect("an argument");
    prepare(s, name, &arguments);
    s.publish(A1, to_queue(name), &plain(), b"1");
    s.publish(A1, to_queue(name), &plain(), b"2");
    s.expect(A2, &["basic.deliver"]);
    clear_away(s, name);

    s.note("rejected publishes that are dead-lettered");
    s.leave("a");
    arguments
        .insert("x-overflow", text("reject-publish-dlx"))
        .expect("an argument");
    prepare(s, name, &arguments);
    s.call(A1, confirm::Select::default());
    s.publish(A1, to_queue(name), &plain(), b"1");
    s.expect(A1, &["basic.ack"]);
    s.publish(A1, to_queue(name), &plain(), b"2");
    s.expect(A1, &["basic.nack"]);
    s.expect(A2, &["basic.deliver"]);
    clear_away(s, name);
}

pub fn keys_and_exchanges(s: &mut Session) {
    s.open_with(A1);
    s.open_channel(A2);
    let arguments = table([("x-dead-letter-exchange", text("dead.exchange"))]);
    s.call(A1, exchange("dead.exchange", "topic"));
    s.call(A1, queue_with("dead.keys", &arguments));
    s.call(A1, bind("dead.keys", "amq.topic", "dead.key"));
    s.call(A1, queue("dead.all"));
    s.call(A1, bind("dead.all", "dead.exchange", "#"));
    s.call(A2, consume_no_ack("dead.all", "dead"));
    s.note("the key stays, and the exchange is noted");
    s.publish(A1, to("amq.topic", "dead.key"), &plain(), b"1");
    s.call(A1, get("dead.keys"));
    s.send(A1, reject(1, false));
    s.expect(A2, &["basic.deliver"]);
    s.note("CC stays too");
    let more = list(["dead.more"]);
    let cc = table([("CC", more.as_array().into())]);
    s.publish(
        A1,
        to("amq.topic", "dead.key"),
        &properties(|set| set.headers(&cc)),
        b"2",
    );
    s.call(A1, get("dead.keys"));
    s.send(A1, reject(2, false));
    s.expect(A2, &["basic.deliver"]);
    s.note("an exchange that is gone: the message is, too");
    s.call(A1, delete_exchange("dead.exchange"));
    s.publish(A1, to_queue("dead.keys"), &plain(), b"3");
    s.call(A1, get("dead.keys"));
    s.send(A1, reject(3, false));
    s.call(A1, get("dead.keys"));
    s.call(A2, cancel("dead"));
    s.call(A1, delete("dead.keys"));
    s.call(A1, delete("dead.all"));
}

pub fn more_than_once(s: &mut Session) {
    s.open_with(A1);
    let there = table([
        ("x-dead-letter-exchange", text("")),
        ("x-dead-letter-routing-key", text("dead.back")),
    ]);
    let back = table([
        ("x-dead-letter-exchange", text("")),
        ("x-dead-letter-routing-key", text("dead.there")),
    ]);
    s.call(A1, queue_with("dead.there", &there));
    s.call(A1, queue_with("dead.back", &back));
    s.open_channel(A2);
    s.publish(A1, to_queue("dead.there"), &plain(), b"1");
    s.note("counts, and the latest death first");
    let (mut here, mut other) = ("dead.there", "dead.back");
    for tag in 1..=4 {
        s.call(A2, consume(here, "t"));
        s.expect(A2, &["basic.deliver"]);
        s.send(A2, reject(tag, false));
        s.call(A2, cancel("t"));
        (here, other) = (other, here);
    }
    s.call(A2, consume(here, "t"));
    s.expect(A2, &["basic.deliver"]);
    s.call(A2, cancel("t"));
    s.call(A1, delete("dead.there"));
    s.call(A1, delete("dead.back"));
}

pub fn in_a_circle(s: &mut Session) {
    s.note("what only expires, and would come back to where it was, is dropped");
    s.open_with(A1);
    let circle = table([
        ("x-dead-letter-exchange", text("")),
        ("x-message-ttl", int(1)),
    ]);
    s.call(A1, queue_with("dead.circle", &circle));
    s.call(A1, confirm::Select::default());
    s.publish_confirmed(A1, to_queue("dead.circle"), &plain(), b"1");
    s.call_until(A1, passive("dead.circle"), |reply| reply.counts(0));
    s.call(A1, delete("dead.circle"));
}

pub fn by_a_quorum_queue(s: &mut Session) {
    s.open_with(A1);
    s.open_channel(A2);
    let mut arguments = to_dead("dead.quorum");
    arguments
        .insert("x-queue-type", text("quorum"))
        .expect("an argument");
    arguments
        .insert("x-delivery-limit", int(1))
        .expect("an argument");
    s.call(
        A1,
        class::Declare {
            durable: true,
            ..queue_with("dead.quorum", &arguments)
        },
    );
    s.call(A1, queue("dead.quorum.dead"));
    s.call(A2, consume_no_ack("dead.quorum.dead", "dead"));
    s.call(A1, confirm::Select::default());
    s.publish(A1, to_queue("dead.quorum"), &plain(), b"1");
    s.expect(A1, &["basic.ack"]);
    s.call(A1, get("dead.quorum"));
    s.send(A1, reject(1, true));
    s.call(A1, get("dead.quorum"));
    s.send(A1, reject(2, true));
    s.expect(A2, &["basic.deliver"]);
    s.call(A1, get("dead.quorum"));
    s.call(A2, cancel("dead"));
    s.call(A1, delete("dead.quorum"));
    s.call(A1, delete("dead.quorum.dead"));
}
