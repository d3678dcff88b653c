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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Properties, PropertiesBuilder};

    const NOW: u64 = 1_700_000_000;

    fn published(properties: PropertiesBuilder) -> Message {
        let properties = properties.build().unwrap();
        Message::new(b"amq.direct", b"rk", properties.encoded(), &[b"body"]).unwrap()
    }

    fn with_deaths<'v>(deaths: impl Into<Value<'v>>) -> Message {
        let headers = FieldTable::new().with(DEATHS, deaths).unwrap();
        published(Properties::builder().headers(&headers))
    }

    fn array<'v>(values: impl IntoIterator<Item = impl Into<Value<'v>>>) -> FieldArray {
        let with = |array: FieldArray, value| array.with(value);
        values
            .into_iter()
            .try_fold(FieldArray::new(), with)
            .unwrap()
    }

    fn target(routing_key: Option<&[u8]>) -> DeadLetterTarget {
        DeadLetterTarget {
            exchange: b"dlx".as_slice().into(),
            routing_key: routing_key.map(Into::into),
        }
    }

    fn dead(message: &Message, reason: DeathReason, queue: &str) -> DeadLetter {
        DeadLetter::new(message, reason, queue, &target(None), NOW)
    }

    fn headers(letter: &DeadLetter) -> FieldTable {
        FieldTable::try_from(letter.message.headers()).unwrap()
    }

    /// `queue reason count` of each entry of `x-death`.
    fn deaths(letter: &DeadLetter) -> Vec<String> {
        let headers = headers(letter);
        let deaths = headers.get(DEATHS).unwrap().as_array().unwrap();
        let shown = deaths.iter().map(|death| {
            let death = death.unwrap().as_table().unwrap();
            let value = |name| death.get(name).unwrap().unwrap();
            let count = value("count").as_i64().unwrap();
            let (queue, reason) = (value("queue"), value("reason"));
            format!(
                "{} {} {count}",
                queue.as_str().unwrap(),
                reason.as_str().unwrap()
            )
        });
        shown.collect()
    }

    #[test]
    fn a_first_death_is_written_with_all_that_is_known_of_it() {
        let given = FieldTable::new()
            .with("z", 1)
            .unwrap()
            .with("CC", &array(["c1", "c2"]))
            .unwrap()
            .with("BCC", &array(["b1"]))
            .unwrap();
        let properties = Properties::builder()
            .headers(&given)
            .expiration("60000")
            .content_type("t")
            .priority(4)
            .delivery_mode(2);
        let message = published(properties);
        let letter = dead(&message, DeathReason::Rejected, "q");

        assert_eq!(letter.message.exchange(), b"dlx");
        assert_eq!(letter.message.routing_key(), b"rk");
        assert_eq!(letter.message.body(), b"body");
        let keys: Vec<_> = letter.message.routing_keys().collect();
        assert_eq!(keys, [b"rk".as_slice(), b"c1", b"c2", b"b1"]);
        let properties = letter.message.properties().unwrap();
        assert_eq!(properties.expiration(), Ok(None));
        assert_eq!(letter.message.time_to_live(), None);
        assert_eq!(properties.content_type().unwrap().unwrap(), "t");
        assert_eq!(letter.message.priority(), 4);
        assert!(letter.message.is_persistent());

        let death = FieldTable::new()
            .with("count", 1_i64)
            .unwrap()
            .with("reason", "rejected")
            .unwrap()
            .with("queue", "q")
            .unwrap()
            .with("time", Value::Timestamp(NOW))
            .unwrap()
            .with("exchange", "amq.direct")
            .unwrap()
            .with("routing-keys", &array(["rk", "c1", "c2"]))
            .unwrap()
            .with("original-expiration", "60000")
            .unwrap();
        let expected = FieldTable::new()
            .with("z", 1)
            .unwrap()
            .with("CC", &array(["c1", "c2"]))
            .unwrap()
            .with(DEATHS, &array([&death]))
            .unwrap()
            .with("x-first-death-reason", "rejected")
            .unwrap()
            .with("x-first-death-queue", "q")
            .unwrap()
            .with("x-first-death-exchange", "amq.direct")
            .unwrap();
        assert_eq!(headers(&letter), expected);
    }

    #[test]
    fn a_routing_key_of_the_queue_replaces_all_keys_of_the_message() {
        let given = FieldTable::new()
            .with("CC", &array(["c1"]))
            .unwrap()
            .with("BCC", &array(["b1"]))
            .unwrap();
        let message = published(Properties::builder().headers(&given));
        let letter = DeadLetter::new(
            &message,
            DeathReason::Expired,
            "q",
            &target(Some(b"new")),
            NOW,
        );
        let keys: Vec<_> = letter.message.routing_keys().collect();
        assert_eq!(keys, [b"new".as_slice()]);
        assert_eq!(headers(&letter).get("CC"), None);
    }

    #[test]
    fn a_message_without_headers_gets_those_of_its_death() {
        let letter = dead(
            &published(Properties::builder()),
            DeathReason::MaxLength,
            "q",
        );
        assert_eq!(deaths(&letter), ["q maxlen 1"]);
        assert_eq!(headers(&letter).iter().count(), 4);
    }

    #[test]
    fn the_latest_death_comes_first_and_the_same_again_is_counted() {
        let first = dead(
            &published(Properties::builder()),
            DeathReason::Rejected,
            "a",
        );
        let second = dead(&first.message, DeathReason::Expired, "b");
        assert_eq!(deaths(&second), ["b expired 1", "a rejected 1"]);
        let third = dead(&second.message, DeathReason::Rejected, "a");
        assert_eq!(deaths(&third), ["a rejected 2", "b expired 1"]);
        let fourth = dead(&third.message, DeathReason::DeliveryLimit, "a");
        assert_eq!(
            deaths(&fourth),
            ["a delivery_limit 1", "a rejected 2", "b expired 1"]
        );
        let headers = headers(&fourth);
        assert_eq!(headers.get("x-first-death-queue"), Some("a".into()));
        assert_eq!(headers.get("x-first-death-reason"), Some("rejected".into()));
    }

    #[test]
    fn deaths_that_a_client_made_up_are_counted_on() {
        let made_up = |count: Option<i32>| {
            let death = FieldTable::new().with("queue", "q").unwrap();
            let death = death.with("reason", "rejected").unwrap();
            match count {
                Some(count) => death.with("count", count).unwrap(),
                None => death,
            }
        };
        let (seven, three, none) = (made_up(Some(7)), made_up(Some(3)), made_up(None));
        let other = FieldTable::new().with("queue", 1).unwrap();
        let rejected = |given: &FieldArray| dead(&with_deaths(given), DeathReason::Rejected, "q");
        assert_eq!(deaths(&rejected(&array([&seven]))), ["q rejected 8"]);
        assert_eq!(deaths(&rejected(&array([&none]))), ["q rejected 1"]);
        assert_eq!(
            deaths(&rejected(&array([&seven, &three]))),
            ["q rejected 8"]
        );
        let letter = rejected(&array([&other]));
        let headers = headers(&letter);
        let deaths = headers.get(DEATHS).unwrap().as_array().unwrap();
        assert_eq!(deaths.iter().count(), 2);
        assert_eq!(headers.get("x-first-death-queue"), None);
    }

    #[test]
    fn a_list_of_deaths_that_is_no_list_is_replaced() {
        let letter = dead(&with_deaths("made up"), DeathReason::Rejected, "q");
        assert_eq!(deaths(&letter), ["q rejected 1"]);
        assert_eq!(headers(&letter).get("x-first-death-queue"), None);
    }

    #[test]
    fn a_message_goes_round_only_if_somebody_rejected_it_on_the_way() {
        let fresh = published(Properties::builder());
        let in_a = dead(&fresh, DeathReason::Expired, "a");
        assert!(in_a.is_cycle("a"));
        assert!(!in_a.is_cycle("b"));
        let in_b = dead(&in_a.message, DeathReason::MaxLength, "b");
        assert!(in_b.is_cycle("a"));
        let rejected = dead(&in_a.message, DeathReason::Rejected, "b");
        assert!(!rejected.is_cycle("a"));
        assert!(!rejected.is_cycle("b"));
        let on_the_way = dead(&rejected.message, DeathReason::Expired, "c");
        assert!(!on_the_way.is_cycle("a"));
        assert!(on_the_way.is_cycle("c"));
    }

    #[test]
    fn what_a_client_put_among_the_deaths_makes_no_cycle() {
        let message = with_deaths(&array(["made up"]));
        let letter = dead(&message, DeathReason::Expired, "a");
        assert!(letter.is_cycle("a"));
        assert!(!letter.is_cycle("b"));
        assert_eq!(
            headers(&letter)
                .get(DEATHS)
                .unwrap()
                .as_array()
                .unwrap()
                .iter()
                .count(),
            2
        );
    }
}
