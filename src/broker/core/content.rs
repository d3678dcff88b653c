//! Content on its way in: a method, a content header, body frames until the announced size is reached (4.2.6).

use super::context::malformed;
use super::message::Message;
use super::refusal::Refusal;
use crate::protocol::{ContentHeader, DecodeError, Frame, FrameKind, ReplyCode, basic};

/// Octets of a content header before flags and properties: class id, weight, body size.
const HEADER_HEAD: usize = 12;

/// What is reserved for a body before any of it has come: a header alone must not make this side allocate.
const RESERVED_AHEAD_MAX: u64 = 1 << 20;

/// A publish whose method has come.
#[derive(Default)]
pub(crate) struct Incoming {
    pub mandatory: bool,
    /// `exchange | routing key | properties`.
    head: Vec<u8>,
    exchange_end: usize,
    key_end: usize,
    /// Octets that the header announces; unknown before it.
    announced: Option<u64>,
    /// What has come of a body in several frames.
    body: Vec<u8>,
}

impl Incoming {
    /// Begins anew, with the memory of the one before.
    pub fn begin(&mut self, publish: &basic::Publish<'_>) {
        self.mandatory = publish.mandatory;
        self.head.clear();
        self.head.extend_from_slice(publish.exchange.as_bytes());
        self.exchange_end = self.head.len();
        self.head.extend_from_slice(publish.routing_key.as_bytes());
        self.key_end = self.head.len();
        self.announced = None;
        self.body.clear();
    }

    /// Takes the next frame; gives the message when it is complete.
    pub fn add(&mut self, frame: &Frame<'_>, octets_max: u64) -> Result<Option<Message>, Refusal> {
        match (frame.kind, self.announced) {
            (FrameKind::Header, None) => {
                let announced = self.header(frame.payload, octets_max)?;
                self.announced = Some(announced);
                if announced > 0 {
                    return Ok(None);
                }
                self.finish(&[]).map(Some)
            }
            (FrameKind::Body, Some(announced)) => {
                let octets = (self.body.len() + frame.payload.len()) as u64;
                if octets > announced {
                    // The surplus is noticed when something else comes, as by RabbitMQ; more of it changes nothing.
                    self.announced = Some(0);
                    self.body = Vec::new();
                    return Ok(None);
                }
                if octets < announced {
                    let missing = (announced - octets).min(RESERVED_AHEAD_MAX) as usize;
                    self.body.reserve(frame.payload.len() + missing);
                    self.body.extend_from_slice(frame.payload);
                    return Ok(None);
                }
                let message = self.finish(&[&self.body, frame.payload])?;
                self.body = Vec::new();
                Ok(Some(message))
            }
            (_, announced) => Err(unexpected(announced.is_some())),
        }
    }

    /// What has come of a body in several frames.
    pub fn octets(&self) -> usize {
        self.body.len()
    }

    fn header(&mut self, payload: &[u8], octets_max: u64) -> Result<u64, Refusal> {
        let header = match ContentHeader::decode(payload) {
            Ok(header) => header,
            Err(DecodeError::ContentClass { found }) => {
                let text = format!(
                    "expected content header for class 60, got one for class {found} instead"
                );
                return Err(Refusal::new(ReplyCode::UnexpectedFrame, text));
            }
            Err(DecodeError::ContentWeight { .. }) => return Err(unexpected(false)),
            Err(error) => return Err(malformed(&error)),
        };
        if header.body_size > octets_max {
            let text = format!(
                "message size {} is larger than configured max size {octets_max}",
                header.body_size
            );
            return Err(Refusal::precondition(text));
        }
        let encoded = payload.get(HEADER_HEAD..).unwrap_or_default();
        self.head.extend_from_slice(encoded);
        Ok(header.body_size)
    }

    fn finish(&self, body: &[&[u8]]) -> Result<Message, Refusal> {
        let piece = |from: usize, to: usize| self.head.get(from..to).unwrap_or_default();
        let exchange = piece(0, self.exchange_end);
        let key = piece(self.exchange_end, self.key_end);
        let properties = piece(self.key_end, self.head.len());
        Message::new(exchange, key, properties, body)
    }
}

fn unexpected(has_header: bool) -> Refusal {
    let text = if has_header {
        "expected content body, got non content body frame instead"
    } else {
        "expected content header for class 60, got non content header frame instead"
    };
    Refusal::new(ReplyCode::UnexpectedFrame, text)
}
