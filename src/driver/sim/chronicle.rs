//! What has happened: counted, and hashed so that two histories can be compared.

use std::time::Duration;

use super::Fault;

/// What a world has seen so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct WorldStats {
    /// Simulated time since the beginning.
    pub time: Duration,
    /// Things that happened: sleeps that ended, connects that were answered, arrivals, faults of a plan.
    pub events: u64,
    /// Times that a task was run.
    pub polls: u64,
    /// Connections that were established.
    pub connections: u64,
    /// Octets that arrived.
    pub octets: u64,
    /// Octets that a system had taken and that never arrived.
    pub octets_lost: u64,
    /// Faults that were injected, by call and by plan.
    pub faults: FaultCounts,
}

/// How many faults were injected, by their kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct FaultCounts {
    /// [`Fault::Stall`]
    pub stalls: u64,
    /// [`Fault::Throttle`]
    pub throttles: u64,
    /// [`Fault::Reset`]
    pub resets: u64,
    /// [`Fault::HalfClose`]
    pub half_closes: u64,
    /// [`Fault::BlackHole`]
    pub black_holes: u64,
    /// [`Fault::Refuse`]
    pub refusals: u64,
    /// [`Fault::Partition`]
    pub partitions: u64,
}

impl FaultCounts {
    /// Of every kind together.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.stalls
            + self.throttles
            + self.resets
            + self.half_closes
            + self.black_holes
            + self.refusals
            + self.partitions
    }

    pub(super) fn count(&mut self, fault: Fault) {
        let count = match fault {
            Fault::Stall(_) => &mut self.stalls,
            Fault::Throttle { .. } => &mut self.throttles,
            Fault::Reset => &mut self.resets,
            Fault::HalfClose { .. } => &mut self.half_closes,
            Fault::BlackHole => &mut self.black_holes,
            Fault::Refuse(_) => &mut self.refusals,
            Fault::Partition(_) => &mut self.partitions,
        };
        *count += 1;
    }
}

/// What is noted.
#[derive(Debug, Clone, Copy)]
pub(super) enum Note {
    Poll,
    Wake,
    Dial,
    Answer,
    Send,
    Arrive,
    Receive,
    Close,
    Fault,
}

/// The counts and the hash.
pub(super) struct Chronicle {
    hash: u64,
    pub(super) stats: WorldStats,
}

impl Chronicle {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            hash: seed,
            stats: WorldStats::default(),
        }
    }

    /// Notes what happened when, to whom, and how much.
    pub(super) fn note(&mut self, now: u64, note: Note, who: u64, much: u64) {
        for word in [now, note as u64, who, much] {
            self.mix(word);
        }
    }

    /// Notes octets.
    pub(super) fn octets(&mut self, octets: &[u8]) {
        let mut words = octets.chunks_exact(8);
        for word in &mut words {
            self.mix(word.try_into().map_or(0, u64::from_le_bytes));
        }
        for octet in words.remainder() {
            self.mix(u64::from(*octet));
        }
    }

    pub(super) fn fingerprint(&self) -> u64 {
        self.hash
    }

    /// One step of FxHash: quick, and nobody tries to deceive it here.
    fn mix(&mut self, word: u64) {
        self.hash = (self.hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}
