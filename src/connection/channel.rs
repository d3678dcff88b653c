//! One channel, the calls that wait on it, and the table of all channels.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use smallvec::SmallVec;

use super::acks::Acks;
use super::content::Content;
use super::error::Refused;
use super::{Token, write_method};
use crate::protocol::{Method, MethodSpec, ShortStr, basic, connection};

/// The most calls that may wait for their answer on one channel.
pub const CALLS_MAX: usize = 1024;

/// Names one channel of one connection, for ever: the number is used again, the serial never, in no connection of this process. A
/// delivery's tag is only good together with it, so that nothing from before a reconnect reaches the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChannelId {
    number: u16,
    serial: u64,
}

impl ChannelId {
    pub(crate) fn new(number: u16) -> Self {
        static SERIAL: AtomicU64 = AtomicU64::new(1);
        ChannelId {
            number,
            serial: SERIAL.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// The channel number on the wire.
    pub fn number(self) -> u16 {
        self.number
    }
}

/// What a call asks for, as far as its answer changes the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallKind {
    Plain,
    Consume { consumer: Token, no_ack: bool },
    Cancel { consumer: Token },
    Qos { prefetch: u16, global: bool },
    Get { no_ack: bool },
}

/// A synchronous method that was, or will be, sent.
#[derive(Debug)]
pub(super) struct Call {
    pub token: Token,
    pub kind: CallKind,
    pub request: &'static MethodSpec,
    /// The encoded frame, while other calls are before it. A cancel's is empty: it is encoded when its turn comes, because the consumer's tag
    /// may not be known before.
    unsent: Option<Vec<u8>>,
}

#[derive(Debug)]
pub(super) struct ConsumerEntry {
    pub tag: Box<[u8]>,
    pub token: Token,
    pub no_ack: bool,
    /// The prefetch window that was set when it started; 0 is unlimited.
    prefetch: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// `channel.open` was sent; calls queue behind it.
    Open,
    /// `channel.close` was sent: everything but its answer is thrown away.
    Closing(Option<Token>),
}

#[derive(Debug)]
pub(super) struct Channel {
    pub id: ChannelId,
    pub state: State,
    pub calls: VecDeque<Call>,
    pub consumers: SmallVec<[ConsumerEntry; 1]>,
    /// Who publishes here: gets the returns and the confirms.
    pub publisher: Option<Token>,
    pub content: Option<Content>,
    pub acks: Acks,
    /// `basic.qos` without and with `global`; 0 is unlimited.
    prefetch: u16,
    prefetch_global: u16,
    /// Whether it stands in the list of channels with acks to send.
    pub is_dirty: bool,
    /// Whether it stands in the list of channels with acks that are held back.
    pub is_held: bool,
    /// False between a `channel.flow(false)` and the next `channel.flow(true)` of the broker.
    pub flow_active: bool,
}

impl Channel {
    fn new(id: ChannelId) -> Self {
        Channel {
            id,
            state: State::Open,
            calls: VecDeque::new(),
            consumers: SmallVec::new(),
            publisher: None,
            content: None,
            acks: Acks::new(),
            prefetch: 0,
            prefetch_global: 0,
            is_dirty: false,
            is_held: false,
            flow_active: true,
        }
    }

    /// Queues a call behind those that wait: AMQP answers the synchronous methods of one channel in order, and an error closes the channel, so
    /// that only one at a time can be told from the others. [`Channel::send_next`] is to follow.
    pub fn call(
        &mut self,
        token: Token,
        kind: CallKind,
        method: &Method<'_>,
        frame_max: u32,
    ) -> Result<(), Refused> {
        if self.calls.len() >= CALLS_MAX {
            return Err(Refused::TooManyCalls(CALLS_MAX));
        }
        let mut frame = Vec::new();
        if !matches!(kind, CallKind::Cancel { .. }) {
            write_method(&mut frame, self.id.number, |out| method.encode(out));
        }
        if frame.len() > frame_max as usize {
            return Err(Refused::FrameTooLarge {
                method: method.name(),
                size: frame.len(),
                frame_max,
            });
        }
        self.calls.push_back(Call {
            token,
            kind,
            request: method.spec(),
            unsent: Some(frame),
        });
        Ok(())
    }

    /// Sends the call whose turn it is. One that needs no sending, because it cancels a consumer that is gone, is taken out and given back:
    /// it is done, and the next one is to be sent.
    pub fn send_next(&mut self, out: &mut Vec<u8>) -> Option<Call> {
        let call = self.calls.front_mut()?;
        let frame = call.unsent.take()?;
        let CallKind::Cancel { consumer } = call.kind else {
            out.extend_from_slice(&frame);
            return None;
        };
        let Some(entry) = self.consumers.iter().find(|c| c.token == consumer) else {
            return self.calls.pop_front();
        };
        let cancel = basic::Cancel {
            // It came as a short string.
            consumer_tag: ShortStr::from_bytes(&entry.tag).unwrap_or_default(),
            no_wait: false,
        };
        write_method(out, self.id.number, |out| cancel.encode(out));
        None
    }

    /// The call that `reply` answers, if it is the answer to the one that waits. [`Channel::send_next`] is to follow.
    pub fn answer(&mut self, reply: &Method<'_>) -> Option<Call> {
        let reply = reply.spec();
        let call = self.calls.front()?;
        let is_answer =
            call.request.class_id == reply.class_id && call.request.replies.contains(&reply.method);
        is_answer.then(|| self.calls.pop_front()).flatten()
    }

    pub fn add_consumer(&mut self, tag: &[u8], token: Token, no_ack: bool) {
        self.consumers.push(ConsumerEntry {
            tag: tag.into(),
            token,
            no_ack,
            prefetch: self.prefetch,
        });
        self.update_window();
    }

    pub fn remove_consumer(&mut self, token: Token) {
        self.consumers.retain(|c| c.token != token);
        self.update_window();
    }

    pub fn set_prefetch(&mut self, prefetch: u16, global: bool) {
        if global {
            self.prefetch_global = prefetch;
        } else {
            self.prefetch = prefetch;
        }
        self.update_window();
    }

    /// For RabbitMQ a new prefetch is for later consumers, and a global one for all together; other brokers take it for the whole channel at
    /// once. The smallest window in force is right for all of them: no consumer may starve for want of an ack.
    fn update_window(&mut self) {
        let windows = self.consumers.iter().map(|c| c.prefetch);
        let all = windows.chain([self.prefetch, self.prefetch_global]);
        self.acks
            .set_window(all.filter(|window| *window != 0).min());
    }

    #[inline]
    pub fn consumer(&self, tag: &[u8]) -> Option<&ConsumerEntry> {
        self.consumers.iter().find(|c| *c.tag == *tag)
    }
}

/// All channels of a connection, by number.
#[derive(Debug, Default)]
pub(super) struct Channels {
    /// Index 0 stands for channel 1.
    slots: Vec<Option<Box<Channel>>>,
    /// Numbers that were used and are free, the one that has been free for longest first.
    free: VecDeque<u16>,
}

impl Channels {
    /// A new channel with a number that nobody uses, at most `channel_max`. Numbers never used come first and then those that have been free
    /// for longest, because a broker may still be sending on a channel that it has just closed: see [`Channels::was_used`].
    pub fn open(&mut self, channel_max: u16) -> Result<&mut Channel, Refused> {
        let number = if self.slots.len() < usize::from(channel_max) {
            self.slots.push(None);
            self.slots.len() as u16
        } else {
            self.free
                .pop_front()
                .ok_or(Refused::NoChannelFree(channel_max))?
        };
        let slot = &mut self.slots[usize::from(number) - 1];
        Ok(slot.insert(Box::new(Channel::new(ChannelId::new(number)))))
    }

    #[inline]
    pub fn by_number(&mut self, number: u16) -> Option<&mut Channel> {
        self.slots
            .get_mut(usize::from(number).checked_sub(1)?)?
            .as_deref_mut()
    }

    pub fn by_id(&mut self, id: ChannelId) -> Result<&mut Channel, Refused> {
        self.by_number(id.number)
            .filter(|channel| channel.id == id)
            .ok_or(Refused::StaleChannel)
    }

    /// One on which something can still be sent.
    pub fn usable(&mut self, id: ChannelId) -> Result<&mut Channel, Refused> {
        self.by_id(id)
            .ok()
            .filter(|channel| channel.state == State::Open)
            .ok_or(Refused::StaleChannel)
    }

    pub fn remove(&mut self, number: u16) -> Option<Box<Channel>> {
        let channel = self
            .slots
            .get_mut(usize::from(number).checked_sub(1)?)?
            .take()?;
        self.free.push_back(number);
        Some(channel)
    }

    pub fn drain(&mut self) -> impl Iterator<Item = Box<Channel>> {
        self.free.clear();
        std::mem::take(&mut self.slots).into_iter().flatten()
    }

    /// All that are there, by number.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Channel> {
        self.slots
            .iter_mut()
            .flatten()
            .map(|channel| &mut **channel)
    }

    /// Whether a channel with this number is there or was. RabbitMQ's deliveries that are under way within it may follow its own
    /// `channel.close`; that is no reason to close the connection.
    pub fn was_used(&self, number: u16) -> bool {
        usize::from(number) <= self.slots.len()
    }

    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

/// Whether the broker will answer, and the connection keeps no book of it that [`Connection::call`](super::Connection::call) would pass by.
pub(super) fn check_call(method: &Method<'_>) -> Result<(), Refused> {
    let spec = method.spec();
    let has_own_function = matches!(
        method,
        Method::ChannelOpen(_)
            | Method::ChannelClose(_)
            | Method::BasicConsume(_)
            | Method::BasicCancel(_)
    );
    let is_on_channel_0 = spec.class_id == connection::CLASS_ID;
    let is_request = spec.to_server() && !spec.replies.is_empty();
    if has_own_function || is_on_channel_0 || !is_request || is_no_wait(method) {
        return Err(Refused::NotACall { method: spec.name });
    }
    Ok(())
}

/// Whether the broker is asked not to answer.
pub(super) fn is_no_wait(method: &Method<'_>) -> bool {
    match method {
        Method::ExchangeDeclare(declare) => declare.no_wait,
        Method::ExchangeDelete(delete) => delete.no_wait,
        Method::ExchangeBind(bind) => bind.no_wait,
        Method::ExchangeUnbind(unbind) => unbind.no_wait,
        Method::QueueDeclare(declare) => declare.no_wait,
        Method::QueueBind(bind) => bind.no_wait,
        Method::QueuePurge(purge) => purge.no_wait,
        Method::QueueDelete(delete) => delete.no_wait,
        Method::BasicConsume(consume) => consume.no_wait,
        Method::ConfirmSelect(select) => select.nowait,
        _ => false,
    }
}
