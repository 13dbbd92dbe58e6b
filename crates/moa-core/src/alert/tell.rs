//! What people are told of alerts, when, and in how many messages.
//!
//! Each channel gets what is new in one message for a while (`group`), at most so many in an hour, and
//! in quiet hours only what is bad enough; what waits is told together afterwards. An alert that
//! was over before anybody was told of it is not told at all. A message that was made is kept until
//! whoever delivers it has taken it: it has the same id however often it is handed out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::{Alert, Book, Severity};
use crate::ids::Name;
use crate::schedule::Zone;
use crate::time::{Millis, Span};

/// Alerts that a message tells of one by one.
const TOLD_MAX: usize = 50;
const HOUR: Span = Span::minutes(60);

/// When and how people are told.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// How long what is new is gathered for one message.
    pub group: Span,
    /// Messages in an hour over one channel.
    pub per_hour: u32,
    /// When only what is bad enough is told.
    pub quiet: Option<Quiet>,
}

/// Hours in which only what is bad enough is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Quiet {
    /// The minute of the day at which they begin.
    pub from: u16,
    /// The minute of the day at which they end; before `from` = on the next day.
    pub to: u16,
    /// Whose days.
    pub zone: Zone,
    /// What is told all the same: this bad or worse.
    pub unless: Severity,
}

impl Quiet {
    /// Whether an instant is in them.
    pub fn holds(&self, at: Millis) -> bool {
        let second = at.0.div_euclid(1000);
        let wall = second.saturating_add(self.zone.offset_at(second).into());
        let minute = wall.rem_euclid(86_400) / 60;
        let (from, to) = (i64::from(self.from), i64::from(self.to));
        match from <= to {
            true => (from..to).contains(&minute),
            false => minute >= from || minute < to,
        }
    }
}

/// What is new of an alert, until each of its channels was told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct News {
    at: Millis,
    resolved: bool,
    alert: Alert,
    channels: BTreeSet<Name>,
}

impl News {
    pub fn raised(at: Millis, alert: &Alert) -> Self {
        let (channels, alert) = (alert.channels.clone(), alert.clone());
        Self { at, resolved: false, channels, alert }
    }
}

/// Messages that were made.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Sent {
    /// The number of the last one.
    number: u64,
    /// When those of the last hour were made, by channel.
    lately: BTreeMap<Name, VecDeque<Millis>>,
    /// Those that nobody has taken yet.
    waiting: Vec<Message>,
}

/// What one channel is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// No other message has it.
    pub id: String,
    /// The channel.
    pub channel: Name,
    /// The worst of what it tells.
    pub severity: Severity,
    /// One line.
    pub title: String,
    /// The rest.
    pub text: String,
    /// Whether all that it tells is over.
    pub resolved: bool,
    /// What it tells of.
    pub alerts: Vec<Alert>,
}

impl Book {
    /// Tells of what is over those who were told that it began, and nobody else.
    pub(super) fn tell_resolved(&mut self, at: Millis, alert: &Alert) {
        let mut channels = alert.channels.clone();
        for news in self.news.iter_mut().filter(|news| news.alert.key == alert.key) {
            for channel in std::mem::take(&mut news.channels) {
                channels.remove(&channel);
            }
        }
        self.news.retain(|news| !news.channels.is_empty());
        if !channels.is_empty() {
            self.news.push(News { at, resolved: true, channels, alert: alert.clone() });
        }
    }

    /// Makes messages of what is to be told at `now`, and hands out all that nobody has taken yet.
    pub fn messages(&mut self, now: Millis, policy: &Policy) -> Vec<Message> {
        let channels: BTreeSet<Name> =
            self.news.iter().flat_map(|news| news.channels.iter().cloned()).collect();
        for channel in channels {
            self.message(now, policy, channel);
        }
        self.news.retain(|news| !news.channels.is_empty());
        self.sent.waiting.clone()
    }

    fn message(&mut self, now: Millis, policy: &Policy, channel: Name) {
        let quiet = policy.quiet.as_ref().filter(|quiet| quiet.holds(now));
        let due = |news: &News| {
            let loud = quiet.is_none_or(|quiet| news.alert.severity >= quiet.unless);
            news.channels.contains(&channel) && loud
        };
        let Some(first) = self.news.iter().filter(|news| due(news)).map(|news| news.at).min()
        else {
            return;
        };
        let lately = self.sent.lately.entry(channel.clone()).or_default();
        // Messages of a time to come were made by a clock that was wrong.
        lately.retain(|at| *at <= now && now.since(*at) < HOUR);
        let gathered = now < first || now.since(first) >= policy.group;
        if !gathered || lately.len() >= policy.per_hour as usize {
            return;
        }
        lately.push_back(now);
        let mut told: Vec<News> = Vec::new();
        for news in self.news.iter_mut().filter(|news| due(news)) {
            news.channels.remove(&channel);
            // Of one that came, went and came, the last is what counts.
            told.retain(|earlier| earlier.alert.key != news.alert.key);
            told.push(news.clone());
        }
        // What was less bad, and waited for the morning, is told with it.
        let known: BTreeSet<&str> = told.iter().map(|news| news.alert.key.as_str()).collect();
        for news in self.news.iter_mut().filter(|news| known.contains(news.alert.key.as_str())) {
            news.channels.remove(&channel);
        }
        told.sort_by_key(|news| (news.resolved, std::cmp::Reverse(news.alert.severity), news.at));
        self.sent.number += 1;
        let id = format!("alerts-{}-{}", now.0, self.sent.number);
        self.sent.waiting.push(message(id, channel, &told));
    }

    /// A message was taken: it is not handed out again.
    pub fn taken(&mut self, id: &str) {
        self.sent.waiting.retain(|message| message.id != id);
    }
}

fn message(id: String, channel: Name, told: &[News]) -> Message {
    let line = |news: &News| match news.resolved {
        true => format!("Resolved: {}", news.alert.title),
        false => news.alert.title.clone(),
    };
    let resolved = told.iter().all(|news| news.resolved);
    let bad = told.iter().filter(|news| !news.resolved).map(|news| news.alert.severity).max();
    let (title, text) = match told {
        [one] => (line(one), one.alert.text.clone()),
        _ => {
            let over = told.iter().filter(|news| news.resolved).count();
            let title = match (told.len() - over, over) {
                (0, over) => format!("{over} alerts resolved"),
                (new, 0) => format!("{new} alerts"),
                (1, over) => format!("1 alert, {over} resolved"),
                (new, over) => format!("{new} alerts, {over} resolved"),
            };
            let say = |news: &News| {
                format!("{} ({})\n{}", line(news), news.alert.severity.as_str(), news.alert.text)
            };
            let mut parts: Vec<String> = told.iter().take(TOLD_MAX).map(say).collect();
            if told.len() > TOLD_MAX {
                parts.push(format!("... and {} more", told.len() - TOLD_MAX));
            }
            (title, parts.join("\n\n"))
        }
    };
    Message {
        id,
        channel,
        severity: bad.unwrap_or(Severity::Info),
        title,
        text,
        resolved,
        alerts: told.iter().take(TOLD_MAX).map(|news| news.alert.clone()).collect(),
    }
}
