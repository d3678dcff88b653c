//! When the headers of a message match a binding of a headers exchange.
//!
//! As in RabbitMQ, two values are the same when they are so without their types: 1 is 1 in every width, as a float and as
//! a timestamp, and a long string is the same as a byte array. Within arrays and tables types count too; there, the octets
//! are compared. A binding without a value (`V`) asks only that the header is there.

use smallvec::SmallVec;

use super::exchange::find;
use super::terms::{Term, type_name};
use crate::broker::core::refusal::Refusal;
use crate::protocol::{Decimal, ShortStr, Table, Value};

const X_MATCH: &str = "x-match";

/// Headers of a message that are sorted without an allocation.
const HEADERS_IN_PLACE: usize = 8;

type Entry<'h> = (ShortStr<'h>, Value<'h>);

/// The headers of a message: read and sorted when the first headers exchange asks for them.
pub(super) struct Headers<'h, F> {
    unread: Option<F>,
    sorted: SmallVec<[Entry<'h>; HEADERS_IN_PLACE]>,
}

impl<'h, F: FnOnce() -> Option<Table<'h>>> Headers<'h, F> {
    pub fn new(read: F) -> Self {
        Self {
            unread: Some(read),
            sorted: SmallVec::new(),
        }
    }

    pub fn sorted(&mut self) -> &[Entry<'h>] {
        if let Some(read) = self.unread.take() {
            let table = read().unwrap_or_default();
            self.sorted.extend(table.iter().map_while(Result::ok));
            self.sorted.sort_by_key(|(name, _)| *name);
        }
        &self.sorted
    }
}

/// How many of its arguments a binding wants matched, and which.
#[derive(Debug, Clone, Copy)]
struct Mode {
    /// One is enough.
    is_any: bool,
    /// Names that begin with `x-` count too (but not `x-match`).
    with_x: bool,
}

impl Mode {
    fn from_name(name: &[u8]) -> Option<Self> {
        let (is_any, with_x) = match name {
            b"all" => (false, false),
            b"any" => (true, false),
            b"all-with-x" => (false, true),
            b"any-with-x" => (true, true),
            _ => return None,
        };
        Some(Self { is_any, with_x })
    }

    /// What the arguments of a binding say; `all` when they say nothing.
    fn of(arguments: Table<'_>) -> Self {
        let named = match find(arguments, X_MATCH) {
            Some(Value::LongStr(name)) => Self::from_name(name.as_bytes()),
            _ => None,
        };
        named.unwrap_or(Self {
            is_any: false,
            with_x: false,
        })
    }
}

/// Checks the arguments of a new binding.
pub(super) fn check_arguments(arguments: Table<'_>) -> Result<(), Refusal> {
    match find(arguments, X_MATCH) {
        None => Ok(()),
        Some(Value::LongStr(name)) if Mode::from_name(name.as_bytes()).is_some() => Ok(()),
        Some(value @ Value::LongStr(_)) => Err(Refusal::precondition(format!(
            "Invalid x-match field value {}; expected all, any, all-with-x, or any-with-x",
            Term::new(value)
        ))),
        Some(value) => Err(Refusal::precondition(format!(
            "Invalid x-match field type {} (value {}); expected longstr",
            type_name(value),
            Term::new(value)
        ))),
    }
}

/// Both sides are sorted by name, so that they are walked through once, side by side.
pub(super) fn matches(arguments: Table<'_>, headers: &[Entry<'_>]) -> bool {
    let mode = Mode::of(arguments);
    let mut headers = headers;
    for (name, wanted) in arguments.iter().map_while(Result::ok) {
        if name == X_MATCH || (!mode.with_x && name.as_bytes().starts_with(b"x-")) {
            continue;
        }
        while let Some(((earlier, _), rest)) = headers.split_first()
            && *earlier < name
        {
            headers = rest;
        }
        let is_matched = match headers.split_first() {
            Some(((found, value), rest)) if *found == name => {
                headers = rest;
                wanted == Value::Void || is_same(wanted, *value)
            }
            _ => false,
        };
        if is_matched == mode.is_any {
            return is_matched;
        }
    }
    !mode.is_any
}

/// What is left of a value without its type.
#[derive(PartialEq)]
enum Untyped<'a> {
    Bool(bool),
    Integer(i128),
    Float(f64),
    Octets(&'a [u8]),
    Decimal(Decimal),
    Array(&'a [u8]),
    Table(&'a [u8]),
    Void,
}

impl<'a> From<Value<'a>> for Untyped<'a> {
    fn from(value: Value<'a>) -> Self {
        match value {
            Value::Bool(value) => Self::Bool(value),
            Value::I8(value) => Self::Integer(value.into()),
            Value::U8(value) => Self::Integer(value.into()),
            Value::I16(value) => Self::Integer(value.into()),
            Value::U16(value) => Self::Integer(value.into()),
            Value::I32(value) => Self::Integer(value.into()),
            Value::U32(value) => Self::Integer(value.into()),
            Value::I64(value) => Self::Integer(value.into()),
            Value::Timestamp(value) => Self::Integer(value.into()),
            Value::F32(value) => Self::Float(value.into()),
            Value::F64(value) => Self::Float(value),
            Value::LongStr(text) => Self::Octets(text.as_bytes()),
            Value::Bytes(octets) => Self::Octets(octets),
            Value::Decimal(decimal) => Self::Decimal(decimal),
            // RabbitMQ has one empty list for both.
            Value::Array(array) if array.is_empty() => Self::Table(&[]),
            Value::Array(array) => Self::Array(array.as_bytes()),
            Value::Table(table) => Self::Table(table.as_bytes()),
            Value::Void => Self::Void,
        }
    }
}

fn is_same(one: Value<'_>, other: Value<'_>) -> bool {
    match (one.into(), other.into()) {
        (Untyped::Integer(integer), Untyped::Float(float))
        | (Untyped::Float(float), Untyped::Integer(integer)) => {
            // Exact: no integer of a table is as large as where the conversion saturates.
            float.trunc() == float && float as i128 == integer
        }
        (one, other) => one == other,
    }
}
