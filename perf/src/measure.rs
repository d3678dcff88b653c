//! Rate, CPU and memory of a run.

use std::fs;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// Both clocks at the first message.
#[derive(Clone, Copy)]
pub struct Start {
    wall: Instant,
    cpu: Duration,
}

impl Start {
    pub fn now() -> Self {
        Start {
            wall: Instant::now(),
            cpu: cpu_time(),
        }
    }

    /// What has happened since.
    pub fn summary(self, messages: u64, octets: u64) -> Summary {
        let seconds = self.wall.elapsed().as_secs_f64();
        let cpu = cpu_time().saturating_sub(self.cpu);
        Summary {
            messages,
            seconds,
            messages_per_second: messages as f64 / seconds,
            bytes: octets,
            cpu_seconds: cpu.as_secs_f64(),
            cpu_ns_per_message: cpu.as_nanos() as f64 / messages.max(1) as f64,
            max_rss_bytes: max_rss_octets(),
        }
    }
}

/// The CPU time of this process, all threads, user and system.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// The most memory this process has had resident, in octets; 0 where the kernel does not say.
fn max_rss_octets() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024
}

/// What a run gave. The names are those of the JSON output.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    pub messages: u64,
    pub seconds: f64,
    pub messages_per_second: f64,
    pub bytes: u64,
    pub cpu_seconds: f64,
    pub cpu_ns_per_message: f64,
    pub max_rss_bytes: u64,
}

impl Summary {
    /// Prints a line for people, or one JSON object.
    pub fn print(&self, what: &str, json: bool) -> anyhow::Result<()> {
        if json {
            println!("{}", serde_json::to_string(self)?);
        } else {
            println!(
                "{what} {} messages in {:.2} s: {:.0} messages/s, {:.0} ns of CPU per message, {:.1} MiB resident at most",
                self.messages,
                self.seconds,
                self.messages_per_second,
                self.cpu_ns_per_message,
                self.max_rss_bytes as f64 / f64::from(1 << 20),
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_counts_cpu_time_and_memory_and_has_the_documented_fields() {
        let start = Start::now();
        let mut work = 0_u64;
        while start.summary(1, 0).cpu_seconds < 0.01 {
            work = std::hint::black_box(work + 1);
        }
        let summary = start.summary(10, 1280);
        assert!(summary.seconds > 0.0 && summary.max_rss_bytes > 0);
        assert!(summary.cpu_ns_per_message >= 1e6);
        let json = serde_json::to_value(&summary).unwrap();
        for field in [
            "messages",
            "seconds",
            "messages_per_second",
            "bytes",
            "cpu_seconds",
            "cpu_ns_per_message",
            "max_rss_bytes",
        ] {
            assert!(json[field].is_number(), "{field}");
        }
    }
}
