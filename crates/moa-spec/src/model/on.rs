//! `on:` and `after:` of a workflow, key by key. What the keys mean together is checked in `lower`.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use globset::GlobBuilder;
use moa_core::limits::KEY_LENGTH_MAX;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use super::PriorityText;
use super::notify::Secretive;
use super::schedule::{OverlapText, ScheduleFailureFile};
use crate::codes;
use crate::read::{At, Cx, Field};
use crate::scalar::{Duration, Expr, NameText, Raw, Short, Tmpl};
use crate::yaml::{Data, Node};
use crate::{choice, record};

record! {
    /// What starts runs: exactly one of `workflow`, `event`, `file`, `webhook`.
    pub struct OnFile as "an entry of `on`" {
        /// Its name among the workflow's triggers. Without it: `on_` and its position, from 1.
        id: Option<At<NameText>>,
        /// Whether it may start runs.
        enabled: Option<At<bool>>,
        /// Each end of a run of this workflow starts one.
        workflow: Option<At<NameText>>,
        /// How that run has to end; `success` when not given.
        status: Option<At<EndText>>,
        /// Each event of this type starts one.
        event: Option<At<EventText>>,
        /// Expression over `event`: others are passed over. Of `event` and `webhook`.
        r#match: Option<Expr>,
        /// Each file that comes to match this pattern, beneath the project's folder, starts one.
        file: Option<At<GlobText>>,
        /// A file counts once it has not changed for so long; `2s` when not given.
        stable: Option<At<Duration>>,
        /// Whether a file that changes starts a run again.
        changes: Option<At<bool>>,
        /// A mailbox.
        mail: Option<Raw>,
        /// Each webhook that comes to `/hooks/WORKFLOW/ID` starts one.
        webhook: Option<HookFile>,
        /// What happens while a run of it is going on; `allow` when not given.
        overlap: Option<At<OverlapText>>,
        /// What waited for so long isn't started.
        max_lateness: Option<At<Duration>>,
        /// Priority of its runs, when not the workflow's.
        priority: Option<At<PriorityText>>,
        /// What happens when its runs fail.
        on_failure: Option<ScheduleFailureFile>,
        /// One run for all that comes in a burst, once nothing has come for so long.
        debounce: Option<Short<At<Duration>, DebounceFile>>,
        /// One run for so many, or for all that comes within a time.
        batch: Option<Short<At<u32>, BatchFile>>,
        /// What pauses it before it does harm.
        guard: Option<Short<At<Off>, GuardFile>>,
        /// Params of its runs; expressions over `event`, and `events` of those that share a run.
        params: Option<Tmpl>,
    }

    /// How a webhook shows who sends it.
    pub struct HookFile as "`webhook`" {
        /// How it is signed; `standard` when not given.
        signature: Option<At<SignatureText>>,
        /// What it is signed with: `${{ secrets.NAME }}`.
        secret: Option<At<Secretive>>,
        /// How old it may be, by the time that is signed; `5m` when not given.
        tolerance: Option<At<Duration>>,
    }

    /// One run for all that comes in a burst.
    pub struct DebounceFile as "`debounce`" {
        /// The run starts once nothing has come for so long.
        quiet: Option<At<Duration>>,
        /// It starts at the latest so long after the first; ten times `quiet` when not given.
        max_wait: Option<At<Duration>>,
    }

    /// One run for many.
    pub struct BatchFile as "`batch`" {
        /// The run starts as soon as there are so many; 100 when not given.
        max: Option<At<u32>>,
        /// It starts at the latest so long after the first; `1m` when not given.
        within: Option<At<Duration>>,
    }

    /// What pauses a trigger before it does harm.
    pub struct GuardFile as "`guard`" {
        /// It is paused when it would start more runs than so many within `within`.
        starts: Option<At<u32>>,
        /// See `starts`; `1h` when not given.
        within: Option<At<Duration>>,
        /// It is paused after so many runs in a row that give the same output as the one before.
        no_progress: Option<At<u32>>,
    }

    /// A workflow whose runs are waited for.
    pub struct AfterFile as "an entry of `after`" {
        /// The workflow.
        workflow: Option<At<NameText>>,
        /// How its run has to end; `success` when not given.
        status: Option<At<EndText>>,
    }
}

choice! {
    /// How a webhook is signed.
    pub enum SignatureText as "a way to sign webhooks" {
        /// As Standard Webhooks are.
        Standard = "standard",
        /// As GitHub does it, and Gitea and Forgejo.
        Github = "github",
        /// As Slack does it.
        Slack = "slack",
        /// Not at all: whoever reaches the address starts runs.
        None = "none",
    }

    /// How a run has to end to count.
    pub enum EndText as "a way to end" {
        /// All went well.
        Success = "success" | "succeeded",
        /// It failed.
        Failed = "failed",
        /// Any way.
        Ended = "ended",
    }
}

/// The type of an event.
#[derive(Debug, Clone, PartialEq)]
pub struct EventText(pub String);

/// A pattern of paths beneath the project's folder.
#[derive(Debug, Clone, PartialEq)]
pub struct GlobText(pub String);

/// The text `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Off;

impl Field for EventText {
    fn read(node: &Arc<Node>, cx: &mut Cx) -> Option<Self> {
        let text = cx.str(node, "the type of an event such as order.paid")?;
        if text.is_empty() || text.len() > KEY_LENGTH_MAX {
            let message = format!("the type of an event has 1 to {KEY_LENGTH_MAX} bytes");
            cx.error(codes::WRONG_VALUE, node.span.clone(), message);
            return None;
        }
        Some(Self(text.to_owned()))
    }
}

impl Field for GlobText {
    fn read(node: &Arc<Node>, cx: &mut Cx) -> Option<Self> {
        let text = cx.str(node, "a pattern of files such as inbox/*.md")?.to_owned();
        let bad = |cx: &mut Cx, cause: String| {
            let d = cx.error(
                codes::BAD_PATTERN,
                node.span.clone(),
                format!("{text:?} is no pattern of files"),
            );
            d.cause(cause);
            d.help("write a path beneath the project's folder, with `*`, `**`, `?` or `{a,b}`: inbox/*.md");
        };
        if text.is_empty() || text.len() > KEY_LENGTH_MAX {
            bad(cx, format!("it has to have 1 to {KEY_LENGTH_MAX} bytes"));
            return None;
        }
        let outside = |part: &str| part == "..";
        if text.starts_with('/') || text.split('/').any(outside) {
            bad(cx, "files outside of the project are not watched".into());
            return None;
        }
        if text.split('/').next() == Some(".moa") {
            bad(cx, "`.moa` holds moa's own files".into());
            return None;
        }
        match GlobBuilder::new(&text).literal_separator(true).build() {
            Ok(_) => Some(Self(text)),
            Err(e) => {
                bad(cx, e.kind().to_string());
                None
            }
        }
    }
}

impl Field for Off {
    fn read(node: &Arc<Node>, cx: &mut Cx) -> Option<Self> {
        // YAML 1.2 has no other words for `false`.
        if matches!(&node.data, Data::Text(text) if text == "off") {
            return Some(Self);
        }
        let d = cx.wrong_type(node, "`off`, or a mapping");
        d.help("write {starts: 1000, within: 1h}, or off");
        None
    }
}

impl fmt::Display for EventText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Display for GlobText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Display for Off {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("off")
    }
}

macro_rules! text {
    ($type:ty, $name:literal, $schema:tt) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

text!(EventText, "EventType", {
    "type": "string",
    "minLength": 1,
    "maxLength": (KEY_LENGTH_MAX),
    "examples": ["order.paid", "trigger.paused"]
});
text!(GlobText, "FilePattern", {
    "type": "string",
    "minLength": 1,
    "maxLength": (KEY_LENGTH_MAX),
    "examples": ["inbox/*.md", "data/**/*.csv"]
});
text!(Off, "Off", {"const": "off"});
