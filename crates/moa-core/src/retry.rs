//! When and how often a step is tried again.

use serde::{Deserialize, Serialize};

use crate::ids::mix;
use crate::limits::ATTEMPTS_MAX;
use crate::time::Span;

/// How the delay grows from one retry to the next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backoff {
    /// Always `delay`.
    Constant,
    /// `delay × n` before the n-th retry.
    Linear,
    /// `delay × 2^(n−1)` before the n-th retry.
    #[default]
    Exponential,
}

/// Retry policy of a step. The default is three retries after 1, 2 and 4 minutes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Attempts altogether, the first one counted; 1 = never again.
    pub max_attempts: u32,
    /// How the delay grows.
    pub backoff: Backoff,
    /// Delay before the first retry.
    pub delay: Span,
    /// Longest delay between two attempts.
    pub max_delay: Span,
    /// Share of the delay by which it may vary, 0.0 to 1.0; spread by a hash, not by chance.
    pub jitter: f64,
    /// Give up when this much time has gone since the first attempt started, if set.
    pub max_elapsed: Option<Span>,
    /// An expression over `error` and `attempt`; false = don't retry. Source text.
    pub when: Option<String>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 4,
            backoff: Backoff::Exponential,
            delay: Span::minutes(1),
            max_delay: Span::minutes(60),
            jitter: 0.0,
            max_elapsed: None,
            when: None,
        }
    }
}

impl RetryPolicy {
    /// A policy that never tries again.
    pub fn never() -> Self {
        Self { max_attempts: 1, ..Self::default() }
    }

    /// The delay before attempt `next` (2 = the first retry), or `None` when attempts are used up.
    /// `seed` names the step in the run, so that the jitter is the same at every replay.
    pub fn delay_before(&self, next: u32, seed: u64) -> Option<Span> {
        if next > self.max_attempts.min(ATTEMPTS_MAX) {
            return None;
        }
        let n = next.saturating_sub(1).max(1);
        let base = self.delay.0;
        let raw = match self.backoff {
            Backoff::Constant => base,
            Backoff::Linear => base.saturating_mul(u64::from(n)),
            Backoff::Exponential => base.saturating_mul(1u64 << (n - 1).min(40)),
        };
        Some(Span(self.spread(raw.min(self.max_delay.0), mix(seed ^ u64::from(next)))))
    }

    /// `delay` moved by up to `jitter` of itself, later or sooner.
    fn spread(&self, delay: u64, hash: u64) -> u64 {
        if self.jitter <= 0.0 {
            return delay;
        }
        let unit = (hash >> 11) as f64 / (1u64 << 53) as f64; // 0.0 .. 1.0
        (delay as f64 * (1.0 + self.jitter.min(1.0) * (2.0 * unit - 1.0))) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_three_retries_after_1_2_and_4_minutes() {
        let policy = RetryPolicy::default();
        let delays: Vec<_> = (2..=5).map(|n| policy.delay_before(n, 7)).collect();
        let minutes = |n| Some(Span::minutes(n));
        assert_eq!(delays, [minutes(1), minutes(2), minutes(4), None]);
    }

    #[test]
    fn jitter_is_bounded_and_repeatable() {
        let policy = RetryPolicy { jitter: 0.1, ..RetryPolicy::default() };
        for seed in 0..1000 {
            let delay = policy.delay_before(2, seed).expect("an attempt is left").0;
            assert!((54_000..=66_000).contains(&delay), "{delay}");
            assert_eq!(policy.delay_before(2, seed).map(|d| d.0), Some(delay));
        }
    }

    #[test]
    fn huge_attempt_numbers_do_not_overflow() {
        let policy = RetryPolicy { max_attempts: u32::MAX, ..RetryPolicy::default() };
        assert_eq!(policy.delay_before(1000, 1), Some(policy.max_delay));
        assert_eq!(policy.delay_before(ATTEMPTS_MAX + 1, 1), None);
    }
}
