//! Which keys match which patterns.

use proptest::prelude::*;

use super::super::targets::Found;
use super::super::topics::Topics;
use super::*;

const PATTERNS: [&str; 21] = [
    "", "#", "*", "a", "a.*", "a.#", "#.b", "*.b", "a.*.b", "#.#", "*.#", "#.*", "a..b", ".", "..",
    "*.*", "#.a.#", "a.#.b", "A", "a.", ".a",
];

/// What RabbitMQ answered.
#[test]
fn keys_match_the_patterns_that_they_match_in_rabbitmq() {
    let mut host = Host::with(&[("t", "topic")]);
    for (queue, pattern) in (0..).zip(PATTERNS) {
        host.bind(queue, "t", pattern);
    }
    let all = ["#", "#.#", "*.#", "#.*"];
    for (key, patterns) in [
        ("", &["", "#", "#.#"][..]),
        ("a", &["*", "a", "a.#", "#.a.#"]),
        ("b", &["*", "#.b"]),
        ("A", &["*", "A"]),
        ("*", &["*"]),
        ("#", &["*"]),
        (
            "a.b",
            &["a.*", "a.#", "#.b", "*.b", "*.*", "#.a.#", "a.#.b"],
        ),
        ("a.", &["a.*", "a.#", "*.*", "#.a.#", "a."]),
        (".", &[".", "*.*"]),
        (".a", &["*.*", "#.a.#", ".a"]),
        ("..", &[".."]),
        ("a..b", &["a.#", "#.b", "a.*.b", "a..b", "#.a.#", "a.#.b"]),
        ("a.x.b", &["a.#", "#.b", "a.*.b", "#.a.#", "a.#.b"]),
        ("x.a.y", &["#.a.#"]),
        ("a.*", &["a.*", "a.#", "*.*", "#.a.#"]),
        ("a.#", &["a.*", "a.#", "*.*", "#.a.#"]),
        ("#.b", &["#.b", "*.b", "*.*"]),
    ] {
        let mut expected: Vec<&str> = patterns.to_vec();
        if !key.is_empty() {
            expected.extend(all);
        }
        expected.sort_unstable();
        let found = host.route("t", key);
        let mut found: Vec<&str> = found.iter().map(|&at| PATTERNS[at as usize]).collect();
        found.sort_unstable();
        assert_eq!(found, expected, "{key:?}");
    }
}

fn words(key: &str) -> Vec<&str> {
    match key {
        "" => Vec::new(),
        key => key.split('.').collect(),
    }
}

/// The definition, word by word.
pub(super) fn matches(pattern: &str, key: &str) -> bool {
    fn rest(pattern: &[&str], key: &[&str]) -> bool {
        match (pattern, key) {
            ([], []) => true,
            (["#", pattern @ ..], _) => (0..=key.len()).any(|skip| rest(pattern, &key[skip..])),
            (["*", pattern @ ..], [_, key @ ..]) => rest(pattern, key),
            ([word, pattern @ ..], [found, key @ ..]) => word == found && rest(pattern, key),
            _ => false,
        }
    }
    rest(&words(pattern), &words(key))
}

fn any_pattern() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just(""),
        Just("a"),
        Just("b"),
        Just("*"),
        Just("#"),
        Just("ü")
    ];
    prop::collection::vec(word, 0..6).prop_map(|words| words.join("."))
}

fn route(topics: &mut Topics, key: &str) -> BTreeSet<u32> {
    let (mut queues, mut exchanges) = (Vec::new(), Vec::new());
    let mut found = Found {
        queues: &mut queues,
        exchanges: &mut exchanges,
    };
    topics.route(key, &mut found);
    queues.into_iter().map(|queue| queue.0).collect()
}

proptest! {
    #[test]
    fn the_trie_finds_what_a_naive_matcher_finds(
        patterns in prop::collection::vec((any_pattern(), any::<bool>()), 0..24),
        keys in prop::collection::vec(any_pattern(), 1..12),
    ) {
        let mut topics = Topics::new();
        let target = |at: usize| Target::Queue(QueueId(at as u32));
        for (at, (pattern, _)) in patterns.iter().enumerate() {
            topics.insert(pattern, target(at));
        }
        for keeps_all in [true, false] {
            for key in &keys {
                let expected: BTreeSet<u32> = (0..)
                    .zip(&patterns)
                    .filter(|(_, (pattern, stays))| (keeps_all || *stays) && matches(pattern, key))
                    .map(|(at, _)| at)
                    .collect();
                prop_assert_eq!(route(&mut topics, key), expected, "{}", key);
            }
            for (at, (pattern, stays)) in patterns.iter().enumerate() {
                if !stays {
                    topics.remove(pattern, target(at));
                }
            }
        }
        for (at, (pattern, _)) in patterns.iter().enumerate() {
            topics.remove(pattern, target(at));
        }
        prop_assert!(topics.is_bare());
    }
}
