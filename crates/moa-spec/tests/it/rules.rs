//! Rules: what they become, how they are written again, and what is wrong with them.

use insta::assert_snapshot;
use moa_core::ids::Name;
use moa_core::limits::{EXPRESSION_BYTES_MAX, RULE_BYTES_MAX};
use moa_spec::{
    Project, Rule, SchemaKind, Source, parse_rule, parse_workflow, render, rule_document, schema,
};

use crate::support::breaches;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// A project with the workflow `mailer`, which takes `n` and may be told `to`.
fn project() -> Project {
    let text = "params: {n: integer, to: {type: string, default: all}}\nsteps: [{run: make}]\n";
    let (mailer, _) = parse_workflow(&Source::new("workflows/mailer.yaml", text), &name("mailer"));
    let mut project = Project::default();
    project.workflows.insert(name("mailer"), mailer.unwrap().summary());
    project
}

fn parse(text: &str, called: Option<&str>) -> Result<Rule, String> {
    let source = Source::new("rule.yaml", text);
    let (rule, found) = parse_rule(&source, called.map(name).as_ref(), &project());
    rule.ok_or_else(|| render(&found, &[source], false))
}

#[test]
fn a_rule_written_again_is_the_same_rule() {
    for on in [
        "{event: order.paid, params: {n: 1}}",
        "{event: order.paid, match: event.data.n > 5, params: {n: '${{ event.data.n }}'}}",
        "{event: e, enabled: false, overlap: buffer_all, max_lateness: 1h, priority: critical, \
         on_failure: {pause_after: 3}, debounce: 30s, params: {n: 1}}",
        "{event: e, batch: {max: 7, within: 90s}, guard: off, params: '${{ event.data }}'}",
        "{event: e, guard: {starts: 5, within: 1m, no_progress: 2}, params: {n: 1}}",
        "{event: e, guard: {no_progress: 2}, params: {n: 1}}",
    ] {
        let rule = parse(&format!("name: paid\nrun: mailer\non: {on}\n"), None).unwrap();
        assert!(rule.spec.rule);
        assert_eq!(rule.enabled, on.contains("enabled").then_some(false));
        assert_eq!(
            (rule.spec.title().as_str(), rule.spec.workflow.as_str()),
            ("rule:paid", "mailer")
        );
        let document = rule_document(&rule.spec);
        assert_eq!(breaches(&schema(SchemaKind::Rule), &document), "", "{document}");
        let again = parse(&document.to_string(), Some("paid")).unwrap();
        assert_eq!(again.spec, rule.spec, "{document}");
    }
}

#[test]
fn mistakes_are_told_with_their_place_and_what_to_do() {
    let wrong = |text: &str, called| parse(text, called).unwrap_err();
    assert_snapshot!(wrong(
        "nmae: paid\nrun: maler\non: {event: e, match: event.data.n >, params: {m: 1}}\n",
        None,
    ));
    assert_snapshot!(wrong(
        "name: paid\nrun: mailer\non: {event: e, params: {m: 1}}\n",
        Some("paid")
    ));
    assert_snapshot!(wrong("name: paid\nrun: mailer\non: {workflow: mailer}\n", Some("other")));
    assert_snapshot!(wrong("run: mailer\non: {id: x, file: 'a/*'}\n", Some("paid")));
    assert_snapshot!(wrong("run: mailer\non: {event: e, params: {n: '${{ slot.at }}'}}\n", None));
    assert_snapshot!(wrong("- name: paid\n", None));
}

#[test]
fn a_hostile_rule_is_refused_quickly() {
    let rule =
        |matches: &str| format!("name: a\nrun: mailer\non: {{event: e, match: '{matches}'}}\n");
    let long = "1+".repeat(EXPRESSION_BYTES_MAX) + "1";
    let deep = "(".repeat(500) + "1" + &")".repeat(500);
    let nested = format!("name: a\nrun: mailer\non: {}{}\n", "[".repeat(1000), "]".repeat(1000));
    let aliases = "name: &a [x, x]\nrun: &b [*a, *a]\non: [*b, *b]\n".to_owned();
    for (text, code) in [
        (rule(&long), "MOA0301"),
        (rule(&deep), "MOA0301"),
        (nested, "MOA0006"),
        ("#".repeat(RULE_BYTES_MAX + 1), "MOA0001"),
        (aliases, "MOA0103"),
        (String::new(), "MOA0009"),
    ] {
        let said = parse(&text, None).unwrap_err();
        assert!(said.contains(code), "{code}: {}", said.chars().take(2000).collect::<String>());
    }
}
