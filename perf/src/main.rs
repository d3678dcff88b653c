//! `amqp-uring-perf`: measures consuming and publishing against a broker.
//!
//! | file | what it does |
//! |---|---|
//! | `measure` | rate, CPU and memory of a run, and how they are printed |
//! | `consume`, `publish` | one command each |
//! | `compare` | both, beside another client, interleaved (feature `peers`) |
//! | `peer_lapin` | that other client |

#[cfg(feature = "peers")]
mod compare;
mod consume;
mod measure;
#[cfg(feature = "peers")]
mod peer_lapin;
mod publish;

use clap::{Parser, Subcommand};

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
    /// Publishes to and consumes from a queue of its own with this engine and with lapin, in turns.
    #[cfg(feature = "peers")]
    Compare(compare::Compare),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Consume(consume) => {
            let summary = consume.run()?;
            summary.print("consumed", consume.json)
        }
        Command::Publish(publish) => {
            let summary = publish.run()?;
            summary.print("published", publish.json)
        }
        #[cfg(feature = "peers")]
        Command::Compare(compare) => compare.run(),
    }
}
