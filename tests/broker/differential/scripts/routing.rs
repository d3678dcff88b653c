//! Bindings of queues and exchanges, and which way messages go.

use amqp_uring::protocol::{FieldArray, exchange as exchange_class, queue as queue_class};

use crate::differential::methods::{
    bind, bind_exchange, delete, delete_exchange, exchange, get, int, list, mandatory, plain,
    properties, purge, queue, short, table, take, text, to, to_queue, unbind, unbind_exchange,
};
use crate::differential::session::{A1, Session};

pub fn binding_queues(s: &mut Session) {
    s.open_with(A1);
    s.call(A1, queue("routing.q"));
    s.call(A1, exchange("routing.x", "direct"));
    s.call(A1, bind("routing.q", "routing.x", "k"));
    s.note("the same binding counts once");
    s.call(A1, bind("routing.q", "routing.x", "k"));
    s.publish(A1, to("routing.x", "k"), &plain(), b"1");
    s.call(A1, take("routing.q"));
    s.call(A1, take("routing.q"));
    s.call(A1, unbind("routing.q", "routing.x", "k"));
    s.publish(A1, to("routing.x", "k"), &plain(), b"2");
    s.call(A1, take("routing.q"));

    s.note("a binding that is not there");
    s.call(A1, unbind("routing.q", "routing.x", "k"));
    s.call(A1, unbind("routing.q", "routing.x", "other"));

    s.note("sides that are not there");
    s.refused(A1, bind("routing.unknown", "routing.x", "k"));
    s.refused(A1, bind("routing.q", "routing.unknown", "k"));
    s.refused(A1, bind("routing.unknown", "routing.unknown", "k"));
    s.call(A1, unbind("routing.unknown", "routing.x", "k"));
    s.call(A1, unbind("routing.q", "routing.unknown", "k"));

    s.note("the default exchange");
    s.refused(A1, bind("routing.q", "", "k"));
    s.refused(A1, unbind("routing.q", "", "routing.q"));

    s.note("without an answer");
    s.send(
        A1,
        queue_class::Bind {
            no_wait: true,
            ..bind("routing.q", "routing.x", "quiet")
        },
    );
    s.publish(A1, to("routing.x", "quiet"), &plain(), b"3");
    s.call(A1, take("routing.q"));
    s.call(A1, delete("routing.q"));
    s.call(A1, delete_exchange("routing.x"));
}

pub fn binding_exchanges(s: &mut Session) {
    s.open_with(A1);
    s.call(A1, exchange("routing.from", "direct"));
    s.call(A1, exchange("routing.to", "fanout"));
    s.call(A1, queue("routing.end"));
    s.call(A1, bind("routing.end", "routing.to", ""));
    s.call(A1, bind_exchange("routing.to", "routing.from", "k"));
    s.publish(A1, to("routing.from", "k"), &plain(), b"through both");
    s.call(A1, take("routing.end"));
    s.call(A1, bind_exchange("routing.from", "routing.to", "circle"));
    s.publish(A1, to("routing.from", "k"), &plain(), b"once");
    s.call(A1, take("routing.end"));
    s.call(A1, take("routing.end"));
    s.call(A1, unbind_exchange("routing.to", "routing.from", "k"));
    s.publish(A1, mandatory("routing.from", "k"), &plain(), b"nowhere");
    s.expect(A1, &["basic.return"]);
    s.call(A1, unbind_exchange("routing.to", "routing.from", "k"));

    s.refused(A1, bind_exchange("routing.unknown", "routing.from", "k"));
    s.refused(A1, bind_exchange("routing.to", "routing.unknown", "k"));
    s.call(A1, unbind_exchange("routing.unknown", "routing.from", "k"));
    s.call(A1, unbind_exchange("routing.to", "routing.unknown", "k"));
    s.refused(A1, bind_exchange("", "routing.from", "k"));
    s.refused(A1, bind_exchange("routing.to", "", "k"));

    s.note("a binding is a use of its source, not of its destination");
    s.call(A1, bind_exchange("routing.to", "routing.from", "k"));
    s.refused(
        A1,
        exchange_class::Delete {
            if_unused: true,
            ..delete_exchange("routing.from")
        },
    );
    s.call(A1, delete_exchange("routing.to"));
    s.call(
        A1,
        exchange_class::Delete {
            if_unused: true,
            ..delete_exchange("routing.from")
        },
    );
    s.call(A1, delete("routing.end"));
}

pub fn internal_exchanges(s: &mut Session) {
    s.open_with(A1);
    s.call(
        A1,
        exchange_class::Declare {
            internal: true,
            ..exchange("routing.internal", "fanout")
        },
    );
    s.call(A1, exchange("routing.outer", "fanout"));
    s.call(A1, bind_exchange("routing.internal", "routing.outer", ""));
    s.call(A1, queue("routing.inner"));
    s.call(A1, bind("routing.inner", "routing.internal", ""));
    s.publish(A1, to("routing.internal", ""), &plain(), b"refused");
    s.expect_refusal(A1);
    s.publish(A1, to("routing.outer", ""), &plain(), b"passed on");
    s.call(A1, take("routing.inner"));
    s.call(A1, delete("routing.inner"));
    s.call(A1, delete_exchange("routing.internal"));
    s.call(A1, delete_exchange("routing.outer"));
}

pub fn alternate_exchanges(s: &mut Session) {
    s.open_with(A1);
    let alternate = table([("alternate-exchange", text("routing.else"))]);
    s.call(
        A1,
        exchange_class::Declare {
            arguments: alternate.as_table(),
            ..exchange("routing.first", "direct")
        },
    );
    s.note("the alternate is not there yet");
    s.publish(A1, mandatory("routing.first", "k"), &plain(), b"1");
    s.expect(A1, &["basic.return"]);
    s.call(A1, exchange("routing.else", "fanout"));
    s.call(A1, queue("routing.rest"));
    s.call(A1, bind("routing.rest", "routing.else", ""));
    s.publish(A1, mandatory("routing.first", "k"), &plain(), b"2");
    s.call(A1, take("routing.rest"));
    s.note("only what has no other way");
    s.call(A1, queue("routing.main"));
    s.call(A1, bind("routing.main", "routing.first", "k"));
    s.publish(A1, to("routing.first", "k"), &plain(), b"3");
    s.call(A1, take("routing.main"));
    s.call(A1, take("routing.rest"));
    for name in ["routing.rest", "routing.main"] {
        s.call(A1, delete(name));
    }
    for name in ["routing.first", "routing.else"] {
        s.call(A1, delete_exchange(name));
    }
}

pub fn topics(s: &mut Session) {
    s.open_with(A1);
    s.call(A1, exchange("routing.topics", "topic"));
    let patterns = [
        "#", "*", "a.*", "a.#", "#.b", "a.*.b", "*.*", "a..b", "", "#.#", "a.#.b.#", "*.#",
    ];
    for pattern in patterns {
        let name = format!("routing.topic {pattern}");
        s.call(A1, queue(&name));
        s.call(A1, bind(&name, "routing.topics", pattern));
    }
    for key in [
        "", "a", "b", "a.b", "a.x.b", "a..b", "a.x.y.b", ".", "x.b.b",
    ] {
        s.publish(A1, to("routing.topics", key), &plain(), key.as_bytes());
    }
    for pattern in patterns {
        let name = format!("routing.topic {pattern}");
        s.take_all(A1, &name);
        s.call(A1, delete(&name));
    }
    s.call(A1, delete_exchange("routing.topics"));
}

pub fn cc_and_bcc(s: &mut Session) {
    s.open_with(A1);
    for name in ["routing.to-1", "routing.cc-2", "routing.bcc-3"] {
        s.call(A1, queue(name));
    }
    let cc = list(["routing.cc-2", "routing.unknown", "routing.to-1"]);
    let bcc = list(["routing.bcc-3"]);
    let headers = table([
        ("CC", cc.as_array().into()),
        ("BCC", bcc.as_array().into()),
        ("other", int(1)),
    ]);
    s.publish(
        A1,
        to_queue("routing.to-1"),
        &properties(|set| set.headers(&headers)),
        b"three",
    );
    for name in ["routing.to-1", "routing.cc-2", "routing.bcc-3"] {
        s.call(A1, take(name));
        s.call(A1, take(name));
    }
    s.note("a text in place of a list is refused, and a number within one is not seen");
    let text_cc = table([("CC", text("routing.cc-2"))]);
    s.publish(
        A1,
        to_queue("routing.to-1"),
        &properties(|set| set.headers(&text_cc)),
        b"x",
    );
    s.expect_refusal(A1);
    let mut numbers = FieldArray::new();
    numbers.push(int(5)).expect("a number");
    let number_cc = table([("BCC", numbers.as_array().into())]);
    s.publish(
        A1,
        to_queue("routing.to-1"),
        &properties(|set| set.headers(&number_cc)),
        b"x",
    );
    s.call(A1, take("routing.to-1"));
    for name in ["routing.to-1", "routing.cc-2", "routing.bcc-3"] {
        s.call(A1, delete(name));
    }
}

pub fn default_exchange(s: &mut Session) {
    s.open_with(A1);
    s.call(A1, queue("routing.default"));
    s.publish(A1, to_queue("routing.default"), &plain(), b"1");
    s.call(A1, get("routing.default"));
    s.call(A1, purge("routing.default"));
    s.publish(A1, mandatory("", "routing.unknown"), &plain(), b"2");
    s.expect(A1, &["basic.return"]);
    s.publish(A1, to("", ""), &plain(), b"to no name");
    s.call(
        A1,
        queue_class::Delete {
            queue: short("routing.default"),
            ..Default::default()
        },
    );
    s.note("an exchange that is not there");
    s.publish(A1, to("routing.unknown", "k"), &plain(), b"3");
    s.expect_refusal(A1);
}
