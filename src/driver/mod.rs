//! How octets move between this process and its peers.
//!
//! A driver moves octets and tells what happened; it knows nothing of AMQP. One worker owns one driver and calls it from
//! one thread: plain data in, plain data out, no callbacks. [`Drive`] is all that a worker asks of one, and [`Driver`]
//! names those there are.
//!
//! ```text
//!            connect, adopt, send, close               Connected, Received, Sent, Lost
//!  worker ───────────────────────▶ driver ── turn() ─────────────────────────────────▶ worker
//!                                     ▲
//!  other threads ── Waker::wake() ────┘   ends a turn that sleeps
//! ```
//!
//! Invariants that every driver keeps:
//!
//! - **D1, one end.** [`Event::Lost`] comes at most once for a link, and nothing comes for it afterwards. After
//!   [`Drive::close`] nothing comes at all.
//! - **D2, stale links are ignored.** A link that was lost or closed never means another one, whatever is called with it.
//! - **D3, in order.** Octets are received in the order in which they came, and sent in the order of the calls.
//! - **D4, no lost wake-up.** See [`Waker`].

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::buffer::{Filled, Segment};

mod choice;
pub mod epoll;
mod mailbox;
mod options;
mod run;
#[cfg(feature = "sim")]
pub mod sim;
mod slots;
mod sockets;
#[cfg(test)]
mod tests;
#[cfg(feature = "tokio-uring")]
pub mod tokio_uring;
pub mod uring;
mod waker;

pub use choice::{Choice, Driver, Reason, UnknownDriver};
pub(crate) use mailbox::{Mailbox, MailboxClosed};
pub use options::{Incremental, Options};
pub(crate) use run::run;
pub use waker::Waker;

/// Moves octets. See the module's page for what every implementation keeps.
pub trait Drive {
    /// What time it is for this driver: that of its deadlines. Whoever has a driver asks it and not the system's clock, so
    /// that a simulated driver's time reaches everything.
    fn now(&self) -> Instant {
        Instant::now()
    }

    /// Starts a TCP connection, with `TCP_NODELAY`. The result arrives as [`Event::Connected`] or [`Event::Lost`].
    ///
    /// There is no time limit of its own: close the link when a deadline passes.
    ///
    /// # Errors
    ///
    /// When no socket can be made, or the driver has as many links as it may.
    fn connect(&mut self, peer: SocketAddr) -> Result<Link, DriverError>;

    /// Queues octets on a link; also before it is connected. They leave with the next turn or when the send before is
    /// done: one is in flight per link while the next ones gather. [`Event::Sent`] tells progress.
    ///
    /// The queue has no limit of its own: the caller looks at [`Drive::unsent`].
    fn send(&mut self, link: Link, segment: Segment);

    /// Octets queued or in flight that the kernel has not taken yet. 0 for a stale link.
    fn unsent(&self, link: Link) -> usize;

    /// An empty buffer to encode into, recycled where possible.
    fn spare(&mut self) -> Vec<u8>;

    /// Stops (`false`) or resumes (`true`) receiving on a link; a new link receives. While it is stopped, the kernel's
    /// buffers fill up and then the peer is held back. Octets that were on their way to this process when it was stopped
    /// may still come for a moment. Once it is resumed everything comes, in order, and then the end of the link if it has
    /// ended meanwhile, which may go unnoticed until then.
    fn set_reading(&mut self, link: Link, reading: bool);

    /// Closes a link now, whatever it is doing. What the kernel has not taken yet is not sent. No event follows.
    fn close(&mut self, link: Link);

    /// One turn: submits, waits until something happens, `deadline` passes or the waker is used, and appends what
    /// happened to `events`. It may return early and without any event.
    ///
    /// A driver that has its thread for itself waits by blocking it: its future is ready when it is polled first. One
    /// that lives inside a runtime leaves the thread to other tasks meanwhile.
    ///
    /// `more_work` is called after the driver has announced its sleep and before it sleeps; when it says true, or the
    /// deadline has passed, the turn collects what is there and does not wait. It is the place to look at queues that
    /// other threads fill before they call [`Waker::wake`]. It is not called when the turn does not wait anyway.
    ///
    /// # Errors
    ///
    /// Only when the driver as a whole cannot go on. What befalls one link is an event.
    fn turn(
        &mut self,
        deadline: Option<Instant>,
        more_work: impl FnOnce() -> bool,
        events: &mut Vec<Event>,
    ) -> impl Future<Output = Result<(), DriverError>>;

    /// Something that ends a sleeping turn from any thread.
    fn waker(&self) -> Waker;

    /// From now on a turn that waits may gather completions for this long before it returns, so that one wake-up serves
    /// many of them; also a wake-up may be served this much later. Zero, the start value, returns at the first. At most
    /// one second counts; the deadline always wins. Where the driver cannot do so, nothing changes.
    fn set_latency_budget(&mut self, budget: Duration);

    /// What this driver has done so far and what it holds now.
    fn stats(&self) -> DriverStats;
}

/// A driver that takes over connections that were accepted elsewhere.
pub trait Adopt: Drive {
    /// An accepted connection.
    type Socket: Send;

    /// Takes a connection over, with what [`Drive::connect`] sets. The link is connected at once: no
    /// [`Event::Connected`] tells it. A connection that has ended already is told as [`Event::Lost`].
    ///
    /// # Errors
    ///
    /// When the driver has as many links as it may, or the system refuses to set or watch the socket. The connection is
    /// closed then.
    fn adopt(&mut self, socket: Self::Socket) -> Result<Link, DriverError>;
}

/// One TCP connection of one driver, as a plain number: a slot, and how often that slot has been used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Link {
    slot: u32,
    generation: u32,
}

impl Link {
    /// For drivers, which alone give out links.
    #[must_use]
    pub(crate) const fn new(slot: u32, generation: u32) -> Self {
        Self { slot, generation }
    }

    /// The slot, counted from 0 and used again after the link is gone: an index for tables beside the driver.
    #[must_use]
    pub const fn slot(self) -> u32 {
        self.slot
    }

    /// How often the slot was used before.
    #[must_use]
    pub const fn generation(self) -> u32 {
        self.generation
    }
}

/// What happened in a turn.
#[derive(Debug)]
pub enum Event {
    /// The link is connected.
    Connected(Link),
    /// Octets have come in.
    Received(Link, Filled),
    /// The kernel has taken octets of this link.
    Sent {
        /// Which link.
        link: Link,
        /// What [`Drive::unsent`] says now.
        unsent: usize,
    },
    /// The link is gone (D1): it could not be connected, the peer ended it (`UnexpectedEof`) or it broke (for instance
    /// `ConnectionReset`). Octets that came before have been received before.
    Lost(Link, io::Error),
    /// All receive chunks are held and links wait for one. The worker lets go of what it can spare
    /// ([`crate::buffer::Inbox::release`]); reading goes on by itself when a chunk comes back. Said once each time.
    Starved,
}

/// Why a driver cannot do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriverError {
    /// io_uring is not to be had here; the text says why and what to do.
    #[error(transparent)]
    Unavailable(#[from] uring::Unavailable),
    /// The environment variable `AMQP_URING_DRIVER` names no driver.
    #[error("AMQP_URING_DRIVER: {0}")]
    Unknown(#[from] UnknownDriver),
    /// The driver is not in this build.
    #[error("this program was built without the driver {driver}: turn on the feature {feature}")]
    NotBuilt {
        /// Which driver.
        driver: Driver,
        /// The feature of this crate that has it.
        feature: &'static str,
    },
    /// The driver needs a runtime, and the thread is not in one.
    #[error(
        "the driver tokio-uring runs inside a runtime: start the engine within tokio_uring::start"
    )]
    NoRuntime,
    /// A worker could not be run; the text says why.
    #[error("cannot run a worker: {0}")]
    Runtime(String),
    /// The driver needs a simulated world.
    #[error("the driver sim runs inside a simulated world: start the engine with start_in()")]
    NoWorld,
    /// The receive chunks could not be made.
    #[error("receive chunks: {0}")]
    Chunks(#[from] crate::buffer::PoolError),
    /// There are as many links as the options allow.
    #[error(
        "all {max} links of this driver are in use: close some, raise the limit or add a worker"
    )]
    LinksExhausted {
        /// The limit.
        max: u32,
    },
    /// The system gave no socket or event descriptor.
    #[error("cannot make a {what}: {error}")]
    Descriptor {
        /// What was to be made.
        what: &'static str,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// The system call that submits or waits failed; the driver is of no further use.
    #[error("{call} failed: {error}")]
    Wait {
        /// Which one.
        call: &'static str,
        /// What the system said.
        #[source]
        error: io::Error,
    },
}

/// What a driver has done and what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct DriverStats {
    /// Turns taken.
    pub turns: u64,
    /// System calls made to submit and wait. At most one a turn, unless the submission queue overflows.
    pub enters: u64,
    /// Completions seen.
    pub completions: u64,
    /// Octets received.
    pub octets_in: u64,
    /// Octets that the kernel took.
    pub octets_out: u64,
    /// Times that the waker ended, or was about to end, a sleep.
    pub wakes: u64,
    /// Times that a link found no receive chunk.
    pub starvations: u64,
    /// Links that are connecting, open or still being closed.
    pub links: usize,
    /// Receive chunks in all.
    pub chunks_total: usize,
    /// Receive chunks that nobody holds.
    pub chunks_free: usize,
    /// Receive chunks that the kernel may write to.
    pub chunks_posted: usize,
    /// Receive chunks that are full and still held by views.
    pub chunks_held: usize,
    /// Whether receive chunks are filled bit by bit (`IOU_PBUF_RING_INC`, Linux 6.12).
    pub incremental: bool,
    /// Whether a latency budget has an effect (`IORING_FEAT_MIN_TIMEOUT`, Linux 6.12).
    pub gathers: bool,
}
