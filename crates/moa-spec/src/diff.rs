//! What changed from one version of a workflow to another.

use std::collections::HashMap;
use std::fmt;

use moa_core::time::Span;
use moa_core::workflow::{BodyIx, Plan, StepIx};
use serde::Serialize;
use serde_json::{Map, Value as Json, json};

/// One difference between two plans.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "change")]
pub enum PlanChange {
    /// A key of the workflow itself: params, limits, outputs.
    Workflow {
        /// What changed.
        field: FieldChange,
    },
    /// A step that the first plan doesn't have.
    Added {
        /// Its id.
        step: String,
        /// What it does.
        kind: String,
    },
    /// A step that the second plan doesn't have.
    Removed {
        /// Its id.
        step: String,
        /// What it did.
        kind: String,
    },
    /// A step that both have.
    Changed {
        /// Its id.
        step: String,
        /// What changed.
        fields: Vec<FieldChange>,
    },
    /// The same steps stand in another order.
    Reordered,
}

/// One value that changed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FieldChange {
    /// Which one.
    pub field: String,
    /// Its value before; null = not set.
    pub from: Json,
    /// Its value after; null = not set.
    pub to: Json,
}

impl fmt::Display for FieldChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, from, to } = self;
        let words = |value| in_words(field, value);
        match (from, to) {
            (Json::Null, to) => write!(f, "{field}: {} added", words(to)),
            (from, Json::Null) => write!(f, "{field}: {} removed", words(from)),
            (from, to) => write!(f, "{field}: {} → {}", words(from), words(to)),
        }
    }
}

/// Fields that are lengths of time.
const SPANS: [&str; 5] = ["timeout", "queue_timeout", "delay", "max_delay", "max_elapsed"];

/// A value as it is written in a file, as far as it is short there.
fn in_words(field: &str, value: &Json) -> String {
    let name = field.rsplit('.').next().unwrap_or(field);
    match value {
        Json::Number(ms) if SPANS.contains(&name) => {
            ms.as_u64().map_or_else(|| ms.to_string(), |ms| Span(ms).to_string())
        }
        Json::Array(items) if items.is_empty() => "none".into(),
        Json::Array(items) if items.iter().all(Json::is_string) => {
            let items: Vec<&str> = items.iter().filter_map(Json::as_str).collect();
            format!("[{}]", items.join(", "))
        }
        value => value.to_string(),
    }
}

impl fmt::Display for PlanChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workflow { field } => write!(f, "~ {field}"),
            Self::Added { step, kind } => write!(f, "+ step {step} ({kind})"),
            Self::Removed { step, kind } => write!(f, "- step {step} ({kind})"),
            Self::Reordered => write!(f, "~ the order of steps"),
            Self::Changed { step, fields } => {
                write!(f, "~ step {step}")?;
                fields.iter().try_for_each(|field| write!(f, "\n    {field}"))
            }
        }
    }
}

/// What changed from `a` to `b`: the workflow's keys first, then steps in their order.
pub fn diff(a: &Plan, b: &Plan) -> Vec<PlanChange> {
    let mut changes = Vec::new();
    let heads = fields(&head(a), &head(b));
    changes.extend(heads.into_iter().map(|field| PlanChange::Workflow { field }));
    let (in_a, in_b) = (by_id(a), by_id(b));
    for ix in 0..b.steps.len() as StepIx {
        let id = b.step(ix).id.as_str();
        let (kind, new) = step(b, ix);
        let Some(old) = in_a.get(id).copied() else {
            changes.push(PlanChange::Added { step: id.into(), kind });
            continue;
        };
        let fields = fields(&step(a, old).1, &new);
        if !fields.is_empty() {
            changes.push(PlanChange::Changed { step: id.into(), fields });
        }
    }
    for ix in 0..a.steps.len() as StepIx {
        let id = a.step(ix).id.as_str();
        if !in_b.contains_key(id) {
            changes.push(PlanChange::Removed { step: id.into(), kind: step(a, ix).0 });
        }
    }
    let common = |plan: &Plan, other: &HashMap<&str, StepIx>| -> Vec<String> {
        let ids = plan.steps.iter().map(|s| s.id.to_string());
        ids.filter(|id| other.contains_key(id.as_str())).collect()
    };
    if common(a, &in_b) != common(b, &in_a) {
        changes.push(PlanChange::Reordered);
    }
    changes
}

fn by_id(plan: &Plan) -> HashMap<&str, StepIx> {
    plan.steps.iter().enumerate().map(|(ix, s)| (s.id.as_str(), ix as StepIx)).collect()
}

fn object(value: &impl Serialize) -> Map<String, Json> {
    match serde_json::to_value(value) {
        Ok(Json::Object(map)) => map,
        _ => Map::new(),
    }
}

fn head(plan: &Plan) -> Map<String, Json> {
    let mut head = object(plan);
    for key in ["workflow", "hash", "steps", "bodies", "on_failure", "finally", "params", "vars"] {
        head.remove(key);
    }
    for param in &plan.params {
        head.insert(format!("params.{}", param.name), json!(param));
    }
    for (name, value) in &plan.vars {
        head.insert(format!("vars.{name}"), value.clone());
    }
    head
}

/// A step with names instead of indices: what it is, and its fields.
fn step(plan: &Plan, ix: StepIx) -> (String, Map<String, Json>) {
    let step = plan.step(ix);
    let name = |ix: StepIx| plan.step(ix).id.to_string();
    let mut fields = object(step);
    for key in ["id", "line", "needs", "parent", "body"] {
        fields.remove(key);
    }
    let mut kind = String::new();
    if let Some(Json::Object(inner)) = fields.remove("kind") {
        for (key, value) in inner {
            match key.as_str() {
                "kind" => kind = value.as_str().unwrap_or_default().to_owned(),
                "body" => {}
                _ => {
                    fields.insert(key, value);
                }
            }
        }
    }
    fields.insert("kind".into(), json!(kind));
    let needs = step.needs.iter().map(|need| match &need.when[..] {
        [] => json!(name(need.step)),
        when => json!({"step": name(need.step), "when": when}),
    });
    fields.insert("needs".into(), needs.collect());
    if let Some(parent) = step.parent {
        fields.insert("parent".into(), json!(name(parent)));
    }
    fields.insert("body".into(), json!(body_name(plan, step.body)));
    if let Some(body) = step.compensate {
        let ids = plan.body_steps(body).map(|(_, s)| s.id.to_string());
        fields.insert("compensate".into(), ids.collect());
    }
    (kind, fields)
}

fn body_name(plan: &Plan, body: BodyIx) -> String {
    if plan.on_failure == Some(body) {
        return "on_failure".into();
    }
    if plan.finally == Some(body) {
        return "finally".into();
    }
    match plan.bodies.get(usize::from(body)).and_then(|b| b.owner) {
        Some(owner) => plan.step(owner).id.to_string(),
        None => "main".into(),
    }
}

/// Values that differ; a mapping is looked into one level deep.
fn fields(a: &Map<String, Json>, b: &Map<String, Json>) -> Vec<FieldChange> {
    let mut keys: Vec<&String> = a.keys().chain(b.keys()).collect();
    keys.sort();
    keys.dedup();
    let mut changes = Vec::new();
    for key in keys {
        let (from, to) = (a.get(key).unwrap_or(&Json::Null), b.get(key).unwrap_or(&Json::Null));
        match (from, to) {
            (from, to) if from == to => {}
            (Json::Object(from), Json::Object(to)) => {
                for mut inner in fields(from, to) {
                    inner.field = format!("{key}.{}", inner.field);
                    changes.push(inner);
                }
            }
            (from, to) => {
                changes.push(FieldChange { field: key.clone(), from: from.clone(), to: to.clone() })
            }
        }
    }
    changes
}
