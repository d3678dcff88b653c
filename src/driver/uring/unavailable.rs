//! Why io_uring is not to be had, and what to do about it.

use std::fmt;
use std::io;

/// A kernel's version, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KernelVersion {
    /// The 6 of 6.1.
    pub major: u16,
    /// The 1 of 6.1.
    pub minor: u16,
}

impl KernelVersion {
    /// The oldest kernel that will do: the first with `IORING_SETUP_DEFER_TASKRUN`.
    pub const MIN: Self = Self { major: 6, minor: 1 };

    /// Reads the beginning of a release like `6.1.0-18-amd64`.
    #[must_use]
    pub fn parse(release: &str) -> Option<Self> {
        let mut numbers = release.trim().split(|c: char| !c.is_ascii_digit());
        let (major, minor) = (numbers.next()?, numbers.next()?);
        Some(Self {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
        })
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Why this process cannot use io_uring as the driver needs it. Each text ends with what to do.
///
/// Another driver is always an answer too, so that none of them says so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// The kernel is too old.
    #[error(
        "{missing} is missing: Linux {found} is older than {}; use a newer kernel",
        KernelVersion::MIN
    )]
    KernelTooOld {
        /// What was asked for and refused.
        missing: &'static str,
        /// The kernel that runs.
        found: KernelVersion,
    },
    /// The kernel was built without io_uring.
    #[error(
        "{missing} is missing: this kernel was built without io_uring; use one with CONFIG_IO_URING=y"
    )]
    NotBuilt {
        /// What was asked for and refused.
        missing: &'static str,
    },
    /// The administrator has forbidden io_uring to everyone.
    #[error(
        "{missing} is forbidden: kernel.io_uring_disabled is 2; run `sysctl kernel.io_uring_disabled=0`"
    )]
    DisabledForAll {
        /// What was asked for and refused.
        missing: &'static str,
    },
    /// The administrator has forbidden io_uring to processes outside one group.
    #[error(
        "{missing} is forbidden: kernel.io_uring_disabled is 1, and this process has neither CAP_SYS_ADMIN nor the \
         group in kernel.io_uring_group; join that group or run `sysctl kernel.io_uring_disabled=0`"
    )]
    DisabledForGroup {
        /// What was asked for and refused.
        missing: &'static str,
    },
    /// A filter on system calls forbids io_uring, as the default profiles of container engines do.
    #[error(
        "{missing} is forbidden by a filter on system calls, as in a container's default seccomp profile or under \
         SELinux; allow io_uring_setup, io_uring_enter and io_uring_register in the profile"
    )]
    Filtered {
        /// What was asked for and refused.
        missing: &'static str,
    },
    /// There is no memory for the queues or the kernel may not lock it.
    #[error(
        "no memory for {missing}: raise the limit on locked memory (`ulimit -l`) or the container's memory limit, or \
         ask for smaller queues"
    )]
    Memory {
        /// What was asked for and refused.
        missing: &'static str,
    },
    /// The process or the system has too many open files.
    #[error("no file descriptor for {missing}: raise the limit on open files (`ulimit -n`)")]
    Descriptors {
        /// What was asked for and refused.
        missing: &'static str,
    },
    /// The kernel is new enough and still does not know an operation.
    #[error(
        "{missing} is missing on Linux {release}, which should have it; use an unmodified kernel"
    )]
    Unsupported {
        /// What was asked for and refused.
        missing: &'static str,
        /// What the kernel calls itself.
        release: String,
    },
    /// Something else.
    #[error("{missing} failed on Linux {release}: {}; please report it", io::Error::from_raw_os_error(*.errno))]
    Other {
        /// What was asked for and refused.
        missing: &'static str,
        /// The system's error number.
        errno: i32,
        /// What the kernel calls itself.
        release: String,
    },
}

/// The surroundings in which something was refused: all that the reason is found from.
#[derive(Debug, Clone)]
pub(super) struct Surroundings {
    /// The value of `kernel.io_uring_disabled`, which exists since Linux 6.6.
    pub(super) disabled: Option<u8>,
    /// What the kernel calls itself.
    pub(super) release: String,
}

/// The first kernel that has `kernel.io_uring_disabled`, when it has io_uring at all.
const SYSCTL_SINCE: KernelVersion = KernelVersion { major: 6, minor: 6 };

impl Surroundings {
    /// Those of this process.
    pub(super) fn here() -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        Self {
            disabled: read("/proc/sys/kernel/io_uring_disabled")
                .trim()
                .parse()
                .ok(),
            release: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        }
    }

    /// Why `missing` was refused with `errno`.
    pub(super) fn explain(&self, missing: &'static str, errno: i32) -> Unavailable {
        let release = self.release.clone();
        let version = KernelVersion::parse(&release);
        let too_old = version.filter(|found| *found < KernelVersion::MIN);
        match (errno, too_old) {
            (libc::EPERM | libc::EACCES, _) => match self.disabled {
                Some(2) => Unavailable::DisabledForAll { missing },
                Some(1) => Unavailable::DisabledForGroup { missing },
                _ => Unavailable::Filtered { missing },
            },
            (libc::ENOMEM, _) => Unavailable::Memory { missing },
            (libc::EMFILE | libc::ENFILE, _) => Unavailable::Descriptors { missing },
            (libc::ENOSYS | libc::EINVAL | libc::EOPNOTSUPP, Some(found)) => {
                Unavailable::KernelTooOld { missing, found }
            }
            // A kernel with io_uring has the sysctl, so what pretends that there is no such call is a filter.
            (libc::ENOSYS, None) if self.disabled.is_some() => Unavailable::Filtered { missing },
            (libc::ENOSYS, None) if version.is_some_and(|version| version >= SYSCTL_SINCE) => {
                Unavailable::NotBuilt { missing }
            }
            (libc::ENOSYS, None) => Unavailable::Filtered { missing },
            (libc::EINVAL | libc::EOPNOTSUPP, None) => {
                Unavailable::Unsupported { missing, release }
            }
            _ => Unavailable::Other {
                missing,
                errno,
                release,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explain(errno: i32, disabled: Option<u8>, release: &str) -> (Unavailable, String) {
        let why = Surroundings {
            disabled,
            release: release.to_owned(),
        }
        .explain("io_uring_setup", errno);
        let text = why.to_string();
        (why, text)
    }

    const MISSING: &str = "io_uring_setup";

    #[test]
    fn a_kernels_release_is_read_as_far_as_it_matters() {
        let version = |major, minor| Some(KernelVersion { major, minor });
        assert_eq!(KernelVersion::parse("6.1.0-18-amd64\n"), version(6, 1));
        assert_eq!(KernelVersion::parse("5.15-rc3"), version(5, 15));
        assert_eq!(KernelVersion::parse("6.12"), version(6, 12));
        assert_eq!(KernelVersion::parse("linux"), None);
        assert_eq!(KernelVersion::parse(""), None);
    }

    #[test]
    fn the_sysctl_is_named_with_its_value() {
        let (why, text) = explain(libc::EPERM, Some(2), "6.12.1");
        assert_eq!(why, Unavailable::DisabledForAll { missing: MISSING });
        assert!(
            text.contains("kernel.io_uring_disabled is 2")
                && text.contains("sysctl kernel.io_uring_disabled=0")
        );
        let (why, text) = explain(libc::EPERM, Some(1), "6.12.1");
        assert_eq!(why, Unavailable::DisabledForGroup { missing: MISSING });
        assert!(text.contains("kernel.io_uring_group"));
    }

    #[test]
    fn a_refusal_that_the_sysctl_does_not_explain_is_a_filter() {
        for (errno, disabled, release) in [
            (libc::EPERM, Some(0), "6.12.1"),
            (libc::EPERM, None, "6.1.0"),
            (libc::EACCES, Some(0), "6.12.1"),
            (libc::ENOSYS, Some(0), "6.12.1"),
            (libc::ENOSYS, None, "6.2.0"),
        ] {
            let (why, text) = explain(errno, disabled, release);
            assert_eq!(
                why,
                Unavailable::Filtered { missing: MISSING },
                "{errno} {disabled:?} {release}"
            );
            assert!(text.contains("seccomp") && text.contains("allow io_uring_setup"));
        }
    }

    #[test]
    fn an_old_kernel_is_named_with_both_versions() {
        for errno in [libc::EINVAL, libc::ENOSYS] {
            let (why, text) = explain(errno, None, "5.15.0-91-generic");
            assert_eq!(
                why,
                Unavailable::KernelTooOld {
                    missing: MISSING,
                    found: KernelVersion {
                        major: 5,
                        minor: 15
                    }
                }
            );
            assert!(text.contains("5.15 is older than 6.1"), "{text}");
        }
    }

    #[test]
    fn a_kernel_without_io_uring_is_told_from_a_filter() {
        assert_eq!(
            explain(libc::ENOSYS, None, "6.6.0").0,
            Unavailable::NotBuilt { missing: MISSING }
        );
    }

    #[test]
    fn memory_descriptors_and_the_rest_have_their_own_words() {
        assert!(
            explain(libc::ENOMEM, Some(0), "6.1.0")
                .1
                .contains("ulimit -l")
        );
        assert!(
            explain(libc::EMFILE, Some(0), "6.1.0")
                .1
                .contains("ulimit -n")
        );
        assert!(matches!(
            explain(libc::EINVAL, Some(0), "6.9.1").0,
            Unavailable::Unsupported { .. }
        ));
        let (why, text) = explain(libc::EIO, Some(0), "6.9.1");
        assert!(matches!(
            why,
            Unavailable::Other {
                errno: libc::EIO,
                ..
            }
        ));
        assert!(text.contains("6.9.1"));
    }
}
