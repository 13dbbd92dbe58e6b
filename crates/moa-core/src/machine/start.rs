//! What is checked and computed before a run exists: its params and its concurrency key.

use std::sync::Arc;

use serde_json::{Map, Value as Json, json};

use crate::expr::{Scope, Value};
use crate::ids::RunId;
use crate::limits::{KEY_LENGTH_MAX, OUTPUT_BYTES_MAX, OUTPUT_DEPTH_MAX, PARAMS_BYTES_MAX};

use super::Graph;

/// Fills in defaults, and refuses params that are missing, unknown or too large. Their types are
/// checked at the doors, where mistakes can be shown with their place.
pub fn fill_params(graph: &Graph, given: &Json) -> Result<Json, String> {
    let mut params = match given {
        Json::Null => Map::new(),
        Json::Object(map) => map.clone(),
        other => return Err(format!("params must be a map, not {other}")),
    };
    if given.to_string().len() > PARAMS_BYTES_MAX {
        return Err(format!("params are larger than {PARAMS_BYTES_MAX} bytes"));
    }
    if is_too_deep(given) {
        return Err(format!("params are nested more than {OUTPUT_DEPTH_MAX} deep"));
    }
    if graph.params.is_empty() {
        return Ok(Json::Object(params));
    }
    if let Some(unknown) = params.keys().find(|k| graph.params.iter().all(|p| p.name != **k)) {
        return Err(format!("workflow {} has no param {unknown:?}", graph.workflow));
    }
    for spec in &graph.params {
        if params.contains_key(&spec.name) {
            continue;
        }
        match &spec.default {
            Some(default) => {
                params.insert(spec.name.clone(), default.clone());
            }
            None if spec.required => {
                return Err(format!("param {:?} is missing", spec.name));
            }
            None => {}
        }
    }
    Ok(Json::Object(params))
}

/// Whether a value from outside is nested more than `OUTPUT_DEPTH_MAX` deep. Rows and events wrap it
/// in a few levels more, and what is written must be readable: JSON is read up to 127 levels.
pub(super) fn is_too_deep(value: &Json) -> bool {
    let mut open = vec![(value, 1)];
    while let Some((value, depth)) = open.pop() {
        let inside: Box<dyn Iterator<Item = &Json>> = match value {
            Json::Array(list) => Box::new(list.iter()),
            Json::Object(map) => Box::new(map.values()),
            _ => continue,
        };
        if depth > OUTPUT_DEPTH_MAX {
            return true;
        }
        open.extend(inside.map(|v| (v, depth + 1)));
    }
    false
}

/// Whether a value is larger than `OUTPUT_BYTES_MAX` as JSON. Counts, and keeps nothing.
pub(super) fn is_too_large(value: &Json) -> bool {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            match self.0 > OUTPUT_BYTES_MAX {
                true => Err(std::io::ErrorKind::FileTooLarge.into()),
                false => Ok(bytes.len()),
            }
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    serde_json::to_writer(Count(0), value).is_err()
}

struct StartVars<'a> {
    graph: &'a Graph,
    params: &'a Arc<Json>,
    run: RunId,
}

impl Scope for StartVars<'_> {
    fn lookup(&self, name: &str) -> Option<Value> {
        let value = match name {
            "params" => return Some(Value::from_json(self.params.clone())),
            "vars" => json!(self.graph.vars),
            "run" => json!({ "id": self.run, "workflow": self.graph.workflow }),
            name => self.params.get(name)?.clone(),
        };
        Some(Value::from_json(Arc::new(value)))
    }
}

/// The concurrency key of a new run, prefixed by its workflow so that keys of two workflows never
/// meet; `None` when the workflow limits nothing.
pub fn concurrency_key(
    graph: &Graph,
    params: &Arc<Json>,
    run: RunId,
) -> Result<Option<String>, String> {
    let Some(concurrency) = &graph.concurrency else { return Ok(None) };
    let Some(program) = &concurrency.key else { return Ok(Some(graph.workflow.to_string())) };
    let vars = StartVars { graph, params, run };
    let value = program.eval(&vars).map_err(|e| format!("concurrency.key: {e}"))?;
    let key = match value.to_json() {
        Json::String(text) => text,
        other => other.to_string(),
    };
    if key.len() > KEY_LENGTH_MAX {
        return Err(format!("concurrency.key: longer than {KEY_LENGTH_MAX} characters"));
    }
    Ok(Some(format!("{}/{key}", graph.workflow)))
}
