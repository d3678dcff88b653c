//! What all who take part share, and the course of a run: things go wrong for a time, then everything must come to rest.

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use amqp_uring::broker::SimBroker;
use amqp_uring::driver::Options;
use amqp_uring::driver::sim::Handle;
use amqp_uring::{CloseReason, ConnectionError, Engine, Error, Event, Queue};
use fastrand::Rng;
use futures_util::future::{Either, join_all, select};
use tokio::sync::{Mutex, Notify};

use super::oracle::{Oracle, Rule};
use super::scenario::{MILLISECOND, SECOND, Scenario};
use super::{FAULT_TEXT, consuming, disturbing, publishing, visiting};

/// After the faults, slow handlers are done by then, heartbeats have found what is dead, and everything is open again.
const SETTLING: Duration = Duration::from_secs(500);
/// After that, this is more than enough for everything to be done.
const CALM_MAX: Duration = Duration::from_secs(1200);
/// What a shutdown gets when nothing goes wrong.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(60);
/// Where nobody listens.
const DEAD_NODE: &str = "amqp://10.0.0.99";
/// How long the last octets take.
const FAREWELL: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Disturbed,
    Calm,
    /// No connection is lost any more.
    Quiet,
    Closing,
}

pub struct Play {
    pub world: Handle,
    pub oracle: Oracle,
    pub scenario: Scenario,
    pub broker: SimBroker,
    seed: u64,
    engines: Vec<Mutex<Option<Rc<Engine>>>>,
    stage: Cell<Stage>,
    stage_changed: Notify,
    /// The same for handlers, which are no tasks.
    calm: Arc<AtomicBool>,
    quiet: Arc<AtomicBool>,
    is_over: Cell<bool>,
}

impl Play {
    pub fn new(
        world: Handle,
        oracle: Oracle,
        scenario: Scenario,
        broker: SimBroker,
        seed: u64,
    ) -> Self {
        Self {
            world,
            oracle,
            engines: scenario.engines.iter().map(|_| Mutex::default()).collect(),
            scenario,
            broker,
            seed,
            stage: Cell::new(Stage::Disturbed),
            stage_changed: Notify::new(),
            calm: Arc::default(),
            quiet: Arc::default(),
            is_over: Cell::new(false),
        }
    }

    pub fn is_over(&self) -> bool {
        self.is_over.get()
    }

    /// A source of chance for one who takes part.
    pub fn random(&self, who: u64) -> Rng {
        Rng::with_seed(self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ who)
    }

    pub fn queue(&self, index: usize) -> Queue {
        let spec = &self.scenario.queues[index];
        let queue = match spec.is_durable {
            true => Queue::durable(&spec.name),
            false => Queue::transient(&spec.name),
        };
        match spec.dead_letters {
            Some(dead) => queue.argument("x-dead-letter-exchange", "").argument(
                "x-dead-letter-routing-key",
                &*self.scenario.queues[dead].name,
            ),
            None => queue,
        }
    }

    /// Declares a queue, and where its dead letters go.
    pub async fn declare(&self, engine: &Engine, index: usize) -> Result<(), Error> {
        if let Some(dead) = self.scenario.queues[index].dead_letters {
            engine.declare(&self.queue(dead)).await?;
        }
        engine.declare(&self.queue(index)).await.map(drop)
    }

    /// One of the engines, which is started for whoever comes first.
    pub async fn engine(&self, index: usize) -> Rc<Engine> {
        let mut place = self.engines[index].lock().await;
        loop {
            if let Some(engine) = &*place {
                return Rc::clone(engine);
            }
            match self.start_engine(index).await {
                Ok(engine) => *place = Some(Rc::new(engine)),
                Err(error) => {
                    self.oracle.fails("engine {} cannot start:", index, &error);
                    self.world.sleep(SECOND).await;
                }
            }
        }
    }

    /// Takes an engine away, if it is there: the next one who comes starts another.
    pub async fn take_engine(&self, index: usize) -> Option<Rc<Engine>> {
        self.engines[index].lock().await.take()
    }

    async fn start_engine(&self, index: usize) -> Result<Engine, Error> {
        let spec = &self.scenario.engines[index];
        let (oracle, quiet) = (self.oracle.clone(), Arc::clone(&self.quiet));
        let builder = match spec.has_dead_node {
            true => Engine::builder().uri(DEAD_NODE),
            false => Engine::builder(),
        };
        builder
            .uri(self.broker.uri())
            .workers(spec.workers)
            .heartbeat(spec.heartbeat)
            .connect_timeout(spec.connect_timeout)
            .frame_max(spec.frame_max)
            .driver_options(Options {
                plain_chunks: spec.chunks,
                plain_chunk_octets: spec.chunk_octets,
                ..Options::default()
            })
            .on_event(move |event| hear(&oracle, &quiet, index, event))
            .start_in(&self.world)
            .await
    }

    /// Looks at what can be seen of the engines.
    pub fn check(&self) {
        for engine in &self.engines {
            if let Ok(engine) = engine.try_lock()
                && let Some(engine) = &*engine
            {
                self.oracle.check_chunks(&engine.stats());
            }
        }
    }
}

/// An engine tells what happens to it.
fn hear(oracle: &Oracle, quiet: &AtomicBool, index: usize, event: &Event) {
    oracle.say("engine {}:", index, format!("{event:?}"));
    let Event::ConnectionLost { cause, .. } = event else {
        return;
    };
    if quiet.load(Ordering::Relaxed) {
        let how = format!("engine {index}, where nothing goes wrong any more: {event:?}");
        oracle.violated(Rule::Rests, how);
    }
    let is_plausible = match cause {
        ConnectionError::Lost(_) | ConnectionError::HeartbeatMissed { .. } => true,
        ConnectionError::ClosedByBroker(CloseReason { text, .. }) => text.contains(FAULT_TEXT),
        _ => false,
    };
    if !is_plausible {
        oracle.violated(Rule::Protocol, format!("engine {index}: {event:?}"));
    }
}

/// The stage of the play.
impl Play {
    pub fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    pub fn calm_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.calm)
    }

    pub fn is_closing(&self) -> bool {
        self.stage.get() == Stage::Closing
    }

    /// Waits, but not beyond the end of the faults.
    pub async fn unless_calm(&self, duration: Duration) {
        self.unless(Stage::Calm, duration).await;
    }

    /// Waits, but not beyond the end of everything.
    pub async fn unless_closing(&self, duration: Duration) {
        self.unless(Stage::Closing, duration).await;
    }

    async fn unless(&self, stage: Stage, duration: Duration) {
        let reached = pin!(self.reached(stage));
        select(self.world.sleep(duration), reached).await;
    }

    async fn reached(&self, stage: Stage) {
        loop {
            let changed = self.stage_changed.notified();
            if self.stage.get() >= stage {
                return;
            }
            changed.await;
        }
    }

    fn enter(&self, stage: Stage) {
        self.oracle.say("", 0, format!("{stage:?}"));
        self.calm.store(stage >= Stage::Calm, Ordering::Relaxed);
        self.quiet.store(stage >= Stage::Quiet, Ordering::Relaxed);
        self.stage.set(stage);
        self.stage_changed.notify_waiters();
    }

    /// Awaits something that must come about in time.
    async fn within<T>(
        &self,
        limit: Duration,
        what: &str,
        future: impl Future<Output = T>,
    ) -> Option<T> {
        let (future, limit_passes) = (pin!(future), self.world.sleep(limit));
        match select(future, limit_passes).await {
            Either::Left((value, _)) => Some(value),
            Either::Right(_) => {
                let state = self.broker.state().await;
                let how = format!("{what}: not within {limit:?}; the broker: {state:?}");
                self.oracle.violated(Rule::Rests, how);
                None
            }
        }
    }
}

/// The course of things.
impl Play {
    pub async fn perform(self: Rc<Self>) {
        if self.act().await.is_some() {
            self.oracle.check_end();
        }
        self.is_over.set(true);
    }

    async fn act(self: &Rc<Self>) -> Option<()> {
        let spawn_publisher = |index| {
            self.world
                .spawn(publishing::publish(Rc::clone(self), index))
        };
        let publishers: Vec<_> = (0..self.scenario.publishers.len())
            .map(spawn_publisher)
            .collect();
        let spawn_consumer = |index| self.world.spawn(consuming::consume(Rc::clone(self), index));
        let consumers: Vec<_> = (0..self.scenario.consumers.len())
            .map(spawn_consumer)
            .collect();
        for index in 0..self.scenario.visitors.len() {
            self.world.spawn(visiting::visit(Rc::clone(self), index));
        }
        if let Some(every) = self.scenario.restarts_every {
            self.world.spawn(visiting::restart(Rc::clone(self), every));
        }
        disturbing::disturb(self).await;
        self.enter(Stage::Calm);
        self.world.sleep(SETTLING).await;
        self.enter(Stage::Quiet);
        self.within(CALM_MAX, "everything is published", join_all(publishers))
            .await?;
        self.within(CALM_MAX, "all queues are empty", self.emptied())
            .await?;
        self.enter(Stage::Closing);
        if self.scenario.is_tidy {
            self.within(CALM_MAX, "all consumers are cancelled", join_all(consumers))
                .await?;
            self.shut_down().await?;
        } else {
            self.shut_down().await?;
            self.within(CALM_MAX, "all consumers have ended", join_all(consumers))
                .await?;
        }
        self.world.sleep(FAREWELL).await;
        self.check_left().await;
        Some(())
    }

    async fn emptied(&self) {
        loop {
            if let Ok(state) = self.broker.state().await
                && state
                    .queues
                    .values()
                    .all(|queue| queue.ready + queue.unacked == 0)
            {
                return;
            }
            self.world.sleep(MILLISECOND * 100).await;
        }
    }

    async fn shut_down(&self) -> Option<()> {
        for (index, engine) in self.engines.iter().enumerate() {
            let Some(engine) = engine.lock().await.take() else {
                continue;
            };
            let limit = SHUTDOWN_TIMEOUT + SECOND;
            let outcome = self
                .within(
                    limit,
                    "an engine is shut down",
                    engine.close(SHUTDOWN_TIMEOUT),
                )
                .await?;
            if let Err(error) = outcome {
                self.oracle
                    .violated(Rule::Ends, format!("engine {index}: {error}"));
            }
        }
        Some(())
    }

    /// Nothing may be left.
    async fn check_left(&self) {
        let Ok(state) = self.broker.state().await else {
            return self.oracle.violated(Rule::Panics, "the broker has stopped");
        };
        let wires = self.world.wires(self.broker.address()).len();
        let consumers: u32 = state.queues.values().map(|queue| queue.consumers).sum();
        if state.connections + wires + consumers as usize > 0 {
            let how = format!(
                "{} connections, {wires} wires, {consumers} consumers are left",
                state.connections
            );
            self.oracle.violated(Rule::Ends, how);
        }
    }
}
