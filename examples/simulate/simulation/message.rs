//! What is published: a number that names it, and a body that follows from the number.

use amqp_uring::{Error, Properties, PropertiesRef};

use super::oracle::MessageId;

/// A message's properties.
pub fn properties(id: MessageId, is_persistent: bool) -> Result<Properties, Error> {
    let mode = if is_persistent { 2 } else { 1 };
    let properties = Properties::builder()
        .delivery_mode(mode)
        .message_id(&name(id));
    Ok(properties.build()?)
}

/// A message's name in its properties.
fn name(id: MessageId) -> String {
    format!("m{id}")
}

/// The number of a name.
fn number(name: &str) -> Option<MessageId> {
    name.strip_prefix('m')?.parse().ok()
}

/// The number of the message with these properties; one that nobody has when they name none.
pub fn number_in(properties: PropertiesRef<'_>) -> MessageId {
    let name = properties.message_id().ok().flatten();
    let number = name.and_then(|name| number(name.as_str().ok()?));
    number.unwrap_or(MessageId::MAX)
}

/// A piece of its body, which is the same over and over.
fn pattern(id: MessageId) -> [u8; 16] {
    let low = (id as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let high = low.rotate_left(29) ^ 0x5555_5555_5555_5555;
    (u128::from(high) << 64 | u128::from(low)).to_le_bytes()
}

/// A message's body.
pub fn body(id: MessageId, octets: usize) -> Vec<u8> {
    let mut body = pattern(id).repeat(octets.div_ceil(16));
    body.truncate(octets);
    body
}

/// Whether it is this message's body.
pub fn is_body(id: MessageId, octets: usize, body: &[u8]) -> bool {
    let pattern = pattern(id);
    body.len() == octets
        && body
            .chunks(16)
            .all(|piece| *piece == pattern[..piece.len()])
}
