//! Declaring, restarting, rejecting.

use super::*;

const LOCKED: &str = "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'q' in vhost '/'. It could be \
                      originally declared on another connection or the exclusive property value does not match that \
                      of the original declaration.";

#[test]
fn an_exclusive_queue_is_its_connections_own() {
    let plain = Declaration {
        vhost: "/",
        name: "q",
        durable: false,
        exclusive: false,
        auto_delete: false,
        arguments: Table::default(),
    };
    let exclusive = Declaration {
        exclusive: true,
        ..plain
    };
    let (own, other) = (SessionId(1), SessionId(2));
    let mut bench = Bench::declared(&exclusive);
    let queue = &mut bench.queue;
    assert_eq!(queue.check_access(own), Ok(()));
    assert_eq!(queue.check_access(other).unwrap_err().reply_text(), LOCKED);
    assert_eq!(queue.declare_again(&exclusive, own, bench.now), Ok(()));
    for (declaration, session) in [(&plain, own), (&plain, other), (&exclusive, other)] {
        let refused = queue.declare_again(declaration, session, bench.now);
        assert_eq!(refused.unwrap_err().reply_text(), LOCKED);
    }
    let mut bench = Bench::declared(&plain);
    let refused = bench.queue.declare_again(&exclusive, own, bench.now);
    assert_eq!(refused.unwrap_err().reply_text(), LOCKED);
    assert_eq!(bench.queue.check_access(other), Ok(()));
}

#[test]
fn a_quorum_queue_with_a_single_active_consumer_has_no_get() {
    let arguments = [("x-single-active-consumer", true.into())];
    let refused = Bench::quorum(&arguments).queue.check_get().unwrap_err();
    assert_eq!(
        refused.reply_text(),
        "RESOURCE_LOCKED - cannot obtain access to locked queue 'q' in vhost '/'. basic.get operations are not \
         supported by quorum queues with single active consumer"
    );
    assert_eq!(Bench::new(&arguments).queue.check_get(), Ok(()));
}

#[test]
fn a_restart_keeps_what_is_persistent_in_a_durable_queue_and_no_consumers() {
    let mut bench = Bench::new(&[]);
    bench.publish("transient");
    for body in ["a", "b"] {
        bench.publish_with(body, Properties::builder().delivery_mode(2));
    }
    bench.publish_with("mode 1", Properties::builder().delivery_mode(1));
    let held: Vec<_> = (0..2).map_while(|_| bench.get()).collect();
    bench.consume(1, 0);
    for entry in held {
        bench.abandon(entry);
    }
    assert_eq!(bench.queue.restart(bench.now), Fate::Stays);
    assert_eq!(bench.queue.consumer_count(), 0);
    assert_eq!(bench.drain(), ["a!", "b"]);
}

#[test]
fn a_restart_keeps_all_of_a_quorum_queue() {
    let mut bench = Bench::quorum(&[]);
    bench.publish_all(&["a", "b"]);
    assert_eq!(bench.queue.restart(bench.now), Fate::Stays);
    assert_eq!(bench.drain(), ["a", "b"]);
}

#[test]
fn a_restart_ends_a_queue_that_is_not_durable() {
    let mut bench = Bench::declared(&Declaration {
        vhost: "/",
        name: "q",
        durable: false,
        exclusive: false,
        auto_delete: false,
        arguments: Table::default(),
    });
    assert_eq!(bench.queue.restart(bench.now), Fate::Ends);
}

#[test]
fn a_queue_without_dead_letter_exchange_drops_what_is_rejected() {
    let mut bench = Bench::new(&[]);
    bench.publish("a");
    let entry = bench.get().unwrap();
    bench.queue.reject(entry, &mut bench.effects);
    assert_eq!(bench.dead(), [""; 0]);
    assert_eq!((bench.queue.unacked(), bench.queue.octets()), (0, 0));
}
