//! A worker's consumers, from `basic.consume` to the end of their channel.
//!
//! ```text
//!  Starting ──consume-ok──▶ Consuming ──cancel──▶ Cancelling ──cancel-ok──▶ Draining ──all answered──▶ Closing ──▶ (gone)
//!      └──────────────── error: the broker closes the channel ────────────────────────────────────────────────────▶
//! ```

use std::sync::Arc;
use std::time::Instant;

use super::line::{Pending, pend};
use super::{MAIN, Worker};
use crate::connection::{ChannelError, ChannelId, ConnectionError, Refused, Reply, Token};
use crate::driver::Drive;
use crate::engine::call::Answer;
use crate::engine::command::{Command, Settle};
use crate::engine::consumer::{
    Callbacks, CancelReason, ConsumeRequest, Consumer, ConsumerOptions, ConsumerShared,
    ConsumerState, Handler, Started,
};
use crate::engine::error::Error;
use crate::engine::event::Event as EngineEvent;
use crate::engine::hands::shielded;
use crate::engine::topology::Queue;
use crate::protocol::{ShortStr, basic};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum SlotState {
    Starting,
    Consuming,
    Cancelling,
    /// No delivery comes any more; detached ones wait for their answers.
    Draining,
    /// `channel.close` was sent.
    Closing,
}

/// What a worker knows of one consumer.
pub(in crate::engine) struct ConsumerSlot {
    pub state: SlotState,
    pub handler: Option<Handler>,
    pub no_ack: bool,
    line: usize,
    channel: ChannelId,
    serial: u64,
    shared: Arc<ConsumerShared>,
    options: ConsumerOptions,
    callbacks: Callbacks,
    /// Who waits for the start, and for the end.
    started: Option<Started>,
    cancelled: Vec<Answer<()>>,
    /// Why it is being cancelled, once it is.
    reason: Option<CancelReason>,
    /// Whether its prefetch is being changed.
    is_restarting: bool,
    /// Whether its queue goes with its last consumer.
    is_auto_delete: bool,
}

impl ConsumerSlot {
    /// The broker has accepted it.
    pub fn begin(&mut self) {
        if self.state == SlotState::Starting {
            self.state = SlotState::Consuming;
            self.shared.lock().state = ConsumerState::Consuming;
            if let Some(on_start) = self.callbacks.on_start.take() {
                shielded("on_start", on_start);
            }
        }
    }
}

impl ConsumerSlot {
    /// Batches must not wait for more than the window lets through.
    fn set_window(&mut self) {
        let window = self.options.prefetch;
        let is_limited = !self.no_ack && window != 0;
        if let Some(Handler::Batches(batcher)) = &mut self.handler {
            batcher.set_window(is_limited.then_some(window));
        }
    }
}

impl Drop for ConsumerSlot {
    /// Its channel is gone, or its worker.
    fn drop(&mut self) {
        let mut status = self.shared.lock();
        status.state = ConsumerState::Cancelled;
        status.is_gone = true;
        drop(status);
        // A stream that still waits is woken to this.
        let handler = self.handler.take();
        shielded("dropping a handler", || drop(handler));
    }
}

fn qos(prefetch: u16) -> basic::Qos {
    basic::Qos {
        prefetch_size: 0,
        prefetch_count: prefetch,
        global: false,
    }
}

fn consume<'a>(
    queue: &'a str,
    tag: &'a str,
    options: &'a ConsumerOptions,
) -> Result<basic::Consume<'a>, Error> {
    Ok(basic::Consume {
        queue: ShortStr::new(queue)?,
        consumer_tag: ShortStr::new(tag)?,
        no_local: false,
        no_ack: options.no_ack,
        exclusive: options.exclusive,
        no_wait: false,
        arguments: options.arguments.as_table(),
    })
}

/// What an error of its channel means for a consumer.
pub(super) fn reason_of(error: ChannelError) -> CancelReason {
    match error {
        ChannelError::ClosedByBroker(reason) => CancelReason::ChannelClosed(reason),
        ChannelError::ClosedByClient => CancelReason::Requested,
        ChannelError::Connection(ConnectionError::ClosedByClient) => CancelReason::Shutdown,
        ChannelError::Connection(cause) => CancelReason::ConnectionLost(cause),
    }
}

impl<D: Drive> Worker<D> {
    pub(super) fn start_consumer(&mut self, now: Instant, request: Box<ConsumeRequest>) {
        let line = MAIN;
        if !self.lines[line].is_open() {
            self.lines[line].waiting.push(Command::Consume(request));
            self.ensure_line(line, now);
            return;
        }
        let serial = self.next_serial();
        let entry = self.consumers.vacant_entry();
        let token = entry.key() as Token;
        let Some((connection, calls)) = self.lines[line].open_connection() else {
            return;
        };
        let pending = Pending::ConsumerSetup {
            consumer: token,
            operation: "channel.open",
        };
        let opened = pend(calls, pending, |call| connection.open_channel(call));
        let ConsumeRequest {
            queue,
            options,
            handler,
            callbacks,
            shared,
            answer,
        } = *request;
        let channel = match opened {
            Ok(channel) => channel,
            Err(refused) => {
                answer.send(Err(Error::Refused {
                    operation: "channel.open",
                    refused,
                }));
                return;
            }
        };
        let slot = entry.insert(ConsumerSlot {
            state: SlotState::Starting,
            handler: Some(handler),
            no_ack: options.no_ack,
            line,
            channel,
            serial,
            shared,
            options,
            callbacks,
            started: Some(answer),
            cancelled: Vec::new(),
            reason: None,
            is_restarting: false,
            is_auto_delete: queue.is_auto_delete(),
        });
        slot.set_window();
        if let Err(error) = self.set_up_consumer(token, &queue) {
            self.consumer_failed(token, error);
            self.close_consumer(token);
        }
    }

    /// Sends what makes a consumer, in one go: the calls of a channel wait for each other, and the first error closes the channel. An
    /// empty queue name stands for the queue that was declared last on the channel (section 1.8.3.3), so that a name chosen by the broker needs
    /// no waiting either.
    fn set_up_consumer(&mut self, consumer: Token, queue: &Queue) -> Result<(), Error> {
        let slot = &self.consumers[consumer as usize];
        let (line, channel, options) = (slot.line, slot.channel, &slot.options);
        let mut methods = Vec::new();
        if queue.is_declared() {
            methods.push(queue.declare_method());
        }
        methods.extend(queue.bind_methods());
        if !options.no_ack {
            methods.push(qos(options.prefetch).into());
        }
        let Some((connection, calls)) = self.lines[line].open_connection() else {
            return Ok(());
        };
        for method in methods {
            let operation = method.name();
            let pending = Pending::ConsumerSetup {
                consumer,
                operation,
            };
            pend(calls, pending, |call| {
                connection.call(channel, call, &method)
            })
            .map_err(|refused| Error::Refused { operation, refused })?;
        }
        let operation = "basic.consume";
        let consume = consume(&queue.name, &options.tag, options)?;
        let pending = Pending::ConsumerSetup {
            consumer,
            operation,
        };
        pend(calls, pending, |call| {
            connection.consume(channel, call, consumer, consume)
        })
        .map_err(|refused| Error::Refused { operation, refused })
    }

    /// One of the calls that make a consumer was answered.
    pub(super) fn consumer_progressed(
        &mut self,
        consumer: Token,
        operation: &'static str,
        reply: Result<Reply, ChannelError>,
    ) {
        let Some(slot) = self.consumers.get_mut(consumer as usize) else {
            return;
        };
        match reply {
            Ok(Reply::Queue { name, .. }) => slot.shared.lock().queue = name,
            Ok(Reply::Consuming { consumer_tag }) => {
                slot.shared.lock().tag = consumer_tag;
                slot.begin();
                let handle = Consumer::new(
                    Arc::clone(&self.mailbox),
                    Arc::clone(&slot.shared),
                    consumer,
                    slot.serial,
                );
                if let Some(started) = slot.started.take() {
                    started.send(Ok(handle));
                }
                if let Some(reason) = slot.reason.take() {
                    self.begin_cancel(consumer, reason);
                }
            }
            Ok(_) => {}
            Err(error) => self.consumer_failed(consumer, Error::from_channel(operation, error)),
        }
    }

    /// It never started. The slot stays until its channel is gone.
    fn consumer_failed(&mut self, consumer: Token, error: Error) {
        if let Some(slot) = self.consumers.get_mut(consumer as usize)
            && let Some(started) = slot.started.take()
        {
            slot.handler = None;
            slot.shared.lock().state = ConsumerState::Cancelled;
            started.send(Err(error));
        }
    }

    pub(super) fn cancel_consumer(&mut self, consumer: Token, serial: u64, answer: Answer<()>) {
        let slot = self.consumers.get_mut(consumer as usize);
        match slot.filter(|slot| slot.serial == serial) {
            Some(slot) if slot.state == SlotState::Consuming => {
                slot.cancelled.push(answer);
                self.begin_cancel(consumer, CancelReason::Requested);
            }
            Some(slot) if slot.state == SlotState::Cancelling => slot.cancelled.push(answer),
            // It has ended, or is about to without any more deliveries.
            _ => drop(answer.send(Ok(()))),
        }
    }

    /// Sends `basic.cancel`, or notes that it is to be sent as soon as the consumer has started.
    pub(super) fn begin_cancel(&mut self, consumer: Token, reason: CancelReason) {
        let Some(slot) = self.consumers.get_mut(consumer as usize) else {
            return;
        };
        match slot.state {
            SlotState::Starting => {
                slot.reason.get_or_insert(reason);
                return;
            }
            SlotState::Consuming => {}
            SlotState::Cancelling | SlotState::Draining | SlotState::Closing => return,
        }
        slot.state = SlotState::Cancelling;
        slot.shared.lock().state = ConsumerState::Cancelling;
        slot.reason.get_or_insert(reason);
        let (line, channel) = (slot.line, slot.channel);
        // What the handler has got as good as is its own; what comes from now on goes back.
        self.hand_over(consumer);
        let Some((connection, calls)) = self.lines[line].open_connection() else {
            return;
        };
        let begun = pend(calls, Pending::ConsumerCancel { consumer }, |call| {
            connection.cancel(channel, call, consumer)
        });
        if begun.is_err() {
            self.consumer_cancelled(consumer, None);
        }
    }

    /// `basic.cancel` was answered: with the reason why it failed, when its channel was lost meanwhile.
    pub(super) fn consumer_cancelled(&mut self, consumer: Token, failed: Option<CancelReason>) {
        let Some(slot) = self.consumers.get_mut(consumer as usize) else {
            return;
        };
        let reason = slot.reason.clone().or(failed);
        self.consumer_ended(consumer, reason.unwrap_or(CancelReason::Requested));
    }

    /// No delivery reaches the handler any more, whatever the reason: the user is told, once. The channel closes when everything is answered.
    pub(super) fn consumer_ended(&mut self, consumer: Token, reason: CancelReason) {
        let Some(slot) = self.consumers.get_mut(consumer as usize) else {
            return;
        };
        if !matches!(slot.state, SlotState::Consuming | SlotState::Cancelling) {
            return;
        }
        slot.state = SlotState::Draining;
        if slot.no_ack || !reason.is_loss() {
            self.hand_over(consumer);
        }
        let Some(slot) = self.consumers.get_mut(consumer as usize) else {
            return;
        };
        {
            let mut status = slot.shared.lock();
            status.state = ConsumerState::Cancelled;
            status.reason = Some(reason.clone());
        }
        // After that: a stream ends with its handler, and whoever reads it asks why at once.
        let handler = slot.handler.take();
        shielded("dropping a handler", || drop(handler));
        if let Some(on_cancel) = slot.callbacks.on_cancel.take() {
            shielded("on_cancel", || on_cancel(&reason));
        }
        for answer in slot.cancelled.drain(..) {
            let _ = answer.send(Ok(()));
        }
        self.close_drained(consumer);
    }

    /// Closes a consumer's channel once every delivery on it has been answered.
    fn close_drained(&mut self, consumer: Token) {
        let Some(slot) = self.consumers.get(consumer as usize) else {
            return;
        };
        let (line, channel) = (slot.line, slot.channel);
        if slot.state == SlotState::Draining
            && let Some((connection, _)) = self.lines[line].open_connection()
            && connection.open_deliveries(channel) == 0
        {
            self.close_consumer(consumer);
        }
    }

    fn close_consumer(&mut self, consumer: Token) {
        let Some(slot) = self.consumers.get_mut(consumer as usize) else {
            return;
        };
        slot.state = SlotState::Closing;
        let (line, channel) = (slot.line, slot.channel);
        if let Some((connection, calls)) = self.lines[line].open_connection() {
            // A channel that is gone already takes its slot along in its own event.
            let _ = pend(calls, Pending::ConsumerClosed { consumer }, |call| {
                connection.close_channel(channel, call)
            });
        }
    }

    /// Its channel is gone: so is the slot (SLOTS OUTLIVE CHANNELS).
    pub(super) fn forget_consumer(&mut self, consumer: Token) {
        if self.consumers.try_remove(consumer as usize).is_some() {
            tracing::debug!(worker = self.index, consumer, "consumer gone");
        }
    }

    pub(super) fn consumer_on(&self, channel: ChannelId) -> Option<Token> {
        let mut slots = self.consumers.iter();
        slots
            .find(|(_, slot)| slot.channel == channel)
            .map(|(token, _)| token as Token)
    }

    pub(super) fn consumers_on_line(&self, line: usize) -> Vec<Token> {
        let slots = self.consumers.iter();
        slots
            .filter(|(_, slot)| slot.line == line)
            .map(|(token, _)| token as Token)
            .collect()
    }

    pub(super) fn set_prefetch(
        &mut self,
        consumer: Token,
        serial: u64,
        prefetch: u16,
        answer: Answer<()>,
    ) {
        let slot = self.consumers.get_mut(consumer as usize);
        let Some(slot) = slot.filter(|s| s.serial == serial && s.state == SlotState::Consuming)
        else {
            let _ = answer.send(Err(Error::Cancelled));
            return;
        };
        if slot.no_ack {
            let _ = answer.send(Ok(()));
        } else if slot.options.is_streamed && prefetch == 0 {
            let why = "0 is unlimited, and nothing would bound the memory for deliveries that wait to be taken";
            let _ = answer.send(Err(Error::parameter("prefetch", why)));
        } else if slot.is_auto_delete {
            let why = "its queue is deleted with its last consumer, and it would have to be cancelled first";
            let _ = answer.send(Err(Error::parameter("prefetch", why)));
        } else if slot.is_restarting {
            let refused = Refused::TooManyCalls(1);
            let operation = "basic.qos";
            let _ = answer.send(Err(Error::Refused { operation, refused }));
        } else {
            slot.options.prefetch = prefetch;
            slot.set_window();
            slot.is_restarting = true;
            if let Err(error) = self.start_again(consumer, answer) {
                tracing::warn!(worker = self.index, consumer, %error, "a consumer could not be started again");
                self.begin_cancel(consumer, CancelReason::Requested);
            }
        }
    }

    pub(super) fn prefetch_changed(
        &mut self,
        consumer: Token,
        answer: Answer<()>,
        reply: Result<Reply, ChannelError>,
    ) {
        if let Some(slot) = self.consumers.get_mut(consumer as usize) {
            slot.is_restarting = false;
            if let Ok(Reply::Consuming { consumer_tag }) = &reply {
                slot.shared.lock().tag.clone_from(consumer_tag);
            }
        }
        let result = reply.map_err(|error| Error::from_channel("basic.qos", error));
        let _ = answer.send(result.map(drop));
    }

    /// Cancels a consumer and starts it with its present prefetch: for RabbitMQ a new prefetch is for consumers that start after it, and its
    /// `global` kind, which is not, is going away. The channel stays, so deliveries can be answered as before. The tag is a new one: RabbitMQ
    /// books the acks of old deliveries by tag, and would widen the new window by them.
    fn start_again(&mut self, consumer: Token, answer: Answer<()>) -> Result<(), Error> {
        let slot = &self.consumers[consumer as usize];
        let channel = slot.channel;
        let Some((connection, calls)) = self.lines[slot.line].open_connection() else {
            return Ok(());
        };
        let setup = |operation| Pending::ConsumerSetup {
            consumer,
            operation,
        };
        let refused = |operation| move |refused| Error::Refused { operation, refused };
        pend(calls, setup("basic.qos"), |call| {
            connection.call(channel, call, &qos(slot.options.prefetch).into())
        })
        .map_err(refused("basic.qos"))?;
        pend(calls, setup("basic.cancel"), |call| {
            connection.cancel(channel, call, consumer)
        })
        .map_err(refused("basic.cancel"))?;
        let status = slot.shared.lock();
        let consume = consume(&status.queue, "", &slot.options)?;
        pend(calls, Pending::Prefetch { consumer, answer }, |call| {
            connection.consume(channel, call, consumer, consume)
        })
        .map_err(refused("basic.consume"))
    }

    /// Detached deliveries were answered.
    pub(super) fn settle_deliveries(&mut self, settle: Settle) {
        let Some(session) = &mut self.lines[settle.line].session else {
            return;
        };
        let Settle {
            channel,
            tags,
            answer,
            ..
        } = settle;
        let delivery_tag = *tags.end();
        match session.connection.settle(channel, tags, answer) {
            Ok(_) => {}
            Err(Refused::StaleChannel) => {
                tracing::debug!(delivery_tag, "an answer for a channel that is gone");
                return;
            }
            Err(refused) => {
                tracing::debug!(delivery_tag, %refused, "an answer was refused");
                return;
            }
        }
        if self
            .consumers
            .iter()
            .any(|(_, s)| s.state == SlotState::Draining)
            && let Some(consumer) = self.consumer_on(channel)
        {
            self.close_drained(consumer);
        }
    }

    /// Handlers that panicked: what they held goes back, their consumers end, the user is told.
    pub(super) fn report_panics(&mut self) {
        for panicked in std::mem::take(&mut self.panicked) {
            let Some(slot) = self.consumers.get(panicked.consumer as usize) else {
                continue;
            };
            let (line, channel) = (slot.line, slot.channel);
            let consumer_tag = slot.shared.lock().tag.clone();
            if let Some((connection, _)) = self.lines[line].open_connection() {
                // A channel that is gone has given everything back by itself.
                let _ = connection.requeue_open(channel);
            }
            self.begin_cancel(panicked.consumer, CancelReason::HandlerPanicked);
            tracing::error!(%consumer_tag, message = %panicked.message, "a consumer's handler panicked");
            self.tell(&EngineEvent::HandlerPanicked {
                consumer_tag,
                message: panicked.message,
            });
        }
    }
}
