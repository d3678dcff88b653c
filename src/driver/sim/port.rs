//! Where a driver hears of its sockets and of its waker.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task;

use crate::driver::Link;
use crate::driver::sockets::Readiness;

/// What one driver waits for: what an epoll descriptor is to a driver on real sockets. It does not know the world, so that
/// it may be told of anything at any time.
#[derive(Default)]
pub(super) struct Port(Mutex<State>);

#[derive(Default)]
struct State {
    /// What sockets have become ready for, by their links.
    changes: BTreeMap<Link, Readiness>,
    is_signalled: bool,
    /// Whoever sleeps.
    asleep: Option<task::Waker>,
}

impl Port {
    /// A socket has become ready. Gives who is to be woken.
    pub(super) fn tell(&self, link: Link, readiness: Readiness) -> Option<task::Waker> {
        let mut state = self.lock();
        let change = state.changes.entry(link).or_default();
        change.readable |= readiness.readable;
        change.writable |= readiness.writable;
        change.ended |= readiness.ended;
        state.asleep.take()
    }

    /// The driver's waker was used.
    pub(super) fn signal(&self) {
        let mut state = self.lock();
        state.is_signalled = true;
        let asleep = state.asleep.take();
        drop(state);
        if let Some(asleep) = asleep {
            asleep.wake();
        }
    }

    /// Whether the sleep is over; otherwise `waker` is woken when it is.
    pub(super) fn is_up(&self, waker: &task::Waker) -> bool {
        let mut state = self.lock();
        if std::mem::take(&mut state.is_signalled) || !state.changes.is_empty() {
            state.asleep = None;
            return true;
        }
        state.asleep = Some(waker.clone());
        false
    }

    pub(super) fn take_changes(&self) -> BTreeMap<Link, Readiness> {
        std::mem::take(&mut self.lock().changes)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
