//! Consume, transform, publish: inputs whose ack waits for the confirms of their outputs.
//!
//! ```text
//!  handler ── AckAfter(receipt) ──▶ Ties of the output's Outlet ──confirm──▶ Acker ── Command ──▶ the input's worker
//! ```
//!
//! - **NEVER BEFORE**: an input is acked when the broker has acked every output that it was tied to, and requeued when one of them ended
//!   otherwise, or nobody will ever know how.
//! - **NOTHING IS STRANDED**: a tie that is dropped requeues its input, because its acker does.
//!
//! The answer is a command like any late answer's, so that it does not matter on which worker the input came. On the worker of the
//! output it leaves in the turn that brought the confirm.

use std::collections::VecDeque;

use smallvec::SmallVec;

use super::delivery::Acker;
use super::publisher::Receipt;

/// An input, and the receipts that its ack still waits for, beside the one whose outlet has the tie.
#[derive(Debug)]
pub(super) struct Tie {
    input: Acker,
    /// Looked at from the last to the first: mostly the last one to be published is the last one to be confirmed, and then the others
    /// are waited for no more.
    outputs: SmallVec<[Receipt; 1]>,
}

impl Tie {
    pub fn new(input: Acker, outputs: SmallVec<[Receipt; 1]>) -> Self {
        Tie { input, outputs }
    }

    /// Goes on from an output that has been acked, or has not: to the next one that is still under way, or to the end.
    pub fn go_on(mut self, mut is_acked: bool) {
        while is_acked {
            let Some(receipt) = self.outputs.pop() else {
                // A worker that has ended takes no answers: the broker delivers the input again.
                let _ = self.input.ack();
                return;
            };
            match receipt.tie(self) {
                Some(resolved) => (self, is_acked) = resolved,
                None => return,
            }
        }
        let _ = self.input.nack(true);
    }
}

/// The ties of one publisher, by the tags of its publishes: at most one for each that has no outcome.
#[derive(Debug, Default)]
pub(super) struct Ties(VecDeque<(u64, Tie)>);

impl Ties {
    pub fn insert(&mut self, tag: u64, tie: Tie) {
        // Mostly it is the last one, and then nothing moves.
        let at = self.0.partition_point(|(other, _)| *other <= tag);
        self.0.insert(at, (tag, tie));
    }

    /// The lowest tag that has a tie.
    pub fn first(&self) -> Option<u64> {
        self.0.front().map(|(tag, _)| *tag)
    }

    pub fn remove(&mut self, tag: u64) -> Option<Tie> {
        let at = self.0.binary_search_by_key(&tag, |(tag, _)| *tag).ok()?;
        self.0.remove(at).map(|(_, tie)| tie)
    }
}

#[cfg(test)]
mod tests;
