//! Octets on their way in and out: receive chunks and their views, and send segments.
//!
//! ```text
//!  Pool ──take──▶ Arc<Lease> ──posted──▶ kernel writes ──▶ Filled ──push──▶ Inbox ──parse──▶ frames
//!   ▲                                                        │ clone, into_bytes
//!   └────────── the last hold on a lease is dropped ◀────────┘ (on any thread)
//! ```
//!
//! This layer knows nothing of AMQP, of sockets or of the kernel. It keeps these invariants:
//!
//! - **B1, one user.** A chunk is either free (its id is in the pool's queue) or leased; there is never more than one
//!   [`Lease`] of a chunk.
//! - **B2, written once.** The octets behind a [`Filled`] do not change until the last hold on their lease is gone.
//!   References are made to such octets only, never to a chunk as a whole.
//! - **B3, memory outlives views.** Each lease holds the pool's memory, so a view may outlive the pool and the driver.
//! - **B4, in order.** An [`Inbox`] hands out exactly the octets that were pushed, in order, each until it is consumed.

mod filled;
mod inbox;
mod pool;
mod segment;
mod send_queue;
mod vacant;

pub use filled::Filled;
pub use inbox::{Inbox, Parsed};
pub use pool::{CHUNK_OCTETS_MAX, CHUNKS_MAX, Lease, Pool, PoolError, PoolStats};
pub use segment::{Segment, Spares};
pub use send_queue::SendQueue;
pub use vacant::Vacant;
