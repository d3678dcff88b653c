//! What a run has seen, and how one failed.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use amqp_uring::driver::sim::{FaultCounts, WorldStats};

use super::oracle::Violation;

/// What users and the broker have done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    pub publishers: u64,
    pub consumers: u64,
    /// Publishes, those that were repeated included, and what became of them.
    pub published: u64,
    pub acked: u64,
    pub nacked: u64,
    pub returned: u64,
    pub unknown: u64,
    /// Deliveries that the broker sent, those marked as redelivered included.
    pub delivered: u64,
    pub redelivered: u64,
    /// Deliveries that were acked, or rejected for good.
    pub settled: u64,
    /// Faults of the broker, of handlers and of drivers by their names.
    pub faults: BTreeMap<&'static str, u64>,
}

impl Tally {
    pub fn fault(&mut self, name: &'static str) {
        *self.faults.entry(name).or_default() += 1;
    }
}

/// What a world has seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    pub time: Duration,
    pub connections: u64,
    pub octets: u64,
    pub tally: Tally,
    /// Of its whole history.
    pub fingerprint: u64,
}

impl Report {
    pub fn new(world: &WorldStats, fingerprint: u64, mut tally: Tally) -> Self {
        for (name, count) in by_name(&world.faults) {
            if count > 0 {
                *tally.faults.entry(name).or_default() += count;
            }
        }
        Self {
            time: world.time,
            connections: world.connections,
            octets: world.octets,
            tally,
            fingerprint,
        }
    }
}

fn by_name(faults: &FaultCounts) -> [(&'static str, u64); 7] {
    [
        ("network: stall", faults.stalls),
        ("network: throttle", faults.throttles),
        ("network: reset", faults.resets),
        ("network: half close", faults.half_closes),
        ("network: black hole", faults.black_holes),
        ("network: refused connects", faults.refusals),
        ("network: partition", faults.partitions),
    ]
}

/// A seed in which a rule was broken.
#[derive(Debug, Clone)]
pub struct Failure {
    pub seed: u64,
    /// Whether the broker forgot on purpose.
    pub canary: bool,
    /// Simulated time.
    pub at: Duration,
    pub violation: Violation,
    /// What happened before.
    pub trace: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.trace {
            writeln!(f, "{line}")?;
        }
        let Failure {
            seed,
            canary,
            at,
            violation,
            ..
        } = self;
        writeln!(f, "seed {seed} broke a rule after {at:?} of simulated time")?;
        writeln!(f, "{violation}")?;
        write!(
            f,
            "replay: cargo run --release --example simulate -- --from {seed} --seeds 1 --trace{}",
            if *canary { " --canary" } else { "" }
        )
    }
}
