//! Worlds of every kind. What a test draws, it draws from its world, so that a failure comes again with its seed.

mod chance;
mod faults;
mod links;
mod pausing;
mod tasks;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_queue::SegQueue;

use super::*;
use crate::buffer::{Filled, Segment};
use crate::driver::{Adopt, Drive, Event, Link, Options};

/// No test needs longer.
const PATIENCE: Duration = Duration::from_secs(3600);

fn address() -> SocketAddr {
    "10.0.0.1:5672".parse().unwrap()
}

fn small() -> Options {
    Options {
        chunks: 6,
        chunk_octets: 20_000,
        ..Options::default()
    }
}

/// Small buffers, so that they fill.
fn narrow() -> Conditions {
    Conditions {
        send_octets: 10_000,
        receive_octets: 10_000,
        parcel_octets: 4_000,
        short_one_in: 3,
        ..Conditions::default()
    }
}

/// The octet at a place of a stream: any that is lost, doubled or out of order shows.
fn octets(seed: u8, places: std::ops::Range<usize>) -> Vec<u8> {
    let octet = |place: usize| {
        ((place ^ (place >> 7) ^ (place >> 15)) as u8)
            .wrapping_mul(31)
            .wrapping_add(seed)
    };
    places.map(octet).collect()
}

/// A driver, the events it gave, and what the tests ask of them.
struct Site {
    driver: SimDriver,
    accepted: Arc<SegQueue<Socket>>,
    connected: BTreeSet<Link>,
    /// Those of them that were accepted, in order.
    adopted: Vec<Link>,
    received: BTreeMap<Link, Vec<u8>>,
    views: Vec<(Link, Filled)>,
    unsent: BTreeMap<Link, usize>,
    lost: BTreeMap<Link, io::ErrorKind>,
    starved: usize,
    /// Whether views are kept; otherwise their octets are copied out at once.
    keep: bool,
}

impl Site {
    fn new(world: &Handle) -> Self {
        Self {
            driver: world.driver(&small()).unwrap(),
            accepted: Arc::default(),
            connected: BTreeSet::new(),
            adopted: Vec::new(),
            received: BTreeMap::new(),
            views: Vec::new(),
            unsent: BTreeMap::new(),
            lost: BTreeMap::new(),
            starved: 0,
            keep: false,
        }
    }

    fn listen(&self, world: &Handle) -> Listener {
        let (queue, waker) = (Arc::clone(&self.accepted), self.driver.waker());
        let accept = move |socket| {
            queue.push(socket);
            waker.wake();
        };
        world.listen(address(), accept).unwrap()
    }

    /// A turn that ends at `deadline` at the latest, with its events checked against D1 and sorted.
    async fn turn(&mut self, deadline: Option<Instant>) -> usize {
        let mut events = Vec::new();
        let accepted = &self.accepted;
        let turn = self
            .driver
            .turn(deadline, || !accepted.is_empty(), &mut events);
        turn.await.unwrap();
        while let Some(socket) = self.accepted.pop() {
            let link = self.driver.adopt(socket).unwrap();
            self.connected.insert(link);
            self.adopted.push(link);
        }
        let count = events.len();
        for event in events {
            match event {
                Event::Connected(link) => {
                    assert!(!self.connected.contains(&link) && !self.lost.contains_key(&link));
                    self.connected.insert(link);
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
                    assert!(self.lost.insert(link, error.kind()).is_none(), "lost once");
                    assert_eq!(self.driver.unsent(link), 0);
                }
                Event::Starved => self.starved += 1,
            }
        }
        count
    }

    /// Turns until `done`.
    async fn until(&mut self, done: impl Fn(&Self) -> bool) {
        while !done(self) {
            self.turn(None).await;
        }
    }

    async fn connect(&mut self) -> Link {
        let link = self.driver.connect(address()).unwrap();
        self.until(|site| site.connected.contains(&link) || site.lost.contains_key(&link))
            .await;
        link
    }

    async fn accept(&mut self) -> Link {
        let known = self.adopted.len();
        self.until(|site| site.adopted.len() > known).await;
        self.adopted[known]
    }

    fn received(&self, link: Link) -> &[u8] {
        self.received.get(&link).map_or(&[], Vec::as_slice)
    }

    fn lost_with(&self, link: Link) -> Option<io::ErrorKind> {
        self.lost.get(&link).copied()
    }
}

/// Two sites with one link between them.
struct Pair {
    client: Site,
    server: Site,
    there: Link,
    here: Link,
    _listener: Listener,
}

impl Pair {
    fn new(world: &World) -> Self {
        let (mut client, mut server) = (Site::new(world), Site::new(world));
        let listener = server.listen(world);
        let both = futures_util::future::join(client.connect(), server.accept());
        let (there, here) = world.run(PATIENCE, both).unwrap();
        Self {
            client,
            server,
            there,
            here,
            _listener: listener,
        }
    }

    fn wire(&mut self) -> WireId {
        self.client.driver.wire(self.there).unwrap()
    }
}

/// What a server has seen.
#[derive(Default)]
struct Seen {
    lost: BTreeMap<Link, io::ErrorKind>,
    links: usize,
    octets_in: u64,
}

/// Runs a server that sends back what it receives, on links that are closed by their clients.
fn echo(world: &Handle) -> Rc<RefCell<Seen>> {
    let seen = Rc::<RefCell<Seen>>::default();
    let mut site = Site::new(world);
    let listener = site.listen(world);
    world.spawn({
        let seen = Rc::clone(&seen);
        async move {
            let _listener = listener;
            site.keep = true;
            loop {
                site.turn(None).await;
                for (link, view) in std::mem::take(&mut site.views) {
                    site.driver.send(link, Segment::from(view.to_vec()));
                }
                let stats = site.driver.stats();
                let mut seen = seen.borrow_mut();
                seen.links = stats.links;
                seen.octets_in = stats.octets_in;
                if seen.lost.len() < site.lost.len() {
                    seen.lost.clone_from(&site.lost);
                }
            }
        }
    });
    seen
}
