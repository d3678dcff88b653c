//! Publishing: confirms, returns, contents and what is refused.

use amqp_uring::protocol::{Decimal, FieldArray, Value, basic, confirm, queue as class};

use crate::differential::methods::{
    consume_no_ack, delete, get, int, mandatory, passive, plain, properties, queue, reject, table,
    take, text, to, to_queue,
};
use crate::differential::session::{A1, A2, Session};

pub fn confirms(s: &mut Session) {
    s.open_with(A1);
    s.call(A1, queue("publishing.confirms"));
    s.note("what came before select has no number");
    s.publish(A1, to_queue("publishing.confirms"), &plain(), b"0");
    s.call(A1, confirm::Select::default());
    s.publish_confirmed(A1, to_queue("publishing.confirms"), &plain(), b"1");
    s.publish_confirmed(
        A1,
        to_queue("publishing.confirms"),
        &properties(|set| set.delivery_mode(2)),
        b"2",
    );
    s.note("select once more changes nothing");
    s.call(A1, confirm::Select::default());
    s.publish_confirmed(A1, to_queue("publishing.confirms"), &plain(), b"3");
    s.note("what no queue takes is confirmed too");
    s.publish_confirmed(A1, to_queue("publishing.unknown"), &plain(), b"4");
    s.note("a return comes before its ack");
    s.publish(A1, mandatory("", "publishing.unknown"), &plain(), b"5");
    s.expect(A1, &["basic.return", "basic.ack"]);
    s.note("after an error the channel is not in confirm mode, and counts anew");
    s.publish(A1, to("publishing.unknown", "k"), &plain(), b"6");
    s.expect_refusal(A1);
    s.publish(A1, to_queue("publishing.confirms"), &plain(), b"7");
    s.send(A1, confirm::Select { nowait: true });
    s.publish_confirmed(A1, to_queue("publishing.confirms"), &plain(), b"8");
    s.take_all(A1, "publishing.confirms");
    s.call(A1, delete("publishing.confirms"));
}

pub fn durable_messages(s: &mut Session) {
    s.open_with(A1);
    s.call(
        A1,
        class::Declare {
            durable: true,
            ..queue("publishing.durable")
        },
    );
    s.call(A1, confirm::Select::default());
    s.publish_confirmed(
        A1,
        to_queue("publishing.durable"),
        &properties(|set| set.delivery_mode(2)),
        b"1",
    );
    s.publish_confirmed(
        A1,
        to_queue("publishing.durable"),
        &properties(|set| set.delivery_mode(1)),
        b"2",
    );
    s.take_all(A1, "publishing.durable");
    s.call(A1, delete("publishing.durable"));
}

pub fn returns(s: &mut Session) {
    s.open_with(A1);
    let headers = table([("n", int(1))]);
    s.publish(
        A1,
        mandatory("", "publishing.unknown"),
        &properties(|set| set.headers(&headers).message_id("m")),
        b"with all",
    );
    s.expect(A1, &["basic.return"]);
    s.publish(A1, mandatory("amq.fanout", "k"), &plain(), b"");
    s.expect(A1, &["basic.return"]);
    s.note("what is not mandatory is dropped");
    s.publish(A1, to("amq.fanout", "k"), &plain(), b"");
    s.call(A1, basic::Qos::default());
    s.note("immediate");
    s.send(
        A1,
        basic::Publish {
            immediate: true,
            ..to_queue("publishing.unknown")
        },
    );
    s.send_header(A1, 0, &plain());
    s.expect_close("a");
}

pub fn bodies(s: &mut Session) {
    s.open_with(A1);
    s.open_channel(A2);
    s.call(A1, queue("publishing.bodies"));
    let pattern: Vec<u8> = (0..300_000_u32)
        .map(|number| (number % 251) as u8)
        .collect();
    for length in [0, 1, 131_064, 131_065, 300_000] {
        s.publish(
            A1,
            to_queue("publishing.bodies"),
            &plain(),
            &pattern[..length],
        );
        s.call(A1, take("publishing.bodies"));
    }
    s.note("in small frames");
    s.send(A1, to_queue("publishing.bodies"));
    s.send_header(A1, 9, &plain());
    for piece in [b"abc", b"def", b"ghi"] {
        s.send_body(A1, piece);
    }
    s.call(A2, consume_no_ack("publishing.bodies", "t"));
    s.expect(A2, &["basic.deliver"]);
    s.call(A1, delete("publishing.bodies"));
    s.expect(A2, &["basic.cancel"]);
}

pub fn all_properties(s: &mut Session) {
    s.open_with(A1);
    s.call(A1, queue("publishing.properties"));
    let headers = table([("n", int(1))]);
    let all = properties(|set| {
        set.content_type("text/plain")
            .content_encoding("utf-8")
            .headers(&headers)
            .delivery_mode(2)
            .priority(7)
            .correlation_id("c")
            .reply_to("r")
            .expiration("3600000")
            .message_id("m")
            .timestamp(1_700_000_000)
            .type_("t")
            .user_id("guest")
            .app_id("a")
            .cluster_id("x")
    });
    s.publish(A1, to_queue("publishing.properties"), &all, b"all");
    s.call(A1, take("publishing.properties"));
    let empty = table([]);
    s.publish(
        A1,
        to_queue("publishing.properties"),
        &properties(|set| set.headers(&empty).content_type("").delivery_mode(1)),
        b"",
    );
    s.call(A1, take("publishing.properties"));
    s.call(A1, delete("publishing.properties"));
}

pub fn every_type_of_header(s: &mut Session) {
    s.open_with(A1);
    s.call(A1, queue("publishing.headers"));
    let mut array = FieldArray::new();
    array
        .push(int(1))
        .expect("a number")
        .push("two")
        .expect("a text")
        .push(Value::Void)
        .expect("nothing");
    let inner = table([("a", int(1)), ("b", (&table([])).into())]);
    let all = table([
        ("bool", true.into()),
        ("i8", Value::I8(-8)),
        ("u8", Value::U8(200)),
        ("i16", Value::I16(-16)),
        ("u16", Value::U16(60_000)),
        ("i32", Value::I32(-32)),
        ("u32", Value::U32(4_000_000_000)),
        ("i64", Value::I64(-64)),
        ("f32", Value::F32(1.5)),
        ("f64", Value::F64(-2.5)),
        (
            "decimal",
            Value::Decimal(Decimal {
                scale: 2,
                value: 314,
            }),
        ),
        ("text", text("text")),
        ("array", array.as_array().into()),
        ("timestamp", Value::Timestamp(1_700_000_000)),
        ("table", (&inner).into()),
        ("void", Value::Void),
        ("bytes", Value::Bytes(b"\0\xff")),
    ]);
    s.publish(
        A1,
        to_queue("publishing.headers"),
        &properties(|set| set.headers(&all)),
        b"",
    );
    s.call(A1, take("publishing.headers"));
    s.note("after a requeue");
    s.publish(
        A1,
        to_queue("publishing.headers"),
        &properties(|set| set.headers(&all)),
        b"",
    );
    s.call(A1, get("publishing.headers"));
    s.send(A1, reject(2, true));
    s.call(A1, take("publishing.headers"));
    s.call(A1, delete("publishing.headers"));
}

pub fn refused(s: &mut Session) {
    s.open_with(A1);
    s.call(A1, queue("publishing.refused"));
    s.note("a user id of somebody else");
    s.publish(
        A1,
        to_queue("publishing.refused"),
        &properties(|set| set.user_id("other")),
        b"",
    );
    s.expect_refusal(A1);
    s.publish(
        A1,
        to_queue("publishing.refused"),
        &properties(|set| set.user_id("")),
        b"",
    );
    s.expect_refusal(A1);
    s.note("expirations that are none");
    for expiration in [
        "",
        "abc",
        "-1",
        "1.5",
        "5 ",
        "4294967296000",
        "99999999999999999999",
    ] {
        s.publish(
            A1,
            to_queue("publishing.refused"),
            &properties(|set| set.expiration(expiration)),
            b"",
        );
        s.expect_refusal(A1);
    }
    s.note("a delivery mode that there is not");
    for mode in [0, 3] {
        s.publish(
            A1,
            to_queue("publishing.refused"),
            &properties(|set| set.delivery_mode(mode)),
            b"",
        );
        s.expect_refusal(A1);
    }
    s.note("nothing of it has come to the queue");
    s.call(A1, passive("publishing.refused"));
    s.call(A1, delete("publishing.refused"));
}
