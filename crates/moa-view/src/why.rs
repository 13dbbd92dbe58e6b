//! Why a run doesn't go on, until when, and what would unblock it.

use std::collections::BTreeMap;
use std::sync::Arc;

use moa_core::agent::AgentSpec;
use moa_core::event::InstIx;
use moa_core::ids::{Name, RunId};
use moa_core::limit::{LimitState, Unit};
use moa_core::machine::{Claimable, ForkPoint, Run, Why};
use moa_core::run::RunStatus;
use moa_core::step::StepStatus;
use moa_core::time::Millis;
use moa_core::workflow::StepKind;
use moa_engine::handle::Status;
use moa_ports::views::{BEFORE_MAX, Pending, PendingTask};
use serde::Serialize;

use crate::node::NodeStatus;
use crate::now;

/// The answer for a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// The run.
    pub run: String,
    /// Its status.
    pub status: RunStatus,
    /// What there is to know about the run as a whole.
    pub reasons: Vec<Reason>,
    /// What there is to know about its steps.
    pub steps: Vec<Reason>,
}

/// One reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// The step, when it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The step's status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<StepStatus>,
    /// Why it doesn't go on.
    pub reason: String,
    /// When it goes on, or gives up, by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[serde(serialize_with = "crate::attempts::rfc3339_option")]
    pub until: Option<Millis>,
    /// What would unblock it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unblock: Option<String>,
}

impl Reason {
    fn of_run(reason: impl Into<String>, unblock: Option<String>) -> Self {
        Self { step: None, status: None, reason: reason.into(), until: None, unblock }
    }
}

/// What is known of agents' limits.
pub struct Limits {
    /// The agents of the project.
    pub agents: BTreeMap<Name, Arc<AgentSpec>>,
    /// What has been used.
    pub used: BTreeMap<Name, LimitState>,
}

impl Limits {
    /// Why an attempt can't start now, and until when.
    fn why(&self, agent: &Name, action: &str) -> Option<(String, Millis)> {
        let spec = self.agents.get(agent)?;
        let (why, until) = self.used.get(agent)?.why(&spec.limits, action, now())?;
        Some((format!("{agent} can't be asked: {why}"), until))
    }

    /// What would have to be granted, when it is the budget that is used up.
    fn is_over_budget(&self, agent: &Name) -> Option<&'static str> {
        let spec = self.agents.get(agent)?;
        let stands = self.used.get(agent)?.budget_now(&spec.limits, now())?;
        Some(match stands.full()?.unit {
            Unit::Usd => "--usd AMOUNT",
            Unit::Tokens => "--tokens NUMBER",
        })
    }
}

/// Answers for a run, given what the store and, if one runs, the node know. `alone` are the runs that
/// this node leaves alone, of this one and of those that hold the slot it waits for.
pub fn answer(
    run: &Run,
    pending: &Pending,
    node: Option<&NodeStatus>,
    alone: &[RunId],
    limits: &Limits,
    all: bool,
) -> Answer {
    let status = run.row.status;
    let steps = match has_begun(run) {
        false => Vec::new(),
        true => {
            let of_step = |why| of_step(run, why, pending, node, limits);
            run.why(all).into_iter().map(of_step).collect()
        }
    };
    Answer {
        run: run.row.run.to_string(),
        status,
        reasons: of_whole(run, pending, node, alone),
        steps,
    }
}

/// Why one step doesn't go on: the answer about it, or else that about its run as a whole.
pub fn answer_step(
    run: &Run,
    inst: InstIx,
    pending: &Pending,
    node: Option<&NodeStatus>,
    limits: &Limits,
) -> Vec<Reason> {
    match run.why_of(inst).filter(|_| has_begun(run)) {
        Some(why) => vec![of_step(run, why, pending, node, limits)],
        None => of_whole(run, pending, node, &[]),
    }
}

/// Whether its steps have something to wait for by themselves.
fn has_begun(run: &Run) -> bool {
    !run.row.status.is_terminal() && run.row.status != RunStatus::Pending
}

fn of_whole(
    run: &Run,
    pending: &Pending,
    node: Option<&NodeStatus>,
    alone: &[RunId],
) -> Vec<Reason> {
    let mut reasons = of_run(run, pending);
    if !run.row.status.is_terminal() {
        match node {
            None => reasons.push(Reason::of_run(
                "no node serves the project, so nothing goes on",
                Some("moa up".into()),
            )),
            Some(node) => {
                reasons.extend(alone.iter().map(|other| match *other == run.row.run {
                    true => left_alone(node),
                    false => nobody_executes(&format!("run {other}"), node),
                }));
                reasons.extend(of_node(run.row.run, &node.engine));
            }
        }
    }
    reasons
}

/// The node executes only what it is asked to, and this run isn't.
pub fn left_alone(node: &NodeStatus) -> Reason {
    nobody_executes("it", node)
}

fn nobody_executes(what: &str, node: &NodeStatus) -> Reason {
    let pid = node.info.pid;
    let why = format!("the node that runs (process {pid}) was started for other runs");
    Reason::of_run(format!("nobody executes {what}: {why}"), Some("moa up".into()))
}

fn of_node(run: RunId, engine: &Status) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if let Some(why) = engine.quarantined.get(&run) {
        let unblock = "restart the node; if it happens again, report it with .moa/log/moa.log";
        let why = format!("it is quarantined until the node starts again: {why}");
        reasons.push(Reason::of_run(why, Some(unblock.into())));
    }
    if let Some(why) = &engine.degraded {
        reasons.push(Reason::of_run(format!("the node can't write: {why}"), None));
    }
    if engine.stopping {
        reasons.push(Reason::of_run("the node is stopping", Some("moa up".into())));
    }
    reasons
}

fn of_run(run: &Run, pending: &Pending) -> Vec<Reason> {
    let id = run.row.run;
    let mut reasons = Vec::new();
    match run.row.status {
        RunStatus::Pending => reasons.push(queued(run, pending)),
        RunStatus::Paused => {
            reasons.push(Reason::of_run("it is paused", Some(format!("moa runs resume {id}"))));
        }
        RunStatus::Failed => {
            let error = run.row.error.as_ref().map_or("", |e| e.message.as_str());
            // All steps may have done what they should, and the run's output is not as declared.
            let unblock = match run.seed(&ForkPoint::Failed) {
                Ok(_) => format!("moa runs retry {id}"),
                Err(_) => format!("moa runs rerun {id} --from STEP"),
            };
            reasons.push(Reason::of_run(format!("it has failed: {error}"), Some(unblock)));
        }
        RunStatus::Cancelled => {
            let why = run.row.extra.cancel.as_deref();
            let error = run.row.error.as_ref().map(|e| e.message.as_str());
            let why = why.or(error).unwrap_or_default();
            let unblock = Some(format!("moa runs retry {id}"));
            reasons.push(Reason::of_run(format!("it was cancelled: {why}"), unblock));
        }
        RunStatus::Succeeded => reasons.push(Reason::of_run("it has succeeded", None)),
        RunStatus::Running | RunStatus::Waiting => {
            let running: Vec<String> = run
                .steps()
                .filter(|row| row.status == StepStatus::Running)
                .map(|row| run.step_name(row.inst))
                .take(10)
                .collect();
            if !running.is_empty() {
                reasons.push(Reason::of_run(format!("it runs: {}", running.join(", ")), None));
            }
            let extra = &run.row.extra;
            match &extra.cancel {
                Some(why) if extra.is_cancelled() => {
                    reasons.push(Reason::of_run(format!("it is being cancelled: {why}"), None));
                }
                Some(why) => reasons.push(Reason::of_run(format!("it fails: {why}"), None)),
                None => {}
            }
        }
    }
    reasons
}

/// Why a run is not started yet.
pub fn queued(run: &Run, pending: &Pending) -> Reason {
    let key = run.row.extra.concurrency_key.as_deref().unwrap_or_default();
    let Some((place, holders)) = &pending.queued else {
        return Reason::of_run("it starts as soon as its node comes to it", None);
    };
    let held: Vec<String> = holders.iter().take(5).map(|r| r.to_string()).collect();
    let reason = format!(
        "it waits for a slot of the concurrency key {key:?}: place {place}, held by {}",
        if held.is_empty() { "nobody".into() } else { held.join(", ") }
    );
    let unblock = holders.first().map(|run| format!("moa runs why {run}"));
    Reason::of_run(reason, unblock)
}

/// What is before a task that waits for a slot: others of its fairness key, and other keys' turns.
fn what_is_before(task: &PendingTask) -> Vec<String> {
    let count = |count: u64, one: &str, many: &str| match count {
        1 => format!("1 {one}"),
        BEFORE_MAX.. => format!("{BEFORE_MAX} {many} or more"),
        count => format!("{count} {many}"),
    };
    let key = match &task.queue.key {
        Some(key) => format!(" of the fairness key {key:?}"),
        None if task.others > 0 => " without a fairness key".to_owned(),
        None => String::new(),
    };
    let mut before = Vec::new();
    if task.before > 0 {
        before.push(format!(
            "{}{key} {} before it",
            count(task.before, "task", "tasks"),
            if task.before == 1 { "is" } else { "are" }
        ));
    }
    if task.others > 0 {
        let keys = count(task.others, "other key", "other keys");
        before.push(format!("tasks{key} take turns with those of {keys}"));
    }
    before
}

fn of_step(
    run: &Run,
    why: Why,
    pending: &Pending,
    node: Option<&NodeStatus>,
    limits: &Limits,
) -> Reason {
    let (mut reason, mut until, mut unblock) = (why.reason, why.until, why.unblock);
    let ready = why.status == StepStatus::Ready && !run.row.extra.paused;
    if ready && node.is_none() {
        reason = "it is ready, and waits for a node".into();
    }
    if let (true, Some(node)) = (ready, node)
        && let Some(row) = run.step(why.inst)
        && let StepKind::Task { agent, .. } = &run.graph.plan().step(row.plan).kind
    {
        let mine = node.engine.running.get(agent).copied().unwrap_or(0);
        let all: u32 = node.engine.running.values().sum();
        let before = node.engine.ready.get(agent).copied().unwrap_or(0);
        reason = format!(
            "it waits for a free slot: {agent} runs {mine} attempts and {before} are ready, \
             the node runs {all} of {}",
            node.max_running
        );
        if let Some(task) = pending.tasks.iter().find(|task| task.inst == why.inst) {
            what_is_before(task)
                .into_iter()
                .for_each(|before| reason.push_str(&format!("; {before}")));
        }
        if let Some(paused) = node.paused.get(agent) {
            reason = format!("{agent} is {}", paused.words());
            unblock = Some(format!("moa agents resume {agent}"));
            return Reason {
                step: Some(why.step),
                status: Some(why.status),
                reason,
                until,
                unblock,
            };
        }
    }
    if let (true, Some(action)) = (ready, run.action(why.inst))
        && let Some(Claimable { agent, .. }) = run.claimable(why.inst)
        && let Some((limit, at)) = limits.why(agent, action)
    {
        let unblock_by = match limits.is_over_budget(agent) {
            Some(more) => format!("moa agents grant {agent} {more}"),
            None => format!("moa limits {agent}"),
        };
        (reason, until, unblock) = (limit, Some(at), Some(unblock_by));
    }
    Reason { step: Some(why.step), status: Some(why.status), reason, until, unblock }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarantined_run_is_told_from_the_others() {
        let mut engine = Status { degraded: Some("disk full".into()), ..Status::default() };
        engine.quarantined.insert(RunId(7), "moa failed on it: index out of bounds".into());
        let told = |run| -> Vec<String> {
            of_node(run, &engine).into_iter().map(|reason| reason.reason).collect()
        };
        let disk = "the node can't write: disk full";
        assert_eq!(told(RunId(8)), [disk]);
        let quarantined = "it is quarantined until the node starts again: moa failed on it: \
                           index out of bounds";
        assert_eq!(told(RunId(7)), [quarantined, disk]);
    }
}
