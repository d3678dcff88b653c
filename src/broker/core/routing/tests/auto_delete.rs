//! When auto-delete exchanges go.

use super::*;

/// These exchanges, all fanout and auto-delete.
fn host(names: &[&str]) -> Host {
    let mut host = Host::new();
    for name in names {
        host.declare(name, "fanout", "auto_delete", &[]).unwrap();
    }
    host
}

#[test]
fn an_exchange_goes_with_its_last_binding_and_not_before() {
    let mut host = host(&["x"]);
    host.unbind(1, "x", "");
    assert!(host.exists("x"), "it never had a binding");
    host.bind(1, "x", "");
    host.bind(1, "x", "other key");
    host.unbind(1, "x", "");
    assert!(host.exists("x"));
    host.unbind(1, "x", "other key");
    assert!(!host.exists("x"));
    host.check_invariants();
}

#[test]
fn a_queue_that_goes_takes_a_chain_of_exchanges_along() {
    let mut host = host(&["a", "b", "c"]);
    host.bind_exchange("b", "a", "");
    host.bind_exchange("c", "b", "");
    host.bind(1, "c", "");
    host.delete_queue(1);
    for name in ["a", "b", "c"] {
        assert!(!host.exists(name), "{name}");
    }
    host.check_invariants();
}

#[test]
fn a_destination_that_is_deleted_takes_the_source_along() {
    let mut host = host(&["a"]);
    host.declare("b", "fanout", "", &[]).unwrap();
    host.bind_exchange("b", "a", "");
    host.0.delete("b", false).unwrap();
    assert!(!host.exists("a"));
}

#[test]
fn a_source_that_is_deleted_leaves_the_destination() {
    let mut host = host(&["b"]);
    host.declare("a", "fanout", "", &[]).unwrap();
    host.bind_exchange("b", "a", "");
    host.0.delete("a", false).unwrap();
    assert!(host.exists("b"));
}

#[test]
fn an_exchange_that_is_bound_to_itself_stays() {
    let mut host = host(&["x"]);
    host.bind_exchange("x", "x", "");
    host.bind(1, "x", "");
    host.delete_queue(1);
    assert!(host.exists("x"));
    host.0.delete("x", false).unwrap();
    host.check_invariants();
}

#[test]
fn exchanges_in_a_cycle_go_together() {
    let mut host = host(&["a", "b"]);
    host.bind_exchange("a", "b", "");
    host.bind_exchange("b", "a", "");
    host.bind(1, "a", "");
    host.0.delete("a", false).unwrap();
    assert!(!host.exists("b"));
    host.check_invariants();
}
