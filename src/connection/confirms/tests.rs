use proptest::prelude::*;

use super::*;
use crate::protocol::Properties;

#[derive(Debug, Clone)]
enum Op {
    /// `print`: `None` is not mandatory.
    Publish {
        octets: usize,
        print: Option<u64>,
    },
    /// The tag is that many above the oldest pending one.
    Confirm {
        above: u64,
        multiple: bool,
        acked: bool,
    },
    /// `multiple` with tag 0.
    ConfirmAll {
        acked: bool,
    },
    /// The mandatory publish with that place among those that can be returned.
    Return {
        which: usize,
        reencoded: bool,
    },
    Report,
    Take {
        tag: u64,
    },
    Lose,
}

fn op() -> impl Strategy<Value = Op> {
    let print = (0..2u64, 0..3u64).prop_map(|(route, properties)| route << 32 | properties);
    prop_oneof![
        12 => (0..3 * SEGMENT_OCTETS / 2, proptest::option::of(print))
            .prop_map(|(octets, print)| Op::Publish { octets, print }),
        6 => (0..8u64, any::<bool>(), prop::bool::weighted(0.7))
            .prop_map(|(above, multiple, acked)| Op::Confirm { above, multiple, acked }),
        1 => any::<bool>().prop_map(|acked| Op::ConfirmAll { acked }),
        3 => (0..4usize, any::<bool>()).prop_map(|(which, reencoded)| Op::Return { which, reencoded }),
        2 => Just(Op::Report),
        2 => (1..60u64).prop_map(|tag| Op::Take { tag }),
        1 => prop::bool::weighted(0.1).prop_map(|lose| if lose { Op::Lose } else { Op::Report }),
    ]
}

fn returned() -> Returned {
    Returned {
        code: 312,
        text: "NO_ROUTE".into(),
        exchange: String::new(),
        routing_key: "nowhere".into(),
        properties: Properties::empty(),
        body: bytes::Bytes::new(),
    }
}

/// One publish as a broker and a user with perfect memory know it.
#[derive(Debug, Clone)]
struct Publish {
    octets: usize,
    print: Option<u64>,
    is_returned: bool,
    outcome: Option<Outcome>,
    is_seen: bool,
}

const WINDOW: u64 = 12;
const EXCEPTIONS_MAX: usize = 5;

struct Pair {
    confirms: Confirms,
    /// Tag 1 first.
    model: Vec<Publish>,
    lost: bool,
    reported: Vec<u64>,
}

impl Pair {
    fn pending(&self) -> impl Iterator<Item = u64> {
        let indexed = self.model.iter().zip(1..);
        indexed
            .filter(|(p, _)| p.outcome.is_none())
            .map(|(_, tag)| tag)
    }

    fn resolve(&mut self, tag: u64, acked: bool) {
        let publish = &mut self.model[tag as usize - 1];
        assert_eq!(publish.outcome, None);
        publish.outcome = Some(if publish.is_returned {
            Outcome::Returned(Box::new(returned()))
        } else if acked {
            Outcome::Acked
        } else {
            Outcome::Nacked
        });
    }

    fn step(&mut self, op: &Op) {
        match *op {
            Op::Publish { octets, print } => self.publish(octets, print),
            Op::Confirm {
                above,
                multiple,
                acked,
            } => self.confirm(above, multiple, acked),
            Op::ConfirmAll { acked } => {
                assert_eq!(self.confirms.confirm(0, true, acked), Ok(()));
                for tag in self.pending().collect::<Vec<_>>() {
                    self.resolve(tag, acked);
                }
            }
            Op::Return { which, reencoded } => self.give_back(which, reencoded),
            Op::Report => self.report(),
            Op::Take { tag } => self.take(tag),
            Op::Lose => self.lose(),
        }
        self.check();
    }

    fn publish(&mut self, octets: usize, print: Option<u64>) {
        let window = self.pending().count() as u64;
        if self.confirms.is_overrun() || window == WINDOW {
            return;
        }
        let tag = self.confirms.publish(octets);
        assert_eq!(tag, self.model.len() as u64 + 1);
        if let Some(print) = print {
            self.confirms.note_mandatory(tag, print);
        }
        self.model.push(Publish {
            octets,
            print,
            is_returned: false,
            outcome: self.lost.then_some(Outcome::Unknown),
            is_seen: false,
        });
    }

    fn confirm(&mut self, above: u64, multiple: bool, acked: bool) {
        let first = self.pending().next().unwrap_or(self.model.len() as u64);
        let tag = first + above;
        let confirmed = self.confirms.confirm(tag, multiple, acked);
        if self.lost {
            assert_eq!(confirmed, Ok(()));
            return;
        }
        let is_pending = self.pending().any(|pending| pending == tag);
        let is_valid = tag <= self.model.len() as u64 && (multiple || is_pending);
        assert_eq!(confirmed.is_ok(), is_valid, "{tag}: {confirmed:?}");
        if is_valid {
            let all = self.pending().filter(|p| *p == tag || multiple && *p < tag);
            for tag in all.collect::<Vec<_>>() {
                self.resolve(tag, acked);
            }
        }
    }

    fn give_back(&mut self, which: usize, reencoded: bool) {
        let candidates: Vec<(u64, u64)> = self
            .pending()
            .filter(|tag| !self.model[*tag as usize - 1].is_returned)
            .filter_map(|tag| Some((tag, self.model[tag as usize - 1].print?)))
            .collect();
        let Some(&(_, print)) = candidates.get(which) else {
            return;
        };
        let print = if reencoded { print | 1 << 31 } else { print };
        let same = candidates.iter().find(|(_, other)| *other == print);
        let alike = candidates
            .iter()
            .find(|(_, other)| other >> 32 == print >> 32);
        let expected = same.or(alike).map(|(tag, _)| *tag);
        let found = self.confirms.returned(print, returned());
        assert_eq!(found, expected);
        self.model[found.unwrap() as usize - 1].is_returned = true;
    }

    fn report(&mut self) {
        let first_pending = self.pending().next().unwrap_or(u64::MAX);
        let expected: Vec<u64> = (1..first_pending.min(self.model.len() as u64 + 1))
            .filter(|tag| !self.model[*tag as usize - 1].is_seen)
            .filter(|tag| {
                let outcome = self.model[*tag as usize - 1].outcome.as_ref();
                !matches!(outcome, Some(Outcome::Acked | Outcome::Unknown))
            })
            .collect();
        let report = self.confirms.report_exceptions();
        let tags: Vec<u64> = report.iter().map(|(tag, _)| *tag).collect();
        assert_eq!(tags, expected);
        for (tag, outcome) in report {
            let publish = &mut self.model[tag as usize - 1];
            assert_eq!(publish.outcome, Some(outcome));
            publish.is_seen = true;
            self.reported.push(tag);
        }
    }

    fn take(&mut self, tag: u64) {
        let Some(publish) = self.model.get_mut(tag as usize - 1) else {
            return;
        };
        // Asking twice is not allowed, and what was reported may be forgotten.
        if publish.is_seen || self.confirms.is_forgotten(tag) {
            return;
        }
        assert_eq!(self.confirms.outcome(tag), publish.outcome);
        assert_eq!(self.confirms.take_outcome(tag), publish.outcome);
        publish.is_seen = publish.outcome.is_some();
    }

    fn lose(&mut self) {
        self.confirms.lose();
        self.lost = true;
        for publish in &mut self.model {
            publish.outcome.get_or_insert(if publish.is_returned {
                Outcome::Returned(Box::new(returned()))
            } else {
                Outcome::Unknown
            });
        }
    }

    fn check(&self) {
        let confirms = &self.confirms;
        let count = |matches: fn(&Outcome) -> bool| {
            let outcomes = self.model.iter().filter_map(|p| p.outcome.as_ref());
            outcomes.filter(|outcome| matches(outcome)).count() as u64
        };
        let expected = ConfirmCounts {
            acked: count(|o| *o == Outcome::Acked),
            nacked: count(|o| *o == Outcome::Nacked),
            returned: count(|o| matches!(o, Outcome::Returned(_))),
            unknown: count(|o| *o == Outcome::Unknown),
        };
        assert_eq!(confirms.counts(), expected);
        assert_eq!(confirms.last_tag(), self.model.len() as u64);
        assert_eq!(confirms.pending(), self.pending().count() as u64);
        assert_eq!(confirms.pending() + expected.total(), confirms.last_tag());
        let octets: usize = self
            .pending()
            .map(|tag| self.model[tag as usize - 1].octets)
            .sum();
        assert!(confirms.octets_pending() >= octets);
        if confirms.pending() == 0 {
            assert_eq!(confirms.octets_pending(), 0);
            assert!(confirms.segments.is_empty() && confirms.mandatory.is_empty());
        }
        let resolved_to = self
            .pending()
            .next()
            .map_or(confirms.last_tag(), |tag| tag - 1);
        assert!(confirms.is_resolved_up_to(resolved_to));
        assert!(self.lost || !confirms.is_resolved_up_to(resolved_to + 1));
        let window = WINDOW as usize;
        assert!(confirms.exceptions.len() <= EXCEPTIONS_MAX + window);
        assert!(confirms.above.len() <= window && confirms.segments.len() <= 2 * window);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..Default::default() })]

    #[test]
    fn every_publish_resolves_once_as_a_broker_with_perfect_memory_says(
        ops in proptest::collection::vec(op(), 1..150),
    ) {
        let mut pair = Pair {
            confirms: Confirms::new(EXCEPTIONS_MAX),
            model: Vec::new(),
            lost: false,
            reported: Vec::new(),
        };
        for op in &ops {
            pair.step(op);
        }
        pair.step(&Op::ConfirmAll { acked: true });
        prop_assert_eq!(pair.confirms.pending(), 0);
        let mut once = pair.reported.clone();
        once.dedup();
        prop_assert_eq!(once, pair.reported);
    }
}

#[test]
fn confirms_in_order_store_nothing() {
    let mut confirms = Confirms::new(10);
    for _ in 0..1000 {
        confirms.publish(100);
    }
    assert_eq!(confirms.confirm(400, true, true), Ok(()));
    for tag in 401..=1000 {
        assert_eq!(confirms.confirm(tag, false, true), Ok(()));
    }
    assert_eq!(confirms.above.capacity(), 0);
    assert!(confirms.exceptions.is_empty());
    assert_eq!((confirms.pending(), confirms.octets_pending()), (0, 0));
    assert!(confirms.counts().all_acked());
}

#[test]
fn octets_pending_is_right_to_within_a_segment() {
    let mut confirms = Confirms::new(10);
    for _ in 0..1000 {
        confirms.publish(1000);
    }
    assert_eq!(confirms.octets_pending(), 1_000_000);
    confirms.confirm(500, true, true).unwrap();
    let left = confirms.octets_pending();
    assert!(
        (500_000..500_000 + SEGMENT_OCTETS + 1000).contains(&left),
        "{left}"
    );
}

#[test]
fn reporting_without_anything_new_reports_nothing() {
    let mut confirms = Confirms::new(10);
    assert_eq!(confirms.report_exceptions(), []);
    confirms.publish(1);
    confirms.confirm(1, false, false).unwrap();
    assert_eq!(confirms.report_exceptions(), [(1, Outcome::Nacked)]);
    assert_eq!(confirms.report_exceptions(), []);
    assert_eq!(confirms.outcome(1), Some(Outcome::Nacked));
}

#[test]
fn failures_that_nobody_looks_at_overrun_and_reported_ones_make_room_and_are_never_called_acked() {
    let mut confirms = Confirms::new(3);
    for tag in 1..=3 {
        assert!(!confirms.is_overrun());
        confirms.publish(1);
        confirms.confirm(tag, false, false).unwrap();
    }
    assert!(confirms.is_overrun());
    assert_eq!(confirms.report_exceptions().len(), 3);
    assert!(!confirms.is_overrun());
    confirms.publish(1);
    confirms.confirm(4, false, false).unwrap();
    assert!(confirms.is_forgotten(1) && !confirms.is_forgotten(2));
    assert_eq!(confirms.outcome(1), Some(Outcome::Unknown));
    assert_eq!(confirms.outcome(2), Some(Outcome::Nacked));
}

#[test]
fn what_was_reported_makes_room_for_returns_too() {
    let mut confirms = Confirms::new(3);
    let publish_returned = |confirms: &mut Confirms, count| {
        for _ in 0..count {
            let tag = confirms.publish(1);
            confirms.note_mandatory(tag, 7);
            confirms.returned(7, returned()).unwrap();
        }
    };
    publish_returned(&mut confirms, 10);
    confirms.confirm(0, true, true).unwrap();
    assert_eq!(confirms.report_exceptions().len(), 10);
    assert_eq!(confirms.exceptions.len(), 3);
    publish_returned(&mut confirms, 5);
    assert_eq!(confirms.exceptions.len(), 5);
    assert_eq!(confirms.pending(), 5);
}

#[test]
fn a_return_whose_confirm_is_lost_is_a_return() {
    let mut confirms = Confirms::new(3);
    let tag = confirms.publish(1);
    confirms.note_mandatory(tag, 7);
    confirms.publish(1);
    assert_eq!(confirms.returned(7, returned()), Some(tag));
    assert_eq!(confirms.outcome(tag), None);
    confirms.lose();
    let expected = Outcome::Returned(Box::new(returned()));
    assert_eq!(confirms.outcome(1), Some(expected.clone()));
    assert_eq!(confirms.outcome(2), Some(Outcome::Unknown));
    assert_eq!(confirms.report_exceptions(), [(1, expected)]);
    assert_eq!(confirms.counts().total(), 2);
}

#[test]
fn tags_that_were_never_published_or_are_confirmed_already_are_refused() {
    let mut confirms = Confirms::new(3);
    assert!(confirms.confirm(1, false, true).is_err());
    assert!(confirms.confirm(1, true, true).is_err());
    assert!(confirms.confirm(u64::MAX, true, false).is_err());
    assert!(confirms.confirm(0, false, true).is_err());
    assert_eq!(confirms.confirm(0, true, true), Ok(()));
    for _ in 0..3 {
        confirms.publish(1);
    }
    assert_eq!(confirms.confirm(2, false, true), Ok(()));
    assert!(confirms.confirm(2, false, true).is_err());
    assert_eq!(confirms.confirm(1, false, true), Ok(()));
    assert!(confirms.confirm(1, false, false).is_err());
    assert_eq!(confirms.pending(), 1);
}

#[test]
fn a_fingerprint_differs_by_every_part_and_its_upper_half_not_by_properties() {
    let short = |text| ShortStr::new(text).unwrap();
    let persistent = Properties::persistent();
    let print = |exchange, key, properties: &Properties, body: &[u8]| {
        fingerprint(short(exchange), short(key), properties.as_ref(), body)
    };
    let base = print("e", "k", &persistent, b"body");
    assert_eq!(base, print("e", "k", &persistent, b"body"));
    for other in [
        print("x", "k", &persistent, b"body"),
        print("e", "x", &persistent, b"body"),
        print("ek", "", &persistent, b"body"),
        print("e", "kb", &persistent, b"ody"),
        print("e", "k", &persistent, b""),
    ] {
        assert_ne!(base >> 32, other >> 32);
    }
    let transient = print("e", "k", &Properties::empty(), b"body");
    assert_ne!(base, transient);
    assert_eq!(base >> 32, transient >> 32);
}
