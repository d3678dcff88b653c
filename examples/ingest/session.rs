//! One run: connect, publish, wait for the confirms, wait until the database has it all, and end in order.

use std::fs::File;
use std::io::Read;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use amqp_uring::broker::Broker;
use amqp_uring::{Engine, Queue};

use crate::arguments::{Plan, PublishPlan, StorePlan};
use crate::database::Database;
use crate::display::Display;
use crate::failure::Failure;
use crate::feed::{Feed, Offered};
use crate::intake::Intake;
use crate::interrupt::Interrupt;
use crate::lines::read_ahead;
use crate::tally::Tally;

/// How often the display is renewed and a signal noticed while there is nothing else to do.
const TICK: Duration = Duration::from_millis(100);

/// The broker may be out of memory or disk for a while; without a single confirm for so long, a run gives up.
const CONFIRMS_STALL: Duration = Duration::from_secs(60);

/// How long a run that was interrupted, or whose database has failed, waits for confirms. Lines without one are
/// published again by the next run.
const CONFIRMS_GRACE: Duration = Duration::from_secs(10);

/// How long after the last message, with an empty queue, lines that are missing are given up: what another consumer has
/// taken comes back only when that one ends.
const ARRIVALS_STALL: Duration = Duration::from_secs(30);

/// The database is asked whether it has all lines when nothing comes any more, and else so often.
const COMPLETENESS_INTERVAL: Duration = Duration::from_secs(5);

/// A run that has all its lines goes on until the queue is empty, to leave no duplicates of its own behind, but no longer
/// than this: somebody else may be publishing all the while.
const DRAIN: Duration = Duration::from_secs(10);

/// How long the broker may take to answer, and how long the end may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// How a run without failure ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Everything was done.
    Complete,
    /// By a signal; what was begun has been finished.
    Interrupted,
}

/// A run under way.
struct Session<'a> {
    plan: &'a Plan,
    interrupt: &'a Interrupt,
    tally: &'a mut Tally,
    display: Display,
    engine: &'a Engine,
    intake: Option<Intake>,
    /// The intake has ended by itself: `Intake::stop` will say why.
    is_intake_over: bool,
}

/// An input that is open.
struct Input {
    reader: Box<dyn Read + Send>,
    octets: Option<u64>,
}

/// Does what the plan says. The tally holds what was done, however it ends.
pub fn run(plan: &Plan, interrupt: &Interrupt, tally: &mut Tally) -> Result<Ended, Failure> {
    let input = plan.publish.as_ref().map(open_input).transpose()?;
    let database = plan
        .store
        .as_ref()
        .map(|store| Database::open(&store.database))
        .transpose()?;

    // A broker of this program's own lives until the engine has ended.
    let broker = match &plan.uri {
        Some(_) => None,
        None => Some(Broker::builder().start().map_err(Failure::Embedded)?),
    };
    let uri = plan.uri.as_deref().or(broker.as_ref().map(Broker::uri));
    let engine = connect(uri.unwrap_or_default())?;
    let queue = engine
        .declare(&Queue::durable(&plan.queue))
        .wait(CALL_TIMEOUT)?;
    let input_octets = input.as_ref().and_then(|input| input.octets);
    let intake = match (database, &plan.store) {
        (Some(database), Some(store)) => {
            Some(Intake::start(&engine, &plan.queue, database, store)?)
        }
        _ => None,
    };
    let mut session = Session {
        plan,
        interrupt,
        tally,
        display: Display::new(plan, input_octets, queue.message_count.into()),
        engine: &engine,
        intake,
        is_intake_over: false,
    };
    let worked = session.work(input);
    let stored = session.stop_intake();
    session.display.finish(session.tally);
    let ended = engine.shutdown(CALL_TIMEOUT);
    // The first failure is the cause of those after it, but for the intake's: its end makes the work stop.
    let outcome = stored.and(worked)?;
    ended?;
    Ok(outcome)
}

fn open_input(plan: &PublishPlan) -> Result<Input, Failure> {
    let Some(path) = &plan.input else {
        return Ok(Input {
            reader: Box::new(std::io::stdin()),
            octets: None,
        });
    };
    let file = File::open(path).and_then(|file| file.metadata().map(|metadata| (file, metadata)));
    let (file, metadata) = file.map_err(|error| Failure::Open {
        path: path.clone(),
        error,
    })?;
    Ok(Input {
        reader: Box::new(file),
        octets: metadata.is_file().then_some(metadata.len()),
    })
}

fn connect(uri: &str) -> Result<Engine, Failure> {
    Engine::connect(uri).map_err(|error| Failure::Connect { error })
}

impl Session<'_> {
    fn work(&mut self, input: Option<Input>) -> Result<Ended, Failure> {
        let plan = self.plan;
        if let (Some(publish), Some(input)) = (&plan.publish, input) {
            self.publish(publish, input)?;
        }
        match (&plan.publish, &plan.store) {
            (Some(publish), Some(store)) => self.await_lines(publish, store)?,
            (None, Some(store)) => self.await_idle(store)?,
            (_, None) => {}
        }
        Ok(if self.must_stop() {
            Ended::Interrupted
        } else {
            Ended::Complete
        })
    }

    /// Whether to finish what was begun and begin nothing more.
    fn must_stop(&self) -> bool {
        self.is_intake_over || self.interrupt.status().is_some()
    }

    /// Looks after everything but publishing, for at most this long: notes a commit, shows the counts. Whether there was
    /// a commit.
    fn attend(&mut self, timeout: Duration) -> bool {
        let stored = match &self.intake {
            Some(intake) => intake.wait(timeout),
            None => Err(RecvTimeoutError::Timeout),
        };
        match stored {
            Ok(stored) => self.tally.stored = self.tally.stored + stored,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => self.is_intake_over = true,
        }
        self.display.update(self.tally);
        stored.is_ok()
    }

    fn stop_intake(&mut self) -> Result<(), Failure> {
        let Some(intake) = self.intake.take() else {
            return Ok(());
        };
        let (stored, result) = intake.stop();
        self.tally.stored = self.tally.stored + stored;
        result
    }

    // --- publishing ---------------------------------------------------------------------------------------------------

    /// Publishes the whole input and waits for the confirms, also of what was published before a failure.
    fn publish(&mut self, plan: &PublishPlan, input: Input) -> Result<(), Failure> {
        let known = self.earlier_lines(plan)?;
        let mut feed = Feed::open(self.engine, &self.plan.queue, &plan.source, known, TICK)?;
        let published = self.publish_lines(&mut feed, plan, input);
        let settled = self.settle(&mut feed);
        published.and(settled)
    }

    /// The database, if it has lines of this input from an earlier run.
    fn earlier_lines(&self, plan: &PublishPlan) -> Result<Option<Database>, Failure> {
        let Some(store) = &self.plan.store else {
            return Ok(None);
        };
        let database = Database::open(&store.database)?;
        let has_lines = database.has_lines_of(&plan.source)?;
        Ok(has_lines.then_some(database))
    }

    fn publish_lines(
        &mut self,
        feed: &mut Feed<'_>,
        plan: &PublishPlan,
        input: Input,
    ) -> Result<(), Failure> {
        let blocks = read_ahead(input.reader, plan.line_octets_max)
            .map_err(|error| Failure::Thread(format!("no thread for the input: {error}")))?;
        while !self.must_stop() {
            let block = match blocks.recv_timeout(TICK) {
                Ok(block) => block.map_err(|error| Failure::Read {
                    input: plan.source.name().to_owned(),
                    error,
                })?,
                Err(RecvTimeoutError::Timeout) => {
                    self.attend_feed(feed);
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            };
            for (line, body) in block.lines() {
                if !self.publish_line(feed, line, body)? {
                    return Ok(());
                }
            }
            self.tally.input_octets += block.input_octets;
            self.attend_feed(feed);
        }
        Ok(())
    }

    /// Publishes one line as soon as there is room, unless the run must stop: whether it did.
    fn publish_line(
        &mut self,
        feed: &mut Feed<'_>,
        line: u64,
        body: &[u8],
    ) -> Result<bool, Failure> {
        let mut stall = Stall::new(feed.pending());
        loop {
            match feed.offer(line, body)? {
                Offered::Published => self.tally.published += 1,
                Offered::Skipped => self.tally.skipped += 1,
                Offered::NoRoom => {
                    self.attend_feed(feed);
                    if self.must_stop() {
                        return Ok(false);
                    }
                    stall.check(feed.pending())?;
                    continue;
                }
            }
            self.tally.lines = line;
            return Ok(true);
        }
    }

    fn attend_feed(&mut self, feed: &Feed<'_>) {
        self.tally.confirmed = self.tally.published - feed.pending();
        self.attend(Duration::ZERO);
    }

    /// Waits for the confirms of all that was published.
    fn settle(&mut self, feed: &mut Feed<'_>) -> Result<(), Failure> {
        let mut stall = Stall::new(feed.pending());
        let mut stopping: Option<Instant> = None;
        loop {
            if let Some(counts) = feed.settle(TICK)? {
                self.tally.confirmed = counts.acked;
                return if counts.all_acked() {
                    Ok(())
                } else {
                    Err(Failure::Unconfirmed { counts })
                };
            }
            self.attend_feed(feed);
            if self.must_stop()
                && stopping.get_or_insert_with(Instant::now).elapsed() > CONFIRMS_GRACE
            {
                return Ok(());
            }
            stall.check(feed.pending())?;
        }
    }

    // --- waiting for the database -------------------------------------------------------------------------------------

    /// Waits until the database has every line of the input, and the queue is empty.
    ///
    /// The database itself is asked, so that duplicates, what others have put into the queue, and what another process
    /// has stored there cannot make this end early or never.
    fn await_lines(&mut self, publish: &PublishPlan, store: &StorePlan) -> Result<(), Failure> {
        let database = Database::open(&store.database)?;
        let lines = self.tally.lines;
        let mut is_complete = false;
        let (mut checked, mut last_arrival, mut completed) =
            (None::<Instant>, Instant::now(), Instant::now());
        let mut has_news = true;
        while !self.must_stop() {
            let is_quiet = !self.attend(TICK);
            if !is_quiet {
                (last_arrival, has_news) = (Instant::now(), true);
            }
            let is_due = checked.is_none_or(|at| at.elapsed() > COMPLETENESS_INTERVAL);
            if !is_complete && (is_due || is_quiet && has_news) {
                is_complete = database.lines_of(&publish.source, lines)? == lines;
                (checked, completed, has_news) = (Some(Instant::now()), Instant::now(), false);
            }
            if is_complete && (completed.elapsed() > DRAIN || is_quiet && self.is_queue_empty()?) {
                return Ok(());
            }
            if !is_complete && last_arrival.elapsed() > ARRIVALS_STALL && self.is_queue_empty()? {
                let missing = lines.saturating_sub(database.lines_of(&publish.source, lines)?);
                return Err(Failure::Missing { missing });
            }
        }
        Ok(())
    }

    /// Waits until nothing has come for the time given, and the queue is empty.
    fn await_idle(&mut self, store: &StorePlan) -> Result<(), Failure> {
        let mut last_arrival = Instant::now();
        while !self.must_stop() {
            if self.attend(TICK) {
                last_arrival = Instant::now();
            } else if last_arrival.elapsed() >= store.idle && self.is_queue_empty()? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Whether every message in the queue has been delivered to somebody.
    fn is_queue_empty(&self) -> Result<bool, Failure> {
        let queue = self.engine.declare(&Queue::named(&self.plan.queue));
        Ok(queue.wait(CALL_TIMEOUT)?.message_count == 0)
    }
}

/// Notices that confirms have stopped coming.
struct Stall {
    pending: u64,
    since: Instant,
}

impl Stall {
    fn new(pending: u64) -> Self {
        Stall {
            pending,
            since: Instant::now(),
        }
    }

    fn check(&mut self, pending: u64) -> Result<(), Failure> {
        if pending != self.pending {
            *self = Stall::new(pending);
        }
        let waited = self.since.elapsed();
        if waited > CONFIRMS_STALL {
            return Err(Failure::ConfirmsStalled { pending, waited });
        }
        Ok(())
    }
}
