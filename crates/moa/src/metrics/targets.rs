//! How the targets of a project look.

use jiff::civil::Date;
use moa_core::ids::Name;
use moa_core::target::{Bounds, Period, Progress, forecast, outlook, usual};
use moa_core::time::Millis;
use moa_spec::Settings;
pub use moa_view::target::{Counted, Production, Standing, number, rounded};

use super::{Counter, Counters, Days};

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

/// Days that are told one by one.
const DAYS: i32 = 30;

/// All counters and targets at an instant.
pub fn production(counters: &Counters, settings: &Settings, now: Millis) -> Production {
    let today = Days::of(settings).day(now);
    let counted = counters.all().map(|(name, counter)| {
        let [day, month, year] = Period::ALL.map(|period| counter.of(period, today));
        let back = |days: i32| today.checked_sub(jiff::Span::new().days(days)).ok();
        let days = (0..DAYS).rev().filter_map(back);
        let of = |day: Date| (day, counter.days.get(&day).copied().unwrap_or(0.0));
        Counted {
            metric: name.to_owned(),
            today: day,
            month,
            year,
            total: counter.total,
            since: counter.since,
            days: days.map(of).collect(),
        }
    });
    Production { counters: counted.collect(), targets: standings(counters, settings, now) }
}
