//! Consumers and what they get: `basic.qos`, `consume`, `cancel` and `get`.

use super::channel::Consumer;
use super::context::{Context, not_implemented, short, text};
use super::ids::ConsumerId;
use super::publishing::encode_content;
use super::queue::{Fate, NewConsumer};
use super::refusal::Refusal;
use super::replies::PSEUDO_QUEUE;
use super::unacked::Pending;
use crate::protocol::{ReplyCode, ShortStr, basic};

/// The most consumers of a channel: they are looked up by tag one after another.
const CONSUMERS_MAX: usize = 1 << 14;

impl Context<'_> {
    pub fn basic_qos(&mut self, qos: &basic::Qos) -> Result<(), Refusal> {
        if qos.prefetch_size != 0 {
            return Err(not_implemented(format!(
                "prefetch_size!=0 ({})",
                qos.prefetch_size
            )));
        }
        if qos.global {
            self.channel.prefetch_global = qos.prefetch_count;
            self.stir_own_queues();
        } else {
            self.channel.prefetch = qos.prefetch_count;
        }
        self.reply(basic::QosOk {});
        Ok(())
    }

    pub fn basic_consume(&mut self, consume: &basic::Consume<'_>) -> Result<(), Refusal> {
        let asked = text(consume.consumer_tag)?;
        if !asked.is_empty() && self.channel.consumer_by_tag(asked).is_some() {
            let text = format!("attempt to reuse consumer tag '{asked}'");
            return Err(Refusal::new(ReplyCode::NotAllowed, text));
        }
        if self.channel.consumers.len() >= CONSUMERS_MAX {
            let text = format!("consumer limit of a channel ({CONSUMERS_MAX}) is reached");
            return Err(Refusal::new(ReplyCode::NotAllowed, text));
        }
        let tag = match asked {
            "" => self.shared.names.consumer_tag(),
            asked => asked.to_owned(),
        };
        if consume.queue == PSEUDO_QUEUE {
            return self.consume_replies(consume, tag);
        }
        let (queue, _) = self.queue_of(consume.queue)?;
        let id = self.add_consumer(Consumer {
            tag: tag.clone().into_boxed_str(),
            queue: Some(queue),
            no_ack: consume.no_ack,
            prefetch: self.channel.prefetch,
            unacked: 0,
        });
        let new = NewConsumer {
            id,
            no_ack: consume.no_ack,
            exclusive: consume.exclusive,
            arguments: consume.arguments,
        };
        let queue = self.vhost.queues.stir(queue);
        if let Some(Err(refusal)) = queue.map(|queue| queue.add_consumer(&new)) {
            self.channel.consumers.try_remove(id.consumer as usize);
            return Err(refusal);
        }
        let consume_ok = basic::ConsumeOk {
            consumer_tag: short(&tag),
        };
        self.reply_unless(consume.no_wait, consume_ok);
        Ok(())
    }

    fn add_consumer(&mut self, consumer: Consumer) -> ConsumerId {
        let index = self.channel.consumers.insert(consumer);
        ConsumerId {
            session: self.session.id,
            channel: self.number,
            consumer: u32::try_from(index).unwrap_or(u32::MAX),
        }
    }

    fn consume_replies(
        &mut self,
        consume: &basic::Consume<'_>,
        tag: String,
    ) -> Result<(), Refusal> {
        if !consume.no_ack {
            return Err(Refusal::precondition("reply consumer cannot acknowledge"));
        }
        if self.channel.reply_address.is_some() {
            return Err(Refusal::precondition("reply consumer already set"));
        }
        let id = self.add_consumer(Consumer {
            tag: tag.clone().into_boxed_str(),
            queue: None,
            no_ack: true,
            prefetch: 0,
            unacked: 0,
        });
        let address = self.shared.names.reply_address();
        self.shared.replies.add(address.clone(), id);
        self.channel.reply_address = Some(address);
        let consume_ok = basic::ConsumeOk {
            consumer_tag: short(&tag),
        };
        self.reply_unless(consume.no_wait, consume_ok);
        Ok(())
    }

    pub fn basic_cancel(&mut self, cancel: &basic::Cancel<'_>) -> Result<(), Refusal> {
        let tag = text(cancel.consumer_tag)?;
        if let Some(consumer) = self.channel.consumer_by_tag(tag) {
            self.end_consumer(consumer);
        }
        let cancel_ok = basic::CancelOk {
            consumer_tag: cancel.consumer_tag,
        };
        self.reply_unless(cancel.no_wait, cancel_ok);
        Ok(())
    }

    /// Ends a consumer at its client's wish. What it has unacked stays with the channel.
    pub fn end_consumer(&mut self, index: u32) {
        let Some(consumer) = self.channel.consumers.try_remove(index as usize) else {
            return;
        };
        self.channel.forget_consumer(index, consumer.unacked);
        let Some(id) = consumer.queue else {
            if let Some(address) = self.channel.reply_address.take() {
                self.shared.replies.remove(&address);
            }
            return;
        };
        let consumer = ConsumerId {
            session: self.session.id,
            channel: self.number,
            consumer: index,
        };
        let Some(queue) = self.vhost.queues.stir(id) else {
            return;
        };
        match queue.remove_consumer(consumer, self.now) {
            Fate::Ends => {
                self.vhost.delete(id);
            }
            Fate::Stays => self.vhost.queues.note_deadline(id),
        }
    }

    pub fn basic_get(&mut self, get: &basic::Get<'_>) -> Result<(), Refusal> {
        let (id, _) = self.queue_of(get.queue)?;
        let now = self.now;
        let effects = &mut self.vhost.effects;
        let Some(queue) = self.vhost.queues.stir(id) else {
            return Ok(());
        };
        queue.check_get()?;
        let Some(entry) = queue.pop(now, get.no_ack, effects) else {
            self.reply(basic::GetEmpty {});
            return Ok(());
        };
        self.shared.totals.delivered += 1;
        let delivery_tag = self.channel.delivery_tag();
        let message_count = queue.ready();
        let message = entry.message.clone();
        let get_ok = basic::GetOk {
            delivery_tag,
            redelivered: entry.redelivered,
            exchange: ShortStr::from_bytes(message.exchange()).unwrap_or_default(),
            routing_key: ShortStr::from_bytes(message.routing_key()).unwrap_or_default(),
            message_count,
        };
        self.reply(get_ok);
        let frame_max = self.session.frame_max;
        encode_content(&mut self.session.out, self.number, &message, frame_max);
        if !get.no_ack {
            self.channel.unacked.push(Pending {
                tag: delivery_tag,
                owed: Some((id, entry)),
                consumer: None,
            });
        }
        Ok(())
    }
}
