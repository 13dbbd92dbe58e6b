//! The workflows that are measured, built as plans: no file has to be parsed for them.

use moa_core::expr::Program;
use moa_core::ids::{Name, StepId, VersionHash};
use moa_core::template::Template;
use moa_core::workflow::{Body, Need, OnTimeout, Plan, PlanStep, RunIf, StepIx, StepKind};
use serde_json::{Value as Json, json};

/// The agent that does nothing.
pub const NOOP: &str = "noop";
/// The agent that starts /bin/true.
pub const TRUE: &str = "true";

/// `count` steps, one after the other.
pub fn chain(count: u32) -> Plan {
    let steps = (0..count).map(|i| task(NOOP, i, i.checked_sub(1))).collect();
    plan(&format!("chain_{count}"), steps)
}

/// `count` steps, all at once.
pub fn parallel(agent: &str, count: u32) -> Plan {
    let steps = (0..count).map(|i| task(agent, i, None)).collect();
    plan(&format!("parallel_{agent}_{count}"), steps)
}

/// `count` steps in so many chains beside each other.
pub fn chains(width: u32, count: u32) -> Plan {
    let steps = (0..count).map(|i| task(NOOP, i, i.checked_sub(width))).collect();
    plan(&format!("chains_{count}"), steps)
}

/// One step that waits for the signal `go`.
pub fn waiting() -> Plan {
    let kind = StepKind::WaitSignal {
        name: Template::compile(&json!("go"), false).expect("plain text"),
        matches: None,
        timeout: None,
        on_timeout: OnTimeout::default(),
    };
    plan("waiting", vec![step(0, 0, None, kind)])
}

/// A loop over `params.items`, `width` iterations at once.
pub fn foreach(width: u32) -> Plan {
    let kind = StepKind::Foreach {
        items: Program::compile("params.items").expect("a path"),
        var: "item".into(),
        max_parallel: Some(width),
        collect: false,
        body: 1,
    };
    let mut inner = task(NOOP, 1, None);
    inner.body = 1;
    let mut plan = plan(&format!("foreach_{width}"), vec![step(0, 0, None, kind), inner]);
    plan.bodies =
        vec![Body { start: 0, count: 1, owner: None }, Body { start: 1, count: 1, owner: Some(0) }];
    plan
}

fn task(agent: &str, ix: StepIx, after: Option<StepIx>) -> PlanStep {
    let kind = StepKind::Task {
        agent: name(agent),
        action: "run".into(),
        params: Template::default(),
        env: Template::default(),
    };
    step(ix, 0, after, kind)
}

fn step(ix: StepIx, body: u16, after: Option<StepIx>, kind: StepKind) -> PlanStep {
    PlanStep {
        id: StepId::new(&format!("s{ix}")).expect("a letter and digits"),
        body,
        parent: None,
        branch: 0,
        needs: after.map(|step| Need { step, when: Vec::new() }).into_iter().collect(),
        run_if: RunIf::Success,
        condition: None,
        kind,
        outputs: Vec::new(),
        retry: None,
        timeout: None,
        queue_timeout: None,
        tolerate: false,
        compensate: None,
        priority: None,
        once: false,
        line: 0,
    }
}

fn plan(workflow: &str, steps: Vec<PlanStep>) -> Plan {
    let mut hash = [0; 32];
    for (i, byte) in workflow.bytes().enumerate() {
        hash[i % 32] ^= byte.rotate_left(i as u32 / 32);
    }
    Plan {
        workflow: name(workflow),
        hash: VersionHash(hash),
        title: workflow.to_owned(),
        version: None,
        description: None,
        params: Vec::new(),
        vars: std::collections::BTreeMap::new(),
        priority: Default::default(),
        concurrency: None,
        fairness: None,
        timeout: None,
        bodies: vec![Body { start: 0, count: steps.len() as u32, owner: None }],
        steps,
        on_failure: None,
        finally: None,
        outputs: Vec::new(),
    }
}

/// A name that is known to be one.
pub fn name(text: &str) -> Name {
    Name::new(text).expect("letters, digits and `_`")
}

/// Params with `count` items.
pub fn items(count: u32) -> Json {
    json!({ "items": (0..count).map(|_| 0).collect::<Vec<u8>>() })
}
