//! A world, and what makes it go.

use std::cell::Cell;
use std::fmt;
use std::ops::Deref;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::Handle;
use super::scene::{Shared, Step};
use super::tasks::{Claim, ROOT, Task, Tasks};

/// Tasks that were run while the clock stood still; more are not a burst, but tasks that wake each other for ever.
const POLLS_PER_INSTANT_MAX: u64 = 1_000_000;

/// Why a world does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Stuck {
    /// What was to come about has not, within its time.
    #[error("it did not come about within {0:?} of simulated time")]
    TooLate(Duration),
    /// Nothing will ever happen.
    #[error(
        "after {0:?} no task can run and nothing will happen: something waits for what nobody does"
    )]
    Idle(Duration),
    /// The clock stands still.
    #[error("at {0:?} tasks run and run without any time passing: they wake each other for ever")]
    Busy(Duration),
}

/// A simulated world; see the module's page. What runs in it ends with it.
///
/// It is used from one thread and has all that its [`Handle`]s have.
pub struct World {
    handle: Handle,
    tasks: Rc<Tasks>,
    /// Tasks that were run at this time of the clock.
    busy: Cell<(Instant, u64)>,
}

impl World {
    /// A world in which nothing has happened yet, and everything that chance decides is decided by `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let (shared, tasks) = (Shared::new(seed), Rc::<Tasks>::default());
        Self {
            busy: Cell::new((shared.now(), 0)),
            handle: Handle::new(shared, Rc::downgrade(&tasks)),
            tasks,
        }
    }

    /// A handle for what runs in the world.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Runs the world until `future` is done, which takes `limit` of simulated time at most.
    ///
    /// # Errors
    ///
    /// When the world is [`Stuck`] before. The future is dropped then; the world can go on.
    pub fn run<T>(&self, limit: Duration, future: impl Future<Output = T>) -> Result<T, Stuck> {
        let future = pin!(future);
        let mut root = Task::new(Claim::new(ROOT, &self.tasks.ready), future);
        let until = self.until(limit);
        loop {
            match self.step(until)? {
                Step::Root => {
                    if let Poll::Ready(value) = root.poll(&self.handle.shared) {
                        return Ok(value);
                    }
                }
                Step::Went => {}
                Step::Over => return Err(Stuck::TooLate(limit)),
                Step::Idle => return Err(Stuck::Idle(self.stats().time)),
            }
        }
    }

    /// Runs the world for this much simulated time.
    ///
    /// # Errors
    ///
    /// [`Stuck::Busy`]
    pub fn run_for(&self, duration: Duration) -> Result<(), Stuck> {
        let until = self.until(duration);
        loop {
            match self.step(until)? {
                Step::Root | Step::Went => {}
                Step::Over => return Ok(()),
                Step::Idle => {
                    self.handle.shared.pass(until);
                    return Ok(());
                }
            }
        }
    }

    /// Runs the world until a condition holds, which takes `limit` of simulated time at most. It is looked at after
    /// everything that happens.
    ///
    /// # Errors
    ///
    /// When the world is [`Stuck`] before.
    pub fn run_until(
        &self,
        limit: Duration,
        mut condition: impl FnMut() -> bool,
    ) -> Result<(), Stuck> {
        let until = self.until(limit);
        while !condition() {
            match self.step(until)? {
                Step::Root | Step::Went => {}
                Step::Over => return Err(Stuck::TooLate(limit)),
                Step::Idle => return Err(Stuck::Idle(self.stats().time)),
            }
        }
        Ok(())
    }

    fn until(&self, limit: Duration) -> u64 {
        self.handle.shared.with(|core| core.scene.after(limit))
    }

    /// Runs one task, or lets the next thing happen when none can run.
    fn step(&self, until: u64) -> Result<Step, Stuck> {
        let shared = &self.handle.shared;
        let Some(task) = self.tasks.pick(shared) else {
            return Ok(shared.advance(until));
        };
        let (now, (then, polls)) = (shared.now(), self.busy.get());
        let polls = if now == then { polls + 1 } else { 1 };
        self.busy.set((now, polls));
        if polls > POLLS_PER_INSTANT_MAX {
            return Err(Stuck::Busy(self.stats().time));
        }
        if task == ROOT {
            return Ok(Step::Root);
        }
        self.tasks.poll(task, shared);
        Ok(Step::Went)
    }
}

impl Deref for World {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for World {
    /// Ends what runs in it, and then forgets what would hold it in a circle.
    fn drop(&mut self) {
        self.tasks.clear();
        let left = self.handle.shared.with(|core| {
            core.plan.end(&mut core.scene);
            core.scene.agenda.clear();
            core.network.unlisten_all()
        });
        drop(left);
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("stats", &self.stats())
            .finish()
    }
}
