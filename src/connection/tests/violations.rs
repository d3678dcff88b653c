//! What a broker must not send: each closes the connection with its code, answers every call, and says what was wrong.

use super::*;
use crate::protocol::DecodeError;

/// A channel with a consumer, a publisher and a call that waits.
fn busy() -> Client {
    let mut client = Client::open();
    let channel = client.channel();
    client.consumer(channel, 5, false);
    client.connection.set_publisher(channel, 70).unwrap();
    client
        .connection
        .call(channel, 1, &declare("q").into())
        .unwrap();
    client.connection.output().clear();
    client
}

#[track_caller]
fn fails(octets: &[Vec<u8>], code: ReplyCode) -> ConnectionError {
    fails_in(busy(), octets, code)
}

#[track_caller]
fn fails_in(mut client: Client, octets: &[Vec<u8>], code: ReplyCode) -> ConnectionError {
    let error = client.feed(&octets.concat()).unwrap_err();
    assert_eq!(close_code(&mut client), code, "{error}");
    let cut_off = failed(1, ChannelError::Connection(error.clone()));
    assert_eq!(client.events(), [cut_off, Event::Closed(error.clone())]);
    assert!(client.connection.is_closed());
    error
}

#[track_caller]
fn violates(octets: &[Vec<u8>], violation: Violation, code: ReplyCode) {
    assert_eq!(violation.reply_code(), code);
    assert_eq!(fails(octets, code), violation.into());
}

fn unexpected_frame(found: &'static str, channel: u16, expected: &'static str) -> Violation {
    Violation::UnexpectedFrame {
        found,
        channel,
        expected,
    }
}

#[test]
fn what_was_finished_before_is_acknowledged_before_the_close() {
    let mut client = Client::open();
    let channel = client.channel();
    client.consumer(channel, 5, false);
    let octets = [
        delivery(1, "ctag-5", 1, b""),
        delivery(1, "ctag-5", 2, b""),
        ack(2, 1, false),
    ];
    client.feed(&octets.concat()).unwrap_err();
    let sent = client.sent();
    assert_eq!(sent[..1], show(&ack(1, 2, true)));
    assert!(sent[1].contains("ConnectionClose"), "{sent:?}");
}

#[test]
fn a_frame_for_a_channel_that_was_never_open() {
    for octets in [
        ack(2, 1, false),
        delivery(2, "ctag-5", 1, b""),
        channel_close_ok(u16::MAX),
    ] {
        let channel = u16::from_be_bytes([octets[1], octets[2]]);
        let violation = Violation::UnknownChannel { channel };
        violates(&[octets], violation, ReplyCode::ChannelError);
    }
}

#[test]
fn a_frame_for_a_channel_before_the_connection_is_open() {
    for (after, octets) in [
        (0, ack(1, 1, false)),
        (1, delivery(7, "x", 1, b"")),
        (2, header(1, 1)),
    ] {
        let mut client = Client::new(config());
        let in_turn = [start("PLAIN"), tune(0, 0, 0)];
        client.feed(&in_turn[..after].concat()).unwrap();
        client.connection.output().clear();
        let channel = octets[2].into();
        let violation = Violation::BeforeOpen { channel };
        assert_eq!(violation.reply_code(), ReplyCode::ChannelError);
        assert_eq!(client.feed(&octets), Err(violation.into()));
        if after == 2 {
            assert_eq!(close_code(&mut client), ReplyCode::ChannelError);
        }
        assert_eq!(client.sent(), [""; 0]);
    }
}

#[test]
fn a_heartbeat_on_a_channel() {
    let heartbeat = frame(FrameKind::Heartbeat, 1, &[]);
    let violation = Violation::HeartbeatOnChannel { channel: 1 };
    violates(&[heartbeat], violation, ReplyCode::FrameError);
}

#[test]
fn methods_that_nobody_waits_for() {
    let on_channel_1: [(Vec<u8>, &str); 6] = [
        (method(1, basic::QosOk::default()), "basic.qos-ok"),
        (method(1, basic::GetEmpty::default()), "basic.get-empty"),
        (method(1, basic::GetOk::default()), "basic.get-ok"),
        (
            method(1, channel_class::OpenOk::default()),
            "channel.open-ok",
        ),
        (channel_close_ok(1), "channel.close-ok"),
        // Methods that only a client may send.
        (method(1, declare("q")), "queue.declare"),
    ];
    let on_channel_0: [(Vec<u8>, &str); 4] = [
        (start("PLAIN"), "connection.start"),
        (connection_close_ok(), "connection.close-ok"),
        (delivery(0, "ctag-5", 1, b""), "basic.deliver"),
        (declare_ok(0, "q"), "queue.declare-ok"),
    ];
    for (octets, name) in on_channel_1.into_iter().chain(on_channel_0) {
        let error = fails(&[octets], ReplyCode::CommandInvalid);
        let ConnectionError::Violation(Violation::UnexpectedMethod { method, .. }) = error else {
            panic!("{error:?}");
        };
        assert_eq!(method, name);
    }
}

#[test]
fn the_answer_to_a_call_that_has_not_been_sent_yet() {
    let mut client = busy();
    let channel = client.connection.open_channel(2).unwrap();
    client
        .connection
        .call(channel, 3, &declare("q").into())
        .unwrap();
    let error = client.feed(&declare_ok(2, "q")).unwrap_err();
    assert!(matches!(
        error,
        ConnectionError::Violation(Violation::UnexpectedMethod { channel: 2, .. })
    ));
}

#[test]
fn content_frames_that_do_not_belong() {
    let began = || method(1, deliver("ctag-5", 1));
    let body = |octets: &[u8]| frame(FrameKind::Body, 1, octets);
    let violates = |octets: &[Vec<u8>], violation| {
        violates(octets, violation, ReplyCode::UnexpectedFrame);
    };
    violates(
        &[header(1, 1)],
        unexpected_frame("content header", 1, "a method"),
    );
    violates(&[body(b"x")], unexpected_frame("body", 1, "a method"));
    violates(
        &[began(), body(b"x")],
        unexpected_frame("body", 1, "a content header"),
    );
    violates(
        &[began(), ack(1, 1, false)],
        unexpected_frame("method", 1, "a content header"),
    );
    violates(
        &[began(), began()],
        unexpected_frame("method", 1, "a content header"),
    );
    violates(
        &[began(), header(1, 9), began()],
        unexpected_frame("method", 1, "a body frame"),
    );
    let twice = [began(), header(1, 2), header(1, 2)];
    violates(
        &twice,
        unexpected_frame("content header", 1, "a body frame"),
    );
    let after_the_end = [delivery(1, "ctag-5", 1, b"ab"), body(b"c")];
    violates(&after_the_end, unexpected_frame("body", 1, "a method"));
    violates(
        &[header(0, 1)],
        unexpected_frame("content header", 0, "a method"),
    );
    violates(
        &[frame(FrameKind::Body, 0, b"")],
        unexpected_frame("body", 0, "a method"),
    );
}

#[test]
fn more_body_than_announced() {
    let violation = Violation::BodyTooLong {
        announced: 3,
        channel: 1,
    };
    for pieces in [[&b"abcd"[..], b""], [b"ab", b"cd"], [b"", b"abcd"]] {
        let mut octets = vec![method(1, deliver("ctag-5", 1)), header(1, 3)];
        octets.extend(pieces.map(|piece| frame(FrameKind::Body, 1, piece)));
        violates(&octets, violation.clone(), ReplyCode::UnexpectedFrame);
    }
}

#[test]
fn a_body_over_the_limit() {
    let violation = Violation::BodyTooLarge {
        announced: 10_001,
        limit: 10_000,
        channel: 1,
    };
    let octets = [method(1, deliver("ctag-5", 1)), header(1, 10_001)];
    violates(&octets, violation, ReplyCode::ResourceError);
}

#[test]
fn delivery_tags_that_go_back() {
    for (tags, last) in [(&[0][..], 0), (&[1, 1], 1), (&[1, 5, 3], 5)] {
        let octets: Vec<_> = tags
            .iter()
            .map(|tag| delivery(1, "ctag-5", *tag, b""))
            .collect();
        let violation = Violation::DeliveryTag {
            found: *tags.last().unwrap(),
            last,
            channel: 1,
        };
        let mut client = busy();
        // Acks of the deliveries before it may be in the output.
        let error = client.feed(&octets.concat()).unwrap_err();
        assert_eq!(error, violation.clone().into());
        assert_eq!(violation.reply_code(), ReplyCode::CommandInvalid);
        assert_eq!(close_code(&mut client), ReplyCode::CommandInvalid);
    }
}

#[test]
fn a_message_from_get_with_a_tag_that_goes_back() {
    let mut client = Client::open();
    let channel = client.channel();
    client.consumer(channel, 5, false);
    client.feed(&delivery(1, "ctag-5", 4, b"")).unwrap();
    client
        .connection
        .call(channel, 1, &basic::Get::default().into())
        .unwrap();
    client.connection.output().clear();
    let get_ok = basic::GetOk {
        delivery_tag: 4,
        ..Default::default()
    };
    let error = fails_in(
        client,
        &[content(1, get_ok, b"", 1)],
        ReplyCode::CommandInvalid,
    );
    let violation = Violation::DeliveryTag {
        found: 4,
        last: 4,
        channel: 1,
    };
    assert_eq!(error, violation.into());
}

#[test]
fn a_delivery_for_a_consumer_that_nobody_has() {
    let violation = Violation::UnknownConsumer {
        tag: "stranger".into(),
        channel: 1,
    };
    let octets = delivery(1, "stranger", 1, b"");
    violates(&[octets], violation, ReplyCode::CommandInvalid);
}

#[test]
fn confirms_that_the_publisher_refuses_or_that_have_no_publisher() {
    let violation = |why| Violation::Confirm {
        tag: 9,
        channel: 1,
        why,
    };
    let mut client = busy();
    let why = "was never published";
    client.sink.bad_confirm = Some(BadConfirm { why });
    let error = fails_in(client, &[ack(1, 9, false)], ReplyCode::CommandInvalid);
    assert_eq!(error, violation(why).into());

    let mut client = Client::open();
    client.channel();
    let error = client.feed(&nack(1, 9, false)).unwrap_err();
    assert_eq!(error, violation("is not in confirm mode").into());
    assert_eq!(close_code(&mut client), ReplyCode::CommandInvalid);
}

#[test]
fn octets_that_are_no_amqp() {
    let decode = |octets: &[u8], code| {
        let error = fails(&[octets.to_vec()], code);
        let ConnectionError::Decode(error) = error else {
            panic!("{error:?}");
        };
        error
    };
    let mut wrong_end = ack(1, 1, false);
    *wrong_end.last_mut().unwrap() = 0;
    let content_of_another_class = {
        let mut header = header(1, 0);
        header[8] = 61;
        [method(1, deliver("ctag-5", 1)), header].concat()
    };
    use ReplyCode::{FrameError, NotImplemented, SyntaxError};
    let found = decode(&[4], FrameError);
    assert_eq!(found, DecodeError::FrameKind { found: 4 });
    let found = decode(&[3, 0, 1, 0, 0, 15, 249], FrameError);
    let (size, limit) = (4089, 4088);
    assert_eq!(found, DecodeError::FrameTooLarge { size, limit });
    let found = decode(&wrong_end, FrameError);
    assert!(matches!(found, DecodeError::FrameEnd { found: 0, .. }));
    let found = decode(&content_of_another_class, FrameError);
    assert_eq!(found, DecodeError::ContentClass { found: 61 });
    let found = decode(&frame(FrameKind::Method, 1, &[0, 99, 0, 1]), NotImplemented);
    assert!(matches!(found, DecodeError::UnknownClass { .. }));
    let found = decode(
        &frame(FrameKind::Method, 0, &[0, 10, 0, 99]),
        NotImplemented,
    );
    assert!(matches!(found, DecodeError::UnknownMethod { .. }));
    let found = decode(&frame(FrameKind::Method, 1, &[0, 60]), SyntaxError);
    assert!(matches!(found, DecodeError::Truncated { .. }));
    let found = decode(
        &frame(FrameKind::Method, 1, &[0, 20, 0, 41, 0]),
        SyntaxError,
    );
    assert!(matches!(found, DecodeError::TrailingOctets { .. }));
}
