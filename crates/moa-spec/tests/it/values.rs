//! Params, outputs, tests, agents, settings: what comes out of the files.

use moa_core::agent::AgentKind;
use moa_core::ids::Name;
use moa_core::time::Span;
use moa_core::workflow::ParamSpec;
use moa_spec::model::FailKind;
use moa_spec::{
    ByAgeAndCount, Comparison, LogFormat, LogLevel, MockResult, Project, Settings, check_metrics,
    check_params, check_workflow, free_param, param_from_text, parse_agents, parse_settings,
    parse_workflow,
};
use serde_json::{Map, Value as Json, json};

use crate::support::{id, plan, source};

const PARAMS: &str = "
params:
  project: {type: string, pattern: '^[a-z-]+$', description: which project}
  count: {type: integer, default: 3}
  env: {enum: [dev, prod], default: dev}
  note: {type: string, required: false}
steps: [{run: x}]
";

fn map(json: Json) -> Map<String, Json> {
    json.as_object().unwrap().clone()
}

#[test]
fn params_get_their_defaults() {
    let found = check_params(&plan(PARAMS), &map(json!({"project": "demo"})));
    assert_eq!(found, Ok(map(json!({"project": "demo", "count": 3, "env": "dev"}))));
}

#[test]
fn all_wrong_params_are_told() {
    let given = map(json!({"projet": "x", "count": "many", "env": "test"}));
    let errors = check_params(&plan(PARAMS), &given).unwrap_err();
    let told: Vec<_> = errors.iter().map(|e| (e.name.as_str(), e.message.as_str())).collect();
    assert_eq!(
        told,
        [
            ("projet", "the workflow has no param `projet`"),
            ("project", "the param `project` is missing"),
            ("count", "`count`: \"many\" is not of type integer"),
            ("env", "`env`: \"test\" is not one of \"dev\", \"prod\""),
        ]
    );
    assert_eq!(errors[0].help.as_deref(), Some("did you mean `project`?"));
    let errors = check_params(&plan(PARAMS), &map(json!({"project": "NO"}))).unwrap_err();
    assert_eq!(errors[0].message, "`project`: \"NO\" doesn't match the pattern ^[a-z-]+$");
    assert_eq!(errors[0].help.as_deref(), Some("`project` is: which project"));
}

#[test]
fn what_is_wrong_is_told_beside_a_field_without_its_name() {
    let text = "params: {size: {type: integer}, db: {type: object, properties: {port: {type: integer}}}}\n\
        steps: [{run: x}]";
    let told = |given: Json| {
        let errors = check_params(&plan(text), &map(given)).unwrap_err();
        errors.iter().map(moa_spec::ParamError::of_field).collect::<Vec<_>>()
    };
    assert_eq!(
        told(json!({"db": {"port": "x"}})),
        ["it is needed", "`/port`: \"x\" is not of type integer"]
    );
    let long = told(json!({"size": "x", "db": {}, "sizes": 1}));
    assert_eq!(long, ["the workflow has no param `sizes`", "\"x\" is not of type integer"]);
}

/// Each keyword of JSON Schema 2020-12 that says something about a value, with one that it allows and
/// one that it doesn't.
#[test]
fn every_keyword_is_known_and_holds() {
    let cases = [
        (json!({"type": "integer"}), json!(1), json!("x")),
        (json!({"enum": ["a"]}), json!("a"), json!("b")),
        (json!({"const": "a"}), json!("a"), json!("b")),
        (json!({"multipleOf": 3}), json!(9), json!(10)),
        (json!({"maximum": 3}), json!(3), json!(4)),
        (json!({"exclusiveMaximum": 3}), json!(2), json!(3)),
        (json!({"minimum": 3}), json!(3), json!(2)),
        (json!({"exclusiveMinimum": 3}), json!(4), json!(3)),
        (json!({"maxLength": 1}), json!("ä"), json!("ab")),
        (json!({"minLength": 2}), json!("ab"), json!("ä")),
        (json!({"pattern": "^a"}), json!("ab"), json!("b")),
        (json!({"maxItems": 1}), json!([1]), json!([1, 2])),
        (json!({"minItems": 2}), json!([1, 2]), json!([1])),
        (json!({"uniqueItems": true}), json!([1, 2]), json!([1, 1])),
        (json!({"contains": {"const": 1}}), json!([2, 1]), json!([2])),
        (json!({"contains": {"const": 1}, "maxContains": 1}), json!([1]), json!([1, 1])),
        (json!({"contains": {"const": 1}, "minContains": 2}), json!([1, 1]), json!([1])),
        (json!({"maxProperties": 1}), json!({"a": 1}), json!({"a": 1, "b": 1})),
        (json!({"minProperties": 1}), json!({"a": 1}), json!({})),
        (json!({"required": ["a"]}), json!({"a": 1}), json!({})),
        (json!({"dependentRequired": {"a": ["b"]}}), json!({"b": 1}), json!({"a": 1})),
        (json!({"dependentSchemas": {"a": {"required": ["b"]}}}), json!({}), json!({"a": 1})),
        (json!({"prefixItems": [{"const": 1}]}), json!([1, 2]), json!([2])),
        (json!({"prefixItems": [{}], "items": {"const": 1}}), json!([2, 1]), json!([1, 2])),
        (json!({"properties": {"a": {"const": 1}}}), json!({"a": 1}), json!({"a": 2})),
        (json!({"patternProperties": {"^a": {"const": 1}}}), json!({"ab": 1}), json!({"ab": 2})),
        (json!({"additionalProperties": false}), json!({}), json!({"a": 2})),
        (json!({"propertyNames": {"pattern": "^a"}}), json!({"a": 1}), json!({"b": 1})),
        (json!({"if": {"const": 1}, "then": false}), json!(2), json!(1)),
        (json!({"if": {"const": 1}, "else": false}), json!(1), json!(2)),
        (json!({"allOf": [{"const": 1}]}), json!(1), json!(2)),
        (json!({"anyOf": [{"const": 1}]}), json!(1), json!(2)),
        (json!({"oneOf": [{"const": 1}, {"minimum": 2}]}), json!(1), json!(0)),
        (json!({"not": {"const": 1}}), json!(2), json!(1)),
        (json!({"$ref": "#/$defs/a", "$defs": {"a": {"const": 1}}}), json!(1), json!(2)),
        (json!({"$ref": "#a", "$defs": {"b": {"$anchor": "a", "const": 1}}}), json!(1), json!(2)),
        (
            json!({"$ref": "#a", "$defs": {"b": {"$dynamicAnchor": "a", "const": 1}}}),
            json!(1),
            json!(2),
        ),
        (json!({"prefixItems": [{}], "unevaluatedItems": false}), json!([1]), json!([1, 2])),
        (
            json!({"properties": {"a": {}}, "unevaluatedProperties": false}),
            json!({"a": 1}),
            json!({"b": 1}),
        ),
    ];
    for (schema, good, bad) in cases {
        let plan = plan(&format!("{{params: {{p: {schema}}}, steps: [{{run: x}}]}}"));
        let is_taken = |value: Json| check_params(&plan, &map(json!({"p": value}))).is_ok();
        assert!(is_taken(good.clone()), "{schema} allows {good}");
        assert!(!is_taken(bad.clone()), "{schema} forbids {bad}");
    }
}

/// What is said about a value, and is no reason to refuse it.
#[test]
fn annotations_are_known() {
    let text = "{params: {p: {title: t, description: d, examples: [1], deprecated: true, readOnly: true, \
        writeOnly: true, $comment: c, format: date, contentEncoding: base64, \
        contentMediaType: text/plain, contentSchema: {}}}, steps: [{run: x}]}";
    assert!(check_params(&plan(text), &map(json!({"p": "soon"}))).is_ok());
}

#[test]
fn a_workflow_without_params_takes_any_but_not_without_end() {
    let plan = plan("steps: [{run: x}]");
    let given = map(json!({"anything": [1, {"a": 2}]}));
    assert_eq!(check_params(&plan, &given), Ok(given));
    let large = map(json!({"x": "y".repeat(2 << 20)}));
    assert!(check_params(&plan, &large).unwrap_err()[0].message.contains("bytes"));
}

#[test]
fn patterns_run_in_linear_time() {
    let plan = plan("params: {a: {type: string, pattern: '^(a+)+$'}}\nsteps: [{run: x}]");
    let given = map(json!({"a": format!("{}!", "a".repeat(50_000))}));
    assert_eq!(check_params(&plan, &given).unwrap_err().len(), 1);
}

fn spec(schema: Json) -> ParamSpec {
    ParamSpec { name: "p".into(), schema, default: None, required: true }
}

#[test]
fn texts_become_values_of_the_declared_type() {
    let cases = [
        (json!({"type": "integer"}), "5", json!(5)),
        (json!({"type": "number"}), "5", json!(5)),
        (json!({"type": "number"}), "0.5", json!(0.5)),
        (json!({"type": "boolean"}), "true", json!(true)),
        (json!({"type": "array"}), "[1, \"a\"]", json!([1, "a"])),
        (json!({"type": "object"}), "{\"a\": 1}", json!({"a": 1})),
        (json!({"type": "string"}), "5", json!("5")),
        (json!({"type": "string"}), "true", json!("true")),
        (json!({"type": ["integer", "string"]}), "5", json!(5)),
        (json!({"type": ["integer", "string"]}), "five", json!("five")),
        (json!({"type": ["integer", "null"]}), "null", json!(null)),
        (json!({"enum": ["dev", "1"]}), "1", json!("1")),
        (json!({"enum": [1, 2]}), "1", json!(1)),
        (json!({}), "1", json!(1)),
        (json!({}), "[1]", json!("[1]")),
    ];
    for (schema, text, value) in cases {
        assert_eq!(param_from_text(&spec(schema.clone()), text), Ok(value), "{schema} {text}");
    }
    for (schema, text) in [("integer", "5.5"), ("integer", "x"), ("boolean", "yes"), ("array", "1")]
    {
        let error = param_from_text(&spec(json!({"type": schema})), text).unwrap_err();
        assert!(error.message.contains(schema), "{error}");
    }
    assert_eq!(free_param("1.5"), json!(1.5));
    assert_eq!(free_param("\"1.5\""), json!("1.5"));
    assert_eq!(free_param("{\"a\": 1}"), json!("{\"a\": 1}"));
}

#[test]
fn tests_are_read() {
    let text = include_str!("../data/good/everything.yaml");
    let workflow = parse_workflow(&source(text), &id()).0.unwrap();
    let [test] = &workflow.tests[..] else { panic!("one test") };
    assert_eq!((test.name.as_str(), &text[test.span.clone()][..4]), ("happy path", "name"));
    let mock = |id: &str| &test.mock[&id.parse().unwrap()];
    let [timeout, done] = &mock("deploy")[..] else { panic!("two outcomes") };
    assert_eq!(timeout.after, Span::minutes(5));
    let kind = FailKind::Timeout;
    assert_eq!(timeout.result, MockResult::Fail { kind, message: "timeout".into() });
    assert_eq!(done.result, MockResult::Output(json!({"url": "u"})));
    assert_eq!(mock("release")[0].result, MockResult::Signal(json!({"approved": true})));
    let kind = FailKind::Permanent;
    let message = "no such host".to_owned();
    assert_eq!(mock("probe")[0].result, MockResult::Fail { kind, message });
    let expect = &test.expect;
    assert_eq!(expect.status.as_deref(), Some("success"));
    assert_eq!(expect.virtual_duration, Some((Comparison::Less, Span::minutes(30 * 60))));
    assert!(
        Comparison::Less.holds(Span(1), Span(2)) && !Comparison::AtLeast.holds(Span(1), Span(2))
    );
    let [attempts] = &expect.steps[..] else { panic!("one value") };
    assert_eq!((attempts.field.as_str(), &attempts.value), ("attempts", &json!(2)));
}

#[test]
fn agents_of_every_kind_are_read() {
    let (agents, found) = parse_agents(&source(include_str!("../data/good/agents.yaml")), &id());
    assert_eq!(found, []);
    insta::assert_json_snapshot!("agents", agents);
}

#[test]
fn an_agent_s_id_is_its_file_s_name() {
    let (agents, _) = parse_agents(&source("command: ./x.sh"), &id());
    assert_eq!(agents[0].id, id());
    let AgentKind::Command(command) = &agents[0].kind else { panic!() };
    assert_eq!(command.argv, ["./x.sh"]);
}

#[test]
fn agents_without_mistakes_are_given_beside_those_with() {
    let (agents, found) = parse_agents(&source("agents: {a: {command: x}, b: {comand: x}}"), &id());
    assert_eq!((agents.len(), found.len()), (1, 1));
}

#[test]
fn settings_have_defaults() {
    let (settings, found) = parse_settings(&source("# nothing\n"));
    assert_eq!((settings, found), (Some(Settings::default()), vec![]));
    let (settings, _) = parse_settings(&source(include_str!("../data/good/settings.yaml")));
    let settings = settings.unwrap();
    assert_eq!(settings.limits.max_running, 8);
    assert_eq!((settings.log.level, settings.log.format), (LogLevel::Debug, LogFormat::Json));
    assert_eq!(settings.logs.attempt_max, 1 << 20);
    assert_eq!(settings.retention.runs.count, Some(100));
    assert_eq!(settings.retention.failed, ByAgeAndCount { age: None, count: None });
    assert_eq!(settings.retention.logs.size, Some(1 << 30));
    assert_eq!(settings.given["limits.max_running"], 5);
    assert!(!settings.given.contains_key("limits"));
}

/// What is wrong with settings: the message, and what helps.
fn wrong(text: &str) -> Vec<(String, String)> {
    let found = parse_settings(&source(text)).1;
    found.into_iter().map(|d| (d.message, d.help.unwrap_or_default())).collect()
}

#[test]
fn no_setting_names_a_file_of_the_project_or_of_its_state() {
    let own = [
        "log: {file: .moa/moa.db}",
        "log: {file: ./.moa//moa.db}",
        "log: {file: moa.yaml}",
        "log: {file: workflows/a.yaml}",
        "log: {file: .env}",
        "log: {file: .}",
        "health: {state_file: .moa/counters.json}",
        "health: {state_file: agents/x.yaml}",
        "health: {folder: .moa}",
        "health: {folder: calendars}",
        "notify: {channels: {team: {file: .moa/moa.db}}}",
        "notify: {channels: {team: {file: moa.yaml}}}",
    ];
    for text in own {
        let found = wrong(text);
        assert!(
            found.len() == 1 && found[0].0.contains("may be written there"),
            "{text}: {found:?}"
        );
        assert!(found[0].1.starts_with("write "), "{found:?}");
    }
    let good = [
        "log: {file: .moa/log/shop.log}",
        "log: {file: logs/moa.log}",
        "health: {folder: .moa/health, state_file: .moa/health/state.json}",
        "notify: {channels: {team: {file: notifications/team.jsonl}}}",
    ];
    for text in good {
        assert_eq!(wrong(text), [], "{text}");
    }
}

#[test]
fn what_targets_and_counters_name_is_there() {
    let text = "
notify: {channels: {team: {file: notifications/team.jsonl}}}
metrics:
  videos: {workflow: produce}
  posts: {agent: writr, action: post}
targets:
  video: {day: {minimum: 1}}
  posts: {day: {minimum: 1}, notify: taem}
";
    let hint = |near: &str| format!("did you mean `{near}`?");
    assert_eq!(
        wrong(text),
        [
            ("there is no metric \"video\" that this could be wanted of".into(), hint("videos")),
            ("there is no channel `taem`".into(), hint("team")),
        ]
    );
    let names = |all: &[&str]| all.iter().map(|n| Name::new(n).unwrap()).collect();
    let found = check_metrics(&source(text), &names(&["report"]), &names(&["writer", "http"]));
    let found: Vec<_> = found.iter().map(|d| (d.line, d.code, d.help.clone().unwrap())).collect();
    assert_eq!(
        found,
        [
            (4, "MOA0403", "nothing is counted until there is such a workflow".to_owned()),
            (5, "MOA0401", hint("writer")),
        ]
    );
    let found = check_metrics(&source(text), &names(&["produce"]), &names(&["writr"]));
    assert_eq!(found, []);
}

/// The messages about a workflow in a project with an agent `a`.
fn across(step: &str) -> Vec<String> {
    let agents = "agents: {a: {command: x, actions: {go: {params: {type: object,
      properties: {n: {type: integer}, l: {type: array, items: {type: string}}}, required: [n],
      additionalProperties: false}}}}}";
    let (agents, _) = parse_agents(&source(agents), &id());
    let project = Project {
        agents: agents.into_iter().map(|a| (a.id.clone(), a)).collect(),
        ..Project::default()
    };
    let text = format!("steps:\n  - {step}\n");
    let workflow = parse_workflow(&source(&text), &id()).0.unwrap();
    let found = check_workflow(&workflow, &project);
    found
        .into_iter()
        .map(|d| format!("{}:{} {}", d.line, d.column, d.cause.unwrap_or(d.message)))
        .collect()
}

#[test]
fn params_are_checked_as_far_as_they_are_known() {
    let none: [&str; 0] = [];
    assert_eq!(across("{agent: a, action: go, params: {n: 1}}"), none);
    assert_eq!(across("{agent: a, action: go, params: {n: '${{ params.n }}'}}"), none);
    assert_eq!(across("{agent: a, action: go, params: '${{ params }}'}"), none);
    assert_eq!(
        across("{agent: a, action: go, params: {n: x}}"),
        ["2:40 n: \"x\" is not of type integer"]
    );
    assert_eq!(across("{agent: a, action: go}"), ["2:24 \"n\" is missing"]);
    assert_eq!(
        across("{agent: a, action: go, params: {n: 1, l: [a, '${{ x }}', 5]}}"),
        ["2:62 l/2: 5 is not of type string"]
    );
    assert_eq!(
        across("{agent: a, action: go, params: {n: '${{ x }}', z: 1}}"),
        ["2:36 unknown: z"]
    );
    assert_eq!(across("{agent: a, action: og}"), ["2:24 the agent `a` has no action `og`"]);
    assert_eq!(across("{foreach: '[1]', steps: [{agent: b, action: go}]}").len(), 1);
    assert_eq!(across("{mail: {to: x}}"), ["2:6 this version of moa has none built in"]);
    assert_eq!(
        across("{run: x, compensate: {workflow: gone}}"),
        ["2:37 there is no workflow `gone`"]
    );
    assert_eq!(across("{run: x}"), none);
}

/// What is said of the workflows of a project, `ID CODE: CAUSE OR HELP`, each file by its text.
fn together(files: &[(&str, &str)], channels: &[&str]) -> Vec<String> {
    let name = |id: &str| moa_core::ids::Name::new(id).unwrap();
    let parsed = |id: &str, text: &str| parse_workflow(&source(text), &name(id)).0.unwrap();
    let project = Project {
        workflows: files.iter().map(|(id, text)| (name(id), parsed(id, text).summary())).collect(),
        channels: Some(channels.iter().map(|c| (*c).to_owned()).collect()),
        ..Project::default()
    };
    let said = |(id, text): &(&str, &str)| {
        let found = check_workflow(&parsed(id, text), &project).into_iter();
        let id = (*id).to_owned();
        found.map(move |d| {
            let why = d.cause.or(d.help).unwrap_or_default();
            format!("{id} {}: {why}", d.code)
        })
    };
    files.iter().flat_map(said).collect()
}

#[test]
fn calls_without_end_are_told_where() {
    let none: [&str; 0] = [];
    let own = "steps: [{run: make}, {workflow: own}]\n";
    assert_eq!(together(&[("own", own)], &[]), ["own MOA0407: own calls own, each time"]);
    let ping = "steps:\n  - parallel:\n      - {run: make}\n      - {steps: [{workflow: pong}]}\n";
    let pong = "steps: [{workflow: third}]\n";
    let third = "steps: [{workflow: ping}]\n";
    let circle = [("ping", ping), ("pong", pong), ("third", third)];
    assert_eq!(
        together(&circle, &[]),
        [
            "ping MOA0407: ping calls pong, which calls third, which calls ping, each time",
            "pong MOA0407: pong calls third, which calls ping, which calls pong, each time",
            "third MOA0407: third calls ping, which calls pong, which calls third, each time",
        ]
    );
    // A run of these may end well.
    for open in [
        "{workflow: own, condition: run.parent == null}",
        "{workflow: own, run_if: failure}",
        "{workflow: own, continue: true}",
        "{workflow: own@2}",
        "{foreach: {in: [1]}, steps: [{workflow: own}]}",
        "{condition: run.parent == null, then: [{workflow: own}]}",
        "{switch: [{case: run.parent == null, then: [{workflow: own}]}]}",
        "{workflow: own, depends_on: [{step: first, when: [skipped]}]}",
        "{run: make, compensate: [{workflow: own}]}",
    ] {
        let text = format!("steps: [{{id: first, run: make}}, {open}]\n");
        assert_eq!(together(&[("own", &text)], &[]), none, "{open}");
    }
    // Who calls one that calls itself isn't to blame.
    let caller = "steps: [{workflow: own}]\n";
    assert_eq!(together(&[("caller", caller), ("own", own)], &[]).len(), 1);
}

#[test]
fn channels_are_those_of_the_settings() {
    let said = |step: &str| together(&[("w", &format!("steps: [{step}]\n"))], &["slack", "team"]);
    let none: [&str; 0] = [];
    for known in [
        "{notify: slack}",
        "{notify: {channel: team, text: hi}}",
        "{notify: '${{ params.to }}'}",
        "{notify: {channel: '${{ params.to }}', text: hi}}",
        "{agent: notify, action: send, params: {channel: slack}}",
    ] {
        assert_eq!(said(known), none, "{known}");
    }
    for wrong in [
        "{notify: slakc}",
        "{notify: {channel: slakc, text: hi}}",
        "{agent: notify, action: send, params: {channel: slakc}}",
    ] {
        assert_eq!(said(wrong), ["w MOA0408: did you mean `slack`?"], "{wrong}");
    }
    let far = said("{notify: typo}");
    assert!(far[0].contains("channels: {typo: {file: notifications/typo.jsonl}}"), "{far:?}");
}
