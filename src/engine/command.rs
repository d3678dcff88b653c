//! What other threads ask a worker to do.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::call::Answer;
use super::consumer::ConsumeRequest;
use super::delivery::DetachedDelivery;
use super::outlet::Outlet;
use super::publisher::{Handle, PublisherOptions};
use super::topology::{Operation, QueueInfo};
use crate::connection::{self, ChannelId, Token};

/// How other threads reach a worker.
pub(super) type Mailbox = crate::driver::Mailbox<Command>;

/// Everything that comes through a worker's [`Mailbox`]. Dropping one drops its answer, which its caller sees as
/// [`Error::Stopped`](super::Error::Stopped).
pub(super) enum Command {
    /// A synchronous method on the connection's own channel, or a `basic.get`.
    Job(Job),
    Consume(Box<ConsumeRequest>),
    /// The consumer names itself by its token, which is good as long as the consumer is.
    Cancel {
        consumer: Token,
        serial: u64,
        answer: Answer<()>,
    },
    SetPrefetch {
        consumer: Token,
        serial: u64,
        prefetch: u16,
        answer: Answer<()>,
    },
    OpenPublisher {
        options: PublisherOptions,
        confirms: bool,
        answer: Answer<Handle>,
    },
    /// A publisher has something to send. Sent once until the worker looks at it.
    PublisherReady {
        publisher: Token,
        serial: u64,
    },
    ClosePublisher {
        outlet: Arc<Outlet>,
        answer: Option<Answer<()>>,
    },
    Settle(Settle),
    /// The time counts from when the worker hears of it.
    Shutdown {
        timeout: Duration,
        answer: Answer<()>,
    },
}

/// A late answer to deliveries.
pub(super) struct Settle {
    pub line: usize,
    pub channel: ChannelId,
    pub tags: RangeInclusive<u64>,
    pub answer: connection::Answer,
}

/// Work for a channel that does one thing at a time.
pub(super) enum Job {
    Topology(Operation, TopologyAnswer),
    Get {
        queue: String,
        no_ack: bool,
        answer: Answer<Option<DetachedDelivery>>,
    },
}

impl Job {
    pub fn name(&self) -> &'static str {
        match self {
            Job::Topology(operation, _) => operation.name(),
            Job::Get { .. } => "basic.get",
        }
    }
}

/// Who waits for a topology operation, by what it answers.
pub(super) enum TopologyAnswer {
    Queue(Answer<QueueInfo>),
    Count(Answer<u32>),
    Done(Answer<()>),
}
