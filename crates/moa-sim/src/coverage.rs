//! Which pairs of (status, event) were seen: what the simulator reaches, and what it never does.

use std::collections::BTreeMap;
use std::fmt;

use moa_core::event::Event;
use moa_core::run::RunStatus;
use moa_core::step::StepStatus;

/// Names of the events of a step, in the order of their declaration.
const STEP_EVENTS: [&str; 17] = [
    "step_ready",
    "step_started",
    "attempt_failed",
    "attempt_released",
    "outcome_checked",
    "step_waiting",
    "step_own_done",
    "step_opened",
    "body_opened",
    "iterations_released",
    "step_succeeded",
    "step_failed",
    "step_skipped",
    "step_cancelled",
    "signal_taken",
    "event_emitted",
    "wait_lapsed",
];
/// Names of the events of a run.
const RUN_EVENTS: [&str; 10] = [
    "run_created",
    "run_started",
    "run_paused",
    "run_resumed",
    "cancel_requested",
    "phase_entered",
    "run_succeeded",
    "run_failed",
    "run_cancelled",
    "signal_received",
];

/// How often each pair was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    steps: BTreeMap<(StepStatus, &'static str), u64>,
    runs: BTreeMap<(RunStatus, &'static str), u64>,
}

impl Coverage {
    /// An event of a step that had this status before.
    pub fn step(&mut self, before: StepStatus, event: &Event) {
        *self.steps.entry((before, name(event))).or_default() += 1;
    }

    /// An event of a run that had this status before.
    pub fn run(&mut self, before: RunStatus, event: &Event) {
        *self.runs.entry((before, name(event))).or_default() += 1;
    }

    /// Adds what another one saw.
    pub fn add(&mut self, other: &Self) {
        for (pair, count) in &other.steps {
            *self.steps.entry(*pair).or_default() += count;
        }
        for (pair, count) in &other.runs {
            *self.runs.entry(*pair).or_default() += count;
        }
    }

    /// The pairs seen, as `status event`.
    pub fn hit(&self) -> Vec<String> {
        let steps = self.steps.keys().map(|(s, e)| format!("step {} {e}", s.as_str()));
        let runs = self.runs.keys().map(|(s, e)| format!("run {} {e}", s.as_str()));
        steps.chain(runs).collect()
    }

    /// The pairs never seen, impossible ones among them.
    pub fn never_hit(&self) -> Vec<String> {
        let mut never = Vec::new();
        for status in StepStatus::ALL {
            let missing = STEP_EVENTS.iter().filter(|e| !self.steps.contains_key(&(status, **e)));
            never.extend(missing.map(|e| format!("step {} {e}", status.as_str())));
        }
        for status in RunStatus::ALL {
            let missing = RUN_EVENTS.iter().filter(|e| !self.runs.contains_key(&(status, **e)));
            never.extend(missing.map(|e| format!("run {} {e}", status.as_str())));
        }
        never
    }
}

/// A table: a line for each event, a column for each status.
impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<20}", "step event")?;
        StepStatus::ALL.iter().try_for_each(|s| write!(f, "{:>11}", s.as_str()))?;
        for event in STEP_EVENTS {
            write!(f, "\n{event:<20}")?;
            for status in StepStatus::ALL {
                cell(f, self.steps.get(&(status, event)))?;
            }
        }
        write!(f, "\n\n{:<20}", "run event")?;
        RunStatus::ALL.iter().try_for_each(|s| write!(f, "{:>11}", s.as_str()))?;
        for event in RUN_EVENTS {
            write!(f, "\n{event:<20}")?;
            for status in RunStatus::ALL {
                cell(f, self.runs.get(&(status, event)))?;
            }
        }
        writeln!(f)
    }
}

fn cell(f: &mut fmt::Formatter<'_>, count: Option<&u64>) -> fmt::Result {
    match count {
        Some(count) => write!(f, "{count:>11}"),
        None => write!(f, "{:>11}", "-"),
    }
}

/// The name of an event, as in history.
pub fn name(event: &Event) -> &'static str {
    match event {
        Event::RunCreated(_) => "run_created",
        Event::RunStarted => "run_started",
        Event::RunPaused => "run_paused",
        Event::RunResumed => "run_resumed",
        Event::CancelRequested { .. } => "cancel_requested",
        Event::PhaseEntered { .. } => "phase_entered",
        Event::RunSucceeded { .. } => "run_succeeded",
        Event::RunFailed { .. } => "run_failed",
        Event::RunCancelled { .. } => "run_cancelled",
        Event::SignalReceived { .. } => "signal_received",
        Event::StepReady { .. } => "step_ready",
        Event::StepStarted { .. } => "step_started",
        Event::AttemptFailed { .. } => "attempt_failed",
        Event::AttemptSpent { .. } => "attempt_spent",
        Event::AttemptReleased { .. } => "attempt_released",
        Event::OutcomeChecked { .. } => "outcome_checked",
        Event::StepWaiting { .. } => "step_waiting",
        Event::StepOwnDone { .. } => "step_own_done",
        Event::StepOpened { .. } => "step_opened",
        Event::BodyOpened { .. } => "body_opened",
        Event::IterationsReleased { .. } => "iterations_released",
        Event::StepSucceeded { .. } => "step_succeeded",
        Event::StepFailed { .. } => "step_failed",
        Event::StepSkipped { .. } => "step_skipped",
        Event::StepCancelled { .. } => "step_cancelled",
        Event::SignalTaken { .. } => "signal_taken",
        Event::EventEmitted { .. } => "event_emitted",
        Event::TimePassed { .. } => "time_passed",
        Event::WaitLapsed { .. } => "wait_lapsed",
        Event::EventPublished(_) => "event_published",
    }
}
