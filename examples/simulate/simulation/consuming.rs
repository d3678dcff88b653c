//! A user who consumes: a consumer that has ended is started again, until everything is over.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use amqp_uring::driver::sim::Clock;
use amqp_uring::{
    CancelReason, ConsumerBuilder, Delivery, DetachedDelivery, Disposition, Engine, Error, Message,
};
use fastrand::Rng;
use futures_util::future::{Either, select};
use tokio::sync::{mpsc, oneshot};

use super::message;
use super::oracle::{ConsumerId, Given, MessageId, Oracle, Rule, Word};
use super::play::Play;
use super::scenario::{Chance, ConsumerSpec, MILLISECOND, Manner, SECOND};

/// How often a consumer's handler is slow: what it takes adds up, and its worker must come to rest after the faults.
const SLOW_MAX: u32 = 2;

/// A consumer's tag.
fn tag(id: ConsumerId) -> String {
    format!("c{id}")
}

/// The consumer of a tag.
pub fn number(tag: &str) -> Option<ConsumerId> {
    tag.strip_prefix('c')?.parse().ok()
}

/// Consumes until everything is over.
pub async fn consume(play: Rc<Play>, index: usize) {
    let spec = play.scenario.consumers[index].clone();
    let engine = play.engine(spec.engine).await;
    let mut user = User {
        random: play.random(2_000 + index as u64),
        play,
        engine,
        spec,
    };
    while !user.play.is_closing() {
        if let Err(error) = user.session().await {
            user.play
                .oracle
                .say("user {} of a consumer:", index, error.to_string());
        }
        let pause = user.random.duration(MILLISECOND..=SECOND * 3);
        user.play.unless_closing(pause).await;
    }
}

struct User {
    play: Rc<Play>,
    engine: Rc<Engine>,
    spec: ConsumerSpec,
    random: Rng,
}

impl User {
    /// One consumer, from its start to its end.
    async fn session(&mut self) -> Result<(), Error> {
        let spec = &self.spec;
        let id = self
            .play
            .oracle
            .consumer(spec.queue, spec.prefetch, spec.no_ack);
        let (told, ended) = oneshot::channel();
        let oracle = self.play.oracle.clone();
        let builder = self
            .engine
            .consumer(self.play.queue(spec.queue))
            .prefetch(spec.prefetch)
            .no_ack(spec.no_ack)
            .tag(tag(id))
            .on_cancel(move |reason| {
                oracle.ended(id, format!("{reason:?}"));
                // Its user may have gone.
                let _ = told.send(reason.clone());
            });
        match spec.manner {
            Manner::InPlace => self.in_place(id, builder, ended).await,
            Manner::Async(at_a_time) => self.asynchronous(id, builder, at_a_time).await,
        }
    }

    async fn in_place(
        &mut self,
        id: ConsumerId,
        builder: ConsumerBuilder,
        ended: oneshot::Receiver<CancelReason>,
    ) -> Result<(), Error> {
        let (taken, waiting) = mpsc::unbounded_channel();
        let mut hands = Hands {
            oracle: self.play.oracle.clone(),
            clock: self.play.world.clock(),
            is_calm: self.play.calm_flag(),
            spec: self.spec.clone(),
            random: self.random.fork(),
            slow_left: SLOW_MAX,
            taken,
        };
        let later = Later {
            play: Rc::clone(&self.play),
            spec: self.spec.clone(),
            random: self.random.fork(),
        };
        self.play.world.spawn(later.answer(id, waiting));
        let consumer = builder
            .start(move |delivery| hands.take(id, delivery))
            .await?;
        self.play.oracle.started(id);
        let life = self.play.unless_closing(self.spec.life);
        let (ended, life) = (pin!(ended), pin!(life));
        let Either::Right((_, ended)) = select(ended, life).await else {
            return Ok(());
        };
        if self.play.is_closing() && !self.play.scenario.is_tidy {
            // Its engine ends it.
            return Ok(());
        }
        consumer.cancel().await?;
        // It has been told by then, unless its worker has gone without a word.
        let _ = ended.await;
        Ok(())
    }

    async fn asynchronous(
        &mut self,
        id: ConsumerId,
        builder: ConsumerBuilder,
        at_a_time: usize,
    ) -> Result<(), Error> {
        let deliveries = builder.deliveries().await?;
        self.play.oracle.started(id);
        let consumer = deliveries.consumer().clone();
        let (play, spec) = (&self.play, &self.spec);
        let mut random = self.random.fork();
        let handler = |message: Message| {
            let given = Given {
                message: named(&message),
                tag: None,
                redelivered: message.redelivered,
                body: &message.body,
            };
            let tag = play.oracle.handed(id, &given);
            let (word, disposition) = draw(spec, &mut random, play.is_calm());
            let pause = pause(spec, &mut random, play.is_calm());
            async move {
                play.world.sleep(pause).await;
                // Kept until here, as a user would who works on it.
                drop(message);
                play.oracle.says(id, tag, word);
                disposition
            }
        };
        let working = pin!(deliveries.for_each_async(at_a_time, handler));
        let life = pin!(play.unless_closing(spec.life));
        if let Either::Right((_, working)) = select(working, life).await {
            if play.is_closing() && !play.scenario.is_tidy {
                working.await;
                return Ok(());
            }
            consumer.cancel().await?;
            working.await;
        }
        Ok(())
    }
}

/// A delivery that was taken along, and its tag.
type Taken = (u64, DetachedDelivery);

/// A handler that works in place.
struct Hands {
    oracle: Oracle,
    clock: Clock,
    is_calm: Arc<AtomicBool>,
    spec: ConsumerSpec,
    random: Rng,
    /// How often it may still be slow.
    slow_left: u32,
    taken: mpsc::UnboundedSender<Taken>,
}

impl Hands {
    fn take(&mut self, id: ConsumerId, delivery: &Delivery<'_>) -> Disposition {
        let name = delivery.properties().message_id().ok().flatten();
        let given = Given {
            message: name
                .and_then(|name| message::number(name.as_str().ok()?))
                .unwrap_or(MessageId::MAX),
            tag: Some(delivery.delivery_tag()),
            redelivered: delivery.redelivered(),
            body: delivery.body(),
        };
        let tag = self.oracle.handed(id, &given);
        let is_calm = self.is_calm.load(Ordering::Relaxed);
        let mut one_in = |n: u32| n > 0 && !is_calm && self.random.one_in(n);
        if one_in(self.spec.panic_one_in) {
            self.oracle.count(|tally| tally.fault("handler: panic"));
            // Not by a panic's own way, which would print it.
            std::panic::resume_unwind(Box::new("on purpose"));
        }
        if one_in(self.spec.slow_one_in) && self.slow_left > 0 {
            self.slow_left -= 1;
            self.oracle.count(|tally| tally.fault("handler: slow"));
            let slow = self.random.duration(MILLISECOND..=self.spec.slow);
            self.clock.spend(slow);
        }
        if !self.spec.no_ack
            && self.spec.detach_one_in > 0
            && self.random.one_in(self.spec.detach_one_in)
        {
            // Should nobody take it, it is requeued.
            let _ = self.taken.send((tag, delivery.detach()));
            return Disposition::Detached;
        }
        let (word, disposition) = draw(&self.spec, &mut self.random, is_calm);
        if !self.spec.no_ack {
            self.oracle.says(id, tag, word);
        }
        disposition
    }
}

/// What is to become of a delivery.
fn draw(spec: &ConsumerSpec, random: &mut Rng, is_calm: bool) -> (Word, Disposition) {
    let mut one_in = |n: u32| n > 0 && !is_calm && random.one_in(n);
    let (requeues, discards) = (one_in(spec.requeue_one_in), one_in(spec.discard_one_in));
    if !requeues && !discards {
        return (Word::Ack, Disposition::Ack);
    }
    let (word, requeue) = match requeues {
        true => (Word::Requeue, true),
        false => (Word::Discard, false),
    };
    match random.bool() {
        true => (word, Disposition::Nack { requeue }),
        false => (word, Disposition::Reject { requeue }),
    }
}

/// How long a delivery is worked on.
fn pause(spec: &ConsumerSpec, random: &mut Rng, is_calm: bool) -> std::time::Duration {
    let most = match is_calm || !random.one_in(5) {
        true => MILLISECOND * 20,
        false => spec.slow,
    };
    random.duration(MILLISECOND..=most.max(MILLISECOND))
}

fn named(message: &Message) -> MessageId {
    let properties = message.properties.as_ref();
    let name = properties.message_id().ok().flatten();
    name.and_then(|name| message::number(name.as_str().ok()?))
        .unwrap_or(MessageId::MAX)
}

/// Answers what a handler has taken along, in any order.
struct Later {
    play: Rc<Play>,
    spec: ConsumerSpec,
    random: Rng,
}

impl Later {
    async fn answer(mut self, id: ConsumerId, mut waiting: mpsc::UnboundedReceiver<Taken>) {
        let mut held = Vec::new();
        while let Some(taken) = waiting.recv().await {
            held.push(taken);
            while !held.is_empty() {
                let pause = pause(&self.spec, &mut self.random, self.play.is_calm());
                self.play.world.sleep(pause).await;
                while let Ok(taken) = waiting.try_recv() {
                    held.push(taken);
                }
                let (tag, delivery) = held.swap_remove(self.random.usize(..held.len()));
                let answer = self.answer_one(id, tag, delivery);
                if let Err(error) = answer
                    && error != Error::Stopped
                {
                    let how = format!("an answer of consumer {id}: {error}");
                    self.play.oracle.violated(Rule::Ends, how);
                }
            }
        }
    }

    fn answer_one(
        &mut self,
        id: ConsumerId,
        tag: u64,
        delivery: DetachedDelivery,
    ) -> Result<(), Error> {
        if self.random.one_in(20) {
            self.play.oracle.acks_up_to(id, tag);
            return delivery.acker.ack_up_to();
        }
        if self.random.one_in(20) {
            // A user that fails: what it drops is requeued.
            self.play.oracle.says(id, tag, Word::Requeue);
            drop(delivery);
            return Ok(());
        }
        let (word, disposition) = draw(&self.spec, &mut self.random, self.play.is_calm());
        self.play.oracle.says(id, tag, word);
        delivery.acker.settle(disposition)
    }
}
