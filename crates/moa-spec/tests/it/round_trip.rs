//! Model to YAML to model: nothing is lost on the way, whatever the values and the style.

use moa_core::machine::Graph;
use moa_spec::{compile, format, parse_workflow, render};
use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};

use crate::support::{id, source};

/// Texts that YAML could take for something else.
fn text() -> impl Strategy<Value = String> {
    let odd = [
        "",
        "~",
        "null",
        "yes",
        "no",
        "true",
        "1",
        "-1",
        "1.5",
        "0x1F",
        "1e3",
        ".5",
        ".inf",
        "a: b",
        "a #b",
        "# c",
        "- x",
        "[a]",
        "{a}",
        "&a",
        "*a",
        "!a",
        "|",
        ">",
        "%x",
        "@x",
        "`x`",
        "'",
        "\"",
        "\\",
        "a\nb",
        " lead",
        "trail ",
        "a\n\n  b\n",
        "\u{e9}\u{1F980}",
        "<<",
        "?",
        ":",
        "a:",
        "...",
        "---",
        "\t",
    ];
    prop_oneof![
        prop::sample::select(odd.to_vec()).prop_map(str::to_owned),
        "[ -~]{0,12}",
        "[a-zA-Zäöü0-9 _.,:#'\"\\\\{}\\[\\]&*!|>%@`~-]{0,16}",
    ]
    .prop_filter("templates are another matter", |t| !t.contains("${{"))
}

fn value() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<u64>().prop_map(Json::from),
        (-1e9f64..1e9).prop_map(Json::from),
        text().prop_map(Json::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            map(inner).prop_map(Json::from),
        ]
    })
}

fn map(inner: impl Strategy<Value = Json>) -> impl Strategy<Value = Map<String, Json>> {
    let key = text().prop_filter("merge keys are refused", |key| key != "<<");
    prop::collection::vec((key, inner), 0..4).prop_map(Map::from_iter)
}

fn duration() -> impl Strategy<Value = Json> {
    prop::sample::select(vec!["250ms", "30s", "5m", "2h", "1h30m"]).prop_map(Json::from)
}

/// Keys that a task may have beside what it does.
fn extras() -> impl Strategy<Value = Map<String, Json>> {
    let extra = prop_oneof![
        duration().prop_map(|d| ("timeout", d)),
        duration().prop_map(|d| ("queue_timeout", d)),
        (1u32..9, duration()).prop_map(|(n, d)| ("retry", json!({"max_attempts": n, "delay": d}))),
        Just(("retry", json!("never"))),
        Just(("once", json!(true))),
        Just(("continue", json!(true))),
        Just(("priority", json!("P1"))),
        Just(("condition", json!("params.x == 'a: b' || true"))),
        Just(("run_if", json!("always"))),
        Just(("depends_on", json!([]))),
        Just(("outputs", json!({"a": "output.b", "c": "output['d: e']"}))),
        Just(("compensate", json!({"run": "undo"}))),
        (text(), value()).prop_map(|(_, v)| ("session", json!([v]))),
    ];
    prop::collection::vec(extra, 0..4)
        .prop_map(|extras| extras.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
}

fn task() -> impl Strategy<Value = Json> {
    let script = text().prop_map(|t| json!({"run": t}));
    let agent =
        map(value()).prop_map(|p| json!({"agent": "worker-1", "action": "Do it", "params": p}));
    (prop_oneof![script, agent], extras()).prop_map(|(mut step, extras)| {
        step.as_object_mut().unwrap().extend(extras);
        step
    })
}

fn step() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        4 => task(),
        1 => duration().prop_map(|d| json!({"sleep": d})),
        1 => value().prop_map(|v| json!({"emit": {"type": "a.b", "data": v}})),
        1 => Just(json!({"wait_for": {"signal": "go", "match": "event.x > 1"}})),
        1 => text().prop_map(|t| json!({"approve": {"title": t, "to": ["role:x"]}})),
        1 => map(value()).prop_map(|p| json!({"workflow": "other@1.0", "params": p})),
    ];
    leaf.prop_recursive(3, 16, 3, |inner| {
        let steps = prop::collection::vec(inner, 1..3).prop_map(Json::from).boxed();
        let two = (steps.clone(), steps.clone());
        prop_oneof![
            steps.clone().prop_map(|s| json!({"parallel": s})),
            steps.clone().prop_map(|s| json!({"steps": s})),
            two.clone().prop_map(|(a, b)| json!({"condition": "true", "then": a, "else": b})),
            two.prop_map(
                |(a, b)| json!({"switch": [{"case": "1 == 1", "then": a}, {"default": b}]})
            ),
            (steps.clone(), value().prop_filter("lists become expressions", fits_i64))
                .prop_map(|(s, v)| json!({"foreach": {"in": [v], "as": "it"}, "steps": s})),
            steps.prop_map(|s| json!({"until": "true", "max_iterations": 3, "steps": s})),
        ]
    })
}

/// Whether all whole numbers in a value are those that expressions have.
fn fits_i64(value: &Json) -> bool {
    match value {
        Json::Number(n) => !n.is_u64() || n.is_i64(),
        Json::Array(items) => items.iter().all(fits_i64),
        Json::Object(map) => map.values().all(fits_i64),
        _ => true,
    }
}

fn workflow() -> impl Strategy<Value = Json> {
    let name = text().prop_filter("no control characters in titles", |t| !t.contains('\t'));
    (name, prop::collection::vec(step(), 1..5), map(value()), any::<bool>()).prop_map(
        |(name, steps, data, graph)| {
            json!({
                "name": name,
                "mode": if graph { "graph" } else { "sequence" },
                "vars": {"data": data},
                "steps": steps,
                "outputs": {"x": "vars.data"},
            })
        },
    )
}

/// The value as block YAML, texts in JSON's quotes.
fn block(value: &Json, indent: usize, out: &mut String) {
    let pad = " ".repeat(indent);
    match value {
        Json::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                out.push_str(&format!("\n{pad}{}:", json!(key)));
                block(value, indent + 2, out);
            }
        }
        Json::Array(items) if !items.is_empty() => {
            for item in items {
                out.push_str(&format!("\n{pad}-"));
                block(item, indent + 2, out);
            }
        }
        leaf => out.push_str(&format!(" {leaf}")),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: crate::support::cases(100), failure_persistence: None, ..Default::default() })]

    #[test]
    fn models_survive_yaml(workflow in workflow()) {
        let mut text = String::new();
        block(&workflow, 0, &mut text);
        let (first, found) = parse_workflow(&source(&text), &id());
        let shown = render(&found, &[source(&text)], false);
        let Some(first) = first else { panic!("{text}\n{shown}") };
        let plan = compile(&first);
        Graph::new(plan.clone()).unwrap();

        // Written again by the model itself, as JSON, which is YAML.
        let json = serde_json::to_string(&first.file).unwrap();
        let (second, found) = parse_workflow(&source(&json), &id());
        let second = second.unwrap_or_else(|| panic!("{json}\n{found:#?}"));
        prop_assert_eq!(&first.file, &second.file);
        prop_assert_eq!(plan.hash, compile(&second).hash);

        // And formatted.
        for text in [&text, &json] {
            let out = format(&source(text)).unwrap_or_else(|e| panic!("{text}\n{e:#?}"));
            let (third, _) = parse_workflow(&source(&out), &id());
            prop_assert_eq!(plan.hash, compile(&third.unwrap()).hash);
        }
    }

    #[test]
    fn values_survive_yaml(value in value()) {
        let mut text = "vars:\n  v:".to_owned();
        block(&value, 4, &mut text);
        text.push_str("\nsteps: [{run: x}]\n");
        let plan = crate::support::plan(&text);
        prop_assert_eq!(&plan.vars["v"], &value);
    }
}
