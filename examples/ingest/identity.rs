//! The `message_id` of a line: the same on every run, so that the database can tell a line it has from a new one.

/// The longest name of an input, in octets: with the separator and a line number it fits a `message_id`, which AMQP
/// limits to 255.
pub const SOURCE_OCTETS_MAX: usize = 200;

/// Digits of a line number, padded with zeros: the order of the ids is the order of the lines, which lets SQLite append
/// to its index.
const DIGITS: usize = 12;

/// The most lines for which that holds. Nobody waits for so many.
pub const LINES_MAX: u64 = 999_999_999_999;

/// The name under which the lines of an input are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source(String);

impl Source {
    /// Takes any text of 1 to [`SOURCE_OCTETS_MAX`] octets; what is wrong with it otherwise.
    pub fn new(name: &str) -> Result<Self, String> {
        match name.len() {
            0 => Err("the name of the input is empty".to_owned()),
            1..=SOURCE_OCTETS_MAX => Ok(Source(name.to_owned())),
            octets => Err(format!(
                "the name of the input has {octets} octets, at most {SOURCE_OCTETS_MAX} are allowed"
            )),
        }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// The id of a line; the first line is 1.
    pub fn message_id(&self, line: u64) -> String {
        format!("{}:{line:0DIGITS$}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{SOURCE_OCTETS_MAX, Source};

    #[test]
    fn the_order_of_ids_is_the_order_of_lines() {
        let log = Source::new("app.log").unwrap();
        assert!(log.message_id(9) < log.message_id(10));
        assert!(log.message_id(99_999) < log.message_id(100_000));
    }

    #[test]
    fn the_longest_name_still_gives_an_id_that_amqp_can_carry() {
        let longest = Source::new(&"n".repeat(SOURCE_OCTETS_MAX)).unwrap();
        assert!(longest.message_id(u64::MAX).len() <= 255);
        assert!(Source::new(&"n".repeat(SOURCE_OCTETS_MAX + 1)).is_err());
        assert!(Source::new("").is_err());
    }
}
