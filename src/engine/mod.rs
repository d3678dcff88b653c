//! What a user holds: workers that run connections, and handles that speak to them.
//!
//! ```text
//!  user's threads                                   worker's thread (one ring, one loop)
//!  Engine, Consumer ── Command ──▶ Mailbox ──▶ Worker ──▶ Line (connection + inbox) ◀──▶ Driver
//!  Publisher ──▶ Outlet ◀───────────────────────┘ │
//!                                                 └──▶ handlers, in place
//! ```
//!
//! | file | concern |
//! |---|---|
//! | `builder`, `settings`, `node` | what an engine is made with |
//! | `worker`, `line`, `hands` | the loop, one connection in it, and what deliveries and confirms do |
//! | `command`, `call` | how other threads reach a worker, and get their answers |
//! | `consumer`, `delivery` | consuming |
//! | `region` | views of what was received |
//! | `batch`, `batcher` | consuming in batches |
//! | `deliveries` | consuming as a stream, and with asynchronous handlers |
//! | `publisher`, `outlet` | publishing |
//! | `pipeline` | acks that wait for confirms |
//! | `topology` | exchanges, queues, bindings |
//! | `event`, `error` | what happens, and what goes wrong |
//!
//! Each worker has up to two connections: one for consumers and everything else, and, once there is a publisher on it, one for publishers. A
//! broker that has blocked publishers stops reading their connection: acks must not wait there.

#![forbid(unsafe_code)]

mod batch;
mod batcher;
mod builder;
mod call;
mod command;
mod consumer;
mod deliveries;
mod delivery;
mod error;
mod event;
mod hands;
mod node;
mod outlet;
mod pipeline;
mod publisher;
mod region;
mod settings;
mod stats;
mod topology;
mod worker;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use batch::{Batch, BatchDelivery, BatchPolicy, DetachedBatch};
pub use builder::{EngineBuilder, WORKERS_MAX};
pub use call::{Call, CallFuture};
pub use consumer::{
    CancelReason, Consumer, ConsumerBuilder, ConsumerState, IN_FLIGHT_DEFAULT, PREFETCH_DEFAULT,
};
pub use deliveries::Deliveries;
pub use delivery::{Acker, Delivery, DetachedDelivery, Disposition, Message};
pub use error::{ConnectCause, ConnectFailure, Error};
pub use event::Event;
pub use node::{Node, PORT_DEFAULT};
pub use outlet::UNCOPIED_BODY_OCTETS_MIN;
pub use publisher::{
    ConfirmReport, Payload, Publisher, PublisherOptions, Receipt, UnconfirmedPublisher,
};
pub use settings::{CALL_TIMEOUT_DEFAULT, CONNECT_TIMEOUT_DEFAULT, HEARTBEAT_DEFAULT};
pub use stats::{EngineStats, WorkerStats};
pub use topology::{Binding, DeleteIf, Exchange, Queue, QueueInfo};
#[cfg(feature = "tokio-uring")]
pub use worker::LocalWorker;

use call::{Answer, deadline_in, is_worker_thread};
use command::{Command, Job, Mailbox, TopologyAnswer};
use publisher::Handle;
use settings::Settings;
use stats::Board;
use topology::Operation;
use worker::{StartGate, Starting};

use crate::driver::{Choice, Driver, Reason};

/// How long dropping an engine takes at most.
const DROP_TIMEOUT: Duration = Duration::from_secs(5);

/// How much longer than its timeout a shutdown may be waited for: the worker answers by itself at the timeout.
const SHUTDOWN_GRACE: Duration = Duration::from_millis(250);

/// An engine: workers with their connections to one broker. `Send + Sync`; share it in an `Arc`.
///
/// Dropping it shuts it down, within 5 seconds.
pub struct Engine {
    settings: Arc<Settings>,
    choice: Choice,
    mailboxes: Vec<Arc<Mailbox>>,
    boards: Vec<Arc<Board>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Whether somebody has waited for its end.
    was_ended: AtomicBool,
    next_consumer: AtomicUsize,
    next_publisher: AtomicUsize,
}

impl Engine {
    /// Connects one worker to the node of this AMQP URI (<https://www.rabbitmq.com/docs/uri-spec>), and returns when the connection is open.
    ///
    /// # Errors
    /// Those of [`EngineBuilder::start`].
    pub fn connect(uri: &str) -> Result<Engine, Error> {
        let builder = Engine::builder().uri(uri);
        // A name may have many addresses; the answer comes by itself when all of them have failed.
        let timeout = builder.start_timeout(16);
        builder.start().wait(timeout)
    }

    /// Begins an engine with options.
    pub fn builder() -> EngineBuilder {
        EngineBuilder::default()
    }

    fn start(settings: Settings) -> Call<Engine> {
        let choice = match Choice::new(settings.driver) {
            Ok(choice) => choice,
            Err(error) => return Call::ready(Err(error.into())),
        };
        if let Reason::NoUring(_) = choice.reason {
            tracing::warn!(driver = %choice.driver, reason = %choice.reason, "not the fastest driver");
        }
        let (answer, call) = Call::new();
        let gate = Arc::new(StartGate::new(settings.workers, answer));
        let driver = choice.driver;
        let mut engine = Engine::new(settings, choice);
        let mut threads = Vec::with_capacity(engine.mailboxes.len());
        let mut failed = None;
        for index in 0..engine.mailboxes.len() {
            match worker::on_thread(engine.starting(index, &gate), driver) {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    failed = Some(Error::Driver(format!("no thread: {error}")));
                    break;
                }
            }
        }
        // Nobody reads the mailboxes of threads that could not be had.
        engine.mailboxes[threads.len()..]
            .iter()
            .for_each(|mailbox| mailbox.close());
        engine.threads = Mutex::new(threads);
        gate.set_engine(engine);
        if let Some(error) = failed {
            gate.fail(error);
        }
        call
    }

    #[cfg(feature = "tokio-uring")]
    fn start_local(settings: Settings) -> (Call<Engine>, LocalWorker) {
        let (answer, call) = Call::new();
        let gate = Arc::new(StartGate::new(settings.workers, answer));
        let choice = Choice {
            driver: Driver::TokioUring,
            reason: Reason::Asked,
        };
        let engine = Engine::new(settings, choice);
        let worker = LocalWorker::new(engine.starting(0, &gate));
        gate.set_engine(engine);
        (call, worker)
    }

    #[cfg(feature = "sim")]
    fn start_in(settings: Settings, world: &crate::driver::sim::Handle) -> Call<Engine> {
        let (answer, call) = Call::new();
        let gate = Arc::new(StartGate::new(settings.workers, answer));
        let choice = Choice {
            driver: Driver::Sim,
            reason: Reason::Asked,
        };
        let engine = Engine::new(settings, choice);
        for index in 0..engine.mailboxes.len() {
            worker::in_world(engine.starting(index, &gate), world);
        }
        gate.set_engine(engine);
        call
    }

    fn new(settings: Settings, choice: Choice) -> Engine {
        let workers = settings.workers;
        Engine {
            settings: Arc::new(settings),
            choice,
            mailboxes: (0..workers).map(|_| Arc::new(Mailbox::new())).collect(),
            boards: (0..workers).map(|_| Arc::default()).collect(),
            threads: Mutex::default(),
            was_ended: AtomicBool::new(false),
            next_consumer: AtomicUsize::new(0),
            next_publisher: AtomicUsize::new(0),
        }
    }

    fn starting(&self, index: usize, gate: &Arc<StartGate>) -> Starting {
        Starting {
            index,
            settings: Arc::clone(&self.settings),
            mailbox: Arc::clone(&self.mailboxes[index]),
            board: Arc::clone(&self.boards[index]),
            gate: Arc::clone(gate),
        }
    }

    /// What it runs on, and what it has done so far. Takes a lock per worker for a moment; call it as often as you like.
    pub fn stats(&self) -> EngineStats {
        EngineStats {
            driver: self.choice.driver,
            driver_reason: self.choice.reason.clone(),
            workers: self.boards.iter().map(|board| board.look()).collect(),
        }
    }

    /// Declares a queue, or looks whether it is there ([`Queue::named`]). Declaring one that exists with the same properties changes nothing;
    /// with others, the broker answers PRECONDITION_FAILED.
    pub fn declare(&self, queue: &Queue) -> Call<QueueInfo> {
        self.job(
            Operation::DeclareQueue(queue.clone()),
            TopologyAnswer::Queue,
        )
    }

    /// Declares an exchange, or looks whether it is there ([`Exchange::named`]).
    pub fn declare_exchange(&self, exchange: &Exchange) -> Call<()> {
        self.job(
            Operation::DeclareExchange(exchange.clone()),
            TopologyAnswer::Done,
        )
    }

    /// Binds a queue, or an exchange, to an exchange.
    pub fn bind(&self, binding: &Binding) -> Call<()> {
        self.job(Operation::Bind(binding.clone()), TopologyAnswer::Done)
    }

    /// Takes a binding away. One that does not exist is no error for RabbitMQ.
    pub fn unbind(&self, binding: &Binding) -> Call<()> {
        self.job(Operation::Unbind(binding.clone()), TopologyAnswer::Done)
    }

    /// Removes the messages of a queue that are not under way to a consumer; answers how many.
    pub fn purge(&self, queue: impl Into<String>) -> Call<u32> {
        self.job(Operation::Purge(queue.into()), TopologyAnswer::Count)
    }

    /// Deletes a queue; answers how many messages went with it. One that does not exist is no error for RabbitMQ.
    pub fn delete_queue(&self, queue: impl Into<String>, condition: DeleteIf) -> Call<u32> {
        self.job(
            Operation::DeleteQueue(queue.into(), condition),
            TopologyAnswer::Count,
        )
    }

    /// Deletes an exchange.
    pub fn delete_exchange(&self, exchange: impl Into<String>, condition: DeleteIf) -> Call<()> {
        self.job(
            Operation::DeleteExchange(exchange.into(), condition),
            TopologyAnswer::Done,
        )
    }

    /// Asks for one message (`basic.get`), to be answered through its acker; `None` when the queue is empty.
    ///
    /// All gets share a channel: an error of one (NOT_FOUND, say) closes it, and messages that were got before and not answered yet go back to their queues.
    /// Consuming is far cheaper.
    pub fn get(&self, queue: impl Into<String>) -> Call<Option<DetachedDelivery>> {
        self.get_with(queue.into(), false)
    }

    /// As [`Engine::get`], and the broker takes the message as acknowledged.
    pub fn get_no_ack(&self, queue: impl Into<String>) -> Call<Option<DetachedDelivery>> {
        self.get_with(queue.into(), true)
    }

    /// Starts a consumer with default options and waits until the broker has accepted it, up to the call timeout. See
    /// [`ConsumerBuilder::start`] for what a handler may do.
    ///
    /// ```no_run
    /// # use amqp_uring::{Disposition, Engine, Queue};
    /// # let engine = Engine::connect("amqp://localhost")?;
    /// let consumer = engine.consume(Queue::durable("orders"), |delivery| {
    ///     println!("{} octets", delivery.body().len());
    ///     Disposition::Ack
    /// })?;
    /// # Ok::<(), amqp_uring::Error>(())
    /// ```
    ///
    /// # Errors
    /// The broker's: NOT_FOUND, ACCESS_REFUSED, RESOURCE_LOCKED, PRECONDITION_FAILED. [`Error::Timeout`] when the call timeout passed: the
    /// consumer may still start, and then runs until the engine ends. [`Error::WouldBlockWorker`] inside a handler.
    pub fn consume(
        &self,
        queue: Queue,
        handler: impl FnMut(&Delivery<'_>) -> Disposition + Send + 'static,
    ) -> Result<Consumer, Error> {
        refuse_on_worker()?;
        self.consumer(queue)
            .start(handler)
            .wait(self.settings.call_timeout)
    }

    /// Starts a consumer whose handler gets many deliveries at a time and answers all of them at once, with default options but for the prefetch,
    /// which is two batches if that is more, and waits until the broker has accepted it, up to the call timeout. See
    /// [`ConsumerBuilder::batches`] for what its handler may do, and for what becomes of a batch when its consumer ends.
    ///
    /// ```no_run
    /// # use amqp_uring::{BatchPolicy, Disposition, Engine, Queue};
    /// # fn insert_all<'a>(rows: impl Iterator<Item = &'a [u8]>) -> bool { true }
    /// # let engine = Engine::connect("amqp://localhost")?;
    /// let consumer = engine.consume_batches(Queue::durable("orders"), BatchPolicy::default(), |batch| {
    ///     match insert_all(batch.iter().map(|delivery| delivery.body())) {
    ///         true => Disposition::Ack,
    ///         false => Disposition::Nack { requeue: true },
    ///     }
    /// })?;
    /// # Ok::<(), amqp_uring::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Engine::consume`]; [`Error::Parameter`] for a policy of nothing.
    pub fn consume_batches(
        &self,
        queue: Queue,
        policy: BatchPolicy,
        handler: impl FnMut(&mut Batch) -> Disposition + Send + 'static,
    ) -> Result<Consumer, Error> {
        refuse_on_worker()?;
        self.consumer(queue)
            .batches(policy, handler)
            .wait(self.settings.call_timeout)
    }

    /// Consumes a queue with an asynchronous handler, until the consumer ends; answers why it ended. The default options are those of
    /// [`Engine::consumer`], whose [`run_async`](ConsumerBuilder::run_async) takes others.
    ///
    /// The handler's futures run within this one, wherever it is awaited or spawned, so they need not be `Send`; at most
    /// [`IN_FLIGHT_DEFAULT`] run at a time. Each message is answered with what its future says, in the order in which the futures end
    /// ([`Deliveries::for_each_async`]). Nothing happens until it is polled, and dropping it cancels the consumer. It does not borrow the
    /// engine, which must live on for as long.
    ///
    /// ```no_run
    /// # use std::{rc::Rc, time::Duration};
    /// # use amqp_uring::{Disposition, Engine, Queue};
    /// # async fn run(engine: Engine, file: Rc<std::cell::RefCell<Vec<u8>>>) -> Result<(), amqp_uring::Error> {
    /// engine
    ///     .consume_async(Queue::durable("orders"), |message| {
    ///         let file = Rc::clone(&file);
    ///         async move {
    ///             file.borrow_mut().extend_from_slice(&message.body);
    ///             Disposition::Ack
    ///         }
    ///     })
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The broker's, as for [`Engine::consume`]; [`Error::Stopped`] when the engine has ended.
    pub fn consume_async<F, Fut>(
        &self,
        queue: Queue,
        handler: F,
    ) -> impl Future<Output = Result<CancelReason, Error>> + use<F, Fut>
    where
        F: FnMut(Message) -> Fut,
        Fut: Future<Output = Disposition>,
    {
        self.consumer(queue).run_async(handler)
    }

    /// Begins a consumer with options. It will live on the next worker by turns.
    pub fn consumer(&self, queue: Queue) -> ConsumerBuilder {
        ConsumerBuilder::new(Arc::clone(self.turn(&self.next_consumer)), queue)
    }

    /// Opens a publisher in confirm mode and waits until its channel is open, up to the call timeout.
    ///
    /// # Errors
    /// [`Error::Connect`] when no connection for publishers can be made, [`Error::Timeout`].
    pub fn publisher(&self, options: PublisherOptions) -> Result<Publisher, Error> {
        refuse_on_worker()?;
        let handle = self.open(options, true).wait(self.settings.call_timeout)?;
        Ok(Publisher::new(handle))
    }

    /// As [`Engine::publisher`], to be awaited.
    ///
    /// # Errors
    /// As [`Engine::publisher`].
    pub async fn open_publisher(&self, options: PublisherOptions) -> Result<Publisher, Error> {
        Ok(Publisher::new(self.open(options, true).await?))
    }

    /// Opens a publisher without confirms and waits until its channel is open, up to the call timeout.
    ///
    /// # Errors
    /// As [`Engine::publisher`].
    pub fn unconfirmed_publisher(
        &self,
        options: PublisherOptions,
    ) -> Result<UnconfirmedPublisher, Error> {
        refuse_on_worker()?;
        let handle = self.open(options, false).wait(self.settings.call_timeout)?;
        Ok(UnconfirmedPublisher::new(handle))
    }

    /// As [`Engine::unconfirmed_publisher`], to be awaited.
    ///
    /// # Errors
    /// As [`Engine::publisher`].
    pub async fn open_unconfirmed_publisher(
        &self,
        options: PublisherOptions,
    ) -> Result<UnconfirmedPublisher, Error> {
        Ok(UnconfirmedPublisher::new(self.open(options, false).await?))
    }

    /// Ends everything by the protocol: consumers are cancelled, deliveries that were detached get time to be answered, finished acks are sent,
    /// publishers' messages are sent and confirmed, channels and connections are closed. Returns when that is done or `timeout` has passed,
    /// whatever the broker does.
    ///
    /// # Errors
    /// [`Error::ShutdownIncomplete`] with what was left when the time passed.
    pub fn shutdown(self, timeout: Duration) -> Result<(), Error> {
        self.end(timeout)
    }

    /// As [`Engine::shutdown`], to be awaited. Nothing else should be asked of the engine afterwards.
    ///
    /// # Errors
    /// As [`Engine::shutdown`].
    pub async fn close(&self, timeout: Duration) -> Result<(), Error> {
        let mut result = Ok(());
        for call in self.request_shutdown(timeout) {
            result = result.and(ended(call.await, timeout));
        }
        result
    }

    fn end(&self, timeout: Duration) -> Result<(), Error> {
        self.was_ended.store(true, Ordering::Relaxed);
        let deadline = deadline_in(timeout.saturating_add(SHUTDOWN_GRACE));
        let calls = self.request_shutdown(timeout);
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let mut result = Ok(());
        let mut threads = threads.into_iter();
        for call in calls {
            let thread = threads.next();
            let left = deadline.saturating_duration_since(Instant::now());
            let answer = call.wait(left);
            // A worker that does not answer ends by itself when it can; nobody waits for it.
            if let Some(thread) = thread
                && !matches!(answer, Err(Error::Timeout(_) | Error::WouldBlockWorker))
            {
                // A worker's panic has been reported by then; there is nothing to add.
                let _ = thread.join();
            }
            result = result.and(ended(answer, timeout));
        }
        result
    }

    fn request_shutdown(&self, timeout: Duration) -> Vec<Call<()>> {
        self.mailboxes
            .iter()
            .map(|mailbox| {
                let (answer, call) = Call::new();
                // A worker that is gone drops the command: the call says so.
                let _ = mailbox.post(Command::Shutdown { timeout, answer });
                call
            })
            .collect()
    }

    fn turn(&self, next: &AtomicUsize) -> &Arc<Mailbox> {
        let index = next.fetch_add(1, Ordering::Relaxed) % self.mailboxes.len();
        &self.mailboxes[index]
    }

    /// Where the engine's own operations run: all on one connection, the first worker's.
    fn first(&self) -> &Arc<Mailbox> {
        &self.mailboxes[0]
    }

    fn job<T>(
        &self,
        operation: Operation,
        wrap: impl FnOnce(Answer<T>) -> TopologyAnswer,
    ) -> Call<T> {
        if let Err(error) = operation.check() {
            return Call::ready(Err(error));
        }
        let (answer, call) = Call::new();
        let job = Job::Topology(operation, wrap(answer));
        // A stopped worker drops the command: the call says so.
        let _ = self.first().post(Command::Job(job));
        call
    }

    fn get_with(&self, queue: String, no_ack: bool) -> Call<Option<DetachedDelivery>> {
        if let Err(error) = crate::protocol::ShortStr::new(&queue) {
            return Call::ready(Err(error.into()));
        }
        let (answer, call) = Call::new();
        let job = Job::Get {
            queue,
            no_ack,
            answer,
        };
        let _ = self.first().post(Command::Job(job));
        call
    }

    fn open(&self, options: PublisherOptions, confirms: bool) -> Call<Handle> {
        let (answer, call) = Call::new();
        let _ = self
            .turn(&self.next_publisher)
            .post(Command::OpenPublisher {
                options,
                confirms,
                answer,
            });
        call
    }
}

/// An operation that blocks must not even begin on a worker's thread.
fn refuse_on_worker() -> Result<(), Error> {
    if is_worker_thread() {
        Err(Error::WouldBlockWorker)
    } else {
        Ok(())
    }
}

/// What a worker's answer to a shutdown means.
fn ended(answer: Result<(), Error>, timeout: Duration) -> Result<(), Error> {
    match answer {
        // A worker that has ended before has nothing left to shut down.
        Err(Error::Stopped) => Ok(()),
        Err(Error::Timeout(_)) => Err(Error::ShutdownIncomplete {
            timeout,
            left: "a worker that does not answer: one of its handlers blocks it".into(),
        }),
        answer => answer,
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.was_ended.load(Ordering::Relaxed) {
            return;
        }
        if is_worker_thread() || self.choice.driver == Driver::Sim {
            // The worker cannot wait for itself, nor a world for one of its tasks. It ends when it has read this.
            drop(self.request_shutdown(DROP_TIMEOUT));
        } else if let Err(error) = self.end(DROP_TIMEOUT) {
            tracing::warn!(%error, "an engine was dropped");
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
