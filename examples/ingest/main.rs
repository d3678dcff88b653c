//! Takes a file's lines through a RabbitMQ queue into a SQLite database, each exactly once.
//!
//! ```text
//! cargo run --release --example ingest -- --input FILE --database OUT.sqlite
//! ```
//!
//! # How nothing is lost and nothing is stored twice
//!
//! - A line's `message_id` is made of the input's name and the line's number: it is the same on every run.
//! - A line counts as published once the broker has confirmed it. A run that was killed before is started again with the
//!   same command, skips the lines that the database has, and publishes all others, some of them for the second time.
//! - The database takes each `message_id` once. A message is acked after the commit that holds it, and a commit is on the
//!   disk when it returns; what was not acked comes again, and is ignored if it is there.
//! - The same id with another body is never ignored, but an error: then two inputs go by one name.
//!
//! | file | concern |
//! |---|---|
//! | `arguments` | the command line |
//! | `session` | the order of things in a run |
//! | `lines`, `identity`, `feed` | from the input into the queue |
//! | `intake`, `database` | from the queue into the database |
//! | `tally`, `display`, `failure`, `interrupt` | what the user sees, and Ctrl-C |

mod arguments;
mod database;
mod display;
mod failure;
mod feed;
mod identity;
mod intake;
mod interrupt;
mod lines;
mod session;
mod tally;

use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use arguments::Plan;
use failure::Failure;
use interrupt::Interrupt;
use session::Ended;
use tally::{Summary, Tally};

fn main() -> ExitCode {
    let plan = Plan::from_command_line();
    match Interrupt::install() {
        Ok(interrupt) => run(&plan, &interrupt),
        Err(error) => fail(&Failure::Signals(error)),
    }
}

fn run(plan: &Plan, interrupt: &Interrupt) -> ExitCode {
    let started = Instant::now();
    let mut tally = Tally::default();
    let ended = session::run(plan, interrupt, &mut tally);
    let summary = Summary {
        plan,
        tally: &tally,
        elapsed: started.elapsed(),
        is_interrupted: matches!(ended, Ok(Ended::Interrupted)),
    };
    if ended.is_ok() || tally.has_begun() {
        // A closed pipe is no reason to fail: the work is done.
        let _ = writeln!(std::io::stdout(), "{summary}");
    }
    match ended {
        Ok(Ended::Complete) => ExitCode::SUCCESS,
        Ok(Ended::Interrupted) => ExitCode::from(interrupt.status().unwrap_or(1)),
        Err(failure) => fail(&failure),
    }
}

fn fail(failure: &Failure) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "ingest: {failure}");
    ExitCode::FAILURE
}
