//! What must hold for any octets, however they are cut: the same meaning, a truthful `missing`, and no panic.

use proptest::prelude::*;

use super::*;

/// An open connection that uses everything: two channels, consumers with and without acks, a publisher, a `basic.get` and a call that wait.
fn busy() -> Client {
    let mut client = Client::open();
    let first = client.channel();
    let second = client.channel();
    client.consumer(first, 5, false);
    client.consumer(second, 6, true);
    client.connection.set_publisher(first, 70).unwrap();
    client
        .connection
        .call(second, 1, &basic::Get::default().into())
        .unwrap();
    client
        .connection
        .call(first, 2, &declare("q").into())
        .unwrap();
    client.connection.output().clear();
    let refusal = Some(Answer::Nack { requeue: true });
    client
        .sink
        .answers
        .extend([None, refusal, Some(Answer::Ack), None]);
    client
}

/// What a broker sends in a busy moment, ending with its close.
fn conversation() -> Vec<u8> {
    let get_ok = basic::GetOk {
        delivery_tag: 2,
        ..Default::default()
    };
    let returned = basic::Return {
        reply_code: 312,
        ..Default::default()
    };
    [
        delivery(1, "ctag-5", 1, b"one"),
        delivery(1, "ctag-5", 2, b""),
        frame(FrameKind::Heartbeat, 0, &[]),
        content(1, deliver("ctag-5", 3), b"three in pieces", 4),
        delivery(2, "ctag-6", 1, b"no ack"),
        declare_ok(1, "q"),
        content(1, returned, b"back", 9),
        ack(1, 3, true),
        content(2, get_ok, b"fetched", 5),
        method(1, deliver("ctag-5", 4)),
        frame(FrameKind::Heartbeat, 0, &[]),
        header(1, 3),
        nack(2, 0, false),
    ]
    .concat()
}

/// Everything that can be seen of a connection from outside.
type Traces = (Vec<Seen>, Vec<Event>, Vec<String>, usize);

fn traces(client: &mut Client) -> Traces {
    client.flush();
    // Serials differ from one connection to the next; no event of the conversation names a channel.
    let borrowed = client.sink.borrowed;
    (client.seen(), client.events(), client.sent(), borrowed)
}

#[test]
fn every_cut_at_every_octet_gives_the_same_deliveries_events_and_output() {
    let octets = conversation();
    let mut whole = busy();
    let error = whole.feed(&octets).unwrap_err();
    // The last frame is a confirm on a channel without a publisher.
    assert!(matches!(
        error,
        ConnectionError::Violation(Violation::Confirm { .. })
    ));
    let expected = traces(&mut whole);
    assert_eq!((expected.0.len(), expected.3), (7, 3));

    for cut in 1..octets.len() {
        let mut client = busy();
        client.feed(&octets[..cut]).unwrap();
        assert_eq!(client.feed(&octets[cut..]), Err(error.clone()));
        assert_eq!(traces(&mut client), expected, "cut at {cut}");
    }
    let mut client = busy();
    let last = octets.len() - 1;
    for octet in &octets[..last] {
        client.feed(&[*octet]).unwrap();
    }
    assert_eq!(client.feed(&octets[last..]), Err(error));
    assert_eq!(traces(&mut client), expected);
}

#[test]
fn missing_is_never_more_than_is_really_needed() {
    let octets = conversation();
    for cut in 1..octets.len() - 1 {
        let mut client = busy();
        let progress = client.feed(&octets[..cut]).unwrap();
        // Octet by octet: the first one that brings progress is not before the one announced.
        for (given, octet) in octets[cut..].iter().enumerate().take(progress.missing) {
            let Ok(next) = client.feed(&[*octet]) else {
                break;
            };
            if next.consumed > 0 {
                assert_eq!(given + 1, progress.missing, "cut at {cut}");
            }
        }
    }
}

#[test]
fn giving_exactly_what_is_missing_always_comes_to_the_end() {
    let octets = conversation();
    let mut client = busy();
    let (mut at, mut missing) = (0, 1);
    while at < octets.len() {
        let end = at + missing;
        assert!(end <= octets.len(), "more is asked for than there is");
        match client.feed(&octets[at..end]) {
            Ok(progress) => missing = progress.missing.max(1),
            Err(_) => assert_eq!(end, octets.len()),
        }
        at = end;
    }
    assert_eq!(client.seen().len(), 7);
}

#[test]
fn a_handshake_that_comes_octet_by_octet_opens_the_connection() {
    let mut client = Client::new(config());
    for octet in [start("PLAIN"), tune(0, 0, 0), open_ok()].concat() {
        client.feed(&[octet]).unwrap();
    }
    assert!(client.connection.is_open());
}

/// Frames that a broker can send, in any order, with or without sense.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let channel = || prop_oneof![8 => 1..3u16, 1 => 0..6u16];
    let tag = || prop_oneof![4 => 1..6u64, 1 => any::<u64>()];
    let consumer = || prop_oneof![Just("ctag-5"), Just("ctag-6"), Just("stranger")];
    let size = || prop_oneof![4 => 0..6u64, 1 => any::<u64>()];
    let octets = || proptest::collection::vec(any::<u8>(), 0..40);
    let kind = prop_oneof![
        Just(FrameKind::Method),
        Just(FrameKind::Header),
        Just(FrameKind::Body),
        Just(FrameKind::Heartbeat)
    ];
    prop_oneof![
        8 => (channel(), consumer(), tag(), 0..12usize, 1..5usize).prop_map(
            |(channel, consumer, tag, size, piece)|
                content(channel, deliver(consumer, tag), &vec![1; size], piece)),
        2 => (channel(), consumer(), tag())
            .prop_map(|(channel, consumer, tag)| method(channel, deliver(consumer, tag))),
        2 => (channel(), size()).prop_map(|(channel, size)| header(channel, size)),
        2 => (channel(), octets())
            .prop_map(|(channel, octets)| frame(FrameKind::Body, channel, &octets)),
        2 => (channel(), tag(), any::<bool>()).prop_map(|(c, tag, all)| ack(c, tag, all)),
        1 => (channel(), any::<prop::sample::Index>()).prop_map(|(channel, index)| {
            let replies: [Method; 8] = [
                basic::GetEmpty::default().into(),
                basic::GetOk::default().into(),
                basic::Return::default().into(),
                basic::CancelOk::default().into(),
                basic::Cancel { consumer_tag: short("ctag-5"), no_wait: false }.into(),
                channel_class::CloseOk::default().into(),
                channel_class::Close::default().into(),
                channel_class::Flow { active: false }.into(),
            ];
            method(channel, replies[index.index(replies.len())])
        }),
        1 => Just(declare_ok(1, "q")),
        1 => Just(frame(FrameKind::Heartbeat, 0, &[])),
        1 => (kind, channel(), octets())
            .prop_map(|(kind, channel, octets)| frame(kind, channel, &octets)),
        1 => (0..crate::protocol::METHODS.len(), channel(), octets()).prop_map(
            |(index, channel, octets)| {
                let spec = &crate::protocol::METHODS[index];
                let ids = [spec.class_id.to_be_bytes(), spec.method_id.to_be_bytes()].concat();
                frame(FrameKind::Method, channel, &[ids, octets].concat())
            }),
    ]
}

/// Feeds until the connection ends, using it in between; checks what must hold at any time.
fn survive(mut client: Client, pieces: &[Vec<u8>], first: Option<ChannelId>) {
    for piece in pieces {
        let result = client.feed(piece);
        if let (Some(channel), Ok(_)) = (first, &result) {
            let _ = client.connection.settle(channel, 1..=1, Answer::Ack);
            let _ = client
                .connection
                .call(channel, 9, &basic::Get::default().into());
            let _ = client.connection.cancel(channel, 8, 5);
        }
        client.flush();
        assert_eq!(
            client.connection.is_closed(),
            closed_events(&mut client) == 1
        );
        // The output is well-formed at any time.
        if !client.connection.output().starts_with(b"AMQP") {
            client.sent();
        }
        if result.is_err() || client.connection.is_closed() {
            assert!(client.connection.is_closed());
            assert_eq!(client.feed(piece).unwrap().missing, 0);
            assert_eq!(client.events(), []);
            return;
        }
    }
}

fn closed_events(client: &mut Client) -> usize {
    let events = client.events();
    let is_closed = |event: &&Event| matches!(event, Event::Closed(_));
    assert!(events.iter().rev().skip(1).all(|event| !is_closed(&event)));
    events.iter().filter(is_closed).count()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_octets_make_it_panic(
        octets in proptest::collection::vec(any::<u8>(), 0..300),
        handshake in 0..4usize,
    ) {
        let mut client = Client::new(config());
        let steps = [start("PLAIN"), tune(0, 0, 0), open_ok()];
        client.feed(&steps[..handshake.min(3)].concat()).unwrap();
        client.events();
        survive(client, &[octets], None);
    }

    #[test]
    fn no_sequence_of_frames_makes_it_panic(
        frames in proptest::collection::vec(any_frame(), 0..60),
        damage in proptest::option::weighted(0.2, any::<(prop::sample::Index, u8)>()),
    ) {
        let mut frames = frames;
        if let Some((at, octet)) = damage
            && !frames.is_empty()
        {
            let which = at.index(frames.len());
            let within = at.index(frames[which].len());
            frames[which][within] = octet;
        }
        let mut client = busy();
        let channel = client.channel();
        survive(client, &frames, Some(channel));
    }

    #[test]
    fn any_cuts_of_any_frames_mean_the_same(
        frames in proptest::collection::vec(any_frame(), 0..20),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..10),
    ) {
        let octets = frames.concat();
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(octets.len() + 1)).collect();
        cuts.sort_unstable();
        let mut whole = busy();
        let mut cut_up = busy();
        let expected = whole.feed(&octets).err();
        let mut at = 0;
        let mut found = None;
        for cut in cuts.into_iter().chain([octets.len()]) {
            found = found.or(cut_up.feed(&octets[at..cut]).err());
            at = cut;
        }
        prop_assert_eq!(found, expected);
        let (expected, found) = (traces(&mut whole), traces(&mut cut_up));
        prop_assert_eq!(found.0, expected.0);
        prop_assert_eq!(format!("{:?}", without_serials(&found.1)), format!("{:?}", without_serials(&expected.1)));
        prop_assert_eq!(found.2, expected.2);
    }
}

/// Events as far as they are the same in two connections.
fn without_serials(events: &[Event]) -> Vec<String> {
    let shown = events.iter().map(|event| match event {
        Event::ChannelClosed { channel, error } => format!("closed {} {error}", channel.number()),
        Event::Flow { channel, active } => format!("flow {} {active}", channel.number()),
        event => format!("{event:?}"),
    });
    shown.collect()
}
