//! What a broker is like: who may log in, what there is, and how much of everything.

use std::net::SocketAddr;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::BrokerError;

/// What a connection may offer, as in RabbitMQ's default configuration.
pub(crate) const FRAME_MAX_DEFAULT: u32 = 131_072;
pub(crate) const CHANNEL_MAX_DEFAULT: u16 = 2047;
pub(crate) const HEARTBEAT_DEFAULT: Duration = Duration::from_secs(60);
/// RabbitMQ's `max_message_size`, 128 MiB.
pub(crate) const MESSAGE_OCTETS_DEFAULT: u64 = 128 << 20;
/// Enough for tests and benches, and little enough not to hurt the machine that they run on.
pub(crate) const MEMORY_OCTETS_DEFAULT: usize = 1 << 30;
pub(crate) const CONNECTIONS_DEFAULT: usize = 1024;

/// Somebody who may log in, to every virtual host.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub name: String,
    pub password: String,
}

#[derive(Clone)]
pub(crate) struct Settings {
    pub users: Vec<User>,
    pub vhosts: Vec<String>,
    /// Whether SASL EXTERNAL is offered.
    pub has_external: bool,
    /// Largest frame in octets, offered in `connection.tune`.
    pub frame_max: u32,
    pub channel_max: u16,
    pub heartbeat: Duration,
    pub connections_max: usize,
    /// The largest body in octets.
    pub message_octets_max: u64,
    /// Octets of all messages together, from which on publishers are blocked.
    pub memory_octets_max: usize,
    /// How many records the log of what was received keeps; 0 for no log.
    pub records_max: usize,
    /// Seconds since 1970 when the broker started.
    pub started_at: u64,
}

impl Default for Settings {
    fn default() -> Self {
        let guest = User {
            name: "guest".to_owned(),
            password: "guest".to_owned(),
        };
        Self {
            users: vec![guest],
            vhosts: vec!["/".to_owned()],
            has_external: false,
            frame_max: FRAME_MAX_DEFAULT,
            channel_max: CHANNEL_MAX_DEFAULT,
            heartbeat: HEARTBEAT_DEFAULT,
            connections_max: CONNECTIONS_DEFAULT,
            message_octets_max: MESSAGE_OCTETS_DEFAULT,
            memory_octets_max: MEMORY_OCTETS_DEFAULT,
            records_max: 0,
            started_at: 0,
        }
    }
}

impl Settings {
    /// How to log in at this address: as the first user, to the first virtual host.
    pub fn uri(&self, address: SocketAddr) -> Result<String, BrokerError> {
        let user = self.users.first().ok_or(BrokerError::Missing("user"))?;
        let vhost = self.vhosts.first();
        let vhost = vhost.ok_or(BrokerError::Missing("virtual host"))?;
        let encode = |text| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let (name, password) = (encode(&user.name), encode(&user.password));
        Ok(format!(
            "amqp://{name}:{password}@{address}/{}",
            encode(vhost)
        ))
    }

    pub fn admits(&self, name: &[u8], password: &[u8]) -> bool {
        let is_user = |user: &&User| user.name.as_bytes() == name;
        self.users
            .iter()
            .find(is_user)
            .is_some_and(|user| user.password.as_bytes() == password)
    }

    pub fn knows(&self, name: &[u8]) -> bool {
        self.users.iter().any(|user| user.name.as_bytes() == name)
    }
}
