//! Why a connection or a channel ended, and what the peer did wrong.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

use crate::protocol::{DecodeError, EncodeError, ReplyCode, ShortStr};

/// The code and text with which a peer closes a channel or a connection, and the method that caused it.
///
/// `class_id` and `method_id` are 0 when no single method was at fault (`connection.close`, `channel.close`).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseReason {
    /// The reply code as it came; [`CloseReason::reply_code`] names it.
    pub code: u16,
    /// The peer's text, at most 255 octets.
    pub text: String,
    /// The class of the method at fault, or 0.
    pub class_id: u16,
    /// The method at fault, or 0.
    pub method_id: u16,
}

impl CloseReason {
    pub(crate) fn new(code: u16, text: ShortStr<'_>, class_id: u16, method_id: u16) -> Self {
        CloseReason {
            code,
            text: text.to_string(),
            class_id,
            method_id,
        }
    }

    /// The code as AMQP names it, or `None` for a number that AMQP 0-9-1 does not define.
    pub fn reply_code(&self) -> Option<ReplyCode> {
        ReplyCode::from_u16(self.code)
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(code) = self.reply_code() else {
            return write!(f, "{} {}", self.code, self.text);
        };
        // RabbitMQ begins its texts with the name of the code; other brokers do not.
        if self.text.starts_with(code.name()) {
            write!(f, "{} {}", self.code, self.text)
        } else {
            write!(f, "{} {}: {}", self.code, code.name(), self.text)
        }
    }
}

/// What the peer sent that AMQP 0-9-1 does not allow at that moment, although each octet could be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Violation {
    /// A frame for a channel that was never open. One for a channel that was open is passed over.
    #[error("a frame for channel {channel}, which was never open")]
    UnknownChannel {
        /// The channel number of the frame.
        channel: u16,
    },
    /// A frame for a channel other than 0 before the connection was open.
    #[error("a frame for channel {channel} before the connection was open")]
    BeforeOpen {
        /// The channel number of the frame.
        channel: u16,
    },
    /// A heartbeat frame on a channel other than 0 (section 4.2.7).
    #[error("a heartbeat on channel {channel}; heartbeats belong on channel 0")]
    HeartbeatOnChannel {
        /// The channel number of the frame.
        channel: u16,
    },
    /// A method that has no place at this point.
    #[error("{method} on channel {channel} while {expected}")]
    UnexpectedMethod {
        /// The method's name.
        method: &'static str,
        /// The channel it came on.
        channel: u16,
        /// What the client was waiting for.
        expected: &'static str,
    },
    /// A content header or body frame where none belongs.
    #[error("a {found} frame on channel {channel} where {expected} belongs")]
    UnexpectedFrame {
        /// The kind of the frame.
        found: &'static str,
        /// The channel it came on.
        channel: u16,
        /// What belongs there.
        expected: &'static str,
    },
    /// More body octets than the content header announced.
    #[error("a body of more than the announced {announced} octets on channel {channel}")]
    BodyTooLong {
        /// The size in the content header.
        announced: u64,
        /// The channel it came on.
        channel: u16,
    },
    /// A body larger than the limit set for this connection.
    #[error(
        "a body of {announced} octets on channel {channel}; the limit is {limit} (raise `body_size_max` if such bodies are expected)"
    )]
    BodyTooLarge {
        /// The size in the content header.
        announced: u64,
        /// The limit, in octets.
        limit: u64,
        /// The channel it came on.
        channel: u16,
    },
    /// A delivery whose tag is not above the one before it.
    #[error("delivery tag {found} on channel {channel} after {last}")]
    DeliveryTag {
        /// The tag that came.
        found: u64,
        /// The highest tag before it.
        last: u64,
        /// The channel it came on.
        channel: u16,
    },
    /// A delivery for a consumer tag that nobody has.
    #[error("a delivery for the unknown consumer tag {tag:?} on channel {channel}")]
    UnknownConsumer {
        /// The consumer tag.
        tag: String,
        /// The channel it came on.
        channel: u16,
    },
    /// A confirm for a tag that was never published, or was confirmed before.
    #[error("a confirm for delivery tag {tag} on channel {channel}, which {why}")]
    Confirm {
        /// The tag confirmed.
        tag: u64,
        /// The channel it came on.
        channel: u16,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Tuning values that the specification does not allow.
    #[error("connection.tune with {what}")]
    Tuning {
        /// Which value is wrong.
        what: String,
    },
}

impl Violation {
    /// The code this client closes the connection with.
    pub fn reply_code(&self) -> ReplyCode {
        match self {
            Violation::UnknownChannel { .. } | Violation::BeforeOpen { .. } => {
                ReplyCode::ChannelError
            }
            Violation::HeartbeatOnChannel { .. } => ReplyCode::FrameError,
            Violation::UnexpectedMethod { .. }
            | Violation::DeliveryTag { .. }
            | Violation::UnknownConsumer { .. }
            | Violation::Confirm { .. } => ReplyCode::CommandInvalid,
            Violation::UnexpectedFrame { .. } | Violation::BodyTooLong { .. } => {
                ReplyCode::UnexpectedFrame
            }
            Violation::BodyTooLarge { .. } => ReplyCode::ResourceError,
            Violation::Tuning { .. } => ReplyCode::SyntaxError,
        }
    }
}

/// Why a connection ended, or could not be made.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The broker closed it with `connection.close`.
    #[error("the broker closed the connection: {0}")]
    ClosedByBroker(CloseReason),
    /// This side closed it with `connection.close`.
    #[error("the connection was closed by this client")]
    ClosedByClient,
    /// The broker sent octets that are not AMQP 0-9-1.
    #[error("the peer sent octets that are not AMQP 0-9-1: {0}")]
    Decode(#[from] DecodeError),
    /// The broker sent something that has no place at that point.
    #[error("the broker broke the protocol: it sent {0}")]
    Violation(#[from] Violation),
    /// The line beneath it was lost: reset, closed without a word, or never there.
    #[error("the line was lost: {0}")]
    Lost(String),
    /// Nothing came for two heartbeat intervals (section 4.2.7).
    #[error(
        "nothing came from the broker for two heartbeat intervals of {interval:?}: it is dead or unreachable"
    )]
    HeartbeatMissed {
        /// The negotiated interval.
        interval: Duration,
    },
    /// The broker offers none of this client's SASL mechanisms.
    #[error(
        "the broker offers the SASL mechanisms {offered:?}, this client speaks PLAIN: enable PLAIN at the broker"
    )]
    Mechanism {
        /// What the broker offers, separated by blanks.
        offered: String,
    },
    /// The configuration does not fit the handshake. Nothing of it was sent.
    #[error("the configuration cannot be sent to a broker: {0}")]
    Config(#[from] EncodeError),
    /// The broker speaks another version of AMQP.
    #[error("the broker speaks AMQP {major}-{minor}, this client 0-9")]
    Version {
        /// Its major version.
        major: u8,
        /// Its minor version.
        minor: u8,
    },
}

impl From<CloseReason> for ConnectionError {
    fn from(reason: CloseReason) -> Self {
        ConnectionError::ClosedByBroker(reason)
    }
}

/// Why a channel ended.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// The broker closed it with `channel.close`.
    #[error("{0}")]
    ClosedByBroker(CloseReason),
    /// This side closed it.
    #[error("the channel was closed by this client")]
    ClosedByClient,
    /// The connection beneath it ended.
    #[error("{0}")]
    Connection(ConnectionError),
}

/// Why an operation was not accepted. Nothing was sent.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum Refused {
    /// The connection is not open, or no longer.
    #[error("the connection is not open")]
    NotOpen,
    /// The channel is closed, or belongs to an earlier connection.
    #[error("the channel is closed, or belongs to an earlier connection")]
    StaleChannel,
    /// The broker granted no more channels.
    #[error("all {0} channels that the broker granted are in use")]
    NoChannelFree(u16),
    /// Too many calls wait for their answer on one channel.
    #[error("{0} calls wait on this channel already")]
    TooManyCalls(usize),
    /// A method that cannot be a call: the broker does not answer it (for instance because of `no_wait`), or it has a function of its own
    /// (`open_channel`, `consume`, `cancel`, `close_channel`, `settle`, `requeue_open`).
    #[error("{method} cannot be called: no answer comes, or there is a function of its own for it")]
    NotACall {
        /// The method's name.
        method: &'static str,
    },
    /// The arguments, or the properties of a publish, do not fit a frame.
    #[error("{method} of {size} octets does not fit a frame of {frame_max}")]
    FrameTooLarge {
        /// The method's name, or "content header".
        method: &'static str,
        /// Its size with the frame's overhead, in octets.
        size: usize,
        /// The negotiated limit, in octets.
        frame_max: u32,
    },
    /// An argument cannot be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}
