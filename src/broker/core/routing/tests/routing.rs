//! The way of a message through exchanges.

use super::*;

fn alternate(name: &str) -> [(&str, Value<'_>); 1] {
    [("alternate-exchange", name.into())]
}

#[test]
fn each_type_routes_by_its_own_rule() {
    let mut host = Host::with(&[
        ("d", "direct"),
        ("f", "fanout"),
        ("t", "topic"),
        ("h", "headers"),
    ]);
    for source in ["d", "f", "t", "h"] {
        host.bind_with(1, source, "a.b", &[("a", 1.into())])
            .unwrap();
        host.bind_with(2, source, "a.*", &[("a", 2.into())])
            .unwrap();
    }
    let headers = [("a", Value::I32(2))];
    let mut route = |source| host.route_all(source, &["a.b"], &headers);
    assert_eq!(route("d"), [1]);
    assert_eq!(route("f"), [1, 2]);
    assert_eq!(route("t"), [1, 2]);
    assert_eq!(route("h"), [2]);
}

#[test]
fn queues_are_appended_in_ascending_order_and_once_each() {
    let mut host = Host::with(&[("t", "topic")]);
    for (queue, key) in [(5, "a.#"), (3, "a.b"), (5, "#"), (1, "*.b"), (3, "#.b")] {
        host.bind(queue, "t", key);
    }
    let mut found = vec![QueueId(5), QueueId(5), QueueId(1)];
    host.0.route("t", &["a.b"], || None, &mut found);
    let found: Vec<u32> = found.into_iter().map(|queue| queue.0).collect();
    assert_eq!(found, [5, 5, 1, 1, 3, 5]);
}

#[test]
fn cycles_of_exchanges_are_walked_once() {
    let mut host = Host::with(&[("a", "fanout"), ("b", "fanout")]);
    for (destination, source) in [("b", "a"), ("a", "b"), ("a", "a")] {
        host.bind_exchange(destination, source, "");
    }
    host.bind(1, "a", "");
    host.bind(1, "b", "");
    host.bind(2, "b", "");
    for _ in 0..2 {
        assert_eq!(host.route("a", ""), [1, 2]);
        assert_eq!(host.route("b", ""), [1, 2]);
    }
}

#[test]
fn an_exchange_that_routes_nowhere_hands_over_to_its_alternate_if_there_is_one() {
    let mut host = Host::new();
    host.declare("x", "direct", "", &alternate("ae")).unwrap();
    assert_eq!(host.route("x", "k"), [0_u32; 0]);
    host.declare("ae", "fanout", "internal", &[]).unwrap();
    host.bind(1, "ae", "");
    assert_eq!(host.route("x", "k"), [1]);
    host.bind(2, "x", "k");
    assert_eq!(host.route("x", "k"), [2]);
    host.0.delete("ae", false).unwrap();
    assert_eq!(host.route("x", "other"), [0_u32; 0]);
}

#[test]
fn an_exchange_that_is_routed_to_is_somewhere_even_if_it_leads_nowhere() {
    let mut host = Host::with(&[("dead end", "fanout"), ("ae", "fanout")]);
    host.declare("x", "direct", "", &alternate("ae")).unwrap();
    host.bind(1, "ae", "");
    host.bind_exchange("dead end", "x", "k");
    assert_eq!(host.route("x", "k"), [0_u32; 0]);
    assert_eq!(host.route("x", "other"), [1]);
}

#[test]
fn alternates_may_form_chains_and_cycles() {
    let mut host = Host::new();
    for (name, next) in [("a", "b"), ("b", "c"), ("c", "a")] {
        host.declare(name, "direct", "", &alternate(next)).unwrap();
    }
    assert_eq!(host.route("a", "k"), [0_u32; 0]);
    host.bind(1, "c", "k");
    assert_eq!(host.route("a", "k"), [1]);
}

#[test]
fn the_default_exchange_as_an_alternate_leads_nowhere() {
    let mut host = Host::new();
    host.declare("x", "direct", "", &alternate("")).unwrap();
    host.0.queue_declared("q", QueueId(1));
    assert_eq!(host.route("", "q"), [1]);
    assert_eq!(host.route("x", "q"), [0_u32; 0]);
}

#[test]
fn each_routing_key_counts() {
    let mut host = Host::with(&[("d", "direct"), ("t", "topic")]);
    for (queue, key) in [(1, "x"), (2, "y"), (3, "z")] {
        host.0.queue_declared(key, QueueId(queue));
        host.bind(queue, "d", key);
        host.bind(queue, "t", &format!("{key}.#"));
    }
    for exchange in ["", "d", "t"] {
        assert_eq!(host.route_all(exchange, &["y", "x", "y"], &[]), [1, 2]);
        assert_eq!(host.route_all(exchange, &["none", "z"], &[]), [3]);
        assert_eq!(host.route_all(exchange, &[], &[]), [0_u32; 0]);
    }
}

#[test]
fn headers_are_asked_for_once_and_only_on_the_way_through_headers_exchanges() {
    let mut host = Host::with(&[("x", "fanout"), ("one", "headers"), ("two", "headers")]);
    host.bind(3, "x", "");
    let mut asked = 0;
    let mut found = Vec::new();
    let mut route = |host: &mut Host| {
        let headers = || {
            asked += 1;
            None
        };
        host.0.route("x", &[""], headers, &mut found);
        asked
    };
    assert_eq!(route(&mut host), 0);
    for (queue, name) in [(1, "one"), (2, "two")] {
        host.bind(queue, name, "");
        host.bind_exchange(name, "x", "");
    }
    assert_eq!(route(&mut host), 1);
    assert_eq!(found, [3, 1, 2, 3].map(QueueId));
}
