//! More tasks than a node has in memory: none is hidden by others, and the store isn't asked without
//! end for what can't start.

use moa_core::agent::AgentSpec;
use moa_core::ids::RunId;
use moa_core::limit::AgentLimits;
use moa_core::time::Span;
use moa_engine::node::Answer;
use moa_ports::suite::build;
use serde_json::json;

use crate::hand::Hand;
use crate::script::{START, agent, agents, name, request};

const LONG: (&str, &str) = ("long", "steps: [{id: one, agent: busy, action: x}]");
const SHORT: (&str, &str) = ("short", "steps: [{id: one, agent: idle, action: x}]");
const CHEAP: (&str, &str) = ("cheap", "steps: [{id: one, agent: busy, action: y}]");
const NOTHING: (&str, &str) = ("nothing", "steps: [{id: one, agent: noop, action: x}]");
const MANY: (&str, &str) = (
    "many",
    "params: {of: {type: array}}\nsteps:\n  - foreach: {in: params.of}\n    \
     steps: [{id: one, agent: busy, action: x}]\n",
);

/// More than any look at the store brings.
const BACKLOG: u64 = 10_000;

fn limited(id: &str, concurrency: u32) -> AgentSpec {
    AgentSpec { concurrency: Some(concurrency), ..agent(id) }
}

/// Agents of one slot each, or of none.
fn slots(concurrency: u32) -> [AgentSpec; 3] {
    let noop = AgentSpec { concurrency: (concurrency == 0).then_some(0), ..noop() };
    [limited("busy", concurrency), limited("idle", concurrency), noop]
}

fn noop() -> AgentSpec {
    let spec = json!({ "id": "noop", "kind": { "builtin": "noop" } });
    serde_json::from_value(spec).expect("an agent")
}

/// A node that has made these runs, but whose agents have started nothing.
fn queued(runs: impl IntoIterator<Item = (u64, &'static str)>) -> Hand {
    let mut hand = Hand::new(&[LONG, CHEAP, SHORT, NOTHING, MANY]);
    hand.agents = agents(slots(0));
    hand.restart();
    let of: Vec<u64> = (0..BACKLOG).collect();
    for (n, workflow) in runs {
        let params = if workflow == MANY.0 { json!({ "of": of }) } else { json!({}) };
        hand.node.start(START, n, build::run(n), request(workflow, params));
    }
    hand.settle();
    let refused = hand.answers.values().find(|a| !matches!(a, Answer::Started(Ok(_))));
    assert_eq!((refused, hand.started.len()), (None, 0));
    hand.agents = agents(slots(1));
    hand
}

/// A backlog of one agent, and behind it one task of another.
fn backlog() -> Hand {
    queued((1..=BACKLOG).map(|n| (n, LONG.0)).chain([(BACKLOG + 1, SHORT.0)]))
}

fn runs(numbers: &[u64]) -> Vec<RunId> {
    numbers.iter().map(|n| build::run(*n)).collect()
}

#[test]
fn the_backlog_of_a_busy_agent_hides_no_task_of_another() {
    let mut hand = backlog();
    hand.node.set_agents(hand.agents.clone());
    hand.settle();
    assert_eq!(hand.started, runs(&[1, BACKLOG + 1]), "all are in memory");
    let mut hand = backlog();
    hand.restart();
    hand.settle();
    assert_eq!(hand.started, runs(&[1, BACKLOG + 1]), "none is");
    assert!(hand.asks < 10, "it asked {} times", hand.asks);
    let waiting = hand.node.status().ready[&name("busy")];
    assert!(waiting < 100, "{waiting} are of no use in memory");
}

#[test]
fn the_backlog_of_one_run_hides_no_task_of_another_agent() {
    let mut hand = queued([(1, MANY.0), (2, SHORT.0)]);
    hand.restart();
    hand.settle();
    assert_eq!(hand.started, runs(&[1, 2]));
    assert!(hand.asks < 10, "it asked {} times", hand.asks);
}

#[test]
fn the_backlog_of_an_agent_that_limits_hold_back_hides_nothing_either() {
    let hour = Span::minutes(60);
    let mut hand = backlog();
    for busy in hand.agents.values_mut().filter(|spec| spec.id == name("busy")) {
        let limits = json!({"rates": [{"count": 2, "span": hour.0}]});
        let limits: AgentLimits = serde_json::from_value(limits).expect("limits");
        *busy = AgentSpec { limits, concurrency: None, ..agent("busy") }.into();
    }
    hand.restart();
    hand.settle();
    assert_eq!(hand.started, runs(&[1, 2, BACKLOG + 1]));
    assert!(hand.asks < 10, "it asked {} times", hand.asks);
    let now = hand.now;
    hand.wake();
    hand.settle();
    assert_eq!(hand.now, now.after(hour), "there is nothing to do before");
    assert_eq!(hand.started[3..], runs(&[3, 4]));
}

/// What a node keeps in memory, and what it asks for at once, may be less than what waits.
#[test]
fn a_small_memory_neither_hides_tasks_nor_loads_them_without_end() {
    for (cached, rows) in [(1, 1), (1, 4096), (3, 2), (50, 7)] {
        let all = (1..=50).map(|n| (n, LONG.0)).chain([(51, SHORT.0), (52, NOTHING.0)]);
        let mut hand = queued(all);
        hand.restart();
        hand.node.set_runs_cached_max(cached);
        hand.node.set_due_rows_max(rows);
        hand.settle();
        hand.started.sort_unstable();
        assert_eq!(hand.started, runs(&[1, 51, 52]), "{cached} runs, {rows} rows");
        assert!(hand.asks < 30, "it asked {} times", hand.asks);
        hand.started.clear();
        while !hand.running.is_empty() {
            hand.end_first();
            hand.settle();
        }
        let rest: Vec<u64> = (2..=50).collect();
        assert_eq!(hand.started, runs(&rest), "{cached} runs, {rows} rows");
    }
}

/// Those that have waited longest leave memory first, but they are also the next to start.
#[test]
fn what_left_memory_is_not_overtaken() {
    let mut hand = queued([]);
    hand.restart();
    hand.node.set_runs_cached_max(100);
    for n in 1..=1000 {
        hand.node.start(START, n, build::run(n), request(LONG.0, json!({})));
        hand.settle();
    }
    while !hand.running.is_empty() {
        hand.end_first();
        hand.settle();
    }
    let all: Vec<u64> = (1..=1000).collect();
    assert!(hand.started == runs(&all), "in another order: {:?}", &hand.started[..200]);
}

/// A node of several looks again and again for what others left.
#[test]
fn what_would_leave_memory_at_once_is_not_loaded() {
    let mut hand = Hand::shared(&[LONG]);
    hand.node.set_agents(agents(slots(0)));
    hand.node.set_runs_cached_max(1);
    for n in 1..=100 {
        hand.node.start(START, n, build::run(n), request(LONG.0, json!({})));
    }
    hand.settle();
    let before = (hand.asks, hand.loads);
    for _ in 0..5 {
        hand.wake();
        hand.settle();
    }
    assert!(hand.asks >= before.0 + 5, "it has looked");
    assert_eq!(hand.loads, before.1);
    assert!(hand.node.status().runs_cached < 20);
}

/// However many agents there are, and however few runs stay in memory.
#[test]
fn tasks_that_a_quota_has_no_room_for_do_not_hide_a_cheaper_one() {
    let mut hand = queued((1..=30).map(|n| (n, LONG.0)).chain([(31, CHEAP.0)]));
    let limits = json!({"quota": {"units": 15, "per": "day", "cost": {"x": 10}}});
    let limits: AgentLimits = serde_json::from_value(limits).expect("limits");
    let others = (0..300).map(|n| agent(&format!("other-{n}")));
    hand.agents = agents(others.chain([AgentSpec { limits, ..agent("busy") }]));
    hand.restart();
    hand.node.set_runs_cached_max(1);
    hand.settle();
    assert_eq!(hand.started, runs(&[1, 31]), "ten units and one");
    assert!(hand.asks < 30, "it asked {} times", hand.asks);
}

/// A node that doesn't know whether it is still registered starts nothing, not even what is free.
#[test]
fn what_is_free_is_not_asked_for_without_end_while_it_must_not_start() {
    let mut hand = Hand::shared_until(&[NOTHING], START);
    hand.node.set_agents(agents([noop()]));
    for n in 1..=100 {
        hand.node.start(START, n, build::run(n), request(NOTHING.0, json!({})));
    }
    hand.settle();
    hand.wake();
    hand.settle();
    assert_eq!(hand.started, []);
    assert!(hand.asks < 20, "it asked {} times", hand.asks);
    hand.node.registered(hand.now, hand.now.after(Span::minutes(60)));
    hand.settle();
    let all: Vec<u64> = (1..=100).collect();
    assert_eq!(hand.started, runs(&all));
}
