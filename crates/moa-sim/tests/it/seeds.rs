//! Seeds without a plant: nothing may be found in them.
//!
//! A failing seed prints how to replay it. `MOA_SIM_SEED=7 cargo test -p moa-sim replay --
//! --nocapture` prints everything that happens in it, one line each. For a night: `MOA_SIM_FROM=1000
//! MOA_SIM_SEEDS=200000 cargo test -p moa-sim many_seeds -- --nocapture`.

use std::collections::BTreeMap;

use moa_sim::{Options, simulate};

use crate::run::{all, number, options};

/// Seeds that found a bug once, beyond those that every test run tries.
const FOUND_BUGS: &[u64] = &[
    58, 292, 1003, 1060, 1101, 1329, 1348, 1603, 1634, 1708, 1729, 1749, 1808, 1831, 1843, 1882,
    1966, 1985, 2073, 2123, 2164, 2294, 3025, 3168, 3919, 5195, 5931, 6006, 6043, 6790, 7400, 8669,
    10749, 10850, 12918, 50140, 50472, 50599, 53587, 100934, 105977, 113318, 113614, 114955,
    115026, 117017, 117472, 209714,
];

#[test]
fn seeds_that_found_bugs_hold() {
    all(FOUND_BUGS).must_hold();
}

#[test]
fn the_same_seed_is_the_same_story() {
    for seed in [3, 41, 302, 1966] {
        let story = || simulate(&Options { trace: true, ..options(seed) });
        let (one, other) = (story(), story());
        assert!(one.trace == other.trace, "seed {seed} tells two stories");
        assert_eq!((one.events, one.failure), (other.events, other.failure));
    }
}

/// Prints a seed's story when one is asked for.
#[test]
fn replay() {
    let Some(seed) = number("MOA_SIM_SEED") else { return };
    let report = simulate(&Options { trace: true, ..options(seed) });
    println!("{}", report.trace);
    assert_eq!(report.failure, None);
}

/// As many seeds as are asked for.
#[test]
fn many_seeds() {
    let Some(from) = number("MOA_SIM_FROM") else { return };
    let count = number("MOA_SIM_SEEDS").unwrap_or(10_000);
    let seeds: Vec<u64> = (from..from + count).collect();
    let summary = all(&seeds);
    println!("{}\n{}", summary.line(), summary.coverage);
    let mut kinds: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for (seed, what) in &summary.failures {
        // Without ids and instants, which are those of the seed.
        let words = what.split(' ').filter(|word| !word.contains(|c: char| c.is_ascii_digit()));
        let kind: Vec<_> = words.take(12).collect();
        kinds.entry(kind.join(" ")).or_default().push(*seed);
    }
    for (kind, seeds) in kinds {
        println!("{} times: {kind} {:?}", seeds.len(), &seeds[..seeds.len().min(6)]);
    }
    summary.must_hold();
}
