//! An operation that waits for the broker: block on it with a deadline, or await it.

use std::cell::Cell;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::error::Error;

thread_local! {
    /// How many workers live on this thread.
    static WORKERS: Cell<usize> = const { Cell::new(0) };
}

/// Marks its thread, as long as it lives, as one that must not wait for itself.
pub(super) struct WorkerThread(PhantomData<*const ()>);

impl WorkerThread {
    pub fn mark() -> Self {
        WORKERS.set(WORKERS.get() + 1);
        WorkerThread(PhantomData)
    }
}

impl Drop for WorkerThread {
    fn drop(&mut self) {
        WORKERS.set(WORKERS.get() - 1);
    }
}

/// Whether this is a worker's thread.
pub(super) fn is_worker_thread() -> bool {
    WORKERS.get() > 0
}

/// The time `timeout` from now.
pub(super) fn deadline_in(timeout: Duration) -> Instant {
    after(Instant::now(), timeout)
}

/// The time `timeout` from `now`. One that no clock reaches is a year.
pub(super) fn after(now: Instant, timeout: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 86_400);
    now + timeout.min(YEAR)
}

pub(super) type Answer<T> = oneshot::Sender<Result<T, Error>>;

/// An operation under way. It has been handed to a worker when this exists, and runs whether or not anybody waits.
///
/// Either `.wait(timeout)` on a thread, or `.await` in any async runtime. Dropping it forgets the answer, not the operation.
#[must_use = "the outcome, errors included, is only seen by waiting for it"]
pub struct Call<T>(oneshot::Receiver<Result<T, Error>>);

impl<T> Call<T> {
    pub(super) fn new() -> (Answer<T>, Self) {
        let (sender, receiver) = oneshot::channel();
        (sender, Call(receiver))
    }

    pub(super) fn ready(result: Result<T, Error>) -> Self {
        let (answer, call) = Call::new();
        // The receiver is at hand: it cannot have been dropped.
        let _ = answer.send(result);
        call
    }

    /// Waits for the answer.
    ///
    /// # Errors
    /// The operation's own; [`Error::Timeout`] when the time passed (the operation goes on and may still take effect);
    /// [`Error::Stopped`] when the engine ended first; [`Error::WouldBlockWorker`] inside a handler.
    pub fn wait(self, timeout: Duration) -> Result<T, Error> {
        if is_worker_thread() && !self.0.has_message() {
            return Err(Error::WouldBlockWorker);
        }
        match self.0.recv_deadline(deadline_in(timeout)) {
            Ok(result) => result,
            Err(oneshot::RecvTimeoutError::Timeout) => Err(Error::Timeout(timeout)),
            Err(oneshot::RecvTimeoutError::Disconnected) => Err(Error::Stopped),
        }
    }
}

impl<T> fmt::Debug for Call<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("answered", &self.0.has_message())
            .finish()
    }
}

impl<T> IntoFuture for Call<T> {
    type Output = Result<T, Error>;
    type IntoFuture = CallFuture<T>;

    fn into_future(self) -> CallFuture<T> {
        CallFuture(self.0.into_future())
    }
}

/// A [`Call`] being awaited. Dropping it forgets the answer, not the operation.
pub struct CallFuture<T>(oneshot::AsyncReceiver<Result<T, Error>>);

impl<T> Future for CallFuture<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(context)
            .map(|received| received.unwrap_or(Err(Error::Stopped)))
    }
}

impl<T> fmt::Debug for CallFuture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallFuture")
    }
}
