//! Rules of published events: their place among those of runs, who hears of them, how they go.

use moa_core::machine::BUS;
use moa_core::time::Millis;
use moa_core::trigger::topic_of_event;

use super::build::{self, NOW, batch, change, create, row, run};
use super::triggers::{applied, commit, listening, spec};
use super::{Bench, Verdict, rules};
use crate::store::{Batch, Old, PruneAsk};
use crate::triggers::{Heard, Post, TriggerCommit, TriggerOutcome};
use crate::views::KeptAsk;

rules![
    published_events_are_numbered_with_those_of_runs,
    who_hears_of_a_published_event_is_known,
    what_moa_itself_tells_the_bus_is_published,
    old_published_events_are_deleted,
];

fn published_events_are_numbered_with_those_of_runs(bench: &mut Bench) -> Verdict {
    bench.applied(create(row(run(1))));
    let outcome = bench.batch(Batch {
        posts: vec![build::post("done"), build::post("else")],
        ..batch(vec![change(run(1), 1)])
    });
    assert_eq!(outcome.posts.iter().map(|p| p.seq).collect::<Vec<_>>(), [Some(3), Some(4)]);
    assert_eq!(outcome.bus, Some(4));
    bench.reopen();
    bench.applied(change(run(1), 2));
    let all: Vec<_> = bench.events(0, 9).into_iter().map(|row| (row.seq, row.run)).collect();
    assert_eq!(all, [(1, run(1)), (2, run(1)), (3, BUS), (4, BUS), (5, run(1))]);
    assert_eq!(bench.last_event(), 5);
    assert_eq!(bench.events(2, 1)[0].events, build::post("done").events());
    assert_eq!(bench.history(run(1), 0, 9).len(), 3);
    let ask = KeptAsk {
        run: Some(BUS),
        behind: 0,
        upto: u64::MAX,
        newest_first: true,
        rows: 9,
        bytes: usize::MAX,
    };
    let of_bus = bench.kept(&ask);
    assert_eq!(of_bus.iter().map(|row| row.seq).collect::<Vec<_>>(), [4, 3]);
    assert!(of_bus.iter().all(|row| row.workflow.is_none() && row.version == row.seq));
    assert_eq!(bench.kept(&KeptAsk { upto: 3, ..ask }).len(), 1);
    assert_eq!(bench.kept(&KeptAsk { behind: 3, newest_first: false, ..ask })[0].seq, 4);
    let runs = bench.kept(&KeptAsk { run: None, ..ask }).into_iter().map(|row| row.seq);
    assert_eq!(runs.collect::<Vec<_>>(), [5, 4, 3, 2, 1]);
    Verdict::Passed
}

fn who_hears_of_a_published_event_is_known(bench: &mut Bench) -> Verdict {
    let one = spec("build", "one");
    applied(bench, listening(&one, &[topic_of_event("done")]));
    for n in 1..=3 {
        let mut waiting = create(row(run(n)));
        waiting.waits = vec![(0, "done".to_owned(), true)];
        bench.applied(waiting);
    }
    let posts = vec![build::post("done"), build::post("else")];
    bench.batch(Batch { posts, ..batch(Vec::new()) });
    let told = bench.due_now().messages;
    let (message, _) = told[0];
    let heard = bench.heard(&[4, 5, 9, 1]);
    assert_eq!(heard.len(), 2, "no others were published: {heard:?}");
    assert_eq!((heard[0].seq, &heard[0].heard.triggers[..]), (4, &[(one.id(), message)][..]));
    assert_eq!((&heard[0].waiting[..], heard[0].heard.runs), (&[one.id()][..], 0));
    assert_eq!((heard[1].seq, &heard[1].heard), (5, &Heard::default()));
    // Those who wait get it, in two parts; the trigger looks at it.
    for event_runs in [2, 9] {
        let events = bench.due_now().bus;
        bench.batch(Batch { events, event_runs, ..batch(Vec::new()) });
    }
    applied(bench, TriggerCommit { consumed: vec![message], ..commit(&one, 1) });
    bench.reopen();
    let heard = bench.heard(&[4]).remove(0);
    assert_eq!((heard.waiting.len(), heard.heard.triggers.len()), (0, 1));
    assert_eq!((heard.heard.runs, heard.heard.first_runs), (3, vec![run(1), run(2), run(3)]));
    Verdict::Passed
}

fn old_published_events_are_deleted(bench: &mut Bench) -> Verdict {
    bench.applied(create(row(run(1))));
    // A clock that was ahead for a while makes nothing old.
    for later in [0, 9, 5, 0] {
        let posts = vec![build::post("done")];
        bench.batch(Batch { now: Millis(NOW.0 + later), posts, ..Batch::default() });
    }
    let beyond = [0, 1, 2, 4].map(|keep| bench.published_beyond(keep).map(|at| at.0 - NOW.0));
    assert_eq!(beyond, [Some(9), Some(5), Some(0), None]);
    let ask = |before: i64, limit: usize| PruneAsk {
        what: Old::Published,
        before: Millis(NOW.0 + before),
        after: None,
        limit,
    };
    let first = bench.prune(ask(6, 2));
    assert!((first.published, first.next.is_some()) == (2, true), "{first:?}");
    let second = bench.prune(PruneAsk { after: first.next, ..ask(6, 2) });
    assert_eq!((second.published, second.next), (1, None));
    let seqs = |bench: &Bench| bench.events(0, 9).iter().map(|row| row.seq).collect::<Vec<_>>();
    assert_eq!(seqs(bench), [1, 3]);
    // Who waits for one gets it all the same.
    assert_eq!(bench.due_now().bus.len(), 4);
    assert_eq!((bench.prune(ask(99, 9)).published, bench.heard(&[3]).len()), (1, 0));
    bench.reopen();
    assert_eq!((seqs(bench), bench.last_event()), (vec![1], 5));
    let posts = vec![build::post("done")];
    assert_eq!(bench.batch(Batch { posts, ..batch(Vec::new()) }).posts[0].seq, Some(6));
    Verdict::Passed
}

fn what_moa_itself_tells_the_bus_is_published(bench: &mut Bench) -> Verdict {
    let one = spec("build", "one");
    let messages = vec![build::emitted("trigger.paused")];
    let triggers = vec![TriggerCommit { messages, ..commit(&one, 0) }];
    let outcome = bench.batch(Batch { triggers, ..batch(Vec::new()) });
    assert_eq!((&outcome.triggers[..], outcome.bus), (&[TriggerOutcome::Applied][..], Some(1)));
    // What is not written is not told of; the newest of a batch is.
    let refused = TriggerCommit { messages: vec![build::emitted("x")], ..commit(&one, 0) };
    let outcome = bench.batch(Batch { triggers: vec![refused], ..batch(Vec::new()) });
    assert_eq!((&outcome.triggers[..], outcome.bus), (&[TriggerOutcome::Conflict][..], None));
    let row = bench.events(0, 9).remove(0);
    let moa = Post::of(&build::emitted("trigger.paused")).expect("it is of no run");
    assert_eq!((row.run, row.events), (BUS, moa.events()));
    assert_eq!((bench.due_now().bus.len(), bench.heard(&[1]).len()), (1, 1));
    // What a run emits stands in its own history.
    let mut emits = create(build::row(run(1)));
    emits.messages = vec![build::emitted_by(run(1), "done")];
    bench.applied(emits);
    assert_eq!(bench.events(1, 9).len(), 1);
    assert_eq!((bench.due_now().bus.len(), bench.heard(&[2]).len()), (2, 0));
    Verdict::Passed
}
