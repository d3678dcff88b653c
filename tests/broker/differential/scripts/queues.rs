//! Declaring, purging and deleting queues.

use amqp_uring::protocol::queue as class;

use crate::differential::methods::{
    bind, cancel, close_channel, consume, delete, delete_exchange, exchange, get, int, passive,
    plain, prefetch, purge, queue, queue_with, reject, short, table, take, text, to, to_queue,
    unbind,
};
use crate::differential::session::{A1, A2, B1, Session};

pub fn declaring(s: &mut Session) {
    s.open_with(A1);
    s.refused(A1, passive("queues.declared"));
    s.call(A1, queue("queues.declared"));
    s.call(A1, queue("queues.declared"));
    s.call(A1, passive("queues.declared"));
    s.note("counts of messages and of consumers");
    s.publish(A1, to_queue("queues.declared"), &plain(), b"1");
    s.publish(A1, to_queue("queues.declared"), &plain(), b"2");
    s.call_until(A1, passive("queues.declared"), |reply| reply.counts(2));
    s.open_channel(A2);
    s.call(A2, consume("queues.declared", "t"));
    s.expect(A2, &["basic.deliver", "basic.deliver"]);
    s.call(A1, queue("queues.declared"));
    s.call(A2, cancel("t"));
    s.note("what is not acknowledged does not count");
    s.call(A1, passive("queues.declared"));
    s.note("passive, with everything else different");
    s.call(
        A1,
        class::Declare {
            durable: true,
            exclusive: true,
            auto_delete: true,
            ..passive("queues.declared")
        },
    );
    s.note("without an answer");
    s.send(
        A1,
        class::Declare {
            no_wait: true,
            ..queue("queues.quiet")
        },
    );
    s.call(A1, passive("queues.quiet"));
    s.send(
        A1,
        class::Delete {
            no_wait: true,
            ..delete("queues.quiet")
        },
    );
    s.refused(A1, passive("queues.quiet"));
    s.call(A1, delete("queues.declared"));
}

pub fn named_by_the_broker(s: &mut Session) {
    s.open_with(A1);
    let first = s.call(A1, queue("")).text("queue");
    let second = s
        .call(
            A1,
            class::Declare {
                exclusive: true,
                ..queue("")
            },
        )
        .text("queue");
    s.call(A1, passive(&first));
    s.note("a client may not declare it, as it may not choose such a name");
    s.refused(A1, queue(&first));
    s.publish(A1, to_queue(&first), &plain(), b"1");
    s.call(A1, take(&first));
    s.call(A1, delete(&second));
    s.refused(A1, passive(&second));
    s.call(A1, delete(&first));
    s.note("passive without a name");
    s.refused(A1, passive(""));
}

pub fn the_last_one_declared(s: &mut Session) {
    s.open_with(A1);
    s.note("none was declared");
    s.refused(A1, get(""));
    s.refused(A1, purge(""));
    s.refused(A1, delete(""));
    s.refused(A1, bind("", "amq.direct", "k"));
    s.refused(A1, consume("", "t"));
    s.refused(A1, unbind("", "amq.direct", "k"));
    s.call(A1, queue("queues.last"));
    s.note("an empty key means the queue's name, when the queue is the last one");
    s.call(A1, bind("", "amq.direct", ""));
    s.publish(A1, to("amq.direct", "queues.last"), &plain(), b"1");
    s.call(A1, take(""));
    s.call(A1, unbind("", "amq.direct", ""));
    s.call(A1, purge(""));
    s.call(A1, delete(""));
    s.note("it is gone, and its name is not forgotten");
    s.refused(A1, get(""));
    s.note("another channel knows nothing of it");
    s.open_channel(A2);
    s.refused(A2, get(""));
}

pub fn inequivalent(s: &mut Session) {
    s.open_with(A1);
    s.call(A1, queue("queues.equal"));
    s.refused(
        A1,
        class::Declare {
            durable: true,
            ..queue("queues.equal")
        },
    );
    s.refused(
        A1,
        class::Declare {
            auto_delete: true,
            ..queue("queues.equal")
        },
    );
    s.refused(
        A1,
        class::Declare {
            exclusive: true,
            ..queue("queues.equal")
        },
    );
    for (name, value) in [
        ("x-message-ttl", int(5)),
        ("x-expires", int(500_000)),
        ("x-max-length", int(5)),
        ("x-max-length-bytes", int(5)),
        ("x-max-priority", int(5)),
        ("x-overflow", text("reject-publish")),
        ("x-dead-letter-exchange", text("")),
        ("x-single-active-consumer", true.into()),
        ("x-queue-mode", text("lazy")),
        ("x-queue-type", text("quorum")),
    ] {
        let arguments = table([(name, value)]);
        s.refused(A1, queue_with("queues.equal", &arguments));
    }
    s.note("what is not compared");
    for (name, value) in [("x-queue-type", text("classic")), ("x-other", int(5))] {
        let arguments = table([(name, value)]);
        s.call(A1, queue_with("queues.equal", &arguments));
    }
    s.call(A1, delete("queues.equal"));

    s.note("numbers are equal across types");
    let short_number = table([("x-max-length", 5_i16.into())]);
    let long_number = table([("x-max-length", 5_i64.into())]);
    let more = table([("x-max-length", 6.into())]);
    s.call(A1, queue_with("queues.equal", &short_number));
    s.call(A1, queue_with("queues.equal", &long_number));
    s.refused(A1, queue_with("queues.equal", &more));
    s.refused(A1, queue("queues.equal"));
    s.call(A1, delete("queues.equal"));
}

pub fn exclusive(s: &mut Session) {
    s.open_with(A1);
    s.open_with(B1);
    s.call(
        A1,
        class::Declare {
            exclusive: true,
            ..queue("queues.mine")
        },
    );
    s.call(
        A1,
        class::Declare {
            exclusive: true,
            ..queue("queues.mine")
        },
    );
    s.refused(A1, queue("queues.mine"));
    s.note("on another connection");
    s.refused(B1, passive("queues.mine"));
    s.refused(B1, queue("queues.mine"));
    s.refused(
        B1,
        class::Declare {
            exclusive: true,
            ..queue("queues.mine")
        },
    );
    s.refused(B1, get("queues.mine"));
    s.refused(B1, consume("queues.mine", "t"));
    s.refused(B1, purge("queues.mine"));
    s.refused(B1, delete("queues.mine"));
    s.refused(B1, bind("queues.mine", "amq.direct", "k"));
    s.call(B1, unbind("queues.mine", "amq.direct", "k"));
    s.note("publishing is free to all");
    s.publish(B1, to_queue("queues.mine"), &plain(), b"1");
    s.call(B1, prefetch(0));
    s.call_until(A1, passive("queues.mine"), |reply| reply.counts(1));
    s.note("it goes with its connection");
    s.leave("a");
    s.refused(B1, passive("queues.mine"));
}

pub fn names(s: &mut Session) {
    s.open_with(A1);
    s.refused(A1, queue("amq.mine"));
    s.refused(A1, queue("amq."));
    s.refused(A1, passive("amq.mine"));
    s.call(A1, delete("amq.mine"));
    s.call(A1, queue("amq"));
    s.call(A1, delete("amq"));
    s.note("line breaks are taken out");
    s.call(A1, queue("queues.\r\nbroken"));
    s.call(A1, passive("queues.broken"));
    s.call(A1, delete("queues.\nbroken"));
    s.refused(A1, passive("queues.broken"));
    s.note("a name of 255 octets");
    let long = "n".repeat(255);
    s.call(A1, queue(&long));
    s.call(A1, delete(&long));
    s.refused(A1, passive(&long));
}

pub fn unknown(s: &mut Session) {
    s.open_with(A1);
    s.refused(A1, get("queues.unknown"));
    s.refused(A1, consume("queues.unknown", "t"));
    s.refused(A1, purge("queues.unknown"));
    s.refused(A1, bind("queues.unknown", "amq.direct", "k"));
    s.call(A1, unbind("queues.unknown", "amq.direct", "k"));
    s.note("only delete does not mind");
    s.call(A1, delete("queues.unknown"));
    s.call(
        A1,
        class::Delete {
            if_unused: true,
            if_empty: true,
            ..delete("queues.unknown")
        },
    );
}

pub fn purging(s: &mut Session) {
    s.open_with(A1);
    s.call(A1, queue("queues.purged"));
    s.call(A1, purge("queues.purged"));
    for body in [b"1", b"2", b"3"] {
        s.publish(A1, to_queue("queues.purged"), &plain(), body);
    }
    s.note("what is not acknowledged stays");
    s.call(A1, get("queues.purged"));
    s.call(A1, purge("queues.purged"));
    s.send(A1, reject(1, true));
    s.call(A1, get("queues.purged"));
    s.note("without an answer");
    s.publish(A1, to_queue("queues.purged"), &plain(), b"4");
    s.send(
        A1,
        class::Purge {
            no_wait: true,
            ..purge("queues.purged")
        },
    );
    s.call(A1, passive("queues.purged"));
    s.call(A1, delete("queues.purged"));
}

pub fn deleting(s: &mut Session) {
    s.open_with(A1);
    s.open_channel(A2);
    s.call(A1, queue("queues.deleted"));
    s.call(A2, consume("queues.deleted", "t"));
    s.refused(
        A1,
        class::Delete {
            if_unused: true,
            ..delete("queues.deleted")
        },
    );
    s.refused(
        A1,
        class::Delete {
            if_unused: true,
            if_empty: true,
            ..delete("queues.deleted")
        },
    );
    s.call(A2, cancel("t"));
    s.publish(A1, to_queue("queues.deleted"), &plain(), b"1");
    s.refused(
        A1,
        class::Delete {
            if_empty: true,
            ..delete("queues.deleted")
        },
    );
    s.call(
        A1,
        class::Delete {
            if_unused: true,
            ..delete("queues.deleted")
        },
    );
    s.refused(A1, passive("queues.deleted"));

    s.note("its bindings go too");
    s.call(A1, exchange("queues.exchange", "fanout"));
    s.call(A1, queue("queues.deleted"));
    s.call(A1, bind("queues.deleted", "queues.exchange", ""));
    s.call(
        A1,
        class::Delete {
            if_empty: true,
            ..delete("queues.deleted")
        },
    );
    s.call(A1, queue("queues.deleted"));
    s.publish(A1, to("queues.exchange", ""), &plain(), b"2");
    s.call(A1, take("queues.deleted"));
    s.call(
        A1,
        class::Delete {
            queue: short("queues.deleted"),
            ..Default::default()
        },
    );
    s.call(A1, delete_exchange("queues.exchange"));
}

pub fn auto_delete(s: &mut Session) {
    s.open_with(A1);
    s.open_channel(A2);
    let auto_delete = class::Declare {
        auto_delete: true,
        ..queue("queues.auto")
    };
    s.call(A1, auto_delete);
    s.note("it waits for its first consumer");
    s.call(A1, passive("queues.auto"));
    s.call(A2, consume("queues.auto", "1"));
    s.call(A2, consume("queues.auto", "2"));
    s.call(A2, cancel("1"));
    s.call(A1, passive("queues.auto"));
    s.call(A2, cancel("2"));
    s.refused(A1, passive("queues.auto"));

    s.note("and goes with the channel of the last one");
    s.call(A1, auto_delete);
    s.call(A2, consume("queues.auto", "3"));
    s.call(A2, close_channel());
    s.refused(A1, passive("queues.auto"));

    s.note("a get is no consumer");
    s.call(A1, auto_delete);
    s.call(A1, get("queues.auto"));
    s.call(A1, passive("queues.auto"));
    s.call(A1, delete("queues.auto"));
}
