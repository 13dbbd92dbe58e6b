//! What a trigger says: what it reacts to, and what then happens. Data, made from a workflow's
//! definition.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::id::TriggerId;
use crate::expr::Program;
use crate::ids::Name;
use crate::run::RunStatus;
use crate::schedule::{Calendars, Overlap, Revision, Schedule};
use crate::template::Template;
use crate::time::Span;
use crate::workflow::Priority;

/// A trigger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TriggerSpec {
    /// The workflow whose runs it starts.
    pub workflow: Name,
    /// Its name among the workflow's triggers; of a rule, among the project's rules.
    pub name: Name,
    /// Whether it is a rule: no file of the project says it, the store alone does.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rule: bool,
    /// What it reacts to.
    pub source: Source,
    /// Whether it may start runs; one that may not records what it would have reacted to.
    pub enabled: bool,
    /// What happens to an occurrence while a run of the trigger is going on.
    pub overlap: Overlap,
    /// An occurrence that is this late isn't started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_lateness: Option<Span>,
    /// Paused after so many failed runs in a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_after: Option<u32>,
    /// How occurrences are collected to one run; else each one starts a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collect: Option<Collect>,
    /// What pauses it before it does harm.
    #[serde(default, skip_serializing_if = "Guard::is_none")]
    pub guard: Guard,
    /// Priority of its runs, when not the workflow's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// Params of its runs; expressions over the occurrence: `slot` or `event`.
    #[serde(default, skip_serializing_if = "is_bare")]
    pub params: Template,
}

fn is_bare(params: &Template) -> bool {
    params.source().is_null()
}

/// How occurrences are collected to one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collect {
    /// The run is started when so long nothing further has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet: Option<Span>,
    /// It is started at the latest so long after the first one.
    pub within: Span,
    /// It is started as soon as there are so many.
    pub max: u32,
}

/// What pauses a trigger before it does harm.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guard {
    /// More runs than so many within that time. What a person asks for doesn't count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts: Option<(u32, Span)>,
    /// So many runs in a row that succeed with the output of the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_progress: Option<u32>,
}

impl Guard {
    fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// What a trigger reacts to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Source {
    /// The clock.
    Schedule(Box<ScheduleSource>),
    /// The ends of runs of other workflows.
    Runs {
        /// Which.
        of: Vec<Dependency>,
        /// Whether each of them has to end before one run is started; else every end starts one.
        all: bool,
    },
    /// Events, wherever they are emitted.
    Event {
        /// Their type.
        event: String,
        /// Expression over `event` (`type`, `data`, `source`); others are passed over.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        matches: Option<Program>,
    },
    /// What a part of moa outside the engine finds: files, calls from outside.
    Outside {
        /// Which part.
        by: String,
        /// What it looks at, in its own words.
        #[serde(default)]
        settings: Json,
    },
}

/// A schedule with all that it refers to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScheduleSource {
    /// When it is due.
    pub schedule: Schedule,
    /// The calendars that it names.
    #[serde(default)]
    pub calendars: Calendars,
    /// Workflows whose latest cycle must have ended first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<Dependency>,
}

/// A workflow whose runs are waited for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dependency {
    /// The workflow.
    pub workflow: Name,
    /// How its runs have to end.
    #[serde(default)]
    pub status: EndStatus,
    /// Its own schedules, as far as they are known: they say which cycle is the latest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cycles: Vec<Cycles>,
}

/// A schedule of a workflow that is waited for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cycles {
    /// When it is due.
    pub schedule: Schedule,
    /// The calendars that it names.
    #[serde(default)]
    pub calendars: Calendars,
}

/// How a run has to end to count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndStatus {
    /// All went well.
    #[default]
    Success,
    /// It failed.
    Failed,
    /// Any way.
    Ended,
}

impl EndStatus {
    /// Whether a run that ended so counts.
    pub fn fits(self, status: RunStatus) -> bool {
        match self {
            Self::Success => status == RunStatus::Succeeded,
            Self::Failed => status == RunStatus::Failed,
            Self::Ended => status.is_terminal(),
        }
    }

    /// Its name, as everywhere outside.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Ended => "ended",
        }
    }
}

impl TriggerSpec {
    /// Its id.
    pub fn id(&self) -> TriggerId {
        match self.rule {
            true => TriggerId::of_rule(&self.name),
            false => TriggerId::of(&self.workflow, &self.name),
        }
    }

    /// What people call it: `WORKFLOW/NAME`, or `rule:NAME`.
    pub fn title(&self) -> String {
        match self.rule {
            true => self.label(),
            false => format!("{}/{}", self.workflow, self.name),
        }
    }

    /// Its name among all triggers that start runs of its workflow: `NAME`, or `rule:NAME`, which is
    /// no name that a file can give.
    pub fn label(&self) -> String {
        match self.rule {
            true => format!("rule:{}", self.name),
            false => self.name.to_string(),
        }
    }

    /// The schedule, if it is one.
    pub fn schedule(&self) -> Option<&ScheduleSource> {
        match &self.source {
            Source::Schedule(source) => Some(source),
            _ => None,
        }
    }

    /// The identity of what it says: changes when anything but `enabled` does, also when something
    /// that it refers to (a calendar, another workflow's schedule) does.
    pub fn revision(&self) -> Revision {
        let mut spec = self.clone();
        spec.enabled = true;
        if let Source::Schedule(source) = &mut spec.source {
            source.schedule.enabled = true;
        }
        // Invariant: a spec holds only what JSON has; serialising to memory can't fail. Maps are
        // in the order of their keys, since there is no other order in it.
        let text = serde_json::to_string(&spec).expect("a trigger is JSON");
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&blake3::hash(text.as_bytes()).as_bytes()[..8]);
        Revision(u64::from_be_bytes(bytes))
    }

    /// The topics of the messages that it has to get. See [`topic_of_ends`] and its like.
    pub fn topics(&self) -> Vec<String> {
        let mut topics = match &self.source {
            Source::Schedule(source) => {
                let names = source.after.iter().map(|d| &d.workflow);
                names.flat_map(|name| [topic_of_starts(name), topic_of_ends(name)]).collect()
            }
            Source::Runs { of, .. } => of.iter().map(|d| topic_of_ends(&d.workflow)).collect(),
            Source::Event { event, .. } => vec![topic_of_event(event)],
            Source::Outside { .. } => Vec::new(),
        };
        topics.sort_unstable();
        topics.dedup();
        topics
    }
}

/// The topic of runs of a workflow that come to be.
pub fn topic_of_starts(workflow: &Name) -> String {
    format!("started:{workflow}")
}

/// The topic of runs of a workflow that end.
pub fn topic_of_ends(workflow: &Name) -> String {
    format!("ended:{workflow}")
}

/// How types of events begin that are moa's own: what a webhook received, whose sender is known by its
/// signature, and what happens to runs. Nobody else publishes or emits them.
pub const OWN_EVENTS: [&str; 2] = ["webhook.", "moa."];

/// Whether events of a type are moa's own.
pub fn is_own_event(kind: &str) -> bool {
    OWN_EVENTS.iter().any(|start| kind.starts_with(start))
}

/// The topic of events of a type.
pub fn topic_of_event(event: &str) -> String {
    format!("event:{event}")
}
