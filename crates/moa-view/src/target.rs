//! Counters and targets of production, as people and programs see them.

use jiff::civil::Date;
use moa_core::target::{Bounds, Outlook, Period};
use serde::{Deserialize, Serialize};

/// A target in the period that goes on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// The counter.
    pub metric: String,
    /// The period.
    pub period: Period,
    /// Its first day.
    pub from: Date,
    /// What was counted so far.
    pub count: f64,
    /// What is wanted.
    #[serde(flatten)]
    pub bounds: Bounds,
    /// What it is heading for; `None` = too little is known yet.
    pub forecast: Option<f64>,
    /// Whether that is enough.
    pub outlook: Outlook,
}

impl Standing {
    /// What this is called for as long as the period goes on.
    pub fn key(&self) -> String {
        format!("{}/{}/{}", self.from, self.metric, self.period.as_str())
    }

    /// What is to be said of it, in a sentence.
    pub fn told(&self) -> String {
        let Self { metric, period, count, forecast, .. } = self;
        let minimum = self.bounds.minimum.unwrap_or_default();
        let heading = forecast.unwrap_or(*count);
        format!(
            "{metric}: this {} is heading for {}, below the minimum of {} ({} so far)",
            period.as_str(),
            rounded(heading),
            number(minimum),
            number(*count),
        )
    }
}

/// What a counter holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Counted {
    /// Its name.
    pub metric: String,
    /// Of the day that goes on.
    pub today: f64,
    /// Of the month.
    pub month: f64,
    /// Of the year.
    pub year: f64,
    /// Of all time.
    pub total: f64,
    /// The day on which counting began.
    pub since: Option<Date>,
    /// By day: the last thirty, the newest last.
    pub days: Vec<(Date, f64)>,
}

/// How production stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Production {
    /// The counters by name.
    pub counters: Vec<Counted>,
    /// The targets.
    pub targets: Vec<Standing>,
}

/// A setting, its value, and where it came from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// Its path: `limits.max_running`.
    pub key: String,
    /// Its value, as people write it.
    pub value: serde_json::Value,
    /// Where it came from: `default`, `moa.yaml:3`.
    pub origin: String,
}

/// A number as people write it.
pub fn number(count: f64) -> String {
    match count.fract() == 0.0 && count.abs() < 1e15 {
        true => format!("{count:.0}"),
        false => format!("{count}"),
    }
}

/// A number that is only roughly known.
pub fn rounded(count: f64) -> String {
    number((count * 10.0).round() / 10.0)
}
