//! How an engine is put together.

use std::time::Duration;

use super::Engine;
use super::call::Call;
use super::error::Error;
use super::event::{Event, Listener};
use super::node::Node;
use super::settings::Settings;
use crate::driver::{Driver, Options};
use crate::protocol::{FRAME_MIN_SIZE, Value};

/// The most workers of one engine.
pub const WORKERS_MAX: usize = 1024;

/// Collects what an engine is made with; faults are reported by [`EngineBuilder::start`].
///
/// ```no_run
/// use std::time::Duration;
/// use amqp_uring::Engine;
///
/// let engine = Engine::builder()
///     .uri("amqp://guest:guest@localhost")
///     .connection_name("orders-ingest")
///     .workers(2)
///     .heartbeat(Duration::from_secs(20))
///     .start()
///     .wait(Duration::from_secs(15))?;
/// # Ok::<(), amqp_uring::Error>(())
/// ```
#[derive(Debug, Default)]
#[must_use = "nothing happens until start() is called"]
pub struct EngineBuilder {
    settings: Settings,
    fault: Option<Error>,
}

impl EngineBuilder {
    /// Adds a node by its AMQP URI. Several nodes are tried in the order in which they were added.
    pub fn uri(mut self, uri: &str) -> Self {
        match uri.parse() {
            Ok(node) => self.settings.nodes.push(node),
            Err(error) => self.blame(error),
        }
        self
    }

    /// Adds a node.
    pub fn node(mut self, node: Node) -> Self {
        if let Err(error) = node.check() {
            self.blame(error);
        }
        self.settings.nodes.push(node);
        self
    }

    /// How many workers: threads with a ring and a connection each, 1 unless set, at most [`WORKERS_MAX`].
    /// Consumers and publishers are placed on them by turns.
    pub fn workers(mut self, workers: usize) -> Self {
        if workers == 0 || workers > WORKERS_MAX {
            let why = format!("{workers} is not from 1 to {WORKERS_MAX}");
            self.blame(Error::parameter("workers", why));
        }
        self.settings.workers = workers;
        self
    }

    /// Pins worker `i` to the `i`-th of these cores, by turns. Unless set, the scheduler decides.
    pub fn pin_workers(mut self, cores: impl IntoIterator<Item = usize>) -> Self {
        self.settings.cores = cores.into_iter().collect();
        self
    }

    /// How long connecting may take for each address, handshake included; 10 s unless set here or in the URI.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.settings.connect_timeout = Some(timeout);
        self
    }

    /// How long operations that block may take ([`Engine::consume`], [`Engine::publisher`]); 30 s unless set.
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.settings.call_timeout = timeout;
        self
    }

    /// The heartbeat interval to propose, in whole seconds; the broker's counts when it is smaller. Zero turns heartbeats off.
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        self.settings.heartbeat = Some(interval);
        self
    }

    /// The largest frame to propose, in octets, at least 4096. RabbitMQ 4.1 refuses less than 8192.
    pub fn frame_max(mut self, octets: u32) -> Self {
        if octets < FRAME_MIN_SIZE {
            let why = format!("{octets} octets; AMQP asks for at least {FRAME_MIN_SIZE}");
            self.blame(Error::parameter("frame_max", why));
        }
        self.settings.frame_max = Some(octets);
        self
    }

    /// The number of channels to propose for each connection; 0 leaves it to the broker.
    pub fn channel_max(mut self, channels: u16) -> Self {
        self.settings.channel_max = Some(channels);
        self
    }

    /// The largest body accepted, in octets; a larger one closes the connection. 512 MiB unless set, the most that RabbitMQ can carry.
    pub fn body_size_max(mut self, octets: u64) -> Self {
        self.settings.body_size_max = octets;
        self
    }

    /// What the broker's management shows as this connection's name; also the name of the workers' threads.
    pub fn connection_name(self, name: &str) -> Self {
        self.client_property("connection_name", name)
    }

    /// Adds a client property (`connection.start-ok`).
    pub fn client_property<'v>(mut self, name: &str, value: impl Into<Value<'v>>) -> Self {
        if let Err(error) = self.settings.client_properties.insert(name, value) {
            self.blame(error.into());
        }
        self
    }

    /// What moves the octets. Unless set, the environment variable `AMQP_URING_DRIVER` decides (`auto`, `uring`, `epoll`,
    /// `tokio-uring`), and without it [`Driver::Auto`]. [`Engine::stats`] says which one runs and why.
    pub fn driver(mut self, driver: Driver) -> Self {
        self.settings.driver = Some(driver);
        self
    }

    /// The numbers of each worker's driver: chunks, their size, queue lengths.
    pub fn driver_options(mut self, options: Options) -> Self {
        self.settings.driver_options = options;
        self
    }

    /// Calls `listener` for each [`Event`], on a worker's thread: it must not block.
    pub fn on_event(mut self, listener: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        let listener: Listener = Box::new(listener);
        self.settings.listeners.0 = Some(listener);
        self
    }

    /// Starts the workers and connects them; answered when every one is connected.
    ///
    /// The answer comes within the connect timeout for each address of each node. Its errors: [`Error::Parameter`] for what was wrong in this
    /// builder, [`Error::Connect`] with the last cause for each address, [`Error::Driver`] when
    /// the driver that was asked for is not to be had, with what to do.
    pub fn start(self) -> Call<Engine> {
        match self.settings() {
            Ok(settings) => Engine::start(settings),
            Err(fault) => Call::ready(Err(fault)),
        }
    }

    /// As [`EngineBuilder::start`], for a thread that runs tasks already: the one worker is a future that the caller
    /// spawns there, instead of a thread. It runs on [`Driver::TokioUring`], within `tokio_uring::start` or a
    /// `tokio::task::LocalSet` of a runtime with its I/O and timers turned on.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use amqp_uring::Engine;
    /// tokio_uring::start(async {
    ///     let (engine, worker) = Engine::builder().uri("amqp://localhost").start_local();
    ///     let worker = tokio_uring::spawn(worker);
    ///     let engine = engine.await?;
    ///     // …
    ///     engine.close(Duration::from_secs(5)).await?;
    ///     worker.await.expect("the worker's task ends by itself")
    /// })?;
    /// # Ok::<(), amqp_uring::Error>(())
    /// ```
    ///
    /// Handlers run within the worker's task; what takes long belongs into a task of its own
    /// ([`Engine::consume_async`](super::Engine::consume_async)). On this thread the engine's operations are to be
    /// awaited: those that would block it fail with [`Error::WouldBlockWorker`]. Dropping the worker closes its
    /// connections without a word.
    ///
    /// The call's errors are those of [`EngineBuilder::start`]; more than one worker, pinning or another driver is an
    /// [`Error::Parameter`].
    #[cfg(feature = "tokio-uring")]
    pub fn start_local(self) -> (Call<Engine>, super::LocalWorker) {
        match self.local_settings() {
            Ok(settings) => Engine::start_local(settings),
            Err(fault) => (Call::ready(Err(fault)), super::LocalWorker::over()),
        }
    }

    /// As [`EngineBuilder::start`], in a simulated world: workers are tasks of the world and run on [`Driver::Sim`].
    /// Hosts are those that the world knows ([`Handle::name`](crate::driver::sim::Handle::name)) or addresses; nothing
    /// asks a resolver.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use amqp_uring::{Engine, PublisherOptions, Properties};
    /// use amqp_uring::driver::sim::World;
    ///
    /// let world = World::new(42);
    /// // … a broker that listens at this address
    /// let started = Engine::builder().uri("amqp://10.0.0.1").start_in(&world);
    /// let engine = world.run(Duration::from_secs(10), started.into_future())??;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// The engine's operations are to be awaited in the world: those that would block its thread fail with
    /// [`Error::WouldBlockWorker`]. Time limits of handles that wait without the world, as that of
    /// [`Publisher::publish`](super::Publisher::publish) at its window, know no simulated time.
    ///
    /// The call's errors are those of [`EngineBuilder::start`]; pinning or another driver is an [`Error::Parameter`].
    #[cfg(feature = "sim")]
    pub fn start_in(self, world: &crate::driver::sim::Handle) -> Call<Engine> {
        let settings = self
            .settings()
            .and_then(|settings| beside_threads(settings, Driver::Sim));
        match settings {
            Ok(settings) => Engine::start_in(settings, world),
            Err(fault) => Call::ready(Err(fault)),
        }
    }

    #[cfg(feature = "tokio-uring")]
    fn local_settings(self) -> Result<Settings, Error> {
        let settings = self.settings()?;
        if settings.workers != 1 {
            let why = format!("a thread has one worker, not {}", settings.workers);
            return Err(Error::parameter("workers", why));
        }
        beside_threads(settings, Driver::TokioUring)
    }

    fn settings(mut self) -> Result<Settings, Error> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if self.settings.nodes.is_empty() {
            self.settings.nodes.push(Node::new("localhost"));
        }
        Ok(self.settings)
    }

    /// How long [`EngineBuilder::start`] takes at most, if each node's name has `addresses` addresses.
    pub(super) fn start_timeout(&self, addresses: u32) -> Duration {
        self.settings
            .nodes
            .iter()
            .map(|node| self.settings.connect_timeout(node) * addresses)
            .sum::<Duration>()
            .max(Duration::from_secs(1))
    }

    fn blame(&mut self, error: Error) {
        self.fault.get_or_insert(error);
    }
}

/// Workers that are tasks: they have no thread to pin, and one driver that fits.
#[cfg(any(feature = "tokio-uring", feature = "sim"))]
fn beside_threads(settings: Settings, fits: Driver) -> Result<Settings, Error> {
    if !settings.cores.is_empty() {
        let why = "the thread is the program's own to pin";
        return Err(Error::parameter("pin_workers", why));
    }
    match settings.driver {
        None | Some(Driver::Auto) => Ok(settings),
        Some(driver) if driver == fits => Ok(settings),
        Some(driver) => {
            let why = format!("{driver} does not run here, only {fits} does: use start()");
            Err(Error::parameter("driver", why))
        }
    }
}
