//! Values on their way in and out.

use std::sync::Arc;

use jiff::SignedDuration;
use moa_core::expr::{Key, Map, Program, Scope, Value};
use moa_core::template::Template;
use moa_core::time::{Millis, Span};
use serde_json::{Value as Json, json};

/// One value under the name `v`.
struct One(Value);

impl Scope for One {
    fn lookup(&self, name: &str) -> Option<Value> {
        (name == "v").then(|| self.0.clone())
    }
}

fn of(value: impl Into<Value>, source: &str) -> Json {
    let program = Program::compile(source).unwrap_or_else(|e| panic!("{source}: {e}"));
    let value = program.eval(&One(value.into())).unwrap_or_else(|e| panic!("{source}: {e}"));
    value.to_json()
}

#[test]
fn programs_and_templates_go_between_threads() {
    fn check<T: Send + Sync + Clone + 'static>() {}
    check::<Program>();
    check::<Template>();
    check::<Value>();
}

#[test]
fn json_comes_out_as_it_went_in() {
    for json in [
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(i64::MIN),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(1.5),
        json!(1.0),
        json!(-0.0),
        json!(1e300),
        json!("text"),
        json!([1, [2.0, "x", null], {}]),
        json!({"b": 1, "a": {"c": [], "": false}}),
    ] {
        let text = json.to_string();
        assert_eq!(Value::from(json.clone()).to_json().to_string(), text);
        assert_eq!(of(json.clone(), "v").to_string(), text);
        assert_eq!(of(json.clone(), "[v][0]").to_string(), text);
        assert_eq!(of(json.clone(), "[v]").to_string(), format!("[{text}]"));
        assert_eq!(of(json.clone(), "{'k': v}.k").to_string(), text);
        assert_eq!(Value::from(json).into_json().to_string(), text);
    }
}

#[test]
fn integers_of_json_are_ints() {
    assert_eq!(of(json!(5), "type(v) == int && v + 1 == 6 && v % 2 == 1"), json!(true));
    assert_eq!(of(json!([5]), "v[0] + 1"), json!(6));
    assert_eq!(of(json!(5.0), "type(v) == double"), json!(true));
    // Beyond an int, not a rounded double.
    assert_eq!(of(json!(u64::MAX), "type(v) == uint && v > 9223372036854775807"), json!(true));
}

#[test]
fn values_have_a_json_form() {
    let bytes: &[u8] = &[0xff, 0];
    let entries = [(Key::Int(1), Value::Int(1)), (Key::Bool(true), "x".into())];
    for (value, json) in [
        (Value::Uint(7), json!(7)),
        (Value::Double(f64::NAN), json!("NaN")),
        (Value::Double(f64::NEG_INFINITY), json!("-Infinity")),
        (Value::Bytes(bytes.into()), json!("/wA=")),
        (Value::timestamp(Millis(1_700_000_000_123)), json!("2023-11-14T22:13:20.123Z")),
        (Value::timestamp(Millis(0)), json!("1970-01-01T00:00:00Z")),
        (Value::duration(Span::minutes(90)), json!("1h30m")),
        (Value::Duration(SignedDuration::from_millis(-1500)), json!("-1s500ms")),
        (Value::Type("int"), json!("int")),
        (Value::Map(Arc::new(Map::new(entries))), json!({"1": 1, "true": "x"})),
        ([Value::Null, Value::Int(1)].into_iter().collect(), json!([null, 1])),
        ([("k".to_owned(), Value::Int(1))].into_iter().collect(), json!({"k": 1})),
    ] {
        assert_eq!(value.to_json(), json);
        assert_eq!(value.into_json(), json);
    }
}

#[test]
fn times_of_the_engine_are_times_of_expressions() {
    let at = Value::timestamp(Millis(60_000));
    assert_eq!(of(at, "v == timestamp('1970-01-01T00:01:00Z')"), json!(true));
    let span = Value::duration(Span::seconds(90));
    assert_eq!(of(span, "v > duration('1m') && v.getSeconds() == 90"), json!(true));
    // The ends of what the engine can write stay in range.
    for at in [i64::MIN, i64::MAX] {
        assert!(of(Value::timestamp(Millis(at)), "string(v)").is_string());
    }
    assert!(of(Value::duration(Span(u64::MAX)), "string(v)").is_string());
}

#[test]
fn fields_over_an_object_hide_it_and_show_the_rest() {
    let output = Arc::new(json!({"passed": true, "status": "mine", "list": [1, 2]}));
    let fields = [("success", Value::Bool(true)), ("status", "done".into())];
    let step = || Value::Map(Arc::new(Map::over(fields.clone(), output.clone())));
    for (source, expected) in [
        ("v.success && v.passed", json!(true)),
        ("v.status", json!("done")),
        ("v['status'] + string(v['list'][0])", json!("done1")),
        ("has(v.passed) && has(v.success) && !has(v.zzz)", json!(true)),
        ("'passed' in v && 'success' in v && !('zzz' in v)", json!(true)),
        ("size(v)", json!(4)),
        ("v.map(k, k)", json!(["success", "status", "passed", "list"])),
        ("v == {'success': true, 'status': 'done', 'passed': true, 'list': [1, 2]}", json!(true)),
        ("v == {'success': true, 'status': 'mine', 'passed': true, 'list': [1, 2]}", json!(false)),
        ("v.transformMap(k, x, x)", step().to_json()),
        ("[v][0].list[1]", json!(2)),
        ("type(v) == map", json!(true)),
    ] {
        assert_eq!(of(step(), source), expected, "{source}");
    }
    let expected = json!({"success": true, "status": "done", "passed": true, "list": [1, 2]});
    assert_eq!(step().to_json(), expected);
    assert_eq!(of(step(), "v"), expected);
    let error = Program::compile("v.pased").unwrap().eval(&One(step())).unwrap_err();
    assert_eq!(error.hint.as_deref(), Some("did you mean `passed`?"));
    // Nothing but an object has members.
    let odd = Value::Map(Arc::new(Map::over(fields.clone(), Arc::new(json!([1, 2])))));
    assert_eq!(of(odd, "size(v)"), json!(2));
}

#[test]
fn what_is_behind_the_fields_is_given_back_as_it_is() {
    let output = Arc::new(json!({"rows": [1, 2, 3]}));
    let fields = [("output", Value::from_json(output.clone()))];
    let step = One(Value::Map(Arc::new(Map::over(fields, output.clone()))));
    match Program::compile("v.output").unwrap().eval(&step) {
        Ok(Value::Json(json)) => assert!(Arc::ptr_eq(&json, &output)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn repeated_keys_of_a_map_from_outside_are_settled_by_the_last() {
    let key = |text: &str| Key::String(text.into());
    let entries = [
        (key("a"), Value::Int(1)),
        (key("b"), Value::Int(2)),
        (key("a"), Value::Int(3)),
        (Key::Uint(1), Value::Int(4)),
        (Key::Int(1), Value::Int(5)),
    ];
    let map = Value::Map(Arc::new(Map::new(entries)));
    assert_eq!(map.to_json(), json!({"b": 2, "a": 3, "1": 5}));
    assert_eq!(of(map, "[v.a, v.b, v[1], v[1u], size(v)]"), json!([3, 2, 5, 5, 3]));
}

#[test]
fn maps_of_any_size_find_their_keys() {
    let entries = (0..1000).rev().map(|i| (format!("k{i}"), Value::Int(i)));
    let map: Value = entries.collect();
    assert_eq!(of(map.clone(), "v.k0 == 0 && v.k999 == 999 && v.k500 == 500"), json!(true));
    assert_eq!(of(map.clone(), "v.map(k, k)[0]"), json!("k999"));
    assert_eq!(of(map.clone(), "v.all(k, v[k] >= 0) && size(v) == 1000"), json!(true));
    assert_eq!(of(map, "has(v.k1000) || 'x' in v"), json!(false));
}

#[test]
fn values_compare_as_the_language_compares_them() {
    assert_eq!(Value::Int(1), Value::Double(1.0));
    assert_eq!(Value::Uint(1), Value::Int(1));
    assert_eq!(Value::from(json!([1, "a"])), [Value::Int(1), "a".into()].into_iter().collect());
    assert_eq!(Value::from(json!("a")), "a".into());
    assert_eq!(Value::Json(Arc::new(json!(true))), true.into());
    assert_ne!(Value::Double(f64::NAN), Value::Double(f64::NAN));
    assert_ne!(Value::Int(1), "1".into());
    assert_ne!(Value::Null, false.into());
}

#[test]
fn values_tell_what_they_are() {
    let text = Value::from(json!("x"));
    assert_eq!((text.as_str(), text.as_bool(), text.as_int()), (Some("x"), None, None));
    assert_eq!(Value::from(true).as_bool(), Some(true));
    assert_eq!(Value::Json(Arc::new(json!(false))).as_bool(), Some(false));
    assert_eq!(Value::from(7).as_int(), Some(7));
    assert_eq!(Value::from(1.5).as_int(), None);
    assert_eq!(Value::from(String::from("y")).as_str(), Some("y"));
    for (value, name) in [
        (Value::Null, "null_type"),
        (json!([]).into(), "list"),
        (json!({}).into(), "map"),
        (Value::Duration(SignedDuration::ZERO), "duration"),
    ] {
        assert_eq!(value.type_name(), name);
    }
}
