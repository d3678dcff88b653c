//! What goes wrong, and how it ends.

use std::ops::RangeInclusive;
use std::rc::Rc;
use std::time::Duration;

use amqp_uring::ReplyCode;
use amqp_uring::broker::{BrokerError, ConfirmFault, Contents};
use amqp_uring::driver::sim::{Conditions, Fault};
use fastrand::Rng;

use super::FAULT_TEXT;
use super::oracle::Rule;
use super::play::Play;
use super::scenario::{BROKER_FAULTS, BrokerPlan, Chance};

/// A fault of the broker.
#[derive(Debug, Clone, Copy)]
enum BrokerFault {
    Restart,
    Loss,
    LateConfirms,
    NoConfirms,
    Nacks,
    UnorderedConfirms,
    Returns,
    Blocked,
    ClosedChannels,
    ClosedConnections,
    CancelledConsumers,
    Reset,
    HalfClose,
    Freeze,
    Refusal,
    SmallFrames,
}

const KINDS: [(BrokerFault, &str); BROKER_FAULTS] = [
    (BrokerFault::Restart, "broker: restart"),
    (BrokerFault::Loss, "broker: restart with loss of everything"),
    (BrokerFault::LateConfirms, "broker: late confirms"),
    (BrokerFault::NoConfirms, "broker: no confirms"),
    (BrokerFault::Nacks, "broker: nacks"),
    (
        BrokerFault::UnorderedConfirms,
        "broker: confirms out of order",
    ),
    (BrokerFault::Returns, "broker: returns"),
    (BrokerFault::Blocked, "broker: blocked publishers"),
    (BrokerFault::ClosedChannels, "broker: closed channels"),
    (BrokerFault::ClosedConnections, "broker: closed connections"),
    (
        BrokerFault::CancelledConsumers,
        "broker: cancelled consumers",
    ),
    (BrokerFault::Reset, "broker: reset"),
    (BrokerFault::HalfClose, "broker: half close"),
    (BrokerFault::Freeze, "broker: freeze"),
    (BrokerFault::Refusal, "broker: refused connections"),
    (BrokerFault::SmallFrames, "broker: small frames"),
];

/// Lets things go wrong for the scenario's time, and makes everything good again.
pub async fn disturb(play: &Rc<Play>) {
    if let Some(plan) = play.scenario.network_plan.clone() {
        play.world.faults(plan);
    }
    let over_at = play.world.now() + play.scenario.duration;
    if let Some(plan) = &play.scenario.broker_plan {
        let mut random = play.random(3_000);
        loop {
            let wait = random.duration(Duration::ZERO..=plan.every * 2);
            if play.world.now() + wait >= over_at {
                break;
            }
            play.world.sleep(wait).await;
            let (fault, name) = draw(plan, &mut random);
            play.oracle.count(|tally| tally.fault(name));
            play.oracle.say("", 0, format!("{fault:?}"));
            if let Err(error) = strike(play, fault, &plan.lasts, &mut random).await {
                play.oracle.violated(Rule::Panics, error.to_string());
            }
        }
    }
    play.world.sleep_until(over_at).await;
    if let Err(error) = make_good(play) {
        play.oracle.violated(Rule::Panics, error.to_string());
    }
}

fn draw(plan: &BrokerPlan, random: &mut Rng) -> (BrokerFault, &'static str) {
    let total: u32 = plan.weights.iter().sum();
    let mut drawn = random.u32(..total.max(1));
    for (kind, weight) in KINDS.iter().zip(plan.weights) {
        if drawn < weight {
            return *kind;
        }
        drawn -= weight;
    }
    KINDS[0]
}

async fn strike(
    play: &Rc<Play>,
    fault: BrokerFault,
    lasts: &RangeInclusive<Duration>,
    random: &mut Rng,
) -> Result<(), BrokerError> {
    let lasts = random.duration(lasts.clone());
    let broker = play.broker.faults();
    match fault {
        BrokerFault::Restart => restart(play, Contents::Durable, lasts).await,
        BrokerFault::Loss => restart(play, Contents::Nothing, lasts).await,
        BrokerFault::LateConfirms => confirms(play, ConfirmFault::Delay(lasts / 4), lasts),
        BrokerFault::NoConfirms => confirms(play, ConfirmFault::Drop, lasts),
        BrokerFault::Nacks => confirms(play, ConfirmFault::Nack, lasts),
        BrokerFault::UnorderedConfirms => confirms(play, ConfirmFault::Reorder, lasts),
        BrokerFault::Returns => {
            after(play, lasts, |play| {
                play.broker.faults().return_everything(false)
            });
            broker.return_everything(true)
        }
        BrokerFault::Blocked => {
            after(play, lasts, |play| play.broker.faults().unblock());
            broker.block(FAULT_TEXT)
        }
        BrokerFault::ClosedChannels => {
            let code = random.pick(&[
                ReplyCode::NotFound,
                ReplyCode::PreconditionFailed,
                ReplyCode::ResourceLocked,
            ]);
            broker.close_channels(code, FAULT_TEXT)
        }
        BrokerFault::ClosedConnections => {
            broker.close_connections(ReplyCode::ConnectionForced, FAULT_TEXT)
        }
        BrokerFault::CancelledConsumers => broker.cancel_consumers(),
        BrokerFault::Reset => broker.reset(),
        BrokerFault::HalfClose => broker.half_close(),
        BrokerFault::Freeze => {
            after(play, lasts, |play| play.broker.faults().freeze(false));
            broker.freeze(true)
        }
        BrokerFault::Refusal => {
            after(play, lasts, |play| {
                play.broker.faults().refuse_connections(false)
            });
            broker.refuse_connections(true)
        }
        BrokerFault::SmallFrames => {
            after(play, lasts, |play| play.broker.faults().frame_max(None));
            broker.frame_max(Some(4096))
        }
    }
}

/// Ends something later, without waiting for it.
fn after(
    play: &Rc<Play>,
    duration: Duration,
    end: impl FnOnce(&Play) -> Result<(), BrokerError> + 'static,
) {
    let play = Rc::clone(play);
    play.world.clone().spawn(async move {
        play.world.sleep(duration).await;
        // Should the broker have stopped, others find that out.
        let _ = end(&play);
    });
}

fn confirms(play: &Rc<Play>, fault: ConfirmFault, lasts: Duration) -> Result<(), BrokerError> {
    after(play, lasts, move |play| {
        play.broker.faults().confirms(None)?;
        match fault {
            // What is not confirmed by then is never: only the end of its connection resolves it.
            ConfirmFault::Drop => end_connections(play),
            _ => Ok(()),
        }
    });
    play.broker.faults().confirms(Some(fault))
}

fn end_connections(play: &Play) -> Result<(), BrokerError> {
    let code = ReplyCode::ConnectionForced;
    play.broker.faults().close_connections(code, FAULT_TEXT)
}

/// Down for a time, then back.
async fn restart(play: &Rc<Play>, contents: Contents, takes: Duration) -> Result<(), BrokerError> {
    play.world
        .inject(play.broker.address(), Fault::Refuse(takes));
    play.broker.restart(contents).await?;
    play.oracle.restarted(contents);
    Ok(())
}

/// Ends everything that goes wrong. What a network has swallowed or closed stays so; heartbeats find it out.
fn make_good(play: &Play) -> Result<(), BrokerError> {
    play.world.heal();
    play.world.conditions(Conditions::default());
    let broker = play.broker.faults();
    broker.return_everything(false)?;
    broker.unblock()?;
    broker.freeze(false)?;
    broker.refuse_connections(false)?;
    broker.confirms(None)?;
    broker.frame_max(None)?;
    end_connections(play)
}
