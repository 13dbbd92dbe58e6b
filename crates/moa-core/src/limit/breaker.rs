//! The circuit breaker: an agent that fails again and again is not asked for a while.
//!
//! Closed: attempts start. After `failures` in a row it is **open**: none starts until `open_for` is
//! over. Then it is **half open**: one attempt is let through; if that one goes well the breaker
//! closes, else it opens for twice as long, at most `open_for_max`. (M. Nygard, Release It!, 2007.)

use serde::{Deserialize, Serialize};

use crate::time::{Millis, Span};

/// When an agent counts as ill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerSpec {
    /// Failures in a row that open it; at least 1.
    pub failures: u32,
    /// They count only when no two are further apart than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Span>,
    /// How long it stays open the first time.
    pub open_for: Span,
    /// How long at most, when probes keep failing.
    pub open_for_max: Span,
}

/// How an attempt ended, as far as the agent's health is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It did its work, or said clearly that it won't.
    Good,
    /// It failed, was lost, or took too long.
    Bad,
    /// Nothing can be told from it.
    Neutral,
}

/// The state of a breaker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Breaker {
    /// Nothing failed lately.
    #[default]
    Idle,
    /// Attempts start.
    Closed {
        /// Failures in a row.
        failures: u32,
        /// When the last one was.
        last: Millis,
    },
    /// None starts before `until`; then one may.
    Open {
        /// Until when.
        until: Millis,
        /// Failures that opened it.
        failures: u32,
        /// How often it has opened in a row.
        times: u32,
    },
    /// One attempt is under way to see whether the agent is well again.
    HalfOpen {
        /// When that one started.
        since: Millis,
        /// Failures that opened it.
        failures: u32,
        /// How often it has opened in a row.
        times: u32,
    },
}

impl BreakerSpec {
    fn open_for(&self, times: u32) -> Span {
        let grown = self.open_for.0.saturating_mul(1 << times.saturating_sub(1).min(32));
        Span(grown.min(self.open_for_max.0.max(self.open_for.0)))
    }
}

impl Breaker {
    /// Whether there is nothing to keep.
    pub fn is_idle(&self) -> bool {
        *self == Self::Idle
    }

    /// Until when no attempt may start, and the failures that are the reason.
    pub fn open_until(&self, spec: &BreakerSpec, now: Millis) -> Option<(Millis, u32)> {
        let (until, failures) = match *self {
            Self::Idle | Self::Closed { .. } => return None,
            // Never longer than it can be open: a clock that went back must not close it for ever.
            Self::Open { until, failures, times } => {
                (until.min(now.after(spec.open_for(times))), failures)
            }
            // A probe that nobody has heard of for so long is not coming back.
            Self::HalfOpen { since, failures, times } => {
                let wait = spec.open_for(times);
                (since.after(wait).min(now.after(wait)), failures)
            }
        };
        (until > now).then_some((until, failures))
    }

    /// An attempt starts; after the pause it is the probe.
    pub(super) fn started(&mut self, now: Millis) {
        if let Self::Open { failures, times, .. } | Self::HalfOpen { failures, times, .. } = *self {
            *self = Self::HalfOpen { since: now, failures, times };
        }
    }

    /// An attempt that was to start at `at` never did: was it the probe, another one may be.
    pub(super) fn never_started(&mut self, at: Millis) {
        if let Self::HalfOpen { since, failures, times } = *self
            && since == at
        {
            *self = Self::Open { until: at, failures, times };
        }
    }

    /// An attempt ended.
    pub(super) fn ended(&mut self, spec: &BreakerSpec, health: Health, now: Millis) {
        match health {
            Health::Neutral => {}
            Health::Good => match self {
                // Attempts from before it opened say nothing of how the agent is now.
                Self::Open { .. } => {}
                _ => *self = Self::Idle,
            },
            Health::Bad => self.failed(spec, now),
        }
    }

    fn failed(&mut self, spec: &BreakerSpec, now: Millis) {
        *self = match *self {
            Self::Idle => Self::counted(spec, 1, now),
            Self::Closed { failures, last } => {
                let near = spec.within.is_none_or(|within| now.since(last) <= within);
                Self::counted(spec, if near { failures.saturating_add(1) } else { 1 }, now)
            }
            Self::Open { .. } => return,
            Self::HalfOpen { failures, times, .. } => {
                let (failures, times) = (failures.saturating_add(1), times.saturating_add(1));
                Self::Open { until: now.after(spec.open_for(times)), failures, times }
            }
        };
    }

    fn counted(spec: &BreakerSpec, failures: u32, now: Millis) -> Self {
        match failures >= spec.failures {
            true => Self::Open { until: now.after(spec.open_for(1)), failures, times: 1 },
            false => Self::Closed { failures, last: now },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: BreakerSpec = BreakerSpec {
        failures: 3,
        within: Some(Span::minutes(10)),
        open_for: Span::seconds(30),
        open_for_max: Span::minutes(1),
    };

    fn at(seconds: i64) -> Millis {
        Millis(seconds * 1000)
    }

    fn opened(at_s: i64) -> Breaker {
        let mut breaker = Breaker::default();
        (0..3).for_each(|_| breaker.ended(&SPEC, Health::Bad, at(at_s)));
        breaker
    }

    #[test]
    fn failures_in_a_row_open_it() {
        let mut breaker = Breaker::default();
        breaker.ended(&SPEC, Health::Bad, at(0));
        breaker.ended(&SPEC, Health::Bad, at(1));
        breaker.ended(&SPEC, Health::Good, at(2));
        breaker.ended(&SPEC, Health::Bad, at(3));
        breaker.ended(&SPEC, Health::Bad, at(4));
        assert_eq!(breaker.open_until(&SPEC, at(4)), None);
        breaker.ended(&SPEC, Health::Neutral, at(5));
        breaker.ended(&SPEC, Health::Bad, at(6));
        assert_eq!(breaker.open_until(&SPEC, at(6)), Some((at(36), 3)));
        assert_eq!(breaker.open_until(&SPEC, at(36)), None);
    }

    #[test]
    fn failures_far_apart_are_not_in_a_row() {
        let mut breaker = Breaker::default();
        (0..9).for_each(|n| breaker.ended(&SPEC, Health::Bad, at(n * 601)));
        assert_eq!(breaker.open_until(&SPEC, at(8 * 601)), None);
    }

    #[test]
    fn one_probe_decides_and_a_failed_one_doubles_the_pause() {
        let mut breaker = opened(0);
        breaker.started(at(30));
        assert!(breaker.open_until(&SPEC, at(31)).is_some(), "one probe at a time");
        breaker.ended(&SPEC, Health::Bad, at(31));
        assert_eq!(breaker.open_until(&SPEC, at(31)), Some((at(91), 4)));
        breaker.started(at(91));
        breaker.ended(&SPEC, Health::Bad, at(92));
        assert_eq!(breaker.open_until(&SPEC, at(92)), Some((at(152), 5)), "at most a minute");
        breaker.started(at(152));
        breaker.ended(&SPEC, Health::Good, at(153));
        assert!(breaker.is_idle());
    }

    #[test]
    fn a_probe_that_is_never_heard_of_does_not_close_it_for_ever() {
        let mut breaker = opened(0);
        breaker.started(at(30));
        assert_eq!(breaker.open_until(&SPEC, at(60)), None);
    }

    #[test]
    fn late_answers_do_not_close_an_open_one() {
        let mut breaker = opened(0);
        breaker.ended(&SPEC, Health::Good, at(1));
        assert!(breaker.open_until(&SPEC, at(2)).is_some());
    }

    #[test]
    fn a_clock_that_goes_back_costs_one_pause_at_most() {
        let breaker = opened(1_000_000);
        assert_eq!(breaker.open_until(&SPEC, at(0)), Some((at(30), 3)));
    }
}
