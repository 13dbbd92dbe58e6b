//! What the store holds, row by row, as it goes from a node to a command on another machine.
//!
//! A command that reads asks [`Views`]; on another machine each of its questions becomes an [`Ask`],
//! and the answer is the same row. So there is one way of showing things, whoever shows them. Absent
//! by intent: whatever changes something, secrets, and what only a node itself needs.

use moa_core::event::InstIx;
use moa_core::ids::{Name, RunId, VersionHash};
use moa_core::trigger::TriggerId;
use moa_ports::search::Search;
use moa_ports::store::{Snapshot, WorkflowVersion};
use moa_ports::triggers::{OccurrenceFilter, TriggerFilter};
use moa_ports::views::{RunFilter, Views};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::exit::{Exit, Failure, Result};

/// The number of this form. It grows with each change after which an older moa would misread a row.
pub const FORMAT: u32 = 4;
/// Rows with events of a history answered at once.
pub const COMMITS_MAX: usize = 200;
/// Events of those rows, about.
pub const EVENTS_MAX: usize = 5000;
/// Steps of a run answered at once.
pub const STEPS_MAX: usize = 2000;
/// Steps of a run answered at once, when they have to be of one moment.
pub const WHOLE_STEPS_MAX: usize = 20_000;
/// Bytes of what steps carry answered at once, about.
pub const STEPS_BYTES_MAX: usize = 8 << 20;
/// The same, when they have to be of one moment.
pub const WHOLE_STEPS_BYTES_MAX: usize = 24 << 20;
/// Other rows answered at once.
pub const ROWS_MAX: usize = 500;

/// A question, with the form in which its answer is understood.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// [`FORMAT`] of whoever asks.
    pub format: u32,
    /// What is asked.
    pub ask: Ask,
}

/// What can be asked; see the method of the same name of [`Views`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// Runs; at most [`ROWS_MAX`].
    Runs(RunFilter),
    /// Runs that hold a text; at most [`ROWS_MAX`].
    Search(Search),
    /// A run with a part of its steps, and whether there are more; at most [`STEPS_MAX`] of them, and
    /// about [`STEPS_BYTES_MAX`] bytes.
    RunPart {
        /// The run.
        run: RunId,
        /// Steps from this number on.
        from: InstIx,
        /// So many.
        limit: usize,
    },
    /// The same with its first steps, as they are at one moment; at most [`WHOLE_STEPS_MAX`] of them, and
    /// about [`WHOLE_STEPS_BYTES_MAX`] bytes. For a run that changes while its parts are read.
    Run(RunId),
    /// Steps of a run that wait for a person; at most [`ROWS_MAX`].
    Asking {
        /// The run.
        run: RunId,
        /// So many.
        limit: usize,
    },
    /// Runs by digits of their ids.
    FindRuns(String),
    /// The history of a run; at most [`COMMITS_MAX`] rows.
    History {
        /// The run.
        run: RunId,
        /// Behind this version.
        after: u64,
        /// So many rows.
        limit: usize,
    },
    /// The history of all runs; at most [`COMMITS_MAX`] rows and about [`EVENTS_MAX`] events.
    Events {
        /// Behind this event number.
        after: u64,
        /// So many rows.
        rows: usize,
        /// So many events.
        events: usize,
    },
    /// Who has heard of published events; of the first [`ROWS_MAX`] that are named.
    Heard(Vec<u64>),
    /// Where steps of a run stand; of the first [`ROWS_MAX`] that are named.
    Places {
        /// The run.
        run: RunId,
        /// Its steps.
        steps: Vec<InstIx>,
    },
    /// The newest event number.
    LastEvent,
    /// Versions of workflows, without their text and plan.
    Workflows(Option<Name>),
    /// A version with its text and plan.
    Workflow(VersionHash),
    /// What a run waits for.
    Pending(RunId),
    /// Triggers; at most [`ROWS_MAX`].
    Triggers(TriggerFilter),
    /// A trigger.
    Trigger(TriggerId),
    /// Occurrences of a trigger; at most [`ROWS_MAX`].
    Occurrences {
        /// The trigger.
        trigger: TriggerId,
        /// Which.
        filter: OccurrenceFilter,
    },
    /// Numbers for the whole store.
    Totals,
    /// How notifications stand, by channel.
    Channels,
    /// What has been used of agents' limits.
    Limits,
    /// The audit log; at most [`ROWS_MAX`] entries.
    Audit {
        /// Behind this entry.
        after: u64,
        /// So many entries.
        limit: usize,
    },
    /// The newest entry of the audit log.
    AuditHead,
    /// What the node is doing ([`crate::node::NodeStatus`]).
    Status,
    /// What agents do and did ([`crate::fleet::Fleet`]).
    Fleet,
    /// The attempts of an agent that ended in the newest commits ([`crate::activity::Ended`]).
    Ended(Name),
    /// What the node does beside its runs.
    Jobs,
    /// Until when the node holds missed slots back.
    HeldBack,
    /// What is wrong, open and past ([`moa_core::alert::Book`]).
    Alerts,
    /// What has been counted, and how targets look ([`crate::target::Production`]).
    Production,
    /// The files of the project ([`ProjectFile`]).
    Files,
}

/// A file of a project: what its definitions say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectFile {
    /// Relative to the project: `workflows/build.yaml`.
    pub path: String,
    /// What it holds; `None` = it can't be read, or isn't text.
    pub text: Option<String>,
}

impl Question {
    /// A question as this moa asks it.
    pub fn new(ask: Ask) -> Self {
        Self { format: FORMAT, ask }
    }

    /// Reads a question.
    ///
    /// # Errors
    /// It is asked in another form, by another version of moa; or it is none.
    pub fn read(text: Json) -> Result<Ask> {
        let format = text["format"].as_u64();
        if format.is_some_and(|format| format != u64::from(FORMAT)) {
            let format = format.unwrap_or_default();
            let text = format!(
                "this node (moa {}) answers such questions in form {FORMAT}, and not in form {format}",
                env!("CARGO_PKG_VERSION")
            );
            return Err(Failure::refused(text).hint("use the same version of moa on both sides"));
        }
        let question: Question = serde_json::from_value(text)
            .map_err(|e| Failure::usage(format!("this is no question: {e}")))?;
        Ok(question.ask)
    }
}

impl Ask {
    /// Whether the audit log is asked for.
    pub fn is_audit(&self) -> bool {
        matches!(self, Ask::Audit { .. } | Ask::AuditHead)
    }
}

/// Answers what the store knows; `None` = the node itself is asked.
///
/// # Errors
/// The store can't be read.
pub async fn answer(views: &dyn Views, ask: Ask) -> Result<Option<Json>> {
    let rows = |limit: usize| limit.min(ROWS_MAX);
    let commits = |limit: usize| limit.min(COMMITS_MAX);
    let answer = match ask {
        Ask::Runs(filter) => {
            let filter = RunFilter { limit: rows(filter.limit), ..filter };
            json(views.runs(&filter).await?)
        }
        Ask::Search(mut search) => {
            search.filter.limit = rows(search.filter.limit);
            json(views.search(&search).await?)
        }
        Ask::RunPart { run, from, limit } => {
            json(part(views, run, from, (limit.min(STEPS_MAX), STEPS_BYTES_MAX)).await?)
        }
        Ask::Run(run) => json(part(views, run, 0, (WHOLE_STEPS_MAX, WHOLE_STEPS_BYTES_MAX)).await?),
        Ask::Asking { run, limit } => json(views.asking(run, rows(limit)).await?),
        Ask::FindRuns(digits) => json(views.find_runs(&digits).await?),
        Ask::History { run, after, limit } => {
            json(views.history(run, after, commits(limit)).await?)
        }
        Ask::Events { after, rows, events } => {
            json(views.events(after, commits(rows), events.min(EVENTS_MAX)).await?)
        }
        Ask::Heard(published) => json(views.heard(&published[..rows(published.len())]).await?),
        Ask::Places { run, steps } => json(views.places(run, &steps[..rows(steps.len())]).await?),
        Ask::LastEvent => json(views.last_event().await?),
        Ask::Workflows(name) => {
            let bare =
                |v: WorkflowVersion| WorkflowVersion { source: "".into(), plan: "".into(), ..v };
            let versions = views.workflows(name.as_ref()).await?;
            json(versions.into_iter().map(bare).collect::<Vec<_>>())
        }
        Ask::Workflow(hash) => json(views.workflow(hash).await?),
        Ask::Pending(run) => json(views.pending(run).await?),
        Ask::Triggers(filter) => {
            let filter = TriggerFilter { limit: rows(filter.limit), ..filter };
            json(views.triggers(&filter).await?)
        }
        Ask::Trigger(id) => json(views.trigger(id).await?),
        Ask::Occurrences { trigger, filter } => {
            let filter = OccurrenceFilter { limit: rows(filter.limit), ..filter };
            json(views.occurrences(trigger, &filter).await?)
        }
        Ask::Totals => json(views.totals().await?),
        Ask::Channels => json(views.channels().await?),
        Ask::Limits => json(views.limits().await?),
        Ask::Audit { after, limit } => json(views.audit(after, rows(limit)).await?),
        Ask::AuditHead => json(views.audit_head().await?),
        Ask::Status
        | Ask::Fleet
        | Ask::Ended(_)
        | Ask::Jobs
        | Ask::HeldBack
        | Ask::Alerts
        | Ask::Production
        | Ask::Files => {
            return Ok(None);
        }
    };
    answer.map(Some)
}

/// A run with a part of its steps, and whether there are more.
async fn part(
    views: &dyn Views,
    run: RunId,
    from: InstIx,
    (limit, bytes): (usize, usize),
) -> Result<Option<(Snapshot, bool)>> {
    let Some(part) = views.run_within(run, from, limit, bytes).await? else { return Ok(None) };
    let Some(last) = part.steps.last() else { return Ok(Some((part, false))) };
    // One that comes meanwhile belongs to another version of the run, which is noticed.
    let next = views.run_part(run, last.inst.saturating_add(1), 1).await?;
    let more = next.is_some_and(|next| !next.steps.is_empty());
    Ok(Some((part, more)))
}

/// An answer as it is sent.
///
/// # Errors
/// It can't be written as JSON; a fault of moa.
pub fn json(answer: impl Serialize) -> Result<Json> {
    serde_json::to_value(answer)
        .map_err(|e| Failure::new(Exit::Failed, format!("an answer can't be written as JSON: {e}")))
}
