//! Where the octets of deliveries lie while handlers run, so that views of them can be cut.

use std::cell::OnceCell;
use std::ops::Range;

use bytes::Bytes;

use crate::buffer::Filled;

pub(super) struct Region<'a> {
    filled: Option<&'a Filled>,
    octets: &'a [u8],
    shared: OnceCell<Bytes>,
    /// Copies instead of views: too many chunks are held already.
    copies: bool,
}

impl<'a> Region<'a> {
    pub fn new(octets: &'a [u8], filled: Option<&'a Filled>, copies: bool) -> Self {
        Region {
            filled,
            octets,
            shared: OnceCell::new(),
            copies,
        }
    }

    /// `part` as a view that shares the receive chunk when it lies there, else as a copy.
    pub fn share(&self, part: &[u8]) -> Bytes {
        match (self.filled, self.place(part)) {
            (Some(filled), Some(place)) if !self.copies && !part.is_empty() => self
                .shared
                .get_or_init(|| filled.clone().into_bytes())
                .slice(place),
            _ => Bytes::copy_from_slice(part),
        }
    }

    /// Several parts in one view, or in one copy, and where each is in it. Parts of one message lie close to each other, so that a view
    /// of all, with what the wire has between them, costs no more than one of them.
    pub fn share_all<const N: usize>(&self, parts: [&[u8]; N]) -> (Bytes, [Range<usize>; N]) {
        if let Some(span) = self.span(&parts)
            && let Some(whole) = self.octets.get(span.clone())
        {
            let places = parts.map(|part| {
                let place = self.place(part).filter(|place| !place.is_empty());
                place.map_or(0..0, |at| at.start - span.start..at.end - span.start)
            });
            return (self.share(whole), places);
        }
        let mut packed = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
        let places = parts.map(|part| {
            let start = packed.len();
            packed.extend_from_slice(part);
            start..packed.len()
        });
        (packed.into(), places)
    }

    /// From the first of the parts to the last; `None` when one of them lies elsewhere. An empty part lies nowhere.
    fn span(&self, parts: &[&[u8]]) -> Option<Range<usize>> {
        let mut span: Option<Range<usize>> = None;
        for part in parts.iter().filter(|part| !part.is_empty()) {
            let place = self.place(part)?;
            span = Some(match span {
                Some(span) => span.start.min(place.start)..span.end.max(place.end),
                None => place,
            });
        }
        Some(span.unwrap_or(0..0))
    }

    fn place(&self, part: &[u8]) -> Option<Range<usize>> {
        let start = (part.as_ptr() as usize).checked_sub(self.octets.as_ptr() as usize)?;
        let place = start..start + part.len();
        (place.end <= self.octets.len()).then_some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::{Pool, Vacant};

    fn received(pool: &Pool, octets: &[u8]) -> Filled {
        let mut vacant = Vacant::take(pool).unwrap();
        vacant.unfilled()[..octets.len()].copy_from_slice(octets);
        vacant.fill(octets.len())
    }

    fn texts<const N: usize>((bytes, places): &(Bytes, [Range<usize>; N])) -> [&[u8]; N] {
        places.clone().map(|place| &bytes[place])
    }

    #[test]
    fn parts_of_a_chunk_are_one_view_of_it() {
        let pool = Pool::new(1, 64).unwrap();
        let filled = received(&pool, b"..amq.topic.a.key..body");
        let region = Region::new(&filled, Some(&filled), false);
        let shared = region.share_all([&filled[2..11], &filled[12..17], &[], &filled[19..]]);
        assert_eq!(texts(&shared), [&b"amq.topic"[..], b"a.key", b"", b"body"]);
        assert_eq!(shared.0.as_ptr(), filled[2..].as_ptr());
        drop(region);
        drop(filled);
        assert!(!pool.has_free(), "the view holds the chunk");
        drop(shared);
        assert!(pool.has_free());
    }

    #[test]
    fn copies_are_made_of_what_lies_elsewhere_and_when_too_much_is_held() {
        let pool = Pool::new(1, 64).unwrap();
        let filled = received(&pool, b"key body");
        let apart = b"gathered".to_vec();
        let in_place = [&filled[..3], &filled[4..]];
        let cases = [
            (Region::new(&filled, Some(&filled), true), in_place),
            (Region::new(&filled, None, false), in_place),
            (
                Region::new(&filled, Some(&filled), false),
                [&filled[..3], &apart],
            ),
        ];
        let shared = cases.map(|(region, parts)| {
            let shared = region.share_all(parts);
            assert_eq!(texts(&shared), parts);
            shared
        });
        drop(filled);
        assert!(pool.has_free(), "{shared:?} holds no chunk");
    }

    #[test]
    fn nothing_but_empty_parts_holds_nothing() {
        let pool = Pool::new(1, 64).unwrap();
        let filled = received(&pool, b"octets");
        let region = Region::new(&filled, Some(&filled), false);
        let shared = region.share_all([&filled[3..3], &[]]);
        assert_eq!(texts(&shared), [b"", b""]);
        drop(region);
        drop(filled);
        assert!(pool.has_free());
    }
}
