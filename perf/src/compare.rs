//! `compare`: this engine on each of its drivers and, with the feature `peers`, lapin, publishing to and consuming from the
//! same queue, in turns.

use std::time::Duration;

use amqp_uring::{DeleteIf, Driver, Engine, Queue};
use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::consume::Consume;
use crate::measure::Summary;
#[cfg(feature = "peers")]
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
    /// What to compare: the first is what the others are measured by.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Peer::value_variants().to_vec())]
    peers: Vec<Peer>,
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Peer {
    /// This engine on io_uring.
    Uring,
    /// This engine inside a tokio-uring runtime.
    TokioUring,
    /// This engine on epoll.
    Epoll,
    /// The client lapin, on tokio.
    #[cfg(feature = "peers")]
    Lapin,
}

impl Peer {
    fn driver(self) -> Option<Driver> {
        match self {
            Peer::Uring => Some(Driver::Uring),
            Peer::TokioUring => Some(Driver::TokioUring),
            Peer::Epoll => Some(Driver::Epoll),
            #[cfg(feature = "peers")]
            Peer::Lapin => None,
        }
    }

    fn publish(self, publish: &Publish) -> Result<Summary> {
        match self {
            #[cfg(feature = "peers")]
            Peer::Lapin => peer_lapin::publish(publish),
            _ => Publish {
                driver: self.driver(),
                ..publish.clone()
            }
            .run(),
        }
    }

    fn consume(self, consume: &Consume) -> Result<Summary> {
        match self {
            #[cfg(feature = "peers")]
            Peer::Lapin => peer_lapin::consume(consume),
            _ => Consume {
                driver: self.driver(),
                ..consume.clone()
            }
            .run(),
        }
    }

    fn name(self) -> String {
        self.to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// The runs of each peer.
type Runs = Vec<Vec<Summary>>;

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
        self.print_table("publish with confirms", &publishes);
        self.print_table("consume with acks", &consumes);
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
            driver: None,
            json: false,
        };
        let consume = Consume {
            uri: self.uri.clone(),
            queue: queue.to_owned(),
            messages: self.messages,
            prefetch: self.prefetch,
            no_ack: false,
            timeout: 600,
            driver: None,
            json: false,
        };
        let mut publishes = vec![Vec::new(); self.peers.len()];
        let mut consumes = publishes.clone();
        for round in 1..=self.rounds {
            // Each goes first in its turn.
            for place in 0..self.peers.len() {
                let index = (place + round) % self.peers.len();
                let peer = self.peers[index];
                publishes[index].push(peer.publish(&publish)?);
                consumes[index].push(peer.consume(&consume)?);
                eprintln!("round {round} of {}: {}", self.rounds, peer.name());
            }
        }
        Ok((publishes, consumes))
    }

    fn print_table(&self, what: &str, runs: &Runs) {
        println!("\n{what}:");
        let middle =
            |runs: &[Summary], figure: fn(&Summary) -> f64| median(runs.iter().map(figure));
        let rate = |run: &Summary| run.messages_per_second;
        let cpu = |run: &Summary| run.cpu_ns_per_message;
        let Some(first) = runs.first() else { return };
        for (peer, runs) in self.peers.iter().zip(runs) {
            println!(
                "  {:<12} {:>10.0} messages/s ({:.2})  {:>8.0} ns CPU/message ({:.2})",
                peer.name(),
                middle(runs, rate),
                middle(runs, rate) / middle(first, rate),
                middle(runs, cpu),
                middle(runs, cpu) / middle(first, cpu),
            );
        }
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
