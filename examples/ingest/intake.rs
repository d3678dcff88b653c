//! From the queue into the database.
//!
//! ```text
//!  worker's thread: batch ── detached ──▶ channel ──▶ committer's thread: commit, ack ── Stored ──▶ main
//! ```
//!
//! Invariants: a batch is acked after the commit that stored it, and never before. The channel needs no limit: the broker
//! sends no more than the prefetch window without acks.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use amqp_uring::{
    BatchDelivery, BatchPolicy, CancelReason, Consumer, DetachedBatch, Disposition, Engine, Queue,
};

use crate::arguments::StorePlan;
use crate::database::{Database, Stored};
use crate::failure::Failure;

/// A batch is committed when its first message is so old: messages that trickle in must not wait for thousands.
const BATCH_AGE_MAX: Duration = Duration::from_millis(100);

/// And when its bodies have so many octets, which bounds what one transaction writes.
const BATCH_OCTETS_MAX: usize = 16 << 20;

/// How long the broker may take to start or end a consumer.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

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
        let (batches_in, batches) = channel::<DetachedBatch>();
        let (stored_in, stored) = channel();
        let committer = std::thread::Builder::new()
            .name("sqlite".to_owned())
            .spawn(move || commit_all(database, &batches, stored_in))
            .map_err(|error| Failure::Thread(format!("no thread for the database: {error}")))?;
        let policy = BatchPolicy {
            messages_max: plan.batch.into(),
            bytes_max: BATCH_OCTETS_MAX,
            wait_max: BATCH_AGE_MAX,
        };
        let consumer = engine
            .consumer(Queue::named(queue))
            // One batch is filled while the one before is written.
            .prefetch(plan.batch * 2)
            .batches(policy, move |batch| {
                // Nobody listens when the committer has panicked; a batch that is dropped goes back to the queue.
                let _ = batches_in.send(batch.detach());
                Disposition::Detached
            })
            .wait(CALL_TIMEOUT)?;
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
        let committed = self.committer.join().unwrap_or_else(|_| {
            let why = "the thread of the database has panicked";
            Err(Failure::Thread(why.to_owned()))
        });
        let result = match (committed, self.consumer.cancel_reason()) {
            (Err(failure), _) => Err(failure),
            (Ok(()), None | Some(CancelReason::Requested | CancelReason::Shutdown)) => {
                cancelled.map_err(Failure::from)
            }
            (Ok(()), Some(reason)) => Err(Failure::ConsumerEnded(reason)),
        };
        let stored = self
            .stored
            .try_iter()
            .fold(Stored::default(), std::ops::Add::add);
        (stored, result)
    }
}

/// Commits batches until the consumer ends, and acks each after its commit: in this order a crash in between costs a
/// duplicate, which the database ignores. After an error `stored` is dropped at once, so that main hears of it.
fn commit_all(
    mut database: Database,
    batches: &Receiver<DetachedBatch>,
    stored: Sender<Stored>,
) -> Result<(), Failure> {
    for batch in batches {
        match commit(&mut database, &batch) {
            Ok(committed) => {
                batch.acker.ack()?;
                // Main has stopped listening when it is about to end.
                let _ = stored.send(committed);
            }
            Err(failure) => {
                drop(stored);
                // This one and what still comes are kept without an answer. A batch that is dropped goes back to the queue,
                // from where the broker would send it again at once, and so on.
                let held: Vec<_> = std::iter::once(batch).chain(batches).collect();
                drop(held);
                return Err(failure);
            }
        }
    }
    Ok(())
}

fn commit(database: &mut Database, batch: &[BatchDelivery]) -> Result<Stored, Failure> {
    let rows: Vec<_> = batch.iter().map(row).collect::<Result<_, _>>()?;
    Ok(database.store(rows.into_iter())?)
}

/// A message's id and body.
fn row(delivery: &BatchDelivery) -> Result<(&str, &[u8]), Failure> {
    let message_id = delivery.properties().message_id();
    let message_id = message_id.ok().flatten().ok_or(Failure::NoMessageId)?;
    let text = message_id.as_str().map_err(|_| Failure::NoMessageId)?;
    Ok((text, delivery.body()))
}
