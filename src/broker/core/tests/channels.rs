//! Consumers, deliveries and confirms of a channel.

use super::*;

#[test]
fn the_end_of_a_queue_ends_its_own_consumer_and_none_that_has_taken_its_place() {
    let mut bench = Bench::new();
    let watcher = bench.open(1);
    bench.ask(
        watcher,
        &[
            declare(1, "old"),
            declare(1, "new"),
            consume(1, "old", "c", false),
        ]
        .concat(),
    );
    let cancel = basic::Cancel {
        consumer_tag: short("c"),
        no_wait: false,
    };
    let told = bench.ask(
        watcher,
        &[
            delete(1, "old"),
            method(1, cancel),
            consume(1, "new", "d", false),
        ]
        .concat(),
    );
    assert_eq!(
        told,
        [
            "1 queue.delete-ok",
            "1 basic.cancel-ok",
            "1 basic.consume-ok"
        ]
    );
    assert_eq!(bench.state().queue("new").unwrap().consumers, 1);
    assert_eq!(
        bench.ask(watcher, &publish(1, "new", false, b"m", 9)),
        ["1 basic.deliver", "1 header", "1 m"]
    );
}

#[test]
fn the_end_of_a_queue_is_told_to_its_consumers_and_their_acks_still_count() {
    let mut bench = Bench::new();
    let (one, other) = (bench.open(1), bench.open(1));
    bench.ask(
        one,
        &[declare(1, "q"), consume(1, "q", "c", false)].concat(),
    );
    bench.ask(one, &publish(1, "q", false, b"m", 9));
    assert_eq!(bench.ask(other, &delete(1, "q")), ["1 queue.delete-ok"]);
    assert_eq!(shown(&bench.take(one)), ["1 basic.cancel"]);
    assert_eq!(bench.ask(one, &ack(1, 1, false)), [""; 0]);
    assert_eq!(bench.ask(one, &ack(1, 1, false)), ["1 channel.close"]);
}

#[test]
fn an_ack_makes_room_in_the_windows_of_its_consumer_and_of_its_channel() {
    for global in [false, true] {
        let mut bench = Bench::new();
        let id = bench.open(1);
        let qos = basic::Qos {
            prefetch_count: 1,
            global,
            ..Default::default()
        };
        let set_up = [
            declare(1, "a"),
            declare(1, "b"),
            method(1, qos),
            consume(1, "a", "a", false),
            consume(1, "b", "b", false),
        ];
        bench.ask(id, &set_up.concat());
        let messages = ["a", "a", "b"].map(|queue| publish(1, queue, false, b"m", 9));
        let deliveries = |seen: Vec<String>| seen.iter().filter(|one| *one == "1 m").count();
        // A window of the channel has room for one of the three; of each consumer for one of its own.
        let first = deliveries(bench.ask(id, &messages.concat()));
        assert_eq!(first, if global { 1 } else { 2 });
        let rest = (1..=3).map(|tag| deliveries(bench.ask(id, &ack(1, tag, false))));
        assert_eq!(first + rest.sum::<usize>(), 3, "global: {global}");
    }
}

#[test]
fn a_transaction_that_is_rolled_back_has_acked_nothing() {
    let mut bench = Bench::new();
    let id = bench.open(1);
    let messages = vec![publish(1, "q", false, b"m", 9); 4].concat();
    bench.ask(id, &[declare(1, "q"), messages].concat());
    bench.ask(id, &consume(1, "q", "c", false));
    let rolled_back = [
        method(1, tx::Select::default()),
        ack(1, 2, false),
        ack(1, 4, false),
        method(1, tx::Rollback::default()),
    ];
    bench.ask(id, &rolled_back.concat());
    assert_eq!(bench.state().queue("q").unwrap().unacked, 4);
    let committed = [ack(1, 4, true), method(1, tx::Commit::default())];
    assert_eq!(bench.ask(id, &committed.concat()), ["1 tx.commit-ok"]);
    assert_eq!(bench.state().queue("q").unwrap().unacked, 0);
}

#[test]
fn confirms_of_a_channel_that_was_closed_are_not_sent_on_the_one_after_it() {
    let mut bench = Bench::new();
    let id = bench.open(1);
    let select = method(1, confirm::Select::default());
    bench.core.faults().confirms.delay = Duration::from_secs(1);
    for _ in 0..5 {
        let round = [
            select.clone(),
            publish(1, "nowhere", false, b"m", 9),
            method(1, channel::Close::default()),
            method(1, channel::Open::default()),
        ];
        assert_eq!(
            bench.ask(id, &round.concat()),
            [
                "1 confirm.select-ok",
                "1 channel.close-ok",
                "1 channel.open-ok"
            ]
        );
    }
    assert_eq!(bench.core.deadline(), None, "nothing is held back any more");
    bench.ask(
        id,
        &[select, publish(1, "nowhere", false, b"m", 9)].concat(),
    );
    bench.pass(Duration::from_secs(1));
    assert_eq!(shown(&bench.take(id)), ["1 basic.ack"]);
}

#[test]
fn what_a_transaction_acks_for_a_consumer_that_is_gone_makes_no_room_for_the_one_in_its_place() {
    let mut bench = Bench::new();
    let id = bench.open(1);
    let qos = basic::Qos {
        prefetch_count: 1,
        ..Default::default()
    };
    let cancel = basic::Cancel {
        consumer_tag: short("old"),
        no_wait: true,
    };
    let message = publish(1, "q", false, b"m", 9);
    bench.ask(id, &[declare(1, "q"), message.repeat(3)].concat());
    let set_up = [
        method(1, qos),
        method(1, tx::Select::default()),
        consume(1, "q", "old", false),
    ];
    assert_eq!(bench.ask(id, &set_up.concat()).last().unwrap(), "1 m");
    let exchanged = [
        ack(1, 1, false),
        method(1, cancel),
        consume(1, "q", "new", false),
    ];
    assert_eq!(bench.ask(id, &exchanged.concat()).last().unwrap(), "1 m");
    let committed = bench.ask(id, &method(1, tx::Commit::default()));
    assert_eq!(committed, ["1 tx.commit-ok"], "the window of one is full");
}
