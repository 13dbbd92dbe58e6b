//! Rules of deleting what is old.

use std::collections::BTreeMap;
use std::sync::Arc;

use moa_core::event::Event;
use moa_core::ids::RunId;
use moa_core::machine::TimerKey;
use moa_core::run::{ParentRef, RunRow, RunStatus};
use moa_core::step::StepStatus;
use moa_core::time::{Millis, Span};
use moa_core::workflow::{OnLimit, notify_workflow};
use serde_json::json;

use super::build::{
    self, NOW, change, contender, create, end, keyed, row, row_in, run, step, with_steps,
};
use super::{Bench, Verdict, rules};
use crate::store::{Batch, Commit, CommitOutcome, Error, Old, PruneAsk, Pruned};
use crate::views::{Fate, Pending, RunFilter};

rules![
    old_runs_are_deleted_with_all_that_is_theirs,
    runs_are_deleted_oldest_first_in_small_parts,
    only_runs_of_the_status_asked_for_are_deleted,
    nothing_of_an_open_run_is_deleted,
    a_key_stays_spent_until_it_is_pruned_itself,
    history_is_deleted_and_the_run_stays,
    event_numbers_go_on_after_all_runs_are_deleted,
    the_newest_runs_can_be_told_from_the_rest,
    notifications_are_counted_and_deleted_apart,
    an_artifact_is_needed_while_a_run_refers_to_it,
];

const LATER: Millis = Millis(NOW.0 + 1);

fn ask(what: Old, before: Millis) -> PruneAsk {
    PruneAsk { what, before, after: None, limit: 99 }
}

fn succeeded(before: Millis) -> PruneAsk {
    ask(Old::Runs(RunStatus::Succeeded), before)
}

fn failed(before: Millis) -> PruneAsk {
    ask(Old::Runs(RunStatus::Failed), before)
}

/// The creation of a run that has ended already.
fn ended_at(n: u64, status: RunStatus, at: i64) -> Commit {
    let mut row = row_in(run(n), status);
    row.finished_at = Some(Millis(at));
    create(row)
}

fn listed(bench: &Bench) -> Vec<RunId> {
    let filter = RunFilter { limit: 100, ..RunFilter::default() };
    bench.runs(&filter).into_iter().map(|summary| summary.run).collect()
}

fn old_runs_are_deleted_with_all_that_is_theirs(bench: &mut Bench) -> Verdict {
    let messages = vec![build::signal(run(2), "late"), build::signal(run(5), "stays")];
    let timers = vec![(TimerKey::Run, Some(NOW))];
    let waits = vec![(0, "done".to_owned(), true)];
    let steps = vec![step(0, StepStatus::Succeeded), build::full_step(1)];
    let old = ended_at(2, RunStatus::Succeeded, 10);
    let old = Commit { timers, waits, messages, ..with_steps(old, steps) };
    bench.all(vec![ended_at(1, RunStatus::Succeeded, 30), old, keyed(run(5), "key")]);
    bench.applied(contender(run(6), "deploy", 1, OnLimit::Queue));
    bench.applied(end(run(5), 1, RunStatus::Failed));
    assert_eq!(bench.prune(succeeded(Millis(30))).runs, [run(2)]);
    assert_eq!(bench.load(run(2)), None);
    assert_eq!(bench.pending(run(2)), Pending::default());
    assert_eq!(bench.history(run(2), 0, 9), []);
    assert!(bench.due_now().ready.is_empty());
    assert_eq!(listed(bench), [6, 5, 1].map(run));
    let seqs: Vec<_> = bench.events(0, 99).iter().map(|row| row.seq).collect();
    assert_eq!(seqs, [1, 3, 4, 5]);
    assert_eq!(bench.prune(failed(LATER)).runs, [run(5)]);
    assert_eq!(bench.mail().iter().map(|m| m.1).collect::<Vec<_>>(), [run(6)]);
    assert_eq!(bench.verify(), Vec::<String>::new());
    // Its id is free again.
    bench.applied(create(row(run(2))));
    let emitted = Commit { messages: vec![build::emitted("done")], ..change(run(2), 1) };
    bench.applied(emitted);
    let events = bench.due_now().bus;
    let handed_on = Batch { events, event_runs: 9, ..build::batch(Vec::new()) };
    assert!(!bench.batch(handed_on).messages, "nobody waits for it");
    bench.reopen();
    assert_eq!(bench.verify(), Vec::<String>::new());
    Verdict::Passed
}

fn runs_are_deleted_oldest_first_in_small_parts(bench: &mut Bench) -> Verdict {
    for (n, at) in [(1, 40), (2, 10), (3, 20), (4, 20), (5, 30), (6, 50)] {
        bench.applied(ended_at(n, RunStatus::Succeeded, at));
    }
    let mut deleted = Vec::new();
    let mut ask = PruneAsk { limit: 2, ..succeeded(Millis(50)) };
    loop {
        let pruned = bench.prune(ask);
        assert!(pruned.runs.len() <= 2);
        deleted.extend(pruned.runs);
        ask.after = pruned.next;
        if ask.after.is_none() {
            break;
        }
    }
    assert_eq!(deleted, [2, 3, 4, 5, 1].map(run));
    assert_eq!(listed(bench), [run(6)]);
    assert_eq!(bench.prune(PruneAsk { limit: 0, ..succeeded(LATER) }), Pruned::default());
    Verdict::Passed
}

fn only_runs_of_the_status_asked_for_are_deleted(bench: &mut Bench) -> Verdict {
    for (n, status) in (1..).zip(RunStatus::ALL) {
        bench.applied(create(row_in(run(n), status)));
    }
    for (n, status) in (1..).zip(RunStatus::ALL) {
        let pruned = bench.try_prune(ask(Old::Runs(status), LATER));
        match status.is_terminal() {
            true => assert_eq!(pruned.map(|p| p.runs), Ok(vec![run(n)])),
            false => assert!(matches!(pruned, Err(Error::Invalid(_))), "{status:?}"),
        }
        assert!(bench.prune(ask(Old::Keys, LATER)).keys == 0);
    }
    assert_eq!(listed(bench), [4, 3, 2, 1].map(run));
    Verdict::Passed
}

fn nothing_of_an_open_run_is_deleted(bench: &mut Bench) -> Verdict {
    let child = |n: u64, of: u64| {
        let mut row = row_in(run(n), RunStatus::Succeeded);
        row.parent = Some(ParentRef { run: run(of), step: 0, depth: 1 });
        create(row)
    };
    bench.applied(create(row(run(1))));
    bench.all(vec![child(2, 1), child(3, 2), child(4, 9)]);
    let history = |status| ask(Old::History(status), LATER);
    bench.applied(change(run(2), 1));
    // 2 is a child of an open run; the parents of 3 and 4 have ended or are gone.
    assert_eq!(bench.prune(history(RunStatus::Succeeded)).runs, []);
    assert_eq!(bench.history(run(2), 0, 9).len(), 2);
    // What is kept is passed over, not met again and again.
    let first = bench.prune(PruneAsk { limit: 1, ..succeeded(LATER) });
    assert_eq!((first.runs, first.next.is_some()), (Vec::new(), true));
    let pruned = bench.prune(PruneAsk { after: first.next, ..succeeded(LATER) });
    assert_eq!((pruned.runs, pruned.next), ([3, 4].map(run).to_vec(), None));
    bench.applied(end(run(1), 1, RunStatus::Failed));
    assert_eq!(bench.prune(succeeded(LATER)).runs, [run(2)]);
    Verdict::Passed
}

fn a_key_stays_spent_until_it_is_pruned_itself(bench: &mut Bench) -> Verdict {
    bench.applied(keyed(run(1), "key"));
    bench.applied(end(run(1), 1, RunStatus::Succeeded));
    assert_eq!(bench.prune(succeeded(LATER)).runs, [run(1)]);
    bench.reopen();
    let again = |bench: &Bench| bench.one(keyed(run(2), "key"));
    assert_eq!(again(bench), CommitOutcome::Duplicate(run(1)));
    assert_eq!(bench.prune(ask(Old::Keys, NOW)).keys, 0);
    assert_eq!(again(bench), CommitOutcome::Duplicate(run(1)));
    assert_eq!(bench.prune(ask(Old::Keys, LATER)).keys, 1);
    assert!(matches!(again(bench), CommitOutcome::Applied { .. }));
    Verdict::Passed
}

fn history_is_deleted_and_the_run_stays(bench: &mut Bench) -> Verdict {
    let history = |limit| PruneAsk { limit, ..ask(Old::History(RunStatus::Succeeded), LATER) };
    for n in 1..=3 {
        bench.create(run(n), vec![step(0, StepStatus::Succeeded)]);
        bench.applied(change(run(n), 1));
    }
    bench.applied(end(run(1), 2, RunStatus::Succeeded));
    bench.applied(end(run(2), 2, RunStatus::Failed));
    bench.applied(ended_at(4, RunStatus::Succeeded, 10));
    // The one that ended first has nothing but its newest row.
    let first = bench.prune(history(1));
    assert_eq!((first.runs, first.next.is_some()), (Vec::new(), true));
    assert_eq!(bench.prune(history(9)).runs, [run(1)]);
    assert_eq!(bench.prune(history(9)).runs, []);
    let versions: Vec<_> = bench.history(run(1), 0, 9).iter().map(|row| row.version).collect();
    assert_eq!(versions, [3]);
    assert_eq!(bench.load(run(1)).map(|s| (s.version, s.steps.len())), Some((3, 1)));
    for n in [2, 3] {
        assert_eq!(bench.history(run(n), 0, 9).len(), 5 - n as usize, "run {n}");
    }
    assert_eq!(bench.verify(), Vec::<String>::new());
    bench.reopen();
    // It still has its version.
    assert_eq!(bench.one(change(run(1), 2)), CommitOutcome::Conflict);
    bench.applied(change(run(1), 3));
    assert_eq!(bench.verify(), Vec::<String>::new());
    Verdict::Passed
}

fn event_numbers_go_on_after_all_runs_are_deleted(bench: &mut Bench) -> Verdict {
    bench.applied(create(row_in(run(1), RunStatus::Succeeded)));
    bench.applied(change(run(1), 1));
    assert_eq!(bench.prune(succeeded(NOW.after(Span(1)))).runs, [run(1)]);
    assert_eq!((bench.last_event(), bench.events(0, 9)), (2, Vec::new()));
    bench.reopen();
    let last = bench.last_event();
    assert_eq!(bench.applied(create(row(run(2)))), last + 1);
    assert!(last == 2 || last == 0, "{last}");
    Verdict::Passed
}

fn the_newest_runs_can_be_told_from_the_rest(bench: &mut Bench) -> Verdict {
    for (n, at) in [(1, 40), (2, 10), (3, 30)] {
        bench.applied(ended_at(n, RunStatus::Succeeded, at));
        bench.applied(ended_at(n + 10, RunStatus::Failed, at + 5));
    }
    let beyond = |keep| bench.ended_beyond(RunStatus::Succeeded, keep, false);
    assert_eq!(
        [0, 1, 2, 3].map(beyond),
        [Some(40), Some(30), Some(10), None].map(|t| t.map(Millis))
    );
    assert_eq!(bench.ended_beyond(RunStatus::Failed, 0, false), Some(Millis(45)));
    assert_eq!(bench.ended_beyond(RunStatus::Cancelled, 0, false), None);
    bench.applied(create(row(run(20))));
    let fates = bench.fates(&[run(20), run(9), run(2), run(20)]);
    assert_eq!(fates, [Fate::Open, Fate::Unknown, Fate::Ended(Millis(10)), Fate::Open]);
    Verdict::Passed
}

fn notifications_are_counted_and_deleted_apart(bench: &mut Bench) -> Verdict {
    for (n, at) in [(1, 40), (2, 10), (3, 30), (4, 20)] {
        let Commit { mut row, .. } = ended_at(n, RunStatus::Failed, at);
        let is_notification = n > 2;
        if let Some(row) = row.as_mut().filter(|_| is_notification) {
            row.workflow = notify_workflow();
        }
        bench.applied(Commit { row, ..ended_at(n, RunStatus::Failed, at) });
    }
    bench.applied(create(RunRow { workflow: notify_workflow(), ..row(run(5)) }));
    let totals = bench.totals();
    assert_eq!(totals.runs, BTreeMap::from([("failed".to_owned(), 2)]));
    let told = [("failed".to_owned(), 2), ("pending".to_owned(), 1)];
    assert_eq!(totals.notifications, BTreeMap::from(told));
    let beyond = |of| [0, 1, 2].map(|keep| bench.ended_beyond(RunStatus::Failed, keep, of));
    assert_eq!(beyond(false), [Some(40), Some(10), None].map(|at| at.map(Millis)));
    assert_eq!(beyond(true), [Some(30), Some(20), None].map(|at| at.map(Millis)));
    let notifications = ask(Old::Notifications(RunStatus::Failed), Millis(30));
    assert_eq!(bench.prune(notifications).runs, [run(4)]);
    assert_eq!(bench.prune(failed(LATER)).runs, [run(2), run(1)]);
    assert_eq!(listed(bench), [run(5), run(3)]);
    assert_eq!(bench.totals().runs, BTreeMap::new());
    Verdict::Passed
}

fn an_artifact_is_needed_while_a_run_refers_to_it(bench: &mut Bench) -> Verdict {
    let (one, two) = ([0x1a; 32], [0xb2; 32]);
    let refer = |of: u64, expected, hash: &str| {
        let path = format!(".moa/artifacts/{}/{}", &hash[..2], hash.repeat(32));
        let output = Arc::new(json!({"artifact": hash.repeat(32), "path": path}));
        let event = Event::StepSucceeded { step: 0, output: Some(output) };
        Commit { events: vec![event], ..change(run(of), expected) }
    };
    for n in 1..=3 {
        bench.create(run(n), Vec::new());
    }
    bench.applied(refer(1, 1, "1a"));
    bench.applied(refer(1, 2, "1a"));
    bench.applied(refer(2, 1, "1a"));
    let fates = |bench: &Bench| bench.artifact_fates(&[one, two]);
    assert_eq!(fates(bench), [Fate::Open, Fate::Unknown]);
    bench.applied(end(run(2), 2, RunStatus::Failed));
    bench.applied(refer(3, 1, "b2"));
    assert_eq!(fates(bench), [Fate::Open, Fate::Open]);
    bench.applied(end(run(1), 3, RunStatus::Succeeded));
    bench.applied(end(run(3), 2, RunStatus::Succeeded));
    assert_eq!(fates(bench), [Fate::Ended(NOW); 2]);
    // That the events are gone changes nothing: the steps have the reference too.
    bench.prune(ask(Old::History(RunStatus::Succeeded), LATER));
    bench.reopen();
    assert_eq!(fates(bench), [Fate::Ended(NOW); 2]);
    bench.prune(succeeded(LATER));
    assert_eq!(fates(bench), [Fate::Ended(NOW), Fate::Unknown]);
    bench.prune(failed(LATER));
    assert_eq!(fates(bench), [Fate::Unknown; 2]);
    Verdict::Passed
}
