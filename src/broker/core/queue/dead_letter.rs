//! Messages that leave a queue unconsumed, and what is written on them.
//!
//! The header `x-death` lists where a message died and why, the latest first:
//!
//! ```text
//! [ { count, reason, queue, time, exchange, routing-keys, original-expiration? }, .. ]
//! ```

use crate::protocol::{EncodeError, FieldArray, FieldTable, LongStr, Table, Value};

use super::super::message::Message;
use super::spec::DeadLetterTarget;

/// The list of deaths among the headers of a message.
const DEATHS: &str = "x-death";

/// Why a message left a queue unconsumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeathReason {
    Rejected,
    Expired,
    /// The queue was full.
    MaxLength,
    /// It came back too often.
    DeliveryLimit,
}

/// A message to be published once more, to another exchange.
#[derive(Debug)]
pub(crate) struct DeadLetter {
    /// With its new exchange and keys, and with the headers that tell of its death.
    pub message: Message,
    pub reason: DeathReason,
}

impl DeathReason {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::MaxLength => "maxlen",
            Self::DeliveryLimit => "delivery_limit",
        }
    }
}

impl DeadLetter {
    pub(super) fn new(
        message: &Message,
        reason: DeathReason,
        queue: &str,
        target: &DeadLetterTarget,
        unix_seconds: u64,
    ) -> Self {
        let routing_key = target.routing_key.as_deref();
        let dead = message.forwarded(&target.exchange, routing_key, |headers| {
            // Fails only for headers of 4 GiB, which then stay as they are.
            let _ = death(message, reason, queue, unix_seconds)
                .and_then(|death| record_death(headers, reason, queue, &death, message.exchange()));
        });
        Self {
            message: dead,
            reason,
        }
    }

    /// Whether the queue must not get it: it was there before and has come back without that anybody rejected it on the
    /// way. Such a message would go round for ever.
    pub fn is_cycle(&self, queue: &str) -> bool {
        if self.reason == DeathReason::Rejected {
            return false;
        }
        let Ok(Some(Value::Array(deaths))) = self.message.headers().get(DEATHS) else {
            return false;
        };
        for death in deaths.iter().map_while(Result::ok) {
            // What is no table a client has put there: somebody had a hand in it.
            let Value::Table(death) = death else {
                return false;
            };
            if text(death, "reason") == Some(DeathReason::Rejected.as_str().as_bytes()) {
                return false;
            }
            if text(death, "queue") == Some(queue.as_bytes()) {
                return true;
            }
        }
        false
    }
}

fn text<'a>(table: Table<'a>, name: &str) -> Option<&'a [u8]> {
    match table.get(name) {
        Ok(Some(Value::LongStr(text))) => Some(text.as_bytes()),
        _ => None,
    }
}

fn long_str(octets: &[u8]) -> Result<Value<'_>, EncodeError> {
    LongStr::from_bytes(octets).map(Value::LongStr)
}

/// A new entry of `x-death`.
fn death(
    message: &Message,
    reason: DeathReason,
    queue: &str,
    unix_seconds: u64,
) -> Result<FieldTable, EncodeError> {
    let mut keys = FieldArray::new();
    for key in message.visible_routing_keys() {
        keys.push(long_str(key)?)?;
    }
    let mut death = FieldTable::new()
        .with("count", 1_i64)?
        .with("reason", reason.as_str())?
        .with("queue", queue)?
        .with("time", Value::Timestamp(unix_seconds))?
        .with("exchange", long_str(message.exchange())?)?
        .with("routing-keys", &keys)?;
    let properties = message.properties().unwrap_or_default();
    if let Ok(Some(expiration)) = properties.expiration() {
        death.insert("original-expiration", long_str(expiration.as_bytes())?)?;
    }
    Ok(death)
}

/// Puts a death at the front of `x-death`, or counts it there if the message died in that queue for that reason before.
fn record_death(
    headers: &mut FieldTable,
    reason: DeathReason,
    queue: &str,
    death: &FieldTable,
    exchange: &[u8],
) -> Result<(), EncodeError> {
    let is_alike = |earlier: &Value<'_>| {
        let Value::Table(earlier) = *earlier else {
            return false;
        };
        let reason = reason.as_str().as_bytes();
        text(earlier, "queue") == Some(queue.as_bytes()) && text(earlier, "reason") == Some(reason)
    };
    let before = headers.get(DEATHS);
    let is_first = before.is_none();
    let before: Vec<_> = match before {
        Some(Value::Array(deaths)) => deaths.iter().map_while(Result::ok).collect(),
        _ => Vec::new(),
    };
    let counted = match before.iter().copied().find(is_alike) {
        Some(Value::Table(earlier)) => counted_again(earlier)?,
        _ => None,
    };
    let mut deaths = FieldArray::new().with(counted.as_ref().unwrap_or(death))?;
    for &other in before.iter().filter(|earlier| !is_alike(earlier)) {
        deaths.push(other)?;
    }
    headers.insert(DEATHS, &deaths)?;
    if is_first {
        headers.insert("x-first-death-reason", reason.as_str())?;
        headers.insert("x-first-death-queue", queue)?;
        headers.insert("x-first-death-exchange", long_str(exchange)?)?;
    }
    Ok(())
}

fn counted_again(earlier: Table<'_>) -> Result<Option<FieldTable>, EncodeError> {
    let Ok(mut counted) = FieldTable::try_from(earlier) else {
        return Ok(None);
    };
    let count = counted.get("count").and_then(|count| count.as_i64());
    counted.insert("count", count.unwrap_or(0).saturating_add(1))?;
    Ok(Some(counted))
}
