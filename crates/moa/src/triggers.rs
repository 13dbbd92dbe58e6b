//! Triggers as people see them: what the files say, and what the store knows.

use std::sync::Arc;

use moa_core::schedule::{Slot, Timetable};
use moa_core::time::Millis;
use moa_core::trigger::{
    Backfill, Dependency, Outcome, ScheduleSource, Source, Trigger, TriggerSpec, TriggerState,
};
use moa_ports::triggers::TriggerRow;
use serde_json::{Value as Json, json};

use crate::exit::{Exit, Failure, Result};
use crate::node::triggers;
use crate::project::{self, Layout};
use crate::reader::Reader;
use crate::text;
use crate::ui::Style;

/// Which triggers a command is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Those with a clock.
    Schedules,
    /// All of them.
    All,
}

impl Which {
    /// The word for one.
    pub fn word(self) -> &'static str {
        match self {
            Self::Schedules => "schedule",
            Self::All => "trigger",
        }
    }

    /// The command about them.
    pub fn command(self) -> &'static str {
        match self {
            Self::Schedules => "moa schedules",
            Self::All => "moa triggers",
        }
    }
}

/// A trigger.
#[derive(Debug, Clone)]
pub struct Known {
    /// What the project's files say; what the store has, where a file is broken.
    pub spec: Arc<TriggerSpec>,
    /// What the store has.
    pub row: Option<TriggerRow>,
}

/// The triggers of a project, in order of workflow and name. Those whose definition is gone are not
/// among them.
pub async fn known(layout: &Layout, reader: Option<&Reader>, which: Which) -> Result<Vec<Known>> {
    let loaded = project::load(layout, None)?;
    let mut wanted = triggers::wanted(&loaded.project);
    let rows = match reader {
        Some(reader) => triggers::all(&*reader.views).await?,
        None => Vec::new(),
    };
    let mut all = Vec::new();
    for mut row in rows {
        if row.spec.rule {
            if !row.state.removed {
                let workflow = &row.spec.workflow;
                // As a node finds it out when it looks at the files.
                row.state.orphaned = !loaded.unlisted
                    && !loaded.broken.contains(workflow)
                    && !loaded.project.workflows.contains_key(workflow);
                all.push(Known { spec: row.spec.clone(), row: Some(row) });
            }
            continue;
        }
        let broken = loaded.unlisted || loaded.broken.contains(&row.spec.workflow);
        match wanted.remove(&row.spec.id()) {
            Some(spec) => all.push(Known { spec: Arc::new(spec), row: Some(row) }),
            None if broken && !row.state.removed => {
                all.push(Known { spec: row.spec.clone(), row: Some(row) });
            }
            None => {}
        }
    }
    all.extend(wanted.into_values().map(|spec| Known { spec: Arc::new(spec), row: None }));
    all.retain(|known| which == Which::All || known.spec.schedule().is_some());
    all.sort_by_key(|known| known.spec.title());
    Ok(all)
}

/// The trigger that a person means: `WORKFLOW/NAME`, or the workflow when it has one only.
pub async fn find(
    layout: &Layout,
    reader: Option<&Reader>,
    which: Which,
    name: &str,
) -> Result<Known> {
    let mut all = known(layout, reader, which).await?;
    let titles: Vec<String> = all.iter().map(|known| known.spec.title()).collect();
    if let Some(at) = titles.iter().position(|title| title == name) {
        return Ok(all.swap_remove(at));
    }
    let of_workflow = |known: &&Known| !known.spec.rule && known.spec.workflow.as_str() == name;
    let mut of_workflow: Vec<Known> = all.iter().filter(of_workflow).cloned().collect();
    if of_workflow.len() > 1 {
        let names: Vec<String> = of_workflow.iter().map(|k| k.spec.title()).collect();
        let text = format!("{name} has several {}s: {}", which.word(), names.join(", "));
        return Err(Failure::usage(text).hint("name one of them"));
    }
    if let Some(only) = of_workflow.pop() {
        return Ok(only);
    }
    let failure = Failure::not_found(format!("there is no {} {name}", which.word()));
    let files = all.iter().filter(|known| !known.spec.rule);
    let workflows = files.map(|known| known.spec.workflow.as_str());
    Err(match text::nearest(name, titles.iter().map(String::as_str).chain(workflows)) {
        Some(near) => failure.hint(format!("did you mean {near}?")),
        None => failure.hint(format!("`{} list` lists them", which.command())),
    })
}

impl Known {
    /// Its state.
    pub fn state(&self) -> TriggerState {
        self.row.as_ref().map(|row| row.state.clone()).unwrap_or_default()
    }

    /// The word for its state, and its style.
    pub fn word(&self) -> (&'static str, Style) {
        let Some(row) = &self.row else { return ("new", Style::Dim) };
        if !self.spec.enabled {
            ("disabled", Style::Dim)
        } else if row.state.orphaned {
            ("orphaned", Style::Red)
        } else if row.state.paused.is_some() {
            ("paused", Style::Yellow)
        } else if self.is_over() {
            ("finished", Style::Dim)
        } else {
            ("active", Style::Green)
        }
    }

    fn is_over(&self) -> bool {
        let state = self.row.as_ref().and_then(|row| row.state.schedule.as_ref());
        match (state, self.table()) {
            (Some(state), Ok(table)) => state.is_over(&table),
            _ => false,
        }
    }

    /// Its slots.
    pub fn table(&self) -> Result<Timetable> {
        let Some(source) = self.spec.schedule() else {
            let text = format!("{} has no slots: only schedules do", self.spec.title());
            return Err(Failure::refused(text));
        };
        Timetable::new(source.schedule.clone(), &source.calendars)
            .map_err(|e| Failure::new(Exit::Invalid, e.to_string()))
    }

    /// Its next slot, if the clock alone says when that is.
    pub fn next(&self, now: Millis) -> Option<Slot> {
        if matches!(self.word().0, "disabled" | "paused" | "finished") {
            return None;
        }
        self.table().ok()?.next_slot(now)
    }

    /// As it is in the store.
    pub fn stored(&self) -> Result<Option<Trigger>> {
        let Some(row) = self.row.clone() else { return Ok(None) };
        let trigger = Trigger::restore(row.spec, row.state, row.version);
        trigger.map(Some).map_err(|e| Failure::damaged(e, None))
    }

    /// For programs.
    pub fn json(&self, now: Millis) -> Json {
        let (spec, state) = (&*self.spec, self.state());
        let counts: serde_json::Map<String, Json> = state
            .counts
            .iter()
            .map(|(outcome, n)| (outcome.as_str().into(), (*n).into()))
            .collect();
        let open: Vec<Json> = state
            .open
            .iter()
            .map(|(run, open)| json!({"run": run, "key": open.key, "at": open.at.to_string()}))
            .collect();
        let last = state.last.as_ref().map(|last| {
            json!({
                "key": last.key, "at": last.at.to_string(), "outcome": last.outcome.as_str(),
                "run": last.run, "decided_at": last.decided_at.to_string(),
            })
        });
        let paused = state.paused.as_ref().map(
            |paused| json!({"by": paused.by, "reason": paused.reason, "at": paused.at.to_string()}),
        );
        json!({
            "name": spec.title(),
            "id": spec.id(),
            "workflow": spec.workflow,
            "kind": kind(spec),
            "when": when(spec),
            "state": self.word().0,
            "enabled": spec.enabled,
            "revision": spec.revision().to_string(),
            "next": self.next(now).map(|slot| slot.at.to_string()),
            "paused": paused,
            "last": last,
            "last_started": state.last_started.map(|at| at.to_string()),
            "failures": state.failures,
            "counts": counts,
            "open": open,
            "backfills": state.backfills.iter().map(backfill).collect::<Vec<_>>(),
        })
    }
}

/// A backfill for programs.
pub fn backfill(b: &Backfill) -> Json {
    let state = match (b.ended_at, b.cancelled) {
        (_, true) => "cancelled",
        (Some(_), _) => "ended",
        (None, _) => "running",
    };
    json!({
        "number": b.number, "key": b.key, "state": state, "by": b.by,
        "from": b.from.to_string(), "to": b.to.to_string(), "reverse": b.reverse,
        "slots": b.slots, "at_once": b.at_once, "reprocess": b.reprocess,
        "started": b.started, "passed": b.passed, "failed": b.failed,
        "at": b.at.to_string(), "ended_at": b.ended_at.map(|at| at.to_string()),
    })
}

/// What kind of trigger it is.
pub fn kind(spec: &TriggerSpec) -> &str {
    match &spec.source {
        Source::Schedule(_) => "schedule",
        Source::Runs { .. } => "runs",
        Source::Event { .. } => "event",
        Source::Outside { by, .. } => by,
    }
}

/// What it reacts to, in one line.
pub fn when(spec: &TriggerSpec) -> String {
    match &spec.source {
        Source::Schedule(source) => when_due(source),
        Source::Runs { of, all } => {
            format!("after {}", names(of, if *all { " and " } else { " or " }))
        }
        Source::Event { event, matches: None } => format!("event {event}"),
        Source::Event { event, matches: Some(matches) } => {
            format!("event {event} if {}", matches.source())
        }
        Source::Outside { by, settings } => match settings.get("pattern").and_then(Json::as_str) {
            Some(pattern) => format!("{by} {pattern}"),
            None => by.clone(),
        },
    }
}

fn names(of: &[Dependency], between: &str) -> String {
    let one = |d: &Dependency| match d.status {
        moa_core::trigger::EndStatus::Success => d.workflow.to_string(),
        other => format!("{} ({})", d.workflow, other.as_str()),
    };
    of.iter().map(one).collect::<Vec<_>>().join(between)
}

fn when_due(source: &ScheduleSource) -> String {
    let schedule = &source.schedule;
    let mut parts: Vec<String> = Vec::new();
    parts.extend(schedule.cron.iter().map(|cron| cron.source().to_owned()));
    parts.extend(schedule.every.iter().map(|every| format!("every {every}")));
    match schedule.at.as_slice() {
        [] => {}
        [one] => parts.push(format!("at {one}")),
        several => parts.push(format!("at {} instants", several.len())),
    }
    parts.extend(schedule.after.map(|span| format!("{span} after a run")));
    let mut text = parts.join(", ");
    if !schedule.zone.is_utc() {
        text.push_str(&format!(" ({})", schedule.zone.name()));
    }
    if !source.after.is_empty() {
        text.push_str(&format!(", when {} ended", names(&source.after, " and ")));
    }
    text
}

/// The style of an outcome.
pub fn style(outcome: Outcome) -> Style {
    match outcome {
        Outcome::Started | Outcome::Batched | Outcome::Debounced => Style::Green,
        Outcome::Waiting | Outcome::Buffered => Style::Cyan,
        Outcome::Failed => Style::Red,
        Outcome::Missed | Outcome::SkippedLate | Outcome::SkippedOverlap => Style::Yellow,
        _ => Style::Dim,
    }
}
