//! The oracle: it hears what users do and what the broker reads and sends, and knows what must hold.
//!
//! ```text
//!  users ── publishing, resolved, handed, says ──▶ Books ◀── frames ── Ear, a tap of the broker
//!                                                    │
//!                                     the first rule that is broken, and what happened before
//! ```
//!
//! | file | what |
//! |---|---|
//! | `rules` | the rules, with their reasons |
//! | `ledger` | every publish and what has become of it |
//! | `holdings` | what consumers hold, as their users see it |
//! | `wire` | what the broker reads and sends: connections, channels, deliveries without an answer |
//! | `trace` | what has happened lately |

mod holdings;
mod ledger;
mod rules;
mod trace;
mod wire;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use amqp_uring::broker::Contents;
use amqp_uring::driver::sim::Clock;
use amqp_uring::{EngineStats, Error, Outcome};

pub use holdings::{Given, Word};
pub use ledger::NewPublish;
pub use rules::{Rule, Violation};

use super::report::Tally;
use super::scenario::QueueSpec;
use holdings::Consumer;
use ledger::Publish;
use trace::Trace;
pub use wire::Ear;
use wire::Session;

pub type MessageId = usize;
pub type ConsumerId = usize;
pub type PublisherId = usize;

/// What the oracle knows.
struct Books {
    clock: Clock,
    beginning: Instant,
    queues: Vec<QueueSpec>,
    messages: Vec<Publish>,
    consumers: Vec<Consumer>,
    publishers: usize,
    /// What was said of messages that somebody got with `basic.get`.
    got: BTreeMap<MessageId, Vec<Word>>,
    sessions: BTreeMap<u32, Session>,
    restarts: Vec<(Duration, Contents)>,
    tally: Tally,
    trace: Trace,
    violation: Option<Violation>,
}

impl Books {
    fn now(&self) -> Duration {
        self.clock.now() - self.beginning
    }

    fn note(&mut self, text: &'static str, numbers: [u64; 4]) {
        let now = self.now();
        self.trace.note(now, text, numbers);
    }

    fn say(&mut self, text: &'static str, number: u64, words: String) {
        let now = self.now();
        self.trace.say(now, text, number, words);
    }

    /// The first one counts: others may follow from it.
    fn violated(&mut self, rule: Rule, how: String) {
        if self.violation.is_none() {
            self.say("", 0, format!("BROKEN {rule:?}: {how}"));
            self.violation = Some(Violation { rule, how });
        }
    }
}

/// The oracle, as everybody in a world has it.
#[derive(Clone)]
pub struct Oracle(Arc<Mutex<Books>>);

impl Oracle {
    pub fn new(clock: Clock, queues: &[QueueSpec], trace_max: usize) -> Self {
        Self(Arc::new(Mutex::new(Books {
            beginning: clock.now(),
            clock,
            queues: queues.to_vec(),
            messages: Vec::new(),
            consumers: Vec::new(),
            publishers: 0,
            got: BTreeMap::new(),
            sessions: BTreeMap::new(),
            restarts: Vec::new(),
            tally: Tally::default(),
            trace: Trace::new(trace_max),
            violation: None,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What hears the broker.
    pub fn ear(&self) -> Ear {
        Ear(self.clone())
    }

    pub fn violation(&self) -> Option<Violation> {
        self.lock().violation.clone()
    }

    pub fn is_violated(&self) -> bool {
        self.lock().violation.is_some()
    }

    pub fn violated(&self, rule: Rule, how: impl Into<String>) {
        self.lock().violated(rule, how.into());
    }

    pub fn trace(&self) -> Vec<String> {
        self.lock().trace.lines()
    }

    pub fn tally(&self) -> Tally {
        self.lock().tally.clone()
    }

    /// Counts something.
    pub fn count(&self, count: impl FnOnce(&mut Tally)) {
        count(&mut self.lock().tally);
    }

    /// Notes something for whoever reads the trace.
    pub fn say(&self, text: &'static str, number: usize, words: impl Into<String>) {
        self.lock().say(text, number as u64, words.into());
    }

    /// Notes an error that a user gets. In these worlds something is always broken, but users make no mistakes, and workers
    /// live on.
    pub fn fails(&self, text: &'static str, number: usize, error: &Error) {
        self.say(text, number, error.to_string());
        let is_plausible = matches!(
            error,
            Error::Connect(_)
                | Error::ConnectionLost { .. }
                | Error::Channel { .. }
                | Error::ChannelClosed { .. }
                | Error::Cancelled
                | Error::Stopped
        );
        if !is_plausible {
            self.violated(Rule::Panics, format!("{error:?}"));
        }
    }
}

/// What users do.
impl Oracle {
    /// Somebody has opened a publisher.
    pub fn publisher(&self) -> PublisherId {
        let mut books = self.lock();
        books.publishers += 1;
        books.tally.publishers += 1;
        books.publishers
    }

    pub fn publishing(&self, publish: NewPublish) -> MessageId {
        self.lock().publishing(publish)
    }

    pub fn published(&self, id: MessageId, tag: u64) {
        self.lock().published(id, tag);
    }

    pub fn resolved(&self, id: MessageId, outcome: &Outcome) {
        self.lock().resolved(id, outcome);
    }

    pub fn consumer(&self, queue: usize, prefetch: u16, no_ack: bool) -> ConsumerId {
        self.lock().consumer(queue, prefetch, no_ack)
    }

    pub fn started(&self, id: ConsumerId) {
        self.lock().started(id);
    }

    pub fn ended(&self, id: ConsumerId, why: String) {
        self.lock().ended(id, why);
    }

    pub fn handed(&self, id: ConsumerId, given: &Given<'_>) -> u64 {
        self.lock().handed(id, given)
    }

    /// Whether a message has its own body.
    pub fn check_body(&self, id: MessageId, body: &[u8]) {
        self.lock().check_body(id, body);
    }

    pub fn says(&self, id: ConsumerId, tag: u64, word: Word) {
        self.lock().says(id, tag, word);
    }

    pub fn changes_prefetch(&self, id: ConsumerId, prefetch: u16) {
        self.lock().changes_prefetch(id, prefetch);
    }

    /// Somebody says what is to become of a message that he has got with `basic.get`.
    pub fn says_of_got(&self, message: MessageId, word: Word) {
        self.lock().got.entry(message).or_default().push(word);
    }

    pub fn acks_up_to(&self, id: ConsumerId, tag: u64) {
        self.lock().acks_up_to(id, tag);
    }

    pub fn restarted(&self, contents: Contents) {
        self.lock().restarted(contents);
    }

    /// At the end, when everything was closed and all queues are empty.
    pub fn check_end(&self) {
        let mut books = self.lock();
        books.check_all_consumed();
        books.check_all_ended();
    }
}

/// What can be seen from outside at any moment.
impl Oracle {
    pub fn check_chunks(&self, stats: &EngineStats) {
        for (worker, stats) in stats.workers.iter().enumerate() {
            let chunks = &stats.driver;
            let parts = chunks.chunks_free + chunks.chunks_posted + chunks.chunks_held;
            if parts != chunks.chunks_total {
                let how = format!("those of worker {worker}: {chunks:?}");
                self.violated(Rule::Chunks, how);
            }
        }
    }
}
