//! What can go wrong with the network, by call and by plan.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::agenda::Key;
use super::chronicle::Note;
use super::network::Network;
use super::scene::{Happening, Scene};
use super::{Side, WireId};

/// Something that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing arrives for a time; then everything does.
    Stall(Duration),
    /// Both directions carry less for a time.
    Throttle {
        /// How much each carries.
        octets_per_second: u64,
        /// For how long.
        duration: Duration,
    },
    /// Both sides find the connection reset, at once. Octets that have not arrived are lost.
    Reset,
    /// One direction is closed: its receiver finds the end after the octets sent so far, its sender can send no more.
    HalfClose {
        /// The side that sends.
        from: Side,
    },
    /// Octets vanish for good, and nobody is told. The sender's system keeps what it takes from now on, as TCP does
    /// without acknowledgements. An address does not answer connects until [`Handle::heal`](super::Handle::heal).
    BlackHole,
    /// Connects to the address are refused for a time. Connections that are there stay.
    Refuse(Duration),
    /// The address is cut off for a time: its connections stall, and connects are answered when it is over.
    Partition(Duration),
}

/// What a fault befalls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// One connection; for [`Fault::Refuse`] and [`Fault::Partition`], the address to which it was made.
    Wire(WireId),
    /// An address, with all connections that were made to it.
    Address(SocketAddr),
}

impl From<WireId> for Target {
    fn from(wire: WireId) -> Self {
        Self::Wire(wire)
    }
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self::Address(address)
    }
}

/// Which faults happen by themselves, and how often: each befalls a connection that is open, drawn anew.
///
/// ```
/// use std::time::Duration;
/// use amqp_uring::driver::sim::{FaultPlan, World};
///
/// let world = World::new(7);
/// world.faults(FaultPlan {
///     reset: 3,
///     stall: 1,
///     ..FaultPlan::every(Duration::from_secs(60))
/// });
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultPlan {
    /// The mean time between two faults. Each comes after 0 to 2 times of this.
    pub every: Duration,
    /// How long those last that end by themselves.
    pub lasts: RangeInclusive<Duration>,
    /// What a throttled direction carries.
    pub throttled_octets_per_second: u64,
    /// How often a fault is a stall, in proportion to the other kinds.
    pub stall: u32,
    /// How often it is a throttle.
    pub throttle: u32,
    /// How often it is a reset.
    pub reset: u32,
    /// How often one direction is closed.
    pub half_close: u32,
    /// How often a connection, not its address, becomes a black hole.
    pub black_hole: u32,
    /// How often an address refuses connects.
    pub refuse: u32,
    /// How often an address is cut off.
    pub partition: u32,
}

impl FaultPlan {
    /// A plan for this mean time that has no kind of fault yet.
    #[must_use]
    pub const fn every(every: Duration) -> Self {
        Self {
            every,
            lasts: Duration::from_millis(10)..=Duration::from_secs(10),
            throttled_octets_per_second: 10_000,
            stall: 0,
            throttle: 0,
            reset: 0,
            half_close: 0,
            black_hole: 0,
            refuse: 0,
            partition: 0,
        }
    }

    /// A plan in which every kind is as likely as any other.
    #[must_use]
    pub const fn of_every_kind(every: Duration) -> Self {
        Self {
            stall: 1,
            throttle: 1,
            reset: 1,
            half_close: 1,
            black_hole: 1,
            refuse: 1,
            partition: 1,
            ..Self::every(every)
        }
    }

    /// A fault, drawn by the weights. `None` when all are 0.
    fn draw(&self, scene: &mut Scene) -> Option<Fault> {
        let weights = [
            self.stall,
            self.throttle,
            self.reset,
            self.half_close,
            self.black_hole,
            self.refuse,
            self.partition,
        ];
        let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
        let mut drawn = scene.random.u64(..total.max(1));
        let kind = weights.iter().position(|weight| {
            let is_here = drawn < u64::from(*weight);
            drawn = drawn.saturating_sub(u64::from(*weight));
            is_here
        })?;
        let (least, most) = self.lasts.clone().into_inner();
        let duration = Duration::from_nanos(scene.between(least, most));
        Some(match kind {
            0 => Fault::Stall(duration),
            1 => Fault::Throttle {
                octets_per_second: self.throttled_octets_per_second,
                duration,
            },
            2 => Fault::Reset,
            3 => Fault::HalfClose {
                from: if scene.random.bool() {
                    Side::Connector
                } else {
                    Side::Acceptor
                },
            },
            4 => Fault::BlackHole,
            5 => Fault::Refuse(duration),
            _ => Fault::Partition(duration),
        })
    }
}

/// The plan that is being followed, if there is one.
#[derive(Default)]
pub(super) struct Plan {
    following: Option<(FaultPlan, Key)>,
}

impl Plan {
    pub(super) fn follow(&mut self, scene: &mut Scene, plan: FaultPlan) {
        self.end(scene);
        let key = Self::next(scene, &plan);
        self.following = Some((plan, key));
    }

    pub(super) fn end(&mut self, scene: &mut Scene) {
        if let Some((_, key)) = self.following.take() {
            scene.agenda.remove(key);
        }
    }

    fn next(scene: &mut Scene, plan: &FaultPlan) -> Key {
        let wait = scene.between(Duration::from_nanos(1), plan.every.saturating_mul(2));
        let at = scene.now().saturating_add(wait);
        scene.agenda.add(at, Happening::Fault)
    }

    /// The next fault is due. Where no connection is open it befalls nobody.
    pub(super) fn strike(&mut self, scene: &mut Scene, network: &mut Network) {
        let Some((plan, key)) = &mut self.following else {
            return;
        };
        *key = Self::next(scene, plan);
        let open: Vec<_> = network.open_wires().collect();
        let drawn = scene.random.u64(..(open.len() as u64).max(1));
        if let Some(wire) = open.get(drawn as usize)
            && let Some(fault) = plan.draw(scene)
        {
            inject(scene, network, Target::Wire(*wire), fault);
        }
    }
}

/// Lets a fault befall its target.
pub(super) fn inject(scene: &mut Scene, network: &mut Network, target: Target, fault: Fault) {
    let (address, wires) = match target {
        Target::Wire(wire) => (network.address(wire), vec![wire]),
        Target::Address(address) => (Some(address), network.wires_to(address)),
    };
    scene.chronicle.stats.faults.count(fault);
    scene.note(Note::Fault, wires.len() as u64, 0);
    for wire in &wires {
        scene.note(Note::Fault, wire.0, 1);
    }
    if let (Some(address), Fault::Refuse(duration)) = (address, fault) {
        return network.refuse(scene, address, duration);
    }
    if let (Some(address), Fault::Partition(duration)) = (address, fault) {
        network.part(scene, address, duration);
        for wire in network.wires_to(address) {
            network.stall(scene, wire, duration);
        }
        return;
    }
    if let (Target::Address(address), Fault::BlackHole) = (target, fault) {
        network.hide(address);
    }
    for wire in wires {
        match fault {
            Fault::Stall(duration) => network.stall(scene, wire, duration),
            Fault::Throttle {
                octets_per_second,
                duration,
            } => network.throttle(scene, wire, octets_per_second, duration),
            Fault::Reset => network.reset(scene, wire),
            Fault::HalfClose { from } => network.half_close(scene, wire, from),
            Fault::BlackHole => network.swallow(scene, wire),
            Fault::Refuse(_) | Fault::Partition(_) => {}
        }
    }
}
