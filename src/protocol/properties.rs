//! Content headers and the properties of a message (4.2.6.1).
//!
//! ```text
//! 0          2        4           12      14
//! +----------+--------+-----------+-------+----------------+
//! | class id | weight | body size | flags | property list  |
//! | 2        | 2, 0   | 8         | 2     | those flagged  |
//! +----------+--------+-----------+-------+----------------+
//! ```
//!
//! The highest flag bit stands for the first property. A property is found by skipping those before it, when somebody
//! asks; a delivery whose properties nobody reads pays for none.

use core::fmt;

use bytes::Bytes;

use super::error::{DecodeError, EncodeError};
use super::method::{FieldSpec, WireType};
use super::spec::basic;
use super::table::Table;
use super::types::ShortStr;
use super::wire::Reader;

/// Octets of a content header before the property list.
const HEADER_HEAD: usize = 14;

/// How many properties `basic` has.
const COUNT: usize = 14;

/// The flag of the property at this index.
const fn flag_of(index: usize) -> u16 {
    0x8000 >> index
}

/// Flag bits that stand for no property: 1, and 0, which would announce more flags.
const FLAGS_UNKNOWN: u16 = 0b11;

macro_rules! properties {
    ($($(#[$doc:meta])* $index:literal $name:ident $wire:ident($read:ident) $type:ty, $spec_name:literal;)*) => {
        /// The properties of class `basic`, in the order on the wire. RabbitMQ calls the reserved last one `cluster_id`.
        pub const PROPERTIES: [FieldSpec; COUNT] = [$(FieldSpec {
            name: $spec_name,
            domain: stringify!($wire),
            wire_type: wire_type!($wire),
            reserved: false,
        }),*];

        impl<'a> PropertiesRef<'a> {
            $(
                $(#[$doc])*
                ///
                /// # Errors
                /// [`DecodeError::Truncated`] when this property, or one before it, is cut short.
                pub fn $name(&self) -> Result<Option<$type>, DecodeError> {
                    match self.locate($index)? {
                        Some(mut reader) => reader.$read(stringify!($name)).map(Some),
                        None => Ok(None),
                    }
                }
            )*
        }

        impl fmt::Debug for PropertiesRef<'_> {
            /// Shows the properties that are set.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut shown = f.debug_struct("Properties");
                $(match self.$name() {
                    Ok(Some(value)) => { shown.field(stringify!($name), &value); }
                    Ok(None) => {}
                    Err(error) => { shown.field(stringify!($name), &error); }
                })*
                shown.finish()
            }
        }
    };
}

properties! {
    /// MIME type of the body.
    0 content_type shortstr(shortstr) ShortStr<'a>, "content_type";
    /// Encoding of the body, such as `gzip`.
    1 content_encoding shortstr(shortstr) ShortStr<'a>, "content_encoding";
    /// The user's own fields, which headers exchanges route by. The inside is looked at while it is walked through.
    2 headers table(table) Table<'a>, "headers";
    /// 2 for a persistent message, 1 for a transient one.
    3 delivery_mode octet(octet) u8, "delivery_mode";
    /// Priority, the higher the earlier.
    4 priority octet(octet) u8, "priority";
    /// What joins an answer to its question.
    5 correlation_id shortstr(shortstr) ShortStr<'a>, "correlation_id";
    /// The queue that an answer should go to.
    6 reply_to shortstr(shortstr) ShortStr<'a>, "reply_to";
    /// Time to live in milliseconds, as decimal digits.
    7 expiration shortstr(shortstr) ShortStr<'a>, "expiration";
    /// The publisher's name for the message.
    8 message_id shortstr(shortstr) ShortStr<'a>, "message_id";
    /// Seconds since 1970-01-01 00:00 UTC.
    9 timestamp timestamp(longlong) u64, "timestamp";
    /// The publisher's name for the kind of message.
    10 type_ shortstr(shortstr) ShortStr<'a>, "type";
    /// The user that published it, which the broker verifies.
    11 user_id shortstr(shortstr) ShortStr<'a>, "user_id";
    /// The application that published it.
    12 app_id shortstr(shortstr) ShortStr<'a>, "app_id";
    /// Reserved; not for use.
    13 cluster_id shortstr(shortstr) ShortStr<'a>, "reserved";
}

/// The properties of a message, borrowed from its content header.
///
/// The list may be anything until [`validate`](Self::validate) has passed; getters report what is wrong.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct PropertiesRef<'a> {
    flags: u16,
    list: &'a [u8],
}

impl<'a> PropertiesRef<'a> {
    /// Reads flags and list as they stand at the end of a content header.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] without two octets of flags, [`DecodeError::PropertyFlags`] for flags of no property.
    #[inline]
    pub fn decode(octets: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(octets);
        let flags = reader.short("property flags")?;
        if flags & FLAGS_UNKNOWN != 0 {
            return Err(DecodeError::PropertyFlags { found: flags });
        }
        Ok(Self {
            flags,
            list: reader.rest(),
        })
    }

    /// The flags, and the list of the properties that they name.
    #[inline]
    pub(crate) const fn parts(self) -> (u16, &'a [u8]) {
        (self.flags, self.list)
    }

    /// Puts what [`PropertiesRef::parts`] gave together again.
    #[inline]
    pub(crate) const fn from_parts(flags: u16, list: &'a [u8]) -> Self {
        Self { flags, list }
    }

    /// Whether no property is set.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.flags == 0
    }

    /// Checks every property that is set, the headers to their deepest table, and that nothing comes after the last.
    /// Offsets in errors count from the first octet of the list.
    ///
    /// # Errors
    /// What is wrong and where.
    pub fn validate(&self) -> Result<(), DecodeError> {
        let mut reader = Reader::new(self.list);
        for (index, property) in PROPERTIES.iter().enumerate() {
            if self.flags & flag_of(index) == 0 {
                continue;
            }
            if property.wire_type == WireType::Table {
                reader.table(property.name)?.validate_within(&reader)?;
            } else {
                skip(&mut reader, property)?;
            }
        }
        reader.finish("content header")
    }

    /// Appends the flags and the list.
    #[inline]
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.flags.to_be_bytes());
        out.extend_from_slice(self.list);
    }

    /// A builder that begins with these properties, to pass a message on with some of them changed.
    ///
    /// # Errors
    /// What [`validate`](Self::validate) finds.
    pub fn to_builder(&self) -> Result<PropertiesBuilder, DecodeError> {
        self.validate()?;
        let mut builder = PropertiesBuilder::default();
        let mut reader = Reader::new(self.list);
        for (index, (value, property)) in builder.values.iter_mut().zip(&PROPERTIES).enumerate() {
            if self.flags & flag_of(index) != 0 {
                let (start, before) = (reader.rest(), reader.offset());
                skip(&mut reader, property)?;
                value.extend(start.iter().take(reader.offset() - before));
            }
        }
        builder.flags = self.flags;
        Ok(builder)
    }

    /// A cursor at the property with this index; `None` when it is not set.
    #[inline]
    fn locate(&self, index: usize) -> Result<Option<Reader<'a>>, DecodeError> {
        let flag = flag_of(index);
        if self.flags & flag == 0 {
            return Ok(None);
        }
        let mut reader = Reader::new(self.list);
        // Flags above this one stand for the properties before it.
        if self.flags > (flag | (flag - 1)) {
            for (before, property) in PROPERTIES.iter().enumerate().take(index) {
                if self.flags & flag_of(before) != 0 {
                    skip(&mut reader, property)?;
                }
            }
        }
        Ok(Some(reader))
    }
}

/// Leaves a property behind without a look at it.
fn skip(reader: &mut Reader<'_>, property: &FieldSpec) -> Result<(), DecodeError> {
    match property.wire_type {
        WireType::ShortStr => reader.shortstr(property.name).map(drop),
        WireType::Octet | WireType::Bit => reader.octet(property.name).map(drop),
        WireType::Short => reader.short(property.name).map(drop),
        WireType::Long => reader.long(property.name).map(drop),
        WireType::LongLong | WireType::Timestamp => reader.longlong(property.name).map(drop),
        WireType::LongStr | WireType::Table => reader.longstr(property.name).map(drop),
    }
}

/// A content header: what comes between a method with content and its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentHeader<'a> {
    /// Id of the class of the method before it: always `basic`, 60.
    pub class_id: u16,
    /// Octets of the body, over all body frames.
    pub body_size: u64,
    /// The properties.
    pub properties: PropertiesRef<'a>,
}

impl<'a> ContentHeader<'a> {
    /// A content header of class `basic`.
    #[inline]
    pub const fn new(body_size: u64, properties: PropertiesRef<'a>) -> Self {
        Self {
            class_id: basic::CLASS_ID,
            body_size,
            properties,
        }
    }

    /// Decodes the payload of a header frame. The property list is looked at only when somebody asks for a property.
    ///
    /// # Errors
    /// A class other than `basic`, a weight other than 0, flags of no property, or too few octets.
    #[inline]
    pub fn decode(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let Some((head, list)) = payload.split_first_chunk::<HEADER_HEAD>() else {
            return Err(truncated(payload));
        };
        let &[c0, c1, w0, w1, b0, b1, b2, b3, b4, b5, b6, b7, f0, f1] = head;
        let class_id = u16::from_be_bytes([c0, c1]);
        let weight = u16::from_be_bytes([w0, w1]);
        let body_size = u64::from_be_bytes([b0, b1, b2, b3, b4, b5, b6, b7]);
        let flags = u16::from_be_bytes([f0, f1]);
        if class_id != basic::CLASS_ID {
            return Err(DecodeError::ContentClass { found: class_id });
        }
        if weight != 0 {
            return Err(DecodeError::ContentWeight { found: weight });
        }
        if flags & FLAGS_UNKNOWN != 0 {
            return Err(DecodeError::PropertyFlags { found: flags });
        }
        Ok(Self {
            class_id,
            body_size,
            properties: PropertiesRef { flags, list },
        })
    }

    /// Appends the payload of a header frame.
    #[inline]
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.class_id.to_be_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&self.body_size.to_be_bytes());
        self.properties.encode(out);
    }
}

#[cold]
fn truncated(payload: &[u8]) -> DecodeError {
    DecodeError::Truncated {
        field: "content header",
        offset: 0,
        needed: HEADER_HEAD,
        available: payload.len(),
    }
}

/// Owned properties, encoded once and cheap to clone: publishing the same properties again copies a few octets.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Properties {
    /// Flags and list. Invariant: what [`PropertiesRef::validate`] accepts.
    encoded: Bytes,
}

impl Properties {
    /// No properties; the same as `default()`.
    pub const fn empty() -> Self {
        Self {
            encoded: Bytes::from_static(&[0, 0]),
        }
    }

    /// Delivery mode 2 and nothing else. Does not allocate.
    pub const fn persistent() -> Self {
        Self {
            encoded: Bytes::from_static(&[0x10, 0x00, 2]),
        }
    }

    /// Begins with no properties; see [`PropertiesBuilder`](super::PropertiesBuilder).
    pub fn builder() -> super::PropertiesBuilder {
        super::PropertiesBuilder::default()
    }

    /// Flags and list, as they stand at the end of a content header.
    #[inline]
    pub fn encoded(&self) -> &[u8] {
        &self.encoded
    }

    /// The properties, to be read.
    #[inline]
    pub fn as_ref(&self) -> PropertiesRef<'_> {
        PropertiesRef::decode(&self.encoded).unwrap_or_default()
    }
}

impl Default for Properties {
    fn default() -> Self {
        Self::empty()
    }
}

/// Copies the properties after checking them, so that they can be kept or published again.
impl TryFrom<PropertiesRef<'_>> for Properties {
    type Error = DecodeError;
    fn try_from(properties: PropertiesRef<'_>) -> Result<Self, DecodeError> {
        properties.validate()?;
        let mut encoded = Vec::with_capacity(2 + properties.list.len());
        properties.encode(&mut encoded);
        Ok(Self {
            encoded: encoded.into(),
        })
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(f)
    }
}

macro_rules! setters {
    ($($(#[$doc:meta])* $index:literal $name:ident($value:ident: $type:ty);)*) => {
        impl PropertiesBuilder {
            $(
                $(#[$doc])*
                #[must_use]
                pub fn $name(self, $value: $type) -> Self {
                    self.set::<$index>(|out| $value.put(out))
                }
            )*
        }
    };
}

/// A value that a property can have.
trait Put {
    fn put(self, out: &mut Vec<u8>) -> Result<(), EncodeError>;
}

impl Put for &str {
    fn put(self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        ShortStr::new(self)?.encode(out);
        Ok(())
    }
}

impl Put for u8 {
    fn put(self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.push(self);
        Ok(())
    }
}

impl Put for u64 {
    fn put(self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.extend_from_slice(&self.to_be_bytes());
        Ok(())
    }
}

impl Put for &super::FieldTable {
    fn put(self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.as_table().encode(out);
        Ok(())
    }
}

/// Puts [`Properties`] together. The first error is kept until [`build`](Self::build).
///
/// ```
/// # use amqp_uring::protocol::{EncodeError, Properties};
/// let properties = Properties::builder().content_type("text/plain").delivery_mode(2).build()?;
/// assert_eq!(properties.as_ref().delivery_mode(), Ok(Some(2)));
/// # Ok::<(), EncodeError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct PropertiesBuilder {
    /// The encoded value of each property; its flag says whether it counts.
    values: [Vec<u8>; COUNT],
    flags: u16,
    error: Option<EncodeError>,
}

setters! {
    /// MIME type of the body; at most 255 octets.
    0 content_type(text: &str);
    /// Encoding of the body, such as `gzip`; at most 255 octets.
    1 content_encoding(text: &str);
    /// The user's own fields.
    2 headers(table: &super::FieldTable);
    /// 2 for a persistent message, 1 for a transient one.
    3 delivery_mode(mode: u8);
    /// Priority, the higher the earlier.
    4 priority(priority: u8);
    /// What joins an answer to its question; at most 255 octets.
    5 correlation_id(text: &str);
    /// The queue that an answer should go to; at most 255 octets.
    6 reply_to(text: &str);
    /// Time to live in milliseconds, as decimal digits.
    7 expiration(milliseconds: &str);
    /// The publisher's name for the message; at most 255 octets.
    8 message_id(text: &str);
    /// Seconds since 1970-01-01 00:00 UTC.
    9 timestamp(seconds: u64);
    /// The publisher's name for the kind of message; at most 255 octets.
    10 type_(text: &str);
    /// The user that publishes; the broker refuses any other than the connection's own. At most 255 octets.
    11 user_id(text: &str);
    /// The application that publishes; at most 255 octets.
    12 app_id(text: &str);
    /// Reserved; only for passing on what came in.
    13 cluster_id(text: &str);
}

impl PropertiesBuilder {
    fn set<const INDEX: usize>(
        mut self,
        put: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
    ) -> Self {
        if let Some(value) = self.values.get_mut(INDEX) {
            value.clear();
            match put(value) {
                Ok(()) => self.flags |= flag_of(INDEX),
                Err(error) => self.error = self.error.or(Some(error)),
            }
        }
        self
    }

    /// Leaves the message without a time to live.
    #[must_use]
    pub fn without_expiration(mut self) -> Self {
        const EXPIRATION: usize = 7;
        if let Some(value) = self.values.get_mut(EXPIRATION) {
            value.clear();
            self.flags &= !flag_of(EXPIRATION);
        }
        self
    }

    /// Encodes the properties.
    ///
    /// # Errors
    /// [`EncodeError::TooLong`] when a text has more than 255 octets.
    pub fn build(self) -> Result<Properties, EncodeError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let mut encoded = self.flags.to_be_bytes().to_vec();
        encoded.extend(self.values.iter().flatten());
        Ok(Properties {
            encoded: encoded.into(),
        })
    }
}
