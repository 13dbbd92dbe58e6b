//! Hash maps keyed by run. Run ids are random already, and made by us: spreading their bits once is
//! enough, where the standard hasher takes some 30 ns for each of several look-ups a step.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use moa_core::ids::mix;

/// A map keyed by run ids, alone or with a step.
pub(super) type RunMap<K, V> = HashMap<K, V, BuildHasherDefault<RunHasher>>;

/// Hashes run ids and the numbers beside them.
#[derive(Default)]
pub(super) struct RunHasher(u64);

impl Hasher for RunHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = mix(self.0 ^ u64::from(*byte));
        }
    }

    fn write_u32(&mut self, n: u32) {
        self.0 = mix(self.0 ^ u64::from(n));
    }

    fn write_u128(&mut self, n: u128) {
        self.0 = mix(self.0 ^ n as u64 ^ (n >> 64) as u64);
    }
}
