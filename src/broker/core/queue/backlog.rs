//! The messages of a queue that are ready, in the order in which they will be delivered.
//!
//! ```text
//! priority 2   [ returned ] [ fresh ]
//! priority 1   [ returned ] [ fresh ]       pop: the first of the first lane that has one
//! priority 0   [ returned ] [ fresh ]       a queue without priorities has this lane alone
//! ```
//!
//! Messages leave at the head only, so whatever comes back was published before everything fresh. Invariants: `fresh` is in
//! the order of publishing, and so is `returned` if entries come back by [`Backlog::put_back`] alone; a queue uses that or
//! [`Backlog::put_back_last`], and not both; `sums` are those of all entries.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use super::entry::Entry;

/// Room for entries that an emptied lane keeps, so that a queue that was long once does not hold its memory for ever.
const CAPACITY_KEPT: usize = 16_384;

#[derive(Debug)]
pub(super) struct Backlog {
    /// By priority, from 0 up; never empty.
    lanes: Vec<Lane>,
    pub sums: Sums,
}

/// Entries and their octets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub messages: usize,
    /// Of bodies alone, which is what `x-max-length-bytes` limits.
    pub body_octets: usize,
    /// Of messages as a whole, about what they take of memory.
    pub octets: usize,
    /// How many of them expire at some time.
    expiring: usize,
}

#[derive(Debug, Default)]
struct Lane {
    /// By position, or in the order in which they came back.
    returned: BTreeMap<u64, Entry>,
    fresh: VecDeque<Entry>,
}

impl Sums {
    pub fn add(&mut self, entry: &Entry) {
        self.messages += 1;
        self.body_octets += entry.message.body().len();
        self.octets += entry.message.octets();
        self.expiring += usize::from(entry.expires.is_some());
    }

    pub fn subtract(&mut self, entry: &Entry) {
        self.messages = self.messages.saturating_sub(1);
        self.body_octets = self.body_octets.saturating_sub(entry.message.body().len());
        self.octets = self.octets.saturating_sub(entry.message.octets());
        let expires = usize::from(entry.expires.is_some());
        self.expiring = self.expiring.saturating_sub(expires);
    }
}

impl Backlog {
    pub fn new(priority_max: u8) -> Self {
        let mut lanes = Vec::new();
        lanes.resize_with(usize::from(priority_max) + 1, Lane::default);
        Self {
            lanes,
            sums: Sums::default(),
        }
    }

    pub const fn is_empty(&self) -> bool {
        self.sums.messages == 0
    }

    /// Puts an entry behind all others of its priority.
    pub fn push(&mut self, entry: Entry) {
        if let Some(lane) = self.enter(&entry) {
            lane.fresh.push_back(entry);
        }
    }

    /// Puts an entry back to where it was.
    pub fn put_back(&mut self, entry: Entry) {
        if let Some(lane) = self.enter(&entry) {
            lane.returned.insert(entry.position, entry);
        }
    }

    /// Puts an entry behind all that came back before, and before everything fresh.
    pub fn put_back_last(&mut self, entry: Entry) {
        if let Some(lane) = self.enter(&entry) {
            let last = lane.returned.last_key_value();
            let place = last.map_or(0, |(place, _)| place + 1);
            lane.returned.insert(place, entry);
        }
    }

    pub fn pop(&mut self) -> Option<Entry> {
        self.pop_head_if(|_| true)
    }

    /// The first head, in the order of priorities, of which this is true. Looks at heads only, as an entry within its
    /// lane waits for those before it.
    pub fn pop_head_if(&mut self, wanted: impl Fn(&Entry) -> bool) -> Option<Entry> {
        let entry = self
            .lanes
            .iter_mut()
            .rev()
            .find_map(|lane| lane.pop_if(&wanted))?;
        self.sums.subtract(&entry);
        Some(entry)
    }

    pub const fn may_expire(&self) -> bool {
        self.sums.expiring > 0
    }

    /// When the first of the heads expires.
    pub fn deadline(&self) -> Option<Instant> {
        if !self.may_expire() {
            return None;
        }
        let heads = self.lanes.iter().filter_map(Lane::head);
        heads.filter_map(|head| head.expires).min()
    }

    pub fn clear(&mut self) {
        for lane in &mut self.lanes {
            *lane = Lane::default();
        }
        self.sums = Sums::default();
    }

    /// Forgets all entries but these.
    pub fn retain(&mut self, keep: impl Fn(&Entry) -> bool) {
        let sums = &mut self.sums;
        let mut checked = |entry: &Entry| {
            let kept = keep(entry);
            if !kept {
                sums.subtract(entry);
            }
            kept
        };
        for lane in &mut self.lanes {
            lane.returned.retain(|_, entry| checked(entry));
            lane.fresh.retain(&mut checked);
        }
    }

    /// Counts an entry; tells its lane. A priority above the highest is the highest.
    fn enter(&mut self, entry: &Entry) -> Option<&mut Lane> {
        self.sums.add(entry);
        let highest = self.lanes.len().saturating_sub(1);
        let lane = usize::from(entry.message.priority()).min(highest);
        self.lanes.get_mut(lane)
    }
}

impl Lane {
    fn head(&self) -> Option<&Entry> {
        let returned = self.returned.first_key_value();
        returned
            .map(|(_, entry)| entry)
            .or_else(|| self.fresh.front())
    }

    fn pop_if(&mut self, wanted: impl Fn(&Entry) -> bool) -> Option<Entry> {
        if let Some(first) = self.returned.first_entry() {
            return wanted(first.get()).then(|| first.remove());
        }
        let entry = self.fresh.pop_front_if(|entry| wanted(entry))?;
        if self.fresh.is_empty() && self.fresh.capacity() > CAPACITY_KEPT {
            self.fresh.shrink_to(CAPACITY_KEPT);
        }
        Some(entry)
    }
}
