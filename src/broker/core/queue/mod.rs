//! A queue: its properties, its messages, its consumers, and who gets the next message.
//!
//! ```text
//!             publish                      next_delivery, pop                 acked
//! publisher ──────────▶ ready (`backlog`) ────────────────────▶ unacked ──────────────▶ gone
//!                          │    ▲                                 │   │
//!        expired, too many │    └──────────── requeue ────────────┘   │ reject
//!                          └─────────▶ dead letters (`Effects`) ◀─────┘
//! ```
//!
//! | file | what lives there |
//! |---|---|
//! | `spec`, `arguments` | the properties, checked, parsed and compared |
//! | `entry`, `backlog` | messages in their order |
//! | `consumers` | whose turn it is |
//! | `dead_letter` | what is written on messages that leave unconsumed |
//!
//! Invariants:
//! - SETTLED: after `next_delivery` has returned `None`, the queue holds no more than its limits allow and no head of it has
//!   expired. Whoever has published calls it until then: a message may be given to a consumer that a full queue, or its
//!   time to live of 0, would not have kept.
//! - OWED: unacked entries are the session's; the queue knows their sums. Each comes back once.
//! - HEADS: messages expire at the head of the queue only, as in RabbitMQ; one that waits behind another is still there.

mod arguments;
mod backlog;
mod consumers;
mod dead_letter;
mod entry;
mod spec;

use std::time::Instant;

use super::ids::{ConsumerId, SessionId};
use super::message::Message;
use super::refusal::Refusal;
use backlog::{Backlog, Sums};
pub(crate) use consumers::NewConsumer;
use consumers::{Consumers, Succession};
pub(crate) use dead_letter::{DeadLetter, DeathReason};
pub(crate) use entry::Entry;
use spec::Overflow;
pub(crate) use spec::{Declaration, QueueKind, QueueSpec};

/// What an operation on a queue leaves for others to do.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// The time that dead letters bear, in seconds since 1970; the caller sets it.
    pub unix_seconds: u64,
    /// To be published to their exchanges, except to queues of which [`DeadLetter::is_cycle`] is true.
    pub dead: Vec<DeadLetter>,
}

/// What a confirming publisher hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Published {
    Accepted,
    /// A nack.
    Rejected,
}

/// Whether a queue is to be deleted now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Stays,
    Ends,
}

/// Why an entry goes back to its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Requeue {
    /// The client said so: `basic.nack`, `basic.reject`, `basic.recover`.
    Asked,
    /// Its channel is gone.
    Abandoned,
}

/// A queue of a virtual host.
#[derive(Debug)]
pub(crate) struct Queue {
    vhost: Box<str>,
    name: Box<str>,
    spec: QueueSpec,
    /// The connection that may use it, if it is exclusive.
    owner: Option<SessionId>,
    backlog: Backlog,
    unacked: Sums,
    consumers: Consumers,
    /// How many messages were ever put in.
    positions: u64,
    /// When it was last used by anything but a consumer.
    used: Instant,
}

/// Life.
impl Queue {
    /// Makes the queue that a session declares.
    ///
    /// # Errors
    /// See [`QueueSpec::parse`].
    pub fn declare(
        declaration: &Declaration<'_>,
        session: SessionId,
        now: Instant,
    ) -> Result<Self, Refusal> {
        let spec = QueueSpec::parse(declaration)?;
        let succession = match spec.kind {
            QueueKind::Quorum => Succession::Arrival,
            QueueKind::Classic | QueueKind::Stream => Succession::Priority,
        };
        Ok(Self {
            vhost: declaration.vhost.into(),
            name: declaration.name.into(),
            owner: spec.exclusive.then_some(session),
            backlog: Backlog::new(spec.priority_max),
            unacked: Sums::default(),
            consumers: Consumers::new(spec.single_active_consumer.then_some(succession)),
            positions: 0,
            used: now,
            spec,
        })
    }

    /// A session declares the queue again, which is a use of it.
    ///
    /// # Errors
    /// 405 where exclusiveness differs, 406 where anything else does.
    pub fn declare_again(
        &mut self,
        declaration: &Declaration<'_>,
        session: SessionId,
        now: Instant,
    ) -> Result<(), Refusal> {
        if self.owner != declaration.exclusive.then_some(session) {
            return Err(self.locked());
        }
        self.spec.check_equivalent(declaration)?;
        self.touch(now);
        Ok(())
    }

    /// # Errors
    /// 405 when the queue is another connection's own.
    pub fn check_access(&self, session: SessionId) -> Result<(), Refusal> {
        match self.owner {
            Some(owner) if owner != session => Err(self.locked()),
            _ => Ok(()),
        }
    }

    fn locked(&self) -> Refusal {
        Refusal::resource_locked(format!(
            "cannot obtain exclusive access to locked {self}. It could be originally declared on another connection or \
             the exclusive property value does not match that of the original declaration."
        ))
    }

    /// The queue is used: a passive declaration, for example. Puts its end by `x-expires` off.
    pub fn touch(&mut self, now: Instant) {
        self.used = now;
    }

    /// When [`tick`](Self::tick) has something to do; may lie in the past.
    pub fn deadline(&self) -> Option<Instant> {
        match (self.end(), self.backlog.deadline()) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    /// When the queue ends if nobody uses it.
    fn end(&self) -> Option<Instant> {
        let expires = self.spec.expires.filter(|_| self.consumers.is_empty())?;
        self.used.checked_add(expires)
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant, effects: &mut Effects) -> Fate {
        self.settle(now, effects);
        match self.end() {
            Some(end) if end <= now => Fate::Ends,
            _ => Fate::Stays,
        }
    }

    /// The broker starts again: a queue that is not durable ends, any other keeps what is persistent. All entries that
    /// were unacked have been requeued before.
    pub fn restart(&mut self, now: Instant) -> Fate {
        if !self.spec.durable {
            return Fate::Ends;
        }
        self.consumers.clear();
        self.unacked = Sums::default();
        self.used = now;
        if self.spec.kind == QueueKind::Classic {
            self.backlog.retain(|entry| entry.message.is_persistent());
        }
        Fate::Stays
    }

    /// How many messages are gone; those that are unacked stay.
    pub fn purge(&mut self) -> u32 {
        let purged = self.ready();
        self.backlog.clear();
        purged
    }
}

/// Messages.
impl Queue {
    /// Puts a message in; see `SETTLED` for what has to follow while there are consumers.
    pub fn publish(&mut self, now: Instant, message: Message, effects: &mut Effects) -> Published {
        if self.spec.overflow != Overflow::DropHead && !self.has_room_for(&message) {
            if self.spec.overflow == Overflow::RejectPublishDeadLetter {
                self.bury(&message, DeathReason::MaxLength, effects);
            }
            return Published::Rejected;
        }
        let expires = self.expiry(now, &message);
        let entry = Entry::new(message, self.positions, expires);
        self.positions += 1;
        self.backlog.push(entry);
        if self.consumers.is_empty() {
            self.settle(now, effects);
        }
        Published::Accepted
    }

    fn has_room_for(&self, message: &Message) -> bool {
        let ready = &self.backlog.sums;
        ready.messages < self.spec.length_max
            && ready.body_octets.saturating_add(message.body().len()) <= self.spec.octets_max
    }

    fn expiry(&self, now: Instant, message: &Message) -> Option<Instant> {
        let time_to_live = match (self.spec.message_ttl, message.time_to_live()) {
            (Some(one), Some(other)) => one.min(other),
            (one, other) => one.or(other)?,
        };
        now.checked_add(time_to_live)
    }

    /// The next message and the consumer that gets it.
    #[inline]
    pub fn next_delivery(
        &mut self,
        now: Instant,
        can_take: impl FnMut(ConsumerId) -> bool,
        effects: &mut Effects,
    ) -> Option<(ConsumerId, Entry)> {
        // What expires at this very moment a consumer may have yet: it may have come a moment ago, to live for 0 ms.
        self.drop_expired(|entry| entry.expired_before(now), effects);
        if !self.backlog.is_empty()
            && let Some(consumer) = self.consumers.take_turn(can_take)
            && let Some(mut entry) = self.backlog.pop()
        {
            if entry.delivery_count > 0 {
                entry.show_delivery_count();
            }
            if !consumer.no_ack {
                self.unacked.add(&entry);
            }
            return Some((consumer.id, entry));
        }
        self.settle(now, effects);
        None
    }

    /// The next message for `basic.get`.
    pub fn pop(&mut self, now: Instant, no_ack: bool, effects: &mut Effects) -> Option<Entry> {
        self.touch(now);
        self.settle(now, effects);
        let mut entry = self.backlog.pop()?;
        self.drop_expired(|next| next.expires_by(now), effects);
        if self.spec.kind == QueueKind::Quorum {
            entry.show_delivery_count();
        }
        if !no_ack {
            self.unacked.add(&entry);
        }
        Some(entry)
    }

    /// # Errors
    /// 405 where `basic.get` is not possible.
    pub fn check_get(&self) -> Result<(), Refusal> {
        if self.spec.kind == QueueKind::Quorum && self.spec.single_active_consumer {
            return Err(Refusal::resource_locked(format!(
                "cannot obtain access to locked {self}. basic.get operations are not supported by quorum queues with \
                 single active consumer"
            )));
        }
        Ok(())
    }

    /// An entry is acked.
    #[inline]
    pub fn acked(&mut self, entry: &Entry) {
        self.unacked.subtract(entry);
    }

    /// Puts an entry back to where it was, or, in a quorum queue, to where that puts it; one that came back too often is
    /// dead. Several go back in the order of their delivery. `next_delivery` follows.
    pub fn requeue(&mut self, entry: Entry, why: Requeue, effects: &mut Effects) {
        self.unacked.subtract(&entry);
        let mut entry = entry.restored();
        entry.redelivered = true;
        if self.spec.kind == QueueKind::Quorum {
            entry.delivery_count = entry.delivery_count.saturating_add(1);
        }
        match (self.spec.kind, self.spec.delivery_limit, why) {
            (QueueKind::Classic | QueueKind::Stream, ..) => self.backlog.put_back(entry),
            (QueueKind::Quorum, Some(limit), _) if i64::from(entry.delivery_count) > limit => {
                self.bury(&entry.message, DeathReason::DeliveryLimit, effects);
            }
            // Without a limit it is appended, so that the log behind the queue can be cut off in front of it.
            (QueueKind::Quorum, None, Requeue::Asked) => self.backlog.push(entry),
            (QueueKind::Quorum, ..) => self.backlog.put_back_last(entry),
        }
        self.drop_surplus(effects);
    }

    /// An entry is rejected for good.
    pub fn reject(&mut self, entry: Entry, effects: &mut Effects) {
        self.unacked.subtract(&entry);
        self.bury(&entry.restored().message, DeathReason::Rejected, effects);
    }

    fn settle(&mut self, now: Instant, effects: &mut Effects) {
        self.drop_surplus(effects);
        self.drop_expired(|entry| entry.expires_by(now), effects);
    }

    #[inline]
    fn drop_expired(&mut self, expired: impl Fn(&Entry) -> bool, effects: &mut Effects) {
        if self.backlog.may_expire() {
            while let Some(entry) = self.backlog.pop_head_if(&expired) {
                self.bury(&entry.message, DeathReason::Expired, effects);
            }
        }
    }

    #[inline]
    fn drop_surplus(&mut self, effects: &mut Effects) {
        while self.backlog.sums.messages > self.spec.length_max
            || self.backlog.sums.body_octets > self.spec.octets_max
        {
            let Some(entry) = self.backlog.pop() else {
                return;
            };
            self.bury(&entry.message, DeathReason::MaxLength, effects);
        }
    }

    fn bury(&self, message: &Message, reason: DeathReason, effects: &mut Effects) {
        if let Some(target) = &self.spec.dead_letter {
            let dead = DeadLetter::new(message, reason, &self.name, target, effects.unix_seconds);
            effects.dead.push(dead);
        }
    }
}

/// Consumers.
impl Queue {
    /// # Errors
    /// 403 when the queue has a consumer that wants to be alone, or this one would not be; 406 for an argument that is not
    /// what it should be.
    pub fn add_consumer(&mut self, new: &NewConsumer<'_>) -> Result<(), Refusal> {
        let priority = new
            .check_arguments(self.spec.kind)
            .map_err(|(name, reason)| {
                Refusal::precondition(format!("invalid arg '{name}' for {self}{reason}"))
            })?;
        // A quorum queue does not know consumers that are alone.
        if self.spec.kind != QueueKind::Quorum && self.consumers.excludes(new.exclusive) {
            return Err(Refusal::access_refused(format!("{self} in exclusive use")));
        }
        self.consumers.add(new, priority);
        Ok(())
    }

    /// Takes a consumer away; its unacked entries stay with its channel. `Ends` if it was the last one of a queue that
    /// lives no longer than its consumers. `next_delivery` follows where there is a single active consumer.
    pub fn remove_consumer(&mut self, id: ConsumerId, now: Instant) -> Fate {
        if !self.consumers.remove(id) {
            return Fate::Stays;
        }
        self.touch(now);
        match self.spec.auto_delete && self.consumers.is_empty() {
            true => Fate::Ends,
            false => Fate::Stays,
        }
    }

    /// All of them, as when the queue is deleted.
    pub fn consumers(&self) -> impl Iterator<Item = ConsumerId> {
        self.consumers.ids()
    }
}

/// What it is and what it holds.
impl Queue {
    /// Whether a publish may be rejected: then what consumers can take must have left before the next one.
    pub fn rejects(&self) -> bool {
        self.spec.overflow != Overflow::DropHead
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub const fn spec(&self) -> &QueueSpec {
        &self.spec
    }

    pub const fn owner(&self) -> Option<SessionId> {
        self.owner
    }

    /// Messages that wait for a consumer.
    pub fn ready(&self) -> u32 {
        u32::try_from(self.backlog.sums.messages).unwrap_or(u32::MAX)
    }

    /// Messages that wait for an ack.
    pub fn unacked(&self) -> u32 {
        u32::try_from(self.unacked.messages).unwrap_or(u32::MAX)
    }

    pub fn consumer_count(&self) -> u32 {
        u32::try_from(self.consumers.count()).unwrap_or(u32::MAX)
    }

    /// About what its messages take of memory, ready or unacked. One that lies in several queues counts in each.
    pub const fn octets(&self) -> usize {
        self.backlog.sums.octets + self.unacked.octets
    }
}

/// As reply texts name it.
impl std::fmt::Display for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "queue '{}' in vhost '{}'", self.name, self.vhost)
    }
}

#[cfg(test)]
mod tests;
