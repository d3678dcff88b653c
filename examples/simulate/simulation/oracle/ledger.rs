//! Every publish, and what has become of it.

use std::time::Duration;

use amqp_uring::Outcome;
use amqp_uring::broker::Contents;

use super::rules::Rule;
use super::{Books, ConsumerId, MessageId, PublisherId};

/// What the broker has told a publisher of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    Acked,
    Nacked,
}

/// What has become of a message in a queue, as the broker knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// Acked, or delivered to a consumer without acks.
    Acked,
    /// Rejected for good: it goes to the dead letters, where there are any.
    Rejected,
}

/// A message in one queue.
#[derive(Debug)]
struct Copy {
    queue: usize,
    /// Whether it was delivered, not marked as redelivered.
    was_first: bool,
    settled: Option<Settled>,
}

/// One publish.
#[derive(Debug)]
pub struct Publish {
    /// `None` for one that no queue takes.
    pub queue: Option<usize>,
    pub is_persistent: bool,
    pub octets: usize,
    pub publisher: PublisherId,
    /// Its number on its channel; 0 before it has one.
    pub tag: u64,
    begun_at: Duration,
    has_arrived: bool,
    answered: Option<Answered>,
    was_returned: bool,
    outcome: Option<Outcome>,
    copies: Vec<Copy>,
}

impl Publish {
    fn copy(&mut self, queue: usize) -> &mut Copy {
        let at = self.copies.iter().position(|copy| copy.queue == queue);
        let at = at.unwrap_or_else(|| {
            self.copies.push(Copy {
                queue,
                was_first: false,
                settled: None,
            });
            self.copies.len() - 1
        });
        &mut self.copies[at]
    }

    fn settled_in(&self, queue: usize) -> Option<Settled> {
        let copy = self.copies.iter().find(|copy| copy.queue == queue);
        copy.and_then(|copy| copy.settled)
    }
}

/// What publishers say.
impl Books {
    pub fn publishing(&mut self, publish: NewPublish) -> MessageId {
        let id = self.messages.len();
        let NewPublish {
            queue,
            is_persistent,
            octets,
            publisher,
        } = publish;
        self.messages.push(Publish {
            queue,
            is_persistent,
            octets,
            publisher,
            tag: 0,
            begun_at: self.now(),
            has_arrived: false,
            answered: None,
            was_returned: false,
            outcome: None,
            copies: Vec::new(),
        });
        id
    }

    pub fn published(&mut self, id: MessageId, tag: u64) {
        let message = &mut self.messages[id];
        message.tag = tag;
        let numbers = [message.publisher as u64, id as u64, tag, 0];
        self.tally.published += 1;
        self.note(
            "publisher {} publishes message {} as its number {}",
            numbers,
        );
    }

    pub fn resolved(&mut self, id: MessageId, outcome: &Outcome) {
        let message = &mut self.messages[id];
        let (answered, was_returned) = (message.answered, message.was_returned);
        let before = message.outcome.replace(outcome.clone());
        if let Some(before) = before {
            if before != *outcome {
                let how = format!("message {id} was {before:?} and is {outcome:?} now");
                self.violated(Rule::Once, how);
            }
            return;
        }
        let is_right = match outcome {
            Outcome::Acked => answered == Some(Answered::Acked) && !was_returned,
            Outcome::Nacked => answered == Some(Answered::Nacked),
            Outcome::Returned(_) => was_returned,
            _ => true,
        };
        if !is_right {
            let how = format!(
                "message {id} is {outcome:?} for its publisher; the broker said {answered:?}, and returned: {was_returned}"
            );
            self.violated(Rule::Answered, how);
        }
        match outcome {
            Outcome::Acked => self.tally.acked += 1,
            Outcome::Nacked => self.tally.nacked += 1,
            Outcome::Returned(_) => self.tally.returned += 1,
            _ => self.tally.unknown += 1,
        }
        let words = match outcome {
            Outcome::Returned(_) => "Returned".to_owned(),
            outcome => format!("{outcome:?}"),
        };
        self.say("message {} is resolved:", id as u64, words);
    }
}

/// What a publisher is about to publish.
pub struct NewPublish {
    pub queue: Option<usize>,
    pub is_persistent: bool,
    pub octets: usize,
    pub publisher: PublisherId,
}

/// What the broker does with messages.
impl Books {
    /// A message has arrived as the `number`-th publish of a channel.
    pub fn arrived(&mut self, id: MessageId, number: u64) {
        let now = self.now();
        let Some(message) = self.messages.get_mut(id) else {
            let how = format!("message {id} arrives at the broker");
            return self.violated(Rule::Invented, how);
        };
        let is_first = !std::mem::replace(&mut message.has_arrived, true);
        // For a handler that has been slow it is later than it is for another worker, which sends what it publishes.
        message.begun_at = message.begun_at.min(now);
        let tag = message.tag;
        if tag != number || !is_first {
            let how = format!(
                "message {id} was number {tag} of its publisher and arrives as number {number}, for the first time: {is_first}"
            );
            self.violated(Rule::Arrival, how);
        }
        self.note("message {} arrives as number {}", [id as u64, number, 0, 0]);
    }

    /// The first answer counts: one that is for all up to here is for those that have none yet.
    pub fn answered(&mut self, id: MessageId, answered: Answered) {
        self.messages[id].answered.get_or_insert(answered);
    }

    pub fn returned(&mut self, id: MessageId) {
        if let Some(message) = self.messages.get_mut(id) {
            message.was_returned = true;
        }
    }

    /// The broker has sent a message of a queue to a consumer.
    pub fn delivered(
        &mut self,
        id: MessageId,
        queue: usize,
        to: Option<ConsumerId>,
        redelivered: bool,
    ) {
        let dead_letters = |source: usize| self.queues[source].dead_letters;
        let Some(message) = self.messages.get_mut(id) else {
            let how = format!("message {id} is delivered to {to:?}");
            return self.violated(Rule::Invented, how);
        };
        let is_dead = message.queue.is_some_and(|source| {
            dead_letters(source) == Some(queue)
                && message.settled_in(source) == Some(Settled::Rejected)
        });
        if !message.has_arrived || !(is_dead || message.queue == Some(queue)) {
            let how = format!("message {id} is delivered to {to:?} from queue {queue}");
            return self.violated(Rule::Invented, how);
        }
        let copy = message.copy(queue);
        let settled = copy.settled;
        let is_second = !redelivered && std::mem::replace(&mut copy.was_first, true);
        if let Some(settled) = settled {
            let how = format!("message {id} is {settled:?} and delivered to {to:?}");
            self.violated(Rule::Gone, how);
        } else if is_second {
            let how = format!("message {id} is delivered a second time, without saying so");
            self.violated(Rule::Order, how);
        }
        self.tally.delivered += 1;
        self.tally.redelivered += u64::from(redelivered);
    }

    /// The broker has been told what became of a message of a queue.
    pub fn settled(&mut self, id: MessageId, queue: usize, settled: Settled) {
        if let Some(message) = self.messages.get_mut(id) {
            message.copy(queue).settled = Some(settled);
        }
        self.tally.settled += 1;
    }

    pub fn restarted(&mut self, contents: Contents) {
        let at = self.now();
        self.restarts.push((at, contents));
    }

    /// The broker may have lost this without breaking a promise.
    fn may_be_lost(&self, message: &Publish, queue: usize) -> bool {
        let is_kept = message.is_persistent && self.queues[queue].is_durable;
        if self.queues[queue].has_no_ack {
            return true;
        }
        self.restarts.iter().any(|(at, contents)| {
            *at >= message.begun_at && (*contents == Contents::Nothing || !is_kept)
        })
    }

    /// At the end, when all queues are empty.
    pub fn check_all_consumed(&mut self) {
        let mut lost = Vec::new();
        let mut open = Vec::new();
        for (id, message) in self.messages.iter().enumerate() {
            if message.tag > 0 && message.outcome.is_none() {
                open.push(id);
            }
            if message.outcome != Some(Outcome::Acked) {
                continue;
            }
            let Some(mut queue) = message.queue else {
                continue;
            };
            let mut settled = message.settled_in(queue);
            if let (Some(Settled::Rejected), Some(dead)) =
                (settled, self.queues[queue].dead_letters)
            {
                queue = dead;
                settled = message.settled_in(queue);
            }
            if settled.is_none() && !self.may_be_lost(message, queue) {
                lost.push(format!("message {id} in queue {queue}"));
            }
        }
        if let Some(first) = lost.first() {
            let how = format!("{} confirmed and lost: {first}", lost.len());
            self.violated(Rule::Survives, how);
        }
        if let Some(first) = open.first() {
            let how = format!("{} never resolved: message {first}", open.len());
            self.violated(Rule::Once, how);
        }
    }
}
