//! A user who publishes: everything that was not acked is published again, by another publisher if need be.

use std::collections::VecDeque;
use std::rc::Rc;

use amqp_uring::{Error, Outcome, Publisher, PublisherOptions, Receipt};
use fastrand::Rng;

use super::message;
use super::oracle::{MessageId, NewPublish, PublisherId, Rule};
use super::play::Play;
use super::scenario::{Chance, MILLISECOND, PublisherSpec, SECOND};

/// One batch in so many is the last one of its publisher, which is dropped while it is under way.
const DROP_ONE_IN: u32 = 20;

/// Where nobody listens.
const NOWHERE: &str = "nowhere";

/// What is to be published until it is acked.
#[derive(Debug, Clone)]
struct Order {
    is_persistent: bool,
    is_mandatory: bool,
    is_for_nobody: bool,
    octets: usize,
}

impl Order {
    fn draw(spec: &PublisherSpec, random: &mut Rng) -> Self {
        let mut one_in = |n: u32| n > 0 && random.one_in(n);
        let is_for_nobody = one_in(spec.nowhere_one_in);
        let is_mandatory = is_for_nobody || one_in(spec.mandatory_one_in);
        let is_persistent = !one_in(spec.transient_one_in);
        // Small ones are as frequent as large ones.
        let octets_max = random.usize(..=spec.octets_max);
        Self {
            is_persistent,
            is_mandatory,
            is_for_nobody,
            octets: random.usize(..=octets_max),
        }
    }
}

/// A publish without an outcome.
struct UnderWay {
    order: Order,
    id: MessageId,
    receipt: Receipt,
}

/// Publishes until everything is acked.
pub async fn publish(play: Rc<Play>, index: usize) {
    let spec = play.scenario.publishers[index].clone();
    let mut user = User {
        random: play.random(1_000 + index as u64),
        orders: VecDeque::new(),
        play,
        spec,
    };
    for _ in 0..user.spec.messages {
        let order = Order::draw(&user.spec, &mut user.random);
        user.orders.push_back(order);
    }
    while !user.orders.is_empty() {
        if let Err(error) = user.session().await {
            user.play
                .oracle
                .fails("user {} of a publisher:", index, &error);
            let pause = user.random.duration(MILLISECOND..=SECOND * 3);
            user.play.world.sleep(pause).await;
        }
    }
}

struct User {
    play: Rc<Play>,
    spec: PublisherSpec,
    random: Rng,
    orders: VecDeque<Order>,
}

impl User {
    /// Opens a publisher and works with it for as long as it lasts.
    async fn session(&mut self) -> Result<(), Error> {
        let options = PublisherOptions::default()
            .window_messages(self.spec.window_messages)
            .window_octets(self.spec.window_octets);
        let engine = self.play.engine(self.spec.engine).await;
        let mut publisher = engine.open_publisher(options).await?;
        let publisher_id = self.play.oracle.publisher();
        // After the publisher was opened: a broker that loses the queue from now on loses the publisher too.
        self.play.declare(&engine, self.spec.queue).await?;
        while !self.orders.is_empty() {
            let batch = self.random.usize(1..=self.spec.batch_max);
            let mut under_way = Vec::new();
            let outcome = self
                .batch(&mut publisher, publisher_id, batch, &mut under_way)
                .await;
            if self.random.one_in(DROP_ONE_IN) {
                // What was published is sent and confirmed all the same.
                drop(publisher);
                self.resolve(under_way).await;
                return outcome;
            }
            self.resolve(under_way).await;
            outcome?;
            if !self.play.is_calm() {
                let pause = self
                    .random
                    .duration(MILLISECOND..=self.spec.pause * 2 + MILLISECOND);
                self.play.unless_calm(pause).await;
            }
        }
        let report = publisher.confirmed().await?;
        let counts = &report.counts;
        self.play
            .oracle
            .say("publisher {} is done:", publisher_id, format!("{counts:?}"));
        if self.play.scenario.is_tidy {
            publisher.close().await?;
        }
        Ok(())
    }

    async fn batch(
        &mut self,
        publisher: &mut Publisher,
        publisher_id: PublisherId,
        batch: usize,
        under_way: &mut Vec<UnderWay>,
    ) -> Result<(), Error> {
        for _ in 0..batch {
            publisher.ready().await;
            let Some(order) = self.orders.pop_front() else {
                break;
            };
            let id = self.play.oracle.publishing(NewPublish {
                queue: (!order.is_for_nobody).then_some(self.spec.queue),
                is_persistent: order.is_persistent,
                octets: order.octets,
                publisher: publisher_id,
            });
            match self.send(publisher, &order, id) {
                Ok(receipt) => {
                    self.play.oracle.published(id, receipt.delivery_tag());
                    under_way.push(UnderWay { order, id, receipt });
                }
                Err(error) => {
                    self.orders.push_front(order);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn send(
        &self,
        publisher: &mut Publisher,
        order: &Order,
        id: MessageId,
    ) -> Result<Receipt, Error> {
        let properties = message::properties(id, order.is_persistent)?;
        let key = match order.is_for_nobody {
            true => NOWHERE,
            false => &self.play.scenario.queues[self.spec.queue].name,
        };
        let body = message::body(id, order.octets);
        if order.is_mandatory {
            publisher.publish_mandatory("", key, &properties, body)
        } else {
            publisher.try_publish("", key, &properties, body)
        }
    }

    /// Waits for all outcomes, in any order.
    async fn resolve(&mut self, mut under_way: Vec<UnderWay>) {
        while !under_way.is_empty() {
            let UnderWay {
                order,
                id,
                mut receipt,
            } = under_way.swap_remove(self.random.usize(..under_way.len()));
            let outcome = match (&mut receipt).await {
                Ok(outcome) => outcome,
                Err(error) => {
                    let how = format!("the receipt of message {id}: {error}");
                    return self.play.oracle.violated(Rule::Once, how);
                }
            };
            self.play.oracle.resolved(id, &outcome);
            // It says the same when it is asked again.
            if let Ok(Some(again)) = receipt.try_outcome() {
                self.play.oracle.resolved(id, &again);
            }
            let is_done = match outcome {
                Outcome::Acked => true,
                Outcome::Returned(_) => order.is_for_nobody,
                _ => false,
            };
            if !is_done {
                self.orders.push_back(order);
            }
        }
    }
}
