//! `publish`: sends messages of one size as fast as the broker confirms them, or without confirms.

use std::time::Duration;

use amqp_uring::{Driver, Properties, PublisherOptions};
use anyhow::ensure;
use clap::Args;

use crate::connect;
use crate::measure::{Start, Summary};

/// How long ending may take.
const END_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Args, Clone)]
pub struct Publish {
    /// The broker, as an AMQP URI.
    #[arg(
        long,
        env = "AMQP_URL",
        hide_env_values = true,
        default_value = "amqp://guest:guest@localhost"
    )]
    pub uri: String,
    /// The exchange; the default exchange unless given.
    #[arg(long, default_value = "")]
    pub exchange: String,
    /// The routing key.
    #[arg(long)]
    pub routing_key: String,
    /// How many messages to publish.
    #[arg(long, default_value_t = 100_000)]
    pub messages: u64,
    /// Octets of each body.
    #[arg(long, default_value_t = 128)]
    pub size: usize,
    /// How many messages may be without a confirm.
    #[arg(long, default_value_t = 20_000)]
    pub window: usize,
    /// Publish without confirms.
    #[arg(long)]
    pub no_confirm: bool,
    /// Mark messages as persistent.
    #[arg(long)]
    pub persistent: bool,
    /// Give up when the last confirm has not come within this many seconds.
    #[arg(long, default_value_t = 600)]
    pub timeout: u64,
    /// What moves the octets: auto, uring, epoll or tokio-uring.
    #[arg(long, env = "AMQP_URING_DRIVER")]
    pub driver: Option<Driver>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

impl Publish {
    /// From the first publish to the last confirm (without confirms: to the broker's word that it has read everything).
    pub fn run(&self) -> anyhow::Result<Summary> {
        let engine = connect(&self.uri, self.driver)?;
        let timeout = Duration::from_secs(self.timeout);
        let options = PublisherOptions::default()
            .window_messages(self.window)
            .publish_timeout(timeout);
        let properties = if self.persistent {
            Properties::persistent()
        } else {
            Properties::empty()
        };
        let body = vec![0x2a; self.size];
        let octets = self.messages * self.size as u64;
        let summary = if self.no_confirm {
            let mut publisher = engine.unconfirmed_publisher(options)?;
            let start = Start::now();
            for _ in 0..self.messages {
                publisher.publish(&self.exchange, &self.routing_key, &properties, &body)?;
            }
            publisher.close().wait(timeout)?;
            start.summary(self.messages, octets)
        } else {
            let mut publisher = engine.publisher(options)?;
            let start = Start::now();
            for _ in 0..self.messages {
                publisher.publish(&self.exchange, &self.routing_key, &properties, &body)?;
            }
            let report = publisher.wait_for_confirms(timeout)?;
            let summary = start.summary(self.messages, octets);
            ensure!(
                report.counts.all_acked(),
                "not every message was taken: {:?}",
                report.counts
            );
            summary
        };
        engine.shutdown(END_TIMEOUT)?;
        Ok(summary)
    }
}
