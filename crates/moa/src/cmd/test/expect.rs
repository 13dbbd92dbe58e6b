//! What a test expects of a run, compared with what happened.

use std::collections::BTreeMap;

use moa_core::event::Event;
use moa_core::machine::Run;
use moa_core::run::{RunStatus, StepRow};
use moa_core::step::StepStatus;
use moa_core::time::Span;
use moa_ports::views::HistoryRow;
use moa_spec::{Comparison, Expect, StepExpectation};
use serde_json::{Value as Json, json};

/// Adds what does not hold.
pub fn check(
    run: &Run,
    history: &[HistoryRow],
    expect: &Expect,
    took: Span,
    failures: &mut Vec<String>,
) {
    let status = match run.row.status {
        RunStatus::Succeeded => "success",
        RunStatus::Failed => "failure",
        other => other.as_str(),
    };
    if let Some(wanted) = expect.status.as_deref().filter(|wanted| *wanted != status) {
        let why = run.row.error.as_ref().map(|e| format!(" ({})", e.message)).unwrap_or_default();
        failures.push(format!("expected status {wanted}, found {status}{why}"));
    }
    order(run, history, expect, failures);
    if let Some(wanted) = &expect.outputs {
        let found = run.row.output.as_deref().cloned().unwrap_or_default();
        contains("outputs", wanted, &found, failures);
    }
    if let Some(wanted) = &expect.error {
        let found = run.row.error.as_ref().map_or("", |e| e.message.as_str());
        if !found.contains(wanted.as_str()) {
            failures.push(format!("expected an error with {wanted:?}, found {found:?}"));
        }
    }
    if let Some((comparison, wanted)) = expect.virtual_duration
        && !comparison.holds(took, wanted)
    {
        let sign = sign(comparison);
        failures.push(format!("expected virtual_duration {sign} {wanted}, found {took}"));
    }
    for wanted in &expect.steps {
        step(run, wanted, failures);
    }
}

fn sign(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Less => "<",
        Comparison::AtMost => "<=",
        Comparison::Equal => "==",
        Comparison::AtLeast => ">=",
        Comparison::More => ">",
    }
}

/// The expected steps have to end in their order, each the last time that it ended.
fn order(run: &Run, history: &[HistoryRow], expect: &Expect, failures: &mut Vec<String>) {
    let mut ended: BTreeMap<&str, usize> = BTreeMap::new();
    let events = history.iter().flat_map(|row| &row.events);
    for (place, event) in events.enumerate() {
        if let Event::StepSucceeded { step, .. } | Event::StepFailed { step, .. } = event
            && let Some(row) = run.step(*step)
        {
            ended.insert(run.graph.plan().step(row.plan).id.as_str(), place);
        }
    }
    let mut before: Option<(&str, usize)> = None;
    for id in expect.order.iter().map(|id| id.as_str()) {
        let Some(place) = ended.get(id).copied() else {
            failures.push(format!("expected {id} to end, but it didn't run"));
            continue;
        };
        if let Some((earlier, at)) = before
            && at > place
        {
            failures.push(format!("expected {earlier} to end before {id}"));
        }
        before = Some((id, place));
    }
}

fn step(run: &Run, wanted: &StepExpectation, failures: &mut Vec<String>) {
    let StepExpectation { step, field, value } = wanted;
    let plan = run.graph.plan();
    let of_step = |row: &&StepRow| plan.step(row.plan).id == *step;
    // Inside a loop the newest instance counts.
    let Some(row) = run.steps().filter(of_step).last() else {
        failures.push(format!("expected steps.{step}.{field}, but the step was never reached"));
        return;
    };
    let (name, path) = field.split_once('.').unwrap_or((field, ""));
    let found = match name {
        "status" => json!(row.status.as_str()),
        "attempts" => json!(row.attempt),
        "iterations" => json!(iterations(run, row)),
        "error" => row.error.as_ref().map_or(Json::Null, |e| json!(e.message)),
        _ => at_path(row.output.as_deref().unwrap_or(&Json::Null), path).clone(),
    };
    let holds = match name {
        "status" => value.as_str().is_some_and(|wanted| is_status(wanted, row.status)),
        "error" => match (value.as_str(), found.as_str()) {
            (Some(wanted), Some(found)) => found.contains(wanted),
            _ => *value == found,
        },
        _ => equal(value, &found),
    };
    if !holds {
        failures.push(format!("expected steps.{step}.{field}: {value}, found {found}"));
    }
}

fn is_status(wanted: &str, status: StepStatus) -> bool {
    wanted == status.as_str()
        || matches!(
            (wanted, status),
            ("success", StepStatus::Succeeded) | ("failure", StepStatus::Failed)
        )
}

fn iterations(run: &Run, row: &StepRow) -> usize {
    let inside = run.steps().filter(|other| other.owner == Some(row.inst));
    let begun = inside.filter(|other| other.status != StepStatus::Pending);
    let mut numbers: Vec<u32> = begun.map(|other| other.iteration).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers.len()
}

fn at_path<'a>(value: &'a Json, path: &str) -> &'a Json {
    path.split('.').filter(|part| !part.is_empty()).fold(value, |value, part| {
        match part.parse::<usize>() {
            Ok(index) if value.is_array() => &value[index],
            _ => &value[part],
        }
    })
}

/// Whether `found` has what `wanted` names; keys that are not named don't matter.
fn contains(path: &str, wanted: &Json, found: &Json, failures: &mut Vec<String>) {
    match (wanted, found) {
        (Json::Object(wanted), Json::Object(_)) => {
            for (key, value) in wanted {
                contains(&format!("{path}.{key}"), value, &found[key], failures);
            }
        }
        _ if equal(wanted, found) => {}
        _ => failures.push(format!("expected {path}: {wanted}, found {found}")),
    }
}

/// Equal as people see it: 2 is 2.0.
fn equal(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Number(x), Json::Number(y)) => x == y || x.as_f64() == y.as_f64(),
        (Json::Array(x), Json::Array(y)) => {
            x.len() == y.len() && x.iter().zip(y).all(|(a, b)| equal(a, b))
        }
        (Json::Object(x), Json::Object(y)) => {
            x.len() == y.len() && x.iter().all(|(k, v)| y.get(k).is_some_and(|w| equal(v, w)))
        }
        _ => a == b,
    }
}
