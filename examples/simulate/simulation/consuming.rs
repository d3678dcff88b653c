//! A user who consumes: a consumer that has ended is started again, until everything is over.

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use amqp_uring::{CancelReason, Consumer, ConsumerBuilder, Error, Message};
use fastrand::Rng;
use futures_util::future::{Either, select};
use tokio::sync::{mpsc, oneshot};

use super::echo::Echo;
use super::hands::{Hands, Later, Taken, draw, given, pause};
use super::oracle::ConsumerId;
use super::play::Play;
use super::scenario::{Chance, ConsumerSpec, MILLISECOND, Manner, SECOND};

/// One consumer in so many changes its prefetch.
const CHANGE_ONE_IN: u32 = 3;

/// A consumer's tag.
pub fn tag(id: ConsumerId) -> String {
    format!("c{id}")
}

/// The consumer of a tag.
pub fn number(tag: &str) -> Option<ConsumerId> {
    tag.strip_prefix('c')?.parse().ok()
}

/// Consumes until everything is over.
pub async fn consume(play: Rc<Play>, index: usize) {
    let spec = play.scenario.consumers[index].clone();
    let mut user = User {
        random: play.random(2_000 + index as u64),
        play,
        spec,
    };
    while !user.play.is_closing() {
        if let Err(error) = user.session().await {
            user.play
                .oracle
                .fails("user {} of a consumer:", index, &error);
        }
        let pause = user.random.duration(MILLISECOND..=SECOND * 3);
        user.play.unless_closing(pause).await;
    }
}

struct User {
    play: Rc<Play>,
    spec: ConsumerSpec,
    random: Rng,
}

impl User {
    /// One consumer, from its start to its end.
    async fn session(&mut self) -> Result<(), Error> {
        let engine = self.play.engine(self.spec.engine).await;
        let spec = &self.spec;
        let id = self
            .play
            .oracle
            .consumer(spec.queue, spec.prefetch, spec.no_ack);
        let (told, ended) = oneshot::channel();
        let oracle = self.play.oracle.clone();
        let builder = engine
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
            Manner::Stream => self.stream(id, builder).await,
        }
    }

    async fn in_place(
        &mut self,
        id: ConsumerId,
        builder: ConsumerBuilder,
        ended: oneshot::Receiver<CancelReason>,
    ) -> Result<(), Error> {
        let echo = match self.spec.echo_one_in {
            0 => None,
            _ => Some(Echo::open(&self.play, &self.spec).await?),
        };
        let taken = self.answer_later(id);
        let mut hands = Hands::new(&self.play, &self.spec, self.random.fork(), taken, echo);
        let consumer = builder
            .start(move |delivery| hands.take(id, delivery))
            .await?;
        self.play.oracle.started(id);
        if !self.spec.no_ack && self.random.one_in(CHANGE_ONE_IN) {
            self.change_prefetch(id, &consumer);
        }
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

    /// Has what is taken along answered, by a task that lives as long as the world.
    fn answer_later(&mut self, id: ConsumerId) -> mpsc::UnboundedSender<Taken> {
        let (taken, waiting) = mpsc::unbounded_channel();
        let (play, random) = (Rc::clone(&self.play), self.random.fork());
        let later = Later::new(play, self.spec.clone(), random);
        self.play.world.spawn(later.answer(id, waiting));
        taken
    }

    /// Changes the window some time later.
    fn change_prefetch(&mut self, id: ConsumerId, consumer: &Consumer) {
        let (play, consumer) = (Rc::clone(&self.play), consumer.clone());
        let later = self.random.duration(Duration::ZERO..=self.spec.life);
        let prefetch = self.random.u16(1..=20);
        self.play.world.spawn(async move {
            play.unless_calm(later).await;
            play.oracle.changes_prefetch(id, prefetch);
            // It may have ended.
            let changed = consumer.set_prefetch(prefetch).await;
            play.oracle.say(
                "consumer {} has changed its prefetch:",
                id,
                format!("{changed:?}"),
            );
        });
    }

    /// Takes deliveries from a stream, and answers them in any order.
    async fn stream(&mut self, id: ConsumerId, builder: ConsumerBuilder) -> Result<(), Error> {
        let mut deliveries = builder.deliveries().await?;
        self.play.oracle.started(id);
        let taken = self.answer_later(id);
        let mut life = pin!(self.play.unless_closing(self.spec.life));
        loop {
            match select(pin!(deliveries.next()), life.as_mut()).await {
                Either::Left((Some(delivery), _)) => {
                    let tag = self.play.oracle.handed(id, &given(&delivery));
                    // It is answered by a task that lives as long as the world.
                    let _ = taken.send((tag, delivery));
                }
                Either::Left((None, _)) => return Ok(()),
                // Dropping the stream cancels its consumer.
                Either::Right(_) => return Ok(()),
            }
        }
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
            let tag = play.oracle.handed(id, &given(&message));
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
