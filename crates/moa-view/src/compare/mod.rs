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

use self::lines::Diff;
use self::values::Gathered;
pub use self::values::{CHANGES_MAX, Change};
use crate::attempts::{rfc3339, rfc3339_option};
use crate::exit::Result;
use crate::reader::Reader;
use crate::summary::input;
use crate::tree::{skip_words, wait_words};
use moa_core::ids::{Name, RunId, VersionHash};
use moa_core::run::RunStatus;
use moa_core::workflow::Priority;
use moa_ports::views::RunFilter;

/// Steps that are told at most.
const STEPS_MAX: usize = 2000;

/// Two runs.
#[derive(Debug, Serialize)]
pub struct Comparison {
    /// The other run.
    pub left: RunSide,
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
    /// The runs' own values that differ, in lines.
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
    /// Its priority.
    pub priority: Priority,
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
    /// What it was given, what it put out and why it failed, where that differs, in lines; nothing
    /// when there was no room for its step.
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
    /// The same in words, for people.
    #[serde(skip)]
    pub why: Option<&'static str>,
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

/// A value that differs. The value itself is not kept: those of all steps together are large.
#[derive(Debug)]
pub struct Part {
    /// What it is: `params`, `input`, `output`, `error`.
    pub name: &'static str,
    /// Whether the other run has one.
    pub left: bool,
    /// Whether the run has one.
    pub right: bool,
    /// The lines in which they differ.
    pub diff: Diff,
}

/// How much of what differs is written in lines.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// Of so many steps that differ.
    pub steps: usize,
    /// Lines of all values together.
    pub lines: usize,
}

impl Room {
    /// For whom only the places count.
    pub const NONE: Self = Self { steps: 0, lines: 0 };
}

/// Takes out of a value what is not for whoever looks.
pub type Hide = dyn Fn(&mut Json) + Send + Sync;

impl Comparison {
    /// What differs between another run and this one.
    pub fn new(left: &Run, right: &Run, room: Room) -> Self {
        Self::hiding(left, right, room, [None, None])
    }

    /// The same for somebody who doesn't see all that steps of the one run, or of the other, are given:
    /// what is hidden of that makes no difference.
    pub fn hiding(left: &Run, right: &Run, room: Room, hide: [Option<&Hide>; 2]) -> Self {
        let mut work = Work { gathered: Gathered::default(), room, hide };
        let parts = work.run(left, right);
        let (steps, steps_left_out) = work.pairs(left, right);
        let gathered = work.gathered;
        Self {
            left: RunSide::new(left),
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
            priority: row.priority,
            created_at: row.created_at,
            started_at: row.started_at,
            finished_at: row.finished_at,
            duration_ms: millis(row.started_at, row.finished_at),
        }
    }
}

impl StepSide {
    fn new(row: &StepRow) -> Self {
        let reason = match row.status {
            StepStatus::Waiting => row.wait.map(|wait| (wait.as_str(), wait_words(wait))),
            StepStatus::Skipped => row.skip.map(|skip| (skip.as_str(), skip_words(skip))),
            _ => None,
        };
        Self {
            status: row.status,
            reason: reason.map(|(name, _)| name),
            why: reason.map(|(_, words)| words),
            attempts: row.attempt,
            started_at: row.began(),
            finished_at: row.finished_at,
            duration_ms: millis(row.began(), row.finished_at),
        }
    }
}

fn millis(start: Option<Millis>, end: Option<Millis>) -> Option<u64> {
    start.zip(end).map(|(start, end)| end.since(start).0)
}

fn error(error: Option<&StepError>) -> Option<Json> {
    error.map(|error| json!(error))
}

fn named(run: &Run) -> impl Iterator<Item = (String, &StepRow)> {
    run.steps().map(|row| (run.step_name(row.inst), row))
}

type InRun<'a> = (&'a Run, &'a StepRow);

/// A comparison under way.
struct Work<'a> {
    gathered: Gathered,
    room: Room,
    /// What takes out of inputs what is not to be seen: of the other run's steps, and of the run's.
    hide: [Option<&'a Hide>; 2],
}

impl Work<'_> {
    /// The runs' own values.
    fn run(&mut self, left: &Run, right: &Run) -> Vec<Part> {
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
        self.gathered.add("", Some(&words(left)), Some(&words(right)));
        let errors = [error(l.error.as_ref()), error(r.error.as_ref())];
        let whole = [
            ("params", Some(&*l.params), Some(&*r.params)),
            ("output", l.output.as_deref(), r.output.as_deref()),
            ("error", errors[0].as_ref(), errors[1].as_ref()),
        ];
        self.parts("", whole, true).1
    }

    /// Whether any of these values differ, and those that do if they are wanted in lines.
    fn parts(
        &mut self,
        path: &str,
        values: [(&'static str, Option<&Json>, Option<&Json>); 3],
        wanted: bool,
    ) -> (bool, Vec<Part>) {
        let (mut differs, mut parts) = (false, Vec::new());
        for (name, left, right) in values {
            if !self.gathered.add(&format!("{path}/{name}"), left, right) {
                continue;
            }
            differs = true;
            if wanted {
                let diff = lines::within(left, right, &mut self.room.lines);
                parts.push(Part { name, left: left.is_some(), right: right.is_some(), diff });
            }
        }
        (differs, parts)
    }

    /// The steps of both: those that differ first, each in the order of the run and those that only
    /// the other one has last. And how many are not among them.
    fn pairs(&mut self, left: &Run, right: &Run) -> (Vec<StepPair>, usize) {
        let mut others: BTreeMap<String, &StepRow> = named(left).collect();
        let (mut differ, mut same, mut all) = (Vec::new(), Vec::new(), 0);
        let mut keep = |pair: StepPair| {
            all += 1;
            let pairs = if pair.differs { &mut differ } else { &mut same };
            if pairs.len() < STEPS_MAX {
                pairs.push(pair);
            }
        };
        for (name, row) in named(right) {
            let other = others.remove(&name);
            keep(self.pair(name, other.map(|row| (left, row)), Some((right, row))));
        }
        for (name, row) in named(left).filter(|(name, _)| others.contains_key(name)) {
            keep(self.pair(name, Some((left, row)), None));
        }
        differ.append(&mut same);
        differ.truncate(STEPS_MAX);
        let left_out = all - differ.len();
        (differ, left_out)
    }

    fn pair(
        &mut self,
        step: String,
        left: Option<InRun<'_>>,
        right: Option<InRun<'_>>,
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
        let is_other = self.gathered.add(&path, told[0].as_ref(), told[1].as_ref());
        let mut inputs = [left, right].map(|found| found.and_then(|(run, row)| input(run, row)));
        for (input, hide) in inputs.iter_mut().zip(self.hide) {
            if let (Some(input), Some(hide)) = (input, hide) {
                hide(input);
            }
        }
        let outputs = [left, right].map(|found| found.and_then(|(_, row)| row.output.as_deref()));
        let errors =
            [left, right].map(|found| found.and_then(|(_, row)| error(row.error.as_ref())));
        let values = [
            ("input", inputs[0].as_ref(), inputs[1].as_ref()),
            ("output", outputs[0], outputs[1]),
            ("error", errors[0].as_ref(), errors[1].as_ref()),
        ];
        let (values_differ, parts) = self.parts(&path, values, self.room.steps > 0);
        let differs = is_other || values_differ;
        if differs {
            self.room.steps = self.room.steps.saturating_sub(1);
        }
        let [left, right] = sides;
        StepPair { step, differs, left, right, parts }
    }
}
