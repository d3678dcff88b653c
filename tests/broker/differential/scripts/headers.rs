//! Headers exchanges.

use amqp_uring::protocol::{FieldTable, Value, queue as class};

use crate::differential::methods::{
    bind, delete, delete_exchange, exchange, int, plain, properties, queue, table, text, to, unbind,
};
use crate::differential::session::{A1, Session};

fn bind_headers<'a>(
    queue: &'a str,
    exchange: &'a str,
    arguments: &'a FieldTable,
) -> class::Bind<'a> {
    class::Bind {
        arguments: arguments.as_table(),
        ..bind(queue, exchange, "ignored")
    }
}

fn unbind_headers<'a>(
    queue: &'a str,
    exchange: &'a str,
    arguments: &'a FieldTable,
) -> class::Unbind<'a> {
    class::Unbind {
        arguments: arguments.as_table(),
        ..unbind(queue, exchange, "ignored")
    }
}

fn publish_headers(s: &mut Session, exchange: &str, headers: &FieldTable, body: &[u8]) {
    let properties = properties(|set| set.headers(headers));
    s.publish(A1, to(exchange, ""), &properties, body);
}

pub fn matching(s: &mut Session) {
    s.open_with(A1);
    s.call(A1, exchange("headers.matching", "headers"));
    let (all, any) = (("x-match", text("all")), ("x-match", text("any")));
    let (a, b, c, x) = (
        ("a", int(1)),
        ("b", text("two")),
        ("c", text("anything")),
        ("x-a", int(7)),
    );
    let bindings = [
        ("headers.all", table([all, a, b])),
        ("headers.any", table([any, a, b])),
        ("headers.default", table([a])),
        ("headers.nothing", table([])),
        ("headers.any of nothing", table([any])),
        ("headers.void", table([("c", Value::Void)])),
        ("headers.wide", table([("a", Value::I64(1))])),
        ("headers.x", table([a, x])),
        (
            "headers.all with x",
            table([("x-match", text("all-with-x")), x]),
        ),
        (
            "headers.any with x",
            table([("x-match", text("any-with-x")), x]),
        ),
    ];
    for (name, arguments) in &bindings {
        s.call(A1, queue(name));
        s.call(A1, bind_headers(name, "headers.matching", arguments));
    }
    let other_b = ("b", text("three"));
    for (body, headers) in [
        (&b"none"[..], table([])),
        (b"a", table([a])),
        (b"a, b", table([a, b])),
        (b"other b", table([other_b])),
        (b"c", table([c])),
        (b"x", table([x])),
    ] {
        publish_headers(s, "headers.matching", &headers, body);
    }
    s.note("without any headers");
    s.publish(A1, to("headers.matching", ""), &plain(), b"bare");
    for (name, _) in &bindings {
        s.take_all(A1, name);
        s.call(A1, delete(name));
    }
    s.call(A1, delete_exchange("headers.matching"));
}

pub fn equal_bindings(s: &mut Session) {
    s.open_with(A1);
    s.call(A1, exchange("headers.equal", "headers"));
    s.call(A1, queue("headers.queue"));
    let (none, one) = (table([]), table([("a", int(1)), ("b", int(2))]));
    let (turned, wide) = (
        table([("b", int(2)), ("a", int(1))]),
        table([("a", Value::I64(1)), ("b", int(2))]),
    );
    s.call(A1, bind_headers("headers.queue", "headers.equal", &one));
    s.note("another one, which is not there");
    s.call(A1, unbind_headers("headers.queue", "headers.equal", &none));
    s.call(A1, unbind_headers("headers.queue", "headers.equal", &wide));
    publish_headers(s, "headers.equal", &one, b"1");
    s.take_all(A1, "headers.queue");
    s.note("the same, in another order");
    s.call(
        A1,
        unbind_headers("headers.queue", "headers.equal", &turned),
    );
    publish_headers(s, "headers.equal", &one, b"2");
    s.take_all(A1, "headers.queue");

    s.note("x-match of no known kind");
    let (other, number) = (
        table([("x-match", text("some"))]),
        table([("x-match", int(1))]),
    );
    s.refused(A1, bind_headers("headers.queue", "headers.equal", &other));
    s.refused(A1, bind_headers("headers.queue", "headers.equal", &number));
    s.call(A1, delete("headers.queue"));
    s.call(A1, delete_exchange("headers.equal"));
}
