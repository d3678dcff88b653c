//! Consumers, what they are given, and what `basic.get` fetches.

use super::*;

fn get() -> basic::Get<'static> {
    basic::Get {
        queue: short("q"),
        no_ack: false,
    }
}

fn get_ok(delivery_tag: u64) -> basic::GetOk<'static> {
    basic::GetOk {
        delivery_tag,
        exchange: short("ex"),
        routing_key: short("key"),
        ..Default::default()
    }
}

#[test]
fn a_delivery_in_one_piece_is_borrowed_and_one_in_many_is_gathered() {
    let mut client = Client::open();
    let channel = client.channel();
    client.consumer(channel, 5, false);
    let body: Vec<u8> = (0..4088).map(|i| i as u8).collect();
    for (tag, piece) in [(1, 4088), (2, 4087), (3, 2000), (4, 7), (5, 4088)] {
        let whole = content(1, deliver("ctag-5", tag), &body, piece);
        client.feed(&whole).unwrap();
        assert_eq!(client.seen(), [seen_delivery(5, 1, tag, &body)]);
    }
    assert_eq!(client.sink.borrowed, 2);
    client.flush();
    client.expect(&[ack(1, 5, true)]);
}

#[test]
fn a_delivery_carries_every_field_in_one_piece_or_in_many() {
    let mut client = Client::open();
    let channel = client.channel();
    client.consumer(channel, 5, false);
    for (tag, piece, redelivered) in [(1, 9, true), (2, 2, false)] {
        let deliver = basic::Deliver {
            redelivered,
            ..deliver("ctag-5", tag)
        };
        client.feed(&content(1, deliver, b"body", piece)).unwrap();
        let expected = format!("ctag-5 {redelivered} ex key Properties {{ delivery_mode: 2 }}");
        assert_eq!(client.sink.last_fields.take(), Some(expected));
    }
}

#[test]
fn a_body_of_more_than_a_frame_and_an_empty_one_arrive_whole() {
    let mut client = Client::open();
    let channel = client.channel();
    client.consumer(channel, 5, false);
    let body = vec![7; 9_000];
    client
        .feed(&content(1, deliver("ctag-5", 1), &body, 4088))
        .unwrap();
    client.feed(&delivery(1, "ctag-5", 2, b"")).unwrap();
    client.feed(&delivery(1, "ctag-5", 3, b"x")).unwrap();
    let expected = [
        seen_delivery(5, 1, 1, &body),
        seen_delivery(5, 1, 2, b""),
        seen_delivery(5, 1, 3, b"x"),
    ];
    assert_eq!(client.seen(), expected);
}

#[test]
fn empty_body_frames_within_a_body_are_harmless() {
    let mut client = Client::open();
    let channel = client.channel();
    client.consumer(channel, 5, false);
    let mut octets = method(1, deliver("ctag-5", 1));
    octets.extend(header(1, 4));
    for piece in [&b""[..], b"ab", b"", b"cd"] {
        octets.extend(frame(FrameKind::Body, 1, piece));
    }
    client.feed(&octets).unwrap();
    assert_eq!(client.seen(), [seen_delivery(5, 1, 1, b"abcd")]);
}

#[test]
fn frames_of_other_channels_and_heartbeats_may_come_within_a_delivery() {
    let mut client = Client::open();
    let first = client.channel();
    let second = client.channel();
    client.consumer(first, 5, false);
    client.consumer(second, 6, false);
    client
        .connection
        .call(second, 9, &declare("q").into())
        .unwrap();
    let whole = [
        method(1, deliver("ctag-5", 1)),
        frame(FrameKind::Heartbeat, 0, &[]),
        header(1, 4),
        declare_ok(2, "q"),
        method(2, deliver("ctag-6", 1)),
        frame(FrameKind::Body, 1, b"ab"),
        header(2, 2),
        frame(FrameKind::Body, 2, b"x"),
        frame(FrameKind::Body, 1, b"cd"),
        frame(FrameKind::Body, 2, b"y"),
    ]
    .concat();
    client.feed(&whole).unwrap();
    let expected = [
        seen_delivery(5, 1, 1, b"abcd"),
        seen_delivery(6, 2, 1, b"xy"),
    ];
    assert_eq!(client.seen(), expected);
    assert_eq!(client.events().len(), 1);
}

#[test]
fn two_deliveries_on_two_channels_may_interleave_in_every_way() {
    let frames = |channel, tag, body: &[&[u8]]| {
        let mut frames = vec![
            method(channel, deliver(tag, 1)),
            header(channel, body.concat().len() as u64),
        ];
        frames.extend(
            body.iter()
                .map(|piece| frame(FrameKind::Body, channel, piece)),
        );
        frames
    };
    let in_pieces = frames(1, "ctag-5", &[b"ab", b"c"]);
    for body in [&[&b"xyz"[..]][..], &[]] {
        let second_frames = frames(2, "ctag-6", body);
        let count = 4 + second_frames.len();
        // The bits of `order` say whose frame is next.
        for order in (0..1u32 << count).filter(|order| order.count_ones() == 4) {
            let mut client = Client::open();
            for token in [5, 6] {
                let channel = client.channel();
                client.consumer(channel, token, false);
            }
            let (mut first, mut second) = (in_pieces.iter(), second_frames.iter());
            let mut octets = Vec::new();
            for at in 0..count {
                let is_first = order >> at & 1 == 1;
                let next = if is_first {
                    first.next()
                } else {
                    second.next()
                };
                octets.extend_from_slice(next.unwrap());
            }
            client.feed(&octets).unwrap();
            let mut seen = client.seen();
            seen.sort_by_key(|seen| matches!(seen, Seen::Delivery { channel: 2, .. }));
            let whole = body.concat();
            let expected = [
                seen_delivery(5, 1, 1, b"abc"),
                seen_delivery(6, 2, 1, &whole),
            ];
            assert_eq!(seen, expected, "{order:b}");
        }
    }
}

#[test]
fn a_body_of_exactly_the_limit_passes_and_one_octet_more_closes_the_connection() {
    for piece in [3000, 4088] {
        let mut client = Client::open();
        let channel = client.channel();
        client.consumer(channel, 5, false);
        let body = vec![1; 10_000];
        client
            .feed(&content(1, deliver("ctag-5", 1), &body, piece))
            .unwrap();
        assert_eq!(client.seen(), [seen_delivery(5, 1, 1, &body)]);
        let octets = [method(1, deliver("ctag-5", 2)), header(1, 10_001)].concat();
        let error = client.feed(&octets).unwrap_err();
        let violation = Violation::BodyTooLarge {
            announced: 10_001,
            limit: 10_000,
            channel: 1,
        };
        assert_eq!(error, violation.into());
        assert_eq!(close_code(&mut client), ReplyCode::ResourceError);
    }
}

#[test]
fn an_announced_body_reserves_no_more_than_a_little_before_it_comes() {
    let mut client = Client::open_with(Config {
        body_size_max: u64::MAX,
        ..config()
    });
    let channel = client.channel();
    client.consumer(channel, 5, false);
    let octets = [method(1, deliver("ctag-5", 1)), header(1, u64::MAX)].concat();
    client.feed(&octets).unwrap();
    client.feed(&frame(FrameKind::Body, 1, b"a")).unwrap();
    assert_eq!(client.seen(), []);
}

#[test]
fn answers_of_the_handler_leave_as_one_ack_and_refusals_at_once() {
    let mut client = Client::open();
    let channel = client.channel();
    client.consumer(channel, 5, false);
    client.sink.answers.extend([
        Some(Answer::Ack),
        Some(Answer::Nack { requeue: true }),
        Some(Answer::Reject { requeue: false }),
        Some(Answer::Ack),
        None,
        Some(Answer::Ack),
    ]);
    for tag in 1..=6 {
        client.feed(&delivery(1, "ctag-5", tag, b"")).unwrap();
    }
    let reject = basic::Reject {
        delivery_tag: 3,
        requeue: false,
    };
    client.expect(&[nack(1, 2, true), method(1, reject)]);
    client.flush();
    client.expect(&[ack(1, 4, true)]);
    client.flush();
    assert_eq!(client.sent(), [""; 0]);
    assert_eq!(client.connection.open_deliveries(channel), 1);
    let settled = client.connection.settle(channel, 5..=5, Answer::Ack);
    assert_eq!(settled, Ok(Settlement::Done));
    client.flush();
    client.expect(&[ack(1, 6, true)]);
    let again = client.connection.settle(channel, 5..=5, Answer::Ack);
    assert_eq!(again, Ok(Settlement::Already));
    let unknown = client.connection.settle(channel, 1..=7, Answer::Ack);
    assert_eq!(unknown, Ok(Settlement::Unknown));
}

#[test]
fn giving_everything_back_also_sends_the_acks_that_it_sets_free() {
    let mut client = Client::open();
    let channel = client.channel();
    client.consumer(channel, 5, false);
    client.sink.answers.extend([None, Some(Answer::Ack), None]);
    for tag in 1..=3 {
        client.feed(&delivery(1, "ctag-5", tag, b"")).unwrap();
    }
    client.flush();
    assert_eq!(client.sent(), [""; 0]);
    client.connection.requeue_open(channel).unwrap();
    client.expect(&[nack(1, 1, true), nack(1, 3, true)]);
    client.flush();
    client.expect(&[ack(1, 2, false)]);
    assert_eq!(client.connection.open_deliveries(channel), 0);
}

#[test]
fn acks_are_sent_within_the_turn_when_half_the_window_is_finished() {
    let mut client = Client::open();
    let channel = client.channel();
    client.prefetch(channel, 10);
    client.consumer(channel, 5, false);
    for tag in 1..=4 {
        client.feed(&delivery(1, "ctag-5", tag, b"")).unwrap();
    }
    assert_eq!(client.sent(), [""; 0]);
    client.feed(&delivery(1, "ctag-5", 5, b"")).unwrap();
    client.expect(&[ack(1, 5, true)]);
    client.flush();
    assert_eq!(client.sent(), [""; 0]);
}

#[test]
fn an_ack_behind_an_unfinished_delivery_leaves_after_the_delay() {
    let mut client = Client::open();
    let channel = client.channel();
    client.prefetch(channel, 1000);
    client.consumer(channel, 5, false);
    client.sink.answers.push_back(None);
    client.feed(&delivery(1, "ctag-5", 1, b"slow")).unwrap();
    client.feed(&delivery(1, "ctag-5", 2, b"fast")).unwrap();
    assert_eq!(client.connection.deadline(), None);
    client.flush();
    assert_eq!(client.sent(), [""; 0]);
    let due = client.now + ACK_DELAY_MAX;
    assert_eq!(client.connection.deadline(), Some(due));
    client.now = due - Duration::from_nanos(1);
    client.flush();
    assert_eq!(client.sent(), [""; 0]);
    client.now = due;
    client.flush();
    client.expect(&[ack(1, 2, false)]);
    assert_eq!(client.connection.deadline(), None);
}

#[test]
fn no_consumer_starves_when_a_later_one_has_a_larger_window() {
    let mut client = Client::open();
    let channel = client.channel();
    client.prefetch(channel, 4);
    client.consumer(channel, 5, false);
    client.prefetch(channel, 1000);
    client.consumer(channel, 6, false);
    client.sink.answers.push_back(None);
    client.feed(&delivery(1, "ctag-6", 1, b"slow")).unwrap();
    for tag in 2..=5 {
        client.feed(&delivery(1, "ctag-5", tag, b"")).unwrap();
    }
    // The first consumer's window of 4 is used up; without these it would get nothing more.
    client.expect(&[2, 3, 4, 5].map(|tag| ack(1, tag, false)));
    // Without the first consumer only the large window counts.
    client.connection.cancel(channel, 1, 5).unwrap();
    let consumer_tag = short("ctag-5");
    client
        .feed(&method(1, basic::CancelOk { consumer_tag }))
        .unwrap();
    client.connection.output().clear();
    for tag in 6..=20 {
        client.feed(&delivery(1, "ctag-6", tag, b"")).unwrap();
    }
    assert_eq!(client.sent(), [""; 0]);
}

#[test]
fn deliveries_without_acks_are_never_acked() {
    let mut client = Client::open();
    let channel = client.channel();
    client.consumer(channel, 5, true);
    client.consumer(channel, 6, false);
    client.feed(&delivery(1, "ctag-5", 1, b"")).unwrap();
    client.flush();
    assert_eq!(client.sent(), [""; 0]);
    client.feed(&delivery(1, "ctag-6", 2, b"")).unwrap();
    client.feed(&delivery(1, "ctag-5", 3, b"")).unwrap();
    client.flush();
    client.expect(&[ack(1, 2, false)]);
    let settled = client.connection.settle(channel, 3..=3, Answer::Ack);
    assert_eq!(settled, Ok(Settlement::Already));
    assert_eq!(client.connection.open_deliveries(channel), 0);
}

#[test]
fn delivery_tags_may_jump_and_must_not_repeat() {
    let mut client = Client::open();
    let channel = client.channel();
    client.consumer(channel, 5, false);
    for tag in [1, 2, 10, u64::MAX - 1] {
        client.feed(&delivery(1, "ctag-5", tag, b"")).unwrap();
    }
    client.flush();
    client.expect(&[ack(1, u64::MAX - 1, true)]);
    let error = client
        .feed(&delivery(1, "ctag-5", u64::MAX - 1, b""))
        .unwrap_err();
    let violation = Violation::DeliveryTag {
        found: u64::MAX - 1,
        last: u64::MAX - 1,
        channel: 1,
    };
    assert_eq!(error, violation.into());
}

#[test]
fn get_hands_over_the_message_before_its_reply_and_leaves_it_to_be_answered() {
    let mut client = Client::open();
    let channel = client.channel();
    client.connection.call(channel, 1, &get().into()).unwrap();
    client
        .connection
        .call(channel, 2, &declare("q").into())
        .unwrap();
    client.expect(&[method(1, get())]);
    client.feed(&content(1, get_ok(1), b"fetched", 3)).unwrap();
    client.expect(&[method(1, declare("q"))]);
    let got = Seen::Got {
        call: 1,
        tag: 1,
        body: b"fetched".to_vec(),
    };
    assert_eq!(client.seen(), [got]);
    let reply = Ok(Reply::Got { found: true });
    assert_eq!(client.events(), [Event::Reply { call: 1, reply }]);
    assert_eq!(client.connection.open_deliveries(channel), 1);
    client
        .connection
        .settle(channel, 1..=1, Answer::Ack)
        .unwrap();
    client.flush();
    client.expect(&[ack(1, 1, false)]);
}

#[test]
fn get_without_acks_leaves_nothing_to_be_answered() {
    let mut client = Client::open();
    let channel = client.channel();
    let get = basic::Get {
        no_ack: true,
        ..get()
    };
    client.connection.call(channel, 1, &get.into()).unwrap();
    client.feed(&content(1, get_ok(1), b"", 1)).unwrap();
    assert_eq!(client.seen().len(), 1);
    assert_eq!(client.connection.open_deliveries(channel), 0);
}

#[test]
fn get_from_an_empty_queue_says_so() {
    let mut client = Client::open();
    let channel = client.channel();
    client.connection.call(channel, 1, &get().into()).unwrap();
    client.feed(&method(1, basic::GetEmpty::default())).unwrap();
    let reply = Ok(Reply::Got { found: false });
    assert_eq!(client.events(), [Event::Reply { call: 1, reply }]);
    assert_eq!(client.seen(), []);
}

#[test]
fn deliveries_that_cross_a_cancel_still_come_until_it_is_answered() {
    let mut client = Client::open();
    let channel = client.channel();
    client.consumer(channel, 5, false);
    client.connection.cancel(channel, 1, 5).unwrap();
    let consumer_tag = short("ctag-5");
    let cancel = basic::Cancel {
        consumer_tag,
        no_wait: false,
    };
    client.expect(&[method(1, cancel)]);
    client.feed(&delivery(1, "ctag-5", 1, b"")).unwrap();
    assert_eq!(client.seen().len(), 1);
    client
        .feed(&method(1, basic::CancelOk { consumer_tag }))
        .unwrap();
    assert_eq!(client.events(), [done(1)]);
    let error = client.feed(&delivery(1, "ctag-5", 2, b"")).unwrap_err();
    assert!(matches!(
        error,
        ConnectionError::Violation(Violation::UnknownConsumer { .. })
    ));
}

#[test]
fn a_consumer_can_be_cancelled_before_its_tag_is_known() {
    let mut client = Client::open();
    let channel = client.channel();
    let consume = basic::Consume::default();
    client.connection.consume(channel, 1, 5, consume).unwrap();
    client.connection.cancel(channel, 2, 5).unwrap();
    client.connection.cancel(channel, 3, 5).unwrap();
    client.expect(&[method(1, consume)]);
    assert_eq!(client.events(), []);
    let consumer_tag = short("amq.ctag-made-by-the-broker");
    client
        .feed(&method(1, basic::ConsumeOk { consumer_tag }))
        .unwrap();
    let cancel = basic::Cancel {
        consumer_tag,
        no_wait: false,
    };
    client.expect(&[method(1, cancel)]);
    client
        .feed(&method(1, basic::CancelOk { consumer_tag }))
        .unwrap();
    // The second cancel has nothing left to do.
    assert_eq!(client.sent(), [""; 0]);
    assert_eq!(client.events()[1..], [done(2), done(3)]);
}

#[test]
fn cancelling_a_consumer_that_does_not_exist_is_done_in_its_turn() {
    let mut client = Client::open();
    let channel = client.channel();
    client.connection.cancel(channel, 1, 5).unwrap();
    assert_eq!(client.events(), [done(1)]);
    client
        .connection
        .call(channel, 2, &declare("a").into())
        .unwrap();
    client.connection.cancel(channel, 3, 5).unwrap();
    client
        .connection
        .call(channel, 4, &declare("b").into())
        .unwrap();
    client.expect(&[method(1, declare("a"))]);
    assert_eq!(client.events(), []);
    client.feed(&declare_ok(1, "a")).unwrap();
    client.expect(&[method(1, declare("b"))]);
    let events = client.events();
    assert!(matches!(events[0], Event::Reply { call: 2, .. }));
    assert_eq!(events[1..], [done(3)]);
}

#[test]
fn a_cancel_by_the_broker_is_reported_and_answered_when_it_asks_for_it() {
    for no_wait in [true, false] {
        let mut client = Client::open();
        let channel = client.channel();
        client.consumer(channel, 5, false);
        let consumer_tag = short("ctag-5");
        let cancel = basic::Cancel {
            consumer_tag,
            no_wait,
        };
        client.feed(&method(1, cancel)).unwrap();
        match no_wait {
            true => assert_eq!(client.sent(), [""; 0]),
            false => client.expect(&[method(1, basic::CancelOk { consumer_tag })]),
        }
        assert_eq!(client.events(), [Event::ConsumerCancelled { consumer: 5 }]);
        let error = client.feed(&delivery(1, "ctag-5", 1, b"")).unwrap_err();
        assert!(matches!(
            error,
            ConnectionError::Violation(Violation::UnknownConsumer { .. })
        ));
    }
}

#[test]
fn cancels_that_cross_are_reported_once() {
    let mut client = Client::open();
    let channel = client.channel();
    client.consumer(channel, 5, false);
    client.connection.cancel(channel, 1, 5).unwrap();
    let consumer_tag = short("ctag-5");
    let cancel = basic::Cancel {
        consumer_tag,
        no_wait: true,
    };
    client.feed(&method(1, cancel)).unwrap();
    client
        .feed(&method(1, basic::CancelOk { consumer_tag }))
        .unwrap();
    assert_eq!(
        client.events(),
        [Event::ConsumerCancelled { consumer: 5 }, done(1)]
    );
    client.feed(&method(1, cancel)).unwrap();
    assert_eq!(client.events(), []);
}
