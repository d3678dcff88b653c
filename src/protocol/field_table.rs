//! Field tables and arrays that own their octets: what a user builds and what is kept of what came in.
//!
//! Invariant: the octets are valid and nested at most [`TABLE_DEPTH_MAX`](super::TABLE_DEPTH_MAX) deep.

use core::fmt;

use super::error::{DecodeError, EncodeError};
use super::table::{Array, Table};
use super::types::{LONG_STR_MAX, ShortStr};
use super::value::Value;

/// An owned field table, kept encoded.
///
/// ```
/// # use amqp_uring::protocol::{EncodeError, FieldTable};
/// let arguments = FieldTable::new().with("x-queue-type", "quorum")?.with("x-max-length", 1000)?;
/// assert_eq!(arguments.get("x-max-length").and_then(|value| value.as_i64()), Some(1000));
/// # Ok::<(), EncodeError>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct FieldTable {
    octets: Vec<u8>,
}

impl FieldTable {
    /// A table without entries.
    pub const fn new() -> Self {
        Self { octets: Vec::new() }
    }

    /// A table with the entries of another one in ascending order of their names; those with the same name stay in order.
    ///
    /// # Errors
    /// What [`Table::validate`] finds.
    pub fn sorted(table: Table<'_>) -> Result<Self, DecodeError> {
        table.validate()?;
        let mut entries = Vec::new();
        let mut rest = table.iter();
        let mut start = rest.offset();
        while let Some((name, _)) = rest.next().transpose()? {
            let end = rest.offset();
            entries.push((name, table.as_bytes().get(start..end).unwrap_or_default()));
            start = end;
        }
        entries.sort_by_key(|&(name, _)| name);
        let mut octets = Vec::with_capacity(table.as_bytes().len());
        for (_, entry) in entries {
            octets.extend_from_slice(entry);
        }
        Ok(Self { octets })
    }

    /// Puts a value in, in place of an earlier one with the same name.
    ///
    /// # Errors
    /// [`EncodeError::TooLong`] when the name has more than 255 octets, or a value or the whole table more than a
    /// four-octet length can say; [`EncodeError::Malformed`] when a borrowed table is not valid or would be nested too
    /// deeply. The table is as before then.
    pub fn insert<'v>(
        &mut self,
        name: &str,
        value: impl Into<Value<'v>>,
    ) -> Result<&mut Self, EncodeError> {
        let name = ShortStr::new(name)?;
        let value = value.into();
        value.check()?;
        let earlier = self.range_of(name);
        let length_before = self.octets.len();
        name.encode(&mut self.octets);
        value.encode(&mut self.octets);
        check_length("field table", &mut self.octets, length_before)?;
        if let Some(earlier) = earlier {
            self.octets.drain(earlier);
        }
        Ok(self)
    }

    /// The table with one more value; see [`insert`](Self::insert).
    ///
    /// # Errors
    /// The same as `insert`.
    pub fn with<'v>(
        mut self,
        name: &str,
        value: impl Into<Value<'v>>,
    ) -> Result<Self, EncodeError> {
        self.insert(name, value)?;
        Ok(self)
    }

    /// Takes a value out; `false` when there is none with this name.
    pub fn remove(&mut self, name: &str) -> bool {
        let range = ShortStr::new(name)
            .ok()
            .and_then(|name| self.range_of(name));
        range.map(|range| self.octets.drain(range)).is_some()
    }

    /// The value with this name.
    pub fn get(&self, name: &str) -> Option<Value<'_>> {
        self.iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    }

    /// The entries, in the order in which they were put in.
    pub fn iter(&self) -> impl Iterator<Item = (ShortStr<'_>, Value<'_>)> {
        self.as_table().iter().map_while(Result::ok)
    }

    /// Whether there is no entry.
    pub const fn is_empty(&self) -> bool {
        self.octets.is_empty()
    }

    /// The table as it goes into a method or into properties.
    #[inline]
    pub fn as_table(&self) -> Table<'_> {
        Table::unvalidated(&self.octets)
    }

    /// Where the entry with this name stands.
    fn range_of(&self, name: ShortStr<'_>) -> Option<core::ops::Range<usize>> {
        let mut entries = self.as_table().iter();
        loop {
            let start = entries.offset();
            let (key, _) = entries.next()?.ok()?;
            if key == name {
                return Some(start..entries.offset());
            }
        }
    }
}

impl TryFrom<Table<'_>> for FieldTable {
    type Error = DecodeError;
    fn try_from(table: Table<'_>) -> Result<Self, DecodeError> {
        table.validate()?;
        Ok(Self {
            octets: table.as_bytes().to_vec(),
        })
    }
}

impl<'a> From<&'a FieldTable> for Table<'a> {
    fn from(table: &'a FieldTable) -> Self {
        table.as_table()
    }
}

impl<'a> From<&'a FieldTable> for Value<'a> {
    fn from(table: &'a FieldTable) -> Self {
        Self::Table(table.as_table())
    }
}

impl fmt::Debug for FieldTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_table().fmt(f)
    }
}

/// An owned field array, kept encoded.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct FieldArray {
    octets: Vec<u8>,
}

impl FieldArray {
    /// An array without values.
    pub const fn new() -> Self {
        Self { octets: Vec::new() }
    }

    /// Puts a value at the end.
    ///
    /// # Errors
    /// As [`FieldTable::insert`]; the array is as before then.
    pub fn push<'v>(&mut self, value: impl Into<Value<'v>>) -> Result<&mut Self, EncodeError> {
        let value = value.into();
        value.check()?;
        let length_before = self.octets.len();
        value.encode(&mut self.octets);
        check_length("field array", &mut self.octets, length_before)?;
        Ok(self)
    }

    /// The array with one more value.
    ///
    /// # Errors
    /// As [`FieldTable::insert`].
    pub fn with<'v>(mut self, value: impl Into<Value<'v>>) -> Result<Self, EncodeError> {
        self.push(value)?;
        Ok(self)
    }

    /// The values in order.
    pub fn iter(&self) -> impl Iterator<Item = Value<'_>> {
        self.as_array().iter().map_while(Result::ok)
    }

    /// Whether there is no value.
    pub const fn is_empty(&self) -> bool {
        self.octets.is_empty()
    }

    /// The array as it goes into a table.
    #[inline]
    pub fn as_array(&self) -> Array<'_> {
        Array::unvalidated(&self.octets)
    }
}

impl TryFrom<Array<'_>> for FieldArray {
    type Error = DecodeError;
    fn try_from(array: Array<'_>) -> Result<Self, DecodeError> {
        array.validate()?;
        Ok(Self {
            octets: array.as_bytes().to_vec(),
        })
    }
}

impl<'a> From<&'a FieldArray> for Value<'a> {
    fn from(array: &'a FieldArray) -> Self {
        Self::Array(array.as_array())
    }
}

impl fmt::Debug for FieldArray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_array().fmt(f)
    }
}

/// Undoes what was appended when the whole no longer fits behind a four-octet length.
fn check_length(
    what: &'static str,
    octets: &mut Vec<u8>,
    length_before: usize,
) -> Result<(), EncodeError> {
    let length = octets.len();
    if length > LONG_STR_MAX {
        octets.truncate(length_before);
        return Err(EncodeError::TooLong {
            what,
            length,
            limit: LONG_STR_MAX,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::TABLE_DEPTH_MAX;

    #[test]
    fn a_second_value_with_the_same_name_replaces_the_first() {
        let mut table = FieldTable::new();
        table
            .insert("a", 1)
            .unwrap()
            .insert("b", "two")
            .unwrap()
            .insert("a", true)
            .unwrap();
        assert_eq!(table.get("a"), Some(Value::Bool(true)));
        assert_eq!(table.iter().count(), 2);
        assert_eq!(
            format!("{table:?}"),
            r#"{"b": LongStr("two"), "a": Bool(true)}"#
        );
        assert!(table.remove("b"));
        assert!(!table.remove("b"));
        assert_eq!(table, FieldTable::new().with("a", true).unwrap());
    }

    #[test]
    fn a_sorted_table_has_the_same_entries_in_the_order_of_their_names() {
        let table = FieldTable::new()
            .with("b", "two")
            .and_then(|table| table.with("c", &FieldTable::new()))
            .and_then(|table| table.with("a", 1))
            .unwrap();
        let twice = [table.as_table().as_bytes(), b"\x01bt\x01"].concat();
        let sorted = FieldTable::sorted(Table::from_encoded(&twice).unwrap()).unwrap();
        assert_eq!(
            format!("{sorted:?}"),
            r#"{"a": I32(1), "b": LongStr("two"), "b": Bool(true), "c": {}}"#
        );
        assert_eq!(
            FieldTable::sorted(Table::unvalidated(b"\x01a")),
            Table::unvalidated(b"\x01a").validate().map(|()| table)
        );
    }

    #[test]
    fn a_name_of_255_octets_is_taken_and_256_are_refused() {
        let name = "n".repeat(256);
        let table = FieldTable::new().with(&name[1..], 1).unwrap();
        assert_eq!(table.get(&name[1..]), Some(Value::I32(1)));
        let mut after = table.clone();
        assert!(matches!(
            after.insert(&name, 1),
            Err(EncodeError::TooLong { length: 256, .. })
        ));
        assert_eq!(after, table);
    }

    #[test]
    fn tables_nest_to_the_limit_and_not_one_deeper() {
        let mut table = FieldTable::new();
        for _ in 1..TABLE_DEPTH_MAX {
            table = FieldTable::new().with("t", &table).unwrap();
        }
        assert_eq!(table.as_table().validate(), Ok(()));
        assert!(matches!(
            FieldTable::new().with("t", &table),
            Err(EncodeError::Malformed(DecodeError::TableTooDeep {
                limit: TABLE_DEPTH_MAX,
                ..
            }))
        ));
        let mut array = FieldArray::new();
        for _ in 2..TABLE_DEPTH_MAX {
            array = FieldArray::new().with(&array).unwrap();
        }
        assert!(FieldTable::new().with("a", &array).is_ok());
        let deeper = FieldArray::new().with(&array).unwrap();
        assert!(FieldTable::new().with("a", &deeper).is_err());
    }
}
