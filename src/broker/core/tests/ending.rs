//! The ends of channels, connections and queues.

use super::super::session::CLOSE_TIMEOUT;
use super::*;
use crate::protocol::ReplyCode;

#[test]
fn a_code_for_connections_closes_each_of_them_once_however_many_channels_it_has() {
    let mut bench = Bench::new();
    let (many, none) = (bench.open(3), bench.open(0));
    bench
        .core
        .close_channels(bench.now, ReplyCode::FrameError, "test");
    bench.core.settle(bench.now);
    assert_eq!(shown(&bench.take(many)), ["0 connection.close"]);
    assert_eq!(shown(&bench.take(none)), [""; 0]);
}

#[test]
fn a_code_for_channels_closes_those_that_are_open() {
    let mut bench = Bench::new();
    let id = bench.open(2);
    let refused = bench.ask(id, &get(1, "nowhere"));
    assert_eq!(refused, ["1 channel.close"]);
    bench
        .core
        .close_channels(bench.now, ReplyCode::NotFound, "test");
    bench.core.settle(bench.now);
    assert_eq!(shown(&bench.take(id)), ["2 channel.close"]);
}

#[test]
fn a_client_that_does_not_end_its_line_after_close_ok_is_lost_in_the_end() {
    let mut bench = Bench::new();
    let id = bench.open(0);
    bench.send(id, &method(0, connection::Close::default()));
    assert!(!bench.core.is_over(id) && !bench.core.is_lost(id));
    bench.pass(CLOSE_TIMEOUT / 2);
    assert!(!bench.core.is_lost(id));
    bench.pass(CLOSE_TIMEOUT / 2);
    assert!(bench.core.is_over(id) && bench.core.is_lost(id));
}

#[test]
fn a_client_that_says_nothing_is_lost() {
    let mut bench = Bench::new();
    let id = bench.core.accept(bench.now).unwrap();
    bench.pass(super::super::session::HANDSHAKE_TIMEOUT);
    assert!(bench.core.is_lost(id));
}

#[test]
fn a_connection_takes_its_own_exclusive_queues_with_it() {
    let mut bench = Bench::new();
    let (one, other) = (bench.open(1), bench.open(1));
    let exclusive = |queue| {
        let declare = queue::Declare {
            queue: short(queue),
            exclusive: true,
            ..Default::default()
        };
        method(1, declare)
    };
    bench.ask(
        one,
        &[exclusive("a"), exclusive("b"), declare(1, "shared")].concat(),
    );
    bench.ask(other, &exclusive("c"));
    bench.core.lost(bench.now, one);
    bench.core.settle(bench.now);
    let queues: Vec<_> = bench.state().queues.into_keys().collect();
    assert_eq!(queues, ["c", "shared"]);
}

#[test]
fn the_time_of_a_queue_that_is_gone_does_not_come() {
    let mut bench = Bench::new();
    let id = bench.open(1);
    let arguments = FieldTable::new().with("x-expires", 60_000).unwrap();
    let expiring = queue::Declare {
        queue: short("q"),
        arguments: arguments.as_table(),
        ..Default::default()
    };
    bench.ask(id, &method(1, expiring));
    assert_eq!(
        bench.core.deadline(),
        Some(bench.now + Duration::from_mins(1))
    );
    bench.ask(id, &delete(1, "q"));
    assert_eq!(bench.core.deadline(), None);
}
