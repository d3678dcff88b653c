//! What was published.

use std::ops::Deref;
use std::rc::Rc;

use crate::protocol::{DecodeError, PropertiesRef};

/// A message, shared by the queues that it was routed to. It never changes; dead-lettering makes another one.
#[derive(Debug, Clone)]
pub(crate) struct Message(Rc<Content>);

/// Everything in one allocation: `exchange | routing key | properties | body`.
#[derive(Debug)]
pub(crate) struct Content {
    octets: Vec<u8>,
    exchange_end: u32,
    key_end: u32,
    properties_end: u32,
}

impl Message {
    /// `properties` are the flags and the property list as they stand in a content header.
    pub fn new(exchange: &[u8], routing_key: &[u8], properties: &[u8], body: &[&[u8]]) -> Self {
        let body_octets: usize = body.iter().map(|piece| piece.len()).sum();
        let head = exchange.len() + routing_key.len() + properties.len();
        let mut octets = Vec::with_capacity(head + body_octets);
        let mut end = |piece: &[u8]| {
            octets.extend_from_slice(piece);
            u32::try_from(octets.len()).unwrap_or(u32::MAX)
        };
        let (exchange_end, key_end, properties_end) =
            (end(exchange), end(routing_key), end(properties));
        for piece in body {
            octets.extend_from_slice(piece);
        }
        Self(Rc::new(Content {
            octets,
            exchange_end,
            key_end,
            properties_end,
        }))
    }
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

    pub fn routing_key(&self) -> &[u8] {
        self.piece(self.exchange_end, self.key_end)
    }

    /// Flags and property list, as in a content header.
    pub fn encoded_properties(&self) -> &[u8] {
        self.piece(self.key_end, self.properties_end)
    }

    pub fn properties(&self) -> Result<PropertiesRef<'_>, DecodeError> {
        PropertiesRef::decode(self.encoded_properties())
    }

    pub fn body(&self) -> &[u8] {
        self.octets
            .get(self.properties_end as usize..)
            .unwrap_or_default()
    }

    /// What it takes of the broker's memory, about.
    pub fn octets(&self) -> usize {
        self.octets.len()
    }
}
