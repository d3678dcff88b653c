//! `amqp-uring-perf`: measures consuming and publishing against a broker.
//!
//! | file | what it does |
//! |---|---|
//! | `measure` | rate, CPU and memory of a run, and how they are printed |
//! | `consume`, `publish`, `pipe` | one command each |
//! | `compare` | both, on each driver and beside another client, interleaved |
//! | `peer_lapin` | that other client (feature `peers`) |

mod compare;
mod consume;
mod measure;
#[cfg(feature = "peers")]
mod peer_lapin;
mod pipe;
mod publish;

use std::time::Duration;

use amqp_uring::{Driver, Engine};
use clap::{Parser, Subcommand};

/// More than the connect timeouts of a few addresses.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(60);

/// Measures amqp-uring against a broker. The queue or exchange must exist: nothing is declared or purged, except by `compare`.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Consumes messages from a queue.
    Consume(consume::Consume),
    /// Publishes messages.
    Publish(publish::Publish),
    /// Publishes to and consumes from a queue of its own at the same time.
    Pipe(pipe::Pipe),
    /// Publishes to and consumes from a queue of its own, with each driver of this engine and with other clients, in turns.
    Compare(compare::Compare),
}

/// An engine with one worker.
fn connect(uri: &str, driver: Option<Driver>) -> Result<Engine, amqp_uring::Error> {
    let builder = Engine::builder()
        .uri(uri)
        .driver(driver.unwrap_or_default());
    builder.start().wait(CONNECT_TIMEOUT)
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Consume(consume) => {
            let summary = consume.run()?;
            summary.print("consumed", consume.json)
        }
        Command::Pipe(pipe) => {
            let summary = pipe.run()?;
            summary.print("published and consumed", pipe.json)
        }
        Command::Publish(publish) => {
            let summary = publish.run()?;
            summary.print("published", publish.json)
        }
        Command::Compare(compare) => compare.run(),
    }
}
