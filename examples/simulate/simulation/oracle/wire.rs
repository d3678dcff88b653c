//! What the broker reads and sends, frame by frame.

use std::collections::BTreeMap;

use amqp_uring::broker::Tap;
use amqp_uring::protocol::{
    ContentHeader, Decoded, Frame, FrameKind, Method, PROTOCOL_HEADER, basic,
};

use super::holdings::{Sent, Word};
use super::ledger::{Answered, Settled};
use super::rules::Rule;
use super::{Books, ConsumerId, MessageId, Oracle};
use crate::simulation::{FAULT_TEXT, consuming, message};

/// Larger than any frame here.
const FRAME_MAX: u32 = u32::MAX;

/// A connection, as the broker sees it.
#[derive(Default)]
pub struct Session {
    has_greeted: bool,
    /// The broker has closed it: what the client says meanwhile is not heard.
    is_closing: bool,
    channels: BTreeMap<u16, Channel>,
}

/// A channel, as the broker sees it.
#[derive(Default)]
struct Channel {
    /// The broker has closed it: what the client says meanwhile is not heard.
    is_closing: bool,
    consumer: Option<ConsumerId>,
    /// What was published on it, by number.
    published: Vec<MessageId>,
    /// Publishes up to this one were confirmed.
    confirmed_to: usize,
    /// What was asked for with `basic.get`: the queue, and whether it needs no answer.
    getting: Option<(usize, bool)>,
    /// Messages and their queues by delivery tag.
    unacked: BTreeMap<u64, (MessageId, usize)>,
    incoming: Option<Content>,
    outgoing: Option<(Purpose, Option<Content>)>,
}

/// A message under way.
#[derive(Clone, Copy)]
struct Content {
    message: MessageId,
    missing: u64,
}

/// What a message is sent for.
#[derive(Clone, Copy)]
enum Purpose {
    Delivery {
        tag: u64,
        redelivered: bool,
    },
    /// The answer to `basic.get`.
    Got {
        tag: u64,
        redelivered: bool,
    },
    Return,
}

/// Hears the broker for the oracle.
pub struct Ear(pub(super) Oracle);

impl Tap for Ear {
    fn opened(&mut self, connection: u32) {
        let mut books = self.0.lock();
        books.sessions.insert(connection, Session::default());
        books.note(
            "connection {} is accepted",
            [u64::from(connection), 0, 0, 0],
        );
    }

    fn received(&mut self, connection: u32, octets: &[u8]) {
        let mut books = self.0.lock();
        let has_greeted = books
            .sessions
            .get_mut(&connection)
            .map(|session| std::mem::replace(&mut session.has_greeted, true));
        let start = if has_greeted == Some(false) {
            PROTOCOL_HEADER.len().min(octets.len())
        } else {
            0
        };
        books.frames(&octets[start..], |books, frame| {
            books.received(connection, frame);
        });
    }

    fn sent(&mut self, connection: u32, octets: &[u8]) {
        let mut books = self.0.lock();
        let mut closed = Vec::new();
        books.frames(octets, |_, frame| closed.extend(closed_by(frame)));
        // For the broker, what it delivers and then closes goes back at once, though it may be sent much later, when a
        // fault ends that held it back.
        let is_stale = |frame: Frame<'_>| closed.contains(&0) || closed.contains(&frame.channel);
        books.frames(octets, |books, frame| {
            books.sent(connection, frame, is_stale(frame));
        });
    }

    fn closed(&mut self, connection: u32) {
        let mut books = self.0.lock();
        books.sessions.remove(&connection);
        books.note("connection {} is closed", [u64::from(connection), 0, 0, 0]);
    }
}

impl Books {
    fn frames(&mut self, mut octets: &[u8], mut each: impl FnMut(&mut Self, Frame<'_>)) {
        while !octets.is_empty() {
            match Frame::decode(octets, FRAME_MAX) {
                Ok(Decoded::Frame {
                    frame,
                    octets: size,
                }) => {
                    each(self, frame);
                    octets = &octets[size..];
                }
                other => {
                    let how = format!("{other:?} in whole frames");
                    return self.violated(Rule::Protocol, how);
                }
            }
        }
    }

    fn channel(&mut self, connection: u32, channel: u16) -> &mut Channel {
        let session = self.sessions.entry(connection).or_default();
        session.channels.entry(channel).or_default()
    }

    fn received(&mut self, connection: u32, frame: Frame<'_>) {
        let number = frame.channel;
        if self.is_closing(connection, number) {
            let ends = matches!(frame.kind, FrameKind::Method)
                && matches!(Method::decode(frame.payload), Ok(Method::ChannelCloseOk(_)));
            if ends {
                self.forget(connection, number);
            }
            return;
        }
        match frame.kind {
            FrameKind::Method => match Method::decode(frame.payload) {
                Ok(method) => self.asked(connection, number, method),
                Err(error) => self.violated(Rule::Protocol, error.to_string()),
            },
            FrameKind::Header => {
                if let Some(content) = self.content(frame) {
                    self.channel(connection, number).incoming = Some(content);
                    self.take_in(connection, number, 0);
                }
            }
            FrameKind::Body => self.take_in(connection, number, frame.payload.len() as u64),
            FrameKind::Heartbeat => {}
        }
    }

    fn is_closing(&self, connection: u32, number: u16) -> bool {
        self.sessions.get(&connection).is_some_and(|session| {
            let channel = session.channels.get(&number);
            session.is_closing || channel.is_some_and(|channel| channel.is_closing)
        })
    }

    /// The message of a content header.
    fn content(&mut self, frame: Frame<'_>) -> Option<Content> {
        match ContentHeader::decode(frame.payload) {
            Ok(header) => Some(Content {
                message: message::number_in(header.properties),
                missing: header.body_size,
            }),
            Err(error) => {
                self.violated(Rule::Protocol, error.to_string());
                None
            }
        }
    }

    /// More of a message has come in.
    fn take_in(&mut self, connection: u32, number: u16, octets: u64) {
        let channel = self.channel(connection, number);
        let Some(content) = &mut channel.incoming else {
            return;
        };
        content.missing = content.missing.saturating_sub(octets);
        if content.missing > 0 {
            return;
        }
        let message = content.message;
        channel.incoming = None;
        channel.published.push(message);
        let place = channel.published.len() as u64;
        self.arrived(message, place);
    }

    /// A client's method.
    fn asked(&mut self, connection: u32, number: u16, method: Method<'_>) {
        match method {
            Method::ChannelOpen(_) => *self.channel(connection, number) = Channel::default(),
            Method::ChannelClose(close) if close.reply_code != 200 => {
                let how = format!("a client closes channel {number}: {}", close.reply_text);
                self.violated(Rule::Protocol, how);
            }
            Method::ChannelClose(_) => self.forget(connection, number),
            Method::ConnectionClose(close) if close.reply_code != 200 => {
                let how = format!("a client closes its connection: {}", close.reply_text);
                self.violated(Rule::Protocol, how);
            }
            Method::BasicConsume(consume) => {
                let tag = consume.consumer_tag.to_string();
                // Where the tag is the broker's choice, it is the same consumer with another window.
                if let Some(id) = consuming::number(&tag) {
                    self.channel(connection, number).consumer = Some(id);
                }
            }
            Method::BasicGet(get) => {
                let name = get.queue.to_string();
                let queue = self.queues.iter().position(|queue| queue.name == name);
                let getting = queue.map(|queue| (queue, get.no_ack));
                self.channel(connection, number).getting = getting;
            }
            Method::BasicAck(basic::Ack {
                delivery_tag,
                multiple,
            }) => self.settle(connection, number, (delivery_tag, multiple), Word::Ack),
            Method::BasicNack(nack) => {
                let tags = (nack.delivery_tag, nack.multiple);
                self.settle(connection, number, tags, negative(nack.requeue));
            }
            Method::BasicReject(reject) => {
                let tags = (reject.delivery_tag, false);
                self.settle(connection, number, tags, negative(reject.requeue));
            }
            _ => {}
        }
    }

    fn forget(&mut self, connection: u32, number: u16) {
        if let Some(session) = self.sessions.get_mut(&connection) {
            session.channels.remove(&number);
        }
    }

    /// A client settles one delivery, or all up to it.
    fn settle(&mut self, connection: u32, number: u16, (tag, multiple): (u64, bool), word: Word) {
        let channel = self.channel(connection, number);
        let consumer = channel.consumer;
        if !channel.unacked.contains_key(&tag) {
            let how = format!(
                "{word:?} of tag {tag}, multiple: {multiple}, on channel {number} of connection {connection} (consumer {consumer:?})"
            );
            return self.violated(Rule::Generation, how);
        }
        let settled: Vec<_> = if multiple {
            let later = channel.unacked.split_off(&(tag + 1));
            std::mem::replace(&mut channel.unacked, later)
                .into_iter()
                .collect()
        } else {
            channel.unacked.remove_entry(&tag).into_iter().collect()
        };
        for (tag, (message, queue)) in settled {
            self.settle_one(consumer, (tag, message), word);
            match word {
                Word::Ack => self.settled(message, queue, Settled::Acked),
                Word::Discard => self.settled(message, queue, Settled::Rejected),
                Word::Requeue => {}
            }
        }
    }

    /// The engine may requeue by itself, but neither ack nor discard.
    fn settle_one(
        &mut self,
        consumer: Option<ConsumerId>,
        (tag, message): (u64, MessageId),
        word: Word,
    ) {
        let text = match (consumer, word) {
            (Some(_), Word::Requeue) => "the broker hears: consumer {} requeues tag {}, message {}",
            (Some(_), _) => "the broker hears: consumer {} has finished tag {}, message {}",
            (None, _) => "the broker hears of what was got: {} tag {}, message {}",
        };
        let numbers = [consumer.unwrap_or_default() as u64, tag, message as u64, 0];
        self.note(text, numbers);
        let was_said = match consumer {
            _ if word == Word::Requeue => true,
            Some(id) => self.consumers[id].has_said(tag, word),
            None => self
                .got
                .get(&message)
                .is_some_and(|words| words.contains(&word)),
        };
        if !was_said {
            let how = format!(
                "consumer {consumer:?}: {word:?} of tag {tag}, message {message}, which its user never said"
            );
            self.violated(Rule::Finished, how);
        }
    }

    fn sent(&mut self, connection: u32, frame: Frame<'_>, is_stale: bool) {
        let number = frame.channel;
        match frame.kind {
            FrameKind::Method => match Method::decode(frame.payload) {
                Ok(method) => self.told(connection, number, method),
                Err(error) => self.violated(Rule::Protocol, error.to_string()),
            },
            FrameKind::Header => {
                let Some(content) = self.content(frame) else {
                    return;
                };
                if let Some((_, outgoing)) = &mut self.channel(connection, number).outgoing {
                    *outgoing = Some(content);
                }
                self.give_out(connection, number, 0, is_stale);
            }
            FrameKind::Body => {
                self.give_out(connection, number, frame.payload.len() as u64, is_stale);
            }
            FrameKind::Heartbeat => {}
        }
    }

    /// The broker's method.
    fn told(&mut self, connection: u32, number: u16, method: Method<'_>) {
        match method {
            Method::BasicDeliver(deliver) => {
                let purpose = Purpose::Delivery {
                    tag: deliver.delivery_tag,
                    redelivered: deliver.redelivered,
                };
                self.channel(connection, number).outgoing = Some((purpose, None));
            }
            Method::BasicGetOk(got) => {
                let purpose = Purpose::Got {
                    tag: got.delivery_tag,
                    redelivered: got.redelivered,
                };
                self.channel(connection, number).outgoing = Some((purpose, None));
            }
            Method::BasicReturn(_) => {
                self.channel(connection, number).outgoing = Some((Purpose::Return, None));
            }
            Method::BasicAck(ack) => {
                let tags = (ack.delivery_tag, ack.multiple);
                self.confirm(connection, number, tags, Answered::Acked);
            }
            Method::BasicNack(nack) => {
                let tags = (nack.delivery_tag, nack.multiple);
                self.confirm(connection, number, tags, Answered::Nacked);
            }
            Method::ChannelClose(close) => {
                self.blame(&close.reply_text.to_string());
                *self.channel(connection, number) = Channel {
                    is_closing: true,
                    ..Channel::default()
                };
            }
            Method::ConnectionClose(close) => {
                self.blame(&close.reply_text.to_string());
                if let Some(session) = self.sessions.get_mut(&connection) {
                    session.is_closing = true;
                }
            }
            _ => {}
        }
    }

    /// The broker closes something: because of a fault, or because somebody has asked for what is not there.
    fn blame(&mut self, text: &str) {
        if !text.contains(FAULT_TEXT) && !text.starts_with("NOT_FOUND - no queue") {
            self.violated(Rule::Protocol, format!("the broker closes: {text}"));
        }
    }

    fn confirm(
        &mut self,
        connection: u32,
        number: u16,
        (tag, multiple): (u64, bool),
        answer: Answered,
    ) {
        let channel = self.channel(connection, number);
        let to = tag as usize;
        let from = if multiple {
            channel.confirmed_to
        } else {
            to.saturating_sub(1)
        };
        if to > channel.published.len() {
            let how = format!("{to} of {} publishes confirmed", channel.published.len());
            return self.violated(Rule::Answered, how);
        }
        if multiple {
            channel.confirmed_to = to;
        }
        let confirmed = channel.published[from.min(to)..to].to_vec();
        for message in confirmed {
            self.answered(message, answer);
        }
    }

    /// More of a message has gone out.
    fn give_out(&mut self, connection: u32, number: u16, octets: u64, is_stale: bool) {
        let channel = self.channel(connection, number);
        let Some((purpose, Some(content))) = &mut channel.outgoing else {
            return;
        };
        content.missing = content.missing.saturating_sub(octets);
        if content.missing > 0 {
            return;
        }
        let (purpose, message) = (*purpose, content.message);
        channel.outgoing = None;
        match purpose {
            Purpose::Return => self.returned(message),
            Purpose::Got { tag, redelivered } => {
                let sent = Sent {
                    tag,
                    message,
                    redelivered,
                };
                self.give(connection, number, sent, is_stale);
            }
            Purpose::Delivery { tag, redelivered } => {
                let sent = Sent {
                    tag,
                    message,
                    redelivered,
                };
                self.deliver(connection, number, sent, is_stale);
            }
        }
    }

    fn deliver(&mut self, connection: u32, number: u16, sent: Sent, is_stale: bool) {
        let Sent {
            tag,
            message,
            redelivered,
        } = sent;
        let Some(id) = self.channel(connection, number).consumer else {
            let how = format!("message {message} on channel {number}, without a consumer");
            return self.violated(Rule::Invented, how);
        };
        self.note(
            "consumer {} is sent message {} with tag {}, redelivered: {}",
            [id as u64, message as u64, tag, u64::from(redelivered)],
        );
        let consumer = &mut self.consumers[id];
        consumer.sent.push_back(sent);
        if is_stale {
            return;
        }
        let (queue, prefetch, no_ack) = (
            consumer.queue,
            usize::from(consumer.prefetch),
            consumer.no_ack,
        );
        self.delivered(message, queue, Some(id), redelivered);
        self.check_order(id, sent);
        if no_ack {
            return self.settled(message, queue, Settled::Acked);
        }
        let unacked = &mut self.channel(connection, number).unacked;
        unacked.insert(tag, (message, queue));
        let unacked = unacked.len();
        if prefetch > 0 && unacked > prefetch {
            let how = format!("{unacked} deliveries for consumer {id}, {prefetch} allowed");
            self.violated(Rule::Window, how);
        }
    }

    /// What was asked for with `basic.get`.
    fn give(&mut self, connection: u32, number: u16, sent: Sent, is_stale: bool) {
        let Some((queue, no_ack)) = self.channel(connection, number).getting else {
            let how = format!("message {} on channel {number}", sent.message);
            return self.violated(Rule::Invented, how);
        };
        self.note(
            "message {} is got from queue {} with tag {}, redelivered: {}",
            [
                sent.message as u64,
                queue as u64,
                sent.tag,
                u64::from(sent.redelivered),
            ],
        );
        if is_stale {
            return;
        }
        self.delivered(sent.message, queue, None, sent.redelivered);
        if no_ack {
            return self.settled(sent.message, queue, Settled::Acked);
        }
        let unacked = &mut self.channel(connection, number).unacked;
        unacked.insert(sent.tag, (sent.message, queue));
    }

    /// Dead letters come in the order in which they died.
    fn check_order(&mut self, id: ConsumerId, sent: Sent) {
        let Some(message) = self.messages.get(sent.message) else {
            return;
        };
        let consumer = &mut self.consumers[id];
        if sent.redelivered || message.queue != Some(consumer.queue) {
            return;
        }
        let last = consumer.last.insert(message.publisher, message.tag);
        if last.is_some_and(|last| last >= message.tag) {
            let how = format!(
                "consumer {id}: number {} of publisher {} after number {last:?}",
                message.tag, message.publisher
            );
            self.violated(Rule::Order, how);
        }
    }
}

/// The channel that the broker closes with a frame; 0 for all of them.
fn closed_by(frame: Frame<'_>) -> Option<u16> {
    if frame.kind != FrameKind::Method {
        return None;
    }
    match Method::decode(frame.payload) {
        Ok(Method::ChannelClose(_) | Method::ConnectionClose(_)) => Some(frame.channel),
        _ => None,
    }
}

fn negative(requeue: bool) -> Word {
    if requeue {
        Word::Requeue
    } else {
        Word::Discard
    }
}
