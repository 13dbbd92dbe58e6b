//! How long things took, finely enough to tell the share of them that took at most so long.
//!
//! Durations are counted in classes of equal ratio, 16 for each doubling, and only classes that
//! something is in take space. Each class keeps the sum of what is in it, so what is told of one is its
//! mean: within 4.5 % of what was measured, never beyond the longest nor below the shortest, and exact
//! where a class holds one value. Sums can be taken from each other, which a longest can't, so what was
//! done between two samples is as exact as what was done in all. Absent: the classes that exporters
//! show, which are few and whose bounds are known to others' graphs ([`crate::meter`]).

use serde::{Deserialize, Deserializer, Serialize};

/// Classes for each doubling.
const BY_DOUBLING: f64 = 16.0;
/// Values that the counts of an older moa are spread to, for each of its classes.
const POINTS_MAX: u64 = 16;

/// A class: its number, how many values are in it, and their sum in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Class(u16, u64, u64);

/// How often values fell into each class, ascending, without those that are empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Spread(Vec<Class>);

impl Spread {
    /// Counts a value, in seconds.
    pub fn add(&mut self, seconds: f64) {
        self.add_class(of_micros((seconds.max(0.0) * 1e6).round() as u64, 1));
    }

    fn add_class(&mut self, Class(number, count, micros): Class) {
        match self.0.binary_search_by_key(&number, |class| class.0) {
            Err(place) => self.0.insert(place, Class(number, count, micros)),
            Ok(place) => {
                let Class(_, counted, sum) = &mut self.0[place];
                *counted = counted.saturating_add(count);
                *sum = sum.saturating_add(micros);
            }
        }
    }

    /// Takes another one into this.
    pub fn add_all(&mut self, other: &Self) {
        other.0.iter().for_each(|class| self.add_class(*class));
    }

    /// The values that were added since it was `before`.
    pub fn since(&self, before: &Self) -> Self {
        let since = |Class(number, count, micros): &Class| {
            let had = before.0.binary_search_by_key(number, |class| class.0);
            let (had, sum) = had.map_or((0, 0), |place| (before.0[place].1, before.0[place].2));
            Class(*number, count.saturating_sub(had), micros.saturating_sub(sum))
        };
        Self(self.0.iter().map(since).filter(|class| class.1 > 0).collect())
    }

    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.0.iter().fold(0, |sum, class| sum.saturating_add(class.1))
    }

    /// The seconds that the share `part` (0 to 1) of all values is not above. `None` = there are none.
    pub fn quantile(&self, part: f64) -> Option<f64> {
        let all = self.count();
        let wanted = ((part.clamp(0.0, 1.0) * all as f64).ceil() as u64).max(1);
        let mut upto = 0_u64;
        let class = self.0.iter().find(|class| {
            upto = upto.saturating_add(class.1);
            upto >= wanted
        });
        class.map(|Class(_, count, micros)| *micros as f64 / (*count).max(1) as f64 / 1e6)
    }

    /// Of counts in classes with these upper bounds in seconds, as an older moa kept them: within a
    /// class, values are taken to be spread evenly; the class without an end is at its begin.
    fn of_classes(bounds: &[f64], counts: &[u64]) -> Self {
        let mut spread = Self::default();
        for (class, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let low = class.checked_sub(1).and_then(|below| bounds.get(below)).copied();
            let low = low.unwrap_or(0.0);
            let high = bounds.get(class).copied().unwrap_or(low);
            let points = (*count).min(POINTS_MAX);
            for point in 0..points {
                let at = low + (high - low) * (point as f64 + 0.5) / points as f64;
                let share = count / points + u64::from(point < count % points);
                spread.add_class(of_micros((at * 1e6).round() as u64, share));
            }
        }
        spread
    }
}

/// So many values of so many microseconds each.
fn of_micros(micros: u64, count: u64) -> Class {
    let number = match micros {
        0 => 0,
        _ => 1 + ((micros as f64).log2() * BY_DOUBLING).floor() as u16,
    };
    Class(number, count, micros.saturating_mul(count))
}

/// Reads one, or the counts that an older moa kept in classes with these bounds.
///
/// # Errors
/// It is neither.
pub(crate) fn read<'de, D: Deserializer<'de>>(from: D, bounds: &[f64]) -> Result<Spread, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Kept {
        Fine(Vec<Class>),
        Coarse(Vec<u64>),
    }
    Ok(match Kept::deserialize(from)? {
        Kept::Fine(classes) => Spread(classes),
        Kept::Coarse(counts) => Spread::of_classes(bounds, &counts),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f64]) -> Spread {
        let mut spread = Spread::default();
        values.iter().for_each(|value| spread.add(*value));
        spread
    }

    #[test]
    fn quantiles_are_within_five_of_a_hundred_and_within_what_was_measured() {
        // From 20 µs to eight days, by less than a class at a time, then by leaps.
        for ratio in [1.003, 1.04, 1.7, 9.0] {
            let values: Vec<f64> =
                std::iter::successors(Some(0.000_02), |value| Some(value * ratio))
                    .take_while(|value| *value < 700_000.0)
                    .collect();
            let spread = of(&values);
            assert_eq!(spread.count(), values.len() as u64);
            for percent in 0..=100 {
                let part = f64::from(percent) / 100.0;
                let rank = ((part * values.len() as f64).ceil() as usize).max(1);
                let (is, told) = (values[rank - 1], spread.quantile(part).expect("there are some"));
                assert!((told / is - 1.0).abs() < 0.05, "{percent} of {ratio}: {told} for {is}");
                assert!(told >= values[0] - 1e-6 && told <= values[values.len() - 1] + 1e-6);
            }
        }
    }

    #[test]
    fn one_value_is_told_as_it_is() {
        let told = |spread: &Spread| [0.0, 0.5, 0.95, 1.0].map(|part| spread.quantile(part));
        assert_eq!(told(&of(&[1.009])), [Some(1.009); 4]);
        assert_eq!(told(&of(&[0.0])), [Some(0.0); 4]);
        assert_eq!(told(&Spread::default()), [None; 4]);
        let (before, after) = (of(&[1.01, 90.0]), of(&[1.01, 90.0, 1.009]));
        assert_eq!(told(&after.since(&before)), [Some(1.009); 4], "nothing of what was before");
    }

    #[test]
    fn what_an_older_moa_counted_is_read() {
        let read =
            |text: &str| super::read(&mut serde_json::Deserializer::from_str(text), &[1.0, 2.0]);
        let spread = read("[5, 1005, 1]").expect("it is read");
        assert_eq!(spread.count(), 1011);
        let told = |part| spread.quantile(part).expect("there are some");
        assert!((told(0.5) - 1.5).abs() < 0.07, "{}", told(0.5));
        assert!((told(1.0) - 2.0).abs() < 0.07, "the class without an end: {}", told(1.0));
        let text = serde_json::to_string(&spread).expect("it is written");
        assert_eq!(read(&text).expect("it is read"), spread);
        assert_eq!(read("[]").expect("it is read"), Spread::default());
    }
}
