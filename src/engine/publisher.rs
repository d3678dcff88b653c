//! Publishers: with confirms, where every message's outcome is known, and without.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::call::{Answer, Call, deadline_in};
use super::command::Command;
use super::command::Mailbox;
use super::error::Error;
use super::outlet::Outlet;
use super::pipeline::Tie;
use crate::connection::{ConfirmCounts, Outcome, Route};
use crate::protocol::{Properties, ShortStr};

/// What a publisher may have under way, and how long it waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublisherOptions {
    pub(super) window_messages: usize,
    pub(super) window_octets: usize,
    pub(super) publish_timeout: Duration,
}

impl Default for PublisherOptions {
    /// 20,000 messages or 16 MiB without an answer; 30 seconds of waiting for room.
    fn default() -> Self {
        PublisherOptions {
            window_messages: 20_000,
            window_octets: 16 << 20,
            publish_timeout: Duration::from_secs(30),
        }
    }
}

impl PublisherOptions {
    /// The most messages without a confirm, at least 1. Of no effect on an unconfirmed publisher.
    pub fn window_messages(mut self, messages: usize) -> Self {
        self.window_messages = messages.max(1);
        self
    }

    /// The most octets without a confirm (without confirms: not yet handed to the socket), frames included, at least 1. A message is
    /// begun when there is any room: the limit is exceeded by one message at most.
    pub fn window_octets(mut self, octets: usize) -> Self {
        self.window_octets = octets.max(1);
        self
    }

    /// How long `publish` waits for room in the window.
    pub fn publish_timeout(mut self, timeout: Duration) -> Self {
        self.publish_timeout = timeout;
        self
    }
}

/// The body of a message to publish. Octets that are borrowed are copied into the send segment; a `Bytes`, `Vec<u8>` or `String` of 64 KiB
/// or more is sent from where it lies.
#[derive(Debug, Clone)]
pub enum Payload<'a> {
    /// Copied.
    Borrowed(&'a [u8]),
    /// Copied when small, shared when large.
    Shared(Bytes),
}

impl Payload<'_> {
    pub(super) fn as_slice(&self) -> &[u8] {
        match self {
            Payload::Borrowed(octets) => octets,
            Payload::Shared(bytes) => bytes,
        }
    }
}

macro_rules! payload_from {
    ($($type:ty => |$value:ident| $payload:expr;)*) => {$(
        impl<'a> From<$type> for Payload<'a> {
            fn from($value: $type) -> Self {
                $payload
            }
        }
    )*};
}

payload_from! {
    &'a [u8] => |octets| Payload::Borrowed(octets);
    &'a str => |text| Payload::Borrowed(text.as_bytes());
    &'a Vec<u8> => |octets| Payload::Borrowed(octets);
    &'a String => |text| Payload::Borrowed(text.as_bytes());
    Vec<u8> => |octets| Payload::Shared(octets.into());
    String => |text| Payload::Shared(text.into());
    Bytes => |bytes| Payload::Shared(bytes);
}

impl<'a, const N: usize> From<&'a [u8; N]> for Payload<'a> {
    fn from(octets: &'a [u8; N]) -> Self {
        Payload::Borrowed(octets)
    }
}

/// What both kinds of publishers share. The worker makes it when the channel is open; dropping it closes the channel.
#[derive(Debug)]
pub(super) struct Handle {
    outlet: Arc<Outlet>,
    mailbox: Arc<Mailbox>,
    is_closed: bool,
}

impl Handle {
    pub fn new(outlet: Arc<Outlet>, mailbox: Arc<Mailbox>) -> Self {
        Handle {
            outlet,
            mailbox,
            is_closed: false,
        }
    }

    fn publish(
        &self,
        (exchange, routing_key): (&str, &str),
        properties: &Properties,
        body: Payload<'_>,
        mandatory: bool,
        deadline: Option<Instant>,
    ) -> Result<u64, Error> {
        let route = Route {
            exchange: ShortStr::new(exchange)?,
            routing_key: ShortStr::new(routing_key)?,
            mandatory,
        };
        self.outlet
            .publish(&route, properties.as_ref(), body, deadline)
    }

    fn deadline(&self) -> Option<Instant> {
        Some(deadline_in(self.outlet.options().publish_timeout))
    }

    fn post_close(&self, answer: Option<Answer<()>>) {
        // A worker that is gone has closed everything already.
        let _ = self.mailbox.post(Command::ClosePublisher {
            outlet: Arc::clone(&self.outlet),
            answer,
        });
    }

    fn close(mut self) -> Call<()> {
        self.is_closed = true;
        let (answer, call) = Call::new();
        self.post_close(Some(answer));
        call
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if !self.is_closed {
            self.post_close(None);
        }
    }
}

/// Publishes in confirm mode: the broker answers for every message (<https://www.rabbitmq.com/docs/confirms>).
///
/// `Send`, and used by one thread at a time: it owns its channel and knows each message's delivery tag before the broker does. Several
/// threads take a publisher each. Messages leave by themselves, alone on an idle line and in batches under load; there is nothing to flush.
///
/// Dropping it closes its channel after everything has been sent and confirmed.
#[derive(Debug)]
pub struct Publisher {
    handle: Handle,
    reported: ConfirmCounts,
}

impl Publisher {
    pub(super) fn new(handle: Handle) -> Self {
        Publisher {
            handle,
            reported: ConfirmCounts::default(),
        }
    }

    /// Publishes one message (`basic.publish`). Waits for room in the window, up to the options' `publish_timeout`.
    ///
    /// # Errors
    /// [`Error::WindowFull`] when there was no room in time, [`Error::Encode`] for a name over 255 octets, [`Error::ConnectionLost`] and
    /// the like when the channel has ended, [`Error::WouldBlockWorker`] when it would have to wait inside a handler. Nothing was published then.
    pub fn publish<'a>(
        &mut self,
        exchange: &str,
        routing_key: &str,
        properties: &Properties,
        body: impl Into<Payload<'a>>,
    ) -> Result<Receipt, Error> {
        let deadline = self.handle.deadline();
        self.send(
            (exchange, routing_key),
            properties,
            body.into(),
            false,
            deadline,
        )
    }

    /// As [`Publisher::publish`], without waiting: [`Error::WindowFull`] when there is no room now. To be used in handlers; on its own
    /// worker's thread the message leaves in the same turn.
    ///
    /// # Errors
    /// As [`Publisher::publish`].
    pub fn try_publish<'a>(
        &mut self,
        exchange: &str,
        routing_key: &str,
        properties: &Properties,
        body: impl Into<Payload<'a>>,
    ) -> Result<Receipt, Error> {
        self.send(
            (exchange, routing_key),
            properties,
            body.into(),
            false,
            None,
        )
    }

    /// As [`Publisher::publish`], and the broker returns the message when no queue takes it: its outcome is [`Outcome::Returned`] then.
    ///
    /// # Errors
    /// As [`Publisher::publish`].
    pub fn publish_mandatory<'a>(
        &mut self,
        exchange: &str,
        routing_key: &str,
        properties: &Properties,
        body: impl Into<Payload<'a>>,
    ) -> Result<Receipt, Error> {
        let deadline = self.handle.deadline();
        self.send(
            (exchange, routing_key),
            properties,
            body.into(),
            true,
            deadline,
        )
    }

    fn send(
        &mut self,
        route: (&str, &str),
        properties: &Properties,
        body: Payload<'_>,
        mandatory: bool,
        deadline: Option<Instant>,
    ) -> Result<Receipt, Error> {
        let tag = self
            .handle
            .publish(route, properties, body, mandatory, deadline)?;
        Ok(Receipt {
            outlet: Arc::clone(&self.handle.outlet),
            tag,
            outcome: None,
        })
    }

    /// The worker it lives on.
    pub(super) fn worker(&self) -> &Arc<Mailbox> {
        &self.handle.mailbox
    }

    /// Messages that wait for their confirm.
    pub fn pending(&self) -> u64 {
        self.handle.outlet.lock().confirms.pending()
    }

    /// Waits until every message published so far has its outcome, and reports what became of them since the last report.
    ///
    /// # Errors
    /// [`Error::Timeout`] when the time passed: nothing is reported then, and the messages stay under way.
    pub fn wait_for_confirms(&mut self, timeout: Duration) -> Result<ConfirmReport, Error> {
        let outlet = Arc::clone(&self.handle.outlet);
        let up_to = outlet.lock().confirms.last_tag();
        outlet
            .wait_for(deadline_in(timeout), |state| {
                state
                    .confirms
                    .is_resolved_up_to(up_to)
                    .then(|| self.report(&mut state.confirms))
            })?
            .ok_or(Error::Timeout(timeout))
    }

    /// As [`Publisher::wait_for_confirms`], to be awaited. Dropping the future forgets nothing.
    pub async fn confirmed(&mut self) -> Result<ConfirmReport, Error> {
        let outlet = Arc::clone(&self.handle.outlet);
        let up_to = outlet.lock().confirms.last_tag();
        std::future::poll_fn(|context| {
            let mut state = outlet.lock();
            if state.confirms.is_resolved_up_to(up_to) {
                return Poll::Ready(Ok(self.report(&mut state.confirms)));
            }
            state.wake_when_confirmed(up_to, context.waker());
            Poll::Pending
        })
        .await
    }

    /// Awaits room in the window, or an end that [`Publisher::try_publish`] will report.
    pub async fn ready(&mut self) {
        let outlet = &self.handle.outlet;
        std::future::poll_fn(|context| {
            let mut state = outlet.lock();
            if outlet.has_room(&state) {
                return Poll::Ready(());
            }
            state.wake_when_ready(context.waker());
            Poll::Pending
        })
        .await;
    }

    /// Closes the channel after everything has been sent and confirmed; answered when the broker has closed it.
    pub fn close(self) -> Call<()> {
        self.handle.close()
    }

    fn report(&mut self, confirms: &mut crate::connection::Confirms) -> ConfirmReport {
        let counts = confirms.counts();
        let since = ConfirmReport {
            counts: counts.since(self.reported),
            failures: confirms.report_exceptions(),
        };
        self.reported = counts;
        since
    }
}

/// What became of the messages since the last report.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfirmReport {
    /// How many ended in which way.
    pub counts: ConfirmCounts,
    /// The delivery tags of those that were nacked or returned and that no receipt was asked for, oldest first.
    pub failures: Vec<(u64, Outcome)>,
}

/// The promise of one publish's outcome. Dropping it changes nothing: the outcome counts in [`Publisher::wait_for_confirms`].
///
/// Block on it with [`Receipt::wait`], await it, or tie the ack of a delivery to it ([`Disposition::AckAfter`](super::Disposition::AckAfter)).
#[derive(Debug)]
pub struct Receipt {
    outlet: Arc<Outlet>,
    tag: u64,
    outcome: Option<Outcome>,
}

impl Receipt {
    /// Hands a tie over to where the outcome arrives; gives it back, with whether the outcome is an ack, when there is one already.
    pub(super) fn tie(self, tie: Tie) -> Option<(Tie, bool)> {
        match self.outcome {
            Some(outcome) => Some((tie, outcome == Outcome::Acked)),
            None => self.outlet.tie(self.tag, tie),
        }
    }

    /// The delivery tag of the message on its publisher's channel, counted from 1.
    pub fn delivery_tag(&self) -> u64 {
        self.tag
    }

    /// Waits for the outcome; asked again it says the same.
    ///
    /// # Errors
    /// [`Error::Timeout`] when the time passed: the receipt can be asked again. [`Error::WouldBlockWorker`] inside a handler.
    pub fn wait(&mut self, timeout: Duration) -> Result<Outcome, Error> {
        if let Some(outcome) = &self.outcome {
            return Ok(outcome.clone());
        }
        let tag = self.tag;
        let outcome = self
            .outlet
            .wait_for(deadline_in(timeout), |state| state.take_outcome(tag))?
            .ok_or(Error::Timeout(timeout))??;
        self.outcome = Some(outcome.clone());
        Ok(outcome)
    }

    /// The outcome, if it is known.
    ///
    /// # Errors
    /// [`Error::OutcomeForgotten`] when it was reported elsewhere long ago.
    pub fn try_outcome(&mut self) -> Result<Option<Outcome>, Error> {
        if self.outcome.is_none() {
            self.outcome = self.outlet.lock().take_outcome(self.tag).transpose()?;
        }
        Ok(self.outcome.clone())
    }
}

impl Future for Receipt {
    type Output = Result<Outcome, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(outcome) = &self.outcome {
            return Poll::Ready(Ok(outcome.clone()));
        }
        let taken = {
            let mut state = self.outlet.lock();
            match state.take_outcome(self.tag) {
                Some(taken) => taken,
                None => {
                    state.wake_receipt(self.tag, context.waker());
                    return Poll::Pending;
                }
            }
        };
        if let Ok(outcome) = &taken {
            self.outcome = Some(outcome.clone());
        }
        Poll::Ready(taken)
    }
}

/// Publishes without confirms: the broker says nothing of what becomes of a message, and a lost line loses what was under way.
///
/// `Send`, and used by one thread at a time. Dropping it closes its channel after everything has been sent.
#[derive(Debug)]
pub struct UnconfirmedPublisher {
    handle: Handle,
}

impl UnconfirmedPublisher {
    pub(super) fn new(handle: Handle) -> Self {
        UnconfirmedPublisher { handle }
    }

    /// Publishes one message. Waits while more than the window's octets wait for the socket, up to the options' `publish_timeout`.
    ///
    /// # Errors
    /// As [`Publisher::publish`].
    pub fn publish<'a>(
        &mut self,
        exchange: &str,
        routing_key: &str,
        properties: &Properties,
        body: impl Into<Payload<'a>>,
    ) -> Result<(), Error> {
        let deadline = self.handle.deadline();
        self.handle
            .publish(
                (exchange, routing_key),
                properties,
                body.into(),
                false,
                deadline,
            )
            .map(drop)
    }

    /// As [`UnconfirmedPublisher::publish`], without waiting.
    ///
    /// # Errors
    /// As [`Publisher::publish`].
    pub fn try_publish<'a>(
        &mut self,
        exchange: &str,
        routing_key: &str,
        properties: &Properties,
        body: impl Into<Payload<'a>>,
    ) -> Result<(), Error> {
        self.handle
            .publish(
                (exchange, routing_key),
                properties,
                body.into(),
                false,
                None,
            )
            .map(drop)
    }

    /// Closes the channel after everything has been sent. The broker answers in order: when the call is answered, it has read every message.
    pub fn close(self) -> Call<()> {
        self.handle.close()
    }
}
