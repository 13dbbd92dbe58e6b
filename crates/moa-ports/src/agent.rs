//! How work is done: one method, whatever the kind of agent.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use moa_core::agent::AgentSpec;
use moa_core::event::InstIx;
use moa_core::ids::{Name, RunId};
use moa_core::limit::Usage;
use moa_core::machine::Outcome;
use moa_core::template::Rendered;
use moa_core::time::{Millis, Span};
use moa_core::trace::{SpanId, TraceContext};
use moa_core::workflow::NOTIFY_WORKFLOW;
use serde_json::Value as Json;
pub use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

/// One attempt of one step, as it is handed to a worker.
#[derive(Debug, Clone)]
pub struct Task {
    /// The run.
    pub run: RunId,
    /// The trace that the run is part of.
    pub trace: TraceContext,
    /// The workflow's id.
    pub workflow: Name,
    /// The step instance: with `run` and `attempt`, the attempt's identity.
    pub inst: InstIx,
    /// The step's id.
    pub step: String,
    /// Where in its loops: `""`, `"3"`, `"3.0"` - outermost first.
    pub iteration: String,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The agent's id.
    pub agent: Name,
    /// What to ask of it.
    pub action: String,
    /// What to give it; secrets are slots, resolved when the attempt starts.
    pub params: Arc<Rendered>,
    /// Environment of the step, a map of texts; added to the agent's own.
    pub env: Arc<Rendered>,
    /// Outputs of the steps it depends on, by step id.
    pub inputs: Arc<Json>,
    /// Limit on this attempt, if the step sets one; else the agent's holds.
    pub timeout: Option<Span>,
    /// The same for every attempt of this step: `run/step` or `run/step/iteration`.
    pub idempotency_key: String,
    /// Whether the step says that an attempt of unknown outcome must not be repeated blindly; the
    /// agent may say so too.
    pub once: bool,
    /// When it was leased.
    pub leased_at: Millis,
}

impl Task {
    /// The header `traceparent` of what the attempt calls, where this share of the traces is sent.
    /// What tells people something is no part of a trace.
    pub fn trace_parent(&self, share: f64) -> Option<String> {
        if self.workflow.as_str() == NOTIFY_WORKFLOW {
            return None;
        }
        let span = SpanId::of_attempt(self.run, self.inst, self.attempt);
        Some(self.trace.header(span, share))
    }
}

/// Why an attempt did not succeed. All that an agent may say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// May be asked again, as the retry policy says.
    #[error("{0}")]
    Retryable(String),
    /// Asking again is no use.
    #[error("{0}")]
    Permanent(String),
    /// Ask again, but not sooner than after this time.
    #[error("{message}")]
    RateLimited {
        /// Why.
        message: String,
        /// How long to wait.
        after: Span,
    },
    /// It took longer than its timeout, and was ended.
    #[error("{0}")]
    Timeout(String),
    /// It was stopped because it was asked to.
    #[error("cancelled")]
    Cancelled,
    /// Its output breaks a rule (not JSON, too large, not its schema).
    #[error("{0}")]
    Output(String),
    /// It was ended in the middle because its output grows too large: what it had done by then is
    /// done.
    #[error("{0}")]
    CutShort(String),
    /// Nobody knows whether it happened (the connection broke after the request went out, say).
    #[error("{0}")]
    Unknown(String),
}

/// How an agent is reached.
#[async_trait]
pub trait Agent: Send + Sync {
    /// Does one attempt. Dropping the future must stop the work as far as that can be done;
    /// `ctx.cancelled` asks for it first.
    async fn run(&self, ctx: TaskCtx, task: Arc<Task>) -> Result<Output, TaskError>;
}

/// What an attempt has at hand.
#[derive(Clone)]
pub struct TaskCtx {
    /// The agent.
    pub spec: Arc<AgentSpec>,
    /// Asks the attempt to stop.
    pub cancelled: CancellationToken,
    /// When it must be done; the worker ends it a little later.
    pub deadline: Option<Millis>,
    /// The limit of this attempt.
    pub timeout: Option<Span>,
    /// Where its output to people goes.
    pub log: Arc<dyn AttemptLog>,
    /// Params with secrets filled in; never stored or logged.
    pub params: Arc<Json>,
    /// Environment, secrets filled in; never stored or logged.
    pub env: Arc<BTreeMap<String, String>>,
    /// Headers of an `http` agent's requests, secrets filled in; never stored or logged.
    pub headers: Arc<BTreeMap<String, String>>,
    /// The project's folder.
    pub project_dir: Arc<PathBuf>,
    /// A folder of the run's own; made when first needed.
    pub work_dir: PathBuf,
    /// The share of the traces that is sent, from 0 to 1; `None` = there are no traces.
    pub traced: Option<f64>,
}

/// Which of its two streams an attempt wrote to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Takes what an attempt says. Never blocks the attempt for long and never fails it.
pub trait AttemptLog: Send + Sync {
    /// Appends bytes as they came; secrets are redacted by value.
    fn write(&self, stream: Stream, bytes: &[u8]);

    /// Notes what the attempt says that it has spent; what it said before is added to it.
    fn spent(&self, usage: Usage);
}

/// What an attempt gives back.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Output {
    /// The result; `None` = null, which is the same.
    pub value: Option<Arc<Json>>,
}

/// Looks up secrets by name.
pub trait Secrets: Send + Sync {
    /// The secret's value, or `None` when there is none of that name. It is wiped when it is dropped.
    fn get(&self, name: &str) -> Option<Zeroizing<String>>;

    /// Why a secret that is there can't be used; `None` = there is none of that name, or it can.
    fn fault(&self, _name: &str) -> Option<String> {
        None
    }

    /// The values of all secrets that are known by name, for whoever takes them out of a text.
    fn known(&self) -> Vec<Zeroizing<String>> {
        Vec::new()
    }
}

/// Takes the ends of attempts.
pub trait Completions: Send + Sync {
    /// Says that an attempt ended. Called exactly once for each started attempt.
    fn complete(&self, done: Completion);
}

/// The end of an attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// The run.
    pub run: RunId,
    /// The step instance.
    pub inst: InstIx,
    /// The attempt.
    pub attempt: u32,
    /// How it ended.
    pub outcome: Outcome,
    /// What it said that it has spent.
    pub usage: Usage,
}

/// What the engine hands tasks to: a loop that runs agents, in this process.
pub trait Worker: Send + Sync {
    /// Starts an attempt; never blocks. Its end comes through [`Completions`].
    fn start(&self, task: Task);

    /// Asks an attempt to stop: SIGTERM, then SIGKILL after the agent's grace. It ends with
    /// `Outcome::Cancelled` (or, when `release`, with `Outcome::Released`), or as it would have.
    fn stop(&self, run: RunId, inst: InstIx, attempt: u32, release: bool);
}
