//! How a run shows what it does: bars on a terminal, a line now and then elsewhere. On standard error; the summary alone
//! goes to standard output.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, MultiProgress, ProgressBar, ProgressState, ProgressStyle};

use crate::arguments::Plan;
use crate::tally::{Tally, rate};

/// Time between two plain lines.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

const TEMPLATE_OPEN: &str = "{prefix:9} {spinner} {human_pos} {rate}";
const TEMPLATE_BAR: &str = "{prefix:9} [{bar:40}] {human_pos} of {human_len} {rate} {eta}";

/// Shows a run's counts.
pub enum Display {
    /// On a terminal: one bar for each half of the run.
    Bars(Bars),
    /// Elsewhere.
    Lines(PlainLines),
}

/// Bars for what is done of what is to be done.
pub struct Bars {
    published: Option<ProgressBar>,
    stored: Option<ProgressBar>,
    /// The input's size in octets, where it has one.
    input_octets: Option<u64>,
}

/// Plain lines at intervals.
pub struct PlainLines {
    publishes: bool,
    stores: bool,
    started: Instant,
    last: Instant,
}

impl Display {
    /// Chooses by what standard error is. `input_octets` is the input's size, and `queued` are the messages that are in
    /// the queue already, where these are known.
    pub fn new(plan: &Plan, input_octets: Option<u64>, queued: u64) -> Self {
        let (publishes, stores) = (plan.publish.is_some(), plan.store.is_some());
        if !std::io::stderr().is_terminal() {
            let started = Instant::now();
            return Display::Lines(PlainLines {
                publishes,
                stores,
                started,
                last: started,
            });
        }
        let bars = MultiProgress::new();
        let published = publishes.then(|| bars.add(bar("published", input_octets.map(|_| 0))));
        let stored = stores.then(|| bars.add(bar("stored", (!publishes).then_some(queued))));
        Display::Bars(Bars {
            published,
            stored,
            input_octets,
        })
    }

    /// Shows the counts, if it is time to.
    pub fn update(&mut self, tally: &Tally) {
        match self {
            Display::Bars(bars) => bars.update(tally),
            Display::Lines(lines) => lines.update(tally),
        }
    }

    /// Leaves the last counts on the screen.
    pub fn finish(&mut self, tally: &Tally) {
        if let Display::Bars(bars) = self {
            bars.update(tally);
            for bar in [&bars.published, &bars.stored].into_iter().flatten() {
                bar.abandon();
            }
        }
    }
}

impl Bars {
    fn update(&self, tally: &Tally) {
        if let Some(bar) = &self.published {
            if let Some(size) = self.input_octets {
                // Nobody has counted the lines: as many as there are in the octets so far, in proportion.
                let share = size as f64 / tally.input_octets.max(1) as f64;
                bar.set_length(tally.lines.max((tally.lines as f64 * share) as u64));
            }
            bar.set_position(tally.confirmed + tally.skipped);
        }
        if let Some(bar) = &self.stored {
            bar.set_position(tally.taken());
        }
    }
}

impl PlainLines {
    fn update(&mut self, tally: &Tally) {
        if self.last.elapsed() < LINE_INTERVAL {
            return;
        }
        self.last = Instant::now();
        let seconds = self.started.elapsed().as_secs_f64();
        let mut parts = Vec::new();
        if self.publishes {
            let per_second = rate(tally.confirmed, seconds);
            parts.push(format!(
                "{} published, {} confirmed ({per_second}/s)",
                tally.published, tally.confirmed
            ));
        }
        if self.stores {
            parts.push(format!(
                "{} stored ({}/s)",
                tally.taken(),
                rate(tally.taken(), seconds)
            ));
        }
        eprintln!("{seconds:.0} s: {}", parts.join(", "));
    }
}

fn bar(name: &'static str, length: Option<u64>) -> ProgressBar {
    let (bar, template) = match length {
        Some(length) => (ProgressBar::new(length), TEMPLATE_BAR),
        None => (ProgressBar::new_spinner(), TEMPLATE_OPEN),
    };
    // The templates are constants; were one wrong, indicatif's own would do.
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.with_prefix(name).with_style(style.with_key(
        "rate",
        |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let _ = write!(out, "{}/s", HumanCount(state.per_sec() as u64));
        },
    ))
}
