//! Strings as they lie in a frame: octets with a length limit, looked at as text only when somebody asks.

use core::fmt;

use super::error::{DecodeError, EncodeError};

/// Most octets that a short string can hold: its length is one octet (4.2.5.3).
pub const SHORT_STR_MAX: usize = u8::MAX as usize;

/// Most octets that a long string, byte array or table can hold: its length is four octets (4.2.5.3).
pub const LONG_STR_MAX: usize = u32::MAX as usize;

macro_rules! string_impls {
    ($name:ident, $what:literal, $limit:expr) => {
        impl<'a> $name<'a> {
            /// Wraps a text.
            ///
            /// # Errors
            /// [`EncodeError::TooLong`] when it has more octets than fit.
            pub fn new(text: &'a str) -> Result<Self, EncodeError> {
                Self::from_bytes(text.as_bytes())
            }

            /// Wraps octets, which need not be UTF-8.
            ///
            /// # Errors
            /// [`EncodeError::TooLong`] when there are more octets than fit.
            pub fn from_bytes(octets: &'a [u8]) -> Result<Self, EncodeError> {
                if octets.len() > $limit {
                    return Err(EncodeError::TooLong {
                        what: $what,
                        length: octets.len(),
                        limit: $limit,
                    });
                }
                Ok(Self(octets))
            }

            /// The octets.
            #[inline]
            pub const fn as_bytes(self) -> &'a [u8] {
                self.0
            }

            /// The text.
            ///
            /// # Errors
            /// [`DecodeError::NotUtf8`] when the octets are not UTF-8; this is the only place where that is checked.
            pub fn as_str(self) -> Result<&'a str, DecodeError> {
                core::str::from_utf8(self.0).map_err(|error| DecodeError::NotUtf8 {
                    field: $what,
                    offset: error.valid_up_to(),
                })
            }

            /// Length in octets.
            #[inline]
            pub const fn len(self) -> usize {
                self.0.len()
            }

            /// Whether there are no octets.
            #[inline]
            pub const fn is_empty(self) -> bool {
                self.0.is_empty()
            }
        }

        impl<'a> TryFrom<&'a str> for $name<'a> {
            type Error = EncodeError;
            fn try_from(text: &'a str) -> Result<Self, EncodeError> {
                Self::new(text)
            }
        }

        impl PartialEq<str> for $name<'_> {
            fn eq(&self, other: &str) -> bool {
                self.0 == other.as_bytes()
            }
        }

        impl PartialEq<&str> for $name<'_> {
            fn eq(&self, other: &&str) -> bool {
                self.0 == other.as_bytes()
            }
        }

        /// Shows the text; octets that are not UTF-8 become U+FFFD.
        impl fmt::Display for $name<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                for chunk in self.0.utf8_chunks() {
                    f.write_str(chunk.valid())?;
                    if !chunk.invalid().is_empty() {
                        f.write_str("\u{fffd}")?;
                    }
                }
                Ok(())
            }
        }

        impl fmt::Debug for $name<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "\"{}\"", self.0.escape_ascii())
            }
        }
    };
}

/// A borrowed short string: at most [`SHORT_STR_MAX`] octets.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShortStr<'a>(&'a [u8]);

string_impls!(ShortStr, "short string", SHORT_STR_MAX);

impl<'a> ShortStr<'a> {
    /// Octets that were read behind a one-octet length, or are known to be at most that many.
    #[inline]
    pub(super) const fn from_wire(octets: &'a [u8]) -> Self {
        debug_assert!(octets.len() <= SHORT_STR_MAX);
        Self(octets)
    }

    /// Appends the length octet and the octets.
    #[inline]
    pub(super) fn encode(self, out: &mut Vec<u8>) {
        out.push(self.0.len() as u8);
        out.extend_from_slice(self.0);
    }
}

/// A borrowed long string: at most [`LONG_STR_MAX`] octets.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LongStr<'a>(&'a [u8]);

string_impls!(LongStr, "long string", LONG_STR_MAX);

impl<'a> LongStr<'a> {
    /// Octets whose length is checked later, where the value is encoded.
    #[inline]
    pub(super) const fn unchecked_length(octets: &'a [u8]) -> Self {
        Self(octets)
    }

    /// Appends the four length octets and the octets.
    #[inline]
    pub(super) fn encode(self, out: &mut Vec<u8>) {
        encode_long(self.0, out);
    }
}

/// Appends a four-octet length and the octets. Octets past [`LONG_STR_MAX`], which the constructors refuse, would be
/// left out, so that the frame stays well-formed.
#[inline]
pub(super) fn encode_long(octets: &[u8], out: &mut Vec<u8>) {
    let octets = octets.get(..LONG_STR_MAX).unwrap_or(octets);
    out.extend_from_slice(&(octets.len() as u32).to_be_bytes());
    out.extend_from_slice(octets);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_string_holds_255_octets_and_not_one_more() {
        let text = "x".repeat(256);
        assert!(ShortStr::new(&text[..255]).is_ok());
        assert_eq!(
            ShortStr::new(&text),
            Err(EncodeError::TooLong {
                what: "short string",
                length: 256,
                limit: 255
            })
        );
    }

    #[test]
    fn octets_that_are_not_utf8_are_kept_and_refused_only_as_text() {
        let string = ShortStr::from_bytes(b"ab\xffc").unwrap();
        assert_eq!(
            string.as_str(),
            Err(DecodeError::NotUtf8 {
                field: "short string",
                offset: 2
            })
        );
        assert_eq!(string.to_string(), "ab\u{fffd}c");
        assert_eq!(format!("{string:?}"), r#""ab\xffc""#);
        assert_eq!(string.as_bytes(), b"ab\xffc");
    }
}
