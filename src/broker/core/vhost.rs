//! A virtual host: its exchanges and its queues.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use slab::Slab;

use super::ids::{ConsumerId, QueueId, SessionId};
use super::publishing::Route;
use super::queue::{Declaration, Effects, Fate, Queue};
use super::refusal::Refusal;
use super::routing::Exchanges;

pub(crate) struct Vhost {
    pub name: String,
    pub exchanges: Exchanges,
    pub queues: Queues,
    /// What work on queues has brought about and nobody has dealt with yet.
    pub effects: Effects,
    /// Queues that are gone; their consumers and unacked deliveries have not been told.
    pub gone: Vec<Gone>,
    /// Whether deliveries must be made before anything else is published.
    pub is_pressing: bool,
    /// Where the last message went.
    pub route: Route,
}

/// The most queues of a virtual host.
pub(crate) const QUEUES_MAX: usize = 1 << 17;

/// A queue that was deleted.
pub(crate) struct Gone {
    pub id: QueueId,
    pub consumers: Vec<ConsumerId>,
    /// Whether some channel has deliveries of it that are not settled.
    pub has_unacked: bool,
}

impl Vhost {
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            exchanges: Exchanges::new(name),
            queues: Queues::default(),
            effects: Effects::default(),
            gone: Vec::new(),
            is_pressing: false,
            route: Route::default(),
        }
    }

    /// The queue with this name, for a client that may use it.
    pub fn queue(&self, name: &str, session: SessionId) -> Result<QueueId, Refusal> {
        let vhost = &self.name;
        let id = self
            .queues
            .by_name(name)
            .ok_or_else(|| Refusal::not_found(format!("no queue '{name}' in vhost '{vhost}'")))?;
        if let Some(queue) = self.queues.get(id) {
            queue.check_access(session)?;
        }
        Ok(id)
    }

    /// Makes a queue.
    pub fn declare(
        &mut self,
        declaration: &Declaration<'_>,
        session: SessionId,
        now: Instant,
    ) -> Result<QueueId, Refusal> {
        let id = self.queues.add(declaration, session, now)?;
        self.exchanges.queue_declared(declaration.name, id);
        Ok(id)
    }

    /// Lets time pass for the queues whose time has come.
    pub fn tick(&mut self, now: Instant) {
        while let Some(id) = self.queues.next_due(now) {
            let effects = &mut self.effects;
            let fate = self
                .queues
                .get_mut(id)
                .map(|queue| queue.tick(now, effects));
            match fate {
                Some(Fate::Ends) => {
                    self.delete(id);
                }
                Some(Fate::Stays) => self.queues.note_deadline(id),
                None => {}
            }
        }
    }

    /// Publishes what has died in queues to the exchanges of dead letters.
    pub fn bring_dead_letters(&mut self, now: Instant) {
        while !self.effects.dead.is_empty() {
            for letter in std::mem::take(&mut self.effects.dead) {
                self.take(now, &letter.message, |queue| !letter.is_cycle(queue.name()));
            }
        }
    }

    /// Deletes a queue with its messages, and says how many were ready. Its number is not used again before
    /// [`Queues::release`], because there are unacked deliveries that name it.
    pub fn delete(&mut self, id: QueueId) -> u32 {
        let Some(queue) = self.queues.remove(id) else {
            return 0;
        };
        self.exchanges.queue_deleted(queue.name(), id);
        self.gone.push(Gone {
            id,
            consumers: queue.consumers().collect(),
            has_unacked: queue.unacked() > 0,
        });
        queue.ready()
    }
}

/// Queues by number and by name.
#[derive(Default)]
pub(crate) struct Queues {
    queues: Slab<Option<Held>>,
    names: HashMap<String, QueueId>,
    /// Queues that may have something to deliver.
    restless: Vec<QueueId>,
    /// When time alone may change which queue: what each is noted with.
    deadlines: BTreeSet<(Instant, QueueId)>,
    /// Exclusive queues with their owners.
    exclusive: BTreeSet<(SessionId, QueueId)>,
}

struct Held {
    queue: Queue,
    is_restless: bool,
    /// The earliest deadline, which is among the queues' `deadlines`.
    noted: Option<Instant>,
}

impl Queues {
    pub fn by_name(&self, name: &str) -> Option<QueueId> {
        self.names.get(name).copied()
    }

    pub fn get(&self, id: QueueId) -> Option<&Queue> {
        Some(&self.queues.get(id.0 as usize)?.as_ref()?.queue)
    }

    pub fn get_mut(&mut self, id: QueueId) -> Option<&mut Queue> {
        Some(&mut self.held(id)?.queue)
    }

    /// The queue, of which it is noted that it may have something to deliver.
    pub fn stir(&mut self, id: QueueId) -> Option<&mut Queue> {
        let held = self.queues.get_mut(id.0 as usize)?.as_mut()?;
        if !std::mem::replace(&mut held.is_restless, true) {
            self.restless.push(id);
        }
        Some(&mut held.queue)
    }

    /// One of those that may have something to deliver.
    pub fn next_restless(&mut self) -> Option<QueueId> {
        while let Some(id) = self.restless.pop() {
            if let Some(held) = self.held(id)
                && std::mem::take(&mut held.is_restless)
            {
                return Some(id);
            }
        }
        None
    }

    pub fn ids(&self) -> Vec<QueueId> {
        let queues = self.queues.iter().filter(|(_, held)| held.is_some());
        queues.map(|(key, _)| QueueId(key as u32)).collect()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Queue> {
        let held = self.queues.iter().filter_map(|(_, held)| held.as_ref());
        held.map(|held| &held.queue)
    }

    /// Notes when time alone will change a queue.
    pub fn note_deadline(&mut self, id: QueueId) {
        let Some(held) = self.queues.get_mut(id.0 as usize).and_then(Option::as_mut) else {
            return;
        };
        if let Some(deadline) = held.queue.deadline()
            && held.noted.is_none_or(|noted| deadline < noted)
        {
            if let Some(later) = held.noted.replace(deadline) {
                self.deadlines.remove(&(later, id));
            }
            self.deadlines.insert((deadline, id));
        }
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// A queue whose time may have come.
    pub fn next_due(&mut self, now: Instant) -> Option<QueueId> {
        self.deadline().filter(|deadline| *deadline <= now)?;
        let (_, id) = self.deadlines.pop_first()?;
        if let Some(held) = self.held(id) {
            held.noted = None;
        }
        Some(id)
    }

    /// About what all messages take of memory.
    pub fn octets(&self) -> usize {
        self.iter().map(Queue::octets).sum()
    }

    /// The exclusive queues of a connection.
    pub fn owned_by(&self, session: SessionId) -> Vec<QueueId> {
        let range = (session, QueueId(0))..=(session, QueueId(u32::MAX));
        self.exclusive.range(range).map(|(_, id)| *id).collect()
    }

    /// Nobody names this queue any more.
    pub fn release(&mut self, id: QueueId) {
        self.queues.try_remove(id.0 as usize);
    }

    fn held(&mut self, id: QueueId) -> Option<&mut Held> {
        self.queues.get_mut(id.0 as usize)?.as_mut()
    }

    fn add(
        &mut self,
        declaration: &Declaration<'_>,
        session: SessionId,
        now: Instant,
    ) -> Result<QueueId, Refusal> {
        if self.names.len() >= QUEUES_MAX {
            return Err(Refusal::precondition(format!(
                "cannot declare queue '{}': queue limit in vhost '{}' ({QUEUES_MAX}) is reached",
                declaration.name, declaration.vhost
            )));
        }
        let queue = Queue::declare(declaration, session, now)?;
        let entry = self.queues.vacant_entry();
        let id = QueueId(entry.key() as u32);
        if let Some(owner) = queue.owner() {
            self.exclusive.insert((owner, id));
        }
        entry.insert(Some(Held {
            queue,
            is_restless: false,
            noted: None,
        }));
        self.names.insert(declaration.name.to_owned(), id);
        Ok(id)
    }

    fn remove(&mut self, id: QueueId) -> Option<Queue> {
        let held = self.queues.get_mut(id.0 as usize)?.take()?;
        self.names.remove(held.queue.name());
        if let Some(noted) = held.noted {
            self.deadlines.remove(&(noted, id));
        }
        if let Some(owner) = held.queue.owner() {
            self.exclusive.remove(&(owner, id));
        }
        Some(held.queue)
    }
}
