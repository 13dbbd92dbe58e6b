//! Chance that can be repeated: everything random comes from one seed, which is printed.

use std::time::{Duration, SystemTime};

/// A source of numbers (SplitMix64).
pub struct Chance(u64);

impl Chance {
    /// From `MOA_FAULTS_SEED`, or from the clock; says which seed it is.
    pub fn new(test: &str) -> Self {
        let given = std::env::var("MOA_FAULTS_SEED").ok().and_then(|s| s.parse().ok());
        let clock = || {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            now.map_or(1, |t| t.as_nanos() as u64)
        };
        let seed = given.unwrap_or_else(clock);
        println!("{test}: again with MOA_FAULTS_SEED={seed}");
        Self(seed)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (x ^ (x >> 31)) % end.max(1)
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// A length of time below `ms` milliseconds.
    pub fn time_below_ms(&mut self, ms: u64) -> Duration {
        Duration::from_micros(self.below(ms * 1000))
    }
}
