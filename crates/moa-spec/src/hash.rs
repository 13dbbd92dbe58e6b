//! The identity of a plan: a hash over what it does, not over how its file was written.

use moa_core::ids::VersionHash;
use moa_core::workflow::Plan;
use serde_json::{Map, Value as Json};

/// BLAKE3 over the canonical JSON (keys sorted, no spaces) of the plan without its hash and the line
/// numbers of its steps.
pub(crate) fn plan_hash(plan: &Plan) -> VersionHash {
    // Invariant: plans hold only what JSON has; serialising to memory can't fail otherwise.
    let mut json = serde_json::to_value(plan).expect("a plan is JSON");
    if let Some(map) = json.as_object_mut() {
        map.remove("hash");
    }
    if let Some(steps) = json.get_mut("steps").and_then(Json::as_array_mut) {
        for step in steps.iter_mut().filter_map(Json::as_object_mut) {
            step.remove("line");
        }
    }
    let text = canonical(&json).to_string();
    VersionHash(*blake3::hash(text.as_bytes()).as_bytes())
}

/// The same value with the keys of every mapping sorted.
pub(crate) fn canonical(json: &Json) -> Json {
    match json {
        Json::Array(items) => items.iter().map(canonical).collect(),
        Json::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            let entries = keys.into_iter().map(|k| (k.clone(), canonical(&map[k])));
            Json::Object(entries.collect::<Map<_, _>>())
        }
        other => other.clone(),
    }
}
