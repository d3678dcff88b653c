//! `compare`: this engine and lapin, publishing to and consuming from the same queue, in turns.

use std::time::Duration;

use amqp_uring::{DeleteIf, Engine, Queue};
use anyhow::Result;
use clap::Args;

use crate::consume::Consume;
use crate::measure::Summary;
use crate::peer_lapin;
use crate::publish::Publish;

const CALL_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Args)]
pub struct Compare {
    /// The broker, as an AMQP URI.
    #[arg(
        long,
        env = "AMQP_URL",
        hide_env_values = true,
        default_value = "amqp://guest:guest@localhost"
    )]
    uri: String,
    /// Messages in each run.
    #[arg(long, default_value_t = 100_000)]
    messages: u64,
    /// Octets of each body.
    #[arg(long, default_value_t = 128)]
    size: usize,
    /// The consumers' prefetch.
    #[arg(long, default_value_t = 2000)]
    prefetch: u16,
    /// The publishers' window of messages without a confirm.
    #[arg(long, default_value_t = 20_000)]
    window: usize,
    /// How often each is run.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// A client to compare.
struct Peer {
    name: &'static str,
    publish: fn(&Publish) -> Result<Summary>,
    consume: fn(&Consume) -> Result<Summary>,
}

const PEERS: [Peer; 2] = [
    Peer {
        name: "amqp-uring",
        publish: Publish::run,
        consume: Consume::run,
    },
    Peer {
        name: "lapin",
        publish: peer_lapin::publish,
        consume: peer_lapin::consume,
    },
];

/// The runs of each peer.
type Runs = [Vec<Summary>; 2];

impl Compare {
    pub fn run(&self) -> Result<()> {
        let queue = format!("amqp-uring-perf-{}", std::process::id());
        let engine = Engine::connect(&self.uri)?;
        engine.declare(&Queue::durable(&queue)).wait(CALL_TIMEOUT)?;
        let results = self.rounds(&queue);
        engine
            .delete_queue(&queue, DeleteIf::Always)
            .wait(CALL_TIMEOUT)?;
        engine.shutdown(CALL_TIMEOUT)?;
        let (publishes, consumes) = results?;
        println!(
            "{} messages of {} B, prefetch {}, window {}, medians of {} interleaved rounds",
            self.messages, self.size, self.prefetch, self.window, self.rounds
        );
        print_table("publish with confirms", &publishes);
        print_table("consume with acks", &consumes);
        Ok(())
    }

    /// For each peer its runs: publishing, consuming.
    fn rounds(&self, queue: &str) -> Result<(Runs, Runs)> {
        let publish = Publish {
            uri: self.uri.clone(),
            exchange: String::new(),
            routing_key: queue.to_owned(),
            messages: self.messages,
            size: self.size,
            window: self.window,
            no_confirm: false,
            persistent: false,
            timeout: 600,
            json: false,
        };
        let consume = Consume {
            uri: self.uri.clone(),
            queue: queue.to_owned(),
            messages: self.messages,
            prefetch: self.prefetch,
            no_ack: false,
            timeout: 600,
            json: false,
        };
        let mut publishes = [Vec::new(), Vec::new()];
        let mut consumes = [Vec::new(), Vec::new()];
        for round in 1..=self.rounds {
            // Each goes first in its turn.
            for index in [round % PEERS.len(), (round + 1) % PEERS.len()] {
                let peer = &PEERS[index];
                publishes[index].push((peer.publish)(&publish)?);
                consumes[index].push((peer.consume)(&consume)?);
                eprintln!("round {round} of {}: {}", self.rounds, peer.name);
            }
        }
        Ok((publishes, consumes))
    }
}

fn print_table(what: &str, runs: &Runs) {
    println!("\n{what}:");
    let rate = |runs: &[Summary]| median(runs.iter().map(|run| run.messages_per_second));
    let cpu = |runs: &[Summary]| median(runs.iter().map(|run| run.cpu_ns_per_message));
    let (first_rate, first_cpu) = (rate(&runs[0]), cpu(&runs[0]));
    for (peer, runs) in PEERS.iter().zip(runs) {
        println!(
            "  {:<12} {:>10.0} messages/s ({:.2})  {:>8.0} ns CPU/message ({:.2})",
            peer.name,
            rate(runs),
            rate(runs) / first_rate,
            cpu(runs),
            cpu(runs) / first_cpu,
        );
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
