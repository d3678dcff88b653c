//! Consuming as a stream: deliveries wait in a queue until a task takes them.
//!
//! ```text
//!  worker:  handler ── detach ──▶ Feed (queue, waker) ──▶ Deliveries ──▶ task ── Acker ──▶ worker
//! ```
//!
//! - **D1, no lost wake-up.** A delivery is pushed, and the end is noted, before the waker is called. A task that finds
//!   nothing leaves its waker and looks again before it waits.
//! - **D2, the end is last.** Only the worker pushes, and it notes the end when it drops the handler. What is read after
//!   the end was seen is all there is.
//! - **D3, nothing is stranded.** Whoever is last of the handler and the stream gives back what is still queued: the stream
//!   says that it is gone before it empties the queue, the handler notes the end before it asks for that.
//! - **D4, cancel before requeue.** A stream that is dropped cancels its consumer first. A delivery that were given back
//!   before would come again to the same consumer.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use crossbeam_queue::SegQueue;
use futures_util::stream::{FusedStream, FuturesUnordered, Stream};
use futures_util::task::AtomicWaker;

use super::consumer::{CancelReason, Consumer, Handler};
use super::delivery::{Acker, DetachedDelivery, Disposition, Message};
use crate::connection::ConnectionError;

/// How many messages a task handles before it lets others run.
const MESSAGES_PER_POLL: usize = 128;

/// Between a consumer's handler and its stream. The prefetch window bounds what is in it.
#[derive(Default)]
pub(super) struct Feed {
    queue: SegQueue<DetachedDelivery>,
    waker: AtomicWaker,
    /// Whether the handler is gone: nothing is pushed any more.
    is_over: AtomicBool,
    /// Whether the stream is gone: nobody takes anything any more.
    is_abandoned: AtomicBool,
}

impl Feed {
    /// What feeds it, on the worker's thread. Its end is the end of the feed.
    pub fn handler(self: &Arc<Self>) -> Handler {
        let feeder = Feeder(Arc::clone(self));
        Handler::Each(Box::new(move |delivery| {
            // A stream that is gone has cancelled the consumer; what still comes waits for that in the queue (D4).
            feeder.0.queue.push(delivery.detach());
            feeder.0.waker.wake();
            Disposition::Detached
        }))
    }

    /// Gives back what is queued.
    fn drain(&self) {
        while self.queue.pop().is_some() {}
    }
}

struct Feeder(Arc<Feed>);

impl Drop for Feeder {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::SeqCst);
        if self.0.is_abandoned.load(Ordering::SeqCst) {
            self.0.drain();
        }
        self.0.waker.wake();
    }
}

/// A consumer's deliveries as a stream, in the order in which they came: see
/// [`ConsumerBuilder::deliveries`](super::ConsumerBuilder::deliveries).
///
/// Answer each through its [`Acker`], from any thread. Those that are taken and not answered count in the prefetch window:
/// when they fill it, none comes until one is answered.
///
/// The stream ends when the consumer has ended, whatever the reason, and all that came before was taken;
/// [`Consumer::cancel_reason`] says why. After a cancel or during a shutdown, what was queued still comes and can be answered: a
/// shutdown waits for that, up to its timeout. When the channel or the connection is lost nothing can be answered any more: what
/// was queued is dropped, and the broker delivers it again. After its end it answers `None` for ever.
///
/// It may move between threads, and needs no particular runtime. Dropping it cancels the consumer and requeues what was not
/// taken; deliveries that were taken can still be answered.
#[must_use = "dropping the deliveries cancels their consumer"]
pub struct Deliveries {
    consumer: Consumer,
    feed: Arc<Feed>,
    is_done: bool,
}

impl Deliveries {
    pub(super) fn new(consumer: Consumer, feed: Arc<Feed>) -> Self {
        Deliveries {
            consumer,
            feed,
            is_done: false,
        }
    }

    /// The consumer behind it: its tag, its end, its prefetch. A clone of the handle can cancel it from elsewhere: then the stream ends after
    /// what is queued.
    pub fn consumer(&self) -> &Consumer {
        &self.consumer
    }

    /// The next delivery; `None` once the stream has ended. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<DetachedDelivery> {
        poll_fn(|context| self.poll_delivery(context)).await
    }

    /// Hands each message to `handler` and answers it with what the handler's future says, until the stream ends and all futures have;
    /// answers why the consumer ended.
    ///
    /// At most `in_flight_max` futures run at a time, 0 counting as 1; no more than the prefetch window can be under way. They
    /// are not spawned: they run within this future, on its task, so they need not be `Send`, and one that blocks stops the
    /// others. `handler` itself is called in the order of the deliveries. Each answer leaves as soon as its future has ended, whatever those
    /// before it do; acks still go out in batches (see [`Acker::ack`]). [`Disposition::Detached`] requeues, as nobody else could answer.
    /// When the channel or the connection was lost meanwhile, what was under way is delivered again by the broker: its
    /// answers are dropped.
    ///
    /// Dropping this future drops those under way, cancels the consumer and requeues what they had not finished. A panic in a handler or its future
    /// goes on to whoever polls, and does the same.
    pub async fn for_each_async<F, Fut>(self, in_flight_max: usize, mut handler: F) -> CancelReason
    where
        F: FnMut(Message) -> Fut,
        Fut: Future<Output = Disposition>,
    {
        let mut in_flight = FuturesUnordered::new();
        // Declared last, dropped first (D4).
        let mut deliveries = self;
        poll_fn(|context| {
            for _ in 0..MESSAGES_PER_POLL {
                while in_flight.len() < in_flight_max.max(1) && !deliveries.is_done {
                    match deliveries.poll_delivery(context) {
                        Poll::Ready(Some(DetachedDelivery { message, acker })) => {
                            in_flight.push(answered(handler(message), acker));
                        }
                        Poll::Ready(None) | Poll::Pending => break,
                    }
                }
                if ready!(pin!(&mut in_flight).poll_next(context)).is_none() {
                    return match deliveries.is_done {
                        true => Poll::Ready(()),
                        // The stream has the waker.
                        false => Poll::Pending,
                    };
                }
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        deliveries.consumer.cancel_reason().unwrap_or_else(|| {
            let why = "its worker ended without a word";
            CancelReason::ConnectionLost(ConnectionError::Lost(why.into()))
        })
    }

    fn poll_delivery(&mut self, context: &mut Context<'_>) -> Poll<Option<DetachedDelivery>> {
        if let Poll::Ready(taken) = self.take() {
            return Poll::Ready(taken);
        }
        self.feed.waker.register(context.waker());
        self.take()
    }

    fn take(&mut self) -> Poll<Option<DetachedDelivery>> {
        if self.is_done {
            return Poll::Ready(None);
        }
        // In this order: D2.
        let is_over = self.feed.is_over.load(Ordering::SeqCst);
        if is_over && self.consumer.is_stale() {
            self.feed.drain();
        }
        let taken = self.feed.queue.pop();
        if taken.is_none() && !is_over {
            return Poll::Pending;
        }
        self.is_done = taken.is_none();
        Poll::Ready(taken)
    }
}

/// One message under way. Dropped before its end, its acker requeues it.
async fn answered(work: impl Future<Output = Disposition>, acker: Acker) {
    let disposition = work.await;
    // An engine that has ended takes no answers: the broker delivers it again.
    let _ = acker.settle(disposition);
}

impl Stream for Deliveries {
    type Item = DetachedDelivery;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_delivery(context)
    }
}

impl FusedStream for Deliveries {
    fn is_terminated(&self) -> bool {
        self.is_done
    }
}

impl Drop for Deliveries {
    fn drop(&mut self) {
        if !self.is_done {
            // Nobody waits for it; a worker that is gone has nothing to cancel.
            drop(self.consumer.cancel());
        }
        self.feed.is_abandoned.store(true, Ordering::SeqCst);
        self.feed.drain();
    }
}

impl fmt::Debug for Deliveries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deliveries")
            .field("consumer", &self.consumer)
            .field("queued", &self.feed.queue.len())
            .field("is_done", &self.is_done)
            .finish()
    }
}
