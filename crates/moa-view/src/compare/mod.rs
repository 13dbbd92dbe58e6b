//! Two runs beside each other: what differs between them, for people and programs.
//!
//! Steps are matched by their names, so runs of different versions can be compared. The other run is
//! on the left and the run itself on the right, as an older and a newer text stand in a diff. How
//! long something took is told and makes no difference; when it happened, and which node did it,
//! isn't looked at.

pub mod lines;
mod values;

use std::collections::BTreeMap;

use moa_core::machine::Run;
use moa_core::run::StepRow;
use moa_core::step::{StepError, StepStatus};
use moa_core::time::Millis;
use serde::Serialize;
use serde_json::{Value as Json, json};

use self::values::Gathered;
pub use self::values::{CHANGES_MAX, Change};
use crate::attempts::{rfc3339, rfc3339_option};
use crate::exit::Result;
use crate::reader::Reader;
use crate::summary::input;
use moa_core::ids::{Name, RunId, VersionHash};
use moa_core::run::RunStatus;
use moa_ports::views::RunFilter;

/// Steps that are told at most.
const STEPS_MAX: usize = 2000;

/// Two runs.
#[derive(Debug, Serialize)]
pub struct Comparison {
    /// The other run; `None` = there is none to compare with.
    pub left: Option<RunSide>,
    /// The run.
    pub right: RunSide,
    /// Whether nothing differs.
    pub equal: bool,
    /// What differs: the runs' own values first, then their steps.
    pub changes: Vec<Change>,
    /// Changes that are not among them, because there are too many.
    pub left_out: usize,
    /// The steps of both: those that differ first.
    pub steps: Vec<StepPair>,
    /// Steps that are not among them, because there are too many.
    pub steps_left_out: usize,
    /// The runs' own values that differ, whole.
    #[serde(skip)]
    pub parts: Vec<Part>,
}

/// One of the runs.
#[derive(Debug, Serialize)]
pub struct RunSide {
    /// Its id.
    pub run: RunId,
    /// Its workflow.
    pub workflow: Name,
    /// The author's label of its version.
    pub workflow_version: Option<String>,
    /// Its version.
    pub hash: VersionHash,
    /// Its status.
    pub status: RunStatus,
    /// When it was made.
    #[serde(serialize_with = "rfc3339")]
    pub created_at: Millis,
    /// When it started.
    #[serde(serialize_with = "rfc3339_option")]
    pub started_at: Option<Millis>,
    /// When it ended.
    #[serde(serialize_with = "rfc3339_option")]
    pub finished_at: Option<Millis>,
    /// How long it took.
    pub duration_ms: Option<u64>,
}

/// A step of both runs, or of one.
#[derive(Debug, Serialize)]
pub struct StepPair {
    /// Its name: `lint[2]` is one iteration.
    pub step: String,
    /// Whether anything but its duration differs.
    pub differs: bool,
    /// In the other run; `None` = that has no such step.
    pub left: Option<StepSide>,
    /// In the run; `None` = it has no such step.
    pub right: Option<StepSide>,
    /// What it was given, what it put out and why it failed, where that differs, whole.
    #[serde(skip)]
    pub parts: Vec<Part>,
}

/// A step of one of the runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepSide {
    /// Its status.
    pub status: StepStatus,
    /// What it waits for, or why it was skipped.
    pub reason: Option<&'static str>,
    /// Attempts that were started.
    pub attempts: u32,
    /// When its first attempt started.
    #[serde(serialize_with = "rfc3339_option")]
    pub started_at: Option<Millis>,
    /// When it ended.
    #[serde(serialize_with = "rfc3339_option")]
    pub finished_at: Option<Millis>,
    /// How long it took.
    pub duration_ms: Option<u64>,
}

/// A value that differs; `None` = that run has none.
#[derive(Debug)]
pub struct Part {
    /// What it is: `params`, `input`, `output`, `error`.
    pub name: &'static str,
    /// In the other run.
    pub left: Option<Json>,
    /// In the run.
    pub right: Option<Json>,
}

impl Comparison {
    /// What differs between another run and this one.
    pub fn new(left: Option<&Run>, right: &Run) -> Self {
        let mut gathered = Gathered::default();
        let mut parts = Vec::new();
        let mut steps = Vec::new();
        if let Some(left) = left {
            run_parts(left, right, &mut gathered, &mut parts);
            steps = pairs(left, right, &mut gathered);
        }
        // Stable: in the order of the workflow otherwise.
        steps.sort_by_key(|pair| !pair.differs);
        let steps_left_out = steps.len().saturating_sub(STEPS_MAX);
        steps.truncate(STEPS_MAX);
        Self {
            left: left.map(RunSide::new),
            right: RunSide::new(right),
            equal: gathered.is_empty(),
            left_out: gathered.left_out(),
            changes: gathered.changes(),
            steps,
            steps_left_out,
            parts,
        }
    }
}

/// The run that one is compared with when nobody says which: the one that it repeats, or the one
/// before it of its workflow.
///
/// # Errors
/// The store can't be read.
pub async fn usual(reader: &Reader, run: &Run) -> Result<Option<Run>> {
    let before = RunFilter {
        workflow: Some(run.row.workflow.clone()),
        before: Some(run.row.run),
        limit: 1,
        ..RunFilter::default()
    };
    let repeated = match run.row.extra.forked_from {
        // It may be deleted by its age.
        Some(of) => reader.views.run_part(of, 0, 0).await?.map(|head| head.row.run),
        None => None,
    };
    let other = match repeated {
        Some(of) => Some(of),
        None => reader.views.runs(&before).await?.first().map(|run| run.run),
    };
    match other {
        Some(other) => Ok(Some(reader.run(other).await?)),
        None => Ok(None),
    }
}

impl RunSide {
    fn new(run: &Run) -> Self {
        let row = &run.row;
        Self {
            run: row.run,
            workflow: row.workflow.clone(),
            workflow_version: run.graph.plan().version.clone(),
            hash: row.hash,
            status: row.status,
            created_at: row.created_at,
            started_at: row.started_at,
            finished_at: row.finished_at,
            duration_ms: millis(row.started_at, row.finished_at),
        }
    }
}

impl StepSide {
    fn new(row: &StepRow) -> Self {
        Self {
            status: row.status,
            reason: match row.status {
                StepStatus::Waiting => row.wait.map(|wait| wait.as_str()),
                StepStatus::Skipped => row.skip.map(|skip| skip.as_str()),
                _ => None,
            },
            attempts: row.attempt,
            started_at: row.started_at.or(row.ready_at),
            finished_at: row.finished_at,
            duration_ms: millis(row.started_at.or(row.ready_at), row.finished_at),
        }
    }
}

fn millis(start: Option<Millis>, end: Option<Millis>) -> Option<u64> {
    start.zip(end).map(|(start, end)| end.since(start).0)
}

fn error(error: Option<&StepError>) -> Option<Json> {
    error.map(|error| json!(error))
}

/// The runs' own values.
fn run_parts(left: &Run, right: &Run, gathered: &mut Gathered, parts: &mut Vec<Part>) {
    let (l, r) = (&left.row, &right.row);
    let words = |run: &Run| {
        let row = &run.row;
        json!({
            "workflow": row.workflow,
            "hash": row.hash,
            "priority": row.priority,
            "status": row.status,
        })
    };
    gathered.add("", Some(&words(left)), Some(&words(right)));
    let whole = [
        ("params", Some((*l.params).clone()), Some((*r.params).clone())),
        ("output", l.output.as_deref().cloned(), r.output.as_deref().cloned()),
        ("error", error(l.error.as_ref()), error(r.error.as_ref())),
    ];
    for (name, left, right) in whole {
        if gathered.add(&format!("/{name}"), left.as_ref(), right.as_ref()) {
            parts.push(Part { name, left, right });
        }
    }
}

fn named(run: &Run) -> Vec<(String, &StepRow)> {
    run.steps().map(|row| (run.step_name(row.inst), row)).collect()
}

/// The steps of both, in the order of the run; those that only the other one has last.
fn pairs(left: &Run, right: &Run, gathered: &mut Gathered) -> Vec<StepPair> {
    let mut others: BTreeMap<String, &StepRow> = named(left).into_iter().collect();
    let mut pairs = Vec::new();
    for (name, row) in named(right) {
        let other = others.remove(&name);
        pairs.push(pair(name, other.map(|row| (left, row)), Some((right, row)), gathered));
    }
    let gone = named(left).into_iter().filter(|(name, _)| others.contains_key(name));
    for (name, row) in gone {
        pairs.push(pair(name, Some((left, row)), None, gathered));
    }
    pairs
}

type InRun<'a> = (&'a Run, &'a StepRow);

fn pair(
    step: String,
    left: Option<InRun<'_>>,
    right: Option<InRun<'_>>,
    gathered: &mut Gathered,
) -> StepPair {
    let path = format!("/steps/{step}");
    let words = |side: &StepSide| {
        let mut words = json!({"status": side.status, "attempts": side.attempts});
        if let Some(reason) = side.reason {
            words["reason"] = reason.into();
        }
        words
    };
    let sides = [left, right].map(|found| found.map(|(_, row)| StepSide::new(row)));
    let told = [&sides[0], &sides[1]].map(|side| side.as_ref().map(words));
    let mut differs = gathered.add(&path, told[0].as_ref(), told[1].as_ref());
    let of = |value: fn(InRun<'_>) -> Option<Json>| [left, right].map(|found| value(found?));
    let whole = [
        ("input", of(|(run, row)| input(run, row))),
        ("output", of(|(_, row)| row.output.as_deref().cloned())),
        ("error", of(|(_, row)| error(row.error.as_ref()))),
    ];
    let mut parts = Vec::new();
    for (name, [left, right]) in whole {
        if gathered.add(&format!("{path}/{name}"), left.as_ref(), right.as_ref()) {
            parts.push(Part { name, left, right });
            differs = true;
        }
    }
    let [left, right] = sides;
    StepPair { step, differs, left, right, parts }
}
