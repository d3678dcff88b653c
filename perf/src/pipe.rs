//! `pipe`: publishes to a queue of its own and consumes from it at the same time.

use std::time::Duration;

use amqp_uring::{DeleteIf, Driver, Engine, Properties, PublisherOptions, Queue};
use anyhow::ensure;
use clap::Args;

use crate::connect;
use crate::consume::Consume;
use crate::measure::{Start, Summary};

/// How long setting up and ending may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Args, Clone)]
pub struct Pipe {
    /// The broker, as an AMQP URI.
    #[arg(
        long,
        env = "AMQP_URL",
        hide_env_values = true,
        default_value = "amqp://guest:guest@localhost"
    )]
    uri: String,
    /// How many messages to publish and to take.
    #[arg(long, default_value_t = 1_000_000)]
    messages: u64,
    /// Octets of each body.
    #[arg(long, default_value_t = 128)]
    size: usize,
    /// How many messages may be without a confirm.
    #[arg(long, default_value_t = 20_000)]
    window: usize,
    /// How many deliveries may be unanswered at a time.
    #[arg(long, default_value_t = 20_000)]
    prefetch: u16,
    /// Let the broker take messages as acknowledged when it sends them.
    #[arg(long)]
    no_ack: bool,
    /// Give up when the messages have not come within this many seconds.
    #[arg(long, default_value_t = 600)]
    timeout: u64,
    /// What moves the octets: auto, uring, epoll or tokio-uring.
    #[arg(long, env = "AMQP_URING_DRIVER")]
    driver: Option<Driver>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

impl Pipe {
    /// From the first publish to the last delivery.
    pub fn run(&self) -> anyhow::Result<Summary> {
        let queue = format!("amqp-uring-perf-pipe-{}", std::process::id());
        let engine = connect(&self.uri, self.driver)?;
        engine.declare(&Queue::durable(&queue)).wait(CALL_TIMEOUT)?;
        let summary = self.through(&engine, &queue);
        engine
            .delete_queue(&queue, DeleteIf::Always)
            .wait(CALL_TIMEOUT)?;
        engine.shutdown(CALL_TIMEOUT)?;
        summary
    }

    fn through(&self, engine: &Engine, queue: &str) -> anyhow::Result<Summary> {
        let consume = Consume {
            uri: self.uri.clone(),
            queue: queue.to_owned(),
            messages: self.messages,
            prefetch: self.prefetch,
            no_ack: self.no_ack,
            timeout: self.timeout,
            driver: self.driver,
            json: false,
        };
        let options = PublisherOptions::default()
            .window_messages(self.window)
            .publish_timeout(Duration::from_secs(self.timeout));
        let mut publisher = engine.publisher(options)?;
        let start = Start::now();
        let consumer = std::thread::spawn(move || consume.run());
        let body = vec![0x2a; self.size];
        for _ in 0..self.messages {
            publisher.publish("", queue, &Properties::empty(), &body)?;
        }
        let report = publisher.wait_for_confirms(Duration::from_secs(self.timeout))?;
        ensure!(
            report.counts.all_acked(),
            "not every message was taken: {:?}",
            report.counts
        );
        match consumer.join() {
            Ok(taken) => taken?,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        Ok(start.summary(self.messages, self.messages * self.size as u64))
    }
}
