//! Content on its way in: a method, a content header, then body frames until the announced size is reached (section 4.2.6).
//!
//! The common case, all of it in the octets at hand and the body in one frame, is looked up in place and borrowed ([`find_whole`]). Otherwise the pieces are
//! gathered in a [`Content`], one per channel, because frames of other channels may come in between.

use bytes::Bytes;

use super::error::{ConnectionError, Violation};
use crate::protocol::{ContentHeader, Decoded, Frame, FrameKind};

/// How much of an announced body is reserved before any of it has come: a header alone must not make this side allocate.
const RESERVED_AHEAD_MAX: u64 = 1024 * 1024;

/// Content whose method has been read.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// The payload of the method frame.
    pub method: Vec<u8>,
    /// The payload of the header frame; empty until it came.
    pub header: Vec<u8>,
    body: Vec<u8>,
    body_size: u64,
}

impl Content {
    pub fn begin(method: &[u8]) -> Self {
        Content {
            method: method.to_vec(),
            ..Content::default()
        }
    }

    /// Takes the next frame; true when the content is complete.
    pub fn add(&mut self, frame: &Frame<'_>, body_size_max: u64) -> Result<bool, ConnectionError> {
        let channel = frame.channel;
        match frame.kind {
            FrameKind::Header if self.header.is_empty() => {
                let header = decode_header(frame, body_size_max)?;
                self.header.extend_from_slice(frame.payload);
                self.body_size = header.body_size;
                self.body
                    .reserve(header.body_size.min(RESERVED_AHEAD_MAX) as usize);
            }
            FrameKind::Body if !self.header.is_empty() => {
                self.body.extend_from_slice(frame.payload);
                if self.body.len() as u64 > self.body_size {
                    return Err(Violation::BodyTooLong {
                        announced: self.body_size,
                        channel,
                    }
                    .into());
                }
            }
            other => {
                return Err(Violation::UnexpectedFrame {
                    found: kind_name(other),
                    channel,
                    expected: if self.header.is_empty() {
                        "a content header"
                    } else {
                        "a body frame"
                    },
                }
                .into());
            }
        }
        Ok(self.body.len() as u64 == self.body_size)
    }

    pub fn take_body(&mut self) -> Bytes {
        Bytes::from(std::mem::take(&mut self.body))
    }
}

/// What follows a method with content in the octets at hand.
pub(super) enum Whole<'a> {
    /// All of it.
    Found {
        header: ContentHeader<'a>,
        body: &'a [u8],
        octets: usize,
    },
    /// Too little to tell, or not all of a body that fits one frame.
    Missing(usize),
    /// It comes in more pieces than that, or with other frames in between.
    InPieces,
}

/// Looks for the header frame and the one body frame that follow a method frame on `channel`.
#[inline]
pub(super) fn find_whole<'a>(
    input: &'a [u8],
    channel: u16,
    frame_max: u32,
    body_size_max: u64,
) -> Result<Whole<'a>, ConnectionError> {
    let (header, at) = match Frame::decode(input, frame_max)? {
        Decoded::Incomplete { missing } => return Ok(Whole::Missing(missing)),
        Decoded::Frame { frame, octets }
            if frame.kind == FrameKind::Header && frame.channel == channel =>
        {
            (decode_header(&frame, body_size_max)?, octets)
        }
        Decoded::Frame { .. } => return Ok(Whole::InPieces),
    };
    if header.body_size == 0 {
        return Ok(Whole::Found {
            header,
            body: &[],
            octets: at,
        });
    }
    if header.body_size > super::publish::body_piece_max(frame_max) as u64 {
        return Ok(Whole::InPieces);
    }
    match Frame::decode(&input[at..], frame_max)? {
        Decoded::Incomplete { missing } => Ok(Whole::Missing(missing)),
        Decoded::Frame { frame, octets }
            if frame.kind == FrameKind::Body
                && frame.channel == channel
                && frame.payload.len() as u64 == header.body_size =>
        {
            Ok(Whole::Found {
                header,
                body: frame.payload,
                octets: at + octets,
            })
        }
        Decoded::Frame { .. } => Ok(Whole::InPieces),
    }
}

#[inline]
fn decode_header<'a>(
    frame: &Frame<'a>,
    body_size_max: u64,
) -> Result<ContentHeader<'a>, ConnectionError> {
    let header = ContentHeader::decode(frame.payload)?;
    if header.body_size > body_size_max {
        return Err(Violation::BodyTooLarge {
            announced: header.body_size,
            limit: body_size_max,
            channel: frame.channel,
        }
        .into());
    }
    Ok(header)
}

pub(super) fn kind_name(kind: FrameKind) -> &'static str {
    match kind {
        FrameKind::Method => "method",
        FrameKind::Header => "content header",
        FrameKind::Body => "body",
        FrameKind::Heartbeat => "heartbeat",
    }
}
