//! How the targets of a project look.

use jiff::civil::Date;
use moa_core::ids::Name;
use moa_core::target::{Bounds, Outlook, Period, Progress, forecast, outlook, usual};
use moa_core::time::Millis;
use moa_spec::Settings;
use serde::Serialize;

use super::{Counter, Counters, Days};

/// A target in the period that goes on.
#[derive(Debug, Clone, PartialEq, Serialize)]
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

/// Whether the period of a [`Standing::key`] goes on.
pub fn goes_on(key: &str, today: Date) -> bool {
    let read = || {
        let (from, rest) = key.split_once('/')?;
        let (_, name) = rest.rsplit_once('/')?;
        let period = Period::ALL.into_iter().find(|period| period.as_str() == name)?;
        Some(period.around(from.parse().ok()?).1)
    };
    read().is_some_and(|end| today < end)
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

/// How all targets look at an instant.
pub fn standings(counters: &Counters, settings: &Settings, now: Millis) -> Vec<Standing> {
    let days = Days::of(settings);
    let none = Counter::default();
    let mut all = Vec::new();
    for (name, target) in &settings.targets {
        let counter = counters.get(name.as_str()).unwrap_or(&none);
        for (period, bounds) in &target.periods {
            all.push(standing(name, counter, (*period, bounds), &days, now));
        }
    }
    all
}

fn standing(
    name: &Name,
    counter: &Counter,
    (period, bounds): (Period, &Bounds),
    days: &Days,
    now: Millis,
) -> Standing {
    let today = days.day(now);
    let (from, to) = period.around(today);
    let count = counter.between(from, to);
    let since = counter.since.unwrap_or(today);
    let usual = usual(&counter.days, since, today);
    let progress = Progress { count, from: days.start(from.max(since)), to: days.start(to), usual };
    let forecast = forecast(&progress, now);
    // A period in which counting began was not counted whole.
    let outlook = outlook(bounds, count, forecast.filter(|_| since < from));
    let metric = name.to_string();
    Standing { metric, period, from, count, bounds: *bounds, forecast, outlook }
}
