//! A TCP peer in threads of its own: raw, or a broker that follows a script.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use amqp_uring::Node;
use amqp_uring::protocol::{
    ContentHeader, Decoded, Frame, FrameKind, LongStr, Method, PropertiesRef, ShortStr, basic,
    channel, confirm, connection, encode_frame_into, encode_heartbeat, queue,
};

/// Must not be seen anywhere.
pub const PASSWORD: &str = "pass-not-to-be-shown";

/// Far longer than anything takes.
const WAIT: Duration = Duration::from_secs(30);
const FRAME_MAX: u32 = 128 * 1024;

/// Everything that the peer's threads share.
#[derive(Default)]
struct Shared {
    is_over: AtomicBool,
    lines: AtomicUsize,
    streams: Mutex<Vec<TcpStream>>,
    is_released: Mutex<bool>,
    released: Condvar,
}

pub struct Peer {
    port: u16,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl Peer {
    /// A peer that does this with each line, and then closes it.
    pub fn raw(talk: impl Fn(&mut TcpStream) + Send + Sync + 'static) -> Self {
        Peer::start(move |stream, _, _| talk(stream))
    }

    /// A peer that does this with each line, which are counted from 0.
    pub fn scripted(script: impl Fn(&mut Session, usize) + Send + Sync + 'static) -> Self {
        Peer::start(move |stream, line, shared| {
            let mut session = Session::new(stream.try_clone().unwrap());
            session.shared = Arc::clone(shared);
            script(&mut session, line);
        })
    }

    fn start(talk: impl Fn(&mut TcpStream, usize, &Arc<Shared>) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared::default());
        let acceptor = std::thread::spawn({
            let shared = Arc::clone(&shared);
            let talk = Arc::new(talk);
            move || {
                while let Ok((mut stream, _)) = listener.accept() {
                    if shared.is_over.load(Ordering::SeqCst) {
                        return;
                    }
                    stream.set_read_timeout(Some(WAIT)).unwrap();
                    stream.set_nodelay(true).unwrap();
                    let line = shared.lines.fetch_add(1, Ordering::SeqCst);
                    shared
                        .streams
                        .lock()
                        .unwrap()
                        .push(stream.try_clone().unwrap());
                    let (talk, shared) = (Arc::clone(&talk), Arc::clone(&shared));
                    std::thread::spawn(move || {
                        talk(&mut stream, line, &shared);
                        // The clones must not keep the line open.
                        let mut streams = shared.streams.lock().unwrap();
                        let peer = stream.peer_addr().ok();
                        streams.retain(|clone| clone.peer_addr().ok() != peer);
                    });
                }
            }
        });
        Peer {
            port,
            shared,
            acceptor: Some(acceptor),
        }
    }

    pub fn node(&self) -> Node {
        Node::new("127.0.0.1")
            .with_port(self.port)
            .with_credentials("user", PASSWORD)
    }

    /// Ends [`Session::hold_until_released`].
    pub fn release(&self) {
        *self.shared.is_released.lock().unwrap() = true;
        self.shared.released.notify_all();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        self.release();
        for stream in self.shared.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

/// Reads until the other side closes.
pub fn wait_for_end(stream: &mut TcpStream) {
    let mut octets = [0; 4096];
    while matches!(stream.read(&mut octets), Ok(1..)) {}
}

pub fn read_protocol_header(stream: &mut TcpStream) {
    stream.read_exact(&mut [0; 8]).unwrap();
}

pub fn short(text: &str) -> ShortStr<'_> {
    ShortStr::new(text).unwrap()
}

pub fn long(text: &str) -> LongStr<'_> {
    LongStr::from_bytes(text.as_bytes()).unwrap()
}

/// A `connection.start` to be changed.
pub fn plain_start() -> connection::Start<'static> {
    connection::Start {
        version_major: 0,
        version_minor: 9,
        mechanisms: long("AMQPLAIN PLAIN"),
        locales: long("en_US"),
        ..Default::default()
    }
}

pub fn start() -> Method<'static> {
    plain_start().into()
}

/// One line of a scripted broker.
pub struct Session {
    stream: TcpStream,
    shared: Arc<Shared>,
    input: Vec<u8>,
    /// Whether every octet is sent on its own.
    pub is_slow: bool,
}

impl Session {
    /// A broker's side that has not read the protocol header yet.
    pub fn new(mut stream: TcpStream) -> Self {
        read_protocol_header(&mut stream);
        Session {
            stream,
            shared: Arc::default(),
            input: Vec::new(),
            is_slow: false,
        }
    }

    pub fn write(&mut self, octets: &[u8]) {
        let step = if self.is_slow { 1 } else { octets.len().max(1) };
        for piece in octets.chunks(step) {
            // The engine may have gone: then nobody is interested.
            let _ = self.stream.write_all(piece);
        }
    }

    pub fn send<'m>(&mut self, channel: u16, method: impl Into<Method<'m>>) {
        let mut frame = Vec::new();
        method.into().encode_frame(channel, &mut frame);
        self.write(&frame);
    }

    pub fn heartbeat(&mut self) {
        let mut frame = Vec::new();
        encode_heartbeat(&mut frame);
        self.write(&frame);
    }

    pub fn deliver(&mut self, channel: u16, delivery_tag: u64, body: &[u8]) {
        let tag = format!("ctag-{channel}");
        let deliver = basic::Deliver {
            consumer_tag: short(&tag),
            delivery_tag,
            ..Default::default()
        };
        self.send(channel, deliver);
        let mut content = Vec::new();
        let header = ContentHeader::new(body.len() as u64, PropertiesRef::default());
        encode_frame_into(&mut content, FrameKind::Header, channel, |out| {
            header.encode(out)
        });
        encode_frame_into(&mut content, FrameKind::Body, channel, |out| {
            out.extend_from_slice(body);
        });
        self.write(&content);
    }

    /// Gives `look` the next method; false when the line has ended.
    fn with_next(&mut self, look: &mut dyn FnMut(u16, Method<'_>)) -> bool {
        loop {
            let (used, found) = match Frame::decode(&self.input, FRAME_MAX).unwrap() {
                Decoded::Frame { frame, octets } if frame.kind == FrameKind::Method => {
                    look(frame.channel, Method::decode(frame.payload).unwrap());
                    (octets, true)
                }
                Decoded::Frame { octets, .. } => (octets, false),
                Decoded::Incomplete { .. } => {
                    let mut octets = [0; 64 * 1024];
                    let Ok(count @ 1..) = self.stream.read(&mut octets) else {
                        return false;
                    };
                    self.input.extend_from_slice(&octets[..count]);
                    continue;
                }
            };
            self.input.drain(..used);
            if found {
                return true;
            }
        }
    }

    /// The channel of the next method, which has this name.
    pub fn expect(&mut self, name: &str) -> u16 {
        let mut on = None;
        let came = self.with_next(&mut |channel, method| {
            assert_eq!(method.name(), name);
            on = Some(channel);
        });
        assert!(came, "{name} did not come");
        on.unwrap()
    }

    /// The code of the next method, which is `connection.close`.
    pub fn expect_close(&mut self) -> u16 {
        let mut code = 0;
        self.with_next(&mut |_, method| match method {
            Method::ConnectionClose(close) => code = close.reply_code,
            method => panic!("{}", method.name()),
        });
        self.send(0, connection::CloseOk {});
        code
    }

    pub fn handshake(&mut self, heartbeat: u16) {
        self.send(0, start());
        self.expect("connection.start-ok");
        let tune = connection::Tune {
            channel_max: 100,
            frame_max: FRAME_MAX,
            heartbeat,
        };
        self.send(0, tune);
        self.expect("connection.tune-ok");
        self.expect("connection.open");
        self.send(0, connection::OpenOk {});
    }

    /// A publisher in confirm mode opens its channel.
    pub fn open_publisher(&mut self) {
        let channel = self.expect("channel.open");
        self.send(channel, channel::OpenOk {});
        self.expect("confirm.select");
        self.send(channel, confirm::SelectOk {});
    }

    /// A consumer of a queue that exists starts; its channel.
    pub fn open_consumer(&mut self) -> u16 {
        let channel = self.expect("channel.open");
        self.send(channel, channel::OpenOk {});
        self.expect("basic.qos");
        self.send(channel, basic::QosOk {});
        self.expect("basic.consume");
        let tag = format!("ctag-{channel}");
        self.send(
            channel,
            basic::ConsumeOk {
                consumer_tag: short(&tag),
            },
        );
        channel
    }

    /// Answers what an idle broker is asked, until the line is closed.
    pub fn serve(&mut self) {
        loop {
            let mut answer = Vec::new();
            let mut is_over = false;
            let came = self.with_next(&mut |channel, method| {
                let reply: Method<'_> = match method {
                    Method::ChannelOpen(_) => channel::OpenOk {}.into(),
                    Method::ChannelClose(_) => channel::CloseOk {}.into(),
                    Method::ConfirmSelect(_) => confirm::SelectOk {}.into(),
                    Method::BasicCancel(cancel) => basic::CancelOk {
                        consumer_tag: cancel.consumer_tag,
                    }
                    .into(),
                    Method::QueueDeclare(declare) => queue::DeclareOk {
                        queue: declare.queue,
                        ..Default::default()
                    }
                    .into(),
                    Method::ConnectionClose(_) => {
                        is_over = true;
                        connection::CloseOk {}.into()
                    }
                    _ => return,
                };
                reply.encode_frame(channel, &mut answer);
            });
            self.write(&answer);
            if !came || is_over {
                return;
            }
        }
    }

    /// Reads, and says nothing.
    pub fn ignore_everything(&mut self) {
        wait_for_end(&mut self.stream);
    }

    /// Does not even read.
    pub fn hold_until_released(&mut self) {
        let guard = self.shared.is_released.lock().unwrap();
        let held = self
            .shared
            .released
            .wait_timeout_while(guard, WAIT, |is_released| !*is_released);
        drop(held);
    }

    /// How much has come that nobody asked for, as far as it has come.
    pub fn octets_waiting(&mut self) -> usize {
        self.stream.set_nonblocking(true).unwrap();
        let mut octets = [0; 4096];
        let waiting = match self.stream.read(&mut octets) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => panic!("{error}"),
        };
        self.stream.set_nonblocking(false).unwrap();
        self.input.extend_from_slice(&octets[..waiting]);
        self.input.len()
    }
}
