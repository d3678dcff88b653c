//! An AMQP 0-9-1 broker for development and tests, for clients in any language.
//!
//! ```text
//! cargo run --release --features broker --example broker -- --listen 127.0.0.1:5672
//! ```
//!
//! It keeps everything in memory. For production there is RabbitMQ.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Instant;

use amqp_uring::Driver;
use amqp_uring::broker::{Broker, BrokerBuilder, State};
use clap::Parser;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Serves AMQP 0-9-1 from memory, until Ctrl-C: for development and tests, not for production.
///
/// Exit status: 0 after Ctrl-C, 1 when it cannot listen, 2 for wrong usage.
#[derive(Debug, Parser)]
#[command(name = "broker", version, max_term_width = 100)]
struct Arguments {
    /// Where to listen; port 0 is any free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:5672")]
    listen: SocketAddr,

    /// A user who may log in, instead of guest with the password guest; may be given several times
    #[arg(long = "user", value_name = "NAME:PASSWORD", value_parser = user)]
    users: Vec<(String, String)>,

    /// A virtual host, instead of /; may be given several times
    #[arg(long = "vhost", value_name = "NAME")]
    vhosts: Vec<String>,

    /// How octets move: auto, uring, epoll or tokio-uring
    #[arg(long, value_name = "DRIVER")]
    driver: Option<Driver>,
}

fn user(text: &str) -> Result<(String, String), String> {
    let (name, password) = text.split_once(':').ok_or("there is no : in it")?;
    Ok((name.to_owned(), password.to_owned()))
}

impl Arguments {
    fn builder(self) -> BrokerBuilder {
        let mut builder = Broker::builder().listen(self.listen);
        for (name, password) in self.users {
            builder = builder.user(name, password);
        }
        for vhost in self.vhosts {
            builder = builder.vhost(vhost);
        }
        match self.driver {
            Some(driver) => builder.driver(driver),
            None => builder,
        }
    }
}

fn main() -> ExitCode {
    match serve(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "broker: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    // Before the broker's threads, so that none of them takes a signal the old way.
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let started = Instant::now();
    let broker = arguments.builder().start()?;
    let mut out = io::stdout();
    writeln!(out, "listening on {}; Ctrl-C ends it", broker.address())?;
    out.flush()?;
    signals.forever().next();
    let summary = summary(broker.state()?);
    writeln!(
        out,
        "after {:.1} s: {summary}",
        started.elapsed().as_secs_f64()
    )?;
    Ok(())
}

fn summary(state: State) -> String {
    let sum = |of: fn(&amqp_uring::broker::QueueState) -> u32| -> u64 {
        state
            .queues
            .values()
            .map(|queue| u64::from(of(queue)))
            .sum()
    };
    format!(
        "{} connections accepted, {} messages published, {} delivered; {} queues with {} messages, {} of them not acknowledged",
        state.totals.connections,
        state.totals.published,
        state.totals.delivered,
        state.queues.len(),
        sum(|queue| queue.ready + queue.unacked),
        sum(|queue| queue.unacked),
    )
}
