//! What incoming frames do to an open connection.

use std::time::Instant;

use super::channel::{Call, CallKind, State};
use super::content::{Content, Whole, find_whole, kind_name};
use super::delivery::{Body, Confirm, Sink};
use super::error::{ChannelError, CloseReason, ConnectionError, Violation};
use super::messages::Message;
use super::{Connection, Event, Phase, Progress, Reply, write_method};
use crate::protocol::{
    Decoded, Frame, FrameKind, Method, basic, channel as channel_class,
    connection as connection_class,
};

/// The beginning of the payload of `basic.deliver`: class 60, method 60.
const DELIVER: [u8; 4] = [0, 60, 0, 60];

enum Step {
    Used(usize),
    Missing(usize),
}

impl Connection {
    /// Reads what came from the broker. Deliveries, returns and confirms are handed to `sink` in place; the rest waits in
    /// [`Connection::poll_event`].
    ///
    /// # Errors
    /// What the broker did wrong, or cannot do. The connection has ended then and the [`Event::Closed`] is in the events. Once the handshake
    /// has come to `connection.open`, before which no broker listens to it, a `connection.close` with the matching code is in the output. The
    /// line is to be closed when the output has been sent.
    pub fn receive(
        &mut self,
        now: Instant,
        input: &[u8],
        sink: &mut impl Sink,
    ) -> Result<Progress, ConnectionError> {
        self.heartbeat.received(now);
        let mut consumed = 0;
        while consumed < input.len() {
            if self.phase == Phase::Closed {
                consumed = input.len();
                break;
            }
            match self.step(now, &input[consumed..], sink) {
                Ok(Step::Used(octets)) => consumed += octets,
                Ok(Step::Missing(missing)) => return Ok(Progress { consumed, missing }),
                Err(error) => {
                    self.fail(&error);
                    return Err(error);
                }
            }
        }
        Ok(Progress {
            consumed,
            missing: 0,
        })
    }

    #[inline]
    fn step(
        &mut self,
        now: Instant,
        input: &[u8],
        sink: &mut impl Sink,
    ) -> Result<Step, ConnectionError> {
        let (frame, octets) = match Frame::decode(input, self.tuning.frame_max)? {
            Decoded::Frame { frame, octets } => (frame, octets),
            Decoded::Incomplete { missing } => return Ok(Step::Missing(missing)),
        };
        if frame.kind == FrameKind::Method && frame.payload.starts_with(&DELIVER) {
            return self.deliver(frame, octets, input, sink);
        }
        if frame.channel == 0 {
            self.connection_frame(now, frame)?;
        } else {
            self.channel_frame(frame, sink)?;
        }
        Ok(Step::Used(octets))
    }

    /// The hot path: a delivery that lies in `input` as a whole goes to its handler without being copied.
    #[inline]
    fn deliver(
        &mut self,
        frame: Frame<'_>,
        octets: usize,
        input: &[u8],
        sink: &mut impl Sink,
    ) -> Result<Step, ConnectionError> {
        let is_ready = self.phase == Phase::Open
            && self
                .channels
                .by_number(frame.channel)
                .is_some_and(|c| c.state == State::Open && c.content.is_none());
        if !is_ready {
            if frame.channel == 0 {
                return Err(unexpected(
                    "basic.deliver",
                    0,
                    "channel 0 carries no content",
                ));
            }
            self.channel_frame(frame, sink)?;
            return Ok(Step::Used(octets));
        }
        let rest = &input[octets..];
        match find_whole(
            rest,
            frame.channel,
            self.tuning.frame_max,
            self.config.body_size_max,
        )? {
            Whole::Found {
                header,
                body,
                octets: content_octets,
            } => {
                let message = Message {
                    method: Method::decode(frame.payload)?,
                    header,
                    body: Body::Borrowed(body),
                };
                self.message(frame.channel, &message, sink)?;
                Ok(Step::Used(octets + content_octets))
            }
            Whole::Missing(missing) => Ok(Step::Missing(missing)),
            Whole::InPieces => {
                self.channel_frame(frame, sink)?;
                Ok(Step::Used(octets))
            }
        }
    }

    fn connection_frame(&mut self, now: Instant, frame: Frame<'_>) -> Result<(), ConnectionError> {
        match frame.kind {
            FrameKind::Heartbeat => return Ok(()),
            FrameKind::Method => {}
            kind => {
                return Err(Violation::UnexpectedFrame {
                    found: kind_name(kind),
                    channel: 0,
                    expected: "a method",
                }
                .into());
            }
        }
        let method = Method::decode(frame.payload)?;
        match (self.phase, method) {
            (Phase::Open | Phase::Closing, Method::ConnectionClose(close)) => {
                self.closed_by_broker(close);
            }
            (Phase::Closing, Method::ConnectionCloseOk(_)) => {
                self.finish(ConnectionError::ClosedByClient);
            }
            (Phase::Closing, _) => {}
            (Phase::Open, Method::ConnectionBlocked(blocked)) => {
                self.blocked = true;
                self.events.push_back(Event::Blocked {
                    reason: blocked.reason.to_string(),
                });
            }
            (Phase::Open, Method::ConnectionUnblocked(_)) => {
                self.blocked = false;
                self.events.push_back(Event::Unblocked);
            }
            (Phase::Open, method) => {
                return Err(unexpected(method.name(), 0, "the connection was open"));
            }
            (_, method) => self.shake_hands(now, method)?,
        }
        Ok(())
    }

    pub(super) fn closed_by_broker(&mut self, close: connection_class::Close<'_>) {
        write_method(&mut self.out, 0, |out| {
            connection_class::CloseOk::default().encode(out);
        });
        let reason = CloseReason::new(
            close.reply_code,
            close.reply_text,
            close.class_id,
            close.method_id,
        );
        self.finish(reason.into());
    }

    fn channel_frame(
        &mut self,
        frame: Frame<'_>,
        sink: &mut impl Sink,
    ) -> Result<(), ConnectionError> {
        let number = frame.channel;
        match self.phase {
            Phase::Open => {}
            Phase::Closing => return Ok(()),
            _ => return Err(Violation::BeforeOpen { channel: number }.into()),
        }
        if frame.kind == FrameKind::Heartbeat {
            return Err(Violation::HeartbeatOnChannel { channel: number }.into());
        }
        let was_used = self.channels.was_used(number);
        let Some(channel) = self.channels.by_number(number) else {
            return match was_used {
                true => Ok(()),
                false => Err(Violation::UnknownChannel { channel: number }.into()),
            };
        };
        if let State::Closing(_) = channel.state {
            return self.closing_channel_frame(frame);
        }
        if let Some(mut content) = channel.content.take() {
            if content.add(&frame, self.config.body_size_max)? {
                return self.gathered(number, content, sink);
            }
            channel.content = Some(content);
            return Ok(());
        }
        if frame.kind != FrameKind::Method {
            return Err(Violation::UnexpectedFrame {
                found: kind_name(frame.kind),
                channel: number,
                expected: "a method",
            }
            .into());
        }
        let method = Method::decode(frame.payload)?;
        match method {
            Method::BasicDeliver(_) | Method::BasicReturn(_) => {
                channel.content = Some(Content::begin(frame.payload));
            }
            Method::BasicGetOk(_) => {
                if !matches!(
                    channel.calls.front(),
                    Some(Call {
                        kind: CallKind::Get { .. },
                        ..
                    })
                ) {
                    return Err(unexpected(
                        method.name(),
                        number,
                        "no basic.get was waiting",
                    ));
                }
                channel.content = Some(Content::begin(frame.payload));
            }
            Method::BasicAck(ack) => {
                let confirm = Confirm {
                    delivery_tag: ack.delivery_tag,
                    multiple: ack.multiple,
                    acked: true,
                };
                self.confirm(number, confirm, sink)?;
            }
            Method::BasicNack(nack) => {
                let confirm = Confirm {
                    delivery_tag: nack.delivery_tag,
                    multiple: nack.multiple,
                    acked: false,
                };
                self.confirm(number, confirm, sink)?;
            }
            method => self.channel_method(number, method)?,
        }
        Ok(())
    }

    /// After `channel.close` only its answer matters, or the broker's own `channel.close`, which crossed it.
    fn closing_channel_frame(&mut self, frame: Frame<'_>) -> Result<(), ConnectionError> {
        if frame.kind != FrameKind::Method {
            return Ok(());
        }
        match Method::decode(frame.payload)? {
            Method::ChannelClose(_) => {
                write_method(&mut self.out, frame.channel, |out| {
                    channel_class::CloseOk::default().encode(out);
                });
            }
            Method::ChannelCloseOk(_) => {
                if let Some(channel) = self.channels.remove(frame.channel)
                    && let State::Closing(Some(call)) = channel.state
                {
                    self.reply(call, Ok(Reply::Done));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn channel_method(&mut self, number: u16, method: Method<'_>) -> Result<(), ConnectionError> {
        let Some(channel) = self.channels.by_number(number) else {
            return Ok(());
        };
        match method {
            Method::ChannelClose(close) => self.channel_closed_by_broker(number, close),
            Method::ChannelFlow(flow) => {
                channel.flow_active = flow.active;
                let channel = channel.id;
                let flow_ok = channel_class::FlowOk {
                    active: flow.active,
                };
                write_method(&mut self.out, number, |out| flow_ok.encode(out));
                self.events.push_back(Event::Flow {
                    channel,
                    active: flow.active,
                });
            }
            Method::BasicCancel(cancel) => {
                let tag = cancel.consumer_tag;
                let consumer = channel.consumer(tag.as_bytes()).map(|c| c.token);
                if !cancel.no_wait {
                    let cancel_ok = basic::CancelOk { consumer_tag: tag };
                    write_method(&mut self.out, number, |out| cancel_ok.encode(out));
                }
                // One that is already gone crossed our own cancel.
                if let Some(consumer) = consumer {
                    channel.remove_consumer(consumer);
                    self.events.push_back(Event::ConsumerCancelled { consumer });
                }
            }
            method => match channel.answer(&method) {
                Some(call) => self.answered(number, &call, method),
                None => return Err(unexpected(method.name(), number, "no call waited for it")),
            },
        }
        Ok(())
    }

    fn channel_closed_by_broker(&mut self, number: u16, close: channel_class::Close<'_>) {
        write_method(&mut self.out, number, |out| {
            channel_class::CloseOk::default().encode(out);
        });
        let error = ChannelError::ClosedByBroker(CloseReason::new(
            close.reply_code,
            close.reply_text,
            close.class_id,
            close.method_id,
        ));
        if let Some(channel) = self.channels.remove(number) {
            for call in &channel.calls {
                self.reply(call.token, Err(error.clone()));
            }
            self.events.push_back(Event::ChannelClosed {
                channel: channel.id,
                error,
            });
        }
    }

    /// Books what an answer changes on its channel, and passes it on.
    fn answered(&mut self, number: u16, call: &Call, method: Method<'_>) {
        let Some(channel) = self.channels.by_number(number) else {
            return;
        };
        match call.kind {
            CallKind::Qos { prefetch, global } => channel.set_prefetch(prefetch, global),
            CallKind::Cancel { consumer } => channel.remove_consumer(consumer),
            CallKind::Consume { .. } | CallKind::Get { .. } | CallKind::Plain => {}
        }
        let reply = match method {
            Method::QueueDeclareOk(ok) => Reply::Queue {
                name: ok.queue.to_string(),
                message_count: ok.message_count,
                consumer_count: ok.consumer_count,
            },
            Method::QueuePurgeOk(ok) => Reply::Removed {
                message_count: ok.message_count,
            },
            Method::QueueDeleteOk(ok) => Reply::Removed {
                message_count: ok.message_count,
            },
            Method::BasicConsumeOk(ok) => {
                if let CallKind::Consume { consumer, no_ack } = call.kind {
                    channel.add_consumer(ok.consumer_tag.as_bytes(), consumer, no_ack);
                }
                Reply::Consuming {
                    consumer_tag: ok.consumer_tag.to_string(),
                }
            }
            Method::BasicGetEmpty(_) => Reply::Got { found: false },
            _ => Reply::Done,
        };
        self.reply(call.token, Ok(reply));
        self.send_calls(number);
    }

    /// The broker broke the protocol: say so with the right code, if it will listen, and end.
    fn fail(&mut self, error: &ConnectionError) {
        let code = match error {
            ConnectionError::Decode(decode) => Some(decode.reply_code()),
            ConnectionError::Violation(violation) => Some(violation.reply_code()),
            _ => None,
        };
        if let Some(code) = code
            && matches!(self.phase, Phase::Open | Phase::OpenOk)
        {
            self.write_close(code, &error.to_string());
        }
        self.finish(error.clone());
    }
}

pub(super) fn unexpected(
    method: &'static str,
    channel: u16,
    expected: &'static str,
) -> ConnectionError {
    Violation::UnexpectedMethod {
        method,
        channel,
        expected,
    }
    .into()
}
