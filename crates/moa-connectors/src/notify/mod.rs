//! The built-in agent `notify`, action `send`: tells people something, over a channel.
//!
//! Params: `channel`, `message` (or `text`), and if wanted `title`, `level`, `key` (the same key is
//! the same notification) and `about` (what it is about, for programs). Channels are declared in the
//! project's settings; one that isn't is the file `notifications/NAME.jsonl`, unless it is called as
//! those of webhooks are: what was for one of these is for nobody else, and given up.
//!
//! A notification has the same key at each try, so that whoever gets it twice can tell. What a
//! receiver refuses for good is permanent; what may pass (429, 5xx, 4yz of SMTP, a connection that
//! breaks, a receiver that doesn't answer) is tried again, as the step's retry policy says, and not
//! before a `Retry-After`. A kind of channel is a file here that implements [`Deliver`], and a line in
//! [`Channel::kind`].

mod file;
mod mail;
mod off;
mod post;
mod slack;
mod text;
mod webhook;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use moa_core::ids::{Name, RunId};
use moa_core::time::{Millis, Span};
use moa_core::workflow::NOTIFY_WORKFLOW;
use moa_ports::agent::{Agent, Output, Secrets, Stream, Task, TaskCtx, TaskError};
use serde_json::{Value as Json, json};
use zeroize::Zeroizing;

pub use file::append_once;
pub use mail::{Mail, MailTls};
pub use off::Off;
pub use slack::Slack;
pub use webhook::Webhook;

use crate::http::HttpClient;
use crate::prepare::{now, text_of};
use crate::redact::Redactor;

/// How the channels of webhooks are called.
pub const WEBHOOKS: &str = "webhook-";
/// How long a webhook is away at most for one that comes back: editors empty a file before they write
/// it.
const AWAY_MAX: Span = Span::minutes(1);

/// The notification channels of a project, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Channels {
    /// Channels that are declared; any other name is the file `notifications/<name>.jsonl`, and
    /// nothing if it begins with [`WEBHOOKS`].
    pub declared: BTreeMap<Name, Channel>,
}

/// The channels, shared by all that ask for them: others can take their place. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct SharedChannels(Arc<RwLock<Shared>>);

#[derive(Debug, Default)]
struct Shared {
    channels: Channels,
    /// Since when those of webhooks are away that were taken away not long ago.
    away: BTreeMap<Name, Millis>,
}

impl Shared {
    fn replace(&mut self, channels: Channels, at: Millis) {
        let before = std::mem::replace(&mut self.channels, channels).declared;
        let webhooks = before.into_keys().filter(|name| name.as_str().starts_with(WEBHOOKS));
        self.away.retain(|_, since| is_away(*since, at));
        self.away.extend(webhooks.map(|name| (name, at)));
        self.away.retain(|name, _| !self.channels.declared.contains_key(name));
    }

    fn channel(&self, name: &Name, at: Millis) -> Channel {
        let may_return = self.away.get(name).is_some_and(|since| is_away(*since, at));
        match self.channels.declared.get(name) {
            Some(channel) => channel.clone(),
            None if name.as_str().starts_with(WEBHOOKS) => {
                let why = "there is no such webhook any more: name it in moa.yaml";
                Channel::Off(Off { why: why.to_owned(), may_return })
            }
            None => Channel::File(format!("notifications/{name}.jsonl").into()),
        }
    }
}

/// Whether what is away since then may still come back.
fn is_away(since: Millis, at: Millis) -> bool {
    since <= at && at < since.after(AWAY_MAX)
}

impl SharedChannels {
    /// Puts others in their place. Calls that are being made go on as they were begun.
    pub fn replace(&self, channels: Channels) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).replace(channels, now());
    }

    fn channel(&self, name: &Name) -> Channel {
        self.0.read().unwrap_or_else(PoisonError::into_inner).channel(name, now())
    }
}

impl From<Channels> for SharedChannels {
    fn from(channels: Channels) -> Self {
        Self(Arc::new(RwLock::new(Shared { channels, ..Shared::default() })))
    }
}

/// Where notifications go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Channel {
    /// A file beneath the project's folder, to which lines of JSON are appended.
    File(PathBuf),
    /// An incoming webhook of Slack.
    Slack(Slack),
    /// Mail.
    Mail(Box<Mail>),
    /// A POST with JSON.
    Webhook(Webhook),
    /// Nowhere: each notification is refused.
    Off(Off),
}

/// A text of the settings, or the name of a secret that is looked up whenever it is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Secretive {
    /// A text.
    Plain(String),
    /// The secret of this name.
    Secret(Name),
}

impl Channel {
    /// What delivers to it.
    fn kind(&self) -> &dyn Deliver {
        match self {
            Self::File(path) => path,
            Self::Slack(slack) => slack,
            Self::Mail(mail) => &**mail,
            Self::Webhook(webhook) => webhook,
            Self::Off(off) => off,
        }
    }
}

/// A kind of channel.
#[async_trait]
trait Deliver: Send + Sync {
    /// Delivers once; answers what is to be said of where it went. Errors may hold secrets: whoever
    /// calls takes them out.
    async fn deliver(&self, note: &Note, tools: &Tools) -> Result<Json, TaskError>;
}

/// What kinds of channels have at hand.
struct Tools {
    client: HttpClient,
    secrets: Arc<dyn Secrets>,
    project_dir: Arc<PathBuf>,
    files: Arc<file::Files>,
    /// The header `traceparent` of what is sent, where there are traces.
    trace: Option<String>,
    /// Secrets that were used, so that they are in nothing that is said.
    used: std::sync::Mutex<Vec<Zeroizing<String>>>,
}

impl Tools {
    /// The text, or the secret that stands for it.
    fn reveal(&self, text: &Secretive) -> Result<String, TaskError> {
        match text {
            Secretive::Plain(text) => Ok(text.clone()),
            Secretive::Secret(name) => {
                let secret = self.secrets.get(name.as_str()).ok_or_else(|| {
                    let why = "set it where the project's secrets are set";
                    TaskError::Permanent(format!("there is no secret `{name}`; {why}"))
                })?;
                if let Ok(mut used) = self.used.lock() {
                    used.push(secret.clone());
                }
                Ok(secret.trim().to_owned())
            }
        }
    }

    fn redactor(&self) -> Redactor {
        let used = self.used.lock().map(|used| used.clone()).unwrap_or_default();
        Redactor::new(used.iter().map(|secret| secret.as_str()))
    }
}

/// What people are told.
struct Note {
    /// The same at each try.
    key: String,
    time: Millis,
    channel: Name,
    title: Option<String>,
    level: Option<String>,
    message: String,
    /// What is said of the run, unless it is there for the notification alone.
    of: Option<(RunId, Name, String)>,
    about: Option<Json>,
}

impl Note {
    /// The notification of a task.
    fn of(params: &Json, task: &Task) -> Result<Self, String> {
        let text = |name: &str| match params.get(name) {
            None | Some(Json::Null) => None,
            Some(value) => Some(text_of(value.clone())),
        };
        let channel = text("channel").ok_or("a notification needs a `channel`")?;
        let channel = Name::new(&channel).map_err(|e| format!("channel {channel:?}: {e}"))?;
        let known = ["channel", "message", "text", "title", "level", "key", "about"];
        let unknown =
            params.as_object().and_then(|p| p.keys().find(|k| !known.contains(&k.as_str())));
        if let Some(unknown) = unknown {
            return Err(format!(
                "a notification has no param `{unknown}`; it has `channel`, `message`, `title`, \
                 `level`, `key`, `about`"
            ));
        }
        // Its runs are not what people are told about, so they are not named in what people get.
        let internal = task.workflow.as_str() == NOTIFY_WORKFLOW;
        // `notify: slack` alone says that something happened; what, is told by run and step.
        let default = || format!("{}: {}", task.workflow, task.step);
        let born = Millis(i64::try_from(task.run.0 >> 80).unwrap_or_default());
        Ok(Self {
            key: text("key").unwrap_or_else(|| task.idempotency_key.clone()),
            time: if internal { born } else { now() },
            channel,
            title: text("title").filter(|title| !title.is_empty()),
            level: text("level").filter(|level| !level.is_empty()),
            message: text("message").or_else(|| text("text")).unwrap_or_else(default),
            of: (!internal).then(|| (task.run, task.workflow.clone(), task.step.clone())),
            about: params.get("about").filter(|about| !about.is_null()).cloned(),
        })
    }

    /// For programs.
    fn document(&self) -> Json {
        let mut document = json!({ "time": self.time.to_string() });
        if let Some((run, workflow, step)) = &self.of {
            document["run"] = run.to_string().into();
            document["workflow"] = workflow.as_str().into();
            document["step"] = step.as_str().into();
        }
        document["channel"] = self.channel.as_str().into();
        document["message"] = self.message.as_str().into();
        for (name, value) in [("title", &self.title), ("level", &self.level)] {
            if let Some(value) = value {
                document[name] = value.as_str().into();
            }
        }
        if let Some(about) = &self.about {
            document["about"] = about.clone();
        }
        document
    }

    /// One line that says what it is, for people.
    fn headline(&self) -> String {
        let title = self.title.as_deref().unwrap_or(&self.message);
        let level = self.level.as_ref().map(|level| format!("[{level}] ")).unwrap_or_default();
        text::one_line(&format!("{level}{title}"))
    }

    /// Where it comes from, for people.
    fn origin(&self) -> String {
        let of =
            self.of.as_ref().map(|(run, flow, step)| format!("{flow}, step {step}, run {run}"));
        text::one_line(&of.unwrap_or_else(|| format!("moa, {}", self.time)))
    }
}

/// The agent.
pub(crate) struct Notify {
    channels: SharedChannels,
    client: HttpClient,
    secrets: Arc<dyn Secrets>,
    files: Arc<file::Files>,
}

impl Notify {
    pub fn new(channels: SharedChannels, client: HttpClient, secrets: Arc<dyn Secrets>) -> Self {
        Self { channels, client, secrets, files: Arc::default() }
    }
}

#[async_trait]
impl Agent for Notify {
    async fn run(&self, ctx: TaskCtx, task: Arc<Task>) -> Result<Output, TaskError> {
        if task.action != "send" {
            let why = format!("agent `notify` has no action `{}`; it has: send", task.action);
            return Err(TaskError::Permanent(why));
        }
        let note = Note::of(&ctx.params, &task).map_err(TaskError::Permanent)?;
        let tools = Tools {
            client: self.client.clone(),
            secrets: self.secrets.clone(),
            project_dir: ctx.project_dir.clone(),
            files: self.files.clone(),
            trace: ctx.traced.and_then(|share| task.trace_parent(share)),
            used: Default::default(),
        };
        let channel = self.channels.channel(&note.channel);
        let delivered = tokio::select! {
            biased;
            () = ctx.cancelled.cancelled() => {
                Err(TaskError::Unknown("it was stopped before the receiver had answered".into()))
            }
            delivered = channel.kind().deliver(&note, &tools) => delivered,
        };
        let redactor = tools.redactor();
        match delivered {
            Ok(mut to) => {
                redactor.json(&mut to);
                let mut sent = json!({ "channel": note.channel });
                if let (Some(sent), Json::Object(to)) = (sent.as_object_mut(), to) {
                    sent.extend(to);
                }
                Ok(Output { value: Some(Arc::new(sent)) })
            }
            Err(error) => {
                let error = said(error, &note.channel, &redactor);
                ctx.log.write(Stream::Stderr, format!("{error}\n").as_bytes());
                Err(error)
            }
        }
    }
}

/// What stands before each error of a channel.
fn before(channel: &Name) -> String {
    format!("channel `{channel}`: ")
}

/// Whether the error of a delivery over a channel says that its receiver is gone for good, and wants
/// no more calls: it answered 410.
pub fn is_gone(channel: &Name, error: &str) -> bool {
    error.strip_prefix(&before(channel)).is_some_and(post::is_gone)
}

/// The error, with the channel's name and without secrets.
fn said(error: TaskError, channel: &Name, redactor: &Redactor) -> TaskError {
    let say = |why: String| format!("{}{}", before(channel), redactor.text(&why));
    match error {
        TaskError::Permanent(why) => TaskError::Permanent(say(why)),
        TaskError::RateLimited { message, after } => {
            TaskError::RateLimited { message: say(message), after }
        }
        TaskError::Unknown(why) => TaskError::Unknown(say(why)),
        other => TaskError::Retryable(say(other.to_string())),
    }
}
