//! Where bindings lead.

use smallvec::SmallVec;

use crate::broker::core::ids::QueueId;

/// An exchange of the virtual host. Used again after the exchange is gone, which is when all bindings from it and to it
/// are gone too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ExchangeId(pub usize);

/// The destination of a binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    Queue(QueueId),
    Exchange(ExchangeId),
}

/// A set of destinations, in ascending order. Mostly there is one.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Targets(SmallVec<[Target; 1]>);

impl Targets {
    pub fn insert(&mut self, target: Target) {
        if let Err(place) = self.0.binary_search(&target) {
            self.0.insert(place, target);
        }
    }

    pub fn remove(&mut self, target: Target) {
        if let Ok(place) = self.0.binary_search(&target) {
            self.0.remove(place);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Where what an exchange routes to is put: queues for the caller, exchanges to go on with.
pub(super) struct Found<'f> {
    pub queues: &'f mut Vec<QueueId>,
    pub exchanges: &'f mut Vec<ExchangeId>,
}

impl Found<'_> {
    #[inline]
    pub fn add(&mut self, target: Target) {
        match target {
            Target::Queue(queue) => self.queues.push(queue),
            Target::Exchange(exchange) => self.exchanges.push(exchange),
        }
    }

    pub fn add_all(&mut self, targets: &Targets) {
        for &target in &targets.0 {
            self.add(target);
        }
    }

    /// How many were found so far, each as often as it was.
    pub fn len(&self) -> usize {
        self.queues.len() + self.exchanges.len()
    }
}
