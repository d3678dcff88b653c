//! The tag that goes with each operation into the kernel and comes back with its completions.

use io_uring::cqueue;

/// What a completion belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    /// The poll of the waker's event descriptor.
    Wake,
    /// The cancelling of everything, when the driver is dropped.
    CancelAll,
    /// An operation on the link in this slot. The slot is not used again before its last completion, so that the
    /// slot says all.
    Connect(u32),
    Receive(u32),
    Send(u32),
    Cancel(u32),
    /// The cancelling of the receive alone.
    Pause(u32),
}

impl Operation {
    pub(super) const fn tag(self) -> u64 {
        let (kind, slot) = match self {
            Self::Wake => (0, 0),
            Self::CancelAll => (1, 0),
            Self::Connect(slot) => (2, slot),
            Self::Receive(slot) => (3, slot),
            Self::Send(slot) => (4, slot),
            Self::Cancel(slot) => (5, slot),
            Self::Pause(slot) => (6, slot),
        };
        (kind << 32) | slot as u64
    }

    pub(super) const fn from_tag(tag: u64) -> Option<Self> {
        let slot = tag as u32;
        match tag >> 32 {
            0 => Some(Self::Wake),
            1 => Some(Self::CancelAll),
            2 => Some(Self::Connect(slot)),
            3 => Some(Self::Receive(slot)),
            4 => Some(Self::Send(slot)),
            5 => Some(Self::Cancel(slot)),
            6 => Some(Self::Pause(slot)),
            _ => None,
        }
    }
}

/// A completion, taken out of the kernel's queue.
#[derive(Debug, Clone, Copy)]
pub(super) struct Completion {
    pub(super) tag: u64,
    /// Octets moved, or an error number below zero.
    pub(super) result: i32,
    flags: u32,
}

impl Completion {
    /// Whether the operation is over. One completion of each operation says so.
    pub(super) fn is_last(&self) -> bool {
        !cqueue::more(self.flags)
    }

    /// The chunk that was used, if one was.
    pub(super) fn chunk(&self) -> Option<u16> {
        cqueue::buffer_select(self.flags)
    }
}

impl From<cqueue::Entry> for Completion {
    fn from(entry: cqueue::Entry) -> Self {
        Self {
            tag: entry.user_data(),
            result: entry.result(),
            flags: entry.flags(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_comes_back_as_itself() {
        let slot = u32::MAX;
        for operation in [
            Operation::Wake,
            Operation::CancelAll,
            Operation::Connect(slot),
            Operation::Receive(0),
            Operation::Send(7),
            Operation::Cancel(slot),
            Operation::Pause(slot),
        ] {
            assert_eq!(Operation::from_tag(operation.tag()), Some(operation));
        }
        assert_eq!(Operation::from_tag(u64::MAX), None);
    }
}
