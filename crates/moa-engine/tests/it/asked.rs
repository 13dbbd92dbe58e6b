//! A node that executes only what it is asked to leaves every other run as it is.

use std::cell::Cell;

use moa_core::ids::RunId;
use moa_core::machine::TimerKey;
use moa_core::run::RunStatus;
use moa_core::time::{Millis, Span};
use moa_engine::handle::{Change, Error, ForkFrom, ForkRequest, StartRequest, Started};
use moa_engine::virtual_time::{Mock, Rest, World};
use moa_ports::agent::Task;
use moa_ports::store::{Message, MessageId, Snapshot};
use moa_ports::views::HistoryRow;
use serde_json::json;

use crate::script::{
    START, agent, agents, answers, folded_is_stored, ok, plan, request, schemas, start, world,
};

const WEEK: Span = Span(7 * 24 * 3_600_000);

/// Something of everything: attempts, a timer, a wait, a child with the same, a task without a slot.
const BUSY: &str = "
mode: graph
steps:
  - {id: work, agent: a, action: x}
  - {id: nap, sleep: 1m}
  - {id: hear, wait_for: {event: done}}
  - {id: sub, workflow: child}
  - {id: flaky, agent: a, action: x, retry: {max_attempts: 9, delay: 1m}}
";
const CHILD: &str = "
mode: graph
steps: [{id: work, agent: a, action: x}, {id: nap, sleep: 1m}, {id: sub, workflow: grandchild}]
";
const GRANDCHILD: &str = "steps: [{id: nap, sleep: 1m}, {id: tell, emit: done}]";
const PARENT: &str = "steps: [{id: sub, workflow: child}, {id: last, agent: a, action: x}]";
const ALONE: &str = "concurrency: {key: \"'one'\"}\nsteps: [{id: work, agent: a, action: x}]";

const WORKFLOWS: [(&str, &str); 5] = [
    ("busy", BUSY),
    ("child", CHILD),
    ("grandchild", GRANDCHILD),
    ("parent", PARENT),
    ("alone", ALONE),
];

/// Attempts that never end while `stuck` says so, and take a second from then on.
fn stuck_while(stuck: &Cell<bool>) -> Mock<'_> {
    Box::new(|_: &Task, _| (!stuck.get()).then(|| (Span::seconds(1), ok(json!(1)))))
}

/// All that the store has of runs other than these: rows, histories, timers, messages.
type All =
    (Vec<Snapshot>, Vec<HistoryRow>, Vec<(RunId, TimerKey, Millis)>, Vec<(MessageId, Message)>);

fn without(world: &World<'_>, roots: &[RunId]) -> All {
    let model = world.store().model();
    let other = |run: RunId| model.root_of(run).is_some_and(|root| !roots.contains(&root));
    let snapshots = model.run_ids().filter(|run| other(*run));
    let messages = model.messages().filter(|(_, message)| other(message.to));
    (
        snapshots.filter_map(|run| model.snapshot(run)).collect(),
        model.history().filter(|row| other(row.run)).cloned().collect(),
        model.timers().filter(|(run, _, _)| other(*run)).collect(),
        messages.map(|(id, message)| (id, message.clone())).collect(),
    )
}

fn status(world: &World<'_>, run: RunId) -> RunStatus {
    folded_is_stored(world, run);
    world.run_state(run).expect("the run is in the store").row.status
}

/// A world in which one attempt runs at a time.
fn narrow(stuck: &Cell<bool>) -> World<'_> {
    let mut narrow = agent("a");
    narrow.concurrency = Some(1);
    let mut world = World::new(START, agents([narrow]), schemas(), stuck_while(stuck));
    for (id, text) in WORKFLOWS {
        world.put(&plan(id, text)).expect("a plan is JSON");
    }
    world
}

/// A world whose node died in the middle of a busy run, and whose next one executes only what it is
/// asked to.
fn after_a_crash(stuck: &Cell<bool>) -> (World<'_>, RunId) {
    let mut world = narrow(stuck);
    stuck.set(true);
    let busy = start(&mut world, "busy", json!({}));
    world.run(Span::seconds(30));
    world.restart_for_asked();
    stuck.set(false);
    (world, busy)
}

#[test]
fn what_others_left_open_stays_as_it_is() {
    let stuck = Cell::new(false);
    let (mut world, busy) = after_a_crash(&stuck);
    let before = without(&world, &[]);
    assert_eq!(before.0.len(), 3, "a run, its child, and the child of that");
    let started = world.started.len();
    assert_eq!(world.run(WEEK), Rest::Idle);
    let own = start(&mut world, "parent", json!({}));
    assert_eq!(world.run(WEEK), Rest::Idle);
    assert_eq!(status(&world, own), RunStatus::Succeeded);
    let model = world.store().model();
    let of_others = world.started[started..].iter().filter(|s| model.root_of(s.1) != Some(own));
    assert_eq!(of_others.count(), 0);
    drop(model);
    let (snapshots, history, timers, messages) = without(&world, &[own]);
    assert_eq!((snapshots, history, timers), (before.0, before.1, before.2));
    // The event that the own run sent to all waits for the one that wants it.
    let news: Vec<RunId> = messages[before.3.len()..].iter().map(|(_, m)| m.to).collect();
    assert_eq!(news, [busy]);
    assert_eq!(messages[..before.3.len()], before.3);

    world.restart();
    world.run(WEEK);
    assert_eq!(status(&world, busy), RunStatus::Succeeded);
    assert_eq!(without(&world, &[]).3, []);
}

#[test]
fn a_run_that_waits_gets_the_event_once_it_is_served() {
    let hears = ("hears", "steps: [{id: hear, wait_for: {event: done}}]");
    let mut world = world(&[WORKFLOWS[2], hears], answers(Vec::new()));
    let waiting = start(&mut world, "hears", json!({}));
    world.run(WEEK);
    world.restart_for_asked();
    let own = start(&mut world, "grandchild", json!({}));
    world.run(WEEK);
    assert_eq!(status(&world, own), RunStatus::Succeeded);
    assert_eq!(status(&world, waiting), RunStatus::Waiting);
    let mail: Vec<RunId> = world.store().model().messages().map(|(_, m)| m.to).collect();
    assert_eq!(mail, [waiting]);
    world.restart();
    world.run(WEEK);
    assert_eq!(status(&world, waiting), RunStatus::Succeeded);
}

#[test]
fn a_slot_that_nobody_gives_back_is_waited_for() {
    let stuck = Cell::new(true);
    let mut world = world(&WORKFLOWS, stuck_while(&stuck));
    let holder = start(&mut world, "alone", json!({}));
    world.run(Span::seconds(5));
    stuck.set(false);
    world.restart_for_asked();
    let own = start(&mut world, "alone", json!({}));
    assert_eq!(world.run(WEEK), Rest::Idle);
    assert_eq!(status(&world, own), RunStatus::Pending);
    assert_eq!(status(&world, holder), RunStatus::Running);
    world.restart();
    world.run(WEEK);
    assert_eq!([status(&world, holder), status(&world, own)], [RunStatus::Succeeded; 2]);
}

#[test]
fn a_slot_that_the_own_run_gives_back_is_kept_for_the_next() {
    let mut world = world(&WORKFLOWS, answers(Vec::new()));
    world.restart_for_asked();
    let own = start(&mut world, "alone", json!({}));
    let next = start(&mut world, "alone", json!({}));
    // The second dies with its node before it is its turn.
    world.restart_for_asked();
    world.serve(own);
    world.run(WEEK);
    assert_eq!(status(&world, own), RunStatus::Succeeded);
    assert_eq!(status(&world, next), RunStatus::Pending);
    let mail: Vec<RunId> = world.store().model().messages().map(|(_, m)| m.to).collect();
    assert_eq!(mail, [next]);
    world.restart();
    world.run(WEEK);
    assert_eq!(status(&world, next), RunStatus::Succeeded);
}

#[test]
fn a_change_of_another_run_is_recorded_and_nothing_follows_from_it() {
    let stuck = Cell::new(false);
    let (mut world, busy) = after_a_crash(&stuck);
    let before = without(&world, &[]);
    let changed = |world: &World<'_>| {
        let model = world.store().model();
        let row = model.snapshot(busy).expect("it is there").row;
        (row.extra.paused, row.extra.cancel.is_some(), model.history().count() - before.1.len())
    };
    let started = world.started.len();
    let reason = || "enough".to_owned();
    let changes = [
        (Change::Pause, (true, false, 1)),
        (Change::Resume, (false, false, 2)),
        (Change::Signal { name: "go".into(), key: None, payload: json!(1) }, (false, false, 3)),
        (Change::Event { event: "done".into(), data: json!(1) }, (false, false, 4)),
    ];
    for (change, then) in changes {
        assert_eq!(world.change(busy, change), Ok(()));
        assert_eq!(world.run(WEEK), Rest::Idle);
        assert_eq!(changed(&world), then);
    }
    assert_eq!(world.started.len(), started);
    let recorded = without(&world, &[]);
    let nobody = RunId(7);
    assert_eq!(world.change(nobody, Change::Pause), Err(Error::UnknownRun { run: nobody }));

    stuck.set(true);
    let own = start(&mut world, "parent", json!({}));
    world.run(Span::seconds(5));
    world.change(own, Change::Cancel { reason: reason() }).expect("it is the node's own");
    stuck.set(false);
    world.run(WEEK);
    assert_eq!(status(&world, own), RunStatus::Cancelled);
    assert_eq!(without(&world, &[own]), recorded);

    let started = world.started.len();
    world.change(busy, Change::Cancel { reason: reason() }).expect("it is recorded");
    assert_eq!(world.run(WEEK), Rest::Idle);
    assert_eq!(world.started.len(), started);
    world.restart();
    world.run(WEEK);
    assert_eq!(status(&world, busy), RunStatus::Cancelled);
    assert!(without(&world, &[]).0.iter().all(|of| of.row.status.is_terminal()));
}

#[test]
fn what_a_recorded_change_made_ready_is_done_once_the_run_is_served() {
    let steps = "steps: [{id: hear, wait_for: {signal: go}}, {id: work, agent: a, action: x}]";
    let mut world = world(&[("hears", steps)], answers(Vec::new()));
    let run = start(&mut world, "hears", json!({}));
    world.run(WEEK);
    world.restart_for_asked();
    let go = Change::Signal { name: "go".into(), key: None, payload: json!(1) };
    world.change(run, go).expect("it is recorded");
    assert_eq!(world.run(WEEK), Rest::Idle);
    assert_eq!((world.started.len(), status(&world, run)), (0, RunStatus::Running));
    world.serve(run);
    world.run(WEEK);
    assert_eq!((world.started.len(), status(&world, run)), (1, RunStatus::Succeeded));
}

#[test]
fn a_run_that_has_ended_is_repeated_whoever_executed_it() {
    let mut world = world(&WORKFLOWS, answers(Vec::new()));
    let first = start(&mut world, "parent", json!({}));
    world.run(WEEK);
    world.restart_for_asked();
    let again = ForkRequest {
        run: first,
        from: ForkFrom::Start,
        params: None,
        idempotency_key: None,
        cause: "x".into(),
    };
    let second = world.fork(again).expect("it is repeated");
    world.run(WEEK);
    assert_eq!(status(&world, second), RunStatus::Succeeded);
    let late = world.change(first, Change::Pause);
    assert!(matches!(late, Err(Error::Rejected { .. })), "{late:?}");
}

#[test]
fn a_run_that_is_there_already_goes_on_when_it_is_asked_for() {
    let stuck = Cell::new(true);
    let mut world = world(&WORKFLOWS, stuck_while(&stuck));
    let keyed = |workflow: &str| StartRequest {
        idempotency_key: Some("key".into()),
        ..request(workflow, json!({}))
    };
    let Ok(Started::New { run }) = world.start(keyed("busy")) else { panic!("it is new") };
    let other = start(&mut world, "busy", json!({}));
    world.run(Span::seconds(30));
    stuck.set(false);
    world.restart_for_asked();
    start(&mut world, "alone", json!({}));
    world.run(WEEK);
    assert_eq!(world.start(keyed("parent")), Ok(Started::Existing { run }));
    let before = without(&world, &[]);
    assert_eq!(world.run(WEEK), Rest::Idle);
    assert_eq!(without(&world, &[]), before, "it is not executed without being asked for");

    // From where it was: lost attempts, timers, its children, and theirs.
    world.serve(run);
    world.run(WEEK);
    assert_eq!(status(&world, run), RunStatus::Succeeded);
    let (now, was) = (without(&world, &[run]), without_in(&before, &world, run));
    assert!((now.0, now.1, now.2) == (was.0, was.1, was.2));
    assert_eq!(status(&world, other), RunStatus::Running);
}

#[test]
fn a_task_that_was_ready_already_is_done_when_its_run_is_asked_for() {
    let stuck = Cell::new(true);
    let mut world = narrow(&stuck);
    start(&mut world, "busy", json!({}));
    let run = start(&mut world, "alone", json!({}));
    world.run(Span::seconds(30));
    stuck.set(false);
    world.restart_for_asked();
    start(&mut world, "parent", json!({}));
    world.run(WEEK);
    assert_eq!(status(&world, run), RunStatus::Running);
    world.serve(run);
    world.run(WEEK);
    assert_eq!(status(&world, run), RunStatus::Succeeded);
}

/// Of what was seen before, all that does not belong to a run.
fn without_in(before: &All, world: &World<'_>, root: RunId) -> All {
    let model = world.store().model();
    let other = |run: RunId| model.root_of(run) != Some(root);
    let (snapshots, history, timers, messages) = before.clone();
    (
        snapshots.into_iter().filter(|s| other(s.row.run)).collect(),
        history.into_iter().filter(|row| other(row.run)).collect(),
        timers.into_iter().filter(|t| other(t.0)).collect(),
        messages.into_iter().filter(|(_, m)| other(m.to)).collect(),
    )
}
