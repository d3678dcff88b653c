//! The octets of a connection that go one way.
//!
//! ```text
//!  send ─▶ sending ── depart ─▶ in flight ── arrive ─▶ received ─▶ receive
//!          (bounded)            (in order, each parcel its time)
//!             ▲                     └──────── bounded together ────────┘
//!             └── held back while the receiver's buffer has no room
//! ```

use std::collections::VecDeque;
use std::io::{IoSlice, Read};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::agenda::Key;
use super::scene::{Happening, Scene};
use super::{Side, WireId};

/// How the network is when nothing is wrong with it.
///
/// ```
/// use std::time::Duration;
/// use amqp_uring::driver::sim::Conditions;
///
/// let far = Conditions {
///     latency: Duration::from_millis(40)..=Duration::from_millis(60),
///     octets_per_second: Some(1_000_000),
///     ..Conditions::default()
/// };
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conditions {
    /// How long octets are under way, each parcel drawn anew; none overtakes another.
    pub latency: RangeInclusive<Duration>,
    /// How much one direction of a connection carries; without limit when `None`.
    pub octets_per_second: Option<u64>,
    /// Octets that the sender's system takes and keeps until they depart. At least 1.
    pub send_octets: usize,
    /// Octets that are under way or wait for the receiver. At least 1.
    pub receive_octets: usize,
    /// Octets of a parcel, which arrive together: from 1 to this many, drawn anew for each, and small ones as often as
    /// large ones. At least 1.
    pub parcel_octets: usize,
    /// One send or receive in this many moves less than it could; 0 lets none do so.
    pub short_one_in: u32,
}

impl Default for Conditions {
    /// A local network with the buffers of a small system.
    fn default() -> Self {
        Self {
            latency: Duration::from_micros(50)..=Duration::from_micros(500),
            octets_per_second: None,
            send_octets: 128 << 10,
            receive_octets: 128 << 10,
            parcel_octets: 64 << 10,
            short_one_in: 8,
        }
    }
}

/// What arrives together.
struct Parcel {
    at: u64,
    content: Content,
}

pub(super) enum Content {
    Octets(Vec<u8>),
    /// The sender has closed its side.
    End,
    /// The sender has thrown the connection away.
    Reset,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    NotYet,
    /// When what is being sent has departed.
    Wanted,
    /// Nothing departs any more.
    Departed,
}

struct Throttle {
    octets_per_second: u64,
    until: u64,
}

/// One direction. Times are nanoseconds of the scene.
pub(super) struct Flow {
    sending: VecDeque<u8>,
    in_flight: VecDeque<Parcel>,
    octets_in_flight: usize,
    received: VecDeque<u8>,
    ending: Ending,
    /// Whether the sender was told that there is no room.
    is_full: bool,
    /// Whether the end has arrived, or the receiver wants no more.
    pub(super) has_ended: bool,
    /// When the last parcel has left the sender, and when it arrives.
    departed_at: u64,
    arrives_at: u64,
    /// The entry for the first arrival.
    arrival: Option<Key>,
    stalled_until: u64,
    throttle: Option<Throttle>,
    is_hole: bool,
}

impl Flow {
    pub(super) fn new() -> Self {
        Self {
            sending: VecDeque::new(),
            in_flight: VecDeque::new(),
            octets_in_flight: 0,
            received: VecDeque::new(),
            ending: Ending::NotYet,
            is_full: false,
            has_ended: false,
            departed_at: 0,
            arrives_at: 0,
            arrival: None,
            stalled_until: 0,
            throttle: None,
            is_hole: false,
        }
    }

    /// Whether the sender may send no more.
    pub(super) fn is_ending(&self) -> bool {
        self.ending != Ending::NotYet
    }

    /// Takes what there is room for, or less by chance; 0 when there is none.
    pub(super) fn take(
        &mut self,
        scene: &mut Scene,
        conditions: &Conditions,
        pieces: &[IoSlice<'_>],
    ) -> usize {
        let offered: usize = pieces.iter().map(|piece| piece.len()).sum();
        let room = conditions
            .send_octets
            .max(1)
            .saturating_sub(self.sending.len());
        let mut octets = offered.min(room);
        if octets == 0 {
            self.is_full = offered > 0;
            return 0;
        }
        if scene.one_in(conditions.short_one_in) {
            octets = scene.some_of(octets);
        }
        let mut left = octets;
        for piece in pieces {
            let part = piece.get(..left.min(piece.len())).unwrap_or_default();
            self.sending.extend(part);
            left -= part.len();
        }
        octets
    }

    /// Gives what has arrived, or less by chance.
    pub(super) fn give(
        &mut self,
        scene: &mut Scene,
        conditions: &Conditions,
        room: &mut [u8],
    ) -> usize {
        let mut octets = self.received.len().min(room.len());
        if scene.one_in(conditions.short_one_in) {
            octets = scene.some_of(octets);
        }
        take_front(
            &mut self.received,
            room.get_mut(..octets).unwrap_or_default(),
        );
        octets
    }

    /// Octets that wait for the receiver.
    pub(super) fn received(&self) -> usize {
        self.received.len()
    }

    /// Puts under way what there is room for at the receiver, and the end after it. True when the sender has room again
    /// and has to be told so.
    pub(super) fn depart(
        &mut self,
        scene: &mut Scene,
        conditions: &Conditions,
        to: (WireId, Side),
    ) -> bool {
        if self.is_hole || self.ending == Ending::Departed {
            return false;
        }
        let most = conditions.receive_octets.max(1);
        while !self.sending.is_empty() {
            let window = most.saturating_sub(self.octets_in_flight + self.received.len());
            // No silly windows: a few octets wait until there is room for more.
            if window < self.sending.len().min(most.div_ceil(4)) {
                break;
            }
            let octets = scene.any_size(conditions.parcel_octets);
            let octets = octets.min(window).min(self.sending.len());
            let mut parcel = vec![0; octets];
            take_front(&mut self.sending, &mut parcel);
            self.octets_in_flight += octets;
            self.ship(scene, conditions, Content::Octets(parcel));
        }
        if self.sending.is_empty() && self.ending == Ending::Wanted {
            self.ending = Ending::Departed;
            self.ship(scene, conditions, Content::End);
        }
        self.schedule(scene, to);
        let has_room = self.sending.len() <= conditions.send_octets / 2;
        self.is_full && has_room && {
            self.is_full = false;
            true
        }
    }

    /// Gives a parcel its time of arrival.
    fn ship(&mut self, scene: &mut Scene, conditions: &Conditions, content: Content) {
        let now = scene.now();
        let rate = match &self.throttle {
            Some(throttle) if throttle.until > now => Some(throttle.octets_per_second),
            _ => conditions.octets_per_second,
        };
        let octets = match &content {
            Content::Octets(octets) => octets.len() as u64,
            Content::End | Content::Reset => 0,
        };
        let takes = rate.map_or(0, |rate| octets.saturating_mul(1_000_000_000) / rate.max(1));
        let (least, most) = conditions.latency.clone().into_inner();
        self.departed_at = self.departed_at.max(now).saturating_add(takes);
        let at = self.departed_at.saturating_add(scene.between(least, most));
        self.arrives_at = self.arrives_at.max(at);
        let at = self.arrives_at;
        self.in_flight.push_back(Parcel { at, content });
    }

    /// Sees to it that the first parcel arrives.
    fn schedule(&mut self, scene: &mut Scene, (wire, side): (WireId, Side)) {
        if self.arrival.is_none()
            && let Some(first) = self.in_flight.front()
        {
            let at = first.at.max(self.stalled_until).max(scene.now());
            self.arrival = Some(scene.agenda.add(at, Happening::Arrive(wire, side)));
        }
    }

    /// The arrival that was scheduled is due: gives each parcel that arrives now.
    pub(super) fn arrived(&mut self, scene: &Scene) -> Option<Content> {
        self.arrival = None;
        let now = scene.now();
        let is_due = |parcel: &Parcel| parcel.at <= now;
        if self.stalled_until > now || !self.in_flight.front().is_some_and(is_due) {
            return None;
        }
        let content = self.in_flight.pop_front()?.content;
        if let Content::Octets(octets) = &content {
            self.octets_in_flight -= octets.len();
        }
        Some(content)
    }

    /// After the arrivals: schedules the next one.
    pub(super) fn go_on(&mut self, scene: &mut Scene, to: (WireId, Side)) {
        self.schedule(scene, to);
    }

    /// Keeps octets for the receiver.
    pub(super) fn keep(&mut self, octets: &[u8]) {
        self.received.extend(octets);
    }

    /// The sender sends no more; what it has sent still arrives.
    pub(super) fn finish(&mut self) {
        if self.ending == Ending::NotYet {
            self.ending = Ending::Wanted;
        }
    }

    /// The sender throws the connection away, which the receiver hears after what is under way. Gives the octets that
    /// are lost.
    pub(super) fn abort(
        &mut self,
        scene: &mut Scene,
        conditions: &Conditions,
        to: (WireId, Side),
    ) -> usize {
        let lost = self.sending.len();
        self.sending.clear();
        self.ending = Ending::Departed;
        if !self.is_hole {
            self.ship(scene, conditions, Content::Reset);
            self.schedule(scene, to);
        }
        lost
    }

    /// Nothing that has not arrived will. Gives the octets that are lost.
    pub(super) fn lose(&mut self, scene: &mut Scene) -> usize {
        let lost = self.sending.len() + self.octets_in_flight;
        self.sending.clear();
        self.ending = Ending::Departed;
        self.lose_in_flight(scene);
        lost
    }

    fn lose_in_flight(&mut self, scene: &mut Scene) {
        self.in_flight.clear();
        self.octets_in_flight = 0;
        if let Some(key) = self.arrival.take() {
            scene.agenda.remove(key);
        }
    }

    /// The receiver is gone: what it has not read is lost. Gives how many octets that were.
    pub(super) fn forget_received(&mut self) -> usize {
        let lost = self.received.len();
        self.received.clear();
        lost
    }

    /// Nothing arrives before that time.
    pub(super) fn stall(&mut self, until: u64) {
        self.stalled_until = self.stalled_until.max(until);
    }

    pub(super) fn throttle(&mut self, octets_per_second: u64, until: u64) {
        self.throttle = Some(Throttle {
            octets_per_second,
            until,
        });
    }

    /// Nothing arrives any more, and the sender is not told. Gives the octets that are lost.
    pub(super) fn swallow(&mut self, scene: &mut Scene) -> usize {
        let lost = self.octets_in_flight;
        self.is_hole = true;
        self.lose_in_flight(scene);
        lost
    }

    /// Ends stalls and throttles. What was swallowed stays so.
    pub(super) fn heal(&mut self, scene: &mut Scene, to: (WireId, Side)) {
        self.throttle = None;
        self.stalled_until = 0;
        if let Some(key) = self.arrival.take() {
            scene.agenda.remove(key);
        }
        self.schedule(scene, to);
    }
}

/// Takes octets from the front, as many as there is room for.
fn take_front(octets: &mut VecDeque<u8>, room: &mut [u8]) {
    // It fails only where there are too few.
    let taken = octets.read_exact(room);
    debug_assert!(taken.is_ok());
}
