//! Events as people and programs get them: lines of text, or CloudEvents-like JSON.

use std::collections::HashMap;
use std::sync::Arc;

use moa_core::event::{Event, InstIx, Published};
use moa_core::ids::{Name, NodeId, RunId};
use moa_core::machine::{BUS, Run};
use moa_core::time::Millis;
use moa_core::trigger::{OWN_EVENTS, is_own_event};
use moa_ports::views::{HistoryRow, KeptEvent, KeptRow};
use serde_json::{Map, Value as Json, json};

use crate::compare::Hide;
use crate::exit::{Exit, Result};
use crate::reader::Reader;
use crate::text;
use crate::tree::{first_line, skip_words, wait_words};

/// Runs whose names are kept; more are looked up again.
const RUNS_NAMED_MAX: usize = 1000;
/// Commits that clocks may have put in another order than that of event numbers.
pub const CLOCK_MARGIN: u64 = 5000;
/// Steps whose names are kept, but for those of one commit.
const STEPS_NAMED_MAX: usize = 50_000;

/// The type of an event, without the prefix `moa.`; of one that somebody published, what they called it.
pub fn type_of(event: &Event) -> &str {
    match event {
        Event::EventPublished(published) => &published.event,
        of_run => type_of_run(of_run),
    }
}

/// The type of an event that happened in a run; of one that somebody published, what all of them are
/// called.
pub fn type_of_run(event: &Event) -> &'static str {
    match event {
        Event::EventPublished(_) => PUBLISHED,
        Event::RunCreated(_) => "run.created",
        Event::RunStarted => "run.started",
        Event::RunPaused => "run.paused",
        Event::RunResumed => "run.resumed",
        Event::CancelRequested { .. } => "run.cancel_requested",
        Event::PhaseEntered { .. } => "run.phase_entered",
        Event::RunSucceeded { .. } => "run.succeeded",
        Event::RunFailed { .. } => "run.failed",
        Event::RunCancelled { .. } => "run.cancelled",
        Event::StepReady { .. } => "step.ready",
        Event::StepStarted { .. } => "step.started",
        Event::AttemptFailed { .. } => "attempt.failed",
        Event::AttemptSpent { .. } => "attempt.spent",
        Event::AttemptReleased { .. } => "attempt.released",
        Event::OutcomeChecked { .. } => "attempt.outcome_checked",
        Event::StepWaiting { .. } => "step.waiting",
        Event::StepOwnDone { .. } => "step.own_done",
        Event::StepOpened { .. } => "step.opened",
        Event::BodyOpened { .. } => "step.body_opened",
        Event::IterationsReleased { .. } => "step.iterations_released",
        Event::StepSucceeded { .. } => "step.succeeded",
        Event::StepFailed { .. } => "step.failed",
        Event::StepSkipped { .. } => "step.skipped",
        Event::StepCancelled { .. } => "step.cancelled",
        Event::SignalReceived { .. } => "signal.received",
        Event::SignalTaken { .. } => "signal.taken",
        Event::EventEmitted { .. } => "event.emitted",
        Event::TimePassed { .. } => "time.passed",
        Event::WaitLapsed { .. } => "step.wait_lapsed",
    }
}

/// Bytes of a type at most.
const TYPE_BYTES_MAX: usize = 256;

/// What all events are called that somebody published, beside their own types.
pub const PUBLISHED: &str = "event.published";

/// Types as they are kept, with what they are called.
const TYPES: [(&str, &str); 30] = [
    ("run_created", "run.created"),
    ("run_started", "run.started"),
    ("run_paused", "run.paused"),
    ("run_resumed", "run.resumed"),
    ("cancel_requested", "run.cancel_requested"),
    ("phase_entered", "run.phase_entered"),
    ("run_succeeded", "run.succeeded"),
    ("run_failed", "run.failed"),
    ("run_cancelled", "run.cancelled"),
    ("step_ready", "step.ready"),
    ("step_started", "step.started"),
    ("attempt_failed", "attempt.failed"),
    ("attempt_spent", "attempt.spent"),
    ("attempt_released", "attempt.released"),
    ("outcome_checked", "attempt.outcome_checked"),
    ("step_waiting", "step.waiting"),
    ("step_own_done", "step.own_done"),
    ("step_opened", "step.opened"),
    ("body_opened", "step.body_opened"),
    ("iterations_released", "step.iterations_released"),
    ("step_succeeded", "step.succeeded"),
    ("step_failed", "step.failed"),
    ("step_skipped", "step.skipped"),
    ("step_cancelled", "step.cancelled"),
    ("signal_received", "signal.received"),
    ("signal_taken", "signal.taken"),
    ("event_emitted", "event.emitted"),
    ("time_passed", "time.passed"),
    ("wait_lapsed", "step.wait_lapsed"),
    ("event_published", PUBLISHED),
];
/// Types that are looked for in the text of a commit, before its events are told apart.
const LOOKED_FOR_MAX: usize = 4;

/// The type of an event as it is kept, without reading it; `None` = it is not known.
fn type_of_kept(kind: &str) -> Option<&'static str> {
    TYPES.iter().find(|(kept, _)| *kept == kind).map(|(_, name)| *name)
}

/// Types of events that are wanted; no patterns want all.
#[derive(Debug, Clone, Default)]
pub struct Patterns {
    patterns: Vec<String>,
    /// How those begin that fit, as they are kept, if they are few: a commit without any of these
    /// has nothing that is wanted.
    begin: Option<Vec<String>>,
    /// Whether nothing fits that happens in a run.
    only_published: bool,
}

impl Patterns {
    /// Reads patterns with commas between them: `step.failed,run.*`.
    pub fn read(text: &str) -> Self {
        let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        let patterns: Vec<String> = words.map(str::to_owned).collect();
        let fit = TYPES.iter().filter(|(_, name)| patterns.iter().any(|p| type_fits(name, p)));
        let begin: Vec<String> = fit.map(|(kept, _)| format!("{{\"type\":\"{kept}\"")).collect();
        let few = !patterns.is_empty() && begin.len() <= LOOKED_FOR_MAX;
        let of_runs = |begin: &String| !begin.contains("event_published");
        let only_published = !patterns.is_empty() && !begin.iter().any(of_runs);
        Self { patterns, begin: few.then_some(begin), only_published }
    }

    /// Whether a type is wanted, of what happens in a run.
    pub fn fit(&self, kind: &str) -> bool {
        self.patterns.is_empty() || self.patterns.iter().any(|pattern| type_fits(kind, pattern))
    }

    /// Whether a type is wanted that somebody published.
    pub fn fit_published(&self, kind: &str) -> bool {
        self.patterns.is_empty()
            || self.patterns.iter().any(|pattern| published_fits(kind, pattern))
    }

    /// Whether nothing that happens in a run is wanted, but events that are published.
    pub fn only_published(&self) -> bool {
        self.only_published
    }

    /// The events of a commit that are wanted, none of them read.
    ///
    /// # Errors
    /// The commit is damaged.
    pub fn of<'a>(&self, row: &'a KeptRow) -> Result<Vec<KeptEvent<'a>>> {
        let may = |begin: &Vec<String>| begin.iter().any(|begin| row.events.contains(begin));
        if row.run != BUS && !self.begin.as_ref().is_none_or(may) {
            return Ok(Vec::new());
        }
        let mut all = row.timed()?;
        if self.patterns.is_empty() {
            return Ok(all);
        }
        let mut wrong = None;
        all.retain(|event| match event.kind().and_then(type_of_kept) {
            Some(PUBLISHED) => event.published().is_none_or(|kind| self.fit_published(&kind)),
            Some(kind) => self.fit(kind),
            // Only reading it tells.
            None => match row.read(event) {
                Ok(event) => self.fit(type_of(&event)),
                Err(error) => {
                    wrong = Some(error);
                    false
                }
            },
        });
        match wrong {
            Some(error) => Err(error.into()),
            None => Ok(all),
        }
    }
}

/// An event number before which nothing happened after `since`: clocks go forward nearly always, so
/// a search by halves comes close, and a margin makes up for the rest.
///
/// # Errors
/// The store can't be read.
pub async fn before(reader: &Reader, since: Millis) -> Result<u64> {
    let (mut low, mut high) = (0, reader.views.last_event().await?);
    while low < high {
        let middle = low + (high - low) / 2;
        match reader.views.events(middle, 1, 1).await?.first() {
            Some(row) if row.at < since => low = row.seq,
            Some(_) => high = middle,
            None => high = middle,
        }
        if high - low <= 1 {
            break;
        }
    }
    Ok(low.saturating_sub(CLOCK_MARGIN))
}

/// Checks the type of an event that somebody publishes.
///
/// # Errors
/// It is empty, too long, or holds what a terminal would obey.
pub fn check_type(kind: &str) -> std::result::Result<(), String> {
    let fits = !kind.is_empty() && kind.len() <= TYPE_BYTES_MAX;
    match fits && !kind.chars().any(char::is_control) {
        true => Ok(()),
        false => Err(format!(
            "the type of an event has 1 to {TYPE_BYTES_MAX} bytes and no control characters"
        )),
    }
}

/// Whether somebody may publish events of a type.
///
/// # Errors
/// It is none, or moa's own.
pub fn check_published(kind: &str) -> std::result::Result<(), String> {
    check_type(kind)?;
    match is_own_event(kind) {
        false => Ok(()),
        true => Err(format!(
            "events of the type {kind:?} are moa's own: take one that doesn't begin with {}",
            OWN_EVENTS.join(" or ")
        )),
    }
}

/// Whether a type fits a pattern: equal, or `step.*`, or `*.failed`.
pub fn type_fits(kind: &str, pattern: &str) -> bool {
    let pattern = pattern.strip_prefix("moa.").unwrap_or(pattern);
    match pattern.split_once('*') {
        Some((start, end)) => {
            kind.len() >= start.len() + end.len() && kind.starts_with(start) && kind.ends_with(end)
        }
        None => kind == pattern,
    }
}

/// Takes secrets out of what somebody has published.
pub fn hide_in(event: &mut Json, hide: &Hide) {
    for said in ["type", "source", "subject", "originalid", "key", "data"] {
        event.get_mut(said).into_iter().for_each(hide);
    }
}

/// The same before it is told. Who published it is no secret.
pub fn hide_in_published(said: &mut Published, hide: &Hide) {
    let Published { event, key, source, subject, id, by: _, data } = said;
    let texts = [key, source, subject, id].into_iter().flatten();
    texts.chain([event]).for_each(|text| hide_in_text(text, hide));
    hide(Arc::make_mut(data));
}

/// The same of a row of the history; what happened in runs stays as it is.
pub fn hide_in_row(row: &mut HistoryRow, hide: &Hide) {
    for event in &mut row.events {
        if let Event::EventPublished(said) = event {
            hide_in_published(said, hide);
        }
    }
}

/// Takes secrets out of a text.
pub fn hide_in_text(text: &mut String, hide: &Hide) {
    let mut value = Json::from(std::mem::take(text));
    hide(&mut value);
    *text = value.as_str().unwrap_or_default().to_owned();
}

/// Whether a type is that of something that happens in runs.
pub fn is_type_of_runs(kind: &str) -> bool {
    TYPES.iter().any(|(_, name)| *name == kind)
}

/// Whether a type that somebody published fits a pattern. `moa.step.*` means moa's own alone.
pub fn published_fits(kind: &str, pattern: &str) -> bool {
    type_fits(PUBLISHED, pattern) || !pattern.starts_with("moa.") && type_fits(kind, pattern)
}

/// A step, as events tell of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its name, with the iteration: `lint[2]`.
    pub step: String,
    /// The agent whose action it is; `None` = it is not an agent's.
    pub agent: Option<Name>,
}

impl Named {
    /// A step of a run.
    pub fn of(run: &Run, inst: InstIx) -> Self {
        Self { step: run.step_name(inst), agent: run.agent(inst).cloned() }
    }
}

/// Names of steps and workflows, by run.
#[derive(Default)]
pub struct Names {
    runs: HashMap<RunId, (Name, HashMap<InstIx, Named>)>,
    /// Steps of all of them.
    steps: usize,
}

impl Names {
    /// The workflow of a run, and the names of the steps that a commit's events are about.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn of(
        &mut self,
        reader: &Reader,
        row: &HistoryRow,
    ) -> Result<(Name, HashMap<InstIx, Named>)> {
        self.named(reader, row.run, row.events.iter().filter_map(Event::step)).await
    }

    /// The workflow of a run, and the names of some of its steps. Of a run nothing is read but what
    /// these names take.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn named(
        &mut self,
        reader: &Reader,
        run: RunId,
        steps: impl IntoIterator<Item = InstIx>,
    ) -> Result<(Name, HashMap<InstIx, Named>)> {
        let mut steps: Vec<InstIx> = steps.into_iter().collect();
        steps.sort_unstable();
        steps.dedup();
        if run == BUS {
            // Nobody shows it: what was published is of no workflow.
            return Ok((gone("published"), HashMap::new()));
        }
        if self.runs.len() >= RUNS_NAMED_MAX || self.steps >= STEPS_NAMED_MAX {
            *self = Self::default();
        }
        let known = self.runs.get(&run);
        let is_new = |inst: &InstIx| known.is_none_or(|(_, names)| !names.contains_key(inst));
        let missing: Vec<InstIx> = steps.iter().copied().filter(is_new).collect();
        if known.is_none() || !missing.is_empty() {
            let (workflow, names) = match reader.step_names(run, &missing).await {
                Ok(Some(found)) => found,
                // Pruned meanwhile, or damaged: its numbers are all that is left, and what happened
                // in other runs is told all the same.
                Ok(None) => return Ok((gone("deleted"), HashMap::new())),
                Err(failure) if failure.exit == Exit::Damaged => {
                    return Ok((gone("damaged"), HashMap::new()));
                }
                Err(failure) => return Err(failure),
            };
            self.steps += names.len();
            let kept = self.runs.entry(run).or_insert_with(|| (workflow, HashMap::new()));
            kept.1.extend(names);
        }
        let (workflow, names) = &self.runs[&run];
        let named = steps.iter().filter_map(|inst| Some((*inst, names.get(inst)?.clone())));
        Ok((workflow.clone(), named.collect()))
    }
}

/// What stands for the workflow of a run that can't be read.
fn gone(text: &str) -> Name {
    Name::new(text).expect("these are letters")
}

/// One event with what is known about it.
pub struct Told<'a> {
    /// Event number of its commit.
    pub seq: u64,
    /// Its place in the commit.
    pub index: usize,
    /// The run; [`BUS`] = somebody published it.
    pub run: RunId,
    /// The run's version after it.
    pub version: u64,
    /// The workflow; of what somebody published it means nothing.
    pub workflow: &'a Name,
    /// When.
    pub at: Millis,
    /// The step, as people name it.
    pub step: Option<&'a str>,
    /// The agent whose action the step is.
    pub agent: Option<&'a Name>,
    /// What happened.
    pub event: &'a Event,
}

/// The events of a commit.
pub fn told<'a>(
    row: &'a HistoryRow,
    workflow: &'a Name,
    names: &'a HashMap<InstIx, Named>,
) -> impl Iterator<Item = Told<'a>> {
    row.timed().map(move |(index, at, event)| {
        let named = event.step().and_then(|inst| names.get(&inst));
        Told {
            seq: row.seq,
            index,
            run: row.run,
            version: row.version,
            workflow,
            at,
            step: named.map(|named| named.step.as_str()),
            agent: named.and_then(|named| named.agent.as_ref()),
            event,
        }
    })
}

/// Some events of a commit, read and named.
pub struct Picked<'a> {
    row: &'a KeptRow,
    events: Vec<(usize, Millis, Event)>,
    workflow: Name,
    names: HashMap<InstIx, Named>,
}

impl<'a> Picked<'a> {
    /// Reads these events of a commit, and nothing else of it.
    ///
    /// # Errors
    /// One of them is damaged, or the store can't be read.
    pub async fn read(
        reader: &Reader,
        names: &mut Names,
        row: &'a KeptRow,
        events: &[KeptEvent<'_>],
    ) -> Result<Self> {
        let read = |event: &KeptEvent<'_>| Ok((event.index, event.at, row.read(event)?));
        let events = events.iter().map(read).collect::<Result<Vec<_>>>()?;
        let steps = events.iter().filter_map(|(.., event)| event.step());
        let (workflow, names) = names.named(reader, row.run, steps).await?;
        Ok(Self { row, events, workflow, names })
    }

    /// They, in order.
    pub fn told(&self) -> impl DoubleEndedIterator<Item = Told<'_>> {
        self.events.iter().map(|(index, at, event)| {
            let named = event.step().and_then(|inst| self.names.get(&inst));
            Told {
                seq: self.row.seq,
                index: *index,
                run: self.row.run,
                version: self.row.version,
                workflow: &self.workflow,
                at: *at,
                step: named.map(|named| named.step.as_str()),
                agent: named.and_then(|named| named.agent.as_ref()),
                event,
            }
        })
    }
}

impl Told<'_> {
    /// What somebody published, if that is what it is.
    pub fn published(&self) -> Option<&Published> {
        match self.event {
            Event::EventPublished(published) => Some(published),
            _ => None,
        }
    }

    /// What somebody published as a CloudEvent. Its `id` is its place among all events, as for others; its
    /// own stands beside it.
    fn cloud_event_of(&self, published: &Published) -> Json {
        let Published { event: kind, key, source, subject, id, by, data } = published;
        let mut event = json!({
            "specversion": "1.0",
            "id": format!("{}.{}", self.seq, self.index),
            "source": source.as_deref().unwrap_or("/events"),
            "type": kind,
            "time": self.at.to_string(),
            "datacontenttype": "application/json",
            "sequence": self.seq,
        });
        let said = [("subject", subject), ("originalid", id), ("key", key), ("publishedby", by)];
        for (name, said) in said {
            if let Some(said) = said {
                event[name] = said.as_str().into();
            }
        }
        // They stand last, as for others.
        event["data"] = (**data).clone();
        event
    }

    /// The event as a CloudEvent (1.0, JSON format).
    pub fn cloud_event(&self) -> Json {
        if let Some(published) = self.published() {
            return self.cloud_event_of(published);
        }
        let mut data = match serde_json::to_value(self.event) {
            Ok(Json::Object(data)) => data,
            _ => Map::new(),
        };
        data.remove("type");
        if let Some(step) = self.step {
            data.insert("step".into(), step.into());
        }
        if let Some(agent) = self.agent {
            data.insert("agent".into(), agent.to_string().into());
        }
        for key in ["until"] {
            if let Some(at) = data.get(key).and_then(Json::as_i64) {
                data.insert(key.into(), Millis(at).to_string().into());
            }
        }
        // As it is written everywhere else; as a number it would be too large for most readers of
        // JSON.
        if let Some(node) = data.get("node").and_then(Json::as_u64) {
            data.insert("node".into(), NodeId(node).to_string().into());
        }
        data.insert("run".into(), self.run.to_string().into());
        data.insert("workflow".into(), self.workflow.to_string().into());
        let mut event = json!({
            "specversion": "1.0",
            "id": format!("{}.{}", self.seq, self.index),
            "source": format!("/runs/{}", self.run),
            "type": format!("moa.{}", type_of(self.event)),
            "time": self.at.to_string(),
            "datacontenttype": "application/json",
            "sequence": self.seq,
            "runversion": self.version,
        });
        if let Some(step) = self.step {
            event["subject"] = step.into();
        }
        event["data"] = Json::Object(data);
        event
    }

    /// What there is to say beside type and step.
    pub fn remark(&self) -> String {
        match self.event {
            Event::RunCreated(created) => {
                let params = created.params.to_string();
                format!("by {} with {}", created.cause, text::cut(&params, 60))
            }
            Event::CancelRequested { reason, .. } | Event::RunCancelled { reason } => {
                reason.clone()
            }
            Event::PhaseEntered { phase } => format!("{phase:?}").to_lowercase(),
            Event::RunSucceeded { output: Some(output) } => cut_json(output),
            Event::RunFailed { error } | Event::StepFailed { error, .. } => {
                first_line(&error.message)
            }
            Event::StepStarted { attempt, node, .. } => format!("attempt {attempt} on {node}"),
            Event::AttemptFailed { attempt, error, until, .. } => {
                let message = first_line(&error.message);
                match until {
                    Some(until) => format!("attempt {attempt}: {message}; again at {until}"),
                    None => format!("attempt {attempt}: {message}; again at once"),
                }
            }
            Event::AttemptSpent { attempt, usage, .. } => format!("attempt {attempt}: {usage}"),
            Event::AttemptReleased { attempt, .. } => {
                format!("attempt {attempt} stopped with its node")
            }
            Event::OutcomeChecked { attempt, check, .. } => {
                format!("attempt {attempt} may have happened; {check} is asked")
            }
            Event::StepWaiting { reason, until, .. } => match until {
                Some(until) => format!("{} until {until}", wait_words(*reason)),
                None => wait_words(*reason).into(),
            },
            Event::StepOwnDone { error: Some(error), .. } => first_line(&error.message),
            Event::StepOpened { branch: Some(branch), .. } => format!("branch {branch}"),
            Event::StepOpened { branch: None, .. } => "no branch".into(),
            Event::BodyOpened { first, count, .. } => {
                format!("iterations {first} to {}", u64::from(*first) + u64::from(*count) - 1)
            }
            Event::IterationsReleased { upto, .. } => format!("iterations below {upto}"),
            Event::StepSucceeded { output: Some(output), .. } => cut_json(output),
            Event::StepSkipped { reason, .. } => skip_words(*reason).into(),
            Event::SignalReceived { name, payload, .. } => {
                format!("{name} {}", cut_json(payload))
            }
            Event::SignalTaken { name, .. } => name.clone(),
            Event::EventEmitted { event, data, .. } => format!("{event} {}", cut_json(data)),
            Event::EventPublished(published) => {
                let by = published.by.as_ref().map_or_else(String::new, |by| format!("by {by}: "));
                let about = published.subject.as_ref();
                let about = about.map_or_else(String::new, |about| format!("{about} "));
                format!("{by}{about}{}", cut_json(&published.data))
            }
            Event::RunStarted
            | Event::RunPaused
            | Event::RunResumed
            | Event::RunSucceeded { output: None }
            | Event::StepReady { .. }
            | Event::StepOwnDone { error: None, .. }
            | Event::StepSucceeded { output: None, .. }
            | Event::StepCancelled { .. }
            | Event::WaitLapsed { .. }
            | Event::TimePassed { .. } => String::new(),
        }
    }
}

fn cut_json(value: &Json) -> String {
    text::cut(&value.to_string(), 80).into_owned()
}

#[cfg(test)]
mod tests {
    use moa_core::step::WaitReason;

    use super::*;

    /// Each event that there is, with whatever it may hold.
    #[test]
    fn the_type_of_an_event_is_known_without_reading_it() {
        let kinds = "run_created run_started run_paused run_resumed cancel_requested phase_entered \
            run_succeeded run_failed run_cancelled step_ready step_started attempt_failed \
            attempt_released outcome_checked step_waiting step_own_done step_opened body_opened \
            iterations_released step_succeeded step_failed step_skipped step_cancelled \
            signal_received signal_taken event_emitted wait_lapsed";
        for kind in kinds.split_whitespace() {
            let error = json!({"kind": "permanent", "message": "no"});
            let mut all = json!({
                "type": kind, "step": 0, "attempt": 1, "node": 1, "error": error, "check": "c",
                "body": 1, "base": 1, "first": 0, "count": 1, "upto": 1, "name": "n", "payload": 1,
                "position": 0, "event": "e", "data": 1, "run": RunId(1), "workflow": "w",
                "hash": "0".repeat(64), "params": {}, "priority": "medium", "cause": "c",
                "phase": "main",
            });
            if kind == "attempt_failed" {
                all["check"] = false.into();
            }
            // A text, a reason to wait, a reason to skip.
            let reasons = ["signal", "condition", "approval", "upstream", "branch", "timer"];
            let read = |reason: &str| {
                all["reason"] = reason.into();
                serde_json::from_value::<Event>(all.clone())
            };
            let event: Event = reasons
                .map(read)
                .into_iter()
                .find_map(std::result::Result::ok)
                .unwrap_or_else(|| panic!("{kind} is read"));
            let kept = serde_json::to_string(&[&event]).expect("it is JSON");
            let (workflow, at) = (Some(gone("w")), Millis(7));
            let row = KeptRow { seq: 1, run: RunId(1), workflow, version: 1, at, events: kept };
            let timed = row.timed().expect("it is whole");
            assert_eq!((timed[0].kind(), timed[0].at), (Some(kind), at));
            assert_eq!(type_of_kept(kind), Some(type_of(&event)));
            let found = |pattern: &str| Patterns::read(pattern).of(&row).expect("whole").len();
            let kinds = [type_of(&event), "*", "", &format!("x,{}", type_of(&event)), "x"];
            assert_eq!(kinds.map(found), [1, 1, 1, 1, 0], "{kind}");
            assert_eq!(row.read(&timed[0]).expect("it is whole"), event);
        }
    }

    #[test]
    fn what_a_step_waits_for_is_told_in_words() {
        let remark = |reason, until: Option<i64>| {
            let event =
                Event::StepWaiting { step: 0, reason, until: until.map(Millis), detail: None };
            let (run, workflow) = (RunId(1), gone("w"));
            Told {
                seq: 1,
                index: 0,
                run,
                version: 1,
                workflow: &workflow,
                at: Millis(7),
                step: Some("ask"),
                agent: None,
                event: &event,
            }
            .remark()
        };
        assert_eq!(remark(WaitReason::Approval, None), "waits for a decision");
        assert_eq!(remark(WaitReason::Children, None), "waits for what is inside it");
        assert_eq!(remark(WaitReason::Timer, Some(0)), "sleeps until 1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn patterns_fit_types() {
        assert!(type_fits("step.failed", "step.failed"));
        assert!(type_fits("step.failed", "moa.step.*"));
        assert!(type_fits("step.failed", "*.failed"));
        assert!(type_fits("step.failed", "*"));
        assert!(!type_fits("step.failed", "step"));
        assert!(!type_fits("step", "ste*tep"));
    }
}
