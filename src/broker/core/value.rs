//! Values of field tables as RabbitMQ's reply texts show them.

use std::fmt;

use crate::protocol::{Array, Table, Value};

/// RabbitMQ's name of the type.
pub(super) const fn type_name(value: &Value<'_>) -> &'static str {
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

/// Whether RabbitMQ takes two values for the same: integers of any width are compared as numbers.
pub(super) fn are_equivalent(one: &Value<'_>, other: &Value<'_>) -> bool {
    match (one.as_i64(), other.as_i64()) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

/// Shows a value of a valid table, as an Erlang term where it is no text. Tables are nested at most
/// [`TABLE_DEPTH_MAX`](crate::protocol::TABLE_DEPTH_MAX) deep, and so is this.
pub(super) struct Shown<'a>(pub Value<'a>);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Bool(value) => write!(f, "{value}"),
            Value::F32(value) => show_float(f, value.into()),
            Value::F64(value) => show_float(f, value),
            Value::Decimal(value) => write!(f, "{{{},{}}}", value.scale, value.value),
            Value::LongStr(text) => write!(f, "{text}"),
            Value::Bytes(octets) => write!(f, "{}", String::from_utf8_lossy(octets)),
            Value::Timestamp(seconds) => write!(f, "{seconds}"),
            Value::Void => f.write_str("undefined"),
            Value::Table(table) => show_table(f, table),
            Value::Array(array) => show_array(f, array),
            integer => write!(f, "{}", integer.as_i64().unwrap_or_default()),
        }
    }
}

/// A value within a table or an array, where texts are Erlang binaries.
fn show_within(f: &mut fmt::Formatter<'_>, value: Value<'_>) -> fmt::Result {
    write!(f, "{},", type_name(&value))?;
    match value {
        Value::LongStr(_) | Value::Bytes(_) => write!(f, "<<\"{}\">>", Shown(value)),
        _ => write!(f, "{}", Shown(value)),
    }
}

fn show_table(f: &mut fmt::Formatter<'_>, table: Table<'_>) -> fmt::Result {
    f.write_str("[")?;
    for (at, (name, value)) in table.iter().map_while(Result::ok).enumerate() {
        write!(f, "{}{{<<\"{name}\">>,", if at == 0 { "" } else { "," })?;
        show_within(f, value)?;
        f.write_str("}")?;
    }
    f.write_str("]")
}

fn show_array(f: &mut fmt::Formatter<'_>, array: Array<'_>) -> fmt::Result {
    f.write_str("[")?;
    for (at, value) in array.iter().map_while(Result::ok).enumerate() {
        f.write_str(if at == 0 { "{" } else { ",{" })?;
        show_within(f, value)?;
        f.write_str("}")?;
    }
    f.write_str("]")
}

/// Erlang always writes a point, also before an exponent.
fn show_float(f: &mut fmt::Formatter<'_>, value: f64) -> fmt::Result {
    let text = format!("{value:?}");
    match text.split_once('e') {
        Some((digits, exponent)) if !digits.contains('.') => write!(f, "{digits}.0e{exponent}"),
        _ => f.write_str(&text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Decimal, FieldArray, FieldTable};

    #[test]
    fn values_are_shown_as_rabbitmq_shows_them() {
        let table = FieldTable::new().with("a", 1).unwrap();
        let array = FieldArray::new().with(1).unwrap().with("a").unwrap();
        let cases: [(Value<'_>, &str, &str); 14] = [
            (true.into(), "bool", "true"),
            (1u8.into(), "unsignedbyte", "1"),
            ((-1i64).into(), "long", "-1"),
            (1.5f32.into(), "float", "1.5"),
            (0.1f64.into(), "double", "0.1"),
            (100.0f64.into(), "double", "100.0"),
            (1e22f64.into(), "double", "1.0e22"),
            (
                Decimal {
                    scale: 1,
                    value: 15,
                }
                .into(),
                "decimal",
                "{1,15}",
            ),
            ("it's".into(), "longstr", "it's"),
            (Value::Bytes(b"ab"), "binary", "ab"),
            (Value::Timestamp(1_577_836_800), "timestamp", "1577836800"),
            (Value::Void, "void", "undefined"),
            ((&table).into(), "table", r#"[{<<"a">>,signedint,1}]"#),
            (
                (&array).into(),
                "array",
                r#"[{signedint,1},{longstr,<<"a">>}]"#,
            ),
        ];
        for (value, name, text) in cases {
            assert_eq!(type_name(&value), name);
            assert_eq!(Shown(value).to_string(), text);
        }
    }
}
