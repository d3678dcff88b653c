//! From the protocol header to `connection.open-ok` (section 2.2.4).
//!
//! ```text
//!  client                                   broker
//!    │ ── AMQP 0 0 9 1 ─────────────────────▶ │
//!    │ ◀──────────────── connection.start ─── │
//!    │ ── connection.start-ok (PLAIN) ──────▶ │
//!    │ ◀───────────────── connection.tune ─── │
//!    │ ── connection.tune-ok, .open ────────▶ │
//!    │ ◀────────────── connection.open-ok ─── │
//! ```

use std::time::Instant;

use super::config::Tuning;
use super::error::{ConnectionError, Violation};
use super::{Connection, Event, Phase, write_method};
use crate::protocol::{
    EncodeError, FieldTable, LongStr, Method, ShortStr, Value, connection as class,
};

/// What this client can do beyond the specification, as RabbitMQ asks for it (<https://www.rabbitmq.com/docs/consumer-cancel>,
/// <https://www.rabbitmq.com/docs/connection-blocked>, <https://www.rabbitmq.com/docs/auth-notification>).
const CAPABILITIES: [&str; 6] = [
    "publisher_confirms",
    "basic.nack",
    "consumer_cancel_notify",
    "connection.blocked",
    "authentication_failure_close",
    "exchange_exchange_bindings",
];

impl Connection {
    /// A method on channel 0 before the connection is open.
    pub(super) fn shake_hands(
        &mut self,
        now: Instant,
        method: Method<'_>,
    ) -> Result<(), ConnectionError> {
        match (self.phase, method) {
            (_, Method::ConnectionClose(close)) => {
                self.closed_by_broker(close);
                Ok(())
            }
            (Phase::Start, Method::ConnectionStart(start)) => self.start(start),
            (Phase::Tune, Method::ConnectionTune(tune)) => self.tune(now, tune),
            (Phase::OpenOk, Method::ConnectionOpenOk(_)) => {
                self.phase = Phase::Open;
                self.events.push_back(Event::Open {
                    tuning: self.tuning,
                    server_properties: self.server_properties.clone(),
                });
                Ok(())
            }
            (phase, method) => Err(Violation::UnexpectedMethod {
                method: method.name(),
                channel: 0,
                expected: match phase {
                    Phase::Start => "waiting for connection.start",
                    Phase::Tune => "waiting for connection.tune",
                    _ => "waiting for connection.open-ok",
                },
            }
            .into()),
        }
    }

    fn start(&mut self, start: class::Start<'_>) -> Result<(), ConnectionError> {
        let (major, minor) = (start.version_major, start.version_minor);
        if (major, minor) != (0, 9) {
            return Err(ConnectionError::Version { major, minor });
        }
        let offered = start.mechanisms.as_bytes();
        if !offered.split(|octet| *octet == b' ').any(|m| m == b"PLAIN") {
            return Err(ConnectionError::Mechanism {
                offered: start.mechanisms.to_string(),
            });
        }
        self.server_properties = FieldTable::try_from(start.server_properties)?;
        // Before the password is sent, not after.
        ShortStr::new(&self.config.vhost)?;
        let response = self.config.credentials.plain_response();
        let properties = client_properties(&self.config.client_properties)?;
        let start_ok = class::StartOk {
            client_properties: properties.as_table(),
            mechanism: ShortStr::new("PLAIN")?,
            response: LongStr::from_bytes(&response)?,
            locale: ShortStr::new("en_US")?,
        };
        let mut frame = Vec::new();
        write_method(&mut frame, 0, |out| start_ok.encode(out));
        if frame.len() > self.tuning.frame_max as usize {
            return Err(ConnectionError::Config(EncodeError::TooLong {
                what: "connection.start-ok",
                length: frame.len(),
                limit: self.tuning.frame_max as usize,
            }));
        }
        self.out.extend_from_slice(&frame);
        self.phase = Phase::Tune;
        Ok(())
    }

    fn tune(&mut self, now: Instant, tune: class::Tune) -> Result<(), ConnectionError> {
        self.tuning = Tuning::negotiate(
            &self.config,
            tune.channel_max,
            tune.frame_max,
            tune.heartbeat,
        )?;
        let tune_ok = class::TuneOk {
            channel_max: self.tuning.channel_max,
            frame_max: self.tuning.frame_max,
            // At most what came in 16 bits.
            heartbeat: self.tuning.heartbeat.as_secs() as u16,
        };
        write_method(&mut self.out, 0, |out| tune_ok.encode(out));
        let open = class::Open {
            virtual_host: ShortStr::new(&self.config.vhost)?,
        };
        write_method(&mut self.out, 0, |out| open.encode(out));
        self.heartbeat.start(self.tuning.heartbeat, now);
        self.phase = Phase::OpenOk;
        Ok(())
    }
}

/// The user's properties with this client's capabilities.
fn client_properties(users: &FieldTable) -> Result<FieldTable, EncodeError> {
    let mut capabilities = FieldTable::new();
    for capability in CAPABILITIES {
        capabilities.insert(capability, true)?;
    }
    let mut properties = FieldTable::new();
    properties.insert("product", "amqp-uring")?;
    properties.insert("version", env!("CARGO_PKG_VERSION"))?;
    properties.insert("platform", "Rust, Linux")?;
    for (name, value) in users.iter() {
        if let Ok(name) = name.as_str() {
            properties.insert(name, value)?;
        }
    }
    properties.insert("capabilities", Value::Table(capabilities.as_table()))?;
    Ok(properties)
}
