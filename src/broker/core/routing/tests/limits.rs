//! Limits: at them, and one above.

use super::*;

#[test]
fn a_virtual_host_holds_so_many_exchanges_and_not_one_more() {
    let mut host = Host::new();
    for number in PREDECLARED.len()..EXCHANGES_MAX {
        let declared = host.declare(&number.to_string(), "fanout", "", &[]);
        assert_eq!(declared, Ok(()));
    }
    assert_eq!(
        text(host.declare("x", "fanout", "", &[])),
        "PRECONDITION_FAILED - cannot declare exchange 'x' in vhost '/': exchange limit of 16384 is reached"
    );
    assert_eq!(host.declare("6", "fanout", "", &[]), Ok(()), "it is there");
    host.0.delete("6", false).unwrap();
    assert_eq!(host.declare("x", "fanout", "", &[]), Ok(()));
}

#[test]
fn a_virtual_host_holds_so_many_bindings_and_not_one_more() {
    let mut host = Host::with(&[("x", "fanout"), ("y", "fanout")]);
    for queue in 0..BINDINGS_MAX as u32 {
        host.bind(queue, "x", "");
    }
    assert_eq!(
        text(host.bind_with(0, "y", "", &[])),
        "PRECONDITION_FAILED - cannot bind to exchange 'y' in vhost '/': binding limit of 262144 is reached"
    );
    assert_eq!(host.bind_with(0, "x", "", &[]), Ok(()), "it is there");
    host.delete_queue(0);
    assert_eq!(host.bind_with(1, "y", "", &[]), Ok(()));
    assert_eq!(host.route("x", "").len(), BINDINGS_MAX - 1);
}

/// Tried one way after another, these would be more ways than could ever be walked.
#[test]
fn a_pattern_of_many_wildcards_is_matched_in_bounded_steps() {
    let mut host = Host::with(&[("t", "topic")]);
    let wildcards = format!("{}z", "#.a.".repeat(63));
    assert_eq!(wildcards.len(), 253);
    host.bind(1, "t", &wildcards);
    host.bind(2, "t", &format!("{}#", "#.".repeat(127)));
    let mut key = "a.".repeat(127);
    key.push('y');
    assert_eq!(host.route("t", &key), [2]);
    key.pop();
    key.push('z');
    assert_eq!(host.route("t", &key), [1, 2]);
    assert_eq!(host.route("t", &".".repeat(255)), [2]);
}
