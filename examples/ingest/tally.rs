//! What a run has done: for the display while it goes on, and for the summary.

use std::fmt;
use std::time::Duration;

use crate::arguments::Plan;
use crate::database::Stored;

/// Counts since the run began.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Octets read from the input.
    pub input_octets: u64,
    /// Lines of the input that were published or skipped.
    pub lines: u64,
    /// Lines that the database had before this run published them.
    pub skipped: u64,
    /// Lines published.
    pub published: u64,
    /// Lines that the broker has confirmed.
    pub confirmed: u64,
    /// Messages taken from the queue and committed.
    pub stored: Stored,
}

impl Tally {
    /// Whether anything was done at all.
    pub fn has_begun(&self) -> bool {
        self.lines + self.taken() > 0
    }

    /// Messages taken from the queue.
    pub fn taken(&self) -> u64 {
        self.stored.new + self.stored.known
    }
}

/// The summary at the end of a run: the totals, and how to go on.
pub struct Summary<'a> {
    /// What was to be done.
    pub plan: &'a Plan,
    /// What was done.
    pub tally: &'a Tally,
    /// How long it took.
    pub elapsed: Duration,
    /// Whether a signal ended it before its time.
    pub is_interrupted: bool,
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary {
            plan,
            tally,
            elapsed,
            is_interrupted,
        } = self;
        let seconds = elapsed.as_secs_f64();
        if *is_interrupted {
            writeln!(f, "interrupted; run the same command again to go on")?;
        }
        if let Some(publish) = &plan.publish {
            let name = publish.source.name();
            write!(
                f,
                "{name}: {} lines read, {} published, {} confirmed",
                tally.lines, tally.published, tally.confirmed
            )?;
            if tally.skipped > 0 {
                write!(f, ", {} skipped as the database has them", tally.skipped)?;
            }
            writeln!(f, " ({} lines/s)", rate(tally.lines, seconds))?;
        }
        if let Some(store) = &plan.store {
            let path = store.database.display();
            write!(f, "{path}: {} messages stored", tally.stored.new)?;
            if tally.stored.known > 0 {
                write!(f, ", {} duplicates ignored", tally.stored.known)?;
            }
            writeln!(f, " ({} messages/s)", rate(tally.taken(), seconds))?;
        }
        write!(f, "{seconds:.1} s")
    }
}

/// Whole things a second.
pub fn rate(count: u64, seconds: f64) -> u64 {
    if seconds > 0.0 {
        (count as f64 / seconds) as u64
    } else {
        0
    }
}
