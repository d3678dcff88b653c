//! Consumers: how they are started, and the handle that a user holds.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::batch::{Batch, BatchPolicy};
use super::batcher::Batcher;
use super::call::{Answer, Call};
use super::command::Command;
use super::command::Mailbox;
use super::deliveries::{Deliveries, Feed};
use super::delivery::{Delivery, Disposition, Message};
use super::error::Error;
use super::publisher::Publisher;
use super::topology::Queue;
use crate::connection::{CloseReason, ConnectionError, Token};
use crate::protocol::{EncodeError, FieldTable, ShortStr, Value};

/// The prefetch window unless told otherwise, in messages.
pub const PREFETCH_DEFAULT: u16 = 1000;

/// How many futures of an asynchronous handler run at a time unless told otherwise.
pub const IN_FLIGHT_DEFAULT: usize = 64;

/// What is called on the worker's thread.
pub(super) enum Handler {
    /// For each delivery.
    Each(Box<dyn FnMut(&Delivery<'_>) -> Disposition + Send>),
    /// For many at a time.
    Batches(Box<Batcher>),
}

/// Why a consumer ended.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum CancelReason {
    /// [`Consumer::cancel`] was called.
    Requested,
    /// The engine was shut down.
    Shutdown,
    /// The broker cancelled it: its queue was deleted, or its node failed.
    ByBroker,
    /// The handler panicked; what it held was requeued.
    HandlerPanicked,
    /// The broker closed the consumer's channel.
    ChannelClosed(CloseReason),
    /// The connection ended.
    ConnectionLost(ConnectionError),
}

impl CancelReason {
    /// Whether its channel was lost: no delivery can be answered any more, and the broker delivers all of them again.
    pub(super) fn is_loss(&self) -> bool {
        matches!(
            self,
            CancelReason::ChannelClosed(_) | CancelReason::ConnectionLost(_)
        )
    }
}

/// Where a consumer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConsumerState {
    /// Its queue is being declared and `basic.consume` is under way.
    Starting,
    /// Deliveries come.
    Consuming,
    /// `basic.cancel` is under way: what still comes goes back to the queue, or to the handler of a consumer without acks.
    Cancelling,
    /// It has ended.
    Cancelled,
}

#[derive(Debug)]
pub(super) struct Status {
    pub state: ConsumerState,
    pub tag: String,
    pub queue: String,
    pub reason: Option<CancelReason>,
    /// Whether its channel is gone too: deliveries can no longer be answered.
    pub is_gone: bool,
}

/// What a consumer's handle and its worker share. Touched when the state changes, never for a delivery.
#[derive(Debug)]
pub(super) struct ConsumerShared(Mutex<Status>);

impl ConsumerShared {
    pub fn new(queue: &str) -> Self {
        ConsumerShared(Mutex::new(Status {
            state: ConsumerState::Starting,
            tag: String::new(),
            queue: queue.to_owned(),
            reason: None,
            is_gone: false,
        }))
    }

    pub fn lock(&self) -> MutexGuard<'_, Status> {
        // Nothing that is done under this lock can leave a half-made status behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Told once why a consumer ended.
pub(super) type OnCancel = Box<dyn FnOnce(&CancelReason) + Send>;

/// What to tell when a consumer starts or ends.
#[derive(Default)]
pub(super) struct Callbacks {
    pub on_start: Option<Box<dyn FnOnce() + Send>>,
    pub on_cancel: Option<OnCancel>,
}

/// `basic.consume` with everything around it.
#[derive(Debug, Clone)]
pub(super) struct ConsumerOptions {
    /// The prefetch window; 0 is unlimited.
    pub prefetch: u16,
    pub no_ack: bool,
    pub exclusive: bool,
    pub tag: String,
    pub arguments: FieldTable,
    /// Whether the prefetch is what bounds a queue: it must stay a bound.
    pub is_streamed: bool,
    in_flight_max: usize,
    fault: Option<EncodeError>,
}

impl Default for ConsumerOptions {
    fn default() -> Self {
        ConsumerOptions {
            prefetch: PREFETCH_DEFAULT,
            no_ack: false,
            exclusive: false,
            tag: String::new(),
            arguments: FieldTable::new(),
            is_streamed: false,
            in_flight_max: IN_FLIGHT_DEFAULT,
            fault: None,
        }
    }
}

/// Sent to the worker that will run the consumer.
pub(super) struct ConsumeRequest {
    pub queue: Queue,
    pub options: ConsumerOptions,
    pub handler: Handler,
    pub callbacks: Callbacks,
    pub shared: Arc<ConsumerShared>,
    pub answer: Started,
}

/// Who waits for the start of a consumer.
pub(super) enum Started {
    Consumer(Answer<Consumer>),
    Deliveries(Answer<Deliveries>, Arc<Feed>),
}

impl Started {
    pub fn send(self, result: Result<Consumer, Error>) {
        match self {
            // Whoever asked may have stopped waiting: the consumer runs all the same.
            Started::Consumer(answer) => drop(answer.send(result)),
            // Here nobody would take what it brings: deliveries that reach nobody cancel it.
            Started::Deliveries(answer, feed) => {
                drop(answer.send(result.map(|consumer| Deliveries::new(consumer, feed))));
            }
        }
    }
}

/// A consumer with options, about to be started: see [`Engine::consumer`](super::Engine::consumer).
#[must_use = "nothing happens until it is started: start(), deliveries() or run_async()"]
pub struct ConsumerBuilder {
    mailbox: Arc<Mailbox>,
    queue: Queue,
    options: ConsumerOptions,
    /// Whether the prefetch was chosen by the user.
    has_prefetch: bool,
    callbacks: Callbacks,
}

impl ConsumerBuilder {
    pub(super) fn new(mailbox: Arc<Mailbox>, queue: Queue) -> Self {
        ConsumerBuilder {
            mailbox,
            queue,
            options: ConsumerOptions::default(),
            has_prefetch: false,
            callbacks: Callbacks::default(),
        }
    }

    /// How many deliveries may be unanswered at a time (`basic.qos`); 0 is unlimited. 1000 unless set, and for
    /// [`ConsumerBuilder::batches`] two batches, if that is more, and at most 65,535. Of no effect with `no_ack`.
    pub fn prefetch(mut self, messages: u16) -> Self {
        self.options.prefetch = messages;
        self.has_prefetch = true;
        self
    }

    /// Lets it live on the worker of this publisher, of the same engine, instead of the next one by turns: its handler publishes
    /// without a wake-up, and [`Disposition::AckAfter`] acks without one.
    pub fn beside(mut self, publisher: &Publisher) -> Self {
        self.mailbox = Arc::clone(publisher.worker());
        self
    }

    /// Whether the broker takes deliveries as acknowledged when it sends them: fastest, and a lost line loses what was under way.
    pub fn no_ack(mut self, no_ack: bool) -> Self {
        self.options.no_ack = no_ack;
        self
    }

    /// Whether nobody else may consume from the queue; ACCESS_REFUSED when somebody does.
    pub fn exclusive(mut self, exclusive: bool) -> Self {
        self.options.exclusive = exclusive;
        self
    }

    /// The priority among the queue's consumers (`x-priority`, <https://www.rabbitmq.com/docs/consumer-priority>).
    pub fn priority(self, priority: i32) -> Self {
        self.argument("x-priority", priority)
    }

    /// The consumer's tag; chosen by the broker unless set. It must be unique on its channel, which it has for itself.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.options.tag = tag.into();
        self
    }

    /// An argument of `basic.consume`. One that cannot be encoded is reported by [`ConsumerBuilder::start`].
    pub fn argument<'v>(mut self, name: &str, value: impl Into<Value<'v>>) -> Self {
        if let Err(error) = self.options.arguments.insert(name, value) {
            self.options.fault.get_or_insert(error);
        }
        self
    }

    /// How many messages the handler of [`ConsumerBuilder::run_async`] may be at work on at a time, at least 1; [`IN_FLIGHT_DEFAULT`] unless
    /// set. No more than the prefetch window can be under way, whatever is said here. Of no effect on
    /// [`ConsumerBuilder::start`] and [`ConsumerBuilder::deliveries`].
    pub fn in_flight_max(mut self, messages: usize) -> Self {
        self.options.in_flight_max = messages;
        self
    }

    /// Called on the worker's thread when the broker has accepted the consumer, before its first delivery.
    pub fn on_start(mut self, callback: impl FnOnce() + Send + 'static) -> Self {
        self.callbacks.on_start = Some(Box::new(callback));
        self
    }

    /// Called once on the worker's thread when a consumer that had started has ended, whatever the reason.
    pub fn on_cancel(mut self, callback: impl FnOnce(&CancelReason) + Send + 'static) -> Self {
        self.callbacks.on_cancel = Some(Box::new(callback));
        self
    }

    /// Starts it: on a channel of its own, declares and binds the queue unless it is [`Queue::named`], sets the prefetch and consumes.
    ///
    /// The handler runs on the worker's thread, for one delivery after the other in the order in which they came, and must not block: while
    /// it runs, its worker serves nobody else. A handler that has more to do takes the delivery along ([`Delivery::detach`]). When it
    /// panics, the consumer is cancelled, what it held is requeued, and the worker lives on.
    pub fn start(
        self,
        handler: impl FnMut(&Delivery<'_>) -> Disposition + Send + 'static,
    ) -> Call<Consumer> {
        if let Err(error) = self.check() {
            return Call::ready(Err(error));
        }
        let (answer, call) = Call::new();
        let handler = Handler::Each(Box::new(handler));
        self.request(handler, Started::Consumer(answer));
        call
    }

    /// Starts it as [`ConsumerBuilder::start`] does, with a handler that gets many deliveries at a time and answers all of them at once.
    ///
    /// Batches come in order, each with the deliveries that follow those of the one before. The handler runs on the worker's thread and must not block
    /// either: one that commits to a disk or a database takes the batch along ([`Batch::detach`]) and answers it on another thread,
    /// while the next one fills. When the handler panics, the consumer is cancelled and everything that it held is requeued.
    ///
    /// A batch that is being filled when the consumer is cancelled, by whomever, is handed over as it is; what comes after that goes back to
    /// the queue. When the channel or the connection is lost, it is dropped, and the broker delivers it again. (With `no_ack` it would not:
    /// there every batch is handed over.)
    ///
    /// The call's errors are those of [`ConsumerBuilder::start`], and [`Error::Parameter`] for a policy of nothing.
    ///
    /// ```no_run
    /// # fn run(engine: amqp_uring::Engine) -> Result<(), amqp_uring::Error> {
    /// # use std::time::Duration;
    /// # use amqp_uring::{BatchPolicy, Disposition, Queue};
    /// # fn commit(body: &[u8]) {}
    /// let (batches, received) = std::sync::mpsc::channel();
    /// let consumer = engine.consumer(Queue::durable("orders")).batches(
    ///     BatchPolicy { messages_max: 5000, ..BatchPolicy::default() },
    ///     move |batch| {
    ///         let _ = batches.send(batch.detach());
    ///         Disposition::Detached
    ///     },
    /// );
    /// consumer.wait(Duration::from_secs(5))?;
    /// for batch in received {
    ///     batch.iter().for_each(|delivery| commit(delivery.body()));
    ///     batch.acker.ack()?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn batches(
        mut self,
        policy: BatchPolicy,
        handler: impl FnMut(&mut Batch) -> Disposition + Send + 'static,
    ) -> Call<Consumer> {
        if let Err(error) = self.check().and_then(|()| policy.check()) {
            return Call::ready(Err(error));
        }
        if !self.has_prefetch {
            self.options.prefetch = policy.prefetch();
        }
        let (answer, call) = Call::new();
        let batcher = Batcher::new(policy, Box::new(handler));
        let handler = Handler::Batches(Box::new(batcher));
        self.request(handler, Started::Consumer(answer));
        call
    }

    /// Starts it as [`ConsumerBuilder::start`] does, with its deliveries as a stream: await them in any async runtime, and answer each
    /// through its [`Acker`](super::Acker), in any order and from any thread.
    ///
    /// What has come and was not taken yet waits in memory, at most a prefetch window of it. Without such a window nothing would
    /// bound it: `no_ack` and a prefetch of 0 are refused with [`Error::Parameter`]. The call's other errors are those of
    /// [`ConsumerBuilder::start`]. Dropping the call, or not waiting long enough, cancels the consumer.
    ///
    /// ```no_run
    /// # async fn run(engine: amqp_uring::Engine) -> Result<(), amqp_uring::Error> {
    /// # use amqp_uring::Queue;
    /// let mut deliveries = engine.consumer(Queue::durable("orders")).prefetch(200).deliveries().await?;
    /// while let Some(delivery) = deliveries.next().await {
    ///     println!("{} octets", delivery.body.len());
    ///     delivery.acker.ack()?;
    /// }
    /// println!("it ended: {:?}", deliveries.consumer().cancel_reason());
    /// # Ok(())
    /// # }
    /// ```
    pub fn deliveries(mut self) -> Call<Deliveries> {
        if let Err(error) = self.check().and_then(|()| self.check_bound()) {
            return Call::ready(Err(error));
        }
        self.options.is_streamed = true;
        let (answer, call) = Call::new();
        let feed = Arc::new(Feed::default());
        let handler = feed.handler();
        self.request(handler, Started::Deliveries(answer, feed));
        call
    }

    /// Starts it and hands each message to an asynchronous handler, until the consumer ends; answers why it ended. The futures run
    /// within this one, so they need not be `Send`, at most [`ConsumerBuilder::in_flight_max`] at a time. Nothing happens
    /// until it is polled. See [`Deliveries::for_each_async`] for how messages are answered, and for what dropping it does.
    ///
    /// # Errors
    /// Those of [`ConsumerBuilder::deliveries`]; [`Error::Parameter`] when `in_flight_max` is 0.
    pub async fn run_async<F, Fut>(self, handler: F) -> Result<CancelReason, Error>
    where
        F: FnMut(Message) -> Fut,
        Fut: Future<Output = Disposition>,
    {
        let in_flight_max = self.options.in_flight_max;
        if in_flight_max == 0 {
            let why = "at least one message must be under way";
            return Err(Error::parameter("in_flight_max", why));
        }
        let deliveries = self.deliveries().await?;
        Ok(deliveries.for_each_async(in_flight_max, handler).await)
    }

    fn request(self, handler: Handler, answer: Started) {
        let request = ConsumeRequest {
            shared: Arc::new(ConsumerShared::new(&self.queue.name)),
            queue: self.queue,
            options: self.options,
            handler,
            callbacks: self.callbacks,
            answer,
        };
        // A stopped worker drops the request: the call says so.
        let _ = self.mailbox.post(Command::Consume(Box::new(request)));
    }

    /// Whether something bounds what waits to be taken.
    fn check_bound(&self) -> Result<(), Error> {
        if self.options.no_ack {
            let why = "the broker would send without waiting for acks, and nothing would bound the memory for what waits to be taken";
            return Err(Error::parameter("no_ack", why));
        }
        if self.options.prefetch == 0 {
            let why =
                "0 is unlimited, and nothing would bound the memory for what waits to be taken";
            return Err(Error::parameter("prefetch", why));
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Error> {
        if let Some(fault) = &self.options.fault {
            return Err((*fault).into());
        }
        ShortStr::new(&self.options.tag)?;
        self.queue.check()
    }
}

impl fmt::Debug for ConsumerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerBuilder")
            .field("queue", &self.queue)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// A started consumer. Dropping the handle changes nothing: the consumer runs until it is cancelled or the engine ends. A clone is another
/// handle of the same consumer.
#[derive(Debug, Clone)]
pub struct Consumer {
    mailbox: Arc<Mailbox>,
    shared: Arc<ConsumerShared>,
    token: Token,
    serial: u64,
}

impl Consumer {
    pub(super) fn new(
        mailbox: Arc<Mailbox>,
        shared: Arc<ConsumerShared>,
        token: Token,
        serial: u64,
    ) -> Self {
        Consumer {
            mailbox,
            shared,
            token,
            serial,
        }
    }

    /// Where it stands.
    pub fn state(&self) -> ConsumerState {
        self.shared.lock().state
    }

    /// Its tag.
    pub fn tag(&self) -> String {
        self.shared.lock().tag.clone()
    }

    /// The name of its queue: the broker's, when the broker named it.
    pub fn queue(&self) -> String {
        self.shared.lock().queue.clone()
    }

    /// Why it ended, once it has.
    pub fn cancel_reason(&self) -> Option<CancelReason> {
        self.shared.lock().reason.clone()
    }

    /// Whether its deliveries can no longer be answered: its channel is gone, or is about to be.
    pub(super) fn is_stale(&self) -> bool {
        let status = self.shared.lock();
        let is_lost = status.reason.as_ref().is_some_and(CancelReason::is_loss);
        status.is_gone || is_lost
    }

    /// Ends it (`basic.cancel`): answered when no delivery reaches the handler any more. What the handler has finished is acknowledged, a
    /// batch that was being filled is handed over, what is on the way goes back to the queue, and deliveries that were detached can still be answered. Cancelling one that has ended is
    /// answered at once.
    pub fn cancel(&self) -> Call<()> {
        let (answer, call) = Call::new();
        let _ = self.mailbox.post(Command::Cancel {
            consumer: self.token,
            serial: self.serial,
            answer,
        });
        call
    }

    /// Changes the prefetch window; 0 is unlimited. Of no effect with `no_ack`.
    ///
    /// A broker's consumer keeps the window it was started with (<https://www.rabbitmq.com/docs/consumer-prefetch>): it is cancelled and
    /// started again on its channel, with a tag chosen by the broker. The handler goes on and no delivery is lost or comes twice, but those from before
    /// do not count in the new window, a quorum queue may mark some as redelivered, and a single active consumer
    /// (`x-single-active-consumer`) may lose its place to another. An auto-delete queue would go with it: there it is refused.
    ///
    /// One change is under way at a time: another one is refused until it is answered. The window of
    /// [`Deliveries`] bounds what they hold: 0 is an [`Error::Parameter`] there.
    pub fn set_prefetch(&self, messages: u16) -> Call<()> {
        let (answer, call) = Call::new();
        let _ = self.mailbox.post(Command::SetPrefetch {
            consumer: self.token,
            serial: self.serial,
            prefetch: messages,
            answer,
        });
        call
    }
}
