//! Asks the kernel what it can do, before anything depends on it.

use std::io;

use io_uring::{IoUring, Probe, opcode};

use super::chunks;
use super::ring::Ring;
use super::unavailable::{Surroundings, Unavailable};
use crate::driver::Options;

/// What the driver may use beyond what it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// Receive chunks can be filled bit by bit (`IOU_PBUF_RING_INC`, Linux 6.12).
    pub incremental: bool,
    /// A wait can gather completions (`IORING_FEAT_MIN_TIMEOUT`, Linux 6.12).
    pub gathers: bool,
}

/// Operations that the driver cannot do without.
const NEEDED: [(u8, &str); 6] = [
    (opcode::Connect::CODE, "IORING_OP_CONNECT"),
    (opcode::RecvMulti::CODE, "IORING_OP_RECV"),
    (opcode::Send::CODE, "IORING_OP_SEND"),
    (opcode::SendMsg::CODE, "IORING_OP_SENDMSG"),
    (opcode::PollAdd::CODE, "IORING_OP_POLL_ADD"),
    (opcode::AsyncCancel2::CODE, "IORING_OP_ASYNC_CANCEL"),
];

/// Whether io_uring can be used here, and what it offers. Makes a small ring for a moment.
///
/// # Errors
///
/// The first thing that is missing, why, and what to do.
pub fn probe() -> Result<Capabilities, Unavailable> {
    let smallest = Options {
        submissions: 1,
        completions: 2,
        ..Options::default()
    };
    let ring = Ring::new(&smallest).map_err(|error| explain(SETUP, &error))?;
    let gathers = ring.gathers();
    require(ring.inner())?;
    Ok(Capabilities {
        incremental: chunks::accepts_incremental(ring.into_inner()),
        gathers,
    })
}

/// What is named when no ring can be made: the flags are what an old kernel refuses.
pub(super) const SETUP: &str = "io_uring_setup with SINGLE_ISSUER and DEFER_TASKRUN";

/// What is named when the buffers cannot be registered.
pub(super) const BUFFER_RING: &str = "a ring of provided buffers (IORING_REGISTER_PBUF_RING)";

/// Checks that a ring can do all that the driver needs.
pub(super) fn require(ring: &IoUring) -> Result<(), Unavailable> {
    let unsupported = |missing| Surroundings::here().explain(missing, libc::EOPNOTSUPP);
    let parameters = ring.params();
    if !parameters.is_feature_ext_arg() {
        return Err(unsupported("IORING_FEAT_EXT_ARG"));
    }
    if !parameters.is_feature_nodrop() {
        return Err(unsupported("IORING_FEAT_NODROP"));
    }
    let mut probe = Probe::new();
    ring.submitter()
        .register_probe(&mut probe)
        .map_err(|error| explain("IORING_REGISTER_PROBE", &error))?;
    match NEEDED.iter().find(|(code, _)| !probe.is_supported(*code)) {
        Some((_, missing)) => Err(unsupported(missing)),
        None => Ok(()),
    }
}

pub(super) fn explain(missing: &'static str, error: &io::Error) -> Unavailable {
    Surroundings::here().explain(missing, error.raw_os_error().unwrap_or(libc::EIO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_what_it_says() {
        let capabilities = probe().unwrap();
        let driver = crate::driver::uring::UringDriver::new(&Options::default()).unwrap();
        let stats = crate::driver::Drive::stats(&driver);
        assert_eq!(
            (stats.incremental, stats.gathers),
            (capabilities.incremental, capabilities.gathers)
        );
    }

    /// Makes the kernel refuse `io_uring_setup` to the calling thread, as a container's profile does.
    fn forbid_io_uring() {
        let code = |class: u32| class as u16;
        let step = |class, k, jt, jf| libc::sock_filter {
            code: code(class),
            jt,
            jf,
            k,
        };
        let mut filter = [
            step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
            step(
                libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
                libc::SYS_io_uring_setup as u32,
                0,
                1,
            ),
            step(
                libc::BPF_RET | libc::BPF_K,
                libc::SECCOMP_RET_ERRNO | libc::EPERM as u32,
                0,
                0,
            ),
            step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0, 0),
        ];
        let program = libc::sock_fprog {
            len: filter.len() as u16,
            filter: filter.as_mut_ptr(),
        };
        // SAFETY: the program and its filter live until the calls return; the kernel copies them.
        unsafe {
            assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
            let set = libc::prctl(
                libc::PR_SET_SECCOMP,
                libc::SECCOMP_MODE_FILTER,
                &raw const program,
            );
            assert_eq!(set, 0, "{}", io::Error::last_os_error());
        }
    }

    #[test]
    fn a_seccomp_filter_is_named_as_the_reason() {
        let forbidden = std::thread::spawn(|| {
            forbid_io_uring();
            probe()
        });
        assert_eq!(
            forbidden.join().unwrap(),
            Err(Unavailable::Filtered { missing: SETUP })
        );
    }
}
