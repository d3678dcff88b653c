//! The cursor that takes AMQP's data types off a run of octets, and the one that puts them there (4.2.5).

use super::error::DecodeError;
use super::table::{Array, Table};
use super::types::{LongStr, ShortStr};

/// A cursor over octets. Every reading call names its field, for the error; a failed call leaves the cursor where it was
/// or further on, and the rest must not be trusted.
///
/// Consecutive bits share octets, low bit first: [`bit`](Self::bit) takes the next bit, any other call ends the run.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    /// Offset of the end of `rest`, counted from where the outermost reader began.
    end: usize,
    /// Remaining bits of the octet that is being taken apart, above a marker bit; 1 or 0 when there is none.
    bits: u16,
}

impl<'a> Reader<'a> {
    /// A cursor at the first octet.
    #[inline]
    pub const fn new(octets: &'a [u8]) -> Self {
        Self {
            rest: octets,
            end: octets.len(),
            bits: 0,
        }
    }

    /// A cursor over the octets that this one has just read, with the same offsets.
    #[inline]
    pub(super) const fn within(&self, octets: &'a [u8]) -> Self {
        Self {
            rest: octets,
            end: self.offset(),
            bits: 0,
        }
    }

    /// Offset of the next octet.
    #[inline]
    pub const fn offset(&self) -> usize {
        self.end - self.rest.len()
    }

    /// Octets not yet read.
    #[inline]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether all is read.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Checks that all is read.
    ///
    /// # Errors
    /// [`DecodeError::TrailingOctets`], naming what was decoded.
    #[inline]
    pub const fn finish(&self, after: &'static str) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(DecodeError::TrailingOctets {
            after,
            offset: self.offset(),
            count: self.rest.len(),
        })
    }

    #[cold]
    fn truncated(&self, field: &'static str, needed: usize) -> DecodeError {
        DecodeError::Truncated {
            field,
            offset: self.offset(),
            needed,
            available: self.rest.len(),
        }
    }

    /// Takes a fixed number of octets.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] when there are fewer.
    #[inline]
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        self.bits = 0;
        let Some((taken, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(self.truncated(field, N));
        };
        self.rest = rest;
        Ok(*taken)
    }

    /// Takes that many octets.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] when there are fewer.
    #[inline]
    pub fn octets(&mut self, length: usize, field: &'static str) -> Result<&'a [u8], DecodeError> {
        self.bits = 0;
        let Some((taken, rest)) = self.rest.split_at_checked(length) else {
            return Err(self.truncated(field, length));
        };
        self.rest = rest;
        Ok(taken)
    }

    /// Takes the next bit of a run of bits.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] when a new octet is needed and there is none.
    #[inline]
    pub fn bit(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        if self.bits <= 1 {
            let octet = self.octet(field)?;
            self.bits = 0x100 | u16::from(octet);
        }
        let bit = self.bits & 1 == 1;
        self.bits >>= 1;
        Ok(bit)
    }

    /// Takes one octet.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] when there is none.
    #[inline]
    pub fn octet(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        Ok(u8::from_be_bytes(self.array(field)?))
    }

    /// Takes an unsigned integer of two octets.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] when there are fewer octets.
    #[inline]
    pub fn short(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        Ok(u16::from_be_bytes(self.array(field)?))
    }

    /// Takes an unsigned integer of four octets.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] when there are fewer octets.
    #[inline]
    pub fn long(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        Ok(u32::from_be_bytes(self.array(field)?))
    }

    /// Takes an unsigned integer of eight octets.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] when there are fewer octets.
    #[inline]
    pub fn longlong(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        Ok(u64::from_be_bytes(self.array(field)?))
    }

    /// Takes a length octet and a short string of that length.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] when either is cut short.
    #[inline]
    pub fn shortstr(&mut self, field: &'static str) -> Result<ShortStr<'a>, DecodeError> {
        let length = self.octet(field)?;
        Ok(ShortStr::from_wire(
            self.octets(usize::from(length), field)?,
        ))
    }

    /// Takes four length octets and that many octets.
    #[inline]
    fn long_octets(&mut self, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let length = self.long(field)?;
        self.octets(length as usize, field)
    }

    /// Takes four length octets and a long string of that length.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] when either is cut short.
    #[inline]
    pub fn longstr(&mut self, field: &'static str) -> Result<LongStr<'a>, DecodeError> {
        Ok(LongStr::unchecked_length(self.long_octets(field)?))
    }

    /// Takes four length octets and a field table of that length, whose inside is not looked at.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] when either is cut short.
    #[inline]
    pub fn table(&mut self, field: &'static str) -> Result<Table<'a>, DecodeError> {
        Ok(Table::unvalidated(self.long_octets(field)?))
    }

    /// Takes four length octets and a field array of that length, whose inside is not looked at.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] when either is cut short.
    #[inline]
    pub fn field_array(&mut self, field: &'static str) -> Result<Array<'a>, DecodeError> {
        Ok(Array::unvalidated(self.long_octets(field)?))
    }
}

/// Appends fields; packs consecutive bits into octets, low bit first.
pub(super) struct Writer<'o> {
    out: &'o mut Vec<u8>,
    /// Bits already used of the last octet while a run of bits goes on; 0 when the next bit begins an octet.
    bits: u32,
}

impl<'o> Writer<'o> {
    #[inline]
    pub(super) const fn new(out: &'o mut Vec<u8>) -> Self {
        Self { out, bits: 0 }
    }

    #[inline]
    fn out(&mut self) -> &mut Vec<u8> {
        self.bits = 0;
        self.out
    }

    #[inline]
    fn bit(&mut self, value: bool) {
        match self.out.last_mut() {
            Some(last) if self.bits > 0 => *last |= u8::from(value) << self.bits,
            _ => self.out.push(u8::from(value)),
        }
        self.bits = (self.bits + 1) & 7;
    }
}

/// A type that a method's argument can have.
pub(super) trait Field<'a>: Copy + Default {
    fn read(reader: &mut Reader<'a>, field: &'static str) -> Result<Self, DecodeError>;
    fn write(self, writer: &mut Writer<'_>);
}

macro_rules! integer_fields {
    ($($type:ty: $read:ident),*) => {$(
        impl Field<'_> for $type {
            #[inline]
            fn read(reader: &mut Reader<'_>, field: &'static str) -> Result<Self, DecodeError> {
                reader.$read(field)
            }
            #[inline]
            fn write(self, writer: &mut Writer<'_>) {
                writer.out().extend_from_slice(&self.to_be_bytes());
            }
        }
    )*};
}

integer_fields!(u8: octet, u16: short, u32: long, u64: longlong);

impl Field<'_> for bool {
    #[inline]
    fn read(reader: &mut Reader<'_>, field: &'static str) -> Result<Self, DecodeError> {
        reader.bit(field)
    }
    #[inline]
    fn write(self, writer: &mut Writer<'_>) {
        writer.bit(self);
    }
}

impl<'a> Field<'a> for ShortStr<'a> {
    #[inline]
    fn read(reader: &mut Reader<'a>, field: &'static str) -> Result<Self, DecodeError> {
        reader.shortstr(field)
    }
    #[inline]
    fn write(self, writer: &mut Writer<'_>) {
        self.encode(writer.out());
    }
}

impl<'a> Field<'a> for LongStr<'a> {
    #[inline]
    fn read(reader: &mut Reader<'a>, field: &'static str) -> Result<Self, DecodeError> {
        reader.longstr(field)
    }
    #[inline]
    fn write(self, writer: &mut Writer<'_>) {
        self.encode(writer.out());
    }
}

/// Methods with a table are rare and never on the hot path, so the table is checked through at once: a method that was
/// decoded is sound in all its parts.
impl<'a> Field<'a> for Table<'a> {
    fn read(reader: &mut Reader<'a>, field: &'static str) -> Result<Self, DecodeError> {
        let table = reader.table(field)?;
        table.validate_within(reader)?;
        Ok(table)
    }
    #[inline]
    fn write(self, writer: &mut Writer<'_>) {
        self.encode(writer.out());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_share_octets_until_another_type_comes() {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out);
        let bits = [
            true, false, true, true, false, false, false, true, true, false,
        ];
        for bit in bits {
            bit.write(&mut writer);
        }
        7u8.write(&mut writer);
        true.write(&mut writer);
        assert_eq!(out, [0b1000_1101, 0b01, 7, 1]);

        let mut reader = Reader::new(&out);
        for bit in bits {
            assert_eq!(reader.bit("bit"), Ok(bit));
        }
        assert_eq!(reader.octet("octet"), Ok(7));
        assert_eq!(reader.bit("bit"), Ok(true));
        assert_eq!(reader.finish("all"), Ok(()));
    }

    #[test]
    fn a_string_that_is_cut_short_names_its_field_and_offset() {
        let mut reader = Reader::new(&[1, 5, b'a', b'b']);
        assert_eq!(reader.octet("first"), Ok(1));
        assert_eq!(
            reader.shortstr("name"),
            Err(DecodeError::Truncated {
                field: "name",
                offset: 2,
                needed: 5,
                available: 2
            })
        );
    }
}
