//! The one source of chance: xoshiro256** (Blackman, Vigna 2018), seeded by SplitMix64. By hand, so
//! that a seed means the same for ever, whatever a library does.

use moa_core::ids::mix;

/// A stream of random numbers that depends on its seed alone.
#[derive(Debug, Clone)]
pub struct Random([u64; 4]);

impl Random {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        let mut state = [0; 4];
        let mut x = seed;
        for word in &mut state {
            x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
            *word = mix(x);
        }
        Self(state)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        let s = &mut self.0;
        let result = s[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A number below `n`; 0 when `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        // The bias of a 64-bit product over small `n` is far below what a simulation can notice.
        ((u128::from(self.bits()) * u128::from(n)) >> 64) as u64
    }

    /// A number from `from` to `to`, both included.
    pub fn range(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to.saturating_sub(from) + 1)
    }

    /// True in so many of a thousand cases.
    pub fn chance(&mut self, per_mille: u32) -> bool {
        per_mille > 0 && self.below(1000) < u64::from(per_mille)
    }

    /// One of a list that is not empty.
    pub fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len() as u64) as usize]
    }

    /// A position, each as likely as its weight; 0 when all weights are 0.
    pub fn weighted(&mut self, weights: &[u32]) -> usize {
        let total: u64 = weights.iter().map(|w| u64::from(*w)).sum();
        let mut at = self.below(total);
        for (i, weight) in weights.iter().enumerate() {
            if at < u64::from(*weight) {
                return i;
            }
            at -= u64::from(*weight);
        }
        0
    }

    /// A length of time around `mean`: mostly shorter, now and then much longer.
    pub fn delay(&mut self, mean: u64) -> u64 {
        match self.below(16) {
            0 => self.below(8 * mean + 1),
            1..=5 => 0,
            _ => self.below(2 * mean + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_stream() {
        let draw = |seed| {
            let mut random = Random::new(seed);
            (0..4).map(|_| random.bits()).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn weights_of_zero_are_never_drawn() {
        let mut random = Random::new(1);
        for _ in 0..1000 {
            assert_eq!(random.weighted(&[0, 3, 0]), 1);
            assert!(random.below(3) < 3);
            assert!(!random.chance(0));
        }
    }
}
