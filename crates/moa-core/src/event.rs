//! Events: the only way in which a run changes. A run's history is its events in order; folding
//! them from nothing gives its state (`Run::fold`).

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::ids::{Name, NodeId, RunId, VersionHash};
use crate::limit::Usage;
use crate::run::{Fairness, ParentRef, Phase, Seed, TriggerRef};
use crate::step::{SkipReason, StepError, WaitReason};
use crate::time::Millis;
use crate::trace::TraceContext;
use crate::workflow::Priority;

/// Index of a step instance in its run.
pub type InstIx = u32;

/// One change of one run. `step` is always an instance's index.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// The run exists, pending.
    RunCreated(Box<RunCreated>),
    /// Its steps may run.
    RunStarted,
    /// No new attempt starts until it is resumed.
    RunPaused,
    /// Attempts may start again.
    RunResumed,
    /// Somebody asked it to end; what runs is stopped, what cleans up still runs.
    CancelRequested {
        /// Why, for people.
        reason: String,
        /// Whether it is the run's own time limit; then the run fails.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        timeout: bool,
    },
    /// It goes on with another part of its plan.
    PhaseEntered {
        /// The part.
        phase: Phase,
    },
    /// Terminal: all went well.
    RunSucceeded {
        /// The workflow's `outputs`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<Arc<Json>>,
    },
    /// Terminal: some step failed for good.
    RunFailed {
        /// What failed first.
        error: StepError,
    },
    /// Terminal: cancelled or terminated.
    RunCancelled {
        /// Why, for people.
        reason: String,
    },
    /// Its task can be claimed.
    StepReady {
        /// The step.
        step: InstIx,
    },
    /// An attempt started.
    StepStarted {
        /// The step.
        step: InstIx,
        /// The attempt, from 1.
        attempt: u32,
        /// The node that holds the lease.
        node: NodeId,
    },
    /// An attempt failed or was lost, and there will be another one.
    AttemptFailed {
        /// The step.
        step: InstIx,
        /// The attempt.
        attempt: u32,
        /// Why.
        error: StepError,
        /// When the next one may start; `None` = at once.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Millis>,
        /// Whether the agent said when to come back.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        rate_limited: bool,
        /// Whether it doesn't count against the policy (the engine's fault, not the agent's).
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        free: bool,
        /// Whether the agent was asked if an earlier attempt happened, and will be asked again.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        check: bool,
    },
    /// What an attempt has spent, as it said; its end follows.
    AttemptSpent {
        /// The step.
        step: InstIx,
        /// The attempt.
        attempt: u32,
        /// How much.
        usage: Usage,
    },
    /// An attempt was stopped by a shutdown; the next one has the same number of attempts left.
    AttemptReleased {
        /// The step.
        step: InstIx,
        /// The attempt.
        attempt: u32,
    },
    /// The outcome of an attempt that must not be repeated blindly is unknown: the agent is asked
    /// whether it happened.
    OutcomeChecked {
        /// The step.
        step: InstIx,
        /// The attempt of unknown outcome.
        attempt: u32,
        /// The action that asks.
        check: String,
    },
    /// It waits for something other than a slot.
    StepWaiting {
        /// The step.
        step: InstIx,
        /// For what.
        reason: WaitReason,
        /// Until when at the latest.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Millis>,
        /// What else belongs to the wait (the signal's name, the child's id, the request).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<Arc<Json>>,
    },
    /// Its own action is done, but branches inside it are not.
    StepOwnDone {
        /// The step.
        step: InstIx,
        /// Its output, if it went well.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<Arc<Json>>,
        /// Its error, if it didn't.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<StepError>,
    },
    /// A container opened one of its branches.
    StepOpened {
        /// The container.
        step: InstIx,
        /// The branch; `None` = none was taken.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        branch: Option<u16>,
    },
    /// A loop or a compensation created instances of its body's steps.
    BodyOpened {
        /// The step that owns the body; `None` for `on_failure` and `finally`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<InstIx>,
        /// The body.
        body: u16,
        /// First instance created.
        base: InstIx,
        /// Number of the first iteration created.
        first: u32,
        /// Iterations created.
        count: u32,
        /// The items of a `foreach`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        items: Option<Arc<Json>>,
    },
    /// Iterations of a `foreach` up to (not including) this one may run.
    IterationsReleased {
        /// The loop.
        step: InstIx,
        /// One past the last.
        upto: u32,
    },
    /// Terminal: it did what it should.
    StepSucceeded {
        /// The step.
        step: InstIx,
        /// Its output.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<Arc<Json>>,
    },
    /// Terminal: it failed for good.
    StepFailed {
        /// The step.
        step: InstIx,
        /// Why.
        error: StepError,
    },
    /// Terminal: it wasn't run.
    StepSkipped {
        /// The step.
        step: InstIx,
        /// Why.
        reason: SkipReason,
    },
    /// Terminal: it was cancelled.
    StepCancelled {
        /// The step.
        step: InstIx,
    },
    /// A signal arrived and is kept until a step takes it.
    SignalReceived {
        /// Its name.
        name: String,
        /// The caller's name for it; the same key is the same signal.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        /// What it carries.
        payload: Arc<Json>,
    },
    /// A kept signal was taken by a step.
    SignalTaken {
        /// Its name.
        name: String,
        /// The step.
        step: InstIx,
        /// Its position among the kept ones.
        position: u32,
    },
    /// An event was emitted to whoever waits for it.
    EventEmitted {
        /// The step that emitted it.
        step: InstIx,
        /// Its type.
        event: String,
        /// Its data.
        data: Arc<Json>,
    },
    /// The events behind it happened at this instant, later than those before it.
    TimePassed {
        /// The instant.
        at: Millis,
    },
    /// A wait's time was over, and it goes on waiting.
    WaitLapsed {
        /// The step.
        step: InstIx,
    },
    /// Somebody outside of all runs published an event. It stands in the history of the bus
    /// ([`crate::machine::BUS`]), and in that of no run.
    EventPublished(Box<Published>),
}

/// An event that somebody published.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Published {
    /// Its type.
    pub event: String,
    /// The same key is the same event, as long as it is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Where it comes from, as who published it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// What it is about, as who published it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Its id there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Who published it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// What it carries.
    #[serde(default)]
    pub data: Arc<Json>,
}

/// What a run is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunCreated {
    /// The run.
    pub run: RunId,
    /// The workflow's id.
    pub workflow: Name,
    /// Its version.
    pub hash: VersionHash,
    /// The params, defaults filled in.
    pub params: Arc<Json>,
    /// Priority of its tasks.
    pub priority: Priority,
    /// The step that started it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ParentRef>,
    /// The occurrence that started it, or the run that it repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<Arc<TriggerRef>>,
    /// The run that it repeats in part, with the instances taken over from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<Arc<Seed>>,
    /// The concurrency key, evaluated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency_key: Option<String>,
    /// Whose tasks its tasks are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fairness: Option<Fairness>,
    /// The trace that it is part of, when that is neither its own nor its parent's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceContext>,
    /// Who or what started it, for people.
    pub cause: String,
}

impl Event {
    /// The same with no output in the place of the output null.
    ///
    /// To whoever looks at a step the two are one: expressions, inputs and results say null for
    /// both. Written and read again they are one as well, so the run in memory must not tell them
    /// apart: it would differ from the one that is loaded or folded.
    pub(crate) fn without_null(mut self) -> Self {
        if let Self::RunSucceeded { output }
        | Self::StepOwnDone { output, .. }
        | Self::StepSucceeded { output, .. } = &mut self
            && output.as_ref().is_some_and(|output| output.is_null())
        {
            *output = None;
        }
        self
    }

    /// The step instance that it is about, if it is about one.
    pub fn step(&self) -> Option<InstIx> {
        use Event::*;
        match self {
            StepReady { step }
            | StepStarted { step, .. }
            | AttemptFailed { step, .. }
            | AttemptSpent { step, .. }
            | AttemptReleased { step, .. }
            | OutcomeChecked { step, .. }
            | StepWaiting { step, .. }
            | StepOwnDone { step, .. }
            | StepOpened { step, .. }
            | IterationsReleased { step, .. }
            | StepSucceeded { step, .. }
            | StepFailed { step, .. }
            | StepSkipped { step, .. }
            | StepCancelled { step }
            | SignalTaken { step, .. }
            | EventEmitted { step, .. }
            | WaitLapsed { step } => Some(*step),
            BodyOpened { step, .. } => *step,
            RunCreated(_)
            | RunStarted
            | RunPaused
            | RunResumed
            | CancelRequested { .. }
            | PhaseEntered { .. }
            | RunSucceeded { .. }
            | RunFailed { .. }
            | RunCancelled { .. }
            | TimePassed { .. }
            | EventPublished(_)
            | SignalReceived { .. } => None,
        }
    }
}
