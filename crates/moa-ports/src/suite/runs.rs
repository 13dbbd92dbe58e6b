//! Rules of commits: what is written, and what refuses it.

use moa_core::event::Event;
use moa_core::machine::{BUS, Input, MessageBody, TimerKey};
use moa_core::run::RunStatus;
use moa_core::step::StepStatus;
use std::sync::Arc;

use super::build::{self, batch, change, create, end, keyed, row, run, silent, step, with_steps};
use super::{Bench, Verdict, rules};
use crate::store::{Commit, CommitOutcome, Error, Message, Relay, StartGuard};

rules![
    what_is_written_is_loaded,
    what_is_written_survives_a_restart,
    long_values_are_kept,
    a_change_writes_what_it_names_and_nothing_else,
    a_version_of_the_past_or_the_future_is_a_conflict,
    a_run_is_created_once,
    a_refused_commit_leaves_the_others_of_its_batch,
    a_silent_commit_keeps_the_version,
    what_can_not_be_written_stops_nothing_else,
    an_empty_batch_is_answered,
    an_idempotency_key_starts_one_run,
    events_are_numbered_without_a_gap,
];

fn what_is_written_is_loaded(bench: &mut Bench) -> Verdict {
    let (a, b) = (run(1), run(2));
    let row = build::full_row(a, b);
    let steps = vec![step(0, StepStatus::Succeeded), build::full_step(7), build::ready(3, -5)];
    bench.applied(with_steps(create(row.clone()), steps.clone()));
    let snapshot = bench.load(a).expect("it exists");
    assert_eq!(snapshot.version, 1);
    assert_eq!(snapshot.row, row);
    let in_order = vec![steps[0].clone(), steps[2].clone(), steps[1].clone()];
    assert_eq!(snapshot.steps, in_order);
    assert_eq!(bench.view_run(a), Some(snapshot.clone()));
    assert_eq!(bench.load_all(vec![b, a, b]), [None, Some(snapshot), None]);
    assert_eq!(bench.view_run(b), None);
    Verdict::Passed
}

fn what_is_written_survives_a_restart(bench: &mut Bench) -> Verdict {
    let (a, b) = (run(1), run(2));
    let steps = vec![build::full_step(7), build::ready(3, -5)];
    let timers = vec![(TimerKey::Queue { step: 3 }, Some(build::NOW)), (TimerKey::Run, None)];
    let messages = vec![build::signal(b, "later"), build::emitted("done")];
    let waits = vec![(7, "done".to_owned(), true)];
    let commit = with_steps(create(build::full_row(a, b)), steps);
    bench.applied(Commit { timers, messages, waits, ..commit });
    bench.put_workflow(build::NOW, build::version("build", 1, Some("v1")));
    let look = |bench: &Bench| {
        let due = bench.due_now();
        let seen = (bench.load(a), bench.history(a, 0, 10), bench.pending(a), bench.pending(b));
        (due, seen, bench.totals(), bench.workflows(None), bench.last_event())
    };
    let before = look(bench);
    if !bench.reopen() {
        return Verdict::Skipped("it keeps nothing");
    }
    assert_eq!(look(bench), before);
    // Numbers go on where they were.
    let seq = bench.applied(Commit { messages: vec![build::signal(b, "next")], ..change(a, 1) });
    assert_eq!(seq, 2);
    assert_eq!(bench.mail().last().map(|m| m.0), Some(3));
    Verdict::Passed
}

fn long_values_are_kept(bench: &mut Bench) -> Verdict {
    let a = run(1);
    let mut row = row(a);
    row.params = Arc::new(serde_json::json!({"text": "ü".repeat(500_000)}));
    let mut big = step(0, StepStatus::Succeeded);
    big.output = Some(Arc::new(serde_json::json!(["y".repeat(256 << 10)])));
    bench.applied(with_steps(create(row.clone()), vec![big.clone()]));
    row.status = RunStatus::Running;
    bench.applied(Commit { row: Some(Box::new(row.clone())), ..change(a, 1) });
    let snapshot = bench.load(a).expect("it exists");
    assert_eq!((snapshot.row, snapshot.steps), (row, vec![big]));
    Verdict::Passed
}

fn a_change_writes_what_it_names_and_nothing_else(bench: &mut Bench) -> Verdict {
    let a = run(1);
    bench.create(a, vec![step(0, StepStatus::Pending), build::full_step(1)]);
    let before = bench.load(a).expect("it exists");
    bench.applied(with_steps(change(a, 1), vec![step(2, StepStatus::Ready), build::ready(0, 4)]));
    let after = bench.load(a).expect("it exists");
    assert_eq!(after.version, 2);
    assert_eq!(after.row, before.row);
    let steps = [build::ready(0, 4), before.steps[1].clone(), step(2, StepStatus::Ready)];
    assert_eq!(after.steps, steps);
    let ended = build::row_in(a, RunStatus::Succeeded);
    bench.applied(Commit { row: Some(Box::new(ended.clone())), ..change(a, 2) });
    let last = bench.load(a).expect("it exists");
    assert_eq!((last.version, last.row, last.steps), (3, ended, after.steps));
    Verdict::Passed
}

fn a_version_of_the_past_or_the_future_is_a_conflict(bench: &mut Bench) -> Verdict {
    let (a, b) = (run(1), run(2));
    bench.create(a, Vec::new());
    bench.applied(change(a, 1));
    let before = bench.load(a);
    for wrong in [1, 3, 7, u64::MAX] {
        let commit = Commit {
            row: Some(Box::new(build::row_in(a, RunStatus::Paused))),
            timers: vec![(TimerKey::Run, Some(build::NOW))],
            waits: vec![(0, "done".to_owned(), true)],
            messages: vec![build::signal(a, "hello"), build::emitted("done")],
            ..with_steps(change(a, wrong), vec![build::ready(0, 1)])
        };
        assert_eq!(bench.one(commit), CommitOutcome::Conflict, "expected {wrong}");
        assert_eq!(bench.one(silent(a, wrong)), CommitOutcome::Conflict, "expected {wrong}");
    }
    assert_eq!(bench.one(change(b, 1)), CommitOutcome::Conflict);
    assert_eq!(bench.load_all(vec![a, b]), [before, None]);
    let due = bench.due_now();
    assert!(due.timers.is_empty() && due.messages.is_empty() && due.bus.is_empty());
    assert!(due.ready.is_empty());
    assert_eq!(bench.last_event(), 2);
    Verdict::Passed
}

fn a_run_is_created_once(bench: &mut Bench) -> Verdict {
    let a = run(1);
    bench.create(a, Vec::new());
    let before = bench.load(a);
    let again = Commit { messages: vec![build::signal(a, "hi")], ..create(build::row(a)) };
    assert_eq!(bench.one(again), CommitOutcome::Conflict);
    assert_eq!(bench.one(silent(a, 0)), CommitOutcome::Conflict);
    assert_eq!((bench.load(a), bench.mail()), (before, Vec::new()));
    Verdict::Passed
}

fn a_refused_commit_leaves_the_others_of_its_batch(bench: &mut Bench) -> Verdict {
    let (a, b, c) = (run(1), run(2), run(3));
    bench.create(b, Vec::new());
    let outcome = bench.all(vec![create(row(a)), change(b, 9), create(row(c)), change(run(4), 1)]);
    let applied = |seq| CommitOutcome::Applied { seq };
    let conflict = CommitOutcome::Conflict;
    assert_eq!(outcome, [applied(2), conflict.clone(), applied(3), conflict]);
    assert_eq!([a, b, c].map(|run| bench.version(run)), [1, 1, 1]);
    // A conflict is no mark on the run.
    bench.applied(change(b, 1));
    Verdict::Passed
}

fn a_silent_commit_keeps_the_version(bench: &mut Bench) -> Verdict {
    let a = run(1);
    bench.create(a, Vec::new());
    let timer = (TimerKey::Run, Some(build::NOW));
    assert_eq!(bench.applied(Commit { timers: vec![timer], ..silent(a, 1) }), 0);
    assert_eq!((bench.version(a), bench.last_event()), (1, 1));
    assert_eq!(bench.due_now().timers.len(), 1);
    assert_eq!(bench.applied(change(a, 1)), 2);
    Verdict::Passed
}

fn what_can_not_be_written_stops_nothing_else(bench: &mut Bench) -> Verdict {
    let (a, b, c) = (run(1), run(2), run(3));
    bench.create(a, Vec::new());
    let not_an_event = Message { to: BUS, body: MessageBody::Input(Input::Admit) };
    let wrong = [
        create(row(BUS)),
        Commit { row: Some(Box::new(row(b))), ..change(a, 1) },
        with_steps(silent(a, 1), vec![step(0, StepStatus::Ready)]),
        Commit { row: Some(Box::new(row(a))), ..silent(a, 1) },
        Commit { ended: true, ..change(a, 1) },
        Commit { ended: true, row: Some(Box::new(row(a))), ..change(a, 1) },
        Commit { events: vec![Event::RunStarted], ..silent(b, 0) },
        Commit { timers: vec![(TimerKey::Run, None)], ..silent(b, 0) },
        Commit { start: Some(StartGuard::default()), ..change(a, 1) },
        Commit { start: Some(StartGuard::default()), ..silent(b, 0) },
        Commit { messages: vec![not_an_event.clone()], ..change(a, 1) },
    ];
    bench.create(c, Vec::new());
    for (version, wrong) in (1..).zip(wrong) {
        let what = format!("{wrong:?}");
        let outcome = bench.all(vec![wrong, change(c, version), change(c, version + 1)]);
        assert!(matches!(&outcome[0], CommitOutcome::Invalid(why) if !why.is_empty()), "{what}");
        // One of a run's two commits is one too many, too.
        assert!(matches!(outcome[1..], [CommitOutcome::Applied { .. }, CommitOutcome::Invalid(_)]));
        assert_eq!((bench.version(a), bench.load(b), bench.version(c)), (1, None, version + 1));
    }
    let relay = Relay { consumed: 1, messages: vec![not_an_event] };
    let mut invalid = batch(vec![change(a, 1)]);
    invalid.relays.push(relay);
    assert!(matches!(bench.try_commit(invalid), Err(Error::Invalid(_))));
    assert_eq!(bench.version(a), 1);
    Verdict::Passed
}

fn an_empty_batch_is_answered(bench: &mut Bench) -> Verdict {
    let outcome = bench.batch(batch(Vec::new()));
    assert_eq!((outcome.commits, outcome.messages), (Vec::new(), false));
    Verdict::Passed
}

fn an_idempotency_key_starts_one_run(bench: &mut Bench) -> Verdict {
    let (a, b, c, d) = (run(1), run(2), run(3), run(4));
    let duplicate = CommitOutcome::Duplicate(a);
    let first = bench.all(vec![keyed(a, "order-1"), keyed(b, "order-1"), keyed(c, "order-2")]);
    let applied = |seq| CommitOutcome::Applied { seq };
    assert_eq!(first, [applied(1), duplicate.clone(), applied(2)]);
    // Of any workflow, also when the run itself is the one that has the key.
    assert_eq!(bench.one(keyed(d, "order-1")), duplicate);
    assert_eq!(bench.one(keyed(a, "order-1")), duplicate);
    let other_key = bench.one(keyed(a, "order-3"));
    assert_eq!(other_key, CommitOutcome::Conflict);
    assert_eq!(bench.load_all(vec![b, d]), [None, None]);
    // A refused start does not use its key up.
    bench.applied(keyed(d, "order-3"));
    // Keys are compared byte by byte.
    bench.applied(keyed(b, "ORDER-1"));
    bench.applied(end(a, 1, RunStatus::Failed));
    assert_eq!(bench.one(keyed(run(5), "order-1")), duplicate);
    Verdict::Passed
}

fn events_are_numbered_without_a_gap(bench: &mut Bench) -> Verdict {
    let (a, b) = (run(1), run(2));
    bench.all(vec![create(row(a)), create(row(b)), change(run(9), 4)]);
    let two = Commit { events: vec![Event::RunPaused, Event::RunResumed], ..silent(b, 1) };
    bench.all(vec![two.clone(), change(a, 7), silent(run(8), 0)]);
    let later = build::NOW.after(moa_core::time::Span(5));
    bench.batch(batch(vec![Commit { at: later, ..change(a, 1) }]));
    let rows = bench.events(0, 100);
    let seen: Vec<_> = rows.iter().map(|r| (r.seq, r.run, r.version)).collect();
    assert_eq!(seen, [(1, a, 1), (2, b, 1), (3, b, 2), (4, a, 2)]);
    assert_eq!(rows[2].events, two.events);
    assert_eq!((rows[2].at.0, rows[3].at.0), (build::NOW.0, build::NOW.0 + 5));
    assert_eq!(bench.last_event(), 4);
    Verdict::Passed
}
