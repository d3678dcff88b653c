//! A way into a world, for what runs in it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Weak;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::faults::inject;
use super::scene::Shared;
use super::tasks::Tasks;
use super::{
    Clock, Conditions, Fault, FaultPlan, Listener, SimDriver, Sleep, Socket, Target, WireId,
    WorldStats,
};
use crate::driver::{DriverError, Options};

/// A way into a world. A task that holds one does not keep the world; when the world is gone, nothing happens any more.
#[derive(Clone)]
pub struct Handle {
    pub(super) shared: Shared,
    tasks: Weak<Tasks>,
}

/// Time and tasks.
impl Handle {
    pub(super) fn new(shared: Shared, tasks: Weak<Tasks>) -> Self {
        Self { shared, tasks }
    }

    /// The world's clock, for what may be on any thread.
    #[must_use]
    pub fn clock(&self) -> Clock {
        Clock::new(self.shared.clone())
    }

    /// What time it is.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.shared.now()
    }

    /// Waits.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        let at = self.shared.with(|core| core.scene.after(duration));
        Sleep::new(self.shared.clone(), at)
    }

    /// Waits until that time.
    pub fn sleep_until(&self, time: Instant) -> Sleep {
        let at = self.shared.nanos_at(time);
        Sleep::new(self.shared.clone(), at)
    }

    /// A number below `limit`, and 0 below 0, drawn from the world's one source of chance.
    #[must_use]
    pub fn below(&self, limit: u64) -> u64 {
        self.shared
            .with(|core| core.scene.random.u64(..limit.max(1)))
    }

    /// Runs a task in the world. Dropping what this gives leaves it running; it ends with the world at the latest.
    pub fn spawn<T: 'static>(&self, task: impl Future<Output = T> + 'static) -> Spawned<T> {
        let (answer, outcome) = oneshot::async_channel();
        if let Some(tasks) = self.tasks.upgrade() {
            tasks.spawn(async move {
                // Nobody may want to know.
                let _ = answer.send(task.await);
            });
        }
        Spawned(Some(outcome))
    }
}

/// The network.
impl Handle {
    /// A driver in this world.
    ///
    /// # Errors
    ///
    /// [`DriverError::Chunks`] when its chunks cannot be made.
    pub fn driver(&self, options: &Options) -> Result<SimDriver, DriverError> {
        SimDriver::new(self.shared.clone(), options)
    }

    /// Listens at an address until what this gives is dropped. Each connection is given to `accept`, which hands it on to
    /// a driver that adopts it. Up to [`BACKLOG_MAX`](super::BACKLOG_MAX) may wait for that; more are refused.
    ///
    /// # Errors
    ///
    /// [`AddressInUse`] when somebody listens there already.
    pub fn listen(
        &self,
        address: SocketAddr,
        accept: impl Fn(Socket) + Send + Sync + 'static,
    ) -> Result<Listener, AddressInUse> {
        let accept = Arc::new(accept);
        let is_vacant = self
            .shared
            .with(|core| core.network.listen(address, accept));
        if is_vacant {
            Ok(Listener::new(self.shared.clone(), address))
        } else {
            Err(AddressInUse(address))
        }
    }

    /// Lets a host's name mean these addresses.
    pub fn name(&self, host: &str, addresses: impl IntoIterator<Item = IpAddr>) {
        let addresses = addresses.into_iter().collect();
        self.shared
            .with(|core| core.network.names.insert(host.to_owned(), addresses));
    }

    /// The addresses of a host: those that were given to its name, or the one that it is. Empty when it is unknown.
    #[must_use]
    pub fn resolve(&self, host: &str) -> Vec<IpAddr> {
        let named = self
            .shared
            .with(|core| core.network.names.get(host).cloned());
        named.unwrap_or_else(|| host.parse().into_iter().collect())
    }

    /// Changes how the network is when nothing is wrong with it.
    pub fn conditions(&self, conditions: Conditions) {
        self.shared
            .with(|core| core.network.conditions = conditions);
    }

    /// The connections to an address, in the order in which they were begun.
    #[must_use]
    pub fn wires(&self, address: SocketAddr) -> Vec<WireId> {
        self.shared.with(|core| core.network.wires_to(address))
    }
}

/// What goes wrong, and what has happened.
impl Handle {
    /// Lets something go wrong now.
    pub fn inject(&self, target: impl Into<Target>, fault: Fault) {
        self.shared
            .with(|core| inject(&mut core.scene, &mut core.network, target.into(), fault));
    }

    /// Lets things go wrong by themselves from now on, in place of an earlier plan.
    pub fn faults(&self, plan: FaultPlan) {
        self.shared
            .with(|core| core.plan.follow(&mut core.scene, plan));
    }

    /// Ends the plan, and every fault that can end: addresses answer again, and nothing is stalled or throttled. A
    /// connection that is half closed, or a black hole, stays what it is.
    pub fn heal(&self) {
        self.shared.with(|core| {
            core.plan.end(&mut core.scene);
            core.network.heal(&mut core.scene);
        });
    }

    /// What has happened so far.
    #[must_use]
    pub fn stats(&self) -> WorldStats {
        self.shared.with(|core| WorldStats {
            time: Duration::from_nanos(core.scene.now()),
            ..core.scene.chronicle.stats
        })
    }

    /// A hash of everything that has happened so far. Two worlds in which it is the same have the same history.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.shared.with(|core| core.scene.chronicle.fingerprint())
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("stats", &self.stats())
            .finish()
    }
}

/// Somebody listens there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is in use: drop its listener first, or take another address")]
pub struct AddressInUse(pub SocketAddr);

/// A task that was spawned; it gives what the task gives, and nothing for ever when the task has ended with its world.
pub struct Spawned<T>(Option<oneshot::AsyncReceiver<T>>);

impl<T> Future for Spawned<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let Some(outcome) = &mut self.0 else {
            return Poll::Pending;
        };
        match Pin::new(outcome).poll(context) {
            Poll::Ready(outcome) => {
                self.0 = None;
                outcome.map_or(Poll::Pending, Poll::Ready)
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<T> fmt::Debug for Spawned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Spawned")
    }
}
