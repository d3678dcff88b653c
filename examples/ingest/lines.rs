//! The input: octets, cut into lines at each newline, in blocks of a bounded size.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use thiserror::Error;

/// Octets that are read at once, and so roughly those of a block: enough to make the hand-over of a block cheap.
const BLOCK_OCTETS: usize = 64 * 1024;

/// Blocks that are read ahead of whoever takes them.
const BLOCKS_AHEAD: usize = 4;

/// Why the next line could not be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The input failed.
    #[error("line {line}: {error}")]
    Io {
        /// The line that was being read.
        line: u64,
        /// The system's error.
        error: io::Error,
    },
    /// A line is longer than allowed.
    #[error("line {line} is longer than {octets_max} octets; --line-max raises the limit")]
    TooLong {
        /// Its number.
        line: u64,
        /// The limit.
        octets_max: usize,
    },
}

/// Some whole lines: at most [`BLOCK_OCTETS`], and one line more.
#[derive(Debug, Default)]
pub struct Block {
    /// The number of the first of them; the input's first line is 1.
    first: u64,
    octets: Vec<u8>,
    /// For each line where it ends in `octets`, which has no newlines.
    ends: Vec<usize>,
    /// Octets of the input in this block, newlines included.
    pub input_octets: u64,
}

impl Block {
    /// Each line with its number, without the newline.
    pub fn lines(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let bodies = starts
            .zip(&self.ends)
            .map(|(start, &end)| self.octets.get(start..end).unwrap_or_default());
        (self.first..).zip(bodies)
    }
}

/// Cuts an input into blocks of lines: an iterator that ends after the input's last line, or after the first error.
///
/// A line ends with a newline, which is not part of it, or with the input. It may be empty and may hold any octets.
pub struct Lines<R> {
    input: BufReader<R>,
    octets_max: usize,
    /// Lines read so far.
    count: u64,
    state: State,
}

enum State {
    Reading,
    /// The lines before the error have been handed on; it comes next.
    Failed(ReadError),
    Ended,
}

impl<R: Read> Lines<R> {
    /// Reads lines of at most `octets_max` octets, the newline not counted.
    pub fn new(input: R, octets_max: usize) -> Self {
        Lines {
            input: BufReader::with_capacity(BLOCK_OCTETS, input),
            octets_max,
            count: 0,
            state: State::Reading,
        }
    }

    fn read_line(&mut self, block: &mut Block) -> Result<(), ReadError> {
        let line = self.count + 1;
        // One octet more than the longest line: its newline, or the proof that it is too long.
        let taken = (&mut self.input)
            .take(self.octets_max as u64 + 1)
            .read_until(b'\n', &mut block.octets)
            .map_err(|error| ReadError::Io { line, error })?;
        if block.octets.last() == Some(&b'\n') {
            block.octets.pop();
        } else if taken > self.octets_max {
            let octets_max = self.octets_max;
            return Err(ReadError::TooLong { line, octets_max });
        } else {
            self.state = State::Ended;
            if taken == 0 {
                return Ok(());
            }
        }
        self.count = line;
        block.ends.push(block.octets.len());
        block.input_octets += taken as u64;
        Ok(())
    }
}

impl<R: Read> Iterator for Lines<R> {
    type Item = Result<Block, ReadError>;

    /// Reads one line, however long that takes, and those that are at hand after it: what somebody writes to a pipe is
    /// handed on at once.
    fn next(&mut self) -> Option<Self::Item> {
        let mut block = Block {
            first: self.count + 1,
            ..Block::default()
        };
        while matches!(self.state, State::Reading) {
            if let Err(error) = self.read_line(&mut block) {
                self.state = State::Failed(error);
            }
            if !self.input.buffer().contains(&b'\n') {
                break;
            }
        }
        if !block.ends.is_empty() {
            return Some(Ok(block));
        }
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Failed(error) => Some(Err(error)),
            State::Reading | State::Ended => None,
        }
    }
}

/// Reads on a thread of its own, as a read from a pipe or a terminal may block for ever: who takes the blocks can look
/// after other things. The channel ends with the input, or after its first error.
pub fn read_ahead(
    input: impl Read + Send + 'static,
    octets_max: usize,
) -> io::Result<Receiver<Result<Block, ReadError>>> {
    let (blocks_in, blocks) = sync_channel(BLOCKS_AHEAD);
    let read = move || {
        for block in Lines::new(input, octets_max) {
            if blocks_in.send(block).is_err() {
                return;
            }
        }
    };
    thread::Builder::new()
        .name("input".to_owned())
        .spawn(read)?;
    Ok(blocks)
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read};

    use super::{BLOCK_OCTETS, Lines, ReadError};

    type Numbered = Vec<(u64, Vec<u8>)>;

    /// The lines up to the end or the first error, and the error.
    fn read(input: impl Read, octets_max: usize) -> (Numbered, Option<ReadError>) {
        let mut lines = Vec::new();
        for block in Lines::new(input, octets_max) {
            match block {
                Ok(block) => {
                    lines.extend(block.lines().map(|(number, body)| (number, body.to_vec())))
                }
                Err(error) => return (lines, Some(error)),
            }
        }
        (lines, None)
    }

    fn bodies(input: &[u8]) -> Vec<Vec<u8>> {
        let (lines, error) = read(input, 100);
        assert!(error.is_none(), "{error:?}");
        assert!(
            lines
                .iter()
                .map(|(number, _)| *number)
                .eq(1..=lines.len() as u64)
        );
        lines.into_iter().map(|(_, body)| body).collect()
    }

    #[test]
    fn empty_lines_count_and_so_does_a_last_one_without_newline() {
        assert_eq!(bodies(b""), Vec::<Vec<u8>>::new());
        assert_eq!(bodies(b"\n"), [b""]);
        assert_eq!(bodies(b"a\n\nb"), [&b"a"[..], b"", b"b"]);
        assert_eq!(bodies(b"a\n\n"), [&b"a"[..], b""]);
    }

    #[test]
    fn octets_that_are_no_text_and_carriage_returns_are_kept() {
        assert_eq!(bodies(b"\xff\0\r\n\xc3\n"), [&b"\xff\0\r"[..], b"\xc3"]);
    }

    #[test]
    fn a_line_of_the_limit_passes_and_one_octet_more_is_an_error_after_the_lines_before_it() {
        let (lines, error) = read(&b"12345\n12345"[..], 5);
        assert_eq!(lines.len(), 2);
        assert!(error.is_none());
        for input in [&b"a\n123456\nb\n"[..], b"a\n123456"] {
            let (lines, error) = read(input, 5);
            assert_eq!(lines, [(1, b"a".to_vec())]);
            assert!(
                matches!(
                    error,
                    Some(ReadError::TooLong {
                        line: 2,
                        octets_max: 5
                    })
                ),
                "{error:?}"
            );
        }
    }

    #[test]
    fn an_input_of_many_blocks_is_read_whole_and_in_order() {
        let input: Vec<u8> = (0..50_000)
            .flat_map(|n| format!("{n}\n").into_bytes())
            .collect();
        assert!(input.len() > 3 * BLOCK_OCTETS);
        let (lines, _) = read(&input[..], 100);
        assert!(
            lines
                .into_iter()
                .eq((0..50_000u64).map(|n| (n + 1, n.to_string().into_bytes())))
        );
    }

    #[test]
    fn a_line_longer_than_the_buffer_is_read_whole() {
        let long = vec![b'x'; 3 * BLOCK_OCTETS];
        let input = [b"a\n", &long[..], b"\nb\n"].concat();
        let (lines, error) = read(&input[..], long.len());
        assert!(error.is_none());
        assert_eq!(lines, [(1, b"a".to_vec()), (2, long), (3, b"b".to_vec())]);
    }

    /// Gives one octet at a time and fails at the end.
    struct Failing(&'static [u8]);

    impl Read for Failing {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let (first, rest) = self
                .0
                .split_first()
                .ok_or_else(|| io::Error::other("gone"))?;
            self.0 = rest;
            out[0] = *first;
            Ok(1)
        }
    }

    #[test]
    fn a_line_at_hand_is_handed_on_before_more_is_read() {
        let mut lines = Lines::new(Failing(b"a\nb\n"), 10);
        let first = lines.next().unwrap().unwrap();
        assert_eq!(first.lines().collect::<Vec<_>>(), [(1, &b"a"[..])]);
    }

    #[test]
    fn an_input_that_fails_is_an_error_with_the_line_and_then_the_end() {
        let (lines, error) = read(Failing(b"a\nb"), 10);
        assert_eq!(lines, [(1, b"a".to_vec())]);
        assert!(
            matches!(error, Some(ReadError::Io { line: 2, .. })),
            "{error:?}"
        );
        let mut lines = Lines::new(Failing(b""), 10);
        assert!(lines.next().unwrap().is_err());
        assert!(lines.next().is_none());
    }
}
