//! The sessions, by theme. Each uses queues and exchanges of its own, as they run side by side, and leaves none behind.

pub mod acks;
pub mod consumers;
pub mod dead_letters;
pub mod exchanges;
pub mod frames;
pub mod handshake;
pub mod headers;
pub mod publishing;
pub mod queue_arguments;
pub mod queues;
pub mod reply_to;
pub mod routing;
pub mod states;
pub mod transactions;
