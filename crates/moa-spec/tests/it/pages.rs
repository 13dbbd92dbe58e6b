//! Every code has a page, and the examples of the pages do what they say.

use std::collections::BTreeMap;

use moa_core::ids::Name;
use moa_spec::{
    Diagnostic, Project, SecretsOf, Source, error_pages, has_errors, missing_secrets, parse_agents,
    parse_settings, parse_workflow, render, validate_workflow,
};

/// Codes whose mistakes are too large for a page; other tests make them.
const WITHOUT_EXAMPLE: [&str; 9] = [
    "MOA0001", "MOA0002", "MOA0005", "MOA0006", "MOA0010", "MOA0011", "MOA0205", "MOA0409",
    "MOA0610",
];

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// The project that the pages speak of.
fn project() -> Project {
    let agents = "\
command: ./build.sh
actions:
  build:
    params: {type: object, properties: {module: {type: string}}}
";
    let (agents, found) =
        parse_agents(&Source::new("agents/builder.yaml", agents), &name("builder"));
    assert_eq!(found, []);
    let fixups = "params: {project: string}\nsteps: [{run: make}]\n";
    let (fixups, _) =
        parse_workflow(&Source::new("workflows/fixups.yaml", fixups), &name("fixups"));
    Project {
        agents: agents.into_iter().map(|a| (a.id.clone(), a)).collect(),
        workflows: BTreeMap::from([
            (name("fixups"), fixups.unwrap().summary()),
            (name("example"), Default::default()),
        ]),
        calendars: BTreeMap::from([(name("de-holidays"), Default::default())]),
        channels: Some(["slack", "team"].map(str::to_owned).into()),
    }
}

fn examples(page: &str) -> impl Iterator<Item = (&str, &str)> {
    let blocks = page.split("```yaml\n").skip(1).filter_map(|block| block.split("```").next());
    let examples = blocks.filter_map(|block| block.strip_prefix("# ")?.split_once('\n'));
    let examples = examples.filter(|(kind, _)| *kind != "in moa.yaml");
    examples.map(|(kind, text)| (kind.split(':').next().unwrap_or(kind), text))
}

fn diagnose(text: &str) -> Vec<Diagnostic> {
    let source = Source::new("example.yaml", text);
    if text.starts_with("# moa.yaml") {
        return parse_settings(&source).1;
    }
    if text.starts_with("# agent") {
        return parse_agents(&source, &name("example")).1;
    }
    let id = name("example");
    let has = |name: &str| name == "MAIL_TOKEN";
    let mut found = validate_workflow(&source, &id, &project()).1;
    found.extend(missing_secrets(&source, SecretsOf::Workflow(&id), &has));
    found
}

#[test]
fn pages_are_complete_and_their_examples_hold() {
    for (code, page) in error_pages() {
        assert!(page.starts_with(&format!("# {code}: ")), "{code} has another title");
        assert!(page.lines().count() > 3, "{code} says nothing");
        let mut seen = Vec::new();
        for (kind, text) in examples(page) {
            let found = diagnose(text);
            let shown = render(&found, &[Source::new("example.yaml", text)], false);
            match kind {
                "wrong" => {
                    assert!(found.iter().any(|d| d.code == *code), "{code}: {text}\n{shown}");
                }
                "right" => assert!(!has_errors(&found), "{code}: {text}\n{shown}"),
                _ => panic!("{code}: an example is either wrong or right"),
            }
            if kind == "right" {
                assert!(found.iter().all(|d| d.code != *code), "{code}: {text}\n{shown}");
            }
            seen.push(kind);
        }
        let expected: &[&str] =
            if WITHOUT_EXAMPLE.contains(code) { &[] } else { &["wrong", "right"] };
        assert_eq!(seen, expected, "{code}");
    }
}

#[test]
fn codes_are_unique_and_in_order() {
    let codes: Vec<&str> = error_pages().iter().map(|(code, _)| *code).collect();
    let mut sorted = codes.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(codes, sorted);
}

#[test]
fn only_secrets_that_are_not_there_are_warned_of_each_where_it_stands() {
    let agents = "agents:\n  a: {command: x, env: {A: \"${{ secrets.ONE }}\"}}\n  \
        b: {http: {url: \"https://b.example\", headers: {X: \"B ${{ secrets.TWO }}\"}}}\n";
    let source = Source::new("agents/all.yaml", agents);
    let found = |known: &str| -> Vec<(String, usize)> {
        let has = |name: &str| name == known;
        let found = missing_secrets(&source, SecretsOf::Agents(&name("all")), &has);
        assert!(found.iter().all(|d| d.code == "MOA0406" && !d.is_error()));
        found.into_iter().map(|d| (d.message, d.line as usize)).collect()
    };
    let one = ("there is no secret `ONE`".to_owned(), 2);
    let two = ("there is no secret `TWO`".to_owned(), 3);
    assert_eq!(found(""), [one.clone(), two.clone()]);
    assert_eq!(found("ONE"), [two]);
    assert_eq!(found("TWO"), [one]);
}
