//! A program of its own kind: engines, a broker and those who use them, in a world where everything goes wrong.
//!
//! ```text
//!              seed
//!               │ draws
//!               ▼
//!  Scenario ─▶ Play ── spawns ──▶ publishing, consuming, disturbing          tasks of one world
//!               │                     │  engines ◀── network, faults ──▶ broker
//!               │                     ▼                                    │ tap
//!               └── things go wrong, then calm, then the end            Oracle ◀┘
//! ```
//!
//! [`run`] is one such world from its beginning to its end. The same seed gives the same world.
//!
//! | file | what |
//! |---|---|
//! | `scenario` | what a seed stands for |
//! | `play` | what all share, and the course of a run |
//! | `publishing`, `consuming` | the users |
//! | `hands`, `echo` | what they do with deliveries; publishing from inside a handler |
//! | `visiting` | those who do this and that |
//! | `disturbing` | what goes wrong |
//! | `message` | what is published |
//! | `oracle` | what must hold |
//! | `report` | what a run has seen, and how one failed |

mod consuming;
mod disturbing;
mod echo;
mod hands;
mod message;
mod oracle;
mod play;
mod publishing;
pub mod report;
mod scenario;
mod visiting;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use amqp_uring::broker::Broker;
use amqp_uring::driver::sim::World;

pub use oracle::Rule;
use report::{Failure, Report};

use oracle::Oracle;
use play::Play;
use scenario::Scenario;

/// What the broker says where a fault makes it close something.
const FAULT_TEXT: &str = "simulated";

/// Far more than any run takes after its faults.
const REST_MAX: Duration = Duration::from_secs(3600 * 3);

/// The canary: the broker forgets one in so many of the publishes that it confirms.
const FORGET_ONE_IN: u32 = 20;

/// How a run is watched.
#[derive(Debug, Clone, Copy)]
pub struct Watching {
    /// How much of what happened a failure tells.
    pub trace_max: usize,
    /// Whether the broker forgets some of what it confirms, to see that it is found.
    pub canary: bool,
}

impl Default for Watching {
    fn default() -> Self {
        Self {
            trace_max: 60,
            canary: false,
        }
    }
}

/// Runs the world of a seed.
pub fn run(seed: u64, watching: Watching) -> Result<Report, Box<Failure>> {
    let world = World::new(seed);
    let scenario = Scenario::draw(seed);
    let oracle = Oracle::new(world.clock(), &scenario.queues, watching.trace_max);
    let performed = catch_unwind(AssertUnwindSafe(|| {
        perform(&world, scenario, &oracle, (seed, watching))
    }));
    if let Err(panic) = performed {
        oracle.violated(Rule::Panics, message_of(&*panic));
    }
    let stats = world.stats();
    match oracle.violation() {
        Some(violation) => Err(Box::new(Failure {
            seed,
            canary: watching.canary,
            at: stats.time,
            violation,
            trace: oracle.trace(),
        })),
        None => Ok(Report::new(&stats, world.fingerprint(), oracle.tally())),
    }
}

fn perform(world: &World, scenario: Scenario, oracle: &Oracle, (seed, watching): (u64, Watching)) {
    world.conditions(scenario.network.clone());
    let limit = scenario.duration + REST_MAX;
    let broker = match Broker::builder().start_in(world) {
        Ok(broker) => broker,
        Err(error) => return oracle.violated(Rule::Panics, error.to_string()),
    };
    let forgets = if watching.canary { FORGET_ONE_IN } else { 0 };
    let prepared = broker
        .tap(oracle.ear())
        .and_then(|()| broker.faults().forget_one_in(forgets));
    if let Err(error) = prepared {
        return oracle.violated(Rule::Panics, error.to_string());
    }
    let play = Play::new(world.handle(), oracle.clone(), scenario, broker, seed);
    let play = Rc::new(play);
    world.spawn(Rc::clone(&play).perform());
    let is_over = || {
        play.check();
        play.is_over() || oracle.is_violated()
    };
    if let Err(stuck) = world.run_until(limit, is_over) {
        oracle.violated(Rule::Rests, stuck.to_string());
    }
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}
