//! The methods of class `queue`.

use super::context::{Context, name, short, text};
use super::ids::QueueId;
use super::queue::Declaration;
use super::refusal::Refusal;
use super::replies::{ADDRESS_PREFIX, PSEUDO_QUEUE};
use super::routing::Destination;
use crate::protocol::ShortStr;
use crate::protocol::queue::{
    Bind, BindOk, Declare, DeclareOk, Delete, DeleteOk, Purge, PurgeOk, Unbind, UnbindOk,
};

impl Context<'_> {
    pub fn queue_declare(&mut self, declare: &Declare<'_>) -> Result<(), Refusal> {
        let name = &*name(declare.queue)?;
        if name == PSEUDO_QUEUE || (declare.passive && name.starts_with(ADDRESS_PREFIX)) {
            return self.check_reply_address(name, declare.no_wait);
        }
        let id = if declare.passive {
            self.vhost.queue(name, self.session.id)?
        } else {
            self.declare_queue(name, declare)?
        };
        let now = self.now;
        let Some(queue) = self.vhost.queues.get_mut(id) else {
            return Ok(());
        };
        queue.touch(now);
        let (message_count, consumer_count) = (queue.ready(), queue.consumer_count());
        let name = queue.name().to_owned();
        self.vhost.queues.note_deadline(id);
        let declare_ok = DeclareOk {
            queue: short(&name),
            message_count,
            consumer_count,
        };
        self.reply_unless(declare.no_wait, declare_ok);
        self.channel.last_queue = name;
        Ok(())
    }

    fn declare_queue(&mut self, name: &str, declare: &Declare<'_>) -> Result<QueueId, Refusal> {
        let chosen;
        let name = if name.is_empty() {
            chosen = self.shared.names.queue();
            &chosen
        } else if name.starts_with("amq.") {
            // Not even for a queue that was named by the broker: who declares anew chooses a name.
            let text = format!("queue name '{name}' contains reserved prefix 'amq.*'");
            return Err(Refusal::access_refused(text));
        } else {
            name
        };
        let vhost = self.vhost.name.clone();
        let declaration = Declaration {
            vhost: &vhost,
            name,
            durable: declare.durable,
            exclusive: declare.exclusive,
            auto_delete: declare.auto_delete,
            arguments: declare.arguments,
        };
        let (session, now) = (self.session.id, self.now);
        if let Some(id) = self.vhost.queues.by_name(name) {
            if let Some(queue) = self.vhost.queues.get_mut(id) {
                queue.declare_again(&declaration, session, now)?;
            }
            return Ok(id);
        }
        self.vhost.declare(&declaration, session, now)
    }

    fn check_reply_address(&mut self, name: &str, no_wait: bool) -> Result<(), Refusal> {
        if name != PSEUDO_QUEUE && self.shared.replies.consumer(name).is_none() {
            let text = format!("no queue '{name}' in vhost '{}'", self.vhost.name);
            return Err(Refusal::not_found(text));
        }
        let declare_ok = DeclareOk {
            queue: short(name),
            message_count: 0,
            consumer_count: 1,
        };
        self.reply_unless(no_wait, declare_ok);
        Ok(())
    }

    /// The name that a method means: the queue that was declared last, where it gives none.
    pub fn name_of(&self, name: ShortStr<'_>) -> Result<String, Refusal> {
        if !name.is_empty() {
            return Ok(super::context::name(name)?.into_owned());
        }
        if self.channel.last_queue.is_empty() {
            return Err(Refusal::not_found("no previously declared queue"));
        }
        Ok(self.channel.last_queue.clone())
    }

    /// The queue that a method means.
    pub fn queue_of(&self, name: ShortStr<'_>) -> Result<(QueueId, String), Refusal> {
        let name = self.name_of(name)?;
        let id = self.vhost.queue(&name, self.session.id)?;
        Ok((id, name))
    }

    pub fn queue_bind(&mut self, bind: &Bind<'_>) -> Result<(), Refusal> {
        let queue = self.name_of(bind.queue)?;
        let exchange = name(bind.exchange)?;
        self.vhost.exchanges.check(&exchange)?;
        let id = self.vhost.queue(&queue, self.session.id)?;
        let key = if bind.queue.is_empty() && bind.routing_key.is_empty() {
            &queue
        } else {
            text(bind.routing_key)?
        };
        let destination = Destination::Queue(id);
        self.vhost
            .exchanges
            .bind(&exchange, destination, key, bind.arguments)?;
        self.reply_unless(bind.no_wait, BindOk {});
        Ok(())
    }

    /// Taking away what is not there is no error in RabbitMQ, and a queue need not be one's own for it.
    pub fn queue_unbind(&mut self, unbind: &Unbind<'_>) -> Result<(), Refusal> {
        let queue = self.name_of(unbind.queue)?;
        let (exchange, key) = (name(unbind.exchange)?, text(unbind.routing_key)?);
        if exchange.is_empty() {
            self.vhost.exchanges.check(&exchange)?;
        }
        if let Some(id) = self.vhost.queues.by_name(&queue) {
            let destination = Destination::Queue(id);
            self.vhost
                .exchanges
                .unbind(&exchange, destination, key, unbind.arguments)?;
        }
        self.reply(UnbindOk {});
        Ok(())
    }

    pub fn queue_purge(&mut self, purge: &Purge<'_>) -> Result<(), Refusal> {
        let (id, _) = self.queue_of(purge.queue)?;
        let queue = self.vhost.queues.get_mut(id);
        let message_count = queue.map_or(0, super::queue::Queue::purge);
        self.reply_unless(purge.no_wait, PurgeOk { message_count });
        Ok(())
    }

    /// Deleting a queue that is not there is no error in RabbitMQ.
    pub fn queue_delete(&mut self, delete: &Delete<'_>) -> Result<(), Refusal> {
        let name = self.name_of(delete.queue)?;
        let mut message_count = 0;
        if self.vhost.queues.by_name(&name).is_some() {
            let id = self.vhost.queue(&name, self.session.id)?;
            let vhost = &self.vhost.name;
            if let Some(queue) = self.vhost.queues.get(id) {
                if delete.if_unused && queue.consumer_count() > 0 {
                    let text = format!("queue '{name}' in vhost '{vhost}' in use");
                    return Err(Refusal::precondition(text));
                }
                if delete.if_empty && queue.ready() > 0 {
                    let text = format!("queue '{name}' in vhost '{vhost}' not empty");
                    return Err(Refusal::precondition(text));
                }
            }
            message_count = self.vhost.delete(id);
        }
        self.reply_unless(delete.no_wait, DeleteOk { message_count });
        Ok(())
    }
}
