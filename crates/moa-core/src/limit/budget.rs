//! Budgets: so much money, so many tokens in each hour, day, week or month of the calendar.
//!
//! What an attempt spends is known when it ends: a budget holds back the attempts that would start
//! once it is used up, and those that run by then may go beyond it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::time::Millis;

use super::quota::{Per, is_far_ahead, window, window_with};
use super::usage::{Usage, Usd};

/// Attempts that are known by name although nobody here knows whether they may be counted again.
const ATTEMPTS_KEPT_MAX: usize = 1024;
/// Grants that are known by name.
const GRANTS_KEPT_MAX: usize = 64;

/// So much in each window of the calendar.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// Money of a window; `None` = no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd: Option<Usd>,
    /// Tokens of a window; `None` = no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// How long a window is.
    pub per: Per,
    /// The IANA time zone whose calendar counts; UTC when empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub timezone: String,
    /// What happens to attempts once it is used up.
    #[serde(default)]
    pub on_exceed: OnExceed,
}

/// What happens to the attempts of an agent whose budget is used up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnExceed {
    /// They wait until the window ends.
    #[default]
    Pause,
    /// They fail.
    Fail,
    /// They wait until a person grants more, or the window ends.
    Ask,
}

impl OnExceed {
    /// Its name, as everywhere outside.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Fail => "fail",
            Self::Ask => "ask",
        }
    }
}

/// What has been spent in a window.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BudgetUsed {
    /// When the window began.
    pub window: Millis,
    /// What attempts that ended in it have spent.
    #[serde(skip_serializing_if = "Usage::is_nothing")]
    pub spent: Usage,
    /// What people have granted for it beyond the agent's file.
    #[serde(skip_serializing_if = "Usage::is_nothing")]
    pub granted: Usage,
    /// By which names those of the attempts are known whose end may have to be written again after this
    /// was: the same name is the same attempt.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub counted: Vec<u64>,
    /// By which names the newest grants are known: the same name is the same grant.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<String>,
}

/// Remembers a name among the newest; false = it was known.
fn keep<T: PartialEq>(names: &mut Vec<T>, name: T, most: usize) -> bool {
    if names.contains(&name) {
        return false;
    }
    names.push(name);
    names.drain(..names.len().saturating_sub(most));
    true
}

/// The name of a grant that somebody gave a key: as long for every key.
pub fn grant_name(key: &str) -> String {
    format!("key {}", &blake3::hash(key.as_bytes()).to_hex()[..32])
}

impl BudgetUsed {
    /// Forgets the names of attempts that are `over`, which nobody counts again; and the oldest of too many
    /// that are not `own`: a node that died has left them.
    pub fn forget(&mut self, over: impl Fn(&u64) -> bool, own: impl Fn(&u64) -> bool) {
        self.counted.retain(|name| !over(name));
        let others = self.counted.iter().filter(|name| !own(name)).count();
        let mut surplus = others.saturating_sub(ATTEMPTS_KEPT_MAX);
        self.counted.retain(|name| {
            let goes = surplus > 0 && !own(name);
            surplus -= usize::from(goes);
            !goes
        });
    }
}

/// What a budget counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Micro-dollars.
    #[serde(rename = "micro_usd")]
    Usd,
    /// Tokens.
    Tokens,
}

impl Unit {
    /// Its name, as everywhere outside.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Usd => "usd",
            Self::Tokens => "tokens",
        }
    }

    /// So much of it, for people, without the unit's name.
    pub fn amount(self, n: u64) -> String {
        match self {
            Self::Usd => Usd(n).to_string(),
            Self::Tokens => n.to_string(),
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Usd => "USD",
            Self::Tokens => "tokens",
        })
    }
}

/// How much of one unit is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Of what.
    pub unit: Unit,
    /// Spent in the window.
    pub used: u64,
    /// How much there is, with what was granted.
    pub of: u64,
    /// What was granted of it.
    pub granted: u64,
}

impl Share {
    /// Whether nothing is left.
    pub fn is_full(&self) -> bool {
        self.used >= self.of
    }
}

/// How a budget stands.
#[derive(Debug, Clone, PartialEq)]
pub struct BudgetNow {
    /// Each unit that is limited.
    pub shares: Vec<Share>,
    /// When the window began.
    pub since: Millis,
    /// When the next one begins.
    pub resets_at: Millis,
}

impl BudgetNow {
    /// The unit of which nothing is left.
    pub fn full(&self) -> Option<Share> {
        self.shares.iter().copied().find(Share::is_full)
    }
}

impl Budget {
    /// The window that an instant is in: its first instant, and the first of the next one.
    pub fn window(&self, now: Millis) -> (Millis, Millis) {
        window(self.per, &self.timezone, now)
    }

    /// The same for a node whose clock may be a little behind another's, which has begun the next one.
    fn window_with(&self, used: &BudgetUsed, now: Millis) -> (Millis, Millis) {
        window_with(self.per, &self.timezone, used.window, now)
    }

    /// How it stands.
    pub fn now(&self, used: Option<&BudgetUsed>, now: Millis) -> BudgetNow {
        let nothing = BudgetUsed::default();
        let used = used.unwrap_or(&nothing);
        let (since, resets_at) = self.window_with(used, now);
        // A window of the future was begun before the clock went back: what is spent stays spent.
        let used = if used.window >= since { used } else { &nothing };
        let (spent, granted) = (used.spent, used.granted);
        let usd = self.usd.map(|max| {
            let (used, granted) = (spent.usd.0, granted.usd.0);
            Share { unit: Unit::Usd, used, of: max.0.saturating_add(granted), granted }
        });
        let tokens = self.tokens.map(|max| {
            let (used, granted) = (spent.tokens, granted.tokens);
            Share { unit: Unit::Tokens, used, of: max.saturating_add(granted), granted }
        });
        BudgetNow { shares: usd.into_iter().chain(tokens).collect(), since, resets_at }
    }

    /// Goes over to the window of an instant.
    fn turn(&self, used: &mut BudgetUsed, now: Millis) {
        let (window, _) = self.window_with(used, now);
        if used.window < window {
            // Names are remembered: nothing is counted twice because a window ended meanwhile.
            (used.spent, used.granted) = (Usage::NONE, Usage::NONE);
        }
        used.window = window;
    }

    /// Counts in the window of `now` what was spent in one far ahead: it is spent for that window, and not
    /// until the clock gets to the other one.
    pub(super) fn set_back(&self, used: &mut BudgetUsed, now: Millis) {
        if is_far_ahead(used.window, now) {
            used.window = self.window(now).0;
        }
    }

    pub(super) fn spend(&self, used: &mut BudgetUsed, attempt: u64, usage: Usage, now: Millis) {
        if !keep(&mut used.counted, attempt, usize::MAX) {
            return;
        }
        self.turn(used, now);
        used.spent = used.spent.plus(usage);
    }

    pub(super) fn grant(&self, used: &mut BudgetUsed, key: &str, more: Usage, now: Millis) {
        if !keep(&mut used.grants, key.to_owned(), GRANTS_KEPT_MAX) {
            return;
        }
        self.turn(used, now);
        used.granted = used.granted.plus(more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget() -> Budget {
        let (usd, tokens) = (Some(Usd(20_000_000)), Some(1000));
        let (timezone, on_exceed) = (String::new(), OnExceed::Pause);
        Budget { usd, tokens, per: Per::Day, timezone, on_exceed }
    }

    fn day(n: i64) -> Millis {
        Millis(n * 86_400_000)
    }

    fn usd(dollars: u64) -> Usage {
        Usage { usd: Usd(dollars * 1_000_000), tokens: 0 }
    }

    #[test]
    fn it_is_full_when_one_unit_is_and_empty_in_the_next_window() {
        let (budget, mut used) = (budget(), BudgetUsed::default());
        budget.spend(&mut used, 1, usd(19), day(100));
        assert_eq!(budget.now(Some(&used), day(100)).full(), None);
        budget.spend(&mut used, 2, usd(3), day(100));
        let full = budget.now(Some(&used), day(100)).full().expect("it is full");
        assert_eq!((full.unit, full.used, full.of), (Unit::Usd, 22_000_000, 20_000_000));
        assert_eq!(budget.now(Some(&used), day(101)).full(), None);
        budget.spend(&mut used, 3, Usage { usd: Usd(0), tokens: 1000 }, day(101));
        let full = budget.now(Some(&used), day(101)).full().expect("it is full");
        assert_eq!((full.unit, full.used, full.of), (Unit::Tokens, 1000, 1000));
    }

    #[test]
    fn what_is_granted_is_granted_for_one_window() {
        let (budget, mut used) = (budget(), BudgetUsed::default());
        budget.spend(&mut used, 4, usd(22), day(100));
        budget.grant(&mut used, "a", usd(1), day(100));
        budget.grant(&mut used, "a", usd(1), day(100));
        assert!(budget.now(Some(&used), day(100)).full().is_some(), "22 of 21");
        budget.grant(&mut used, "b", usd(2), day(100));
        let now = budget.now(Some(&used), day(100));
        assert_eq!((now.full(), now.shares[0].of, now.resets_at), (None, 23_000_000, day(101)));
        assert_eq!(budget.now(Some(&used), day(101)).shares[0].of, 20_000_000);
        // Granted in a window in which nothing was spent yet, it does not bring the last one back.
        budget.grant(&mut used, "b", usd(2), day(101));
        assert_eq!(used.granted, usd(3), "it was made in the day before");
        budget.grant(&mut used, "c", usd(2), day(101));
        assert_eq!((used.window, used.spent, used.granted), (day(101), usd(0), usd(2)));
        (0..100).for_each(|n| budget.grant(&mut used, &n.to_string(), usd(1), day(101)));
        assert_eq!(used.grants.len(), GRANTS_KEPT_MAX);
    }

    #[test]
    fn clocks_that_differ_or_go_back_lose_nothing() {
        let (budget, mut used) = (budget(), BudgetUsed::default());
        budget.spend(&mut used, 5, usd(8), day(100));
        // Another node is still in the last second of the day before.
        budget.spend(&mut used, 6, usd(8), Millis(day(100).0 - 1000));
        budget.spend(&mut used, 7, usd(8), day(100).after(crate::time::Span::seconds(1)));
        assert_eq!(used.spent, usd(24));
        // A clock that went back by days holds what it had counted until its own day ends.
        assert!(budget.now(Some(&used), day(90)).full().is_some());
        budget.spend(&mut used, 8, usd(1), day(90));
        assert_eq!((used.spent, used.window), (usd(25), day(90)));
        assert_eq!(budget.now(Some(&used), day(91)).full(), None);
    }

    #[test]
    fn what_a_wrong_clock_has_spent_is_spent_for_one_window() {
        let (budget, mut used) = (budget(), BudgetUsed::default());
        budget.spend(&mut used, 5, usd(20), day(100));
        budget.set_back(&mut used, day(100));
        assert_eq!(used.window, day(100));
        budget.set_back(&mut used, Millis(day(100).0 - 60_000));
        assert_eq!(used.window, day(100), "another node has begun it");
        budget.set_back(&mut used, day(90));
        assert!(budget.now(Some(&used), day(90)).full().is_some());
        assert_eq!(budget.now(Some(&used), day(91)).full(), None);
    }

    #[test]
    fn an_attempt_is_counted_once() {
        let (budget, mut used) = (budget(), BudgetUsed::default());
        for _ in 0..3 {
            budget.spend(&mut used, 70, usd(8), day(100));
        }
        assert_eq!(used.spent, usd(8));
        // Not again because a window ended meanwhile.
        budget.spend(&mut used, 71, usd(1), day(101));
        budget.spend(&mut used, 70, usd(8), day(101));
        assert_eq!(used.spent, usd(1));
        (0..5000).for_each(|n| budget.spend(&mut used, 1000 + n, usd(1), day(101)));
        (0..5000).for_each(|n| budget.spend(&mut used, 1000 + n, usd(1), day(101)));
        assert_eq!(used.spent, usd(5001), "however many are open");
    }

    #[test]
    fn names_are_forgotten_when_nobody_counts_them_again() {
        let mut used = BudgetUsed { counted: (0..3000).collect(), ..BudgetUsed::default() };
        used.forget(|name| name % 2 == 0, |name| *name < 500);
        let own = used.counted.iter().filter(|name| **name < 500).count();
        assert_eq!((own, used.counted.len()), (250, 250 + ATTEMPTS_KEPT_MAX));
        assert!(used.counted.iter().all(|name| name % 2 == 1), "the others are over");
        assert_eq!((used.counted[0], used.counted.last()), (1, Some(&2999)), "the oldest go first");
    }
}
