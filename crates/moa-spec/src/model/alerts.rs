//! The section `alerts` of the settings: what is looked at, and who is told how.

use crate::choice;
use crate::model::schedule::ZoneText;
use crate::read::At;
use crate::record;
use crate::scalar::{Duration, Entries, NameText, Size};

record! {
    /// What is looked at, and who is told how.
    pub struct AlertsFile as "`alerts`" {
        /// Whether anything is looked at; true when not given.
        enabled: Option<At<bool>>,
        /// The channels that are told; none when not given: only the log says it.
        notify: Option<Vec<At<NameText>>>,
        /// How long what is new is gathered for one message; 30s when not given.
        group: Option<At<Duration>>,
        /// Messages in an hour over one channel; 20 when not given.
        per_hour: Option<At<u32>>,
        /// How long something has to be gone before it is over; 5m when not given.
        resolve_after: Option<At<Duration>>,
        /// Hours in which only what is bad enough is told.
        quiet: Option<QuietFile>,
        /// The rules, by name, where they are not to be as they are.
        rules: Option<Entries<AlertRuleFile>>,
    }

    /// Hours in which only what is bad enough is told.
    pub struct QuietFile as "`quiet`" {
        /// When they begin: `22:00`.
        from: At<String>,
        /// When they end: `07:00`.
        to: At<String>,
        /// Whose hours: a name of the IANA database; the project's `timezone` when not given.
        timezone: Option<At<ZoneText>>,
        /// What is told all the same: this bad or worse; `critical` when not given.
        unless: Option<At<SeverityText>>,
    }

    /// How a rule is to be.
    pub struct AlertRuleFile as "an alert's rule" {
        /// Whether it is looked at.
        enabled: Option<At<bool>>,
        /// How bad it is.
        severity: Option<At<SeverityText>>,
        /// How long it has to be so.
        r#for: Option<At<Duration>>,
        /// The channels that are told, in the place of those of `alerts.notify`.
        notify: Option<Vec<At<NameText>>>,
        /// Of `failure_rate`: the share of runs that fail, from 0 to 1; of `budget`: the share that is spent.
        rate: Option<At<f64>>,
        /// Of `failure_rate`: so many runs have to have ended.
        runs: Option<At<u32>>,
        /// Of `failure_rate`, `missed` and `dead`: the time that is looked at.
        window: Option<At<Duration>>,
        /// Of `late` and `stuck`: how late, how long.
        after: Option<At<Duration>>,
        /// Of `agent_down`: failures in a row.
        failures: Option<At<u32>>,
        /// Of `disk`: less room than this is too little.
        free: Option<At<Size>>,
    }
}

choice! {
    /// How bad something is.
    pub enum SeverityText as "a severity" {
        /// Good to know.
        Info = "info",
        /// Somebody should look at it today.
        Warning = "warning",
        /// Somebody should look at it now.
        Critical = "critical",
    }
}
