//! An ordinary multi-threaded tokio program: one task publishes and awaits the broker's confirms, another consumes the
//! messages as a stream, works on many at a time and acks each when it is done with it.

use std::collections::HashSet;
use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use amqp_uring::{CancelReason, DetachedDelivery, Engine, Outcome, Properties, Publisher, Queue};
use clap::Parser;
use futures_util::StreamExt;

/// How long the broker may take to say goodbye.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// What stands for work that waits: a database, another service.
const WORK_TIME: Duration = Duration::from_millis(1);

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Publishes messages through a queue of its own, consumes them as a stream, and checks that each came once and unchanged.
#[derive(Debug, Parser)]
#[command(name = "tokio_stream", version, max_term_width = 100)]
struct Arguments {
    /// The broker
    #[arg(
        long,
        env = "AMQP_URL",
        hide_env_values = true,
        default_value = "amqp://guest:guest@localhost"
    )]
    uri: String,

    /// How many messages
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    messages: u32,

    /// How many are worked on at a time
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..))]
    in_flight: u16,
}

/// The body of a message: its number, and octets that follow from it.
fn body(number: u32) -> Vec<u8> {
    let length = number as usize % 500;
    let filler = (0..length).map(|at| (number as usize).wrapping_mul(31).wrapping_add(at) as u8);
    number.to_be_bytes().into_iter().chain(filler).collect()
}

/// Publishes all messages, and returns when the broker has confirmed each.
async fn publish(mut publisher: Publisher, queue: String, messages: u32) -> Result<()> {
    let mut receipts = Vec::with_capacity(messages as usize);
    for number in 0..messages {
        publisher.ready().await;
        receipts.push(publisher.try_publish("", &queue, &Properties::empty(), body(number))?);
    }
    for (number, receipt) in receipts.into_iter().enumerate() {
        let outcome = receipt.await?;
        if outcome != Outcome::Acked {
            return Err(format!("message {number}: {outcome:?}").into());
        }
    }
    publisher.close().await?;
    Ok(())
}

/// Works on one message, and acks it. Returns its number.
async fn work(delivery: DetachedDelivery) -> Result<u32> {
    tokio::time::sleep(WORK_TIME).await;
    let number = delivery.body.first_chunk().copied();
    let number = u32::from_be_bytes(number.ok_or("a message is too short")?);
    if delivery.body != body(number) {
        return Err(format!("message {number} has changed on its way").into());
    }
    delivery.acker.ack()?;
    Ok(number)
}

async fn run(arguments: Arguments) -> Result<()> {
    let begin = Instant::now();
    let engine = Engine::builder()
        .uri(&arguments.uri)
        .connection_name("tokio-stream")
        .start()
        .await?;
    let deliveries = engine
        .consumer(Queue::server_named())
        .prefetch(arguments.in_flight.saturating_mul(2))
        .deliveries()
        .await?;
    let consumer = deliveries.consumer().clone();
    let publisher = engine.open_publisher(Default::default()).await?;
    let publishing = tokio::spawn(publish(publisher, consumer.queue(), arguments.messages));

    let mut seen = HashSet::with_capacity(arguments.messages as usize);
    if arguments.messages == 0 {
        drop(consumer.cancel());
    }
    // Each message is a task of its own, on any of the runtime's threads.
    let mut finished = deliveries
        .map(|delivery| tokio::spawn(work(delivery)))
        .buffer_unordered(arguments.in_flight.into());
    while let Some(number) = finished.next().await {
        let number = number??;
        if !seen.insert(number) {
            return Err(format!("message {number} came twice").into());
        }
        if seen.len() == arguments.messages as usize {
            // The stream ends then.
            drop(consumer.cancel());
        }
    }
    publishing.await??;
    let reason = consumer.cancel_reason();
    engine.close(CLOSE_TIMEOUT).await?;
    if reason != Some(CancelReason::Requested) || seen.len() != arguments.messages as usize {
        return Err(format!("{} messages came, then: {reason:?}", seen.len()).into());
    }
    println!(
        "{} messages published, confirmed, consumed and acked in {:.3} s",
        seen.len(),
        begin.elapsed().as_secs_f64()
    );
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tokio_stream: {error}");
            ExitCode::FAILURE
        }
    }
}
