//! The driver on epoll, for where io_uring is missing or forbidden.
//!
//! ```text
//!  turn:  send and receive what is ready ─▶ announce sleep ─▶ epoll_pwait2 ─▶ send and receive what became ready
//! ```
//!
//! Its links are those of `driver/sockets`, which keeps E1 and E2; here is how their sockets are made, watched and waited
//! for.

use std::io::{self, IoSlice, Read};
use std::mem;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::sockets::{self, Readiness, Sockets};
use super::{Adopt, Drive, DriverError, DriverStats, Event, Link, Options, Waker};
#[cfg(test)]
use crate::buffer::Pool;
use crate::buffer::Segment;

/// What epoll says for the waker's event descriptor, instead of a slot.
const WAKE: u64 = u64::MAX;

/// The most changes that one wait brings; the others come with the next one.
const CHANGES_MAX: usize = 256;

/// Moves octets with sockets and epoll.
pub struct EpollDriver {
    epoll: OwnedFd,
    sockets: Sockets<Socket>,
    waker: Waker,
    changes: Vec<epoll::Event>,
}

impl EpollDriver {
    /// A driver with its chunks: [`Options::chunks`] of [`Options::chunk_octets`].
    ///
    /// # Errors
    ///
    /// When memory or descriptors are short.
    pub fn new(options: &Options) -> Result<Self, DriverError> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)
            .map_err(|error| descriptor("epoll descriptor")(error.into()))?;
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let event =
            eventfd(0, flags).map_err(|error| descriptor("event descriptor")(error.into()))?;
        let event = Arc::new(event);
        // Never read: each write is an edge of its own.
        let edges = EventFlags::IN | EventFlags::ET;
        epoll::add(&epoll, &event, EventData::new_u64(WAKE), edges)
            .map_err(|error| descriptor("watch of an event descriptor")(error.into()))?;
        // Adding 1 fails only when 2^64 - 2 wakes were never read, and then the descriptor is readable anyway.
        let waker = Waker::new(move || {
            let _ = rustix::io::write(&event, &1u64.to_ne_bytes());
        });
        let hook = waker.clone();
        Ok(Self {
            epoll,
            sockets: Sockets::new(options, move || hook.wake())?,
            waker,
            changes: Vec::with_capacity(CHANGES_MAX),
        })
    }

    /// The chunks, to be counted.
    #[cfg(test)]
    pub(super) fn pool(&self) -> &Pool {
        self.sockets.pool()
    }

    /// Watches the socket of a link.
    fn watch(&mut self, link: Link) -> Result<Link, DriverError> {
        let edges = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        let slot = EventData::new_u64(link.slot().into());
        let watched = match self.sockets.socket(link) {
            Some(socket) => epoll::add(&self.epoll, socket, slot, edges),
            None => Ok(()),
        };
        if let Err(error) = watched {
            self.close(link);
            return Err(descriptor("watch of a socket")(error.into()));
        }
        Ok(link)
    }

    /// Waits for changes and notes them.
    fn wait(&mut self, timeout: Option<Duration>) -> Result<(), DriverError> {
        self.sockets.counts.enters += 1;
        self.changes.clear();
        // A time that the system cannot count is as good as for ever.
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let buffer = rustix::buffer::spare_capacity(&mut self.changes);
        match epoll::wait(&self.epoll, buffer, timeout.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(error) => {
                return Err(DriverError::Wait {
                    call: "epoll_pwait2",
                    error: error.into(),
                });
            }
        }
        self.sockets.counts.completions += self.changes.len() as u64;
        let mut changes = mem::take(&mut self.changes);
        for change in changes.drain(..) {
            // A closed socket is not watched any more, so the slot holds the link that is meant.
            if let Ok(slot) = u32::try_from(change.data.u64()) {
                let link = self.sockets.link(slot);
                self.sockets.told(link, readiness(change.flags));
            }
        }
        self.changes = changes;
        Ok(())
    }
}

fn readiness(flags: EventFlags) -> Readiness {
    let ended = EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR;
    Readiness {
        readable: flags.contains(EventFlags::IN),
        writable: flags.intersects(EventFlags::OUT | EventFlags::HUP | EventFlags::ERR),
        ended: flags.intersects(ended),
    }
}

impl sockets::Socket for Socket {
    fn send(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.send_vectored_with_flags(pieces, libc::MSG_NOSIGNAL)
    }

    fn receive(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.read(room)
    }

    fn take_error(&mut self) -> io::Result<Option<io::Error>> {
        Socket::take_error(self)
    }

    fn shut_down(&mut self) {
        // It fails when the connection is down already, which is as well.
        let _ = self.shutdown(Shutdown::Both);
    }
}

/// A socket that is connecting, and how that has failed already.
fn connecting(peer: SocketAddr) -> io::Result<(Socket, Option<io::Error>)> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(peer), kind, Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    let refused = socket
        .connect(&SockAddr::from(peer))
        .err()
        .filter(|error| error.raw_os_error() != Some(libc::EINPROGRESS));
    Ok((socket, refused))
}

/// A socket that was accepted elsewhere.
fn adopted(stream: TcpStream) -> io::Result<Socket> {
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    Ok(Socket::from(stream))
}

impl Drive for EpollDriver {
    fn connect(&mut self, peer: SocketAddr) -> Result<Link, DriverError> {
        self.sockets.check_room()?;
        let (socket, refused) = connecting(peer).map_err(descriptor("socket"))?;
        let link = self.sockets.connecting(socket, refused)?;
        self.watch(link)
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
        if self.sockets.begin(events) {
            self.waker.announce_sleep();
            let timeout = if self.sockets.may_sleep(more_work) {
                deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
            } else {
                Some(Duration::ZERO)
            };
            let outcome = self.wait(timeout);
            self.sockets.counts.wakes += u64::from(self.waker.awake());
            outcome?;
        } else {
            self.wait(Some(Duration::ZERO))?;
        }
        self.sockets.work(events);
        Ok(())
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Nothing changes: epoll does not gather.
    fn set_latency_budget(&mut self, _budget: Duration) {}

    fn stats(&self) -> DriverStats {
        self.sockets.stats()
    }
}

impl Adopt for EpollDriver {
    type Socket = TcpStream;

    fn adopt(&mut self, socket: TcpStream) -> Result<Link, DriverError> {
        let socket = adopted(socket).map_err(descriptor("socket"))?;
        let link = self.sockets.connected(socket)?;
        self.watch(link)
    }
}

/// What could not be made.
fn descriptor(what: &'static str) -> impl Fn(io::Error) -> DriverError {
    move |error| DriverError::Descriptor { what, error }
}
