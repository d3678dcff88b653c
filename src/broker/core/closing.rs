//! The ends of channels and connections.

use std::collections::HashSet;
use std::time::Instant;

use super::Core;
use super::channel::{Channel, Mode, State};
use super::context::{Context, cut, short};
use super::ids::{ConsumerId, QueueId, SessionId};
use super::refusal::Refusal;
use super::session::{CLOSE_TIMEOUT, Phase};
use super::settling::Settlement;
use super::vhost::Gone;
use crate::protocol::{basic, channel, connection};

/// Class and method that were at fault.
pub(crate) type MethodId = (u16, u16);

impl Context<'_> {
    /// Lets go of everything that the channel holds. Unacked deliveries go back to their queues.
    pub fn release(&mut self) {
        match &mut self.channel.mode {
            Mode::Plain => {}
            // Its number may be another channel's when they are sent.
            Mode::Confirm(_) => self.session.confirming.retain(|one| *one != self.number),
            Mode::Transaction(transaction) => {
                let settled = std::mem::take(&mut transaction.settled);
                let settled = settled.into_iter().map(|(pending, _)| pending);
                self.channel.unacked.restore(settled);
            }
        }
        self.channel.mode = Mode::Plain;
        // Taken before its consumers end, none of which has to look for what is its own then.
        let unacked = self.channel.unacked.take_all();
        let consumers: Vec<_> = self.channel.consumers.iter().map(|(key, _)| key).collect();
        for consumer in consumers {
            self.end_consumer(u32::try_from(consumer).unwrap_or(u32::MAX));
        }
        for pending in unacked {
            self.settle(pending, Settlement::Abandon);
        }
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
        for queue in vhost.queues.owned_by(id) {
            vhost.delete(queue);
        }
    }

    /// Queues that are gone: their consumers are told, where they want to know, and deliveries of them need no answer.
    pub(super) fn bury(&mut self, vhost: usize, gone: &[Gone]) {
        for queue in gone {
            for consumer in &queue.consumers {
                self.end_orphan(*consumer, queue.id);
            }
        }
        let unacked = gone.iter().filter(|queue| queue.has_unacked);
        let unacked: HashSet<QueueId> = unacked.map(|queue| queue.id).collect();
        if !unacked.is_empty() {
            for (_, session) in &mut self.sessions {
                if session.vhost == vhost {
                    for (_, channel) in session.channels.iter_mut() {
                        channel.forget_queues(&unacked);
                    }
                }
            }
        }
        if let Some(vhost) = self.vhosts.get_mut(vhost) {
            for queue in gone {
                vhost.queues.release(queue.id);
            }
        }
    }

    /// Ends a consumer of a queue that is gone. Its place may be another one's by now.
    fn end_orphan(&mut self, consumer: ConsumerId, queue: QueueId) {
        let Some(session) = self.sessions.get_mut(consumer.session.0 as usize) else {
            return;
        };
        let wants_to_know = session.capabilities.consumer_cancel_notify;
        let Some(channel) = session.channels.get(consumer.channel) else {
            return;
        };
        let index = consumer.consumer as usize;
        let place = channel.consumers.get(index);
        if place.is_none_or(|consumer| consumer.queue != Some(queue)) {
            return;
        }
        let ended = channel.consumers.remove(index);
        channel.forget_consumer(consumer.consumer, ended.unacked);
        if wants_to_know {
            session.send(
                consumer.channel,
                basic::Cancel {
                    consumer_tag: short(&ended.tag),
                    no_wait: true,
                },
            );
        }
    }
}

impl Channel {
    /// A consumer has ended that had so many deliveries unacked: they count for no window any more.
    pub(super) fn forget_consumer(&mut self, consumer: u32, unacked: u32) {
        if unacked == 0 {
            return;
        }
        self.unacked.forget_consumer(consumer);
        if let Mode::Transaction(transaction) = &mut self.mode {
            for (pending, _) in &mut transaction.settled {
                pending.consumer.take_if(|one| *one == consumer);
            }
        }
    }

    fn forget_queues(&mut self, gone: &HashSet<QueueId>) {
        self.unacked.forget_queues(gone);
        if let Mode::Transaction(transaction) = &mut self.mode {
            for (pending, _) in &mut transaction.settled {
                pending.forget_queues(gone);
            }
        }
    }
}
