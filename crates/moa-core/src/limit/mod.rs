//! Limits on an agent's attempts beyond its concurrency: rates, quotas, budgets, a breaker.
//!
//! Pure: the state is a value that the engine keeps in the store and changes in the transaction that
//! starts or ends an attempt, so a restart forgets nothing. `check` says whether an attempt may start
//! now, or until when it waits and why; `take` counts one that starts; `give_back` counts it no more when
//! it never did; `settle` notes how one ended, `spend` what it has spent.

mod breaker;
mod budget;
mod quota;
mod rate;
mod report;
mod usage;

pub use breaker::{Breaker, BreakerSpec, Health};
pub use budget::{Budget, BudgetNow, BudgetUsed, OnExceed, Share, Unit, grant_name};
pub use quota::{Per, Quota, QuotaUsed};
pub use rate::{Rate, RateLog};
pub use report::{Held, Line};
pub use usage::{Usage, Usd};

use serde::{Deserialize, Serialize};

use crate::time::{Millis, Span};

/// The limits of one agent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AgentLimits {
    /// Attempts in any stretch of so much time; all of them hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rates: Vec<Rate>,
    /// Units in a calendar window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,
    /// What may be spent in a calendar window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// Stops asking an agent that is ill.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub breaker: Option<BreakerSpec>,
}

/// What has been used of an agent's limits.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LimitState {
    /// Starts, for each rate in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rates: Vec<RateLog>,
    /// Units used in the quota's window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<QuotaUsed>,
    /// What was spent in the budget's window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetUsed>,
    /// The breaker.
    #[serde(skip_serializing_if = "Breaker::is_idle")]
    pub breaker: Breaker,
    /// The agent itself said when to come back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_until: Option<Millis>,
}

/// Whether an attempt may start.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Now.
    Go,
    /// Not before an instant.
    Wait {
        /// Until when, at the least.
        until: Millis,
        /// Which limit.
        reason: Reason,
    },
    /// It fails instead.
    Fail {
        /// Until when one would, at the least.
        until: Millis,
        /// Which limit.
        reason: Reason,
    },
}

/// Which limit an attempt waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "limit")]
pub enum Reason {
    /// A rate.
    Rate {
        /// Attempts.
        count: u32,
        /// In so much time.
        span: Span,
    },
    /// The quota is used up.
    Quota {
        /// Units of a window.
        units: u64,
        /// Units used.
        used: u64,
    },
    /// The budget is used up.
    Budget {
        /// Of which unit nothing is left.
        unit: Unit,
        /// How much was spent.
        used: u64,
        /// How much there is.
        of: u64,
        /// Whether people are asked for more.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        ask: bool,
    },
    /// The breaker is open, or its probe is under way.
    Breaker {
        /// Failures that opened it.
        failures: u32,
    },
    /// The agent asked for a pause.
    AgentSaid,
}

impl AgentLimits {
    /// Whether there are any.
    pub fn is_empty(&self) -> bool {
        self.rates.is_empty()
            && self.quota.is_none()
            && self.budget.is_none()
            && self.breaker.is_none()
    }
}

impl LimitState {
    /// Whether an attempt of `action` may start at `now`. When several limits hold it back, the one
    /// that does so longest is named; it fails when only a budget is used up that says so, whatever
    /// else would hold it back.
    pub fn check(&self, limits: &AgentLimits, action: &str, now: Millis) -> Verdict {
        let over = self.over_budget(limits, now);
        if let Some((until, reason)) = &over
            && limits.budget.as_ref().is_some_and(|budget| budget.on_exceed == OnExceed::Fail)
        {
            return Verdict::Fail { until: *until, reason: reason.clone() };
        }
        let hold = self.hold_until.filter(|until| *until > now);
        let mut waits: Vec<(Millis, Reason)> =
            hold.map(|until| (until, Reason::AgentSaid)).into_iter().chain(over).collect();
        for (rate, log) in limits.rates.iter().zip(&self.rates) {
            if let Some(until) = log.full_until(rate, now) {
                waits.push((until, Reason::Rate { count: rate.count, span: rate.span }));
            }
        }
        if let (Some(quota), Some(used)) = (&limits.quota, &self.quota)
            && let Some((until, used)) = quota.full_until(used, action, now)
        {
            waits.push((until, Reason::Quota { units: quota.units, used }));
        }
        if let Some(spec) = &limits.breaker
            && let Some((until, failures)) = self.breaker.open_until(spec, now)
        {
            waits.push((until, Reason::Breaker { failures }));
        }
        let longest = waits.into_iter().max_by_key(|(until, _)| *until);
        longest.map_or(Verdict::Go, |(until, reason)| Verdict::Wait { until, reason })
    }

    /// Until when the budget is used up, if it is.
    fn over_budget(&self, limits: &AgentLimits, now: Millis) -> Option<(Millis, Reason)> {
        let budget = limits.budget.as_ref()?;
        let now = budget.now(Some(self.budget.as_ref()?), now);
        let Share { unit, used, of, .. } = now.full()?;
        let ask = budget.on_exceed == OnExceed::Ask;
        Some((now.resets_at, Reason::Budget { unit, used, of, ask }))
    }

    /// How the budget stands, if there is one.
    pub fn budget_now(&self, limits: &AgentLimits, now: Millis) -> Option<BudgetNow> {
        limits.budget.as_ref().map(|budget| budget.now(self.budget.as_ref(), now))
    }

    /// Counts in the windows of `now` what was counted in windows far ahead of it, by a clock that was
    /// wrong: what is used up stays so for one window more, and not until that clock would be right.
    pub fn set_back(&mut self, limits: &AgentLimits, now: Millis) {
        if let (Some(quota), Some(used)) = (&limits.quota, &mut self.quota) {
            quota.set_back(used, now);
        }
        if let (Some(budget), Some(used)) = (&limits.budget, &mut self.budget) {
            budget.set_back(used, now);
        }
    }

    /// Counts what an attempt has spent, unless it was counted by that name before.
    pub fn spend(&mut self, limits: &AgentLimits, attempt: u64, usage: Usage, now: Millis) {
        if let Some(budget) = &limits.budget {
            budget.spend(self.budget.get_or_insert_default(), attempt, usage, now);
        }
    }

    /// Adds to the budget of this window, unless it was done by that name before.
    pub fn grant(&mut self, limits: &AgentLimits, key: &str, more: Usage, now: Millis) {
        if let Some(budget) = &limits.budget {
            budget.grant(self.budget.get_or_insert_default(), key, more, now);
        }
    }

    /// Counts an attempt that starts.
    pub fn take(&mut self, limits: &AgentLimits, action: &str, now: Millis) {
        self.rates.resize_with(limits.rates.len(), RateLog::default);
        for (rate, log) in limits.rates.iter().zip(&mut self.rates) {
            log.take(rate, now);
        }
        if let Some(quota) = &limits.quota {
            quota.take(self.quota.get_or_insert_default(), action, now);
        }
        if limits.breaker.is_some() {
            self.breaker.started(now);
        }
        if self.hold_until.is_some_and(|until| until <= now) {
            self.hold_until = None;
        }
    }

    /// Takes back that an attempt was counted at `at`: it never started.
    pub fn give_back(&mut self, limits: &AgentLimits, action: &str, at: Millis) {
        for (rate, log) in limits.rates.iter().zip(&mut self.rates) {
            log.give_back(rate, at);
        }
        if let (Some(quota), Some(used)) = (&limits.quota, &mut self.quota) {
            quota.give_back(used, action, at);
        }
        self.breaker.never_started(at);
    }

    /// Notes how an attempt ended; `after`: the agent said when to come back. Answers whether the
    /// state changed.
    pub fn settle(
        &mut self,
        limits: &AgentLimits,
        health: Health,
        after: Option<Span>,
        now: Millis,
    ) -> bool {
        let before = self.clone();
        if let Some(after) = after.filter(|after| after.0 > 0) {
            self.hold_until = self.hold_until.max(Some(now.after(after)));
        }
        if let Some(spec) = &limits.breaker {
            self.breaker.ended(spec, health, now);
        }
        *self != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> AgentLimits {
        AgentLimits {
            rates: vec!["2/1m".parse().expect("a rate"), "3/1h".parse().expect("a rate")],
            ..AgentLimits::default()
        }
    }

    #[test]
    fn every_rate_holds() {
        let (limits, mut state) = (limits(), LimitState::default());
        let at = |s: i64| Millis(s * 1000);
        state.take(&limits, "x", at(0));
        state.take(&limits, "x", at(1));
        let minute = Reason::Rate { count: 2, span: Span::minutes(1) };
        let wait = Verdict::Wait { until: at(60), reason: minute };
        assert_eq!(state.check(&limits, "x", at(2)), wait);
        assert_eq!(state.check(&limits, "x", at(60)), Verdict::Go);
        state.take(&limits, "x", at(60));
        let hour = Reason::Rate { count: 3, span: Span::minutes(60) };
        let wait = Verdict::Wait { until: at(3600), reason: hour };
        assert_eq!(state.check(&limits, "x", at(120)), wait);
        assert_eq!(state.check(&limits, "x", at(3600)), Verdict::Go);
    }

    #[test]
    fn what_never_started_is_not_counted() {
        let quota = Quota {
            units: 9,
            per: Per::Day,
            timezone: String::new(),
            cost: [("big".to_owned(), 5)].into(),
        };
        let (second, breaker) = (
            Span::seconds(1),
            serde_json::json!({
                "failures": 1, "open_for": 1000, "open_for_max": 1000
            }),
        );
        let limits = AgentLimits {
            rates: vec!["3/1h".parse().expect("a rate"), "9000/1h".parse().expect("a rate")],
            quota: Some(quota),
            budget: None,
            breaker: serde_json::from_value(breaker).expect("a breaker"),
        };
        let start = Millis(1_790_000_000_000);
        let mut state = LimitState::default();
        state.take(&limits, "small", start);
        state.settle(&limits, Health::Bad, None, start);
        let (before, probe) = (state.clone(), start.after(second));
        for _ in 0..9 {
            assert_eq!(state.check(&limits, "big", probe), Verdict::Go);
            state.take(&limits, "big", probe);
            assert_ne!(state.check(&limits, "small", probe), Verdict::Go, "one probe at a time");
            state.give_back(&limits, "big", probe);
            assert_eq!(state, before);
        }
        // Of two at the same instant one is left; nothing is taken back from another window.
        let mut state = LimitState::default();
        state.take(&limits, "small", start);
        let one = state.clone();
        state.take(&limits, "small", start);
        state.give_back(&limits, "small", start);
        state.give_back(&limits, "small", start.after(Span::minutes(60 * 24)));
        assert_eq!(state, one);
    }

    #[test]
    fn what_the_agent_says_holds_for_all_its_tasks() {
        let (limits, mut state) = (limits(), LimitState::default());
        assert!(state.settle(&limits, Health::Neutral, Some(Span::seconds(30)), Millis(0)));
        let wait = Verdict::Wait { until: Millis(30_000), reason: Reason::AgentSaid };
        assert_eq!(state.check(&limits, "x", Millis(1)), wait);
        assert_eq!(state.check(&limits, "x", Millis(30_000)), Verdict::Go);
        assert!(!state.settle(&limits, Health::Good, None, Millis(40_000)));
    }

    #[test]
    fn the_state_survives_as_json() {
        let (limits, mut state) = (limits(), LimitState::default());
        (0..5).for_each(|i| state.take(&limits, "x", Millis(i)));
        let text = serde_json::to_string(&state).expect("JSON");
        assert_eq!(serde_json::from_str::<LimitState>(&text).expect("JSON"), state);
        assert_eq!(serde_json::to_string(&LimitState::default()).expect("JSON"), "{}");
    }
}
