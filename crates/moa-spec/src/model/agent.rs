//! Agent files, key by key.

use std::borrow::Cow;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;

use super::limit::{BreakerText, BudgetFile, QuotaFile, Rates};
use super::{Never, RetryFile};
use crate::codes;
use crate::read::{At, Cx, Field};
use crate::record;
use crate::scalar::{Duration, Entries, Label, NameText, Raw, Short, Size, Tmpl};
use crate::yaml::{Data, Node};

record! {
    /// Several agents in one file.
    pub struct AgentsFile as "a file of agents" {
        /// The agents: a mapping by id, or a list with `id`.
        agents: AgentList,
    }

    /// An agent: a named capability, and how it is reached (`command`, `shell` or `http`).
    pub struct AgentFile as "an agent" {
        /// Its id, in a list of agents; elsewhere it is the file's name or the key.
        id: Option<At<NameText>>,
        /// Title for people.
        name: Option<At<Label>>,
        /// What it is for.
        description: Option<At<Label>>,
        /// Tier; only shown.
        tier: Option<At<u8>>,
        /// Labels of the author's choice.
        labels: Option<Entries<Label>>,
        /// A program that is started for each attempt: a command line, a list of words, or a mapping.
        command: Option<Command>,
        /// A shell script that is run for each attempt, or a mapping with `script`.
        shell: Option<Short<At<String>, ShellFile>>,
        /// A service that is called for each attempt: its URL, or a mapping.
        http: Option<Short<At<String>, HttpFile>>,
        /// What it can be asked; without this key any action is passed on.
        actions: Option<Actions>,
        /// Attempts at once.
        concurrency: Option<At<u32>>,
        /// Attempts in any stretch of time: `5/1h`, or several: `5/1h, 50/1d`.
        rate_limit: Option<At<Rates>>,
        /// Units in each hour, day, week or month: `10000/day`, or a mapping.
        quota: Option<Short<At<String>, QuotaFile>>,
        /// Money and tokens that it may spend in each hour, day, week or month.
        budget: Option<BudgetFile>,
        /// Leaves an agent alone that fails again and again: `true`, or a mapping.
        circuit_breaker: Option<At<BreakerText>>,
        /// When and how often its steps are tried again, unless they say otherwise.
        retry: Option<Short<At<Never>, RetryFile>>,
        /// Limit on one attempt, unless the step says otherwise.
        timeout: Option<At<Duration>>,
        /// Never repeat an attempt whose outcome is unknown.
        once: Option<At<bool>>,
        /// Environment of its attempts.
        env: Option<Entries<Tmpl>>,
    }

    /// What an agent can be asked.
    pub struct ActionFile as "an action" {
        /// What it does.
        description: Option<At<Label>>,
        /// JSON Schema of its params.
        params: Option<Raw>,
        /// JSON Schema of its output.
        output: Option<Raw>,
        /// Never repeat an attempt whose outcome is unknown.
        once: Option<At<bool>>,
        /// The action that tells whether an attempt of unknown outcome has happened.
        check: Option<At<String>>,
        /// Limit on one attempt.
        timeout: Option<At<Duration>>,
    }

    /// A program that is started for each attempt.
    pub struct CommandFile as "`command`" {
        /// The command line; split at spaces, quotes respected, no shell.
        run: Option<At<String>>,
        /// Program and arguments.
        argv: Option<Vec<At<String>>>,
        /// Folder to run in, relative to the project.
        cwd: Option<At<String>>,
        /// How long between SIGTERM and SIGKILL; 10s when not given.
        grace: Option<At<Duration>>,
        /// Limits of the process.
        limits: Option<LimitsFile>,
        /// Exit codes that mean "later", beside 75.
        retry_exit_codes: Option<Vec<At<i32>>>,
        /// Exit codes that mean "never".
        permanent_exit_codes: Option<Vec<At<i32>>>,
    }

    /// A shell script that is run for each attempt.
    pub struct ShellFile as "`shell`" {
        /// The script, given to `sh -e -c`: it ends at the first command that fails.
        script: At<String>,
        /// Folder to run in, relative to the project.
        cwd: Option<At<String>>,
        /// How long between SIGTERM and SIGKILL; 10s when not given.
        grace: Option<At<Duration>>,
        /// Limits of the process.
        limits: Option<LimitsFile>,
        /// Exit codes that mean "later", beside 75.
        retry_exit_codes: Option<Vec<At<i32>>>,
        /// Exit codes that mean "never".
        permanent_exit_codes: Option<Vec<At<i32>>>,
    }

    /// Limits of an attempt's process.
    pub struct LimitsFile as "`limits`" {
        /// Address space.
        memory: Option<At<Size>>,
        /// Processor time.
        cpu: Option<At<Duration>>,
        /// Open files.
        files: Option<At<u32>>,
        /// Size of the largest file written.
        file_size: Option<At<Size>>,
    }

    /// A service that is called for each attempt.
    pub struct HttpFile as "`http`" {
        /// The endpoint.
        url: Option<At<String>>,
        /// Several endpoints; the least loaded healthy one is called.
        urls: Option<Vec<At<String>>>,
        /// The method; POST when not given.
        method: Option<At<String>>,
        /// Headers; `${{ secrets.NAME }}` may be used.
        headers: Option<Entries<Tmpl>>,
        /// Largest answer.
        max_response: Option<At<Size>>,
        /// Longest Retry-After that is respected; 1h when not given.
        retry_after_max: Option<At<Duration>>,
        /// Statuses that mean "later", beside 408, 425, 429, 500, 502, 503 and 504.
        retry_statuses: Option<Vec<At<u16>>>,
    }
}

/// A command: a line, a list of words, or a mapping.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Command {
    /// A command line.
    Text(At<String>),
    /// Program and arguments.
    List(Vec<At<String>>),
    /// With what stands beside it.
    Map(Box<CommandFile>),
}

impl Field for Command {
    fn read(node: &Arc<Node>, cx: &mut Cx) -> Option<Self> {
        match node.data {
            Data::Map(_) => Box::read(node, cx).map(Self::Map),
            Data::List(_) => Vec::read(node, cx).map(Self::List),
            _ => At::read(node, cx).map(Self::Text),
        }
    }
}

impl JsonSchema for Command {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Command".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let map = generator.subschema_for::<CommandFile>();
        json_schema!({"anyOf": [
            {"type": "string"},
            {"type": "array", "items": {"type": "string"}, "minItems": 1},
            map
        ]})
    }
}

/// Actions: a mapping by name, or a list of names.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Actions(pub Entries<Option<ActionFile>>);

impl Field for Actions {
    fn read(node: &Arc<Node>, cx: &mut Cx) -> Option<Self> {
        if !matches!(node.data, Data::List(_)) {
            return Entries::read(node, cx).map(Self);
        }
        let names = Vec::<At<String>>::read(node, cx)?;
        Some(Self(Entries(names.into_iter().map(|name| (name, None)).collect())))
    }
}

impl JsonSchema for Actions {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Actions".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let map = generator.subschema_for::<Entries<Option<ActionFile>>>();
        json_schema!({"anyOf": [map, {"type": "array", "items": {"type": "string"}}]})
    }
}

/// An agent among several.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Its id.
    pub id: At<String>,
    /// Its mapping.
    pub(crate) node: Arc<Node>,
}

impl PartialEq for Listed {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && self.node.to_json() == other.node.to_json()
    }
}

/// Agents: a mapping by id, or a list with `id`.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentList(pub Vec<Listed>);

impl Serialize for AgentList {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_map(self.0.iter().map(|one| (&one.id.value, one.node.to_json())))
    }
}

impl Field for AgentList {
    fn read(node: &Arc<Node>, cx: &mut Cx) -> Option<Self> {
        match &node.data {
            Data::Map(entries) => {
                let listed = entries.iter().map(|(key, node)| Listed {
                    id: At { value: key.text.clone(), span: key.span.clone() },
                    node: node.clone(),
                });
                Some(Self(listed.collect()))
            }
            Data::List(items) => {
                Some(Self(items.iter().filter_map(|item| listed(item, cx)).collect()))
            }
            _ => {
                cx.wrong_type(node, "a mapping or a list of agents");
                None
            }
        }
    }
}

fn listed(item: &Arc<Node>, cx: &mut Cx) -> Option<Listed> {
    let Some(id) = item.get("id") else {
        let start = item.span.start;
        let message = "an agent in a list needs the key `id`".into();
        cx.error(codes::MISSING_KEY, start..start + 1, message).help("add `id: NAME`");
        return None;
    };
    let id = At::read(id, cx)?;
    Some(Listed { id, node: item.clone() })
}

impl JsonSchema for AgentList {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "AgentList".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let agent = generator.subschema_for::<AgentFile>();
        json_schema!({"anyOf": [
            {"type": "object", "additionalProperties": agent},
            {"type": "array", "items": {"allOf": [agent], "required": ["id"]}}
        ]})
    }
}
