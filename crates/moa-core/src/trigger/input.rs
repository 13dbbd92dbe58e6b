//! What can happen to a trigger from outside.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::record::Outcome;
use super::spec::TriggerSpec;
use super::state::Backfill;
use crate::ids::{Name, RunId};
use crate::machine::Emitted;
use crate::run::RunStatus;
use crate::schedule::{Overlap, Reprocess};
use crate::time::Millis;
use crate::workflow::Priority;

/// An input to the trigger machine. Every one may arrive twice, or late.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "happens", rename_all = "snake_case")]
pub enum TriggerInput {
    /// Its definition, new or edited.
    Put {
        /// What it says from now on.
        spec: Arc<TriggerSpec>,
    },
    /// Its definition is gone.
    Remove,
    /// Of a rule: whether the project has no such workflow any more.
    Orphaned {
        /// It hasn't.
        gone: bool,
    },
    /// The instant that it asked for has come.
    Due,
    /// A run of a workflow that it listens to came to be.
    RunStarted {
        /// The run.
        run: RunId,
        /// Its workflow.
        workflow: Name,
        /// The slot that started it, if one did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        slot: Option<Millis>,
        /// When.
        at: Millis,
    },
    /// A run of a workflow that it listens to ended.
    RunEnded {
        /// The run.
        run: RunId,
        /// Its workflow.
        workflow: Name,
        /// How.
        status: RunStatus,
        /// When.
        at: Millis,
        /// Its output, if it isn't long.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<Arc<Json>>,
    },
    /// A run that it started ended.
    Ended {
        /// The run.
        run: RunId,
        /// How.
        status: RunStatus,
        /// When.
        at: Millis,
        /// Digest of its output.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<u64>,
    },
    /// A run that it wanted could not be started.
    NotStarted {
        /// The run.
        run: RunId,
        /// Whether the workflow's own limit says skip; else it is a failure.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        limit: bool,
        /// Why, for people.
        reason: String,
    },
    /// An event of the type that it listens to.
    Event {
        /// The event.
        event: Arc<Emitted>,
        /// When it was emitted.
        at: Millis,
    },
    /// Something that a part of moa outside the engine found.
    Occurred {
        /// Its name: the same key is the same occurrence.
        key: String,
        /// What is known of it.
        data: Arc<Json>,
    },
    /// A person wants something.
    Command(TriggerCommand),
}

/// What a person wants of a trigger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum TriggerCommand {
    /// Start nothing until `Resume`.
    Pause {
        /// Who.
        by: String,
        /// Why, for people.
        reason: String,
    },
    /// Start runs again; what happened meanwhile is not made up for.
    Resume,
    /// Start a run now.
    Start {
        /// The caller's name for it; the same key is the same start.
        key: String,
        /// Who asks, for people.
        by: String,
        /// Params, beside those of the trigger.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        params: Option<Arc<Json>>,
        /// What happens while a run is going on, when not what the trigger says.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        overlap: Option<Overlap>,
        /// Priority, when not the trigger's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        priority: Option<Priority>,
    },
    /// Start the slots of a range.
    Backfill(BackfillRequest),
    /// Start no further slot of a backfill; runs go on.
    CancelBackfill {
        /// Its number; `None` = all that go on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        number: Option<u32>,
    },
}

/// A range of slots to be started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackfillRequest {
    /// The caller's name for it; the same key is the same backfill.
    pub key: String,
    /// The first instant of the range.
    pub from: Millis,
    /// The end of the range, not in it.
    pub to: Millis,
    /// From the newest slot to the oldest.
    #[serde(default)]
    pub reverse: bool,
    /// Runs at once.
    pub at_once: u32,
    /// Which slots that have had a run get another one.
    #[serde(default)]
    pub reprocess: Reprocess,
    /// Priority of the runs; low when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// Whether slots are started too that may have had a run which nobody remembers. Whoever passes a
    /// request on refuses one that has such slots and doesn't say so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forgotten: bool,
    /// Who asks, for people.
    pub by: String,
}

/// What somebody who asked is told.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum TriggerAnswer {
    /// It is done.
    #[default]
    Done,
    /// It was so already.
    Unchanged,
    /// Nothing is decided or kept: as many wait as may. Whoever found it tells it again later.
    Later,
    /// An occurrence was decided about.
    Decided {
        /// What became of it.
        outcome: Outcome,
        /// The run that it started, now or before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        run: Option<RunId>,
        /// Why it is so, for people.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A backfill goes on.
    Backfill(Backfill),
}
