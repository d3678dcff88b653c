//! How other threads reach a worker: a queue of commands, and a wake-up when it sleeps.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use crossbeam_queue::SegQueue;

use super::command::Command;
use super::error::Error;
use crate::driver::Waker;

/// The queue has no limit of its own: what is in it is bounded by what puts it there. A call waits for its answer, a publisher is announced once until it is
/// looked at, and a delivery is answered once.
pub(super) struct Mailbox {
    queue: SegQueue<Command>,
    waker: OnceLock<Waker>,
    is_closed: AtomicBool,
}

impl Mailbox {
    pub fn new() -> Self {
        Mailbox {
            queue: SegQueue::new(),
            waker: OnceLock::new(),
            is_closed: AtomicBool::new(false),
        }
    }

    /// The worker says how it is woken; what was posted before is looked at when it starts.
    pub fn set_waker(&self, waker: Waker) {
        // A mailbox has one worker, which says this once.
        let _ = self.waker.set(waker);
    }

    /// Hands a command over. [`Error::Stopped`] when the worker is gone: then the command was dropped, and whoever waits for its answer learns it.
    pub fn post(&self, command: Command) -> Result<(), Error> {
        self.queue.push(command);
        fence(Ordering::SeqCst);
        if self.is_closed.load(Ordering::SeqCst) {
            // The worker may have looked for the last time before the push.
            self.drop_all();
            return Err(Error::Stopped);
        }
        if let Some(waker) = self.waker.get() {
            waker.wake();
        }
        Ok(())
    }

    pub fn take(&self) -> Option<Command> {
        self.queue.pop()
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The worker's last act: commands from now on are refused, and those still here are dropped with their answers.
    pub fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.drop_all();
    }

    fn drop_all(&self) {
        while self.queue.pop().is_some() {}
    }
}
