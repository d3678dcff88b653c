//! The bindings that have one exchange as their source, and which of them a message matches.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::exchange::Kind;
use super::headers::{self, Headers};
use super::targets::{Found, Target, Targets};
use super::topics::Topics;
use crate::protocol::{FieldTable, Table};

/// What makes bindings of the same source and destination different ones.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    pub routing_key: Box<str>,
    /// Sorted by name: the order in which they came makes no difference.
    pub arguments: FieldTable,
}

impl Pattern {
    fn order(&self) -> (&str, &[u8]) {
        (&self.routing_key, self.arguments.as_table().as_bytes())
    }
}

impl Ord for Pattern {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order().cmp(&other.order())
    }
}

impl PartialOrd for Pattern {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[derive(Debug)]
pub(super) struct Bindings {
    by_target: BTreeMap<Target, BTreeSet<Pattern>>,
    count: usize,
    index: Index,
}

/// Finds targets by routing keys. Invariant INDEX: a target stands at a key exactly when it has a binding with that key.
#[derive(Debug)]
enum Index {
    /// Everything matches.
    Fanout,
    Direct(HashMap<Box<str>, Targets>),
    Topic(Topics),
    /// Keys do not count: all bindings are looked through.
    Headers,
}

impl Bindings {
    pub fn new(kind: Kind) -> Self {
        Self {
            by_target: BTreeMap::new(),
            count: 0,
            index: match kind {
                Kind::Direct => Index::Direct(HashMap::new()),
                Kind::Fanout => Index::Fanout,
                Kind::Topic => Index::Topic(Topics::new()),
                Kind::Headers => Index::Headers,
            },
        }
    }

    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn has_target(&self, target: Target) -> bool {
        self.by_target.contains_key(&target)
    }

    pub fn contains(&self, target: Target, pattern: &Pattern) -> bool {
        let patterns = self.by_target.get(&target);
        patterns.is_some_and(|patterns| patterns.contains(pattern))
    }

    pub fn targets(&self) -> impl Iterator<Item = Target> {
        self.by_target.keys().copied()
    }

    /// Whether the binding is a new one.
    pub fn insert(&mut self, target: Target, pattern: Pattern) -> bool {
        let patterns = self.by_target.entry(target).or_default();
        let routing_key = pattern.routing_key.clone();
        let is_new = patterns.insert(pattern);
        if is_new {
            self.count += 1;
            self.index.insert(&routing_key, target);
        }
        is_new
    }

    /// Whether there was such a binding.
    pub fn remove(&mut self, target: Target, pattern: &Pattern) -> bool {
        let Some(patterns) = self.by_target.get_mut(&target) else {
            return false;
        };
        if !patterns.remove(pattern) {
            return false;
        }
        self.count -= 1;
        if !has_key(patterns, &pattern.routing_key) {
            self.index.remove(&pattern.routing_key, target);
        }
        if patterns.is_empty() {
            self.by_target.remove(&target);
        }
        true
    }

    /// Removes all bindings to a destination, and counts them.
    pub fn remove_target(&mut self, target: Target) -> usize {
        let patterns = self.by_target.remove(&target).unwrap_or_default();
        for pattern in &patterns {
            self.index.remove(&pattern.routing_key, target);
        }
        self.count -= patterns.len();
        patterns.len()
    }

    /// Adds the targets of all bindings that match; one may come more than once.
    pub fn route<'h, F: FnOnce() -> Option<Table<'h>>>(
        &mut self,
        routing_keys: &[&str],
        headers: &mut Headers<'h, F>,
        found: &mut Found<'_>,
    ) {
        match &mut self.index {
            Index::Fanout => self.by_target.keys().for_each(|&target| found.add(target)),
            Index::Direct(by_key) => {
                for targets in routing_keys.iter().filter_map(|&key| by_key.get(key)) {
                    found.add_all(targets);
                }
            }
            Index::Topic(topics) => {
                for key in routing_keys {
                    topics.route(key, found);
                }
            }
            Index::Headers => {
                let headers = headers.sorted();
                let matching = self.by_target.iter().filter(|(_, patterns)| {
                    let mut patterns = patterns.iter();
                    patterns.any(|it| headers::matches(it.arguments.as_table(), headers))
                });
                matching.for_each(|(&target, _)| found.add(target));
            }
        }
    }
}

impl Index {
    fn insert(&mut self, routing_key: &str, target: Target) {
        match self {
            Self::Direct(by_key) => by_key.entry(routing_key.into()).or_default().insert(target),
            Self::Topic(topics) => topics.insert(routing_key, target),
            Self::Fanout | Self::Headers => {}
        }
    }

    fn remove(&mut self, routing_key: &str, target: Target) {
        match self {
            Self::Direct(by_key) => {
                let Some(targets) = by_key.get_mut(routing_key) else {
                    return;
                };
                targets.remove(target);
                if targets.is_empty() {
                    by_key.remove(routing_key);
                }
            }
            Self::Topic(topics) => topics.remove(routing_key, target),
            Self::Fanout | Self::Headers => {}
        }
    }
}

/// Whether one of these bindings has the routing key, with whatever arguments.
fn has_key(patterns: &BTreeSet<Pattern>, routing_key: &str) -> bool {
    let first = Pattern {
        routing_key: routing_key.into(),
        arguments: FieldTable::new(),
    };
    let found = patterns.range(first..).next();
    found.is_some_and(|pattern| *pattern.routing_key == *routing_key)
}

#[cfg(test)]
impl Bindings {
    /// Checks the count and INDEX.
    pub fn check_invariants(&self) {
        let count: usize = self.by_target.values().map(BTreeSet::len).sum();
        assert_eq!(self.count, count);
        assert!(self.by_target.values().all(|patterns| !patterns.is_empty()));
        match &self.index {
            Index::Direct(by_key) => {
                let mut expected: HashMap<Box<str>, Targets> = HashMap::new();
                for (&target, patterns) in &self.by_target {
                    for pattern in patterns {
                        let key = pattern.routing_key.clone();
                        expected.entry(key).or_default().insert(target);
                    }
                }
                assert_eq!(*by_key, expected);
            }
            Index::Topic(topics) => assert_eq!(topics.is_bare(), self.is_empty()),
            Index::Fanout | Index::Headers => {}
        }
    }
}
