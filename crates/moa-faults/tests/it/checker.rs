//! The checker finds nothing in a good history, and every kind of damage in a bad one.

use moa_faults::check::{Rules, check};
use moa_faults::history::{Ack, Attempt, Event, Execution, History, Run, Step};

fn execution(step: &str, attempt: u32, key: &str, t0: f64, t1: f64) -> Execution {
    let (run, step, key) = ("r1".to_owned(), step.to_owned(), key.to_owned());
    Execution { run, step, attempt, key, t0, t1: Some(t1) }
}

fn attempt(n: u32, start: f64, end: f64, outcome: &str) -> Attempt {
    Attempt { n, start, end: Some(end), outcome: Some(outcome.to_owned()) }
}

fn step(id: &str, deps: &[&str], attempts: Vec<Attempt>) -> Step {
    let deps = deps.iter().map(ToString::to_string).collect();
    Step { id: id.into(), state: "succeeded".into(), deps, attempts, due: None, timer: false }
}

fn events(changes: &[(&str, &str)]) -> Vec<Event> {
    let event = |(seq, (step, to)): (u64, &(&str, &str))| Event {
        seq,
        about: if step.is_empty() { "run" } else { "step" }.to_owned(),
        step: (!step.is_empty()).then(|| (*step).to_owned()),
        to: Some((*to).to_owned()),
    };
    (1..).zip(changes).map(event).collect()
}

/// A run of two steps; the second one failed once.
fn good() -> History {
    let second = vec![attempt(1, 3.0, 3.5, "failed"), attempt(2, 4.0, 5.0, "succeeded")];
    let changes = [
        ("", "running"),
        ("a", "running"),
        ("a", "succeeded"),
        ("b", "running"),
        ("b", "waiting"),
        ("b", "running"),
        ("b", "succeeded"),
        ("", "succeeded"),
    ];
    let run = Run {
        run: "r1".into(),
        state: "succeeded".into(),
        steps: vec![
            step("a", &[], vec![attempt(1, 1.0, 2.0, "succeeded")]),
            step("b", &["a"], second),
        ],
        events: events(&changes),
        cancelled_at: None,
    };
    History {
        acks: vec![Ack { run: "r1".into(), idem: Some("k".into()), kind: None }],
        ledger: vec![
            execution("a", 1, "x", 1.0, 2.0),
            execution("b", 1, "y", 3.0, 3.5),
            execution("b", 2, "y", 4.0, 5.0),
        ],
        runs: vec![run],
    }
}

fn rules() -> Rules {
    Rules { max_attempts: Some(3), ..Rules::default() }
}

#[test]
fn a_good_history_is_clean() {
    assert_eq!(check(&good(), rules()), []);
}

#[test]
fn every_kind_of_damage_is_found() {
    type Damage = (&'static str, fn(&mut History));
    let damages: [Damage; 21] = [
        ("I0", |h| h.runs.push(h.runs[0].clone())),
        ("I1", |h| h.acks.push(Ack { run: "zz".into(), idem: None, kind: None })),
        ("I2", |h| h.acks.push(Ack { run: "r2".into(), idem: Some("k".into()), kind: None })),
        ("I3", |h| h.runs[0].state = "running".into()),
        ("I4", |h| h.runs[0].steps[1].state = "running".into()),
        ("I5", |h| h.runs[0].steps[1].attempts[1].n = 3),
        ("I6", |h| {
            h.runs[0].steps[1].attempts = (1..=5).map(|n| attempt(n, 4.0, 4.0, "failed")).collect();
        }),
        ("I7", |h| h.runs[0].steps[1].attempts[0].outcome = Some("succeeded".into())),
        ("I8", |h| h.runs[0].steps[0].attempts[0].outcome = Some("failed".into())),
        ("I9", |h| h.runs[0].steps[1].attempts[0].start = 1.5),
        ("I10", |h| {
            h.runs[0].steps[0].timer = true;
            h.runs[0].steps[0].due = Some(9.0);
        }),
        ("I11", |h| drop(h.runs[0].events.remove(3))),
        ("I12", |h| {
            let last = Event { seq: 9, ..h.runs[0].events[7].clone() };
            h.runs[0].events.push(Event { to: Some("failed".into()), ..last });
        }),
        ("I12", |h| h.runs[0].events[3].to = Some("pending".into())),
        ("I13", |h| h.runs[0].steps[0].state = "failed".into()),
        ("I14", |h| h.ledger.push(Execution { run: "qq".into(), ..h.ledger[0].clone() })),
        ("I15", |h| h.ledger.push(execution("a", 1, "x", 6.0, 7.0))),
        ("I16", |h| h.ledger[2].key = "zz".into()),
        ("I17", |h| h.ledger[1].t1 = Some(4.5)),
        ("I18", |h| h.runs[0].cancelled_at = Some(0.5)),
        ("I19", |h| drop(h.ledger.remove(0))),
    ];
    for (invariant, damage) in damages {
        let mut history = good();
        damage(&mut history);
        let found: Vec<_> = check(&history, rules()).into_iter().map(|v| v.invariant).collect();
        assert!(found.contains(&invariant), "{invariant} was not found, but {found:?}");
    }
}
