//! Frames that break the rules, and content that is not whole.

use amqp_uring::protocol::{
    ContentHeader, Frame, FrameKind, PropertiesRef, basic, channel, connection,
};

use crate::differential::methods::{delete, get, goodbye, open, plain, queue, to_queue};
use crate::differential::session::{A0, A1, A2, FRAME_MAX, Session, encoded};

fn method_frame(channel: u16, payload: &[u8]) -> Vec<u8> {
    encoded(Frame {
        kind: FrameKind::Method,
        channel,
        payload,
    })
}

pub fn malformed(s: &mut Session) {
    s.note("a frame end that is none");
    s.open_with(A1);
    let mut frame = method_frame(1, &[0, 20, 0, 40, 0, 200, 0, 0, 0, 0, 0]);
    *frame.last_mut().expect("a frame") = 0;
    s.raw("a", "frame", &frame);
    s.expect_close("a");

    s.note("a kind that there is not");
    s.open_with(A1);
    s.raw("a", "frame", &[7, 0, 1, 0, 0, 0, 0, 206]);
    s.expect_close("a");

    s.note("RabbitMQ takes payloads of the negotiated size of frames, and not one octet more");
    s.open_with(A1);
    s.send(A1, to_queue("nowhere"));
    s.send_header(A1, u64::from(FRAME_MAX), &plain());
    s.send_body(A1, &vec![b'x'; FRAME_MAX as usize]);
    s.call(A1, basic::Qos::default());
    s.send(A1, to_queue("nowhere"));
    s.send_header(A1, u64::from(FRAME_MAX) + 1, &plain());
    s.send_body(A1, &vec![b'x'; FRAME_MAX as usize + 1]);
    s.expect_close("a");
}

/// RabbitMQ hangs up without a word.
pub fn methods_that_there_are_not(s: &mut Session) {
    for (what, payload) in [
        ("an unknown class", [0, 61, 0, 10]),
        ("an unknown method", [0, 60, 0, 99]),
    ] {
        s.note(what);
        s.open_with(A1);
        s.raw("a", "frame", &method_frame(1, &payload));
        s.expect_any_end("a");
    }
}

pub fn malformed_methods(s: &mut Session) {
    for (what, payload) in [
        ("arguments cut short", &[0, 50, 0, 10, 0, 0, 3, b'q'][..]),
        ("octets after the arguments", &[0, 20, 0, 41, 1]),
        ("half a method id", &[0, 50, 0]),
        ("nothing", &[]),
        (
            "a table with a value of no known type",
            &[0, 50, 0, 10, 0, 0, 1, b'q', 0, 0, 0, 0, 3, 1, b'k', b'?'],
        ),
    ] {
        s.note(what);
        s.open_with(A1);
        s.raw("a", "frame", &method_frame(1, payload));
        s.expect_any_end("a");
    }
}

pub fn methods_that_only_a_server_sends(s: &mut Session) {
    s.open_with(A1);
    s.fatal(A1, basic::GetEmpty {});
    s.open_with(A1);
    s.fatal(A1, basic::QosOk {});
    s.open_with(A1);
    s.fatal(A1, channel::OpenOk {});
    s.open("a");
    s.fatal(A0, connection::OpenOk {});
}

pub fn content_out_of_order(s: &mut Session) {
    s.note("a header without a method");
    s.open_with(A1);
    s.send_header(A1, 1, &plain());
    s.expect_close("a");

    s.note("a body without a method");
    s.open_with(A1);
    s.send_body(A1, b"x");
    s.expect_close("a");

    s.note("a method in place of a header");
    s.open_with(A1);
    s.send(A1, to_queue("nowhere"));
    s.fatal(A1, get("nowhere"));

    s.note("a body in place of a header");
    s.open_with(A1);
    s.send(A1, to_queue("nowhere"));
    s.send_body(A1, b"x");
    s.expect_close("a");

    s.note("a header in place of a body");
    s.open_with(A1);
    s.send(A1, to_queue("nowhere"));
    s.send_header(A1, 1, &plain());
    s.send_header(A1, 1, &plain());
    s.expect_close("a");

    s.note("a method in place of a body");
    s.open_with(A1);
    s.send(A1, to_queue("nowhere"));
    s.send_header(A1, 1, &plain());
    s.fatal(A1, get("nowhere"));

    s.note("the content of a method that has none");
    s.open_with(A1);
    s.call(A1, queue("frames.extra"));
    s.call(A1, delete("frames.extra"));
    s.send_header(A1, 0, &plain());
    s.expect_close("a");
}

/// A content header that is spoilt by `spoil`, after a publish that it belongs to.
fn spoilt_header(s: &mut Session, what: &str, spoil: impl FnOnce(&mut Vec<u8>)) {
    s.open_with(A1);
    s.send(A1, to_queue("nowhere"));
    let mut payload = Vec::new();
    ContentHeader::new(0, PropertiesRef::default()).encode(&mut payload);
    spoil(&mut payload);
    let frame = Frame {
        kind: FrameKind::Header,
        channel: 1,
        payload: &payload,
    };
    s.raw("a", what, &encoded(frame));
    s.expect_any_end("a");
}

pub fn malformed_headers(s: &mut Session) {
    spoilt_header(s, "a header of another class", |payload| payload[1] = 50);
    spoilt_header(s, "a header with a weight", |payload| payload[3] = 1);
}

/// RabbitMQ does not look for these, and fails on them.
pub fn malformed_properties(s: &mut Session) {
    spoilt_header(s, "no flags", |payload| payload.truncate(12));
    spoilt_header(s, "octets after the last property", |payload| {
        payload.push(0)
    });
    spoilt_header(s, "a text that is cut short", |payload| {
        payload[12] = 0x80;
        payload.push(5);
    });
    spoilt_header(s, "a header with a value of no known type", |payload| {
        payload[12] = 0x20;
        payload.extend_from_slice(b"\0\0\0\x03\x01k?");
    });
    spoilt_header(s, "flags that go on", |payload| {
        payload[13] = 1;
        payload.extend_from_slice(&[0, 0]);
    });
}

pub fn bodies_of_other_sizes(s: &mut Session) {
    s.note("a body larger than announced never ends");
    s.open_with(A1);
    s.send(A1, to_queue("nowhere"));
    s.send_header(A1, 3, &plain());
    s.send_body(A1, b"four");
    s.fatal(A1, basic::Qos::default());

    s.note("empty body frames within a body");
    s.open_with(A1);
    s.call(A1, queue("frames.sizes"));
    s.send(A1, to_queue("frames.sizes"));
    s.send_header(A1, 3, &plain());
    s.send_body(A1, b"");
    s.send_body(A1, b"ab");
    s.send_body(A1, b"");
    s.send_body(A1, b"c");
    s.call(A1, get("frames.sizes"));

    s.note("a body frame after an empty body");
    s.send(A1, to_queue("frames.sizes"));
    s.send_header(A1, 0, &plain());
    s.call(A1, get("frames.sizes"));
    s.call(A1, delete("frames.sizes"));
    s.send(A1, to_queue("frames.sizes"));
    s.send_header(A1, 0, &plain());
    s.send_body(A1, b"");
    s.expect_close("a");
}

pub fn channels_and_zero(s: &mut Session) {
    s.note("a publish on channel 0");
    s.open("a");
    s.send(A0, to_queue("nowhere"));
    s.expect_close("a");

    s.note("a header on channel 0");
    s.open("a");
    s.send_header(A0, 0, &plain());
    s.expect_close("a");

    s.note("a heartbeat, which is no answer's cause");
    s.open_with(A1);
    s.send_heartbeat(A0);
    s.call(A1, basic::Qos::default());

    s.note("a heartbeat on a channel");
    s.send_heartbeat(A1);
    s.expect_close("a");

    s.note("a method of the connection on a channel");
    s.open_with(A1);
    s.send(A1, goodbye());
    s.expect_close("a");
}

/// A method of 0-8 that 0-9-1 has dropped, and RabbitMQ still answers.
pub fn access_request(s: &mut Session) {
    s.open_with(A1);
    s.raw(
        "a",
        "access.request",
        &method_frame(1, &[0, 30, 0, 10, 1, b'/', 31]),
    );
    s.expect(A1, &["unknown method"]);
}

pub fn contents_side_by_side(s: &mut Session) {
    s.open_with(A1);
    s.open_channel(A2);
    s.call(A1, queue("frames.mixed"));
    s.send(A1, to_queue("frames.mixed"));
    s.send(A2, to_queue("frames.mixed"));
    s.send_header(A2, 2, &plain());
    s.send_header(A1, 4, &plain());
    s.send_body(A1, b"on");
    s.send_body(A2, b"2");
    s.send_heartbeat(A0);
    s.send_body(A1, b"e1");
    s.call(A1, get("frames.mixed"));
    s.send_body(A2, b"2");
    s.call(A2, get("frames.mixed"));
    s.call(A1, delete("frames.mixed"));
}

pub fn small_ones(s: &mut Session) {
    s.begin_tuning("a");
    s.tune_ok("a", 2047, 4096);
    s.call(A0, open("/"));
    s.open_channel(A1);
    s.call(A1, queue("frames.small"));
    s.send(A1, to_queue("frames.small"));
    s.send_header(A1, 10_000, &plain());
    s.send_body(A1, &[b'x'; 4088]);
    s.send_body(A1, &[b'y'; 4088]);
    s.send_body(A1, &[b'z'; 1824]);
    s.call(A1, get("frames.small"));
    s.call(A1, delete("frames.small"));
    s.send(A1, to_queue("nowhere"));
    s.send_header(A1, 4097, &plain());
    s.send_body(A1, &[b'x'; 4097]);
    s.expect_close("a");
}
