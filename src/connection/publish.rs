//! The frames of a publish: `basic.publish`, its content header, its body. Pure functions: they run on the publisher's thread, away from
//! the connection.

use super::error::Refused;
use super::write_method;
use crate::protocol::{
    ContentHeader, FRAME_OVERHEAD, FrameKind, PropertiesRef, ShortStr, basic, encode_frame_into,
};

/// Where a message goes, and how.
#[derive(Debug, Clone, Copy)]
pub struct Route<'a> {
    /// The exchange; empty for the default exchange.
    pub exchange: ShortStr<'a>,
    /// The routing key.
    pub routing_key: ShortStr<'a>,
    /// Whether the broker is to return it when no queue takes it.
    pub mandatory: bool,
}

/// Appends the method frame and the content header frame.
///
/// # Errors
/// [`Refused::FrameTooLarge`] when the properties do not fit one frame of `frame_max` octets, as they must (section 4.2.6.1). Nothing is
/// appended then.
pub fn encode_publish_head(
    out: &mut Vec<u8>,
    channel: u16,
    frame_max: u32,
    route: &Route<'_>,
    properties: PropertiesRef<'_>,
    body_size: usize,
) -> Result<(), Refused> {
    let publish = basic::Publish {
        exchange: route.exchange,
        routing_key: route.routing_key,
        mandatory: route.mandatory,
        immediate: false,
    };
    let start = out.len();
    write_method(out, channel, |out| publish.encode(out));
    let header_start = out.len();
    let header = ContentHeader::new(body_size as u64, properties);
    encode_frame_into(out, FrameKind::Header, channel, |out| header.encode(out));
    let size = out.len() - header_start;
    if size > frame_max as usize {
        out.truncate(start);
        return Err(Refused::FrameTooLarge {
            method: "content header",
            size,
            frame_max,
        });
    }
    Ok(())
}

/// Appends the body in as many frames as it needs; an empty body has none (section 4.2.6.2).
pub fn encode_body(out: &mut Vec<u8>, channel: u16, frame_max: u32, body: &[u8]) {
    for piece in body.chunks(body_piece_max(frame_max)) {
        encode_frame_into(out, FrameKind::Body, channel, |out| {
            out.extend_from_slice(piece);
        });
    }
}

/// The most body octets that one frame holds.
pub fn body_piece_max(frame_max: u32) -> usize {
    (frame_max as usize).saturating_sub(FRAME_OVERHEAD).max(1)
}
