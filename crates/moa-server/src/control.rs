//! What the server asks of the node that it belongs to.
//!
//! Reads go through the store's views, like those of commands; everything else goes through here,
//! and is the same code as what the local socket of the node does.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;

use async_trait::async_trait;
use moa_core::agent::AgentSpec;
use moa_core::alert::{Alert, Book};
use moa_core::event::Published;
use moa_core::ids::{Name, RunId};
use moa_core::schedule::Zone;
use moa_core::step::StepError;
use moa_core::time::{Millis, Span};
use moa_core::trigger::{TriggerAnswer, TriggerCommand, TriggerId};
use moa_core::workflow::{ParamSpec, Plan};
use moa_engine::handle::{Change, Committed, ForkRequest, GrantRequest, Started};
use moa_engine::jobs::JobStatus;
use moa_engine::meter::Meter;
use moa_engine::series::Series;
use moa_ports::artifacts::ArtifactHash;
use moa_ports::store::WorkflowVersion;
use moa_ports::triggers::{Posted, TriggerRow};
use moa_ports::views::Views;
use moa_view::activity::Activity;
use moa_view::audit::Verdict;
use moa_view::compare::Hide;
use moa_view::exit::Result;
use moa_view::fleet::Fleet;
use moa_view::node::{
    ChannelLine, Holds, NodeStatus, PausedAgent, Rotated, RuleDone, RuleRequest, SecretLine,
    StartRun,
};
use moa_view::rows::ProjectFile;
use moa_view::target::{Production, Setting};
use moa_view::trigger::Known;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use tokio::sync::{OwnedSemaphorePermit, broadcast};
use zeroize::Zeroizing;

use crate::auth::links::Grant;
use crate::auth::refusals::Refusal;
use crate::auth::tokens::{Entry, New};

/// What is wrong with a field of a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The field.
    pub field: String,
    /// What is wrong, for who sees the field.
    pub message: String,
}

/// A node, as its server sees it.
#[async_trait]
pub trait Control: Send + Sync {
    /// The zone of the project's days.
    fn zone(&self) -> Zone;

    /// The read side of its store.
    fn views(&self) -> Arc<dyn Views>;

    /// Starts a run; also answers diagnostics when a broken edit was passed over.
    async fn start_run(&self, start: StartRun) -> Result<(Started, Option<String>)>;

    /// Repeats a run in part.
    async fn fork(&self, fork: ForkRequest) -> Result<RunId>;

    /// Changes a run; answers when it is durable.
    async fn change(&self, run: RunId, change: Change) -> Result<()>;

    /// Does something with a trigger; answers when it is durable.
    async fn trigger(&self, id: TriggerId, command: TriggerCommand) -> Result<TriggerAnswer>;

    /// How long it is remembered what became of occurrences, as the settings say now; `None` = for
    /// ever.
    async fn occurrences_age(&self) -> Result<Option<Span>>;

    /// Does something with a rule; answers when it is durable.
    async fn rule(&self, request: RuleRequest) -> Result<RuleDone>;

    /// A rule for programs, as `moa rules show --json` tells it.
    fn rule_document(&self, rule: &Known) -> Json;

    /// Takes every secret that is known out of what is about to be shown.
    async fn redact(&self, value: Json) -> Json;

    /// What takes every secret that is known now out of values.
    ///
    /// # Errors
    /// It can't be made: then they are not to be shown.
    async fn redactor(&self) -> Result<Box<Hide>>;

    /// Takes every secret that is known out of a version of a workflow, whose plan stays one.
    async fn redact_version(&self, version: WorkflowVersion) -> Result<WorkflowVersion>;

    /// The same of plans; `None` = it is none without the secrets in it.
    async fn redact_plans(&self, plans: Vec<Plan>) -> Result<Vec<Option<Plan>>>;

    /// The same of triggers as the store has them.
    async fn redact_triggers(&self, rows: Vec<TriggerRow>) -> Result<Vec<TriggerRow>>;

    /// How the secrets are, without their values.
    async fn secrets(&self) -> Result<Vec<SecretLine>>;

    /// Keeps a secret in the encrypted store; answers its version, and the source that has it too
    /// and is asked before.
    async fn set_secret(
        &self,
        name: String,
        value: Zeroizing<String>,
    ) -> Result<(u64, Option<String>)>;

    /// Deletes a secret from the encrypted store.
    async fn delete_secret(&self, name: String) -> Result<()>;

    /// Seals all secrets of the encrypted store with another key.
    async fn rotate_key(&self) -> Result<Rotated>;

    /// Makes a backup of the project, all of it and checked, as long as this is waited for.
    async fn backup(&self, holds: Holds) -> Result<Archive>;

    /// Checks the audit log against the anchors that the project has.
    async fn verify_audit(&self) -> Result<Verdict>;

    /// Lets an agent take no new task, or take them again; answers whether that changed anything.
    async fn switch_agent(&self, agent: Name, paused: Option<PausedAgent>) -> Result<bool>;

    /// Adds to the budget of an agent, for the window of the calendar that now is in.
    async fn grant(&self, request: GrantRequest) -> Result<()>;

    /// Writes the file of a workflow or an agent, whole or not at all, if it is what it is taken for
    /// and the text has no errors.
    async fn put_file(&self, file: FileOf, text: String, expect: Expect) -> Result<Edit>;

    /// Deletes such a file, if it is what it is taken for and nothing else of the project needs it.
    async fn delete_file(&self, file: FileOf, expect: Expect, open: Open) -> Result<Removal>;

    /// The text of such a file and its identity; `None` = it is not there, or can't be read.
    async fn file(&self, file: FileOf) -> Result<Option<(String, String)>>;

    /// Has an agent make one attempt outside of any run; answers when that has ended.
    async fn test_agent(&self, asked: AgentTest) -> Result<AgentTried>;

    /// What came of the newest test of each agent, as far as there was one.
    async fn agent_tests(&self) -> BTreeMap<Name, LastTest>;

    /// The filters of runs that people have saved, by name.
    async fn saved_views(&self) -> Result<BTreeMap<String, SavedView>>;

    /// Saves one; answers whether there was none of this name.
    async fn save_view(&self, name: String, view: SavedView) -> Result<bool>;

    /// Forgets one.
    async fn delete_view(&self, name: String) -> Result<()>;

    /// What differs between two plans, as `moa workflows diff --json` tells it.
    fn diff(&self, from: &Plan, to: &Plan) -> Json;

    /// At most `max` bytes of an artifact from byte `from`, and how many it has.
    async fn artifact(&self, hash: ArtifactHash, from: u64, max: usize) -> Result<(Vec<u8>, u64)>;

    /// Who is called when something happens, by name: the section `webhooks` of the settings as it is
    /// now. With each, the channel that delivers.
    fn webhooks(&self) -> Vec<(Name, Name, Json)>;

    /// The webhook that a channel delivered which the settings don't name any more, if it is that.
    fn former_webhook(&self, channel: &str) -> Option<Name>;

    /// The webhooks that are switched off because their receivers are gone: since when, and the run
    /// whose delivery said so.
    async fn gone_webhooks(&self) -> Result<BTreeMap<Name, (Millis, RunId)>>;

    /// Calls a webhook again whose receiver was gone; answers whether it was.
    async fn enable_webhook(&self, webhook: Name) -> Result<bool>;

    /// Has a webhook called that says nothing; answers the id of what it is told.
    async fn test_webhook(&self, webhook: Name) -> Result<String>;

    /// The webhooks of a workflow, by the names of their triggers.
    async fn hooks(&self, workflow: &Name) -> Result<Vec<Hook>>;

    /// Hands a webhook to its trigger; answers whether it is new, when that is durable.
    async fn hooked(&self, event: String, data: Json, key: String) -> Result<bool>;

    /// Publishes an event; answers its number, and whether it is new.
    async fn publish(&self, event: Published) -> Result<Posted>;

    /// Makes a token or opens a session; answers it and its secret, which is kept nowhere.
    async fn make_token(&self, new: New) -> Result<(Entry, Zeroizing<String>)>;

    /// Ends a token or session, and the sessions that it opened; answers it. `sign_out`: it is the
    /// session of whoever asks.
    async fn end_token(&self, id: &str, sign_out: bool) -> Result<Entry>;

    /// Makes a link that signs a browser in, once.
    async fn sign_in_link(&self, grant: Grant) -> Result<String>;

    /// The channels over which notifications go, by name: those that the node has.
    fn channels(&self) -> Vec<ChannelLine>;

    /// Sends a notification over a channel, once; answers when it is known what came of it.
    async fn test_channel(&self, channel: Name, message: String, by: String) -> Result<AgentTried>;

    /// Writes down that something was refused.
    async fn note_refusal(&self, refusal: Refusal) -> Result<()>;

    /// Looks at the project's files; answers diagnostics when something is broken.
    async fn refresh(&self) -> Result<Option<String>>;

    /// What it is doing.
    async fn status(&self) -> NodeStatus;

    /// What agents do right now, and what they did in a day.
    async fn fleet(&self) -> Fleet;

    /// What its engine has done since it started, in numbers.
    async fn meter(&self) -> Meter;

    /// What the project's own counters hold, by name.
    async fn counted(&self) -> Result<BTreeMap<String, f64>>;

    /// How production stands: counters and targets, counted up to now.
    async fn production(&self) -> Result<Production>;

    /// What it did over time.
    async fn series(&self) -> Series;

    /// What an agent did in a time that ends now; fails where that is longer than is kept.
    async fn worked(&self, agent: &Name, span: Span) -> Result<Activity>;

    /// What is known of alerts.
    async fn alerts(&self) -> Result<Book>;

    /// Notes that somebody has taken notice of an alert; answers it when it is durable.
    async fn acknowledge(&self, key: String, by: String, note: Option<String>) -> Result<Alert>;

    /// Notes that somebody says an alert is over; answers it when it is durable.
    async fn resolve(&self, key: String, by: String, note: Option<String>) -> Result<Alert>;

    /// Its settings, each with where it came from; what is secret is not in them.
    fn config(&self) -> Vec<Setting>;

    /// Whether it makes progress: its engine and its store answer.
    async fn is_well(&self) -> bool;

    /// Every commit from now on.
    fn subscribe(&self) -> broadcast::Receiver<Arc<Committed>>;

    /// Until when it holds missed slots back, if it was started too often lately.
    async fn held_back(&self) -> Option<Millis>;

    /// What is known of its jobs.
    fn jobs(&self) -> Vec<JobStatus>;

    /// Does a job out of turn; answers when it is done.
    async fn run_job(&self, name: &str) -> Result<JobStatus>;

    /// The workflows of the project's files, by name; their diagnostics without secrets.
    async fn workflows(&self) -> Result<Vec<FileWorkflow>>;

    /// One of them; `None` = there is no file of that name.
    async fn workflow(&self, name: Name) -> Result<Option<FileWorkflow>>;

    /// The files of the project, as they are now; the settings file is among them only when it is
    /// asked for. Those of agents are whole when it is asked for, else as
    /// [`moa_view::agent::for_viewers`] shows them.
    async fn files(&self, settings: bool, whole: bool) -> Result<Vec<ProjectFile>>;

    /// What is wrong with a text, were it the file of this workflow; as diagnostics.
    async fn check_workflow(&self, name: Name, text: String) -> Result<Vec<Json>>;

    /// The fields of a form: texts become values as their declarations say, and all are checked.
    ///
    /// # Errors
    /// What is missing, or doesn't fit.
    fn check_fields(
        &self,
        fields: &[ParamSpec],
        texts: &[(String, String)],
    ) -> std::result::Result<Map<String, Json>, Vec<Fault>>;

    /// Checks params given for a plan, some of them as texts, and fills in defaults.
    fn check_params(
        &self,
        plan: &Plan,
        params: Map<String, Json>,
        texts: &[(String, String)],
    ) -> Result<Map<String, Json>>;

    /// A plan as a drawing.
    fn draw(&self, plan: &Plan, language: Drawing) -> String;

    /// The agents that it knows, those that are part of moa included; what they say of themselves to
    /// people without secrets.
    async fn agents(&self) -> BTreeMap<Name, Arc<AgentSpec>>;

    /// The attempt logs of a run, by step, iteration and attempt.
    async fn logs(&self, run: RunId) -> Result<Vec<AttemptLog>>;

    /// At most `max` bytes of a log, from byte `from` of what the attempt wrote.
    async fn log_part(&self, log: AttemptLog, from: u64, max: usize) -> Result<LogPart>;
}

/// A backup in one file, which has no name where it is: it is gone with this.
#[derive(Debug)]
pub struct Archive {
    /// What it may be called.
    pub name: String,
    /// Bytes of it.
    pub bytes: u64,
    /// The newest event in it.
    pub last_event: u64,
    /// It.
    pub file: File,
    /// Keeps others from making one as long as it is there.
    pub turn: OwnedSemaphorePermit,
}

/// A webhook that starts runs of a workflow.
#[derive(Debug, Clone)]
pub struct Hook {
    /// The name of its trigger.
    pub trigger: Name,
    /// The type of the event that it is to the trigger.
    pub event: String,
    /// How it is signed.
    pub signature: Signature,
    /// What it is signed with, where it is.
    pub secret: Option<Zeroizing<String>>,
    /// How old it may be, by the time that is signed.
    pub tolerance: Span,
}

/// How a webhook is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signature {
    /// As Standard Webhooks are.
    Standard,
    /// As GitHub does it.
    Github,
    /// As Slack does it.
    Slack,
    /// Not at all.
    None,
}

/// A file that something of the project stands in by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileOf {
    /// A workflow.
    Workflow(Name),
    /// An agent.
    Agent(Name),
}

impl FileOf {
    /// Its id, which is the stem of the file's name.
    pub fn name(&self) -> &Name {
        let (Self::Workflow(name) | Self::Agent(name)) = self;
        name
    }

    /// The folder that it is in.
    pub const fn folder(&self) -> &'static str {
        match self {
            Self::Workflow(_) => "workflows",
            Self::Agent(_) => "agents",
        }
    }

    /// What it is, in one word.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Workflow(_) => "workflow",
            Self::Agent(_) => "agent",
        }
    }
}

/// What is done about open runs that use what is to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// Nothing is deleted while there are any.
    Refuse,
    /// They are left as they are.
    Keep,
}

/// What became of a wish to delete a file.
#[derive(Debug, Clone, PartialEq)]
pub enum Removal {
    /// It is gone.
    Gone {
        /// Open runs of a workflow: they go on with the version that they have.
        open_runs: usize,
    },
    /// Something else of the project would have errors: nothing is deleted.
    Needed {
        /// What would be wrong, for programs.
        diagnostics: Vec<Json>,
        /// The same with excerpts, for people.
        text: String,
    },
    /// The file is not what it was taken for; its tag.
    Differs(String),
}

/// Saved views of a project at most.
pub const VIEWS_MAX: usize = 100;

/// A filter of runs that somebody has saved; what is empty narrows nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedView {
    /// Of these statuses, with commas.
    #[serde(default)]
    pub status: String,
    /// Of this workflow.
    #[serde(default)]
    pub workflow: String,
    /// With these words.
    #[serde(default)]
    pub q: String,
    /// Started by this run.
    #[serde(default)]
    pub parent: String,
    /// Who saved it last.
    pub by: String,
    /// When.
    pub at: Millis,
}

/// One attempt of an agent outside of any run.
#[derive(Debug, Clone)]
pub struct AgentTest {
    /// The agent.
    pub agent: Name,
    /// What it is to do.
    pub action: String,
    /// The params of that; `${{ secrets.NAME }}` is known in them, and nothing else.
    pub params: Map<String, Json>,
    /// A limit on the attempt, shorter than the node's own.
    pub timeout: Option<Span>,
    /// Who asks.
    pub by: String,
}

/// What came of such an attempt.
#[derive(Debug, Clone)]
pub struct AgentTried {
    /// In short.
    pub last: LastTest,
    /// What it answered; `None` = nothing, or it failed.
    pub output: Option<Json>,
    /// When it may be asked again, if it said so.
    pub again_after: Option<Span>,
    /// The end of what it wrote.
    pub log: String,
    /// Whether more was written before that.
    pub log_cut: bool,
}

/// The newest test of an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LastTest {
    /// When it began.
    pub at: Millis,
    /// Who asked for it.
    pub by: String,
    /// What it was to do.
    pub action: String,
    /// Whether it succeeded.
    pub succeeded: bool,
    /// How long it took.
    pub took: Span,
    /// Why it failed.
    pub error: Option<StepError>,
}

/// What a file has to be for it to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// Not there.
    Nothing,
    /// There.
    Something,
    /// As one of these tags says.
    Tags(Vec<String>),
}

/// What became of a wish to write a file.
#[derive(Debug, Clone, PartialEq)]
pub enum Edit {
    /// It is written, and on the disk.
    Written(Written),
    /// The text has errors: nothing is written.
    Broken {
        /// What is wrong, for programs.
        diagnostics: Vec<Json>,
        /// The same with excerpts, for people.
        text: String,
    },
    /// The file is not what it was taken for; its tag, if it is there.
    Differs(Option<String>),
}

/// A file that was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    /// Whether it is new.
    pub created: bool,
    /// Whether it was otherwise before.
    pub changed: bool,
    /// The identity of its text.
    pub tag: String,
    /// The version that a workflow's file makes.
    pub hash: Option<String>,
    /// The agents that an agent's file has.
    pub agents: Vec<Name>,
    /// What looks wrong.
    pub diagnostics: Vec<Json>,
    /// Diagnostics of other files, when something is broken now.
    pub warning: Option<String>,
}

/// A workflow of the project's files.
#[derive(Debug, Clone)]
pub struct FileWorkflow {
    /// Its id.
    pub name: Name,
    /// The text of its file as it is now, and the identity of that; `None` = it can't be read.
    pub file: Option<(String, String)>,
    /// What it does, and its text; `None` = its file has errors, and it never had none.
    pub served: Option<(Plan, String)>,
    /// Whether its file has errors now.
    pub broken: bool,
    /// The diagnostics of its file.
    pub problems: Vec<Json>,
}

/// Languages of drawings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drawing {
    /// Mermaid.
    Mermaid,
    /// Graphviz.
    Dot,
}

/// The log of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptLog {
    /// The run.
    pub run: RunId,
    /// The step, as people name it: `lint[2]`.
    pub step: String,
    /// The attempt, from 1.
    pub attempt: u32,
    /// Bytes of the file.
    pub bytes: u64,
}

/// A part of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogPart {
    /// Bytes of what the attempt wrote that were left out right before `bytes`.
    pub left_out: u64,
    /// The bytes, raw.
    pub bytes: Vec<u8>,
    /// Where to go on reading; as asked for when there is nothing more yet.
    pub next: u64,
}
