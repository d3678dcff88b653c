//! Values of field tables as RabbitMQ writes them in its texts: as Erlang's terms.

use std::fmt;

use crate::protocol::{TABLE_DEPTH_MAX, Value};

/// What RabbitMQ calls the type of a value.
pub(super) fn type_name(value: Value<'_>) -> &'static str {
    match value {
        Value::Bool(_) => "bool",
        Value::I8(_) => "byte",
        Value::U8(_) => "unsignedbyte",
        Value::I16(_) => "short",
        Value::U16(_) => "unsignedshort",
        Value::I32(_) => "signedint",
        Value::U32(_) => "unsignedint",
        Value::I64(_) => "long",
        Value::F32(_) => "float",
        Value::F64(_) => "double",
        Value::Decimal(_) => "decimal",
        Value::LongStr(_) => "longstr",
        Value::Array(_) => "array",
        Value::Timestamp(_) => "timestamp",
        Value::Table(_) => "table",
        Value::Void => "void",
        Value::Bytes(_) => "binary",
    }
}

/// Shows a value without its type. What is nested deeper than a table may be is left out.
pub(super) struct Term<'a> {
    value: Value<'a>,
    /// Whether octets stand as they are, and not as `<<"..">>`.
    is_bare: bool,
    depth: usize,
}

impl<'a> Term<'a> {
    pub fn new(value: Value<'a>) -> Self {
        Self {
            value,
            is_bare: false,
            depth: 1,
        }
    }

    pub fn bare(value: Value<'a>) -> Self {
        Self {
            is_bare: true,
            ..Self::new(value)
        }
    }

    fn within(&self, value: Value<'a>) -> Self {
        Self {
            value,
            is_bare: false,
            depth: self.depth + 1,
        }
    }

    fn write_octets(&self, octets: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = String::from_utf8_lossy(octets);
        match text.as_ref() {
            text if self.is_bare => f.write_str(text),
            "" => f.write_str("<<>>"),
            text => write!(f, "<<\"{text}\">>"),
        }
    }
}

impl fmt::Display for Term<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value {
            Value::Array(_) | Value::Table(_) if self.depth > TABLE_DEPTH_MAX => f.write_str("..."),
            Value::Array(array) => {
                f.write_str("[")?;
                for (at, value) in array.iter().map_while(Result::ok).enumerate() {
                    let comma = if at == 0 { "" } else { "," };
                    write!(f, "{comma}{{{},{}}}", type_name(value), self.within(value))?;
                }
                f.write_str("]")
            }
            Value::Table(table) => {
                f.write_str("[")?;
                for (at, (name, value)) in table.iter().map_while(Result::ok).enumerate() {
                    let comma = if at == 0 { "" } else { "," };
                    let kind = type_name(value);
                    write!(f, "{comma}{{<<\"{name}\">>,{kind},{}}}", self.within(value))?;
                }
                f.write_str("]")
            }
            Value::LongStr(text) => self.write_octets(text.as_bytes(), f),
            Value::Bytes(octets) => self.write_octets(octets, f),
            Value::Decimal(decimal) => write!(f, "{{{},{}}}", decimal.scale, decimal.value),
            Value::F32(value) => write!(f, "{:?}", f64::from(value)),
            Value::F64(value) => write!(f, "{value:?}"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::I8(value) => write!(f, "{value}"),
            Value::U8(value) => write!(f, "{value}"),
            Value::I16(value) => write!(f, "{value}"),
            Value::U16(value) => write!(f, "{value}"),
            Value::I32(value) => write!(f, "{value}"),
            Value::U32(value) => write!(f, "{value}"),
            Value::I64(value) => write!(f, "{value}"),
            Value::Timestamp(value) => write!(f, "{value}"),
            Value::Void => f.write_str("undefined"),
        }
    }
}
