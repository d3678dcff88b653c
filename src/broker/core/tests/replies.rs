//! Direct replies.

use super::super::replies::PSEUDO_QUEUE;
use super::*;

/// The address of the first requester of a broker.
fn address() -> String {
    format!("{PSEUDO_QUEUE}.{:016x}", 1)
}

fn requester(bench: &mut Bench) -> SessionId {
    let id = bench.open(1);
    bench.ask(id, &consume(1, PSEUDO_QUEUE, "c", true));
    id
}

#[test]
fn a_reply_goes_to_the_one_who_asked() {
    let mut bench = Bench::new();
    let (asks, answers) = (requester(&mut bench), bench.open(1));
    bench.ask(answers, &publish(1, &address(), false, b"yes", 9));
    assert_eq!(
        shown(&bench.take(asks)),
        ["1 basic.deliver", "1 header", "1 yes"]
    );
    assert_eq!(bench.state().totals.delivered, 1);
}

#[test]
fn a_reply_does_not_go_to_who_has_taken_the_place_of_the_one_who_asked() {
    let mut bench = Bench::new();
    let asks = requester(&mut bench);
    let cancel = basic::Cancel {
        consumer_tag: short("c"),
        no_wait: false,
    };
    let octets = [
        declare(1, "q"),
        publish(1, &address(), false, b"yes", 9),
        method(1, cancel),
        consume(1, "q", "d", true),
    ];
    let told = bench.ask(asks, &octets.concat());
    assert_eq!(
        told,
        [
            "1 queue.declare-ok",
            "1 basic.cancel-ok",
            "1 basic.consume-ok"
        ]
    );
    assert_eq!(bench.state().totals.delivered, 0);
}

#[test]
fn a_client_that_does_not_read_its_replies_loses_those_that_are_too_many() {
    let mut bench = Bench::new();
    let (asks, answers) = (requester(&mut bench), bench.open(1));
    let answer = publish(1, &address(), false, b"yes", 9);
    bench.core.unsent(bench.now, asks, (256 << 20) - 1);
    bench.ask(answers, &answer);
    assert_eq!(shown(&bench.take(asks)).len(), 3);
    bench.core.unsent(bench.now, asks, 256 << 20);
    bench.ask(answers, &answer);
    assert_eq!(shown(&bench.take(asks)), [""; 0]);
}
