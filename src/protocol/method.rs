//! What holds for every method alike; the methods themselves are in [`spec`](super::spec).

use super::error::DecodeError;
use super::frame::{FrameKind, encode_frame_into};
use super::spec::{Method, basic};
use super::wire::Reader;

/// The type of an argument or property on the wire (4.2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WireType {
    /// One bit; neighbours share an octet.
    Bit,
    /// An unsigned 8-bit integer.
    Octet,
    /// An unsigned 16-bit integer.
    Short,
    /// An unsigned 32-bit integer.
    Long,
    /// An unsigned 64-bit integer.
    LongLong,
    /// At most 255 octets.
    ShortStr,
    /// Octets behind a 32-bit length.
    LongStr,
    /// Seconds since 1970, 64 bits.
    Timestamp,
    /// A field table.
    Table,
}

impl WireType {
    /// The name in the specification.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bit => "bit",
            Self::Octet => "octet",
            Self::Short => "short",
            Self::Long => "long",
            Self::LongLong => "longlong",
            Self::ShortStr => "shortstr",
            Self::LongStr => "longstr",
            Self::Timestamp => "timestamp",
            Self::Table => "table",
        }
    }
}

/// An argument of a method, or a property of a class. Names are the specification's, with `_` for `-`, and `type_` for
/// `type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldSpec {
    /// Its name.
    pub name: &'static str,
    /// Its domain; the name of the wire type where it has no domain of its own.
    pub domain: &'static str,
    /// The type of the domain.
    pub wire_type: WireType,
    /// Whether it is sent as zero or empty, and not looked at.
    pub reserved: bool,
}

/// A method as the specification describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MethodSpec {
    /// Name of the class.
    pub class: &'static str,
    /// Id of the class.
    pub class_id: u16,
    /// Name of the method within its class, such as `get-ok`.
    pub method: &'static str,
    /// Id of the method within its class.
    pub method_id: u16,
    /// Full name, such as `basic.get-ok`.
    pub name: &'static str,
    /// Methods of the same class that answer this one.
    pub replies: &'static [&'static str],
    /// Arguments in the order on the wire.
    pub fields: &'static [FieldSpec],
    pub(super) flags: u8,
}

impl MethodSpec {
    /// Whether a client may send it.
    pub const fn to_server(&self) -> bool {
        self.flags & flag!(to_server) != 0
    }

    /// Whether a server may send it.
    pub const fn to_client(&self) -> bool {
        self.flags & flag!(to_client) != 0
    }

    /// Whether it waits for an answer or is one, as the specification marks it.
    pub const fn is_synchronous(&self) -> bool {
        self.flags & flag!(sync) != 0
    }

    /// Whether a content header and body follow.
    pub const fn has_content(&self) -> bool {
        self.flags & flag!(content) != 0
    }
}

impl<'a> Method<'a> {
    /// Decodes the payload of a method frame.
    ///
    /// # Errors
    /// An unknown class or method, the field that is cut short, octets left over after the last field, or what is wrong
    /// within a table. Strings are not checked for UTF-8.
    #[inline]
    pub fn decode(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let class_id = reader.short("class id")?;
        let method_id = reader.short("method id")?;
        // These two make up nearly all methods that come in; the rest need not be inlined.
        let method = match (class_id, method_id) {
            (basic::CLASS_ID, basic::Deliver::METHOD_ID) => {
                Self::BasicDeliver(basic::Deliver::decode_arguments(&mut reader)?)
            }
            (basic::CLASS_ID, basic::Ack::METHOD_ID) => {
                Self::BasicAck(basic::Ack::decode_arguments(&mut reader)?)
            }
            _ => Self::decode_by_id(class_id, method_id, &mut reader)?,
        };
        if reader.is_empty() {
            Ok(method)
        } else {
            Err(left_over(&method, &reader))
        }
    }

    /// Appends a whole method frame.
    #[inline]
    pub fn encode_frame(&self, channel: u16, out: &mut Vec<u8>) {
        encode_frame_into(out, FrameKind::Method, channel, |out| self.encode(out));
    }

    /// Full name, such as `basic.deliver`.
    pub const fn name(&self) -> &'static str {
        self.spec().name
    }

    /// Class id and method id.
    pub const fn id(&self) -> (u16, u16) {
        let spec = self.spec();
        (spec.class_id, spec.method_id)
    }

    /// Whether a content header and body follow.
    pub const fn has_content(&self) -> bool {
        self.spec().has_content()
    }
}

#[cold]
fn left_over(method: &Method<'_>, reader: &Reader<'_>) -> DecodeError {
    DecodeError::TrailingOctets {
        after: method.name(),
        offset: reader.offset(),
        count: reader.rest().len(),
    }
}
