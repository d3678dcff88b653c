//! Binding and unbinding.

use super::*;

#[test]
fn a_missing_source_is_named_before_a_missing_destination() {
    let mut host = Host::with(&[("x", "direct")]);
    let none = Table::default();
    let queue = Destination::Queue(QueueId(1));
    let other = Destination::Exchange("other");
    let missing = |name| format!("NOT_FOUND - no exchange '{name}' in vhost '/'");
    assert_eq!(text(host.0.bind("nope", queue, "k", none)), missing("nope"));
    assert_eq!(text(host.0.bind("nope", other, "k", none)), missing("nope"));
    assert_eq!(text(host.0.bind("x", other, "k", none)), missing("other"));
}

#[test]
fn unbinding_what_is_not_there_is_fine() {
    let mut host = Host::with(&[("x", "direct")]);
    host.bind(1, "x", "k");
    let generation = host.0.generation();
    let none = Table::default();
    for (source, destination) in [
        ("nope", Destination::Queue(QueueId(1))),
        ("x", Destination::Queue(QueueId(2))),
        ("x", Destination::Exchange("nope")),
        ("nope", Destination::Exchange("x")),
    ] {
        assert_eq!(host.0.unbind(source, destination, "k", none), Ok(()));
    }
    host.unbind(1, "x", "other key");
    assert_eq!(host.0.generation(), generation);
    assert_eq!(host.route("x", "k"), [1]);
}

#[test]
fn bindings_differ_in_their_arguments_but_not_in_the_order_of_those() {
    let mut host = Host::with(&[("x", "direct")]);
    let (b, z) = (("b", Value::I32(1)), ("z", Value::I32(1)));
    host.bind(1, "x", "k");
    host.bind_with(1, "x", "k", &[z, b]).unwrap();
    host.bind_with(1, "x", "k", &[b, z]).unwrap();
    assert_eq!(host.bindings("x"), 2);
    assert_eq!(host.route("x", "k"), [1]);
    host.unbind(1, "x", "k");
    assert_eq!(host.route("x", "k"), [1]);
    host.unbind_with(1, "x", "k", &[b, ("z", Value::I64(1))]);
    assert_eq!(host.route("x", "k"), [1]);
    host.unbind_with(1, "x", "k", &[b, z]);
    assert_eq!(host.route("x", "k"), [0_u32; 0]);
    host.check_invariants();
}

#[test]
fn only_a_headers_exchange_looks_at_x_match() {
    let mut host = Host::with(&[("x", "direct")]);
    let table = arguments(&[("a", 1.into())]);
    let wrong_value = "PRECONDITION_FAILED - Invalid x-match field value";
    let wrong_type = "PRECONDITION_FAILED - Invalid x-match field type";
    let expected = "expected all, any, all-with-x, or any-with-x";
    for (value, refused) in [
        (
            "some".into(),
            format!(r#"{wrong_value} <<"some">>; {expected}"#),
        ),
        ("".into(), format!("{wrong_value} <<>>; {expected}")),
        (
            5.into(),
            format!("{wrong_type} signedint (value 5); expected longstr"),
        ),
        (
            true.into(),
            format!("{wrong_type} bool (value true); expected longstr"),
        ),
        (
            Value::Void,
            format!("{wrong_type} void (value undefined); expected longstr"),
        ),
        (
            Value::Bytes(b"all"),
            format!(r#"{wrong_type} binary (value <<"all">>); expected longstr"#),
        ),
        (
            (&table).into(),
            format!(r#"{wrong_type} table (value [{{<<"a">>,signedint,1}}]); expected longstr"#),
        ),
    ] {
        assert_eq!(
            text(host.bind_with(1, "amq.headers", "", &[("x-match", value)])),
            refused
        );
        assert_eq!(host.bind_with(1, "x", "", &[("x-match", value)]), Ok(()));
    }
    assert_eq!(host.bindings("amq.headers"), 0);
}

#[test]
fn a_deleted_queue_takes_its_bindings_along_and_its_number_may_be_used_again() {
    let mut host = Host::with(&[("x", "direct"), ("y", "topic"), ("z", "fanout")]);
    for source in ["x", "y", "z", "amq.headers"] {
        host.bind(1, source, "k");
        host.bind(2, source, "k");
    }
    host.0.queue_declared("1", QueueId(1));
    assert_eq!(host.route("", "1"), [1]);
    host.delete_queue(1);
    host.check_invariants();
    assert_eq!(host.route("", "1"), [0_u32; 0]);
    host.0.queue_declared("new", QueueId(1));
    for source in ["x", "y", "z", "amq.headers"] {
        assert_eq!(host.route(source, "k"), [2], "{source}");
    }
    assert_eq!(host.route("", "new"), [1]);
}

#[test]
fn a_deleted_exchange_takes_the_bindings_from_it_and_to_it_along() {
    let mut host = Host::with(&[("a", "fanout"), ("b", "fanout")]);
    host.bind_exchange("b", "a", "");
    host.bind_exchange("b", "b", "");
    host.bind(1, "b", "");
    assert_eq!(host.route("a", ""), [1]);
    host.0.delete("b", false).unwrap();
    host.check_invariants();
    assert_eq!(host.bindings("a"), 0);
    host.declare("b", "fanout", "", &[]).unwrap();
    host.bind(2, "b", "");
    assert_eq!(host.route("a", ""), [0_u32; 0]);
    assert_eq!(host.route("b", ""), [2]);
}

#[test]
fn the_generation_changes_with_every_change_of_a_route_and_only_then() {
    let mut host = Host::with(&[("x", "direct"), ("once", "direct")]);
    let mut before = host.0.generation();
    let mut changed = |host: &Host| {
        let now = host.0.generation();
        std::mem::replace(&mut before, now) != now
    };
    host.bind(1, "x", "k");
    assert!(changed(&host));
    host.bind(1, "x", "k");
    assert!(!changed(&host));
    host.route("x", "k");
    assert!(!changed(&host));
    host.unbind(1, "x", "k");
    assert!(changed(&host));
    host.0.queue_declared("1", QueueId(1));
    assert!(changed(&host));
    host.delete_queue(1);
    assert!(changed(&host));
    host.0.delete("once", false).unwrap();
    assert!(changed(&host));
    host.declare("once", "direct", "", &[]).unwrap();
    assert!(changed(&host));
    host.0.restart(|_| true);
    assert!(changed(&host));
}
