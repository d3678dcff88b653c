//! One connection as it is on the wire: frames in and out of a socket, and nothing that knows what they mean.

use std::collections::{BTreeMap, VecDeque};
use std::io::{Error, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Instant;

use amqp_uring::protocol::{ContentHeader, DecodeError, Decoded, Frame, FrameKind, Method};

/// More than any frame that is asked for: a server that exceeds the negotiated size is found by the sizes in the transcript.
const FRAME_MAX: u32 = 16 * 1024 * 1024;

/// A frame, kept.
#[derive(Debug, Clone)]
pub struct Kept {
    pub kind: FrameKind,
    pub channel: u16,
    pub payload: Vec<u8>,
}

/// Why nothing came.
#[derive(Debug, thiserror::Error)]
pub enum Missing {
    #[error("the end of the connection")]
    Ended,
    #[error("nothing in time")]
    Late,
    #[error("octets that are no frame ({0})")]
    Malformed(DecodeError),
}

pub struct Line {
    stream: TcpStream,
    input: Vec<u8>,
    /// What has come for a channel and was not asked for yet. No entry is empty.
    waiting: BTreeMap<u16, VecDeque<Kept>>,
}

impl Line {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("a connection to the broker");
        stream.set_nodelay(true).expect("a socket option");
        Line {
            stream,
            input: Vec::new(),
            waiting: BTreeMap::new(),
        }
    }

    /// The other side may have gone: then the transcript shows it, as nothing is answered.
    pub fn write(&mut self, octets: &[u8]) {
        let _ = self.stream.write_all(octets);
    }

    /// Takes what is left over of a channel, frame by frame; the lowest channel first.
    pub fn left_over(&mut self) -> Option<Kept> {
        let channel = *self.waiting.keys().next()?;
        self.take_waiting(channel)
    }

    /// Whether the other side has asked to close the connection, and nobody has looked at it yet.
    pub fn is_closing(&self) -> bool {
        self.waiting.get(&0).is_some_and(|frames| {
            frames.iter().any(|frame| {
                matches!(
                    Method::decode(&frame.payload),
                    Ok(Method::ConnectionClose(_))
                )
            })
        })
    }

    fn take_waiting(&mut self, channel: u16) -> Option<Kept> {
        let frames = self.waiting.get_mut(&channel)?;
        let frame = frames.pop_front();
        if frames.is_empty() {
            self.waiting.remove(&channel);
        }
        frame
    }

    /// The next frame of this channel. Frames of others that come before it wait for their turn.
    pub fn next_of(&mut self, channel: u16, deadline: Instant) -> Result<Kept, Missing> {
        loop {
            if let Some(frame) = self.take_waiting(channel) {
                return Ok(frame);
            }
            if self.is_closing() {
                return Err(Missing::Ended);
            }
            self.read_one(deadline)?;
        }
    }

    /// The next method of this channel, with its content if it has one: one frame, or several.
    pub fn next_method(&mut self, channel: u16, deadline: Instant) -> Result<Vec<Kept>, Missing> {
        let first = self.next_of(channel, deadline)?;
        let mut frames = vec![first];
        if !Method::decode(&frames[0].payload).is_ok_and(|method| method.has_content()) {
            return Ok(frames);
        }
        let header = self.next_of(channel, deadline)?;
        let mut left = ContentHeader::decode(&header.payload).map_or(0, |header| header.body_size);
        frames.push(header);
        while left > 0 {
            let body = self.next_of(channel, deadline)?;
            left = left.saturating_sub(body.payload.len() as u64);
            frames.push(body);
        }
        Ok(frames)
    }

    /// Reads until the other side closes. What comes before waits.
    pub fn read_to_end(&mut self, deadline: Instant) -> Missing {
        loop {
            if let Err(missing) = self.read_one(deadline) {
                return missing;
            }
        }
    }

    /// Says that nothing more will be sent.
    pub fn end_sending(&mut self) {
        // The other side may have gone already.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Exactly this many octets that are no frame, or those that came before the end.
    pub fn octets(&mut self, count: usize, deadline: Instant) -> Vec<u8> {
        while self.input.len() < count && self.read_some(deadline).is_ok() {}
        let count = count.min(self.input.len());
        self.input.drain(..count).collect()
    }

    /// Puts one frame to those that wait.
    fn read_one(&mut self, deadline: Instant) -> Result<(), Missing> {
        loop {
            match Frame::decode(&self.input, FRAME_MAX) {
                Ok(Decoded::Frame { frame, octets }) => {
                    let kept = Kept {
                        kind: frame.kind,
                        channel: frame.channel,
                        payload: frame.payload.to_vec(),
                    };
                    self.input.drain(..octets);
                    self.waiting
                        .entry(kept.channel)
                        .or_default()
                        .push_back(kept);
                    return Ok(());
                }
                Ok(Decoded::Incomplete { .. }) => self.read_some(deadline)?,
                Err(error) => return Err(Missing::Malformed(error)),
            }
        }
    }

    fn read_some(&mut self, deadline: Instant) -> Result<(), Missing> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Missing::Late);
        }
        self.stream
            .set_read_timeout(Some(left))
            .expect("a socket option");
        let mut octets = [0; 64 * 1024];
        match self.stream.read(&mut octets) {
            Ok(0) => Err(Missing::Ended),
            Ok(count) => {
                self.input.extend_from_slice(&octets[..count]);
                Ok(())
            }
            Err(error) => why(&error),
        }
    }
}

fn why(error: &Error) -> Result<(), Missing> {
    match error.kind() {
        ErrorKind::Interrupted => Ok(()),
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Err(Missing::Late),
        // A server that closes with octets unread resets the connection: an end like another.
        _ => Err(Missing::Ended),
    }
}
