//! A thousand seeds without a fault, and proof that faults would be found.
//!
//! A failing seed prints how to replay it: `MOA_SIM_SEED=7 cargo test -p moa-sim replay -- --nocapture`
//! prints everything that happened in it, one line each.

use moa_sim::{Options, Plant, simulate};

/// Events of one seed, before the faults stop and everything has to end.
const EVENTS: u64 = 2_000;
/// Seeds within which each planted bug has to be found.
const SEEDS_TO_FIND: u64 = 150;

fn options(seed: u64) -> Options {
    Options { seed, events: EVENTS, plant: None, trace: false }
}

/// Simulates seeds; the first that fails is named, with how to see it again.
fn all_hold(seeds: std::ops::Range<u64>) {
    let mut events = 0;
    for seed in seeds {
        let report = simulate(&options(seed));
        events += report.events;
        if let Some(failure) = report.failure {
            panic!(
                "seed {seed} of version {}: {failure}\nreplay: MOA_SIM_SEED={seed} cargo test \
                 -p moa-sim replay -- --nocapture",
                env!("CARGO_PKG_VERSION")
            );
        }
    }
    assert!(events >= EVENTS * 100, "the seeds did too little: {events} events");
}

// Four tests, so that they run beside each other.

#[test]
fn seeds_0_to_249_hold() {
    all_hold(0..250);
}

#[test]
fn seeds_250_to_499_hold() {
    all_hold(250..500);
}

#[test]
fn seeds_500_to_749_hold() {
    all_hold(500..750);
}

#[test]
fn seeds_750_to_999_hold() {
    all_hold(750..1000);
}

#[test]
fn every_planted_bug_is_found() {
    let mut missed = Vec::new();
    for plant in Plant::ALL {
        let with = |seed| Options { plant: Some(plant), ..options(seed) };
        let found = (0..SEEDS_TO_FIND).find(|seed| simulate(&with(*seed)).failure.is_some());
        match found {
            Some(seed) => println!("{plant:?} is found by seed {seed}"),
            None => missed.push(plant),
        }
    }
    assert!(missed.is_empty(), "not found within {SEEDS_TO_FIND} seeds: {missed:?}");
}

#[test]
fn the_same_seed_is_the_same_story() {
    for seed in [3, 41] {
        let story = || simulate(&Options { trace: true, ..options(seed) }).trace;
        assert!(story() == story(), "seed {seed} tells two stories");
    }
}

/// Prints a seed's story when one is asked for.
#[test]
fn replay() {
    let seed = std::env::var("MOA_SIM_SEED").ok().and_then(|s| s.parse().ok());
    let Some(seed) = seed else { return };
    let report = simulate(&Options { trace: true, ..options(seed) });
    println!("{}", report.trace);
    assert_eq!(report.failure, None);
}
