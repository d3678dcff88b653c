//! amqp-uring
pub mod buffer;
pub mod connection;
pub mod driver;
mod engine;
pub mod protocol;

pub use connection::{
    ChannelError, CloseReason, ConfirmCounts, ConnectionError, Outcome, Refused, Returned, Violation,
};
pub use engine::*;
pub use protocol::{
    DecodeError, EncodeError, FieldArray, FieldTable, Properties, PropertiesBuilder, PropertiesRef, ReplyCode, ShortStr, Value,
};
