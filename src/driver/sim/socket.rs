//! One side of a connection.

use std::fmt;
use std::io::{self, IoSlice};
use std::sync::Arc;

use super::scene::Shared;
use super::{Side, WireId};
use crate::driver::Link;
use crate::driver::sockets::{self, Readiness};

use super::port::Port;

/// One side of a connection: what a [`Listener`](super::Listener) gives and a [`SimDriver`](super::SimDriver) adopts.
/// Dropping it closes it.
pub struct Socket {
    shared: Shared,
    wire: WireId,
    side: Side,
}

impl Socket {
    pub(super) fn new(shared: Shared, wire: WireId, side: Side) -> Self {
        Self { shared, wire, side }
    }

    /// Which connection it belongs to, for faults.
    #[must_use]
    pub fn wire(&self) -> WireId {
        self.wire
    }

    /// What may be done to it once a driver has it.
    #[cfg(feature = "broker")]
    pub(crate) fn hand(&self) -> Hand {
        Hand {
            shared: self.shared.clone(),
            wire: self.wire,
            side: self.side,
        }
    }

    /// From now on its readiness is told there, under the name of this link.
    pub(super) fn watch(&self, port: &Arc<Port>, link: Link) {
        let watch = (Arc::clone(port), link);
        self.shared.with(|core| {
            core.network
                .watch(&mut core.scene, self.wire, self.side, watch);
        });
    }
}

impl sockets::Socket for Socket {
    fn send(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.shared.with(|core| {
            core.network
                .send(&mut core.scene, self.wire, self.side, pieces)
        })
    }

    fn receive(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.shared.with(|core| {
            core.network
                .receive(&mut core.scene, self.wire, self.side, room)
        })
    }

    fn take_error(&mut self) -> io::Result<Option<io::Error>> {
        let error = self
            .shared
            .with(|core| core.network.error(self.wire, self.side));
        Ok(error.map(io::Error::from))
    }

    fn shut_down(&mut self) {
        self.shared.with(|core| {
            core.network
                .shut_down(&mut core.scene, self.wire, self.side)
        });
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.shared
            .with(|core| core.network.close(&mut core.scene, self.wire, self.side));
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket")
            .field("wire", &self.wire)
            .field("side", &self.side)
            .finish()
    }
}

/// What a second descriptor of a connection would be: it does not keep the connection open.
#[cfg(feature = "broker")]
pub(crate) struct Hand {
    shared: Shared,
    wire: WireId,
    side: Side,
}

#[cfg(feature = "broker")]
impl Hand {
    /// This side can send no more.
    pub(crate) fn half_close(&self) {
        self.shared.with(|core| {
            core.network
                .half_close(&mut core.scene, self.wire, self.side);
        });
    }

    /// Both sides find the connection reset.
    pub(crate) fn reset(&self) {
        self.shared
            .with(|core| core.network.reset(&mut core.scene, self.wire));
    }
}

impl Readiness {
    /// What a connection that was broken is ready for: its error.
    pub(super) const BROKEN: Self = Self {
        readable: true,
        writable: true,
        ended: true,
    };
}
