//! The ends of channels and connections.

use std::time::Instant;

use super::Core;
use super::channel::{Channel, Mode, State};
use super::context::{Context, cut, short};
use super::ids::SessionId;
use super::refusal::Refusal;
use super::session::{CLOSE_TIMEOUT, Phase};
use super::settling::Settlement;
use crate::protocol::{channel, connection};

/// Class and method that were at fault.
pub(crate) type MethodId = (u16, u16);

impl Context<'_> {
    /// Lets go of everything that the channel holds. Unacked deliveries go back to their queues.
    pub fn release(&mut self) {
        let consumers: Vec<_> = self.channel.consumers.iter().map(|(key, _)| key).collect();
        for consumer in consumers {
            self.end_consumer(u32::try_from(consumer).unwrap_or(u32::MAX));
        }
        if let Mode::Transaction(transaction) = &mut self.channel.mode {
            let settled = std::mem::take(&mut transaction.settled);
            let settled = settled.into_iter().map(|(pending, _)| pending);
            self.channel.unacked.restore(settled.collect());
        }
        self.channel.mode = Mode::Plain;
        self.requeue_everything(Settlement::Abandon);
    }

    pub fn channel_close(&mut self) {
        self.release();
        self.channel.state = State::Closed;
        self.reply(channel::CloseOk {});
    }

    /// Closes the channel because of a method.
    fn refuse_on_channel(&mut self, refusal: &Refusal, (class_id, method_id): MethodId) {
        self.release();
        *self.channel = Channel::new();
        self.channel.state = State::Closing;
        let text = cut(refusal.reply_text());
        self.reply(channel::Close {
            reply_code: refusal.code.code(),
            reply_text: short(&text),
            class_id,
            method_id,
        });
    }
}

impl Core {
    /// Closes the channel, or for a hard error the connection.
    pub(super) fn refuse(
        &mut self,
        now: Instant,
        id: SessionId,
        number: u16,
        refusal: &Refusal,
        method: MethodId,
    ) {
        let closed = if refusal.code.is_hard() || number == 0 {
            None
        } else {
            self.on_channel(now, id, number, |context| {
                context.refuse_on_channel(refusal, method);
            })
        };
        if closed.is_none() {
            self.close_connection(now, id, refusal, method);
        }
    }

    /// Sends `connection.close`; everything that comes in afterwards is thrown away.
    pub(super) fn close_connection(
        &mut self,
        now: Instant,
        id: SessionId,
        refusal: &Refusal,
        (class_id, method_id): MethodId,
    ) {
        self.release_session(now, id);
        let Some(session) = self.sessions.get_mut(id.0 as usize) else {
            return;
        };
        let text = cut(refusal.reply_text());
        session.send(
            0,
            connection::Close {
                reply_code: refusal.code.code(),
                reply_text: short(&text),
                class_id,
                method_id,
            },
        );
        session.enter(Phase::Closing, now.checked_add(CLOSE_TIMEOUT));
    }

    /// Lets go of everything that a connection holds: its channels and its exclusive queues.
    pub(super) fn release_session(&mut self, now: Instant, id: SessionId) {
        let Some(session) = self.sessions.get_mut(id.0 as usize) else {
            return;
        };
        session.confirming.clear();
        let vhost = session.vhost;
        for number in session.channels.numbers() {
            self.on_channel(now, id, number, |context| {
                context.release();
                context.channel.state = State::Closed;
            });
        }
        let Some(vhost) = self.vhosts.get_mut(vhost) else {
            return;
        };
        for queue in vhost.queues.ids() {
            let owner = vhost.queues.get(queue).and_then(super::queue::Queue::owner);
            if owner == Some(id) {
                vhost.delete(queue);
            }
        }
    }

    /// A queue that is gone: its consumers are told, where they want to know, and deliveries of it need no answer.
    pub(super) fn bury(&mut self, vhost: usize, gone: super::vhost::Gone) {
        for consumer in &gone.consumers {
            let Some(session) = self.sessions.get_mut(consumer.session.0 as usize) else {
                continue;
            };
            let wants_to_know = session.capabilities.consumer_cancel_notify;
            let Some(channel) = session.channels.get(consumer.channel) else {
                continue;
            };
            let ended = channel.consumers.try_remove(consumer.consumer as usize);
            channel.unacked.forget_consumer(consumer.consumer);
            if let Some(ended) = ended
                && wants_to_know
            {
                session.send(
                    consumer.channel,
                    crate::protocol::basic::Cancel {
                        consumer_tag: short(&ended.tag),
                        no_wait: true,
                    },
                );
            }
        }
        for (_, session) in &mut self.sessions {
            if session.vhost == vhost {
                for (_, channel) in session.channels.iter_mut() {
                    channel.forget_queue(gone.id);
                }
            }
        }
        if let Some(vhost) = self.vhosts.get_mut(vhost) {
            vhost.queues.release(gone.id);
        }
    }
}

impl Channel {
    fn forget_queue(&mut self, queue: super::ids::QueueId) {
        self.unacked.forget_queue(queue);
        if let Mode::Transaction(transaction) = &mut self.mode {
            for (pending, _) in &mut transaction.settled {
                if pending.queue == Some(queue) {
                    pending.queue = None;
                }
            }
        }
    }
}
