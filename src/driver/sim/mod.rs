//! A simulated world: engine, connections and broker run unchanged, on a clock that jumps and a network that fails, and
//! everything follows from one seed.
//!
//! ```text
//!                    ┌───────────────────────────── World ─────────────────────────────┐
//!   run, run_for ──▶ │  tasks that can run ── one drawn by chance, and polled ──┐      │
//!                    │     ▲                                                    ▼      │
//!                    │     │ wakes          a worker, a broker, a test: SimDriver::turn│
//!                    │     │                     │ send, receive     │ sleep           │
//!                    │     │                     ▼                   ▼                 │
//!                    │  Port ◀── ready ── Network: wires ── what arrives when ─▶ Agenda│
//!                    │                       ▲                          ▲          │   │
//!                    │  no task can run ─▶ the clock jumps to the next thing ◀─────┘   │
//!                    │                       │ faults, by call and by plan │           │
//!                    └─────────────────────────────────────────────────────────────────┘
//! ```
//!
//! A [`World`] has its tasks, its clock, an agenda of what happens next, a network of wires between [`SimDriver`]s, and one
//! source of chance from which everything is drawn: which task runs, how long octets are under way and in which pieces they
//! arrive, which sends are short, what goes wrong. What runs in it gets in by a [`Handle`].
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//! use amqp_uring::driver::{Adopt, Drive, Options, sim::World};
//!
//! let world = World::new(42);
//! let address = "10.0.0.1:5672".parse()?;
//!
//! let mut server = world.driver(&Options::default())?;
//! let accepted = Arc::<crossbeam_queue::SegQueue<_>>::default();
//! let (queue, waker) = (Arc::clone(&accepted), server.waker());
//! let _listener = world.listen(address, move |socket| {
//!     queue.push(socket);
//!     waker.wake();
//! })?;
//! world.spawn(async move {
//!     loop {
//!         let more = || !accepted.is_empty();
//!         server.turn(None, more, &mut Vec::new()).await.expect("it never fails");
//!         while let Some(socket) = accepted.pop() {
//!             server.adopt(socket).expect("there is room");
//!         }
//!     }
//! });
//!
//! let mut client = world.driver(&Options::default())?;
//! let link = client.connect(address)?;
//! world.run(Duration::from_secs(1), async {
//!     let mut events = Vec::new();
//!     while events.is_empty() {
//!         client.turn(None, || false, &mut events).await?;
//!     }
//!     assert!(matches!(events[..], [amqp_uring::driver::Event::Connected(_)]));
//!     Ok::<_, amqp_uring::driver::DriverError>(())
//! })??;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Invariants:
//!
//! - **S1, one seed, one history.** Two worlds of the same seed in which the same is done have the same
//!   [`Handle::fingerprint`] at every moment. What would break it has no place in a world: other threads, other clocks, the
//!   order of a `HashMap`.
//! - **S2, time is free.** The clock goes from one thing that happens to the next; nothing costs anything per unit of time.
//! - **S3, TCP's promises.** Octets of a direction arrive in order and complete, or the connection ends; only
//!   [`Fault::Reset`] and [`Fault::BlackHole`] lose any. D1 to D4 hold as for every driver.
//! - **S4, nothing is called while the world is held.** Wakers are used, and sockets dropped, when its lock is free.

#![forbid(unsafe_code)]

mod agenda;
mod chronicle;
mod driver;
mod faults;
mod flow;
mod handle;
mod listener;
mod network;
mod port;
mod scene;
mod socket;
mod tasks;
#[cfg(test)]
mod tests;
mod time;
mod world;

pub use chronicle::{FaultCounts, WorldStats};
pub use driver::SimDriver;
pub use faults::{Fault, FaultPlan, Target};
pub use flow::Conditions;
pub use handle::{AddressInUse, Handle, Spawned};
pub use listener::Listener;
pub use network::{BACKLOG_MAX, Side, WireId};
#[cfg(feature = "broker")]
pub(crate) use socket::Hand;
pub use socket::Socket;
pub use time::{Clock, Sleep};
pub use world::{Stuck, World};
