//! How a connection ends, and heartbeats.

use super::channels::channel_close_frame;
use super::*;

fn busy() -> (Client, [ChannelId; 2]) {
    let mut client = Client::open();
    let first = client.channel();
    let second = client.channel();
    client.consumer(first, 5, false);
    for call in [1, 2] {
        client
            .connection
            .call(first, call, &declare("q").into())
            .unwrap();
    }
    client.connection.close_channel(second, 3).unwrap();
    client.connection.output().clear();
    (client, [first, second])
}

fn all_answered(error: &ConnectionError) -> [Event; 4] {
    let cut_off = |call| failed(call, ChannelError::Connection(error.clone()));
    [
        cut_off(1),
        cut_off(2),
        done(3),
        Event::Closed(error.clone()),
    ]
}

fn is_dead(client: &mut Client, channel: ChannelId) {
    assert!(client.connection.is_closed() && !client.connection.is_open());
    assert_eq!(client.connection.deadline(), None);
    assert_eq!(client.connection.channels_in_use(), 0);
    assert_eq!(client.connection.open_channel(1), Err(Refused::NotOpen));
    let declare = declare("q").into();
    assert_eq!(
        client.connection.call(channel, 1, &declare),
        Err(Refused::NotOpen)
    );
    let settled = client.connection.settle(channel, 1..=1, Answer::Ack);
    assert_eq!(settled, Err(Refused::NotOpen));
    assert!(!client.connection.may_publish(channel));
    client.connection.close(ReplyCode::ReplySuccess, "again");
    client
        .connection
        .abandon(ConnectionError::Lost("again".into()));
    client.connection.tick(client.now + 1000 * SECOND);
    client.flush();
    assert_eq!(client.feed(b"whatever").unwrap().missing, 0);
    assert_eq!(client.events(), []);
    assert_eq!(client.sent(), [""; 0]);
}

#[test]
fn a_close_sends_finished_acks_first_and_ends_when_it_is_answered() {
    let (mut client, [channel, _]) = busy();
    client.sink.answers.extend([None, Some(Answer::Ack)]);
    for tag in [1, 2] {
        client.feed(&delivery(1, "ctag-5", tag, b"")).unwrap();
    }
    client.connection.close(ReplyCode::ReplySuccess, "bye");
    let close = connection_close(ReplyCode::ReplySuccess, "bye");
    client.expect(&[ack(1, 2, false), close]);
    assert!(!client.connection.is_open() && !client.connection.is_closed());
    client.feed(&connection_close_ok()).unwrap();
    assert_eq!(
        client.events(),
        all_answered(&ConnectionError::ClosedByClient)
    );
    is_dead(&mut client, channel);
}

#[test]
fn after_connection_close_nothing_is_sent_and_what_comes_is_passed_over() {
    let (mut client, [channel, _]) = busy();
    client.sink.answers.push_back(None);
    client.feed(&delivery(1, "ctag-5", 1, b"")).unwrap();
    client.seen();
    client.connection.close(ReplyCode::ReplySuccess, "bye");
    client.connection.output().clear();
    assert!(!client.connection.may_publish(channel));
    for answer in [Answer::Ack, Answer::Nack { requeue: true }] {
        let settled = client.connection.settle(channel, 1..=1, answer);
        assert_eq!(settled, Err(Refused::NotOpen));
    }
    assert_eq!(
        client.connection.requeue_open(channel),
        Err(Refused::NotOpen)
    );
    assert_eq!(
        client.connection.close_channel(channel, 9),
        Err(Refused::NotOpen)
    );
    assert_eq!(
        client.connection.cancel(channel, 9, 5),
        Err(Refused::NotOpen)
    );
    let late = [
        delivery(1, "ctag-5", 2, b"late"),
        content(1, deliver("ctag-5", 3), b"late in pieces", 2),
        declare_ok(1, "q"),
        channel_close(1, ReplyCode::NotFound, "gone"),
        frame(FrameKind::Heartbeat, 0, &[]),
        method(0, connection_class::Blocked::default()),
    ];
    client.feed(&late.concat()).unwrap();
    client.connection.close(ReplyCode::ReplySuccess, "twice");
    client.flush();
    assert_eq!(client.seen(), []);
    assert_eq!(client.events(), []);
    assert_eq!(client.sent(), [""; 0]);
    client.feed(&connection_close_ok()).unwrap();
    assert!(client.connection.is_closed());
}

#[test]
fn acks_that_wait_for_the_end_of_the_turn_leave_before_connection_close_and_not_after() {
    let mut client = Client::open();
    let channel = client.channel();
    client.consumer(channel, 5, false);
    client.feed(&delivery(1, "ctag-5", 1, b"")).unwrap();
    client.connection.close(ReplyCode::ReplySuccess, "");
    client.flush();
    let close = connection_close(ReplyCode::ReplySuccess, "");
    client.expect(&[ack(1, 1, false), close]);
}

#[test]
fn a_close_by_the_broker_is_answered_and_ends_every_call_with_its_reason() {
    let (mut client, [channel, _]) = busy();
    let close = connection_close(ReplyCode::ConnectionForced, "CONNECTION_FORCED - shutdown");
    // Nothing after it counts.
    client.feed(&[close, vec![255; 20]].concat()).unwrap();
    client.expect(&[connection_close_ok()]);
    let events = client.events();
    let Some(Event::Closed(error @ ConnectionError::ClosedByBroker(reason))) = events.last() else {
        panic!("{events:?}");
    };
    assert_eq!(reason.code, 320);
    assert_eq!(events, all_answered(error));
    is_dead(&mut client, channel);
}

#[test]
fn closes_of_the_connection_that_cross_end_it() {
    let mut client = Client::open();
    client.connection.close(ReplyCode::ReplySuccess, "");
    client.connection.output().clear();
    client
        .feed(&connection_close(ReplyCode::ConnectionForced, ""))
        .unwrap();
    client.expect(&[connection_close_ok()]);
    assert!(matches!(
        client.events()[..],
        [Event::Closed(ConnectionError::ClosedByBroker(_))]
    ));
}

#[test]
fn a_connection_given_up_answers_everything_without_a_word_to_the_broker() {
    let (mut client, [channel, _]) = busy();
    let error = ConnectionError::Lost("reset".into());
    client.connection.abandon(error.clone());
    assert_eq!(client.events(), all_answered(&error));
    assert_eq!(client.sent(), [""; 0]);
    is_dead(&mut client, channel);
}

#[test]
fn a_long_text_is_cut_at_a_character_and_not_within() {
    let mut client = Client::open();
    client
        .connection
        .close(ReplyCode::InternalError, &"ä".repeat(200));
    client.expect(&[connection_close(ReplyCode::InternalError, &"ä".repeat(127))]);
}

#[test]
fn channels_that_are_closing_send_no_acks_when_the_connection_closes() {
    let mut client = Client::open();
    let channel = client.channel();
    client.consumer(channel, 5, false);
    client.sink.answers.push_back(None);
    client.feed(&delivery(1, "ctag-5", 1, b"")).unwrap();
    client.connection.close_channel(channel, 1).unwrap();
    client.connection.close(ReplyCode::ReplySuccess, "");
    let close = connection_close(ReplyCode::ReplySuccess, "");
    client.expect(&[channel_close_frame(1), close]);
}

fn with_heartbeat() -> Client {
    Client::open_with(Config {
        heartbeat: 10 * SECOND,
        ..config()
    })
}

#[test]
fn a_heartbeat_is_sent_at_half_the_interval_unless_something_else_was() {
    let mut client = with_heartbeat();
    let start = client.now;
    let heartbeat = frame(FrameKind::Heartbeat, 0, &[]);
    assert_eq!(client.connection.deadline(), Some(start + 5 * SECOND));
    client.connection.tick(start + 5 * SECOND - SECOND / 1000);
    assert_eq!(client.sent(), [""; 0]);
    client.connection.tick(start + 5 * SECOND);
    client.expect(std::slice::from_ref(&heartbeat));
    assert_eq!(client.connection.deadline(), Some(start + 10 * SECOND));
    client.connection.sent(start + 9 * SECOND);
    assert_eq!(client.connection.deadline(), Some(start + 14 * SECOND));
    client.connection.tick(start + 13 * SECOND);
    assert_eq!(client.sent(), [""; 0]);
    client.connection.tick(start + 14 * SECOND);
    client.expect(&[heartbeat]);
}

#[test]
fn a_peer_that_is_silent_for_two_intervals_is_dead_and_any_octet_is_a_sign_of_life() {
    let mut client = with_heartbeat();
    let start = client.now;
    client.now = start + 15 * SECOND;
    client.feed(&[8]).unwrap();
    client.connection.sent(start + 34 * SECOND);
    client.connection.tick(start + 35 * SECOND - SECOND / 1000);
    assert_eq!(client.events(), []);
    assert_eq!(client.connection.deadline(), Some(start + 35 * SECOND));
    client.connection.tick(start + 35 * SECOND);
    let interval = 10 * SECOND;
    let error = ConnectionError::HeartbeatMissed { interval };
    assert_eq!(client.events(), [Event::Closed(error)]);
    assert_eq!(client.connection.deadline(), None);
    client.connection.tick(start + 100 * SECOND);
    assert_eq!(client.events(), []);
    assert_eq!(client.sent(), [""; 0]);
}

#[test]
fn two_connections_that_only_send_heartbeats_stay_alive_for_a_day() {
    let mut client = with_heartbeat();
    let end = client.now + 86_400 * SECOND;
    let mut heartbeats = 0;
    while client.now < end {
        client.now = client.connection.deadline().unwrap();
        client.connection.tick(client.now);
        heartbeats += client.sent().len();
        client.connection.sent(client.now);
        client.feed(&frame(FrameKind::Heartbeat, 0, &[])).unwrap();
    }
    assert_eq!(heartbeats, 86_400 / 5);
    assert!(client.connection.is_open());
}

#[test]
fn without_heartbeats_there_is_no_deadline_and_no_silence_is_too_long() {
    let mut client = Client::open();
    assert_eq!(client.connection.deadline(), None);
    client.connection.tick(client.now + 1_000_000 * SECOND);
    assert!(client.connection.is_open());
    assert_eq!(client.sent(), [""; 0]);
}
