//! What ends a run before its time, and what to do about it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use amqp_uring::broker::BrokerError;
use amqp_uring::{CancelReason, ConfirmCounts, ConnectCause};
use thiserror::Error;

use crate::database::DatabaseError;
use crate::lines::ReadError;

/// Why a run did not do all it was asked for.
#[derive(Debug, Error)]
pub enum Failure {
    /// The input file is not to be had.
    #[error("cannot open {}: {error}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// The input could not be read to its end.
    #[error("cannot read {input}: {error}")]
    Read {
        /// The input's name.
        input: String,
        /// Where and why.
        error: ReadError,
    },
    /// The database could not be opened, read or written. What it did not take stays in the queue.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The input is not the one that was ingested before.
    #[error(
        "line {line} is not what the database has as {message_id:?}: is this another input, or was it changed? Then give it \
         a name of its own with --source"
    )]
    OtherInput {
        /// The line's number.
        line: u64,
        /// Its id.
        message_id: String,
    },
    /// The broker inside this program cannot be started.
    #[error("cannot start a broker inside this program: {0}; to use another one: --uri URI")]
    Embedded(BrokerError),
    /// The broker is not to be had.
    #[error("{error}{}", hint(error))]
    Connect {
        /// The library's error.
        error: amqp_uring::Error,
    },
    /// The broker refused something, or the line was lost.
    #[error(transparent)]
    Broker(#[from] amqp_uring::Error),
    /// The consumer ended by itself.
    #[error("the broker delivers no more: {}", describe(.0))]
    ConsumerEnded(CancelReason),
    /// Something else publishes to the queue.
    #[error(
        "the queue holds a message without a message_id in UTF-8, so that it has no place in the database: it was not published by this program, and stays in the queue"
    )]
    NoMessageId,
    /// The broker took some of the messages only.
    #[error(
        "not confirmed: {} refused by the broker, {} without a queue, {} unknown; run the same command again", counts.nacked, counts.returned, counts.unknown
    )]
    Unconfirmed {
        /// How many ended in which way.
        counts: ConfirmCounts,
    },
    /// The broker is silent about what was published.
    #[error(
        "the broker has confirmed nothing for {} s, and {pending} messages wait: has it run out of memory or disk? `rabbitmqctl \
         status` tells; run the same command again", waited.as_secs()
    )]
    ConfirmsStalled {
        /// Messages without an answer.
        pending: u64,
        /// How long nothing came.
        waited: Duration,
    },
    /// Everything is confirmed, the queue is empty, and still there are lines that the database lacks.
    #[error(
        "{missing} lines were confirmed by the broker but did not arrive here: does something else consume from the queue?"
    )]
    Missing {
        /// How many.
        missing: u64,
    },
    /// A thread could not be started or has panicked.
    #[error("{0}")]
    Thread(String),
    /// Signals cannot be handled.
    #[error("cannot handle signals: {0}")]
    Signals(io::Error),
}

/// What to do when nothing answers at the broker's address. Other errors speak for themselves.
fn hint(error: &amqp_uring::Error) -> &'static str {
    let amqp_uring::Error::Connect(failures) = error else {
        return "";
    };
    if failures
        .iter()
        .any(|failure| matches!(failure.cause, ConnectCause::Amqp(_)))
    {
        return "";
    }
    "\nNo broker answers there. To start one on this machine:\
     \n    apt-get install rabbitmq-server                    (Debian, Ubuntu; as root)\
     \n    docker run --rm --publish 5672:5672 rabbitmq       (anywhere)\
     \nTo use another one: --uri amqp://USER:PASSWORD@HOST:PORT/VHOST, or the same in AMQP_URL."
}

fn describe(reason: &CancelReason) -> String {
    match reason {
        CancelReason::ByBroker => "it cancelled the consumer; was the queue deleted?".to_owned(),
        CancelReason::ChannelClosed(reason) => reason.to_string(),
        CancelReason::ConnectionLost(error) => format!("the connection is lost: {error}"),
        other => format!("{other:?}"),
    }
}
