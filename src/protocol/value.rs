//! One value of a field table.
//!
//! The type octets are those that RabbitMQ and all its clients use, which differ from the letters of the 0-9-1 text:
//!
//! | octet | value | | octet | value |
//! |---|---|---|---|---|
//! | `t` | bool | | `f` `d` | 32-bit and 64-bit float |
//! | `b` `B` | signed and unsigned 8-bit | | `D` | decimal |
//! | `s` `u` | signed and unsigned 16-bit | | `S` `x` | long string, byte array |
//! | `I` `i` | signed and unsigned 32-bit | | `A` `F` | array, table |
//! | `l` `L` | signed 64-bit, both | | `T` `V` | timestamp, no value |

use super::error::{DecodeError, EncodeError};
use super::table::{Array, Table};
use super::types::{LONG_STR_MAX, LongStr, encode_long};
use super::wire::Reader;

/// A decimal number: `value` divided by 10 to the power of `scale`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Decimal {
    /// Digits after the point.
    pub scale: u8,
    /// All digits. Unsigned, as RabbitMQ reads it.
    pub value: u32,
}

/// One value of a field table or array, borrowed from the octets it came in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// `t`: a truth value; any octet but 0 is true.
    Bool(bool),
    /// `b`: a signed 8-bit integer.
    I8(i8),
    /// `B`: an unsigned 8-bit integer.
    U8(u8),
    /// `s`: a signed 16-bit integer (in the 0-9-1 text: a short string).
    I16(i16),
    /// `u`: an unsigned 16-bit integer.
    U16(u16),
    /// `I`: a signed 32-bit integer.
    I32(i32),
    /// `i`: an unsigned 32-bit integer.
    U32(u32),
    /// `l`, and `L` when read: a signed 64-bit integer. RabbitMQ has no unsigned one; it is always written as `l`.
    I64(i64),
    /// `f`: a 32-bit float.
    F32(f32),
    /// `d`: a 64-bit float.
    F64(f64),
    /// `D`: a decimal number.
    Decimal(Decimal),
    /// `S`: a text.
    LongStr(LongStr<'a>),
    /// `A`: values in order.
    Array(Array<'a>),
    /// `T`: seconds since 1970-01-01 00:00 UTC.
    Timestamp(u64),
    /// `F`: a table within the table.
    Table(Table<'a>),
    /// `V`: no value.
    Void,
    /// `x`: octets.
    Bytes(&'a [u8]),
}

/// What stands in an error in place of the name of an argument.
const FIELD: &str = "table value";

impl<'a> Value<'a> {
    /// Takes one value, without a look inside of tables and arrays.
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let offset = reader.offset();
        let found = reader.octet("table value type")?;
        Ok(match found {
            b't' => Self::Bool(reader.octet(FIELD)? != 0),
            b'b' => Self::I8(i8::from_be_bytes(reader.array(FIELD)?)),
            b'B' => Self::U8(reader.octet(FIELD)?),
            b's' => Self::I16(i16::from_be_bytes(reader.array(FIELD)?)),
            b'u' => Self::U16(reader.short(FIELD)?),
            b'I' => Self::I32(i32::from_be_bytes(reader.array(FIELD)?)),
            b'i' => Self::U32(reader.long(FIELD)?),
            b'l' | b'L' => Self::I64(i64::from_be_bytes(reader.array(FIELD)?)),
            b'f' => Self::F32(f32::from_be_bytes(reader.array(FIELD)?)),
            b'd' => Self::F64(f64::from_be_bytes(reader.array(FIELD)?)),
            b'D' => Self::Decimal(Decimal {
                scale: reader.octet(FIELD)?,
                value: reader.long(FIELD)?,
            }),
            b'S' => Self::LongStr(reader.longstr(FIELD)?),
            b'A' => Self::Array(reader.field_array(FIELD)?),
            b'T' => Self::Timestamp(reader.longlong(FIELD)?),
            b'F' => Self::Table(reader.table(FIELD)?),
            b'V' => Self::Void,
            b'x' => Self::Bytes(reader.longstr(FIELD)?.as_bytes()),
            _ => return Err(DecodeError::ValueType { found, offset }),
        })
    }

    /// Appends the type octet and the value.
    pub(super) fn encode(self, out: &mut Vec<u8>) {
        match self {
            Self::Bool(value) => out.extend_from_slice(&[b't', u8::from(value)]),
            Self::I8(value) => tagged(out, b'b', &value.to_be_bytes()),
            Self::U8(value) => out.extend_from_slice(&[b'B', value]),
            Self::I16(value) => tagged(out, b's', &value.to_be_bytes()),
            Self::U16(value) => tagged(out, b'u', &value.to_be_bytes()),
            Self::I32(value) => tagged(out, b'I', &value.to_be_bytes()),
            Self::U32(value) => tagged(out, b'i', &value.to_be_bytes()),
            Self::I64(value) => tagged(out, b'l', &value.to_be_bytes()),
            Self::F32(value) => tagged(out, b'f', &value.to_be_bytes()),
            Self::F64(value) => tagged(out, b'd', &value.to_be_bytes()),
            Self::Decimal(Decimal { scale, value }) => {
                out.extend_from_slice(&[b'D', scale]);
                out.extend_from_slice(&value.to_be_bytes());
            }
            Self::Timestamp(value) => tagged(out, b'T', &value.to_be_bytes()),
            Self::Void => out.push(b'V'),
            Self::LongStr(value) => tagged_long(out, b'S', value.as_bytes()),
            Self::Bytes(value) => tagged_long(out, b'x', value),
            Self::Array(value) => tagged_long(out, b'A', value.as_bytes()),
            Self::Table(value) => tagged_long(out, b'F', value.as_bytes()),
        }
    }

    /// Checks that the value may stand in a table: its length fits, and what is within it is valid and not nested too
    /// deeply for a table that is itself the outermost.
    pub(super) fn check(self) -> Result<(), EncodeError> {
        let (what, length) = match self {
            Self::LongStr(value) => ("long string", value.len()),
            Self::Bytes(value) => ("byte array", value.len()),
            Self::Array(array) => return Ok(array.validate_nested()?),
            Self::Table(table) => return Ok(table.validate_nested()?),
            _ => return Ok(()),
        };
        if length > LONG_STR_MAX {
            return Err(EncodeError::TooLong {
                what,
                length,
                limit: LONG_STR_MAX,
            });
        }
        Ok(())
    }

    /// The value as an integer, whichever width and sign it was sent with; `None` for other types and for what does not
    /// fit. Timestamps are no integers.
    pub fn as_i64(&self) -> Option<i64> {
        match *self {
            Self::I8(value) => Some(value.into()),
            Self::U8(value) => Some(value.into()),
            Self::I16(value) => Some(value.into()),
            Self::U16(value) => Some(value.into()),
            Self::I32(value) => Some(value.into()),
            Self::U32(value) => Some(value.into()),
            Self::I64(value) => Some(value),
            _ => None,
        }
    }

    /// The truth value; `None` for other types.
    pub fn as_bool(&self) -> Option<bool> {
        match *self {
            Self::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// The text of a long string; `None` for other types and for octets that are not UTF-8.
    pub fn as_str(&self) -> Option<&'a str> {
        match *self {
            Self::LongStr(value) => value.as_str().ok(),
            _ => None,
        }
    }

    /// The table; `None` for other types.
    pub fn as_table(&self) -> Option<Table<'a>> {
        match *self {
            Self::Table(value) => Some(value),
            _ => None,
        }
    }

    /// The array; `None` for other types.
    pub fn as_array(&self) -> Option<Array<'a>> {
        match *self {
            Self::Array(value) => Some(value),
            _ => None,
        }
    }
}

fn tagged(out: &mut Vec<u8>, tag: u8, octets: &[u8]) {
    out.push(tag);
    out.extend_from_slice(octets);
}

fn tagged_long(out: &mut Vec<u8>, tag: u8, octets: &[u8]) {
    out.push(tag);
    encode_long(octets, out);
}

macro_rules! from {
    ($($type:ty => $variant:ident),* $(,)?) => {$(
        impl<'a> From<$type> for Value<'a> {
            fn from(value: $type) -> Self {
                Self::$variant(value)
            }
        }
    )*};
}

from!(
    bool => Bool, i8 => I8, u8 => U8, i16 => I16, u16 => U16, i32 => I32, u32 => U32, i64 => I64, f32 => F32, f64 => F64,
    Decimal => Decimal, LongStr<'a> => LongStr, Array<'a> => Array, Table<'a> => Table, &'a [u8] => Bytes,
);

/// A text becomes a long string. One that is too long is refused when it is put into a table.
impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::LongStr(LongStr::unchecked_length(text.as_bytes()))
    }
}

/// A text becomes a long string. One that is too long is refused when it is put into a table.
impl<'a> From<&'a String> for Value<'a> {
    fn from(text: &'a String) -> Self {
        text.as_str().into()
    }
}
