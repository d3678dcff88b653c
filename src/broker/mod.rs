//! An AMQP 0-9-1 broker inside the process, for tests, examples and benches.
//!
//! It keeps everything in memory and forgets it when it ends. It is not for production: there,
//! [RabbitMQ](https://www.rabbitmq.com) and its [clusters](https://www.rabbitmq.com/docs/clustering) keep messages on disk and
//! on several nodes.
//!
//! ```
//! use amqp_uring::broker::Broker;
//! use amqp_uring::Engine;
//!
//! let broker = Broker::builder().start()?;
//! let engine = Engine::connect(broker.uri())?;
//! // ... what is to be tested
//! # engine.shutdown(std::time::Duration::from_secs(5))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | file | concern |
//! |---|---|
//! | `core` | the broker as a state machine without I/O |
//! | `server` | its socket side, on the same drivers as the engine |
//! | `builder`, `settings` | what may be chosen |
//! | `control` | faults, and what a test may ask: [`Faults`] |
//! | `listener` | the thread that accepts connections |
//! | `tap` | hearing every frame |
//! | `simulated` (feature `sim`) | a broker in a simulated world |
//!
//! It may touch `protocol`, `buffer` and `driver`.
#![forbid(unsafe_code)]

mod builder;
mod control;
mod core;
mod error;
mod listener;
mod server;
mod settings;
#[cfg(feature = "sim")]
mod simulated;
mod tap;

use std::fmt;
use std::net::{SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

pub use builder::BrokerBuilder;
pub use control::{ConfirmFault, Contents, ExchangeState, Faults, QueueState, State, Totals};
pub use core::{Received, ReceivedMessage};
pub use error::BrokerError;
#[cfg(feature = "sim")]
pub use simulated::SimBroker;
pub use tap::Tap;

use control::Handle;
use listener::Listener;

/// A broker that runs on a thread of its own until it is dropped.
///
/// It may be used from any thread. Dropping it closes all connections, without a `connection.close`, and waits for its threads.
pub struct Broker {
    uri: String,
    address: SocketAddr,
    handle: Handle<TcpStream>,
    listener: Option<Listener>,
    server: Option<JoinHandle<()>>,
}

impl Broker {
    /// A broker with one user, `guest` with the password `guest`, and one virtual host, `/`, on a free port of the loopback
    /// interface.
    pub fn builder() -> BrokerBuilder {
        BrokerBuilder::default()
    }

    /// Where it listens and how to log in: `amqp://guest:guest@127.0.0.1:PORT/%2f`, with the first user and the first virtual
    /// host that it was built with.
    #[must_use]
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Switches that disturb it.
    #[must_use]
    pub fn faults(&self) -> Faults<'_> {
        Faults::new(&self.handle)
    }

    /// What is in it now.
    ///
    /// # Errors
    ///
    /// [`BrokerError::Stopped`] when its thread has ended.
    pub fn state(&self) -> Result<State, BrokerError> {
        self.handle.state()
    }

    /// Waits until something is so. The condition is looked at again whenever anything has happened, on the broker's own
    /// thread: it must not ask the broker, but decide by the state it is given. If it panics, so does this.
    ///
    /// # Errors
    ///
    /// [`BrokerError::TimedOut`] when it does not come about in time, with what was in the broker then.
    pub fn wait_for(
        &self,
        timeout: Duration,
        condition: impl FnMut(&State) -> bool + Send + 'static,
    ) -> Result<State, BrokerError> {
        self.handle.wait_for(timeout, condition)
    }

    /// The methods that clients have sent since this was called last, as far back as [`BrokerBuilder::record`] says.
    ///
    /// # Errors
    ///
    /// [`BrokerError::Stopped`] when its thread has ended.
    pub fn received(&self) -> Result<Vec<Received>, BrokerError> {
        self.handle.received()
    }

    /// Lets somebody hear every frame from now on, in place of whoever did before.
    ///
    /// # Errors
    ///
    /// [`BrokerError::Stopped`] when its thread has ended.
    pub fn tap(&self, tap: impl Tap + 'static) -> Result<(), BrokerError> {
        self.handle.tap(tap)
    }

    /// Starts over as after a crash: all connections are reset, and what is not meant to last is gone.
    ///
    /// # Errors
    ///
    /// [`BrokerError::Stopped`] when its thread has ended.
    pub fn restart(&self, contents: Contents) -> Result<(), BrokerError> {
        self.handle.restart(contents)
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        drop(self.listener.take());
        self.handle.stop();
        if let Some(server) = self.server.take() {
            let _ = server.join();
        }
    }
}
