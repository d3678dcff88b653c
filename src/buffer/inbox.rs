//! What one link has received and nobody has parsed yet.

use super::filled::Filled;

/// What a parser made of the octets it was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Parsed {
    /// Octets it is done with, from the first.
    pub consumed: usize,
    /// When it stopped for want of octets: how many more it needs at least, beyond all it was shown, to get on.
    /// 0 when it consumed everything, or when it stopped of its own will and wants to see the rest again.
    pub missing: usize,
}

/// The unparsed octets of one link, kept in their chunk where they are contiguous and gathered where they are not.
///
/// ```text
///   carry (copied)          run (in its chunk)
///   ┌──────────────┐        ┌───────────────────────────────┐
///   │ half a frame │ ─────▶ │ its rest │ frame │ frame │ ha │
///   └──────────────┘        └───────────────────────────────┘
/// ```
///
/// The stream is the carry followed by the run (B4). Usually the carry is empty. When new octets do not follow the run,
/// the run's unparsed tail becomes the carry; then the carry grows by just what its first frame lacks, is parsed and is
/// empty again, so that at most one frame for each change of chunk is copied.
#[derive(Debug, Default)]
pub struct Inbox {
    carry: Vec<u8>,
    run: Option<Filled>,
    /// How many octets the piece that is parsed next (the carry, or the run when the carry is empty) lacks at least.
    missing: usize,
}

impl Inbox {
    /// An emptied carry above this capacity is given back, so that one large frame does not hold memory for ever.
    pub const CARRY_OCTETS_KEPT: usize = 256 << 10;

    /// Takes in the next octets of the stream.
    pub fn push(&mut self, filled: Filled) {
        if filled.is_empty() {
            return;
        }
        if let Some(run) = &mut self.run
            && run.try_extend(&filled)
        {
            if self.carry.is_empty() {
                self.missing = self.missing.saturating_sub(filled.len());
            }
            return;
        }
        self.release();
        self.run = Some(filled);
    }

    /// Copies what is unparsed out of its chunk, so that this inbox holds no chunk any more.
    ///
    /// To be called when the driver has run out of chunks: half a frame of an idle link must not keep a chunk from the
    /// busy ones.
    pub fn release(&mut self) {
        if let Some(run) = self.run.take() {
            if !self.carry.is_empty() {
                self.missing = self.missing.saturating_sub(run.len());
            }
            self.carry.extend_from_slice(&run);
        }
    }

    /// Unparsed octets held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.carry.len() + self.run.as_ref().map_or(0, |run| run.len())
    }

    /// Whether every octet has been parsed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a chunk is held.
    #[must_use]
    pub fn holds_chunk(&self) -> bool {
        self.run.is_some()
    }

    /// Shows the octets to `parser` until it wants more than there are.
    ///
    /// The parser gets contiguous octets, and with them the view they are in (the very same octets), or `None` when they
    /// were gathered and nothing can be shared. It consumes as many frames as it can and says so in [`Parsed`]. A chunk
    /// whose octets are all consumed is let go.
    ///
    /// # Errors
    ///
    /// Whatever the parser's error is, at once; the octets it was shown then are kept.
    pub fn parse<E>(
        &mut self,
        mut parser: impl FnMut(&[u8], Option<&Filled>) -> Result<Parsed, E>,
    ) -> Result<(), E> {
        while !self.carry.is_empty() {
            self.fill_carry();
            if self.missing > 0 {
                return Ok(());
            }
            let parsed = parser(&self.carry, None)?;
            self.consume_carry(parsed);
            if !self.carry.is_empty() && self.missing == 0 {
                return Ok(());
            }
        }
        let Some(run) = &mut self.run else {
            return Ok(());
        };
        if self.missing > 0 {
            return Ok(());
        }
        let parsed = parser(run, Some(run))?;
        run.advance(parsed.consumed);
        if run.is_empty() {
            self.run = None;
        } else {
            self.missing = parsed.missing;
        }
        Ok(())
    }

    /// Moves what the carry lacks, and no more, from the run.
    fn fill_carry(&mut self) {
        if let Some(run) = &mut self.run {
            let moved = run.get(..self.missing).unwrap_or(run);
            let octets = moved.len();
            self.carry.extend_from_slice(moved);
            self.missing -= octets;
            run.advance(octets);
            if run.is_empty() {
                self.run = None;
            }
        }
    }

    fn consume_carry(&mut self, parsed: Parsed) {
        if parsed.consumed < self.carry.len() {
            self.carry.drain(..parsed.consumed);
            self.missing = parsed.missing;
            return;
        }
        self.missing = 0;
        self.carry.clear();
        if self.carry.capacity() > Self::CARRY_OCTETS_KEPT {
            self.carry = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::super::filled::tests::fill;
    use super::super::pool::{Lease, Pool};
    use super::*;

    /// Frames for the tests: one octet of length, then that many octets.
    fn parse(inbox: &mut Inbox, frames: &mut Vec<Vec<u8>>) {
        let result: Result<(), Infallible> = inbox.parse(|octets, view| {
            assert!(!octets.is_empty());
            if let Some(view) = view {
                assert_eq!(octets.as_ptr_range(), view.as_ptr_range());
            }
            let mut consumed = 0;
            loop {
                let rest = &octets[consumed..];
                let Some(&len) = rest.first() else {
                    return Ok(Parsed {
                        consumed,
                        missing: 0,
                    });
                };
                let whole = 1 + usize::from(len);
                if rest.len() < whole {
                    return Ok(Parsed {
                        consumed,
                        missing: whole - rest.len(),
                    });
                }
                frames.push(rest[1..whole].to_vec());
                consumed += whole;
            }
        });
        result.unwrap();
    }

    #[test]
    fn a_wholly_parsed_inbox_holds_no_chunk() {
        let pool = Pool::new(1, 64).unwrap();
        let (mut inbox, mut frames) = (Inbox::default(), Vec::new());
        inbox.push(fill(&pool.take().unwrap(), 0, b"\x02ab"));
        assert!(inbox.holds_chunk());
        parse(&mut inbox, &mut frames);
        assert_eq!(frames, [b"ab"]);
        assert!(inbox.is_empty() && !inbox.holds_chunk());
        assert!(pool.has_free());
    }

    #[test]
    fn a_frame_that_grows_in_place_is_not_copied() {
        let pool = Pool::new(1, 64).unwrap();
        let lease = pool.take().unwrap();
        let (mut inbox, mut frames) = (Inbox::default(), Vec::new());
        for (offset, octet) in b"\x03abc".iter().enumerate() {
            inbox.push(fill(&lease, offset as u32, &[*octet]));
            parse(&mut inbox, &mut frames);
            assert!(inbox.carry.is_empty());
        }
        assert_eq!(frames, [b"abc"]);
    }

    #[test]
    fn the_parser_is_not_asked_again_before_it_can_get_on() {
        let pool = Pool::new(2, 64).unwrap();
        let (first, second) = (pool.take().unwrap(), pool.take().unwrap());
        let mut inbox = Inbox::default();
        let mut calls = 0;
        let mut ask = |inbox: &mut Inbox, missing| {
            let result: Result<(), Infallible> = inbox.parse(|_, _| {
                calls += 1;
                Ok(Parsed {
                    consumed: 0,
                    missing,
                })
            });
            result.unwrap();
            calls
        };
        inbox.push(fill(&first, 0, b"a"));
        assert_eq!(ask(&mut inbox, 3), 1);
        inbox.push(fill(&first, 1, b"b"));
        assert_eq!(ask(&mut inbox, 2), 1);
        inbox.push(fill(&second, 0, b"c"));
        assert_eq!(ask(&mut inbox, 1), 1);
        inbox.push(fill(&second, 1, b"d"));
        assert_eq!(ask(&mut inbox, 1), 2);
    }

    #[test]
    fn a_parser_that_stops_of_its_own_will_sees_the_rest_again() {
        let pool = Pool::new(1, 64).unwrap();
        let mut inbox = Inbox::default();
        inbox.push(fill(&pool.take().unwrap(), 0, b"abc"));
        for release in [false, true, false] {
            if release {
                inbox.release();
            }
            let mut seen = Vec::new();
            let one = inbox.parse(|octets, _| {
                seen.push(octets.to_vec());
                Ok::<_, Infallible>(Parsed {
                    consumed: 1,
                    missing: 0,
                })
            });
            one.unwrap();
            assert_eq!(seen.len(), 1);
        }
        assert!(inbox.is_empty());
    }

    #[test]
    fn an_error_ends_parsing_and_keeps_the_octets() {
        let pool = Pool::new(1, 64).unwrap();
        let mut inbox = Inbox::default();
        inbox.push(fill(&pool.take().unwrap(), 0, b"abc"));
        assert_eq!(inbox.parse(|_, _| Err("no")), Err("no"));
        assert_eq!(inbox.len(), 3);
    }

    #[test]
    fn a_released_inbox_lets_its_chunk_go_and_loses_nothing() {
        let pool = Pool::new(2, 64).unwrap();
        let (mut inbox, mut frames) = (Inbox::default(), Vec::new());
        let lease = pool.take().unwrap();
        inbox.push(fill(&lease, 0, b"\x04ab"));
        parse(&mut inbox, &mut frames);
        inbox.release();
        assert!(!inbox.holds_chunk());
        inbox.push(fill(&lease, 3, b"cd\x01e"));
        parse(&mut inbox, &mut frames);
        assert_eq!(frames, [b"abcd".to_vec(), b"e".to_vec()]);
    }

    #[test]
    fn a_large_carry_is_given_back() {
        let pool = Pool::new(2, 1 << 20).unwrap();
        let mut inbox = Inbox::default();
        inbox.push(fill(
            &pool.take().unwrap(),
            0,
            &vec![1; Inbox::CARRY_OCTETS_KEPT + 1],
        ));
        inbox.release();
        let all = inbox.parse(|octets, _| {
            Ok::<_, Infallible>(Parsed {
                consumed: octets.len(),
                missing: 0,
            })
        });
        all.unwrap();
        assert_eq!(inbox.carry.capacity(), 0);
    }

    /// Where the next octets go: behind the last ones, behind a gap that another link left, or in a new chunk; and
    /// whether the inbox is parsed or released after that.
    #[derive(Debug, Clone)]
    struct Step {
        octets: usize,
        gap: u32,
        new_chunk: bool,
        parse: bool,
        release: bool,
    }

    fn step() -> impl Strategy<Value = Step> {
        (
            1..40usize,
            prop_oneof![3 => Just(0u32), 1 => 1..5u32],
            prop::bool::weighted(0.2),
            any::<bool>(),
            prop::bool::weighted(0.1),
        )
            .prop_map(|(octets, gap, new_chunk, parse, release)| Step {
                octets,
                gap,
                new_chunk,
                parse,
                release,
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            cases: if cfg!(miri) { 8 } else { 512 },
            ..ProptestConfig::default()
        })]
        #[test]
        fn any_split_over_chunks_gives_the_same_frames(
            expected in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..20),
            steps in prop::collection::vec(step(), 1..20),
        ) {
            let stream: Vec<u8> = expected.iter().flat_map(|frame| [&[frame.len() as u8][..], frame].concat()).collect();
            let pool = Pool::new(64, 128).unwrap();
            let (mut inbox, mut frames) = (Inbox::default(), Vec::new());
            let mut place: Option<(Arc<Lease>, u32)> = None;
            let mut rest = &stream[..];
            for step in steps.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at(step.octets.min(rest.len()));
                rest = later;
                let (lease, offset) = match place.take() {
                    Some((lease, used)) if !step.new_chunk && used + step.gap + now.len() as u32 <= lease.len() => (lease, used + step.gap),
                    _ => (pool.take().expect("views are dropped as they are parsed"), 0),
                };
                inbox.push(fill(&lease, offset, now));
                place = Some((lease, offset + now.len() as u32));
                if step.release {
                    inbox.release();
                }
                if step.parse {
                    parse(&mut inbox, &mut frames);
                }
            }
            parse(&mut inbox, &mut frames);
            prop_assert_eq!(frames, expected);
            prop_assert!(inbox.is_empty() && !inbox.holds_chunk());
        }
    }
}
