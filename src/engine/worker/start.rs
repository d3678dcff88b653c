//! How a worker comes to life, and how an engine learns that all of them have.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

use slab::Slab;

use super::line::Line;
use super::{Candidate, MAIN, Worker};
use crate::connection::ConnectionError;
use crate::driver::epoll::EpollDriver;
#[cfg(feature = "sim")]
use crate::driver::sim;
#[cfg(feature = "tokio-uring")]
use crate::driver::tokio_uring::TokioUringDriver;
use crate::driver::uring::UringDriver;
use crate::driver::{self, Drive, Driver, DriverError, Options};
use crate::engine::Engine;
use crate::engine::call::{Answer, WorkerThread};
use crate::engine::command::Mailbox;
use crate::engine::error::{ConnectFailure, Error};
use crate::engine::node::Node;
use crate::engine::settings::Settings;
use crate::engine::stats::Board;

/// Answers the start of an engine once every worker is connected, or with the first failure.
pub(in crate::engine) struct StartGate(Mutex<Gate>);

struct Gate {
    missing: usize,
    answer: Option<Answer<Engine>>,
    engine: Option<Engine>,
}

impl StartGate {
    pub fn new(workers: usize, answer: Answer<Engine>) -> Self {
        StartGate(Mutex::new(Gate {
            missing: workers,
            answer: Some(answer),
            engine: None,
        }))
    }

    pub fn set_engine(&self, engine: Engine) {
        let mut gate = self.lock();
        gate.engine = Some(engine);
        Self::pass(gate);
    }

    pub fn opened(&self) {
        let mut gate = self.lock();
        gate.missing = gate.missing.saturating_sub(1);
        Self::pass(gate);
    }

    pub fn fail(&self, error: Error) {
        let mut gate = self.lock();
        let answer = gate.answer.take();
        // Dropping the engine stops the other workers; not under the lock, which they may want.
        let engine = gate.engine.take();
        drop(gate);
        if let Some(answer) = answer {
            let _ = answer.send(Err(error));
        }
        drop(engine);
    }

    fn pass(mut gate: MutexGuard<'_, Gate>) {
        if gate.answer.is_none() {
            // It failed before: the engine, if it came later, has nobody to go to.
            let engine = gate.engine.take();
            drop(gate);
            drop(engine);
            return;
        }
        if gate.missing == 0
            && let Some(engine) = gate.engine.take()
            && let Some(answer) = gate.answer.take()
        {
            drop(gate);
            // Nobody waits any more: the engine ends where it is.
            drop(answer.send(Ok(engine)));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Gate> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Refuses all further commands when a worker ends, whatever ended it.
struct CloseOnDrop(Arc<Mailbox>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// A worker about to start.
pub(in crate::engine) struct Starting {
    pub index: usize,
    pub settings: Arc<Settings>,
    pub mailbox: Arc<Mailbox>,
    pub board: Arc<Board>,
    pub gate: Arc<StartGate>,
}

/// Starts a worker on a thread of its own.
pub(in crate::engine) fn on_thread(
    starting: Starting,
    driver: Driver,
) -> io::Result<JoinHandle<()>> {
    Builder::new()
        .name(thread_name(&starting.settings, starting.index))
        .spawn(move || {
            let gate = Arc::clone(&starting.gate);
            let (index, closes) = (starting.index, CloseOnDrop(Arc::clone(&starting.mailbox)));
            let names = Node::resolve;
            let outcome = pin(index, &starting.settings).and_then(|()| {
                driver::run(driver, async move {
                    match driver {
                        Driver::Epoll => starting.live(EpollDriver::new, names).await,
                        #[cfg(feature = "tokio-uring")]
                        Driver::TokioUring => starting.live(TokioUringDriver::new, names).await,
                        // Those that are not in this build, or have no thread, were refused before.
                        _ => starting.live(UringDriver::new, names).await,
                    }
                })?
            });
            report(index, &gate, &outcome);
            drop(closes);
        })
}

/// A worker that lives on the caller's thread: see [`EngineBuilder::start_local`](crate::EngineBuilder::start_local). It
/// is done when the engine has ended, with the error that ended it, if one did.
#[cfg(feature = "tokio-uring")]
#[must_use = "a worker does nothing unless it is spawned or awaited"]
pub struct LocalWorker(std::pin::Pin<Box<dyn Future<Output = Result<(), Error>>>>);

#[cfg(feature = "tokio-uring")]
impl LocalWorker {
    pub(in crate::engine) fn new(starting: Starting) -> Self {
        LocalWorker(Box::pin(
            starting.task(TokioUringDriver::new, Node::resolve),
        ))
    }

    /// One that has nothing to do.
    pub(in crate::engine) fn over() -> Self {
        LocalWorker(Box::pin(std::future::ready(Ok(()))))
    }
}

#[cfg(feature = "tokio-uring")]
impl Future for LocalWorker {
    type Output = Result<(), Error>;

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> Poll<Self::Output> {
        self.0.as_mut().poll(context)
    }
}

#[cfg(feature = "tokio-uring")]
impl std::fmt::Debug for LocalWorker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LocalWorker")
    }
}

/// Starts a worker as a task of a simulated world.
#[cfg(feature = "sim")]
pub(in crate::engine) fn in_world(starting: Starting, world: &sim::Handle) {
    let (drivers, names) = (world.clone(), world.clone());
    world.spawn(starting.task(
        move |options| drivers.driver(options),
        move |node| node.resolve_in(&names),
    ));
}

/// Tells those who wait for the start, if anybody does, why a worker ended.
fn report(index: usize, gate: &StartGate, outcome: &Result<(), Error>) {
    if let Err(error) = outcome {
        tracing::error!(worker = index, %error, "a worker ended");
        gate.fail(error.clone());
    }
}

/// Linux shows 15 octets of it.
fn thread_name(settings: &Settings, index: usize) -> String {
    let name = settings.client_properties.get("connection_name");
    match name.and_then(|name| name.as_str()) {
        Some(name) => format!("{}-{index}", name.replace('\0', "")),
        None => format!("amqp-uring-{index}"),
    }
}

/// The addresses of a node, or why it has none.
type Addresses = Result<Vec<SocketAddr>, ConnectFailure>;

impl Starting {
    /// The worker as a future, for whoever runs it. When that is dropped, all further commands are refused.
    #[cfg(any(feature = "tokio-uring", feature = "sim"))]
    fn task<D: Drive>(
        self,
        driver: impl FnOnce(&Options) -> Result<D, DriverError>,
        resolve: impl Fn(&Node) -> Addresses,
    ) -> impl Future<Output = Result<(), Error>> {
        let (index, gate) = (self.index, Arc::clone(&self.gate));
        let closes = CloseOnDrop(Arc::clone(&self.mailbox));
        async move {
            let outcome = self.live(driver, resolve).await;
            report(index, &gate, &outcome);
            drop(closes);
            outcome
        }
    }

    /// Makes the worker, whose driver belongs to the thread that makes it, and runs it to its end.
    async fn live<D: Drive>(
        self,
        driver: impl FnOnce(&Options) -> Result<D, DriverError>,
        resolve: impl Fn(&Node) -> Addresses,
    ) -> Result<(), Error> {
        let _mark = WorkerThread::mark();
        let candidates = candidates(&self.settings, resolve)?;
        let driver = driver(&self.settings.driver_options)?;
        self.mailbox.set_waker(driver.waker());
        let mut worker = Worker {
            index: self.index,
            driver,
            mailbox: self.mailbox,
            board: self.board,
            settings: self.settings,
            candidates,
            lines: [Line::default(), Line::default()],
            consumers: Slab::new(),
            publishers: Slab::new(),
            serial: 0,
            panicked: Vec::new(),
            batches_due: None,
            shutdown: None,
            is_restless: false,
            gate: Some(self.gate),
            start_failed: None,
        };
        worker.ensure_line(MAIN, worker.driver.now());
        let result = unwound(worker.run()).await.unwrap_or_else(|| {
            let what = "it panicked, which is a bug; the panic's message is on standard error";
            Err(Error::Driver(what.into()))
        });
        if let Err(error) = &result {
            worker.fail_all(error);
        }
        result
    }
}

/// Awaits a future; `None` when it panicked.
async fn unwound<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    poll_fn(|context| {
        catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context)))
            .map_or(Poll::Ready(None), |poll| poll.map(Some))
    })
    .await
}

fn pin(index: usize, settings: &Settings) -> Result<(), Error> {
    let Some(core) = settings.cores.get(index % settings.cores.len().max(1)) else {
        return Ok(());
    };
    let mut set = rustix::thread::CpuSet::new();
    if *core >= rustix::thread::CpuSet::MAX_CPU {
        let why = format!("there is no core {core}");
        return Err(Error::parameter("pin_workers", why));
    }
    set.set(*core);
    rustix::thread::sched_setaffinity(None, &set).map_err(|error| {
        let why = format!("core {core}: {error}; is it among those this process may use?");
        Error::parameter("pin_workers", why)
    })
}

/// The addresses of all nodes. Those that cannot be resolved are left out while there are others.
fn candidates(
    settings: &Settings,
    resolve: impl Fn(&Node) -> Addresses,
) -> Result<Vec<Candidate>, Error> {
    let mut failures: Vec<ConnectFailure> = Vec::new();
    let mut candidates = Vec::new();
    for (index, node) in settings.nodes.iter().enumerate() {
        match resolve(node) {
            Ok(addresses) => {
                let found = addresses.into_iter();
                candidates.extend(found.map(|address| Candidate {
                    node: index,
                    address,
                }));
            }
            Err(failure) => failures.push(failure),
        }
    }
    if candidates.is_empty() {
        return Err(Error::Connect(failures));
    }
    Ok(candidates)
}

impl<D: Drive> Worker<D> {
    pub(super) fn gate_opened(&mut self) {
        if let Some(gate) = self.gate.take() {
            gate.opened();
        }
    }

    /// No node could be connected. At the start that ends the worker; later, only those who asked are told.
    pub(super) fn gate_failed(&mut self, error: Error) {
        if self.gate.take().is_some() {
            self.start_failed = Some(error);
        }
    }

    /// The driver cannot go on: everybody is told.
    fn fail_all(&mut self, error: &Error) {
        let now = self.driver.now();
        let cause = ConnectionError::Lost(error.to_string());
        for line in 0..self.lines.len() {
            if let Some(session) = &mut self.lines[line].session {
                session.connection.abandon(cause.clone());
            }
            self.events(line, now);
        }
    }

    /// Gives up a connection without a word.
    pub(super) fn abandon(&mut self, line: usize, now: Instant) {
        if let Some(session) = &mut self.lines[line].session {
            session.connection.abandon(ConnectionError::ClosedByClient);
        }
        self.events(line, now);
        self.drop_session(line);
    }
}
