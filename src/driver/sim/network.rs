//! Connections, and who listens where.
//!
//! Everything in here is ordered by number or by address, so that one seed gives one history.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::agenda::Key;
use super::chronicle::Note;
use super::flow::{Conditions, Content, Flow};
use super::port::Port;
use super::scene::{Errand, Happening, Scene};
use super::socket::Socket;
use crate::driver::Link;
use crate::driver::sockets::Readiness;

/// Connections to an address that no driver has adopted yet; more are refused.
pub const BACKLOG_MAX: usize = 1024;

/// A connection of a world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WireId(pub(super) u64);

/// A side of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// Whoever has connected.
    Connector,
    /// Whoever has listened.
    Acceptor,
}

impl Side {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Connector, Self::Acceptor];

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Connector => Self::Acceptor,
            Self::Acceptor => Self::Connector,
        }
    }
}

/// Two things, one for each side.
pub(super) struct Sides<T> {
    connector: T,
    acceptor: T,
}

impl<T> Sides<T> {
    fn of(&self, side: Side) -> &T {
        match side {
            Side::Connector => &self.connector,
            Side::Acceptor => &self.acceptor,
        }
    }

    fn of_mut(&mut self, side: Side) -> &mut T {
        match side {
            Side::Connector => &mut self.connector,
            Side::Acceptor => &mut self.acceptor,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Its answer comes at a time, or never.
    Dialing(Option<Key>),
    Open,
}

/// Who is told of a side's readiness, under which name.
pub(super) type Watch = (Arc<Port>, Link);

struct End {
    watch: Option<Watch>,
    is_open: bool,
    /// How it was broken.
    error: Option<io::ErrorKind>,
}

impl End {
    fn new() -> Self {
        Self {
            watch: None,
            is_open: true,
            error: None,
        }
    }

    fn tell(&self, scene: &mut Scene, readiness: Readiness) {
        if let Some((port, link)) = &self.watch
            && let Some(waker) = port.tell(*link, readiness)
        {
            scene.errands.push(Errand::Wake(waker));
        }
    }

    fn break_with(&mut self, scene: &mut Scene, error: io::ErrorKind) {
        self.error.get_or_insert(error);
        self.tell(scene, Readiness::BROKEN);
    }
}

/// A connection.
struct Wire {
    address: SocketAddr,
    phase: Phase,
    ends: Sides<End>,
    /// By the side that sends.
    flows: Sides<Flow>,
}

/// Takes the connections of an address.
pub(super) type Accept = Arc<dyn Fn(Socket) + Send + Sync>;

/// What is known of an address.
#[derive(Default)]
struct Place {
    accept: Option<Accept>,
    refuses_until: u64,
    parted_until: u64,
    is_hole: bool,
}

/// All connections and addresses.
#[derive(Default)]
pub(super) struct Network {
    pub(super) conditions: Conditions,
    pub(super) names: BTreeMap<String, Vec<IpAddr>>,
    wires: BTreeMap<WireId, Wire>,
    places: BTreeMap<SocketAddr, Place>,
    next: u64,
}

/// Connecting and listening.
impl Network {
    /// Begins to connect. It takes a way there and a way back.
    pub(super) fn dial(&mut self, scene: &mut Scene, address: SocketAddr) -> WireId {
        let id = WireId(self.next);
        self.next += 1;
        scene.note(Note::Dial, id.0, u64::from(address.port()));
        let key = self.answer_after(scene, id, scene.now());
        self.wires.insert(
            id,
            Wire {
                address,
                phase: Phase::Dialing(Some(key)),
                ends: Sides {
                    connector: End::new(),
                    acceptor: End::new(),
                },
                flows: Sides {
                    connector: Flow::new(),
                    acceptor: Flow::new(),
                },
            },
        );
        id
    }

    fn answer_after(&self, scene: &mut Scene, id: WireId, start: u64) -> Key {
        let (least, most) = self.conditions.latency.clone().into_inner();
        let ways = scene.between(least, most) + scene.between(least, most);
        let at = start.saturating_add(ways);
        scene.agenda.add(at, Happening::Answer(id))
    }

    /// A connect is answered, unless its address is cut off.
    pub(super) fn answer(&mut self, scene: &mut Scene, id: WireId) {
        let Some(address) = self.wires.get(&id).map(|wire| wire.address) else {
            return;
        };
        let place = self.places.get(&address);
        let parted_until = place.map_or(0, |place| place.parted_until);
        let dialing = if place.is_some_and(|place| place.is_hole) {
            Some(Phase::Dialing(None))
        } else if parted_until > scene.now() {
            let key = self.answer_after(scene, id, parted_until);
            Some(Phase::Dialing(Some(key)))
        } else {
            None
        };
        let has_room = self.backlog(address) < BACKLOG_MAX;
        let Some(wire) = self.wires.get_mut(&id) else {
            return;
        };
        if let Some(dialing) = dialing {
            wire.phase = dialing;
            return;
        }
        wire.phase = Phase::Open;
        let willing = place.filter(|place| place.refuses_until <= scene.now() && has_room);
        let accept = willing.and_then(|place| place.accept.as_ref());
        scene.note(Note::Answer, id.0, u64::from(accept.is_some()));
        let Some(accept) = accept else {
            wire.ends.acceptor.is_open = false;
            let connector = &mut wire.ends.connector;
            return connector.break_with(scene, io::ErrorKind::ConnectionRefused);
        };
        scene.chronicle.stats.connections += 1;
        scene.errands.push(Errand::Accept {
            wire: id,
            accept: Arc::clone(accept),
        });
        let writable = Readiness {
            writable: true,
            ..Readiness::default()
        };
        wire.ends.connector.tell(scene, writable);
    }

    /// How many connections to an address no driver has adopted yet.
    fn backlog(&self, address: SocketAddr) -> usize {
        let waits = |wire: &&Wire| {
            let end = &wire.ends.acceptor;
            wire.address == address
                && wire.phase == Phase::Open
                && end.is_open
                && end.watch.is_none()
        };
        self.wires.values().filter(waits).count()
    }

    /// False when somebody listens there already.
    pub(super) fn listen(&mut self, address: SocketAddr, accept: Accept) -> bool {
        let place = self.places.entry(address).or_default();
        let is_vacant = place.accept.is_none();
        if is_vacant {
            place.accept = Some(accept);
        }
        is_vacant
    }

    /// Gives back what was given to [`Network::listen`], to be dropped where nobody holds the world.
    pub(super) fn unlisten(&mut self, address: SocketAddr) -> impl Sized + use<> {
        self.places
            .get_mut(&address)
            .and_then(|place| place.accept.take())
    }

    /// Forgets who listens where, when the world ends.
    pub(super) fn unlisten_all(&mut self) -> impl Sized + use<> {
        std::mem::take(&mut self.places)
    }
}

/// What sockets do.
impl Network {
    pub(super) fn watch(&mut self, scene: &mut Scene, id: WireId, side: Side, watch: Watch) {
        let Some(wire) = self.wires.get_mut(&id) else {
            return;
        };
        let incoming = wire.flows.of(side.other());
        let readiness = Readiness {
            readable: incoming.received() > 0,
            writable: true,
            ended: incoming.has_ended,
        };
        let end = wire.ends.of_mut(side);
        end.watch = Some(watch);
        if end.error.is_some() {
            end.tell(scene, Readiness::BROKEN);
        } else if wire.phase == Phase::Open {
            end.tell(scene, readiness);
        }
    }

    pub(super) fn send(
        &mut self,
        scene: &mut Scene,
        id: WireId,
        side: Side,
        pieces: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        let wire = self.wires.get_mut(&id).ok_or(io::ErrorKind::NotConnected)?;
        if let Some(error) = wire.ends.of(side).error {
            return Err(error.into());
        }
        let flow = wire.flows.of_mut(side);
        if flow.is_ending() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if wire.phase != Phase::Open {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let octets = flow.take(scene, &self.conditions, pieces);
        if octets == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        scene.note(Note::Send, id.0, octets as u64);
        self.depart(scene, id, side);
        Ok(octets)
    }

    /// Lets octets depart that a side has sent.
    fn depart(&mut self, scene: &mut Scene, id: WireId, from: Side) {
        let Some(wire) = self.wires.get_mut(&id) else {
            return;
        };
        let flow = wire.flows.of_mut(from);
        if flow.depart(scene, &self.conditions, (id, from.other())) {
            let writable = Readiness {
                writable: true,
                ..Readiness::default()
            };
            wire.ends.of(from).tell(scene, writable);
        }
    }

    pub(super) fn receive(
        &mut self,
        scene: &mut Scene,
        id: WireId,
        side: Side,
        room: &mut [u8],
    ) -> io::Result<usize> {
        let wire = self.wires.get_mut(&id).ok_or(io::ErrorKind::NotConnected)?;
        let flow = wire.flows.of_mut(side.other());
        let end = wire.ends.of(side);
        if flow.received() == 0 {
            return match end.error {
                Some(error) => Err(error.into()),
                None if flow.has_ended => Ok(0),
                None => Err(io::ErrorKind::WouldBlock.into()),
            };
        }
        let octets = flow.give(scene, &self.conditions, room);
        if octets < room.len() && flow.received() > 0 {
            // A short one does not empty the socket here, so that it is told again.
            let readable = Readiness {
                readable: true,
                ..Readiness::default()
            };
            end.tell(scene, readable);
        }
        scene.note(Note::Receive, id.0, octets as u64);
        self.depart(scene, id, side.other());
        Ok(octets)
    }

    pub(super) fn error(&self, id: WireId, side: Side) -> Option<io::ErrorKind> {
        match self.wires.get(&id) {
            Some(wire) => wire.ends.of(side).error,
            None => Some(io::ErrorKind::NotConnected),
        }
    }

    pub(super) fn shut_down(&mut self, scene: &mut Scene, id: WireId, side: Side) {
        if let Some(wire) = self.wires.get_mut(&id) {
            wire.flows.of_mut(side).finish();
            wire.flows.of_mut(side.other()).has_ended = true;
            self.depart(scene, id, side);
        }
    }

    /// A socket is gone. What its side has sent still arrives, unless it has left octets unread: then the other side is
    /// reset, as TCP does.
    pub(super) fn close(&mut self, scene: &mut Scene, id: WireId, side: Side) {
        let Some(wire) = self.wires.get_mut(&id) else {
            return;
        };
        scene.note(Note::Close, id.0, side as u64);
        let end = wire.ends.of_mut(side);
        end.is_open = false;
        end.watch = None;
        if let Phase::Dialing(key) = wire.phase {
            if let Some(key) = key {
                scene.agenda.remove(key);
            }
            self.wires.remove(&id);
            return;
        }
        if !wire.ends.of(side.other()).is_open {
            return self.remove(scene, id);
        }
        let unread = wire.flows.of_mut(side.other()).forget_received();
        if unread > 0 {
            self.abort(scene, id, side);
        } else if let Some(wire) = self.wires.get_mut(&id) {
            wire.flows.of_mut(side).finish();
            self.depart(scene, id, side);
        }
    }

    /// A side throws the connection away.
    fn abort(&mut self, scene: &mut Scene, id: WireId, side: Side) {
        if let Some(wire) = self.wires.get_mut(&id) {
            let flow = wire.flows.of_mut(side);
            let lost = flow.abort(scene, &self.conditions, (id, side.other()));
            scene.chronicle.stats.octets_lost += lost as u64;
        }
    }

    /// Both sides are gone.
    fn remove(&mut self, scene: &mut Scene, id: WireId) {
        if let Some(mut wire) = self.wires.remove(&id) {
            for side in Side::ALL {
                let lost = wire.flows.of_mut(side).lose(scene);
                scene.chronicle.stats.octets_lost += lost as u64;
            }
        }
    }

    /// What is under way to a side, and due, arrives.
    pub(super) fn arrive(&mut self, scene: &mut Scene, id: WireId, side: Side) {
        let Some(wire) = self.wires.get_mut(&id) else {
            return;
        };
        let (flow, end) = (wire.flows.of_mut(side.other()), wire.ends.of_mut(side));
        let mut readiness = Readiness::default();
        let mut is_unexpected = false;
        while let Some(content) = flow.arrived(scene) {
            match content {
                Content::Octets(octets) if end.is_open && end.error.is_none() => {
                    scene.note(Note::Arrive, id.0, octets.len() as u64);
                    scene.chronicle.octets(&octets);
                    scene.chronicle.stats.octets += octets.len() as u64;
                    flow.keep(&octets);
                    readiness.readable = true;
                }
                Content::Octets(octets) => {
                    scene.chronicle.stats.octets_lost += octets.len() as u64;
                    is_unexpected = true;
                }
                Content::End => {
                    scene.note(Note::Arrive, id.0, 0);
                    flow.has_ended = true;
                    readiness.ended = true;
                }
                Content::Reset => end.break_with(scene, io::ErrorKind::ConnectionReset),
            }
        }
        flow.go_on(scene, (id, side));
        if readiness != Readiness::default() {
            end.tell(scene, readiness);
        }
        if is_unexpected {
            self.abort(scene, id, side);
        }
    }
}

/// Faults.
impl Network {
    /// Connections that are established and that somebody still holds, in the order in which they were begun.
    pub(super) fn open_wires(&self) -> impl Iterator<Item = WireId> {
        let is_open =
            |wire: &Wire| wire.phase == Phase::Open && wire.ends.connector.error.is_none();
        self.wires
            .iter()
            .filter(move |(_, wire)| is_open(wire))
            .map(|(id, _)| *id)
    }

    /// Those to an address.
    pub(super) fn wires_to(&self, address: SocketAddr) -> Vec<WireId> {
        let wires = self.wires.iter();
        wires
            .filter(|(_, wire)| wire.address == address)
            .map(|(id, _)| *id)
            .collect()
    }

    pub(super) fn address(&self, id: WireId) -> Option<SocketAddr> {
        self.wires.get(&id).map(|wire| wire.address)
    }

    pub(super) fn stall(&mut self, scene: &Scene, id: WireId, duration: Duration) {
        let until = scene.after(duration);
        self.both_flows(id, |flow| flow.stall(until));
    }

    pub(super) fn throttle(
        &mut self,
        scene: &Scene,
        id: WireId,
        octets_per_second: u64,
        duration: Duration,
    ) {
        let until = scene.after(duration);
        self.both_flows(id, |flow| flow.throttle(octets_per_second, until));
    }

    fn both_flows(&mut self, id: WireId, mut change: impl FnMut(&mut Flow)) {
        if let Some(wire) = self.wires.get_mut(&id) {
            for side in Side::ALL {
                change(wire.flows.of_mut(side));
            }
        }
    }

    /// Both sides find the connection broken, and what has not arrived is lost.
    pub(super) fn reset(&mut self, scene: &mut Scene, id: WireId) {
        let Some(wire) = self.wires.get_mut(&id) else {
            return;
        };
        if let Phase::Dialing(key) = wire.phase {
            if let Some(key) = key {
                scene.agenda.remove(key);
            }
            wire.phase = Phase::Open;
            wire.ends.acceptor.is_open = false;
        }
        for side in Side::ALL {
            let lost = wire.flows.of_mut(side).lose(scene);
            scene.chronicle.stats.octets_lost += lost as u64;
            let end = wire.ends.of_mut(side);
            end.break_with(scene, io::ErrorKind::ConnectionReset);
        }
    }

    /// One side can send no more.
    pub(super) fn half_close(&mut self, scene: &mut Scene, id: WireId, from: Side) {
        if let Some(wire) = self.wires.get_mut(&id) {
            wire.flows.of_mut(from).finish();
            self.depart(scene, id, from);
        }
    }

    /// What is under way vanishes, and so does everything later.
    pub(super) fn swallow(&mut self, scene: &mut Scene, id: WireId) {
        let mut lost = 0;
        self.both_flows(id, |flow| lost += flow.swallow(scene));
        scene.chronicle.stats.octets_lost += lost as u64;
    }

    /// Connects to an address are not answered any more.
    pub(super) fn hide(&mut self, address: SocketAddr) {
        self.places.entry(address).or_default().is_hole = true;
    }

    pub(super) fn refuse(&mut self, scene: &Scene, address: SocketAddr, duration: Duration) {
        let place = self.places.entry(address).or_default();
        place.refuses_until = place.refuses_until.max(scene.after(duration));
    }

    /// Connects to an address are answered later.
    pub(super) fn part(&mut self, scene: &Scene, address: SocketAddr, duration: Duration) {
        let place = self.places.entry(address).or_default();
        place.parted_until = place.parted_until.max(scene.after(duration));
    }

    /// Ends everything that is wrong with addresses, and stalls and throttles. What was swallowed or closed stays so.
    pub(super) fn heal(&mut self, scene: &mut Scene) {
        for place in self.places.values_mut() {
            place.refuses_until = 0;
            place.parted_until = 0;
            place.is_hole = false;
        }
        let dialing: Vec<_> = self
            .wires
            .iter()
            .map(|(id, wire)| (*id, wire.phase))
            .collect();
        for (id, phase) in dialing {
            let Phase::Dialing(key) = phase else {
                continue;
            };
            if let Some(key) = key {
                scene.agenda.remove(key);
            }
            let key = self.answer_after(scene, id, scene.now());
            if let Some(wire) = self.wires.get_mut(&id) {
                wire.phase = Phase::Dialing(Some(key));
            }
        }
        for (id, wire) in &mut self.wires {
            for from in Side::ALL {
                wire.flows.of_mut(from).heal(scene, (*id, from.other()));
            }
        }
    }
}
