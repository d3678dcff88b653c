#![allow(missing_docs)]
//! Worlds in which everything goes wrong: see `examples/simulate`, which runs as many of them as one likes.

#[path = "../examples/simulate/simulation/mod.rs"]
mod simulation;

use std::ops::Range;

use simulation::report::Failure;
use simulation::{Rule, Watching};

const CANARY: Watching = Watching {
    canary: true,
    trace_max: 60,
};

/// Runs seeds, none of which may fail.
fn pass(seeds: Range<u64>) {
    for seed in seeds {
        if let Err(failure) = simulation::run(seed, Watching::default()) {
            panic!("\n{failure}");
        }
    }
}

// Several tests, so that they run beside each other.

#[test]
fn no_rule_is_broken_by_the_first_seeds() {
    pass(0..12);
}

#[test]
fn no_rule_is_broken_by_the_next_seeds() {
    pass(12..24);
}

#[test]
fn no_rule_is_broken_by_later_seeds() {
    pass(24..36);
}

#[test]
fn no_rule_is_broken_by_the_last_seeds() {
    pass(36..48);
}

#[test]
fn a_seed_has_one_history() {
    for seed in 100..103 {
        let [first, again] = [(); 2].map(|()| simulation::run(seed, Watching::default()).unwrap());
        assert!(first == again, "{seed}");
    }
    let [one, another] = [100, 101].map(|seed| simulation::run(seed, Watching::default()).unwrap());
    assert_ne!(one.fingerprint, another.fingerprint);
}

/// What becomes of seeds with a broker that forgets what it has confirmed.
fn canaries() -> impl Iterator<Item = Failure> {
    let runs = (0..10).map(|seed| simulation::run(seed, CANARY));
    runs.filter_map(Result::err).map(|failure| *failure)
}

#[test]
fn a_broker_that_forgets_what_it_confirmed_is_found_out() {
    let failures: Vec<_> = canaries().collect();
    assert!(failures.len() >= 5, "{} of 10", failures.len());
    for failure in &failures {
        assert_eq!(failure.violation.rule, Rule::Survives, "{failure}");
    }
}

#[test]
fn a_failure_tells_its_seed_and_time_the_rule_what_happened_and_how_to_see_it_again() {
    let failure = canaries().next().expect("a canary");
    let text = failure.to_string();
    for told in [
        format!("seed {} broke a rule after {:?}", failure.seed, failure.at),
        format!("Survives: {}", Rule::Survives.text()),
        "BROKEN Survives".to_owned(),
        format!("--from {} --seeds 1 --trace --canary", failure.seed),
    ] {
        assert!(text.contains(&told), "{told} is not in:\n{text}");
    }
    // Again it fails in the same way.
    let again = simulation::run(failure.seed, CANARY).unwrap_err();
    assert_eq!(again.to_string(), text);
}
