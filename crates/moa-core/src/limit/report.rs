//! What people see of limits: each with what is used, what there is, and until when it holds back.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::time::{Millis, Span};

use super::{AgentLimits, Breaker, LimitState, Per, Reason, Unit, Verdict};

/// One limit, as it stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    /// The limit: `5/1h`, `10000/day`, `circuit breaker`, `the agent's own pause`.
    pub limit: String,
    /// What is used of it, in attempts, units, failures in a row, or `unit`.
    pub used: u64,
    /// How much there is.
    pub of: u64,
    /// What a budget counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
    /// `open`, `closed`, `half-open`, `full` or `free`.
    pub state: &'static str,
    /// Until when attempts wait for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Millis>,
}

/// What holds back all tasks of an agent that are ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Until when.
    pub until: Millis,
    /// By what.
    pub reason: Reason,
}

impl Held {
    /// Marks the limit that holds them back among all of the agent: a quota of which something is left, yet
    /// too little for what waits, is as good as used up.
    pub fn mark(&self, limits: &AgentLimits, lines: &mut [Line]) {
        let (Reason::Quota { .. }, Some(quota)) = (&self.reason, &limits.quota) else { return };
        let limit = format!("{}/{}", quota.units, quota.per);
        let line = lines.iter_mut().find(|line| line.limit == limit && line.unit.is_none());
        if let Some(line) = line {
            (line.state, line.until) = ("full", Some(self.until));
        }
    }
}

impl LimitState {
    /// Every limit as it stands at `now`.
    pub fn report(&self, limits: &AgentLimits, now: Millis) -> Vec<Line> {
        let mut lines = Vec::new();
        for (ix, rate) in limits.rates.iter().enumerate() {
            let log = self.rates.get(ix);
            let until = log.and_then(|log| log.full_until(rate, now));
            let used = log.map_or(0, |log| log.used(rate, now));
            let state = if until.is_some() { "full" } else { "free" };
            let (limit, of) = (rate.to_string(), u64::from(rate.count));
            lines.push(Line { limit, used, of, unit: None, state, until });
        }
        if let Some(quota) = &limits.quota {
            let (used, next) = quota.now(self.quota, now);
            let full = used >= quota.units;
            let (state, until) = if full { ("full", Some(next)) } else { ("free", None) };
            let limit = format!("{}/{}", quota.units, quota.per);
            lines.push(Line { limit, used, of: quota.units, unit: None, state, until });
        }
        self.report_budget(limits, now, &mut lines);
        if let Some(spec) = &limits.breaker {
            let until = self.breaker.open_until(spec, now).map(|(until, _)| until);
            let (state, used) = match self.breaker {
                Breaker::Idle => ("closed", 0),
                Breaker::Closed { failures, .. } => ("closed", failures),
                // Its pause is over: the next attempt is the probe, whenever somebody asks for one.
                Breaker::Open { failures, .. } if until.is_none() => ("half-open", failures),
                Breaker::Open { failures, .. } => ("open", failures),
                Breaker::HalfOpen { failures, .. } => ("half-open", failures),
            };
            let (limit, used, of) =
                ("circuit breaker".to_owned(), used.into(), spec.failures.into());
            lines.push(Line { limit, used, of, unit: None, state, until });
        }
        if let Some(until) = self.hold_until.filter(|until| *until > now) {
            let limit = "the agent's own pause".to_owned();
            let (unit, until) = (None, Some(until));
            lines.push(Line { limit, used: 0, of: 0, unit, state: "full", until });
        }
        lines
    }

    fn report_budget(&self, limits: &AgentLimits, now: Millis, lines: &mut Vec<Line>) {
        let Some(budget) = &limits.budget else { return };
        let now = budget.now(self.budget.as_ref(), now);
        for share in &now.shares {
            let (unit, used, of) = (share.unit, share.used, share.of);
            let limit = format!("{} {unit}/{}", unit.amount(of), budget.per);
            let (state, until) = match share.is_full() {
                true => ("full", Some(now.resets_at)),
                false => ("free", None),
            };
            lines.push(Line { limit, used, of, unit: Some(unit), state, until });
        }
    }

    /// Why an attempt of `action` can't start now, and until when; `None` when it can.
    pub fn why(&self, limits: &AgentLimits, action: &str, now: Millis) -> Option<(String, Millis)> {
        match self.check(limits, action, now) {
            Verdict::Go => None,
            Verdict::Wait { until, reason } | Verdict::Fail { until, reason } => {
                Some((reason.to_string(), until))
            }
        }
    }
}

impl Line {
    /// So much of what it counts, for people, without the unit's name.
    pub fn amount(&self, n: u64) -> String {
        self.unit.map_or_else(|| n.to_string(), |unit| unit.amount(n))
    }

    /// How much of it is used, for people: `3 of 100 used`. Attempts that find out whether an agent is
    /// well again may fail as well: so a breaker counts more failures than those that open it.
    pub fn words(&self) -> String {
        let (used, of) = (self.amount(self.used), self.amount(self.of));
        match self.limit == "circuit breaker" {
            false => format!("{used} of {of} used"),
            true if self.used > self.of => format!("{used} failures in a row, {of} open it"),
            true => format!("{used} of {of} failures"),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rate { count, span: Span(ms) } => {
                write!(f, "its rate limit of {count} in {} is used up", Span(*ms))
            }
            Self::Quota { units, used } => {
                write!(f, "its quota is used up: {used} of {units} units, and it needs more")
            }
            Self::Budget { unit, used, of, ask } => {
                let (used, of) = (unit.amount(*used), unit.amount(*of));
                write!(f, "its budget is used up: {used} of {of} {unit}")?;
                f.write_str(if *ask { ", unless a person grants more" } else { "" })
            }
            Self::Breaker { failures } => {
                write!(f, "its circuit breaker is open after {failures} failures in a row")
            }
            Self::AgentSaid => f.write_str("it asked for a pause"),
        }
    }
}

impl fmt::Display for Per {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::BreakerSpec;
    use super::*;

    #[test]
    fn a_breaker_whose_pause_is_over_is_half_open() {
        let breaker = BreakerSpec {
            failures: 3,
            within: None,
            open_for: Span::seconds(30),
            open_for_max: Span::minutes(1),
        };
        let limits = AgentLimits { breaker: Some(breaker), ..AgentLimits::default() };
        let until = Millis(30_000);
        let breaker = Breaker::Open { until, failures: 3, times: 1 };
        let state = LimitState { breaker, ..LimitState::default() };
        let at = |now: Millis| {
            let line = state.report(&limits, now).pop().expect("a line");
            (line.state, line.until)
        };
        assert_eq!(at(Millis(29_999)), ("open", Some(until)));
        assert_eq!(at(until), ("half-open", None));
    }

    #[test]
    fn a_breaker_that_counts_more_failures_than_open_it_says_both() {
        let line = |limit: &str, used| {
            let (limit, unit, until) = (limit.to_owned(), None, None);
            Line { limit, used, of: 3, unit, state: "open", until }.words()
        };
        assert_eq!(line("circuit breaker", 3), "3 of 3 failures");
        assert_eq!(line("circuit breaker", 4), "4 failures in a row, 3 open it");
        assert_eq!(line("3/1h", 2), "2 of 3 used");
    }

    #[test]
    fn a_quota_with_too_little_left_is_marked_as_used_up() {
        let limits: AgentLimits = serde_json::from_str(
            r#"{"rates": [{"count": 9, "span": 1000}],
                "quota": {"units": 10, "per": "day", "cost": {"upload": 6}}}"#,
        )
        .expect("limits");
        let mut lines = LimitState::default().report(&limits, Millis(0));
        let states = |lines: &[Line]| lines.iter().map(|line| line.state).collect::<Vec<_>>();
        let held = |reason| Held { until: Millis(7), reason };
        held(Reason::AgentSaid).mark(&limits, &mut lines);
        assert_eq!(states(&lines), ["free", "free"]);
        held(Reason::Quota { units: 10, used: 6 }).mark(&limits, &mut lines);
        assert_eq!(states(&lines), ["free", "full"]);
        assert_eq!(lines[1].until, Some(Millis(7)));
    }
}
