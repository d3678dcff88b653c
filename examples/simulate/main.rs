//! Runs simulated worlds in which everything goes wrong, and sees that nothing is lost, invented or done twice.
//!
//! ```text
//! cargo run --release --example simulate -- --seeds 10000
//! ```
//!
//! Each seed is a world of its own: engines, a broker, publishers and consumers, an unreliable network, and some minutes or
//! hours of simulated time. A seed that breaks a rule is printed with what happened before, and with the command that
//! shows it again.
//!
//! # Seeing that the rules are checked
//!
//! - `--canary`: the broker confirms some messages and forgets them. Most seeds must fail, by the rule `Survives`.
//! - `RUSTFLAGS='--cfg amqp_uring_canary' cargo run --release --example simulate -- --seeds 100`: the engine acks deliveries
//!   that its user has taken along and not answered. Seeds in which some are must fail, by the rule `Finished`.
//!
//! | file | concern |
//! |---|---|
//! | `simulation` | one world: who takes part, what goes wrong, what must hold |
//! | `seeds` | many of them, on several threads |
//! | `sum`, `summary` | what the user is told at the end |

mod seeds;
mod simulation;
mod sum;
mod summary;

use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;

use simulation::Watching;

/// Runs simulated worlds of engines, a broker and an unreliable network, and checks what must hold.
///
/// Exit status: 0 when no rule was broken in any world, 1 when one was, 2 for wrong usage.
#[derive(Debug, Parser)]
#[command(name = "simulate", max_term_width = 100)]
struct Arguments {
    /// How many worlds
    #[arg(long, default_value_t = 1000)]
    seeds: u64,

    /// The seed of the first one; each further one has the next number
    #[arg(long, default_value_t = 0)]
    from: u64,

    /// How many at a time [default: as many as there are cores]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,

    /// After so many failures no further world is begun
    #[arg(long, default_value_t = 10)]
    failures: usize,

    /// Tell everything that happened in a world that fails, and not only the end
    #[arg(long)]
    trace: bool,

    /// Let the broker forget some of what it confirms, to see that it is found
    #[arg(long)]
    canary: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut watching = Watching {
        canary: arguments.canary,
        ..Watching::default()
    };
    if arguments.trace {
        watching.trace_max = usize::MAX;
    }
    let plan = seeds::Plan {
        seeds: arguments.from..arguments.from.saturating_add(arguments.seeds),
        threads: arguments.threads.map_or_else(cores, usize::from),
        failures_max: arguments.failures,
        watching,
    };
    let started = Instant::now();
    let outcome = seeds::run(&plan);
    let summary = summary::Summary::new(&outcome, started.elapsed());
    // A closed pipe is no reason to fail: the work is done.
    let _ = writeln!(std::io::stdout(), "{summary}");
    if outcome.failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
