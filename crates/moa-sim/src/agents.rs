//! The agents of the simulated world: what they are, and what an attempt of them does.

use std::collections::BTreeMap;
use std::sync::Arc;

use moa_core::agent::{ActionSpec, AgentKind, AgentSpec, CommandSpec, ProcessLimits};
use moa_core::ids::{Name, mix};
use moa_core::limit::{AgentLimits, BreakerSpec, Budget, OnExceed, Per, Quota, Rate, Usage, Usd};
use moa_core::machine::Outcome;
use moa_core::step::{ErrorKind, StepError};
use moa_core::time::Span;
use moa_ports::agent::Task;
use serde_json::json;

use crate::plans::{name, retry_policy};
use crate::random::Random;
use crate::swarm::Swarm;

/// What steps ask for: agent and action.
pub const ACTIONS: [(&str, &str); 7] = [
    ("noop", "run"),
    ("quick", "run"),
    ("quick", "build"),
    ("narrow", "run"),
    ("mailer", "send"),
    ("mailer", "post"),
    ("careful", "pay"),
];
/// The action that says whether `mailer` has sent.
pub const CHECK: &str = "was_sent";

/// The agents, with limits and policies at random.
pub fn specs(random: &mut Random, swarm: &Swarm) -> BTreeMap<Name, Arc<AgentSpec>> {
    let mut specs = BTreeMap::new();
    for id in ["noop", "quick", "narrow", "mailer", "careful"] {
        let mut spec = blank(id);
        if random.chance(700) {
            spec.retry = Some(retry_policy(random));
        }
        if random.chance(swarm.options) {
            spec.timeout = Some(Span(random.range(50, 30_000)));
        }
        match id {
            "noop" => spec.kind = AgentKind::Builtin("noop".into()),
            "narrow" => spec.concurrency = Some(random.range(1, 2) as u32),
            "mailer" => {
                let once = |check: Option<&str>| ActionSpec {
                    once: true,
                    check: check.map(str::to_owned),
                    ..ActionSpec::default()
                };
                spec.actions.insert("send".into(), once(Some(CHECK)));
                spec.actions.insert("post".into(), once(None));
                spec.actions.insert(CHECK.into(), ActionSpec::default());
            }
            "careful" => spec.once = true,
            _ => {}
        }
        // Drawn aside: a seed without limits stays the story that it was.
        let mut aside = random.clone();
        if id != "noop" && aside.chance(swarm.options) {
            spec.limits = limits(&mut aside);
        }
        specs.insert(spec.id.clone(), Arc::new(spec));
    }
    specs
}

fn limits(random: &mut Random) -> AgentLimits {
    let mut limits = AgentLimits::default();
    for _ in 0..random.below(3) {
        let span = Span(random.range(3_000, 20_000));
        limits.rates.push(Rate { count: random.range(2, 9) as u32, span });
    }
    if random.chance(200) {
        let cost = BTreeMap::from([("run".to_owned(), random.range(1, 5))]);
        let units = random.range(100, 500);
        limits.quota = Some(Quota { units, per: Per::Hour, timezone: String::new(), cost });
    }
    if random.chance(500) {
        let open_for = Span(random.range(500, 5_000));
        let within = random.chance(300).then(|| Span(random.range(1_000, 10_000)));
        let failures = random.range(1, 4) as u32;
        let open_for_max = Span(open_for.0 * 2);
        limits.breaker = Some(BreakerSpec { failures, within, open_for, open_for_max });
    }
    if random.chance(300) {
        let on_exceed = if random.chance(500) { OnExceed::Pause } else { OnExceed::Ask };
        let tokens = Some(random.range(50, 1_000));
        let (usd, timezone) = (None, String::new());
        limits.budget = Some(Budget { usd, tokens, per: Per::Hour, timezone, on_exceed });
    }
    limits
}

/// What an attempt says that it has spent: not drawn, so that the story stays the same without it.
pub fn usage(task: &Task, spec: &AgentSpec) -> Usage {
    if spec.limits.budget.is_none() {
        return Usage::NONE;
    }
    let id = task.run.0;
    let word = mix(id as u64
        ^ (id >> 64) as u64
        ^ mix(u64::from(task.inst) << 32 | u64::from(task.attempt)));
    Usage { usd: Usd(word % 3), tokens: word / 3 % 8 }
}

fn blank(id: &str) -> AgentSpec {
    let command = CommandSpec {
        argv: vec!["simulated".into()],
        cwd: None,
        retry_exit_codes: Vec::new(),
        permanent_exit_codes: Vec::new(),
        grace: Span(5_000),
        limits: ProcessLimits::default(),
    };
    AgentSpec {
        id: name(id),
        name: None,
        description: None,
        tier: None,
        labels: BTreeMap::new(),
        actions: BTreeMap::new(),
        concurrency: None,
        limits: Default::default(),
        retry: None,
        timeout: None,
        once: false,
        env: BTreeMap::new(),
        kind: AgentKind::Command(command),
    }
}

/// What an attempt is going to do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// When it answers, counted from its start; `None` = never by itself.
    pub after: Option<u64>,
    /// What it answers.
    pub outcome: Outcome,
    /// Whether its action takes place, whatever it answers.
    pub happens: bool,
}

/// Draws what an attempt does. `done`: whether its action has happened already, for checks.
pub fn plan(random: &mut Random, swarm: &Swarm, task: &Task, spec: &AgentSpec, done: bool) -> Plan {
    let after = random.delay(swarm.attempt);
    let limit = task.timeout.or(spec.timeout).map(|t| t.0);
    let mut plan = match task.action == CHECK {
        true => check(random, swarm, done),
        false => action(random, swarm),
    };
    plan.after = plan.after.map(|_| after);
    if let Some(limit) = limit
        && plan.after.is_none_or(|after| after > limit)
    {
        plan.after = Some(limit);
        plan.outcome = failed(ErrorKind::Timeout, "it took too long");
        plan.happens = random.chance(500);
    }
    plan
}

fn check(random: &mut Random, swarm: &Swarm, done: bool) -> Plan {
    let outcome = match random.weighted(&[swarm.outcomes[0], swarm.outcomes[1], swarm.outcomes[3]])
    {
        0 => {
            let output = json!({ "done": done, "output": { "n": 1 } });
            Outcome::Succeeded { output: Some(Arc::new(output)) }
        }
        1 => failed(ErrorKind::Retryable, "the check failed"),
        _ => Outcome::Succeeded { output: Some(Arc::new(json!({ "done": "perhaps" }))) },
    };
    Plan { after: Some(0), outcome, happens: false }
}

fn action(random: &mut Random, swarm: &Swarm) -> Plan {
    let drawn = random.weighted(&swarm.outcomes);
    let outcome = match drawn {
        0 | 7 => Outcome::Succeeded { output: output(random) },
        1 => failed(ErrorKind::Retryable, "try again"),
        2 => failed(ErrorKind::Permanent, "never"),
        3 => failed(ErrorKind::Timeout, "it took too long"),
        4 => failed(ErrorKind::UnknownOutcome, "the connection broke"),
        5 => Outcome::RateLimited {
            error: StepError::new(ErrorKind::Retryable, "too many"),
            after: Span(random.range(0, 10_000)),
        },
        _ => failed(ErrorKind::Output, "not JSON"),
    };
    // An action takes place for certain when it succeeds, and not at all when it fails for a known
    // reason; else nobody knows.
    let happens = match drawn {
        0 => true,
        3 | 4 | 7 => random.chance(500),
        _ => false,
    };
    Plan { after: (drawn != 7).then_some(0), outcome, happens }
}

fn output(random: &mut Random) -> Option<Arc<serde_json::Value>> {
    let items: Vec<u64> = (0..random.below(4)).collect();
    match random.chance(900) {
        true => Some(Arc::new(json!({ "n": random.below(5), "items": items }))),
        // An explicit null, and nothing at all.
        false => (items.len().is_multiple_of(2)).then(Arc::default),
    }
}

fn failed(kind: ErrorKind, message: &str) -> Outcome {
    Outcome::Failed { error: StepError::new(kind, message) }
}
