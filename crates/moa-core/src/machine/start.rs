//! What is checked and computed before a run exists: its params, its concurrency key, its fairness.

use std::sync::Arc;

use serde_json::{Map, Value as Json, json};

use crate::expr::{Program, Scope, Value};
use crate::ids::RunId;
use crate::limits::{
    FAIRNESS_WEIGHT_MAX, KEY_LENGTH_MAX, OUTPUT_BYTES_MAX, OUTPUT_DEPTH_MAX, PARAMS_BYTES_MAX,
};
use crate::run::Fairness;
use crate::schema::Schemas;

use super::Graph;

/// Params told of that don't fit.
const TOLD_MAX: usize = 3;

/// Checks params against the schemas that their workflow declares, where no door has done that: what a
/// trigger makes of an occurrence, and what a step gives the run that it starts. What is not given has
/// its default, which its file was checked for.
///
/// # Errors
/// Some don't fit: which, and why.
pub fn check_params(graph: &Graph, schemas: &dyn Schemas, given: &Json) -> Result<(), String> {
    let mut told = Vec::new();
    let given =
        graph.params().filter_map(|(spec, schema)| Some((spec, schema, given.get(&spec.name)?)));
    for (spec, schema, value) in given {
        let Err(found) = schema.check(schemas, value) else { continue };
        told.extend(found.iter().map(|b| format!("`{}{}`: {}", spec.name, b.pointer, b.message)));
    }
    let more = if told.len() > TOLD_MAX { "; and more" } else { "" };
    told.truncate(TOLD_MAX);
    match told.is_empty() {
        true => Ok(()),
        false => Err(format!("the params don't fit: {}{more}", told.join("; "))),
    }
}

/// Fills in defaults, and refuses params that are missing, unknown or too large. Their types are
/// checked at the doors, where mistakes can be shown with their place, and those of triggers and of
/// steps by [`check_params`].
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
pub fn is_too_deep(value: &Json) -> bool {
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
    let key = key_of(program, &vars, "concurrency.key")?;
    Ok(Some(format!("{}/{}", graph.workflow, key.as_deref().unwrap_or("null"))))
}

/// A key as text; `None` when it is null.
fn key_of(program: &Program, vars: &StartVars<'_>, what: &str) -> Result<Option<String>, String> {
    let key = match program.eval(vars).map_err(|e| format!("{what}: {e}"))?.to_json() {
        Json::Null => return Ok(None),
        Json::String(text) => text,
        other => other.to_string(),
    };
    if key.len() > KEY_LENGTH_MAX {
        return Err(format!("{what}: longer than {KEY_LENGTH_MAX} characters"));
    }
    Ok(Some(key))
}

/// Whose tasks the tasks of a new run are; `None` when its workflow doesn't say, or says null or an
/// empty text.
pub fn fairness(graph: &Graph, params: &Arc<Json>, run: RunId) -> Result<Option<Fairness>, String> {
    let Some(plan) = &graph.fairness else { return Ok(None) };
    let vars = StartVars { graph, params, run };
    let Some(key) = key_of(&plan.key, &vars, "fairness.key")?.filter(|key| !key.is_empty()) else {
        return Ok(None);
    };
    let weight = plan.weight.as_ref().map(|program| fairness_weight(program, &vars)).transpose();
    let weight = weight.map_err(|why| format!("fairness.weight: {why}"))?.unwrap_or(1);
    Ok(Some(Fairness { key: key.into(), weight }))
}

/// The weight of a fairness key, if it is one.
pub fn fairness_weight(program: &Program, vars: &dyn Scope) -> Result<u32, String> {
    let value = program.eval(vars).map_err(|e| e.to_string())?;
    let weight = value.as_int().and_then(|weight| u32::try_from(weight).ok());
    weight.filter(|weight| (1..=FAIRNESS_WEIGHT_MAX).contains(weight)).ok_or_else(|| {
        let value = value.to_json();
        format!("{value} is no whole number from 1 to {FAIRNESS_WEIGHT_MAX}")
    })
}
