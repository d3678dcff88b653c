//! `consume`: takes messages from a queue with manual acks, in batches, or without any.

use std::sync::mpsc;
use std::time::Duration;

use amqp_uring::{Disposition, Driver, Queue};
use anyhow::Context;
use clap::Args;

use crate::connect;
use crate::measure::{Start, Summary};

/// How long setting up and ending may take.
const SETUP_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Args, Clone)]
pub struct Consume {
    /// The broker, as an AMQP URI.
    #[arg(
        long,
        env = "AMQP_URL",
        hide_env_values = true,
        default_value = "amqp://guest:guest@localhost"
    )]
    pub uri: String,
    /// The queue; it must exist.
    #[arg(long)]
    pub queue: String,
    /// How many messages to take.
    #[arg(long, default_value_t = 100_000)]
    pub messages: u64,
    /// How many messages may be unanswered at a time.
    #[arg(long, default_value_t = 2000)]
    pub prefetch: u16,
    /// Let the broker take messages as acknowledged when it sends them: what comes beyond `--messages` is lost then.
    #[arg(long)]
    pub no_ack: bool,
    /// Give up when the messages have not come within this many seconds.
    #[arg(long, default_value_t = 600)]
    pub timeout: u64,
    /// What moves the octets: auto, uring, epoll or tokio-uring.
    #[arg(long, env = "AMQP_URING_DRIVER")]
    pub driver: Option<Driver>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

impl Consume {
    /// From the first delivery to the last.
    pub fn run(&self) -> anyhow::Result<Summary> {
        let engine = connect(&self.uri, self.driver)?;
        let (done, result) = mpsc::channel();
        let (wanted, mut taken, mut octets, mut start) = (self.messages, 0, 0, None);
        let mut surplus = Vec::new();
        let consumer = engine
            .consumer(Queue::named(&self.queue))
            .prefetch(self.prefetch)
            .no_ack(self.no_ack)
            .start(move |delivery| {
                if taken == wanted {
                    // Kept until the consumer is gone, so that the broker does not deliver it again and again.
                    surplus.push(delivery.detach());
                    return Disposition::Detached;
                }
                let start: &mut Start = start.get_or_insert_with(Start::now);
                taken += 1;
                octets += delivery.body().len() as u64;
                if taken == wanted {
                    // The receiver waits until this comes, or has given up.
                    let _ = done.send(start.summary(taken, octets));
                }
                Disposition::Ack
            })
            .wait(SETUP_TIMEOUT)?;
        let summary = result
            .recv_timeout(Duration::from_secs(self.timeout))
            .with_context(|| {
                format!(
                    "fewer than {} messages came within {} s",
                    self.messages, self.timeout
                )
            })?;
        consumer.cancel().wait(SETUP_TIMEOUT)?;
        engine.shutdown(SETUP_TIMEOUT)?;
        Ok(summary)
    }
}
