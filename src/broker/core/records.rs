//! The log of what was received, for tests to assert on.

use std::collections::VecDeque;

use super::ids::SessionId;
use super::message::Message;
use crate::protocol::{Method, Properties};

/// A method that a client sent.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Received {
    /// Which connection, counted from 0 as they were accepted.
    pub connection: u64,
    /// Its channel.
    pub channel: u16,
    /// The method's name, such as `basic.publish`.
    pub method: &'static str,
    /// The method with its arguments, to read; credentials are left out.
    pub arguments: String,
    /// What came with it, for `basic.publish`.
    pub message: Option<ReceivedMessage>,
}

impl Received {
    /// About what it takes of memory, beyond a fixed size.
    fn octets(&self) -> usize {
        let message = self.message.as_ref().map_or(0, |message| message.octets);
        self.arguments.len() + message
    }
}

/// A message that a client published.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ReceivedMessage {
    /// The exchange it was published to.
    pub exchange: String,
    /// The routing key it was published with.
    pub routing_key: String,
    /// Its properties.
    pub properties: Properties,
    /// Its body.
    pub body: Vec<u8>,
    /// What it counts for.
    octets: usize,
}

/// The last records: so many at most, and so many octets in them.
#[derive(Default)]
pub(crate) struct Records {
    kept: VecDeque<Received>,
    kept_max: usize,
    octets: usize,
    octets_max: usize,
    /// By session: which connection it is.
    connections: Vec<u64>,
}

impl Records {
    pub fn new(kept_max: usize, octets_max: usize) -> Self {
        Self {
            kept_max,
            octets_max,
            ..Self::default()
        }
    }

    /// A connection was accepted, after so many others.
    pub fn accepted(&mut self, session: SessionId, others: u64) {
        let index = session.0 as usize;
        if self.connections.len() <= index {
            self.connections.resize(index + 1, 0);
        }
        if let Some(place) = self.connections.get_mut(index) {
            *place = others;
        }
    }

    fn connection(&self, session: SessionId) -> u64 {
        let connection = self.connections.get(session.0 as usize);
        connection.copied().unwrap_or_default()
    }

    pub fn method(&mut self, session: SessionId, channel: u16, method: &Method<'_>) {
        if self.kept_max == 0 {
            return;
        }
        let arguments = match method {
            Method::ConnectionStartOk(_)
            | Method::ConnectionSecureOk(_)
            | Method::ConnectionUpdateSecret(_) => method.name().to_owned(),
            _ => format!("{method:?}"),
        };
        self.octets += arguments.len();
        self.kept.push_back(Received {
            connection: self.connection(session),
            channel,
            method: method.name(),
            arguments,
            message: None,
        });
        self.trim();
    }

    /// Joins a message to the `basic.publish` that it belongs to.
    pub fn message(&mut self, session: SessionId, channel: u16, message: &Message) {
        let connection = self.connection(session);
        let publish = self.kept.iter_mut().rev().find(|received| {
            received.connection == connection
                && received.channel == channel
                && received.method == "basic.publish"
        });
        // Nothing else has come on the channel since, unless the method is not kept any more.
        let Some(received) = publish.filter(|received| received.message.is_none()) else {
            return;
        };
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        let properties = message.properties().ok();
        self.octets += message.octets();
        received.message = Some(ReceivedMessage {
            exchange: text(message.exchange()),
            routing_key: text(message.routing_key()),
            properties: properties
                .and_then(|properties| properties.try_into().ok())
                .unwrap_or_default(),
            body: message.body().to_vec(),
            octets: message.octets(),
        });
        self.trim();
    }

    /// Lets the oldest ones go that are too many, or the octets in them too many.
    fn trim(&mut self) {
        while self.kept.len() > self.kept_max || self.octets > self.octets_max {
            let Some(gone) = self.kept.pop_front() else {
                return;
            };
            self.octets = self.octets.saturating_sub(gone.octets());
        }
    }

    pub fn take(&mut self) -> Vec<Received> {
        self.octets = 0;
        std::mem::take(&mut self.kept).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{basic, connection};

    const CLIENT: SessionId = SessionId(1);

    fn publish(records: &mut Records, channel: u16) {
        records.method(CLIENT, channel, &basic::Publish::default().into());
    }

    fn message(body: &[u8]) -> Message {
        Message::new(b"x", b"key", &[0, 0], &[body]).unwrap()
    }

    fn bodies(records: &mut Records) -> Vec<Option<Vec<u8>>> {
        let taken = records.take().into_iter();
        taken
            .map(|received| received.message.map(|message| message.body))
            .collect()
    }

    #[test]
    fn a_message_joins_the_last_publish_of_its_channel() {
        let mut records = Records::new(9, 1 << 20);
        publish(&mut records, 1);
        publish(&mut records, 2);
        records.message(CLIENT, 1, &message(b"one"));
        publish(&mut records, 1);
        records.message(CLIENT, 1, &message(b"three"));
        let expected = [Some(b"one".to_vec()), None, Some(b"three".to_vec())];
        assert_eq!(bodies(&mut records), expected);
        assert!(bodies(&mut records).is_empty(), "they are taken once");
    }

    #[test]
    fn a_message_whose_publish_was_taken_joins_no_other() {
        let mut records = Records::new(9, 1 << 20);
        publish(&mut records, 1);
        assert_eq!(records.take().len(), 1);
        records.message(CLIENT, 1, &message(b"late"));
        assert!(records.take().is_empty());
    }

    #[test]
    fn the_last_ones_are_kept_up_to_their_number_and_their_octets() {
        let mut records = Records::new(3, 10_000);
        for channel in 1..=5 {
            publish(&mut records, channel);
        }
        let channels: Vec<_> = records.take().iter().map(|one| one.channel).collect();
        assert_eq!(channels, [3, 4, 5]);
        publish(&mut records, 1);
        records.message(CLIENT, 1, &message(&[0; 6000]));
        publish(&mut records, 2);
        records.message(CLIENT, 2, &message(&[0; 6000]));
        let channels: Vec<_> = records.take().iter().map(|one| one.channel).collect();
        assert_eq!(channels, [2]);
        assert_eq!(records.octets, 0);
        publish(&mut records, 1);
        records.message(CLIENT, 1, &message(&[0; 10_001]));
        assert!(records.take().is_empty());
        assert_eq!(records.octets, 0);
    }

    #[test]
    fn credentials_are_left_out() {
        let mut records = Records::new(1, 1 << 20);
        let start_ok = connection::StartOk {
            response: crate::protocol::LongStr::new("\0guest\0secret").unwrap(),
            ..Default::default()
        };
        records.method(CLIENT, 0, &start_ok.into());
        assert_eq!(records.take()[0].arguments, "connection.start-ok");
    }

    #[test]
    fn a_connection_keeps_its_number_when_another_one_gets_its_place() {
        let mut records = Records::new(9, 1 << 20);
        for others in [0, 7] {
            records.accepted(CLIENT, others);
            publish(&mut records, 1);
        }
        let connections: Vec<_> = records.take().iter().map(|one| one.connection).collect();
        assert_eq!(connections, [0, 7]);
    }

    #[test]
    fn nothing_is_kept_where_nothing_is_asked_for() {
        let mut records = Records::new(0, 1 << 20);
        publish(&mut records, 1);
        records.message(CLIENT, 1, &message(b"m"));
        assert!(records.take().is_empty());
    }
}
