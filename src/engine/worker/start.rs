//! How a worker comes to life, and how an engine learns that all of them have.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

use slab::Slab;

use super::line::Line;
use super::{Candidate, MAIN, Worker};
use crate::connection::ConnectionError;
use crate::driver::Driver;
use crate::driver::uring::UringDriver;
use crate::engine::Engine;
use crate::engine::call::{Answer, mark_worker_thread};
use crate::engine::error::{ConnectFailure, Error};
use crate::engine::mailbox::Mailbox;
use crate::engine::settings::Settings;

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

/// Starts the thread of a worker.
pub(in crate::engine) fn spawn(
    index: usize,
    settings: &Arc<Settings>,
    mailbox: &Arc<Mailbox>,
    gate: &Arc<StartGate>,
) -> io::Result<JoinHandle<()>> {
    let (settings, mailbox, gate) = (Arc::clone(settings), Arc::clone(mailbox), Arc::clone(gate));
    Builder::new()
        .name(thread_name(&settings, index))
        .spawn(move || {
            mark_worker_thread();
            let _closes = CloseOnDrop(Arc::clone(&mailbox));
            if let Err(error) = live(index, settings, mailbox, &gate) {
                tracing::error!(worker = index, %error, "a worker ended");
                gate.fail(error);
            }
        })
}

/// Linux shows 15 octets of it.
fn thread_name(settings: &Settings, index: usize) -> String {
    let name = settings.client_properties.get("connection_name");
    match name.and_then(|name| name.as_str()) {
        Some(name) => format!("{}-{index}", name.replace('\0', "")),
        None => format!("amqp-uring-{index}"),
    }
}

fn live(
    index: usize,
    settings: Arc<Settings>,
    mailbox: Arc<Mailbox>,
    gate: &Arc<StartGate>,
) -> Result<(), Error> {
    pin(index, &settings)?;
    let candidates = resolve(&settings)?;
    // The ring belongs to the thread that makes it.
    let driver = UringDriver::new(&settings.driver)?;
    mailbox.set_waker(driver.waker());
    let mut worker = Worker {
        index,
        driver,
        mailbox,
        settings,
        candidates,
        lines: [Line::default(), Line::default()],
        consumers: Slab::new(),
        publishers: Slab::new(),
        serial: 0,
        panicked: Vec::new(),
        shutdown: None,
        gate: Some(Arc::clone(gate)),
        start_failed: None,
    };
    worker.ensure_line(MAIN, Instant::now());
    let result = catch_unwind(AssertUnwindSafe(|| worker.run())).unwrap_or_else(|_| {
        let what = "it panicked, which is a bug; the panic's message is on standard error";
        Err(Error::Driver(what.into()))
    });
    if let Err(error) = &result {
        worker.fail_all(error);
    }
    result
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
fn resolve(settings: &Settings) -> Result<Vec<Candidate>, Error> {
    let mut failures: Vec<ConnectFailure> = Vec::new();
    let mut candidates = Vec::new();
    for (node, settings) in settings.nodes.iter().enumerate() {
        match settings.resolve() {
            Ok(addresses) => candidates.extend(
                addresses
                    .into_iter()
                    .map(|address| Candidate { node, address }),
            ),
            Err(failure) => failures.push(failure),
        }
    }
    if candidates.is_empty() {
        return Err(Error::Connect(failures));
    }
    Ok(candidates)
}

impl<D: Driver> Worker<D> {
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
        let now = Instant::now();
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
