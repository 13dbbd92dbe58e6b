//! Rules of messages between runs, and of the bus.

use moa_core::machine::MessageBody;
use moa_core::run::RunStatus;

use super::bench::EVERYTHING;
use super::build::{self, batch, change, create, emitted, row, run, signal, silent};
use super::{Bench, Verdict, rules};
use crate::store::{Batch, Commit, CommitOutcome, DueAsk, Relay};

rules![
    messages_come_in_the_order_in_which_they_were_sent,
    a_message_is_applied_once,
    a_refused_commit_leaves_its_messages,
    a_message_can_be_for_a_run_that_is_not_there,
    an_event_goes_to_the_runs_that_wait_for_it,
    a_relay_hands_on_once,
    a_page_of_messages_has_both_kinds_in_order,
    a_batch_tells_whether_it_sent_messages,
];

fn sending(commit: Commit, messages: Vec<crate::store::Message>) -> Commit {
    Commit { messages, ..commit }
}

fn consuming(commit: Commit, consumed: &[u64]) -> Commit {
    Commit { consumed: consumed.to_vec(), ..commit }
}

fn messages_come_in_the_order_in_which_they_were_sent(bench: &mut Bench) -> Verdict {
    let (a, b) = (run(1), run(2));
    let sent = vec![signal(b, "one"), signal(a, "two"), signal(b, "three")];
    bench.all(vec![create(row(b)), sending(create(row(a)), sent.clone())]);
    bench.applied(sending(change(b, 1), vec![signal(a, "four")]));
    let due = bench.due_now();
    let bodies: Vec<_> = due.messages.iter().map(|(_, m)| m.clone()).collect();
    assert_eq!(bodies[..3], sent);
    assert_eq!(bodies[3], signal(a, "four"));
    let ids: Vec<u64> = due.messages.iter().map(|(id, _)| *id).collect();
    assert!(ids.is_sorted_by(|x, y| x < y), "{ids:?}");
    let page = bench.due(DueAsk { messages_after: ids[0], limit: 2, ..EVERYTHING });
    assert_eq!(page.messages, due.messages[1..3]);
    assert_eq!(bench.pending(a).messages, [due.messages[1].clone(), due.messages[3].clone()]);
    Verdict::Passed
}

fn a_message_is_applied_once(bench: &mut Bench) -> Verdict {
    let (a, b) = (run(1), run(2));
    let sent = vec![signal(a, "one"), signal(a, "two"), signal(b, "three")];
    bench.applied(sending(create(row(a)), sent));
    let ids: Vec<u64> = bench.mail().iter().map(|m| m.0).collect();
    bench.applied(consuming(change(a, 1), &ids[..1]));
    let before = (bench.load(a), bench.mail());
    // Gone already, alone or among others: nothing of the commit is written.
    for consumed in [vec![ids[0]], vec![ids[1], ids[0]], vec![ids[0], ids[1]], vec![999]] {
        let late = sending(consuming(change(a, 2), &consumed), vec![signal(b, "again")]);
        assert_eq!(bench.one(late), CommitOutcome::Conflict, "{consumed:?}");
        assert_eq!((bench.load(a), bench.mail()), before);
    }
    bench.applied(consuming(silent(a, 2), &ids[1..2]));
    assert_eq!(bench.mail(), [(ids[2], b)]);
    Verdict::Passed
}

fn a_refused_commit_leaves_its_messages(bench: &mut Bench) -> Verdict {
    let (a, b) = (run(1), run(2));
    let guard = build::keyed(b, "key");
    bench.all(vec![sending(create(row(a)), vec![signal(a, "one")]), guard]);
    let mail = bench.mail();
    let late = consuming(change(a, 7), &[mail[0].0]);
    assert_eq!(bench.one(late), CommitOutcome::Conflict);
    let again = consuming(build::keyed(run(3), "key"), &[mail[0].0]);
    assert_eq!(bench.one(again), CommitOutcome::Duplicate(b));
    assert_eq!(bench.mail(), mail);
    Verdict::Passed
}

fn a_message_can_be_for_a_run_that_is_not_there(bench: &mut Bench) -> Verdict {
    let (a, child) = (run(1), run(2));
    bench.applied(sending(create(row(a)), vec![signal(child, "start"), signal(child, "again")]));
    let mail = bench.mail();
    // It can't be started: the parent is told, and no run comes of it.
    let answer = sending(consuming(silent(child, 0), &[mail[0].0]), vec![signal(a, "failed")]);
    assert_eq!(bench.applied(answer), 0);
    assert_eq!(bench.load(child), None);
    assert_eq!(bench.mail().iter().map(|m| m.1).collect::<Vec<_>>(), [child, a]);
    // It is started: the message that asked for it is gone in the same commit.
    bench.applied(consuming(create(row(child)), &[mail[1].0]));
    assert_eq!(bench.mail().iter().map(|m| m.1).collect::<Vec<_>>(), [a]);
    Verdict::Passed
}

fn an_event_goes_to_the_runs_that_wait_for_it(bench: &mut Bench) -> Verdict {
    let (a, b, c) = (run(1), run(2), run(3));
    let wait = |inst, event: &str, on| (inst, event.to_owned(), on);
    let twice = vec![wait(0, "done", true), wait(4, "done", true), wait(5, "other", true)];
    bench.all(vec![
        Commit { waits: vec![wait(0, "done", true)], ..create(row(c)) },
        Commit { waits: vec![wait(0, "doné", true)], ..create(row(b)) },
        Commit { waits: twice, ..create(row(a)) },
    ]);
    let events = ["done", "other", "nobody"];
    bench.applied(sending(change(b, 1), events.map(emitted).to_vec()));
    let waiting = |bench: &Bench| -> Vec<Vec<_>> {
        bench.due_now().bus.into_iter().map(|(_, _, runs)| runs).collect()
    };
    assert_eq!(waiting(bench), [vec![a, c], vec![a], vec![]]);
    let due = bench.due_now();
    assert!(due.messages.is_empty());
    for ((_, found, _), event) in due.bus.iter().zip(events) {
        let MessageBody::Emitted(sent) = emitted(event).body else { unreachable!() };
        assert_eq!(*found, sent);
    }
    // A step that waits no more; one that waits twice; one that never waited.
    let off = vec![wait(0, "done", false), wait(5, "other", true), wait(9, "done", false)];
    bench.applied(Commit { waits: off, ..change(a, 1) });
    bench.applied(Commit { waits: vec![wait(0, "done", false)], ..change(c, 1) });
    assert_eq!(waiting(bench), [vec![a], vec![a], vec![]]);
    Verdict::Passed
}

fn a_relay_hands_on_once(bench: &mut Bench) -> Verdict {
    let (a, b) = (run(1), run(2));
    bench.all(vec![create(row(b)), sending(create(row(a)), vec![emitted("done")])]);
    let bus = bench.due_now().bus[0].0;
    let relay = Relay { consumed: bus, messages: vec![signal(a, "x"), signal(b, "y")] };
    let twice = Batch { relays: vec![relay.clone(), relay.clone()], ..batch(Vec::new()) };
    assert!(bench.batch(twice).messages);
    let due = bench.due_now();
    assert!(due.bus.is_empty());
    assert_eq!(due.messages.iter().map(|(_, m)| m.to).collect::<Vec<_>>(), [a, b]);
    let late = Batch { relays: vec![relay], ..batch(Vec::new()) };
    assert!(!bench.batch(late).messages);
    assert_eq!(bench.mail().len(), 2);
    // An event that nobody waits for is just deleted.
    bench.applied(sending(change(a, 1), vec![emitted("nobody")]));
    let nobody = Relay { consumed: bench.due_now().bus[0].0, messages: Vec::new() };
    assert!(!bench.batch(Batch { relays: vec![nobody], ..batch(Vec::new()) }).messages);
    assert!(bench.due_now().bus.is_empty());
    Verdict::Passed
}

fn a_page_of_messages_has_both_kinds_in_order(bench: &mut Bench) -> Verdict {
    // Whoever has seen a page has seen every message up to the last one in it, of both kinds.
    let a = run(1);
    let sent = vec![signal(a, "1"), emitted("2"), signal(a, "3"), emitted("4"), signal(a, "5")];
    bench.applied(sending(create(row(a)), sent));
    let (mut seen, mut after) = (Vec::new(), 0);
    for _ in 0..3 {
        let due = bench.due(DueAsk { messages_after: after, limit: 2, ..EVERYTHING });
        let ids = due.messages.iter().map(|m| m.0).chain(due.bus.iter().map(|b| b.0));
        let mut page: Vec<u64> = ids.collect();
        page.sort_unstable();
        after = page.last().copied().unwrap_or(after);
        seen.append(&mut page);
    }
    assert_eq!(seen.len(), 5);
    assert!(seen.is_sorted_by(|x, y| x < y), "{seen:?}");
    Verdict::Passed
}

fn a_batch_tells_whether_it_sent_messages(bench: &mut Bench) -> Verdict {
    let (a, b) = (run(1), run(2));
    assert!(!bench.batch(batch(vec![create(row(a))])).messages);
    assert!(bench.batch(batch(vec![sending(change(a, 1), vec![signal(a, "x")])])).messages);
    assert!(!bench.batch(batch(vec![change(a, 2)])).messages);
    assert!(!bench.batch(batch(vec![sending(change(a, 9), vec![signal(a, "x")])])).messages);
    let start = build::contender(b, "key", 1, Default::default());
    assert!(bench.batch(batch(vec![start])).messages);
    assert!(!bench.batch(batch(vec![build::end(b, 1, RunStatus::Succeeded)])).messages);
    Verdict::Passed
}
