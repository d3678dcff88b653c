//! What everything in a world shares: the clock, what happens next, chance, the chronicle and the network.

use std::sync::{Arc, Mutex, PoisonError};
use std::task;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::agenda::Agenda;
use super::chronicle::{Chronicle, Note};
use super::faults::Plan;
use super::network::{Accept, Network};
use super::{Side, Socket, WireId};

/// What can happen by itself.
pub(super) enum Happening {
    /// Somebody's sleep ends.
    Wake(task::Waker),
    /// A connect is answered.
    Answer(WireId),
    /// The next octets, or the end, arrive at a side of a connection.
    Arrive(WireId, Side),
    /// The plan's next fault.
    Fault,
}

/// What is done once nobody holds the world: whoever is called may call the world in turn.
pub(super) enum Errand {
    Wake(task::Waker),
    /// A listener gets a connection.
    Accept {
        wire: WireId,
        accept: Accept,
    },
}

/// The clock, what happens next, chance and the chronicle. Times are nanoseconds since the beginning.
pub(super) struct Scene {
    clock: u64,
    /// What the task that runs now has spent of its time.
    spent: u64,
    pub(super) agenda: Agenda<Happening>,
    pub(super) random: Rng,
    pub(super) chronicle: Chronicle,
    pub(super) errands: Vec<Errand>,
}

impl Scene {
    pub(super) fn now(&self) -> u64 {
        self.clock + self.spent
    }

    /// The time that passes from now.
    pub(super) fn after(&self, duration: Duration) -> u64 {
        self.now().saturating_add(nanos(duration))
    }

    pub(super) fn note(&mut self, note: Note, who: u64, much: u64) {
        let now = self.now();
        self.chronicle.note(now, note, who, much);
    }

    /// Lets the task that runs spend some of its time.
    pub(super) fn spend(&mut self, duration: Duration) {
        self.spent = self.spent.saturating_add(nanos(duration));
    }

    /// Whether the task that runs is ahead of the clock.
    pub(super) fn has_spent(&self) -> bool {
        self.spent > 0
    }

    /// Ends the present task's turn; what it has spent.
    pub(super) fn take_spent(&mut self) -> u64 {
        std::mem::take(&mut self.spent)
    }

    /// A duration within a range.
    pub(super) fn between(&mut self, least: Duration, most: Duration) -> u64 {
        let least = nanos(least);
        self.random.u64(least..=nanos(most).max(least))
    }

    /// True once in `n` times; never for 0.
    pub(super) fn one_in(&mut self, n: u32) -> bool {
        n > 0 && self.random.u32(0..n) == 0
    }

    /// From 1 to `most`, of every order of magnitude as often.
    pub(super) fn any_size(&mut self, most: usize) -> usize {
        let orders = most.max(1).ilog2();
        let order = self.random.u32(0..=orders);
        self.some_of(most.max(1).min(2 << order))
    }

    /// From 1 to `most`, and 0 for 0.
    pub(super) fn some_of(&mut self, most: usize) -> usize {
        match most {
            0 => 0,
            most => self.random.u64(1..=most as u64) as usize,
        }
    }
}

/// As many as a `u64` holds: 584 years.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// All that a world is, except for its tasks.
pub(super) struct Core {
    pub(super) scene: Scene,
    pub(super) network: Network,
    pub(super) plan: Plan,
}

/// What the next step of a world was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// A task was run, or something happened.
    Went,
    /// It is the turn of the task that the world is run for.
    Root,
    /// Nothing happens until the time that was given, which it is now.
    Over,
    /// Nothing will ever happen.
    Idle,
}

/// The one core of a world, as its drivers, sockets, sleeps and handles hold it.
#[derive(Clone)]
pub(super) struct Shared {
    base: Instant,
    core: Arc<Mutex<Core>>,
}

impl Shared {
    pub(super) fn new(seed: u64) -> Self {
        let scene = Scene {
            clock: 0,
            spent: 0,
            agenda: Agenda::new(),
            random: Rng::with_seed(seed),
            chronicle: Chronicle::new(seed),
            errands: Vec::new(),
        };
        Self {
            base: Instant::now(),
            core: Arc::new(Mutex::new(Core {
                scene,
                network: Network::default(),
                plan: Plan::default(),
            })),
        }
    }

    /// Looks at the core or changes it, and runs the errands that follow from that.
    pub(super) fn with<R>(&self, look: impl FnOnce(&mut Core) -> R) -> R {
        let (result, errands) = {
            let mut core = self.core.lock().unwrap_or_else(PoisonError::into_inner);
            let result = look(&mut core);
            (result, std::mem::take(&mut core.scene.errands))
        };
        for errand in errands {
            match errand {
                Errand::Wake(waker) => waker.wake(),
                Errand::Accept { wire, accept } => {
                    accept(Socket::new(self.clone(), wire, Side::Acceptor));
                }
            }
        }
        result
    }

    /// Time as it is counted here.
    pub(super) fn nanos_at(&self, instant: Instant) -> u64 {
        nanos(instant.saturating_duration_since(self.base))
    }

    pub(super) fn now(&self) -> Instant {
        self.base + Duration::from_nanos(self.with(|core| core.scene.now()))
    }

    /// Lets the clock go on to what happens next, but not beyond `until`.
    pub(super) fn advance(&self, until: u64) -> Step {
        self.with(|core| {
            let Some(at) = core.scene.agenda.next_at() else {
                return Step::Idle;
            };
            if at > until {
                core.scene.clock = core.scene.clock.max(until);
                return Step::Over;
            }
            core.scene.clock = core.scene.clock.max(at);
            if let Some(happening) = core.scene.agenda.take_next() {
                core.scene.chronicle.stats.events += 1;
                core.happen(happening);
            }
            Step::Went
        })
    }

    /// Lets the clock go on where nothing happens.
    pub(super) fn pass(&self, until: u64) {
        self.with(|core| core.scene.clock = core.scene.clock.max(until));
    }
}

impl Core {
    fn happen(&mut self, happening: Happening) {
        let Self {
            scene,
            network,
            plan,
        } = self;
        match happening {
            Happening::Wake(waker) => {
                scene.note(Note::Wake, 0, 0);
                scene.errands.push(Errand::Wake(waker));
            }
            Happening::Answer(wire) => network.answer(scene, wire),
            Happening::Arrive(wire, side) => network.arrive(scene, wire, side),
            Happening::Fault => plan.strike(scene, network),
        }
    }
}
