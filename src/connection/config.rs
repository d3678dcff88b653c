//! What a connection is made with, and what both sides agreed on.

use std::fmt;
use std::time::Duration;

use super::error::Violation;
use crate::protocol::{FRAME_MIN_SIZE, FieldTable};

/// User name and password for SASL PLAIN. `Debug` does not show the password.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Credentials {
    /// The user's name.
    pub user: String,
    /// The user's password.
    pub password: String,
}

impl Credentials {
    /// The response of SASL PLAIN (RFC 4616): no authorisation identity, the user, the password.
    pub(crate) fn plain_response(&self) -> Vec<u8> {
        [b"\0", self.user.as_bytes(), b"\0", self.password.as_bytes()].concat()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// What this client asks for.
#[derive(Debug, Clone)]
pub struct Config {
    /// The virtual host, at most 255 octets.
    pub vhost: String,
    /// Who logs in.
    pub credentials: Credentials,
    /// Shown by the broker's management; `capabilities` is added by the connection itself. Together with the credentials they have to fit one
    /// frame, which RabbitMQ limits to 4096 octets before 4.1, and to 8192 since.
    pub client_properties: FieldTable,
    /// The most channels wanted; 0 leaves it to the broker.
    pub channel_max: u16,
    /// The largest frame wanted, in octets; less than [`FRAME_MIN_SIZE`] is taken for it. 0 stands for [`FRAME_MAX_DEFAULT`]: what is "no
    /// limit" in the protocol is never asked for.
    pub frame_max: u32,
    /// The heartbeat interval wanted, rounded up to whole seconds, at most 65535; zero turns heartbeats off on both sides.
    pub heartbeat: Duration,
    /// The largest body accepted, in octets. A larger one closes the connection with 506 RESOURCE_ERROR.
    pub body_size_max: u64,
}

/// The largest body that RabbitMQ can be configured to carry (`max_message_size`), in octets.
pub const BODY_SIZE_MAX_DEFAULT: u64 = 512 * 1024 * 1024;

/// The frame size that RabbitMQ proposes by default, in octets.
pub const FRAME_MAX_DEFAULT: u32 = 128 * 1024;

/// The number of channels that RabbitMQ grants by default.
pub const CHANNEL_MAX_DEFAULT: u16 = 2047;

impl Default for Config {
    fn default() -> Self {
        Config {
            vhost: "/".into(),
            credentials: Credentials {
                user: "guest".into(),
                password: "guest".into(),
            },
            client_properties: FieldTable::new(),
            channel_max: CHANNEL_MAX_DEFAULT,
            frame_max: FRAME_MAX_DEFAULT,
            heartbeat: Duration::from_secs(60),
            body_size_max: BODY_SIZE_MAX_DEFAULT,
        }
    }
}

impl Config {
    /// The largest frame this side agrees to.
    pub(super) fn frame_max_wanted(&self) -> u32 {
        match self.frame_max {
            0 => FRAME_MAX_DEFAULT,
            limit => limit.max(FRAME_MIN_SIZE),
        }
    }

    /// The heartbeat interval wanted, in seconds: a fraction must not become 0, which would turn them off.
    fn heartbeat_secs(&self) -> u16 {
        let fraction = u64::from(self.heartbeat.subsec_nanos() > 0);
        let secs = self.heartbeat.as_secs().saturating_add(fraction);
        u16::try_from(secs).unwrap_or(u16::MAX)
    }
}

/// What both sides agreed on (`connection.tune`, `connection.tune-ok`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tuning {
    /// The highest channel number that may be used.
    pub channel_max: u16,
    /// The largest frame, header and end octet included, in octets.
    pub frame_max: u32,
    /// The heartbeat interval; zero when they are off.
    pub heartbeat: Duration,
}

impl Tuning {
    /// The smaller of both sides' values wins, where 0 stands for "no limit of mine" in `channel_max` and
    /// `frame_max`, and for "off" in `heartbeat`: either side's 0 turns heartbeats off.
    pub(crate) fn negotiate(
        config: &Config,
        channel_max: u16,
        frame_max: u32,
        heartbeat_secs: u16,
    ) -> Result<Tuning, Violation> {
        if frame_max != 0 && frame_max < FRAME_MIN_SIZE {
            return Err(Violation::Tuning {
                what: format!(
                    "frame_max {frame_max}; the smallest allowed is {FRAME_MIN_SIZE} octets"
                ),
            });
        }
        let smaller = |ours: u32, theirs: u32| match (ours, theirs) {
            (0, other) | (other, 0) => other,
            (ours, theirs) => ours.min(theirs),
        };
        let channel_max = match smaller(config.channel_max.into(), channel_max.into()) {
            0 => u16::MAX,
            limit => u16::try_from(limit).unwrap_or(u16::MAX),
        };
        let heartbeat = config.heartbeat_secs().min(heartbeat_secs);
        Ok(Tuning {
            channel_max,
            frame_max: smaller(config.frame_max_wanted(), frame_max),
            heartbeat: Duration::from_secs(heartbeat.into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(channel_max: u16, frame_max: u32, heartbeat: u64) -> Config {
        Config {
            channel_max,
            frame_max,
            heartbeat: Duration::from_secs(heartbeat),
            ..Config::default()
        }
    }

    #[test]
    fn the_smaller_value_wins_and_zero_means_no_limit() {
        let tuned = |ours: Config, c, f, h| Tuning::negotiate(&ours, c, f, h).unwrap();
        let both = tuned(config(100, 8192, 60), 2047, 131_072, 30);
        assert_eq!((both.channel_max, both.frame_max), (100, 8192));
        assert_eq!(both.heartbeat, Duration::from_secs(30));
        let theirs_smaller = tuned(config(2047, 131_072, 10), 7, 4096, 60);
        assert_eq!(
            (theirs_smaller.channel_max, theirs_smaller.frame_max),
            (7, 4096)
        );
        assert_eq!(theirs_smaller.heartbeat, Duration::from_secs(10));
        let no_limit = tuned(config(0, 131_072, 60), 0, 0, 0);
        assert_eq!(
            (no_limit.channel_max, no_limit.frame_max),
            (u16::MAX, 131_072)
        );
        assert_eq!(no_limit.heartbeat, Duration::ZERO);
        assert_eq!(
            tuned(config(1, 4096, 0), 0, 0, 60).heartbeat,
            Duration::ZERO
        );
    }

    #[test]
    fn no_limit_on_either_side_is_still_a_limit_on_frames() {
        let tuned = |ours, theirs| Tuning::negotiate(&config(0, ours, 0), 0, theirs, 0).unwrap();
        assert_eq!(tuned(0, 0).frame_max, FRAME_MAX_DEFAULT);
        assert_eq!(tuned(0, u32::MAX).frame_max, FRAME_MAX_DEFAULT);
        assert_eq!(tuned(0, 8192).frame_max, 8192);
        assert_eq!(tuned(1, 0).frame_max, FRAME_MIN_SIZE);
    }

    #[test]
    fn a_fraction_of_a_second_does_not_turn_heartbeats_off() {
        let secs = |milliseconds| {
            Config {
                heartbeat: Duration::from_millis(milliseconds),
                ..Config::default()
            }
            .heartbeat_secs()
        };
        assert_eq!([0, 1, 999, 1000, 1001].map(secs), [0, 1, 1, 1, 2]);
        assert_eq!(secs(u64::MAX), u16::MAX);
    }

    #[test]
    fn a_frame_max_below_the_minimum_is_refused() {
        assert!(Tuning::negotiate(&config(0, 8192, 0), 0, 4095, 0).is_err());
        assert!(Tuning::negotiate(&config(0, 8192, 0), 0, 4096, 0).is_ok());
    }

    #[test]
    fn debug_does_not_show_the_password() {
        let shown = format!(
            "{:?}",
            Config {
                credentials: Credentials {
                    user: "u".into(),
                    password: "s3cret".into()
                },
                ..Config::default()
            }
        );
        assert!(!shown.contains("s3cret"));
    }
}
