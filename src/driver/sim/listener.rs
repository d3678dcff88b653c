//! Listening at an address.

use std::fmt;
use std::net::SocketAddr;

use super::scene::Shared;

/// Listens at an address until it is dropped; see [`Handle::listen`](super::Handle::listen).
#[must_use = "dropping it ends the listening"]
pub struct Listener {
    shared: Shared,
    address: SocketAddr,
}

impl Listener {
    pub(super) fn new(shared: Shared, address: SocketAddr) -> Self {
        Self { shared, address }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Connections that nobody has taken are closed where nobody holds the world.
        let acceptance = self.shared.with(|core| core.network.unlisten(self.address));
        drop(acceptance);
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Listener").field(&self.address).finish()
    }
}
