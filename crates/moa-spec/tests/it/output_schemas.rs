//! Schemas of outputs: what of them reaches the plan, what they say of values, and schemas that mean
//! harm. None may panic, take long, or ask anybody outside.

use moa_core::workflow::{Output, Plan};
use serde_json::{Map, Value as Json, json};

use crate::support::{breaches, codes, diagnose, id, plan, source};

/// A plan whose step and whose run have an output with more keys after its value.
fn declared(more: &str) -> Plan {
    plan(&format!(
        "steps: [{{id: a, run: x, outputs: {{n: {{value: output.n{more}}}}}}}]\n\
         outputs: {{n: {{value: a.n{more}}}}}"
    ))
}

fn schema(outputs: &[Output]) -> Option<&Json> {
    outputs[0].schema.as_ref().map(|schema| schema.json())
}

#[test]
fn schemas_are_part_of_the_plan_and_of_its_hash() {
    let integer = json!({"type": "integer"});
    for written in [", schema: integer", ", schema: {type: integer}"] {
        let plan = declared(written);
        assert_eq!(schema(&plan.steps[0].outputs), Some(&integer));
        assert_eq!(schema(&plan.outputs), Some(&integer));
        let stored = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&stored).unwrap(), plan);
    }
    let without = declared("");
    assert_eq!((schema(&without.steps[0].outputs), schema(&without.outputs)), (None, None));
    assert_ne!(declared(", schema: string").hash, declared(", schema: integer").hash);
    assert_ne!(declared(", schema: string").hash, without.hash);
}

#[test]
fn outputs_without_a_schema_are_stored_as_ever() {
    let json = serde_json::to_value(declared("")).unwrap();
    assert_eq!(json["outputs"], json!([["n", "a.n"]]));
    let json = serde_json::to_value(declared(", schema: integer")).unwrap();
    assert_eq!(json["outputs"], json!([["n", "a.n", {"type": "integer"}]]));
}

#[test]
fn a_schema_is_no_cause_for_a_warning() {
    for steps in [
        "{run: x, outputs: {n: {value: output.n, schema: integer}}}",
        "{workflow: other, outputs: {n: {value: output.n, schema: integer}}}",
        "{wait_for: {signal: s}, outputs: {ok: {value: output.ok, schema: boolean}}}",
        "{approve: Sure?, outputs: {by: {value: output.by, schema: string}}}",
        "{foreach: [1], steps: [{run: x}], outputs: {all: {value: output, schema: array}}}",
        "{until: 'true', max_iterations: 2, steps: [{run: x}],
          outputs: {n: {value: output.iterations, schema: integer}}}",
        "{committee: {members: [{run: x}]}, outputs: {n: {value: output.cast, schema: integer}}}",
        "{parallel: [{id: b, run: x}], outputs: {n: {value: b.output, schema: {}}}}",
        "{steps: [{id: b, run: x}], outputs: {n: {value: b.output, schema: {}}}}",
        "{condition: 'true', then: [{id: b, run: x}], outputs: {n: {value: b.output, schema: {}}}}",
        "{switch: [{case: 'true', then: [{id: b, run: x}]}], outputs: {n: b.output}}",
    ] {
        assert_eq!(diagnose(&format!("steps:\n  - {steps}")), [], "{steps}");
    }
    for steps in ["{sleep: 1s, outputs: {n: output}}", "{emit: e, outputs: {n: output}}"] {
        assert_eq!(codes(&format!("steps:\n  - {steps}")), ["MOA0109"], "{steps}");
    }
}

#[test]
fn a_breach_says_where_and_what_was_expected() {
    let schema = json!({
        "type": "object",
        "required": ["path"],
        "properties": {
            "path": {},
            "n": {"type": "integer"},
            "list": {"items": {"maximum": 3}},
            "a/b": {"enum": ["x", "y"]},
        },
        "additionalProperties": false,
    });
    assert_eq!(breaches(&schema, &json!({"path": "/", "n": 1, "list": [1, 2]})), "");
    for (value, found) in [
        (json!({"path": 1, "n": "x"}), "/n \"x\" is not of type integer"),
        (json!({}), "\"path\" is missing"),
        (json!({"path": 1, "list": [1, 9, 2]}), "/list/1 9 is more than 3"),
        (json!({"path": 1, "a/b": "z"}), "/a~1b \"z\" is not one of \"x\", \"y\""),
        (json!({"path": 1, "other": 1}), "unknown: other"),
        (json!([]), "[] is not of type object"),
    ] {
        assert_eq!(breaches(&schema, &value), found);
    }
}

#[test]
fn the_same_value_breaks_the_same_schema_in_the_same_words() {
    let names: Vec<String> = (0..200).map(|i| format!("key{i}")).collect();
    let kinds = names.iter().map(|n| (n.clone(), json!({"type": "integer"})));
    let schema = json!({"properties": Map::from_iter(kinds), "required": &names});
    let value = names.iter().step_by(2).map(|n| (n.clone(), json!("text")));
    let value = Json::Object(value.collect());
    let first = breaches(&schema, &value);
    assert!(first.contains("/key198 ") && first.contains("\"key199\" is missing"), "{first}");
    for _ in 0..5 {
        assert_eq!(breaches(&schema, &value), first);
    }
}

// ---- schemas that mean harm

/// `count` schemas of which each refers to the next, the last one to integers.
fn chain(count: usize, link: impl Fn(Json) -> Json) -> Json {
    let links = (0..count).map(|i| {
        let next = json!({"$ref": format!("#/$defs/d{}", i + 1)});
        (format!("d{i}"), link(next))
    });
    let mut all = Map::from_iter(links);
    all.insert(format!("d{count}"), json!({"type": "integer"}));
    json!({"$defs": all, "$ref": "#/$defs/d0"})
}

/// What is wrong with a schema as such, said by the checker of files and at run time.
#[track_caller]
fn refused(schema: &Json) -> String {
    let text = format!("steps: [{{run: x, outputs: {{n: {{value: output, schema: {schema}}}}}}}]");
    let diagnostics = diagnose(&text);
    let [d] = &diagnostics[..] else { panic!("{diagnostics:#?}") };
    assert_eq!((d.code, d.message.as_str()), ("MOA0207", "this is not a JSON Schema"));
    let cause = d.cause.clone().unwrap_or_default();
    assert_eq!(breaches(schema, &json!(1)), format!("the schema itself is wrong: {cause}"));
    // The same schema of a param, and of an agent's action.
    assert_eq!(codes(&format!("params: {{p: {schema}}}\nsteps: [{{run: x}}]")), ["MOA0207"]);
    let agent = format!("command: x\nactions: {{go: {{output: {schema}}}}}");
    let found = moa_spec::parse_agents(&source(&agent), &id()).1;
    assert_eq!(found.iter().map(|d| d.code).collect::<Vec<_>>(), ["MOA0207"], "{found:#?}");
    cause
}

#[test]
fn nothing_outside_is_asked_for() {
    for reference in ["http://127.0.0.1:1/schema.json", "file:///etc/passwd", "other.json#/a"] {
        let schema = json!({"properties": {"a": {"allOf": [{"$ref": reference}]}}});
        assert_eq!(refused(&schema), "it refers to something outside itself", "{reference}");
    }
    let moved = json!({"$defs": {"a": {"$id": "http://127.0.0.1:1/a"}}});
    assert_eq!(refused(&moved), "`$id` stands at the top of a schema only");
    let dynamic = json!({"items": {"$dynamicRef": "#a"}});
    assert_eq!(refused(&dynamic), "`$dynamicRef` is not known; write `$ref`");
}

#[test]
fn schemas_that_go_in_circles_are_refused() {
    for schema in [
        json!({"$ref": "#"}),
        json!({"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}),
        json!({"$defs": {"a": {"not": {"$ref": "#/$defs/a"}}}, "items": {"$ref": "#/$defs/a"}}),
        json!({"$defs": {"a": {"$anchor": "here", "if": {"$ref": "#here"}}}, "$ref": "#here"}),
        json!({"$defs": {"a b": {"$ref": "#/%24defs/a%20b"}}}),
    ] {
        assert_eq!(refused(&schema), "it refers to itself without going into the value");
    }
}

#[test]
fn schemas_that_are_too_much_are_refused() {
    let double = |next: Json| json!({"oneOf": [next, next]});
    let often = "it applies more than 10000 schemas to one part of a value";
    assert_eq!(refused(&chain(14, double)), often);
    let unevaluated = |next: Json| json!({"allOf": [next, next], "unevaluatedProperties": false});
    assert_eq!(refused(&chain(14, unevaluated)), often);
    let deep = "`$ref`, `allOf` and the like are more than 32 deep";
    assert_eq!(refused(&chain(5_000, |next| next)), deep);
    assert_eq!(refused(&chain(5_000, |next| json!({"allOf": [next, true]}))), deep);
}

#[test]
fn what_people_write_is_not_refused() {
    let tree = json!({
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"type": "string"}, "inside": {"items": {"$ref": "#"}}},
    });
    let value = json!({"name": "a", "inside": [{"name": "b"}, {"name": "c", "inside": [{}]}]});
    assert_eq!(breaches(&tree, &value), "/inside/1/inside/0 \"name\" is missing");
    let kinds = (0..500).map(|i| json!({"const": i}));
    let one_of_many = json!({"oneOf": kinds.collect::<Vec<_>>()});
    assert_eq!(breaches(&one_of_many, &json!(499)), "");
    let named = json!({"$defs": {"n": {"$anchor": "n", "minimum": 2}}, "items": {"$ref": "#n"}});
    assert_eq!(breaches(&named, &json!([2, 1])), "/1 1 is less than 2");
    // Names of properties are no keywords.
    let names = json!({"properties": {"$ref": {"type": "string"}, "not": {"$ref": "#"}}});
    assert_eq!(breaches(&names, &json!({"$ref": 1})), "/$ref 1 is not of type string");
}

#[test]
fn a_check_ends_whatever_the_schema() {
    let used_up = "checking it takes more than 5000000 steps";
    // Each level of the value is looked at twice as often as the one around it.
    let twice = chain(40, |next| json!({"allOf": [{"items": next}, {"items": next}]}));
    let deep = (0..40).fold(json!(1), |inner, _| json!([inner]));
    assert_eq!(breaches(&twice, &deep), used_up);
    let hard = json!({"oneOf": [
        {"type": "integer"},
        {"type": "array", "items": {"$ref": "#"}},
        {"items": {"$ref": "#"}, "not": {"items": {"not": {"$ref": "#"}}}},
    ]});
    let deep = (0..60).fold(json!("x"), |inner, _| json!([inner, inner == 1]));
    assert!(breaches(&hard, &deep).ends_with("and telling why takes too long"));
    let patterns: Vec<Json> =
        (0..2_000).map(|i| json!({"pattern": format!("^(a+)+{i}$")})).collect();
    let long = "a".repeat(250_000);
    assert_eq!(breaches(&json!({"anyOf": patterns}), &json!(long)), used_up);
    let items: Vec<Json> = (0..20_000).map(|i| json!({"a": [i, 1.5, "text"]})).collect();
    let unique: Vec<Json> = (0..2_000).map(|_| json!({"uniqueItems": true})).collect();
    assert_eq!(breaches(&json!({"allOf": unique}), &json!(items)), used_up);
}

#[test]
fn very_many_breaches_are_told_as_one() {
    let schema = json!({"items": {"type": "integer"}});
    let value: Vec<Json> = (0..300_000).map(|_| json!("x")).collect();
    assert_eq!(breaches(&schema, &json!(value)), "/0 \"x\" is not of type integer");
}

/// The engine's thread has the stack that threads have, and outputs may be 100 levels deep.
#[test]
fn the_deepest_value_and_the_deepest_schema_fit_the_stack() {
    let mut schema = chain(14, |next| json!({"allOf": [next]}));
    schema["$defs"]["d14"] = json!({"items": {"$ref": "#"}});
    let deep = (0..100).fold(json!(1), |inner, _| json!([inner]));
    assert_eq!(breaches(&schema, &deep), "");
}
