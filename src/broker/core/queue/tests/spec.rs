//! Properties and arguments: what is refused, and in which words.

use super::super::arguments::DEAD_LETTER_EXCHANGE;
use super::*;

type Arguments<'a> = &'a [(&'a str, Value<'a>)];

fn table<'v>(entries: &[(&str, Value<'v>)]) -> FieldTable {
    let with = |table: FieldTable, (name, value): &(&str, Value<'v>)| table.with(name, *value);
    let table: Result<_, EncodeError> = entries.iter().try_fold(FieldTable::new(), with);
    table.unwrap()
}

fn declaration(arguments: &FieldTable) -> Declaration<'_> {
    Declaration {
        vhost: "/",
        name: "q",
        durable: false,
        exclusive: false,
        auto_delete: false,
        arguments: arguments.as_table(),
    }
}

fn refusal(arguments: Arguments<'_>) -> String {
    let arguments = table(arguments);
    let refused = QueueSpec::parse(&declaration(&arguments));
    refused.unwrap_err().reply_text()
}

#[test]
fn an_argument_that_is_not_what_it_should_be_is_refused_in_rabbitmqs_words() {
    let cases: &[(&str, Value<'_>, &str)] = &[
        ("x-expires", Value::I32(0), "{value_zero,0}"),
        ("x-expires", Value::I32(-1), "{value_negative,-1}"),
        (
            "x-expires",
            Value::I64(315_360_000_001),
            "{value_too_large,315360000001}",
        ),
        (
            "x-expires",
            "abc".into(),
            r#""expected integer, got longstr""#,
        ),
        ("x-message-ttl", Value::I32(-1), "{value_negative,-1}"),
        (
            "x-message-ttl",
            true.into(),
            r#""expected integer, got bool""#,
        ),
        (
            "x-message-ttl",
            Value::I64(i64::MAX),
            "{value_too_large,9223372036854775807}",
        ),
        (
            "x-dead-letter-routing-key",
            Value::I32(1),
            "{unacceptable_type,signedint}",
        ),
        (
            "x-dead-letter-routing-key",
            "abc".into(),
            "routing_key_but_no_dlx_defined",
        ),
        ("x-max-length", Value::I8(-1), "{value_negative,-1}"),
        (
            "x-max-length",
            1.0f32.into(),
            r#""expected integer, got float""#,
        ),
        (
            "x-max-length-bytes",
            Value::Void,
            r#""expected integer, got void""#,
        ),
        ("x-max-priority", Value::I32(-1), "{value_negative,-1}"),
        (
            "x-max-priority",
            Value::I32(256),
            "{max_value_exceeded,256}",
        ),
        ("x-overflow", "abc".into(), "invalid_overflow"),
        ("x-overflow", Value::I32(1), "{unacceptable_type,signedint}"),
        (
            "x-queue-mode",
            "abc".into(),
            r#""unsupported queue mode 'abc'""#,
        ),
        (
            "x-queue-version",
            Value::I32(3),
            r#""unsupported queue version '3'""#,
        ),
        (
            "x-single-active-consumer",
            Value::I32(1),
            "{unacceptable_type,signedint}",
        ),
        (
            "x-queue-type",
            "abc".into(),
            r#""unsupported queue type 'abc'""#,
        ),
        ("x-queue-type", Value::Void, "{unacceptable_type,void}"),
    ];
    for (name, value, reason) in cases {
        assert_eq!(
            refusal(&[(name, *value)]),
            format!(
                "PRECONDITION_FAILED - invalid arg '{name}' for queue 'q' in vhost '/': {reason}"
            )
        );
    }
}

#[test]
fn limits_are_taken_up_to_the_largest_that_rabbitmq_takes() {
    for (name, value) in [
        ("x-expires", 1),
        ("x-expires", 315_360_000_000),
        ("x-message-ttl", 0),
        ("x-message-ttl", 315_360_000_000),
        ("x-max-length", 0),
        ("x-max-length", i64::MAX),
        ("x-max-length-bytes", i64::MAX),
        ("x-max-priority", 0),
        ("x-max-priority", 255),
        ("x-unknown", -1),
    ] {
        let arguments = table(&[(name, value.into())]);
        assert!(
            QueueSpec::parse(&declaration(&arguments)).is_ok(),
            "{name} {value}"
        );
    }
}

#[test]
fn a_dead_letter_exchange_that_is_no_text_is_refused_before_all_else() {
    assert_eq!(
        refusal(&[
            ("x-queue-type", "zzz".into()),
            (DEAD_LETTER_EXCHANGE, Value::I32(1))
        ]),
        "PRECONDITION_FAILED - invalid type 'signedint' for arg 'x-dead-letter-exchange' in queue 'q' in vhost '/'"
    );
}

#[test]
fn of_several_wrong_arguments_the_kind_comes_first_and_foreign_ones_last() {
    let kind = ("x-queue-type", Value::from("x"));
    assert!(refusal(&[("x-max-length", (-1).into()), kind]).contains("x-queue-type"));
    let (ttl, limit) = (("x-expires", 0.into()), ("x-delivery-limit", 1.into()));
    assert!(refusal(&[limit, ttl]).contains("x-expires"));
    let age = ("x-max-age", Value::from("1D"));
    assert_eq!(
        refusal(&[limit, age]),
        "PRECONDITION_FAILED - invalid arg 'x-max-age' for queue 'q' in vhost '/' of queue type rabbit_classic_queue"
    );
}

#[test]
fn a_quorum_queue_is_durable_and_nobodys_own() {
    let arguments = table(&[("x-queue-type", "quorum".into())]);
    let plain = declaration(&arguments);
    let durable = Declaration {
        durable: true,
        ..plain
    };
    assert!(QueueSpec::parse(&durable).is_ok());
    let auto_delete = Declaration {
        auto_delete: true,
        ..durable
    };
    let exclusive = Declaration {
        exclusive: true,
        ..durable
    };
    let both = Declaration {
        exclusive: true,
        ..auto_delete
    };
    for (declaration, property) in [
        (plain, "non-durable"),
        (exclusive, "exclusive-owner"),
        (auto_delete, "auto-delete"),
        (both, "auto-delete"),
    ] {
        assert_eq!(
            QueueSpec::parse(&declaration).unwrap_err().reply_text(),
            format!(
                "PRECONDITION_FAILED - invalid property '{property}' for queue 'q' in vhost '/'"
            )
        );
    }
}

#[test]
fn a_quorum_queue_has_no_priorities_and_no_modes() {
    for (name, value) in [
        ("x-max-priority", Value::I32(5)),
        ("x-queue-mode", "lazy".into()),
        ("x-queue-version", Value::I32(2)),
    ] {
        let arguments = table(&[("x-queue-type", "quorum".into()), (name, value)]);
        let durable = Declaration {
            durable: true,
            ..declaration(&arguments)
        };
        assert_eq!(
            QueueSpec::parse(&durable).unwrap_err().reply_text(),
            format!(
                "PRECONDITION_FAILED - invalid arg '{name}' for queue 'q' in vhost '/' of queue type \
                 rabbit_quorum_queue"
            )
        );
    }
}

#[test]
fn a_stream_is_not_implemented() {
    let arguments = table(&[("x-queue-type", "stream".into())]);
    let durable = Declaration {
        durable: true,
        ..declaration(&arguments)
    };
    assert_eq!(
        QueueSpec::parse(&durable).unwrap_err().reply_text(),
        "NOT_IMPLEMENTED - queue 'q' in vhost '/' is a stream, which this broker does not have"
    );
}

#[test]
fn an_exclusive_queue_is_never_durable() {
    let arguments = FieldTable::new();
    let plain = declaration(&arguments);
    let exclusive = Declaration {
        exclusive: true,
        ..plain
    };
    let spec = QueueSpec::parse(&exclusive).unwrap();
    let durable = Declaration {
        durable: true,
        ..exclusive
    };
    assert_eq!(spec.check_equivalent(&durable), Ok(()));
    assert!(!QueueSpec::parse(&durable).unwrap().durable);
}

/// What a declaration with the second arguments hears from a queue that was declared with the first.
fn difference_between(first: Arguments<'_>, second: Arguments<'_>) -> Option<String> {
    let (first, second) = (table(first), table(second));
    let spec = QueueSpec::parse(&declaration(&first)).unwrap();
    let refused = spec.check_equivalent(&declaration(&second)).err()?;
    let text = refused.reply_text();
    let text = text.strip_prefix("PRECONDITION_FAILED - inequivalent arg ")?;
    Some(text.replace(" for queue 'q' in vhost '/'", ""))
}

#[test]
fn arguments_that_differ_are_named_with_both_values() {
    let length = |value| [("x-max-length", value)];
    let five = length(Value::I32(5));
    let cases: &[(Arguments<'_>, Arguments<'_>, &str)] = &[
        (
            &five,
            &[],
            "'x-max-length': received none but current is the value '5' of type 'signedint'",
        ),
        (
            &[],
            &five,
            "'x-max-length': received the value '5' of type 'signedint' but current is none",
        ),
        (
            &five,
            &length(Value::U8(6)),
            "'x-max-length': received '6' but current is '5'",
        ),
        (
            &five,
            &length("5".into()),
            "'x-max-length': received '5' but current is '5'",
        ),
        (
            &five,
            &length(5.0f64.into()),
            "'x-max-length': received '5.0' but current is '5'",
        ),
        (
            &five,
            &length((-1).into()),
            "'x-max-length': received '-1' but current is '5'",
        ),
        (
            &[],
            &[("x-single-active-consumer", false.into())],
            "'x-single-active-consumer': received the value 'false' of type 'bool' but current is none",
        ),
        (
            &[],
            &[("x-queue-type", "quorum".into())],
            "'x-queue-type': received the value 'quorum' of type 'longstr' but current is none",
        ),
        (
            &[(DEAD_LETTER_EXCHANGE, "a".into())],
            &[(DEAD_LETTER_EXCHANGE, 1.into())],
            "'x-dead-letter-exchange': received '1' but current is 'a'",
        ),
        (
            &[],
            &[("x-queue-mode", "lazy".into()), ("x-message-ttl", 7.into())],
            "'x-message-ttl': received the value '7' of type 'signedint' but current is none",
        ),
    ];
    for (first, second, expected) in cases {
        assert_eq!(
            difference_between(first, second).as_deref(),
            Some(*expected)
        );
    }
}

#[test]
fn integers_of_any_width_defaults_and_arguments_that_do_not_count_are_equivalent() {
    let cases: &[(Arguments<'_>, Arguments<'_>)] = &[
        (
            &[("x-max-length", Value::I32(5))],
            &[("x-max-length", Value::U8(5))],
        ),
        (
            &[("x-max-length", Value::I32(5))],
            &[("x-max-length", Value::I64(5))],
        ),
        (&[("x-queue-type", "classic".into())], &[]),
        (&[], &[("x-queue-type", "classic".into())]),
        (&[("x-foo", 1.into())], &[("x-foo", 2.into())]),
        (&[], &[("x-queue-leader-locator", "x".into())]),
        (&[], &[("x-max-age", "1D".into())]),
    ];
    for (first, second) in cases {
        assert_eq!(
            difference_between(first, second),
            None,
            "{first:?} {second:?}"
        );
    }
}

#[test]
fn properties_that_differ_are_named_before_arguments() {
    let (none, some) = (FieldTable::new(), table(&[("x-max-length", 5.into())]));
    let spec = QueueSpec::parse(&declaration(&none)).unwrap();
    let other = declaration(&some);
    let auto_delete = Declaration {
        auto_delete: true,
        ..other
    };
    let both = Declaration {
        durable: true,
        ..auto_delete
    };
    for (declaration, property) in [(auto_delete, "auto_delete"), (both, "durable")] {
        assert_eq!(
            spec.check_equivalent(&declaration)
                .unwrap_err()
                .reply_text(),
            format!(
                "PRECONDITION_FAILED - inequivalent arg '{property}' for queue 'q' in vhost '/': received 'true' \
                 but current is 'false'"
            )
        );
    }
}
