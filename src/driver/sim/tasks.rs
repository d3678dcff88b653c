//! What runs in a world: tasks on one thread, those that can run drawn by chance.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use super::chronicle::Note;
use super::scene::{Happening, Shared};

/// The task that a world is run for; it is not kept here.
pub(super) const ROOT: u64 = 0;

/// Tasks that can run.
#[derive(Default)]
pub(super) struct Ready(Mutex<Vec<Arc<Claim>>>);

impl Ready {
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Claim>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A task's claim to be run; its waker, which may be used on any thread. A world's history is determined only as long as
/// none but its own tasks do so.
pub(super) struct Claim {
    task: u64,
    is_made: AtomicBool,
    ready: Arc<Ready>,
}

impl Claim {
    pub(super) fn new(task: u64, ready: &Arc<Ready>) -> Arc<Self> {
        Arc::new(Self {
            task,
            is_made: AtomicBool::new(false),
            ready: Arc::clone(ready),
        })
    }
}

impl Wake for Claim {
    fn wake(self: Arc<Self>) {
        if !self.is_made.swap(true, Ordering::SeqCst) {
            let ready = Arc::clone(&self.ready);
            ready.lock().push(self);
        }
    }
}

/// Something that runs.
pub(super) struct Task<F: ?Sized> {
    claim: Arc<Claim>,
    /// Until when it works on what it was run for last, in nanoseconds.
    busy_until: u64,
    future: F,
}

impl<F> Task<F> {
    /// One that can run.
    pub(super) fn new(claim: Arc<Claim>, future: F) -> Self {
        Arc::clone(&claim).wake();
        Self {
            claim,
            busy_until: 0,
            future,
        }
    }
}

impl<F: Future + Unpin> Task<F> {
    /// Runs it, unless it is busy: then it runs when it is not.
    pub(super) fn poll(&mut self, shared: &Shared) -> Poll<F::Output> {
        let waker = Waker::from(Arc::clone(&self.claim));
        let is_busy = shared.with(|core| {
            let is_busy = core.scene.now() < self.busy_until;
            if is_busy {
                let wake = Happening::Wake(waker.clone());
                core.scene.agenda.add(self.busy_until, wake);
            } else {
                core.scene.note(Note::Poll, self.claim.task, 0);
                core.scene.chronicle.stats.polls += 1;
            }
            is_busy
        });
        if is_busy {
            return Poll::Pending;
        }
        let poll = Pin::new(&mut self.future).poll(&mut Context::from_waker(&waker));
        shared.with(|core| {
            let spent = core.scene.take_spent();
            if spent > 0 {
                self.busy_until = core.scene.now().saturating_add(spent);
            }
        });
        poll
    }
}

type Kept = Task<Pin<Box<dyn Future<Output = ()>>>>;

/// The tasks of a world.
#[derive(Default)]
pub(super) struct Tasks {
    pub(super) ready: Arc<Ready>,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    tasks: BTreeMap<u64, Kept>,
    last: u64,
}

impl Tasks {
    pub(super) fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        let mut state = self.state.borrow_mut();
        state.last += 1;
        let id = state.last;
        let claim = Claim::new(id, &self.ready);
        state.tasks.insert(id, Task::new(claim, Box::pin(future)));
    }

    /// Takes one of those that can run.
    pub(super) fn pick(&self, shared: &Shared) -> Option<u64> {
        let mut ready = self.ready.lock();
        let drawn = match ready.len() {
            0 => return None,
            1 => 0,
            many => shared.with(|core| core.scene.random.u64(..many as u64)) as usize,
        };
        let claim = ready.swap_remove(drawn);
        claim.is_made.store(false, Ordering::SeqCst);
        Some(claim.task)
    }

    /// Runs a task, unless it has ended.
    pub(super) fn poll(&self, id: u64, shared: &Shared) {
        // Out of the table while it runs, so that it can spawn others; and it is dropped when nothing is borrowed.
        let task = self.state.borrow_mut().tasks.remove(&id);
        if let Some(mut task) = task
            && task.poll(shared).is_pending()
        {
            self.state.borrow_mut().tasks.insert(id, task);
        }
    }

    /// Ends all tasks.
    pub(super) fn clear(&self) {
        loop {
            let tasks = std::mem::take(&mut self.state.borrow_mut().tasks);
            if tasks.is_empty() {
                return;
            }
        }
    }
}
