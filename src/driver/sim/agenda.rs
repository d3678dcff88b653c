//! What is to happen, in the order in which it will.

use std::collections::BTreeMap;

/// A place in the order: by time, and at the same time by when it was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    at: u64,
    sequence: u64,
}

/// What is to happen. What is called off leaves nothing behind, so that an agenda is as long as what is truly ahead.
pub(super) struct Agenda<T> {
    ahead: BTreeMap<Key, T>,
    sequence: u64,
}

impl<T> Agenda<T> {
    pub(super) fn new() -> Self {
        Self {
            ahead: BTreeMap::new(),
            sequence: 0,
        }
    }

    /// Puts something down for a time, in nanoseconds.
    pub(super) fn add(&mut self, at: u64, what: T) -> Key {
        let sequence = self.sequence;
        self.sequence += 1;
        let key = Key { at, sequence };
        self.ahead.insert(key, what);
        key
    }

    /// Calls something off, if it has not happened.
    pub(super) fn remove(&mut self, key: Key) -> Option<T> {
        self.ahead.remove(&key)
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        self.ahead.get_mut(&key)
    }

    /// When the next thing happens.
    pub(super) fn next_at(&self) -> Option<u64> {
        self.ahead.first_key_value().map(|(key, _)| key.at)
    }

    /// Takes the next thing.
    pub(super) fn take_next(&mut self) -> Option<T> {
        self.ahead.pop_first().map(|(_, what)| what)
    }

    pub(super) fn clear(&mut self) {
        self.ahead.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_happen_by_time_and_then_in_the_order_in_which_they_were_put_down() {
        let mut agenda = Agenda::new();
        agenda.add(5, "late");
        agenda.add(3, "first");
        let off = agenda.add(3, "called off");
        agenda.add(3, "second");
        assert_eq!(agenda.remove(off), Some("called off"));
        assert_eq!(agenda.remove(off), None);
        assert_eq!(agenda.next_at(), Some(3));
        let order: Vec<_> = std::iter::from_fn(|| agenda.take_next()).collect();
        assert_eq!(order, ["first", "second", "late"]);
        assert_eq!(agenda.next_at(), None);
    }
}
