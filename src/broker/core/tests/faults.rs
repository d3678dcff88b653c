//! Faults, as far as they need no socket.

use super::*;

#[test]
fn cancelling_all_consumers_leaves_the_queues_but_for_those_that_live_by_them() {
    let mut bench = Bench::new();
    let id = bench.open(2);
    let fleeting = queue::Declare {
        queue: short("fleeting"),
        auto_delete: true,
        ..Default::default()
    };
    let set_up = [
        declare(1, "q"),
        method(1, fleeting),
        consume(1, "q", "a", false),
        consume(2, "fleeting", "b", false),
        publish(1, "q", false, b"m", 9),
    ];
    bench.ask(id, &set_up.concat());
    bench.core.cancel_consumers(bench.now);
    bench.core.settle(bench.now);
    assert_eq!(shown(&bench.take(id)), ["1 basic.cancel", "2 basic.cancel"]);
    let state = bench.state();
    assert_eq!(state.queues.len(), 1);
    let queue = state.queue("q").unwrap();
    assert_eq!((queue.consumers, queue.unacked), (0, 1));
    assert_eq!(bench.ask(id, &ack(1, 1, false)), [""; 0]);
    assert_eq!(bench.state().queue("q").unwrap().unacked, 0);
}

#[test]
fn an_alarm_is_told_with_the_first_publish_in_spite_of_it_and_so_is_its_end() {
    let mut bench = Bench::new();
    let (publisher, consumer) = (bench.open(1), bench.open(1));
    let message = publish(1, "nowhere", false, b"m", 9);
    bench.ask(publisher, &message);
    bench.core.block(Some("x".repeat(300)));
    bench.core.settle(bench.now);
    assert_eq!(shown(&bench.take(publisher)), [""; 0]);
    assert!(bench.core.is_read(publisher));
    assert_eq!(bench.ask(publisher, &message), ["0 connection.blocked"]);
    bench.core.settle(bench.now);
    assert_eq!(shown(&bench.take(publisher)), [""; 0]);
    assert!(!bench.core.is_read(publisher) && bench.core.is_read(consumer));
    bench.core.block(None);
    bench.core.settle(bench.now);
    assert_eq!(shown(&bench.take(publisher)), ["0 connection.unblocked"]);
    assert_eq!(shown(&bench.take(consumer)), [""; 0]);
    assert!(bench.core.is_read(publisher));
}

#[test]
fn one_message_gets_in_in_spite_of_an_alarm_and_the_next_one_waits() {
    let mut bench = Bench::new();
    let id = bench.open(1);
    bench.ask(id, &declare(1, "q"));
    bench.core.block(Some("test".to_owned()));
    let one = publish(1, "q", false, b"m", 9);
    let progress = bench.core.receive(bench.now, id, &one.repeat(3));
    assert_eq!(progress.consumed, one.len());
    bench.core.settle(bench.now);
    assert_eq!(bench.state().queue("q").unwrap().ready, 1);
}

#[test]
fn what_is_returned_reaches_no_queue() {
    let mut bench = Bench::new();
    let id = bench.open(1);
    bench.ask(id, &declare(1, "q"));
    bench.core.faults().return_everything = true;
    let returned = bench.ask(id, &publish(1, "q", true, b"m", 9));
    assert_eq!(returned, ["1 basic.return", "1 header", "1 m"]);
    assert_eq!(bench.ask(id, &publish(1, "q", false, b"m", 9)), [""; 0]);
    assert_eq!(bench.state().queue("q").unwrap().ready, 1);
}

#[test]
fn a_restart_keeps_what_is_to_last_in_its_order() {
    for keeps_durable in [true, false] {
        let mut bench = Bench::new();
        let id = bench.open(1);
        let durable = queue::Declare {
            queue: short("lasting"),
            durable: true,
            ..Default::default()
        };
        bench.ask(id, &[method(1, durable), declare(1, "fleeting")].concat());
        for body in ["1", "2", "3"] {
            bench.ask(id, &persistent("lasting", body));
        }
        bench.ask(id, &publish(1, "lasting", false, b"transient", 9));
        let one = basic::Get {
            queue: short("lasting"),
            ..Default::default()
        };
        bench.ask(id, &method(1, one));
        bench.core.restart(bench.now, keeps_durable);
        let id = bench.open(1);
        let queues: Vec<_> = bench.state().queues.into_keys().collect();
        if !keeps_durable {
            assert_eq!(queues, [""; 0]);
            continue;
        }
        assert_eq!(queues, ["lasting"]);
        bench.send(id, &get(1, "lasting").repeat(4));
        let gotten = shown_in_full(&bench.take(id));
        let redelivered = gotten.iter().map(|one| one.contains("redelivered: true"));
        let bodies = gotten.iter().skip(2).step_by(3).cloned();
        assert_eq!(bodies.collect::<Vec<_>>(), ["1 1", "1 2", "1 3"]);
        assert_eq!(redelivered.filter(|one| *one).count(), 1, "{gotten:?}");
        assert!(gotten[0].contains("redelivered: true"));
        assert!(gotten[9].contains("GetEmpty"), "{gotten:?}");
    }
}

/// A persistent message for a queue.
fn persistent(key: &str, body: &str) -> Vec<u8> {
    let publish = basic::Publish {
        routing_key: short(key),
        ..Default::default()
    };
    let properties = crate::protocol::Properties::persistent();
    let mut payload = Vec::new();
    ContentHeader::new(body.len() as u64, properties.as_ref()).encode(&mut payload);
    [
        method(1, publish),
        frame(FrameKind::Header, 1, &payload),
        frame(FrameKind::Body, 1, body.as_bytes()),
    ]
    .concat()
}
