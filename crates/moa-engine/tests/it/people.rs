//! Signals, approvals, pauses, concurrency, actions that must not be repeated blindly.

use insta::assert_snapshot;
use moa_core::machine::Outcome;
use moa_core::step::StepStatus;
use moa_core::step::{ErrorKind, StepError};
use moa_core::time::Span;
use moa_engine::handle::{Change, ForkFrom, ForkRequest, Started};
use serde_json::{Value as Json, json};

use crate::script::{
    agent, agents, answers, ok, plan, request, schemas, show, start, timeline, world,
};

fn signal(name: &str, key: Option<&str>, payload: Json) -> Change {
    Change::Signal { name: name.into(), key: key.map(str::to_owned), payload }
}

#[test]
fn an_approval_waits_for_the_decision() {
    let text = "
steps:
  - {id: gate, approve: {title: Deploy?, timeout: 24h}}
  - {id: deploy, agent: a, action: x, params: {by: \"${{ gate.by }}\"}}
";
    let mut world = world(&[("w", text)], answers(vec![]));
    let yes = start(&mut world, "w", json!({}));
    let no = start(&mut world, "w", json!({}));
    world.run(Span::seconds(5));
    let approve = signal("approve.gate", None, json!({ "approved": true, "by": "ann" }));
    let reject =
        signal("approve.gate", None, json!({ "approved": false, "by": "bob", "comment": "later" }));
    world.change(yes, approve).expect("decided");
    world.change(no, reject).expect("decided");
    world.run(Span::minutes(1));
    assert_snapshot!(format!("{}---\n{}", show(&world, yes), show(&world, no)));
}

#[test]
fn what_was_decided_about_other_params_is_asked_again() {
    let text = "
params: {to: {type: string, default: staging}}
steps:
  - {id: look, agent: a, action: x}
  - {id: gate, approve: {title: Deploy?}, depends_on: [look]}
  - {id: go, wait_for: {signal: go}, depends_on: [look]}
  - {id: prepare, agent: a, action: x, depends_on: [gate, go]}
  - {id: deploy, agent: a, action: x, depends_on: [prepare]}
";
    let mut world = world(&[("w", text)], answers(vec![]));
    let run = start(&mut world, "w", json!({}));
    world.run(Span::seconds(5));
    world.change(run, signal("approve.gate", None, json!({"approved": true}))).expect("decided");
    world.change(run, signal("go", None, json!({}))).expect("told");
    world.run(Span::minutes(1));
    let mut taken_over = |params: Option<Json>| {
        let from = ForkFrom::Step("deploy".into());
        let request =
            ForkRequest { run, from, params, idempotency_key: None, cause: "test".into() };
        let again = world.fork(request).expect("forked");
        world.run(Span::minutes(1));
        let run = world.run_state(again).expect("it is there");
        run.steps().map(|step| step.status).collect::<Vec<_>>()
    };
    use StepStatus::{Pending, Succeeded, Waiting};
    assert_eq!(taken_over(None), [Succeeded; 5]);
    assert_eq!(taken_over(Some(json!({"to": "staging"}))), [Succeeded; 5], "the same params");
    let asked = taken_over(Some(json!({"to": "production"})));
    assert_eq!(asked, [Succeeded, Waiting, Waiting, Pending, Pending]);
}

#[test]
fn an_approval_nobody_answers_times_out() {
    let text = "steps: [{id: gate, approve: {title: x, timeout: 24h}}]";
    assert_snapshot!(timeline(text, json!({}), vec![]));
}

#[test]
fn a_signal_may_come_before_the_wait_and_twice() {
    let text = "
steps:
  - {id: nap, sleep: 10s}
  - {id: go, wait_for: {signal: go, match: event.n > 1}}
";
    let mut world = world(&[("w", text)], answers(vec![]));
    let run = start(&mut world, "w", json!({}));
    world.change(run, signal("go", Some("k"), json!({ "n": 1 }))).expect("kept");
    world.change(run, signal("go", Some("k2"), json!({ "n": 2 }))).expect("kept");
    let twice = world.change(run, signal("go", Some("k"), json!({ "n": 3 })));
    assert!(twice.is_err(), "the same key is the same signal");
    world.run(Span::minutes(1));
    assert_snapshot!(show(&world, run));
}

#[test]
fn a_paused_run_starts_nothing() {
    let text = "
steps:
  - {id: one, agent: a, action: x}
  - {id: two, agent: a, action: x}
";
    let mut world = world(&[("w", text)], answers(vec![]));
    let run = start(&mut world, "w", json!({}));
    world.change(run, Change::Pause).expect("paused");
    world.run(Span::minutes(1));
    let paused = show(&world, run);
    world.change(run, Change::Resume).expect("resumed");
    world.run(Span::minutes(1));
    assert_snapshot!(format!("{paused}---\n{}", show(&world, run)));
}

#[test]
fn runs_of_one_key_wait_for_one_another() {
    let text = "
params: {client: {type: string}}
concurrency: {key: params.client, limit: 1}
steps: [{id: one, agent: a, action: x}]
";
    let mut world = world(&[("w", text)], answers(vec![]));
    for client in ["x", "x", "y"] {
        start(&mut world, "w", json!({ "client": client }));
    }
    world.run(Span::minutes(1));
    let seconds = |t: &moa_core::time::Millis| t.since(crate::script::START).0 / 1000;
    let starts: Vec<u64> = world.started.iter().map(|(t, ..)| seconds(t)).collect();
    assert_eq!(starts, [0, 0, 1], "x and y at once, the second x after the first");
}

#[test]
fn a_key_in_use_may_skip_or_replace() {
    let with = |policy: &str| {
        format!(
            "concurrency: {{limit: 1, on_limit: {policy}}}\nsteps: [{{id: one, agent: a, action: x}}]"
        )
    };
    let mut skipping = world(&[("w", &with("skip"))], answers(vec![]));
    start(&mut skipping, "w", json!({}));
    assert_eq!(skipping.start(request("w", json!({}))), Ok(Started::Skipped));
    let mut cancelling = world(&[("w", &with("cancel_running"))], answers(vec![]));
    let first = start(&mut cancelling, "w", json!({}));
    let second = start(&mut cancelling, "w", json!({}));
    cancelling.run(Span::minutes(1));
    let text = format!("{}---\n{}", show(&cancelling, first), show(&cancelling, second));
    assert_snapshot!(text);
}

#[test]
fn an_action_of_unknown_outcome_waits_for_a_person() {
    let text = "
steps:
  - {id: send, agent: a, action: mail, once: true}
  - {id: after, agent: a, action: x}
";
    let lost = StepError::new(ErrorKind::UnknownOutcome, "the connection broke");
    let mut world = world(&[("w", text)], answers(vec![("send", Outcome::Failed { error: lost })]));
    let run = start(&mut world, "w", json!({}));
    world.run(Span::minutes(60));
    let waiting = show(&world, run);
    for odd in [json!(null), json!({}), json!({ "done": "true" }), json!({ "done": null })] {
        let refused = world.change(run, signal("resolve.send", None, odd)).expect_err("refused");
        assert!(refused.to_string().contains("\"done\": true"), "{refused}");
    }
    assert_eq!(show(&world, run), waiting, "what says neither changes nothing");
    let sent = signal("resolve.send", None, json!({ "done": true, "output": { "id": 7 } }));
    world.change(run, sent).expect("resolved");
    world.run(Span::minutes(60));
    assert_snapshot!(format!("{waiting}---\n{}", show(&world, run)));
    let sends = world.started.iter().filter(|(.., s, _)| s == "send").count();
    assert_eq!(sends, 1, "it is never sent twice");
}

#[test]
fn an_action_with_a_check_asks_it() {
    let text = "steps: [{id: send, agent: b, action: mail}]";
    let mut spec = agent("b");
    let actions = json!({ "mail": { "once": true, "check": "was_sent" }, "was_sent": {} });
    spec.actions = serde_json::from_value(actions).expect("actions");
    let lost = StepError::new(ErrorKind::UnknownOutcome, "the connection broke");
    let mock = Box::new(move |task: &moa_ports::agent::Task, _| {
        let outcome = match (task.action.as_str(), task.attempt) {
            ("mail", 1) => Outcome::Failed { error: lost.clone() },
            ("was_sent", _) => ok(json!({ "done": false })),
            _ => ok(json!({ "id": 7 })),
        };
        Some((Span::seconds(1), outcome))
    });
    let mut world =
        moa_engine::virtual_time::World::new(crate::script::START, agents([spec]), schemas(), mock);
    world.put(&plan("w", text)).expect("a plan is JSON");
    let run = start(&mut world, "w", json!({}));
    world.run(Span::minutes(60));
    assert_snapshot!(show(&world, run));
}

#[test]
fn what_is_nested_too_deep_is_refused_at_the_door() {
    let text = "steps: [{id: go, wait_for: {signal: go}}]";
    let nested = |depth| (0..depth).fold(json!(1), |inside, _| json!([inside]));
    let mut world = world(&[("w", text)], answers(vec![]));
    assert!(world.start(request("w", json!({ "deep": nested(120) }))).is_err());
    let run = start(&mut world, "w", json!({ "deep": nested(99) }));
    assert!(world.change(run, signal("go", None, nested(120))).is_err());
    assert!(world.change(run, signal("other", None, nested(100))).is_ok());
    assert!(world.run_state(run).is_some(), "what was taken can be read again");
}

const COMMITTEE: &str = "
steps:
  - id: panel
    committee:
      members:
        - {id: clarity, agent: a, action: review}
        - {id: facts, agent: a, action: review}
        - {id: brand, agent: a, action: review, retry: never}
      weights: {facts: 2}
      veto: [facts]
      quorum: 2
      threshold: 60%
  - id: publish
    agent: a
    action: publish
    condition: panel.approved
";

fn voted(votes: [Outcome; 3]) -> String {
    let [clarity, facts, brand] = votes;
    let answers = vec![("clarity", clarity), ("facts", facts), ("brand", brand)];
    timeline(COMMITTEE, json!({}), answers)
}

fn vote(approved: Json) -> Outcome {
    ok(json!({ "approved": approved }))
}

fn broken() -> Outcome {
    Outcome::Failed { error: StepError::new(ErrorKind::Permanent, "its model is gone") }
}

#[test]
fn a_committee_decides_by_the_weight_of_its_votes() {
    let votes = [vote(json!(false)), vote(json!(true)), vote(json!(null))];
    assert_snapshot!(voted(votes));
}

#[test]
fn a_veto_rejects_whatever_the_others_say() {
    let votes = [vote(json!(true)), vote(json!(false)), vote(json!(true))];
    assert_snapshot!(voted(votes));
}

#[test]
fn a_committee_without_a_quorum_fails_and_says_who_is_missing() {
    let votes = [vote(json!(true)), vote(json!("maybe")), broken()];
    assert_snapshot!(voted(votes));
}

#[test]
fn nothing_is_published_that_a_veto_was_not_heard_on() {
    let lost = Outcome::Failed { error: StepError::new(ErrorKind::Permanent, "it crashed") };
    let shown = voted([vote(json!(true)), lost, vote(json!(true))]);
    assert!(shown.contains("facts has a veto, and gave no vote; facts: it crashed"), "{shown}");
    assert!(!shown.contains("publish ok"), "{shown}");
    assert_snapshot!(shown);
}

#[test]
fn a_person_votes_in_a_committee() {
    let text = "
steps:
  - id: panel
    committee:
      members:
        - {id: a, agent: a, action: review}
        - {id: b, agent: a, action: review}
        - {id: boss, approve: Publish it?}
      veto: [boss]
  - {id: publish, agent: a, action: publish, condition: panel.approved}
";
    let said = |payload: Json| {
        let table = vec![("a", vote(json!(true))), ("b", vote(json!(true)))];
        let mut world = world(&[("w", text)], answers(table));
        let run = start(&mut world, "w", json!({}));
        world.run(Span::seconds(5));
        world.change(run, signal("approve.boss", None, payload)).expect("decided");
        world.run(Span::minutes(60));
        show(&world, run)
    };
    assert_snapshot!(format!(
        "{}---\n{}",
        said(json!({ "approved": false, "by": "boss", "comment": "no" })),
        said(json!({ "approved": true, "by": "boss" })),
    ));
}
