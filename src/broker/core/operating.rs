//! What is done to the broker from outside of any connection: looking into it, faults, restarts.

use std::time::Instant;

use super::context::short;
use super::faults::Faults;
use super::ids::SessionId;
use super::records::Received;
use super::refusal::Refusal;
use super::session::Phase;
use super::vhost::Vhost;
use super::{Core, channel};
use crate::broker::control::{ExchangeState, QueueState, State};
use crate::protocol::{ReplyCode, basic};

impl Core {
    pub fn state(&self) -> State {
        let open = self.sessions.iter().filter(|(_, s)| s.phase == Phase::Open);
        let mut state = State {
            connections: open.count(),
            totals: self.shared.totals,
            ..State::default()
        };
        for vhost in &self.vhosts {
            for exchange in vhost.exchanges.report() {
                let about = ExchangeState {
                    kind: exchange.kind,
                    bindings: exchange.bindings,
                };
                state.exchanges.insert(exchange.name.to_owned(), about);
            }
            for queue in vhost.queues.iter() {
                let held = QueueState {
                    ready: queue.ready(),
                    unacked: queue.unacked(),
                    consumers: queue.consumer_count(),
                };
                state.queues.insert(queue.name().to_owned(), held);
            }
        }
        state
    }

    pub fn received(&mut self) -> Vec<Received> {
        self.shared.records.take()
    }

    pub fn faults(&mut self) -> &mut Faults {
        &mut self.shared.faults
    }

    /// Raises or ends an alarm.
    pub fn block(&mut self, reason: Option<String>) {
        self.shared.faults.blocked = reason;
        self.touch_all();
    }

    /// From now on nothing is read and nothing sent, or everything again.
    pub fn freeze(&mut self, now: Instant, id: SessionId, is_frozen: bool) {
        if let Some(session) = self.sessions.get_mut(id.0 as usize) {
            session.is_frozen = is_frozen;
            // What it has said meanwhile is only now to be read.
            session.received(now);
        }
    }

    pub fn is_frozen(&self, id: SessionId) -> bool {
        let session = self.sessions.get(id.0 as usize);
        session.is_some_and(|session| session.is_frozen)
    }

    pub(super) fn touch_all(&mut self) {
        for id in self.session_ids() {
            self.touch(id);
        }
    }

    pub(super) fn session_ids(&self) -> Vec<SessionId> {
        self.sessions
            .iter()
            .map(|(_, session)| session.id)
            .collect()
    }

    pub fn close_connections(&mut self, now: Instant, code: ReplyCode, text: &str) {
        let refusal = Refusal::new(code, text);
        for id in self.session_ids() {
            let session = self.sessions.get(id.0 as usize);
            if session.is_some_and(|session| session.phase == Phase::Open) {
                self.close_connection(now, id, &refusal, (0, 0));
            }
        }
    }

    pub fn close_channels(&mut self, now: Instant, code: ReplyCode, text: &str) {
        let refusal = Refusal::new(code, text);
        for id in self.session_ids() {
            let Some(session) = self.sessions.get(id.0 as usize) else {
                continue;
            };
            for number in session.channels.numbers() {
                if self.is_open(id, number) {
                    self.refuse(now, id, number, &refusal, (0, 0));
                }
            }
        }
    }

    /// Whether a channel is open, and not on its way to its end.
    fn is_open(&mut self, id: SessionId, number: u16) -> bool {
        let session = self.sessions.get_mut(id.0 as usize);
        let channel = session.and_then(|session| session.channels.get(number));
        channel.is_some_and(|channel| channel.state == channel::State::Open)
    }

    /// Cancels all consumers, as when the nodes of their queues fail.
    pub fn cancel_consumers(&mut self, now: Instant) {
        for id in self.session_ids() {
            let Some(session) = self.sessions.get(id.0 as usize) else {
                continue;
            };
            let tells = session.capabilities.consumer_cancel_notify;
            for number in session.channels.numbers() {
                self.on_channel(now, id, number, |context| {
                    let consumers = context.channel.consumers.iter();
                    let consumers: Vec<_> = consumers
                        .map(|(index, consumer)| (index as u32, consumer.tag.clone()))
                        .collect();
                    for (index, tag) in consumers {
                        context.end_consumer(index);
                        if tells {
                            context.reply(basic::Cancel {
                                consumer_tag: short(&tag),
                                no_wait: true,
                            });
                        }
                    }
                });
            }
        }
    }

    /// Starts over. All connections were lost before.
    pub fn restart(&mut self, now: Instant, keeps_durable: bool) {
        for id in self.session_ids() {
            self.lost(now, id);
        }
        self.settle(now);
        for vhost in &mut self.vhosts {
            if keeps_durable {
                vhost.restart(now);
            } else {
                *vhost = Vhost::new(&vhost.name);
            }
        }
    }
}

impl Vhost {
    /// What is not durable goes.
    fn restart(&mut self, now: Instant) {
        let transient = self.queues.ids().into_iter().filter(|id| {
            let queue = self.queues.get(*id);
            queue.is_some_and(|queue| !queue.spec().durable)
        });
        for id in transient.collect::<Vec<_>>() {
            self.delete(id);
        }
        for gone in std::mem::take(&mut self.gone) {
            self.queues.release(gone.id);
        }
        let queues = &self.queues;
        self.exchanges.restart(|id| queues.get(id).is_some());
        for id in self.queues.ids() {
            if let Some(queue) = self.queues.get_mut(id) {
                queue.restart(now);
            }
        }
    }
}
