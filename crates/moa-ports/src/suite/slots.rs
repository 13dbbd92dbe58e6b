//! Rules of concurrency keys: who starts, who waits, who is next.

use moa_core::ids::RunId;
use moa_core::machine::{Input, MessageBody};
use moa_core::run::RunStatus;
use moa_core::workflow::OnLimit;

use super::build::{self, change, contender, create, end, row, run};
use super::{Bench, Verdict, rules};
use crate::store::{Commit, CommitOutcome, Message, StartGuard};

rules![
    a_free_slot_is_taken_at_once,
    who_comes_too_late_waits_and_is_next,
    the_queue_is_in_order_of_queue_key_then_age,
    slots_that_become_free_go_to_as_many_as_wait,
    a_run_that_ends_while_it_waits_leaves_the_queue,
    skip_creates_nothing,
    cancel_running_cancels_who_holds_a_slot,
    replace_pending_takes_the_place_of_who_waits,
    keys_do_not_touch_each_other,
    a_duplicate_takes_no_slot,
    a_slot_is_released_once,
];

/// Who was told to start, in order; the messages are taken away.
fn admitted(bench: &Bench) -> Vec<RunId> {
    told(bench, |input| matches!(input, Input::Admit))
}

fn told(bench: &Bench, what: impl Fn(&Input) -> bool) -> Vec<RunId> {
    let messages = bench.due_now().messages;
    bench.read_mail();
    let told = |message: &Message| match &message.body {
        MessageBody::Input(input) if what(input) => Some(message.to),
        _ => None,
    };
    messages.iter().filter_map(|(_, message)| told(message)).collect()
}

fn queued(commit: Commit, queue_key: i64) -> Commit {
    let mut commit = commit;
    if let Some(slot) = commit.start.as_mut().and_then(|start| start.concurrency.as_mut()) {
        slot.queue_key = queue_key;
    }
    commit
}

fn ended(run: RunId) -> Commit {
    end(run, 1, RunStatus::Succeeded)
}

fn a_free_slot_is_taken_at_once(bench: &mut Bench) -> Verdict {
    let (a, b, c) = (run(1), run(2), run(3));
    bench.all([a, b, c].map(|run| contender(run, "deploy", 2, OnLimit::Queue)).to_vec());
    assert_eq!(admitted(bench), [a, b]);
    assert_eq!(bench.pending(a).queued, None);
    assert_eq!(bench.pending(c).queued, Some((1, vec![a, b])));
    Verdict::Passed
}

fn who_comes_too_late_waits_and_is_next(bench: &mut Bench) -> Verdict {
    let (a, b, c) = (run(1), run(2), run(3));
    for run in [a, b, c] {
        bench.applied(contender(run, "deploy", 1, OnLimit::Queue));
    }
    assert_eq!(admitted(bench), [a]);
    assert_eq!(bench.pending(c).queued, Some((2, vec![a])));
    // A change that doesn't end the run keeps its slot.
    bench.applied(change(a, 1));
    assert_eq!(admitted(bench), []);
    bench.applied(end(a, 2, RunStatus::Failed));
    assert_eq!(admitted(bench), [b]);
    assert_eq!(bench.pending(c).queued, Some((1, vec![b])));
    bench.applied(ended(b));
    bench.applied(ended(c));
    assert_eq!(admitted(bench), [c]);
    bench.applied(contender(run(4), "deploy", 1, OnLimit::Queue));
    assert_eq!(admitted(bench), [run(4)]);
    Verdict::Passed
}

fn the_queue_is_in_order_of_queue_key_then_age(bench: &mut Bench) -> Verdict {
    let start = |n| contender(run(n), "deploy", 1, OnLimit::Queue);
    let line = [(5, 0), (9, 70), (3, 70), (8, -4), (2, 70), (4, 10)];
    for (n, key) in line {
        bench.applied(queued(start(n), key));
    }
    assert_eq!(bench.pending(run(2)).queued, Some((5, vec![run(5)])));
    let mut order = Vec::new();
    while let Some(next) = admitted(bench).first().copied() {
        order.push(next);
        bench.applied(ended(next));
    }
    assert_eq!(order, [5, 8, 4, 9, 3, 2].map(run));
    Verdict::Passed
}

fn slots_that_become_free_go_to_as_many_as_wait(bench: &mut Bench) -> Verdict {
    // The key had one slot; an edit of the workflow gave it three.
    bench.applied(contender(run(1), "deploy", 1, OnLimit::Queue));
    bench.applied(contender(run(2), "deploy", 3, OnLimit::Queue));
    bench.applied(contender(run(3), "deploy", 3, OnLimit::Queue));
    bench.applied(contender(run(4), "deploy", 1, OnLimit::Queue));
    bench.applied(contender(run(5), "deploy", 9, OnLimit::Queue));
    // A free slot belongs to who waits already.
    assert_eq!(admitted(bench), [run(1), run(2), run(3)]);
    bench.applied(ended(run(2)));
    assert_eq!(admitted(bench), []);
    bench.applied(ended(run(3)));
    bench.applied(ended(run(1)));
    assert_eq!(admitted(bench), [run(4), run(5)]);
    Verdict::Passed
}

fn a_run_that_ends_while_it_waits_leaves_the_queue(bench: &mut Bench) -> Verdict {
    for n in 1..=3 {
        bench.applied(contender(run(n), "deploy", 1, OnLimit::Queue));
    }
    bench.applied(end(run(2), 1, RunStatus::Cancelled));
    assert_eq!(bench.pending(run(3)).queued, Some((1, vec![run(1)])));
    assert_eq!(admitted(bench), [run(1)]);
    bench.applied(ended(run(1)));
    assert_eq!(admitted(bench), [run(3)]);
    Verdict::Passed
}

fn skip_creates_nothing(bench: &mut Bench) -> Verdict {
    let (a, b) = (run(1), run(2));
    bench.applied(contender(a, "deploy", 1, OnLimit::Skip));
    let mail = bench.mail();
    let mut late = contender(b, "deploy", 1, OnLimit::Skip);
    late.messages.push(build::signal(a, "hello"));
    late.steps.push(build::ready(0, 1));
    if let Some(start) = &mut late.start {
        start.idempotency_key = Some("key".to_owned());
    }
    assert_eq!(bench.one(late.clone()), CommitOutcome::Skipped);
    assert_eq!((bench.load(b), bench.mail(), bench.last_event()), (None, mail, 1));
    assert!(bench.due_now().ready.is_empty());
    bench.applied(ended(a));
    bench.applied(late);
    Verdict::Passed
}

fn cancel_running_cancels_who_holds_a_slot(bench: &mut Bench) -> Verdict {
    let start = |n| contender(run(n), "deploy", 2, OnLimit::CancelRunning);
    bench.applied(start(1));
    bench.applied(start(2));
    assert_eq!(admitted(bench), [run(1), run(2)]);
    bench.applied(start(3));
    let cancelled = |input: &Input| matches!(input, Input::Cancel { .. });
    assert_eq!(told(bench, cancelled), [run(1), run(2)]);
    // They keep their slots until they have ended.
    assert_eq!(bench.pending(run(3)).queued, Some((1, vec![run(1), run(2)])));
    bench.applied(end(run(2), 1, RunStatus::Cancelled));
    assert_eq!(admitted(bench), [run(3)]);
    Verdict::Passed
}

fn replace_pending_takes_the_place_of_who_waits(bench: &mut Bench) -> Verdict {
    let start = |n| contender(run(n), "deploy", 1, OnLimit::ReplacePending);
    bench.applied(start(1));
    bench.applied(start(2));
    assert_eq!(admitted(bench), [run(1)]);
    bench.applied(start(3));
    let cancelled = |input: &Input| matches!(input, Input::Cancel { .. });
    assert_eq!(told(bench, cancelled), [run(2)]);
    // It waits no more: the slot must not go to a run that is being cancelled.
    assert_eq!(bench.pending(run(2)).queued, None);
    assert_eq!(bench.pending(run(3)).queued, Some((1, vec![run(1)])));
    bench.applied(ended(run(1)));
    assert_eq!(admitted(bench), [run(3)]);
    bench.applied(end(run(2), 1, RunStatus::Cancelled));
    assert_eq!(admitted(bench), []);
    assert_eq!(bench.pending(run(3)).queued, None);
    Verdict::Passed
}

fn keys_do_not_touch_each_other(bench: &mut Bench) -> Verdict {
    bench.applied(contender(run(1), "deploy", 1, OnLimit::Queue));
    bench.applied(contender(run(2), "Deploy", 1, OnLimit::Queue));
    bench.applied(create(row(run(3))));
    bench.applied(contender(run(4), "deploy", 1, OnLimit::Queue));
    assert_eq!(admitted(bench), [run(1), run(2)]);
    bench.applied(ended(run(2)));
    bench.applied(ended(run(3)));
    assert_eq!(admitted(bench), []);
    assert_eq!(bench.pending(run(4)).queued, Some((1, vec![run(1)])));
    Verdict::Passed
}

fn a_duplicate_takes_no_slot(bench: &mut Bench) -> Verdict {
    let start = |n| {
        let mut commit = contender(run(n), "deploy", 1, OnLimit::Skip);
        let key = Some("key".to_owned());
        commit.start = commit.start.map(|start| StartGuard { idempotency_key: key, ..start });
        commit
    };
    bench.applied(start(1));
    // That it is a duplicate counts more than that there is no slot.
    assert_eq!(bench.one(start(2)), CommitOutcome::Duplicate(run(1)));
    bench.applied(ended(run(1)));
    assert_eq!(bench.one(start(2)), CommitOutcome::Duplicate(run(1)));
    bench.applied(contender(run(3), "deploy", 1, OnLimit::Skip));
    Verdict::Passed
}

fn a_slot_is_released_once(bench: &mut Bench) -> Verdict {
    for n in 1..=4 {
        bench.applied(contender(run(n), "deploy", 1, OnLimit::Queue));
    }
    assert_eq!(admitted(bench), [run(1)]);
    bench.applied(ended(run(1)));
    let again = end(run(1), 2, RunStatus::Succeeded);
    bench.applied(again);
    // A conflict releases nothing.
    assert_eq!(bench.one(end(run(2), 7, RunStatus::Succeeded)), CommitOutcome::Conflict);
    assert_eq!(admitted(bench), [run(2)]);
    Verdict::Passed
}
