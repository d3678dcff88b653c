//! Channels and the calls on them.

use super::*;
use crate::protocol::{confirm, exchange, queue, tx};

fn queue_reply(call: Token, name: &str) -> Event {
    Event::Reply {
        call,
        reply: Ok(Reply::Queue {
            name: name.into(),
            message_count: 3,
            consumer_count: 2,
        }),
    }
}

fn stale<T: std::fmt::Debug + PartialEq>(result: Result<T, Refused>) {
    assert_eq!(result, Err(Refused::StaleChannel));
}

#[test]
fn calls_are_sent_one_after_the_other_and_answered_in_order() {
    let mut client = Client::open();
    let channel = client.connection.open_channel(1).unwrap();
    for (call, name) in [(2, "a"), (3, "b")] {
        let declare = declare(name).into();
        client.connection.call(channel, call, &declare).unwrap();
    }
    client.expect(&[method(1, channel_class::Open::default())]);
    client
        .feed(&method(1, channel_class::OpenOk::default()))
        .unwrap();
    client.expect(&[method(1, declare("a"))]);
    client.feed(&declare_ok(1, "a")).unwrap();
    client.expect(&[method(1, declare("b"))]);
    client.feed(&declare_ok(1, "b")).unwrap();
    assert_eq!(
        client.events(),
        [done(1), queue_reply(2, "a"), queue_reply(3, "b")]
    );
    assert_eq!(client.sent(), [""; 0]);
}

#[test]
fn every_call_that_the_protocol_answers_gets_its_reply() {
    let mut client = Client::open();
    let channel = client.channel();
    let removed = |message_count| Ok(Reply::Removed { message_count });
    let purged = queue::PurgeOk { message_count: 5 };
    let deleted = queue::DeleteOk { message_count: 6 };
    let pairs: [(Method, Method, Result<Reply, ChannelError>); 12] = [
        (queue::Purge::default().into(), purged.into(), removed(5)),
        (queue::Delete::default().into(), deleted.into(), removed(6)),
        (
            queue::Bind::default().into(),
            queue::BindOk::default().into(),
            Ok(Reply::Done),
        ),
        (
            queue::Unbind::default().into(),
            queue::UnbindOk::default().into(),
            Ok(Reply::Done),
        ),
        (
            exchange::Declare::default().into(),
            exchange::DeclareOk::default().into(),
            Ok(Reply::Done),
        ),
        (
            exchange::Delete::default().into(),
            exchange::DeleteOk::default().into(),
            Ok(Reply::Done),
        ),
        (
            exchange::Bind::default().into(),
            exchange::BindOk::default().into(),
            Ok(Reply::Done),
        ),
        (
            exchange::Unbind::default().into(),
            exchange::UnbindOk::default().into(),
            Ok(Reply::Done),
        ),
        (
            confirm::Select::default().into(),
            confirm::SelectOk::default().into(),
            Ok(Reply::Done),
        ),
        (
            tx::Select::default().into(),
            tx::SelectOk::default().into(),
            Ok(Reply::Done),
        ),
        (
            tx::Commit::default().into(),
            tx::CommitOk::default().into(),
            Ok(Reply::Done),
        ),
        (
            tx::Rollback::default().into(),
            tx::RollbackOk::default().into(),
            Ok(Reply::Done),
        ),
    ];
    for (request, reply, expected) in pairs {
        client.connection.call(channel, 9, &request).unwrap();
        client.expect(&[method(1, request)]);
        client.feed(&method(1, reply)).unwrap();
        let events = [Event::Reply {
            call: 9,
            reply: expected,
        }];
        assert_eq!(client.events(), events, "{}", request.name());
    }
}

#[test]
fn methods_without_an_answer_or_with_a_function_of_their_own_are_no_calls() {
    let mut client = Client::open();
    let channel = client.channel();
    let no_wait = queue::Declare {
        no_wait: true,
        ..declare("q")
    };
    let no_calls: [Method; 11] = [
        no_wait.into(),
        confirm::Select { nowait: true }.into(),
        basic::Ack::default().into(),
        basic::Publish::default().into(),
        basic::Recover::default().into(),
        basic::Consume::default().into(),
        basic::Cancel::default().into(),
        queue::DeclareOk::default().into(),
        channel_class::Open::default().into(),
        channel_class::Close::default().into(),
        connection_class::Close::default().into(),
    ];
    for wrong in no_calls {
        let refused = Refused::NotACall {
            method: wrong.name(),
        };
        assert_eq!(client.connection.call(channel, 1, &wrong), Err(refused));
    }
    let consume = basic::Consume {
        no_wait: true,
        ..Default::default()
    };
    let refused = client.connection.consume(channel, 1, 1, consume);
    assert_eq!(
        refused,
        Err(Refused::NotACall {
            method: "basic.consume"
        })
    );
    assert_eq!(client.sent(), [""; 0]);
}

#[test]
fn so_many_calls_may_wait_and_not_one_more() {
    let mut client = Client::open();
    let channel = client.channel();
    let declare = declare("q").into();
    for call in 0..CALLS_MAX as u64 {
        client.connection.call(channel, call, &declare).unwrap();
    }
    let refused = Refused::TooManyCalls(CALLS_MAX);
    assert_eq!(
        client.connection.call(channel, 0, &declare),
        Err(refused.clone())
    );
    assert_eq!(client.connection.cancel(channel, 0, 5), Err(refused));
    client.feed(&declare_ok(1, "q")).unwrap();
    client.connection.call(channel, 0, &declare).unwrap();
}

#[test]
fn arguments_may_fill_a_frame_to_its_last_octet_and_not_beyond() {
    let mut client = Client::open();
    let channel = client.channel();
    let arguments = |length| {
        let value = "x".repeat(length);
        FieldTable::new().with("k", value.as_str()).unwrap()
    };
    let with = |table: &FieldTable| {
        let declare = queue::Declare {
            arguments: table.as_table(),
            ..declare("q")
        };
        method(1, declare).len()
    };
    let overhead = with(&arguments(0));
    for (length, fits) in [(4096 - overhead, true), (4097 - overhead, false)] {
        let table = arguments(length);
        let declare = queue::Declare {
            arguments: table.as_table(),
            ..declare("q")
        };
        let called = client.connection.call(channel, 1, &declare.into());
        let expected = match fits {
            true => Ok(()),
            false => Err(Refused::FrameTooLarge {
                method: "queue.declare",
                size: 4097,
                frame_max: 4096,
            }),
        };
        assert_eq!(called, expected);
        assert_eq!(
            client.connection.output().len(),
            if fits { 4096 } else { 0 }
        );
        client.connection.output().clear();
    }
}

#[test]
fn no_more_channels_are_opened_than_were_granted() {
    let mut client = Client::open();
    let channels: Vec<_> = (0..4).map(|_| client.channel()).collect();
    let numbers: Vec<_> = channels.iter().map(|c| c.number()).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
    assert_eq!(
        client.connection.open_channel(9),
        Err(Refused::NoChannelFree(4))
    );
    assert_eq!(client.connection.channels_in_use(), 4);
}

#[test]
fn a_number_is_used_again_only_when_the_close_was_answered_and_the_old_name_stays_stale() {
    let mut client = Client::open();
    let channels: Vec<_> = (0..4).map(|_| client.channel()).collect();
    let old = channels[1];
    client.connection.close_channel(old, 7).unwrap();
    client.expect(&[channel_close_frame(2)]);
    assert_eq!(
        client.connection.open_channel(9),
        Err(Refused::NoChannelFree(4))
    );
    client.feed(&channel_close_ok(2)).unwrap();
    assert_eq!(client.events(), [done(7)]);
    assert_eq!(client.connection.channels_in_use(), 3);

    let new = client.channel();
    assert_eq!(new.number(), 2);
    assert_ne!(new, old);
    stale(client.connection.call(old, 1, &declare("q").into()));
    stale(
        client
            .connection
            .consume(old, 1, 1, basic::Consume::default()),
    );
    stale(client.connection.cancel(old, 1, 1));
    stale(client.connection.settle(old, 1..=1, Answer::Ack));
    stale(client.connection.requeue_open(old));
    stale(client.connection.set_publisher(old, 1));
    stale(client.connection.close_channel(old, 1));
    assert!(!client.connection.may_publish(old));
    assert_eq!(client.connection.open_deliveries(old), 0);
    assert!(client.connection.may_publish(new));
    assert_eq!(client.sent(), [""; 0]);
}

pub fn channel_close_frame(channel: u16) -> Vec<u8> {
    let close = channel_class::Close {
        reply_code: ReplyCode::ReplySuccess.code(),
        ..Default::default()
    };
    method(channel, close)
}

#[test]
fn a_channel_name_of_another_connection_is_stale() {
    let mut earlier = Client::open();
    let channel = earlier.channel();
    let mut later = Client::open();
    later.channel();
    stale(later.connection.settle(channel, 1..=1, Answer::Ack));
}

#[test]
fn nothing_can_be_sent_on_a_closing_channel_and_what_comes_on_it_is_passed_over() {
    let mut client = Client::open();
    let channel = client.channel();
    client.connection.set_publisher(channel, 1).unwrap();
    client.consumer(channel, 5, false);
    client.sink.answers.push_back(None);
    client.feed(&delivery(1, "ctag-5", 1, b"open")).unwrap();
    // Half a delivery is under way.
    client.feed(&method(1, deliver("ctag-5", 2))).unwrap();
    client.feed(&header(1, 6)).unwrap();
    client.feed(&frame(FrameKind::Body, 1, b"abc")).unwrap();
    client.seen();
    client.connection.close_channel(channel, 7).unwrap();
    client.expect(&[channel_close_frame(1)]);

    assert!(!client.connection.may_publish(channel));
    stale(client.connection.call(channel, 1, &declare("q").into()));
    stale(client.connection.settle(channel, 1..=1, Answer::Ack));
    stale(
        client
            .connection
            .settle(channel, 1..=1, Answer::Nack { requeue: true }),
    );
    stale(client.connection.requeue_open(channel));
    stale(client.connection.close_channel(channel, 8));

    client.feed(&frame(FrameKind::Body, 1, b"def")).unwrap();
    client.feed(&delivery(1, "ctag-5", 3, b"late")).unwrap();
    client.feed(&declare_ok(1, "nobody asked")).unwrap();
    client.feed(&ack(1, 99, false)).unwrap();
    client.flush();
    assert_eq!(client.seen(), []);
    assert_eq!(client.events(), []);
    assert_eq!(client.sent(), [""; 0]);
    client.feed(&channel_close_ok(1)).unwrap();
    assert_eq!(client.events(), [done(7)]);
}

#[test]
fn closes_that_cross_are_both_answered() {
    let mut client = Client::open();
    let channel = client.channel();
    client.connection.close_channel(channel, 7).unwrap();
    client.connection.output().clear();
    client
        .feed(&channel_close(1, ReplyCode::NotFound, "gone"))
        .unwrap();
    client.expect(&[channel_close_ok(1)]);
    assert_eq!(client.events(), []);
    assert_eq!(client.connection.channels_in_use(), 1);
    client.feed(&channel_close_ok(1)).unwrap();
    assert_eq!(client.events(), [done(7)]);
    assert_eq!(client.connection.channels_in_use(), 0);
}

#[test]
fn a_closing_channel_answers_its_waiting_calls_first_and_sends_only_finished_acks() {
    let mut client = Client::open();
    let channel = client.channel();
    client.consumer(channel, 5, false);
    client
        .sink
        .answers
        .extend([None, Some(Answer::Ack), Some(Answer::Ack)]);
    for tag in 1..=3 {
        client.feed(&delivery(1, "ctag-5", tag, b"")).unwrap();
    }
    for call in [1, 2] {
        client
            .connection
            .call(channel, call, &declare("q").into())
            .unwrap();
    }
    client.expect(&[method(1, declare("q"))]);
    client.connection.close_channel(channel, 3).unwrap();
    client.expect(&[ack(1, 2, false), ack(1, 3, false), channel_close_frame(1)]);
    client.feed(&declare_ok(1, "q")).unwrap();
    client.feed(&channel_close_ok(1)).unwrap();
    let cut_off = |call| failed(call, ChannelError::ClosedByClient);
    assert_eq!(client.events(), [cut_off(1), cut_off(2), done(3)]);
    assert_eq!(client.sent(), [""; 0]);
}

#[test]
fn a_channel_can_be_closed_before_it_is_open() {
    let mut client = Client::open();
    let channel = client.connection.open_channel(1).unwrap();
    client.connection.close_channel(channel, 2).unwrap();
    client.expect(&[
        method(1, channel_class::Open::default()),
        channel_close_frame(1),
    ]);
    client
        .feed(&method(1, channel_class::OpenOk::default()))
        .unwrap();
    client.feed(&channel_close_ok(1)).unwrap();
    assert_eq!(
        client.events(),
        [failed(1, ChannelError::ClosedByClient), done(2)]
    );
}

#[test]
fn a_channel_that_the_broker_closes_answers_all_calls_with_its_reason() {
    let mut client = Client::open();
    let channel = client.channel();
    for call in [1, 2, 3] {
        client
            .connection
            .call(channel, call, &declare("q").into())
            .unwrap();
    }
    client.connection.output().clear();
    client
        .feed(&channel_close(
            1,
            ReplyCode::NotFound,
            "NOT_FOUND - no queue",
        ))
        .unwrap();
    client.expect(&[channel_close_ok(1)]);
    let events = client.events();
    let Some(Event::ChannelClosed {
        channel: closed,
        error,
    }) = events.last()
    else {
        panic!("{events:?}");
    };
    assert_eq!(*closed, channel);
    let ChannelError::ClosedByBroker(reason) = error else {
        panic!("{error:?}");
    };
    assert_eq!(
        (reason.code, reason.class_id, reason.method_id),
        (404, 50, 10)
    );
    assert_eq!(error.to_string(), "404 NOT_FOUND - no queue");
    let replies = [1, 2, 3].map(|call| failed(call, error.clone()));
    assert_eq!(events[..3], replies);
    assert_eq!(events.len(), 4);
    stale(client.connection.call(channel, 1, &declare("q").into()));
    assert!(client.connection.is_open());
}

#[test]
fn deliveries_that_follow_the_brokers_close_are_passed_over() {
    let mut client = Client::open();
    let channel = client.channel();
    let other = client.channel();
    client.consumer(channel, 5, false);
    client.consumer(other, 6, false);
    client
        .feed(&channel_close(1, ReplyCode::PreconditionFailed, "bad ack"))
        .unwrap();
    client.events();
    client.connection.output().clear();
    client.feed(&delivery(1, "ctag-5", 1, b"late")).unwrap();
    client
        .feed(&content(1, deliver("ctag-5", 2), b"late in pieces", 3))
        .unwrap();
    assert_eq!(client.seen(), []);
    client.feed(&delivery(2, "ctag-6", 1, b"ours")).unwrap();
    assert_eq!(client.seen(), [seen_delivery(6, 2, 1, b"ours")]);
    // The number rests for as long as there are others.
    assert_eq!(client.channel().number(), 3);
}

#[test]
fn numbers_that_are_free_for_longest_are_used_first() {
    let mut client = Client::open();
    let channels: Vec<_> = (0..4).map(|_| client.channel()).collect();
    for at in [2, 0, 3] {
        client.connection.close_channel(channels[at], 7).unwrap();
        client
            .feed(&channel_close_ok(channels[at].number()))
            .unwrap();
    }
    client.events();
    client.connection.output().clear();
    assert_eq!([(); 3].map(|()| client.channel().number()), [3, 1, 4]);
}

#[test]
fn channel_flow_pauses_publishes_on_its_channel_only_and_is_answered() {
    let mut client = Client::open();
    let channel = client.channel();
    let other = client.channel();
    for active in [false, true] {
        client
            .feed(&method(1, channel_class::Flow { active }))
            .unwrap();
        client.expect(&[method(1, channel_class::FlowOk { active })]);
        assert_eq!(client.events(), [Event::Flow { channel, active }]);
        assert_eq!(client.connection.may_publish(channel), active);
        assert!(client.connection.may_publish(other));
    }
}
