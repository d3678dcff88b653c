//! What the arguments of a queue change: lifetimes, limits, priorities; and which of them are refused.

use amqp_uring::protocol::{Value, confirm, queue as class};

use crate::differential::methods::{
    bind, consume_no_ack, delete, int, passive, plain, properties, queue, queue_with, table, take,
    text, to, to_queue,
};
use crate::differential::session::{A1, A2, Session};

pub fn bad_ones(s: &mut Session) {
    s.open_with(A1);
    let bad: &[(&str, Value<'_>)] = &[
        ("x-message-ttl", int(-1)),
        ("x-message-ttl", text("5")),
        ("x-message-ttl", Value::I64(4_294_967_296_000)),
        ("x-expires", int(0)),
        ("x-expires", int(-1)),
        ("x-expires", text("5")),
        ("x-max-length", int(-1)),
        ("x-max-length", text("5")),
        ("x-max-length-bytes", int(-1)),
        ("x-max-length-bytes", text("5")),
        ("x-max-priority", int(-1)),
        ("x-max-priority", int(256)),
        ("x-max-priority", text("5")),
        ("x-overflow", text("other")),
        ("x-overflow", int(5)),
        ("x-dead-letter-exchange", int(5)),
        ("x-dead-letter-routing-key", text("k")),
        ("x-dead-letter-routing-key", int(5)),
        ("x-single-active-consumer", int(5)),
        ("x-single-active-consumer", text("true")),
        ("x-queue-mode", text("other")),
        ("x-queue-mode", int(5)),
        ("x-queue-type", text("other")),
        ("x-queue-type", int(5)),
        ("x-queue-version", int(5)),
    ];
    for &(name, value) in bad {
        let arguments = table([(name, value)]);
        s.refused(A1, queue_with("arguments.bad", &arguments));
    }
    s.note("quorum queues and streams must be durable, and neither exclusive nor auto-delete");
    for kind in ["quorum", "stream"] {
        let arguments = table([("x-queue-type", text(kind))]);
        let declare = queue_with("arguments.bad", &arguments);
        s.refused(A1, declare);
        s.refused(
            A1,
            class::Declare {
                durable: true,
                exclusive: true,
                ..declare
            },
        );
        s.refused(
            A1,
            class::Declare {
                durable: true,
                auto_delete: true,
                ..declare
            },
        );
    }
    s.refused(A1, passive("arguments.bad"));
}

pub fn good_ones(s: &mut Session) {
    s.open_with(A1);
    let good: &[(&str, Value<'_>)] = &[
        ("x-message-ttl", int(0)),
        ("x-message-ttl", Value::U8(5)),
        ("x-message-ttl", Value::I64(4_294_967_295)),
        ("x-expires", int(3_600_000)),
        ("x-max-length", int(0)),
        ("x-max-length-bytes", int(0)),
        ("x-max-priority", int(0)),
        ("x-max-priority", int(255)),
        ("x-overflow", text("drop-head")),
        ("x-overflow", text("reject-publish")),
        ("x-overflow", text("reject-publish-dlx")),
        ("x-dead-letter-exchange", text("arguments.unknown")),
        ("x-single-active-consumer", false.into()),
        ("x-queue-mode", text("lazy")),
        ("x-queue-mode", text("default")),
        ("x-queue-type", text("classic")),
        ("x-queue-master-locator", text("client-local")),
        ("x-other", Value::Void),
    ];
    for &(name, value) in good {
        let arguments = table([(name, value)]);
        s.call(A1, queue_with("arguments.good", &arguments));
        s.call(A1, delete("arguments.good"));
    }
}

pub fn lengths(s: &mut Session) {
    s.open_with(A1);
    s.call(A1, confirm::Select::default());
    s.note("the head is dropped");
    let three = table([("x-max-length", int(3))]);
    s.call(A1, queue_with("arguments.length", &three));
    for body in [b"1", b"2", b"3", b"4", b"5"] {
        s.publish_confirmed(A1, to_queue("arguments.length"), &plain(), body);
    }
    s.take_all(A1, "arguments.length");
    s.call(A1, delete("arguments.length"));

    s.note("by octets of the bodies");
    let octets = table([("x-max-length-bytes", int(10))]);
    s.call(A1, queue_with("arguments.length", &octets));
    for body in [&b"1234"[..], b"12345", b"1", b"12", b"12345678901"] {
        s.publish_confirmed(A1, to_queue("arguments.length"), &plain(), body);
        s.call(A1, passive("arguments.length"));
    }
    s.call(A1, delete("arguments.length"));

    s.note("no room at all");
    let none = table([("x-max-length", int(0))]);
    s.call(A1, queue_with("arguments.length", &none));
    s.publish_confirmed(A1, to_queue("arguments.length"), &plain(), b"1");
    s.call(A1, take("arguments.length"));
    s.call(A1, delete("arguments.length"));
}

pub fn rejecting_publishes(s: &mut Session) {
    s.open_with(A1);
    let two = table([
        ("x-max-length", int(2)),
        ("x-overflow", text("reject-publish")),
    ]);
    s.call(A1, queue_with("arguments.full", &two));
    s.call(A1, queue("arguments.open"));
    s.call(A1, confirm::Select::default());
    for (body, answer) in [
        (b"1", "basic.ack"),
        (b"2", "basic.ack"),
        (b"3", "basic.nack"),
        (b"4", "basic.nack"),
    ] {
        s.publish(A1, to_queue("arguments.full"), &plain(), body);
        s.expect(A1, &[answer]);
    }
    s.call(A1, take("arguments.full"));
    s.publish_confirmed(A1, to_queue("arguments.full"), &plain(), b"5");
    s.note("one queue of two rejects");
    s.call(A1, bind("arguments.full", "amq.direct", "arguments.both"));
    s.call(A1, bind("arguments.open", "amq.direct", "arguments.both"));
    s.publish(A1, to("amq.direct", "arguments.both"), &plain(), b"6");
    s.expect(A1, &["basic.nack"]);
    s.take_all(A1, "arguments.open");
    s.take_all(A1, "arguments.full");
    s.call(A1, delete("arguments.full"));
    s.call(A1, delete("arguments.open"));
}

pub fn time_to_live(s: &mut Session) {
    s.open_with(A1);
    s.call(A1, confirm::Select::default());
    s.note("of the queue: 0 is for those that wait already");
    let zero = table([("x-message-ttl", int(0))]);
    s.call(A1, queue_with("arguments.ttl", &zero));
    s.publish_confirmed(A1, to_queue("arguments.ttl"), &plain(), b"1");
    s.call(A1, take("arguments.ttl"));
    s.open_channel(A2);
    s.call(A2, consume_no_ack("arguments.ttl", "t"));
    s.publish_confirmed(A1, to_queue("arguments.ttl"), &plain(), b"2");
    s.expect(A2, &["basic.deliver"]);
    s.call(A1, delete("arguments.ttl"));
    s.expect(A2, &["basic.cancel"]);

    s.note("of the message");
    s.call(A1, queue("arguments.ttl"));
    s.publish_confirmed(
        A1,
        to_queue("arguments.ttl"),
        &properties(|set| set.expiration("0")),
        b"3",
    );
    s.call(A1, take("arguments.ttl"));
    s.publish_confirmed(
        A1,
        to_queue("arguments.ttl"),
        &properties(|set| set.expiration("1")),
        b"4",
    );
    s.call_until(A1, passive("arguments.ttl"), |reply| reply.counts(0));
    s.note("one that lasts keeps its expiration");
    s.publish_confirmed(
        A1,
        to_queue("arguments.ttl"),
        &properties(|set| set.expiration("3600000")),
        b"5",
    );
    s.call(A1, take("arguments.ttl"));
    s.call(A1, delete("arguments.ttl"));

    s.note("a queue without use goes");
    let soon = table([("x-expires", int(1))]);
    s.call(A1, queue_with("arguments.expires", &soon));
    s.call_until(A1, bind("arguments.expires", "amq.direct", "k"), |reply| {
        reply.is("channel.close")
    });
}

pub fn priorities(s: &mut Session) {
    s.open_with(A1);
    let five = table([("x-max-priority", int(5))]);
    s.call(A1, queue_with("arguments.priority", &five));
    for (body, priority) in [
        (b"a", 1),
        (b"b", 0),
        (b"c", 5),
        (b"d", 9),
        (b"e", 1),
        (b"f", 255),
    ] {
        s.publish(
            A1,
            to_queue("arguments.priority"),
            &properties(|set| set.priority(priority)),
            body,
        );
    }
    s.publish(A1, to_queue("arguments.priority"), &plain(), b"g");
    s.take_all(A1, "arguments.priority");
    s.call(A1, delete("arguments.priority"));

    s.note("a queue without priorities has one line");
    s.call(A1, queue("arguments.priority"));
    for (body, priority) in [(b"a", 1), (b"b", 5)] {
        s.publish(
            A1,
            to_queue("arguments.priority"),
            &properties(|set| set.priority(priority)),
            body,
        );
    }
    s.take_all(A1, "arguments.priority");
    s.call(A1, delete("arguments.priority"));
}
