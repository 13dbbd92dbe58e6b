//! What is said on the socket.

use std::fmt;
use std::path::PathBuf;

use moa_core::alert::Alert;
use moa_core::event::Published;
use moa_core::ids::{Name, RunId};
use moa_core::time::Span;
use moa_core::trigger::{TriggerAnswer, TriggerCommand, TriggerId};
use moa_engine::handle::{Change, ForkRequest, GrantRequest, Started};
use moa_engine::jobs::JobStatus;
use moa_ports::triggers::Posted;
use moa_server::auth::links::Maker;
use moa_server::auth::role::Role;
use moa_server::auth::tokens::{Entry, New};
use moa_view::activity::Activity;
use moa_view::fleet::Fleet;
pub use moa_view::node::{
    NodeInfo, NodeStatus, PausedAgent, Rotated, RuleDone, RuleExpect, RuleRequest, SecretLine,
    StartRun,
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::exit::{Exit, Failure};

/// The version of this protocol. A client and a node of different versions don't talk.
pub const PROTOCOL: u32 = 2;

/// A request to a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Request {
    /// The first one on each connection.
    Hello {
        /// The client's [`PROTOCOL`].
        protocol: u32,
    },
    /// Start a run.
    Start(Box<StartRun>),
    /// Repeat an ended run in part.
    Fork(Box<ForkRequest>),
    /// Change a run.
    Change {
        /// The run.
        run: RunId,
        /// The change.
        change: Change,
    },
    /// Do something with a trigger; the reply comes when it is durable.
    Trigger {
        /// The trigger.
        trigger: TriggerId,
        /// What.
        command: TriggerCommand,
    },
    /// Publish an event; the reply comes when it is durable.
    Publish {
        /// It; who publishes it is known to the node.
        event: Box<Published>,
    },
    /// Do something with a rule; the reply comes when it is durable.
    Rule(RuleRequest),
    /// Let an agent take no new task, or take them again; the reply comes when it is durable.
    Agent {
        /// The agent.
        agent: Name,
        /// Who wants it to take none, and why; `None` = it takes them.
        #[serde(default)]
        paused: Option<PausedAgent>,
    },
    /// Add to the budget of an agent; the reply is `changed` and comes when it is durable.
    Grant(GrantRequest),
    /// Delete the file of a workflow, unless something needs it; the reply is `deleted`.
    Delete {
        /// The workflow.
        workflow: Name,
        /// Whether open runs of it keep nobody from it.
        keep_open_runs: bool,
    },
    /// Call a webhook again whose receiver was gone; the reply comes when it is durable.
    EnableWebhook {
        /// The webhook.
        webhook: Name,
    },
    /// Execute this run too, which is there already: for a node that executes only what it is asked
    /// to. The reply is `changed`.
    Serve {
        /// The run; no other run started it.
        run: RunId,
    },
    /// Tell what the node is doing.
    Status,
    /// Look at the project's files now.
    Refresh,
    /// Tell what agents do and did.
    Fleet,
    /// Tell what an agent did in a time that ends now.
    Worked {
        /// The agent.
        agent: Name,
        /// How long that is.
        span: Span,
    },
    /// Tell what is known of the internal jobs.
    Jobs,
    /// Do an internal job out of turn; the reply comes when it is done.
    RunJob {
        /// Its name.
        name: String,
    },
    /// Note that somebody has taken notice of an alert.
    Acknowledge {
        /// The alert's key.
        key: String,
        /// Who.
        by: String,
        /// What they say of it.
        note: Option<String>,
    },
    /// Note that somebody says an alert is over; the reply is `acknowledged`.
    Resolve {
        /// The alert's key.
        key: String,
        /// Who.
        by: String,
        /// What they say of it.
        note: Option<String>,
    },
    /// Make a link that signs a browser in, once.
    SignIn {
        /// What it allows.
        role: Role,
        /// Whether a file is wanted that leads there.
        #[serde(default)]
        page: bool,
        /// Who asks for it over the API.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        maker: Option<Maker>,
    },
    /// Make a token of the API, or open a session of a browser.
    MakeToken {
        /// It.
        new: New,
    },
    /// End a token or session.
    EndToken {
        /// Its id.
        id: String,
        /// Whether it is the session of whoever asks.
        #[serde(default)]
        sign_out: bool,
    },
    /// Tell how the secrets are, without their values.
    Secrets,
    /// Keep a secret in the encrypted store.
    SetSecret {
        /// Its name.
        name: String,
        /// Its value.
        value: SecretText,
    },
    /// Delete a secret from the encrypted store.
    DeleteSecret {
        /// Its name.
        name: String,
    },
    /// Seal all secrets of the encrypted store with another key.
    RotateKey,
    /// Send every commit from now on, of one run or of all.
    Subscribe {
        /// The run.
        #[serde(default)]
        run: Option<RunId>,
    },
}

/// A secret on its way to a node: shown to nobody, and wiped from memory when it is dropped.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// A secret of this value.
    pub fn new(value: Zeroizing<String>) -> Self {
        Self(value)
    }

    /// Its value.
    pub fn value(&self) -> &Zeroizing<String> {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(***)")
    }
}

/// A node's reply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// To `hello`.
    Hello(NodeInfo),
    /// To `start`.
    Started {
        /// What became of it.
        outcome: Started,
        /// Diagnostics of the project's files, when a broken edit was passed over.
        #[serde(default)]
        warning: Option<String>,
    },
    /// To `fork`.
    Forked {
        /// The new run.
        run: RunId,
    },
    /// To `change`: it is durable. To `serve`.
    Changed,
    /// To `trigger`: it is durable.
    Triggered {
        /// What became of it.
        answer: Box<TriggerAnswer>,
    },
    /// To `publish`: it is durable.
    Published(Posted),
    /// To `rule`: it is durable.
    Rule(RuleDone),
    /// To `agent`: it is durable.
    AgentSwitched {
        /// Whether it was otherwise before.
        changed: bool,
    },
    /// To `delete`: it is gone.
    Deleted {
        /// Runs of it that have not ended.
        open_runs: usize,
    },
    /// To `enable_webhook`: it is durable.
    WebhookEnabled {
        /// Whether it was switched off before.
        changed: bool,
    },
    /// To `status`.
    Status(Box<NodeStatus>),
    /// To `refresh`.
    Refreshed {
        /// Diagnostics, when something is broken.
        #[serde(default)]
        warning: Option<String>,
    },
    /// To `fleet`.
    Fleet(Box<Fleet>),
    /// To `worked`.
    Worked(Activity),
    /// To `jobs`.
    Jobs {
        /// In the order of the registry.
        jobs: Vec<JobStatus>,
    },
    /// To `acknowledge`.
    Acknowledged(Box<Alert>),
    /// To `run_job`.
    JobDone(Box<JobStatus>),
    /// To `sign_in`.
    Link {
        /// The link.
        url: String,
        /// What the audit log calls it.
        name: String,
        /// A file that leads there.
        #[serde(default)]
        page: Option<PathBuf>,
    },
    /// To `make_token`: it holds.
    TokenMade {
        /// It.
        entry: Entry,
        /// The secret, which is kept nowhere.
        secret: SecretText,
    },
    /// To `end_token`: it holds no more.
    TokenEnded {
        /// It.
        entry: Entry,
    },
    /// To `secrets`.
    Secrets {
        /// By name.
        secrets: Vec<SecretLine>,
    },
    /// To `set_secret`: it is durable. To `delete_secret` the reply is `changed`.
    SecretSet {
        /// How often it has been set.
        version: u64,
        /// The source that is asked before the encrypted store, and has it too.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hidden_by: Option<String>,
    },
    /// To `rotate_key`: it is durable.
    Rotated(Rotated),
    /// To `subscribe`; from here on `event` and `lagged` follow.
    Subscribed,
    /// A commit.
    Event {
        /// Event number over all runs.
        seq: u64,
        /// The run.
        run: RunId,
        /// The run's version after it.
        version: u64,
    },
    /// Commits were left out: read the store.
    Lagged,
    /// The request was refused.
    Error(Refusal),
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The class.
    pub kind: RefusalKind,
    /// What is wrong.
    pub message: String,
    /// Where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// Text to show as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What to do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
}

/// Classes of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalKind {
    /// The request is wrong: no JSON, too long, wrong params.
    Usage,
    /// The project's files are wrong.
    Invalid,
    /// There is no such thing.
    NotFound,
    /// The state doesn't allow it.
    Refused,
    /// The store can't take it, or the node is stopping.
    Unavailable,
    /// The store is damaged.
    Damaged,
    /// The store is too new.
    Newer,
    /// More is asked than can be answered at once.
    Busy,
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        let kind = match failure.exit {
            Exit::Usage => RefusalKind::Usage,
            Exit::Invalid => RefusalKind::Invalid,
            Exit::NotFound => RefusalKind::NotFound,
            Exit::Unavailable => RefusalKind::Unavailable,
            Exit::Damaged => RefusalKind::Damaged,
            Exit::Newer => RefusalKind::Newer,
            Exit::Busy => RefusalKind::Busy,
            Exit::Ok | Exit::Failed | Exit::Refused | Exit::Interrupted => RefusalKind::Refused,
        };
        let Failure { message, place, detail, hints, .. } = failure;
        Self { kind, message, place, detail, hints }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let exit = match refusal.kind {
            RefusalKind::Usage => Exit::Usage,
            RefusalKind::Invalid => Exit::Invalid,
            RefusalKind::NotFound => Exit::NotFound,
            RefusalKind::Refused => Exit::Refused,
            RefusalKind::Unavailable => Exit::Unavailable,
            RefusalKind::Damaged => Exit::Damaged,
            RefusalKind::Newer => Exit::Newer,
            RefusalKind::Busy => Exit::Busy,
        };
        let Refusal { message, place, detail, hints, .. } = refusal;
        Self { exit, message, place, detail, hints }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_tagged_json() {
        let request = Request::Change {
            run: RunId(7),
            change: Change::Cancel { reason: "no longer needed".into() },
        };
        let text = serde_json::to_string(&request).expect("it is JSON");
        assert_eq!(
            text,
            r#"{"op":"change","run":"00000000-0000-0000-0000-000000000007","change":{"change":"cancel","reason":"no longer needed"}}"#
        );
        assert_eq!(serde_json::from_str::<Request>(&text).expect("it is a request"), request);
    }
}
