//! Publishing from inside a handler.

use amqp_uring::{Error, Properties, Publisher, PublisherOptions, Receipt};
use tokio::sync::mpsc;

use super::message;
use super::oracle::{MessageId, NewPublish, Oracle, PublisherId, Rule};
use super::play::Play;
use super::scenario::ConsumerSpec;

/// A publisher that belongs to a handler, and goes with it. What it publishes nobody publishes again.
pub struct Echo {
    publisher: Publisher,
    id: PublisherId,
    queue: usize,
    key: String,
    receipts: mpsc::UnboundedSender<(MessageId, Receipt)>,
}

impl Echo {
    /// It publishes to its consumer's own queue.
    pub async fn open(play: &Play, spec: &ConsumerSpec) -> Result<Self, Error> {
        let engine = play.engine(spec.engine).await;
        let publisher = engine.open_publisher(PublisherOptions::default()).await?;
        play.declare(&engine, spec.queue).await?;
        let (receipts, waiting) = mpsc::unbounded_channel();
        play.world.spawn(resolve(play.oracle.clone(), waiting));
        Ok(Self {
            publisher,
            id: play.oracle.publisher(),
            queue: spec.queue,
            key: play.scenario.queues[spec.queue].name.clone(),
            receipts,
        })
    }

    pub fn publish(&mut self, oracle: &Oracle, octets: usize) {
        let message = oracle.publishing(NewPublish {
            queue: Some(self.queue),
            is_persistent: true,
            octets,
            publisher: self.id,
        });
        let body = message::body(message, octets);
        let published = message::properties(message, true).and_then(|properties: Properties| {
            self.publisher.try_publish("", &self.key, &properties, body)
        });
        match published {
            Ok(receipt) => {
                oracle.published(message, receipt.delivery_tag());
                // It lives as long as the world.
                let _ = self.receipts.send((message, receipt));
            }
            Err(error) => oracle.fails("message {} is not published:", message, &error),
        }
    }
}

async fn resolve(oracle: Oracle, mut waiting: mpsc::UnboundedReceiver<(MessageId, Receipt)>) {
    while let Some((message, receipt)) = waiting.recv().await {
        match receipt.await {
            Ok(outcome) => oracle.resolved(message, &outcome),
            Err(error) => {
                let how = format!("the receipt of message {message}: {error}");
                oracle.violated(Rule::Once, how);
            }
        }
    }
}
