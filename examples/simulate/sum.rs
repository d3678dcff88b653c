//! What many worlds have seen together.

use std::time::Duration;

use crate::simulation::report::{Report, Tally};

#[derive(Debug, Default)]
pub struct Sum {
    pub time: Duration,
    pub connections: u64,
    pub octets: u64,
    pub tally: Tally,
}

impl Sum {
    pub fn add(&mut self, report: &Report) {
        self.time += report.time;
        self.connections += report.connections;
        self.octets += report.octets;
        self.tally.add(&report.tally);
    }
}

impl Tally {
    /// Each with its name.
    pub fn operations(&self) -> [(&'static str, u64); 10] {
        [
            ("publishers opened", self.publishers),
            ("consumers started", self.consumers),
            ("published", self.published),
            ("  acked", self.acked),
            ("  nacked", self.nacked),
            ("  returned", self.returned),
            ("  unknown, with their connection", self.unknown),
            ("delivered", self.delivered),
            ("  redelivered", self.redelivered),
            ("acked, or rejected for good", self.settled),
        ]
    }

    fn add(&mut self, other: &Self) {
        self.publishers += other.publishers;
        self.consumers += other.consumers;
        self.published += other.published;
        self.acked += other.acked;
        self.nacked += other.nacked;
        self.returned += other.returned;
        self.unknown += other.unknown;
        self.delivered += other.delivered;
        self.redelivered += other.redelivered;
        self.settled += other.settled;
        for (name, count) in &other.faults {
            *self.faults.entry(name).or_default() += count;
        }
    }
}
