//! What starts runs beside the clock: what it becomes, and what is wrong with it.

use std::collections::BTreeMap;

use insta::assert_snapshot;
use moa_core::ids::Name;
use moa_core::trigger::{Source as What, TriggerSpec};
use moa_spec::{Project, Triggers, Workflow, parse_workflow, render, validate_workflow};

use crate::support::{id, source};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn workflow(text: &str) -> Workflow {
    let text = format!("{text}\nsteps: [{{run: make}}]\n");
    let (workflow, found) = parse_workflow(&source(&text), &id());
    let shown = render(&found, &[source(&text)], false);
    assert!(found.is_empty(), "{shown}");
    workflow.unwrap_or_else(|| panic!("{shown}"))
}

fn specs(text: &str) -> Vec<TriggerSpec> {
    let none = |_: &Name| None;
    workflow(text).triggers.specs(&id(), &none, &Default::default())
}

#[test]
fn each_entry_is_a_trigger_with_the_defaults_of_everything() {
    let found = specs("on: [{workflow: a, status: ended}, {event: order.paid}, {file: 'in/*.md'}]");
    let titles: Vec<String> = found.iter().map(TriggerSpec::title).collect();
    assert_eq!(titles, ["test/on_1", "test/on_2", "test/on_3"]);
    assert_snapshot!(serde_json::to_string_pretty(&found).unwrap());
}

#[test]
fn everything_may_be_said_otherwise() {
    let found = specs(
        "on:\n  id: paid\n  enabled: false\n  event: order.paid\n  match: event.data.n > 2\n  \
         overlap: skip\n  max_lateness: 1h\n  priority: high\n  on_failure: {pause_after: 3}\n  \
         debounce: 30s\n  guard: {starts: 10, within: 1m, no_progress: 5}\n  \
         params: {n: '${{ size(events) }}', by: '${{ trigger.name }}'}",
    );
    assert_snapshot!(serde_json::to_string_pretty(&found[0]).unwrap());
    let batch = specs("on: {event: e, batch: {max: 10, within: 5m}}")[0].collect.unwrap();
    assert_eq!((batch.quiet, batch.max, batch.within.0), (None, 10, 300_000));
    let off = specs("on: {event: e, guard: off}");
    assert_eq!(off[0].guard, Default::default());
    let schedule = specs("schedule: {every: 5m, guard: {no_progress: 3}}");
    assert_eq!(schedule[0].guard.no_progress, Some(3));
}

#[test]
fn after_is_a_trigger_of_its_own_or_what_schedules_wait_for() {
    for text in [
        "after: [a, {workflow: b, status: failed}]",
        "after: [a, {workflow: b, status: failed}]\nschedule: immediate",
    ] {
        let found = specs(text);
        let What::Runs { of, all: true } = &found[0].source else { panic!("{found:?}") };
        assert_eq!(found[0].title(), "test/after");
        let of: Vec<_> = of.iter().map(|d| (d.workflow.as_str(), d.status.as_str())).collect();
        assert_eq!(of, [("a", "success"), ("b", "failed")]);
        assert_eq!(found.len(), 1);
    }
    let curation = workflow("schedule: ['@daily', {every: 1h, enabled: false}]").triggers;
    let others = |name: &Name| (name.as_str() == "curation").then(|| curation.clone());
    let own: Triggers = workflow("after: curation\nschedule: '0 */4 * * *'").triggers;
    let found = own.specs(&id(), &others, &Default::default());
    assert_eq!(found.len(), 1);
    let after = &found[0].schedule().expect("a schedule").after;
    assert_eq!(after[0].workflow.as_str(), "curation");
    assert_eq!(after[0].cycles.len(), 1, "one that is off has no cycles");
}

/// Diagnostics of `a` in a project with `b` and `c`.
fn with_others(a: &str, b: &str, c: &str) -> String {
    let mut project = Project::default();
    let steps = "\nsteps: [{run: make}]\n";
    let mut shown = String::new();
    for (id, text) in [("a", a), ("b", b), ("c", c)] {
        let found = parse_workflow(&source(&format!("{text}{steps}")), &name(id)).0.unwrap();
        project.workflows.insert(name(id), found.summary());
    }
    for (id, text) in BTreeMap::from([("a", a), ("b", b), ("c", c)]) {
        let source = source(&format!("{text}{steps}"));
        let found = validate_workflow(&source, &name(id), &project).1;
        if !found.is_empty() {
            shown.push_str(&format!("{id}:\n{}", render(&found, &[source], false)));
        }
    }
    shown
}

#[test]
fn workflows_that_wait_for_each_other_are_told_where() {
    assert_snapshot!(with_others(
        "after: b",
        "on: {workflow: c}",
        "schedule: '@daily'\nafter: [a]"
    ));
    assert_eq!(with_others("after: [b, c]", "after: c", "schedule: '@daily'"), "");
    assert!(with_others("after: d", "", "").contains("there is no workflow `d`"));
}
