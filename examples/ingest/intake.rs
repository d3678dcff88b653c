//! From the queue into the database.
//!
//! ```text
//!  worker's thread: handler ── Arrival ──▶ bounded channel ──▶ committer's thread: batch, commit, ack ── Stored ──▶ main
//! ```
//!
//! Invariants: a delivery is acked after the commit that stored it, and never before. The channel has room for every
//! delivery the broker may send, as it sends no more than the prefetch window without acks: the handler never waits.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use amqp_uring::{CancelReason, Consumer, DetachedDelivery, Disposition, Engine, Queue};

use crate::arguments::StorePlan;
use crate::database::{Database, Stored};
use crate::failure::Failure;

/// A batch is committed when nothing came for so long: nobody waits for rows that will not come.
const LINGER: Duration = Duration::from_millis(50);

/// And when its first message is so old: messages that trickle in must not wait for thousands.
const BATCH_AGE_MAX: Duration = Duration::from_secs(1);

/// And when its bodies have so many octets, which bounds what one transaction writes.
const BATCH_OCTETS_MAX: usize = 16 << 20;

/// How long the broker may take to start or end a consumer.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// What the handler hands over.
enum Arrival {
    Message(DetachedDelivery),
    /// Nothing comes after this.
    Ended(CancelReason),
}

/// A consumer, and the thread that stores what it gets.
pub struct Intake {
    consumer: Consumer,
    stored: Receiver<Stored>,
    committer: JoinHandle<Result<(), Failure>>,
}

impl Intake {
    /// Begins to consume into the database.
    pub fn start(
        engine: &Engine,
        queue: &str,
        database: Database,
        plan: &StorePlan,
    ) -> Result<Self, Failure> {
        // One batch is filled while the one before is written.
        let prefetch = plan.batch * 2;
        // One more than the deliveries: the end.
        let (arrivals_in, arrivals) = sync_channel(usize::from(prefetch) + 1);
        let (stored_in, stored) = channel();
        let committer = Committer {
            database,
            arrivals,
            batch: Vec::with_capacity(plan.batch.into()),
            batch_rows: plan.batch.into(),
        };
        let committer = std::thread::Builder::new()
            .name("sqlite".to_owned())
            .spawn(move || committer.run(stored_in))
            .map_err(|error| Failure::Thread(format!("no thread for the database: {error}")))?;
        let consumer = consume(engine, queue, prefetch, arrivals_in)?;
        Ok(Intake {
            consumer,
            stored,
            committer,
        })
    }

    /// Waits for the next commit. [`RecvTimeoutError::Disconnected`] when there will be none: [`Intake::stop`] says why.
    pub fn wait(&self, timeout: Duration) -> Result<Stored, RecvTimeoutError> {
        self.stored.recv_timeout(timeout)
    }

    /// Ends the consumer and stores what has arrived; the rest goes back to the queue. What was stored since the last
    /// [`Intake::wait`], and why the consumer or the database had ended, if so.
    pub fn stop(self) -> (Stored, Result<(), Failure>) {
        let cancelled = self.consumer.cancel().wait(CALL_TIMEOUT);
        let result = match (self.committer.join(), cancelled) {
            (Err(_), _) => Err(Failure::Thread(
                "the thread of the database has panicked".to_owned(),
            )),
            (Ok(Ok(())), Err(error)) => Err(error.into()),
            (Ok(result), _) => result,
        };
        let stored = self
            .stored
            .try_iter()
            .fold(Stored::default(), std::ops::Add::add);
        (stored, result)
    }
}

fn consume(
    engine: &Engine,
    queue: &str,
    prefetch: u16,
    arrivals: SyncSender<Arrival>,
) -> Result<Consumer, Failure> {
    let end = arrivals.clone();
    let consumer = engine
        .consumer(Queue::named(queue))
        .prefetch(prefetch)
        .on_cancel(move |reason| {
            // Nobody listens when the committer has panicked, and there is room otherwise.
            let _ = end.try_send(Arrival::Ended(reason.clone()));
        })
        .start(move |delivery| {
            // The same holds here; a delivery that is dropped goes back to the queue.
            let _ = arrivals.try_send(Arrival::Message(delivery.detach()));
            Disposition::Detached
        });
    Ok(consumer.wait(CALL_TIMEOUT)?)
}

/// Owns the database's writing side.
struct Committer {
    database: Database,
    arrivals: Receiver<Arrival>,
    batch: Vec<DetachedDelivery>,
    batch_rows: usize,
}

impl Committer {
    /// Fills a batch and commits it, again and again, until the consumer ends. After an error `stored` is dropped at
    /// once, so that main hears of it.
    fn run(mut self, stored: Sender<Stored>) -> Result<(), Failure> {
        loop {
            let ended = self.fill();
            match (self.commit(&stored), ended) {
                (Ok(()), None) => {}
                (Ok(()), Some(CancelReason::Requested | CancelReason::Shutdown)) => return Ok(()),
                (Ok(()), Some(reason)) => return Err(Failure::ConsumerEnded(reason)),
                (Err(failure), Some(_)) => return Err(failure),
                (Err(failure), None) => {
                    drop(stored);
                    self.hold_until_end();
                    return Err(failure);
                }
            }
        }
    }

    /// Waits for a first message, and takes those that follow until the batch is full or old, or nothing comes. Why the
    /// consumer ended, if it did.
    fn fill(&mut self) -> Option<CancelReason> {
        let mut octets = 0;
        let mut close_at: Option<Instant> = None;
        while self.batch.len() < self.batch_rows && octets < BATCH_OCTETS_MAX {
            let arrival = match close_at {
                None => self.arrivals.recv().map_err(RecvTimeoutError::from),
                Some(at) => self
                    .arrivals
                    .recv_timeout(LINGER.min(at.saturating_duration_since(Instant::now()))),
            };
            match arrival {
                Ok(Arrival::Message(delivery)) => {
                    close_at.get_or_insert_with(|| Instant::now() + BATCH_AGE_MAX);
                    octets += delivery.body.len();
                    self.batch.push(delivery);
                }
                Ok(Arrival::Ended(reason)) => return Some(reason),
                Err(RecvTimeoutError::Timeout) => break,
                // The consumer never started.
                Err(RecvTimeoutError::Disconnected) => return Some(CancelReason::Requested),
            }
        }
        None
    }

    /// Commits the batch, then acks it: in this order a crash in between costs a duplicate, which the database ignores.
    fn commit(&mut self, stored: &Sender<Stored>) -> Result<(), Failure> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let rows: Vec<_> = self.batch.iter().map(row).collect::<Result<_, _>>()?;
        let committed = self.database.store(rows.into_iter())?;
        for delivery in self.batch.drain(..) {
            delivery.acker.ack()?;
        }
        // Main has stopped listening when it is about to end.
        let _ = stored.send(committed);
        Ok(())
    }

    /// Keeps what still comes without an answer. A delivery that is dropped goes back to the queue, from where the broker
    /// would send it again at once, and so on.
    fn hold_until_end(&self) {
        let is_message = |arrival: &Arrival| matches!(arrival, Arrival::Message(_));
        let held: Vec<_> = self.arrivals.iter().take_while(is_message).collect();
        drop(held);
    }
}

/// A message's id and body.
fn row(delivery: &DetachedDelivery) -> Result<(&str, &[u8]), Failure> {
    let message_id = delivery.properties.as_ref().message_id();
    let message_id = message_id.ok().flatten().ok_or(Failure::NoMessageId)?;
    let text = message_id.as_str().map_err(|_| Failure::NoMessageId)?;
    Ok((text, &delivery.body))
}
