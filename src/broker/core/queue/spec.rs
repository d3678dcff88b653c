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
