//! A broker that is just enough of one: a queue, confirms, deliveries, and a handshake after which it may fall silent.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_queue::SegQueue;

use amqp_uring::driver::sim::{Handle, Listener, SimDriver, Socket};
use amqp_uring::driver::{Adopt, Drive, Event, Link, Options, Waker};
use amqp_uring::protocol::{
    ContentHeader, Decoded, Frame, FrameKind, LongStr, Method, PropertiesRef, ShortStr, basic,
    channel, confirm, connection, encode_frame_into, encode_heartbeat,
};

const FRAME_MAX: u32 = 8192;

/// What a broker is like.
#[derive(Clone, Copy)]
pub struct Manners {
    /// What it proposes, in seconds.
    pub heartbeat: u16,
    /// Whether it says nothing at all once a connection is open.
    pub is_silent: bool,
}

/// What all connections share.
#[derive(Default)]
pub struct Shared {
    /// The one queue, whatever its name.
    pub queue: VecDeque<Vec<u8>>,
    /// Deliveries that were acknowledged.
    pub acked: u64,
    /// Whoever has consumers looks at the queue when somebody publishes.
    consumers: Vec<Waker>,
}

/// Runs a broker at an address.
pub fn run(world: &Handle, address: SocketAddr, manners: Manners) -> Rc<RefCell<Shared>> {
    let shared = Rc::<RefCell<Shared>>::default();
    // A driver without links, to wait with.
    let mut doorman = world.driver(&Options::default()).unwrap();
    let accepted = Arc::<SegQueue<Socket>>::default();
    let (queue, waker) = (Arc::clone(&accepted), doorman.waker());
    let accept = move |socket| {
        queue.push(socket);
        waker.wake();
    };
    let listener: Listener = world.listen(address, accept).unwrap();
    let (world_inside, shared_inside) = (world.clone(), Rc::clone(&shared));
    world.spawn(async move {
        let _listener = listener;
        loop {
            let more = || !accepted.is_empty();
            doorman.turn(None, more, &mut Vec::new()).await.unwrap();
            while let Some(socket) = accepted.pop() {
                let shared = Rc::clone(&shared_inside);
                let connection = Connection::new(&world_inside, socket, shared, manners);
                world_inside.spawn(connection.serve());
            }
        }
    });
    shared
}

/// One connection, which is a task of its own.
struct Connection {
    driver: SimDriver,
    link: Link,
    shared: Rc<RefCell<Shared>>,
    manners: Manners,
    input: Vec<u8>,
    output: Vec<u8>,
    has_greeted: bool,
    is_open: bool,
    is_over: bool,
    /// The channel of the consumer, and the tag of its last delivery.
    consumer: Option<(u16, u64)>,
    /// How many messages were published.
    published: u64,
    /// A message that is coming in, and how much of it is missing.
    message: Vec<u8>,
    missing: usize,
}

impl Connection {
    fn new(world: &Handle, socket: Socket, shared: Rc<RefCell<Shared>>, manners: Manners) -> Self {
        let mut driver = world.driver(&Options::default()).unwrap();
        let link = driver.adopt(socket).unwrap();
        Connection {
            driver,
            link,
            shared,
            manners,
            input: Vec::new(),
            output: Vec::new(),
            has_greeted: false,
            is_open: false,
            is_over: false,
            consumer: None,
            published: 0,
            message: Vec::new(),
            missing: 0,
        }
    }

    async fn serve(mut self) {
        let half = Duration::from_secs(self.manners.heartbeat.into()) / 2;
        let mut beat = self.driver.now() + half;
        let mut events = Vec::new();
        while !(self.is_over && self.driver.unsent(self.link) == 0) {
            let (waits, shared) = (self.consumer.is_some(), Rc::clone(&self.shared));
            let more = || waits && !shared.borrow().queue.is_empty();
            let deadline = (!half.is_zero()).then_some(beat);
            self.driver.turn(deadline, more, &mut events).await.unwrap();
            for event in events.drain(..) {
                match event {
                    Event::Received(_, filled) => self.input.extend_from_slice(&filled),
                    Event::Lost(..) => return,
                    _ => {}
                }
            }
            let is_silent = self.is_open && self.manners.is_silent;
            self.read();
            self.deliver();
            if self.is_open && deadline.is_some_and(|deadline| self.driver.now() >= deadline) {
                beat += half;
                encode_heartbeat(&mut self.output);
            }
            let output = std::mem::take(&mut self.output);
            if !is_silent {
                self.driver.send(self.link, output.into());
            }
        }
    }

    fn send<'m>(&mut self, channel: u16, method: impl Into<Method<'m>>) {
        method.into().encode_frame(channel, &mut self.output);
    }

    /// Answers everything that has come in as a whole.
    fn read(&mut self) {
        if !self.has_greeted {
            if self.input.len() < 8 {
                return;
            }
            let header: Vec<_> = self.input.drain(..8).collect();
            assert_eq!(header, b"AMQP\0\0\x09\x01");
            self.has_greeted = true;
            self.send(0, start());
        }
        let input = std::mem::take(&mut self.input);
        let mut rest = &input[..];
        while let Decoded::Frame { frame, octets } = Frame::decode(rest, FRAME_MAX).unwrap() {
            self.frame(frame);
            rest = &rest[octets..];
        }
        self.input = rest.to_vec();
    }

    fn frame(&mut self, frame: Frame<'_>) {
        match frame.kind {
            FrameKind::Method => self.method(frame.channel, Method::decode(frame.payload).unwrap()),
            FrameKind::Header => {
                let header = ContentHeader::decode(frame.payload).unwrap();
                self.missing = header.body_size as usize;
                self.body(frame.channel, &[]);
            }
            FrameKind::Body => self.body(frame.channel, frame.payload),
            FrameKind::Heartbeat => {}
        }
    }

    /// A message goes into the queue and is confirmed once it is whole.
    fn body(&mut self, channel: u16, octets: &[u8]) {
        self.message.extend_from_slice(octets);
        self.missing -= octets.len();
        if self.missing > 0 {
            return;
        }
        self.published += 1;
        let (delivery_tag, multiple) = (self.published, false);
        let mut shared = self.shared.borrow_mut();
        shared.queue.push_back(std::mem::take(&mut self.message));
        shared.consumers.iter().for_each(Waker::wake);
        drop(shared);
        let ack = basic::Ack {
            delivery_tag,
            multiple,
        };
        self.send(channel, ack);
    }

    fn method(&mut self, channel: u16, method: Method<'_>) {
        match method {
            Method::ConnectionStartOk(_) => {
                let tune = connection::Tune {
                    channel_max: 100,
                    frame_max: FRAME_MAX,
                    heartbeat: self.manners.heartbeat,
                };
                self.send(0, tune);
            }
            Method::ConnectionOpen(_) => {
                self.send(0, connection::OpenOk {});
                self.is_open = true;
            }
            Method::ConnectionClose(_) => {
                self.send(0, connection::CloseOk {});
                self.is_over = !self.manners.is_silent;
            }
            Method::ChannelOpen(_) => self.send(channel, channel::OpenOk {}),
            Method::ChannelClose(_) => self.send(channel, channel::CloseOk {}),
            Method::ConfirmSelect(_) => self.send(channel, confirm::SelectOk {}),
            Method::BasicQos(_) => self.send(channel, basic::QosOk {}),
            Method::BasicConsume(_) => {
                let tag = tag();
                self.send(channel, basic::ConsumeOk { consumer_tag: tag });
                self.consumer = Some((channel, 0));
                let waker = self.driver.waker();
                self.shared.borrow_mut().consumers.push(waker);
            }
            Method::BasicCancel(_) => {
                let tag = tag();
                self.send(channel, basic::CancelOk { consumer_tag: tag });
                self.consumer = None;
            }
            Method::BasicAck(ack) => {
                let mut shared = self.shared.borrow_mut();
                shared.acked = shared.acked.max(ack.delivery_tag);
            }
            Method::ConnectionTuneOk(_) | Method::BasicPublish(_) => {}
            other => panic!("{}", other.name()),
        }
    }

    /// Delivers what is in the queue.
    fn deliver(&mut self) {
        let Some((channel, last)) = self.consumer else {
            return;
        };
        let messages = std::mem::take(&mut self.shared.borrow_mut().queue);
        let mut delivery_tag = last;
        for body in messages {
            delivery_tag += 1;
            let deliver = basic::Deliver {
                consumer_tag: tag(),
                delivery_tag,
                ..Default::default()
            };
            self.send(channel, deliver);
            let header = ContentHeader::new(body.len() as u64, PropertiesRef::default());
            encode_frame_into(&mut self.output, FrameKind::Header, channel, |out| {
                header.encode(out);
            });
            for piece in body.chunks(FRAME_MAX as usize - 8) {
                encode_frame_into(&mut self.output, FrameKind::Body, channel, |out| {
                    out.extend_from_slice(piece);
                });
            }
        }
        self.consumer = Some((channel, delivery_tag));
    }
}

fn tag() -> ShortStr<'static> {
    ShortStr::new("the-consumer").unwrap()
}

fn start() -> connection::Start<'static> {
    connection::Start {
        version_major: 0,
        version_minor: 9,
        mechanisms: LongStr::from_bytes(b"PLAIN").unwrap(),
        locales: LongStr::from_bytes(b"en_US").unwrap(),
        ..Default::default()
    }
}
