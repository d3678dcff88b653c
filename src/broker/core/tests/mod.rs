//! The core by its octets: clients that are nothing but what they send and get, and a clock that stands until it is moved.

mod channels;
mod ending;
mod faults;
mod growth;
mod heartbeats;
mod octets;
mod replies;

use std::time::Duration;

use super::*;
use crate::broker::control::State;
use crate::protocol::{
    ContentHeader, Decoded, FieldTable, Frame, FrameKind, LongStr, Method, PROTOCOL_HEADER,
    PropertiesRef, ShortStr, basic, channel, confirm, connection, encode_frame_into, queue, tx,
};

const FRAME_MAX: u32 = 4096;

struct Bench {
    core: Core,
    now: Instant,
}

fn short(text: &str) -> ShortStr<'_> {
    ShortStr::new(text).unwrap()
}

fn method<'m>(channel: u16, method: impl Into<Method<'m>>) -> Vec<u8> {
    let mut octets = Vec::new();
    method.into().encode_frame(channel, &mut octets);
    octets
}

fn frame(kind: FrameKind, channel: u16, payload: &[u8]) -> Vec<u8> {
    let mut octets = Vec::new();
    encode_frame_into(&mut octets, kind, channel, |out| {
        out.extend_from_slice(payload);
    });
    octets
}

fn header(channel: u16, body_octets: usize) -> Vec<u8> {
    let mut payload = Vec::new();
    ContentHeader::new(body_octets as u64, PropertiesRef::default()).encode(&mut payload);
    frame(FrameKind::Header, channel, &payload)
}

/// A publish to a queue, or with `mandatory` to nobody where there is none; body frames of so many octets.
fn publish(channel: u16, key: &str, mandatory: bool, body: &[u8], piece: usize) -> Vec<u8> {
    let publish = basic::Publish {
        routing_key: short(key),
        mandatory,
        ..Default::default()
    };
    let mut octets = method(channel, publish);
    octets.extend(header(channel, body.len()));
    for piece in body.chunks(piece) {
        octets.extend(frame(FrameKind::Body, channel, piece));
    }
    octets
}

fn declare(channel: u16, queue: &str) -> Vec<u8> {
    let declare = queue::Declare {
        queue: short(queue),
        ..Default::default()
    };
    method(channel, declare)
}

fn delete(channel: u16, queue: &str) -> Vec<u8> {
    let delete = queue::Delete {
        queue: short(queue),
        ..Default::default()
    };
    method(channel, delete)
}

fn consume(channel: u16, queue: &str, tag: &str, no_ack: bool) -> Vec<u8> {
    let consume = basic::Consume {
        queue: short(queue),
        consumer_tag: short(tag),
        no_ack,
        ..Default::default()
    };
    method(channel, consume)
}

fn get(channel: u16, queue: &str) -> Vec<u8> {
    let get = basic::Get {
        queue: short(queue),
        no_ack: true,
    };
    method(channel, get)
}

fn ack(channel: u16, delivery_tag: u64, multiple: bool) -> Vec<u8> {
    method(
        channel,
        basic::Ack {
            delivery_tag,
            multiple,
        },
    )
}

/// From the protocol header to `connection.open`.
fn handshake(heartbeat: u16) -> Vec<u8> {
    let mut capabilities = FieldTable::new();
    for name in ["consumer_cancel_notify", "connection.blocked"] {
        capabilities.insert(name, true).unwrap();
    }
    let about = FieldTable::new()
        .with("capabilities", capabilities.as_table())
        .unwrap();
    let start_ok = connection::StartOk {
        client_properties: about.as_table(),
        mechanism: short("PLAIN"),
        response: LongStr::new("\0guest\0guest").unwrap(),
        locale: short("en_US"),
    };
    let tune_ok = connection::TuneOk {
        channel_max: 2047,
        frame_max: FRAME_MAX,
        heartbeat,
    };
    let open = connection::Open {
        virtual_host: short("/"),
    };
    [
        PROTOCOL_HEADER.to_vec(),
        method(0, start_ok),
        method(0, tune_ok),
        method(0, open),
    ]
    .concat()
}

/// What a client reads: each frame with its channel, methods by name, bodies as text.
fn shown(octets: &[u8]) -> Vec<String> {
    frames(octets, |channel, method| {
        format!("{channel} {}", method.name())
    })
}

/// The same, with the arguments of methods.
fn shown_in_full(octets: &[u8]) -> Vec<String> {
    frames(octets, |channel, method| format!("{channel} {method:?}"))
}

fn frames(mut octets: &[u8], show: impl Fn(u16, &Method<'_>) -> String) -> Vec<String> {
    let mut shown = Vec::new();
    while !octets.is_empty() {
        let decoded = Frame::decode(octets, u32::MAX).unwrap();
        let Decoded::Frame {
            frame,
            octets: used,
        } = decoded
        else {
            panic!("half a frame");
        };
        let channel = frame.channel;
        shown.push(match frame.kind {
            FrameKind::Method => show(channel, &Method::decode(frame.payload).unwrap()),
            FrameKind::Header => format!("{channel} header"),
            FrameKind::Body => format!("{channel} {}", String::from_utf8_lossy(frame.payload)),
            FrameKind::Heartbeat => "heartbeat".to_owned(),
        });
        octets = &octets[used..];
    }
    shown
}

impl Bench {
    fn new() -> Self {
        Self::with(Settings::default())
    }

    fn with(settings: Settings) -> Self {
        let now = Instant::now();
        Self {
            core: Core::new(settings, now),
            now,
        }
    }

    /// A connection that is open, with so many channels from 1 on.
    fn open(&mut self, channels: u16) -> SessionId {
        self.open_with_heartbeat(channels, 0)
    }

    fn open_with_heartbeat(&mut self, channels: u16, heartbeat: u16) -> SessionId {
        let id = self.core.accept(self.now).unwrap();
        let mut octets = handshake(heartbeat);
        for number in 1..=channels {
            octets.extend(method(number, channel::Open::default()));
        }
        self.send(id, &octets);
        let greeting = shown(&self.take(id));
        assert_eq!(greeting.len(), 3 + usize::from(channels), "{greeting:?}");
        id
    }

    /// Everything is taken in, and everything that becomes possible is done.
    fn send(&mut self, id: SessionId, octets: &[u8]) {
        let progress = self.core.receive(self.now, id, octets);
        assert_eq!((progress.consumed, progress.missing), (octets.len(), 0));
        self.core.settle(self.now);
    }

    /// What a client has been sent since the last time.
    fn take(&mut self, id: SessionId) -> Vec<u8> {
        let output = self.core.output(id).map(std::mem::take).unwrap_or_default();
        self.core.sent(self.now, id);
        output
    }

    /// Sends, and shows what comes back.
    fn ask(&mut self, id: SessionId, octets: &[u8]) -> Vec<String> {
        self.send(id, octets);
        shown(&self.take(id))
    }

    /// Lets time pass, to the moment at which something is due if that is earlier, as often as it takes.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..10_000 {
            let due = self.core.deadline().filter(|due| *due <= end);
            self.now = due.unwrap_or(end).max(self.now);
            self.core.tick(self.now);
            self.core.settle(self.now);
            if due.is_none() {
                return;
            }
        }
        panic!("something is due for ever");
    }

    fn state(&self) -> State {
        self.core.state()
    }
}
