//! Triggers as people and programs see them: what they say, what they did, what comes.

use std::sync::Arc;

use moa_core::schedule::{Explanation, Moment, Slot, Timetable, Zone};
use moa_core::time::{Millis, Span};
use moa_core::trigger::{
    Backfill, Dependency, Occurrence, Origin, Outcome, ScheduleSource, Source, Trigger,
    TriggerSpec, TriggerState,
};
use moa_ports::store;
use moa_ports::triggers::{OccurrenceFilter, TriggerRow};
use moa_ports::views::Views;
use serde_json::{Value as Json, json};

use crate::compare::Hide;
use crate::events::hide_in_text;
use crate::exit::{Exit, Failure, Result};
use crate::paint::Style;

/// A trigger.
#[derive(Debug, Clone)]
pub struct Known {
    /// What the project's files say; what the store has, where a file is broken.
    pub spec: Arc<TriggerSpec>,
    /// What the store has.
    pub row: Option<TriggerRow>,
}

/// How far back slots that were missed are told of.
pub const MISSED_WITHIN: Span = Span::minutes(7 * 24 * 60);
/// Records of missed slots that are read.
const MISSED_READ_MAX: usize = 1000;

/// How many slots of a trigger were found missed lately; 0 for one that no node has served.
///
/// # Errors
/// The store can't be read.
pub async fn missed_lately(
    views: &dyn Views,
    known: &Known,
    now: Millis,
) -> std::result::Result<u64, store::Error> {
    let Some(row) = &known.row else { return Ok(0) };
    if !row.state.counts.contains_key(&Outcome::Missed) {
        return Ok(0);
    }
    let (outcomes, limit) = (vec![Outcome::Missed], MISSED_READ_MAX);
    let filter = OccurrenceFilter { outcomes, limit, ..OccurrenceFilter::default() };
    let missed = views.occurrences(known.spec.id(), &filter).await?;
    let lately = missed.iter().filter(|o| now.since(o.decided_at) <= MISSED_WITHIN);
    Ok(lately.map(|o| o.count).sum())
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

/// How it came to an occurrence.
pub fn how(origin: Origin) -> String {
    match origin {
        Origin::Live => "live".into(),
        Origin::CatchUp => "catch_up".into(),
        Origin::Manual => "manual".into(),
        Origin::Backfill(n) => format!("backfill {n}"),
    }
}

/// An occurrence for programs.
pub fn occurrence(o: &Occurrence) -> Json {
    json!({
        "key": o.key,
        "revision": o.revision.to_string(),
        "at": o.at.to_string(),
        "last": o.last.map(|at| at.to_string()),
        "offset": o.offset,
        "count": o.count,
        "origin": how(o.origin),
        "outcome": o.outcome.as_str(),
        "reason": o.reason,
        "run": o.run,
        "result": o.result.map(|r| r.as_str()),
        "decided_at": o.decided_at.to_string(),
    })
}

/// A slot for programs.
pub fn slot(table: &Timetable, slot: Slot) -> Json {
    let starts_at = slot.at.after(table.schedule().jitter_of(slot.at));
    json!({
        "slot": slot.at.to_string(), "local": table.local(slot),
        "zone": table.schedule().zone.name(), "offset": slot.offset,
        "starts_at": starts_at.to_string(),
    })
}

/// What there is to say about an instant, for programs.
pub fn explanation(spec: &TriggerSpec, said: &Explanation, record: Option<&Occurrence>) -> Json {
    let named: Vec<String> = said.named.iter().map(ToString::to_string).collect();
    json!({
        "name": spec.title(),
        "at": said.slot.at.to_string(),
        "zone": said.zone,
        "is_slot": said.is_slot(),
        "named_by": named,
        "repeated": said.repeated.map(|at| at.to_string()),
        "off": said.off,
        "outside_window": said.outside,
        "starts_at": said.starts_at.to_string(),
        "previous": said.previous.map(|slot| slot.at.to_string()),
        "next": said.next.map(|slot| slot.at.to_string()),
        "record": record.map(occurrence),
    })
}

/// An instant as people write it; local times and days are those of `zone`.
pub fn instant(text: &str, zone: &Zone) -> Result<Millis> {
    let moment: Moment = text.parse().map_err(|_| {
        Failure::usage(format!("{text:?} is not an instant"))
            .hint("write 2026-12-24T18:00:00+01:00, 2026-12-24T18:00 or 2026-12-24")
    })?;
    Ok(moment.first(zone))
}

/// Takes secrets out of what became of an occurrence: reasons quote data and conditions, and keys are
/// what somebody has sent.
pub fn hide_in_occurrence(occurrence: &mut Occurrence, hide: &Hide) {
    hide_in_text(&mut occurrence.key, hide);
    occurrence.reason.iter_mut().for_each(|reason| hide_in_text(reason, hide));
}
