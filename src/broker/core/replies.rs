//! Direct reply-to: replies that go to a requester's channel without a queue
//! (<https://www.rabbitmq.com/docs/direct-reply-to>).

use std::collections::HashMap;

use super::ids::ConsumerId;

/// The queue name that a requester consumes from and puts into `reply_to`.
pub(crate) const PSEUDO_QUEUE: &str = "amq.rabbitmq.reply-to";

/// What the names begin with that responders see in its place.
pub(crate) const ADDRESS_PREFIX: &str = "amq.rabbitmq.reply-to.";

/// Who gets what is published to which address.
#[derive(Default)]
pub(crate) struct Replies {
    consumers: HashMap<String, ConsumerId>,
}

impl Replies {
    pub fn add(&mut self, address: String, consumer: ConsumerId) {
        self.consumers.insert(address, consumer);
    }

    pub fn remove(&mut self, address: &str) {
        self.consumers.remove(address);
    }

    pub fn consumer(&self, address: &str) -> Option<ConsumerId> {
        self.consumers.get(address).copied()
    }
}
