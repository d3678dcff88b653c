#![allow(missing_docs)]
//! The engine on the broker inside the process, whose faults a test can choose.

mod batches;
#[path = "../drivers/mod.rs"]
mod drivers;
mod pipelines;

use std::collections::HashSet;
use std::ops::Range;
use std::sync::mpsc::channel;
use std::time::Duration;

use amqp_uring::broker::Broker;
use amqp_uring::{
    BatchPolicy, Disposition, Driver, Engine, EngineBuilder, Properties, PublisherOptions, Queue,
};

use drivers::on_every_driver;

/// Far longer than anything takes: only what hangs meets it.
const WAIT: Duration = Duration::from_secs(40);

const INPUT: &str = "input";
const OUTPUT: &str = "output";

/// A batch that is handed over when it is full, and only then.
const ENDLESS: BatchPolicy = BatchPolicy {
    messages_max: usize::MAX,
    bytes_max: usize::MAX,
    wait_max: Duration::from_secs(3600),
};

fn numbers(range: Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

/// A broker with two queues, and the engine that is tested.
struct Scene {
    broker: Broker,
    engine: Engine,
}

impl Scene {
    /// The input queue has so many messages, "0", "1", …
    fn new(driver: Driver, messages: u32) -> Self {
        Scene::built(driver, messages, |builder| builder)
    }

    fn built(
        driver: Driver,
        messages: u32,
        build: impl FnOnce(EngineBuilder) -> EngineBuilder,
    ) -> Self {
        let broker = Broker::builder().start().unwrap();
        let builder = Engine::builder().uri(broker.uri()).driver(driver);
        let engine = build(builder).start().wait(WAIT).unwrap();
        for queue in [INPUT, OUTPUT] {
            engine.declare(&Queue::durable(queue)).wait(WAIT).unwrap();
        }
        let scene = Scene { broker, engine };
        scene.fill(0..messages);
        scene
    }

    /// Publishes by an engine of its own, so that nothing else happens to the one that is tested.
    fn fill(&self, numbers: Range<u32>) {
        let engine = Engine::connect(self.broker.uri()).unwrap();
        let mut publisher = engine.publisher(PublisherOptions::default()).unwrap();
        for number in numbers {
            let properties = Properties::persistent();
            publisher
                .publish("", INPUT, &properties, number.to_string())
                .unwrap();
        }
        let report = publisher.wait_for_confirms(WAIT).unwrap();
        assert!(report.counts.all_acked());
    }

    /// Waits until the input queue has so many messages that are ready and that are not answered.
    fn await_input(&self, ready: u32, unacked: u32) {
        self.broker
            .wait_for(WAIT, move |state| {
                let queue = state.queue(INPUT);
                queue.is_some_and(|queue| (queue.ready, queue.unacked) == (ready, unacked))
            })
            .unwrap();
    }

    /// Waits until so many deliveries have come in, and nobody has answered them.
    fn await_read(&self, deliveries: u32) {
        self.await_input(0, deliveries);
        // They come on the same connection, before the answer to this.
        self.engine
            .declare(&Queue::named(INPUT))
            .wait(WAIT)
            .unwrap();
    }

    /// What is in the output queue, each body once.
    fn output(&self) -> HashSet<String> {
        let engine = Engine::connect(self.broker.uri()).unwrap();
        let count = self.broker.state().unwrap().queue(OUTPUT).unwrap().ready;
        let (sender, bodies) = channel();
        let _consumer = engine
            .consume(Queue::named(OUTPUT), move |delivery| {
                let body = String::from_utf8_lossy(delivery.body()).into_owned();
                sender.send(body).unwrap();
                Disposition::Ack
            })
            .unwrap();
        let next = |_| bodies.recv_timeout(WAIT).unwrap();
        (0..count).map(next).collect()
    }
}
