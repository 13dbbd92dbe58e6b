//! Keys take turns at an agent, however much work one of them has, in memory or not.

use std::collections::{BTreeMap, BTreeSet};

use moa_core::agent::AgentSpec;
use moa_core::ids::RunId;
use moa_core::limit::AgentLimits;
use moa_core::time::Span;
use moa_engine::node::Answer;
use moa_ports::suite::build;
use serde_json::{Value as Json, json};

use crate::hand::Hand;
use crate::script::{START, agent, agents, request};

const TENANTS: (&str, &str) = (
    "tenants",
    "params: {tenant: {type: string}, weight: {type: integer, default: 1}}\n\
     fairness: {key: params.tenant, weight: params.weight}\n\
     steps: [{id: one, agent: busy, action: x}]\n",
);
const NOBODYS: (&str, &str) = ("nobodys", "steps: [{id: one, agent: busy, action: x}]");
const URGENT: (&str, &str) = (
    "urgent",
    "params: {tenant: {type: string}}\nfairness: params.tenant\npriority: high\n\
     steps: [{id: one, agent: busy, action: x}]\n",
);
const PARENT: (&str, &str) = (
    "parent",
    "params: {tenant: {type: string}}\nfairness: params.tenant\n\
     steps: [{id: child, workflow: nobodys}]\n",
);
const OWN: (&str, &str) = (
    "own",
    "params: {tenant: {type: string}}\nfairness: params.tenant\n\
     steps: [{id: child, workflow: tenants, params: {tenant: other}}]\n",
);
const SHARED: (&str, &str) = (
    "shared",
    "params: {of: {type: array}}\nfairness: '\"big\"'\nsteps:\n  - foreach: {in: params.of}\n    \
     steps: [{id: one, agent: busy, action: x}]\n",
);

const BACKLOG: u64 = 10_000;

fn slots(concurrency: u32) -> [AgentSpec; 1] {
    [AgentSpec { concurrency: Some(concurrency), ..agent("busy") }]
}

fn hand() -> Hand {
    let mut hand = Hand::new(&[TENANTS, NOBODYS, URGENT, PARENT, OWN, SHARED]);
    hand.agents = agents(slots(0));
    hand.restart();
    hand
}

/// Starts runs, none of which can start anything.
fn queue(hand: &mut Hand, runs: impl IntoIterator<Item = (u64, &'static str, Json)>) {
    for (n, workflow, params) in runs {
        hand.node.start(hand.now, n, build::run(n), request(workflow, params));
    }
    hand.settle();
    let refused = hand.answers.values().find(|a| !matches!(a, Answer::Started(Ok(_))));
    assert_eq!(refused, None);
}

fn of(tenant: &str) -> Json {
    json!({ "tenant": tenant })
}

/// The agent has one slot from now on.
fn open(hand: &mut Hand) {
    hand.agents = agents(slots(1));
    hand.node.set_agents(hand.agents.clone());
    hand.settle();
}

/// What starts when every attempt ends at once, up to so many.
fn turns(hand: &mut Hand, count: usize) -> Vec<RunId> {
    while hand.started.len() < count && !hand.running.is_empty() {
        hand.end_first();
        hand.settle();
    }
    hand.started.clone()
}

fn runs(numbers: &[u64]) -> Vec<RunId> {
    numbers.iter().map(|n| build::run(*n)).collect()
}

/// One key's backlog, and behind it one task of another and two without a key.
fn backlog() -> Hand {
    let mut hand = hand();
    queue(&mut hand, (1..=BACKLOG).map(|n| (n, TENANTS.0, of("big"))));
    let late = [
        (BACKLOG + 1, TENANTS.0, of("small")),
        (BACKLOG + 2, NOBODYS.0, json!({})),
        (BACKLOG + 3, NOBODYS.0, json!({})),
    ];
    queue(&mut hand, late);
    hand
}

#[test]
fn a_backlog_of_one_key_does_not_hold_up_another() {
    let expected = runs(&[1, BACKLOG + 1, BACKLOG + 2, 2, BACKLOG + 3, 3, 4]);
    let mut hand = backlog();
    open(&mut hand);
    assert_eq!(turns(&mut hand, 7), expected, "all are in memory");
    let mut hand = backlog();
    hand.agents = agents(slots(1));
    hand.restart();
    hand.settle();
    assert_eq!(turns(&mut hand, 7), expected, "none is");
    assert!(hand.asks < 20, "it asked {} times", hand.asks);
    assert!(hand.node.status().runs_cached < 200);
    hand.restart();
    hand.node.set_runs_cached_max(1);
    hand.node.set_due_rows_max(2);
    hand.started.clear();
    hand.settle();
    assert_eq!(turns(&mut hand, 3), runs(&[4, 5, 6]), "nobody else is left");
}

#[test]
fn a_backlog_of_one_run_does_not_hold_up_another_key() {
    let mut hand = hand();
    let many: Vec<u64> = (0..BACKLOG).collect();
    queue(&mut hand, [(1, SHARED.0, json!({ "of": many })), (2, TENANTS.0, of("small"))]);
    hand.agents = agents(slots(1));
    hand.restart();
    hand.settle();
    assert_eq!(turns(&mut hand, 4), runs(&[1, 2, 1, 1]));
}

#[test]
fn who_comes_late_is_next_however_long_others_wait() {
    let mut hand = hand();
    queue(&mut hand, (1..=100).map(|n| (n, TENANTS.0, of("big"))));
    open(&mut hand);
    turns(&mut hand, 50);
    hand.now = hand.now.after(Span::minutes(60));
    queue(&mut hand, [(101, TENANTS.0, of("small")), (102, TENANTS.0, of("small"))]);
    hand.started.clear();
    assert_eq!(turns(&mut hand, 5), runs(&[51, 101, 52, 102, 53]));
}

#[test]
fn keys_of_more_weight_have_more_turns() {
    let mut hand = hand();
    let heavy = json!({ "tenant": "heavy", "weight": 3 });
    let all = (1..=100).map(|n| match n % 2 {
        0 => (n, TENANTS.0, heavy.clone()),
        _ => (n, TENANTS.0, of("light")),
    });
    queue(&mut hand, all);
    hand.agents = agents(slots(1));
    hand.restart();
    hand.settle();
    let heavy = runs(&(1..=50).map(|n| 2 * n).collect::<Vec<_>>());
    let turns = turns(&mut hand, 40);
    assert_eq!(turns.iter().filter(|run| heavy.contains(run)).count(), 30);
}

/// Priority and age say of which priority the next task is; keys take turns among equals.
#[test]
fn turns_are_taken_among_tasks_of_equal_priority() {
    let mut hand = hand();
    queue(&mut hand, (1..=4).map(|n| (n, TENANTS.0, of("big"))));
    queue(&mut hand, (5..=8).map(|n| (n, URGENT.0, of("big"))));
    queue(&mut hand, [(9, TENANTS.0, of("small")), (10, URGENT.0, of("small"))]);
    open(&mut hand);
    assert_eq!(turns(&mut hand, 10), runs(&[5, 10, 6, 7, 8, 1, 9, 2, 3, 4]));
    // One that has waited long enough comes before a later one of higher priority.
    let mut hand = self::hand();
    queue(&mut hand, [(1, TENANTS.0, of("big")), (2, TENANTS.0, of("small"))]);
    hand.now = hand.now.after(Span::minutes(11));
    queue(&mut hand, [(3, URGENT.0, of("big"))]);
    open(&mut hand);
    assert_eq!(turns(&mut hand, 3), runs(&[1, 2, 3]));
}

#[test]
fn runs_of_a_run_are_of_its_key_unless_they_have_their_own() {
    let mut hand = hand();
    queue(&mut hand, (1..=3).map(|n| (n, TENANTS.0, of("big"))));
    queue(&mut hand, [(4, PARENT.0, of("big")), (5, PARENT.0, of("small")), (6, OWN.0, of("big"))]);
    open(&mut hand);
    let turns = turns(&mut hand, 6);
    let child = |n| build::run(n).child(0, 1);
    let expected = [build::run(1), child(5), child(6), build::run(2), build::run(3), child(4)];
    assert_eq!(turns, expected);
}

/// However many keys there are, and however little stays in memory.
#[test]
fn all_keys_have_their_turns_in_a_small_memory() {
    for (cached, rows, keys) in [(1, 1, 5), (3, 7, 5), (50, 4096, 5), (1, 2, 200)] {
        let mut hand = hand();
        let key = |n: u64| match n <= 400 {
            true => 0,
            false => n % keys,
        };
        queue(&mut hand, (1..=1000).map(|n| (n, TENANTS.0, of(&key(n).to_string()))));
        hand.agents = agents(slots(1));
        hand.restart();
        hand.node.set_runs_cached_max(cached);
        hand.node.set_due_rows_max(rows);
        hand.settle();
        let count = hand.started.len();
        assert_eq!(count, 1);
        let turns = turns(&mut hand, 1 + 2 * keys as usize);
        let number = |run: &RunId| (1..=1000).find(|n| build::run(*n) == *run).expect("a run");
        // The first may start before the others are known.
        for round in turns[1..].chunks(keys as usize) {
            let mut of: Vec<u64> = round.iter().map(|run| key(number(run))).collect();
            of.sort_unstable();
            assert_eq!(of, (0..keys).collect::<Vec<_>>(), "{cached} runs, {rows} rows");
        }
        let rest = self::turns(&mut hand, 1000);
        assert_eq!(rest.len(), 1000, "{cached} runs, {rows} rows: some never started");
    }
}

/// What is known of a key without a run in memory is its turn alone.
#[test]
fn memory_stays_small_with_many_keys_and_all_have_their_turns() {
    const KEYS: u64 = 600;
    for quota in [None, Some(json!({"quota": {"units": 1_000_000, "per": "hour"}}))] {
        let mut hand = hand();
        let all = (1..=2 * KEYS).map(|n| (n, TENANTS.0, of(&(n % KEYS).to_string())));
        queue(&mut hand, all);
        let limits = serde_json::from_value(quota.clone().unwrap_or(json!({}))).expect("limits");
        hand.agents = agents([AgentSpec { limits, concurrency: Some(1), ..agent("busy") }]);
        hand.restart();
        hand.node.set_runs_cached_max(100);
        hand.node.set_due_rows_max(150);
        hand.settle();
        assert!(hand.most_cached < 350, "{} in memory", hand.most_cached);
        let turns = turns(&mut hand, 2 * KEYS as usize);
        let number: BTreeMap<RunId, u64> = (1..=2 * KEYS).map(|n| (build::run(n), n)).collect();
        let numbers: Vec<u64> = turns.iter().map(|run| number[run]).collect();
        let keys: BTreeSet<u64> = numbers[1..=KEYS as usize].iter().map(|n| n % KEYS).collect();
        // The first may start before the others are known.
        assert!(keys.len() == KEYS as usize, "{} of {KEYS} had a turn", keys.len());
        let all: BTreeSet<u64> = numbers.iter().copied().collect();
        assert!(all.len() == 2 * KEYS as usize, "{} of {} started", all.len(), 2 * KEYS);
        assert!(hand.loads < 5 * KEYS as usize, "it loaded {} runs", hand.loads);
        assert!(hand.most_cached < 350, "{} in memory", hand.most_cached);
    }
}

#[test]
fn fifty_thousand_keys_fit_into_a_small_memory() {
    const KEYS: u64 = 50_000;
    let mut hand = hand();
    hand.node.set_runs_cached_max(1000);
    for chunk in (1..=KEYS).collect::<Vec<_>>().chunks(1000) {
        queue(&mut hand, chunk.iter().map(|n| (*n, TENANTS.0, of(&n.to_string()))));
    }
    assert!(hand.most_cached < 4000, "{} in memory as they came", hand.most_cached);
    hand.agents = agents(slots(1));
    hand.restart();
    hand.node.set_runs_cached_max(1000);
    hand.settle();
    assert!(hand.most_cached < 6000, "{} in memory after a start", hand.most_cached);
    assert!(hand.node.status().runs_cached <= 1000);
    let loads = hand.loads;
    let started: BTreeSet<RunId> = turns(&mut hand, 50).into_iter().collect();
    assert_eq!(started.len(), 50, "each has its turn");
    assert!(hand.loads - loads < 200, "{} loaded for 50 turns", hand.loads - loads);
    assert!(hand.node.status().runs_cached <= 1000);
}

#[test]
fn turns_are_taken_within_a_rate() {
    let mut hand = hand();
    queue(&mut hand, (1..=10).map(|n| (n, TENANTS.0, of("big"))));
    queue(&mut hand, [(11, TENANTS.0, of("small"))]);
    let limits = json!({"rates": [{"count": 1, "span": Span::minutes(1).0}]});
    let limits: AgentLimits = serde_json::from_value(limits).expect("limits");
    hand.agents = agents([AgentSpec { limits, ..agent("busy") }]);
    hand.restart();
    hand.settle();
    for _ in 0..2 {
        hand.wake();
        hand.settle();
    }
    assert_eq!(hand.started, runs(&[1, 11, 2]));
}

#[test]
fn a_key_that_can_not_be_made_refuses_the_run() {
    let mut hand = hand();
    for weight in [json!(0), json!(1001), json!(-1)] {
        let params = json!({ "tenant": "a", "weight": weight });
        hand.node.start(START, 1, build::run(1), request(TENANTS.0, params));
        hand.settle();
        let answer = format!("{:?}", hand.answers.remove(&1));
        assert!(answer.contains("fairness.weight"), "{answer}");
    }
    hand.node.start(START, 1, build::run(1), request(URGENT.0, of(&"x".repeat(513))));
    hand.settle();
    let answer = format!("{:?}", hand.answers.remove(&1));
    assert!(answer.contains("fairness.key: longer than 512 characters"), "{answer}");
}
