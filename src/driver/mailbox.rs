//! How other threads reach whoever owns a driver: a queue of commands, and a wake-up when it sleeps.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use crossbeam_queue::SegQueue;

use super::Waker;

/// The queue has no limit of its own: what is in it is bounded by what puts it there. Dropping a command tells whoever
/// waits for its answer.
pub(crate) struct Mailbox<C> {
    queue: SegQueue<C>,
    waker: OnceLock<Waker>,
    is_closed: AtomicBool,
}

/// The owner of the mailbox is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MailboxClosed;

impl<C> Mailbox<C> {
    pub fn new() -> Self {
        Mailbox {
            queue: SegQueue::new(),
            waker: OnceLock::new(),
            is_closed: AtomicBool::new(false),
        }
    }

    /// The owner says how it is woken; what was posted before is looked at when it starts.
    pub fn set_waker(&self, waker: Waker) {
        // A mailbox has one owner, which says this once.
        let _ = self.waker.set(waker);
    }

    /// Hands a command over. [`MailboxClosed`] when the owner is gone: then the command was dropped, and whoever waits for
    /// its answer learns it.
    pub fn post(&self, command: C) -> Result<(), MailboxClosed> {
        self.queue.push(command);
        fence(Ordering::SeqCst);
        if self.is_closed.load(Ordering::SeqCst) {
            // The owner may have looked for the last time before the push.
            self.drop_all();
            return Err(MailboxClosed);
        }
        if let Some(waker) = self.waker.get() {
            waker.wake();
        }
        Ok(())
    }

    pub fn take(&self) -> Option<C> {
        self.queue.pop()
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The owner's last act: commands from now on are refused, and those still here are dropped with their answers.
    pub fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.drop_all();
    }

    fn drop_all(&self) {
        while self.queue.pop().is_some() {}
    }
}

impl<C> fmt::Debug for Mailbox<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mailbox")
    }
}
