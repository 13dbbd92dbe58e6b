//! The plan: a workflow as the run machine executes it.
//!
//! A plan is flat. Its steps stand in one list, cut into **bodies**: body 0 is the workflow's main
//! list, and each loop, `on_failure`, `finally` and each compensation has a body of its own, because
//! its steps come into being when it is opened (a loop's once for each iteration). Containers without
//! repetition (`parallel`, `condition`, `switch`) have no body: their children stand in the same body
//! and name them as `parent`. Within a body indices are contiguous, and a step stands behind
//! everything that it needs and behind its parent.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::committee::Committee;
use crate::expr::Program;
use crate::ids::{Name, StepId, VersionHash};
use crate::retry::RetryPolicy;
use crate::schema::Schema;
use crate::template::Template;
use crate::time::Span;

/// Index of a step in [`Plan::steps`].
pub type StepIx = u32;
/// Index of a body in [`Plan::bodies`].
pub type BodyIx = u16;

/// The main body.
pub const MAIN: BodyIx = 0;

/// The workflow that delivers what no run of a project says: part of moa, so its runs are none of the
/// project's work.
pub const NOTIFY_WORKFLOW: &str = "moa-notify";

/// The same as a name.
pub fn notify_workflow() -> Name {
    Name::new(NOTIFY_WORKFLOW).expect("these are letters and a hyphen")
}

/// A workflow version, checked and ready to run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The workflow's id: the stem of its file.
    pub workflow: Name,
    /// The identity of this version.
    pub hash: VersionHash,
    /// Free title (`name:`).
    pub title: String,
    /// The author's version label (`version:`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Declared params by name, in order of declaration.
    #[serde(default)]
    pub params: Vec<ParamSpec>,
    /// Constants (`vars:`).
    #[serde(default)]
    pub vars: BTreeMap<String, Json>,
    /// Priority of the run's tasks.
    #[serde(default)]
    pub priority: Priority,
    /// Which runs are limited together, and how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Concurrency>,
    /// Whose tasks its tasks are, where several have to share an agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fairness: Option<FairnessPlan>,
    /// Limit on the whole run, from its start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// All steps of all bodies.
    pub steps: Vec<PlanStep>,
    /// Contiguous ranges of `steps`; body 0 is the main one.
    pub bodies: Vec<Body>,
    /// Opened when the run has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<BodyIx>,
    /// Opened last, whatever came before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finally: Option<BodyIx>,
    /// The run's output.
    #[serde(default)]
    pub outputs: Vec<Output>,
}

/// A contiguous range of steps that come into being together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Body {
    /// First step.
    pub start: StepIx,
    /// Number of steps.
    pub count: u32,
    /// The step that opens it (a loop, a compensated step), or `None` for main, `on_failure`, `finally`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<StepIx>,
}

/// A declared param.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ParamSpec {
    /// Its name.
    pub name: String,
    /// JSON Schema that its value must meet.
    pub schema: Json,
    /// Value when none is given, null too; `None` and `required` = must be given.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub default: Option<Json>,
    /// Whether a run can't start without it.
    pub required: bool,
}

/// A value that is there, null too. (By itself serde reads null as `None`.)
fn given<'de, D: serde::Deserializer<'de>>(reader: D) -> Result<Option<Json>, D::Error> {
    Json::deserialize(reader).map(Some)
}

/// Priority: 0 (first) to 3.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// P0
    Critical,
    /// P1
    High,
    /// P2, the default.
    #[default]
    Medium,
    /// P3
    Low,
}

/// Runs that share a key are limited together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Concurrency {
    /// Expression over `params` and `run`; absent = the workflow's own id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Program>,
    /// How many at once.
    pub limit: u32,
    /// What happens to one too many.
    pub on_limit: OnLimit,
}

/// Tasks that share a key share a place in the turns in which an agent's tasks are started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FairnessPlan {
    /// Expression over `params` and `run`.
    pub key: Program,
    /// Expression over the same: how many turns the key gets for each turn of a key of weight 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<Program>,
}

/// What happens to a run that finds its concurrency key used up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnLimit {
    /// It waits, pending, in order of priority and age.
    #[default]
    Queue,
    /// It isn't created.
    Skip,
    /// The running ones are cancelled, and it waits for them to end.
    CancelRunning,
    /// Pending ones with the key are cancelled, and it waits in their place.
    ReplacePending,
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanStep {
    /// Unique in the workflow.
    pub id: StepId,
    /// The body it stands in.
    pub body: BodyIx,
    /// The container in the same body whose opening it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<StepIx>,
    /// Which branch of the parent: `if` 0 = then, 1 = else; `switch` = the case's position; else 0.
    #[serde(default, skip_serializing_if = "is_default")]
    pub branch: u16,
    /// Steps of the same body that must be terminal before this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<Need>,
    /// When it runs, given how its needs ended.
    #[serde(default, skip_serializing_if = "is_default")]
    pub run_if: RunIf,
    /// Evaluated when the needs are met; false = skipped. Not for `If`, which has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<Program>,
    /// What it does.
    pub kind: StepKind,
    /// `outputs:` mapping, evaluated over `output`; empty = the output as it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<Output>,
    /// When and how often it is tried again; `None` = the agent's policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
    /// Limit on one attempt; `None` = the agent's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// Limit on the time it may be ready without being started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_timeout: Option<Span>,
    /// Whether the run goes on as if it had succeeded when it fails (`continue: true`).
    #[serde(default, skip_serializing_if = "is_default")]
    pub tolerate: bool,
    /// Body with the action that undoes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensate: Option<BodyIx>,
    /// Priority of its task, when not the run's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// An attempt whose outcome is unknown is never repeated blindly.
    #[serde(default, skip_serializing_if = "is_default")]
    pub once: bool,
    /// Line of the definition, from 1; for messages and screens.
    #[serde(default, skip_serializing_if = "is_default")]
    pub line: u32,
}

/// One name of an `outputs:` mapping. As JSON `[name, value]`, or `[name, value, schema]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "OutputRow", into = "OutputRow")]
pub struct Output {
    /// Its name.
    pub name: String,
    /// The expression that gives its value.
    pub value: Program,
    /// JSON Schema that the value must meet.
    pub schema: Option<Schema>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum OutputRow {
    Any(String, Program),
    Checked(String, Program, Schema),
}

impl From<OutputRow> for Output {
    fn from(row: OutputRow) -> Self {
        match row {
            OutputRow::Any(name, value) => Self { name, value, schema: None },
            OutputRow::Checked(name, value, schema) => Self { name, value, schema: Some(schema) },
        }
    }
}

impl From<Output> for OutputRow {
    fn from(Output { name, value, schema }: Output) -> Self {
        match schema {
            None => Self::Any(name, value),
            Some(schema) => Self::Checked(name, value, schema),
        }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A step that must be terminal first, and how it may have ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    /// The step.
    pub step: StepIx,
    /// The statuses that satisfy it; empty = succeeded or skipped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub when: Vec<NeedStatus>,
}

/// Statuses that a need may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NeedStatus {
    /// It did what it should.
    Succeeded,
    /// It failed for good.
    Failed,
    /// It wasn't run.
    Skipped,
    /// It was cancelled.
    Cancelled,
}

/// When a step runs, given how its needs ended.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunIf {
    /// Every need is satisfied.
    #[default]
    Success,
    /// Whatever happened.
    Always,
    /// Some need is not satisfied.
    Failure,
    /// The expression is true; asked once all needs are terminal.
    When(Program),
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum StepKind {
    /// An agent's action. May be the parent of branches (`parallel:`) that run beside it.
    Task {
        /// The agent's id.
        agent: Name,
        /// What to ask of it.
        action: String,
        /// What to give it.
        #[serde(default)]
        params: Template,
        /// Environment added to the agent's own.
        #[serde(default)]
        env: Template,
    },
    /// A container whose branches all run: `parallel:` without an action of its own.
    Group,
    /// A container whose branches, one for each member, all run; their votes become a decision.
    Committee(Box<Committee>),
    /// A container of which one branch runs: `condition/then/else` and `switch`.
    If {
        /// Conditions in order; the first true one names its branch by position.
        cases: Vec<Program>,
        /// The branch when none is true.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        default: Option<u16>,
    },
    /// Its body once for each item, at the same time.
    Foreach {
        /// A list, or a map (items are then `{key, value}`).
        items: Program,
        /// Name of the item in the body.
        var: String,
        /// Iterations at once; `None` = all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_parallel: Option<u32>,
        /// Whether the outputs of the iterations become the step's output.
        collect: bool,
        /// The body.
        body: BodyIx,
    },
    /// Its body again and again.
    While {
        /// Go on while this is true (`until`: while it is false).
        condition: Program,
        /// `until:` - asked after each iteration, and for the opposite.
        until: bool,
        /// Failure when this many iterations were not enough.
        max_iterations: u32,
        /// The body.
        body: BodyIx,
    },
    /// A run of another workflow.
    Child {
        /// The workflow's id.
        workflow: Name,
        /// `workflow@VERSION`: a version label or the start of a hash; `None` = the newest.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<String>,
        /// Its params.
        #[serde(default)]
        params: Template,
        /// Whether it goes on when this run is cancelled.
        abandon: bool,
    },
    /// Waits for a signal to this run.
    WaitSignal {
        /// The signal's name.
        name: Template,
        /// Expression over `event` (the payload); other payloads are passed over.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        matches: Option<Program>,
        /// How long; then the step fails (`on_timeout` decides).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout: Option<Span>,
        /// What the timeout means.
        #[serde(default)]
        on_timeout: OnTimeout,
    },
    /// Waits for an event emitted anywhere.
    WaitEvent {
        /// The event's type.
        event: String,
        /// Expression over `event` (`type`, `data`, `source`).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        matches: Option<Program>,
        /// How long.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout: Option<Span>,
        /// What the timeout means.
        #[serde(default)]
        on_timeout: OnTimeout,
    },
    /// Waits for a person's decision: the signal `approve.STEP_ID` with `{approved, by, comment}`.
    Approve {
        /// What is asked, and of whom; data for the screens.
        request: Template,
        /// How long.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout: Option<Span>,
        /// What the timeout means.
        #[serde(default)]
        on_timeout: OnTimeout,
    },
    /// Waits for a length of time (text such as `5m`, or milliseconds) or until an RFC 3339 instant.
    Sleep {
        /// The length or the instant.
        until: Template,
    },
    /// Emits an event to whoever waits for it.
    Emit {
        /// The event's type.
        event: String,
        /// Its data.
        #[serde(default)]
        data: Template,
    },
}

/// What the end of a wait's time means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnTimeout {
    /// The step fails.
    #[default]
    Fail,
    /// The step succeeds with `{timed_out: true}`.
    Continue,
    /// The step is skipped.
    Skip,
    /// The step goes on waiting; the lapse is recorded as an event (people come later).
    Escalate,
}

impl Plan {
    /// The step at `ix`.
    pub fn step(&self, ix: StepIx) -> &PlanStep {
        &self.steps[ix as usize]
    }

    /// The steps of a body, with their indices.
    pub fn body_steps(&self, body: BodyIx) -> impl Iterator<Item = (StepIx, &PlanStep)> {
        let Body { start, count, .. } = self.bodies[usize::from(body)];
        (start..start + count).map(|ix| (ix, self.step(ix)))
    }

    /// The step with that id.
    pub fn find(&self, id: &str) -> Option<StepIx> {
        self.steps.iter().position(|s| s.id.as_str() == id).map(|ix| ix as StepIx)
    }
}
