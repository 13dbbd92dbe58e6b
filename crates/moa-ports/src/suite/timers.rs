//! Rules of timers, of tasks that can be claimed, and of lost leases.

use std::collections::BTreeSet;

use moa_core::ids::{NodeId, RunId};
use moa_core::machine::TimerKey;
use moa_core::run::{RunStatus, StepRow};
use moa_core::step::StepStatus;
use moa_core::time::{Millis, Span};

use super::bench::EVERYTHING;
use super::build::{
    NOW, change, create, emitted, end, in_short, queue, ready, ready_for, ready_in, row, run,
    running, signal, step, with_steps,
};
use super::{Bench, Verdict, rules};
use crate::store::{Commit, CommitOutcome, DueAsk, ReadyAsk, ReadyTask, Registration};
use crate::views::PENDING_TASKS_MAX;

rules![
    timers_fire_when_they_are_due_soonest_first,
    a_timer_moves_and_is_disarmed,
    the_next_timer_is_the_first_that_is_not_there,
    tasks_come_in_order_of_their_queue_key,
    no_agent_hides_the_tasks_of_another,
    no_fairness_key_hides_the_tasks_of_another,
    a_claimed_task_is_not_offered_again,
    a_lease_of_an_unknown_node_is_lost,
    the_last_node_is_the_only_one,
    a_registration_runs_out_unless_renewed,
    lost_leases_are_offered_until_they_are_dealt_with,
    runs_that_are_left_out_take_no_place,
];

fn timers(commit: Commit, timers: &[(TimerKey, i64)]) -> Commit {
    let armed = timers.iter().map(|&(key, at)| (key, Some(Millis(at))));
    Commit { timers: armed.collect(), ..commit }
}

fn sorted(mut lost: Vec<(RunId, u32, u32)>) -> Vec<(RunId, u32, u32)> {
    lost.sort_unstable();
    lost
}

const A: TimerKey = TimerKey::Step { step: 1 };
const B: TimerKey = TimerKey::Queue { step: 1 };
const C: TimerKey = TimerKey::Run;

fn timers_fire_when_they_are_due_soonest_first(bench: &mut Bench) -> Verdict {
    let (one, two) = (run(1), run(2));
    bench.applied(timers(create(row(one)), &[(A, 30), (B, -10), (C, 51)]));
    bench.applied(timers(create(row(two)), &[(A, 20), (C, 50)]));
    let due = bench.due(DueAsk { now: Millis(50), ..EVERYTHING });
    let at = |run, key, at| (run, key, Millis(at));
    let all = [at(one, B, -10), at(two, A, 20), at(one, A, 30), at(two, C, 50)];
    assert_eq!(due.timers, all);
    assert_eq!(due.next_timer, Some(Millis(51)));
    assert_eq!(bench.pending(one).timers, [(A, Millis(30)), (B, Millis(-10)), (C, Millis(51))]);
    assert_eq!(bench.totals().timers, 5);
    Verdict::Passed
}

fn a_timer_moves_and_is_disarmed(bench: &mut Bench) -> Verdict {
    let a = run(1);
    bench.applied(timers(create(row(a)), &[(A, 10), (B, 10), (C, 10)]));
    bench.applied(timers(change(a, 1), &[(A, 99), (B, 5)]));
    let due = |bench: &Bench, now| bench.due(DueAsk { now: Millis(now), ..EVERYTHING }).timers;
    assert_eq!(due(bench, 50), [(a, B, Millis(5)), (a, C, Millis(10))]);
    // Disarmed, and disarmed though it was not armed; armed and disarmed in one commit.
    let off = vec![(B, None), (TimerKey::Step { step: 8 }, None), (C, Some(Millis(1))), (C, None)];
    bench.applied(Commit { timers: off, ..change(a, 2) });
    assert_eq!(due(bench, 98), []);
    assert_eq!(due(bench, 99), [(a, A, Millis(99))]);
    bench.applied(timers(change(a, 3), &[(A, 99)]));
    assert_eq!(bench.totals().timers, 1);
    Verdict::Passed
}

fn the_next_timer_is_the_first_that_is_not_there(bench: &mut Bench) -> Verdict {
    assert_eq!(bench.due_now().next_timer, None);
    let a = run(1);
    bench.applied(timers(create(row(a)), &[(A, 10), (B, 20), (C, 30)]));
    let ask = |now, limit| {
        let due = bench.due(DueAsk { now: Millis(now), limit, ..EVERYTHING });
        (due.timers.len(), due.next_timer.map(|at| at.0))
    };
    assert_eq!(ask(0, 10), (0, Some(10)));
    assert_eq!(ask(10, 10), (1, Some(20)));
    assert_eq!(ask(25, 1), (1, Some(20)));
    assert_eq!(ask(25, 2), (2, Some(30)));
    assert_eq!(ask(25, 0), (0, Some(10)));
    assert_eq!(ask(99, 3), (3, None));
    Verdict::Passed
}

fn tasks_come_in_order_of_their_queue_key(bench: &mut Bench) -> Verdict {
    let (a, b) = (run(1), run(2));
    bench.create(b, vec![ready(0, 5), ready(1, i64::MIN), step(2, StepStatus::Ready)]);
    bench.create(a, vec![ready(7, 5), ready(3, 5), ready(1, i64::MAX)]);
    let all = [(b, 1, i64::MIN), (b, 0, 5), (a, 3, 5), (a, 7, 5), (a, 1, i64::MAX)];
    let ready = |each, all| {
        let ready = ReadyAsk { each, all, ..ReadyAsk::default() };
        in_short(bench.due(DueAsk { ready, limit: 0, ..EVERYTHING }).ready)
    };
    assert_eq!(ready(99, 99), all);
    assert_eq!(ready(2, 99), all[..2]);
    assert_eq!(ready(99, 2), all[..2]);
    assert_eq!((ready(0, 99), ready(99, 0)), (vec![], vec![]));
    assert_eq!(bench.totals().ready, 5);
    Verdict::Passed
}

fn no_agent_hides_the_tasks_of_another(bench: &mut Bench) -> Verdict {
    let (a, b) = (run(1), run(2));
    bench.create(a, (0..50).map(|n| ready_for("busy", n, i64::from(n))).collect());
    let few = |inst| ready_for("idle", inst, 900 - i64::from(inst));
    bench.create(b, vec![few(0), few(1), ready_for("Other", 2, 5), ready_for("late", 3, 1)]);
    let ask = |of: &[(&str, usize)], each, all| {
        let of = of.iter().map(|(agent, wanted)| (queue(agent, ""), *wanted)).collect();
        let ready = ReadyAsk { of, each, after: None, all };
        let of_both = |only| bench.due(DueAsk { ready: ready.clone(), only, ..EVERYTHING }).ready;
        let found = of_both(None);
        assert_eq!(of_both(Some(vec![a, b])), found);
        let short = |task: ReadyTask| (task.queue.agent.to_string(), task.inst);
        found.into_iter().map(short).collect::<Vec<_>>()
    };
    let tasks = |tasks: &[(&str, u32)]| -> Vec<(String, u32)> {
        tasks.iter().map(|(agent, inst)| ((*agent).to_owned(), *inst)).collect()
    };
    let each_two = [("Other", 2), ("busy", 0), ("busy", 1), ("idle", 1), ("idle", 0), ("late", 3)];
    assert_eq!(ask(&[], 2, 99), tasks(&each_two), "of each agent its first, by name");
    let named = [("busy", 0), ("idle", 1), ("Other", 2), ("late", 3)];
    let of = [("idle", 1), ("busy", 1), ("nobody", 9)];
    assert_eq!(ask(&of, 9, 99), tasks(&named), "those that are named come first");
    assert_eq!(ask(&of, 0, 99), tasks(&named[..2]));
    assert_eq!(ask(&[("busy", 0)], 1, 99), tasks(&[("Other", 2), ("idle", 1), ("late", 3)]));
    assert_eq!(ask(&of, 9, 3), tasks(&named[..3]), "what is cut off are the last");
    // One that gets another agent, and one that is claimed.
    let moved = vec![ready_for("Other", 0, 7), running(1, 1, NodeId(1))];
    bench.applied(with_steps(change(b, 1), moved));
    assert_eq!(ask(&[("busy", 0)], 9, 99), tasks(&[("Other", 2), ("Other", 0), ("late", 3)]));
    let nobodys = StepRow { agent: None, ..ready(9, 1) };
    let wrong = bench.one(with_steps(change(b, 2), vec![nobodys]));
    assert!(matches!(wrong, CommitOutcome::Invalid(_)), "{wrong:?}");
    Verdict::Passed
}

fn no_fairness_key_hides_the_tasks_of_another(bench: &mut Bench) -> Verdict {
    let (a, b) = (run(1), run(2));
    let big = |n| ready_in(queue("worker", "big"), n, i64::from(n));
    bench.create(a, (0..50).map(big).collect());
    let of = |key, inst| ready_in(queue("worker", key), inst, 900 - i64::from(inst));
    let other = ready_in(queue("other", "big"), 5, 1);
    bench.create(b, vec![of("", 0), of("", 1), of("small", 2), of("small", 3), of("Z", 4), other]);
    let ask = |of: &[(&str, usize)], each, after: Option<&str>, all| {
        let of = of.iter().map(|(key, wanted)| (queue("worker", key), *wanted)).collect();
        let ready = ReadyAsk { of, each, after: after.map(|key| queue("worker", key)), all };
        let of_both = |only| bench.due(DueAsk { ready: ready.clone(), only, ..EVERYTHING }).ready;
        let found = of_both(None);
        assert_eq!(of_both(Some(vec![a, b])), found);
        found.into_iter().map(|task| (task.queue, task.inst)).collect::<Vec<_>>()
    };
    let worker = |tasks: &[(&str, u32)]| -> Vec<_> {
        tasks.iter().map(|(key, inst)| (queue("worker", key), *inst)).collect()
    };
    let each =
        worker(&[("", 1), ("", 0), ("Z", 4), ("big", 0), ("big", 1), ("small", 3), ("small", 2)]);
    let all = [vec![(queue("other", "big"), 5)], each].concat();
    assert_eq!(ask(&[], 2, None, 99), all, "by agent, then by key; no key is the first");
    assert_eq!(ask(&[], 2, None, 3), all[..3]);
    assert_eq!(ask(&[], 2, Some("Z"), 99), all[4..], "those after one of them");
    assert_eq!(ask(&[], 2, Some("a"), 99), all[4..], "one that has no tasks");
    let named = worker(&[("", 1), ("small", 3), ("big", 0)]);
    assert_eq!(ask(&[("small", 1), ("", 1)], 1, Some("Z"), 99), named, "named ones are not passed");
    assert_eq!(ask(&[("", 0), ("big", 0)], 0, None, 99), []);
    let tasks = |run| {
        let tasks = bench.pending(run).tasks.into_iter();
        tasks.map(|t| (t.queue, t.inst, t.before, t.others)).collect::<Vec<_>>()
    };
    let shown = |key, inst, before, others| (queue("worker", key), inst, before, others);
    let of_b = [("", 0, 1), ("", 1, 0), ("small", 2, 1), ("small", 3, 0), ("Z", 4, 0)];
    let of_b = of_b.map(|(key, inst, before)| shown(key, inst, before, 3));
    assert_eq!(tasks(b), [&of_b[..], &[(queue("other", "big"), 5, 0, 0)]].concat());
    assert_eq!(tasks(a).len(), PENDING_TASKS_MAX);
    assert_eq!(tasks(a)[9], shown("big", 9, 9, 3));
    // One that gets another key, and one that is claimed.
    let moved = vec![ready_in(queue("worker", "new"), 2, 7), running(3, 1, NodeId(1))];
    bench.applied(with_steps(change(b, 1), moved));
    let rest = worker(&[("big", 0), ("big", 1), ("new", 2)]);
    assert_eq!(ask(&[], 2, Some("Z"), 99), rest);
    let steps = bench.load(b).expect("it is there").steps;
    let keys: Vec<_> = steps.iter().map(|step| step.fairness_key.as_deref()).collect();
    assert_eq!(keys, [None, None, Some("new"), None, Some("Z"), Some("big")]);
    let (in_none, empty) = (step(2, StepStatus::Ready), of("", 2));
    for wrong in [in_none, empty] {
        let key = if wrong.agent.is_some() { "" } else { "new" };
        let wrong = StepRow { fairness_key: Some(key.into()), ..wrong };
        let outcome = bench.one(with_steps(change(b, 2), vec![wrong]));
        assert!(matches!(outcome, CommitOutcome::Invalid(_)), "{outcome:?}");
    }
    Verdict::Passed
}

fn a_claimed_task_is_not_offered_again(bench: &mut Bench) -> Verdict {
    let a = run(1);
    bench.create(a, vec![ready(0, 1), ready(1, 2), ready(2, 3)]);
    let node = NodeId(1);
    bench.register(NOW, node, Span::seconds(10));
    let moved = vec![running(0, 1, node), ready(2, 0)];
    bench.applied(with_steps(change(a, 1), moved));
    assert_eq!(in_short(bench.due_now().ready), [(a, 2, 0), (a, 1, 2)]);
    // Paused: no task of the run can be claimed.
    let paused = vec![step(1, StepStatus::Ready), step(2, StepStatus::Ready)];
    bench.applied(with_steps(change(a, 2), paused));
    assert_eq!(bench.due_now().ready, []);
    let totals = bench.totals();
    assert_eq!((totals.ready, totals.running), (0, 1));
    Verdict::Passed
}

fn a_lease_of_an_unknown_node_is_lost(bench: &mut Bench) -> Verdict {
    let (a, b) = (run(1), run(2));
    let (here, gone) = (NodeId(u64::MAX), NodeId(2));
    bench.register(NOW, here, Span::seconds(60));
    let steps = vec![running(0, 3, gone), running(1, 1, here), ready(2, 0)];
    bench.create(a, steps);
    bench.create(b, vec![running(5, 2, gone), step(6, StepStatus::Running)]);
    let mut lost = bench.due_now().lost;
    lost.sort_unstable();
    assert_eq!(lost, [(a, 0, 3), (b, 5, 2), (b, 6, 0)]);
    let not_asked = bench.due(DueAsk { lost: false, ..EVERYTHING });
    assert_eq!(not_asked.lost, []);
    // Runs that have ended have nothing to lose.
    bench.applied(end(b, 1, RunStatus::Failed));
    assert_eq!(bench.due_now().lost, [(a, 0, 3)]);
    Verdict::Passed
}

fn the_last_node_is_the_only_one(bench: &mut Bench) -> Verdict {
    if !bench.exclusive() {
        return Verdict::Skipped("it serves several nodes");
    }
    let a = run(1);
    let (first, second) = (NodeId(1), NodeId(2));
    let alone = Registration { exclusive: true };
    assert_eq!(bench.register(NOW, first, Span(1)), alone);
    bench.create(a, vec![running(0, 1, first)]);
    // It need not renew.
    let later = DueAsk { now: NOW.after(Span::minutes(60)), ..EVERYTHING };
    assert_eq!(bench.due(later.clone()).lost, []);
    assert_eq!(bench.register(NOW, second, Span(1)), alone);
    assert_eq!(bench.due(later.clone()).lost, [(a, 0, 1)]);
    if bench.reopen() {
        assert_eq!(bench.due(later.clone()).lost, [(a, 0, 1)]);
        bench.register(NOW, first, Span(1));
        assert_eq!(bench.due(later).lost, []);
    }
    Verdict::Passed
}

fn a_registration_runs_out_unless_renewed(bench: &mut Bench) -> Verdict {
    if bench.exclusive() {
        return Verdict::Skipped("there is only one node");
    }
    let a = run(1);
    let (first, second) = (NodeId(1), NodeId(2));
    let shared = Registration { exclusive: false };
    assert_eq!(bench.register(NOW, first, Span(10)), shared);
    assert_eq!(bench.register(NOW, second, Span(20)), shared);
    bench.create(a, vec![running(0, 1, first), running(1, 4, second)]);
    let lost =
        |bench: &Bench, after| bench.due(DueAsk { now: NOW.after(Span(after)), ..EVERYTHING }).lost;
    assert_eq!(lost(bench, 9), []);
    assert_eq!(lost(bench, 10), [(a, 0, 1)]);
    bench.register(NOW.after(Span(10)), first, Span(10));
    bench.register(NOW.after(Span(1)), first, Span(10));
    assert_eq!(lost(bench, 19), [], "an older call that comes later shortens nothing");
    assert_eq!(lost(bench, 20), [(a, 0, 1), (a, 1, 4)]);
    Verdict::Passed
}

fn lost_leases_are_offered_until_they_are_dealt_with(bench: &mut Bench) -> Verdict {
    let (here, gone) = (NodeId(1), NodeId(2));
    for n in 1..=5 {
        bench.create(run(n), vec![running(0, n as u32, gone), running(1, 9, gone)]);
    }
    bench.register(NOW, here, Span::seconds(60));
    let ask = DueAsk { limit: 3, ..EVERYTHING };
    let first = bench.due(ask.clone()).lost;
    assert_eq!(first.len(), 3);
    assert_eq!(bench.due(ask.clone()).lost, first);
    let mut dealt = 0;
    loop {
        let lost = bench.due(ask.clone()).lost;
        let Some(&(run, inst, attempt)) = lost.first() else { break };
        let step = match dealt % 3 {
            0 => running(inst, attempt + 1, here),
            1 => ready(inst, 0),
            _ => step(inst, StepStatus::Failed),
        };
        bench.applied(with_steps(change(run, bench.version(run)), vec![step]));
        dealt += 1;
        assert!(dealt <= 10, "{lost:?} is offered though it is not lost");
    }
    assert_eq!(dealt, 10);
    // A lease that a node takes when it is gone already is lost, too.
    let late = running(0, 7, gone);
    bench.applied(with_steps(change(run(3), bench.version(run(3))), vec![late]));
    assert_eq!(bench.due(ask).lost, [(run(3), 0, 7)]);
    Verdict::Passed
}

fn runs_that_are_left_out_take_no_place(bench: &mut Bench) -> Verdict {
    let gone = NodeId(7);
    bench.register(NOW, NodeId(1), Span::seconds(60));
    let all = [1, 2, 3, 4].map(run);
    for (at, run) in (0..).zip(all) {
        let armed = timers(create(row(run)), &[(A, at), (B, at + 10), (C, NOW.0 + at + 1)]);
        let steps = vec![ready(0, at), ready(1, at), running(2, 1, gone)];
        let messages = vec![signal(run, "x"), signal(run, "y")];
        bench.applied(with_steps(Commit { messages, ..armed }, steps));
    }
    bench.applied(Commit { messages: vec![emitted("done")], ..change(all[0], 1) });
    let without = BTreeSet::from([all[0], all[2]]);
    let three = ReadyAsk { all: 3, ..EVERYTHING.ready };
    let ask = DueAsk { without, limit: 3, ready: three, ..EVERYTHING };
    for only in [None, Some(all.to_vec())] {
        let due = bench.due(DueAsk { only, ..ask.clone() });
        let (b, d) = (all[1], all[3]);
        let at = |run, key, at| (run, key, Millis(at));
        assert_eq!(due.timers, [at(b, A, 1), at(d, A, 3), at(b, B, 11)]);
        assert_eq!(due.next_timer, Some(Millis(13)));
        assert_eq!(in_short(due.ready), [(b, 0, 1), (b, 1, 1), (d, 0, 3)]);
        let to: Vec<_> = due.messages.iter().map(|(_, message)| message.to).collect();
        assert_eq!((to, due.bus.len()), (vec![b, b, d], 1));
        assert_eq!(sorted(due.lost), [(b, 2, 1), (d, 2, 1)]);
    }
    // What they sent to the bus is for others.
    let mail = bench.due_now().messages;
    let after = mail.last().map_or(0, |(id, _)| *id);
    assert_eq!(bench.due(DueAsk { messages_after: after, ..ask.clone() }).bus.len(), 1);
    // No timer of theirs is the next one.
    let due = bench.due(DueAsk { limit: 100, ..ask });
    assert_eq!((due.timers.len(), due.next_timer), (4, Some(Millis(NOW.0 + 2))));
    let all = DueAsk { without: all.into(), ..EVERYTHING };
    let due = bench.due(DueAsk { messages_after: after + 1, ..all });
    assert_eq!(due, crate::store::Due::default());
    Verdict::Passed
}
