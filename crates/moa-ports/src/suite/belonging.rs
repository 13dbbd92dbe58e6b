//! Rules of what belongs to a run: asked for alone, it comes without anything else.

use moa_core::ids::{NodeId, RunId};
use moa_core::machine::TimerKey;
use moa_core::run::{ParentRef, RunRow, RunStatus};
use moa_core::time::{Millis, Span};
use moa_core::workflow::OnLimit;

use super::bench::EVERYTHING;
use super::build::{
    self, NOW, batch, change, create, emitted, end, in_short, ready, row, run, running, signal,
    silent, with_steps,
};
use super::{Bench, Verdict, rules};
use crate::store::{Batch, Commit, Due, DueAsk, Old, PruneAsk, Relay};

rules![
    a_run_has_the_root_of_the_one_that_started_it,
    a_root_outlives_the_run_at_the_top,
    timers_tasks_and_leases_come_for_one_alone,
    what_belongs_to_a_run_comes_in_pages_too,
    messages_belong_to_who_gets_them,
    a_message_to_nobody_yet_belongs_to_its_sender,
    events_of_the_bus_belong_to_who_sent_them,
    what_is_sent_in_the_place_of_a_message_belongs_where_that_did,
    a_slot_belongs_to_who_gets_it,
    nothing_belongs_to_nobody,
];

fn child(n: u64, parent: u64) -> RunRow {
    let parent = ParentRef { run: run(parent), step: 0, depth: 1 };
    RunRow { parent: Some(parent), ..row(run(n)) }
}

/// Two families: 1 started 2 started 3, 4 started 5.
fn families(bench: &Bench, of: impl Fn(u64, Commit) -> Commit) {
    let rows = [row(run(1)), child(2, 1), child(3, 2), row(run(4)), child(5, 4)];
    for (n, row) in (1..).zip(rows) {
        bench.applied(of(n, create(row)));
    }
}

fn of(bench: &Bench, roots: &[u64]) -> Due {
    let only = Some(roots.iter().map(|n| run(*n)).collect());
    bench.due(DueAsk { only, ..EVERYTHING })
}

fn mail(bench: &Bench, root: u64) -> Vec<RunId> {
    of(bench, &[root]).messages.into_iter().map(|(_, message)| message.to).collect()
}

fn a_run_has_the_root_of_the_one_that_started_it(bench: &mut Bench) -> Verdict {
    families(bench, |_, commit| commit);
    bench.applied(create(child(6, 99)));
    let root = |bench: &Bench, n| {
        let loaded = bench.load(run(n));
        assert_eq!(bench.view_run(run(n)), loaded);
        loaded.map(|snapshot| snapshot.root)
    };
    let look = |bench: &Bench| [1, 2, 3, 4, 5, 6].map(|n| root(bench, n));
    let expected = [1, 1, 1, 4, 4, 99].map(|n| Some(run(n)));
    assert_eq!(look(bench), expected);
    bench.applied(change(run(3), 1));
    bench.applied(end(run(2), 1, RunStatus::Failed));
    assert_eq!(look(bench), expected);
    if bench.reopen() {
        assert_eq!(look(bench), expected);
    }
    Verdict::Passed
}

fn a_root_outlives_the_run_at_the_top(bench: &mut Bench) -> Verdict {
    families(bench, |_, commit| commit);
    bench.applied(end(run(1), 1, RunStatus::Succeeded));
    bench.applied(end(run(2), 1, RunStatus::Succeeded));
    let what = Old::Runs(RunStatus::Succeeded);
    let ask = PruneAsk { what, before: Millis(i64::MAX), after: None, limit: 9 };
    assert_eq!(bench.prune(ask).runs, [1, 2].map(run));
    bench.applied(Commit { messages: vec![signal(run(3), "x")], ..change(run(3), 1) });
    assert_eq!(bench.load(run(3)).map(|snapshot| snapshot.root), Some(run(1)));
    assert_eq!(mail(bench, 1), [run(3)]);
    Verdict::Passed
}

fn timers_tasks_and_leases_come_for_one_alone(bench: &mut Bench) -> Verdict {
    let gone = NodeId(9);
    bench.register(NOW, NodeId(1), Span::minutes(1));
    families(bench, |n, commit| {
        let n = n as i64;
        let steps = vec![ready(0, -n), running(1, 3, gone), running(2, 1, NodeId(1))];
        let timers = vec![(TimerKey::Run, Some(Millis(n))), (TimerKey::Step { step: 1 }, None)];
        Commit { timers, ..with_steps(commit, steps) }
    });
    let due = |roots: &[u64]| {
        let mut due = of(bench, roots);
        due.lost.sort_unstable();
        let timers = due.timers.into_iter().map(|(run, _, _)| run);
        let ready = due.ready.into_iter().map(|task| (task.run, task.inst));
        (timers.collect::<Vec<_>>(), ready.collect::<Vec<_>>(), due.lost)
    };
    let of = |order: &[u64]| {
        let ready = order.iter().rev().map(|n| (run(*n), 0)).collect::<Vec<_>>();
        let lost = order.iter().map(|n| (run(*n), 1, 3)).collect::<Vec<_>>();
        (order.iter().map(|n| run(*n)).collect::<Vec<_>>(), ready, lost)
    };
    assert_eq!(due(&[1]), of(&[1, 2, 3]));
    assert_eq!(due(&[4]), of(&[4, 5]));
    // Each comes once, in the order of all.
    assert_eq!(due(&[4, 1, 4]), of(&[1, 2, 3, 4, 5]));
    // What somebody else started has no family of its own.
    assert_eq!(due(&[2]), of(&[]));
    // What has ended has nothing to lose, and nothing to do.
    bench.applied(end(run(2), 1, RunStatus::Cancelled));
    bench.applied(end(run(4), 1, RunStatus::Cancelled));
    assert_eq!(due(&[1]), of(&[1, 3]));
    assert_eq!(due(&[4]), of(&[5]));
    Verdict::Passed
}

fn what_belongs_to_a_run_comes_in_pages_too(bench: &mut Bench) -> Verdict {
    families(bench, |n, commit| {
        let at = n as i64;
        let timers = vec![(TimerKey::Run, Some(Millis(at))), (TimerKey::Step { step: 1 }, None)];
        let messages = vec![signal(run(n), "x"), emitted("done")];
        Commit { timers, messages, ..with_steps(commit, vec![ready(0, at), ready(1, at)]) }
    });
    let ask = |now, limit, after, roots: &[u64]| {
        let only = Some(roots.iter().map(|n| run(*n)).collect());
        let ask = DueAsk::everything(Millis(now), limit);
        bench.due(DueAsk { messages_after: after, only, ..ask })
    };
    let due = ask(9, 2, 0, &[4, 1]);
    assert_eq!(due.timers.iter().map(|t| t.0).collect::<Vec<_>>(), [1, 2].map(run));
    assert_eq!(due.next_timer, Some(Millis(3)));
    assert_eq!(in_short(due.ready), [(run(1), 0, 1), (run(1), 1, 1)]);
    let next = |now, limit, roots: &[u64]| ask(now, limit, 0, roots).next_timer.map(|at| at.0);
    assert_eq!([next(0, 9, &[4]), next(4, 9, &[4]), next(5, 9, &[4])], [Some(4), Some(5), None]);
    assert_eq!([next(9, 1, &[4]), next(9, 0, &[1]), next(2, 9, &[1])], [Some(5), Some(1), Some(3)]);
    // Five messages were sent, and five events, in turn.
    let page = |after, roots: &[u64]| {
        let due = ask(0, 2, after, roots);
        let ids = due.messages.iter().map(|m| m.0).chain(due.bus.iter().copied());
        let mut ids: Vec<u64> = ids.collect();
        ids.sort_unstable();
        ids
    };
    assert_eq!(
        [page(0, &[1]), page(4, &[1]), page(6, &[1])],
        [vec![1, 2, 3, 4], vec![5, 6], vec![]]
    );
    assert_eq!([page(0, &[4]), page(9, &[4])], [vec![7, 8, 9, 10], vec![10]]);
    assert_eq!(page(5, &[4, 1]), [6, 7, 8, 9]);
    Verdict::Passed
}

fn messages_belong_to_who_gets_them(bench: &mut Bench) -> Verdict {
    families(bench, |_, commit| commit);
    let sent = [3, 5, 1, 4].map(|n| signal(run(n), "x"));
    bench.applied(Commit { messages: sent.to_vec(), ..change(run(2), 1) });
    assert_eq!(mail(bench, 1), [3, 1].map(run));
    assert_eq!(mail(bench, 4), [5, 4].map(run));
    if bench.reopen() {
        assert_eq!(mail(bench, 4), [5, 4].map(run));
    }
    // Also when the run has ended: somebody has to take the message away.
    bench.applied(end(run(5), 1, RunStatus::Succeeded));
    assert_eq!(mail(bench, 4), [5, 4].map(run));
    let ids: Vec<u64> = of(bench, &[4]).messages.into_iter().map(|(id, _)| id).collect();
    bench.applied(Commit { consumed: vec![ids[0]], ..silent(run(5), 2) });
    assert_eq!(mail(bench, 4), [run(4)]);
    Verdict::Passed
}

fn a_message_to_nobody_yet_belongs_to_its_sender(bench: &mut Bench) -> Verdict {
    families(bench, |_, commit| commit);
    let new = run(7);
    bench.applied(Commit { messages: vec![signal(new, "start")], ..change(run(3), 1) });
    assert_eq!((mail(bench, 1), mail(bench, 4)), (vec![new], vec![]));
    // The run that it starts belongs to the same one.
    let start = of(bench, &[1]).messages[0].0;
    bench.applied(Commit { consumed: vec![start], ..create(child(7, 3)) });
    bench.applied(Commit { messages: vec![signal(new, "more")], ..change(run(5), 1) });
    assert_eq!((mail(bench, 1), mail(bench, 4)), (vec![new], vec![]));
    // From nobody to nobody: it comes to who asks for everything.
    let nobody = Commit { messages: vec![signal(run(8), "lost")], ..silent(run(9), 0) };
    bench.applied(nobody);
    assert_eq!((mail(bench, 1), mail(bench, 4)), (vec![new], vec![]));
    assert_eq!(bench.mail().last().map(|m| m.1), Some(run(8)));
    Verdict::Passed
}

fn events_of_the_bus_belong_to_who_sent_them(bench: &mut Bench) -> Verdict {
    families(bench, |n, commit| {
        let waits = vec![(0, "done".to_owned(), n != 2)];
        Commit { waits, ..commit }
    });
    bench.applied(Commit { messages: vec![emitted("done")], ..change(run(2), 1) });
    bench.applied(Commit { messages: vec![emitted("done")], ..change(run(4), 1) });
    let bus = |bench: &Bench, root| of(bench, &[root]).bus;
    let found = [1, 4].map(|root| bus(bench, root));
    assert_eq!(found.each_ref().map(Vec::len), [1, 1]);
    // It goes to all who wait, also to those of others; each message belongs to who gets it.
    let [events, _] = found;
    bench.batch(Batch { events, event_runs: 9, ..batch(Vec::new()) });
    assert_eq!((bus(bench, 1).len(), bus(bench, 4).len()), (0, 1));
    let both = (mail(bench, 1), mail(bench, 4));
    assert_eq!(both, ([1, 3].map(run).to_vec(), [4, 5].map(run).to_vec()));
    Verdict::Passed
}

fn what_is_sent_in_the_place_of_a_message_belongs_where_that_did(bench: &mut Bench) -> Verdict {
    families(bench, |_, commit| commit);
    bench.applied(Commit { messages: vec![signal(run(77), "start")], ..change(run(2), 1) });
    let messages = [3, 5, 88].map(|n| signal(run(n), "done")).to_vec();
    let relay = Relay { consumed: bench.mail()[0].0, messages };
    bench.batch(Batch { relays: vec![relay], ..batch(Vec::new()) });
    let both = (mail(bench, 1), mail(bench, 4));
    assert_eq!(both, ([3, 88].map(run).to_vec(), vec![run(5)]));
    Verdict::Passed
}

fn a_slot_belongs_to_who_gets_it(bench: &mut Bench) -> Verdict {
    let contender = |n| build::contender(run(n), "key", 1, OnLimit::Queue);
    bench.all(vec![contender(1), contender(4)]);
    assert_eq!((mail(bench, 1), mail(bench, 4)), (vec![run(1)], vec![]));
    bench.read_mail();
    // The first ends; the second gets its slot, and keeps the message until it is looked at.
    bench.applied(end(run(1), 1, RunStatus::Succeeded));
    assert_eq!((mail(bench, 1), mail(bench, 4)), (vec![], vec![run(4)]));
    bench.applied(build::contender(run(5), "key", 1, OnLimit::CancelRunning));
    assert_eq!((mail(bench, 4), mail(bench, 5)), (vec![run(4), run(4)], vec![]));
    Verdict::Passed
}

fn nothing_belongs_to_nobody(bench: &mut Bench) -> Verdict {
    families(bench, |n, commit| {
        let messages = vec![signal(run(n), "x"), emitted("done")];
        let timers = vec![(TimerKey::Run, Some(NOW))];
        Commit {
            messages,
            timers,
            ..with_steps(commit, vec![ready(0, 0), running(1, 1, NodeId(9))])
        }
    });
    assert_eq!(of(bench, &[]), Due::default());
    assert_eq!(of(bench, &[77]), Due::default());
    Verdict::Passed
}
