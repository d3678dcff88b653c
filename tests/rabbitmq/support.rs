//! What the tests share: names, engines, waiting.

use std::collections::HashMap;
use std::future::Future;
use std::ops::Deref;
use std::pin::pin;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake};
use std::thread::Thread;
use std::time::{Duration, Instant};

use amqp_uring::{
    CancelReason, Consumer, DeleteIf, DetachedDelivery, Disposition, Driver, Engine, EngineBuilder,
    Event, Exchange, Node, Properties, Publisher, PublisherOptions, Queue,
};

/// Far longer than anything takes: only what hangs meets it.
pub const WAIT: Duration = Duration::from_secs(40);

/// How often a condition that nothing announces is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

pub fn uri() -> String {
    std::env::var("AMQP_URING_TEST_URI").expect("AMQP_URING_TEST_URI is set by tests/run")
}

pub fn node() -> Node {
    uri().parse().expect("the node's URI")
}

pub fn builder(driver: Driver) -> EngineBuilder {
    Engine::builder().node(node()).driver(driver)
}

pub fn connect(driver: Driver) -> Engine {
    builder(driver).start().wait(WAIT).expect("an engine")
}

/// A name that nobody else uses.
pub fn unique(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{what}-{}-{number}", std::process::id())
}

/// Runs `rabbitmqctl eval` on the node. A call takes a second: to be used where nothing else does.
pub fn evaluate(erlang: &str) -> String {
    let program = std::env::var("AMQP_URING_TEST_RABBITMQCTL").expect("set by tests/run");
    let output = Command::new(program)
        .args(["eval", erlang])
        .output()
        .expect("rabbitmqctl");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

/// Looks again and again until the condition holds.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + WAIT;
    while !holds() {
        assert!(Instant::now() < deadline, "{what} did not come about");
        std::thread::park_timeout(POLL_INTERVAL);
    }
}

/// A small executor with a deadline.
pub fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let deadline = Instant::now() + WAIT;
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "the future was not woken in time");
        std::thread::park_timeout(left);
    }
}

/// An engine, and the queues and exchanges that it removes at the end.
pub struct Scratch {
    engine: Engine,
    queues: Mutex<Vec<String>>,
    exchanges: Mutex<Vec<String>>,
}

impl Scratch {
    pub fn new(driver: Driver) -> Self {
        Scratch::on(connect(driver))
    }

    pub fn on(engine: Engine) -> Self {
        Scratch {
            engine,
            queues: Mutex::default(),
            exchanges: Mutex::default(),
        }
    }

    /// The name for a queue, which is deleted at the end if it exists.
    pub fn queue_name(&self, what: &str) -> String {
        let name = unique(what);
        self.queues.lock().unwrap().push(name.clone());
        name
    }

    /// A durable queue.
    pub fn queue(&self, what: &str) -> String {
        let name = self.queue_name(what);
        self.declare(&Queue::durable(&name)).wait(WAIT).unwrap();
        name
    }

    /// The name for an exchange, which is deleted at the end if it exists.
    pub fn exchange_name(&self, what: &str) -> String {
        let name = unique(what);
        self.exchanges.lock().unwrap().push(name.clone());
        name
    }

    pub fn exchange(&self, what: &str, make: impl FnOnce(String) -> Exchange) -> String {
        let name = self.exchange_name(what);
        self.declare_exchange(&make(name.clone()))
            .wait(WAIT)
            .unwrap();
        name
    }

    pub fn confirming(&self) -> Publisher {
        self.publisher(PublisherOptions::default()).unwrap()
    }

    /// Publishes bodies "0", "1", … to the queue, and waits until the broker has them.
    pub fn fill(&self, queue: &str, messages: u32) {
        let mut publisher = self.confirming();
        for number in 0..messages {
            publisher
                .publish("", queue, &Properties::default(), number.to_string())
                .unwrap();
        }
        let report = publisher.wait_for_confirms(WAIT).unwrap();
        assert_eq!(report.counts.acked, u64::from(messages));
    }

    /// Messages that are ready in a queue.
    pub fn depth(&self, queue: &str) -> u32 {
        let info = self.declare(&Queue::named(queue)).wait(WAIT).unwrap();
        info.message_count
    }

    /// Consumes and acknowledges so many messages.
    pub fn take(&self, queue: &str, messages: usize) -> Vec<Taken> {
        if messages == 0 {
            return Vec::new();
        }
        let (sender, receiver) = channel();
        let consumer = self
            .consumer(Queue::named(queue))
            .prefetch(u16::try_from(messages).unwrap_or(0))
            .start(move |delivery| {
                let taken = Taken {
                    body: delivery.body().to_vec(),
                    routing_key: delivery.routing_key().to_string(),
                    properties: delivery.properties().try_into().unwrap(),
                    redelivered: delivery.redelivered(),
                };
                match sender.send(taken) {
                    Ok(()) => Disposition::Ack,
                    Err(_) => Disposition::Nack { requeue: true },
                }
            })
            .wait(WAIT)
            .unwrap();
        let taken = receive(&receiver, messages);
        consumer.cancel().wait(WAIT).unwrap();
        taken
    }

    /// The bodies of so many messages, as text.
    pub fn take_texts(&self, queue: &str, messages: usize) -> Vec<String> {
        let taken = self.take(queue, messages);
        taken.iter().map(Taken::text).collect()
    }
}

impl Deref for Scratch {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.engine
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for queue in self.queues.get_mut().unwrap().drain(..) {
            let deleted = self.engine.delete_queue(queue, DeleteIf::Always).wait(WAIT);
            assert!(std::thread::panicking() || deleted.is_ok(), "{deleted:?}");
        }
        for exchange in self.exchanges.get_mut().unwrap().drain(..) {
            let deleted = self
                .engine
                .delete_exchange(exchange, DeleteIf::Always)
                .wait(WAIT);
            assert!(std::thread::panicking() || deleted.is_ok(), "{deleted:?}");
        }
    }
}

/// A message that a test has consumed.
#[derive(Debug)]
pub struct Taken {
    pub body: Vec<u8>,
    pub routing_key: String,
    pub properties: Properties,
    pub redelivered: bool,
}

impl Taken {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// So many items, each within [`WAIT`].
pub fn receive<T>(receiver: &Receiver<T>, items: usize) -> Vec<T> {
    (0..items)
        .map(|at| {
            let received = receiver.recv_timeout(WAIT);
            received.unwrap_or_else(|error| panic!("item {at} of {items}: {error}"))
        })
        .collect()
}

/// The events of an engine that is built with the builder given back.
pub fn listen(builder: EngineBuilder) -> (Engine, Receiver<Event>) {
    let (sender, receiver) = channel();
    let sender = Mutex::new(sender);
    let builder = builder.on_event(move |event| {
        let _ = sender.lock().unwrap().send(event.clone());
    });
    (builder.start().wait(WAIT).unwrap(), receiver)
}

/// Counts how often each reason for the end of a consumer was given.
#[derive(Clone)]
pub struct Reasons(Arc<Mutex<Vec<CancelReason>>>);

impl Reasons {
    pub fn new() -> Self {
        Reasons(Arc::default())
    }

    /// For `on_cancel`.
    pub fn note(&self) -> impl FnOnce(&CancelReason) + Send + use<> {
        let reasons = Arc::clone(&self.0);
        move |reason| reasons.lock().unwrap().push(reason.clone())
    }

    /// The reasons, once there is one.
    pub fn wait(&self) -> Vec<CancelReason> {
        wait_until("the end of the consumer", || {
            !self.0.lock().unwrap().is_empty()
        });
        self.0.lock().unwrap().clone()
    }

    pub fn now(&self) -> Vec<CancelReason> {
        self.0.lock().unwrap().clone()
    }
}

/// How often each text occurs.
pub fn tally(texts: impl IntoIterator<Item = String>) -> HashMap<String, usize> {
    let mut tally = HashMap::new();
    for text in texts {
        *tally.entry(text).or_default() += 1;
    }
    tally
}

/// A consumer whose deliveries are all taken along: they come through the receiver.
pub fn keep(engine: &Engine, queue: &str, prefetch: u16) -> (Consumer, Receiver<DetachedDelivery>) {
    let (sender, receiver) = channel();
    let consumer = engine
        .consumer(Queue::named(queue))
        .prefetch(prefetch)
        .start(move |delivery| {
            let _ = sender.send(delivery.detach());
            Disposition::Detached
        })
        .wait(WAIT)
        .unwrap();
    (consumer, receiver)
}
