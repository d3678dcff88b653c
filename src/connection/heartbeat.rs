//! Heartbeats (section 4.2.7): any traffic counts; this side sends at half the interval; two intervals
//! without a single octet from the peer mean that it is dead.

use std::time::{Duration, Instant};

/// Watches both directions of one connection. Idle until the interval is known.
#[derive(Debug)]
pub(super) struct Heartbeat {
    interval: Duration,
    last_sent: Instant,
    last_received: Instant,
}

/// What is due.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    Send,
    PeerDead,
}

impl Heartbeat {
    pub fn off(now: Instant) -> Self {
        Heartbeat {
            interval: Duration::ZERO,
            last_sent: now,
            last_received: now,
        }
    }

    pub fn start(&mut self, interval: Duration, now: Instant) {
        *self = Heartbeat {
            interval,
            ..Heartbeat::off(now)
        };
    }

    pub fn stop(&mut self) {
        self.interval = Duration::ZERO;
    }

    pub fn interval(&self) -> Duration {
        self.interval
    }

    pub fn sent(&mut self, now: Instant) {
        self.last_sent = now;
    }

    pub fn received(&mut self, now: Instant) {
        self.last_received = now;
    }

    /// When something will be due if nothing is sent or received until then.
    pub fn deadline(&self) -> Option<Instant> {
        (!self.interval.is_zero()).then(|| {
            (self.last_sent + self.interval / 2).min(self.last_received + 2 * self.interval)
        })
    }

    pub fn due(&self, now: Instant) -> Due {
        if self.interval.is_zero() {
            Due::Nothing
        } else if now >= self.last_received + 2 * self.interval {
            Due::PeerDead
        } else if now >= self.last_sent + self.interval / 2 {
            Due::Send
        } else {
            Due::Nothing
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn one_is_due_at_half_the_interval_and_the_peer_is_dead_after_two() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::off(start);
        assert_eq!(heartbeat.deadline(), None);
        assert_eq!(heartbeat.due(start + 1000 * SECOND), Due::Nothing);
        heartbeat.start(10 * SECOND, start);
        assert_eq!(heartbeat.deadline(), Some(start + 5 * SECOND));
        assert_eq!(heartbeat.due(start + 4 * SECOND), Due::Nothing);
        assert_eq!(heartbeat.due(start + 5 * SECOND), Due::Send);
        heartbeat.sent(start + 18 * SECOND);
        assert_eq!(heartbeat.deadline(), Some(start + 20 * SECOND));
        assert_eq!(heartbeat.due(start + 20 * SECOND), Due::PeerDead);
        heartbeat.received(start + 19 * SECOND);
        assert_eq!(heartbeat.due(start + 20 * SECOND), Due::Nothing);
    }
}
