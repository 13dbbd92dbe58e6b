//! A steady interval, counted from the epoch: the same instants whenever moa was started.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::time::{Millis, Span};

/// Due every `interval`, `phase` after the whole multiples of it since 1970-01-01T00:00:00Z.
/// Written `30m` or, with a phase, `5m/1m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Every {
    interval: Span,
    phase: Span,
}

/// Why an interval can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EveryError {
    /// The text is not a duration.
    #[error("{0}")]
    Duration(String),
    /// The interval or the phase isn't of whole seconds, or the interval is none.
    #[error("an interval is at least 1s, and it and its phase are whole seconds")]
    NotSeconds,
    /// The phase is not shorter than the interval.
    #[error("the phase {phase} is not shorter than the interval {interval}")]
    Phase {
        /// The interval.
        interval: Span,
        /// The phase.
        phase: Span,
    },
}

impl Every {
    /// Checks and makes one.
    ///
    /// # Errors
    /// See [`EveryError`].
    pub fn new(interval: Span, phase: Span) -> Result<Self, EveryError> {
        let whole = |span: Span| span.0.is_multiple_of(1000);
        if interval.0 == 0 || !whole(interval) || !whole(phase) {
            return Err(EveryError::NotSeconds);
        }
        if phase >= interval {
            return Err(EveryError::Phase { interval, phase });
        }
        Ok(Self { interval, phase })
    }

    /// The interval.
    pub fn interval(&self) -> Span {
        self.interval
    }

    /// What is added to the multiples of the interval.
    pub fn phase(&self) -> Span {
        self.phase
    }

    /// The first instant after `after`.
    pub(super) fn next(&self, after: Millis) -> Option<Millis> {
        let (interval, phase) = (self.interval.0 as i64, self.phase.0 as i64);
        let passed = after.0.checked_sub(phase)?.div_euclid(interval);
        passed.checked_add(1)?.checked_mul(interval)?.checked_add(phase).map(Millis)
    }

    /// How many instants there are from `from` on and before `to`.
    pub(super) fn count(&self, from: Millis, to: Millis) -> u64 {
        let (interval, phase) = (i128::from(self.interval.0), i128::from(self.phase.0));
        let before = |at: Millis| (i128::from(at.0) - phase - 1).div_euclid(interval);
        u64::try_from(before(to) - before(from)).unwrap_or(0)
    }
}

impl fmt::Display for Every {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.phase {
            Span(0) => self.interval.fmt(f),
            phase => write!(f, "{}/{phase}", self.interval),
        }
    }
}

impl FromStr for Every {
    type Err = EveryError;
    fn from_str(text: &str) -> Result<Self, EveryError> {
        let span = |text: &str| text.trim().parse::<Span>().map_err(EveryError::Duration);
        match text.split_once('/') {
            None => Self::new(span(text)?, Span(0)),
            Some((interval, phase)) => Self::new(span(interval)?, span(phase)?),
        }
    }
}

impl TryFrom<String> for Every {
    type Error = EveryError;
    fn try_from(text: String) -> Result<Self, EveryError> {
        text.parse()
    }
}
impl From<Every> for String {
    fn from(every: Every) -> Self {
        every.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_aligned_to_the_epoch() {
        let every: Every = "5m/1m".parse().expect("is an interval");
        let minute = 60_000;
        let next = |after| every.next(Millis(after)).map(|m| m.0 / minute);
        assert_eq!(next(0), Some(1));
        assert_eq!(next(minute - 1), Some(1));
        assert_eq!(next(minute), Some(6));
        assert_eq!(next(-4 * minute), Some(1));
        assert_eq!(next(-4 * minute - 1), Some(-4));
        assert_eq!(every.next(Millis(i64::MAX)), None);
    }

    #[test]
    fn counting_agrees_with_listing() {
        let every: Every = "7s/3s".parse().expect("is an interval");
        for from in (-30_000..30_000).step_by(500) {
            for to in (from..40_000).step_by(1500) {
                let mut at = Millis(from - 1);
                let mut listed = 0;
                while let Some(next) = every.next(at).filter(|n| n.0 < to) {
                    (at, listed) = (next, listed + 1);
                }
                assert_eq!(every.count(Millis(from), Millis(to)), listed, "{from} {to}");
            }
        }
    }

    #[test]
    fn texts_round_trip_and_nonsense_is_refused() {
        for text in ["30m", "5m/1m", "1h30m", "1s"] {
            assert_eq!(text.parse::<Every>().map(|e| e.to_string()), Ok(text.to_owned()));
        }
        for bad in ["0s", "500ms", "1s500ms", "5m/5m", "5m/", "/5m", "5m/1m/1m", "x", ""] {
            assert!(bad.parse::<Every>().is_err(), "{bad}");
        }
    }
}
