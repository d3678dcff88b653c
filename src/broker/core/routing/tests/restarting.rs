//! What is left after a restart.

use super::*;

#[test]
fn durable_exchanges_and_the_bindings_of_surviving_queues_stay() {
    let mut host = Host::new();
    for (name, flags) in [
        ("transient", ""),
        ("transient auto", "auto_delete"),
        ("durable", "durable"),
        ("durable auto", "durable auto_delete"),
        ("only transient queue", "durable auto_delete"),
        ("only transient exchange", "durable auto_delete"),
    ] {
        host.declare(name, "fanout", flags, &[]).unwrap();
    }
    let (survivor, lost) = (1, 2);
    for queue in [survivor, lost] {
        host.0.queue_declared(&queue.to_string(), QueueId(queue));
        for source in ["transient", "transient auto", "durable", "durable auto"] {
            host.bind(queue, source, "");
        }
    }
    host.bind(lost, "only transient queue", "");
    host.bind_exchange("transient", "only transient exchange", "");
    host.bind_exchange("durable", "transient", "");

    host.0.restart(|queue| queue.0 == survivor);

    host.check_invariants();
    for name in ["transient", "transient auto"] {
        assert!(!host.exists(name), "{name}");
    }
    for name in ["durable", "durable auto"] {
        assert_eq!(host.bindings(name), 1, "{name}");
        assert_eq!(host.route(name, ""), [survivor], "{name}");
    }
    for name in ["only transient queue", "only transient exchange"] {
        assert_eq!(host.bindings(name), 0, "{name}");
    }
    assert_eq!(host.route("", "1"), [survivor]);
    assert_eq!(host.route("", "2"), [0_u32; 0]);
    assert!(host.exists("amq.topic"));
}
