//! The optional arguments of `queue.declare`: which there are, for which kinds of queues, and what they may be. The
//! texts and their order are those of RabbitMQ 3.10.

use crate::protocol::{Table, Value};

use super::super::time_to_live;
use super::super::value::type_name;
use super::spec::QueueKind;

/// An argument that RabbitMQ knows. It takes any other as well, and forgets it.
pub(super) struct Argument {
    pub name: &'static str,
    kinds: &'static [QueueKind],
    check: Check,
}

/// The error is the reason that comes after `invalid arg 'x' for queue 'q' in vhost '/': `.
type Check = fn(&Value<'_>, Table<'_>) -> Result<(), String>;

const ANY: &[QueueKind] = &[QueueKind::Classic, QueueKind::Quorum, QueueKind::Stream];
const CLASSIC: &[QueueKind] = &[QueueKind::Classic];
const QUORUM: &[QueueKind] = &[QueueKind::Quorum];
const STREAM: &[QueueKind] = &[QueueKind::Stream];
const NO_STREAM: &[QueueKind] = &[QueueKind::Classic, QueueKind::Quorum];
const REPLICATED: &[QueueKind] = &[QueueKind::Quorum, QueueKind::Stream];

pub(super) const KIND: &str = "x-queue-type";
pub(super) const DEAD_LETTER_EXCHANGE: &str = "x-dead-letter-exchange";

/// In the order in which RabbitMQ checks and compares them.
pub(super) const ARGUMENTS: &[Argument] = &[
    argument("x-expires", NO_STREAM, expires),
    argument("x-message-ttl", NO_STREAM, message_ttl),
    argument(DEAD_LETTER_EXCHANGE, NO_STREAM, text),
    argument(
        "x-dead-letter-routing-key",
        NO_STREAM,
        dead_letter_routing_key,
    ),
    argument("x-dead-letter-strategy", QUORUM, dead_letter_strategy),
    argument("x-max-length", NO_STREAM, not_negative),
    argument("x-max-length-bytes", ANY, not_negative),
    argument("x-max-in-memory-length", QUORUM, not_negative),
    argument("x-max-in-memory-bytes", QUORUM, not_negative),
    argument("x-max-priority", CLASSIC, max_priority),
    argument("x-overflow", NO_STREAM, overflow),
    argument("x-queue-mode", CLASSIC, queue_mode),
    argument("x-queue-version", CLASSIC, queue_version),
    argument("x-single-active-consumer", NO_STREAM, truth),
    argument(KIND, ANY, kind),
    argument("x-quorum-initial-group-size", QUORUM, positive),
    argument("x-max-age", STREAM, text),
    argument("x-stream-max-segment-size-bytes", STREAM, not_negative),
    argument("x-initial-cluster-size", STREAM, positive),
    argument("x-queue-leader-locator", REPLICATED, leader_locator),
    argument("x-delivery-limit", QUORUM, anything),
];

const fn argument(name: &'static str, kinds: &'static [QueueKind], check: Check) -> Argument {
    Argument { name, kinds, check }
}

impl Argument {
    pub fn is_for(&self, kind: QueueKind) -> bool {
        self.kinds.contains(&kind)
    }

    /// Whether the value may be declared. The error is RabbitMQ's reason.
    pub fn check(&self, value: &Value<'_>, all: Table<'_>) -> Result<(), String> {
        (self.check)(value, all)
    }
}

pub(super) fn integer(value: &Value<'_>) -> Result<i64, String> {
    let unexpected = || format!("\"expected integer, got {}\"", type_name(value));
    value.as_i64().ok_or_else(unexpected)
}

fn unacceptable(value: &Value<'_>) -> String {
    format!("{{unacceptable_type,{}}}", type_name(value))
}

/// A text as it is shown, which need not be UTF-8.
fn shown_text(value: &Value<'_>) -> Result<String, String> {
    match value {
        Value::LongStr(text) => Ok(text.to_string()),
        _ => Err(unacceptable(value)),
    }
}

fn one_of(value: &Value<'_>, allowed: &[&str], otherwise: &str) -> Result<(), String> {
    let text = shown_text(value)?;
    if allowed.contains(&text.as_str()) {
        return Ok(());
    }
    Err(otherwise.replace('?', &text))
}

fn anything(_: &Value<'_>, _: Table<'_>) -> Result<(), String> {
    Ok(())
}

fn text(value: &Value<'_>, _: Table<'_>) -> Result<(), String> {
    shown_text(value).map(drop)
}

pub(super) fn truth(value: &Value<'_>, _: Table<'_>) -> Result<(), String> {
    let truth = value.as_bool();
    truth.map(drop).ok_or_else(|| unacceptable(value))
}

fn not_negative(value: &Value<'_>, _: Table<'_>) -> Result<(), String> {
    match integer(value)? {
        negative @ ..0 => Err(format!("{{value_negative,{negative}}}")),
        _ => Ok(()),
    }
}

fn positive(value: &Value<'_>, all: Table<'_>) -> Result<(), String> {
    if integer(value)? == 0 {
        return Err("{value_zero,0}".to_owned());
    }
    not_negative(value, all)
}

fn message_ttl(value: &Value<'_>, _: Table<'_>) -> Result<(), String> {
    time_to_live::from_milliseconds(integer(value)?).map(drop)
}

fn expires(value: &Value<'_>, all: Table<'_>) -> Result<(), String> {
    positive(value, all)?;
    message_ttl(value, all)
}

fn max_priority(value: &Value<'_>, all: Table<'_>) -> Result<(), String> {
    not_negative(value, all)?;
    match integer(value)? {
        more @ 256.. => Err(format!("{{max_value_exceeded,{more}}}")),
        _ => Ok(()),
    }
}

fn dead_letter_routing_key(value: &Value<'_>, all: Table<'_>) -> Result<(), String> {
    shown_text(value)?;
    match all.get(DEAD_LETTER_EXCHANGE) {
        Ok(Some(_)) => Ok(()),
        _ => Err("routing_key_but_no_dlx_defined".to_owned()),
    }
}

fn dead_letter_strategy(value: &Value<'_>, _: Table<'_>) -> Result<(), String> {
    one_of(
        value,
        &["at-most-once", "at-least-once"],
        "invalid_dlx_strategy",
    )
}

fn overflow(value: &Value<'_>, _: Table<'_>) -> Result<(), String> {
    let known = ["drop-head", "reject-publish", "reject-publish-dlx"];
    one_of(value, &known, "invalid_overflow")
}

fn queue_mode(value: &Value<'_>, _: Table<'_>) -> Result<(), String> {
    one_of(
        value,
        &["default", "lazy"],
        "\"unsupported queue mode '?'\"",
    )
}

fn queue_version(value: &Value<'_>, all: Table<'_>) -> Result<(), String> {
    not_negative(value, all)?;
    match integer(value)? {
        1 | 2 => Ok(()),
        other => Err(format!("\"unsupported queue version '{other}'\"")),
    }
}

fn leader_locator(value: &Value<'_>, _: Table<'_>) -> Result<(), String> {
    let known = ["client-local", "balanced", "random", "least-leaders"];
    one_of(value, &known, "invalid_queue_locator_arg")
}

fn kind(value: &Value<'_>, _: Table<'_>) -> Result<(), String> {
    let known = ["classic", "quorum", "stream"];
    one_of(value, &known, "\"unsupported queue type '?'\"")
}
