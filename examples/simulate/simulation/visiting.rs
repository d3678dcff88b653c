//! Those who do this and that: getting messages, asking for what is not there, starting what they do not wait for, and
//! shutting engines down in the middle of everything.

use std::rc::Rc;
use std::time::Duration;

use amqp_uring::{DetachedDelivery, Disposition, Engine, Error, PublisherOptions, Queue};
use fastrand::Rng;

use super::oracle::{Rule, Word};
use super::play::Play;
use super::scenario::{Chance, MILLISECOND, SECOND};
use super::{consuming, message};

/// How much later than its time a shutdown may be answered: handlers that are slow keep the worker for so long.
const SHUTDOWN_LATE_MAX: Duration = Duration::from_secs(250);

/// Of a consumer that nobody waits for.
const PREFETCH: u16 = 10;

/// Does this and that until the faults are over.
pub async fn visit(play: Rc<Play>, index: usize) {
    let spec = play.scenario.visitors[index].clone();
    let mut random = play.random(4_000 + index as u64);
    while !play.is_calm() {
        let pause = random.duration(Duration::ZERO..=spec.every * 2);
        play.unless_calm(pause).await;
        let engine = play.engine(spec.engine).await;
        let done = match random.u32(..6) {
            0 | 1 => get(&play, &engine, &mut random).await,
            2 => get_no_ack(&play, &engine, &mut random).await,
            3 => ask_for_nothing(&play, &engine).await,
            4 => open_and_leave(&play, &engine, &mut random).await,
            _ => begin_and_leave(&play, &engine, &mut random),
        };
        if let Err(error) = done {
            play.oracle.fails("visitor {}:", index, &error);
        }
    }
}

async fn get(play: &Rc<Play>, engine: &Engine, random: &mut Rng) -> Result<(), Error> {
    let queue = random.usize(..play.scenario.queues.len());
    let name = &play.scenario.queues[queue].name;
    play.declare(engine, queue).await?;
    if let Some(got) = engine.get(name).await? {
        let id = check(play, &got);
        play.world
            .sleep(random.duration(MILLISECOND..=SECOND))
            .await;
        let word = random.pick(&[Word::Ack, Word::Requeue, Word::Discard]);
        let disposition = match word {
            Word::Ack => Disposition::Ack,
            Word::Requeue => Disposition::Nack { requeue: true },
            Word::Discard => Disposition::Reject { requeue: false },
        };
        play.oracle.says_of_got(id, word);
        got.acker.settle(disposition)?;
    }
    Ok(())
}

async fn get_no_ack(play: &Rc<Play>, engine: &Engine, random: &mut Rng) -> Result<(), Error> {
    let queue = random.usize(..play.scenario.queues.len());
    if play.scenario.queues[queue].has_no_ack {
        play.declare(engine, queue).await?;
        if let Some(got) = engine.get_no_ack(&play.scenario.queues[queue].name).await? {
            check(play, &got);
        }
    }
    Ok(())
}

fn check(play: &Play, got: &DetachedDelivery) -> usize {
    let id = message::number_in(got.properties.as_ref());
    play.oracle.check_body(id, &got.body);
    id
}

/// The error is this one's alone.
async fn ask_for_nothing(play: &Play, engine: &Engine) -> Result<(), Error> {
    match engine.declare(&Queue::named("not there")).await {
        Ok(_) => play
            .oracle
            .violated(Rule::Invented, "a queue that nobody has declared"),
        Err(error) => play.oracle.say("", 0, error.to_string()),
    }
    Ok(())
}

/// Opens a publisher and drops it, or does not wait for it.
async fn open_and_leave(play: &Play, engine: &Engine, random: &mut Rng) -> Result<(), Error> {
    let opening = engine.open_publisher(PublisherOptions::default());
    let patience = random.duration(Duration::ZERO..=MILLISECOND * 10);
    let patience = play.world.sleep(patience);
    futures_util::future::select(std::pin::pin!(opening), patience).await;
    Ok(())
}

/// Begins operations that nobody waits for.
fn begin_and_leave(play: &Play, engine: &Engine, random: &mut Rng) -> Result<(), Error> {
    let queue = random.usize(..play.scenario.queues.len());
    drop(engine.declare(&play.queue(queue)));
    // What it brings is requeued when it comes.
    drop(engine.get(&play.scenario.queues[queue].name));
    let consumer = engine.consumer(play.queue(queue)).prefetch(PREFETCH);
    let id = play.oracle.consumer(queue, PREFETCH, false);
    drop(consumer.tag(consuming::tag(id)).deliveries());
    Ok(())
}

/// Shuts engines down, one at a time, whatever goes on.
pub async fn restart(play: Rc<Play>, every: Duration) {
    let mut random = play.random(5_000);
    loop {
        let pause = random.duration(MILLISECOND..=every * 2);
        play.unless_calm(pause).await;
        if play.is_calm() {
            return;
        }
        let index = random.usize(..play.scenario.engines.len());
        let Some(engine) = play.take_engine(index).await else {
            continue;
        };
        play.oracle.count(|tally| tally.fault("engine: shutdown"));
        if random.one_in(4) {
            // It ends by itself.
            play.oracle.say("engine {} is dropped", index, "");
            continue;
        }
        let timeout = random.duration(MILLISECOND..=SECOND * 10);
        let begun_at = play.world.now();
        let ended = engine.close(timeout).await;
        let took = play.world.now() - begun_at;
        play.oracle
            .say("engine {} was shut down:", index, format!("{ended:?}"));
        if took > timeout + SHUTDOWN_LATE_MAX {
            let how = format!("a shutdown took {took:?}, {timeout:?} were given");
            play.oracle.violated(Rule::Ends, how);
        }
    }
}
