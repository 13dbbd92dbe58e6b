//! What is known after a fault, as three lists of JSON lines. Instants are seconds since the epoch.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// All that is known.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// What was acknowledged.
    pub acks: Vec<Ack>,
    /// What agents say that they did.
    pub ledger: Vec<Execution>,
    /// What moa says happened (`moa export --check-format`).
    pub runs: Vec<Run>,
}

/// A request that was answered with success.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ack {
    /// The run.
    pub run: String,
    /// The caller's name for the start.
    #[serde(default)]
    pub idem: Option<String>,
    /// What was asked for; absent = a start.
    #[serde(default)]
    pub kind: Option<String>,
}

/// One execution, written down by the agent itself before it says that it is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Execution {
    /// The run.
    pub run: String,
    /// The step.
    pub step: String,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The idempotency key that it was given.
    pub key: String,
    /// When it began.
    pub t0: f64,
    /// When it ended; absent = it never said.
    #[serde(default)]
    pub t1: Option<f64>,
}

/// A line of the ledger, as the agent of the fault tests writes it: one when it begins, one when it
/// ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// `begin` or `end`.
    pub mark: String,
    /// The run.
    pub run: String,
    /// The step.
    pub step: String,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The idempotency key that it was given.
    pub key: String,
    /// The process.
    pub pid: u32,
    /// When.
    pub t: f64,
}

/// Joins the marks of each execution.
pub fn executions(marks: &[Mark]) -> Vec<Execution> {
    let mut ends: BTreeMap<(&str, &str, u32, u32), f64> = BTreeMap::new();
    for mark in marks.iter().filter(|m| m.mark == "end") {
        ends.insert((&mark.run, &mark.step, mark.attempt, mark.pid), mark.t);
    }
    let begins = marks.iter().filter(|m| m.mark == "begin");
    begins
        .map(|m| Execution {
            run: m.run.clone(),
            step: m.step.clone(),
            attempt: m.attempt,
            key: m.key.clone(),
            t0: m.t,
            t1: ends.get(&(m.run.as_str(), m.step.as_str(), m.attempt, m.pid)).copied(),
        })
        .collect()
}

/// A run as moa tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The run.
    pub run: String,
    /// Its status.
    pub state: String,
    /// Its steps.
    pub steps: Vec<Step>,
    /// Its history.
    #[serde(default)]
    pub events: Vec<Event>,
    /// When a cancel was acknowledged.
    #[serde(default)]
    pub cancelled_at: Option<f64>,
}

/// A step as moa tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Its id in the run.
    pub id: String,
    /// Its status.
    pub state: String,
    /// The steps that had to be terminal first.
    #[serde(default)]
    pub deps: Vec<String>,
    /// Its attempts.
    #[serde(default)]
    pub attempts: Vec<Attempt>,
    /// When it may start at the earliest.
    #[serde(default)]
    pub due: Option<f64>,
    /// Whether `due` is a timer's.
    #[serde(default)]
    pub timer: bool,
}

/// An attempt as moa tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its number, from 1.
    pub n: u32,
    /// When it started.
    pub start: f64,
    /// When it ended.
    #[serde(default)]
    pub end: Option<f64>,
    /// How it ended; `completed` or `succeeded` = its result was accepted.
    #[serde(default)]
    pub outcome: Option<String>,
}

/// A change of a run's or a step's status.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its place in the run's history, without gaps.
    pub seq: u64,
    /// `run` or `step`; others are passed over.
    #[serde(rename = "type")]
    pub about: String,
    /// The step.
    #[serde(default)]
    pub step: Option<String>,
    /// The new status.
    #[serde(default)]
    pub to: Option<String>,
}

/// Reads JSON lines. A last line that was cut off by a crash of its writer is no line.
pub fn read_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, String> {
    let place = path.display();
    let text = fs::read_to_string(path).map_err(|e| format!("{place}: {e}"))?;
    parse_lines(&text).map_err(|e| format!("{place}: {e}"))
}

/// Parses JSON lines; see [`read_lines`].
pub fn parse_lines<T: DeserializeOwned>(text: &str) -> Result<Vec<T>, String> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let lines = whole.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(i, line)| serde_json::from_str(line).map_err(|e| format!("line {}: {e}", i + 1)))
        .collect()
}
