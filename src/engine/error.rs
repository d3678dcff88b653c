//! What can go wrong for a user of the engine, and what to do about it.

use std::net::SocketAddr;
use std::time::Duration;

use thiserror::Error;

use crate::connection::{ChannelError, CloseReason, ConnectionError, Refused};
use crate::driver::{DriverError, MailboxClosed};
use crate::protocol::{EncodeError, ReplyCode};

/// Why a node could not be reached.
#[derive(Debug, Clone, PartialEq, Error)]
#[error("{address}: {cause}")]
pub struct ConnectFailure {
    /// The address that was tried, or the host when it has no address.
    pub address: String,
    /// What happened.
    pub cause: ConnectCause,
}

/// What happened while connecting.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum ConnectCause {
    /// The host's name could not be resolved.
    #[error("the host name cannot be resolved: {0}")]
    Resolve(String),
    /// No connection, or it was lost before AMQP was spoken.
    #[error("{0}")]
    Line(String),
    /// The peer refused, or does not speak AMQP 0-9-1.
    #[error("{0}")]
    Amqp(ConnectionError),
    /// The connect timeout passed.
    #[error(
        "no answer within {0:?}: is this an AMQP broker's port, and does a firewall let it through?"
    )]
    Timeout(Duration),
}

impl ConnectFailure {
    pub(crate) fn new(address: SocketAddr, cause: ConnectCause) -> Self {
        ConnectFailure {
            address: address.to_string(),
            cause,
        }
    }
}

/// What the engine reports. Match on the variant, or ask [`Error::code`] for the broker's reply code.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum Error {
    /// A parameter of a URI, a node or an option is wrong.
    #[error("{what}: {why}")]
    Parameter {
        /// Which one.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A name, a key or a value does not fit its place in the protocol.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// No node could be connected: the last cause for each.
    #[error("cannot connect to {}", join(.0))]
    Connect(Vec<ConnectFailure>),
    /// io_uring, its buffers or a thread could not be had.
    #[error("a worker cannot run: {0}")]
    Driver(String),
    /// The broker refused an operation and closed its channel: NOT_FOUND, ACCESS_REFUSED, PRECONDITION_FAILED, RESOURCE_LOCKED, …
    #[error("{operation}: {reason}")]
    Channel {
        /// What was asked for.
        operation: &'static str,
        /// The broker's answer.
        reason: CloseReason,
    },
    /// The operation's channel was closed by this side before the answer came.
    #[error("{operation}: cancelled, because its channel was closed")]
    ChannelClosed {
        /// What was asked for.
        operation: &'static str,
    },
    /// The connection ended before the operation was answered. It may have taken effect.
    #[error("{operation}: {cause}")]
    ConnectionLost {
        /// What was asked for.
        operation: &'static str,
        /// How the connection ended.
        cause: ConnectionError,
    },
    /// The request was not accepted; nothing was sent.
    #[error("{operation}: {refused}")]
    Refused {
        /// What was asked for.
        operation: &'static str,
        /// Why not.
        refused: Refused,
    },
    /// The time given passed. The operation goes on and may still take effect.
    #[error("no answer within {0:?}; the operation may still take effect")]
    Timeout(Duration),
    /// No room in the publisher's window: messages without a confirm, or octets not sent.
    #[error(
        "the publisher's window is full: {messages} messages, {octets} octets without an answer"
    )]
    WindowFull {
        /// Messages that wait for their confirm.
        messages: u64,
        /// Octets that wait.
        octets: usize,
    },
    /// So many publishes failed, and nobody looked at them, that their outcomes cannot be kept.
    #[error(
        "{0} failed publishes were not looked at: call wait_for_confirms() or wait for the receipts"
    )]
    OutcomesNotCollected(usize),
    /// The outcome was reported by `wait_for_confirms` and has since been dropped to make room.
    #[error("the outcome was reported by wait_for_confirms() long ago and is no longer kept")]
    OutcomeForgotten,
    /// The consumer was cancelled before it started.
    #[error("the consumer was cancelled")]
    Cancelled,
    /// The engine has been shut down.
    #[error("the engine has been shut down")]
    Stopped,
    /// Waiting on a worker's thread, from a handler for instance, would stop the very thread that brings the answer.
    #[error(
        "a handler must not wait for the broker: it runs on the thread that reads the answer; use another thread"
    )]
    WouldBlockWorker,
    /// Shutting down took longer than it was given.
    #[error("not everything was finished within {timeout:?}: {left}")]
    ShutdownIncomplete {
        /// The time given.
        timeout: Duration,
        /// What was left undone.
        left: String,
    },
}

fn join(failures: &[ConnectFailure]) -> String {
    let shown: Vec<String> = failures.iter().map(ConnectFailure::to_string).collect();
    shown.join("; ")
}

impl Error {
    /// The broker's reply code, where the broker gave one.
    pub fn code(&self) -> Option<ReplyCode> {
        match self {
            Error::Channel { reason, .. } => reason.reply_code(),
            Error::ConnectionLost { cause, .. } => connection_code(cause),
            Error::Connect(failures) => failures.iter().find_map(|f| match &f.cause {
                ConnectCause::Amqp(error) => connection_code(error),
                _ => None,
            }),
            _ => None,
        }
    }

    /// Whether the error ended the connection, and not a single channel or operation (section 1.2).
    pub fn is_hard(&self) -> bool {
        matches!(self, Error::ConnectionLost { .. } | Error::Connect(_))
    }

    pub(crate) fn parameter(what: &'static str, why: impl Into<String>) -> Self {
        Error::Parameter {
            what,
            why: why.into(),
        }
    }

    pub(crate) fn from_channel(operation: &'static str, error: ChannelError) -> Self {
        match error {
            ChannelError::ClosedByBroker(reason) => Error::Channel { operation, reason },
            ChannelError::ClosedByClient => Error::ChannelClosed { operation },
            ChannelError::Connection(cause) => Error::ConnectionLost { operation, cause },
        }
    }
}

impl From<MailboxClosed> for Error {
    fn from(_: MailboxClosed) -> Self {
        Error::Stopped
    }
}

impl From<DriverError> for Error {
    fn from(error: DriverError) -> Self {
        Error::Driver(error.to_string())
    }
}

fn connection_code(error: &ConnectionError) -> Option<ReplyCode> {
    match error {
        ConnectionError::ClosedByBroker(reason) => reason.reply_code(),
        ConnectionError::Decode(decode) => Some(decode.reply_code()),
        ConnectionError::Violation(violation) => Some(violation.reply_code()),
        _ => None,
    }
}
