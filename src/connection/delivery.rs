//! What a connection hands upwards while it reads: deliveries, returns and confirms, in the order in which they came.

use bytes::Bytes;

use super::Token;
use super::acks::Answer;
use super::channel::ChannelId;
use super::confirms::BadConfirm;
use crate::protocol::{Properties, PropertiesRef, ShortStr};

/// The body of a message while it is borrowed from the receive path.
#[derive(Debug, Clone, Copy)]
pub enum Body<'a> {
    /// In one piece, in the octets that were given to [`Connection::receive`](super::Connection::receive).
    Borrowed(&'a [u8]),
    /// Gathered from several frames into a buffer of its own.
    Gathered(&'a Bytes),
}

impl<'a> Body<'a> {
    /// The octets.
    #[inline]
    pub fn as_slice(&self) -> &'a [u8] {
        match self {
            Body::Borrowed(octets) => octets,
            Body::Gathered(bytes) => bytes,
        }
    }
}

/// A message that the broker delivered (`basic.deliver`) or gave (`basic.get-ok`). Borrowed: nothing is decoded that nobody reads.
#[derive(Debug, Clone, Copy)]
pub struct Delivery<'a> {
    /// The channel it came on.
    pub channel: ChannelId,
    /// Its tag, unique for the channel.
    pub delivery_tag: u64,
    /// Whether the broker has, or may have, delivered it before.
    pub redelivered: bool,
    /// The consumer's tag; empty for `basic.get-ok`.
    pub consumer_tag: ShortStr<'a>,
    /// The exchange it was published to; empty for the default exchange.
    pub exchange: ShortStr<'a>,
    /// The routing key it was published with.
    pub routing_key: ShortStr<'a>,
    /// Its properties.
    pub properties: PropertiesRef<'a>,
    /// Its body.
    pub body: Body<'a>,
}

/// An unroutable mandatory message that came back (`basic.return`).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Returned {
    /// Why: 312 NO_ROUTE, for RabbitMQ.
    pub code: u16,
    /// The broker's text.
    pub text: String,
    /// The exchange it was published to.
    pub exchange: String,
    /// The routing key it was published with.
    pub routing_key: String,
    /// Its properties.
    pub properties: Properties,
    /// Its body.
    pub body: Bytes,
}

/// `basic.ack` or `basic.nack` from the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirm {
    /// The tag confirmed.
    pub delivery_tag: u64,
    /// Whether all tags up to it are meant.
    pub multiple: bool,
    /// Acked, or nacked.
    pub acked: bool,
}

/// Takes what comes while octets are read. Called in place, on the thread that reads.
pub trait Sink {
    /// A message for a consumer. The answer is booked at once; `None` says that it comes later, through
    /// [`Connection::settle`](super::Connection::settle). For a consumer without acks the answer is ignored.
    fn delivery(&mut self, consumer: Token, delivery: &Delivery<'_>) -> Option<Answer>;

    /// The message that a `basic.get` asked for; the call's reply follows as an event.
    fn got(&mut self, call: Token, delivery: &Delivery<'_>);

    /// A message came back to the publisher on this channel.
    fn returned(&mut self, publisher: Token, returned: Returned, fingerprint: u64);

    /// The broker confirmed publishes of the publisher on this channel.
    fn confirmed(&mut self, publisher: Token, confirm: Confirm) -> Result<(), BadConfirm>;
}
