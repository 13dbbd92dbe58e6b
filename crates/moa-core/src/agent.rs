//! What an agent is: data that says how it is reached, how much it takes and how it fails.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::ids::Name;
use crate::limit::AgentLimits;
use crate::retry::RetryPolicy;
use crate::template::Template;
use crate::time::Span;

/// An agent: a named capability.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentSpec {
    /// Its id: the key it is declared under, or its file's stem.
    pub id: Name,
    /// Free title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Tier: 1 foundation, 2 quality, 3 platform; only shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<u8>,
    /// Free labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Declared actions; empty = any action is passed on.
    #[serde(default)]
    pub actions: BTreeMap<String, ActionSpec>,
    /// Attempts at once; `None` = only the global limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Limits on its attempts over time.
    #[serde(default, skip_serializing_if = "AgentLimits::is_empty")]
    pub limits: AgentLimits,
    /// Default retry policy of its steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
    /// Default limit on one attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// An attempt whose outcome is unknown is never repeated blindly.
    #[serde(default)]
    pub once: bool,
    /// Environment: names and templates over `params`, `run`, `secrets`.
    #[serde(default)]
    pub env: BTreeMap<String, Template>,
    /// How it is reached.
    pub kind: AgentKind,
}

/// One declared action of an agent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ActionSpec {
    /// What it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// JSON Schema of its params.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<Json>,
    /// JSON Schema of its output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Json>,
    /// Never repeated blindly.
    #[serde(default)]
    pub once: bool,
    /// Action asked whether an attempt of unknown outcome has happened; answers `{done, output?}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<String>,
    /// Limit on one attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
}

/// How an agent is reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentKind {
    /// A process for each attempt.
    Command(CommandSpec),
    /// One POST for each attempt.
    Http(HttpSpec),
    /// Part of moa, by name: `shell` (the short form `run:`), `http` (the short form `http:`),
    /// `notify`, `noop`, `youtube`.
    Builtin(String),
}

/// A program that is started for each attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommandSpec {
    /// Program and arguments; no shell unless it is named. A relative program with a slash is
    /// relative to the project's folder.
    pub argv: Vec<String>,
    /// Folder to run in, relative to the project's; the default is the project's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Exit codes that mean "later" (tried again); beside 75 (EX_TEMPFAIL, sysexits.h).
    #[serde(default)]
    pub retry_exit_codes: Vec<i32>,
    /// Exit codes that mean "never"; beside 2, 64-74, 76-78, 126, 127 (usage, sysexits.h, shell).
    #[serde(default)]
    pub permanent_exit_codes: Vec<i32>,
    /// How long between SIGTERM and SIGKILL.
    pub grace: Span,
    /// Resource limits of the process.
    #[serde(default)]
    pub limits: ProcessLimits,
}

/// Resource limits of one attempt's process (setrlimit).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessLimits {
    /// Bytes of address space.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Seconds of processor time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_seconds: Option<u64>,
    /// Open files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
    /// Bytes of the largest file written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_bytes: Option<u64>,
}

/// A service that is called for each attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HttpSpec {
    /// Endpoints; several = the least loaded healthy one is called.
    pub urls: Vec<String>,
    /// Method; the default is POST.
    pub method: String,
    /// Header names and templates (secrets allowed).
    #[serde(default)]
    pub headers: BTreeMap<String, Template>,
    /// Largest answer, in bytes.
    pub response_bytes_max: u64,
    /// Longest Retry-After respected.
    pub retry_after_max: Span,
    /// Statuses tried again, beside 408, 425, 429, 502, 503, 504 and 500.
    #[serde(default)]
    pub retry_statuses: Vec<u16>,
}
