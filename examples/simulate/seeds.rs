//! Many worlds, several at a time.

use std::io::Write;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::simulation::report::{Failure, Report};
use crate::simulation::{self, Rule, Watching};
use crate::sum::Sum;

const TEMPLATE: &str =
    "{elapsed_precise} [{wide_bar}] {human_pos} of {human_len} seeds, {per_sec}, {eta} {msg}";

/// What is to be run.
pub struct Plan {
    pub seeds: Range<u64>,
    pub threads: usize,
    pub failures_max: usize,
    pub watching: Watching,
}

/// What has come of it.
#[derive(Default)]
pub struct Outcome {
    pub seeds: u64,
    /// Of those that broke no rule.
    pub sum: Sum,
    pub failed: Vec<(u64, Rule)>,
}

/// Runs the seeds in any order. Failures are printed as they come.
pub fn run(plan: &Plan) -> Outcome {
    let (next, is_enough) = (AtomicU64::new(plan.seeds.start), AtomicBool::new(false));
    let (results, received) = channel();
    let bar = bar(plan.seeds.end - plan.seeds.start);
    let mut outcome = Outcome::default();
    std::thread::scope(|scope| {
        for _ in 0..plan.threads {
            let results = results.clone();
            scope.spawn(|| work(plan, &next, &is_enough, results));
        }
        drop(results);
        for result in received {
            outcome.seeds += 1;
            bar.inc(1);
            match result {
                Ok(report) => outcome.sum.add(&report),
                Err(failure) => {
                    outcome.failed.push((failure.seed, failure.violation.rule));
                    // A closed pipe is no reason to stop: the summary tells the seeds too.
                    bar.suspend(|| drop(writeln!(std::io::stdout(), "{failure}\n")));
                    bar.set_message(format!("{} failed", outcome.failed.len()));
                }
            }
            if outcome.failed.len() >= plan.failures_max {
                is_enough.store(true, Ordering::Relaxed);
            }
        }
    });
    bar.finish_and_clear();
    outcome.failed.sort_unstable();
    outcome
}

fn work(
    plan: &Plan,
    next: &AtomicU64,
    is_enough: &AtomicBool,
    results: Sender<Result<Report, Box<Failure>>>,
) {
    while !is_enough.load(Ordering::Relaxed) {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= plan.seeds.end || results.send(simulation::run(seed, plan.watching)).is_err() {
            return;
        }
    }
}

fn bar(seeds: u64) -> ProgressBar {
    // The template is a constant; were it wrong, indicatif's own would do.
    let style =
        ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(seeds).with_style(style);
    bar.enable_steady_tick(Duration::from_secs(1));
    bar
}
