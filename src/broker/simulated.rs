//! A broker in a simulated world.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use super::BrokerError;
use super::control::{Change, Contents, Faults, Handle, State, restart};
use super::core::Core;
use super::server::{Accepted, Command, Control, Serve, Server, Work};
use super::settings::Settings;
use super::tap::Tap;
use crate::driver::sim::{self, Hand, Socket};
use crate::driver::{Drive, Mailbox, Options};

/// A broker that runs as a task of a simulated world until it is dropped, or the world is.
///
/// ```
/// use std::future::IntoFuture;
/// use std::time::Duration;
/// use amqp_uring::broker::Broker;
/// use amqp_uring::driver::sim::World;
/// use amqp_uring::{Engine, Queue};
///
/// let world = World::new(42);
/// let broker = Broker::builder().start_in(&world)?;
/// let started = Engine::builder().uri(broker.uri()).start_in(&world);
/// let engine = world.run(Duration::from_secs(10), started.into_future())??;
/// let declared = engine.declare(&Queue::durable("orders"));
/// world.run(Duration::from_secs(10), declared.into_future())??;
/// let state = world.run(Duration::from_secs(10), broker.state())??;
/// assert!(state.queue("orders").is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SimBroker {
    uri: String,
    address: SocketAddr,
    handle: Handle<Socket>,
    listener: Option<sim::Listener>,
}

impl SimBroker {
    pub(super) fn start(
        mut settings: Settings,
        address: SocketAddr,
        world: &sim::Handle,
    ) -> Result<Self, BrokerError> {
        settings.started_at = world.clock().seconds();
        let uri = settings.uri(address)?;
        let mailbox = Arc::new(Mailbox::new());
        let driver = world.driver(&Options::default())?;
        let core = Core::new(settings, driver.now());
        let server = Server::new(driver, core, Arc::clone(&mailbox));
        let entrance = Arc::clone(&mailbox);
        let accept = move |socket: Socket| {
            let control = Box::new(socket.hand());
            let accepted = Accepted { socket, control };
            // A broker that has stopped takes no connections: they end.
            let _ = entrance.post(Command::Accepted(accepted));
        };
        let listener = world.listen(address, accept)?;
        let entrance = Arc::clone(&mailbox);
        world.spawn(async move {
            if let Err(error) = server.run().await {
                tracing::error!(%error, "the broker has stopped");
            }
            entrance.close();
        });
        Ok(Self {
            uri,
            address,
            handle: Handle::new(mailbox),
            listener: Some(listener),
        })
    }

    /// As [`Broker::uri`](super::Broker::uri).
    #[must_use]
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Switches that disturb it, from its next turn on.
    #[must_use]
    pub fn faults(&self) -> Faults<'_> {
        Faults::new(self)
    }

    /// What is in it.
    ///
    /// # Errors
    ///
    /// [`BrokerError::Stopped`] when it has ended.
    pub async fn state(&self) -> Result<State, BrokerError> {
        self.ask(|server| server.core().state()).await
    }

    /// As [`Broker::restart`](super::Broker::restart); it has happened when this is done.
    ///
    /// # Errors
    ///
    /// [`BrokerError::Stopped`] when it has ended.
    pub async fn restart(&self, contents: Contents) -> Result<(), BrokerError> {
        self.ask(move |server| restart(server, contents)).await
    }

    /// As [`Broker::tap`](super::Broker::tap), from its next turn on.
    ///
    /// # Errors
    ///
    /// [`BrokerError::Stopped`] when it has ended.
    pub fn tap(&self, tap: impl Tap + 'static) -> Result<(), BrokerError> {
        self.handle
            .post(Box::new(|server| server.set_tap(Box::new(tap))))
    }

    async fn ask<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn Serve) -> R + Send + 'static,
    ) -> Result<R, BrokerError> {
        let (answer, answered) = oneshot::async_channel();
        self.handle.post(Box::new(move |server| {
            // Whoever has asked may have gone.
            let _ = answer.send(work(server));
        }))?;
        answered.await.map_err(|_| BrokerError::Stopped)
    }
}

/// In a world nobody waits for another without giving way.
impl Change for SimBroker {
    fn change(&self, work: Work) -> Result<(), BrokerError> {
        self.handle.post(work)
    }
}

/// A world's faults are those of its connections.
impl Control for Hand {
    fn half_close(&self) {
        Hand::half_close(self);
    }

    fn reset_on_close(&self) {
        self.reset();
    }
}

impl Drop for SimBroker {
    fn drop(&mut self) {
        drop(self.listener.take());
        self.handle.stop();
    }
}

impl fmt::Debug for SimBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimBroker")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}
