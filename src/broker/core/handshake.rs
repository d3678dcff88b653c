//! From the protocol header to `connection.open-ok` (2.2.4).

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::context::{Shared, not_implemented, short, text};
use super::refusal::Refusal;
use super::session::{CLOSE_TIMEOUT, Capabilities, HANDSHAKE_TIMEOUT, Phase, Session};
use crate::protocol::{
    EncodeError, FRAME_MIN_SIZE, FieldTable, LongStr, Method, PROTOCOL_HEADER, ReplyCode, Table,
    connection,
};

const MECHANISMS: &str = "PLAIN AMQPLAIN";
const MECHANISMS_WITH_EXTERNAL: &str = "PLAIN AMQPLAIN EXTERNAL";

/// What clients of AMQP 0-9 send; it is the same on the wire.
const PROTOCOL_HEADER_0_9: [u8; 8] = *b"AMQP\x01\x01\x00\x09";

/// What clients of AMQP 0-8 send: RabbitMQ goes on with them, and so does this broker, in the words of 0-9-1.
const PROTOCOL_HEADER_0_8: [u8; 8] = *b"AMQP\x01\x01\x08\x00";

/// What became of a step.
pub(crate) enum Step {
    Done,
    /// The client may not log in.
    LoginRefused,
}

/// What this broker can do beyond the specification.
const CAPABILITIES: [&str; 9] = [
    "publisher_confirms",
    "exchange_exchange_bindings",
    "basic.nack",
    "consumer_cancel_notify",
    "connection.blocked",
    "consumer_priorities",
    "authentication_failure_close",
    "per_consumer_qos",
    "direct_reply_to",
];

fn server_properties(is_old: bool) -> Result<FieldTable, EncodeError> {
    let mut capabilities = FieldTable::new();
    for name in CAPABILITIES.into_iter().filter(|_| !is_old) {
        capabilities.insert(name, true)?;
    }
    let mut properties = FieldTable::new();
    properties.insert("capabilities", capabilities.as_table())?;
    properties.insert("cluster_name", "in-process")?;
    properties.insert("copyright", "the authors of amqp-uring")?;
    properties.insert("information", "for development and tests only")?;
    properties.insert("platform", "Rust")?;
    properties.insert("product", "amqp-uring broker")?;
    properties.insert("version", env!("CARGO_PKG_VERSION"))?;
    Ok(properties)
}

/// The client has sent its protocol header.
pub(crate) fn begin(session: &mut Session, now: Instant, header: [u8; 8], has_external: bool) {
    let is_old = header == PROTOCOL_HEADER_0_8;
    if !is_old && header != PROTOCOL_HEADER && header != PROTOCOL_HEADER_0_9 {
        // It speaks something else: it is told what is spoken here, and left.
        session.out.extend_from_slice(&PROTOCOL_HEADER);
        session.end(now);
        return;
    }
    // Both are constants of this file and short.
    let properties = server_properties(is_old).unwrap_or_default();
    let mechanisms = if has_external {
        MECHANISMS_WITH_EXTERNAL
    } else {
        MECHANISMS
    };
    let start = connection::Start {
        version_major: if is_old { 8 } else { 0 },
        version_minor: if is_old { 0 } else { 9 },
        server_properties: properties.as_table(),
        mechanisms: LongStr::new(mechanisms).unwrap_or_default(),
        locales: LongStr::new("en_US").unwrap_or_default(),
    };
    session.send(0, start);
    session.enter(Phase::StartOk, now.checked_add(HANDSHAKE_TIMEOUT));
}

/// A method on channel 0 before the connection is open.
pub(crate) fn step(
    session: &mut Session,
    shared: &Shared,
    now: Instant,
    method: &Method<'_>,
) -> Result<Step, Refusal> {
    let deadline = now.checked_add(HANDSHAKE_TIMEOUT);
    match (session.phase, method) {
        (Phase::StartOk, Method::ConnectionStartOk(start_ok)) => {
            session.capabilities = capabilities(start_ok.client_properties);
            let Some(user) = log_in(shared, start_ok)? else {
                return Ok(Step::LoginRefused);
            };
            session.user = user;
            session.send(0, tune(shared));
            session.enter(Phase::TuneOk, deadline);
        }
        (Phase::TuneOk, Method::ConnectionTuneOk(tune_ok)) => {
            settle_limits(session, &tune(shared), tune_ok)?;
            session.enter(Phase::ConnectionOpen, deadline);
        }
        (Phase::ConnectionOpen, Method::ConnectionOpen(open)) => {
            let name = text(open.virtual_host)?;
            let mut known = shared.settings.vhosts.iter();
            session.vhost = known.position(|vhost| vhost == name).ok_or_else(|| {
                Refusal::new(ReplyCode::NotAllowed, format!("vhost {name} not found"))
            })?;
            session.send(0, connection::OpenOk {});
            session.enter(Phase::Open, None);
        }
        (_, method) => {
            let text = format!("unexpected method {} in the handshake", method.name());
            return Err(Refusal::new(ReplyCode::CommandInvalid, text));
        }
    }
    Ok(Step::Done)
}

fn tune(shared: &Shared) -> connection::Tune {
    let frame_max = shared.faults.frame_max.unwrap_or(shared.settings.frame_max);
    connection::Tune {
        channel_max: shared.settings.channel_max,
        frame_max,
        heartbeat: u16::try_from(shared.settings.heartbeat.as_secs()).unwrap_or(u16::MAX),
    }
}

/// The client may lower what was offered; 0 is no limit, and so above one.
fn settle_limits(
    session: &mut Session,
    offered: &connection::Tune,
    chosen: &connection::TuneOk,
) -> Result<(), Refusal> {
    let too_high = |what: &str, chosen: u32, offered: u32| {
        let text = if chosen == 0 {
            format!(
                "negotiated {what} = 0 (no limit) is higher than the maximum allowed value ({offered})"
            )
        } else {
            format!(
                "negotiated {what} = {chosen} is higher than the maximum allowed value ({offered})"
            )
        };
        Err(Refusal::new(ReplyCode::NotAllowed, text))
    };
    let exceeds = |chosen: u32, offered: u32| offered > 0 && (chosen == 0 || chosen > offered);
    if chosen.frame_max > 0 && chosen.frame_max < FRAME_MIN_SIZE {
        let text = format!("frame_max={} < {FRAME_MIN_SIZE} min size", chosen.frame_max);
        return Err(Refusal::new(ReplyCode::NotAllowed, text));
    }
    if exceeds(chosen.frame_max, offered.frame_max) {
        return too_high("frame_max", chosen.frame_max, offered.frame_max);
    }
    let (channels, channels_offered) = (chosen.channel_max.into(), offered.channel_max.into());
    if exceeds(channels, channels_offered) {
        return too_high("channel_max", channels, channels_offered);
    }
    session.frame_max = match chosen.frame_max {
        0 => u32::MAX,
        frame_max => frame_max,
    };
    session.channel_max = match chosen.channel_max {
        0 => u16::MAX,
        channel_max => channel_max,
    };
    session.heartbeat = Duration::from_secs(chosen.heartbeat.into());
    Ok(())
}

fn capabilities(client_properties: Table<'_>) -> Capabilities {
    let table = client_properties.get("capabilities").ok().flatten();
    let table = table.and_then(|capabilities| capabilities.as_table());
    let has = |name: &str| {
        let value = table.and_then(|table| table.get(name).ok().flatten());
        value.and_then(|value| value.as_bool()).unwrap_or(false)
    };
    Capabilities {
        consumer_cancel_notify: has("consumer_cancel_notify"),
        connection_blocked: has("connection.blocked"),
        authentication_failure_close: has("authentication_failure_close"),
    }
}

/// The user's name, if the client proves to be one.
fn log_in(shared: &Shared, start_ok: &connection::StartOk<'_>) -> Result<Option<String>, Refusal> {
    let response = start_ok.response.as_bytes();
    let settings = &shared.settings;
    let malformed = || Refusal::new(ReplyCode::SyntaxError, "malformed credentials");
    let (name, is_admitted) = match start_ok.mechanism.as_bytes() {
        b"PLAIN" => {
            // RFC 4616 has a place for another identity to act as; RabbitMQ takes none.
            let parts: SmallVec<[&[u8]; 3]> = response.splitn(3, |octet| *octet == 0).collect();
            let [b"", name, password] = *parts else {
                return Err(malformed());
            };
            (name, settings.admits(name, password))
        }
        b"AMQPLAIN" => {
            let table = Table::from_encoded(response).map_err(|_| malformed())?;
            let field = |name| {
                let value = table.get(name).ok().flatten();
                value.and_then(|value| value.as_str()).ok_or_else(malformed)
            };
            let (name, password) = (field("LOGIN")?, field("PASSWORD")?);
            let is_admitted = settings.admits(name.as_bytes(), password.as_bytes());
            (name.as_bytes(), is_admitted)
        }
        b"EXTERNAL" if settings.has_external => (response, settings.knows(response)),
        _ => {
            let text = format!("unknown authentication mechanism '{}'", start_ok.mechanism);
            return Err(not_implemented(text));
        }
    };
    let name = String::from_utf8_lossy(name).into_owned();
    Ok(is_admitted.then_some(name))
}

/// What a client reads that could not log in, if it can read it.
pub(crate) fn refuse_login(session: &mut Session, mechanism: &str, now: Instant) {
    if !session.capabilities.authentication_failure_close {
        session.end(now);
        return;
    }
    let text = format!(
        "ACCESS_REFUSED - Login was refused using authentication mechanism {mechanism}. For details see the broker logfile."
    );
    let close = connection::Close {
        reply_code: ReplyCode::AccessRefused.code(),
        reply_text: short(&text),
        class_id: 0,
        method_id: 0,
    };
    session.send(0, close);
    session.enter(Phase::Closing, now.checked_add(CLOSE_TIMEOUT));
}
