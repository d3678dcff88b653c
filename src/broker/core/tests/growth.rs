//! What clients can make grow, and where it ends.

use super::super::session::UNREAD_OCTETS_MAX;
use super::super::vhost::QUEUES_MAX;
use super::*;

const MEBIOCTET: usize = 1 << 20;

fn limited(memory_octets_max: usize) -> Bench {
    Bench::with(Settings {
        memory_octets_max,
        ..Settings::default()
    })
}

#[test]
fn a_client_that_does_not_read_its_answers_is_not_read_until_it_does() {
    let mut bench = Bench::new();
    let id = bench.open(1);
    let body = vec![b'.'; MEBIOCTET];
    let messages = 3 * UNREAD_OCTETS_MAX / MEBIOCTET;
    bench.ask(id, &declare(1, "q"));
    for _ in 0..messages {
        bench.ask(id, &publish(1, "q", false, &body, 4000));
    }
    let one = get(1, "q");
    let all = one.repeat(messages);
    let (mut sent, mut rounds) = (0, 0);
    while sent < all.len() {
        assert!(bench.core.is_read(id));
        let progress = bench.core.receive(bench.now, id, &all[sent..]);
        assert_eq!((progress.missing, progress.consumed % one.len()), (0, 0));
        assert!(progress.consumed > 0);
        sent += progress.consumed;
        rounds += 1;
        let unread = bench.core.output(id).unwrap().len();
        assert!(unread < UNREAD_OCTETS_MAX + 2 * MEBIOCTET);
        assert_eq!(bench.core.is_read(id), unread < UNREAD_OCTETS_MAX);
        bench.take(id);
    }
    assert_eq!(rounds, 3);
}

#[test]
fn an_empty_message_takes_memory_too() {
    let mut bench = limited(MEBIOCTET);
    let id = bench.open(1);
    bench.ask(id, &declare(1, "q"));
    for _ in 0..MEBIOCTET / 20 {
        if !bench.core.is_read(id) {
            return;
        }
        bench.send(id, &publish(1, "q", false, b"", 1));
    }
    panic!("it is still read");
}

#[test]
fn what_waits_for_a_commit_takes_memory() {
    let mut bench = limited(MEBIOCTET);
    let id = bench.open(1);
    let half = publish(1, "nowhere", false, &vec![0; MEBIOCTET / 2], 4000);
    bench.ask(id, &method(1, tx::Select::default()));
    bench.ask(id, &half);
    assert!(bench.core.is_read(id));
    assert_eq!(bench.ask(id, &half), ["0 connection.blocked"]);
    assert!(!bench.core.is_read(id));
}

#[test]
fn bodies_on_their_way_take_memory() {
    let mut bench = limited(MEBIOCTET);
    let (id, publisher) = (bench.open(4), bench.open(1));
    let message = publish(1, "nowhere", false, b"", 1);
    let body = vec![0; MEBIOCTET];
    for channel in 1..=4 {
        let whole = publish(channel, "nowhere", false, &body, 4000);
        bench.core.receive(bench.now, id, &whole[..whole.len() / 2]);
        bench.core.settle(bench.now);
        if bench.ask(publisher, &message) == ["0 connection.blocked"] {
            return;
        }
    }
    panic!("it is not blocked");
}

#[test]
fn a_virtual_host_holds_so_many_queues_and_not_one_more() {
    let mut bench = Bench::new();
    let id = bench.open(1);
    for number in 0..QUEUES_MAX {
        assert_eq!(bench.ask(id, &declare(1, &number.to_string())).len(), 1);
    }
    let refused = [declare(1, "0"), declare(1, "more")].concat();
    assert_eq!(
        bench.ask(id, &refused),
        ["1 queue.declare-ok", "1 channel.close"]
    );
    let again = [
        method(1, channel::CloseOk::default()),
        method(1, channel::Open::default()),
        delete(1, "0"),
        declare(1, "more"),
    ];
    assert_eq!(bench.ask(id, &again.concat())[2], "1 queue.declare-ok");
}

#[test]
fn a_channel_has_so_many_consumers_and_not_one_more() {
    let mut bench = Bench::new();
    let id = bench.open(1);
    bench.ask(id, &declare(1, "q"));
    for _ in 0..1 << 14 {
        assert_eq!(bench.ask(id, &consume(1, "q", "", false)).len(), 1);
    }
    assert_eq!(
        bench.ask(id, &consume(1, "q", "", false)),
        ["0 connection.close"]
    );
    assert_eq!(bench.state().queue("q").unwrap().consumers, 0);
}
