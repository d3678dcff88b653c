//! A client that says on its socket just what a test wants.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use amqp_uring::broker::Broker;
use amqp_uring::protocol::{
    ContentHeader, Decoded, FieldTable, Frame, FrameKind, LongStr, Method, PROTOCOL_HEADER,
    PropertiesRef, ShortStr, basic, channel, connection, encode_frame_into, encode_heartbeat,
    queue,
};

use super::support::WAIT;

const FRAME_MAX: u32 = 128 * 1024;

pub struct Client {
    pub stream: TcpStream,
    input: Vec<u8>,
    seen: VecDeque<String>,
}

/// What a client offers and asks for in its handshake.
pub struct Wishes<'a> {
    pub mechanism: &'a str,
    pub response: &'a [u8],
    pub channel_max: u16,
    pub frame_max: u32,
    pub heartbeat: u16,
    pub vhost: &'a str,
}

impl Default for Wishes<'_> {
    fn default() -> Self {
        Wishes {
            mechanism: "PLAIN",
            response: b"\0guest\0guest",
            channel_max: 2047,
            frame_max: FRAME_MAX,
            heartbeat: 0,
            vhost: "/",
        }
    }
}

pub fn short(text: &str) -> ShortStr<'_> {
    ShortStr::new(text).unwrap()
}

impl Client {
    pub fn connect(broker: &Broker) -> Self {
        let stream = TcpStream::connect(broker.address()).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(WAIT)).unwrap();
        stream.set_write_timeout(Some(WAIT)).unwrap();
        Client {
            stream,
            input: Vec::new(),
            seen: VecDeque::new(),
        }
    }

    /// A connection that is open, with channel 1.
    pub fn open(broker: &Broker) -> Self {
        Self::open_as(broker, &Wishes::default())
    }

    pub fn open_as(broker: &Broker, wishes: &Wishes<'_>) -> Self {
        let mut client = Self::connect(broker);
        client.greet(wishes);
        assert_eq!(client.next(), "0 connection.start");
        assert_eq!(client.next(), "0 connection.tune");
        assert_eq!(client.next(), "0 connection.open-ok");
        client.send(1, channel::Open {});
        assert_eq!(client.next(), "1 channel.open-ok");
        client
    }

    /// Everything of a handshake at once.
    pub fn greet(&mut self, wishes: &Wishes<'_>) {
        let mut capabilities = FieldTable::new();
        for name in [
            "consumer_cancel_notify",
            "connection.blocked",
            "authentication_failure_close",
        ] {
            capabilities.insert(name, true).unwrap();
        }
        let about = FieldTable::new()
            .with("capabilities", capabilities.as_table())
            .unwrap();
        let mut octets = PROTOCOL_HEADER.to_vec();
        let start_ok = connection::StartOk {
            client_properties: about.as_table(),
            mechanism: short(wishes.mechanism),
            response: LongStr::from_bytes(wishes.response).unwrap(),
            locale: short("en_US"),
        };
        let tune_ok = connection::TuneOk {
            channel_max: wishes.channel_max,
            frame_max: wishes.frame_max,
            heartbeat: wishes.heartbeat,
        };
        let open = connection::Open {
            virtual_host: short(wishes.vhost),
        };
        Method::from(start_ok).encode_frame(0, &mut octets);
        Method::from(tune_ok).encode_frame(0, &mut octets);
        Method::from(open).encode_frame(0, &mut octets);
        self.write(&octets);
    }

    pub fn write(&mut self, octets: &[u8]) {
        self.stream.write_all(octets).unwrap();
    }

    pub fn send<'m>(&mut self, channel: u16, method: impl Into<Method<'m>>) {
        let mut octets = Vec::new();
        method.into().encode_frame(channel, &mut octets);
        self.write(&octets);
    }

    pub fn beat(&mut self) {
        let mut octets = Vec::new();
        encode_heartbeat(&mut octets);
        self.write(&octets);
    }

    pub fn declare(&mut self, name: &str) {
        let declare = queue::Declare {
            queue: short(name),
            ..Default::default()
        };
        self.send(1, declare);
        assert_eq!(self.next(), "1 queue.declare-ok");
    }

    /// Frame by frame: channel and method, or channel and size of a body, or `heartbeat`, or `end`.
    pub fn next(&mut self) -> String {
        loop {
            if let Some(seen) = self.seen.pop_front() {
                return seen;
            }
            match Frame::decode(&self.input, u32::MAX).unwrap() {
                Decoded::Frame { frame, octets } => {
                    let channel = frame.channel;
                    let text = match frame.kind {
                        FrameKind::Method => {
                            let method = Method::decode(frame.payload).unwrap();
                            match method {
                                Method::ConnectionClose(close) => {
                                    format!("0 connection.close {}", close.reply_code)
                                }
                                Method::ChannelClose(close) => {
                                    format!("{channel} channel.close {}", close.reply_code)
                                }
                                other => format!("{channel} {}", other.name()),
                            }
                        }
                        FrameKind::Header => format!("{channel} header"),
                        FrameKind::Body => format!("{channel} body of {}", frame.payload.len()),
                        FrameKind::Heartbeat => "heartbeat".to_owned(),
                    };
                    self.seen.push_back(text);
                    self.input.drain(..octets);
                }
                Decoded::Incomplete { .. } => {
                    let mut octets = [0; 64 << 10];
                    match self.stream.read(&mut octets) {
                        Ok(0) => return "end".to_owned(),
                        Ok(count) => self.input.extend_from_slice(&octets[..count]),
                        Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                            return "end".to_owned();
                        }
                        Err(error) => panic!("nothing came: {error}"),
                    }
                }
            }
        }
    }

    pub fn nexts(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.next()).collect()
    }
}

/// A publish to a queue, in frames of at most these octets.
pub fn publish(channel: u16, queue: &str, body: &[u8], frame_max: usize) -> Vec<u8> {
    let publish = basic::Publish {
        routing_key: short(queue),
        ..Default::default()
    };
    let mut octets = Vec::new();
    Method::from(publish).encode_frame(channel, &mut octets);
    let header = ContentHeader::new(body.len() as u64, PropertiesRef::default());
    encode_frame_into(&mut octets, FrameKind::Header, channel, |out| {
        header.encode(out);
    });
    for piece in body.chunks(frame_max - 8) {
        encode_frame_into(&mut octets, FrameKind::Body, channel, |out| {
            out.extend_from_slice(piece);
        });
    }
    octets
}
