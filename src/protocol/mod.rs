//! AMQP 0-9-1 on the wire: octets to borrowed values, and values to octets.
//!
//! ```text
//! octets -> Frame::decode -> Method::decode         (kind 1: ids and arguments)
//!                         -> ContentHeader::decode  (kind 2: body size and properties)
//!                         -> the payload itself     (kind 3: a piece of a body)
//! ```
//!
//! | file | what lives there |
//! |---|---|
//! | `frame` | the envelope of everything |
//! | `spec` | the one table of classes and methods; `generate` makes types of it, `method` holds what they share |
//! | `properties` | content headers and message properties |
//! | `table`, `value`, `field_table` | field tables: borrowed, their values, owned |
//! | `types`, `wire` | strings, and the cursors that read and write all types |
//! | `constants`, `error` | reply codes, and what can be wrong |
//!
//! It may touch `bytes` and nothing else: no I/O, no clock. It keeps these invariants:
//!
//! - No octets, however malformed, make it panic, overflow the stack or allocate. Errors name the field and the offset.
//! - Decoding never allocates; encoding appends to a `Vec<u8>` and cannot fail, because limits are checked where values
//!   are made.
//! - What is not asked for is not decoded: tables in properties, and text (UTF-8) anywhere.

#![forbid(unsafe_code)]

#[macro_use]
mod generate;

mod constants;
mod error;
mod field_table;
mod frame;
mod method;
mod properties;
mod spec;
mod table;
mod types;
mod value;
mod wire;

pub use constants::ReplyCode;
pub use error::{DecodeError, EncodeError};
pub use field_table::{FieldArray, FieldTable};
pub use frame::{
    Decoded, FRAME_END, FRAME_HEAD, FRAME_MIN_SIZE, FRAME_OVERHEAD, Frame, FrameKind,
    PROTOCOL_HEADER, encode_frame_into, encode_heartbeat, frame_head,
};
pub use method::{FieldSpec, MethodSpec, WireType};
pub use properties::{ContentHeader, PROPERTIES, Properties, PropertiesBuilder, PropertiesRef};
pub use spec::{METHODS, Method, basic, channel, confirm, connection, exchange, queue, tx};
pub use table::{Array, ArrayIter, TABLE_DEPTH_MAX, Table, TableIter};
pub use types::{LONG_STR_MAX, LongStr, SHORT_STR_MAX, ShortStr};
pub use value::{Decimal, Value};
pub use wire::Reader;
