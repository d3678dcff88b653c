//! The properties of a queue, as `queue.declare` sets them.

use std::time::Duration;

use crate::protocol::{FieldTable, ReplyCode, SHORT_STR_MAX, Table, Value};

use super::super::refusal::Refusal;
use super::super::time_to_live;
use super::super::value::{Shown, are_equivalent, type_name};
use super::arguments::{ARGUMENTS, DEAD_LETTER_EXCHANGE, KIND};

/// What a `queue.declare` says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Declaration<'a> {
    pub vhost: &'a str,
    /// The name, which the broker has made up if the client gave none.
    pub name: &'a str,
    pub durable: bool,
    pub exclusive: bool,
    pub auto_delete: bool,
    pub arguments: Table<'a>,
}

/// How a queue works inside, which clients see in a few places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QueueKind {
    Classic,
    Quorum,
    Stream,
}

/// What happens to a message that a full queue has no room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overflow {
    /// The oldest messages make room.
    DropHead,
    RejectPublish,
    /// It is rejected, and dead-lettered as well.
    RejectPublishDeadLetter,
}

/// Where the dead letters of a queue go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DeadLetterTarget {
    pub exchange: Box<[u8]>,
    /// `None`: the keys that the message has.
    pub routing_key: Option<Box<[u8]>>,
}

/// The properties of a queue, checked and parsed.
#[derive(Debug, Clone)]
pub(crate) struct QueueSpec {
    /// Never so for an exclusive queue, whatever was declared.
    pub durable: bool,
    pub exclusive: bool,
    pub auto_delete: bool,
    pub kind: QueueKind,
    pub(super) message_ttl: Option<Duration>,
    pub(super) expires: Option<Duration>,
    /// Messages that are ready, at most.
    pub(super) length_max: usize,
    /// Octets of the bodies of those, at most.
    pub(super) octets_max: usize,
    pub(super) overflow: Overflow,
    pub(super) dead_letter: Option<DeadLetterTarget>,
    pub(super) priority_max: u8,
    /// How often a message may come back.
    pub(super) delivery_limit: Option<i64>,
    pub(super) single_active_consumer: bool,
    /// As declared, to compare them with those of a later declaration.
    arguments: FieldTable,
}

impl QueueSpec {
    /// # Errors
    /// 406 for an argument that is not what it should be or that this kind of queue does not have, and for properties
    /// that it cannot have; 540 for a stream.
    pub fn parse(declaration: &Declaration<'_>) -> Result<Self, Refusal> {
        let all = declaration.arguments;
        let arguments = FieldTable::try_from(all)
            .map_err(|error| Refusal::new(error.reply_code(), error.to_string()))?;
        let kind = declaration.check_arguments()?;
        let target = |exchange| DeadLetterTarget {
            exchange,
            routing_key: octets(all, "x-dead-letter-routing-key"),
        };
        let dead_letter = octets(all, DEAD_LETTER_EXCHANGE).map(target);
        let limit = |name| {
            let limit = integer(all, name).and_then(|limit| usize::try_from(limit).ok());
            limit.unwrap_or(usize::MAX)
        };
        Ok(Self {
            durable: declaration.durable(),
            exclusive: declaration.exclusive,
            auto_delete: declaration.auto_delete,
            kind,
            message_ttl: duration(all, "x-message-ttl"),
            expires: duration(all, "x-expires"),
            length_max: limit("x-max-length"),
            octets_max: limit("x-max-length-bytes"),
            overflow: overflow(all, kind),
            dead_letter,
            priority_max: integer(all, "x-max-priority")
                .and_then(|priority| u8::try_from(priority).ok())
                .unwrap_or(0),
            delivery_limit: integer(all, "x-delivery-limit"),
            single_active_consumer: value(all, "x-single-active-consumer")
                == Some(Value::Bool(true)),
            arguments,
        })
    }

    /// Checks that a later declaration says the same. Its arguments need not be valid: they are only compared.
    ///
    /// # Errors
    /// 406 `inequivalent arg ..` for the first property or argument that differs.
    pub fn check_equivalent(&self, declaration: &Declaration<'_>) -> Result<(), Refusal> {
        let properties = [
            ("durable", declaration.durable(), self.durable),
            ("auto_delete", declaration.auto_delete, self.auto_delete),
        ];
        for (name, received, current) in properties {
            if received != current {
                let difference = format!("received '{received}' but current is '{current}'");
                return Err(declaration.inequivalent(name, &difference));
            }
        }
        for argument in ARGUMENTS.iter().filter(|known| known.is_for(self.kind)) {
            let received = value(declaration.arguments, argument.name);
            let current = value(self.arguments.as_table(), argument.name);
            if let Some(difference) = difference(argument.name, received, current) {
                return Err(declaration.inequivalent(argument.name, &difference));
            }
        }
        Ok(())
    }
}

/// How two values of an argument differ, in RabbitMQ's words.
fn difference(
    name: &str,
    received: Option<Value<'_>>,
    current: Option<Value<'_>>,
) -> Option<String> {
    let is_default = |value: Value<'_>| name == KIND && value == Value::from("classic");
    let named = |value: Value<'_>| {
        let type_name = type_name(&value);
        format!("the value '{}' of type '{type_name}'", Shown(value))
    };
    match (received, current) {
        (None, None) => None,
        (Some(received), Some(current)) => (!are_equivalent(&received, &current)).then(|| {
            let (received, current) = (Shown(received), Shown(current));
            format!("received '{received}' but current is '{current}'")
        }),
        (Some(only), None) => {
            (!is_default(only)).then(|| format!("received {} but current is none", named(only)))
        }
        (None, Some(only)) => {
            (!is_default(only)).then(|| format!("received none but current is {}", named(only)))
        }
    }
}

impl Declaration<'_> {
    /// An exclusive queue does not outlive its connection, and so is not durable either.
    fn durable(&self) -> bool {
        self.durable && !self.exclusive
    }

    fn check_arguments(&self) -> Result<QueueKind, Refusal> {
        self.check_dead_letter_exchange()?;
        for argument in ARGUMENTS.iter().filter(|argument| argument.name == KIND) {
            self.check_argument(argument)?;
        }
        let kind = kind(self.arguments);
        for argument in ARGUMENTS.iter().filter(|argument| argument.is_for(kind)) {
            self.check_argument(argument)?;
        }
        for argument in ARGUMENTS.iter().filter(|argument| !argument.is_for(kind)) {
            if value(self.arguments, argument.name).is_some() {
                let of_kind = format!(" of queue type {}", kind.module());
                return Err(self.invalid("arg", argument.name, &of_kind));
            }
        }
        match kind {
            QueueKind::Classic => Ok(kind),
            QueueKind::Quorum => self.check_replicated().map(|()| kind),
            QueueKind::Stream => {
                self.check_replicated()?;
                let text = format!("{self} is a stream, which this broker does not have");
                Err(Refusal::new(ReplyCode::NotImplemented, text))
            }
        }
    }

    fn check_dead_letter_exchange(&self) -> Result<(), Refusal> {
        match value(self.arguments, DEAD_LETTER_EXCHANGE) {
            None | Some(Value::LongStr(_)) => Ok(()),
            Some(other) => Err(Refusal::precondition(format!(
                "invalid type '{}' for arg '{DEAD_LETTER_EXCHANGE}' in {self}",
                type_name(&other)
            ))),
        }
    }

    fn check_argument(&self, argument: &super::arguments::Argument) -> Result<(), Refusal> {
        let Some(value) = value(self.arguments, argument.name) else {
            return Ok(());
        };
        argument
            .check(&value, self.arguments)
            .map_err(|reason| self.invalid("arg", argument.name, &format!(": {reason}")))
    }

    /// What lives on several nodes must be durable and belong to nobody.
    fn check_replicated(&self) -> Result<(), Refusal> {
        if self.auto_delete {
            return Err(self.invalid("property", "auto-delete", ""));
        }
        if self.exclusive {
            return Err(self.invalid("property", "exclusive-owner", ""));
        }
        if !self.durable {
            return Err(self.invalid("property", "non-durable", ""));
        }
        Ok(())
    }

    fn invalid(&self, what: &str, name: &str, reason: &str) -> Refusal {
        Refusal::precondition(format!("invalid {what} '{name}' for {self}{reason}"))
    }

    fn inequivalent(&self, name: &str, difference: &str) -> Refusal {
        Refusal::precondition(format!(
            "inequivalent arg '{name}' for {self}: {difference}"
        ))
    }
}

impl std::fmt::Display for Declaration<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "queue '{}' in vhost '{}'", self.name, self.vhost)
    }
}

impl QueueKind {
    /// RabbitMQ's name in its reply texts.
    pub(super) const fn module(self) -> &'static str {
        match self {
            Self::Classic => "rabbit_classic_queue",
            Self::Quorum => "rabbit_quorum_queue",
            Self::Stream => "rabbit_stream_queue",
        }
    }
}

fn value<'a>(arguments: Table<'a>, name: &str) -> Option<Value<'a>> {
    arguments.get(name).ok().flatten()
}

fn integer(arguments: Table<'_>, name: &str) -> Option<i64> {
    value(arguments, name)?.as_i64()
}

fn duration(arguments: Table<'_>, name: &str) -> Option<Duration> {
    time_to_live::from_milliseconds(integer(arguments, name)?).ok()
}

/// A text, cut to what a method can carry as the name of an exchange or as a routing key.
fn octets(arguments: Table<'_>, name: &str) -> Option<Box<[u8]>> {
    match value(arguments, name)? {
        Value::LongStr(text) => Some(
            text.as_bytes()
                .iter()
                .copied()
                .take(SHORT_STR_MAX)
                .collect(),
        ),
        _ => None,
    }
}

fn kind(arguments: Table<'_>) -> QueueKind {
    match value(arguments, KIND).and_then(|kind| kind.as_str()) {
        Some("quorum") => QueueKind::Quorum,
        Some("stream") => QueueKind::Stream,
        _ => QueueKind::Classic,
    }
}

fn overflow(arguments: Table<'_>, kind: QueueKind) -> Overflow {
    match value(arguments, "x-overflow").and_then(|overflow| overflow.as_str()) {
        Some("reject-publish") => Overflow::RejectPublish,
        // A quorum queue takes the argument and drops its head nevertheless.
        Some("reject-publish-dlx") if kind == QueueKind::Classic => {
            Overflow::RejectPublishDeadLetter
        }
        _ => Overflow::DropHead,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::EncodeError;

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

    fn refusal(arguments: &[(&str, Value<'_>)]) -> String {
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
    fn difference_between(
        first: &[(&str, Value<'_>)],
        second: &[(&str, Value<'_>)],
    ) -> Option<String> {
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
        let cases: &[(&[(&str, Value<'_>)], &[(&str, Value<'_>)], &str)] = &[
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
        let cases: &[(&[(&str, Value<'_>)], &[(&str, Value<'_>)])] = &[
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
}
