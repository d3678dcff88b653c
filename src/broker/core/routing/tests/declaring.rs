//! Declaring, deleting, publishing to exchanges: what is refused, and how.

use super::*;
use crate::protocol::FieldArray;

#[test]
fn a_virtual_host_begins_with_the_exchanges_that_rabbitmq_has() {
    let mut host = Host::new();
    for (name, kind) in [
        ("amq.direct", "direct"),
        ("amq.fanout", "fanout"),
        ("amq.topic", "topic"),
        ("amq.headers", "headers"),
        ("amq.match", "headers"),
    ] {
        assert_eq!(host.declare(name, kind, "durable", &[]), Ok(()));
        assert_eq!(host.0.check_publish(name), Ok(()));
    }
    let trace = "amq.rabbitmq.trace";
    assert_eq!(
        host.declare(trace, "topic", "durable internal", &[]),
        Ok(())
    );
    let report = host.0.report();
    let names: Vec<_> = report.iter().map(|it| (it.name, it.kind)).collect();
    assert_eq!(names.len(), 7);
    assert_eq!(names[0], ("", "direct"));
}

#[test]
fn the_default_exchange_is_published_to_and_nothing_else() {
    let mut host = Host::with(&[("x", "fanout")]);
    let refused = "ACCESS_REFUSED - operation not permitted on the default exchange";
    let (default, queue) = (Destination::Exchange(""), Destination::Queue(QueueId(1)));
    let none = Table::default();
    assert_eq!(host.0.check_publish(""), Ok(()));
    assert_eq!(text(host.0.check("")), refused);
    assert_eq!(text(host.declare("", "direct", "durable", &[])), refused);
    assert_eq!(text(host.0.delete("", false)), refused);
    assert_eq!(text(host.0.bind("", queue, "k", none)), refused);
    assert_eq!(text(host.0.unbind("", queue, "k", none)), refused);
    assert_eq!(text(host.0.bind("x", default, "k", none)), refused);
    assert_eq!(text(host.0.unbind("x", default, "k", none)), refused);
}

#[test]
fn an_unknown_exchange_is_not_found_but_may_be_deleted() {
    let mut host = Host::new();
    let missing = "NOT_FOUND - no exchange 'nope' in vhost '/'";
    assert_eq!(text(host.0.check("nope")), missing);
    assert_eq!(text(host.0.check_publish("nope")), missing);
    assert_eq!(host.0.delete("nope", false), Ok(()));
    assert_eq!(host.0.delete("nope", true), Ok(()));
    assert_eq!(host.route("nope", "k"), [0_u32; 0]);
}

#[test]
fn texts_name_the_virtual_host() {
    let other = Exchanges::new("other");
    assert_eq!(
        text(other.check("x")),
        "NOT_FOUND - no exchange 'x' in vhost 'other'"
    );
}

#[test]
fn an_unknown_type_ends_the_connection_whatever_the_name() {
    let mut host = Host::new();
    for kind in [
        "nonsense",
        "Direct",
        "x-consistent-hash",
        "x-delayed-message",
    ] {
        for name in ["x", "amq.x", ""] {
            let refusal = host.declare(name, kind, "", &[]).unwrap_err();
            assert!(refusal.code.is_hard());
            assert_eq!(
                refusal.reply_text(),
                format!("COMMAND_INVALID - unknown exchange type '{kind}'")
            );
        }
    }
}

#[test]
fn names_that_begin_with_amq_are_reserved() {
    let mut host = Host::new();
    assert_eq!(
        text(host.declare("amq.x", "direct", "", &[])),
        "ACCESS_REFUSED - exchange name 'amq.x' contains reserved prefix 'amq.*'"
    );
    for name in ["amq.direct", "amq.nope"] {
        assert_eq!(
            text(host.0.delete(name, false)),
            format!(
                "ACCESS_REFUSED - deletion of system exchange '{name}' in vhost '/' not allowed"
            )
        );
    }
}

#[test]
fn an_internal_exchange_is_not_published_to() {
    let mut host = Host::new();
    host.declare("x", "direct", "internal", &[]).unwrap();
    for name in ["x", "amq.rabbitmq.trace"] {
        assert_eq!(
            text(host.0.check_publish(name)),
            format!("ACCESS_REFUSED - cannot publish to internal exchange '{name}' in vhost '/'")
        );
        assert_eq!(host.0.check(name), Ok(()));
    }
}

#[test]
fn declaring_again_with_other_properties_names_the_first_that_differs() {
    let mut host = Host::with(&[("x", "direct")]);
    for (kind, flags, name, received, current) in [
        ("fanout", "durable", "type", "fanout", "direct"),
        ("direct", "durable internal", "durable", "true", "false"),
        (
            "direct",
            "auto_delete internal",
            "auto_delete",
            "true",
            "false",
        ),
        ("direct", "internal", "internal", "true", "false"),
    ] {
        assert_eq!(
            text(host.declare("x", kind, flags, &[])),
            format!(
                "PRECONDITION_FAILED - inequivalent arg '{name}' for exchange 'x' in vhost '/': \
                 received '{received}' but current is '{current}'"
            )
        );
    }
    assert_eq!(
        text(host.declare("amq.direct", "direct", "", &[])),
        "PRECONDITION_FAILED - inequivalent arg 'durable' for exchange 'amq.direct' in vhost '/': \
         received 'false' but current is 'true'"
    );
    let generation = host.0.generation();
    assert_eq!(
        host.declare("x", "direct", "", &[("x-what", 5.into())]),
        Ok(())
    );
    assert_eq!(host.0.generation(), generation);
}

#[test]
fn an_alternate_exchange_must_be_declared_again_as_it_is() {
    let mut host = Host::with(&[("plain", "direct")]);
    let alternate = |value| [("alternate-exchange", value)];
    host.declare("x", "direct", "", &alternate("ae".into()))
        .unwrap();
    assert_eq!(
        host.declare("x", "direct", "", &alternate("ae".into())),
        Ok(())
    );
    let octets = Value::Bytes(b"ae");
    assert_eq!(host.declare("x", "direct", "", &alternate(octets)), Ok(()));

    let table = arguments(&[("a", 1.into())]);
    let array = FieldArray::new()
        .with(1)
        .and_then(|array| array.with("a"))
        .unwrap();
    for (name, value, received, current) in [
        ("x", "other".into(), "'other'", "'ae'"),
        ("x", 5.into(), "'5'", "'ae'"),
        ("x", true.into(), "'true'", "'ae'"),
        ("x", Value::Void, "none", "'ae'"),
        ("x", (&table).into(), r#"'[{<<"a">>,signedint,1}]'"#, "'ae'"),
        (
            "x",
            (&array).into(),
            r#"'[{signedint,1},{longstr,<<"a">>}]'"#,
            "'ae'",
        ),
        (
            "plain",
            "ae".into(),
            "the value 'ae' of type 'longstr'",
            "none",
        ),
        (
            "plain",
            5.into(),
            "the value '5' of type 'signedint'",
            "none",
        ),
        (
            "plain",
            (&table).into(),
            r#"the value '[{<<"a">>,signedint,1}]' of type 'table'"#,
            "none",
        ),
    ] {
        assert_eq!(
            text(host.declare(name, "direct", "", &alternate(value))),
            format!(
                "PRECONDITION_FAILED - inequivalent arg 'alternate-exchange' for exchange '{name}' in vhost '/': \
                 received {received} but current is {current}"
            )
        );
    }
    assert_eq!(
        text(host.declare("x", "direct", "", &[])),
        "PRECONDITION_FAILED - inequivalent arg 'alternate-exchange' for exchange 'x' in vhost '/': \
         received none but current is the value 'ae' of type 'longstr'"
    );
}

#[test]
fn an_alternate_exchange_is_named_by_a_long_string() {
    let mut host = Host::new();
    let array = FieldArray::new();
    let table = FieldTable::new();
    for (value, kind) in [
        (Value::I32(5), "signedint"),
        (Value::I64(1 << 40), "long"),
        (Value::Void, "void"),
        (Value::Bool(true), "bool"),
        (Value::Bytes(b"q"), "binary"),
        (Value::from(&array), "array"),
        (Value::from(&table), "table"),
    ] {
        assert_eq!(
            text(host.declare("x", "direct", "", &[("alternate-exchange", value)])),
            format!(
                "PRECONDITION_FAILED - invalid type '{kind}' for arg 'alternate-exchange' in exchange 'x' in vhost '/'"
            )
        );
        assert!(!host.exists("x"));
    }
}

#[test]
fn an_exchange_is_in_use_while_it_is_a_source_and_not_as_a_destination() {
    let mut host = Host::with(&[("x", "direct"), ("destination", "fanout")]);
    host.bind_exchange("destination", "x", "k");
    assert_eq!(
        text(host.0.delete("x", true)),
        "PRECONDITION_FAILED - exchange 'x' in vhost '/' in use"
    );
    assert_eq!(host.0.delete("destination", true), Ok(()));
    assert_eq!(host.0.delete("x", true), Ok(()));
    assert!(!host.exists("x"));
}
