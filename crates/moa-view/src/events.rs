//! Events as people and programs get them: lines of text, or CloudEvents-like JSON.

use std::collections::HashMap;

use moa_core::event::{Event, InstIx};
use moa_core::ids::{Name, NodeId, RunId};
use moa_core::machine::Run;
use moa_core::time::Millis;
use moa_ports::views::HistoryRow;
use serde_json::{Map, Value as Json, json};

use crate::exit::{Exit, Result};
use crate::reader::Reader;
use crate::text;
use crate::tree::{first_line, skip_words};

/// Runs whose names are kept; more are looked up again.
const RUNS_NAMED_MAX: usize = 1000;

/// The type of an event, without the prefix `moa.`.
pub fn type_of(event: &Event) -> &'static str {
    match event {
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
    runs: HashMap<RunId, (Name, Vec<Named>)>,
}

impl Names {
    /// The workflow of a run, and the names of the steps that a commit's events are about.
    pub async fn of(
        &mut self,
        reader: &Reader,
        row: &HistoryRow,
    ) -> Result<(Name, HashMap<InstIx, Named>)> {
        let highest = row.events.iter().filter_map(Event::step).max();
        let known = self
            .runs
            .get(&row.run)
            .is_some_and(|(_, names)| highest.is_none_or(|inst| (inst as usize) < names.len()));
        if !known {
            if self.runs.len() >= RUNS_NAMED_MAX {
                self.runs.clear();
            }
            let run = match reader.run(row.run).await {
                Ok(run) => run,
                // Pruned meanwhile, or damaged: its numbers are all that is left, and what happened
                // in other runs is told all the same.
                Err(failure) if matches!(failure.exit, Exit::NotFound | Exit::Damaged) => {
                    let gone = if failure.exit == Exit::NotFound { "deleted" } else { "damaged" };
                    let gone = Name::new(gone).expect("these are letters");
                    return Ok((gone, HashMap::new()));
                }
                Err(failure) => return Err(failure),
            };
            let names = (0..run.len() as InstIx).map(|inst| Named::of(&run, inst)).collect();
            self.runs.insert(row.run, (run.row.workflow.clone(), names));
        }
        let (workflow, names) = &self.runs[&row.run];
        let insts = row.events.iter().filter_map(Event::step);
        let named = insts.filter_map(|i| Some((i, names.get(i as usize)?.clone()))).collect();
        Ok((workflow.clone(), named))
    }
}

/// One event with what is known about it.
pub struct Told<'a> {
    /// Event number of its commit.
    pub seq: u64,
    /// Its place in the commit.
    pub index: usize,
    /// The run.
    pub run: RunId,
    /// The run's version after it.
    pub version: u64,
    /// The workflow.
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

impl Told<'_> {
    /// The event as a CloudEvent (1.0, JSON format).
    pub fn cloud_event(&self) -> Json {
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
            Event::AttemptReleased { attempt, .. } => {
                format!("attempt {attempt} stopped with its node")
            }
            Event::OutcomeChecked { attempt, check, .. } => {
                format!("attempt {attempt} may have happened; {check} is asked")
            }
            Event::StepWaiting { reason, until, .. } => match until {
                Some(until) => format!("{} until {until}", reason.as_str()),
                None => reason.as_str().into(),
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
    use super::*;

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
