//! Graphs and differences.

use moa_spec::{diff, graph_dot, graph_mermaid};

use crate::support::plan;

#[test]
fn plans_are_drawn() {
    let plan = plan(include_str!("../data/good/everything.yaml"));
    insta::assert_snapshot!("mermaid", graph_mermaid(&plan));
    insta::assert_snapshot!("dot", graph_dot(&plan));
}

#[test]
fn texts_can_not_break_out_of_labels() {
    let plan = plan("steps: [{id: a, agent: x, action: '\"]; evil[\"<b>\\'}]");
    let dot = graph_dot(&plan);
    assert!(dot.contains(r#"\"]; evil[\"<b>\\"#), "{dot}");
    let mermaid = graph_mermaid(&plan);
    assert!(mermaid.contains("#quot;]; evil[#quot;#lt;b#gt;"), "{mermaid}");
}

#[test]
fn differences_are_told_by_step_and_field() {
    let a = plan(
        "
params: {x: string}
steps:
  - {id: a, agent: x, action: act, timeout: 10s, params: {n: 1, list: [1]}}
  - {id: b, agent: x, action: act}
  - {id: c, agent: x, action: act}
",
    );
    let b = plan(
        "
priority: high
steps:
  - {id: b, agent: x, action: act, depends_on: []}
  - {id: a, agent: y, action: act, timeout: 20s, params: {n: 2, list: [1]}, retry: never}
  - {id: d, sleep: 5m}
",
    );
    let told: Vec<String> = diff(&a, &b).iter().map(ToString::to_string).collect();
    insta::assert_snapshot!("diff", told.join("\n"));
    insta::assert_json_snapshot!("diff_json", diff(&a, &b));
    assert_eq!(diff(&a, &a), []);
}

#[test]
fn a_new_order_alone_is_a_difference() {
    let a = plan("mode: graph\nsteps: [{id: a, run: x}, {id: b, run: x}]");
    let b = plan("mode: graph\nsteps: [{id: b, run: x}, {id: a, run: x}]");
    assert_ne!(a.hash, b.hash);
    let told: Vec<String> = diff(&a, &b).iter().map(ToString::to_string).collect();
    assert_eq!(told, ["~ the order of steps"]);
}
