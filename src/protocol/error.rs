//! What can be wrong with octets that came in, and with values that are to go out.
//!
//! Errors are small values without allocation. They name the field, and the offset counted from the first octet of the
//! payload (or table) that was handed to the decoder.

use super::constants::ReplyCode;

/// Why octets are not valid AMQP 0-9-1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The first octet of a frame is none of the four frame types (4.2.3).
    #[error("frame type octet is {found}, expected 1, 2, 3 or 8")]
    FrameKind {
        /// The octet that came.
        found: u8,
    },
    /// A frame announces more payload than the negotiated `frame_max` leaves room for (4.2.3).
    #[error("frame payload of {size} octets announced, at most {limit} allowed")]
    FrameTooLarge {
        /// Announced payload size in octets.
        size: u32,
        /// Largest allowed payload size in octets: `frame_max` less [`FRAME_OVERHEAD`](super::FRAME_OVERHEAD).
        limit: u32,
    },
    /// The octet after the payload is not the frame end, 206 (4.2.3).
    #[error("frame end octet is {found}, expected 206 after {size} octets of payload")]
    FrameEnd {
        /// The octet that came.
        found: u8,
        /// Payload size in octets that the frame announced.
        size: u32,
    },
    /// The peer answered with a protocol header instead of a frame: it does not speak the version that was asked for
    /// (4.2.2).
    #[error(
        "peer sent protocol header {octets:?} instead of a frame: it refuses this protocol version"
    )]
    ProtocolHeader {
        /// The eight octets: `AMQP`, then the version that the peer speaks.
        octets: [u8; 8],
    },
    /// The octets end within a field.
    #[error("{field} at offset {offset} needs {needed} octets, {available} are left")]
    Truncated {
        /// The field.
        field: &'static str,
        /// Where the missing part was looked for.
        offset: usize,
        /// Octets wanted there.
        needed: usize,
        /// Octets that are there.
        available: usize,
    },
    /// Octets are left over after the last field.
    #[error("{count} octets left over at offset {offset}, after the last field of {after}")]
    TrailingOctets {
        /// What was decoded.
        after: &'static str,
        /// Where the first surplus octet stands.
        offset: usize,
        /// How many there are.
        count: usize,
    },
    /// No class has this id.
    #[error("no class has the id {class_id} (method id {method_id})")]
    UnknownClass {
        /// The class id that came.
        class_id: u16,
        /// The method id that came with it.
        method_id: u16,
    },
    /// The class has no method with this id.
    #[error("class {class_id} has no method with the id {method_id}")]
    UnknownMethod {
        /// The class id that came.
        class_id: u16,
        /// The method id that came.
        method_id: u16,
    },
    /// Text was asked for, and the octets are not UTF-8.
    #[error("{field} is not UTF-8 at its octet {offset}")]
    NotUtf8 {
        /// The type of the string.
        field: &'static str,
        /// Offset within the string of the first octet that is not valid.
        offset: usize,
    },
    /// A table or array holds a value with an unknown type octet.
    #[error("table value at offset {offset} has the unknown type octet {found}")]
    ValueType {
        /// The octet that came.
        found: u8,
        /// Where it stands.
        offset: usize,
    },
    /// Tables and arrays are nested deeper than [`TABLE_DEPTH_MAX`](super::TABLE_DEPTH_MAX).
    #[error("tables nested deeper than {limit} at offset {offset}")]
    TableTooDeep {
        /// The deepest nesting allowed.
        limit: usize,
        /// Where the table begins that is one too deep.
        offset: usize,
    },
    /// A content header is for a class that carries no content; only `basic` (60) does (4.2.6.1).
    #[error("content header for class {found}, expected 60 (basic)")]
    ContentClass {
        /// The class id that came.
        found: u16,
    },
    /// The weight of a content header is not zero (4.2.6.1).
    #[error("content header weight is {found}, expected 0")]
    ContentWeight {
        /// The weight that came.
        found: u16,
    },
    /// Property flags are set that belong to no property of `basic` (4.2.6.1).
    #[error("property flags {found:#06x} have bits set that name no property")]
    PropertyFlags {
        /// The sixteen flags that came.
        found: u16,
    },
}

impl DecodeError {
    /// The code with which `connection.close` tells the peer what it did wrong.
    ///
    /// A [`ProtocolHeader`](Self::ProtocolHeader) cannot be answered at all: the peer closes the socket after it.
    pub const fn reply_code(&self) -> ReplyCode {
        match self {
            Self::FrameKind { .. }
            | Self::FrameTooLarge { .. }
            | Self::FrameEnd { .. }
            | Self::ProtocolHeader { .. }
            | Self::ContentClass { .. }
            | Self::ContentWeight { .. } => ReplyCode::FrameError,
            Self::UnknownClass { .. } | Self::UnknownMethod { .. } => ReplyCode::NotImplemented,
            Self::Truncated { .. }
            | Self::TrailingOctets { .. }
            | Self::NotUtf8 { .. }
            | Self::ValueType { .. }
            | Self::TableTooDeep { .. }
            | Self::PropertyFlags { .. } => ReplyCode::SyntaxError,
        }
    }
}

/// Why a value cannot be put on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A string, byte array or table is longer than its length prefix can say.
    #[error("{what} of {length} octets, at most {limit} allowed")]
    TooLong {
        /// The type of the value.
        what: &'static str,
        /// Its length in octets.
        length: usize,
        /// The longest that can be sent, in octets.
        limit: usize,
    },
    /// The encoded octets that were handed in are not valid: a borrowed table that is malformed or nested too deeply.
    #[error("value is not valid AMQP: {0}")]
    Malformed(#[from] DecodeError),
}
