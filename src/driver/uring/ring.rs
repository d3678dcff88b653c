//! The two queues shared with the kernel, and the one system call.

use std::io;
use std::time::{Duration, Instant};

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{IoUring, squeue};

use super::operation::Completion;
use crate::driver::Options;

/// How long an enter may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// Submit and collect; do not sleep.
    No,
    /// Sleep until there is a completion.
    Forever,
    /// Sleep until there is a completion or this moment passes.
    Until(Instant),
}

/// A ring, and how many operations the kernel has on hand.
pub(super) struct Ring {
    inner: IoUring,
    /// Operations pushed whose last completion has not been collected. While it is not 0, the kernel may use memory
    /// that operations name.
    in_flight: usize,
    enters: u64,
    /// Gather completions for this long; zero when the kernel cannot or nobody wants it.
    gather: Duration,
}

impl Ring {
    /// More completions than this end the gathering of a latency budget at once.
    const GATHERED_MAX: usize = 1024;

    /// A ring for the calling thread only: the kernel runs completions in its enters and nowhere else.
    pub(super) fn new(options: &Options) -> io::Result<Self> {
        let submissions = options.submissions.max(1);
        let inner = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            // Tells whether a turn that does not wait needs the system call at all.
            .setup_taskrun_flag()
            // One bad entry does not keep those behind it from being submitted.
            .setup_submit_all()
            .setup_clamp()
            .setup_cqsize(options.completions.max(submissions.saturating_mul(2)))
            .build(submissions)?;
        Ok(Self {
            inner,
            in_flight: 0,
            enters: 0,
            gather: Duration::ZERO,
        })
    }

    pub(super) fn inner(&self) -> &IoUring {
        &self.inner
    }

    /// The ring without its counts: for a ring that was never used.
    pub(super) fn into_inner(self) -> IoUring {
        self.inner
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(super) fn enters(&self) -> u64 {
        self.enters
    }

    pub(super) fn gathers(&self) -> bool {
        self.inner.params().is_feature_min_timeout()
    }

    pub(super) fn set_gather(&mut self, gather: Duration) {
        if self.gathers() {
            self.gather = gather.min(Duration::from_secs(1));
        }
    }

    /// Puts an operation into the submission queue; when that is full, submits first. False says that there is no room
    /// now: collect completions and try again.
    ///
    /// # Safety
    ///
    /// All memory and descriptors that `entry` names stay valid until its last completion has been collected.
    pub(super) unsafe fn push(&mut self, entry: &squeue::Entry) -> Result<bool, io::Error> {
        // SAFETY: passed on to the caller.
        if unsafe { self.inner.submission().push(entry) }.is_err() {
            self.enter(Wait::No)?;
            // SAFETY: passed on to the caller.
            if unsafe { self.inner.submission().push(entry) }.is_err() {
                return Ok(false);
            }
        }
        self.in_flight += 1;
        Ok(true)
    }

    /// Submits what is queued, and waits. No system call is made when there is nothing to submit, nothing to run and no
    /// wish to wait.
    pub(super) fn enter(&mut self, wait: Wait) -> io::Result<()> {
        let timeout = match wait {
            Wait::No => Some(Duration::ZERO),
            Wait::Forever => None,
            Wait::Until(deadline) => Some(deadline.saturating_duration_since(Instant::now())),
        };
        let sleeps = timeout != Some(Duration::ZERO);
        if !sleeps {
            let queue = self.inner.submission();
            if queue.is_empty() && !queue.taskrun() && !queue.cq_overflow() {
                return Ok(());
            }
        }
        self.enters += 1;
        let timespec = timeout.map(Timespec::from).unwrap_or_default();
        let mut args = SubmitArgs::new();
        if sleeps && timeout.is_some() {
            args = args.timespec(&timespec);
        }
        // The kernel looks at the timeout only after the gathering, so that the gathering must not outlast it.
        let gather = self.gather.min(timeout.unwrap_or(Duration::MAX));
        let wanted = match (sleeps, gather.is_zero()) {
            (false, _) => 0,
            (true, true) => 1,
            (true, false) => {
                args = args.min_wait_usec(gather.as_micros().min(1_000_000) as u32);
                Self::GATHERED_MAX
            }
        };
        match self.inner.submitter().submit_with_args(wanted, &args) {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                // The timeout, a signal, or a kernel that wants its completions collected or has no memory just now:
                // the next turn goes on.
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// Has the kernel signal an event descriptor while the signal is armed; it is not at first.
    #[cfg(feature = "tokio-uring")]
    pub(super) fn signal(&mut self, event: std::os::fd::RawFd) -> io::Result<()> {
        self.disarm_signal();
        self.inner.submitter().register_eventfd(event)
    }

    /// Arms the signal. False when there is something to collect already, for which no signal may come.
    #[cfg(feature = "tokio-uring")]
    pub(super) fn arm_signal(&mut self) -> bool {
        self.inner.completion().enable_eventfd();
        // The arming must stand before the look, for the kernel too (T1).
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        let submissions = self.inner.submission();
        let has_work = submissions.taskrun() || submissions.cq_overflow();
        drop(submissions);
        !has_work && self.inner.completion().is_empty()
    }

    /// Keeps completions that are collected anyway from being signalled.
    #[cfg(feature = "tokio-uring")]
    pub(super) fn disarm_signal(&mut self) {
        self.inner.completion().disable_eventfd();
    }

    /// Takes all completions out of the queue.
    pub(super) fn collect(&mut self, completions: &mut Vec<Completion>) {
        let mut queue = self.inner.completion();
        loop {
            completions.extend(queue.by_ref().map(Completion::from));
            queue.sync();
            if queue.is_empty() {
                break;
            }
        }
        drop(queue);
        let over = completions
            .iter()
            .filter(|completion| completion.is_last())
            .count();
        self.in_flight = self.in_flight.saturating_sub(over);
    }
}
