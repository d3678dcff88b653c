//! One AMQP 0-9-1 connection as a state machine without I/O and without a clock: bytes and the time come in, bytes, deliveries, events and the
//! next deadline come out.
//!
//! ```text
//!            octets read, now                              Sink: deliveries, returns, confirms (in place)
//!   line ───▶ receive() ───┐                          ┌──▶ poll_event(): everything rarer
//!                          ├──▶  Connection  ─────────┤
//!   user ───▶ call(), …  ──┘   phase · channels       └──▶ output(): octets to send    deadline(): when to tick()
//! ```
//!
//! A driver of it does, in a loop: [`receive`](Connection::receive) what was read, [`flush_acks`](Connection::flush_acks), send
//! [`output`](Connection::output), [`poll_event`](Connection::poll_event) until there is none, and [`tick`](Connection::tick) when the
//! [`deadline`](Connection::deadline) has come.
//!
//! | file | concern |
//! |---|---|
//! | `config` | what is asked for, negotiation |
//! | `handshake` | from the protocol header to `connection.open-ok` |
//! | `channel` | channels, numbers, calls that wait |
//! | `content` | bodies in one piece or in many |
//! | `dispatch` | incoming frames, and what each method does |
//! | `messages` | what complete messages and confirms do |
//! | `delivery` | what is handed upwards |
//! | `acks` | the ack coalescer |
//! | `confirms` | the confirm tracker |
//! | `publish` | encoding publishes |
//! | `heartbeat` | signs of life |
//!
//! This module may touch `protocol` only.
#![forbid(unsafe_code)]

mod acks;
mod channel;
mod config;
mod confirms;
mod content;
mod delivery;
mod dispatch;
mod error;
mod handshake;
mod heartbeat;
mod messages;
mod publish;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

pub use acks::{Answer, Settlement};
pub use channel::{CALLS_MAX, ChannelId};
pub use config::{
    BODY_SIZE_MAX_DEFAULT, CHANNEL_MAX_DEFAULT, Config, Credentials, FRAME_MAX_DEFAULT, Tuning,
};
pub use confirms::{BadConfirm, ConfirmCounts, Confirms, Outcome, fingerprint};
pub use delivery::{Body, Confirm, Delivery, Returned, Sink};
pub use error::{ChannelError, CloseReason, ConnectionError, Refused, Violation};
pub use publish::{Route, body_piece_max, encode_body, encode_publish_head};

use acks::Acks;
use channel::{CallKind, Channels, State, check_call, is_no_wait};
use heartbeat::{Due, Heartbeat};

use crate::protocol::{
    FieldTable, FrameKind, Method, PROTOCOL_HEADER, ReplyCode, ShortStr, basic,
    channel as channel_class, connection as connection_class, encode_frame_into, encode_heartbeat,
};

/// The caller's name for a call, a consumer or a publisher: given back with what concerns it.
pub type Token = u64;

/// How far [`Connection::receive`] came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Octets that were used. The rest begins a frame and is to be shown again, with more behind it.
    pub consumed: usize,
    /// At least this many more octets are needed; 0 when everything was used.
    pub missing: usize,
}

/// The answer to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reply {
    /// Done; the answer carries nothing else.
    Done,
    /// `queue.declare-ok`.
    Queue {
        /// The queue's name: the one the broker chose, if it was asked to.
        name: String,
        /// Messages ready for delivery.
        message_count: u32,
        /// Consumers of the queue.
        consumer_count: u32,
    },
    /// `queue.purge-ok`, `queue.delete-ok`: messages that were removed.
    Removed {
        /// Their number.
        message_count: u32,
    },
    /// `basic.consume-ok`.
    Consuming {
        /// The consumer's tag.
        consumer_tag: String,
    },
    /// `basic.get-ok`, after [`Sink::got`], or `basic.get-empty`.
    Got {
        /// Whether there was a message.
        found: bool,
    },
}

/// What happened, rarer than deliveries and confirms.
///
/// Events are in order among themselves. Against the [`Sink`], which is called while octets are read, they come late and never early: what a
/// consumer or publisher was shown before its end is shown before the event of its end can be polled, and a consumer's first deliveries may
/// come before the event with its `basic.consume-ok`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The connection is open.
    Open {
        /// What both sides agreed on.
        tuning: Tuning,
        /// What the broker says of itself.
        server_properties: FieldTable,
    },
    /// A call was answered, or never will be.
    Reply {
        /// Whose call it was.
        call: Token,
        /// Its answer.
        reply: Result<Reply, ChannelError>,
    },
    /// The broker closed a channel. Its calls were answered before this event.
    ChannelClosed {
        /// Which one.
        channel: ChannelId,
        /// Why.
        error: ChannelError,
    },
    /// The broker cancelled a consumer (`basic.cancel`): its queue was deleted, or its node failed.
    ConsumerCancelled {
        /// Which one.
        consumer: Token,
    },
    /// The broker takes no publishes for now (`connection.blocked`).
    Blocked {
        /// Its words.
        reason: String,
    },
    /// The broker takes publishes again.
    Unblocked,
    /// The broker asks to pause, or to go on with, publishes on one channel (`channel.flow`).
    Flow {
        /// Which one.
        channel: ChannelId,
        /// Whether publishes may go on.
        active: bool,
    },
    /// The end; all calls were answered before this event, and none follows.
    Closed(ConnectionError),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The protocol header was sent; `connection.start` comes next.
    Start,
    /// `connection.start-ok` was sent; `connection.tune` comes next.
    Tune,
    /// `connection.open` was sent; `connection.open-ok` comes next.
    OpenOk,
    Open,
    /// `connection.close` was sent: everything but its answer is thrown away.
    Closing,
    Closed,
}

/// See the module's page. Not thread-safe and needs not be: it belongs to one worker.
#[derive(Debug)]
pub struct Connection {
    config: Config,
    phase: Phase,
    tuning: Tuning,
    server_properties: FieldTable,
    channels: Channels,
    heartbeat: Heartbeat,
    blocked: bool,
    out: Vec<u8>,
    events: VecDeque<Event>,
    /// Channels with acks to send.
    dirty: Vec<u16>,
    /// Channels with acks behind an unfinished delivery, and when those leave at the latest.
    held: VecDeque<(Instant, u16)>,
}

/// How long an ack waits for unfinished deliveries before it, so that all of them can leave as one.
pub const ACK_DELAY_MAX: Duration = Duration::from_millis(200);

impl Connection {
    /// A connection whose line has just been made: the protocol header is in the output.
    pub fn new(config: Config, now: Instant) -> Self {
        let tuning = Tuning {
            channel_max: 0,
            // Until both sides have agreed on a size, this client takes what it would agree to.
            frame_max: config.frame_max_wanted(),
            heartbeat: Duration::ZERO,
        };
        Connection {
            config,
            phase: Phase::Start,
            tuning,
            server_properties: FieldTable::new(),
            channels: Channels::default(),
            heartbeat: Heartbeat::off(now),
            blocked: false,
            out: PROTOCOL_HEADER.to_vec(),
            events: VecDeque::new(),
            dirty: Vec::new(),
            held: VecDeque::new(),
        }
    }

    /// What both sides agreed on; meaningful once the connection is open.
    pub fn tuning(&self) -> Tuning {
        self.tuning
    }

    /// Whether channels can be opened and used.
    pub fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Whether it has ended: nothing that is received or asked for has an effect any more.
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Channels in use, those that are closing included.
    pub fn channels_in_use(&self) -> usize {
        self.channels.len()
    }

    /// Whether publishes may be sent on a channel: not while the broker has blocked the connection (an alarm) or paused the channel, nor
    /// when either is closing.
    pub fn may_publish(&mut self, channel: ChannelId) -> bool {
        let usable = self.channels.usable(channel);
        !self.blocked
            && self.phase == Phase::Open
            && usable.is_ok_and(|channel| channel.flow_active)
    }

    /// Octets to send. The caller empties it, and says so with [`Connection::sent`].
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Octets were sent: they count as a sign of life.
    pub fn sent(&mut self, now: Instant) {
        self.heartbeat.sent(now);
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Connection::tick`] is to be called, unless something is sent or received before.
    pub fn deadline(&self) -> Option<Instant> {
        let held = self.held.front().map(|(due, _)| *due);
        self.heartbeat.deadline().into_iter().chain(held).min()
    }

    /// Does what the time asks for: a heartbeat, or giving up a peer that shows no life. What ended the connection is in the events. What can
    /// be read by then is to be read first, so that a busy caller does not take its own silence for the peer's.
    pub fn tick(&mut self, now: Instant) {
        match self.heartbeat.due(now) {
            Due::Nothing => {}
            Due::Send => {
                encode_heartbeat(&mut self.out);
                self.heartbeat.sent(now);
            }
            Due::PeerDead => self.finish(ConnectionError::HeartbeatMissed {
                interval: self.heartbeat.interval(),
            }),
        }
    }

    /// The line is gone, or is given up: every call is answered with `error`.
    pub fn abandon(&mut self, error: ConnectionError) {
        if self.phase != Phase::Closed {
            self.finish(error);
        }
    }

    /// Opens a channel. Calls may follow at once; they are sent when it is open.
    pub fn open_channel(&mut self, call: Token) -> Result<ChannelId, Refused> {
        self.check_open()?;
        let frame_max = self.tuning.frame_max;
        let channel = self.channels.open(self.tuning.channel_max)?;
        let open = Method::from(channel_class::Open::default());
        channel.call(call, CallKind::Plain, &open, frame_max)?;
        let id = channel.id;
        self.send_calls(id.number());
        Ok(id)
    }

    /// Sends a synchronous method; its answer is an [`Event::Reply`]. Calls of one channel are answered in the order in which they were made.
    ///
    /// # Errors
    /// [`Refused::NotACall`] for a method that the broker does not answer, or that has a function of its own here.
    pub fn call(
        &mut self,
        channel: ChannelId,
        call: Token,
        method: &Method<'_>,
    ) -> Result<(), Refused> {
        check_call(method)?;
        let kind = match method {
            Method::BasicQos(qos) => CallKind::Qos {
                prefetch: qos.prefetch_count,
                global: qos.global,
            },
            Method::BasicGet(get) => CallKind::Get { no_ack: get.no_ack },
            _ => CallKind::Plain,
        };
        self.enqueue(channel, call, kind, method)
    }

    /// Starts a consumer: its deliveries come with the token `consumer`, maybe before the [`Event::Reply`] has been polled.
    ///
    /// # Errors
    /// [`Refused::NotACall`] with `no_wait`.
    pub fn consume(
        &mut self,
        channel: ChannelId,
        call: Token,
        consumer: Token,
        consume: basic::Consume<'_>,
    ) -> Result<(), Refused> {
        let kind = CallKind::Consume {
            consumer,
            no_ack: consume.no_ack,
        };
        let method = consume.into();
        if is_no_wait(&method) {
            return Err(Refused::NotACall {
                method: method.name(),
            });
        }
        self.enqueue(channel, call, kind, &method)
    }

    /// Stops a consumer, also one whose [`Connection::consume`] has not been answered yet. What the broker sent before it heard of it still
    /// comes; a consumer that does not exist is answered as done.
    pub fn cancel(
        &mut self,
        channel: ChannelId,
        call: Token,
        consumer: Token,
    ) -> Result<(), Refused> {
        // The consumer's tag is filled in when it is sent.
        let cancel = Method::from(basic::Cancel::default());
        self.enqueue(channel, call, CallKind::Cancel { consumer }, &cancel)
    }

    /// Makes `publisher` the one that returns and confirms on this channel are for.
    pub fn set_publisher(&mut self, channel: ChannelId, publisher: Token) -> Result<(), Refused> {
        self.channels.by_id(channel)?.publisher = Some(publisher);
        Ok(())
    }

    /// Answers every open delivery among `tags`; `1..=tag` is all up to it. Acks wait for [`Connection::flush_acks`].
    ///
    /// # Errors
    /// [`Refused::StaleChannel`] or [`Refused::NotOpen`] when channel or connection are closed or closing: the broker delivers it again.
    pub fn settle(
        &mut self,
        channel: ChannelId,
        tags: RangeInclusive<u64>,
        answer: Answer,
    ) -> Result<Settlement, Refused> {
        self.with_acks(channel, |acks, out| {
            acks.settle(tags, answer, channel.number(), out)
        })
    }

    /// Gives every unanswered delivery of a channel back to the broker.
    ///
    /// # Errors
    /// As for [`Connection::settle`].
    pub fn requeue_open(&mut self, channel: ChannelId) -> Result<(), Refused> {
        self.with_acks(channel, |acks, out| {
            acks.requeue_open(channel.number(), out);
        })
    }

    fn with_acks<T>(
        &mut self,
        channel: ChannelId,
        change: impl FnOnce(&mut Acks, &mut Vec<u8>) -> T,
    ) -> Result<T, Refused> {
        self.check_open()?;
        let entry = self.channels.usable(channel)?;
        let result = change(&mut entry.acks, &mut self.out);
        if !entry.is_dirty && entry.acks.has_unsent() {
            entry.is_dirty = true;
            self.dirty.push(channel.number());
        }
        Ok(result)
    }

    /// Deliveries of a channel that nobody has answered; 0 for a channel that is gone.
    pub fn open_deliveries(&mut self, channel: ChannelId) -> u32 {
        self.channels
            .by_id(channel)
            .map_or(0, |channel| channel.acks.open())
    }

    /// Writes the acks that are due: to be called once a turn, before the output is sent. Those behind an unfinished delivery leave after
    /// [`ACK_DELAY_MAX`].
    pub fn flush_acks(&mut self, now: Instant) {
        for number in self.dirty.drain(..) {
            if let Some(channel) = self.channels.by_number(number)
                && std::mem::take(&mut channel.is_dirty)
                && channel.state == State::Open
            {
                channel.acks.flush(number, &mut self.out);
                if channel.acks.has_behind() && !channel.is_held {
                    channel.is_held = true;
                    self.held.push_back((now + ACK_DELAY_MAX, number));
                }
            }
        }
        while let Some((_, number)) = self.held.pop_front_if(|(due, _)| *due <= now) {
            if let Some(channel) = self.channels.by_number(number)
                && std::mem::take(&mut channel.is_held)
                && channel.state == State::Open
            {
                channel.acks.flush_behind(number, &mut self.out);
            }
        }
    }

    /// Closes a channel at once, with its finished acks sent; unanswered deliveries go back to their queues. Calls that wait are answered with
    /// [`ChannelError::ClosedByClient`] before this one is: the first of them may still take effect at the broker, the others were not sent.
    /// Nothing that comes on the channel from now on reaches the [`Sink`].
    pub fn close_channel(&mut self, channel: ChannelId, call: Token) -> Result<(), Refused> {
        self.check_open()?;
        let entry = self.channels.usable(channel)?;
        entry.acks.flush_all(channel.number(), &mut self.out);
        entry.state = State::Closing(Some(call));
        // What was gathered of a body is of no use any more.
        entry.content = None;
        let waiting = std::mem::take(&mut entry.calls);
        let close = channel_class::Close {
            reply_code: ReplyCode::ReplySuccess.code(),
            ..Default::default()
        };
        write_method(&mut self.out, channel.number(), |out| close.encode(out));
        for waiting in waiting {
            self.reply(waiting.token, Err(ChannelError::ClosedByClient));
        }
        Ok(())
    }

    /// Closes the connection by the protocol: finished acks, then `connection.close`. The end is an [`Event::Closed`], when the broker has answered;
    /// a caller that does not want to wait for ever abandons it.
    pub fn close(&mut self, code: ReplyCode, text: &str) {
        match self.phase {
            Phase::Open | Phase::OpenOk => {
                self.write_close(code, text);
                self.phase = Phase::Closing;
            }
            Phase::Start | Phase::Tune => self.finish(ConnectionError::ClosedByClient),
            Phase::Closing | Phase::Closed => {}
        }
    }

    /// What is finished is acknowledged first: it must not be delivered again for want of a turn.
    fn write_close(&mut self, code: ReplyCode, text: &str) {
        for channel in self.channels.iter_mut() {
            channel.acks.flush_all(channel.id.number(), &mut self.out);
        }
        let close = connection_class::Close {
            reply_code: code.code(),
            reply_text: short_text(text),
            class_id: 0,
            method_id: 0,
        };
        write_method(&mut self.out, 0, |out| close.encode(out));
    }

    fn enqueue(
        &mut self,
        channel: ChannelId,
        call: Token,
        kind: CallKind,
        method: &Method<'_>,
    ) -> Result<(), Refused> {
        self.check_open()?;
        let frame_max = self.tuning.frame_max;
        let entry = self.channels.usable(channel)?;
        entry.call(call, kind, method, frame_max)?;
        self.send_calls(channel.number());
        Ok(())
    }

    /// Sends the call whose turn it is on a channel, if it was not sent before.
    fn send_calls(&mut self, number: u16) {
        while let Some(channel) = self.channels.by_number(number)
            && let Some(done) = channel.send_next(&mut self.out)
        {
            self.reply(done.token, Ok(Reply::Done));
        }
    }

    fn check_open(&self) -> Result<(), Refused> {
        if self.is_open() {
            Ok(())
        } else {
            Err(Refused::NotOpen)
        }
    }

    fn reply(&mut self, call: Token, reply: Result<Reply, ChannelError>) {
        self.events.push_back(Event::Reply { call, reply });
    }

    /// The end, whatever brought it: every call is answered, then the event.
    fn finish(&mut self, error: ConnectionError) {
        self.phase = Phase::Closed;
        self.heartbeat.stop();
        self.held.clear();
        let channels: Vec<_> = self.channels.drain().collect();
        for channel in channels {
            for call in channel.calls {
                self.reply(call.token, Err(ChannelError::Connection(error.clone())));
            }
            if let State::Closing(Some(call)) = channel.state {
                self.reply(call, Ok(Reply::Done));
            }
        }
        self.events.push_back(Event::Closed(error));
    }
}

/// Appends a method frame.
fn write_method(out: &mut Vec<u8>, channel: u16, encode: impl FnOnce(&mut Vec<u8>)) {
    encode_frame_into(out, FrameKind::Method, channel, encode);
}

/// The text as a short string, cut at 255 octets.
fn short_text(text: &str) -> ShortStr<'_> {
    let mut end = text.len().min(255);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    ShortStr::new(&text[..end]).unwrap_or_default()
}
