//! Ends the sleep of a worker from any thread.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// Wakes a driver that sleeps in [`super::Drive::turn`]. Cloning it gives another handle to the same driver.
///
/// **D4, no lost wake-up.** Two parties, one flag `asleep`, and a queue that the waking thread fills:
///
/// ```text
///  worker                                  any other thread
///  ──────                                  ────────────────
///  asleep := true                          put work into the queue
///  full fence                              full fence
///  is there work in the queue?             asleep?
///    yes: do not sleep                       yes: set it to false; whoever did signals the driver
///    no:  sleep until signalled              no:  nothing to do
///  asleep := false
/// ```
///
/// With a full fence between the store and the load on both sides, at least one of the two sees the other's store: the
/// worker finds the work, or the other thread finds it asleep. Both at once costs one early return of a later turn. A
/// signal is remembered by the driver until its next sleep, so one that comes between the look and the sleep ends it.
#[derive(Clone)]
pub struct Waker {
    state: Arc<State>,
}

struct State {
    asleep: AtomicBool,
    signal: Box<dyn Fn() + Send + Sync>,
}

impl Waker {
    /// For drivers. `signal` ends the driver's present sleep, or its next one; it must not block or panic.
    pub(crate) fn new(signal: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            state: Arc::new(State {
                asleep: AtomicBool::new(false),
                signal: Box::new(signal),
            }),
        }
    }

    /// Makes sure that the worker looks at its queues once more. Call it after filling them.
    ///
    /// Cheap when the worker is awake (a fence and a load), and one signal for all wakers when it sleeps.
    pub fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.state.asleep.load(Ordering::SeqCst)
            && self.state.asleep.swap(false, Ordering::SeqCst)
        {
            (self.state.signal)();
        }
    }

    /// For drivers: the first step of going to sleep. After it comes the look for work, then the sleep.
    pub(crate) fn announce_sleep(&self) {
        self.state.asleep.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// For drivers: the worker is awake again, or did not sleep after all. True when a waker was used since it announced
    /// its sleep.
    pub(crate) fn awake(&self) -> bool {
        !self.state.asleep.swap(false, Ordering::SeqCst)
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waker")
            .field("asleep", &self.state.asleep.load(Ordering::Relaxed))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::{Condvar, Mutex};

    use super::*;

    #[test]
    fn a_worker_that_is_awake_is_not_signalled_and_a_sleeping_one_once() {
        let signals = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&signals);
        let waker = Waker::new(move || {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        waker.wake();
        assert_eq!(signals.load(Ordering::SeqCst), 0);
        waker.announce_sleep();
        waker.clone().wake();
        waker.wake();
        assert_eq!(signals.load(Ordering::SeqCst), 1);
        assert!(waker.awake());
        waker.announce_sleep();
        assert!(!waker.awake());
        waker.wake();
        assert_eq!(signals.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn no_wake_up_is_lost() {
        const ITEMS: usize = 20_000;
        let (queue, signalled) = (
            Arc::new(AtomicUsize::new(0)),
            Arc::new((Mutex::new(false), Condvar::new())),
        );
        let signal = Arc::clone(&signalled);
        let waker = Waker::new(move || {
            *signal.0.lock().unwrap() = true;
            signal.1.notify_one();
        });
        let producer = std::thread::spawn({
            let (queue, waker) = (Arc::clone(&queue), waker.clone());
            move || {
                for _ in 0..ITEMS {
                    queue.fetch_add(1, Ordering::Relaxed);
                    waker.wake();
                }
            }
        });
        let mut taken = 0;
        while taken < ITEMS {
            waker.announce_sleep();
            if queue.load(Ordering::Relaxed) == 0 {
                let woken = signalled
                    .1
                    .wait_while(signalled.0.lock().unwrap(), |signalled| !*signalled);
                *woken.unwrap() = false;
            }
            waker.awake();
            taken += queue.swap(0, Ordering::Relaxed);
        }
        producer.join().unwrap();
    }
}
