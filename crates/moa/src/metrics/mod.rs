//! Counters of what the work brings, made from the history: each event counts once.
//!
//! `.moa/counters.json` holds the counts by day and, for each counter, the number of the last event
//! that is in them. Both are replaced together, so a process that dies leaves counts that go on where
//! they are, and never counts twice. What retention deletes has been counted before. Whoever only
//! looks counts on in memory. A counter that is new counts what the history still
//! has; where its first events are gone, it says nothing of the days before today.
//!
//! Days are those of the project's zone. When that is changed, what was counted stays with the day
//! that it was counted for.

pub mod targets;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use moa_core::event::{Event, InstIx};
use moa_core::expr::{Program, Scope, Value};
use moa_core::ids::{Name, RunId};
use moa_core::machine::Run;
use moa_core::schedule::Zone;
use moa_core::target::Period;
use moa_core::time::Millis;
use moa_core::workflow::{NOTIFY_WORKFLOW, PlanStep, StepKind};
use moa_ports::views::{HistoryRow, Views};
use moa_spec::{Metric, OWN_METRICS, Settings};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::exit::{Exit, Failure, Result};
use crate::files::Beneath;
use crate::reader::Reader;
use crate::view;

/// The file, in the folder of the project's state.
pub const FILE: &str = "counters.json";
/// The form of the file.
const FORMAT: u32 = 1;
/// Events read at once.
const PART: usize = 500;
/// Events of such a part, about: a commit may hold thousands.
const PART_EVENTS: usize = 10_000;
/// Days that are kept: more than a year and the one before it.
const DAYS_MAX: usize = 800;
/// Warnings that are kept beyond their period.
const ALERTS_MAX: usize = 1000;

/// The file of a project's counters.
pub fn path(state: &Path) -> PathBuf {
    state.join(FILE)
}

/// The counters of a project.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Counters {
    format: u32,
    /// By name.
    counters: BTreeMap<String, Counter>,
    /// What people have been warned of: counter, period and its first day.
    #[serde(default)]
    alerts: BTreeSet<String>,
}

/// One counter.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Counter {
    /// The last event that is in it.
    after: u64,
    /// The day on which counting began.
    pub since: Option<Date>,
    /// Of all time.
    pub total: f64,
    /// By day.
    pub days: BTreeMap<Date, f64>,
}

impl Counter {
    /// What it counted from a day on, up to another one that is not in it.
    pub fn between(&self, from: Date, to: Date) -> f64 {
        // A sum of nothing would be less than zero by a hair.
        self.days.range(from..to).fold(0.0, |sum, (_, count)| sum + count)
    }

    /// What it counted in the period that a day is in.
    pub fn of(&self, period: Period, day: Date) -> f64 {
        let (from, to) = period.around(day);
        self.between(from, to)
    }

    fn add(&mut self, day: Date, count: f64) {
        self.total += count;
        *self.days.entry(day).or_default() += count;
        while self.days.len() > DAYS_MAX {
            self.days.pop_first();
        }
    }
}

/// The days that a project goes by: those of its zone.
#[derive(Debug, Clone)]
pub struct Days(Zone);

impl Days {
    /// Of a project.
    pub fn of(settings: &Settings) -> Self {
        Self(settings.timezone.clone())
    }

    /// The day that an instant is in.
    pub fn day(&self, at: Millis) -> Date {
        let second = at.0.div_euclid(1000);
        let wall = second.saturating_add(self.0.offset_at(second).into());
        Timestamp::from_second(wall).unwrap_or_default().to_zoned(TimeZone::UTC).date()
    }

    /// The first instant of a day.
    pub fn start(&self, day: Date) -> Millis {
        let midnight = day.to_zoned(TimeZone::UTC).map(|at| at.timestamp().as_second());
        midnight.map_or(Millis(i64::MAX), |wall| Millis(self.0.first_instant(wall) * 1000))
    }
}

impl Counters {
    /// Reads them; none when there are none yet.
    ///
    /// # Errors
    /// A file that can't be read or isn't one of counters.
    pub fn read(state: &Path) -> Result<Self> {
        let path = path(state);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => return Err(Failure::io(format!("can't read {}", path.display()), &e)),
        };
        let read: serde_json::Result<Self> = serde_json::from_slice(&bytes);
        read.ok().filter(|counters| counters.format == FORMAT).ok_or_else(|| {
            let text = format!("{} holds no counters of this moa", path.display());
            Failure::new(Exit::Damaged, text).hint(
                "put it back from a backup; without it, what the history still has is counted",
            )
        })
    }

    /// Writes them, whole or not at all; they are on the disk when this returns.
    ///
    /// # Errors
    /// What the disk says.
    pub fn write(&self, state: &Path) -> io::Result<()> {
        fs::create_dir_all(state)?;
        Beneath::new(state)?.write(Path::new(FILE), &serde_json::to_vec(self)?)
    }

    /// The last event that all of them have counted.
    pub fn counted_to(&self) -> u64 {
        self.counters.values().map(|counter| counter.after).min().unwrap_or(0)
    }

    /// A counter.
    pub fn get(&self, name: &str) -> Option<&Counter> {
        self.counters.get(name)
    }

    /// All counters, by name.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Counter)> {
        self.counters.iter().map(|(name, counter)| (name.as_str(), counter))
    }

    /// Leaves out counters that the project doesn't name any more.
    pub fn keep_only(&mut self, metrics: &BTreeMap<Name, Metric>) {
        self.counters.retain(|name, _| {
            let is_own = OWN_METRICS.contains(&name.as_str());
            is_own || metrics.keys().any(|known| known.as_str() == name)
        });
    }

    /// Makes the counters that are not there yet.
    pub fn begin(&mut self, metrics: &BTreeMap<Name, Metric>) {
        self.format = FORMAT;
        for name in metrics.keys().map(|name| name.as_str()).chain(OWN_METRICS) {
            self.counters.entry(name.to_owned()).or_default();
        }
    }

    /// Whether people were warned of that.
    pub fn is_known(&self, alert: &str) -> bool {
        self.alerts.contains(alert)
    }

    /// People were warned of that. Of warnings about periods that are over by today, few are kept.
    pub fn remember(&mut self, alert: String, today: Date) {
        self.alerts.insert(alert);
        if self.alerts.len() > ALERTS_MAX {
            self.alerts.retain(|alert| targets::goes_on(alert, today));
        }
    }

    /// Counts what has happened since.
    ///
    /// # Errors
    /// Those of the store. What was counted up to there stays counted.
    pub async fn count(&mut self, views: &Arc<dyn Views>, settings: &Settings) -> Result<()> {
        let metrics = &settings.metrics;
        let days = Days::of(settings);
        self.begin(metrics);
        let last = views.last_event().await?;
        let names = metrics.keys().map(|name| name.as_str()).chain(OWN_METRICS);
        let names: Vec<String> = names.map(str::to_owned).collect();
        for name in &names {
            let Some(counter) = self.counters.get_mut(name) else { continue };
            if counter.after > last {
                // The store was put back from an older backup.
                tracing::warn!(name, "a counter is ahead of the store, and goes on from its end");
                counter.after = last;
            }
        }
        let first = names.iter().filter_map(|name| self.counters.get(name)).map(|c| c.after).min();
        let mut after = first.unwrap_or(last);
        while after < last {
            let rows = views.events(after, PART, PART_EVENTS).await?;
            let Some(end) = rows.last().map(|row| row.seq) else { break };
            let runs = runs_of(&rows, views).await?;
            self.count_rows(after, &rows, &runs, &names, (metrics, &days));
            after = end;
        }
        // Nothing that happens is something to be counted, too.
        let today = days.day(view::now());
        for name in &names {
            self.counters.entry(name.clone()).or_default().since.get_or_insert(today);
        }
        Ok(())
    }

    /// Counts the rows behind an event.
    fn count_rows(
        &mut self,
        after: u64,
        rows: &[HistoryRow],
        runs: &HashMap<RunId, Run>,
        names: &[String],
        by: (&BTreeMap<Name, Metric>, &Days),
    ) {
        // Where the first events are gone, most of what they were followed by is gone as well.
        let is_whole = after == 0 && rows.first().is_some_and(|row| row.seq == 1);
        let first = rows.iter().flat_map(HistoryRow::timed).next();
        if let Some((_, at, _)) = first.filter(|_| is_whole) {
            for counter in self.counters.values_mut().filter(|counter| counter.after == 0) {
                counter.since.get_or_insert(by.1.day(at));
            }
        }
        for row in rows {
            self.count_row(row, runs.get(&row.run), names, by);
        }
    }

    fn count_row(
        &mut self,
        row: &HistoryRow,
        run: Option<&Run>,
        names: &[String],
        (metrics, days): (&BTreeMap<Name, Metric>, &Days),
    ) {
        for name in names {
            let Some(counter) = self.counters.get_mut(name) else { continue };
            if row.seq <= counter.after {
                continue;
            }
            counter.after = row.seq;
            for (_, at, event) in row.timed() {
                let count = match run {
                    Some(run) => counts(name, metrics, run, event),
                    None => 0.0,
                };
                if count != 0.0 {
                    counter.add(days.day(at), count);
                }
            }
        }
    }
}

/// The runs that some events are about, as far as these count; those that are gone have none.
async fn runs_of(rows: &[HistoryRow], views: &Arc<dyn Views>) -> Result<HashMap<RunId, Run>> {
    let mut runs = HashMap::new();
    let reader = Reader::new(views.clone());
    for row in rows {
        let is_of_use = row.timed().any(|(_, _, event)| {
            matches!(
                event,
                Event::StepSucceeded { .. } | Event::StepFailed { .. } | Event::RunSucceeded { .. }
            )
        });
        if is_of_use && !runs.contains_key(&row.run) {
            let read = unless_gone(row.run, reader.run(row.run).await)?;
            runs.insert(row.run, read);
        }
    }
    Ok(runs.into_iter().filter_map(|(id, run)| Some((id, run?))).collect())
}

/// A run as read, unless it is gone or nobody can read it: such a one must not hold up counting, and
/// so retention, for ever.
fn unless_gone(id: RunId, read: Result<Run>) -> Result<Option<Run>> {
    match read {
        Ok(run) => Ok(Some(run)),
        Err(failure) if failure.exit == Exit::NotFound => Ok(None),
        Err(failure) if failure.exit == Exit::Damaged => {
            tracing::warn!(run.id = %id, "not counted: {}", failure.message);
            Ok(None)
        }
        Err(failure) => Err(failure),
    }
}

/// How much an event counts.
fn counts(name: &str, metrics: &BTreeMap<Name, Metric>, run: &Run, event: &Event) -> f64 {
    let metric = metrics.iter().find(|(known, _)| known.as_str() == name).map(|(_, metric)| metric);
    let Some(metric) = metric else {
        // What moa tells people is none of the work.
        if run.row.workflow.as_str() == NOTIFY_WORKFLOW {
            return 0.0;
        }
        let counted = match event {
            Event::StepSucceeded { step, .. } => name == OWN_METRICS[0] && task(run, *step),
            Event::StepFailed { step, .. } => name == OWN_METRICS[1] && task(run, *step),
            _ => false,
        };
        return if counted { 1.0 } else { 0.0 };
    };
    let output = match event {
        Event::StepSucceeded { step, output } if fits(metric, run, *step) => output,
        Event::RunSucceeded { output } if !metric.is_of_steps() && is_of(metric, run) => output,
        _ => return 0.0,
    };
    let scope = Ended { output: output.as_deref().unwrap_or(&Json::Null), run };
    how_much(metric, &scope).unwrap_or_else(|why| {
        let run = run.row.run;
        tracing::warn!(metric = name, run.id = %run, "a metric can't be told: {why}");
        0.0
    })
}

fn plan_of(run: &Run, inst: InstIx) -> Option<&PlanStep> {
    Some(run.graph.step(run.step(inst)?.plan))
}

fn task(run: &Run, inst: InstIx) -> bool {
    plan_of(run, inst).is_some_and(|step| matches!(step.kind, StepKind::Task { .. }))
}

fn is_of(metric: &Metric, run: &Run) -> bool {
    metric.workflow.as_ref().is_none_or(|workflow| *workflow == run.row.workflow)
}

fn fits(metric: &Metric, run: &Run, inst: InstIx) -> bool {
    let Some(step) = plan_of(run, inst).filter(|_| metric.is_of_steps() && is_of(metric, run))
    else {
        return false;
    };
    let (agent, action) = match &step.kind {
        StepKind::Task { agent, action, .. } => (Some(agent), Some(action)),
        _ => (None, None),
    };
    metric.step.as_ref().is_none_or(|id| *id == step.id.to_string())
        && metric.agent.as_ref().is_none_or(|wanted| Some(wanted) == agent)
        && metric.action.as_ref().is_none_or(|wanted| Some(wanted) == action)
}

/// What expressions see of a run or step that has ended.
struct Ended<'a> {
    output: &'a Json,
    run: &'a Run,
}

impl Scope for Ended<'_> {
    fn lookup(&self, name: &str) -> Option<Value> {
        match name {
            "output" => Some(self.output.clone().into()),
            "params" => Some(Json::clone(&self.run.row.params).into()),
            _ => None,
        }
    }

    fn names(&self) -> Vec<String> {
        vec!["output".into(), "params".into()]
    }
}

fn how_much(metric: &Metric, scope: &Ended<'_>) -> std::result::Result<f64, String> {
    let told =
        |program: &Program, e: moa_core::expr::Error| format!("{e}, in: {}", program.source());
    if let Some(when) = &metric.when
        && !when.eval_bool(scope).map_err(|e| told(when, e))?
    {
        return Ok(0.0);
    }
    let Some(value) = &metric.value else { return Ok(1.0) };
    let json = value.eval(scope).map_err(|e| told(value, e))?.to_json();
    json.as_f64()
        .filter(|count| count.is_finite())
        .ok_or_else(|| format!("{json} is no number, in: {}", value.source()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_can_read_holds_nothing_up() {
        let id = RunId::from_bytes([7; 16]);
        let read = |failure| unless_gone(id, Err(failure)).map(|run| run.is_none());
        assert!(read(Failure::unknown_run(id)).expect("it is gone"));
        assert!(read(Failure::damaged("a row", Some("moa.db".into()))).expect("passed over"));
        assert!(read(Failure::new(Exit::Unavailable, "no disk")).is_err());
    }

    #[test]
    fn a_new_counter_says_nothing_of_days_whose_events_are_gone() {
        let since = |seq| {
            let mut counters = Counters::default();
            counters.begin(&BTreeMap::new());
            let row = HistoryRow {
                run: RunId::from_bytes([7; 16]),
                version: 1,
                at: Millis(1_765_490_400_000),
                events: vec![Event::RunStarted],
                seq,
            };
            let names = OWN_METRICS.map(str::to_owned);
            let by = (&BTreeMap::new(), &Days(Zone::utc()));
            counters.count_rows(0, &[row], &HashMap::new(), &names, by);
            counters.get(OWN_METRICS[0]).expect("it began").since
        };
        assert_eq!(since(1), Some(jiff::civil::date(2025, 12, 11)));
        assert_eq!(since(2), None);
    }

    #[test]
    fn days_are_those_of_the_zone() {
        let days = Days(Zone::get("Europe/Berlin").expect("a zone"));
        let at =
            |text: &str| Millis(text.parse::<Timestamp>().expect("an instant").as_millisecond());
        let date = jiff::civil::date;
        assert_eq!(days.day(at("2026-11-20T22:59:59.999Z")), date(2026, 11, 20));
        assert_eq!(days.day(at("2026-11-20T23:00:00Z")), date(2026, 11, 21));
        assert_eq!(days.start(date(2026, 11, 21)), at("2026-11-20T23:00:00Z"));
        // The clock went over midnight here: the day began at one.
        let days = Days(Zone::get("America/Sao_Paulo").expect("a zone"));
        assert_eq!(days.start(date(2018, 11, 4)), at("2018-11-04T03:00:00Z"));
    }

    #[test]
    fn nobody_is_warned_twice_of_a_period_that_goes_on() {
        let today = jiff::civil::date(2026, 11, 21);
        let mut counters = Counters::default();
        counters.remember("2026-01-01/letters/year".into(), today);
        for n in 0..=ALERTS_MAX {
            counters.remember(format!("2026-11-20/m{n}/day"), today);
        }
        assert!(counters.is_known("2026-01-01/letters/year"));
        assert!(counters.alerts.len() < ALERTS_MAX, "those that are over were dropped");
    }
}
