//! From files to plans: ids, dependencies, bodies, what keys mean.

use moa_core::ids::VersionHash;
use moa_core::machine::Graph;
use moa_core::retry::{Backoff, RetryPolicy};
use moa_core::time::Span;
use moa_core::workflow::{
    NeedStatus, OnLimit, OnTimeout, Plan, PlanStep, Priority, RunIf, StepKind,
};
use serde_json::json;

use crate::support::{codes, ids, needs, plan};

fn step<'p>(plan: &'p Plan, id: &str) -> &'p PlanStep {
    plan.step(plan.find(id).unwrap_or_else(|| panic!("no step {id} in {:?}", ids(plan))))
}

#[test]
fn everything_becomes_a_plan_that_the_run_machine_takes() {
    let mut plan = plan(include_str!("../data/good/everything.yaml"));
    Graph::new(plan.clone()).unwrap();
    plan.hash = VersionHash([0; 32]);
    insta::assert_json_snapshot!("everything", plan);
}

#[test]
fn the_step_before_is_a_dependency_unless_depends_on_says_otherwise() {
    let plan = plan(
        "
steps:
  - {id: a, agent: x, action: act}
  - {id: b, agent: x, action: act}
  - {id: c, agent: x, action: act, depends_on: [a]}
  - {id: d, agent: x, action: act, depends_on: []}
  - {id: e, agent: x, action: act, depends_on: a}
  - {id: f, agent: x, action: act, depends_on: [{step: a, when: [failed, skipped]}]}
",
    );
    assert_eq!(needs(&plan, "a"), [""; 0]);
    assert_eq!(needs(&plan, "b"), ["a"]);
    assert_eq!(needs(&plan, "c"), ["a"]);
    assert_eq!(needs(&plan, "d"), [""; 0]);
    assert_eq!(needs(&plan, "e"), ["a"]);
    assert_eq!(step(&plan, "f").needs[0].when, [NeedStatus::Failed, NeedStatus::Skipped]);
}

#[test]
fn a_graph_has_no_implicit_edges_at_any_level() {
    let plan = plan(
        "
mode: graph
steps:
  - {id: a, agent: x, action: act}
  - {id: b, agent: x, action: act}
  - id: check
    condition: 'true'
    then: [{id: c, agent: x, action: act}, {id: d, agent: x, action: act, depends_on: [c]}]
",
    );
    for id in ["a", "b", "check", "c"] {
        assert_eq!(needs(&plan, id), [""; 0], "{id}");
    }
    assert_eq!(needs(&plan, "d"), ["c"]);
}

#[test]
fn later_steps_may_be_named_and_stand_before_who_needs_them() {
    let plan = plan(
        "
mode: graph
steps:
  - {id: a, agent: x, action: act, depends_on: [c]}
  - {id: b, agent: x, action: act}
  - {id: c, agent: x, action: act}
",
    );
    assert_eq!(ids(&plan), ["b", "c", "a"]);
    Graph::new(plan).unwrap();
}

#[test]
fn branches_start_together_and_lists_inside_are_sequences() {
    let plan = plan(
        "
steps:
  - id: fan
    parallel:
      - {id: a, agent: x, action: act}
      - {id: b, agent: x, action: act}
      - steps:
          - {id: c, agent: x, action: act}
          - {id: d, agent: x, action: act}
  - {id: after, agent: x, action: act}
",
    );
    let fan = plan.find("fan");
    assert_eq!(step(&plan, "fan").kind, StepKind::Group);
    for id in ["a", "b", "group_1"] {
        assert_eq!((step(&plan, id).parent, needs(&plan, id)), (fan, vec![]), "{id}");
    }
    assert_eq!(needs(&plan, "d"), ["c"]);
    assert_eq!(needs(&plan, "after"), ["fan"]);
}

#[test]
fn branches_of_conditions_and_switches_are_numbered() {
    let plan = plan(
        "
steps:
  - id: check
    condition: 'true'
    then: [{id: yes_1, agent: x, action: act}, {id: yes_2, agent: x, action: act}]
    else: [{id: no_1, agent: x, action: act}]
  - id: pick
    switch:
      - {case: 'false', then: [{id: one, agent: x, action: act}]}
      - {case: 'true', then: [{id: two, agent: x, action: act}]}
      - default: [{id: other, agent: x, action: act}]
",
    );
    let branch = |id| step(&plan, id).branch;
    assert_eq!(["yes_1", "yes_2", "no_1"].map(branch), [0, 0, 1]);
    assert_eq!(["one", "two", "other"].map(branch), [0, 1, 2]);
    assert_eq!(needs(&plan, "yes_2"), ["yes_1"]);
    assert_eq!(needs(&plan, "no_1"), [""; 0]);
    let StepKind::If { cases, default } = &step(&plan, "pick").kind else { panic!("no switch") };
    assert_eq!((cases.len(), *default), (2, Some(2)));
    let StepKind::If { default, .. } = &step(&plan, "check").kind else { panic!("no condition") };
    assert_eq!((*default, &step(&plan, "check").condition), (Some(1), &None));
}

#[test]
fn loops_have_bodies_of_their_own() {
    let plan = plan(
        "
steps:
  - {id: first, agent: x, action: act}
  - id: outer
    foreach: {in: first.list, as: part, max_parallel: 2, collect: none}
    steps:
      - {id: a, agent: x, action: act}
      - id: inner
        while: a.again
        max_iterations: 3
        steps: [{id: b, agent: x, action: act}]
  - id: short
    foreach: [1, two, {three: 3}]
    steps: [{id: c, agent: x, action: act, params: {it: '${{ item }}'}}]
  - {id: last, agent: x, action: act}
",
    );
    Graph::new(plan.clone()).unwrap();
    let StepKind::Foreach { items, var, max_parallel, collect, body } = &step(&plan, "outer").kind
    else {
        panic!("no foreach")
    };
    let found = (items.source(), var.as_str(), *max_parallel, *collect);
    assert_eq!(found, ("first.list", "part", Some(2), false));
    assert_eq!(plan.bodies[usize::from(*body)].owner, plan.find("outer"));
    assert_eq!(step(&plan, "a").body, *body);
    assert_eq!(step(&plan, "a").parent, None);
    let StepKind::While { until, max_iterations, body, .. } = step(&plan, "inner").kind else {
        panic!("no while")
    };
    assert_eq!((until, max_iterations), (false, 3));
    assert_eq!(step(&plan, "b").body, body);
    let StepKind::Foreach { items, var, .. } = &step(&plan, "short").kind else { panic!() };
    assert_eq!((items.source(), var.as_str()), (r#"[1,"two",{"three":3}]"#, "item"));
    assert_eq!(needs(&plan, "last"), ["short"]);
}

#[test]
fn bodies_are_contiguous_and_name_their_owners() {
    let plan = plan(
        "
steps:
  - {id: a, agent: x, action: act, compensate: {id: undo_a, agent: x, action: act}}
  - foreach: '[1]'
    steps: [{id: b, agent: x, action: act, compensate: [{id: undo_b, agent: x, action: act}]}]
error_handling:
  on_failure: [{id: f1, agent: x, action: act}, {id: f2, agent: x, action: act}]
  finally: [{id: z, agent: x, action: act}]
",
    );
    for (ix, step) in plan.steps.iter().enumerate() {
        let body = plan.bodies[usize::from(step.body)];
        assert!((body.start..body.start + body.count).contains(&(ix as u32)), "{:?}", step.id);
    }
    let undo = step(&plan, "a").compensate.unwrap();
    assert_eq!(step(&plan, "undo_a").body, undo);
    assert_eq!(plan.bodies[usize::from(undo)].owner, plan.find("a"));
    assert_eq!(step(&plan, "f1").body, plan.on_failure.unwrap());
    assert_eq!(needs(&plan, "f2"), ["f1"]);
    assert_eq!(plan.bodies[usize::from(plan.finally.unwrap())].owner, None);
}

#[test]
fn ids_are_made_of_actions_and_keep_out_of_each_others_way() {
    let plan = plan(
        "
steps:
  - {agent: x, action: lint}
  - {agent: x, action: lint}
  - {id: lint_3, agent: x, action: lint}
  - {agent: x, action: lint}
  - {agent: x, action: Deploy-It now!}
  - {agent: x, action: 3d}
  - {agent: x, action: import}
  - {run: 'true'}
  - {run: 'true'}
  - {http: 'http://localhost'}
  - {workflow: other}
  - {sleep: 1s}
  - {wait: 1s}
",
    );
    let expected = [
        "lint",
        "lint_2",
        "lint_3",
        "lint_4",
        "deploy_it_now",
        "_3d",
        "import_1",
        "run_1",
        "run_2",
        "http",
        "workflow_1",
        "sleep_1",
        "sleep_2",
    ];
    assert_eq!(ids(&plan), expected);
}

#[test]
fn short_forms_stand_for_agents() {
    let plan = plan(
        "
steps:
  - {run: make, env: {A: 1, B: true, C: x}}
  - {run: {script: make, cwd: sub}}
  - {http: 'http://localhost/x'}
  - {http: {url: 'http://localhost/x', method: POST, body: {a: 1}}}
  - {llm: Write a poem}
  - {mcp: {tool: search, arguments: {q: x}}}
  - {mail: {to: a@example.org, subject: x}}
  - {git: status}
  - {git: {action: merge, branch: x}}
  - {notify: slack}
  - {notify: {channel: slack, text: done}}
",
    );
    let task = |ix: u32| match &plan.step(ix).kind {
        StepKind::Task { agent, action, params, .. } => {
            (agent.to_string(), action.clone(), params.source().clone())
        }
        other => panic!("{other:?}"),
    };
    let url = "http://localhost/x";
    let expected = [
        ("shell", "run", json!({"script": "make"})),
        ("shell", "run", json!({"script": "make", "cwd": "sub"})),
        ("http", "request", json!({"url": url})),
        ("http", "request", json!({"url": url, "method": "POST", "body": {"a": 1}})),
        ("llm", "chat", json!({"prompt": "Write a poem"})),
        ("mcp", "call", json!({"tool": "search", "arguments": {"q": "x"}})),
        ("mail", "send", json!({"to": "a@example.org", "subject": "x"})),
        ("git", "status", json!({})),
        ("git", "merge", json!({"branch": "x"})),
        ("notify", "send", json!({"channel": "slack"})),
        ("notify", "send", json!({"channel": "slack", "text": "done"})),
    ];
    for (ix, (agent, action, params)) in expected.into_iter().enumerate() {
        assert_eq!(task(ix as u32), (agent.to_owned(), action.to_owned(), params), "step {ix}");
    }
    let StepKind::Task { env, .. } = &plan.step(0).kind else { panic!() };
    assert_eq!(env.source(), &json!({"A": "1", "B": "true", "C": "x"}));
}

#[test]
fn retry_policies_are_inherited_key_by_key() {
    let plan = plan(
        "
defaults: {retry: {delay: 5s}}
error_handling: {retry: {max_attempts: 7, backoff: linear}}
steps:
  - {id: a, agent: x, action: act}
  - {id: b, agent: x, action: act, retry: {max_retries: 2, jitter: 0.5}}
  - {id: c, agent: x, action: act, retry: never}
  - {id: d, workflow: other}
  - {id: e, workflow: other, retry: {max_attempts: 2}}
  - {id: f, agent: x, action: act, retry: {delay: 2h}}
",
    );
    let inherited = RetryPolicy {
        max_attempts: 7,
        backoff: Backoff::Linear,
        delay: Span::seconds(5),
        ..RetryPolicy::default()
    };
    let retry = |id| step(&plan, id).retry.clone();
    assert_eq!(retry("a"), Some(inherited.clone()));
    assert_eq!(retry("b"), Some(RetryPolicy { max_attempts: 3, jitter: 0.5, ..inherited }));
    assert_eq!(retry("c").map(|r| r.max_attempts), Some(1));
    assert_eq!(retry("d"), None, "the default is for tasks");
    assert_eq!(retry("e").map(|r| r.max_attempts), Some(2));
    let long = retry("f").unwrap();
    assert_eq!(long.max_delay, Span::minutes(120), "a longer delay isn't cut to the default");
}

#[test]
fn without_any_policy_the_agent_s_holds() {
    let plan = plan("steps: [{id: a, agent: x, action: act}]");
    assert_eq!((&plan.step(0).retry, plan.step(0).timeout), (&None, None));
}

#[test]
fn defaults_are_for_tasks_and_give_way() {
    let plan = plan(
        "
defaults: {timeout: 10m, queue_timeout: 1h, env: {A: one, B: '${{ params.b }}'}}
steps:
  - {id: a, agent: x, action: act, env: {A: two}}
  - {id: b, agent: x, action: act, timeout: 1m}
  - {id: c, foreach: '[1]', steps: [{run: 'true'}]}
",
    );
    assert_eq!(step(&plan, "a").timeout, Some(Span::minutes(10)));
    assert_eq!(step(&plan, "b").timeout, Some(Span::minutes(1)));
    assert_eq!(step(&plan, "b").queue_timeout, Some(Span::minutes(60)));
    assert_eq!(step(&plan, "c").timeout, None);
    let StepKind::Task { env, .. } = &step(&plan, "a").kind else { panic!() };
    assert_eq!(env.source(), &json!({"A": "two", "B": "${{ params.b }}"}));
}

#[test]
fn run_if_is_a_word_or_an_expression() {
    let plan = plan(
        "
steps:
  - {id: a, run: 'true', run_if: success}
  - {id: b, run: 'true', run_if: always}
  - {id: c, run: 'true', run_if: failure}
  - {id: d, run: 'true', run_if: a.failed || b.failed}
",
    );
    assert_eq!(step(&plan, "a").run_if, RunIf::Success);
    assert_eq!(step(&plan, "b").run_if, RunIf::Always);
    assert_eq!(step(&plan, "c").run_if, RunIf::Failure);
    let RunIf::When(program) = &step(&plan, "d").run_if else { panic!() };
    assert_eq!(program.source(), "a.failed || b.failed");
}

#[test]
fn waits_children_and_events() {
    let plan = plan(
        "
steps:
  - {id: a, wait_for: {signal: 'go.${{ run.id }}', match: event.ok, timeout: 1h, on_timeout: skip}}
  - {id: b, wait_for: {event: built}}
  - {id: c, sleep: '${{ params.pause }}'}
  - {id: d, wait: 2026-12-24T18:00:00+01:00}
  - {id: e, emit: done}
  - {id: f, emit: {type: a/b.c, data: [1]}}
  - {id: g, approve: Really?}
  - {id: h, approve: {title: T, to: role:x, quorum: 2, timeout: 1d, on_timeout: escalate}}
  - {id: i, workflow: other@2.0, params: {a: 1}, on_parent_cancel: abandon}
",
    );
    let StepKind::WaitSignal { name, matches, timeout, on_timeout } = &step(&plan, "a").kind else {
        panic!()
    };
    assert_eq!(name.source(), "go.${{ run.id }}");
    assert_eq!(matches.as_ref().map(|m| m.source()), Some("event.ok"));
    assert_eq!((*timeout, *on_timeout), (Some(Span::minutes(60)), OnTimeout::Skip));
    assert!(
        matches!(&step(&plan, "b").kind, StepKind::WaitEvent { event, .. } if event == "built")
    );
    assert!(matches!(&step(&plan, "d").kind, StepKind::Sleep { .. }));
    let StepKind::Approve { request, on_timeout, .. } = &step(&plan, "h").kind else { panic!() };
    assert_eq!(request.source(), &json!({"title": "T", "to": "role:x", "quorum": 2}));
    assert_eq!(*on_timeout, OnTimeout::Escalate);
    let StepKind::Child { workflow, version, abandon, .. } = &step(&plan, "i").kind else {
        panic!()
    };
    assert_eq!((workflow.as_str(), version.as_deref(), *abandon), ("other", Some("2.0"), true));
}

#[test]
fn limits_and_priorities() {
    let plan = plan(
        "
concurrency: {key: params.project, limit: 2, on_limit: replace_pending}
priority: P0
timeout: 2h
steps:
  - {run: 'true', priority: low, once: true, continue: true}
",
    );
    let concurrency = plan.concurrency.as_ref().unwrap();
    assert_eq!((concurrency.limit, concurrency.on_limit), (2, OnLimit::ReplacePending));
    assert_eq!((plan.priority, plan.timeout), (Priority::Critical, Some(Span::minutes(120))));
    let step = plan.step(0);
    assert_eq!((step.priority, step.once, step.tolerate), (Some(Priority::Low), true, true));
    let short = crate::support::plan("concurrency: 3\nsteps: [{run: 'true'}]");
    assert_eq!(short.concurrency.map(|c| (c.key, c.limit)), Some((None, 3)));
}

#[test]
fn fairness_is_a_key_or_a_key_with_a_weight() {
    let text = "params: {tenant: string, gold: boolean}\nsteps: [{run: 'true'}]\nfairness: ";
    let fairness = |fairness: &str| {
        let plan = crate::support::plan(&format!("{text}{fairness}"));
        let fairness = plan.fairness.expect("it has one");
        let weight = fairness.weight.map(|weight| weight.source().to_owned());
        (fairness.key.source().to_owned(), weight)
    };
    let expected = |key: &str, weight: Option<&str>| (key.to_owned(), weight.map(str::to_owned));
    assert_eq!(fairness("params.tenant"), expected("params.tenant", None));
    assert_eq!(fairness("{key: params.tenant, weight: 3}"), expected("params.tenant", Some("3")));
    let weight = "params.gold ? 5 : 1";
    let long = format!("{{key: params.tenant, weight: '{weight}'}}");
    assert_eq!(fairness(&long), expected("params.tenant", Some(weight)));
    let with = crate::support::plan(&format!("{text}params.tenant"));
    let without = crate::support::plan(&text[..text.rfind('\n').unwrap()]);
    assert_ne!(with.hash, without.hash);
}

#[test]
fn the_hash_is_over_what_it_does_not_over_how_it_is_written() {
    let base = plan("name: x\nsteps:\n  - {agent: a, action: b, params: {x: 1, y: 2}}\n");
    let same = plan(
        "# c\n\nname: 'x'\n\nsteps:\n\n- action: b # c\n  params:\n    y: 2\n    x: 1\n  agent: a\n",
    );
    assert_eq!(base.hash, same.hash);
    assert_ne!(base.steps[0].line, same.steps[0].line);
    for other in [
        "name: y\nsteps:\n  - {agent: a, action: b, params: {x: 1, y: 2}}\n",
        "name: x\nsteps:\n  - {agent: a, action: b, params: {x: 1, y: 3}}\n",
        "name: x\nsteps:\n  - {agent: a, action: b, params: {x: 1, y: 2}, once: true}\n",
        "name: x\npriority: high\nsteps:\n  - {agent: a, action: b, params: {x: 1, y: 2}}\n",
    ] {
        assert_ne!(base.hash, plan(other).hash, "{other}");
    }
    assert_ne!(base.hash.0, [0; 32]);
}

#[test]
fn plans_survive_the_store() {
    let plan = plan(include_str!("../data/good/everything.yaml"));
    let text = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
}

#[test]
fn yaml_1_2_words_are_texts() {
    let plan = plan("
vars: {a: yes, b: no, c: on, d: off, e: 012, f: 0x1F, g: 0o17, h: 1_000, i: ~, j: 1e3, k: .5, l: '5'}
on: {file: x}
steps: [{run: 'true'}]
");
    assert_eq!(
        json!(plan.vars),
        json!({
            "a": "yes", "b": "no", "c": "on", "d": "off", "e": 12, "f": 31, "g": 15, "h": "1_000",
            "i": null, "j": 1000.0, "k": 0.5, "l": "5"
        })
    );
}

#[test]
fn aliases_stand_for_their_values() {
    let plan = plan(
        "
steps:
  - {agent: a, action: b, params: &p {x: [1, 2]}}
  - {agent: a, action: b, params: *p}
",
    );
    let params = |ix| match &plan.step(ix).kind {
        StepKind::Task { params, .. } => params.source().clone(),
        _ => panic!(),
    };
    assert_eq!(params(1), json!({"x": [1, 2]}));
    assert_eq!(params(0), params(1));
}

#[test]
fn expressions_see_what_is_around_them() {
    let fine = "
params: {project: string}
vars: {limit: 3}
steps:
  - {id: a, agent: x, action: act, outputs: {total: output.n, items: output.items, x: output.x}}
  - id: each
    foreach: {in: a.items, as: it}
    steps:
      - {id: b, run: \"echo ${{ it }} ${{ index }} ${{ a.total }} ${{ total }} ${{ project }}\"}
      - {id: c, run: 'true', condition: b.success && limit > 2}
  - id: again
    while: index < 2 && !d.success
    max_iterations: 3
    steps: [{id: d, run: 'true', condition: e.failed}, {id: e, run: 'true'}]
  - {id: f, run: 'true', condition: any_name_an_agent_may_return > 1 && steps.a.output.x == run.id}
error_handling:
  on_failure: [{run: \"echo ${{ error.message }} ${{ f.status }}\"}]
outputs: {n: f.output.n, m: total}
";
    // `index` stands outside its loop in the condition of `again`, and may be an agent's.
    assert_eq!(codes(fine), [""; 0]);
}
