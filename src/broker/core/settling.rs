//! Acks, nacks, rejects and recovers: what becomes of a delivery.

use super::channel::Mode;
use super::context::{Context, not_implemented};
use super::queue::Requeue;
use super::refusal::Refusal;
use super::unacked::Pending;
use crate::protocol::basic;

/// What a client makes of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settlement {
    Ack,
    Requeue,
    /// Nothing: its channel is gone.
    Abandon,
    /// To the dead letters, or nowhere.
    Discard,
}

impl Settlement {
    pub fn negative(requeue: bool) -> Self {
        if requeue {
            Self::Requeue
        } else {
            Self::Discard
        }
    }
}

impl Context<'_> {
    pub fn settle_tags(
        &mut self,
        tag: u64,
        multiple: bool,
        settlement: Settlement,
    ) -> Result<(), Refusal> {
        if !multiple {
            let pending = self.channel.unacked.take(tag);
            let pending = pending.ok_or_else(|| unknown_tag(tag))?;
            self.settle_or_wait(pending, settlement);
        } else if tag == 0 {
            self.settle_up_to(u64::MAX, settlement);
        } else {
            if !self.channel.unacked.contains(tag) {
                return Err(unknown_tag(tag));
            }
            self.settle_up_to(tag, settlement);
        }
        // A consumer's own window concerns the queue of what was settled, and that is stirred with it.
        if self.channel.prefetch_global > 0 {
            self.stir_own_queues();
        }
        Ok(())
    }

    fn settle_up_to(&mut self, tag: u64, settlement: Settlement) {
        while let Some(pending) = self.channel.unacked.take_up_to(tag) {
            self.settle_or_wait(pending, settlement);
        }
    }

    /// Settles now, or with the transaction's commit.
    fn settle_or_wait(&mut self, pending: Pending, settlement: Settlement) {
        match &mut self.channel.mode {
            Mode::Transaction(transaction) => transaction.settled.push((pending, settlement)),
            _ => self.settle(pending, settlement),
        }
    }

    pub fn settle(&mut self, pending: Pending, settlement: Settlement) {
        if let Some(consumer) = pending.consumer
            && let Some(consumer) = self.channel.consumers.get_mut(consumer as usize)
        {
            consumer.unacked = consumer.unacked.saturating_sub(1);
        }
        let Some((id, entry)) = pending.owed else {
            return;
        };
        let effects = &mut self.vhost.effects;
        let Some(queue) = self.vhost.queues.stir(id) else {
            return;
        };
        match settlement {
            Settlement::Ack => queue.acked(&entry),
            Settlement::Requeue => queue.requeue(entry, Requeue::Asked, effects),
            Settlement::Abandon => queue.requeue(entry, Requeue::Abandoned, effects),
            Settlement::Discard => queue.reject(entry, effects),
        }
    }

    /// The windows of this channel's consumers have room again.
    pub fn stir_own_queues(&mut self) {
        for queue in self
            .channel
            .consumers
            .iter()
            .filter_map(|(_, consumer)| consumer.queue)
        {
            self.vhost.queues.stir(queue);
        }
    }

    pub fn recover(&mut self, requeue: bool, is_answered: bool) -> Result<(), Refusal> {
        if !requeue {
            return Err(not_implemented("requeue=false"));
        }
        for pending in self.channel.unacked.take_all() {
            self.settle(pending, Settlement::Requeue);
        }
        if self.channel.prefetch_global > 0 {
            self.stir_own_queues();
        }
        if is_answered {
            self.reply(basic::RecoverOk {});
        }
        Ok(())
    }
}

fn unknown_tag(tag: u64) -> Refusal {
    Refusal::precondition(format!("unknown delivery tag {tag}"))
}
