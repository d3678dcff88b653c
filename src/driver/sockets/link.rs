//! One TCP connection: where it is in its life, and what its socket is ready for.

use std::io::{self, IoSlice};

use smallvec::SmallVec;

use super::{Readiness, Socket};
use crate::buffer::{Segment, SendQueue, Spares};
use crate::driver::slots::Occupant;

/// The most segments that one send takes: enough to fill a socket's buffer with small ones.
const SEND_SEGMENTS_MAX: usize = 64;

/// Where a connection is in its life.
#[derive(Debug)]
pub(super) enum Phase {
    Connecting,
    /// It could not even be begun.
    Refused(io::Error),
    Open,
    /// A send failed. What the peer sent before is still received, then the link is lost with this error.
    Draining(io::Error),
    Closing,
}

/// A connection. What its socket is ready for is remembered (E1).
pub(super) struct Connection<S> {
    socket: S,
    queue: SendQueue,
    pub(super) phase: Phase,
    /// A receive may find octets, or the end.
    is_readable: bool,
    /// Whether its owner wants octets.
    is_reading: bool,
    is_writable: bool,
    /// The peer or the system ended it: after the last octets a receive says how.
    is_ended: bool,
    /// Whether it waits for a chunk.
    pub(super) is_starved: bool,
    /// Whether it is among those to be looked at.
    pub(super) is_listed: bool,
    /// The feeding of starved links after which it last received something.
    pub(super) fed: u64,
}

/// What a receive gave.
pub(super) enum Received {
    Octets(usize),
    /// Nothing for now.
    Nothing,
    Lost(io::Error),
}

impl<S: Socket> Connection<S> {
    pub(super) fn new(socket: S, phase: Phase) -> Self {
        Self {
            socket,
            queue: SendQueue::default(),
            phase,
            is_readable: false,
            is_reading: true,
            is_writable: false,
            is_ended: false,
            is_starved: false,
            is_listed: false,
            fed: 0,
        }
    }

    pub(super) fn socket(&self) -> &S {
        &self.socket
    }

    /// The socket has become ready for something (E1).
    pub(super) fn told(&mut self, readiness: Readiness) {
        self.is_ended |= readiness.ended;
        self.is_readable |= readiness.readable || readiness.ended;
        self.is_writable |= readiness.writable;
    }

    /// Whether the connect is over, and how; `None` while it is under way.
    pub(super) fn connected(&mut self) -> Option<io::Result<()>> {
        match std::mem::replace(&mut self.phase, Phase::Open) {
            Phase::Refused(error) => Some(Err(error)),
            Phase::Connecting if self.is_writable => {
                // SO_ERROR, or the failure to ask for it.
                match self.socket.take_error() {
                    Ok(None) => Some(Ok(())),
                    Ok(Some(error)) | Err(error) => Some(Err(error)),
                }
            }
            phase => {
                self.phase = phase;
                None
            }
        }
    }

    /// Queues a segment. True when it may be sent at once.
    pub(super) fn queue(&mut self, segment: Segment, spares: &mut Spares) -> bool {
        if !matches!(self.phase, Phase::Connecting | Phase::Open) {
            spares.recycle(segment);
            return false;
        }
        self.queue.push(segment, spares);
        self.may_send()
    }

    pub(super) fn unsent(&self) -> usize {
        self.queue.queued_octets()
    }

    pub(super) fn may_send(&self) -> bool {
        matches!(self.phase, Phase::Open) && self.is_writable && !self.queue.is_empty()
    }

    /// One send: the octets that left. An error that ends the link at once; other failures let it drain first.
    pub(super) fn send(&mut self, spares: &mut Spares) -> io::Result<usize> {
        let pieces: SmallVec<[IoSlice<'_>; SEND_SEGMENTS_MAX]> = self
            .queue
            .pin(SEND_SEGMENTS_MAX)
            .map(IoSlice::new)
            .collect();
        let sent = self.socket.send(&pieces);
        drop(pieces);
        match sent {
            Ok(octets) => {
                self.queue.advance(octets, spares);
                Ok(octets)
            }
            Err(error) => {
                self.queue.unpin();
                match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => self.is_writable = false,
                    // Nothing can be received without a chunk: better the error now than at an unknown time.
                    _ if self.is_starved => return Err(error),
                    _ => self.drain(error),
                }
                Ok(0)
            }
        }
    }

    /// The peer's last words, a broker's reason for instance, may be waiting: shut down, receives give them and then end
    /// for certain.
    fn drain(&mut self, error: io::Error) {
        self.socket.shut_down();
        self.phase = Phase::Draining(error);
        self.is_readable = true;
        self.is_ended = true;
    }

    pub(super) fn may_receive(&self) -> bool {
        self.is_readable && self.is_reading && !self.is_starved
    }

    /// Stops or resumes receiving. What the socket is ready for stays noted meanwhile (E1).
    pub(super) fn set_reading(&mut self, reading: bool) {
        self.is_reading = reading;
    }

    /// One receive. A short one has emptied the socket, unless its end is near: then another one says so.
    pub(super) fn receive(&mut self, room: &mut [u8]) -> Received {
        match self.socket.receive(room) {
            Ok(0) => Received::Lost(self.lost_with(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the peer closed the connection",
            ))),
            Ok(octets) => {
                self.is_readable = octets == room.len() || self.is_ended;
                Received::Octets(octets)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Received::Nothing,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.is_readable = false;
                Received::Nothing
            }
            Err(error) => Received::Lost(self.lost_with(error)),
        }
    }

    /// What the link is lost with: the first thing that went wrong.
    pub(super) fn lost_with(&mut self, error: io::Error) -> io::Error {
        match std::mem::replace(&mut self.phase, Phase::Open) {
            Phase::Draining(first) => first,
            _ => error,
        }
    }
}

impl<S> Occupant for Connection<S> {
    fn close(&mut self) {
        self.phase = Phase::Closing;
    }

    fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing)
    }
}
