//! The confirm tracker of one channel in confirm mode.
//!
//! ```text
//!  resolved │ resolved_to ....................... next_tag │ not published yet
//!  ─────────┼──── pending ─ resolved ─ pending ─ pending ──┼──────────────────
//! ```
//!
//! Invariants:
//! - **ONCE**: each published tag resolves exactly once: acked, nacked, returned, or unknown.
//! - **EXCEPTIONS**: only outcomes other than "acked" are stored, in `exceptions`. A publisher that never looks at its failures is to be
//!   stopped at `exceptions_max` of them (see [`Confirms::is_overrun`]) rather than given unbounded memory or silence; what is pending
//!   then may still add to them.
//!
//! In order, the common case, nothing is stored per message: `resolved_to` moves. Confirms out of order cost one octet per tag in between.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Bound::{Excluded, Included, Unbounded};

use super::delivery::Returned;
use crate::protocol::{PropertiesRef, ShortStr};

/// What became of one publish.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The broker has taken responsibility for it (`basic.ack`): routed, and persisted or replicated as its queues ask for.
    Acked,
    /// The broker could not take it (`basic.nack`): for instance a queue at its length limit with `reject-publish`.
    Nacked,
    /// It was published as mandatory and no queue was bound for it (`basic.return`).
    Returned(Box<Returned>),
    /// The channel or the line was lost before the broker answered: it may or may not have arrived.
    Unknown,
}

/// A confirm that fits no publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadConfirm {
    /// What is wrong with the tag.
    pub why: &'static str,
}

/// A mandatory publish that has neither been returned nor confirmed: what is needed to recognise its return.
#[derive(Debug)]
struct Mandatory {
    tag: u64,
    fingerprint: u64,
}

/// See the module's page. Knows no lock and no clock: its owner has both.
#[derive(Debug)]
pub struct Confirms {
    next_tag: u64,
    resolved_to: u64,
    /// One entry per tag above `resolved_to` up to the highest confirmed one: whether it is resolved.
    above: VecDeque<bool>,
    resolved_above: u64,
    /// By tag; above `resolved_to` also returns whose confirm is still to come.
    exceptions: BTreeMap<u64, Outcome>,
    exceptions_max: usize,
    /// Exceptions up to this tag have been reported and may be forgotten.
    reported_to: u64,
    /// Outcomes up to this tag are no longer known.
    forgotten_to: u64,
    /// By tag.
    mandatory: VecDeque<Mandatory>,
    /// (last tag, octets) of each segment handed over and not wholly resolved.
    segments: VecDeque<(u64, usize)>,
    octets_pending: usize,
    lost: bool,
    counts: ConfirmCounts,
}

/// How many publishes ended in which way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfirmCounts {
    /// Taken by the broker.
    pub acked: u64,
    /// Refused by the broker.
    pub nacked: u64,
    /// Without a queue.
    pub returned: u64,
    /// Lost with the channel or the line before an answer came.
    pub unknown: u64,
}

impl ConfirmCounts {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.acked + self.nacked + self.returned + self.unknown
    }

    /// What was added since `earlier`.
    pub fn since(&self, earlier: ConfirmCounts) -> ConfirmCounts {
        ConfirmCounts {
            acked: self.acked - earlier.acked,
            nacked: self.nacked - earlier.nacked,
            returned: self.returned - earlier.returned,
            unknown: self.unknown - earlier.unknown,
        }
    }

    /// Whether every publish was taken by the broker.
    pub fn all_acked(&self) -> bool {
        self.total() == self.acked
    }
}

impl Confirms {
    /// A tracker that stores at most `exceptions_max` failures nobody has asked for.
    pub fn new(exceptions_max: usize) -> Self {
        Confirms {
            next_tag: 1,
            resolved_to: 0,
            above: VecDeque::new(),
            resolved_above: 0,
            exceptions: BTreeMap::new(),
            exceptions_max: exceptions_max.max(1),
            reported_to: 0,
            forgotten_to: 0,
            mandatory: VecDeque::new(),
            segments: VecDeque::new(),
            octets_pending: 0,
            lost: false,
            counts: ConfirmCounts::default(),
        }
    }

    /// Counts one publish and gives its tag: the broker counts the same way, from 1 for each channel. After [`Confirms::lose`] its outcome is
    /// unknown at once.
    #[inline]
    pub fn publish(&mut self, octets: usize) -> u64 {
        let tag = self.next_tag;
        self.next_tag += 1;
        if self.lost {
            self.counts.unknown += 1;
            return tag;
        }
        self.octets_pending += octets;
        match self.segments.back_mut() {
            // A segment's octets come back together: its size bounds the error.
            Some((last, size)) if *size < SEGMENT_OCTETS => {
                *last = tag;
                *size += octets;
            }
            _ => self.segments.push_back((tag, octets)),
        }
        tag
    }

    /// Notes that the publish just counted is mandatory, so that its return can be joined to it.
    pub fn note_mandatory(&mut self, tag: u64, fingerprint: u64) {
        if !self.lost {
            self.mandatory.push_back(Mandatory { tag, fingerprint });
        }
    }

    /// The tag of the last publish; 0 for none.
    pub fn last_tag(&self) -> u64 {
        self.next_tag - 1
    }

    /// Publishes without an outcome.
    #[inline]
    pub fn pending(&self) -> u64 {
        if self.lost {
            return 0;
        }
        self.next_tag - 1 - self.resolved_to - self.resolved_above
    }

    /// Octets of publishes without an outcome, to within one segment.
    pub fn octets_pending(&self) -> usize {
        if self.lost { 0 } else { self.octets_pending }
    }

    /// Whether so many failures wait to be looked at that no more can be stored.
    pub fn is_overrun(&self) -> bool {
        self.exceptions.len() >= self.exceptions_max
            && self
                .exceptions
                .first_key_value()
                .is_some_and(|(tag, _)| *tag > self.reported_to)
    }

    /// Totals so far.
    pub fn counts(&self) -> ConfirmCounts {
        self.counts
    }

    /// `basic.ack` or `basic.nack` from the broker. Without effect after [`Confirms::lose`].
    ///
    /// # Errors
    /// A tag that was never published, or one that was confirmed before.
    pub fn confirm(&mut self, tag: u64, multiple: bool, acked: bool) -> Result<(), BadConfirm> {
        if self.lost {
            return Ok(());
        }
        if tag >= self.next_tag {
            return Err(BadConfirm {
                why: "was never published",
            });
        }
        if !multiple {
            return self.resolve_one(tag, acked);
        }
        // Tag 0 with `multiple` stands for everything so far (section 1.8.3.13).
        let up_to = if tag == 0 { self.last_tag() } else { tag };
        if up_to > self.resolved_to {
            self.resolve_up_to(up_to, acked);
        }
        Ok(())
    }

    /// `basic.return` from the broker, which precedes the confirm of the same publish. `None` when no mandatory publish like it is pending.
    ///
    /// Messages with the same fingerprint cannot be told apart, nor need they be: the oldest is taken. Without one, the oldest with the same
    /// route and body is taken: RabbitMQ 4 writes properties anew, with the headers sorted, before it returns them.
    pub fn returned(&mut self, fingerprint: u64, returned: Returned) -> Option<u64> {
        if self.lost {
            return None;
        }
        let same = |m: &Mandatory| m.fingerprint == fingerprint;
        let alike = |m: &Mandatory| m.fingerprint >> 32 == fingerprint >> 32;
        let at = self.mandatory.iter().position(same);
        let at = at.or_else(|| self.mandatory.iter().position(alike))?;
        let tag = self.mandatory.remove(at)?.tag;
        self.exceptions
            .insert(tag, Outcome::Returned(Box::new(returned)));
        self.make_room();
        Some(tag)
    }

    /// The channel or the line is gone: everything without an outcome is unknown from now on, except what was returned already.
    pub fn lose(&mut self) {
        if self.lost {
            return;
        }
        let returned = self.returned_unconfirmed();
        self.counts.returned += returned;
        self.counts.unknown += self.pending().saturating_sub(returned);
        self.lost = true;
        self.mandatory.clear();
        self.segments.clear();
        self.octets_pending = 0;
    }

    /// The outcome of a publish, or `None` while it is pending. One that [is forgotten](Confirms::is_forgotten) reads as unknown.
    pub fn outcome(&self, tag: u64) -> Option<Outcome> {
        let unless_stored = if self.is_forgotten(tag) {
            Outcome::Unknown
        } else if self.is_resolved(tag) {
            Outcome::Acked
        } else if self.lost {
            Outcome::Unknown
        } else {
            return None;
        };
        Some(self.exceptions.get(&tag).cloned().unwrap_or(unless_stored))
    }

    /// Whether the outcome of `tag` was dropped to make room, after it had been reported.
    pub fn is_forgotten(&self, tag: u64) -> bool {
        tag <= self.forgotten_to
    }

    /// The outcome of a publish, removed from the store: it will not be reported a second time. To be asked once for each publish: what is no
    /// longer stored reads as acked.
    pub fn take_outcome(&mut self, tag: u64) -> Option<Outcome> {
        let outcome = self.outcome(tag)?;
        self.exceptions.remove(&tag);
        Some(outcome)
    }

    /// Whether every publish up to `tag` has an outcome.
    pub fn is_resolved_up_to(&self, tag: u64) -> bool {
        self.lost || self.resolved_to >= tag
    }

    /// The nacked and returned that were not reported before and that no receipt has taken, oldest first, as far as everything up to them has
    /// an outcome. They stay readable for receipts until room is needed. Of the unknown there is only the number, in [`Confirms::counts`].
    pub fn report_exceptions(&mut self) -> Vec<(u64, Outcome)> {
        let settled_to = if self.lost {
            self.last_tag()
        } else {
            self.resolved_to
        };
        let report = self
            .exceptions
            .range((Excluded(self.reported_to), Included(settled_to)))
            .map(|(tag, outcome)| (*tag, outcome.clone()))
            .collect();
        self.reported_to = settled_to;
        self.make_room();
        report
    }

    fn is_resolved(&self, tag: u64) -> bool {
        match tag.checked_sub(self.resolved_to + 1) {
            None => true,
            Some(index) => self.above.get(index as usize).copied().unwrap_or(false),
        }
    }

    fn resolve_one(&mut self, tag: u64, acked: bool) -> Result<(), BadConfirm> {
        const TWICE: BadConfirm = BadConfirm {
            why: "was confirmed before",
        };
        let index = tag.checked_sub(self.resolved_to + 1).ok_or(TWICE)? as usize;
        if index == 0 && self.above.is_empty() {
            self.resolved_to = tag;
        } else {
            if index >= self.above.len() {
                self.above.resize(index + 1, false);
            }
            if self.above.get(index) != Some(&false) {
                return Err(TWICE);
            }
            self.above[index] = true;
            self.resolved_above += 1;
        }
        self.count(tag, acked);
        self.advance();
        Ok(())
    }

    fn resolve_up_to(&mut self, up_to: u64, acked: bool) {
        // The exceptional cases first: a nack, returns, or tags that are resolved already.
        let plain = acked
            && self.mandatory.is_empty()
            && self.above.is_empty()
            && self.returned_unconfirmed() == 0;
        if plain {
            self.counts.acked += up_to - self.resolved_to;
            self.resolved_to = up_to;
        } else {
            while self.resolved_to < up_to {
                let tag = self.resolved_to + 1;
                match self.above.pop_front() {
                    Some(true) => self.resolved_above -= 1,
                    _ => self.count(tag, acked),
                }
                self.resolved_to = tag;
            }
        }
        self.advance();
    }

    /// Returns whose confirm is still to come.
    fn returned_unconfirmed(&self) -> u64 {
        let above = self
            .exceptions
            .range((Excluded(self.resolved_to), Unbounded));
        above.filter(|(tag, _)| !self.is_resolved(**tag)).count() as u64
    }

    /// Books the outcome of one tag that resolves now.
    fn count(&mut self, tag: u64, acked: bool) {
        if let Ok(at) = self.mandatory.binary_search_by_key(&tag, |m| m.tag) {
            self.mandatory.remove(at);
        }
        // What is stored for a tag without a confirm is its return.
        if self.exceptions.contains_key(&tag) {
            self.counts.returned += 1;
        } else if acked {
            self.counts.acked += 1;
        } else {
            self.counts.nacked += 1;
            self.exceptions.insert(tag, Outcome::Nacked);
        }
        self.make_room();
    }

    /// Drops the oldest failures that have been reported, while there are too many.
    fn make_room(&mut self) {
        while self.exceptions.len() > self.exceptions_max
            && let Some(oldest) = self.exceptions.first_entry()
            && *oldest.key() <= self.reported_to
        {
            self.forgotten_to = *oldest.key();
            oldest.remove();
        }
    }

    fn advance(&mut self) {
        while self.above.front() == Some(&true) {
            self.above.pop_front();
            self.resolved_above -= 1;
            self.resolved_to += 1;
        }
        while let Some(&(last, octets)) = self.segments.front() {
            if last > self.resolved_to {
                return;
            }
            self.segments.pop_front();
            self.octets_pending -= octets;
        }
    }
}

/// The grain in which octets come back to the window.
const SEGMENT_OCTETS: usize = 16 * 1024;

/// What identifies a message among its like: a return carries all of it, but no tag. The upper half stands for route and body, the lower for
/// the properties as they were encoded.
pub fn fingerprint(
    exchange: ShortStr<'_>,
    routing_key: ShortStr<'_>,
    properties: PropertiesRef<'_>,
    body: &[u8],
) -> u64 {
    let mut hasher = DefaultHasher::new();
    (exchange, routing_key, body).hash(&mut hasher);
    let route_and_body = hasher.finish();
    properties.hash(&mut hasher);
    route_and_body >> 32 << 32 | hasher.finish() >> 32
}

#[cfg(test)]
mod tests;
