//! What a test may ask of a broker, and do to it.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use super::BrokerError;
use super::core::{Core, Received};
use super::server::{Command, Done, Serve, Work};
use super::tap::Tap;
use crate::driver::Mailbox;
use crate::protocol::{FRAME_MIN_SIZE, ReplyCode};

/// Work on the broker takes microseconds: nobody waits this long unless its thread hangs.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// What is in a broker.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct State {
    /// Connections that are open.
    pub connections: usize,
    /// What there has been since the broker was started.
    pub totals: Totals,
    /// Exchanges of all virtual hosts by name, those that every virtual host has among them.
    pub exchanges: BTreeMap<String, ExchangeState>,
    /// Queues of all virtual hosts by name. (Of those with the same name, the one in the virtual host that was given last.)
    pub queues: BTreeMap<String, QueueState>,
}

impl State {
    /// A queue.
    #[must_use]
    pub fn queue(&self, name: &str) -> Option<&QueueState> {
        self.queues.get(name)
    }
}

/// What there has been since a broker was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Totals {
    /// Connections that were accepted.
    pub connections: u64,
    /// Messages that clients have published, wherever they went.
    pub published: u64,
    /// Messages that were sent to clients, redeliveries and answers to `basic.get` included.
    pub delivered: u64,
}

/// What an exchange is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExchangeState {
    /// Its type, such as `topic`.
    pub kind: &'static str,
    /// Bindings that have it as their source.
    pub bindings: usize,
}

/// What is in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct QueueState {
    /// Messages that wait for a consumer.
    pub ready: u32,
    /// Messages that were delivered and not settled.
    pub unacked: u32,
    /// Its consumers.
    pub consumers: u32,
}

/// What outlasts a restart of the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Contents {
    /// Durable exchanges and queues, their bindings, and persistent messages in them.
    Durable,
    /// Nothing: as if its disk were lost.
    Nothing,
}

/// What is done to confirms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConfirmFault {
    /// They are sent this much later; those of publishes from when the fault has been changed may overtake them.
    Delay(Duration),
    /// They are not sent.
    Drop,
    /// Every publish is answered with `basic.nack`, although the message is in its queues.
    Nack,
    /// Each is sent by itself, and the later ones first.
    Reorder,
}

/// How others reach the server.
pub(super) struct Handle<S> {
    mailbox: Arc<Mailbox<Command<S>>>,
}

impl<S> Handle<S> {
    pub fn new(mailbox: Arc<Mailbox<Command<S>>>) -> Self {
        Self { mailbox }
    }

    /// Has something done in the server's next turn, and does not wait for it.
    pub fn post(&self, work: Work) -> Result<(), BrokerError> {
        let posted = self.mailbox.post(Command::Do(work));
        posted.map_err(|_| BrokerError::Stopped)
    }

    /// Has something done on the server's thread and waits for the answer.
    fn ask<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn Serve) -> R + Send + 'static,
    ) -> Result<R, BrokerError> {
        let (answer, answered) = channel();
        let work = move |server: &mut dyn Serve| {
            let _ = answer.send(work(server));
        };
        self.post(Box::new(work))?;
        answered
            .recv_timeout(ANSWER_TIMEOUT)
            .map_err(|_| BrokerError::Stopped)
    }

    pub fn state(&self) -> Result<State, BrokerError> {
        self.ask(|server| server.core().state())
    }

    pub fn received(&self) -> Result<Vec<Received>, BrokerError> {
        self.ask(|server| server.core().received())
    }

    pub fn restart(&self, contents: Contents) -> Result<(), BrokerError> {
        self.ask(move |server| restart(server, contents))
    }

    pub fn tap(&self, tap: impl Tap + 'static) -> Result<(), BrokerError> {
        self.ask(|server| server.set_tap(Box::new(tap)))
    }

    pub fn wait_for(
        &self,
        timeout: Duration,
        mut condition: impl FnMut(&State) -> bool + Send + 'static,
    ) -> Result<State, BrokerError> {
        let (answer, answered) = channel();
        let waiting = Arc::new(());
        let waits = Arc::downgrade(&waiting);
        let watch = move |core: &Core| {
            if waits.strong_count() == 0 {
                return Done::Yes;
            }
            let state = core.state();
            // A condition that panics fails its test, and not the broker that other connections use.
            let outcome = match catch_unwind(AssertUnwindSafe(|| condition(&state))) {
                Ok(false) => return Done::No,
                Ok(true) => Ok(state),
                Err(panic) => Err(panic),
            };
            let _ = answer.send(outcome);
            Done::Yes
        };
        let posted = self.mailbox.post(Command::Watch(Box::new(watch)));
        posted.map_err(|_| BrokerError::Stopped)?;
        let answer = answered.recv_timeout(timeout);
        drop(waiting);
        match answer {
            Ok(Ok(state)) => Ok(state),
            Ok(Err(panic)) => resume_unwind(panic),
            Err(RecvTimeoutError::Timeout) => {
                let state = Box::new(self.state()?);
                Err(BrokerError::TimedOut { timeout, state })
            }
            Err(RecvTimeoutError::Disconnected) => Err(BrokerError::Stopped),
        }
    }

    pub fn stop(&self) {
        // It may have stopped by itself.
        let _ = self.mailbox.post(Command::Stop);
    }
}

/// Starts over as after a crash.
pub(super) fn restart(server: &mut dyn Serve, contents: Contents) {
    server.reset();
    let now = server.now();
    server.core().restart(now, contents == Contents::Durable);
}

/// What can be disturbed.
pub(super) trait Change {
    fn change(&self, work: Work) -> Result<(), BrokerError>;
}

/// From another thread: the change is made when this returns.
impl<S> Change for Handle<S> {
    fn change(&self, work: Work) -> Result<(), BrokerError> {
        self.ask(work)
    }
}

/// Switches that disturb a broker. Each is in effect when its call returns, or, in a simulated world, from the broker's next
/// turn on; all fail with [`BrokerError::Stopped`] only.
pub struct Faults<'a> {
    broker: &'a dyn Change,
}

impl<'a> Faults<'a> {
    pub(super) fn new(broker: &'a dyn Change) -> Self {
        Self { broker }
    }

    fn change(
        &self,
        change: impl FnOnce(&mut dyn Serve) + Send + 'static,
    ) -> Result<(), BrokerError> {
        self.broker.change(Box::new(change))
    }

    /// Disturbs the confirms of publishes from now on; `None` ends that.
    #[allow(clippy::missing_errors_doc, reason = "said once, at the type")]
    pub fn confirms(&self, fault: Option<ConfirmFault>) -> Result<(), BrokerError> {
        self.change(move |server| {
            let confirms = &mut server.core().faults().confirms;
            *confirms = Default::default();
            match fault {
                None => {}
                Some(ConfirmFault::Delay(delay)) => confirms.delay = delay,
                Some(ConfirmFault::Drop) => confirms.drop = true,
                Some(ConfirmFault::Nack) => confirms.nack = true,
                Some(ConfirmFault::Reorder) => confirms.reorder = true,
            }
        })
    }

    /// Every `mandatory` publish comes back with 312 `NO_ROUTE`, whatever its exchange and key, and reaches no queue.
    #[allow(clippy::missing_errors_doc, reason = "said once, at the type")]
    pub fn return_everything(&self, on: bool) -> Result<(), BrokerError> {
        self.change(move |server| server.core().faults().return_everything = on)
    }

    /// Raises an alarm: as by RabbitMQ, a connection that publishes is sent `connection.blocked` with its next message, and
    /// nothing more is read from it.
    #[allow(clippy::missing_errors_doc, reason = "said once, at the type")]
    pub fn block(&self, reason: impl Into<String>) -> Result<(), BrokerError> {
        let reason = reason.into();
        self.change(move |server| server.core().block(Some(reason)))
    }

    /// Ends the alarm: those who were told get `connection.unblocked`, and are read again.
    #[allow(clippy::missing_errors_doc, reason = "said once, at the type")]
    pub fn unblock(&self) -> Result<(), BrokerError> {
        self.change(|server| server.core().block(None))
    }

    /// Closes every channel with a code and a text, or, where the code is a hard one, every connection.
    #[allow(clippy::missing_errors_doc, reason = "said once, at the type")]
    pub fn close_channels(
        &self,
        code: ReplyCode,
        text: impl Into<String>,
    ) -> Result<(), BrokerError> {
        let text = text.into();
        self.change(move |server| {
            let now = server.now();
            server.core().close_channels(now, code, &text);
        })
    }

    /// Closes every connection with a code and a text.
    #[allow(clippy::missing_errors_doc, reason = "said once, at the type")]
    pub fn close_connections(
        &self,
        code: ReplyCode,
        text: impl Into<String>,
    ) -> Result<(), BrokerError> {
        let text = text.into();
        self.change(move |server| {
            let now = server.now();
            server.core().close_connections(now, code, &text);
        })
    }

    /// Cancels every consumer of every queue with `basic.cancel`, as when a queue's node fails. The queues stay, but for
    /// those that are deleted with their last consumer.
    #[allow(clippy::missing_errors_doc, reason = "said once, at the type")]
    pub fn cancel_consumers(&self) -> Result<(), BrokerError> {
        self.change(|server| {
            let now = server.now();
            server.core().cancel_consumers(now);
        })
    }

    /// Resets the sockets of all connections.
    #[allow(clippy::missing_errors_doc, reason = "said once, at the type")]
    pub fn reset(&self) -> Result<(), BrokerError> {
        self.change(|server| server.reset())
    }

    /// Ends the broker's direction of all connections: clients read an end of file, and what they send still comes in.
    #[allow(clippy::missing_errors_doc, reason = "said once, at the type")]
    pub fn half_close(&self) -> Result<(), BrokerError> {
        self.change(|server| server.half_close())
    }

    /// Reads nothing from and sends nothing to the connections that are there now, not even heartbeats, or goes on where it
    /// stopped. The silence of clients does not count meanwhile, and neither is noticed that they go.
    #[allow(clippy::missing_errors_doc, reason = "said once, at the type")]
    pub fn freeze(&self, on: bool) -> Result<(), BrokerError> {
        self.change(move |server| server.freeze(on))
    }

    /// Offers another `frame_max`, at least 4096, to connections that are made from now on; `None` for the broker's own.
    #[allow(clippy::missing_errors_doc, reason = "said once, at the type")]
    pub fn frame_max(&self, octets: Option<u32>) -> Result<(), BrokerError> {
        let octets = octets.map(|octets| octets.max(FRAME_MIN_SIZE));
        self.change(move |server| server.core().faults().frame_max = octets)
    }

    /// Confirms one in so many publishes and forgets it, as no broker may; 0 for none. For tests of tests.
    #[doc(hidden)]
    #[allow(clippy::missing_errors_doc, reason = "said once, at the type")]
    pub fn forget_one_in(&self, publishes: u32) -> Result<(), BrokerError> {
        self.change(move |server| server.core().faults().forget_one_in = publishes)
    }

    /// Closes new connections at once.
    #[allow(clippy::missing_errors_doc, reason = "said once, at the type")]
    pub fn refuse_connections(&self, on: bool) -> Result<(), BrokerError> {
        self.change(move |server| server.core().faults().refuse_connections = on)
    }
}
