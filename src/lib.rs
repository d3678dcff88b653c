#![doc = include_str!("../README.md")]
//!
//! # Map
//!
//! A layer uses those above it in this list and never those below; `tests/layers.rs` checks it.
//!
//! | module | what lives there |
//! |---|---|
//! | [`protocol`] | frames, methods, properties, field tables: bytes to borrowed values and back |
//! | [`connection`] | one AMQP connection as a state machine without I/O and without a clock |
//! | [`buffer`] | receive chunks and their views, send segments |
//! | [`driver`] | how bytes move: io_uring, epoll, a tokio-uring runtime, or a simulated world |
//! | `engine` (re-exported here) | workers, consumers, publishers, topology: what a user holds |
//! | `broker` (feature `broker`) | an AMQP broker inside the process, for tests |

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
compile_error!("amqp-uring runs on Linux on x86_64 only: it is built on io_uring");

#[cfg(feature = "broker")]
pub mod broker;
pub mod buffer;
pub mod connection;
pub mod driver;
mod engine;
pub mod protocol;

pub use connection::{
    ChannelError, CloseReason, ConfirmCounts, ConnectionError, Outcome, Refused, Returned,
    Violation,
};
pub use driver::Driver;
#[cfg(feature = "tokio-uring")]
pub use engine::LocalWorker;
pub use engine::{
    Acker, Batch, BatchDelivery, BatchPolicy, Binding, CALL_TIMEOUT_DEFAULT,
    CONNECT_TIMEOUT_DEFAULT, Call, CallFuture, CancelReason, ConfirmReport, ConnectCause,
    ConnectFailure, Consumer, ConsumerBuilder, ConsumerState, DeleteIf, Deliveries, Delivery,
    DetachedBatch, DetachedDelivery, Disposition, Engine, EngineBuilder, EngineStats, Error, Event,
    Exchange, HEARTBEAT_DEFAULT, IN_FLIGHT_DEFAULT, Message, Node, PORT_DEFAULT, PREFETCH_DEFAULT,
    Payload, Publisher, PublisherOptions, Queue, QueueInfo, Receipt, UNCOPIED_BODY_OCTETS_MIN,
    UnconfirmedPublisher, WORKERS_MAX, WorkerStats,
};
/// Re-exported from `futures-core`: what [`Deliveries`] are.
pub use futures_util::Stream;
pub use protocol::{
    DecodeError, EncodeError, FieldArray, FieldTable, Properties, PropertiesBuilder, PropertiesRef,
    ReplyCode, ShortStr, Value,
};
