//! Proof that the simulator finds bugs: each planted one within so many seeds. `MOA_SIM_PLANT=LostRow`
//! tries one alone.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use moa_sim::{Options, Plant, simulate};

use crate::run::options;

/// Seeds within which each planted bug has to be found.
const SEEDS_MAX: u64 = 200;

#[test]
fn every_planted_bug_is_found() {
    let only = std::env::var("MOA_SIM_PLANT").ok();
    let is_asked_for = |plant: &Plant| only.as_ref().is_none_or(|o| *o == format!("{plant:?}"));
    let plants: Vec<Plant> = Plant::ALL.into_iter().filter(is_asked_for).collect();
    let (next, missed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let look = || {
        while let Some(plant) = plants.get(next.fetch_add(1, Ordering::Relaxed)) {
            if !is_found(*plant) {
                missed.lock().expect("no thread panicked").push(*plant);
            }
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    std::thread::scope(|scope| (0..cores).for_each(|_| _ = scope.spawn(look)));
    let missed = missed.into_inner().expect("no thread panicked");
    assert!(missed.is_empty(), "not found within {SEEDS_MAX} seeds: {missed:?}");
}

fn is_found(plant: Plant) -> bool {
    let with = |seed| simulate(&Options { plant: Some(plant), ..options(seed) }).failure;
    let found = (0..SEEDS_MAX).find_map(|seed| Some((seed, with(seed)?)));
    if let Some((seed, how)) = &found {
        let how: String = how.chars().take(120).collect();
        println!("{:<20} seed {seed:<4} {}", format!("{plant:?}"), how.replace('\n', " "));
    }
    found.is_some()
}
