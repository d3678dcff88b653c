//! What consumers hold, as their users see it.

use std::collections::{BTreeMap, VecDeque};

use super::rules::Rule;
use super::{Books, ConsumerId, MessageId, PublisherId};
use crate::simulation::message;

/// A user's word on a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    Ack,
    Requeue,
    /// Rejected for good.
    Discard,
}

/// A delivery that the broker has sent.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    pub tag: u64,
    pub message: MessageId,
    pub redelivered: bool,
}

/// A consumer, from its start to its end. One that is started again is another one.
#[derive(Debug)]
pub struct Consumer {
    pub queue: usize,
    pub prefetch: u16,
    pub no_ack: bool,
    /// What was sent to it, and its handler has not seen.
    pub sent: VecDeque<Sent>,
    /// The last number of each publisher that it was sent, what is redelivered aside.
    pub last: BTreeMap<PublisherId, u64>,
    words: BTreeMap<u64, Word>,
    /// What its handler has seen and its user said nothing of.
    held: BTreeMap<u64, MessageId>,
    has_started: bool,
    /// How often it was told that it has ended.
    ends: u32,
}

impl Consumer {
    /// Whether the user has said this of a delivery.
    pub fn has_said(&self, tag: u64, word: Word) -> bool {
        self.words.get(&tag) == Some(&word)
    }
}

impl Books {
    pub fn consumer(&mut self, queue: usize, prefetch: u16, no_ack: bool) -> ConsumerId {
        let id = self.consumers.len();
        self.consumers.push(Consumer {
            queue,
            prefetch,
            no_ack,
            sent: VecDeque::new(),
            last: BTreeMap::new(),
            words: BTreeMap::new(),
            held: BTreeMap::new(),
            has_started: false,
            ends: 0,
        });
        self.note(
            "consumer {} is opened on queue {}, with a prefetch of {}",
            [id as u64, queue as u64, u64::from(prefetch), 0],
        );
        id
    }

    /// What it holds from before counts in no window any more.
    pub fn changes_prefetch(&mut self, id: ConsumerId, prefetch: u16) {
        let consumer = &mut self.consumers[id];
        consumer.prefetch = match consumer.prefetch {
            0 => 0,
            before => before + prefetch,
        };
        self.note(
            "consumer {} changes its prefetch to {}",
            [id as u64, u64::from(prefetch), 0, 0],
        );
    }

    pub fn started(&mut self, id: ConsumerId) {
        self.consumers[id].has_started = true;
        self.tally.consumers += 1;
    }

    pub fn ended(&mut self, id: ConsumerId, why: String) {
        self.say("consumer {} has ended:", id as u64, why);
        let consumer = &mut self.consumers[id];
        consumer.ends += 1;
        if consumer.ends > 1 {
            self.violated(Rule::Ends, format!("consumer {id} has ended twice"));
        }
    }

    /// A handler is given a delivery. Gives its tag.
    pub fn handed(&mut self, id: ConsumerId, given: &Given<'_>) -> u64 {
        let consumer = &mut self.consumers[id];
        let has_ended = consumer.ends > 0 && given.tag.is_some();
        let Some(sent) = consumer.sent.pop_front() else {
            let how = format!("consumer {id} gets {given:?}, which the broker never sent");
            self.violated(Rule::Seen, how);
            return 0;
        };
        let is_same = sent.message == given.message
            && sent.redelivered == given.redelivered
            && given.tag.is_none_or(|tag| tag == sent.tag);
        if !is_same || has_ended {
            let how =
                format!("consumer {id} gets {given:?}; ended: {has_ended}; {sent:?} was sent");
            self.violated(Rule::Seen, how);
            return sent.tag;
        }
        self.check_body(sent.message, given.body);
        let consumer = &mut self.consumers[id];
        if !consumer.no_ack {
            consumer.held.insert(sent.tag, sent.message);
            let (held, prefetch) = (consumer.held.len(), usize::from(consumer.prefetch));
            if prefetch > 0 && held > prefetch {
                let how = format!("the user of consumer {id} holds {held} of {prefetch}");
                self.violated(Rule::Window, how);
            }
        }
        self.note(
            "consumer {} gets message {} with tag {}",
            [id as u64, sent.message as u64, sent.tag, 0],
        );
        sent.tag
    }

    pub fn check_body(&mut self, id: MessageId, body: &[u8]) {
        let octets = self.messages.get(id).map_or(0, |message| message.octets);
        if !message::is_body(id, octets, body) {
            let octets_now = body.len();
            let how =
                format!("the body of message {id} has changed: {octets_now} octets of {octets}");
            self.violated(Rule::Seen, how);
        }
    }

    /// A user says what is to become of a delivery; the engine hears it afterwards. The first word counts.
    pub fn says(&mut self, id: ConsumerId, tag: u64, word: Word) {
        let consumer = &mut self.consumers[id];
        consumer.held.remove(&tag);
        consumer.words.entry(tag).or_insert(word);
        let text = match word {
            Word::Ack => "consumer {} acks tag {}",
            Word::Requeue => "consumer {} requeues tag {}",
            Word::Discard => "consumer {} discards tag {}",
        };
        self.note(text, [id as u64, tag, 0, 0]);
    }

    /// A user acks everything that was not answered, up to a tag.
    pub fn acks_up_to(&mut self, id: ConsumerId, tag: u64) {
        let open: Vec<_> = self.consumers[id]
            .held
            .range(..=tag)
            .map(|(tag, _)| *tag)
            .collect();
        for tag in open {
            self.says(id, tag, Word::Ack);
        }
    }

    /// At the end, when everything was closed.
    pub fn check_all_ended(&mut self) {
        let open = self
            .consumers
            .iter()
            .position(|consumer| consumer.has_started && consumer.ends == 0);
        if let Some(id) = open {
            self.violated(
                Rule::Ends,
                format!("consumer {id} was never told that it ended"),
            );
        }
    }
}

/// A delivery as a handler sees it.
pub struct Given<'a> {
    pub message: MessageId,
    /// Where the user is told.
    pub tag: Option<u64>,
    pub redelivered: bool,
    pub body: &'a [u8],
}

impl std::fmt::Debug for Given<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Given {
            message,
            tag,
            redelivered,
            body,
        } = self;
        let octets = body.len();
        write!(
            f,
            "message {message} (tag {tag:?}, redelivered: {redelivered}, {octets} octets)"
        )
    }
}
