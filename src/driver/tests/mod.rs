//! Every driver against real sockets on the loopback interface.
//!
//! A peer is a thread with a `std` socket. Nothing sleeps in place of a condition: a turn waits for events, and a test
//! that waits too long fails.

mod adopting;
mod ending;
mod pausing;
mod receive;
mod send;
mod waking;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::pin::pin;
use std::task::{self, Context, Poll};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use macro_rules_attribute::apply;

use super::epoll::EpollDriver;
#[cfg(feature = "tokio-uring")]
use super::tokio_uring::TokioUringDriver;
use super::uring::UringDriver;
use super::*;
use crate::buffer::Pool;

/// No test needs longer, on a busy machine either.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a driver is tested as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Uring,
    UringPlain,
    Epoll,
    #[cfg(feature = "tokio-uring")]
    TokioUring,
    #[cfg(feature = "tokio-uring")]
    TokioUringPlain,
}

impl Kind {
    fn incremental(self) -> Incremental {
        match self {
            Kind::UringPlain => Incremental::Off,
            #[cfg(feature = "tokio-uring")]
            Kind::TokioUringPlain => Incremental::Off,
            _ => Incremental::Auto,
        }
    }
}

/// Makes a test of a function that takes a driver: one for each kind.
macro_rules! on_every_driver {
    ($(#[$attribute:meta])* fn $name:ident($kind:ident: Kind) $body:block) => {
        fn $name($kind: Kind) $body

        mod $name {
            use super::Kind;

            #[test]
            $(#[$attribute])*
            fn uring() {
                super::$name(Kind::Uring);
            }

            #[test]
            $(#[$attribute])*
            fn uring_plain() {
                super::$name(Kind::UringPlain);
            }

            #[test]
            $(#[$attribute])*
            fn epoll() {
                super::$name(Kind::Epoll);
            }

            #[cfg(feature = "tokio-uring")]
            #[test]
            $(#[$attribute])*
            fn tokio_uring() {
                super::$name(Kind::TokioUring);
            }

            #[cfg(feature = "tokio-uring")]
            #[test]
            $(#[$attribute])*
            fn tokio_uring_plain() {
                super::$name(Kind::TokioUringPlain);
            }
        }
    };
}
use on_every_driver;

/// A driver of any kind, whose turns block.
enum Any {
    Uring(Box<UringDriver>),
    Epoll(Box<EpollDriver>),
    /// The driver goes before its runtime.
    #[cfg(feature = "tokio-uring")]
    TokioUring(Box<TokioUringDriver>, ::tokio_uring::Runtime),
}

/// Calls a method of the driver, whatever it is.
macro_rules! any {
    ($any:expr, $driver:ident => $call:expr) => {
        match $any {
            Any::Uring($driver) => $call,
            Any::Epoll($driver) => $call,
            #[cfg(feature = "tokio-uring")]
            Any::TokioUring($driver, _) => $call,
        }
    };
}

impl Any {
    fn new(kind: Kind, options: &Options) -> Self {
        let options = &Options {
            incremental: kind.incremental(),
            ..*options
        };
        match kind {
            Kind::Uring | Kind::UringPlain => {
                Any::Uring(Box::new(UringDriver::new(options).unwrap()))
            }
            Kind::Epoll => Any::Epoll(Box::new(EpollDriver::new(options).unwrap())),
            #[cfg(feature = "tokio-uring")]
            Kind::TokioUring | Kind::TokioUringPlain => {
                let runtime = ::tokio_uring::Runtime::new(&::tokio_uring::builder()).unwrap();
                let driver = runtime.block_on(async { TokioUringDriver::new(options).unwrap() });
                Any::TokioUring(Box::new(driver), runtime)
            }
        }
    }

    fn turn(
        &mut self,
        deadline: Option<Instant>,
        more_work: impl FnOnce() -> bool,
        events: &mut Vec<Event>,
    ) -> Result<(), DriverError> {
        match self {
            Any::Uring(driver) => ready(driver.turn(deadline, more_work, events)),
            Any::Epoll(driver) => ready(driver.turn(deadline, more_work, events)),
            #[cfg(feature = "tokio-uring")]
            Any::TokioUring(driver, runtime) => {
                runtime.block_on(driver.turn(deadline, more_work, events))
            }
        }
    }

    fn connect(&mut self, peer: SocketAddr) -> Result<Link, DriverError> {
        any!(self, driver => driver.connect(peer))
    }

    fn send(&mut self, link: Link, segment: Segment) {
        any!(self, driver => driver.send(link, segment));
    }

    fn unsent(&self, link: Link) -> usize {
        any!(self, driver => driver.unsent(link))
    }

    fn spare(&mut self) -> Vec<u8> {
        any!(self, driver => driver.spare())
    }

    fn adopt(&mut self, stream: TcpStream) -> Result<Link, DriverError> {
        any!(self, driver => driver.adopt(stream))
    }

    fn set_reading(&mut self, link: Link, reading: bool) {
        any!(self, driver => driver.set_reading(link, reading));
    }

    fn close(&mut self, link: Link) {
        any!(self, driver => driver.close(link));
    }

    fn waker(&self) -> Waker {
        any!(self, driver => driver.waker())
    }

    fn set_latency_budget(&mut self, budget: Duration) {
        any!(self, driver => driver.set_latency_budget(budget));
    }

    fn stats(&self) -> DriverStats {
        any!(self, driver => driver.stats())
    }

    fn pool(&self) -> Pool {
        any!(self, driver => driver.pool().clone())
    }
}

/// What a driver that blocks gives at the first poll.
fn ready<T>(future: impl Future<Output = T>) -> T {
    let mut context = Context::from_waker(task::Waker::noop());
    match pin!(future).poll(&mut context) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a driver that blocks is ready at once"),
    }
}

/// Small chunks, so that the tests go around often, in either mode.
fn small() -> Options {
    Options {
        chunks: 6,
        chunk_octets: 20_000,
        plain_chunks: 16,
        plain_chunk_octets: 3_000,
        ..Options::default()
    }
}

/// The octet at a place of a stream: any that is lost, doubled or out of order shows.
fn octet(seed: u8, place: usize) -> u8 {
    ((place ^ (place >> 7) ^ (place >> 15)) as u8)
        .wrapping_mul(31)
        .wrapping_add(seed)
}

fn octets(seed: u8, places: std::ops::Range<usize>) -> Vec<u8> {
    places.map(|place| octet(seed, place)).collect()
}

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % limit
    }
}

/// Runs `peer` on a thread with each of `count` accepted connections.
fn listen<T: Send + 'static>(
    count: usize,
    peer: impl Fn(usize, TcpStream) -> T + Send + Sync + Clone + 'static,
) -> (SocketAddr, JoinHandle<Vec<T>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let accepting = thread::spawn(move || {
        let peers: Vec<_> = (0..count)
            .map(|index| {
                let (stream, _) = listener.accept().unwrap();
                let peer = peer.clone();
                thread::spawn(move || peer(index, stream))
            })
            .collect();
        peers.into_iter().map(|peer| peer.join().unwrap()).collect()
    });
    (address, accepting)
}

/// A driver, the events it gave, and what the tests ask of them.
struct Worker {
    driver: Any,
    connected: Vec<Link>,
    received: HashMap<Link, Vec<u8>>,
    views: Vec<(Link, crate::buffer::Filled)>,
    unsent: HashMap<Link, usize>,
    lost: HashMap<Link, io::Error>,
    starved: usize,
    /// Whether views are kept; otherwise their octets are copied out at once.
    keep: bool,
}

impl Worker {
    fn new(kind: Kind, options: &Options) -> Self {
        Self {
            driver: Any::new(kind, options),
            connected: Vec::new(),
            received: HashMap::new(),
            views: Vec::new(),
            unsent: HashMap::new(),
            lost: HashMap::new(),
            starved: 0,
            keep: false,
        }
    }

    /// A turn that ends at `deadline` at the latest, with its events checked against D1 and sorted.
    fn turn(&mut self, deadline: Option<Instant>) -> usize {
        let mut events = Vec::new();
        self.driver.turn(deadline, || false, &mut events).unwrap();
        let count = events.len();
        for event in events {
            match event {
                Event::Connected(link) => {
                    assert!(!self.connected.contains(&link) && !self.lost.contains_key(&link));
                    self.connected.push(link);
                }
                Event::Received(link, filled) => {
                    assert!(self.connected.contains(&link) && !self.lost.contains_key(&link));
                    assert!(!filled.is_empty());
                    if self.keep {
                        self.views.push((link, filled));
                    } else {
                        self.received
                            .entry(link)
                            .or_default()
                            .extend_from_slice(&filled);
                    }
                }
                Event::Sent { link, unsent } => {
                    assert!(self.connected.contains(&link) && !self.lost.contains_key(&link));
                    assert!(unsent >= self.driver.unsent(link));
                    self.unsent.insert(link, unsent);
                }
                Event::Lost(link, error) => {
                    assert!(self.lost.insert(link, error).is_none(), "lost once");
                    assert_eq!(self.driver.unsent(link), 0);
                }
                Event::Starved => self.starved += 1,
            }
        }
        count
    }

    /// Turns until `done`.
    fn until(&mut self, done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(
                Instant::now() < deadline,
                "nothing happened: {:?}",
                self.driver.stats()
            );
            self.turn(Some(deadline));
        }
    }

    fn connect(&mut self, address: SocketAddr) -> Link {
        let link = self.driver.connect(address).unwrap();
        self.until(|worker| worker.connected.contains(&link) || worker.lost.contains_key(&link));
        link
    }

    /// Takes over a connection, of which no event tells that it is connected.
    fn adopt(&mut self, stream: TcpStream) -> Link {
        let link = self.driver.adopt(stream).unwrap();
        self.connected.push(link);
        link
    }

    fn received(&self, link: Link) -> &[u8] {
        self.received.get(&link).map_or(&[], Vec::as_slice)
    }

    /// The kind of the error that a link was lost with.
    fn lost_with(&self, link: Link) -> Option<io::ErrorKind> {
        self.lost.get(&link).map(io::Error::kind)
    }
}

/// Drops the driver while the peers are still there, and checks that every chunk came back.
fn drop_and_count(worker: Worker) {
    let pool = worker.driver.pool();
    drop(worker);
    assert_eq!(pool.stats().out, 0, "every chunk is back");
}
