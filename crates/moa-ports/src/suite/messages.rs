//! Rules of messages between runs, and of the bus.

use moa_core::ids::RunId;
use moa_core::machine::{Input, MessageBody};
use moa_core::run::RunStatus;

use super::bench::EVERYTHING;
use super::build::{self, batch, change, create, emitted, row, run, signal, silent};
use super::{Bench, Verdict, rules};
use crate::store::{Batch, Commit, CommitOutcome, DueAsk, Message, Old, PruneAsk, Relay};

rules![
    messages_come_in_the_order_in_which_they_were_sent,
    a_message_is_applied_once,
    a_refused_commit_leaves_its_messages,
    a_message_can_be_for_a_run_that_is_not_there,
    an_event_goes_to_the_runs_that_wait_for_it,
    an_event_is_handed_on_part_by_part_to_each_once,
    events_share_the_room_of_a_batch,
    a_message_is_given_up_once,
    a_message_is_not_given_up_once_its_run_is_there,
    messages_and_events_take_no_place_of_each_other,
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

fn wait(inst: u32, event: &str, on: bool) -> (u32, String, bool) {
    (inst, event.to_owned(), on)
}

fn waiting(commit: Commit, waits: Vec<(u32, String, bool)>) -> Commit {
    Commit { waits, ..commit }
}

/// Hands all events of the bus on, to so many runs; answers who got one, in order. The messages are
/// taken away.
fn handed_on(bench: &Bench, event_runs: usize) -> Vec<RunId> {
    assert_eq!(bench.mail(), []);
    let events = bench.due_now().bus;
    let outcome = bench.batch(Batch { events, event_runs, ..batch(Vec::new()) });
    let due = bench.due_now();
    // Whoever is told of none need not look.
    let left = !due.messages.is_empty() || !due.bus.is_empty();
    assert_eq!(outcome.messages, left, "{due:?}");
    bench.read_mail();
    due.messages.into_iter().map(|(_, message)| message.to).collect()
}

fn an_event_goes_to_the_runs_that_wait_for_it(bench: &mut Bench) -> Verdict {
    let (a, b, c) = (run(1), run(2), run(3));
    let twice = vec![wait(0, "done", true), wait(4, "done", true), wait(5, "other", true)];
    bench.all(vec![
        waiting(create(row(c)), vec![wait(0, "done", true)]),
        waiting(create(row(b)), vec![wait(0, "doné", true)]),
        waiting(create(row(a)), twice),
    ]);
    let events = ["done", "other", "nobody"];
    bench.applied(sending(change(b, 1), events.map(emitted).to_vec()));
    let events = bench.due_now().bus;
    assert_eq!(events.len(), 3);
    let batch = |event: u64| Batch { events: vec![event], event_runs: 9, ..batch(Vec::new()) };
    assert!(bench.batch(batch(events[0])).messages);
    let due = bench.due_now();
    // The oldest run first, each once, however many of its steps wait.
    let MessageBody::Emitted(event) = emitted("done").body else { unreachable!() };
    let body = MessageBody::Input(Input::EventArrived { event });
    let to = |to| Message { to, body: body.clone() };
    let messages: Vec<_> = due.messages.into_iter().map(|(_, message)| message).collect();
    assert_eq!((messages, due.bus), (vec![to(c), to(a)], events[1..].to_vec()));
    bench.read_mail();
    // Nobody waits for the last one: it is just deleted.
    assert!(!bench.batch(batch(events[2])).messages);
    assert_eq!(bench.due_now().bus, events[1..2]);
    assert_eq!(handed_on(bench, 9), [a]);
    // A step that waits no more; one that waits twice; one that never waited.
    let off = vec![wait(0, "done", false), wait(5, "other", true), wait(9, "done", false)];
    bench.applied(waiting(change(a, 1), off));
    bench.applied(waiting(change(c, 1), vec![wait(0, "done", false)]));
    bench.applied(sending(change(b, 2), vec![emitted("done"), emitted("other")]));
    assert_eq!(handed_on(bench, 9), [a, a]);
    // Handed on already, never sent, or not of the bus: nothing happens.
    bench.applied(sending(change(b, 3), vec![signal(a, "x")]));
    let mail = bench.mail();
    for event in [events[0], 999, mail[0].0] {
        assert!(!bench.batch(batch(event)).messages);
    }
    assert_eq!(bench.mail(), mail);
    Verdict::Passed
}

fn an_event_is_handed_on_part_by_part_to_each_once(bench: &mut Bench) -> Verdict {
    let done = || vec![wait(0, "done", true)];
    let off = || vec![wait(0, "done", false)];
    let late = run(20);
    bench.all((1..=9).map(|n| waiting(create(row(run(n))), done())).collect());
    bench.applied(sending(create(row(late)), vec![emitted("done")]));
    assert_eq!(handed_on(bench, 2), [1, 2].map(run));
    // One that has it waits again, one that hasn't waits no more, one is new: the end of the line
    // stays where it was.
    bench.all(vec![waiting(change(run(1), 1), off()), waiting(change(run(3), 1), off())]);
    bench.all(vec![waiting(change(run(1), 2), done()), waiting(create(row(run(30))), done())]);
    assert_eq!(handed_on(bench, 2), [4, 5].map(run));
    // The process dies; the node forgets what it knew.
    bench.reopen();
    // Runs that have it, that would have got it, and the newest one go, and another one comes.
    let end = |n, version| waiting(build::end(run(n), version, RunStatus::Succeeded), off());
    bench.all(vec![end(4, 1), end(6, 1), end(30, 1)]);
    let what = Old::Runs(RunStatus::Succeeded);
    let before = build::NOW.after(moa_core::time::Span(1));
    let pruned = bench.prune(PruneAsk { what, before, after: None, limit: 9 });
    assert_eq!(pruned.runs.len(), 3);
    bench.reopen();
    bench.applied(waiting(create(row(run(31))), done()));
    // One that was there when it was first handed on, and has begun to wait since, gets it too.
    bench.applied(waiting(change(late, 1), done()));
    assert_eq!(handed_on(bench, 3), [7, 8, 9].map(run));
    assert_eq!(bench.due_now().bus.len(), 1, "not all have it");
    assert_eq!(handed_on(bench, 3), [late]);
    assert!(bench.due_now().bus.is_empty());
    assert_eq!(bench.verify(), Vec::<String>::new());
    Verdict::Passed
}

fn events_share_the_room_of_a_batch(bench: &mut Bench) -> Verdict {
    let (a, b, c) = (run(1), run(2), run(3));
    for run in [a, b] {
        bench.applied(waiting(create(row(run)), vec![wait(0, "x", true), wait(1, "y", true)]));
    }
    bench.applied(sending(create(row(c)), vec![emitted("x"), emitted("y"), emitted("x")]));
    assert_eq!(handed_on(bench, 0), []);
    assert_eq!(handed_on(bench, 3), [a, b, a]);
    assert_eq!(bench.due_now().bus.len(), 2);
    assert_eq!(handed_on(bench, 1), [b]);
    assert_eq!(handed_on(bench, 2), [a, b]);
    assert!(bench.due_now().bus.is_empty());
    Verdict::Passed
}

fn a_message_is_given_up_once(bench: &mut Bench) -> Verdict {
    let (a, b, gone) = (run(1), run(2), run(9));
    bench.all(vec![create(row(b)), sending(create(row(a)), vec![signal(gone, "hello")])]);
    let relay =
        Relay { consumed: bench.mail()[0].0, messages: vec![signal(a, "x"), signal(b, "y")] };
    let twice = Batch { relays: vec![relay.clone(), relay.clone()], ..batch(Vec::new()) };
    assert!(bench.batch(twice).messages);
    assert_eq!(bench.mail().iter().map(|m| m.1).collect::<Vec<_>>(), [a, b]);
    let late = Batch { relays: vec![relay], ..batch(Vec::new()) };
    assert!(!bench.batch(late).messages);
    assert_eq!(bench.mail().len(), 2);
    Verdict::Passed
}

fn a_message_is_not_given_up_once_its_run_is_there(bench: &mut Bench) -> Verdict {
    let (a, child) = (run(1), run(2));
    bench.applied(sending(create(row(a)), vec![signal(child, "cancel")]));
    let mail = bench.mail();
    // Another node creates the run, after this one has looked for it.
    bench.applied(create(row(child)));
    let relay = Relay { consumed: mail[0].0, messages: vec![signal(a, "gone")] };
    let outcome = bench.batch(Batch { relays: vec![relay.clone()], ..batch(Vec::new()) });
    assert!(outcome.messages, "it is still there, and somebody must look");
    assert_eq!(bench.mail(), mail);
    // Also when that happens in the same batch.
    let other = run(3);
    bench.applied(sending(change(a, 1), vec![signal(other, "cancel")]));
    let mail = bench.mail();
    let relay = Relay { consumed: mail[1].0, ..relay };
    bench.batch(Batch { relays: vec![relay], ..batch(vec![create(row(other))]) });
    assert_eq!(bench.mail(), mail);
    Verdict::Passed
}

fn messages_and_events_take_no_place_of_each_other(bench: &mut Bench) -> Verdict {
    let a = run(1);
    let mut sent = vec![emitted("done"); 5];
    sent.extend([signal(a, "1"), signal(a, "2"), signal(a, "3"), emitted("done")]);
    bench.applied(sending(create(row(a)), sent));
    let mail: Vec<u64> = bench.mail().iter().map(|m| m.0).collect();
    let events = bench.due_now().bus;
    let page = |limit, after| {
        let ask = DueAsk { limit, messages_after: after, ..EVERYTHING };
        let due = bench.due(DueAsk { only: Some(vec![a]), ..ask.clone() });
        assert_eq!(due, bench.due(ask), "and of one run alone");
        (due.messages.iter().map(|m| m.0).collect::<Vec<_>>(), due.bus)
    };
    assert_eq!(page(9, 0), (mail.clone(), events.clone()));
    assert_eq!(page(2, 0), (mail[..2].to_vec(), events[..2].to_vec()));
    assert_eq!(page(2, events[1]), (mail[..2].to_vec(), events[2..4].to_vec()));
    assert_eq!(page(2, mail[1]), (mail[2..].to_vec(), events[5..].to_vec()));
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
