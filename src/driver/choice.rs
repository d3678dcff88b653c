//! Which driver moves an engine's octets, and why that one.

use std::env;
use std::fmt;
use std::str::FromStr;

use super::DriverError;
use super::uring::{self, Unavailable};

/// The environment variable that chooses a driver where the program does not: `auto`, `uring`, `epoll` or `tokio-uring`.
pub(super) const VARIABLE: &str = "AMQP_URING_DRIVER";

/// A way to move octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Driver {
    /// [`Driver::Uring`] where io_uring is to be had, else [`Driver::Epoll`].
    #[default]
    Auto,
    /// A ring of its own on a thread of its own: the fastest.
    Uring,
    /// Sockets and epoll: for where io_uring is missing or forbidden, as in a container's default seccomp profile.
    Epoll,
    /// A ring of its own inside a tokio-uring runtime, whose thread it shares with the runtime's tasks. Needs the
    /// feature `tokio-uring`.
    TokioUring,
    /// A simulated network: that of an engine that was started in a simulated world (feature `sim`), and of no other.
    Sim,
}

impl Driver {
    /// Those that move octets of the system's sockets, which [`Driver::Auto`] leads to.
    pub const ALL: [Self; 3] = [Self::Uring, Self::Epoll, Self::TokioUring];

    /// The name in the environment variable and on command lines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Uring => "uring",
            Self::Epoll => "epoll",
            Self::TokioUring => "tokio-uring",
            Self::Sim => "sim",
        }
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that no driver has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no driver {0:?}: choose auto, uring, epoll or tokio-uring")]
pub struct UnknownDriver(pub String);

impl FromStr for Driver {
    type Err = UnknownDriver;

    fn from_str(name: &str) -> Result<Self, UnknownDriver> {
        let all = [Self::Auto].into_iter().chain(Self::ALL);
        all.into_iter()
            .find(|driver| driver.name() == name)
            .ok_or_else(|| UnknownDriver(name.to_owned()))
    }
}

/// Why a driver runs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The program asked for it.
    Asked,
    /// The environment variable `AMQP_URING_DRIVER` asks for it.
    Environment,
    /// Nobody asked for another one, and the kernel has what it needs.
    Default,
    /// Nobody asked for it, and there is no io_uring here.
    NoUring(Unavailable),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked => f.write_str("the program asks for it"),
            Self::Environment => write!(f, "{VARIABLE} asks for it"),
            Self::Default => f.write_str("io_uring is there"),
            Self::NoUring(why) => write!(f, "there is no io_uring: {why}"),
        }
    }
}

/// A driver that was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The driver: never [`Driver::Auto`].
    pub driver: Driver,
    /// Why this one.
    pub reason: Reason,
}

impl Choice {
    /// Chooses: what the program asks for counts before the environment, and that before what the kernel offers. For
    /// [`Driver::Auto`] this makes a small ring for a moment, to see whether there is io_uring.
    ///
    /// # Errors
    ///
    /// [`DriverError::Unknown`] when the environment names no driver, [`DriverError::NotBuilt`] when the driver is not in
    /// this build. Whether a driver works that somebody asked for is seen when it starts.
    pub fn new(asked: Option<Driver>) -> Result<Self, DriverError> {
        let (asked, reason) = match (asked, env::var_os(VARIABLE)) {
            (Some(driver), _) => (driver, Reason::Asked),
            (None, Some(name)) if !name.is_empty() => (
                name.to_string_lossy().parse::<Driver>()?,
                Reason::Environment,
            ),
            (None, _) => (Driver::Auto, Reason::Default),
        };
        match asked {
            Driver::Auto => Ok(Self::offered()),
            Driver::TokioUring if !cfg!(feature = "tokio-uring") => Err(DriverError::NotBuilt {
                driver: Driver::TokioUring,
                feature: "tokio-uring",
            }),
            Driver::Sim => Err(DriverError::NoWorld),
            driver => Ok(Self { driver, reason }),
        }
    }

    /// What the kernel offers.
    fn offered() -> Self {
        match uring::probe() {
            Ok(_) => Self {
                driver: Driver::Uring,
                reason: Reason::Default,
            },
            Err(why) => Self {
                driver: Driver::Epoll,
                reason: Reason::NoUring(why),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_driver_is_found_by_its_name() {
        for driver in [Driver::Auto].into_iter().chain(Driver::ALL) {
            assert_eq!(driver.name().parse(), Ok(driver));
            assert_eq!(driver.to_string(), driver.name());
        }
        assert_eq!(
            "kqueue".parse::<Driver>().unwrap_err().to_string(),
            "there is no driver \"kqueue\": choose auto, uring, epoll or tokio-uring"
        );
    }

    #[test]
    fn the_simulated_one_is_chosen_by_no_name_and_in_no_system() {
        assert!("sim".parse::<Driver>().is_err());
        let chosen = Choice::new(Some(Driver::Sim));
        assert!(matches!(chosen, Err(DriverError::NoWorld)));
    }

    #[test]
    fn what_is_asked_for_is_chosen() {
        for driver in [Driver::Uring, Driver::Epoll] {
            let reason = Reason::Asked;
            assert_eq!(
                Choice::new(Some(driver)).unwrap(),
                Choice { driver, reason }
            );
        }
    }

    #[test]
    fn the_kernel_decides_when_nobody_asks() {
        let choice = Choice::new(Some(Driver::Auto)).unwrap();
        let expected = match uring::probe() {
            Ok(_) => (Driver::Uring, Reason::Default),
            Err(why) => (Driver::Epoll, Reason::NoUring(why)),
        };
        assert_eq!((choice.driver, choice.reason), expected);
    }
}
