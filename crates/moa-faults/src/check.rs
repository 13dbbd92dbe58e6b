//! The invariants I0 to I19 over a [`History`].
//!
//! Acknowledged = durable; transitions exactly once; attempts at least once, under one idempotency
//! key; timers never early; terminal states never change; never two live executions of one step.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::history::{Execution, History, Run, Step};

/// What counts as a breach.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// More attempts of a step than this are a breach; `None` = any number.
    pub max_attempts: Option<usize>,
    /// Whether two live executions of one step are a breach.
    pub exclusive: bool,
    /// How far clocks of different processes may differ, in seconds.
    pub skew: f64,
    /// Whether the agent of a step writes down what it does.
    pub keeps_ledger: fn(&Step) -> bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self { max_attempts: None, exclusive: true, skew: 0.005, keeps_ledger: |_| true }
    }
}

/// A broken invariant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// Which: `I0` to `I19`.
    pub invariant: &'static str,
    /// What happened.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.invariant, self.what)
    }
}

/// How long after a cancel's acknowledgement work may still begin, in seconds.
const CANCEL_GRACE: f64 = 2.0;

type Found = Vec<Violation>;

fn breach(found: &mut Found, invariant: &'static str, what: impl Into<String>) {
    found.push(Violation { invariant, what: what.into() });
}

/// Every violation, in order of what is checked.
pub fn check(history: &History, rules: Rules) -> Vec<Violation> {
    let mut found = Found::new();
    let mut runs: BTreeMap<&str, &Run> = BTreeMap::new();
    for run in &history.runs {
        if runs.insert(&run.run, run).is_some() {
            breach(&mut found, "I0", format!("two runs have the id {}", run.run));
        }
    }
    check_acks(history, &runs, &mut found);
    for run in &history.runs {
        check_run(run, rules, &mut found);
        check_events(run, &mut found);
    }
    let mut ledger: BTreeMap<(&str, &str), Vec<&Execution>> = BTreeMap::new();
    for execution in &history.ledger {
        ledger.entry((&execution.run, &execution.step)).or_default().push(execution);
    }
    for (&(run, step), executions) in &ledger {
        check_executions(runs.get(run).copied(), step, executions, rules, &mut found);
    }
    check_effects(history, &ledger, rules, &mut found);
    found
}

/// I1 and I2: what was acknowledged is there, once.
fn check_acks(history: &History, runs: &BTreeMap<&str, &Run>, found: &mut Found) {
    let mut keys: BTreeMap<&str, &str> = BTreeMap::new();
    let starts =
        history.acks.iter().filter(|a| a.kind.as_deref().is_none_or(|kind| kind == "start"));
    for ack in starts {
        if !runs.contains_key(ack.run.as_str()) {
            breach(found, "I1", format!("run {} was acknowledged and is lost", ack.run));
        }
        if let Some(key) = &ack.idem
            && *keys.entry(key).or_insert(&ack.run) != ack.run
        {
            breach(found, "I2", format!("the idempotency key {key} started two runs"));
        }
    }
}

/// I3 to I10: a run and its steps agree with themselves.
fn check_run(run: &Run, rules: Rules, found: &mut Found) {
    let name = &run.run;
    if !is_terminal(&run.state) {
        breach(found, "I3", format!("run {name} never finished: {}", run.state));
    }
    let steps: BTreeMap<&str, &Step> = run.steps.iter().map(|s| (s.id.as_str(), s)).collect();
    for step in &run.steps {
        let at = format!("step {} of run {name}", step.id);
        if is_terminal(&run.state) && !is_terminal(&step.state) {
            breach(found, "I4", format!("{at} is {} and the run is over", step.state));
        }
        check_attempts(step, &at, rules, found);
        check_order(step, &steps, &at, rules, found);
        let first = step.attempts.first().map(|a| a.start);
        if let (true, Some(due), Some(start)) = (step.timer, step.due, first)
            && start + rules.skew < due
        {
            breach(found, "I10", format!("{at} started at {start}, due at {due}"));
        }
    }
}

/// I5 to I8: attempts are numbered, bounded, and one of them is accepted.
fn check_attempts(step: &Step, at: &str, rules: Rules, found: &mut Found) {
    let mut numbers: Vec<u32> = step.attempts.iter().map(|a| a.n).collect();
    numbers.sort_unstable();
    if numbers.iter().zip(1..).any(|(n, want)| *n != want) {
        breach(found, "I5", format!("{at} has attempts {numbers:?}"));
    }
    if rules.max_attempts.is_some_and(|max| numbers.len() > max) {
        breach(found, "I6", format!("{at} has {} attempts", numbers.len()));
    }
    let accepted = accepted(step).count();
    if accepted > 1 {
        breach(found, "I7", format!("{at} has {accepted} accepted results"));
    }
    if succeeded(&step.state) && !step.attempts.is_empty() && accepted == 0 {
        breach(found, "I8", format!("{at} succeeded without an accepted attempt"));
    }
}

/// I9: nothing starts before what it needs is settled.
fn check_order(
    step: &Step,
    steps: &BTreeMap<&str, &Step>,
    at: &str,
    rules: Rules,
    found: &mut Found,
) {
    let Some(start) = step.attempts.first().map(|a| a.start) else { return };
    for need in &step.deps {
        match steps.get(need.as_str()) {
            Some(needed) if is_terminal(&needed.state) => {
                let end = accepted(needed).next().and_then(|a| a.end);
                if end.is_some_and(|end| start + rules.skew < end) {
                    breach(found, "I9", format!("{at} started before {need} ended"));
                }
            }
            _ => breach(found, "I9", format!("{at} ran before {need} was settled")),
        }
    }
}

/// I11 to I13: the history is whole, legal, and says what the state says.
fn check_events(run: &Run, found: &mut Found) {
    let name = &run.run;
    let gap = run.events.windows(2).any(|pair| pair[1].seq != pair[0].seq + 1);
    if gap {
        let numbers: Vec<u64> = run.events.iter().take(12).map(|e| e.seq).collect();
        breach(found, "I11", format!("events of run {name} have a gap: {numbers:?}…"));
    }
    let mut statuses: BTreeMap<&str, &str> = BTreeMap::new();
    let mut run_status = "";
    for event in &run.events {
        let to = event.to.as_deref().unwrap_or_default();
        match (event.about.as_str(), event.step.as_deref()) {
            ("step", Some(step)) => {
                let from = statuses.get(step).copied().unwrap_or("pending");
                if !may_follow(from, to) {
                    breach(found, "I12", format!("step {step} of run {name}: {from} to {to}"));
                }
                statuses.insert(step, to);
            }
            ("run", _) => {
                if is_terminal(run_status) {
                    breach(found, "I12", format!("run {name}: {run_status} to {to}"));
                }
                run_status = to;
            }
            _ => {}
        }
    }
    for step in &run.steps {
        let told = statuses.get(step.id.as_str());
        if told.is_some_and(|told| *told != step.state) {
            let (id, state) = (&step.id, &step.state);
            breach(found, "I13", format!("step {id} of run {name}: {state}, history: {told:?}"));
        }
    }
    if is_terminal(&run.state) && !run_status.is_empty() && run_status != run.state {
        breach(found, "I13", format!("run {name}: {}, history: {run_status}", run.state));
    }
}

/// I14 to I18: what an agent did was asked for, recorded, alone, and not after a cancel.
fn check_executions(
    run: Option<&Run>,
    step: &str,
    executions: &[&Execution],
    rules: Rules,
    found: &mut Found,
) {
    let name = executions.first().map_or("", |e| e.run.as_str());
    let Some(run) = run else {
        breach(found, "I14", format!("step {step} of the unknown run {name} was executed"));
        return;
    };
    let Some(known) = run.steps.iter().find(|s| s.id == step) else {
        breach(found, "I14", format!("the unknown step {step} of run {name} was executed"));
        return;
    };
    let at = format!("step {step} of run {name}");
    let (times, attempts) = (executions.len(), known.attempts.len());
    if times > attempts {
        breach(found, "I15", format!("{at} was executed {times} times, {attempts} recorded"));
    }
    let keys: BTreeSet<&str> = executions.iter().map(|e| e.key.as_str()).collect();
    if keys.len() > 1 {
        breach(found, "I16", format!("{at} had several idempotency keys: {keys:?}"));
    }
    if rules.exclusive {
        let mut in_order = executions.to_vec();
        in_order.sort_by(|a, b| a.t0.total_cmp(&b.t0));
        for pair in in_order.windows(2) {
            if pair[0].t1.is_some_and(|end| pair[1].t0 + rules.skew < end) {
                let (a, b) = (pair[0].attempt, pair[1].attempt);
                breach(found, "I17", format!("{at}: attempts {a} and {b} overlap"));
            }
        }
    }
    if let Some(cancelled) = run.cancelled_at
        && executions.iter().any(|e| e.t0 > cancelled + CANCEL_GRACE)
    {
        breach(found, "I18", format!("{at} began more than 2 s after the cancel"));
    }
}

/// I19: what is said to be done was done.
fn check_effects(
    history: &History,
    ledger: &BTreeMap<(&str, &str), Vec<&Execution>>,
    rules: Rules,
    found: &mut Found,
) {
    if ledger.is_empty() {
        return;
    }
    for run in &history.runs {
        let asked = |s: &&Step| !s.attempts.is_empty() && (rules.keeps_ledger)(s);
        for step in run.steps.iter().filter(|s| succeeded(&s.state)).filter(asked) {
            if !ledger.contains_key(&(run.run.as_str(), step.id.as_str())) {
                breach(found, "I19", format!("step {} of run {} never ran", step.id, run.run));
            }
        }
    }
}

fn accepted(step: &Step) -> impl Iterator<Item = &crate::history::Attempt> {
    step.attempts.iter().filter(|a| a.outcome.as_deref().is_some_and(succeeded))
}

fn succeeded(status: &str) -> bool {
    matches!(status, "succeeded" | "completed")
}

fn is_terminal(status: &str) -> bool {
    succeeded(status) || matches!(status, "failed" | "cancelled" | "skipped")
}

/// Which status of a step may follow which, as the documentation draws it.
fn may_follow(from: &str, to: &str) -> bool {
    match from {
        "pending" => to != "pending",
        "ready" => matches!(to, "running" | "waiting" | "failed" | "skipped" | "cancelled"),
        "running" => matches!(to, "ready" | "waiting" | "failed" | "cancelled") || succeeded(to),
        "waiting" => !matches!(to, "pending"),
        _ => false,
    }
}
