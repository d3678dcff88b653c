//! Consumers: tags, exclusive ones, prefetch windows, priorities, and how they end.

use amqp_uring::protocol::{basic, queue as class};

use crate::differential::methods::{
    ack, ack_up_to, cancel, close_channel, consume, consume_no_ack, delete, get, int, nack, open,
    passive, plain, prefetch, queue, queue_with, table, take, text, to_queue,
};
use crate::differential::session::{A0, A1, A2, A3, B1, FRAME_MAX, Session};

pub fn tags(s: &mut Session) {
    s.open_with(A1);
    s.open_channel(A2);
    s.call(A1, queue("consumers.tags"));
    s.note("one that the broker makes");
    let tag = s
        .call(A2, consume("consumers.tags", ""))
        .text("consumer_tag");
    s.publish(A1, to_queue("consumers.tags"), &plain(), b"1");
    s.expect(A2, &["basic.deliver"]);
    s.send(A2, ack(1));
    s.call(A2, cancel(&tag));
    s.note("the same tag on two channels");
    s.call(A1, consume("consumers.tags", "t"));
    s.call(A2, consume("consumers.tags", "t"));
    s.call(A1, cancel("t"));
    s.note("cancel of no consumer");
    s.call(A1, cancel("t"));
    s.call(A1, cancel("unknown"));
    s.note("cancel without an answer");
    s.send(
        A2,
        basic::Cancel {
            no_wait: true,
            ..cancel("t")
        },
    );
    s.call(A2, prefetch(0));
    s.call(A1, passive("consumers.tags"));
    s.note("consume without an answer");
    s.send(
        A2,
        basic::Consume {
            no_wait: true,
            ..consume("consumers.tags", "quiet")
        },
    );
    s.publish(A1, to_queue("consumers.tags"), &plain(), b"2");
    s.expect(A2, &["basic.deliver"]);
    s.note("a tag in use");
    s.send(A2, consume("consumers.tags", "quiet"));
    s.expect_close("a");
    s.open_with(A1);
    s.call(A1, delete("consumers.tags"));
}

pub fn exclusive(s: &mut Session) {
    s.open_with(A1);
    s.open_with(B1);
    s.call(A1, queue("consumers.exclusive"));
    s.call(A1, consume("consumers.exclusive", "first"));
    s.refused(
        B1,
        basic::Consume {
            exclusive: true,
            ..consume("consumers.exclusive", "alone")
        },
    );
    s.call(A1, cancel("first"));
    s.call(
        B1,
        basic::Consume {
            exclusive: true,
            ..consume("consumers.exclusive", "alone")
        },
    );
    s.refused(A1, consume("consumers.exclusive", "second"));
    s.refused(
        A1,
        basic::Consume {
            exclusive: true,
            ..consume("consumers.exclusive", "second")
        },
    );
    s.note("a get is no consumer");
    s.call(A1, get("consumers.exclusive"));
    s.call(B1, cancel("alone"));
    s.call(A1, consume("consumers.exclusive", "second"));
    s.call(A1, delete("consumers.exclusive"));
    s.expect(A1, &["basic.cancel"]);
}

pub fn prefetch_of_each_consumer(s: &mut Session) {
    s.open_with(A1);
    s.open_channel(A2);
    s.call(A1, queue("consumers.window"));
    s.call(A2, prefetch(2));
    s.call(A2, consume("consumers.window", "two"));
    for body in [b"1", b"2", b"3", b"4", b"5", b"6"] {
        s.publish(A1, to_queue("consumers.window"), &plain(), body);
    }
    s.expect(A2, &["basic.deliver", "basic.deliver"]);
    s.call_until(A1, passive("consumers.window"), |reply| reply.counts(4));
    s.note("each answer makes room for one");
    s.send(A2, ack(1));
    s.expect(A2, &["basic.deliver"]);
    s.send(A2, nack(2, false, false));
    s.expect(A2, &["basic.deliver"]);
    s.call_until(A1, passive("consumers.window"), |reply| reply.counts(2));
    s.note("another window for the next consumer");
    s.call(A2, prefetch(1));
    s.call(A2, consume("consumers.window", "one"));
    s.expect(A2, &["basic.deliver"]);
    s.call_until(A1, passive("consumers.window"), |reply| reply.counts(1));
    s.note("both are full");
    s.send(A2, ack_up_to(0));
    s.expect(A2, &["basic.deliver"]);
    s.send(A2, ack_up_to(6));
    s.call(A2, cancel("one"));
    s.call(A2, cancel("two"));
    s.call(A1, delete("consumers.window"));
}

pub fn prefetch_of_the_channel(s: &mut Session) {
    s.open_with(A1);
    s.open_channel(A2);
    s.call(A1, queue("consumers.shared"));
    s.call(
        A2,
        basic::Qos {
            global: true,
            ..prefetch(2)
        },
    );
    s.call(A2, consume("consumers.shared", "t"));
    for body in [b"1", b"2", b"3", b"4", b"5", b"6"] {
        s.publish(A1, to_queue("consumers.shared"), &plain(), body);
    }
    s.expect(A2, &["basic.deliver", "basic.deliver"]);
    s.call_until(A1, passive("consumers.shared"), |reply| reply.counts(4));
    s.note("a get is not held back by the window");
    s.call(A2, get("consumers.shared"));
    s.send(A2, ack_up_to(2));
    s.expect(A2, &["basic.deliver", "basic.deliver"]);
    s.note("a wider window takes effect at once");
    s.call(
        A2,
        basic::Qos {
            global: true,
            ..prefetch(3)
        },
    );
    s.expect(A2, &["basic.deliver"]);
    s.call_until(A1, passive("consumers.shared"), |reply| reply.counts(0));
    s.call(A2, cancel("t"));
    s.call(A1, delete("consumers.shared"));

    s.note("a window in octets");
    s.fatal(
        A1,
        basic::Qos {
            prefetch_size: 1,
            ..prefetch(0)
        },
    );
}

pub fn without_acks(s: &mut Session) {
    s.open_with(A1);
    s.open_channel(A2);
    s.call(A1, queue("consumers.free"));
    s.call(A2, prefetch(1));
    s.call(A2, consume_no_ack("consumers.free", "t"));
    for body in [b"1", b"2", b"3"] {
        s.publish(A1, to_queue("consumers.free"), &plain(), body);
    }
    s.expect(A2, &["basic.deliver", "basic.deliver", "basic.deliver"]);
    s.note("there is nothing to acknowledge");
    s.refused(A2, ack(1));
    s.call(A1, delete("consumers.free"));
}

pub fn turns(s: &mut Session) {
    s.open_with(A1);
    s.open_channel(A2);
    s.open_channel(A3);
    s.call(A1, queue("consumers.turns"));
    s.call(A2, consume_no_ack("consumers.turns", "first"));
    s.call(A3, consume_no_ack("consumers.turns", "second"));
    for body in [b"1", b"2", b"3", b"4"] {
        s.publish(A1, to_queue("consumers.turns"), &plain(), body);
    }
    s.expect(A2, &["basic.deliver", "basic.deliver"]);
    s.expect(A3, &["basic.deliver", "basic.deliver"]);
    s.call(A1, delete("consumers.turns"));
    s.expect(A2, &["basic.cancel"]);
    s.expect(A3, &["basic.cancel"]);
}

pub fn priorities(s: &mut Session) {
    s.open_with(A1);
    s.open_channel(A2);
    s.open_channel(A3);
    let high = table([("x-priority", int(5))]);
    let low = table([("x-priority", int(-5))]);
    s.call(A1, queue("consumers.priority"));
    s.call(A2, prefetch(2));
    s.call(
        A2,
        basic::Consume {
            arguments: high.as_table(),
            ..consume("consumers.priority", "high")
        },
    );
    s.call(
        A3,
        basic::Consume {
            arguments: low.as_table(),
            ..consume("consumers.priority", "low")
        },
    );
    for body in [b"1", b"2", b"3"] {
        s.publish(A1, to_queue("consumers.priority"), &plain(), body);
    }
    s.expect(A2, &["basic.deliver", "basic.deliver"]);
    s.expect(A3, &["basic.deliver"]);
    s.send(A2, ack(1));
    s.call(A2, prefetch(0));
    s.publish(A1, to_queue("consumers.priority"), &plain(), b"4");
    s.expect(A2, &["basic.deliver"]);
    s.note("a priority that is no number");
    let wrong = table([("x-priority", text("5"))]);
    s.refused(
        A1,
        basic::Consume {
            arguments: wrong.as_table(),
            ..consume("consumers.priority", "x")
        },
    );
    s.call(A2, cancel("high"));
    s.call(A3, cancel("low"));
    s.call(A1, delete("consumers.priority"));
}

pub fn a_single_active_one(s: &mut Session) {
    s.open_with(A1);
    s.open_channel(A2);
    s.open_channel(A3);
    let single = table([("x-single-active-consumer", true.into())]);
    s.call(A1, queue_with("consumers.single", &single));
    s.call(A2, consume_no_ack("consumers.single", "active"));
    s.call(A3, consume_no_ack("consumers.single", "waiting"));
    for body in [b"1", b"2"] {
        s.publish(A1, to_queue("consumers.single"), &plain(), body);
    }
    s.expect(A2, &["basic.deliver", "basic.deliver"]);
    s.call(A1, passive("consumers.single"));
    s.call(A2, cancel("active"));
    s.publish(A1, to_queue("consumers.single"), &plain(), b"3");
    s.expect(A3, &["basic.deliver"]);
    s.note("an exclusive one");
    s.refused(
        A2,
        basic::Consume {
            exclusive: true,
            ..consume("consumers.single", "x")
        },
    );
    s.note("a get");
    s.publish(A1, to_queue("consumers.single"), &plain(), b"4");
    s.expect(A3, &["basic.deliver"]);
    s.call(A1, delete("consumers.single"));
    s.expect(A3, &["basic.cancel"]);
}

pub fn ended_by_the_broker(s: &mut Session) {
    s.open_with(A1);
    s.open_channel(A2);
    s.call(
        A1,
        class::Declare {
            auto_delete: true,
            ..queue("consumers.ended")
        },
    );
    s.call(A2, consume("consumers.ended", "one"));
    s.publish(A1, to_queue("consumers.ended"), &plain(), b"1");
    s.expect(A2, &["basic.deliver"]);
    s.call(A1, delete("consumers.ended"));
    s.expect(A2, &["basic.cancel"]);
    s.note("the delivery is still known, and its ack goes nowhere");
    s.send(A2, ack(1));
    s.call(A2, prefetch(0));
    s.note("the tag is free again");
    s.call(A1, queue("consumers.ended"));
    s.call(A2, consume("consumers.ended", "one"));
    s.publish(A1, to_queue("consumers.ended"), &plain(), b"2");
    s.expect(A2, &["basic.deliver"]);
    s.note("a channel that closes gives back what is not acknowledged");
    s.call(A2, close_channel());
    s.call(A1, take("consumers.ended"));
    s.call(A1, delete("consumers.ended"));
}

pub fn a_client_that_is_not_told(s: &mut Session) {
    s.note("a client that does not know of cancels by the broker");
    s.begin("a");
    s.log_in("a", "guest", "guest", &table([]));
    s.expect(A0, &["connection.tune"]);
    s.tune_ok("a", 2047, FRAME_MAX);
    s.call(A0, open("/"));
    s.open_channel(A1);
    s.open_channel(A2);
    s.call(A1, queue("consumers.untold"));
    s.call(A2, consume("consumers.untold", "t"));
    s.call(A1, delete("consumers.untold"));
    s.call(A2, prefetch(0));
    s.call(A2, cancel("t"));
}
