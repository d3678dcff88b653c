//! Waiting for a time to come.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::agenda::Key;
use super::scene::{Happening, Shared};

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
