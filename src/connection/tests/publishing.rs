//! Publishes on their way out, confirms and returns on their way in, and when publishing has to pause.

use super::*;
use crate::protocol::{DecodeError, PropertiesRef};

fn route() -> Route<'static> {
    Route {
        exchange: short("ex"),
        routing_key: short("key"),
        mandatory: true,
    }
}

fn frames(mut octets: &[u8]) -> Vec<(FrameKind, Vec<u8>, usize)> {
    let mut found = Vec::new();
    while !octets.is_empty() {
        let Ok(Decoded::Frame { frame, octets: n }) = Frame::decode(octets, 4096) else {
            panic!("no frame of at most 4096 octets: {octets:?}");
        };
        assert_eq!(frame.channel, 3);
        found.push((frame.kind, frame.payload.to_vec(), n));
        octets = &octets[n..];
    }
    found
}

fn returned() -> basic::Return<'static> {
    basic::Return {
        reply_code: ReplyCode::NoRoute.code(),
        reply_text: short("NO_ROUTE"),
        exchange: short("ex"),
        routing_key: short("key"),
    }
}

#[test]
fn a_publish_is_a_method_a_header_and_a_body() {
    let mut out = Vec::new();
    let properties = Properties::persistent();
    encode_publish_head(&mut out, 3, 4096, &route(), properties.as_ref(), 5).unwrap();
    encode_body(&mut out, 3, 4096, b"hello");
    let frames = frames(&out);
    let kinds: Vec<_> = frames.iter().map(|(kind, ..)| *kind).collect();
    assert_eq!(
        kinds,
        [FrameKind::Method, FrameKind::Header, FrameKind::Body]
    );
    let publish = basic::Publish {
        exchange: short("ex"),
        routing_key: short("key"),
        mandatory: true,
        immediate: false,
    };
    assert_eq!(Method::decode(&frames[0].1), Ok(publish.into()));
    let header = ContentHeader::decode(&frames[1].1).unwrap();
    assert_eq!(header.body_size, 5);
    assert_eq!(header.properties.delivery_mode(), Ok(Some(2)));
    assert_eq!(frames[2].1, b"hello");
}

#[test]
fn a_body_fills_each_frame_to_frame_max_and_an_empty_one_has_no_frame() {
    assert_eq!(body_piece_max(4096), 4088);
    for size in (0..=1usize)
        .chain(4096 - 9..=4096 + 9)
        .chain(2 * 4088 - 1..=2 * 4088 + 1)
    {
        let body: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
        let mut out = Vec::new();
        encode_body(&mut out, 3, 4096, &body);
        let frames = frames(&out);
        assert_eq!(frames.len(), size.div_ceil(4088), "{size}");
        for (kind, _, octets) in &frames[..frames.len().saturating_sub(1)] {
            assert_eq!((*kind, *octets), (FrameKind::Body, 4096));
        }
        let joined: Vec<u8> = frames
            .into_iter()
            .flat_map(|(_, payload, _)| payload)
            .collect();
        assert_eq!(joined, body);
    }
}

#[test]
fn properties_may_fill_a_frame_and_are_refused_beyond_it_with_nothing_appended() {
    // 14 octets of content header come before the list of properties, and a table with one name of one octet has 12.
    let headers_of = |total: usize| {
        let text = "x".repeat(total - 8 - 14 - 11);
        let headers = FieldTable::new().with("k", text.as_str()).unwrap();
        Properties::builder().headers(&headers).build().unwrap()
    };
    let encode = |properties: PropertiesRef<'_>| {
        let mut out = b"before".to_vec();
        let encoded = encode_publish_head(&mut out, 3, 4096, &route(), properties, 0);
        (encoded, out)
    };
    let (encoded, out) = encode(headers_of(4096).as_ref());
    assert_eq!(encoded, Ok(()));
    let frames = frames(&out[6..]);
    assert_eq!(frames[1].2, 4096);
    let (encoded, out) = encode(headers_of(4097).as_ref());
    let refused = Refused::FrameTooLarge {
        method: "content header",
        size: 4097,
        frame_max: 4096,
    };
    assert_eq!(encoded, Err(refused));
    assert_eq!(out, b"before");
}

#[test]
fn confirms_go_to_the_publisher_of_their_channel() {
    let mut client = Client::open();
    let channels = [client.channel(), client.channel()];
    for (channel, publisher) in channels.into_iter().zip([70, 80]) {
        client.connection.set_publisher(channel, publisher).unwrap();
    }
    client
        .feed(&[ack(2, 3, true), ack(1, 1, false), nack(2, 4, false)].concat())
        .unwrap();
    let confirmed = |publisher, delivery_tag, multiple, acked| Seen::Confirmed {
        publisher,
        confirm: Confirm {
            delivery_tag,
            multiple,
            acked,
        },
    };
    let expected = [
        confirmed(80, 3, true, true),
        confirmed(70, 1, false, true),
        confirmed(80, 4, false, false),
    ];
    assert_eq!(client.seen(), expected);
}

#[test]
fn a_return_carries_everything_and_comes_before_its_confirm() {
    for piece in [usize::MAX, 2] {
        let mut client = Client::open();
        let channel = client.channel();
        client.connection.set_publisher(channel, 70).unwrap();
        let octets = [content(1, returned(), b"body", piece), ack(1, 1, false)].concat();
        client.feed(&octets).unwrap();
        let seen = client.seen();
        let [
            Seen::Returned {
                publisher: 70,
                returned,
                fingerprint: print,
            },
            Seen::Confirmed { .. },
        ] = &seen[..]
        else {
            panic!("{seen:?}");
        };
        assert_eq!((returned.code, &returned.text[..]), (312, "NO_ROUTE"));
        assert_eq!(
            (&returned.exchange[..], &returned.routing_key[..]),
            ("ex", "key")
        );
        assert_eq!(returned.properties, Properties::persistent());
        assert_eq!(returned.body, &b"body"[..]);
        let properties = Properties::persistent();
        let of_the_publish = fingerprint(short("ex"), short("key"), properties.as_ref(), b"body");
        assert_eq!(*print, of_the_publish);
    }
}

#[test]
fn a_return_that_nobody_published_is_passed_over() {
    let mut client = Client::open();
    client.channel();
    client.feed(&content(1, returned(), b"body", 2)).unwrap();
    assert_eq!(client.seen(), []);
}

#[test]
fn a_return_with_malformed_properties_is_the_brokers_fault_and_not_taken_for_another() {
    let mut client = Client::open();
    let channel = client.channel();
    client.connection.set_publisher(channel, 70).unwrap();
    let mut header = header(1, 0);
    // The delivery mode is announced by the flags and left out.
    header.truncate(header.len() - 2);
    header.push(206);
    header[6] -= 1;
    let octets = [method(1, returned()), header].concat();
    let error = client.feed(&octets).unwrap_err();
    assert!(matches!(
        error,
        ConnectionError::Decode(DecodeError::Truncated { .. })
    ));
    assert_eq!(close_code(&mut client), ReplyCode::SyntaxError);
}

#[test]
fn a_blocked_connection_takes_no_publishes_and_everything_else() {
    let mut client = Client::open();
    let channel = client.channel();
    client.consumer(channel, 5, false);
    assert!(client.connection.may_publish(channel));
    let reason = short("low on memory");
    client
        .feed(&method(0, connection_class::Blocked { reason }))
        .unwrap();
    let reason = reason.to_string();
    assert_eq!(client.events(), [Event::Blocked { reason }]);
    assert!(!client.connection.may_publish(channel));
    client.feed(&delivery(1, "ctag-5", 1, b"")).unwrap();
    client.flush();
    client.expect(&[ack(1, 1, false)]);
    client
        .connection
        .call(channel, 1, &declare("q").into())
        .unwrap();
    client.expect(&[method(1, declare("q"))]);
    client
        .feed(&method(0, connection_class::Unblocked::default()))
        .unwrap();
    assert_eq!(client.events(), [Event::Unblocked]);
    assert!(client.connection.may_publish(channel));
}
