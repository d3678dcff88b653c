//! Frames as lines of text: every argument, property and octet, in a form that a difference can be read in.

use std::fmt::Write;

use amqp_uring::protocol::{
    ContentHeader, DecodeError, FieldSpec, FrameKind, METHODS, MethodSpec, PROPERTIES, Reader,
    Table, Value, WireType,
};

use super::line::Kept;

/// Bodies up to here are shown whole.
const BODY_SHOWN_MAX: usize = 80;

/// Who has sent a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// The script. Arguments that are zero or empty are left out.
    Client,
    /// The broker. Every argument is shown.
    Server,
}

pub fn frame(frame: &Kept, from: From) -> String {
    match frame.kind {
        FrameKind::Method => method(&frame.payload, from),
        FrameKind::Header => header(&frame.payload),
        FrameKind::Body => format!("body {}", octets(&frame.payload)),
        FrameKind::Heartbeat => "heartbeat".into(),
    }
}

/// Name of the method that a frame holds; the kind of any other frame.
pub fn name(frame: &Kept) -> &'static str {
    match frame.kind {
        FrameKind::Method => spec(&frame.payload).map_or("unknown method", |spec| spec.name),
        FrameKind::Header => "header",
        FrameKind::Body => "body",
        FrameKind::Heartbeat => "heartbeat",
    }
}

fn spec(payload: &[u8]) -> Option<&'static MethodSpec> {
    let mut reader = Reader::new(payload);
    let id = (reader.short("class").ok()?, reader.short("method").ok()?);
    METHODS
        .iter()
        .find(|spec| (spec.class_id, spec.method_id) == id)
}

/// An argument by its name; empty when the method has none of that name.
pub fn text_argument(payload: &[u8], name: &str) -> String {
    let mut found = String::new();
    let _ = arguments(payload, |field, value| {
        if field.name == name {
            found = value.trim_matches('"').into();
        }
    });
    found
}

fn method(payload: &[u8], from: From) -> String {
    let Some(spec) = spec(payload) else {
        return format!("unknown method {}", octets(payload));
    };
    let mut text = String::from(spec.name);
    let end = arguments(payload, |field, value| {
        let is_empty = ["false", "0", "\"\"", "{}"].contains(&value);
        if !(is_empty && (field.reserved || from == From::Client)) {
            let _ = write!(text, " {}={value}", field.name.trim_end_matches('_'));
        }
    });
    if let Err(error) = end {
        let _ = write!(text, " !! {error}");
    }
    text
}

/// Shows each argument to `look`.
fn arguments(payload: &[u8], mut look: impl FnMut(&FieldSpec, &str)) -> Result<(), DecodeError> {
    let Some(spec) = spec(payload) else {
        return Ok(());
    };
    let mut reader = Reader::new(&payload[4..]);
    for field in spec.fields {
        look(field, &argument(&mut reader, field)?);
    }
    reader.finish(spec.name)
}

fn argument(reader: &mut Reader<'_>, field: &FieldSpec) -> Result<String, DecodeError> {
    let name = field.name;
    Ok(match field.wire_type {
        WireType::Bit => reader.bit(name)?.to_string(),
        WireType::Octet => reader.octet(name)?.to_string(),
        WireType::Short => reader.short(name)?.to_string(),
        WireType::Long => reader.long(name)?.to_string(),
        WireType::LongLong | WireType::Timestamp => reader.longlong(name)?.to_string(),
        WireType::ShortStr => quoted(reader.shortstr(name)?.as_bytes()),
        WireType::LongStr => quoted(reader.longstr(name)?.as_bytes()),
        WireType::Table => {
            let found = reader.table(name)?;
            found.validate()?;
            table(found)?
        }
    })
}

/// As `Debug`, but for quotes in the text, which are many in reply texts.
fn quoted(octets: &[u8]) -> String {
    format!("\"{}\"", octets.escape_ascii()).replace("\\'", "'")
}

/// Entries by their names: a table has no order, and RabbitMQ's own come in several.
fn table(table: Table<'_>) -> Result<String, DecodeError> {
    let mut entries = Vec::new();
    for entry in table {
        let (name, value) = entry?;
        entries.push(format!("{name:?}: {}", value_shown(value)?));
    }
    entries.sort();
    Ok(format!("{{{}}}", entries.join(", ")))
}

fn value_shown(value: Value<'_>) -> Result<String, DecodeError> {
    Ok(match value {
        Value::Table(inner) => table(inner)?,
        Value::Array(array) => {
            let values = array.iter().map(|value| value_shown(value?));
            let values: Vec<_> = values.collect::<Result<_, _>>()?;
            format!("[{}]", values.join(", "))
        }
        value => format!("{value:?}"),
    })
}

fn header(payload: &[u8]) -> String {
    well_formed_header(payload)
        .unwrap_or_else(|error| format!("header {} !! {error}", octets(payload)))
}

fn well_formed_header(payload: &[u8]) -> Result<String, DecodeError> {
    let header = ContentHeader::decode(payload)?;
    header.properties.validate()?;
    let mut text = format!("header body_size={}", header.body_size);
    let mut encoded = Vec::new();
    header.properties.encode(&mut encoded);
    let mut reader = Reader::new(&encoded);
    let flags = reader.short("property flags")?;
    for (place, property) in PROPERTIES.iter().enumerate() {
        if flags & (0x8000 >> place) != 0 {
            let value = argument(&mut reader, property)?;
            let _ = write!(text, " {}={value}", property.name);
        }
    }
    Ok(text)
}

/// Short ones as they are, long ones by what they are made of.
pub fn octets(octets: &[u8]) -> String {
    let count = octets.len();
    match octets {
        [] => "nothing".into(),
        [first, rest @ ..] if count > BODY_SHOWN_MAX && rest.iter().all(|octet| octet == first) => {
            format!("{count} times \"{}\"", first.escape_ascii())
        }
        _ if count > BODY_SHOWN_MAX => {
            let (head, _) = octets.split_at(BODY_SHOWN_MAX);
            let sum: u64 = octets
                .iter()
                .zip(1..)
                .map(|(octet, place)| u64::from(*octet) * place)
                .sum();
            format!(
                "{count} octets \"{}…\", weighted sum {sum}",
                head.escape_ascii()
            )
        }
        _ => format!("\"{}\"", octets.escape_ascii()),
    }
}
