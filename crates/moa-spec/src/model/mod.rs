//! The workflow file, key by key, as its author wrote it.
//!
//! These types are the single source of the language's keys: readers, JSON Schema and the order of
//! `moa fmt` come from them. What the keys mean together is checked in the module `lower`.

use std::borrow::Cow;
use std::sync::Arc;

use moa_core::expr::Program;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

pub mod access;
pub mod agent;
pub mod alerts;
mod committee;
pub mod limit;
pub mod notify;
pub mod on;
pub mod rule;
pub mod schedule;
pub mod settings;
pub mod tracing;

pub use committee::{Quorum, Share};

use crate::codes;
use crate::read::{At, Cx, Field};
use crate::scalar::{Duration, Entries, Expr, Filled, Label, Many, NameText, Raw, Short, Tmpl};
use crate::yaml::{Data, Node};
use crate::{choice, record};

record! {
    /// A workflow: steps done by agents, and everything that is said about them.
    pub struct WorkflowFile as "a workflow" {
        /// Version of the language; 1.
        moa: Option<At<u32>>,
        /// Title for people. The workflow's id is its file's name without the ending.
        name: Option<At<Label>>,
        /// The author's version label. A run is pinned to the content, whatever the label says.
        version: Option<At<Label>>,
        /// What it is for.
        description: Option<At<Label>>,
        /// What a run is given: name to type or JSON Schema. Without this key any param is taken.
        params: Option<Entries<Raw>>,
        /// Constants for expressions: `vars.NAME`.
        vars: Option<Entries<Raw>>,
        /// What all steps share unless they say otherwise.
        defaults: Option<Defaults>,
        /// Whether a step waits for the one before it (`sequence`) or only for `depends_on` (`graph`).
        mode: Option<At<Mode>>,
        /// How many runs at once, of all or of those that share a key.
        concurrency: Option<Short<At<u32>, ConcurrencyFile>>,
        /// Whose tasks its tasks are: keys take turns when there are more tasks than an agent can do.
        fairness: Option<Short<Expr, FairnessFile>>,
        /// Which tasks come first when there are more than can run.
        priority: Option<At<PriorityText>>,
        /// Limit on the whole run.
        timeout: Option<At<Duration>>,
        /// When runs start by the clock.
        schedule: Option<Many<schedule::ScheduleForm>>,
        /// Workflows whose runs have to end first, each of them: then a run starts, or with a schedule
        /// its next slot may start.
        after: Option<Many<Short<At<NameText>, on::AfterFile>>>,
        /// What starts runs: other workflows, events, files.
        on: Option<Many<on::OnFile>>,
        /// What a run may spend.
        budget: Option<Raw>,
        /// By when it should be done, and what happens when it isn't.
        sla: Option<Raw>,
        /// The steps, in order.
        steps: Filled<Step>,
        /// What happens when steps fail, and at the end.
        error_handling: Option<ErrorHandling>,
        /// The run's output: name to expression.
        outputs: Option<Entries<Output>>,
        /// Examples that `moa test` runs with mocked agents.
        tests: Option<Vec<TestFile>>,
    }

    /// What all steps share unless they say otherwise.
    pub struct Defaults as "`defaults`" {
        /// Limit on one attempt.
        timeout: Option<At<Duration>>,
        /// Limit on the time a step may be ready without being started.
        queue_timeout: Option<At<Duration>>,
        /// When and how often a step is tried again.
        retry: Option<Short<At<Never>, RetryFile>>,
        /// Environment of every task.
        env: Option<Entries<Tmpl>>,
    }

    /// How many runs at once.
    pub struct ConcurrencyFile as "`concurrency`" {
        /// Expression over `params`; runs with the same value are limited together.
        key: Option<Expr>,
        /// How many at once; 1 when not given.
        limit: Option<At<u32>>,
        /// What happens to one too many.
        on_limit: Option<At<OnLimitText>>,
    }

    /// Whose tasks the tasks of a run are.
    pub struct FairnessFile as "`fairness`" {
        /// Expression over `params`; tasks with the same value share a turn. Null or empty = no key.
        key: Expr,
        /// Expression over `params`: turns for each turn of a key of weight 1, from 1 to 1000.
        weight: Option<Expr>,
    }

    /// When and how often a step is tried again.
    pub struct RetryFile as "`retry`" {
        /// Attempts altogether, the first one counted.
        max_attempts: Option<At<u32>>,
        /// Attempts after the first: `max_attempts` less one.
        max_retries: Option<At<u32>>,
        /// How the delay grows: `constant`, `linear` or `exponential`.
        backoff: Option<At<BackoffText>>,
        /// Delay before the first retry.
        delay: Option<At<Duration>>,
        /// Longest delay.
        max_delay: Option<At<Duration>>,
        /// Share of the delay by which it varies, 0 to 1.
        jitter: Option<At<f64>>,
        /// Give up when this much time has gone since the first attempt started.
        max_elapsed: Option<At<Duration>>,
        /// Expression over `error` and `attempt`; false = not tried again.
        when: Option<Expr>,
    }

    /// One step. What it does is told by one of the keys `agent`, `run`, `http`, `llm`, `mcp`,
    /// `mail`, `git`, `notify`, `parallel`, `then`, `switch`, `foreach`, `while`, `until`, `workflow`,
    /// `wait_for`, `sleep`, `emit`, `approve`, `committee` or `steps`.
    pub struct Step as "a step" {
        /// Its id: lower-case letters, digits and `_`. Without it: the action's name, or `if_1`, ….
        id: Option<At<String>>,
        /// Title for people.
        name: Option<At<Label>>,
        /// What it is for.
        description: Option<At<Label>>,
        /// The agent that does it.
        agent: Option<At<NameText>>,
        /// What to ask of the agent.
        action: Option<At<String>>,
        /// Short form: a shell script, or a mapping with `script` and `cwd`.
        run: Option<Box<Short<Tmpl, RunFile>>>,
        /// Short form: a URL to call, or a mapping with `url`, `method`, `headers`, `body`.
        http: Option<Tmpl>,
        /// Short form: a prompt for a language model, or a mapping.
        llm: Option<Tmpl>,
        /// Short form: a tool of an MCP server, as a mapping.
        mcp: Option<Tmpl>,
        /// Short form: a mail, as a mapping with `to`, `subject`, `body`.
        mail: Option<Tmpl>,
        /// Short form: a git action, or a mapping with `action`.
        git: Option<Tmpl>,
        /// Short form: a notification channel, or a mapping with `channel` and `text`.
        notify: Option<Tmpl>,
        /// A workflow to run, `NAME` or `NAME@VERSION`.
        workflow: Option<At<String>>,
        /// A signal or an event to wait for.
        wait_for: Option<Box<WaitFor>>,
        /// How long to wait (`5m`), or until which instant (RFC 3339).
        sleep: Option<Tmpl>,
        /// The same as `sleep`.
        wait: Option<Tmpl>,
        /// An event to emit: its type, or a mapping with `type` and `data`.
        emit: Option<Box<Short<At<String>, EmitFile>>>,
        /// Steps that vote on something at the same time, and how their votes become a decision.
        committee: Option<Box<CommitteeFile>>,
        /// A decision to wait for: its title, or a mapping.
        approve: Option<Box<Short<Tmpl, ApproveFile>>>,
        /// What to give the action, or the workflow called.
        params: Option<Tmpl>,
        /// Environment added to the agent's own.
        env: Option<Entries<Tmpl>>,
        /// Whether the called workflow is cancelled with this run.
        on_parent_cancel: Option<At<OnParentCancel>>,
        /// Steps that must be done first. Replaces the step before; `[]` = starts at once.
        depends_on: Option<Many<Short<At<String>, NeedFile>>>,
        /// Expression: false = skipped. With `then`: which branch is taken.
        condition: Option<Expr>,
        /// When it runs, given how its dependencies ended: `success`, `always`, `failure` or an
        /// expression.
        run_if: Option<Expr>,
        /// What to repeat the steps for.
        foreach: Option<Box<Short<Items, ForeachFile>>>,
        /// Expression: the steps are repeated while it is true.
        r#while: Option<Expr>,
        /// Expression: the steps are repeated until it is true.
        until: Option<Expr>,
        /// How many iterations of `while` or `until` there may be; more is a failure.
        max_iterations: Option<At<u32>>,
        /// Whether the run goes on when it fails.
        r#continue: Option<At<bool>>,
        /// When and how often it is tried again.
        retry: Option<Box<Short<At<Never>, RetryFile>>>,
        /// Limit on one attempt.
        timeout: Option<At<Duration>>,
        /// Limit on the time it may be ready without being started.
        queue_timeout: Option<At<Duration>>,
        /// Priority of its task, when not the workflow's.
        priority: Option<At<PriorityText>>,
        /// Never repeat an attempt whose outcome is unknown.
        once: Option<At<bool>>,
        /// Whether the agent's session is kept between attempts and iterations.
        session: Option<Raw>,
        /// What becomes of its output: name to expression over `output`.
        outputs: Option<Entries<Output>>,
        /// Steps that undo it when the run fails later.
        compensate: Option<Many<Step>>,
        /// Cases in order; the first true one is taken.
        switch: Option<Filled<Case>>,
        /// Steps when the condition is true.
        then: Option<Filled<Step>>,
        /// Steps when the condition is false.
        r#else: Option<Filled<Step>>,
        /// Branches that run at the same time, beside the step's own action if it has one.
        parallel: Option<Filled<Step>>,
        /// The steps of a loop or of a group.
        steps: Option<Filled<Step>>,
    }

    /// A shell script.
    pub struct RunFile as "`run`" {
        /// The script, given to `sh`.
        script: Tmpl,
        /// Folder to run in, relative to the project.
        cwd: Option<Tmpl>,
    }

    /// A step that must be done first, and how it may have ended.
    pub struct NeedFile as "a dependency" {
        /// The step's id.
        step: At<String>,
        /// The ends that count; `succeeded` and `skipped` when not given.
        when: Option<Many<At<NeedStatusText>>>,
    }

    /// One case of a `switch`.
    pub struct Case as "a case" {
        /// Expression; the first case whose expression is true is taken.
        case: Option<Expr>,
        /// Its steps.
        then: Option<Filled<Step>>,
        /// Steps when no case was true. Stands last, without `case`.
        default: Option<Filled<Step>>,
    }

    /// What to repeat steps for.
    pub struct ForeachFile as "`foreach`" {
        /// A list, or an expression that gives a list or a map.
        r#in: Items,
        /// The item's name in expressions; `item` when not given.
        r#as: Option<At<String>>,
        /// Iterations at once; all when not given.
        max_parallel: Option<At<u32>>,
        /// Whether the iterations' outputs become the step's output.
        collect: Option<At<Collect>>,
    }

    /// A signal or an event to wait for.
    pub struct WaitFor as "`wait_for`" {
        /// Name of a signal to this run.
        signal: Option<Tmpl>,
        /// Type of an event emitted anywhere.
        event: Option<At<String>>,
        /// Expression over `event`; what doesn't match is passed over.
        r#match: Option<Expr>,
        /// How long.
        timeout: Option<At<Duration>>,
        /// What the timeout means.
        on_timeout: Option<At<OnTimeoutText>>,
    }

    /// An event to emit.
    pub struct EmitFile as "`emit`" {
        /// Its type, such as `build.clean`.
        r#type: At<String>,
        /// Its data.
        data: Option<Tmpl>,
    }

    /// Steps that vote, and how their votes become a decision.
    pub struct CommitteeFile as "`committee`" {
        /// The members: steps that run at the same time. One that fails has not voted.
        members: Filled<Step>,
        /// Expression over a member's `output` that gives its vote: true, false, or null to abstain;
        /// `output.approved` when not given.
        vote: Option<Expr>,
        /// Member's id to the weight of its vote; 1 for those that are not named.
        weights: Option<Entries<At<u32>>>,
        /// Members whose vote against decides alone.
        veto: Option<Many<At<String>>>,
        /// How many members must vote: a number, `majority` (when not given) or `all`.
        quorum: Option<At<Quorum>>,
        /// Share of the votes' weight that must be for it: `0.6`, `60%`, `2/3`; more than half when
        /// not given.
        threshold: Option<At<Share>>,
        /// What a rejection means: `continue` (when not given) with `approved: false`, or `fail`.
        on_reject: Option<At<OnReject>>,
    }

    /// A decision to wait for.
    pub struct ApproveFile as "`approve`" {
        /// What is asked.
        title: Option<Tmpl>,
        /// What the decider should know.
        description: Option<Tmpl>,
        /// Who may decide: `role:NAME`, `group:NAME` or a person.
        to: Option<Tmpl>,
        /// How many have to agree.
        quorum: Option<At<u32>>,
        /// Fields that the decider fills in: name to type or JSON Schema.
        form: Option<Tmpl>,
        /// What the decider may change: `STEP.params.NAME`.
        allow_edit: Option<Vec<At<String>>>,
        /// The step to go back to on rejection.
        push_back_to: Option<At<String>>,
        /// How long.
        timeout: Option<At<Duration>>,
        /// What the timeout means.
        on_timeout: Option<At<OnTimeoutText>>,
    }

    /// What happens when steps fail, and at the end.
    pub struct ErrorHandling as "`error_handling`" {
        /// When and how often every step is tried again.
        retry: Option<Short<At<Never>, RetryFile>>,
        /// Steps that run when the run has failed.
        on_failure: Option<Filled<Step>>,
        /// Steps that run last, whatever happened.
        finally: Option<Filled<Step>>,
    }

    /// An output with a schema.
    pub struct OutputFile as "an output" {
        /// Expression that gives the value.
        value: Expr,
        /// JSON Schema that the value must meet.
        schema: Option<Raw>,
    }

    /// An example of a run.
    pub struct TestFile as "a test" {
        /// What it shows.
        name: At<Label>,
        /// Params of the run.
        params: Option<Raw>,
        /// Step id to its outcome, or a list of outcomes used one after the other.
        mock: Option<Entries<Many<OutcomeFile>>>,
        /// What has to hold when the run is over.
        expect: Option<Raw>,
    }

    /// What a mocked step does.
    pub struct OutcomeFile as "an outcome" {
        /// It succeeds with this output.
        output: Option<Raw>,
        /// It fails: a kind (`timeout`, `retryable`, `permanent`, …), a message, or both.
        fail: Option<Short<At<String>, FailFile>>,
        /// The signal or event that it waits for arrives with this payload.
        signal: Option<Raw>,
        /// After how much virtual time; 0s when not given.
        after: Option<At<Duration>>,
    }

    /// A mocked failure.
    pub struct FailFile as "a failure" {
        /// How it fails.
        kind: Option<At<FailKind>>,
        /// What the error says.
        message: Option<At<String>>,
    }
}

/// An output: an expression, or a mapping with `value` and `schema`.
pub type Output = Short<Expr, OutputFile>;

choice! {
    /// How steps of a list depend on each other.
    pub enum Mode as "a mode" {
        /// Each step waits for the one before it.
        Sequence = "sequence",
        /// Steps wait only for what `depends_on` says.
        Graph = "graph",
    }

    /// Priority.
    pub enum PriorityText as "a priority" {
        /// P0
        Critical = "critical" | "P0" | "p0",
        /// P1
        High = "high" | "P1" | "p1",
        /// P2
        Medium = "medium" | "P2" | "p2",
        /// P3
        Low = "low" | "P3" | "p3",
    }

    /// What happens to a run that is one too many.
    pub enum OnLimitText as "a way to handle the limit" {
        /// It waits.
        Queue = "queue",
        /// It isn't created.
        Skip = "skip",
        /// The running ones are cancelled.
        CancelRunning = "cancel_running",
        /// The waiting ones are cancelled.
        ReplacePending = "replace_pending",
    }

    /// How the delay between attempts grows.
    pub enum BackoffText as "a backoff" {
        /// It doesn't.
        Constant = "constant" | "fixed",
        /// By `delay` each time.
        Linear = "linear",
        /// It doubles.
        Exponential = "exponential",
    }

    /// How a step that others wait for may have ended.
    pub enum NeedStatusText as "a status" {
        /// It did what it should.
        Succeeded = "succeeded",
        /// It failed for good.
        Failed = "failed",
        /// It wasn't run.
        Skipped = "skipped",
        /// It was cancelled.
        Cancelled = "cancelled",
    }

    /// What becomes of the outputs of a `foreach`.
    pub enum Collect as "a way to collect" {
        /// They become the step's output, as a list.
        All = "all",
        /// They don't.
        None = "none",
    }

    /// What becomes of a called workflow when the run is cancelled.
    pub enum OnParentCancel as "a way to handle the cancellation" {
        /// It is cancelled too.
        Cancel = "cancel",
        /// It goes on.
        Abandon = "abandon",
    }

    /// What the end of a wait's time means.
    pub enum OnTimeoutText as "a way to handle the timeout" {
        /// The step fails.
        Fail = "fail",
        /// The step succeeds with `{timed_out: true}`.
        Continue = "continue",
        /// The step is skipped.
        Skip = "skip",
        /// The step goes on waiting, and the lapse is recorded.
        Escalate = "escalate",
    }

    /// What the rejection by a committee means.
    pub enum OnReject as "a way to handle the rejection" {
        /// The step succeeds; its output says `approved: false`.
        Continue = "continue",
        /// The step fails.
        Fail = "fail",
    }

    /// How a mocked step fails.
    pub enum FailKind as "a kind of failure" {
        /// Worth another attempt.
        Retryable = "retryable",
        /// Not worth another attempt.
        Permanent = "permanent",
        /// It took too long.
        Timeout = "timeout",
        /// The agent asked for a pause.
        RateLimited = "rate_limited",
        /// The worker is gone.
        Lost = "lost",
        /// It was cancelled.
        Cancelled = "cancelled",
    }
}

/// What a `foreach` goes through: an expression, or a list that stands in the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Items(pub Expr);

/// No retries: the text `never`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Never;

impl Field for Never {
    fn read(node: &Arc<Node>, cx: &mut Cx) -> Option<Self> {
        if matches!(&node.data, Data::Text(text) if text == "never") {
            return Some(Self);
        }
        let help = match &node.data {
            Data::Number(n) => format!("write `{{max_attempts: {n}}}`; the first one counts"),
            _ => "write `never`, or a mapping such as {max_attempts: 3, delay: 1m}".into(),
        };
        cx.wrong_type(node, "a retry policy").help(help);
        None
    }
}

impl Serialize for Never {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str("never")
    }
}

impl JsonSchema for Never {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Never".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"const": "never"})
    }
}

impl Field for Items {
    fn read(node: &Arc<Node>, cx: &mut Cx) -> Option<Self> {
        let Data::List(_) = &node.data else { return Expr::read(node, cx).map(Self) };
        let text = node.to_json().to_string();
        if text.contains("${{") {
            let message = "`${{ }}` in a list to go through".to_owned();
            let d = cx.error(codes::STRAY_TEMPLATE, node.span.clone(), message);
            d.cause("a list that stands in the file is taken as it is");
            d.help("write an expression: `in: \"[params.a, params.b]\"`");
            return None;
        }
        match Program::compile(&text) {
            Ok(program) => {
                let (span, node) = (node.span.clone(), node.clone());
                Some(Self(Expr { program, uses: Vec::new(), span, node }))
            }
            Err(e) => {
                cx.error(codes::EXPRESSION, node.span.clone(), e.message).help = e.hint;
                None
            }
        }
    }
}

impl Serialize for Items {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(s)
    }
}

impl JsonSchema for Items {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Items".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "array"],
            "description": "A CEL expression that gives a list or a map, or a list."
        })
    }
}
