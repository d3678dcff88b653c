//! Field tables and arrays as they lie in a frame (4.2.5.5), decoded while they are walked through.
//!
//! ```text
//! table:  ( name: short string, type octet, value )*        array:  ( type octet, value )*
//! ```
//!
//! Invariant `CHECKED-DEPTH`: nothing here calls itself deeper than [`TABLE_DEPTH_MAX`], whatever the octets say.

use core::fmt;

use super::error::DecodeError;
use super::types::{LONG_STR_MAX, ShortStr, encode_long};
use super::value::Value;
use super::wire::Reader;

/// Deepest nesting of tables and arrays: a table with no table in it counts as 1. Nobody nests ten deep on purpose; the
/// limit keeps the stack bounded when somebody hostile does.
pub const TABLE_DEPTH_MAX: usize = 32;

/// A borrowed field table: its entries, without the length before them.
///
/// The octets may be anything until [`validate`](Self::validate) has passed; walking through reports what is wrong.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Table<'a>(&'a [u8]);

/// A borrowed field array: its values, without the length before them.
///
/// The octets may be anything until [`validate`](Self::validate) has passed; walking through reports what is wrong.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Array<'a>(&'a [u8]);

macro_rules! container {
    ($name:ident, $iter:ident, $check:ident, $what:literal) => {
        impl<'a> $name<'a> {
            /// Wraps octets as they come after the length.
            ///
            /// # Errors
            /// What [`validate`](Self::validate) finds, or [`DecodeError::TrailingOctets`] for more octets than a
            /// four-octet length can say.
            pub fn from_encoded(octets: &'a [u8]) -> Result<Self, DecodeError> {
                if let Some(count) = octets
                    .len()
                    .checked_sub(LONG_STR_MAX)
                    .filter(|&count| count > 0)
                {
                    return Err(DecodeError::TrailingOctets {
                        after: $what,
                        offset: LONG_STR_MAX,
                        count,
                    });
                }
                let this = Self(octets);
                this.validate()?;
                Ok(this)
            }

            #[inline]
            pub(super) const fn unvalidated(octets: &'a [u8]) -> Self {
                Self(octets)
            }

            /// The octets, without the length before them.
            #[inline]
            pub const fn as_bytes(self) -> &'a [u8] {
                self.0
            }

            /// Whether there is no entry.
            #[inline]
            pub const fn is_empty(self) -> bool {
                self.0.is_empty()
            }

            /// Walks through the entries in order. After an error there are no more.
            pub fn iter(self) -> $iter<'a> {
                $iter {
                    reader: Reader::new(self.0),
                }
            }

            /// Checks every entry, and those of all tables and arrays within.
            ///
            /// # Errors
            /// What is wrong and where: a value cut short, an unknown type octet, or nesting deeper than
            /// [`TABLE_DEPTH_MAX`].
            pub fn validate(self) -> Result<(), DecodeError> {
                $check(Reader::new(self.0), 1)
            }

            /// The same for one that is to stand within an outermost table.
            pub(super) fn validate_nested(self) -> Result<(), DecodeError> {
                $check(Reader::new(self.0), 2)
            }
        }

        impl<'a> IntoIterator for $name<'a> {
            type Item = <$iter<'a> as Iterator>::Item;
            type IntoIter = $iter<'a>;
            fn into_iter(self) -> $iter<'a> {
                self.iter()
            }
        }
    };
}

container!(Table, TableIter, check_table, "field table");
container!(Array, ArrayIter, check_array, "field array");

impl<'a> Table<'a> {
    /// The first value with this name.
    ///
    /// # Errors
    /// What is wrong with the entries up to it.
    pub fn get(self, name: &str) -> Result<Option<Value<'a>>, DecodeError> {
        for entry in self {
            let (key, value) = entry?;
            if key == name {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// Appends the four length octets and the entries.
    #[inline]
    pub(super) fn encode(self, out: &mut Vec<u8>) {
        encode_long(self.0, out);
    }

    /// Checks all, with offsets counted where `after`, which has just read this table, counts them.
    pub(super) fn validate_within(self, after: &Reader<'a>) -> Result<(), DecodeError> {
        check_table(after.within(self.0), 1)
    }
}

/// The entries of a [`Table`].
#[derive(Clone, Debug)]
pub struct TableIter<'a> {
    reader: Reader<'a>,
}

impl<'a> TableIter<'a> {
    /// Offset of the next entry.
    pub(super) fn offset(&self) -> usize {
        self.reader.offset()
    }
}

fn read_entry<'a>(reader: &mut Reader<'a>) -> Result<(ShortStr<'a>, Value<'a>), DecodeError> {
    Ok((reader.shortstr("table entry name")?, Value::read(reader)?))
}

impl<'a> Iterator for TableIter<'a> {
    type Item = Result<(ShortStr<'a>, Value<'a>), DecodeError>;
    fn next(&mut self) -> Option<Self::Item> {
        step(&mut self.reader, read_entry)
    }
}

/// The values of an [`Array`].
#[derive(Clone, Debug)]
pub struct ArrayIter<'a> {
    reader: Reader<'a>,
}

impl<'a> Iterator for ArrayIter<'a> {
    type Item = Result<Value<'a>, DecodeError>;
    fn next(&mut self) -> Option<Self::Item> {
        step(&mut self.reader, Value::read)
    }
}

impl core::iter::FusedIterator for TableIter<'_> {}
impl core::iter::FusedIterator for ArrayIter<'_> {}

/// Reads one item unless all is read; an error ends the walk.
fn step<'a, T>(
    reader: &mut Reader<'a>,
    read: impl FnOnce(&mut Reader<'a>) -> Result<T, DecodeError>,
) -> Option<Result<T, DecodeError>> {
    if reader.is_empty() {
        return None;
    }
    let item = read(reader);
    if item.is_err() {
        *reader = Reader::new(&[]);
    }
    Some(item)
}

fn check_table(mut reader: Reader<'_>, depth: usize) -> Result<(), DecodeError> {
    check_depth(&reader, depth)?;
    while !reader.is_empty() {
        let (_, value) = read_entry(&mut reader)?;
        check_within(value, &reader, depth)?;
    }
    Ok(())
}

fn check_array(mut reader: Reader<'_>, depth: usize) -> Result<(), DecodeError> {
    check_depth(&reader, depth)?;
    while !reader.is_empty() {
        let value = Value::read(&mut reader)?;
        check_within(value, &reader, depth)?;
    }
    Ok(())
}

fn check_depth(reader: &Reader<'_>, depth: usize) -> Result<(), DecodeError> {
    if depth > TABLE_DEPTH_MAX {
        return Err(DecodeError::TableTooDeep {
            limit: TABLE_DEPTH_MAX,
            offset: reader.offset(),
        });
    }
    Ok(())
}

/// Checks what `reader` has just read at this depth. See `CHECKED-DEPTH`.
fn check_within<'a>(
    value: Value<'a>,
    reader: &Reader<'a>,
    depth: usize,
) -> Result<(), DecodeError> {
    match value {
        Value::Table(table) => check_table(reader.within(table.0), depth + 1),
        Value::Array(array) => check_array(reader.within(array.0), depth + 1),
        _ => Ok(()),
    }
}

/// Shows the entries; what is malformed or too deep is named in their place.
impl fmt::Debug for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Shown {
            value: Value::Table(*self),
            depth: 1,
        }
        .fmt(f)
    }
}

/// Shows the values; what is malformed or too deep is named in their place.
impl fmt::Debug for Array<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Shown {
            value: Value::Array(*self),
            depth: 1,
        }
        .fmt(f)
    }
}

/// A value that knows how deep it stands, so that showing it keeps `CHECKED-DEPTH`.
struct Shown<'a> {
    value: Value<'a>,
    depth: usize,
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let depth = self.depth + 1;
        match self.value {
            Value::Table(_) | Value::Array(_) if self.depth > TABLE_DEPTH_MAX => {
                f.write_str("<too deep>")
            }
            Value::Table(table) => {
                let mut map = f.debug_map();
                for entry in table {
                    match entry {
                        Ok((name, value)) => map.entry(&name, &Shown { value, depth }),
                        Err(error) => map.entry(&"<malformed>", &error),
                    };
                }
                map.finish()
            }
            Value::Array(array) => {
                let mut list = f.debug_list();
                for value in array {
                    match value {
                        Ok(value) => list.entry(&Shown { value, depth }),
                        Err(error) => list.entry(&error),
                    };
                }
                list.finish()
            }
            value => value.fmt(f),
        }
    }
}
