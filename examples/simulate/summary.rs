//! What a run comes to.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use indicatif::{HumanBytes, HumanCount};

use crate::seeds::Outcome;
use crate::simulation::Rule;

/// Is shown as a text.
pub struct Summary<'a> {
    outcome: &'a Outcome,
    elapsed: Duration,
}

impl<'a> Summary<'a> {
    pub fn new(outcome: &'a Outcome, elapsed: Duration) -> Self {
        Self { outcome, elapsed }
    }
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { seeds, sum, failed } = self.outcome;
        let seconds = self.elapsed.as_secs_f64();
        let hours = sum.time.as_secs_f64() / 3600.0;
        writeln!(
            f,
            "{} seeds in {seconds:.0} s ({:.1}/s), {} failed",
            HumanCount(*seeds),
            *seeds as f64 / seconds.max(0.001),
            failed.len()
        )?;
        writeln!(
            f,
            "{hours:.0} simulated hours, {} connections, {}",
            HumanCount(sum.connections),
            HumanBytes(sum.octets)
        )?;
        self.operations(f)?;
        writeln!(f, "what went wrong:")?;
        for (name, count) in &sum.tally.faults {
            writeln!(f, "  {name:<40} {:>12}", HumanCount(*count).to_string())?;
        }
        self.failures(f)
    }
}

impl Summary<'_> {
    fn operations(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tally = &self.outcome.sum.tally;
        writeln!(f, "what was done:")?;
        for (name, count) in tally.operations() {
            writeln!(f, "  {name:<40} {:>12}", HumanCount(count).to_string())?;
        }
        Ok(())
    }

    fn failures(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut by_rule = BTreeMap::<Rule, Vec<u64>>::new();
        for (seed, rule) in &self.outcome.failed {
            by_rule.entry(*rule).or_default().push(*seed);
        }
        if by_rule.is_empty() {
            return write!(f, "no rule was broken");
        }
        write!(f, "rules that were broken:")?;
        for (rule, seeds) in by_rule {
            write!(f, "\n  {rule:?}, by seeds {seeds:?}: {}", rule.text())?;
        }
        Ok(())
    }
}
