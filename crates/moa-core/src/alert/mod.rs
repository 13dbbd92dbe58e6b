//! Alerts: what is wrong just now, and since when; what people have been told of it.
//!
//! Whoever watches hands in [`Finding`]s, all that is wrong at an instant. The [`Book`] makes alerts
//! of them: one for each key, however often it is found; *raised* once it has been so for as long as
//! its rule says, *resolved* by itself once it has been gone for a while, so that one that comes and
//! goes is one alert. What is to be told of that is in `tell`. Pure: the instant is an argument, and
//! whoever keeps the book writes it down before anything is told.

mod tell;
mod watch;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

pub use tell::{Message, Policy, Quiet};
use tell::{News, Sent};
pub use watch::{Seen, Streak, Watch};

use crate::ids::Name;
use crate::time::{Millis, Span};

/// Resolved alerts that are kept.
const PAST_MAX: usize = 200;
/// Alerts that are open at once; of more, those that are less severe are not taken in.
const OPEN_MAX: usize = 1000;
/// Characters of a text of an alert.
const TEXT_CHARS_MAX: usize = 2000;

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Somebody should look at it today.
    Warning,
    /// Somebody should look at it now.
    Critical,
}

impl Severity {
    /// One that is less bad; the least stays.
    pub fn less(self) -> Self {
        match self {
            Self::Info | Self::Warning => Self::Info,
            Self::Critical => Self::Warning,
        }
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Too many of a workflow's runs fail.
    FailureRate,
    /// A schedule is late.
    Late,
    /// The newest slot of a schedule was missed, and is not caught up.
    Missed,
    /// A task waits or runs for too long.
    Stuck,
    /// An agent fails again and again.
    AgentDown,
    /// An agent's breaker is open.
    Breaker,
    /// A target will be missed.
    Target,
    /// There is little room on the disk.
    Disk,
    /// An agent's quota is used up.
    Quota,
    /// Most of an agent's budget is spent, or all of it.
    Budget,
    /// A step's attempts were used up.
    Dead,
    /// A channel doesn't take what people are to be told.
    Channel,
}

impl Rule {
    /// All there are.
    pub const ALL: [Self; 12] = [
        Self::FailureRate,
        Self::Late,
        Self::Missed,
        Self::Stuck,
        Self::AgentDown,
        Self::Breaker,
        Self::Target,
        Self::Disk,
        Self::Quota,
        Self::Budget,
        Self::Dead,
        Self::Channel,
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FailureRate => "failure_rate",
            Self::Late => "late",
            Self::Missed => "missed",
            Self::Stuck => "stuck",
            Self::AgentDown => "agent_down",
            Self::Breaker => "breaker",
            Self::Target => "target",
            Self::Disk => "disk",
            Self::Quota => "quota",
            Self::Budget => "budget",
            Self::Dead => "dead",
            Self::Channel => "channel",
        }
    }
}

/// Something that is wrong at an instant.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// By which rule.
    pub rule: Rule,
    /// What it is about, by which it is the same at the next look: with the rule, the alert's key.
    pub about: String,
    /// How bad it is.
    pub severity: Severity,
    /// How long it has to be so before it is an alert.
    pub hold: Span,
    /// One line.
    pub title: String,
    /// What is known, for people.
    pub text: String,
    /// The channels that are told.
    pub channels: BTreeSet<Name>,
}

impl Finding {
    /// The key of its alert.
    pub fn key(&self) -> String {
        format!("{}/{}", self.rule.as_str(), self.about)
    }
}

/// Something that is or was wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// What it is known by.
    pub key: String,
    /// By which rule.
    pub rule: Rule,
    /// How bad it is.
    pub severity: Severity,
    /// One line.
    pub title: String,
    /// What is known, for people.
    pub text: String,
    /// Since when it is so.
    pub since: Millis,
    /// Since when it is an alert; `None` = it has not been so for long enough.
    pub raised_at: Option<Millis>,
    /// Who has taken notice.
    pub acknowledged: Option<Acknowledged>,
    /// Since when it is not so any more.
    pub gone_since: Option<Millis>,
    /// When it was over.
    pub resolved_at: Option<Millis>,
    /// Who said that it is over; `None` = it was gone by itself.
    #[serde(default)]
    pub resolved_by: Option<Acknowledged>,
    /// How often it was gone and came back.
    pub returns: u32,
    /// The channels that are told.
    pub channels: BTreeSet<Name>,
}

impl Alert {
    /// In one word: `open`, `acknowledged` or `resolved`.
    pub fn state(&self) -> &'static str {
        match (&self.resolved_at, &self.acknowledged) {
            (Some(_), _) => "resolved",
            (None, Some(_)) => "acknowledged",
            (None, None) => "open",
        }
    }
}

/// That somebody has taken notice of an alert, or said that it is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// Who.
    pub by: String,
    /// When.
    pub at: Millis,
    /// What they say of it.
    pub note: Option<String>,
}

/// Why an alert can't be acknowledged or resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no open alert with that key.
    #[error("there is no open alert of that name")]
    Unknown,
}

/// All that is known of alerts: what is open, what was, and what is still to be told.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Book {
    open: BTreeMap<String, Alert>,
    past: VecDeque<Alert>,
    /// What people said is over, while it is still found: how bad it was then.
    #[serde(default)]
    settled: BTreeMap<String, Severity>,
    news: Vec<News>,
    sent: Sent,
}

impl Book {
    /// Takes over what was found at `now` by the rules that were looked at; alerts of others stay as
    /// they are. Alerts whose finding is gone are over after `resolve_after`.
    pub fn judge(
        &mut self,
        now: Millis,
        looked: &BTreeSet<Rule>,
        findings: Vec<Finding>,
        resolve_after: Span,
    ) {
        let mut found = BTreeSet::new();
        for finding in findings {
            let key = finding.key();
            if self.is_settled(&key, finding.severity) {
                found.insert(key);
                continue;
            }
            if self.open.len() >= OPEN_MAX && !self.open.contains_key(&key) {
                continue;
            }
            self.found(now, &key, finding);
            found.insert(key);
        }
        let gone: Vec<String> = self
            .open
            .values()
            .filter(|alert| looked.contains(&alert.rule) && !found.contains(&alert.key))
            .map(|alert| alert.key.clone())
            .collect();
        for key in gone {
            self.gone(now, &key, resolve_after);
        }
        // Once it was gone, it is an alert again when it comes back.
        self.settled.retain(|key, _| {
            let rule = key.split('/').next().unwrap_or_default();
            found.contains(key) || !looked.iter().any(|looked| looked.as_str() == rule)
        });
    }

    /// Whether somebody said that this is over; when it has become worse, that counts no more.
    fn is_settled(&mut self, key: &str, severity: Severity) -> bool {
        let worse = self.settled.get(key).is_some_and(|then| severity > *then);
        if worse {
            self.settled.remove(key);
        }
        self.settled.contains_key(key)
    }

    fn found(&mut self, now: Millis, key: &str, finding: Finding) {
        let Finding { rule, severity, hold, title, text, mut channels, about } = finding;
        // A channel that is broken is not told so.
        channels.retain(|channel| rule != Rule::Channel || channel.as_str() != about);
        let (title, text) = (cut(title), cut(text));
        let alert = self.open.entry(key.to_owned()).or_insert_with(|| Alert {
            key: key.to_owned(),
            rule,
            severity,
            title: String::new(),
            text: String::new(),
            since: now,
            raised_at: None,
            acknowledged: None,
            gone_since: None,
            resolved_at: None,
            resolved_by: None,
            returns: 0,
            channels: BTreeSet::new(),
        });
        alert.returns += u32::from(alert.gone_since.take().is_some());
        let worse = severity > alert.severity;
        (alert.severity, alert.title, alert.text) = (severity, title, text);
        alert.channels = channels;
        // A clock that is set back must not make it wait anew.
        alert.since = alert.since.min(now);
        let raised = alert.raised_at.is_some();
        if (!raised && now.since(alert.since) >= hold) || (raised && worse) {
            alert.raised_at.get_or_insert(now);
            // What somebody has taken notice of was less bad.
            alert.acknowledged = alert.acknowledged.take().filter(|_| !worse);
            self.news.push(News::raised(now, alert));
        }
    }

    fn gone(&mut self, now: Millis, key: &str, resolve_after: Span) {
        let Some(alert) = self.open.get_mut(key) else { return };
        // A clock that is set back must not make it stay.
        let since = alert.gone_since.unwrap_or(now).min(now);
        alert.gone_since = Some(since);
        let over = alert.raised_at.is_none() || now.since(since) >= resolve_after;
        let Some(mut alert) = over.then(|| self.open.remove(key)).flatten() else { return };
        if alert.raised_at.is_none() {
            return;
        }
        alert.resolved_at = Some(now);
        self.close(now, alert);
    }

    fn close(&mut self, now: Millis, alert: Alert) {
        self.tell_resolved(now, &alert);
        self.past.push_front(alert);
        self.past.truncate(PAST_MAX);
    }

    /// Notes that somebody says an open alert is over; answers it. As long as what it is about is
    /// still found, and no worse than it was, it is not raised again.
    ///
    /// # Errors
    /// There is no such alert.
    pub fn resolve(&mut self, key: &str, by: Acknowledged) -> Result<Alert, Refused> {
        let is_raised = self.open.get(key).is_some_and(|alert| alert.raised_at.is_some());
        let alert = is_raised.then(|| self.open.remove(key)).flatten();
        let mut alert = alert.ok_or(Refused::Unknown)?;
        self.settled.insert(key.to_owned(), alert.severity);
        let now = by.at;
        alert.resolved_at = Some(now);
        alert.resolved_by = Some(by);
        self.close(now, alert.clone());
        Ok(alert)
    }

    /// Notes that somebody has taken notice of an open alert; answers it. Doing so again changes
    /// nothing.
    ///
    /// # Errors
    /// There is no such alert.
    pub fn acknowledge(&mut self, key: &str, by: Acknowledged) -> Result<Alert, Refused> {
        let alert = self.open.get_mut(key).filter(|alert| alert.raised_at.is_some());
        let alert = alert.ok_or(Refused::Unknown)?;
        alert.acknowledged.get_or_insert(by);
        Ok(alert.clone())
    }

    /// The open alerts, the worst first.
    pub fn open(&self) -> Vec<&Alert> {
        let mut open: Vec<&Alert> =
            self.open.values().filter(|alert| alert.raised_at.is_some()).collect();
        open.sort_by_key(|alert| (std::cmp::Reverse(alert.severity), alert.raised_at));
        open
    }

    /// What the alerts of a rule are about that are not over, raised or not yet.
    pub fn about(&self, rule: Rule) -> impl Iterator<Item = &str> {
        let of_rule = self.open.values().filter(move |alert| alert.rule == rule);
        of_rule.filter_map(|alert| alert.key.split_once('/').map(|(_, about)| about))
    }

    /// Alerts that are over, the newest first.
    pub fn past(&self) -> impl Iterator<Item = &Alert> {
        self.past.iter()
    }

    /// An alert by its key: the open one, or else the newest that is over.
    pub fn get(&self, key: &str) -> Option<&Alert> {
        let open = self.open.get(key).filter(|alert| alert.raised_at.is_some());
        open.or_else(|| self.past.iter().find(|alert| alert.key == key))
    }
}

/// A text of somebody else, not longer than is of use.
fn cut(text: String) -> String {
    match text.char_indices().nth(TEXT_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests;
