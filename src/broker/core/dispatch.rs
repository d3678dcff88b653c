//! Frames that came in, and which method does what.

use std::time::Instant;

use super::Core;
use super::channel::{Channel, State};
use super::closing::MethodId;
use super::context::{Context, malformed, not_implemented};
use super::handshake::{self, Step};
use super::ids::SessionId;
use super::refusal::Refusal;
use super::session::{CLOSE_TIMEOUT, Phase, UNREAD_OCTETS_MAX};
use super::settling::Settlement;
use crate::protocol::{
    DecodeError, Decoded, FRAME_OVERHEAD, Frame, FrameKind, Method, PROTOCOL_HEADER, ReplyCode,
    basic, channel, connection, encode_frame_into,
};

/// Class and method of `access.request`, and its answer, `access.request-ok` with the ticket 1.
const ACCESS_REQUEST: [u8; 4] = [0, 30, 0, 10];
const ACCESS_REQUEST_OK: [u8; 6] = [0, 30, 0, 11, 0, 1];

/// How far [`Core::receive`] came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Octets of the frames that were dealt with.
    pub heard: usize,
    /// Octets that were used; more than were heard when the connection is over, and nobody hears the rest.
    pub consumed: usize,
    /// At least this many more are needed; 0 when everything was used, or when the rest is to be shown again once
    /// [`Core::is_read`] says so.
    pub missing: usize,
}

/// What a method led to that was refused.
struct Failure {
    refusal: Refusal,
    method: MethodId,
}

impl Core {
    /// Takes in octets of a connection. What is not consumed begins a frame and is to be shown again, with more behind it
    /// where something is missing.
    pub fn receive(&mut self, now: Instant, id: SessionId, octets: &[u8]) -> Progress {
        let mut consumed = 0;
        self.set_clocks(now);
        if !self.shared.memory.is_short() {
            // What comes in within one turn may be more than the limit allows.
            self.measure_memory();
        }
        let has_alarm = self.alarm().is_some();
        if let Some(session) = self.sessions.get_mut(id.0 as usize) {
            session.received(now);
        }
        self.touch(id);
        loop {
            let rest = octets.get(consumed..).unwrap_or_default();
            let Some(session) = self.sessions.get_mut(id.0 as usize) else {
                break;
            };
            if session.backlog() >= UNREAD_OCTETS_MAX || has_alarm && session.publishes {
                // The rest is shown again when the client has read some of it, or the alarm is over.
                return Progress {
                    heard: consumed,
                    consumed,
                    missing: 0,
                };
            }
            let progress = match session.phase {
                Phase::Over | Phase::Lost => break,
                Phase::Header => self.protocol_header(now, id, rest),
                _ => match Frame::decode(rest, frame_octets_max(session.frame_max)) {
                    Ok(Decoded::Frame { frame, octets }) => {
                        self.frame(now, id, &frame);
                        Ok(octets)
                    }
                    Ok(Decoded::Incomplete { missing }) => Err(missing),
                    Err(error) => {
                        self.bad_frame(now, id, rest, &error);
                        break;
                    }
                },
            };
            match progress {
                Ok(octets) => consumed += octets,
                Err(missing) if rest.is_empty() => {
                    let _ = missing;
                    return Progress {
                        heard: consumed,
                        consumed,
                        missing: 0,
                    };
                }
                Err(missing) => {
                    return Progress {
                        heard: consumed,
                        consumed,
                        missing,
                    };
                }
            }
        }
        // Nobody listens any more.
        Progress {
            heard: consumed,
            consumed: octets.len(),
            missing: 0,
        }
    }

    /// The first eight octets. Gives how many were used, or how many are missing.
    fn protocol_header(
        &mut self,
        now: Instant,
        id: SessionId,
        octets: &[u8],
    ) -> Result<usize, usize> {
        let Some(header) = octets.first_chunk::<{ PROTOCOL_HEADER.len() }>() else {
            return Err(PROTOCOL_HEADER.len() - octets.len());
        };
        if let Some(session) = self.sessions.get_mut(id.0 as usize) {
            let has_external = self.shared.settings.has_external;
            handshake::begin(session, now, *header, has_external);
        }
        Ok(header.len())
    }

    /// Octets that are no frame: after them nothing can be understood.
    fn bad_frame(&mut self, now: Instant, id: SessionId, octets: &[u8], error: &DecodeError) {
        let Some(session) = self.sessions.get_mut(id.0 as usize) else {
            return;
        };
        let limit = session.frame_max.saturating_sub(FRAME_OVERHEAD as u32);
        match session.phase {
            Phase::Open => {
                let refusal = Refusal::new(ReplyCode::FrameError, frame_text(octets, limit, error));
                self.close_connection(now, id, &refusal, (0, 0));
            }
            _ => session.end(now),
        }
    }

    fn frame(&mut self, now: Instant, id: SessionId, frame: &Frame<'_>) {
        let Some(session) = self.sessions.get_mut(id.0 as usize) else {
            return;
        };
        if frame.kind == FrameKind::Heartbeat && frame.channel == 0 {
            return;
        }
        let outcome = match session.phase {
            Phase::Open if frame.channel != 0 => self.channel_frame(now, id, frame),
            _ => self.connection_frame(now, id, frame),
        };
        if let Err(failure) = outcome {
            self.refuse(now, id, frame.channel, &failure.refusal, failure.method);
        }
        self.settle_pressing(now, id);
    }

    // --- channel 0 ----------------------------------------------------------------------------------------------------

    fn connection_frame(
        &mut self,
        now: Instant,
        id: SessionId,
        frame: &Frame<'_>,
    ) -> Result<(), Failure> {
        let Some(session) = self.sessions.get_mut(id.0 as usize) else {
            return Ok(());
        };
        if session.phase == Phase::Closing {
            let method = Method::decode(frame.payload);
            if frame.kind == FrameKind::Method && frame.channel == 0 {
                match method {
                    Ok(Method::ConnectionCloseOk(_)) => session.end(now),
                    Ok(Method::ConnectionClose(_)) => session.send(0, connection::CloseOk {}),
                    _ => {}
                }
            }
            return Ok(());
        }
        if frame.kind != FrameKind::Method || frame.channel != 0 {
            return Err(misplaced(frame));
        }
        let method = Method::decode(frame.payload).map_err(|error| undecodable(frame, &error))?;
        self.shared.records.method(id, frame.channel, &method);
        let fail = failure_of(method.id());
        if let Method::ConnectionClose(_) = method {
            if session.phase == Phase::Open {
                self.connection_close(now, id);
            } else {
                session.end(now);
            }
            return Ok(());
        }
        if session.phase == Phase::Open {
            return self.open_connection_method(id, &method).map_err(fail);
        }
        let phase = session.phase;
        match handshake::step(session, &self.shared, now, &method) {
            Ok(Step::Done) => Ok(()),
            Ok(Step::LoginRefused) => {
                let mechanism = match &method {
                    Method::ConnectionStartOk(start_ok) => start_ok.mechanism.to_string(),
                    _ => String::new(),
                };
                handshake::refuse_login(session, &mechanism, now);
                Ok(())
            }
            Err(refusal) if phase == Phase::ConnectionOpen => Err(fail(refusal)),
            // RabbitMQ says no more to one that cannot even log in.
            Err(refusal) => {
                tracing::debug!(text = %refusal.text, "a connection ends in its handshake");
                session.end(now);
                Ok(())
            }
        }
    }

    /// The line is the client's to end: one that meets the end of the file before it has looked at `connection.close-ok`
    /// would take the connection for lost.
    fn connection_close(&mut self, now: Instant, id: SessionId) {
        self.release_session(now, id);
        if let Some(session) = self.sessions.get_mut(id.0 as usize) {
            session.send(0, connection::CloseOk {});
            session.enter(Phase::Closing, now.checked_add(CLOSE_TIMEOUT));
        }
    }

    fn open_connection_method(
        &mut self,
        id: SessionId,
        method: &Method<'_>,
    ) -> Result<(), Refusal> {
        match method {
            Method::ConnectionUpdateSecret(_) => {
                if let Some(session) = self.sessions.get_mut(id.0 as usize) {
                    session.send(0, connection::UpdateSecretOk {});
                }
                Ok(())
            }
            _ => Err(Refusal::new(
                ReplyCode::ChannelError,
                "unexpected method in connection state running",
            )),
        }
    }

    // --- other channels -----------------------------------------------------------------------------------------------

    fn channel_frame(
        &mut self,
        now: Instant,
        id: SessionId,
        frame: &Frame<'_>,
    ) -> Result<(), Failure> {
        let octets_max = self.shared.settings.message_octets_max;
        let handled = self.on_channel(now, id, frame.channel, |context| {
            match context.channel.state {
                State::Open => context.frame(frame, octets_max),
                State::Closing => {
                    context.frame_while_closing(frame);
                    Ok(())
                }
                State::Closed => Ok(()),
            }
        });
        handled.unwrap_or_else(|| self.frame_on_closed_channel(id, frame))
    }

    fn frame_on_closed_channel(&mut self, id: SessionId, frame: &Frame<'_>) -> Result<(), Failure> {
        let Some(session) = self.sessions.get_mut(id.0 as usize) else {
            return Ok(());
        };
        if frame.kind != FrameKind::Method {
            return Err(not_open(frame, (0, 0)));
        }
        let method = Method::decode(frame.payload).map_err(|error| undecodable(frame, &error))?;
        self.shared.records.method(id, frame.channel, &method);
        match method {
            // The limit is one on how many are open, and not on their numbers.
            Method::ChannelOpen(_)
                if session.channels.count() >= usize::from(session.channel_max) =>
            {
                let max = session.channel_max;
                let text = format!(
                    "number of channels opened ({max}) has reached the negotiated channel_max ({max})"
                );
                let refusal = Refusal::new(ReplyCode::NotAllowed, text);
                Err(failure_of((0, 0))(refusal))
            }
            Method::ChannelOpen(_) => {
                session
                    .channels
                    .put(frame.channel, Box::new(Channel::new()));
                session.send(frame.channel, channel::OpenOk {});
                Ok(())
            }
            _ => Err(not_open(frame, method.id())),
        }
    }

    /// Works on a channel, if it is there.
    pub(super) fn on_channel<R>(
        &mut self,
        now: Instant,
        id: SessionId,
        number: u16,
        work: impl FnOnce(&mut Context<'_>) -> R,
    ) -> Option<R> {
        let session = self.sessions.get_mut(id.0 as usize)?;
        let vhost = self.vhosts.get_mut(session.vhost)?;
        let mut channel = session.channels.take(number)?;
        let mut context = Context {
            now,
            number,
            channel: &mut channel,
            session,
            vhost,
            shared: &mut self.shared,
        };
        let done = work(&mut context);
        if channel.state != State::Closed {
            session.channels.put(number, channel);
        }
        Some(done)
    }
}

impl Context<'_> {
    fn frame(&mut self, frame: &Frame<'_>, octets_max: u64) -> Result<(), Failure> {
        if self.channel.is_publishing {
            let failed = failure_of((basic::CLASS_ID, basic::Publish::METHOD_ID));
            return self.content(frame, octets_max).map_err(failed);
        }
        if frame.kind == FrameKind::Heartbeat {
            return Err(misplaced(frame));
        }
        if frame.kind != FrameKind::Method {
            return Err(content_without_method());
        }
        if frame.payload.starts_with(&ACCESS_REQUEST) {
            // Class `access` is no more; clients of old are told that they may do everything.
            encode_frame_into(
                &mut self.session.out,
                FrameKind::Method,
                self.number,
                |out| {
                    out.extend_from_slice(&ACCESS_REQUEST_OK);
                },
            );
            return Ok(());
        }
        let method = Method::decode(frame.payload).map_err(|error| undecodable(frame, &error))?;
        let (session, number) = (self.session.id, self.number);
        self.shared.records.method(session, number, &method);
        self.method(&method).map_err(failure_of(method.id()))
    }

    fn content(&mut self, frame: &Frame<'_>, octets_max: u64) -> Result<(), Refusal> {
        let incoming = &mut self.channel.incoming;
        let Some(message) = incoming.add(frame, octets_max)? else {
            self.shared.memory.taken_in(frame.payload.len());
            return Ok(());
        };
        let mandatory = incoming.mandatory;
        self.channel.is_publishing = false;
        self.publish(message, mandatory)
    }

    fn frame_while_closing(&mut self, frame: &Frame<'_>) {
        if frame.kind != FrameKind::Method {
            return;
        }
        match Method::decode(frame.payload) {
            Ok(Method::ChannelCloseOk(_)) => self.channel.state = State::Closed,
            Ok(Method::ChannelClose(_)) => self.reply(channel::CloseOk {}),
            _ => {}
        }
    }

    fn method(&mut self, method: &Method<'_>) -> Result<(), Refusal> {
        match method {
            Method::BasicPublish(publish) if publish.immediate => {
                Err(not_implemented("immediate=true"))
            }
            Method::BasicPublish(publish) => {
                self.channel.incoming.begin(publish);
                self.channel.is_publishing = true;
                Ok(())
            }
            Method::BasicAck(ack) => {
                self.settle_tags(ack.delivery_tag, ack.multiple, Settlement::Ack)
            }
            Method::BasicNack(nack) => {
                let settlement = Settlement::negative(nack.requeue);
                self.settle_tags(nack.delivery_tag, nack.multiple, settlement)
            }
            Method::BasicReject(reject) => {
                let settlement = Settlement::negative(reject.requeue);
                self.settle_tags(reject.delivery_tag, false, settlement)
            }
            Method::BasicQos(qos) => self.basic_qos(qos),
            Method::BasicConsume(consume) => self.basic_consume(consume),
            Method::BasicCancel(cancel) => self.basic_cancel(cancel),
            Method::BasicCancelOk(_) => Ok(()),
            Method::BasicGet(get) => self.basic_get(get),
            Method::BasicRecover(recover) => self.recover(recover.requeue, true),
            Method::BasicRecoverAsync(recover) => self.recover(recover.requeue, false),
            Method::ExchangeDeclare(declare) => self.exchange_declare(declare),
            Method::ExchangeDelete(delete) => self.exchange_delete(delete),
            Method::ExchangeBind(bind) => self.exchange_bind(bind),
            Method::ExchangeUnbind(unbind) => self.exchange_unbind(unbind),
            Method::QueueDeclare(declare) => self.queue_declare(declare),
            Method::QueueBind(bind) => self.queue_bind(bind),
            Method::QueueUnbind(unbind) => self.queue_unbind(unbind),
            Method::QueuePurge(purge) => self.queue_purge(purge),
            Method::QueueDelete(delete) => self.queue_delete(delete),
            Method::ConfirmSelect(select) => self.confirm_select(select.nowait),
            Method::TxSelect(_) => self.tx_select(),
            Method::TxCommit(_) => self.tx_commit(),
            Method::TxRollback(_) => self.tx_rollback(),
            Method::ChannelClose(_) => {
                self.channel_close();
                Ok(())
            }
            Method::ChannelFlow(flow) if !flow.active => Err(not_implemented("active=false")),
            Method::ChannelFlow(_) => {
                self.reply(channel::FlowOk { active: true });
                Ok(())
            }
            Method::ChannelOpen(_) => Err(Refusal::new(
                ReplyCode::ChannelError,
                "second 'channel.open' seen",
            )),
            _ => Err(Refusal::new(
                ReplyCode::CommandInvalid,
                "unimplemented method",
            )),
        }
    }
}

fn failure_of(method: MethodId) -> impl FnOnce(Refusal) -> Failure {
    move |refusal| Failure { refusal, method }
}

/// A method that cannot be decoded.
fn undecodable(frame: &Frame<'_>, error: &DecodeError) -> Failure {
    let Some((&[c0, c1, m0, m1], arguments)) = frame.payload.split_first_chunk() else {
        let text = format!("{}: unknown_frame", described(frame));
        return Failure {
            refusal: Refusal::new(ReplyCode::FrameError, text),
            method: (0, 0),
        };
    };
    let refusal = match error {
        DecodeError::UnknownClass { .. } | DecodeError::UnknownMethod { .. } => malformed(error),
        _ => {
            let text = format!("cannot decode {}", erlang_binary(arguments));
            Refusal::new(ReplyCode::FrameError, text)
        }
    };
    Failure {
        refusal,
        method: (u16::from_be_bytes([c0, c1]), u16::from_be_bytes([m0, m1])),
    }
}

/// Octets as RabbitMQ shows them in texts.
fn erlang_binary(octets: &[u8]) -> String {
    let octets: Vec<_> = octets.iter().map(u8::to_string).collect();
    format!("<<{}>>", octets.join(","))
}

fn described(frame: &Frame<'_>) -> String {
    format!(
        "type {}, all octets = {}",
        frame.kind as u8,
        erlang_binary(frame.payload)
    )
}

/// RabbitMQ takes payloads of as many octets as a whole frame may have.
fn frame_octets_max(frame_max: u32) -> u32 {
    frame_max.saturating_add(FRAME_OVERHEAD as u32)
}

/// RabbitMQ's words for octets that are no frame.
fn frame_text(octets: &[u8], limit: u32, error: &DecodeError) -> String {
    let Some((&[kind, _, _, s0, s1, s2, s3], rest)) = octets.split_first_chunk() else {
        return error.to_string();
    };
    let size = u32::from_be_bytes([s0, s1, s2, s3]);
    if size > frame_octets_max(limit) {
        return format!("type {kind}, all octets = <<>>: {{frame_too_large,{size},{limit}}}");
    }
    let payload = erlang_binary(rest.get(..size as usize).unwrap_or_default());
    match error {
        DecodeError::FrameEnd { found, .. } => {
            format!("type {kind}, all octets = {payload}: {{invalid_frame_end_marker,{found}}}")
        }
        _ => format!("type {kind}, all octets = {payload}: unknown_frame"),
    }
}

/// A frame that cannot be on this channel, whatever came before it.
fn misplaced(frame: &Frame<'_>) -> Failure {
    Failure {
        refusal: Refusal::new(ReplyCode::UnexpectedFrame, described(frame)),
        method: (0, 0),
    }
}

fn content_without_method() -> Failure {
    let text = "expected method frame, got non method frame instead";
    Failure {
        refusal: Refusal::new(ReplyCode::UnexpectedFrame, text),
        method: (0, 0),
    }
}

fn not_open(_frame: &Frame<'_>, method: MethodId) -> Failure {
    Failure {
        refusal: Refusal::new(ReplyCode::ChannelError, "expected 'channel.open'"),
        method,
    }
}
