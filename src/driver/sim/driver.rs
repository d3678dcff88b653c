//! The driver of a simulated world.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::port::Port;
use super::scene::Shared;
use super::time::yield_now;
use super::{Side, Sleep, Socket, WireId};
#[cfg(test)]
use crate::buffer::Pool;
use crate::buffer::Segment;
use crate::driver::sockets::Sockets;
use crate::driver::{Adopt, Drive, DriverError, DriverStats, Event, Link, Options, Waker};

/// Moves octets through a world's network. Its turns are pending until something happens for it, as tasks of the world.
///
/// Its links are those of the driver on epoll, over the world's sockets instead of the system's.
pub struct SimDriver {
    shared: Shared,
    port: Arc<Port>,
    sockets: Sockets<Socket>,
    waker: Waker,
    /// Whether the last turn kept the world from other tasks.
    kept_thread: bool,
}

impl SimDriver {
    pub(super) fn new(shared: Shared, options: &Options) -> Result<Self, DriverError> {
        let port = Arc::<Port>::default();
        let signalled = Arc::clone(&port);
        let waker = Waker::new(move || signalled.signal());
        let hook = waker.clone();
        Ok(Self {
            shared,
            port,
            sockets: Sockets::new(options, move || hook.wake())?,
            waker,
            kept_thread: false,
        })
    }

    /// Which connection a link is, for faults. `None` for a stale link.
    pub fn wire(&mut self, link: Link) -> Option<WireId> {
        self.sockets.socket(link).map(Socket::wire)
    }

    /// The chunks, to be counted.
    #[cfg(test)]
    pub(super) fn pool(&self) -> &Pool {
        self.sockets.pool()
    }

    /// Watches the socket of a link.
    fn watch(&mut self, link: Link) -> Link {
        if let Some(socket) = self.sockets.socket(link) {
            socket.watch(&self.port, link);
        }
        link
    }

    /// Notes what sockets have become ready for.
    fn collect(&mut self) {
        for (link, readiness) in self.port.take_changes() {
            self.sockets.counts.completions += 1;
            self.sockets.told(link, readiness);
        }
    }

    /// Sleeps until a socket is ready, the waker was used or the deadline has come.
    async fn sleep(&self, deadline: Option<Instant>) {
        let mut timer = deadline.map(|deadline| {
            let at = self.shared.nanos_at(deadline);
            Sleep::new(self.shared.clone(), at)
        });
        poll_fn(|context| {
            if self.port.is_up(context.waker()) {
                return Poll::Ready(());
            }
            match &mut timer {
                Some(timer) => Pin::new(timer).poll(context),
                None => Poll::Pending,
            }
        })
        .await;
    }
}

impl Drive for SimDriver {
    fn now(&self) -> Instant {
        self.shared.now()
    }

    fn connect(&mut self, peer: SocketAddr) -> Result<Link, DriverError> {
        self.sockets.check_room()?;
        let wire = self
            .shared
            .with(|core| core.network.dial(&mut core.scene, peer));
        let socket = Socket::new(self.shared.clone(), wire, Side::Connector);
        let link = self.sockets.connecting(socket, None)?;
        Ok(self.watch(link))
    }

    fn send(&mut self, link: Link, segment: Segment) {
        self.sockets.send(link, segment);
    }

    fn unsent(&self, link: Link) -> usize {
        self.sockets.unsent(link)
    }

    fn spare(&mut self) -> Vec<u8> {
        self.sockets.spare()
    }

    fn set_reading(&mut self, link: Link, reading: bool) {
        self.sockets.set_reading(link, reading);
    }

    fn close(&mut self, link: Link) {
        self.sockets.close(link);
    }

    async fn turn(
        &mut self,
        deadline: Option<Instant>,
        more_work: impl FnOnce() -> bool,
        events: &mut Vec<Event>,
    ) -> Result<(), DriverError> {
        // What has happened while the task worked is to be found, and that happens when it gives way.
        let has_worked = self.shared.with(|core| core.scene.has_spent());
        if std::mem::replace(&mut self.kept_thread, true) || has_worked {
            yield_now().await;
        }
        if self.sockets.begin(events) {
            self.waker.announce_sleep();
            if self.sockets.may_sleep(more_work) {
                self.sleep(deadline).await;
                self.kept_thread = false;
            }
            self.sockets.counts.wakes += u64::from(self.waker.awake());
        }
        self.collect();
        self.sockets.work(events);
        Ok(())
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Nothing changes: it does not gather.
    fn set_latency_budget(&mut self, _budget: Duration) {}

    fn stats(&self) -> DriverStats {
        self.sockets.stats()
    }
}

impl Adopt for SimDriver {
    type Socket = Socket;

    fn adopt(&mut self, socket: Socket) -> Result<Link, DriverError> {
        let link = self.sockets.connected(socket)?;
        Ok(self.watch(link))
    }
}
