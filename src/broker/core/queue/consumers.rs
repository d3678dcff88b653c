//! The consumers of a queue, and whose turn it is.
//!
//! Those of the highest priority that can take a message get it, in turn. With a single active consumer one gets all until
//! it is gone.

use crate::protocol::Table;

use super::super::ids::ConsumerId;
use super::arguments::{integer, truth};
use super::spec::QueueKind;

/// Arguments of `basic.consume`.
const PRIORITY: &str = "x-priority";
const CANCEL_ON_FAILOVER: &str = "x-cancel-on-ha-failover";
const STREAM_OFFSET: &str = "x-stream-offset";

#[derive(Debug)]
pub(super) struct Consumers {
    /// By priority, the highest first; none is empty.
    ranks: Vec<Rank>,
    count: usize,
    arrivals: u64,
    /// Whether the one consumer there is wants to be alone.
    exclusive: bool,
    active: Option<SingleActive>,
}

#[derive(Debug)]
struct Rank {
    priority: i64,
    /// In the order in which they came.
    consumers: Vec<Consumer>,
    /// Whose turn it is.
    next: usize,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Consumer {
    pub id: ConsumerId,
    pub no_ack: bool,
    /// How many consumers the queue had had before it.
    arrival: u64,
}

/// Who is the next active one after the one that is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Succession {
    /// The oldest of those with the highest priority.
    Priority,
    Arrival,
}

#[derive(Debug)]
struct SingleActive {
    succession: Succession,
    consumer: Option<Consumer>,
}

/// What a `basic.consume` says to the queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewConsumer<'a> {
    pub id: ConsumerId,
    pub no_ack: bool,
    pub exclusive: bool,
    pub arguments: Table<'a>,
}

impl NewConsumer<'_> {
    /// Its priority. The error names the argument that is wrong, and what comes after `invalid arg 'x' for queue 'q' in
    /// vhost '/'`.
    pub(super) fn check_arguments(&self, kind: QueueKind) -> Result<i64, (&'static str, String)> {
        let value = |name| self.arguments.get(name).ok().flatten();
        let wrong = |name, reason: String| (name, format!(": {reason}"));
        let priority = match value(PRIORITY) {
            Some(priority) => integer(&priority).map_err(|reason| wrong(PRIORITY, reason))?,
            None => 0,
        };
        if let Some(cancel) = value(CANCEL_ON_FAILOVER)
            && kind == QueueKind::Classic
        {
            truth(&cancel, self.arguments).map_err(|reason| wrong(CANCEL_ON_FAILOVER, reason))?;
        }
        let foreign = [
            (CANCEL_ON_FAILOVER, QueueKind::Classic),
            (STREAM_OFFSET, QueueKind::Stream),
        ];
        for (name, of) in foreign {
            if kind != of && value(name).is_some() {
                return Err((name, format!(" of queue type {}", kind.module())));
            }
        }
        Ok(priority)
    }
}

impl Consumers {
    /// With a succession there is a single active consumer.
    pub fn new(single_active: Option<Succession>) -> Self {
        Self {
            ranks: Vec::new(),
            count: 0,
            arrivals: 0,
            exclusive: false,
            active: single_active.map(|succession| SingleActive {
                succession,
                consumer: None,
            }),
        }
    }

    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub const fn count(&self) -> usize {
        self.count
    }

    /// Whether another consumer, one that wants to be alone if `exclusive`, finds no place.
    pub const fn excludes(&self, exclusive: bool) -> bool {
        self.exclusive || exclusive && (self.count > 0 || self.active.is_some())
    }

    pub fn add(&mut self, new: &NewConsumer<'_>, priority: i64) {
        let consumer = Consumer {
            id: new.id,
            no_ack: new.no_ack,
            arrival: self.arrivals,
        };
        self.arrivals += 1;
        let place = self.ranks.partition_point(|rank| rank.priority > priority);
        match self.ranks.get_mut(place) {
            Some(rank) if rank.priority == priority => rank.consumers.push(consumer),
            _ => self.ranks.insert(
                place,
                Rank {
                    priority,
                    consumers: vec![consumer],
                    next: 0,
                },
            ),
        }
        self.count += 1;
        self.exclusive = new.exclusive;
        if let Some(active) = &mut self.active {
            active.consumer.get_or_insert(consumer);
        }
    }

    /// Whether it was there.
    pub fn remove(&mut self, id: ConsumerId) -> bool {
        let Some(at) = self.ranks.iter_mut().position(|rank| rank.remove(id)) else {
            return false;
        };
        if self
            .ranks
            .get(at)
            .is_some_and(|rank| rank.consumers.is_empty())
        {
            self.ranks.remove(at);
        }
        self.count -= 1;
        self.exclusive = false;
        if let Some(active) = &mut self.active
            && active.consumer.is_some_and(|consumer| consumer.id == id)
        {
            active.consumer = successor(&self.ranks, active.succession);
        }
        true
    }

    /// Who gets the next message; it is the next one's turn then.
    pub fn take_turn(&mut self, mut can_take: impl FnMut(ConsumerId) -> bool) -> Option<Consumer> {
        if let Some(active) = &self.active {
            return active.consumer.filter(|consumer| can_take(consumer.id));
        }
        self.ranks
            .iter_mut()
            .find_map(|rank| rank.take_turn(&mut can_take))
    }

    pub fn clear(&mut self) {
        self.ranks.clear();
        self.count = 0;
        self.exclusive = false;
        if let Some(active) = &mut self.active {
            active.consumer = None;
        }
    }

    pub fn ids(&self) -> impl Iterator<Item = ConsumerId> {
        let consumers = self.ranks.iter().flat_map(|rank| &rank.consumers);
        consumers.map(|consumer| consumer.id)
    }
}

fn successor(ranks: &[Rank], succession: Succession) -> Option<Consumer> {
    let heads = ranks.iter().filter_map(|rank| rank.consumers.first());
    match succession {
        Succession::Priority => heads.copied().next(),
        Succession::Arrival => heads.copied().min_by_key(|consumer| consumer.arrival),
    }
}

impl Rank {
    fn take_turn(&mut self, can_take: &mut impl FnMut(ConsumerId) -> bool) -> Option<Consumer> {
        let (later, sooner) = self.consumers.split_at_checked(self.next)?;
        let mut in_turn = (self.next..).zip(sooner).chain((0..).zip(later));
        let (at, consumer) = in_turn.find(|(_, consumer)| can_take(consumer.id))?;
        let consumer = *consumer;
        self.next = if at + 1 < self.consumers.len() {
            at + 1
        } else {
            0
        };
        Some(consumer)
    }

    fn remove(&mut self, id: ConsumerId) -> bool {
        let Some(at) = self.consumers.iter().position(|consumer| consumer.id == id) else {
            return false;
        };
        self.consumers.remove(at);
        if at < self.next {
            self.next -= 1;
        }
        if self.next >= self.consumers.len() {
            self.next = 0;
        }
        true
    }
}
