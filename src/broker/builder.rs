//! What may be chosen about a broker.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, SystemTime};

use super::control::Handle;
use super::core::Core;
use super::listener::Listener;
use super::server::{Command, Server};
use super::settings::{Settings, User};
#[cfg(feature = "sim")]
use super::simulated::SimBroker;
use super::{Broker, BrokerError};
use crate::driver::epoll::EpollDriver;
#[cfg(feature = "sim")]
use crate::driver::sim;
#[cfg(feature = "tokio-uring")]
use crate::driver::tokio_uring::TokioUringDriver;
use crate::driver::uring::UringDriver;
use crate::driver::{self, Adopt, Choice, Driver, DriverError, Mailbox, Options};

/// Where a broker listens in a world, in which there are no ports to choose from.
#[cfg(feature = "sim")]
const AMQP_PORT: u16 = 5672;

/// Puts a [`Broker`] together.
#[derive(Clone)]
#[must_use = "a builder does nothing before start()"]
pub struct BrokerBuilder {
    settings: Settings,
    listen: SocketAddr,
    driver: Option<Driver>,
    has_own_users: bool,
    has_own_vhosts: bool,
}

impl Default for BrokerBuilder {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            driver: None,
            has_own_users: false,
            has_own_vhosts: false,
        }
    }
}

impl BrokerBuilder {
    /// Where to listen; port 0 is any free one.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// Somebody who may log in, with all rights everywhere. The first one takes the place of `guest`.
    pub fn user(mut self, name: impl Into<String>, password: impl Into<String>) -> Self {
        if !std::mem::replace(&mut self.has_own_users, true) {
            self.settings.users.clear();
        }
        self.settings.users.push(User {
            name: name.into(),
            password: password.into(),
        });
        self
    }

    /// A virtual host. The first one takes the place of `/`.
    pub fn vhost(mut self, name: impl Into<String>) -> Self {
        if !std::mem::replace(&mut self.has_own_vhosts, true) {
            self.settings.vhosts.clear();
        }
        self.settings.vhosts.push(name.into());
        self
    }

    /// Also offers SASL EXTERNAL. The name in the client's response is believed, as if its certificate had said it.
    pub fn external(mut self) -> Self {
        self.settings.has_external = true;
        self
    }

    /// Largest frame in octets that is offered to clients; 131,072 by default, at least 4096.
    pub fn frame_max(mut self, octets: u32) -> Self {
        self.settings.frame_max = octets.max(crate::protocol::FRAME_MIN_SIZE);
        self
    }

    /// Highest channel number that is offered to clients; 2047 by default, at least 1.
    pub fn channel_max(mut self, number: u16) -> Self {
        self.settings.channel_max = number.max(1);
        self
    }

    /// Interval of heartbeats that is offered to clients, in whole seconds; 60 by default, zero for none.
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        self.settings.heartbeat = interval;
        self
    }

    /// The most connections at a time; 1024 by default. Further ones are closed at once.
    pub fn connections_max(mut self, connections: usize) -> Self {
        self.settings.connections_max = connections;
        self
    }

    /// The largest body in octets; 128 MiB by default, as RabbitMQ's. A larger one closes its channel with 406.
    pub fn message_octets_max(mut self, octets: u64) -> Self {
        self.settings.message_octets_max = octets;
        self
    }

    /// Octets of all messages together from which on publishers are blocked, as by RabbitMQ's memory alarm; 1 GiB by default.
    pub fn memory_octets_max(mut self, octets: usize) -> Self {
        self.settings.memory_octets_max = octets;
        self
    }

    /// Keeps the last so many methods that clients sent, for [`Broker::received`]; none by default. The messages with them
    /// take no more than [`memory_octets_max`](Self::memory_octets_max): fewer are kept where they are large.
    pub fn record(mut self, methods_max: usize) -> Self {
        self.settings.records_max = methods_max;
        self
    }

    /// The driver; by default what [`Driver::Auto`] or the environment variable `AMQP_URING_DRIVER` says.
    pub fn driver(mut self, driver: Driver) -> Self {
        self.driver = Some(driver);
        self
    }

    /// Starts the broker: it listens when this returns.
    ///
    /// # Errors
    ///
    /// When it cannot listen, its driver or thread cannot be started, or nobody could log in.
    pub fn start(mut self) -> Result<Broker, BrokerError> {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        self.settings.started_at = since.map_or(0, |since| since.as_secs());
        let choice = Choice::new(self.driver)?;
        let socket = Listener::bind(self.listen)?;
        let address = socket.address();
        let uri = self.settings.uri(address)?;
        let (mailbox, server) = match choice.driver {
            Driver::Epoll => launch(self.settings, choice.driver, EpollDriver::new),
            #[cfg(feature = "tokio-uring")]
            Driver::TokioUring => launch(self.settings, choice.driver, TokioUringDriver::new),
            _ => launch(self.settings, choice.driver, UringDriver::new),
        }?;
        let mut broker = Broker {
            uri,
            address,
            handle: Handle::new(Arc::clone(&mailbox)),
            listener: None,
            server: Some(server),
        };
        broker.listener = Some(socket.start(mailbox)?);
        Ok(broker)
    }

    /// Starts the broker in a simulated world, at the address that it is to listen at: 127.0.0.1:5672 unless told
    /// otherwise. Its driver is the world's.
    ///
    /// # Errors
    ///
    /// When somebody listens at that address already, or nobody could log in.
    #[cfg(feature = "sim")]
    pub fn start_in(mut self, world: &sim::Handle) -> Result<SimBroker, BrokerError> {
        if self.listen.port() == 0 {
            self.listen.set_port(AMQP_PORT);
        }
        SimBroker::start(self.settings, self.listen, world)
    }
}

/// How other threads reach the broker's.
type Entrance = Arc<Mailbox<Command<TcpStream>>>;

/// Starts the broker's thread; it serves when this returns.
fn launch<D: Adopt<Socket = TcpStream> + 'static>(
    settings: Settings,
    kind: Driver,
    make: fn(&Options) -> Result<D, DriverError>,
) -> Result<(Entrance, JoinHandle<()>), BrokerError> {
    let mailbox = Arc::new(Mailbox::new());
    let (ready, started) = channel();
    let entrance = Arc::clone(&mailbox);
    let server = Builder::new()
        .name("amqp-broker".to_owned())
        .spawn(move || {
            let served = driver::run(kind, serve(settings, make, Arc::clone(&mailbox), ready));
            if let Err(error) = served.and_then(|served| served) {
                tracing::error!(%error, "the broker has stopped");
            }
            mailbox.close();
        })
        .map_err(BrokerError::Thread)?;
    match started.recv() {
        Ok(Ok(())) => Ok((entrance, server)),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(BrokerError::Stopped),
    }
}

/// Makes the driver where it is to run, says how that went, and serves.
async fn serve<D: Adopt<Socket = TcpStream>>(
    settings: Settings,
    make: fn(&Options) -> Result<D, DriverError>,
    mailbox: Entrance,
    ready: Sender<Result<(), DriverError>>,
) -> Result<(), DriverError> {
    let driver = match make(&Options::default()) {
        Ok(driver) => driver,
        Err(error) => {
            let _ = ready.send(Err(error));
            return Ok(());
        }
    };
    let core = Core::new(settings, driver.now());
    let server = Server::new(driver, core, mailbox);
    // Whoever started it may have gone: then it is stopped through the mailbox.
    let _ = ready.send(Ok(()));
    server.run().await
}
