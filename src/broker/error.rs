//! What can go wrong with a broker.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::control::State;
use crate::driver::DriverError;

/// Why a broker does not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// It cannot listen where it should.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// Where it should.
        address: SocketAddr,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// Somebody listens there already, in a simulated world.
    #[cfg(feature = "sim")]
    #[error(transparent)]
    AddressInUse(#[from] crate::driver::sim::AddressInUse),
    /// A thread could not be started.
    #[error("cannot start the broker's thread: {0}")]
    Thread(#[source] io::Error),
    /// The driver cannot be started.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// It was built without a user or without a virtual host: nobody could connect.
    #[error("a broker needs at least one {0}")]
    Missing(&'static str),
    /// Its thread has ended, because its driver failed.
    #[error("the broker has stopped")]
    Stopped,
    /// What was waited for did not come about.
    #[error("this did not come about within {timeout:?}; the broker holds {state:?}")]
    TimedOut {
        /// How long was waited.
        timeout: Duration,
        /// What was in the broker at the end.
        state: Box<State>,
    },
}
