//! Plain numbers that name things of the broker, so that no part holds another one.

/// A queue of a virtual host. Used again after the queue is gone: whoever keeps one hears of the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct QueueId(pub u32);

/// A connection to the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SessionId(pub u32);

/// A consumer: its connection, its channel, and its place there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ConsumerId {
    pub session: SessionId,
    pub channel: u16,
    pub consumer: u32,
}
