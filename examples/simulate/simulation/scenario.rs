//! What a seed stands for: who takes part, how the network is, and what goes wrong.

use std::ops::RangeInclusive;
use std::time::Duration;

use amqp_uring::driver::sim::{Conditions, FaultPlan};
use fastrand::Rng;

/// Drawing from a seed.
pub trait Chance {
    fn one_in(&mut self, n: u32) -> bool;
    fn duration(&mut self, range: RangeInclusive<Duration>) -> Duration;
    fn pick<T: Copy>(&mut self, choices: &[T]) -> T;
}

impl Chance for Rng {
    fn one_in(&mut self, n: u32) -> bool {
        self.u32(..n) == 0
    }

    fn duration(&mut self, range: RangeInclusive<Duration>) -> Duration {
        let (least, most) = range.into_inner();
        Duration::from_nanos(self.u64(least.as_nanos() as u64..=most.as_nanos() as u64))
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.usize(..choices.len())]
    }
}

pub const MILLISECOND: Duration = Duration::from_millis(1);
pub const SECOND: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
pub struct EngineSpec {
    pub workers: usize,
    pub heartbeat: Duration,
    pub connect_timeout: Duration,
    pub frame_max: u32,
    pub chunks: u16,
    pub chunk_octets: u32,
    /// Whether it tries a node first that is not there.
    pub has_dead_node: bool,
}

#[derive(Debug, Clone)]
pub struct QueueSpec {
    pub name: String,
    pub is_durable: bool,
    /// The queue of its dead letters.
    pub dead_letters: Option<usize>,
    /// Whether there are consumers without acks: what is on its way to them may be lost.
    pub has_no_ack: bool,
}

#[derive(Debug, Clone)]
pub struct PublisherSpec {
    pub engine: usize,
    pub queue: usize,
    pub messages: usize,
    pub window_messages: usize,
    pub window_octets: usize,
    /// Messages that are published before it looks at their outcomes.
    pub batch_max: usize,
    pub pause: Duration,
    pub octets_max: usize,
    /// One in so many is transient, mandatory, or goes nowhere; 0 for none.
    pub transient_one_in: u32,
    pub mandatory_one_in: u32,
    pub nowhere_one_in: u32,
}

/// How a consumer's user takes its deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// A handler that answers in place, or takes deliveries along to answer them in any order.
    InPlace,
    /// An asynchronous handler, so many at a time.
    Async(usize),
    /// A stream whose deliveries are answered in any order.
    Stream,
}

#[derive(Debug, Clone)]
pub struct ConsumerSpec {
    pub engine: usize,
    pub queue: usize,
    pub prefetch: u16,
    pub no_ack: bool,
    pub manner: Manner,
    /// How long one lives until its user cancels it.
    pub life: Duration,
    /// One delivery in so many is requeued, discarded, taken along, worked on for long, or makes its handler panic; 0 for
    /// none.
    pub requeue_one_in: u32,
    pub discard_one_in: u32,
    pub detach_one_in: u32,
    pub slow_one_in: u32,
    pub panic_one_in: u32,
    /// One delivery in so many makes a handler in place publish something.
    pub echo_one_in: u32,
    /// The most that a slow handler takes.
    pub slow: Duration,
}

/// Somebody who does this and that.
#[derive(Debug, Clone)]
pub struct VisitorSpec {
    pub engine: usize,
    /// The mean time between two things that he does.
    pub every: Duration,
}

/// What goes wrong with the broker: the mean time between two faults, how long each lasts, and how often each kind is, in
/// proportion to the others.
#[derive(Debug, Clone)]
pub struct BrokerPlan {
    pub every: Duration,
    pub lasts: RangeInclusive<Duration>,
    pub weights: [u32; BROKER_FAULTS],
}

/// How many kinds of faults a broker has: see `disturbing`.
pub const BROKER_FAULTS: usize = 16;

#[derive(Debug, Clone)]
pub struct Scenario {
    /// How long things go wrong.
    pub duration: Duration,
    pub network: Conditions,
    pub network_plan: Option<FaultPlan>,
    pub broker_plan: Option<BrokerPlan>,
    pub queues: Vec<QueueSpec>,
    pub engines: Vec<EngineSpec>,
    pub publishers: Vec<PublisherSpec>,
    pub consumers: Vec<ConsumerSpec>,
    pub visitors: Vec<VisitorSpec>,
    /// The mean time between two shutdowns of an engine, which is started again.
    pub restarts_every: Option<Duration>,
    /// Whether users close what they have opened, before their engines are shut down.
    pub is_tidy: bool,
}

impl Scenario {
    pub fn draw(seed: u64) -> Self {
        let random = &mut Rng::with_seed(seed ^ 0x5ce7_a210);
        let duration = match random.u32(..20) {
            0..12 => random.duration(SECOND * 10..=SECOND * 300),
            12..18 => random.duration(SECOND * 300..=SECOND * 3600),
            _ => random.duration(SECOND * 3600..=SECOND * 3600 * 12),
        };
        let mut queues = queues(random);
        let engines: Vec<_> = (0..random.usize(1..=3))
            .map(|_| engine(random, duration))
            .collect();
        let publishers = (0..random.usize(1..=4))
            .map(|_| publisher(random, engines.len(), queues.len(), duration))
            .collect();
        let consumers = consumers(random, engines.len(), &queues, duration);
        for consumer in consumers.iter().filter(|consumer| consumer.no_ack) {
            queues[consumer.queue].has_no_ack = true;
        }
        Self {
            network: network(random),
            network_plan: (!random.one_in(5)).then(|| network_plan(random, duration)),
            broker_plan: (!random.one_in(4)).then(|| broker_plan(random, duration)),
            queues,
            publishers,
            consumers,
            visitors: (0..random.usize(..3))
                .map(|_| VisitorSpec {
                    engine: random.usize(..engines.len()),
                    every: (duration / random.u32(5..=50)).max(MILLISECOND * 50),
                })
                .collect(),
            restarts_every: random.one_in(3).then(|| duration / random.u32(1..=8)),
            is_tidy: random.bool(),
            engines,
            duration,
        }
    }
}

fn engine(random: &mut Rng, duration: Duration) -> EngineSpec {
    let few = random.one_in(3);
    EngineSpec {
        workers: random.pick(&[1, 1, 2]),
        // Heartbeats are what a long time costs.
        heartbeat: match duration > SECOND * 3600 {
            true => SECOND * random.u32(20..=60),
            false => SECOND * random.u32(1..=20),
        },
        connect_timeout: random.duration(SECOND * 2..=SECOND * 10),
        frame_max: random.pick(&[4096, 8192, 131_072]),
        chunks: if few {
            random.u16(1..=3)
        } else {
            random.u16(4..=32)
        },
        chunk_octets: random.pick(&[64, 512, 4096, 16_384, 65_536]),
        has_dead_node: random.one_in(4),
    }
}

fn queues(random: &mut Rng) -> Vec<QueueSpec> {
    let count = random.usize(1..=3);
    let mut queues: Vec<_> = (0..count)
        .map(|number| QueueSpec {
            name: format!("q{number}"),
            is_durable: !random.one_in(4),
            dead_letters: None,
            has_no_ack: false,
        })
        .collect();
    if random.bool() {
        let source = random.usize(..count);
        queues[source].dead_letters = Some(count);
        queues.push(QueueSpec {
            name: "dead".to_owned(),
            is_durable: queues[source].is_durable,
            dead_letters: None,
            has_no_ack: false,
        });
    }
    queues
}

fn publisher(random: &mut Rng, engines: usize, queues: usize, duration: Duration) -> PublisherSpec {
    let messages = random.usize(1..=random.clone().pick(&[20, 100, 300]));
    let batch_max = random.usize(1..=random.clone().pick(&[5, 50]));
    let batches = (messages / batch_max.div_ceil(2)).max(1) as u32;
    PublisherSpec {
        engine: random.usize(..engines),
        // Dead letters are not published to: then their queue would have two sources.
        queue: random.usize(..queues),
        messages,
        window_messages: random.pick(&[1, 7, 64, 20_000]),
        window_octets: random.pick(&[1, 10_000, 16 << 20]),
        batch_max,
        pause: duration / batches,
        octets_max: random.pick(&[0, 100, 5_000, 20_000, 100_000]),
        transient_one_in: random.pick(&[0, 1, 3]),
        mandatory_one_in: random.pick(&[0, 4]),
        nowhere_one_in: random.pick(&[0, 10]),
    }
}

fn consumers(
    random: &mut Rng,
    engines: usize,
    queues: &[QueueSpec],
    duration: Duration,
) -> Vec<ConsumerSpec> {
    // Each queue has one who acks, or nobody would empty it.
    let mut of_queues: Vec<_> = (0..queues.len()).collect();
    for _ in 0..random.usize(..3) {
        of_queues.push(random.usize(..queues.len()));
    }
    of_queues
        .into_iter()
        .enumerate()
        .map(|(index, queue)| ConsumerSpec {
            engine: random.usize(..engines),
            queue,
            prefetch: random.pick(&[0, 1, 2, 10, 100, 1000]),
            no_ack: index >= queues.len() && random.one_in(4),
            manner: match random.u32(..4) {
                0 => Manner::Async(random.usize(1..=20)),
                1 => Manner::Stream,
                _ => Manner::InPlace,
            },
            life: random.duration(duration / 10..=duration * 2),
            requeue_one_in: random.pick(&[0, 10, 50]),
            discard_one_in: random.pick(&[0, 10, 50]),
            detach_one_in: random.pick(&[0, 1, 3, 10]),
            slow_one_in: random.pick(&[0, 20, 100]),
            panic_one_in: random.pick(&[0, 0, 50]),
            echo_one_in: random.pick(&[0, 0, 3]),
            slow: random.duration(MILLISECOND..=SECOND * 20),
        })
        .map(fit_for_async)
        .collect()
}

/// What a stream of deliveries asks for.
fn fit_for_async(mut consumer: ConsumerSpec) -> ConsumerSpec {
    if consumer.manner != Manner::InPlace {
        consumer.no_ack = false;
        consumer.prefetch = consumer.prefetch.max(1);
        consumer.panic_one_in = 0;
    }
    consumer
}

fn network(random: &mut Rng) -> Conditions {
    if random.one_in(4) {
        return Conditions::default();
    }
    let least = random.duration(Duration::from_micros(10)..=MILLISECOND * 20);
    Conditions {
        latency: least..=least + random.duration(Duration::ZERO..=MILLISECOND * 100),
        octets_per_second: random.pick(&[None, Some(100_000), Some(10_000_000)]),
        send_octets: random.pick(&[1_000, 16 << 10, 128 << 10]),
        receive_octets: random.pick(&[1_000, 16 << 10, 128 << 10]),
        parcel_octets: random.pick(&[50, 1_500, 64 << 10]),
        short_one_in: random.pick(&[0, 2, 8]),
    }
}

/// So many faults that users get on in between.
fn every(random: &mut Rng, duration: Duration) -> Duration {
    (duration / random.u32(3..=40)).max(SECOND / 2)
}

fn network_plan(random: &mut Rng, duration: Duration) -> FaultPlan {
    let mut weight = || random.u32(..4);
    FaultPlan {
        stall: weight(),
        throttle: weight(),
        reset: weight(),
        half_close: weight(),
        black_hole: weight(),
        refuse: weight(),
        partition: weight(),
        lasts: MILLISECOND..=random.duration(SECOND..=SECOND * 60),
        throttled_octets_per_second: random.u64(1_000..=100_000),
        ..FaultPlan::every(every(random, duration))
    }
}

fn broker_plan(random: &mut Rng, duration: Duration) -> BrokerPlan {
    let weights = [(); BROKER_FAULTS].map(|()| random.u32(..3));
    BrokerPlan {
        every: every(random, duration),
        lasts: MILLISECOND..=random.duration(SECOND..=SECOND * 60),
        weights,
    }
}
