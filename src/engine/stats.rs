//! What an engine has done, seen from outside.

use std::sync::{Mutex, PoisonError};

use crate::driver::{Driver, DriverStats, Reason};

/// What an engine has done so far and what it runs on: see [`Engine::stats`](super::Engine::stats).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineStats {
    /// The driver that moves its octets: never [`Driver::Auto`].
    pub driver: Driver,
    /// Why this one.
    pub driver_reason: Reason,
    /// Each worker's figures, as of its last turn.
    pub workers: Vec<WorkerStats>,
}

/// What a worker has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct WorkerStats {
    /// What its driver did and holds.
    pub driver: DriverStats,
}

/// Where a worker shows its figures after each turn.
#[derive(Debug, Default)]
pub(super) struct Board(Mutex<WorkerStats>);

impl Board {
    pub fn show(&self, stats: &WorkerStats) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = *stats;
    }

    pub fn look(&self) -> WorkerStats {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
