//! What can happen to a run from outside.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::event::InstIx;
use crate::ids::{Name, RunId};
use crate::limit::Usage;
use crate::run::{Fairness, ParentRef, TriggerRef};
use crate::step::StepError;
use crate::time::{Millis, Span};
use crate::trace::TraceContext;
use crate::trigger::TriggerInput;
use crate::workflow::Priority;

/// An input to the run machine. Every one may arrive twice, or late: the second one changes nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "input", rename_all = "snake_case")]
pub enum Input {
    /// The run has its concurrency slot: start it.
    Admit,
    /// An attempt ended.
    TaskDone {
        /// The step.
        step: InstIx,
        /// The attempt; a late one is refused by it.
        attempt: u32,
        /// How it ended.
        outcome: Outcome,
        /// What it has spent.
        #[serde(default, skip_serializing_if = "Usage::is_nothing")]
        usage: Usage,
    },
    /// The node that ran an attempt is gone, and the attempt's process with it.
    AttemptLost {
        /// The step.
        step: InstIx,
        /// The attempt.
        attempt: u32,
        /// What it has left word of that it had spent by then.
        #[serde(default, skip_serializing_if = "Usage::is_nothing")]
        usage: Usage,
    },
    /// An attempt was leased, but never handed to a worker.
    AttemptUnstarted {
        /// The step.
        step: InstIx,
        /// The attempt.
        attempt: u32,
    },
    /// An armed timer is due.
    TimerFired {
        /// Which.
        timer: TimerKey,
        /// The instant that it was armed for.
        due: Millis,
    },
    /// A signal to this run.
    Signal {
        /// Its name.
        name: String,
        /// The caller's name for it; the same key is the same signal.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        /// What it carries.
        payload: Arc<Json>,
    },
    /// An event emitted anywhere that a step may wait for.
    EventArrived {
        /// The event.
        event: Arc<Emitted>,
    },
    /// A child run ended.
    ChildDone {
        /// The step that started it.
        step: InstIx,
        /// The child.
        run: RunId,
        /// Its output, or why it failed.
        result: Result<Option<Arc<Json>>, StepError>,
    },
    /// Start no new attempt until `Resume`.
    Pause,
    /// Start attempts again.
    Resume,
    /// End, but let what cleans up run.
    Cancel {
        /// Why, for people.
        reason: String,
    },
    /// End now.
    Terminate {
        /// Why, for people.
        reason: String,
    },
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// It did what it should.
    Succeeded {
        /// Its result; `None` = null.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<Arc<Json>>,
    },
    /// It failed; the policy decides whether it is tried again.
    Failed {
        /// Why.
        error: StepError,
    },
    /// The agent says when to come back; doesn't use up an attempt until the policy's total time.
    RateLimited {
        /// Why.
        error: StepError,
        /// How long to wait at least.
        after: Span,
    },
    /// It was stopped because the run asked for it.
    Cancelled,
    /// It was stopped because the node shuts down; doesn't use up an attempt.
    Released,
}

/// Which timer of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "timer", rename_all = "snake_case")]
pub enum TimerKey {
    /// The end of a step's wait: backoff, sleep, wait timeout.
    Step {
        /// The step.
        step: InstIx,
    },
    /// A task was ready for too long.
    Queue {
        /// The step.
        step: InstIx,
    },
    /// The run's own limit.
    Run,
}

impl TimerKey {
    /// Its kind (0 step, 1 queue, 2 run) and step, as stores keep it.
    pub fn to_parts(self) -> (u8, InstIx) {
        match self {
            Self::Step { step } => (0, step),
            Self::Queue { step } => (1, step),
            Self::Run => (2, 0),
        }
    }

    /// The reverse of [`TimerKey::to_parts`].
    pub fn from_parts(kind: u8, step: InstIx) -> Option<Self> {
        match kind {
            0 => Some(Self::Step { step }),
            1 => Some(Self::Queue { step }),
            2 => Some(Self::Run),
            _ => None,
        }
    }
}

/// An event on its way to whoever waits for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Emitted {
    /// Its type.
    #[serde(rename = "type")]
    pub event: String,
    /// The run that emitted it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<RunId>,
    /// Its data.
    pub data: Arc<Json>,
}

/// A durable message: deleted in the commit that applied it, so it is applied exactly once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "snake_case")]
pub enum MessageBody {
    /// Start this child run.
    StartChild(Box<StartChild>),
    /// Start this run for a trigger.
    StartRun(Box<StartRun>),
    /// An input for the run.
    Input(Input),
    /// An input for the trigger.
    Trigger(Box<TriggerInput>),
    /// To the bus: an event for every run that waits for its type.
    Emitted(Arc<Emitted>),
}

/// The start of a child run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StartChild {
    /// The workflow's id.
    pub workflow: Name,
    /// A version label or the start of a hash; `None` = the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Its params.
    pub params: Arc<Json>,
    /// Who started it.
    pub parent: ParentRef,
    /// Priority of its tasks.
    pub priority: Priority,
    /// Whose tasks its tasks are, when its workflow doesn't say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fairness: Option<Fairness>,
    /// The trace of who started it, when that is not its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceContext>,
}

/// The start of a run by a trigger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StartRun {
    /// The workflow's id; the newest version is taken.
    pub workflow: Name,
    /// Its params.
    pub params: Arc<Json>,
    /// Priority of its tasks, when not the workflow's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// Who or what starts it, for people.
    pub cause: String,
    /// The trigger and the occurrence.
    pub trigger: Arc<TriggerRef>,
}

/// The address of the bus: messages that go to every waiting run.
pub const BUS: RunId = RunId(0);
