//! Proof that the simulator finds bugs: each planted one within so many seeds. `MOA_SIM_PLANT=LostRow`
//! tries one alone.

use moa_sim::{Options, Plant, simulate};

use crate::run::options;

/// Seeds within which each planted bug has to be found.
const SEEDS_MAX: u64 = 200;

#[test]
fn every_planted_bug_is_found() {
    let mut missed = Vec::new();
    let only = std::env::var("MOA_SIM_PLANT").ok();
    let is_asked_for = |plant: &Plant| only.as_ref().is_none_or(|o| *o == format!("{plant:?}"));
    for plant in Plant::ALL.into_iter().filter(is_asked_for) {
        let with = |seed| simulate(&Options { plant: Some(plant), ..options(seed) }).failure;
        match (0..SEEDS_MAX).find_map(|seed| Some((seed, with(seed)?))) {
            Some((seed, how)) => {
                let how: String = how.chars().take(120).collect();
                println!("{:<20} seed {seed:<4} {}", format!("{plant:?}"), how.replace('\n', " "));
            }
            None => missed.push(plant),
        }
    }
    assert!(missed.is_empty(), "not found within {SEEDS_MAX} seeds: {missed:?}");
}
