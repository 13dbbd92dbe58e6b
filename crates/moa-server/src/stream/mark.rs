//! Where a stream is among the events.

use std::fmt;

use crate::error::{Problem, Result};

/// A place among the events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Event number of a commit.
    pub seq: u64,
    /// The event of it that came last; `None` = all did.
    pub index: Option<usize>,
}

impl Mark {
    /// Behind all events of a commit.
    pub fn behind(seq: u64) -> Self {
        Self { seq, index: None }
    }

    /// The same, but behind the newest event where it is beyond: a store that was put back from a
    /// backup counts from an earlier number on, and who has seen more than it knows misses nothing of
    /// what happens from then on.
    pub fn within(self, newest: u64) -> Self {
        if self.seq > newest { Self::behind(newest) } else { self }
    }

    /// `7`, or `7.2`, the id of an event.
    ///
    /// # Errors
    /// It is neither.
    pub fn read(text: &str) -> Result<Self> {
        let parsed = match text.split_once('.') {
            None => text.parse().ok().map(Self::behind),
            Some((seq, index)) => seq
                .parse()
                .ok()
                .zip(index.parse().ok())
                .map(|(seq, index)| Self { seq, index: Some(index) }),
        };
        parsed.ok_or_else(|| {
            Problem::invalid(format!("{text:?} is neither an event number nor the id of an event"))
        })
    }

    /// From which commit the store is asked on.
    pub fn read_from(self) -> u64 {
        if self.index.is_some() { self.seq.saturating_sub(1) } else { self.seq }
    }

    /// Whether an event is behind it.
    pub fn passes(self, seq: u64, index: usize) -> bool {
        match self.index {
            _ if seq != self.seq => seq > self.seq,
            None => false,
            Some(last) => index > last,
        }
    }

    /// Whether it is behind an event, read as where what is older ends: `7` is behind all of what was
    /// committed before 7, `7.2` behind `7.1` too.
    pub fn is_behind(self, seq: u64, index: usize) -> bool {
        seq < self.seq || seq == self.seq && self.index.is_some_and(|end| index < end)
    }

    /// The mark that passes what it is not behind, and nothing else.
    pub fn back(self) -> Self {
        match self.index {
            Some(index @ 1..) => Self { seq: self.seq, index: Some(index - 1) },
            _ => Self::behind(self.seq.saturating_sub(1)),
        }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.index {
            None => write!(f, "{}", self.seq),
            Some(index) => write!(f, "{}.{index}", self.seq),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_passes_what_is_behind_it_alone() {
        let whole = Mark::read("7").expect("a mark");
        assert_eq!(whole.read_from(), 7);
        assert!(!whole.passes(7, 0) && !whole.passes(6, 9) && whole.passes(8, 0));
        let part = Mark::read("7.2").expect("a mark");
        assert_eq!(part.read_from(), 6);
        assert!(!part.passes(7, 2) && part.passes(7, 3) && part.passes(8, 0));
        assert!(!part.passes(6, 5));
        assert_eq!((whole.to_string(), part.to_string()), ("7".into(), "7.2".into()));
        for (end, seq, index) in [(part, 7, 1), (part, 6, 9), (whole, 6, 9)] {
            assert!(end.is_behind(seq, index) && !end.back().passes(seq, index), "{end}");
        }
        let first = Mark::read("7.0").expect("a mark");
        for (end, seq, index) in [(part, 7, 2), (part, 8, 0), (whole, 7, 0), (first, 7, 0)] {
            assert!(!end.is_behind(seq, index) && end.back().passes(seq, index), "{end}");
        }
        let ends = [6, 7, 8].map(|newest| (whole.within(newest).seq, part.within(newest)));
        assert_eq!(ends, [(6, Mark::behind(6)), (7, part), (7, part)]);
        for wrong in ["", "x", "-1", "7.", ".7", "7.2.1", "1e9"] {
            assert!(Mark::read(wrong).is_err(), "{wrong}");
        }
    }
}
