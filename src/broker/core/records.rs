//! The log of what was received, for tests to assert on.

use std::collections::VecDeque;

use super::ids::SessionId;
use super::message::Message;
use crate::protocol::{Method, Properties};

/// A method that a client sent.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Received {
    /// Which connection, counted from 0.
    pub connection: u32,
    /// Its channel.
    pub channel: u16,
    /// The method's name, such as `basic.publish`.
    pub method: &'static str,
    /// The method with its arguments, to read; credentials are left out.
    pub arguments: String,
    /// What came with it, for `basic.publish`.
    pub message: Option<ReceivedMessage>,
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
}

/// The last records, of which there are so many at most.
#[derive(Default)]
pub(crate) struct Records {
    kept: VecDeque<Received>,
    kept_max: usize,
}

impl Records {
    pub fn new(kept_max: usize) -> Self {
        Self {
            kept: VecDeque::new(),
            kept_max,
        }
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
        self.add(Received {
            connection: session.0,
            channel,
            method: method.name(),
            arguments,
            message: None,
        });
    }

    /// Joins a message to the `basic.publish` that it belongs to.
    pub fn message(&mut self, session: SessionId, channel: u16, message: &Message) {
        let publish = self.kept.iter_mut().rev().find(|received| {
            received.connection == session.0
                && received.channel == channel
                && received.method == "basic.publish"
        });
        if let Some(received) = publish {
            let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
            let properties = message.properties().ok();
            received.message = Some(ReceivedMessage {
                exchange: text(message.exchange()),
                routing_key: text(message.routing_key()),
                properties: properties
                    .and_then(|properties| properties.try_into().ok())
                    .unwrap_or_default(),
                body: message.body().to_vec(),
            });
        }
    }

    fn add(&mut self, received: Received) {
        if self.kept.len() >= self.kept_max {
            self.kept.pop_front();
        }
        self.kept.push_back(received);
    }

    pub fn take(&mut self) -> Vec<Received> {
        std::mem::take(&mut self.kept).into()
    }
}
