//! The connection against a scripted broker: what the broker sends is encoded here by hand, what the client sends is decoded and compared.

mod channels;
mod closing;
mod deliveries;
mod handshake;
mod octets;
mod publishing;
mod violations;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::*;
use crate::protocol::{
    ContentHeader, Decoded, FieldTable, Frame, LongStr, Properties, encode_frame_into,
};

pub const SECOND: Duration = Duration::from_secs(1);

/// A method frame.
pub fn method<'a>(channel: u16, method: impl Into<Method<'a>>) -> Vec<u8> {
    let mut out = Vec::new();
    method.into().encode_frame(channel, &mut out);
    out
}

/// A frame of any kind.
pub fn frame(kind: FrameKind, channel: u16, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_frame_into(&mut out, kind, channel, |out| {
        out.extend_from_slice(payload)
    });
    out
}

pub fn header(channel: u16, body_size: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let properties = Properties::persistent();
    let header = ContentHeader::new(body_size, properties.as_ref());
    encode_frame_into(&mut out, FrameKind::Header, channel, |out| {
        header.encode(out)
    });
    out
}

/// A method with content, its body in pieces of at most `piece` octets.
pub fn content<'a>(
    channel: u16,
    carrier: impl Into<Method<'a>>,
    body: &[u8],
    piece: usize,
) -> Vec<u8> {
    let mut out = method(channel, carrier);
    out.extend(header(channel, body.len() as u64));
    for piece in body.chunks(piece) {
        out.extend(frame(FrameKind::Body, channel, piece));
    }
    out
}

pub fn short(text: &str) -> ShortStr<'_> {
    ShortStr::new(text).unwrap()
}

pub fn deliver(consumer_tag: &str, delivery_tag: u64) -> basic::Deliver<'_> {
    basic::Deliver {
        consumer_tag: short(consumer_tag),
        delivery_tag,
        redelivered: false,
        exchange: short("ex"),
        routing_key: short("key"),
    }
}

/// One delivery, its body in one frame.
pub fn delivery(channel: u16, consumer_tag: &str, delivery_tag: u64, body: &[u8]) -> Vec<u8> {
    content(
        channel,
        deliver(consumer_tag, delivery_tag),
        body,
        usize::MAX,
    )
}

pub fn ack(channel: u16, delivery_tag: u64, multiple: bool) -> Vec<u8> {
    method(
        channel,
        basic::Ack {
            delivery_tag,
            multiple,
        },
    )
}

pub fn nack(channel: u16, delivery_tag: u64, requeue: bool) -> Vec<u8> {
    method(
        channel,
        basic::Nack {
            delivery_tag,
            multiple: false,
            requeue,
        },
    )
}

pub fn connection_close(code: ReplyCode, text: &str) -> Vec<u8> {
    method(
        0,
        connection_class::Close {
            reply_code: code.code(),
            reply_text: short(text),
            class_id: 0,
            method_id: 0,
        },
    )
}

pub fn connection_close_ok() -> Vec<u8> {
    method(0, connection_class::CloseOk::default())
}

pub fn channel_close(channel: u16, code: ReplyCode, text: &str) -> Vec<u8> {
    method(
        channel,
        channel_class::Close {
            reply_code: code.code(),
            reply_text: short(text),
            class_id: 50,
            method_id: 10,
        },
    )
}

pub fn channel_close_ok(channel: u16) -> Vec<u8> {
    method(channel, channel_class::CloseOk::default())
}

pub fn start(mechanisms: &str) -> Vec<u8> {
    let properties = FieldTable::new().with("product", "scripted").unwrap();
    method(
        0,
        connection_class::Start {
            version_major: 0,
            version_minor: 9,
            server_properties: properties.as_table(),
            mechanisms: LongStr::new(mechanisms).unwrap(),
            locales: LongStr::new("en_US").unwrap(),
        },
    )
}

pub fn tune(channel_max: u16, frame_max: u32, heartbeat: u16) -> Vec<u8> {
    method(
        0,
        connection_class::Tune {
            channel_max,
            frame_max,
            heartbeat,
        },
    )
}

pub fn open_ok() -> Vec<u8> {
    method(0, connection_class::OpenOk::default())
}

pub fn declare(queue: &str) -> crate::protocol::queue::Declare<'_> {
    crate::protocol::queue::Declare {
        queue: short(queue),
        ..Default::default()
    }
}

pub fn declare_ok(channel: u16, queue: &str) -> Vec<u8> {
    method(
        channel,
        crate::protocol::queue::DeclareOk {
            queue: short(queue),
            message_count: 3,
            consumer_count: 2,
        },
    )
}

/// What a sink was shown.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen {
    Delivery {
        consumer: Token,
        channel: u16,
        tag: u64,
        body: Vec<u8>,
    },
    Got {
        call: Token,
        tag: u64,
        body: Vec<u8>,
    },
    Returned {
        publisher: Token,
        returned: Returned,
        fingerprint: u64,
    },
    Confirmed {
        publisher: Token,
        confirm: Confirm,
    },
}

/// Writes down what it is shown. Deliveries are answered from `answers`, and with an ack when there are none left.
#[derive(Debug, Default)]
pub struct Recorder {
    pub seen: Vec<Seen>,
    pub answers: VecDeque<Option<Answer>>,
    pub bad_confirm: Option<BadConfirm>,
    /// Of the last delivery, everything but its channel, tag and body.
    pub last_fields: Option<String>,
    /// Bodies that were not copied.
    pub borrowed: usize,
}

impl Sink for Recorder {
    fn delivery(&mut self, consumer: Token, delivery: &Delivery<'_>) -> Option<Answer> {
        self.last_fields = Some(format!(
            "{} {} {} {} {:?}",
            delivery.consumer_tag,
            delivery.redelivered,
            delivery.exchange,
            delivery.routing_key,
            delivery.properties
        ));
        self.borrowed += usize::from(matches!(delivery.body, Body::Borrowed(_)));
        self.seen.push(Seen::Delivery {
            consumer,
            channel: delivery.channel.number(),
            tag: delivery.delivery_tag,
            body: delivery.body.as_slice().to_vec(),
        });
        self.answers.pop_front().unwrap_or(Some(Answer::Ack))
    }

    fn got(&mut self, call: Token, delivery: &Delivery<'_>) {
        self.seen.push(Seen::Got {
            call,
            tag: delivery.delivery_tag,
            body: delivery.body.as_slice().to_vec(),
        });
    }

    fn returned(&mut self, publisher: Token, returned: Returned, fingerprint: u64) {
        self.seen.push(Seen::Returned {
            publisher,
            returned,
            fingerprint,
        });
    }

    fn confirmed(&mut self, publisher: Token, confirm: Confirm) -> Result<(), BadConfirm> {
        self.seen.push(Seen::Confirmed { publisher, confirm });
        self.bad_confirm.map_or(Ok(()), Err)
    }
}

/// A connection, driven as the engine does it: what is not consumed is kept and shown again with more behind it.
pub struct Client {
    pub connection: Connection,
    pub sink: Recorder,
    pub now: Instant,
    unread: Vec<u8>,
}

pub fn config() -> Config {
    Config {
        channel_max: 4,
        frame_max: 4096,
        heartbeat: Duration::ZERO,
        body_size_max: 10_000,
        ..Config::default()
    }
}

impl Client {
    pub fn new(config: Config) -> Self {
        let now = Instant::now();
        Client {
            connection: Connection::new(config, now),
            sink: Recorder::default(),
            now,
            unread: Vec::new(),
        }
    }

    /// One whose connection is open, with nothing in the output and no event.
    pub fn open() -> Self {
        Client::open_with(config())
    }

    pub fn open_with(config: Config) -> Self {
        let heartbeat = config.heartbeat.as_secs() as u16;
        let mut client = Client::new(config);
        client.feed(&start("PLAIN")).unwrap();
        client.feed(&tune(0, 0, heartbeat)).unwrap();
        client.feed(&open_ok()).unwrap();
        assert!(matches!(client.events()[..], [Event::Open { .. }]));
        client.connection.output().clear();
        client
    }

    /// An open channel; its open call has the token 1000 and its number.
    pub fn channel(&mut self) -> ChannelId {
        let channel = self.connection.open_channel(1000).unwrap();
        let number = channel.number();
        self.expect(&[method(number, channel_class::Open::default())]);
        self.feed(&method(number, channel_class::OpenOk::default()))
            .unwrap();
        assert_eq!(self.events(), [done(1000)]);
        channel
    }

    /// A consumer with the tag "ctag-" and its token.
    pub fn consumer(&mut self, channel: ChannelId, token: Token, no_ack: bool) {
        let tag = format!("ctag-{token}");
        let consume = basic::Consume {
            queue: short("q"),
            no_ack,
            ..Default::default()
        };
        self.connection
            .consume(channel, 2000, token, consume)
            .unwrap();
        self.expect(&[method(channel.number(), consume)]);
        let consumer_tag = short(&tag);
        self.feed(&method(channel.number(), basic::ConsumeOk { consumer_tag }))
            .unwrap();
        assert_eq!(
            self.events(),
            [Event::Reply {
                call: 2000,
                reply: Ok(Reply::Consuming {
                    consumer_tag: tag.clone()
                })
            }]
        );
    }

    pub fn prefetch(&mut self, channel: ChannelId, prefetch_count: u16) {
        let qos = basic::Qos {
            prefetch_count,
            ..Default::default()
        };
        self.connection.call(channel, 3000, &qos.into()).unwrap();
        self.expect(&[method(channel.number(), qos)]);
        self.feed(&method(channel.number(), basic::QosOk::default()))
            .unwrap();
        assert_eq!(self.events(), [done(3000)]);
    }

    /// Octets from the broker.
    pub fn feed(&mut self, octets: &[u8]) -> Result<Progress, ConnectionError> {
        self.unread.extend_from_slice(octets);
        let progress = self
            .connection
            .receive(self.now, &self.unread, &mut self.sink)?;
        assert!(progress.consumed <= self.unread.len());
        self.unread.drain(..progress.consumed);
        assert_eq!(
            self.unread.is_empty(),
            progress.missing == 0,
            "`missing` is 0 when and only when nothing is left"
        );
        Ok(progress)
    }

    /// What the broker gets, frame by frame; the output is empty afterwards.
    pub fn sent(&mut self) -> Vec<String> {
        let out = std::mem::take(self.connection.output());
        show(&out)
    }

    pub fn expect(&mut self, frames: &[Vec<u8>]) {
        assert_eq!(self.sent(), show(&frames.concat()));
    }

    pub fn flush(&mut self) {
        self.connection.flush_acks(self.now);
    }

    pub fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.connection.poll_event()).collect()
    }

    pub fn seen(&mut self) -> Vec<Seen> {
        std::mem::take(&mut self.sink.seen)
    }
}

pub fn done(call: Token) -> Event {
    Event::Reply {
        call,
        reply: Ok(Reply::Done),
    }
}

pub fn failed(call: Token, error: ChannelError) -> Event {
    Event::Reply {
        call,
        reply: Err(error),
    }
}

pub fn seen_delivery(consumer: Token, channel: u16, tag: u64, body: &[u8]) -> Seen {
    Seen::Delivery {
        consumer,
        channel,
        tag,
        body: body.to_vec(),
    }
}

/// Frames as readable lines.
pub fn show(mut octets: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    while !octets.is_empty() {
        let Ok(Decoded::Frame { frame, octets: n }) = Frame::decode(octets, u32::MAX) else {
            panic!("the output is not a sequence of frames: {octets:?}");
        };
        let channel = frame.channel;
        lines.push(match frame.kind {
            FrameKind::Method => format!("{channel} {:?}", Method::decode(frame.payload).unwrap()),
            kind => format!("{channel} {kind:?} {:?}", frame.payload),
        });
        octets = &octets[n..];
    }
    lines
}

/// The code of the `connection.close` that ends the output; before it there are acks only.
pub fn close_code(client: &mut Client) -> ReplyCode {
    let out = std::mem::take(client.connection.output());
    let mut rest = &out[..];
    let frame = loop {
        let Ok(Decoded::Frame { frame, octets }) = Frame::decode(rest, u32::MAX) else {
            panic!("no frame in the output: {out:?}");
        };
        rest = &rest[octets..];
        if !matches!(Method::decode(frame.payload), Ok(Method::BasicAck(_))) {
            break frame;
        }
    };
    assert_eq!((rest.len(), frame.channel), (0, 0));
    let Ok(Method::ConnectionClose(close)) = Method::decode(frame.payload) else {
        panic!("no connection.close: {:?}", show(&out));
    };
    assert!(!close.reply_text.is_empty());
    ReplyCode::from_u16(close.reply_code).unwrap()
}
