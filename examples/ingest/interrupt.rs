//! Ctrl-C and SIGTERM: the first asks for a clean end, the second ends at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Which signal has come, if any.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicUsize>);

impl Interrupt {
    /// Takes over SIGINT and SIGTERM for this process.
    pub fn install() -> io::Result<Self> {
        let signal = Arc::new(AtomicUsize::new(0));
        for number in [SIGINT, SIGTERM] {
            let armed = Arc::new(AtomicBool::new(false));
            // Handlers run in this order: a signal finds the switch still off when it comes for the first time.
            flag::register_conditional_shutdown(
                number,
                exit_status(number as usize).into(),
                armed.clone(),
            )?;
            flag::register(number, armed)?;
            flag::register_usize(number, signal.clone(), number as usize)?;
        }
        Ok(Interrupt(signal))
    }

    /// The exit status by which a shell tells that a signal ended the program, once one has come: 130 after Ctrl-C.
    pub fn status(&self) -> Option<u8> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            number => Some(exit_status(number)),
        }
    }
}

fn exit_status(signal: usize) -> u8 {
    // Signals number at most 64.
    u8::try_from(128 + signal).unwrap_or(u8::MAX)
}
