//! Runs that moa itself fails on: they are set aside, and everything else goes on.

use std::collections::BTreeMap;

use moa_core::ids::RunId;
use moa_core::limit::Usage;
use moa_core::limits::DUE_ROWS_MAX;
use moa_core::machine::{Outcome, TimerKey};
use moa_core::run::{RunRow, RunStatus, StepRow};
use moa_core::time::Span;
use moa_core::workflow::Plan;
use moa_engine::handle::{Change, Error, Started};
use moa_engine::node::Answer;
use moa_engine::virtual_time::{Rest, World};
use moa_ports::agent::Completion;
use moa_ports::store::{Batch, Commit, Store, WorkflowRef};
use moa_ports::suite::{answer, build};
use serde_json::json;

use crate::hand::Hand;
use crate::script::{START, answers, plan, request, show, start, world};

/// A plan that makes the machine panic as soon as its one step is done: its `finally` is not there.
fn poisoned(id: &str) -> Plan {
    let mut plan = plan(id, "steps: [{id: say, emit: said}]");
    plan.finally = Some(99);
    plan
}

/// That other runs go on as ever.
fn all_is_well(world: &mut World<'_>) {
    let run = start(world, "well", json!({}));
    world.run(Span::minutes(60));
    let state = world.run_state(run).expect("it is in the store");
    assert_eq!(state.row.status, RunStatus::Succeeded);
}

const WELL: (&str, &str) = ("well", "steps: [{id: one, agent: a, action: x}]");

#[test]
fn a_run_that_can_not_be_created_is_refused() {
    let mut world = world(&[WELL], answers(Vec::new()));
    world.put(&poisoned("bad")).expect("a plan is JSON");
    for _ in 0..2 {
        let Err(Error::Rejected { reason }) = world.start(request("bad", json!({}))) else {
            panic!("it was started");
        };
        assert!(reason.contains("moa failed on this request"), "{reason}");
        assert!(reason.contains("out of bounds"), "the panic says why: {reason}");
    }
    assert_eq!(world.store().snapshots(), []);
    all_is_well(&mut world);
}

#[test]
fn a_child_that_can_not_be_created_waits_for_a_better_moa() {
    let parent = ("parent", "steps: [{id: child, workflow: bad}]");
    let mut world = world(&[WELL, parent], answers(Vec::new()));
    world.put(&poisoned("bad")).expect("a plan is JSON");
    let run = start(&mut world, "parent", json!({}));
    world.run(Span::minutes(60));
    all_is_well(&mut world);
    // What asks for the child is still there: the next start tries again.
    let messages: Vec<RunId> = world.store().model().messages().map(|(_, m)| m.to).collect();
    assert_eq!(messages, [run.child(0, 1)]);
    world.put(&plan("bad", "steps: [{id: say, emit: mended}]")).expect("a plan is JSON");
    world.restart();
    world.run(Span::minutes(60));
    assert!(show(&world, run).starts_with("run succeeded"), "{}", show(&world, run));
}

/// A run in the store whose only step says that a step which is not there has opened it.
fn with_bad_rows(world: &World<'_>, id: u128) -> RunId {
    let run = RunId::v7(START.0.unsigned_abs(), id);
    let newest = WorkflowRef::Newest(build::name("well"), None);
    let stored = world.store().model().workflow(&newest).expect("it was put");
    let row = RunRow {
        run,
        workflow: stored.workflow.clone(),
        hash: stored.hash,
        status: RunStatus::Running,
        created_at: START,
        ..build::row(run)
    };
    let step = StepRow { plan: 0, owner: Some(77), ..build::ready(1, 1) };
    let commit = Commit { steps: vec![step], ..build::create(row) };
    let batch = Batch { now: START, commits: vec![commit], ..Batch::default() };
    answer(|reply| world.store().commit(batch, reply)).expect("it is written");
    run
}

#[test]
fn a_run_that_can_not_be_loaded_is_quarantined() {
    let mut world = world(&[WELL], answers(Vec::new()));
    let run = with_bad_rows(&world, 7);
    for _ in 0..2 {
        let Err(Error::Rejected { reason }) = world.change(run, Change::Pause) else {
            panic!("it was paused");
        };
        assert!(reason.contains("quarantined"), "{reason}");
        assert!(reason.contains("out of bounds"), "the panic says why: {reason}");
    }
    all_is_well(&mut world);
    assert_eq!(world.started.len(), 1, "none of its attempts was started");
}

#[test]
fn messages_to_a_quarantined_run_take_no_room() {
    let texts = [WELL, ("parent", "steps: [{id: child, workflow: well}]")];
    let mut world = world(&texts, answers(Vec::new()));
    let run = with_bad_rows(&world, 7);
    world.change(run, Change::Pause).expect_err("it can't be loaded");
    // More of everything than an answer holds.
    let many = DUE_ROWS_MAX as u32 + 10;
    let commit = Commit {
        messages: (0..many).map(|n| build::signal(run, &n.to_string())).collect(),
        steps: (2..many).map(|n| build::ready(n, i64::from(n))).collect(),
        timers: (0..many).map(|step| (TimerKey::Step { step }, Some(START))).collect(),
        ..build::change(run, 1)
    };
    let batch = Batch { now: START, commits: vec![commit], ..Batch::default() };
    answer(|reply| world.store().commit(batch, reply)).expect("it is written");
    let parent = start(&mut world, "parent", json!({}));
    assert_eq!(world.run(Span::minutes(60)), Rest::Idle);
    assert!(show(&world, parent).starts_with("run succeeded"), "{}", show(&world, parent));
    assert_eq!(world.store().model().messages().count(), many as usize, "they are kept");
}

#[test]
fn what_can_not_be_written_of_a_run_stops_that_run_alone() {
    let runs = [1, 2, 3].map(build::run);
    let mut hand = Hand::new(&[WELL]);
    hand.refused = vec![runs[1]];
    for (token, run) in (0..).zip(runs) {
        hand.node.start(START, token, run, request("well", json!({})));
    }
    hand.settle();
    let started = |run| Answer::Started(Ok(Started::New { run }));
    assert_eq!(hand.answers[&0], started(runs[0]));
    assert_eq!(hand.answers[&2], started(runs[2]));
    let Answer::Started(Err(Error::Rejected { reason })) = &hand.answers[&1] else {
        panic!("{:?}", hand.answers[&1]);
    };
    assert!(reason.contains("too odd"), "{reason}");
    assert_eq!(hand.started, [runs[0], runs[2]]);
    assert!(hand.node.status().quarantined.is_empty(), "there is no such run");
    // One that exists is set aside, and keeps no slot; the others of its batch go on.
    hand.refused = vec![runs[0]];
    for (token, run) in (10..).zip([runs[0], runs[2]]) {
        hand.node.change(START, token, run, Change::Pause);
    }
    hand.settle();
    assert_eq!(hand.answers[&11], Answer::Changed(Ok(())));
    assert!(matches!(&hand.answers[&10], Answer::Changed(Err(_))));
    let quarantined = hand.node.status().quarantined;
    assert_eq!(quarantined.keys().collect::<Vec<_>>(), [&runs[0]]);
    assert!(quarantined[&runs[0]].contains("too odd"), "{quarantined:?}");
    for run in [runs[0], runs[2]] {
        let outcome = Outcome::Succeeded { output: None };
        hand.node
            .completed(START, Completion { run, inst: 0, attempt: 1, outcome, usage: Usage::NONE });
    }
    hand.settle();
    assert_eq!(hand.node.status().running, BTreeMap::new());
    hand.node.drain();
    assert!(hand.node.is_quiet());
}
