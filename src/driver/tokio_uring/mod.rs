//! The driver inside a tokio-uring runtime.
//!
//! It moves octets with the ring of [`super::uring`]: multishot receives into shared chunks, which the runtime's own
//! sockets do not offer. Only its sleep is another one. The kernel signals an event descriptor when there is something to
//! collect; the runtime watches that and polls other tasks meanwhile, so that handlers may use the runtime's files and
//! sockets on the same thread.
//!
//! ```text
//!  turn:  yield to other tasks ─▶ submit, collect ─▶ announce sleep ─▶ arm the signal ─▶ (await it) ─▶ collect
//! ```
//!
//! Besides U1 to U4 of the ring:
//!
//! - **T1, no lost signal.** The signal is armed first, then the queues are looked at. What the kernel queues before the
//!   arming is seen in that look, what it queues afterwards is signalled.
//! - **T2, one descriptor.** Wakers signal the same descriptor, directly: through a poll of the ring, the kernel would
//!   delay a signal that another event descriptor causes.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;
use tokio::time;

use super::uring::UringDriver;
use super::{Adopt, Drive, DriverError, DriverStats, Event, Link, Options, Waker};
use crate::buffer::Segment;

/// Moves octets with io_uring, and sleeps as a task of the runtime that it was made in.
pub struct TokioUringDriver {
    uring: UringDriver,
    signal: AsyncFd<Arc<File>>,
    /// Whether the last turn kept the thread from other tasks.
    kept_thread: bool,
}

impl TokioUringDriver {
    /// A driver with its ring and its chunks, for the runtime whose task calls this. The runtime must have its I/O and
    /// its timers turned on, as that of `tokio_uring::start` has, and its tasks stay on one thread.
    ///
    /// # Errors
    ///
    /// [`DriverError::NoRuntime`] outside a runtime; otherwise those of [`UringDriver::new`].
    pub fn new(options: &Options) -> Result<Self, DriverError> {
        if Handle::try_current().is_err() {
            return Err(DriverError::NoRuntime);
        }
        let uring = UringDriver::signalling(options)?;
        let signal = uring
            .watch_signal()
            .map_err(|error| DriverError::Descriptor {
                what: "watch of an event descriptor in the runtime",
                error,
            })?;
        Ok(Self {
            uring,
            signal,
            kept_thread: false,
        })
    }

    /// The chunks, to be counted.
    #[cfg(test)]
    pub(super) fn pool(&self) -> &crate::buffer::Pool {
        self.uring.pool()
    }

    /// Sleeps until the signal comes or the deadline passes.
    async fn sleep(&self, deadline: Option<Instant>) -> Result<(), DriverError> {
        let signalled = match deadline {
            None => self.signal.readable().await,
            Some(deadline) => {
                match time::timeout_at(deadline.into(), self.signal.readable()).await {
                    Ok(signalled) => signalled,
                    Err(_) => return Ok(()),
                }
            }
        };
        let mut ready = signalled.map_err(|error| DriverError::Wait {
            call: "waiting for the ring's event descriptor",
            error,
        })?;
        // The descriptor is never read: the runtime sees each signal as an edge of its own.
        ready.clear_ready();
        Ok(())
    }
}

impl Drive for TokioUringDriver {
    fn connect(&mut self, peer: SocketAddr) -> Result<Link, DriverError> {
        self.uring.connect(peer)
    }

    fn send(&mut self, link: Link, segment: Segment) {
        self.uring.send(link, segment);
    }

    fn unsent(&self, link: Link) -> usize {
        self.uring.unsent(link)
    }

    fn spare(&mut self) -> Vec<u8> {
        self.uring.spare()
    }

    fn set_reading(&mut self, link: Link, reading: bool) {
        self.uring.set_reading(link, reading);
    }

    fn close(&mut self, link: Link) {
        self.uring.close(link);
    }

    async fn turn(
        &mut self,
        deadline: Option<Instant>,
        more_work: impl FnOnce() -> bool,
        events: &mut Vec<Event>,
    ) -> Result<(), DriverError> {
        if self.kept_thread {
            tokio::task::yield_now().await;
        }
        self.kept_thread = true;
        if self.uring.begin(events)? && deadline.is_none_or(|deadline| Instant::now() < deadline) {
            if self.uring.fall_asleep(more_work) {
                self.sleep(deadline).await?;
                self.kept_thread = false;
            }
            self.uring.wake_up(events)?;
        }
        Ok(())
    }

    fn waker(&self) -> Waker {
        self.uring.waker()
    }

    /// Nothing changes: a runtime has other tasks to run while this one would gather.
    fn set_latency_budget(&mut self, _budget: Duration) {}

    fn stats(&self) -> DriverStats {
        DriverStats {
            gathers: false,
            ..self.uring.stats()
        }
    }
}

impl Adopt for TokioUringDriver {
    type Socket = TcpStream;

    fn adopt(&mut self, socket: TcpStream) -> Result<Link, DriverError> {
        self.uring.adopt(socket)
    }
}
