//! Heartbeats, and what counts as a sign of life.

use super::*;

const INTERVAL: Duration = Duration::from_secs(4);

fn open(bench: &mut Bench) -> SessionId {
    bench.open_with_heartbeat(1, 4)
}

fn beat() -> Vec<u8> {
    frame(FrameKind::Heartbeat, 0, &[])
}

#[test]
fn beats_are_sent_twice_in_an_interval_when_nothing_else_is() {
    let mut bench = Bench::new();
    let id = open(&mut bench);
    for _ in 0..3 {
        bench.pass(INTERVAL / 2);
        assert_eq!(shown(&bench.take(id)), ["heartbeat"]);
        bench.send(id, &beat());
    }
    bench.pass(INTERVAL / 4);
    bench.ask(id, &declare(1, "q"));
    bench.pass(INTERVAL / 4);
    assert_eq!(shown(&bench.take(id)), [""; 0]);
}

#[test]
fn a_silent_client_is_lost_after_two_intervals() {
    let mut bench = Bench::new();
    let id = open(&mut bench);
    bench.pass(INTERVAL * 2 - Duration::from_millis(1));
    assert!(!bench.core.is_over(id));
    bench.pass(Duration::from_millis(1));
    assert!(bench.core.is_lost(id));
}

#[test]
fn anything_a_client_says_is_a_sign_of_life() {
    let mut bench = Bench::new();
    let id = open(&mut bench);
    let beat = beat();
    for said in 1..=beat.len() {
        bench.pass(INTERVAL);
        bench.core.receive(bench.now, id, &beat[..said]);
    }
    assert!(!bench.core.is_over(id));
}

#[test]
fn a_client_that_is_not_read_for_what_it_has_not_read_is_alive_while_it_takes_some_of_that() {
    for (unsent, lives) in [(UNREAD_OCTETS_MAX, true), (8, false)] {
        let mut bench = Bench::new();
        let id = open(&mut bench);
        bench.core.unsent(bench.now, id, unsent + 5);
        assert_eq!(bench.core.is_read(id), !lives);
        for taken in 0..5 {
            bench.pass(INTERVAL);
            bench.take(id);
            bench.core.unsent(bench.now, id, unsent + 4 - taken);
        }
        assert_eq!(!bench.core.is_over(id), lives);
    }
}

#[test]
fn without_heartbeats_silence_is_no_matter() {
    let mut bench = Bench::new();
    let id = bench.open(0);
    assert_eq!(bench.core.deadline(), None);
    bench.pass(Duration::from_hours(9));
    assert!(!bench.core.is_over(id));
}

#[test]
fn a_publisher_that_is_not_read_because_of_an_alarm_is_not_silent() {
    let mut bench = Bench::new();
    let (publisher, silent) = (open(&mut bench), open(&mut bench));
    bench.core.block(Some("test".to_owned()));
    bench.ask(publisher, &publish(1, "nowhere", false, b"m", 9));
    bench.pass(INTERVAL * 10);
    assert!(!bench.core.is_read(publisher));
    assert!(!bench.core.is_over(publisher));
    assert!(bench.core.is_lost(silent));
    bench.core.block(None);
    bench.pass(INTERVAL);
    assert!(!bench.core.is_over(publisher), "it has not had the time");
    bench.pass(INTERVAL);
    assert!(bench.core.is_lost(publisher));
}

#[test]
fn a_frozen_connection_neither_beats_nor_counts_silence() {
    let mut bench = Bench::new();
    let id = open(&mut bench);
    bench.core.freeze(bench.now, id, true);
    bench.pass(INTERVAL * 10);
    assert_eq!(shown(&bench.take(id)), [""; 0]);
    assert!(!bench.core.is_over(id) && !bench.core.is_read(id));
    bench.core.freeze(bench.now, id, false);
    bench.pass(INTERVAL);
    assert!(!bench.core.is_over(id));
    bench.pass(INTERVAL);
    assert!(bench.core.is_lost(id));
}
