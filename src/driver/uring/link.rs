//! One TCP connection: what it is doing, and what of it the kernel has on hand.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;

use io_uring::types::{CancelBuilder, Fd};
use io_uring::{opcode, squeue};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::chunks::GROUP;
use super::operation::Operation;
use crate::buffer::{Segment, SendQueue, Spares};
use crate::driver::slots::Occupant;

/// The most segments that one send takes: enough to fill a socket's buffer with small ones.
const SEND_SEGMENTS_MAX: usize = 64;

/// The most octets that one send takes: what the kernel moves in one call at most (`MAX_RW_COUNT`), rounded down.
const SEND_OCTETS_MAX: usize = 1 << 30;

/// Where a connection is in its life.
#[derive(Debug)]
enum Phase {
    Connecting,
    Open,
    /// A send failed. What the peer sent before is still received, then the link is lost with this error.
    Draining(io::Error),
    /// Nothing is told any more; the slot is free once no operation is in flight.
    Closing,
}

/// What the receive operation is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Receive {
    Idle,
    Armed,
    /// Being cancelled because nobody wants to receive now. Octets may come until its last completion, and it may end
    /// as if it had not been cancelled.
    Pausing,
    /// There was no chunk; armed again when there are some.
    Starved,
}

/// What an operation on a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flight {
    Idle,
    InFlight,
}

/// A connection and its operations. There is at most one of each kind in flight.
///
/// **U2, memory stays.** The peer's address, the message, and the queue's pinned segments do not move and are not dropped
/// while an operation that names them is in flight: they lie on the heap, and the connection itself is dropped only when
/// nothing is in flight ([`Connection::is_over`]).
pub(super) struct Connection {
    socket: Socket,
    /// Where it is connected to, unless it was accepted.
    peer: Option<Box<SockAddr>>,
    phase: Phase,
    connect: Flight,
    receive: Receive,
    /// Whether its owner wants octets.
    is_reading: bool,
    pause: Flight,
    send: Flight,
    cancel: Cancel,
    queue: SendQueue,
    message: Option<Box<Message>>,
    /// The feeding of starved links after which it last received something.
    pub(super) fed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cancel {
    NotAsked,
    InFlight,
    Done,
}

/// What `sendmsg` reads: pointers to pinned segments.
struct Message {
    header: libc::msghdr,
    pieces: [libc::iovec; SEND_SEGMENTS_MAX],
}

/// What the end of a receive means.
pub(super) enum ReceiveEnd {
    /// To be armed again as soon as octets are wanted.
    Again,
    /// To be armed again when there are chunks.
    Starved,
    /// The connection is lost.
    Lost(io::Error),
    /// It was cancelled, and nobody wants to know.
    Closed,
}

impl Connection {
    pub(super) fn new(peer: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(peer), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_tcp_nodelay(true)?;
        let peer = Box::new(SockAddr::from(peer));
        Ok(Self::with(socket, Some(peer), Phase::Connecting))
    }

    /// A socket that was accepted elsewhere.
    pub(super) fn adopted(stream: TcpStream) -> io::Result<Self> {
        let socket = Socket::from(stream);
        // The kernel waits for the socket; one that never blocks would end each wait.
        socket.set_nonblocking(false)?;
        socket.set_tcp_nodelay(true)?;
        Ok(Self::with(socket, None, Phase::Open))
    }

    fn with(socket: Socket, peer: Option<Box<SockAddr>>, phase: Phase) -> Self {
        Self {
            socket,
            peer,
            phase,
            connect: Flight::Idle,
            receive: Receive::Idle,
            is_reading: true,
            pause: Flight::Idle,
            send: Flight::Idle,
            cancel: Cancel::NotAsked,
            queue: SendQueue::default(),
            message: None,
            fed: 0,
        }
    }

    /// The next operation that this connection wants to have in flight, to be built and pushed. Each answer differs from
    /// the last once [`Connection::pushed`] was told.
    pub(super) fn wants(&self, slot: u32) -> Option<Operation> {
        match self.phase {
            Phase::Connecting => (self.connect == Flight::Idle).then_some(Operation::Connect(slot)),
            Phase::Open | Phase::Draining(_) if self.wants_receive() => {
                Some(Operation::Receive(slot))
            }
            Phase::Open | Phase::Draining(_) if self.wants_pause() => Some(Operation::Pause(slot)),
            Phase::Open if self.send == Flight::Idle && !self.queue.is_empty() => {
                Some(Operation::Send(slot))
            }
            Phase::Closing if self.cancel == Cancel::NotAsked && self.has_targets() => {
                Some(Operation::Cancel(slot))
            }
            _ => None,
        }
    }

    fn wants_receive(&self) -> bool {
        self.is_reading && self.receive == Receive::Idle
    }

    fn wants_pause(&self) -> bool {
        !self.is_reading && self.receive == Receive::Armed && self.pause == Flight::Idle
    }

    /// Operations that a cancel would end.
    fn has_targets(&self) -> bool {
        self.connect == Flight::InFlight
            || matches!(self.receive, Receive::Armed | Receive::Pausing)
            || self.send == Flight::InFlight
    }

    /// Whether the connection may be dropped.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Closing)
            && !self.has_targets()
            && self.cancel != Cancel::InFlight
            && self.pause == Flight::Idle
    }

    /// The entry for what [`Connection::wants`] said. What it names stays valid until the operation's last completion
    /// (U2), so it may be pushed.
    pub(super) fn build(&mut self, operation: Operation) -> squeue::Entry {
        let descriptor = Fd(self.socket.as_raw_fd());
        let entry = match operation {
            Operation::Connect(_) => {
                let peer = self.peer.as_ref();
                let (start, octets) = peer.map_or((std::ptr::null(), 0), |peer| {
                    (peer.as_ptr().cast(), peer.len())
                });
                opcode::Connect::new(descriptor, start, octets).build()
            }
            Operation::Receive(_) => opcode::RecvMulti::new(descriptor, GROUP).build(),
            Operation::Send(_) => self.build_send(descriptor),
            Operation::Pause(slot) => {
                opcode::AsyncCancel::new(Operation::Receive(slot).tag()).build()
            }
            Operation::Cancel(_) | Operation::CancelAll | Operation::Wake => {
                opcode::AsyncCancel2::new(CancelBuilder::fd(descriptor).all()).build()
            }
        };
        entry.user_data(operation.tag())
    }

    fn build_send(&mut self, descriptor: Fd) -> squeue::Entry {
        let mut pieces = self.queue.pin(SEND_SEGMENTS_MAX);
        if pieces.len() <= 1 {
            let piece = pieces.next().unwrap_or_default();
            let octets = piece.len().min(SEND_OCTETS_MAX) as u32;
            return opcode::Send::new(descriptor, piece.as_ptr(), octets)
                .flags(libc::MSG_NOSIGNAL)
                .build();
        }
        let message = self.message.get_or_insert_with(Message::new);
        let header = message.point_to(pieces);
        opcode::SendMsg::new(descriptor, header)
            .flags(libc::MSG_NOSIGNAL as u32)
            .build()
    }

    /// The operation is on its way to the kernel.
    pub(super) fn pushed(&mut self, operation: Operation) {
        match operation {
            Operation::Connect(_) => self.connect = Flight::InFlight,
            Operation::Receive(_) => self.receive = Receive::Armed,
            Operation::Pause(_) => {
                self.receive = Receive::Pausing;
                self.pause = Flight::InFlight;
            }
            Operation::Send(_) => self.send = Flight::InFlight,
            Operation::Cancel(_) => self.cancel = Cancel::InFlight,
            Operation::Wake | Operation::CancelAll => {}
        }
    }

    /// The operation that was built could not be pushed now.
    pub(super) fn not_pushed(&mut self, operation: Operation) {
        if matches!(operation, Operation::Send(_)) {
            self.queue.unpin();
        }
    }

    /// The cancel is over; what it ended says so itself.
    pub(super) fn cancelled(&mut self) {
        self.cancel = Cancel::Done;
    }

    /// The pause is over. A receive that it has found ends, if it has not already; one that it has not found may have
    /// ended by itself, which its last completion says, or has to be cancelled again.
    pub(super) fn paused(&mut self, result: i32) {
        self.pause = Flight::Idle;
        if result < 0 && self.receive == Receive::Pausing {
            self.receive = Receive::Armed;
        }
    }

    /// Stops or resumes receiving.
    pub(super) fn set_reading(&mut self, reading: bool) {
        self.is_reading = reading;
    }

    /// The connect is over: `None` when the connection is being closed.
    pub(super) fn connected(&mut self, result: i32) -> Option<io::Result<()>> {
        self.connect = Flight::Idle;
        match self.phase {
            Phase::Connecting if result < 0 => Some(Err(io::Error::from_raw_os_error(-result))),
            Phase::Connecting => {
                self.phase = Phase::Open;
                Some(Ok(()))
            }
            _ => None,
        }
    }

    /// The receive operation is over.
    pub(super) fn received_last(&mut self, result: i32) -> ReceiveEnd {
        self.receive = Receive::Idle;
        let phase = match &mut self.phase {
            Phase::Closing => return ReceiveEnd::Closed,
            phase => phase,
        };
        match -result {
            // Cancelled while it is not closing: paused, and perhaps resumed since.
            ..0 | libc::EINTR | libc::EAGAIN | libc::ECANCELED => ReceiveEnd::Again,
            libc::ENOBUFS => match std::mem::replace(phase, Phase::Open) {
                // No chunk for what the peer sent last: better the error now than at an unknown time.
                Phase::Draining(error) => ReceiveEnd::Lost(error),
                _ => {
                    self.receive = Receive::Starved;
                    ReceiveEnd::Starved
                }
            },
            errno => match std::mem::replace(phase, Phase::Open) {
                Phase::Draining(error) => ReceiveEnd::Lost(error),
                _ if errno == 0 => ReceiveEnd::Lost(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the peer closed the connection",
                )),
                _ => ReceiveEnd::Lost(io::Error::from_raw_os_error(errno)),
            },
        }
    }

    pub(super) fn is_starved(&self) -> bool {
        self.receive == Receive::Starved && !self.is_closing()
    }

    /// There are chunks again.
    pub(super) fn feed(&mut self) {
        if self.receive == Receive::Starved {
            self.receive = Receive::Idle;
        }
    }

    /// The send is over. Gives the octets that left, or the error when the link is lost now.
    pub(super) fn sent(&mut self, result: i32, spares: &mut Spares) -> Result<usize, io::Error> {
        self.send = Flight::Idle;
        let octets = usize::try_from(result).unwrap_or(0);
        self.queue.advance(octets, spares);
        if result >= 0
            || matches!(-result, libc::EINTR | libc::EAGAIN)
            || !matches!(self.phase, Phase::Open)
        {
            return Ok(octets);
        }
        let error = io::Error::from_raw_os_error(-result);
        if self.receive == Receive::Starved {
            return Err(error);
        }
        // The peer's last words, a broker's reason for instance, may be waiting: shut down, the receive gives them and
        // then ends for certain.
        self.shut_down();
        self.phase = Phase::Draining(error);
        Ok(0)
    }

    /// Queues a segment. True when a send should be started for it; otherwise one is on its way or not possible yet.
    pub(super) fn queue(&mut self, segment: Segment, spares: &mut Spares) -> bool {
        if !matches!(self.phase, Phase::Connecting | Phase::Open) {
            spares.recycle(segment);
            return false;
        }
        let first = self.queue.is_empty();
        self.queue.push(segment, spares);
        first && matches!(self.phase, Phase::Open)
    }

    pub(super) fn unsent(&self) -> usize {
        self.queue.queued_octets()
    }

    fn shut_down(&self) {
        // It fails when the connection is down already, which is as well.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

impl Occupant for Connection {
    /// Ends the connection; operations in flight are cancelled.
    fn close(&mut self) {
        self.shut_down();
        self.phase = Phase::Closing;
    }

    /// Whether the user is told nothing any more.
    fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing)
    }
}

impl Message {
    fn new() -> Box<Self> {
        let empty = libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        };
        // SAFETY: a message header is integers and pointers, for all of which zero is a valid value.
        let header = unsafe { std::mem::zeroed() };
        Box::new(Self {
            header,
            pieces: [empty; SEND_SEGMENTS_MAX],
        })
    }

    /// Makes the message name these pieces, up to as many octets as one send takes.
    fn point_to<'a>(&mut self, pieces: impl Iterator<Item = &'a [u8]>) -> *const libc::msghdr {
        let mut count = 0;
        let mut octets = 0;
        for (place, piece) in self.pieces.iter_mut().zip(pieces) {
            let len = piece.len().min(SEND_OCTETS_MAX - octets);
            *place = libc::iovec {
                iov_base: piece.as_ptr().cast_mut().cast(),
                iov_len: len,
            };
            octets += len;
            count += 1;
        }
        self.header.msg_iov = self.pieces.as_mut_ptr();
        self.header.msg_iovlen = count;
        &self.header
    }
}
