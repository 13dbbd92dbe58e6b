//! The expression language: expected results, errors, hostile input, an oracle.

use std::collections::BTreeMap;
use std::sync::Arc;

use moa_core::expr::{Error, Program, Scope, Value};
use serde_json::{Value as Json, json};

mod conformance;
mod errors;
mod hostile;
mod oracle;
mod properties;
mod references;
mod results;
mod values;

/// Top-level names over a JSON object.
pub struct Names(BTreeMap<String, Value>);

impl Names {
    pub fn of(json: Json) -> Self {
        let Json::Object(members) = json else { panic!("the names are an object") };
        Self(members.into_iter().map(|(k, v)| (k, Value::from_json(Arc::new(v)))).collect())
    }
}

impl Scope for Names {
    fn lookup(&self, name: &str) -> Option<Value> {
        self.0.get(name).cloned()
    }
    fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }
}

/// What most tests see.
pub fn scope() -> Names {
    Names::of(json!({
        "n": 3, "big": i64::MAX, "x": 1.5, "s": "héllo", "yes": true, "no": false, "nothing": null,
        "list": [1, 2, 3], "empty": [], "words": ["b", "a", "c"],
        "m": {"a": 1, "b": {"c": [10, {"d": "deep"}]}, "k-l": "hyphen", "null": null},
        "rows": [
            {"id": 1, "ok": true, "cost": 0.5, "name": "one"},
            {"id": 2, "ok": false, "cost": 2.0, "name": "two"},
            {"id": 3, "ok": true, "cost": 1.0, "name": "three"},
        ],
        "quality_check": {"success": true, "output": {"score": 0.93}},
        "security_scan": {"passed": true},
    }))
}

pub fn eval(source: &str) -> Result<Value, Error> {
    Program::compile(source)?.eval(&scope())
}

/// The error of compiling or evaluating, with the text that it points at.
pub fn failure(source: &str) -> (Error, String) {
    match eval(source) {
        Ok(value) => panic!("{source} gives {value:?}"),
        Err(error) => {
            let at = source[error.span.clone()].to_owned();
            (error, at)
        }
    }
}
