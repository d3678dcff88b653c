//! One channel: what comes in on it, what it has under way, and who consumes on it.

use slab::Slab;

use super::confirms::Confirms;
use super::content::Incoming;
use super::ids::QueueId;
use super::tx::Transaction;
use super::unacked::Unacked;

/// What a channel may have in its life of being open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Open,
    /// `channel.close` was sent: everything but its answer, and a `channel.close` from the other side, is thrown away.
    Closing,
    /// It is forgotten after the method at work.
    Closed,
}

/// Whether publishes are answered, and how.
pub(crate) enum Mode {
    Plain,
    Confirm(Confirms),
    Transaction(Transaction),
}

pub(crate) struct Channel {
    pub state: State,
    pub incoming: Incoming,
    /// Whether content is what comes next.
    pub is_publishing: bool,
    pub mode: Mode,
    pub next_delivery_tag: u64,
    pub unacked: Unacked,
    pub consumers: Slab<Consumer>,
    /// For consumers that are started from now on; 0 for no limit.
    pub prefetch: u16,
    /// For all consumers of the channel together; 0 for no limit.
    pub prefetch_global: u16,
    /// Where `channel.flow` has stopped deliveries.
    pub is_stopped: bool,
    /// What an empty queue name means.
    pub last_queue: String,
    /// Where direct replies to this channel are published to, if it consumes them.
    pub reply_address: Option<String>,
}

pub(crate) struct Consumer {
    pub tag: Box<str>,
    /// None for a consumer of direct replies.
    pub queue: Option<QueueId>,
    pub no_ack: bool,
    pub prefetch: u16,
    pub unacked: u32,
}

impl Channel {
    pub fn new() -> Self {
        Self {
            state: State::Open,
            incoming: Incoming::default(),
            is_publishing: false,
            mode: Mode::Plain,
            next_delivery_tag: 1,
            unacked: Unacked::default(),
            consumers: Slab::new(),
            prefetch: 0,
            prefetch_global: 0,
            is_stopped: false,
            last_queue: String::new(),
            reply_address: None,
        }
    }

    pub fn delivery_tag(&mut self) -> u64 {
        let tag = self.next_delivery_tag;
        self.next_delivery_tag += 1;
        tag
    }

    /// Whether one more delivery fits the prefetch windows.
    pub fn may_take(&self, consumer: u32) -> bool {
        let Some(consumer) = self.consumers.get(consumer as usize) else {
            return false;
        };
        if self.is_stopped || self.state != State::Open {
            return false;
        }
        let fits = |window: u16, used: usize| window == 0 || used < usize::from(window);
        consumer.no_ack
            || (fits(consumer.prefetch, consumer.unacked as usize)
                && fits(self.prefetch_global, self.unacked.of_consumers()))
    }

    /// About what it holds of messages that are in no queue.
    pub fn octets(&self) -> usize {
        let uncommitted = match &self.mode {
            Mode::Transaction(transaction) => transaction.octets(),
            Mode::Plain | Mode::Confirm(_) => 0,
        };
        uncommitted + self.incoming.octets() + self.unacked.octets()
    }

    pub fn consumer_by_tag(&self, tag: &str) -> Option<u32> {
        let mut consumers = self.consumers.iter();
        let (index, _) = consumers.find(|(_, consumer)| &*consumer.tag == tag)?;
        u32::try_from(index).ok()
    }
}
