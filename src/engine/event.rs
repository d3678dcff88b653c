//! What happens to an engine beside its deliveries and calls.

use std::fmt;

use super::hands::shielded;
use crate::connection::ConnectionError;

/// Told to the function given to [`EngineBuilder::on_event`](super::EngineBuilder::on_event), on a worker's thread: it must not block.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A connection ended that had been open, and not because the engine was shut down. Once per loss. Its consumers were cancelled and its
    /// publishers ended before.
    ConnectionLost {
        /// The worker whose connection it was.
        worker: usize,
        /// How it ended.
        cause: ConnectionError,
    },
    /// The broker takes no publishes for now: an alarm of memory or disk (<https://www.rabbitmq.com/docs/connection-blocked>).
    Blocked {
        /// The worker whose connection it is.
        worker: usize,
        /// The broker's words.
        reason: String,
    },
    /// The broker takes publishes again.
    Unblocked {
        /// The worker whose connection it is.
        worker: usize,
    },
    /// A handler panicked. Its consumer is being cancelled, and what it held is requeued.
    HandlerPanicked {
        /// The consumer's tag.
        consumer_tag: String,
        /// The panic's message.
        message: String,
    },
}

/// Called for each event.
pub(super) type Listener = Box<dyn Fn(&Event) + Send + Sync>;

/// The listener, if there is one.
#[derive(Default)]
pub(super) struct Listeners(pub Option<Listener>);

impl Listeners {
    pub fn tell(&self, event: &Event) {
        tracing::debug!(?event, "amqp event");
        if let Some(listener) = &self.0 {
            shielded("an event listener", || listener(event));
        }
    }
}

impl fmt::Debug for Listeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Listeners").field(&self.0.is_some()).finish()
    }
}
