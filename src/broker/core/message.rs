//! What was published.

use std::ops::Deref;
use std::rc::Rc;
use std::time::Duration;

use crate::protocol::{
    Array, DecodeError, FieldArray, FieldTable, Properties, PropertiesRef, Table, Value,
};

use super::queue::Entry;
use super::refusal::Refusal;
use super::time_to_live;
use super::value::type_name;

/// Flags that announce no property.
const NO_PROPERTIES: [u8; 2] = [0, 0];

/// What a message takes of memory beside its octets: it is in a queue.
const FIXED_OCTETS: usize = size_of::<Content>() + size_of::<Entry>();

/// A message, shared by the queues that it was routed to. It never changes; dead-lettering makes another one.
#[derive(Debug, Clone)]
pub(crate) struct Message(Rc<Content>);

/// Its octets in one piece: `exchange | routing key | properties | body`. Invariant: the properties are valid, the headers
/// to their deepest table.
#[derive(Debug)]
pub(crate) struct Content {
    octets: Vec<u8>,
    exchange_end: u32,
    key_end: u32,
    properties_end: u32,
    facts: Facts,
}

/// What queues want to know of the properties, read once.
#[derive(Debug, Clone, Default)]
struct Facts {
    persistent: bool,
    priority: u8,
    time_to_live: Option<Duration>,
    /// The routing keys of the header `BCC`, which consumers must not see.
    blind_copies: Option<Box<FieldArray>>,
}

impl Message {
    /// `properties` are the flags and the property list as they stand in a content header. The header `BCC` is taken out.
    ///
    /// # Errors
    /// 406 when `expiration`, `CC` or `BCC` is not what it should be, 502 when the properties are malformed.
    pub fn new(
        exchange: &[u8],
        routing_key: &[u8],
        properties: &[u8],
        body: &[&[u8]],
    ) -> Result<Self, Refusal> {
        let decoded = PropertiesRef::decode(properties).map_err(malformed)?;
        if properties == NO_PROPERTIES {
            let parts = [exchange, routing_key, properties];
            return Ok(Self::assemble(parts, body, Facts::default()));
        }
        decoded.validate().map_err(malformed)?;
        let mut facts = Facts::read(&decoded)?;
        let headers = decoded.headers().map_err(malformed)?.unwrap_or_default();
        copies(headers, "CC")?;
        let Some(blind) = copies(headers, "BCC")? else {
            return Ok(Self::assemble(
                [exchange, routing_key, properties],
                body,
                facts,
            ));
        };
        facts.blind_copies = FieldArray::try_from(blind).ok().map(Box::new);
        let shown = change_headers(&decoded, |headers| headers.remove("BCC"));
        let shown = shown.as_ref().map_or(properties, Properties::encoded);
        Ok(Self::assemble([exchange, routing_key, shown], body, facts))
    }

    /// Parts: exchange, routing key, properties.
    fn assemble(parts: [&[u8]; 3], body: &[&[u8]], facts: Facts) -> Self {
        let length = parts.iter().chain(body).map(|piece| piece.len()).sum();
        let mut octets = Vec::with_capacity(length);
        let [exchange_end, key_end, properties_end] = parts.map(|part| {
            octets.extend_from_slice(part);
            u32::try_from(octets.len()).unwrap_or(u32::MAX)
        });
        for piece in body {
            octets.extend_from_slice(piece);
        }
        Self(Rc::new(Content {
            octets,
            exchange_end,
            key_end,
            properties_end,
            facts,
        }))
    }

    /// The same message with other headers.
    pub fn with_headers<R>(&self, change: impl FnOnce(&mut FieldTable) -> R) -> Self {
        let properties = self.properties().unwrap_or_default();
        let Some(changed) = change_headers(&properties, change) else {
            return self.clone();
        };
        let parts = [self.exchange(), self.routing_key(), changed.encoded()];
        Self::assemble(parts, &[self.body()], self.facts.clone())
    }

    /// The same message on its way to another exchange: without a time to live, and with the given key in place of all
    /// its routing keys, those in the headers too, if there is one.
    pub fn forwarded<R>(
        &self,
        exchange: &[u8],
        routing_key: Option<&[u8]>,
        change: impl FnOnce(&mut FieldTable) -> R,
    ) -> Self {
        let properties = self.properties().unwrap_or_default();
        let changed = change_headers(&properties, |headers| {
            change(headers);
            if routing_key.is_some() {
                headers.remove("CC");
            }
        });
        let lasting = changed.and_then(|changed| {
            let builder = changed.as_ref().to_builder().ok()?;
            builder.without_expiration().build().ok()
        });
        let facts = Facts {
            time_to_live: None,
            blind_copies: match routing_key {
                None => self.facts.blind_copies.clone(),
                Some(_) => None,
            },
            ..self.facts
        };
        let key = routing_key.unwrap_or_else(|| self.routing_key());
        let properties = lasting
            .as_ref()
            .map_or(self.encoded_properties(), Properties::encoded);
        Self::assemble([exchange, key, properties], &[self.body()], facts)
    }
}

impl Facts {
    fn read(properties: &PropertiesRef<'_>) -> Result<Self, Refusal> {
        let time_to_live = match properties.expiration().map_err(malformed)? {
            Some(expiration) => Some(time_to_live::from_expiration(expiration)?),
            None => None,
        };
        Ok(Self {
            persistent: properties.delivery_mode().map_err(malformed)? == Some(2),
            priority: properties.priority().map_err(malformed)?.unwrap_or(0),
            time_to_live,
            blind_copies: None,
        })
    }
}

fn malformed(error: DecodeError) -> Refusal {
    Refusal::new(error.reply_code(), error.to_string())
}

/// The further routing keys in the header `CC` or `BCC`.
fn copies<'a>(headers: Table<'a>, name: &str) -> Result<Option<Array<'a>>, Refusal> {
    match headers.get(name).map_err(malformed)? {
        None => Ok(None),
        Some(Value::Array(keys)) => Ok(Some(keys)),
        Some(other) => {
            let found = type_name(&other);
            let reason = format!("{{unacceptable_type_in_header,\"{name}\",{found}}}");
            Err(Refusal::precondition(format!("invalid message: {reason}")))
        }
    }
}

/// `None` only for properties that no message has: malformed ones, or headers of 4 GiB.
fn change_headers<R>(
    properties: &PropertiesRef<'_>,
    change: impl FnOnce(&mut FieldTable) -> R,
) -> Option<Properties> {
    let headers = properties.headers().ok()?.unwrap_or_default();
    let mut headers = FieldTable::try_from(headers).ok()?;
    change(&mut headers);
    properties.to_builder().ok()?.headers(&headers).build().ok()
}

impl Deref for Message {
    type Target = Content;

    fn deref(&self) -> &Content {
        &self.0
    }
}

impl Content {
    fn piece(&self, from: u32, to: u32) -> &[u8] {
        self.octets
            .get(from as usize..to as usize)
            .unwrap_or_default()
    }

    pub fn exchange(&self) -> &[u8] {
        self.piece(0, self.exchange_end)
    }

    /// The one it was published with, which consumers see.
    pub fn routing_key(&self) -> &[u8] {
        self.piece(self.exchange_end, self.key_end)
    }

    /// All keys that it is routed by: its own, and those of the headers `CC` and `BCC`.
    pub fn routing_keys(&self) -> impl Iterator<Item = &[u8]> {
        let blind = self.facts.blind_copies.iter();
        self.visible_routing_keys()
            .chain(blind.flat_map(|keys| texts(keys.as_array())))
    }

    /// Its own key and those of the header `CC`.
    pub fn visible_routing_keys(&self) -> impl Iterator<Item = &[u8]> {
        let cc = self.headers().get("CC").ok().flatten();
        let keys = match cc {
            Some(Value::Array(keys)) => keys,
            _ => Array::default(),
        };
        [self.routing_key()].into_iter().chain(texts(keys))
    }

    /// Whether it has the property `headers`, or had one with blind copies only.
    pub fn has_headers(&self) -> bool {
        !self.headers().is_empty() || self.facts.blind_copies.is_some()
    }

    pub fn headers(&self) -> Table<'_> {
        let headers = self
            .properties()
            .and_then(|properties| properties.headers());
        headers.ok().flatten().unwrap_or_default()
    }

    /// Flags and property list, as in a content header.
    pub fn encoded_properties(&self) -> &[u8] {
        self.piece(self.key_end, self.properties_end)
    }

    pub fn properties(&self) -> Result<PropertiesRef<'_>, DecodeError> {
        PropertiesRef::decode(self.encoded_properties())
    }

    /// Whether its delivery mode is 2.
    pub fn is_persistent(&self) -> bool {
        self.facts.persistent
    }

    pub fn priority(&self) -> u8 {
        self.facts.priority
    }

    /// What its property `expiration` says.
    pub fn time_to_live(&self) -> Option<Duration> {
        self.facts.time_to_live
    }

    pub fn body(&self) -> &[u8] {
        self.octets
            .get(self.properties_end as usize..)
            .unwrap_or_default()
    }

    /// What it takes of the broker's memory, about: an empty one takes something too.
    pub fn octets(&self) -> usize {
        self.octets.len() + FIXED_OCTETS
    }
}

fn texts(keys: Array<'_>) -> impl Iterator<Item = &[u8]> {
    keys.iter().filter_map(|key| match key {
        Ok(Value::LongStr(text)) => Some(text.as_bytes()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::PropertiesBuilder;

    fn message(properties: PropertiesBuilder) -> Result<Message, Refusal> {
        let properties = properties.build().unwrap();
        Message::new(b"x", b"key", properties.encoded(), &[b"bo", b"dy"])
    }

    fn headers(entries: &[(&str, Value<'_>)]) -> PropertiesBuilder {
        let mut headers = FieldTable::new();
        for (name, value) in entries {
            headers.insert(name, *value).unwrap();
        }
        Properties::builder().headers(&headers)
    }

    #[test]
    fn its_parts_come_out_as_they_went_in() {
        let message = message(Properties::builder().app_id("a")).unwrap();
        assert_eq!(message.exchange(), b"x");
        assert_eq!(message.routing_key(), b"key");
        assert_eq!(message.body(), b"body");
        assert_eq!(message.encoded_properties(), [0, 8, 1, b'a']);
        assert_eq!(message.octets(), 12 + FIXED_OCTETS);
    }

    #[test]
    fn what_queues_want_to_know_is_read_once() {
        let plain = message(Properties::builder()).unwrap();
        assert!(!plain.is_persistent());
        assert_eq!((plain.priority(), plain.time_to_live()), (0, None));
        let properties = Properties::builder().delivery_mode(2).priority(7);
        let full = message(properties.expiration("5")).unwrap();
        assert!(full.is_persistent());
        assert_eq!(full.priority(), 7);
        assert_eq!(full.time_to_live(), Some(Duration::from_millis(5)));
        assert!(
            !message(Properties::builder().delivery_mode(1))
                .unwrap()
                .is_persistent()
        );
    }

    #[test]
    fn an_expiration_that_is_no_integer_is_refused() {
        let refused = message(Properties::builder().expiration("soon")).unwrap_err();
        assert_eq!(
            refused.reply_text(),
            "PRECONDITION_FAILED - invalid expiration 'soon': no_integer"
        );
    }

    #[test]
    fn malformed_properties_are_refused() {
        let cut_short = Message::new(b"", b"", &[0x80, 0, 5, b'a'], &[]).unwrap_err();
        assert_eq!(cut_short.code, crate::protocol::ReplyCode::SyntaxError);
        let bad_table = [0x20, 0, 0, 0, 0, 3, 1, b'a', b'?'];
        let bad_table = Message::new(b"", b"", &bad_table, &[]).unwrap_err();
        assert_eq!(bad_table.code, crate::protocol::ReplyCode::SyntaxError);
    }

    #[test]
    fn copies_are_routing_keys_and_blind_ones_are_not_seen() {
        let cc = FieldArray::new()
            .with("c1")
            .unwrap()
            .with(1)
            .unwrap()
            .with("c2")
            .unwrap();
        let bcc = FieldArray::new().with("b1").unwrap();
        let given = headers(&[
            ("CC", (&cc).into()),
            ("BCC", (&bcc).into()),
            ("z", 1.into()),
        ]);
        let message = message(given.message_id("id")).unwrap();
        let keys: Vec<_> = message.routing_keys().collect();
        assert_eq!(keys, [b"key".as_slice(), b"c1", b"c2", b"b1"]);
        let shown = headers(&[("CC", (&cc).into()), ("z", 1.into())]).message_id("id");
        let shown = shown.build().unwrap();
        assert_eq!(message.encoded_properties(), shown.encoded());
    }

    #[test]
    fn copies_that_are_no_list_are_refused() {
        for (name, value, type_name) in [
            ("CC", Value::from("q"), "longstr"),
            ("CC", Value::Void, "void"),
            ("BCC", Value::I32(1), "signedint"),
        ] {
            let refused = message(headers(&[(name, value)])).unwrap_err();
            assert_eq!(
                refused.reply_text(),
                format!(
                    "PRECONDITION_FAILED - invalid message: \
                     {{unacceptable_type_in_header,\"{name}\",{type_name}}}"
                )
            );
        }
    }

    #[test]
    fn other_headers_leave_the_rest_as_it_is() {
        let before = message(Properties::builder().priority(3).app_id("a")).unwrap();
        let after = before.with_headers(|headers| headers.insert("n", 1).map(drop));
        assert_eq!(after.headers().get("n"), Ok(Some(Value::I32(1))));
        assert_eq!(after.priority(), 3);
        assert_eq!(after.properties().unwrap().app_id().unwrap().unwrap(), "a");
        assert_eq!(after.body(), b"body");
        assert_eq!(before.headers().get("n"), Ok(None));
    }
}
