//! Whose turn it is, where several have to share: self-clocked fair queueing.
//!
//! Each key that has work waiting has a tag, and the least tag is next. A key that comes gets the
//! tag of the turn that was last taken, and a stride more; a key that has had its turn and has more
//! work gets its own tag and a stride more. The stride is the less, the more weight the key has. So
//! however much work one key has, another one's comes after at most one turn of each other key of
//! the same weight; and whoever waits is overtaken by newcomers for a bounded number of turns only,
//! because their tags grow with the turns that are taken. Nothing is kept of a key without work.
//!
//! S. J. Golestani, "A self-clocked fair queueing scheme for broadband applications", INFOCOM 1994,
//! with work of equal length: nobody knows beforehand how long an attempt takes.

use std::collections::{BTreeMap, BTreeSet};

use crate::limits::FAIRNESS_WEIGHT_MAX;

/// The stride of a key of weight 1. A clock of 64 bits goes on for 10^12 turns of it.
const STRIDE: u64 = 1 << 24;

const _: () = assert!(STRIDE > FAIRNESS_WEIGHT_MAX as u64 * 100, "weights differ in their strides");

/// The turns of keys `K`, of which the first piece of work is `P`; of equal tags the least `P` is
/// next.
#[derive(Debug, Clone)]
pub struct Turns<K, P> {
    clock: u64,
    keys: BTreeMap<K, (u64, P)>,
    order: BTreeSet<(u64, P, K)>,
}

impl<K, P> Default for Turns<K, P> {
    fn default() -> Self {
        Self { clock: 0, keys: BTreeMap::new(), order: BTreeSet::new() }
    }
}

impl<K: Ord + Clone, P: Ord + Copy> Turns<K, P> {
    /// A key has work from now on, or its first piece of work is another one: `first`, of that
    /// weight.
    pub fn set(&mut self, key: &K, first: P, weight: u32) {
        let tag = match self.keys.get_mut(key) {
            Some((_, before)) if *before == first => return,
            Some((tag, before)) => {
                self.order.remove(&(*tag, *before, key.clone()));
                *before = first;
                *tag
            }
            None => {
                let tag = self.clock.saturating_add(stride(weight));
                self.keys.insert(key.clone(), (tag, first));
                tag
            }
        };
        self.order.insert((tag, first, key.clone()));
    }

    /// A key has no work any more.
    pub fn remove(&mut self, key: &K) {
        if let Some((tag, first)) = self.keys.remove(key) {
            self.order.remove(&(tag, first, key.clone()));
        }
    }

    /// A key has its turn now; `next` is the first of what it has left, with its weight.
    pub fn take(&mut self, key: &K, next: Option<(P, u32)>) {
        let Some((tag, first)) = self.keys.remove(key) else { return };
        self.order.remove(&(tag, first, key.clone()));
        // Somebody may have been passed over, for a reason of his own: the clock goes on for all.
        self.clock = self.clock.max(tag);
        if let Some((first, weight)) = next {
            let tag = tag.saturating_add(stride(weight));
            self.keys.insert(key.clone(), (tag, first));
            self.order.insert((tag, first, key.clone()));
        }
    }

    /// Keys with work, in order of their turns, with the first piece of each.
    pub fn iter(&self) -> impl Iterator<Item = (&K, P)> {
        self.order.iter().map(|(_, first, key)| (key, *first))
    }

    /// How many keys have work.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether no key has work.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

fn stride(weight: u32) -> u64 {
    STRIDE / u64::from(weight.clamp(1, FAIRNESS_WEIGHT_MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Keys with work that waits, each a number; the greater, the younger.
    #[derive(Default)]
    struct Bench {
        turns: Turns<u8, u32>,
        work: BTreeMap<u8, (u32, BTreeSet<u32>)>,
        next: u32,
    }

    impl Bench {
        fn come(&mut self, key: u8, weight: u32, count: u32) {
            let (_, work) = self.work.entry(key).or_insert((weight, BTreeSet::new()));
            for _ in 0..count {
                work.insert(self.next);
                self.next += 1;
            }
            if let Some(first) = work.first() {
                self.turns.set(&key, *first, weight);
            }
        }

        fn turn(&mut self) -> Option<u8> {
            let (key, first) = self.turns.iter().next().map(|(key, first)| (*key, first))?;
            let (weight, work) = self.work.get_mut(&key).expect("a key with work");
            assert_eq!(work.pop_first(), Some(first));
            self.turns.take(&key, work.first().map(|first| (*first, *weight)));
            Some(key)
        }

        fn turns(&mut self, count: usize) -> Vec<u8> {
            (0..count).filter_map(|_| self.turn()).collect()
        }
    }

    #[test]
    fn much_work_of_one_key_does_not_hold_up_another() {
        let mut bench = Bench::default();
        bench.come(1, 1, 10_000);
        assert_eq!(bench.turns(500), [1; 500]);
        bench.come(2, 1, 1);
        bench.come(3, 1, 2);
        assert_eq!(bench.turns(6), [1, 2, 3, 1, 3, 1]);
        // Not even when the one was alone for long.
        assert_eq!(bench.turns(3), [1; 3]);
        bench.come(2, 1, 3);
        assert_eq!(bench.turns(6), [1, 2, 1, 2, 1, 2]);
    }

    #[test]
    fn weights_are_shares() {
        let mut bench = Bench::default();
        bench.come(1, 1, 1000);
        bench.come(2, 3, 1000);
        bench.come(3, 1000, 1000);
        let turns = bench.turns(1004);
        let of = |key| turns.iter().filter(|turn| **turn == key).count();
        assert!((999..=1001).contains(&of(3)) && of(2).abs_diff(3) <= 1, "{} {}", of(2), of(3));
        let turns = bench.turns(400);
        let of = |key| turns.iter().filter(|turn| **turn == key).count();
        assert!(of(1).abs_diff(100) <= 1 && of(2).abs_diff(300) <= 1, "{} {}", of(1), of(2));
    }

    #[test]
    fn the_first_piece_may_change_without_a_turn() {
        let mut turns = Turns::default();
        turns.set(&"a", 5, 1);
        turns.set(&"b", 6, 1);
        turns.set(&"b", 4, 1);
        assert_eq!(turns.iter().collect::<Vec<_>>(), [(&"b", 4), (&"a", 5)]);
        turns.remove(&"b");
        turns.remove(&"c");
        turns.take(&"c", Some((1, 1)));
        assert_eq!(turns.iter().collect::<Vec<_>>(), [(&"a", 5)]);
        assert_eq!(turns.len(), 1);
    }

    proptest! {
        /// Nobody starves, whatever comes: who waits is overtaken by at most one turn of each other
        /// key for each stride that its own is as long as theirs, newcomers among them.
        #[test]
        fn who_waits_has_its_turn(
            steps in proptest::collection::vec((0u8..6, 1u32..5, 0u32..4, 0usize..4), 1..200),
        ) {
            let weights = [1, 1, 2, 3, 7, 10];
            let mut bench = Bench::default();
            let mut waits: BTreeMap<u8, BTreeMap<u8, u32>> = BTreeMap::new();
            for (key, _, count, turns) in steps {
                bench.come(key, weights[usize::from(key)], count);
                for _ in 0..turns {
                    let waiting: Vec<u8> = bench.turns.iter().map(|(key, _)| *key).collect();
                    let Some(turn) = bench.turn() else { break };
                    waits.remove(&turn);
                    for key in waiting.into_iter().filter(|key| *key != turn) {
                        let overtaken = waits.entry(key).or_default().entry(turn).or_default();
                        *overtaken += 1;
                        let ratio = weights[usize::from(turn)].div_ceil(weights[usize::from(key)]);
                        prop_assert!(*overtaken <= ratio + 1, "{key} by {turn}: {overtaken}");
                    }
                }
            }
        }
    }
}
