//! The conformance cases of CEL's specification: `tests/data/cel-spec`.

use std::collections::BTreeMap;
use std::sync::Arc;

use moa_core::expr::{Key, Map, Program, Scope, Value};
use serde_json::Value as Json;

const CASES: &str = include_str!("../../data/cel-spec/cases.jsonl");

/// Cases that moa answers differently on purpose: how their place begins, and why.
const DIFFERENT: &[(&str, &str)] = &[
    ("basic/functions/unbound_is_runtime_error", "unknown functions do not compile"),
    ("parse/receiver_function_names/", "unknown functions do not compile"),
    ("fields/qualified_identifier_resolution/qualified_ident", "names have no dots"),
    ("fields/qualified_identifier_resolution/map_field_select", "names have no dots"),
    (
        "fields/qualified_identifier_resolution/ident_with_longest_prefix_check",
        "names have no dots",
    ),
    ("namespace/qualified/self_eval_qualified_lookup", "names have no dots"),
    ("namespace/namespace/", "there are no containers"),
    ("namespace/namespace_shadowing/basic", "there are no containers"),
    (
        "namespace/namespace_shadowing/comprehension_shadowing_namespaced_selector_disambiguation",
        "names have no dots",
    ),
    (
        "timestamps/timestamp_conversions/toString_timestamp_nanos",
        "the last instant is 9999-12-30T22:00:00.999999999Z",
    ),
    ("timestamps/timestamp_selectors_tz/getDate", "there is no time zone database"),
    ("timestamps/timestamp_selectors_tz/getDayOfMonth_name_", "there is no time zone database"),
    ("timestamps/timestamp_selectors_tz/getDayOfYear", "there is no time zone database"),
    ("timestamps/timestamp_selectors_tz/getMinutes", "there is no time zone database"),
];

fn text(json: &Json) -> &str {
    json.as_str().expect("a string")
}

fn value(json: &Json) -> Value {
    let members = json.as_object().expect("a typed value");
    let (kind, json) = members.iter().next().expect("a type and a value");
    match kind.as_str() {
        "null" => Value::Null,
        "bool" => Value::Bool(json.as_bool().expect("a bool")),
        "int" => Value::Int(text(json).parse().expect("an int")),
        "uint" => Value::Uint(text(json).parse().expect("a uint")),
        "double" => Value::Double(text(json).parse().expect("a double")),
        "string" => text(json).into(),
        "bytes" => {
            let bytes = json.as_array().expect("bytes").iter();
            Value::Bytes(bytes.map(|b| b.as_u64().expect("a byte") as u8).collect())
        }
        "type" => {
            let name = Program::compile(text(json)).and_then(|p| p.eval(&Bindings::default()));
            name.expect("the name of a type")
        }
        "list" => json.as_array().expect("items").iter().map(value).collect(),
        "map" => {
            let entries = json.as_array().expect("entries").iter();
            let entries = entries.map(|entry| (key(&entry[0]), value(&entry[1])));
            Value::Map(Arc::new(Map::new(entries)))
        }
        other => panic!("{other} is no kind of value"),
    }
}

fn key(json: &Json) -> Key {
    match value(json) {
        Value::Bool(b) => Key::Bool(b),
        Value::Int(n) => Key::Int(n),
        Value::Uint(n) => Key::Uint(n),
        Value::String(s) => Key::String(s),
        other => panic!("{other:?} is no key"),
    }
}

#[derive(Default)]
struct Bindings(BTreeMap<String, Value>);

impl Scope for Bindings {
    fn lookup(&self, name: &str) -> Option<Value> {
        self.0.get(name).cloned()
    }
}

/// Whether the case comes out as it should, and what came out.
fn conforms(case: &Json) -> (bool, String) {
    let names = case["names"].as_object().into_iter().flatten();
    let scope = Bindings(names.map(|(name, json)| (name.clone(), value(json))).collect());
    let result = Program::compile(text(&case["expr"])).and_then(|p| p.eval(&scope));
    let fine = match (&result, case.get("value").map(value)) {
        (Ok(Value::Double(got)), Some(Value::Double(want))) if want.is_nan() => got.is_nan(),
        (Ok(got), Some(want)) => *got == want && got.type_name() == want.type_name(),
        (Err(_), None) => true,
        _ => false,
    };
    (fine, format!("{result:?}"))
}

#[test]
fn cases_of_the_specification_hold() {
    let mut used = BTreeMap::new();
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in CASES.lines() {
        let case: Json = serde_json::from_str(line).expect("a case a line");
        let at = text(&case["at"]);
        let (fine, result) = conforms(&case);
        let different = DIFFERENT.iter().find(|(start, _)| at.starts_with(start));
        match different {
            None if fine => count += 1,
            None => wrong.push(format!("{at}: {}\n  gives {result}", case["expr"])),
            Some((start, _)) => *used.entry(*start).or_insert(0) += usize::from(!fine),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 1590, "only {count} cases hold");
    // What is listed as different is different.
    for (start, _) in DIFFERENT {
        assert!(used.get(start).is_some_and(|n| *n > 0), "{start} conforms");
    }
}
