//! The clock, and waiting for a time to come.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::agenda::Key;
use super::scene::{Happening, Shared};

/// The second at which every world begins, counted from 1970: the first one of 2024.
const FIRST_SECOND: u64 = 1_704_067_200;

/// A world's clock. Unlike a [`Handle`](super::Handle) it may be sent to other threads, as handlers of deliveries must be.
#[derive(Clone)]
pub struct Clock {
    shared: Shared,
}

impl Clock {
    pub(super) fn new(shared: Shared) -> Self {
        Self { shared }
    }

    /// What time it is.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.shared.now()
    }

    /// What a clock on the wall shows: seconds since 1970. Every world begins with the year 2024.
    #[must_use]
    pub fn seconds(&self) -> u64 {
        let passed = Duration::from_nanos(self.shared.with(|core| core.scene.now()));
        FIRST_SECOND + passed.as_secs()
    }

    /// The task that runs now works for this long: it finds the time passed at once, and is not run again before. What
    /// else happens meanwhile happens beside it, as on another core.
    pub fn spend(&self, duration: Duration) {
        self.shared.with(|core| core.scene.spend(duration));
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clock").field(&self.now()).finish()
    }
}

/// Ends when its time has come, to the nanosecond.
#[must_use = "a sleep does nothing unless it is awaited"]
pub struct Sleep {
    shared: Shared,
    at: u64,
    key: Option<Key>,
}

impl Sleep {
    pub(super) fn new(shared: Shared, at: u64) -> Self {
        Self {
            shared,
            at,
            key: None,
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Self { shared, at, key } = &mut *self;
        shared.with(|core| {
            let now = core.scene.now();
            let agenda = &mut core.scene.agenda;
            if let Some(Happening::Wake(waker)) = key.and_then(|key| agenda.get_mut(key)) {
                waker.clone_from(context.waker());
                return Poll::Pending;
            }
            if now >= *at {
                return Poll::Ready(());
            }
            *key = Some(agenda.add(*at, Happening::Wake(context.waker().clone())));
            Poll::Pending
        })
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.shared.with(|core| core.scene.agenda.remove(key));
        }
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep").field("at_ns", &self.at).finish()
    }
}

/// Lets the other tasks run that can.
pub(super) async fn yield_now() {
    let mut has_yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
