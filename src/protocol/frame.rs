//! Frames: the envelope around everything after the protocol header (4.2.3).
//!
//! ```text
//! 0      1         3             7                  7 + size
//! +------+---------+-------------+------------------+-----------+
//! | kind | channel | size        | payload          | frame end |
//! | 1    | 2       | 4           | size octets      | 1, 206    |
//! +------+---------+-------------+------------------+-----------+
//! ```
//!
//! `frame_max` counts the whole frame, so a payload has at most `frame_max - FRAME_OVERHEAD` octets.

use super::error::DecodeError;

/// Octets of a frame around its payload: kind, channel, size, and the frame end.
pub const FRAME_OVERHEAD: usize = 8;

/// Octets of a frame before its payload.
pub const FRAME_HEAD: usize = 7;

/// The octet after each payload.
pub const FRAME_END: u8 = 206;

/// Smallest `frame_max` that a peer may propose, in octets; frames up to this size are allowed before tuning (4.2.3).
pub const FRAME_MIN_SIZE: u32 = 4096;

/// What a client sends first: the protocol and its version, 0-9-1 (4.2.2).
pub const PROTOCOL_HEADER: [u8; 8] = *b"AMQP\x00\x00\x09\x01";

/// What every protocol header begins with, whatever the version.
const PROTOCOL_NAME: &[u8; 4] = b"AMQP";

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FrameKind {
    /// A method: class id, method id, arguments.
    Method = 1,
    /// A content header: body size and properties.
    Header = 2,
    /// A piece of a content body.
    Body = 3,
    /// A sign of life, without payload, on channel 0.
    Heartbeat = 8,
}

impl FrameKind {
    /// The kind with this octet; `None` when there is no such kind.
    #[inline]
    pub const fn from_u8(octet: u8) -> Option<Self> {
        match octet {
            1 => Some(Self::Method),
            2 => Some(Self::Header),
            3 => Some(Self::Body),
            8 => Some(Self::Heartbeat),
            _ => None,
        }
    }
}

/// One frame, borrowed from the octets it was found in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What the payload is.
    pub kind: FrameKind,
    /// The channel it belongs to; 0 is the connection itself.
    pub channel: u16,
    /// The payload, without head and frame end.
    pub payload: &'a [u8],
}

/// What [`Frame::decode`] found at the beginning of some octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// A whole frame.
    Frame {
        /// The frame.
        frame: Frame<'a>,
        /// Its size with head and frame end: how many octets to leave behind before the next one.
        octets: usize,
    },
    /// The beginning of a frame.
    Incomplete {
        /// At least this many more octets are needed before it makes sense to try again; never 0.
        missing: usize,
    },
}

impl<'a> Frame<'a> {
    /// Looks for one frame at the beginning of `input`. `frame_max` is the negotiated limit in octets, head and frame
    /// end included.
    ///
    /// # Errors
    /// An unknown kind octet and a payload larger than `frame_max` allows are refused as soon as the octets that say so
    /// are there, a wrong frame end once the whole frame is there. A protocol header in place of a frame is
    /// [`DecodeError::ProtocolHeader`].
    #[inline]
    pub fn decode(input: &'a [u8], frame_max: u32) -> Result<Decoded<'a>, DecodeError> {
        let Some((head, rest)) = input.split_first_chunk::<FRAME_HEAD>() else {
            return decode_beginning(input);
        };
        let &[kind, channel_high, channel_low, s0, s1, s2, s3] = head;
        let Some(kind) = FrameKind::from_u8(kind) else {
            return decode_beginning(input);
        };
        let size = u32::from_be_bytes([s0, s1, s2, s3]);
        let limit = frame_max.saturating_sub(FRAME_OVERHEAD as u32);
        if size > limit {
            return Err(DecodeError::FrameTooLarge { size, limit });
        }
        let length = size as usize;
        let Some((payload, [end, ..])) = rest.split_at_checked(length) else {
            return Ok(Decoded::Incomplete {
                missing: (length + 1).saturating_sub(rest.len()),
            });
        };
        if *end != FRAME_END {
            return Err(DecodeError::FrameEnd { found: *end, size });
        }
        let channel = u16::from_be_bytes([channel_high, channel_low]);
        Ok(Decoded::Frame {
            frame: Frame {
                kind,
                channel,
                payload,
            },
            octets: length + FRAME_OVERHEAD,
        })
    }
}

/// The rare cases: too few octets for a head, or octets that begin no frame.
#[cold]
fn decode_beginning(input: &[u8]) -> Result<Decoded<'_>, DecodeError> {
    let incomplete = Ok(Decoded::Incomplete {
        missing: FRAME_OVERHEAD.saturating_sub(input.len()).max(1),
    });
    let Some(&first) = input.first() else {
        return incomplete;
    };
    if FrameKind::from_u8(first).is_some() {
        return incomplete;
    }
    if !input
        .iter()
        .zip(PROTOCOL_NAME)
        .all(|(octet, expected)| octet == expected)
    {
        return Err(DecodeError::FrameKind { found: first });
    }
    match input.first_chunk() {
        Some(&octets) => Err(DecodeError::ProtocolHeader { octets }),
        None => incomplete,
    }
}

/// The seven octets before a payload of `size` octets, for callers that send the payload from elsewhere. After the
/// payload comes [`FRAME_END`].
#[inline]
pub const fn frame_head(kind: FrameKind, channel: u16, size: u32) -> [u8; FRAME_HEAD] {
    let [c0, c1] = channel.to_be_bytes();
    let [s0, s1, s2, s3] = size.to_be_bytes();
    [kind as u8, c0, c1, s0, s1, s2, s3]
}

/// Appends one frame, whose payload `payload` appends. The size is filled in afterwards.
///
/// The caller keeps the payload within the negotiated `frame_max`.
#[inline]
pub fn encode_frame_into(
    out: &mut Vec<u8>,
    kind: FrameKind,
    channel: u16,
    payload: impl FnOnce(&mut Vec<u8>),
) {
    out.extend_from_slice(&frame_head(kind, channel, 0));
    let start = out.len();
    payload(out);
    let size = u32::try_from(out.len().saturating_sub(start)).unwrap_or(u32::MAX);
    if let Some(place) = start
        .checked_sub(4)
        .and_then(|from| out.get_mut(from..start))
    {
        place.copy_from_slice(&size.to_be_bytes());
    }
    out.push(FRAME_END);
}

/// Appends a heartbeat (4.2.7).
#[inline]
pub fn encode_heartbeat(out: &mut Vec<u8>) {
    encode_frame_into(out, FrameKind::Heartbeat, 0, |_| {});
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(channel: u16, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode_frame_into(&mut out, FrameKind::Body, channel, |out| {
            out.extend_from_slice(payload)
        });
        out
    }

    #[test]
    fn a_heartbeat_is_eight_octets() {
        let mut out = Vec::new();
        encode_heartbeat(&mut out);
        assert_eq!(out, [8, 0, 0, 0, 0, 0, 0, 206]);
    }

    #[test]
    fn every_beginning_of_a_frame_says_how_much_is_missing() {
        let octets = body(0x0102, b"hello");
        for length in 0..octets.len() {
            let expected = if length < FRAME_HEAD {
                8 - length
            } else {
                octets.len() - length
            };
            assert_eq!(
                Frame::decode(&octets[..length], FRAME_MIN_SIZE),
                Ok(Decoded::Incomplete { missing: expected }),
                "{length} octets"
            );
        }
        let frame = Frame {
            kind: FrameKind::Body,
            channel: 0x0102,
            payload: b"hello",
        };
        assert_eq!(
            Frame::decode(&[octets.as_slice(), b"next"].concat(), FRAME_MIN_SIZE),
            Ok(Decoded::Frame { frame, octets: 13 })
        );
    }

    #[test]
    fn a_payload_of_exactly_frame_max_passes_and_one_octet_more_is_refused_at_its_head() {
        let octets = body(1, &[0; 92]);
        assert!(matches!(
            Frame::decode(&octets, 100),
            Ok(Decoded::Frame { octets: 100, .. })
        ));
        let refused = Err(DecodeError::FrameTooLarge {
            size: 92,
            limit: 91,
        });
        assert_eq!(Frame::decode(&octets[..7], 99), refused);
        assert_eq!(Frame::decode(&octets, 99), refused);
        assert_eq!(
            Frame::decode(&octets, 3),
            Err(DecodeError::FrameTooLarge { size: 92, limit: 0 })
        );
    }

    #[test]
    fn an_unknown_kind_is_refused_at_its_first_octet() {
        for kind in (0..=u8::MAX).filter(|&kind| FrameKind::from_u8(kind).is_none() && kind != b'A')
        {
            for length in 1..9 {
                let octets = vec![kind; length];
                assert_eq!(
                    Frame::decode(&octets, 4096),
                    Err(DecodeError::FrameKind { found: kind })
                );
            }
        }
    }

    #[test]
    fn a_wrong_frame_end_is_refused() {
        let mut octets = body(1, b"x");
        octets[8] = 0;
        assert_eq!(
            Frame::decode(&octets, 4096),
            Err(DecodeError::FrameEnd { found: 0, size: 1 })
        );
    }

    #[test]
    fn a_protocol_header_is_waited_for_and_reported_whole() {
        let header = *b"AMQP\x00\x00\x09\x01";
        for length in 1..8 {
            assert_eq!(
                Frame::decode(&header[..length], 4096),
                Ok(Decoded::Incomplete {
                    missing: 8 - length
                })
            );
        }
        assert_eq!(
            Frame::decode(&header, 4096),
            Err(DecodeError::ProtocolHeader { octets: header })
        );
        assert_eq!(
            Frame::decode(b"AMX", 4096),
            Err(DecodeError::FrameKind { found: b'A' })
        );
    }
}
