//! Why something doesn't run, until when, and what would unblock it: from the state itself.

use serde::{Deserialize, Serialize};

use crate::event::InstIx;
use crate::run::StepRow;
use crate::step::{StepStatus, WaitReason};
use crate::time::Millis;

use super::Run;

/// The answer for one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// The step, as people name it.
    pub step: String,
    /// Its instance.
    pub inst: InstIx,
    /// Its status.
    pub status: StepStatus,
    /// Why it doesn't go on, in one sentence.
    pub reason: String,
    /// When it goes on, or gives up, by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Millis>,
    /// What would unblock it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unblock: Option<String>,
}

impl Run {
    /// Every step that is neither terminal nor running, and why. Pending steps are listed only when
    /// nothing nearer explains the wait (`all`: always).
    pub fn why(&self, all: bool) -> Vec<Why> {
        let rows = || self.steps().filter(|r| !r.status.is_terminal());
        let explained = rows().any(|r| r.status != StepStatus::Pending);
        rows()
            .filter(|r| r.status != StepStatus::Running)
            .filter(|r| all || !explained || r.status != StepStatus::Pending)
            .filter(|r| all || r.wait != Some(WaitReason::Children))
            .map(|r| self.why_step(r))
            .collect()
    }

    /// Why one step doesn't go on; none = it runs or has ended, or there is no such instance.
    pub fn why_of(&self, inst: InstIx) -> Option<Why> {
        let row = &self.steps.get(inst as usize)?.row;
        let is_held = !row.status.is_terminal() && row.status != StepStatus::Running;
        is_held.then(|| self.why_step(row))
    }

    fn why_step(&self, row: &StepRow) -> Why {
        let inst = row.inst;
        let run = self.row.run;
        let (reason, unblock) = match (row.status, row.wait) {
            (StepStatus::Pending, _) => (self.why_pending(inst), None),
            (StepStatus::Ready, _) if self.row.extra.paused => {
                ("the run is paused".into(), Some(format!("moa runs resume {run}")))
            }
            (StepStatus::Ready, _) => {
                ("it waits for a free slot of its agent or of the node".into(), None)
            }
            (_, Some(wait)) => self.why_waiting(inst, wait),
            _ => ("it goes on by itself".into(), None),
        };
        let (step, status, until) = (self.step_name(inst), row.status, row.until);
        Why { step, inst, status, reason, until, unblock }
    }

    fn why_pending(&self, inst: InstIx) -> String {
        let plan = self.graph.step(self.steps[inst as usize].row.plan);
        let open = plan.needs.iter().map(|n| self.sibling(inst, n.step));
        let open: Vec<_> =
            open.filter(|n| !self.status(*n).is_terminal()).map(|n| self.step_name(n)).collect();
        if !open.is_empty() {
            return format!("it needs {}", open.join(", "));
        }
        match plan.parent {
            Some(parent) => format!("it stands in {}", self.step_name(self.sibling(inst, parent))),
            None => "its loop runs only so many iterations at once (max_parallel)".into(),
        }
    }

    fn why_waiting(&self, inst: InstIx, wait: WaitReason) -> (String, Option<String>) {
        let row = &self.steps[inst as usize].row;
        let run = self.row.run;
        let detail = row.data.as_ref().and_then(|d| d.detail.as_ref());
        let field = |key: &str| {
            let value = detail.and_then(|d| d.get(key)).and_then(|v| v.as_str());
            value.unwrap_or_default().to_owned()
        };
        let error = row.error.as_ref().map(|e| e.message.as_str()).unwrap_or_default();
        match wait {
            WaitReason::Backoff => {
                (format!("attempt {} failed, and is made again later: {error}", row.attempt), None)
            }
            WaitReason::RateLimited => {
                (format!("the agent asked to come back later: {error}"), None)
            }
            WaitReason::Approval => (
                "it waits for a person's decision".into(),
                Some(format!(
                    "moa runs signal {run} {} --payload '{{\"approved\": true}}'",
                    field("signal")
                )),
            ),
            WaitReason::Signal => {
                let signal = field("signal");
                let unblock = format!("moa runs signal {run} {signal}");
                // One that fits would have been taken.
                let others = match self.index.kept(&signal).count() {
                    0 => "",
                    1 => "; one came that doesn't match",
                    _ => "; some came that don't match",
                };
                (format!("it waits for the signal {signal:?}{others}"), Some(unblock))
            }
            WaitReason::Event => {
                let event = match &self.graph.step(row.plan).kind {
                    crate::workflow::StepKind::WaitEvent { event, .. } => event.as_str(),
                    _ => "",
                };
                (format!("it waits for an event of type {event:?}"), None)
            }
            WaitReason::Timer => ("it sleeps".into(), None),
            WaitReason::Child => {
                let child = field("run");
                let unblock = format!("moa runs why {child}");
                (
                    format!("it waits for run {child} of workflow {}", field("workflow")),
                    Some(unblock),
                )
            }
            WaitReason::Children => ("it waits for the steps inside it".into(), None),
            WaitReason::UnknownOutcome => (
                format!("nobody knows whether its action happened: {}", field("why")),
                Some(format!(
                    "look, then: moa runs signal {run} {} --payload \
                     '{{\"attempt\": {}, \"done\": true}}' (or false to do it again)",
                    field("signal"),
                    row.attempt
                )),
            ),
        }
    }
}
