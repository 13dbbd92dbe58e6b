//! What is known of the types of expressions, and what isn't.

use moa_core::ids::Name;
use moa_spec::{Project, Source, parse_agents, validate_workflow};

use crate::support::{codes, id, source};

const CODE: &str = "MOA0308";

/// Whether the condition of a step behind those given can't succeed.
fn misfits(head: &str, condition: &str) -> bool {
    let text = format!("{head}  - {{run: echo, condition: {condition:?}}}\n");
    let codes = codes(&text);
    assert!(codes.iter().all(|c| *c == CODE), "{codes:?}:\n{text}");
    !codes.is_empty()
}

#[test]
fn schemas_say_what_values_may_be() {
    let cases = [
        ("integer", "params.p == 1 && params.p + 1 > 1 && params.p * 1.5 > 1.0", false),
        ("integer", "params.p + 'x' == 'x'", true),
        ("boolean", "params.p", false),
        ("{type: [string, 'null']}", "params.p + 1 > 1", true),
        ("{type: [string, integer]}", "params.p + 1 > 1", false),
        ("{enum: [1, 2]}", "params.p.size() > 1", true),
        ("{enum: [1, a]}", "params.p.size() > 1", false),
        ("{anyOf: [{type: string}]}", "params.p + 1 > 1", false),
        ("{type: string, format: date-time}", "params.p.getHours() > 1", true),
        ("{type: string, format: date-time}", "timestamp(params.p).getHours() > 1", false),
        ("{type: array, items: {type: string}}", "params.p[0] + 1 > 1", true),
        ("{type: array, prefixItems: [{type: integer}]}", "params.p[0] + 1 > 1", false),
        ("{type: object, properties: {a: {type: string}}}", "params.p.a > 1", true),
        ("{type: object, properties: {a: {type: string}}}", "params.p.b > 1", false),
        (
            "{type: object, properties: {a: {type: string}}, additionalProperties: false}",
            "params.p.b > 1",
            true,
        ),
        (
            "{type: object, properties: {a: {type: string}}, additionalProperties: false}",
            "has(params.p.b) || params.p.b > 1",
            false,
        ),
        ("{type: string, required: false}", "p > 1", true),
    ];
    for (schema, condition, expected) in cases {
        let head = format!("params: {{p: {schema}}}\nsteps:\n");
        assert_eq!(misfits(&head, condition), expected, "{schema}: {condition}");
    }
}

#[test]
fn only_declared_outputs_are_known() {
    let outputs = "outputs: {k: {value: output.k, schema: string}, free: output.x}";
    let cases = [
        (
            format!("{{id: a, run: echo, {outputs}}}"),
            "a.k == 'x' && a.free > 1 && a.success",
            false,
        ),
        (format!("{{id: a, run: echo, {outputs}}}"), "a.k > 1", true),
        (format!("{{id: a, run: echo, {outputs}}}"), "a.output.other == 1", true),
        (format!("{{id: a, run: echo, {outputs}}}"), "steps.a.other == 1", true),
        ("{id: a, run: echo}".to_owned(), "a.other > 1 && a.output[0] == 1", false),
        ("{id: a, run: echo}".to_owned(), "a.status > 1", true),
        (
            "{id: a, run: echo, outputs: {k: output.k}, parallel: [{run: echo}]}".to_owned(),
            "a.other == 1",
            false,
        ),
        (
            format!("{{id: a, foreach: {{in: [1]}}, {outputs}, steps: [{{run: echo}}]}}"),
            "a.other == 1",
            false,
        ),
    ];
    for (step, condition, expected) in cases {
        assert_eq!(misfits(&format!("steps:\n  - {step}\n"), condition), expected, "{step}");
    }
    // The variable of a loop hides the step of that name.
    let hidden = "steps:\n  - {id: a, run: echo, outputs: {k: output.k}}\n  - foreach: {in: '[{\"x\": 1}]', as: it}\n    steps: [{run: echo, condition: it.x == 1}]\n";
    assert_eq!(codes(hidden), Vec::<&str>::new());
}

#[test]
fn actions_with_a_schema_are_known() {
    let agent = "command: ./scan\nactions:\n  scan: {output: {type: object, properties: {score: {type: number}}, \
                 additionalProperties: false}}\n  text: {output: {type: string}}\n  free: {}\n";
    let name = Name::new("scanner").expect("a name");
    let (specs, found) = parse_agents(&Source::new("agents/scanner.yaml", agent), &name);
    assert!(found.is_empty(), "{found:?}");
    let agents = specs.into_iter().map(|spec| (spec.id.clone(), spec)).collect();
    let project = Project { agents, ..Project::default() };
    let codes = |action: &str, condition: &str| {
        let text = format!(
            "steps:\n  - {{id: a, agent: scanner, action: {action}}}\n  - {{run: echo, condition: {condition:?}}}\n"
        );
        let found = validate_workflow(&source(&text), &id(), &project).1;
        found.iter().map(|d| d.code).collect::<Vec<_>>()
    };
    assert_eq!(codes("scan", "a.scores > 0.8"), [CODE]);
    assert_eq!(codes("scan", "a.score == 'high' || a.score > 'high'"), [CODE]);
    assert_eq!(codes("text", "a.output > 1"), [CODE]);
    // A large answer is kept in a file.
    for (action, condition) in [
        ("scan", "a.score > 0.8 || a.path == '/x'"),
        ("text", "a.output == 'x' && a.path == '/x'"),
        ("text", "a.output.path == '/x'"),
        ("free", "a.anything == 1"),
    ] {
        assert_eq!(codes(action, condition), Vec::<&str>::new(), "{condition}");
    }
}
