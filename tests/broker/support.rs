//! What the tests share: brokers, engines, waiting.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use amqp_uring::broker::{Broker, QueueState};
use amqp_uring::{
    Consumer, Disposition, Driver, Engine, EngineBuilder, Event, Properties, PublisherOptions,
    Queue,
};

/// Far longer than anything takes: only what hangs meets it.
pub const WAIT: Duration = Duration::from_secs(40);

pub fn start(driver: Driver) -> Broker {
    Broker::builder().driver(driver).start().unwrap()
}

/// An engine whose driver is the one that every machine has: the broker's is what is tested.
pub fn builder(broker: &Broker) -> EngineBuilder {
    Engine::builder().uri(broker.uri()).driver(Driver::Epoll)
}

pub fn connect(broker: &Broker) -> Engine {
    builder(broker).start().wait(WAIT).unwrap()
}

/// An engine and its events.
pub fn listen(builder: EngineBuilder) -> (Engine, Receiver<Event>) {
    let (sender, receiver) = channel();
    let sender = Mutex::new(sender);
    let builder = builder.on_event(move |event| {
        let _ = sender.lock().unwrap().send(event.clone());
    });
    (builder.start().wait(WAIT).unwrap(), receiver)
}

/// Publishes persistent messages to a queue and waits until the broker has them.
pub fn fill<B: AsRef<[u8]>>(engine: &Engine, queue: &str, bodies: impl IntoIterator<Item = B>) {
    let mut publisher = engine.publisher(PublisherOptions::default()).unwrap();
    let mut count = 0;
    for body in bodies {
        let body = body.as_ref().to_vec();
        let published = publisher.publish("", queue, &Properties::persistent(), body);
        published.unwrap();
        count += 1;
    }
    let report = publisher.wait_for_confirms(WAIT).unwrap();
    assert_eq!(report.counts.acked, count);
    publisher.close().wait(WAIT).unwrap();
}

/// A consumer that acknowledges everything. What comes is told as text, and whether it comes again.
pub fn take(engine: &Engine, queue: Queue) -> (Consumer, Receiver<(String, bool)>) {
    let (sender, receiver) = channel();
    let consumer = engine
        .consume(queue, move |delivery| {
            let text = String::from_utf8_lossy(delivery.body()).into_owned();
            let _ = sender.send((text, delivery.redelivered()));
            Disposition::Ack
        })
        .unwrap();
    (consumer, receiver)
}

pub fn next<T>(receiver: &Receiver<T>) -> T {
    receiver.recv_timeout(WAIT).unwrap()
}

pub fn nexts<T>(receiver: &Receiver<T>, count: usize) -> Vec<T> {
    (0..count).map(|_| next(receiver)).collect()
}

/// What is in a queue of the broker now; nothing where there is no such queue.
pub fn queue(broker: &Broker, name: &str) -> QueueState {
    let state = broker.state().unwrap();
    state.queue(name).copied().unwrap_or_default()
}

/// Waits until a queue of the broker is like this.
pub fn wait_for_queue(
    broker: &Broker,
    name: &'static str,
    mut is_so: impl FnMut(&QueueState) -> bool + Send + 'static,
) {
    let waited = broker.wait_for(WAIT, move |state| state.queue(name).is_some_and(&mut is_so));
    waited.unwrap();
}
