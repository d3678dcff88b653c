//! What users do with their deliveries.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use amqp_uring::driver::sim::Clock;
use amqp_uring::{Delivery, DetachedDelivery, Disposition, Error, Message};
use fastrand::Rng;
use tokio::sync::mpsc;

use super::echo::Echo;
use super::message;
use super::oracle::{ConsumerId, Given, Oracle, Rule, Word};
use super::play::Play;
use super::scenario::{Chance, ConsumerSpec, MILLISECOND};

/// How often a consumer's handler is slow: what it takes adds up, and its worker must come to rest after the faults.
const SLOW_MAX: u32 = 2;

/// A delivery that was taken along, and its tag.
pub type Taken = (u64, DetachedDelivery);

/// A handler that works in place.
pub struct Hands {
    oracle: Oracle,
    clock: Clock,
    is_calm: Arc<AtomicBool>,
    spec: ConsumerSpec,
    random: Rng,
    /// How often it may still be slow.
    slow_left: u32,
    taken: mpsc::UnboundedSender<Taken>,
    /// Publishes some of what it gets.
    echo: Option<Echo>,
}

impl Hands {
    pub fn new(
        play: &Play,
        spec: &ConsumerSpec,
        random: Rng,
        taken: mpsc::UnboundedSender<Taken>,
        echo: Option<Echo>,
    ) -> Self {
        Self {
            oracle: play.oracle.clone(),
            clock: play.world.clock(),
            is_calm: play.calm_flag(),
            spec: spec.clone(),
            random,
            slow_left: SLOW_MAX,
            taken,
            echo,
        }
    }

    pub fn take(&mut self, id: ConsumerId, delivery: &Delivery<'_>) -> Disposition {
        let given = Given {
            message: message::number_in(delivery.properties()),
            tag: Some(delivery.delivery_tag()),
            redelivered: delivery.redelivered(),
            body: delivery.body(),
        };
        let tag = self.oracle.handed(id, &given);
        if self.one_in(self.spec.panic_one_in) {
            self.oracle.count(|tally| tally.fault("handler: panic"));
            // Not by a panic's own way, which would print it.
            std::panic::resume_unwind(Box::new("on purpose"));
        }
        if self.one_in(self.spec.echo_one_in)
            && let Some(echo) = &mut self.echo
        {
            echo.publish(&self.oracle, given.body.len());
        }
        let disposition = self.decide(id, tag, delivery);
        self.be_slow();
        disposition
    }

    fn decide(&mut self, id: ConsumerId, tag: u64, delivery: &Delivery<'_>) -> Disposition {
        let detaches = !self.spec.no_ack && self.spec.detach_one_in > 0;
        if detaches && self.random.one_in(self.spec.detach_one_in) {
            // Should nobody take it, it is requeued.
            let _ = self.taken.send((tag, delivery.detach()));
            return Disposition::Detached;
        }
        let is_calm = self.is_calm.load(Ordering::Relaxed);
        let (word, disposition) = draw(&self.spec, &mut self.random, is_calm);
        if !self.spec.no_ack {
            self.oracle.says(id, tag, word);
        }
        disposition
    }

    /// After everything else: other workers see at once what a handler does.
    fn be_slow(&mut self) {
        if self.slow_left > 0 && self.one_in(self.spec.slow_one_in) {
            self.slow_left -= 1;
            self.oracle.count(|tally| tally.fault("handler: slow"));
            let slow = self.random.duration(MILLISECOND..=self.spec.slow);
            self.clock.spend(slow);
        }
    }

    /// Whether something happens that happens once in so many times, until the faults are over.
    fn one_in(&mut self, n: u32) -> bool {
        n > 0 && !self.is_calm.load(Ordering::Relaxed) && self.random.one_in(n)
    }
}

/// What is to become of a delivery.
pub fn draw(spec: &ConsumerSpec, random: &mut Rng, is_calm: bool) -> (Word, Disposition) {
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
pub fn pause(spec: &ConsumerSpec, random: &mut Rng, is_calm: bool) -> Duration {
    let most = match is_calm || !random.one_in(5) {
        true => MILLISECOND * 20,
        false => spec.slow,
    };
    random.duration(MILLISECOND..=most.max(MILLISECOND))
}

/// A delivery as one sees it who is not told its tag.
pub fn given(message: &Message) -> Given<'_> {
    Given {
        message: message::number_in(message.properties.as_ref()),
        tag: None,
        redelivered: message.redelivered,
        body: &message.body,
    }
}

/// Answers what a handler has taken along, in any order.
pub struct Later {
    play: Rc<Play>,
    spec: ConsumerSpec,
    random: Rng,
}

impl Later {
    pub fn new(play: Rc<Play>, spec: ConsumerSpec, random: Rng) -> Self {
        Self { play, spec, random }
    }

    pub async fn answer(mut self, id: ConsumerId, mut waiting: mpsc::UnboundedReceiver<Taken>) {
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
