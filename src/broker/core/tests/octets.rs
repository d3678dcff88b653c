//! What must hold for any octets, however they are cut: the same meaning, a truthful `missing`, and no panic.

use proptest::prelude::*;

use super::*;

/// A busy client from its first octet to its last.
fn conversation() -> Vec<u8> {
    let nack = basic::Nack {
        delivery_tag: 2,
        requeue: true,
        ..Default::default()
    };
    [
        handshake(0),
        method(1, channel::Open::default()),
        method(2, channel::Open::default()),
        method(2, confirm::Select::default()),
        declare(1, "q"),
        publish(2, "q", false, b"first", 9),
        publish(2, "q", false, b"in several pieces", 5),
        frame(FrameKind::Heartbeat, 0, &[]),
        publish(2, "nowhere", true, b"back", 9),
        publish(2, "q", false, b"", 9),
        consume(1, "q", "c", false),
        publish(2, "q", false, b"last", 9),
        ack(1, 1, false),
        method(1, nack),
        get(2, "q"),
        ack(1, 9, false),
        method(0, connection::Close::default()),
    ]
    .concat()
}

/// Shows a client's octets to the core in pieces, what was not used again with what follows. Gives the output, and with each
/// piece how far the core came.
fn say<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<String>, Vec<Progress>) {
    let mut bench = Bench::new();
    let id = bench.core.accept(bench.now).unwrap();
    let (mut unused, mut progresses) = (Vec::new(), Vec::new());
    for piece in pieces {
        unused.extend_from_slice(piece);
        let progress = bench.core.receive(bench.now, id, &unused);
        unused.drain(..progress.consumed);
        progresses.push(progress);
    }
    bench.core.settle(bench.now);
    assert!(unused.is_empty());
    (shown_in_full(&bench.take(id)), progresses)
}

#[test]
fn every_cut_at_every_octet_gives_the_same_output() {
    let octets = conversation();
    let (expected, _) = say([&*octets]);
    assert!(expected.iter().any(|one| one.contains("BasicReturn")));
    assert!(expected.last().unwrap().contains("ConnectionCloseOk"));
    for cut in 1..octets.len() {
        let (before, after) = octets.split_at(cut);
        assert_eq!(say([before, after]).0, expected, "cut at {cut}");
    }
    assert_eq!(say(octets.chunks(1)).0, expected);
}

#[test]
fn as_many_octets_are_missing_as_it_takes_to_get_on() {
    let octets = conversation();
    let (_, progresses) = say(octets.chunks(1));
    let mut missing = 1;
    for (at, progress) in progresses.iter().enumerate() {
        missing -= 1;
        if progress.consumed > 0 {
            assert_eq!(missing, 0, "at {at}");
            missing = 1;
        } else {
            // More may turn out to be missing when the size of the frame has come, and never less.
            assert!(progress.missing >= missing.max(1), "at {at}");
            missing = progress.missing;
        }
    }
}

proptest! {
    #[test]
    fn any_octets_are_taken_or_refused(
        octets in prop::collection::vec(any::<u8>(), 0..200),
        is_open: bool,
    ) {
        let mut bench = Bench::new();
        let id = if is_open {
            bench.open(1)
        } else {
            bench.core.accept(bench.now).unwrap()
        };
        let progress = bench.core.receive(bench.now, id, &octets);
        prop_assert!(progress.consumed <= octets.len());
        bench.core.settle(bench.now);
    }

    #[test]
    fn a_conversation_with_a_wrong_octet_is_taken_or_refused(at in 0..2000usize, wrong: u8) {
        let mut octets = conversation();
        let at = at % octets.len();
        octets[at] = wrong;
        let mut bench = Bench::new();
        let id = bench.core.accept(bench.now).unwrap();
        let progress = bench.core.receive(bench.now, id, &octets);
        prop_assert!(progress.consumed <= octets.len());
        bench.core.settle(bench.now);
        bench.pass(Duration::from_mins(1));
    }

    #[test]
    fn any_payload_of_a_method_is_taken_or_refused(
        class in 10..90u16,
        method in 10..80u16,
        arguments in prop::collection::vec(any::<u8>(), 0..60),
        channel in 0..2u16,
    ) {
        let mut payload = Vec::new();
        payload.extend(class.to_be_bytes());
        payload.extend(method.to_be_bytes());
        payload.extend(arguments);
        let mut bench = Bench::new();
        let id = bench.open(1);
        bench.send(id, &frame(FrameKind::Method, channel, &payload));
    }
}
