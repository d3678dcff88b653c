//! A scripted session: several connections, each with a letter, and everything said on them written down.
//!
//! Waiting is by condition: a step says which methods must come on a channel before the next step. Channels are looked at
//! one by one, so the order between them is left open, and the order on each is not. When something else comes than was
//! expected, the transcript says so and ends there: the rest of the script does nothing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use amqp_uring::protocol::{
    ContentHeader, FRAME_OVERHEAD, FieldTable, Frame, FrameKind, Method, PROTOCOL_HEADER,
    Properties, basic, channel, connection, encode_frame_into,
};

use super::line::{Kept, Line, Missing};
use super::methods::{client_properties, goodbye, open, start_ok, take};
use super::shown::{self, From};
use super::transcript::Transcript;

/// Far longer than any step takes.
const WAIT: Duration = Duration::from_secs(30);

/// The largest frame that [`Session::open`] agrees on: RabbitMQ's own.
pub const FRAME_MAX: u32 = 128 * 1024;

/// A connection's letter, and a channel of it.
pub type Place = (&'static str, u16);

pub const A0: Place = ("a", 0);
pub const A1: Place = ("a", 1);
pub const A2: Place = ("a", 2);
pub const A3: Place = ("a", 3);
pub const B1: Place = ("b", 1);

pub struct Session {
    address: SocketAddr,
    lines: BTreeMap<&'static str, Line>,
    transcript: Transcript,
    /// Whether something went another way than the script says.
    is_lost: bool,
}

/// A method that has come.
#[derive(Debug, Default)]
pub struct Received {
    frames: Vec<Kept>,
}

impl Received {
    /// Whether the method has this name.
    pub fn is(&self, name: &str) -> bool {
        self.frames
            .first()
            .is_some_and(|frame| shown::name(frame) == name)
    }

    /// An argument that is a text. Empty when the script has got lost before.
    pub fn text(&self, argument: &str) -> String {
        self.frames.first().map_or_else(String::new, |frame| {
            shown::text_argument(&frame.payload, argument)
        })
    }

    /// Whether it is a `queue.declare-ok` with so many messages.
    pub fn counts(&self, messages: u32) -> bool {
        self.is("queue.declare-ok") && self.text("message_count") == messages.to_string()
    }

    /// The property `reply_to`. Empty when there is none.
    pub fn reply_to(&self) -> String {
        let Some(Ok(header)) = self
            .frames
            .get(1)
            .map(|frame| ContentHeader::decode(&frame.payload))
        else {
            return String::new();
        };
        let reply_to = header.properties.reply_to().ok().flatten();
        reply_to.map(|text| text.to_string()).unwrap_or_default()
    }
}

impl Session {
    pub fn new(address: SocketAddr) -> Self {
        Session {
            address,
            lines: BTreeMap::new(),
            transcript: Transcript::default(),
            is_lost: false,
        }
    }

    /// A remark in the transcript.
    pub fn note(&mut self, text: &str) {
        if !self.is_lost {
            self.transcript.push(format_args!("# {text}"));
        }
    }

    fn lose(&mut self, what: String) {
        self.is_lost = true;
        self.transcript.push(format_args!("!! {what}"));
    }

    fn line(&mut self, name: &'static str) -> &mut Line {
        self.lines.get_mut(name).expect("a line that was connected")
    }

    // --- connections and channels -------------------------------------------------------------------------------------

    /// Connects, and says nothing yet.
    pub fn connect(&mut self, line: &'static str) {
        if !self.is_lost {
            self.transcript.push(format_args!("> {line} connects"));
            self.lines.insert(line, Line::connect(self.address));
        }
    }

    /// Connects, and sends the protocol header; what follows is expected.
    pub fn greet(&mut self, line: &'static str) -> Received {
        self.connect(line);
        self.raw(line, "the protocol header", &PROTOCOL_HEADER);
        self.expect_one((line, 0), "connection.start")
    }

    /// Connects, as far as `connection.start`.
    pub fn begin(&mut self, line: &'static str) {
        self.in_few_words(&format!("{line} begins"), |session| {
            session.greet(line);
        });
    }

    /// Connects and logs in, as far as `connection.tune`.
    pub fn begin_tuning(&mut self, line: &'static str) {
        self.in_few_words(&format!("{line} logs in"), |session| {
            session.greet(line);
            session.log_in(line, "guest", "guest", &client_properties());
            session.expect((line, 0), &["connection.tune"]);
        });
    }

    /// Logs in with these; what follows is expected.
    pub fn log_in(&mut self, line: &'static str, user: &str, password: &str, about: &FieldTable) {
        let response = format!("\0{user}\0{password}");
        self.send((line, 0), start_ok("PLAIN", response.as_bytes(), about));
    }

    /// Connects and logs in, with everything up to `connection.open-ok`: the handshake has scripts of its own, in others it
    /// is one line.
    pub fn open(&mut self, line: &'static str) {
        self.in_few_words(&format!("{line} opens"), |session| {
            session.greet(line);
            session.log_in(line, "guest", "guest", &client_properties());
            session.expect((line, 0), &["connection.tune"]);
            session.tune_ok(line, 2047, FRAME_MAX);
            session.call((line, 0), open("/"));
        });
    }

    /// Does something that has a script of its own elsewhere, and writes down these words instead.
    fn in_few_words(&mut self, words: &str, act: impl FnOnce(&mut Session)) {
        if self.is_lost {
            return;
        }
        let mut inner = Session::new(self.address);
        act(&mut inner);
        if inner.is_lost {
            self.lose(format!("not {words}:\n{}", inner.transcript.text()));
            return;
        }
        self.transcript.push(format_args!("> {words}"));
        self.lines.append(&mut inner.lines);
    }

    /// Settles the limits. There are no heartbeats, as they would come at any time.
    pub fn tune_ok(&mut self, line: &'static str, channel_max: u16, frame_max: u32) {
        self.send(
            (line, 0),
            connection::TuneOk {
                channel_max,
                frame_max,
                heartbeat: 0,
            },
        );
    }

    pub fn open_channel(&mut self, place: Place) {
        self.call(place, channel::Open {});
    }

    /// Opens a connection with this channel.
    pub fn open_with(&mut self, place: Place) {
        self.open(place.0);
        self.open_channel(place);
    }

    /// Closes the socket without a word.
    pub fn hang_up(&mut self, line: &'static str) {
        if !self.is_lost {
            self.transcript.push(format_args!("> {line} hangs up"));
            self.lines.remove(line);
        }
    }

    // --- sending ------------------------------------------------------------------------------------------------------

    /// Octets that need not be a frame, with a name for the transcript.
    pub fn raw(&mut self, line: &'static str, what: &str, octets: &[u8]) {
        if !self.is_lost {
            self.transcript
                .push(format_args!("> {line} {what}: {}", shown::octets(octets)));
            self.line(line).write(octets);
        }
    }

    fn send_frame(&mut self, (line, channel): Place, kind: FrameKind, payload: &[u8]) {
        if self.is_lost {
            return;
        }
        let kept = Kept {
            kind,
            channel,
            payload: payload.to_vec(),
        };
        let text = shown::frame(&kept, From::Client);
        self.transcript
            .push(format_args!("> {line}/{channel} {text}"));
        let mut frame = Vec::with_capacity(payload.len() + FRAME_OVERHEAD);
        encode_frame_into(&mut frame, kind, channel, |out| {
            out.extend_from_slice(payload);
        });
        self.line(line).write(&frame);
    }

    pub fn send<'m>(&mut self, place: Place, method: impl Into<Method<'m>>) {
        let mut payload = Vec::new();
        method.into().encode(&mut payload);
        self.send_frame(place, FrameKind::Method, &payload);
    }

    pub fn send_header(&mut self, place: Place, body_size: u64, properties: &Properties) {
        let mut payload = Vec::new();
        ContentHeader::new(body_size, properties.as_ref()).encode(&mut payload);
        self.send_frame(place, FrameKind::Header, &payload);
    }

    pub fn send_body(&mut self, place: Place, octets: &[u8]) {
        self.send_frame(place, FrameKind::Body, octets);
    }

    pub fn send_heartbeat(&mut self, place: Place) {
        self.send_frame(place, FrameKind::Heartbeat, b"");
    }

    /// Publishes, with as many body frames as it takes.
    pub fn publish(
        &mut self,
        place: Place,
        publish: basic::Publish<'_>,
        properties: &Properties,
        body: &[u8],
    ) {
        self.send(place, publish);
        self.send_header(place, body.len() as u64, properties);
        for piece in body.chunks(FRAME_MAX as usize - FRAME_OVERHEAD) {
            self.send_body(place, piece);
        }
    }

    /// Publishes in confirm mode. One at a time: how many acks the broker makes one is a matter of time.
    pub fn publish_confirmed(
        &mut self,
        place: Place,
        publish: basic::Publish<'_>,
        properties: &Properties,
        body: &[u8],
    ) {
        self.publish(place, publish, properties, body);
        self.expect_one(place, "basic.ack");
    }

    // --- receiving ----------------------------------------------------------------------------------------------------

    /// Takes methods of these names, in this order, from a channel, each with its content.
    pub fn expect(&mut self, place: Place, names: &[&str]) -> Vec<Received> {
        names
            .iter()
            .map(|name| self.expect_one(place, name))
            .collect()
    }

    pub fn expect_one(&mut self, place: Place, name: &str) -> Received {
        self.expect_any(place, &[name])
    }

    /// Takes the next method from a channel, which has one of these names.
    fn expect_any(&mut self, place: Place, names: &[&str]) -> Received {
        if self.is_lost {
            return Received::default();
        }
        let (line, channel) = place;
        let deadline = Instant::now() + WAIT;
        let next = self.line(line).next_method(channel, deadline);
        self.took(place, names, next)
    }

    /// Writes down what came, which has one of these names, or any if there are none.
    fn took(
        &mut self,
        (line, channel): Place,
        names: &[&str],
        next: Result<Vec<Kept>, Missing>,
    ) -> Received {
        let wanted = names.join(" or ");
        match next {
            Ok(frames) => {
                for frame in &frames {
                    self.came(line, frame);
                }
                let received = Received { frames };
                if !names.is_empty() && !names.iter().any(|name| received.is(name)) {
                    self.lose(format!("not {wanted} on {line}/{channel}"));
                }
                received
            }
            Err(missing) => {
                self.flush(line);
                self.lose(format!("{missing} before {wanted} on {line}/{channel}"));
                Received::default()
            }
        }
    }

    fn came(&mut self, line: &'static str, frame: &Kept) {
        let text = shown::frame(frame, From::Server);
        let channel = frame.channel;
        self.transcript
            .push(format_args!("< {line}/{channel} {text}"));
    }

    /// Writes down what has come and nobody has asked for.
    fn flush(&mut self, line: &'static str) {
        while let Some(frame) = self.line(line).left_over() {
            self.came(line, &frame);
        }
    }

    /// Waits for the other side to close the socket; nothing may come before.
    pub fn expect_end(&mut self, line: &'static str) {
        if self.is_lost {
            return;
        }
        let deadline = Instant::now() + WAIT;
        let missing = self.line(line).read_to_end(deadline);
        self.flush(line);
        match missing {
            Missing::Ended => self.transcript.push(format_args!("< {line} ends")),
            missing => self.lose(format!("{missing} before the end of {line}")),
        }
        self.lines.remove(line);
    }

    /// Octets that are no frame, up to a number.
    pub fn expect_octets(&mut self, line: &'static str, count: usize) {
        if self.is_lost {
            return;
        }
        let deadline = Instant::now() + WAIT;
        let octets = self.line(line).octets(count, deadline);
        let text = shown::octets(&octets);
        self.transcript.push(format_args!("< {line} octets {text}"));
    }

    // --- both ---------------------------------------------------------------------------------------------------------

    /// Sends a method, and takes its reply.
    pub fn call<'m>(&mut self, place: Place, method: impl Into<Method<'m>>) -> Received {
        let method = method.into();
        let spec = method.spec();
        let mut replies: Vec<_> = spec
            .replies
            .iter()
            .map(|reply| format!("{}.{reply}", spec.class))
            .collect();
        if replies.is_empty() {
            // `basic.recover` has a reply, although the specification does not say so.
            replies.push(format!("{}-ok", spec.name));
        }
        self.send(place, method);
        let replies: Vec<_> = replies.iter().map(String::as_str).collect();
        self.expect_any(place, &replies)
    }

    /// Sends a method that ends its channel, and opens the channel again.
    pub fn refused<'m>(&mut self, place: Place, method: impl Into<Method<'m>>) {
        self.send(place, method);
        self.expect_refusal(place);
    }

    /// The channel ends, and is opened again.
    pub fn expect_refusal(&mut self, place: Place) {
        self.expect_one(place, "channel.close");
        self.send(place, channel::CloseOk {});
        self.open_channel(place);
    }

    /// Sends a method that ends the connection.
    pub fn fatal<'m>(&mut self, place: Place, method: impl Into<Method<'m>>) {
        self.send(place, method);
        self.expect_close(place.0);
    }

    /// The connection ends.
    pub fn expect_close(&mut self, line: &'static str) {
        self.expect_one((line, 0), "connection.close");
        self.send((line, 0), connection::CloseOk {});
        self.expect_end(line);
    }

    /// The connection ends, with `connection.close` before or without a word.
    pub fn expect_any_end(&mut self, line: &'static str) {
        if self.is_lost {
            return;
        }
        let deadline = Instant::now() + WAIT;
        match self.line(line).next_method(0, deadline) {
            Err(Missing::Ended) => self.expect_end(line),
            next => {
                self.took((line, 0), &["connection.close"], next);
                self.send((line, 0), connection::CloseOk {});
                self.expect_end(line);
            }
        }
    }

    /// Closes the connection in good order. What has come and nobody has asked for is written down.
    pub fn leave(&mut self, line: &'static str) {
        self.call((line, 0), goodbye());
        if self.is_lost {
            return;
        }
        // RabbitMQ leaves it to the client to close the socket, for 30 s.
        self.line(line).end_sending();
        self.expect_end(line);
    }

    /// Sends a method again and again, until the reply is as it should be. Only the last one is written down. For what
    /// takes its time, and for counts: RabbitMQ's queues answer a `queue.declare` before what they were sent earlier.
    pub fn call_until<'m>(
        &mut self,
        place: Place,
        method: impl Into<Method<'m>>,
        is_right: impl Fn(&Received) -> bool,
    ) {
        if self.is_lost {
            return;
        }
        let method = method.into();
        let deadline = Instant::now() + WAIT;
        let (line, channel) = place;
        let mut frame = Vec::new();
        method.encode_frame(channel, &mut frame);
        let reply = loop {
            self.line(line).write(&frame);
            let reply = self.line(line).next_method(channel, deadline);
            let Ok(frames) = reply else {
                break reply;
            };
            let reply = Received { frames };
            let is_over = Instant::now() > deadline || reply.is("channel.close");
            if is_over || is_right(&reply) {
                break Ok(reply.frames);
            }
        };
        self.transcript.push(format_args!(
            "> {line}/{channel} {} again and again",
            method.name()
        ));
        let reply = self.took(place, &[], reply);
        if !self.is_lost && !is_right(&reply) {
            self.lose(format!("never what it should be on {line}/{channel}"));
        }
    }

    /// Takes everything out of a queue.
    pub fn take_all(&mut self, place: Place, queue: &str) {
        while self.call(place, take(queue)).is("basic.get-ok") {}
    }

    /// Closes what is open, and shows whatever else comes until the broker has agreed. Gives the transcript, and whether
    /// everything came that the script expects.
    pub fn finish(mut self) -> (String, bool) {
        let open: Vec<_> = self.lines.keys().copied().collect();
        for line in open {
            if self.is_lost {
                break;
            }
            self.leave(line);
        }
        (self.transcript.text(), !self.is_lost)
    }
}

/// A frame as it is on the wire, to be spoilt.
pub fn encoded(frame: Frame<'_>) -> Vec<u8> {
    let mut octets = Vec::new();
    encode_frame_into(&mut octets, frame.kind, frame.channel, |out| {
        out.extend_from_slice(frame.payload);
    });
    octets
}
