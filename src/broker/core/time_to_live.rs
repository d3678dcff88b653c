//! How long a message or a queue may live: what RabbitMQ takes for it.

use std::time::Duration;

use crate::protocol::ShortStr;

use super::refusal::Refusal;

/// RabbitMQ's longest time to live, ten years.
const MILLISECONDS_MAX: u64 = 10 * 365 * 24 * 60 * 60 * 1000;

/// A time to live that came as an integer. The error is the reason in RabbitMQ's words.
pub(super) fn from_milliseconds(milliseconds: i64) -> Result<Duration, String> {
    match u64::try_from(milliseconds) {
        Err(_) => Err(format!("{{value_negative,{milliseconds}}}")),
        Ok(more) if more > MILLISECONDS_MAX => Err(format!("{{value_too_large,{more}}}")),
        Ok(fits) => Ok(Duration::from_millis(fits)),
    }
}

/// The time to live in the property `expiration`: an integer in decimal digits, with a sign if it must be.
pub(super) fn from_expiration(expiration: ShortStr<'_>) -> Result<Duration, Refusal> {
    parse(expiration.as_bytes()).map_err(|reason| {
        Refusal::precondition(format!("invalid expiration '{expiration}': {reason}"))
    })
}

fn parse(text: &[u8]) -> Result<Duration, String> {
    let (negative, unsigned) = match text {
        [b'-', unsigned @ ..] => (true, unsigned),
        [b'+', unsigned @ ..] | unsigned => (false, unsigned),
    };
    let digits = unsigned.iter().take_while(|octet| octet.is_ascii_digit());
    let (digits, rest) = unsigned.split_at(digits.count());
    if digits.is_empty() {
        return Err("no_integer".to_owned());
    }
    if !rest.is_empty() {
        return Err(format!("{{leftover_string,{}}}", erlang_string(rest)));
    }
    let digits = String::from_utf8_lossy(digits);
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Ok(Duration::ZERO);
    }
    match digits.parse::<i64>() {
        Ok(value) if negative => from_milliseconds(-value),
        Ok(value) => from_milliseconds(value),
        // So many digits that the sign alone decides.
        Err(_) if negative => Err(format!("{{value_negative,-{digits}}}")),
        Err(_) => Err(format!("{{value_too_large,{digits}}}")),
    }
}

/// Octets as Erlang prints them: a text if all of them are printable Latin-1, else a list of numbers.
fn erlang_string(octets: &[u8]) -> String {
    let printable = |octet: &u8| matches!(octet, b' '..=b'~' | 0xa0..=0xff | b'\t' | b'\n' | b'\r');
    if !octets.iter().all(printable) {
        let numbers: Vec<_> = octets.iter().map(u8::to_string).collect();
        return format!("[{}]", numbers.join(","));
    }
    let mut text = String::from_utf8_lossy(octets).replace('\\', "\\\\");
    for (raw, escaped) in [('"', "\\\""), ('\n', "\\n"), ('\t', "\\t"), ('\r', "\\r")] {
        text = text.replace(raw, escaped);
    }
    format!("\"{text}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(expiration: &str) -> String {
        let refused = from_expiration(ShortStr::new(expiration).unwrap());
        refused.unwrap_err().reply_text()
    }

    #[test]
    fn an_expiration_is_whole_milliseconds_up_to_ten_years() {
        for (text, milliseconds) in [
            ("0", 0),
            ("-0", 0),
            ("00", 0),
            ("1", 1),
            ("+5", 5),
            ("007", 7),
            ("4294967296", 4_294_967_296),
            ("315360000000", 315_360_000_000),
        ] {
            assert_eq!(
                from_expiration(ShortStr::new(text).unwrap()),
                Ok(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
    }

    #[test]
    fn an_expiration_that_is_no_such_integer_is_refused_in_rabbitmqs_words() {
        for (text, reason) in [
            ("", "no_integer"),
            ("x", "no_integer"),
            ("x5", "no_integer"),
            (" 5", "no_integer"),
            ("-", "no_integer"),
            ("+", "no_integer"),
            ("+-5", "no_integer"),
            ("-1", "{value_negative,-1}"),
            ("5x", r#"{leftover_string,"x"}"#),
            ("5 ", r#"{leftover_string," "}"#),
            ("1.5", r#"{leftover_string,".5"}"#),
            ("5\u{e9}", "{leftover_string,\"\u{e9}\"}"),
            ("5\u{20ac}", "{leftover_string,[226,130,172]}"),
            ("5\"", r#"{leftover_string,"\""}"#),
            ("5\\", r#"{leftover_string,"\\"}"#),
            ("5\n", r#"{leftover_string,"\n"}"#),
            ("315360000001", "{value_too_large,315360000001}"),
            (
                "99999999999999999999",
                "{value_too_large,99999999999999999999}",
            ),
            (
                "-99999999999999999999",
                "{value_negative,-99999999999999999999}",
            ),
        ] {
            let expected = format!("PRECONDITION_FAILED - invalid expiration '{text}': {reason}");
            assert_eq!(refusal(text), expected);
        }
    }
}
