//! What stands beside the steps: params, constants, limits, retry policies, outputs.

use std::collections::BTreeMap;

use moa_core::expr::{Scope, Value};
use moa_core::limits::ATTEMPTS_MAX;
use moa_core::machine::fairness_weight;
use moa_core::retry::{Backoff, RetryPolicy};
use moa_core::schema::Schema;
use moa_core::time::Span;
use moa_core::workflow::{Concurrency, FairnessPlan, OnLimit, Output, ParamSpec, Priority};
use serde_json::{Map, Value as Json};

use super::RESERVED;
use crate::codes;
use crate::json_schema;
use crate::model::{
    self, BackoffText, FairnessFile, Never, OnLimitText, PriorityText, RetryFile, WorkflowFile,
};
use crate::read::{At, Cx};
use crate::scalar::{Entries, Expr, Raw, Short};
use crate::suggest::nearest;
use crate::yaml::{Data, Node};

/// The checked head of a workflow.
pub(super) struct Header {
    pub(super) params: Vec<ParamSpec>,
    pub(super) vars: BTreeMap<String, Json>,
    pub(super) concurrency: Option<Concurrency>,
    pub(super) fairness: Option<FairnessPlan>,
    pub(super) priority: Priority,
}

/// Checks everything of a file that is not a step.
pub(super) fn header(file: &WorkflowFile, cx: &mut Cx) -> Header {
    if let Some(moa) = file.moa.as_ref().filter(|v| v.value != 1) {
        let message = format!("this moa knows version 1 of the language, not {}", moa.value);
        cx.error(codes::WRONG_VALUE, moa.span.clone(), message).help("write `moa: 1`");
    }
    later(file, cx);
    let defaults = file.defaults.as_ref().and_then(|d| d.retry.as_ref());
    let handling = file.error_handling.as_ref().and_then(|e| e.retry.as_ref());
    retry_policy(&[handling, defaults], cx);
    Header {
        params: file.params.as_ref().map(|p| param_specs(p, cx)).unwrap_or_default(),
        vars: file.vars.as_ref().map(|v| constants(v, cx)).unwrap_or_default(),
        concurrency: file.concurrency.as_ref().map(|c| concurrency(c, cx)),
        fairness: file.fairness.as_ref().map(|f| fairness(f, cx)),
        priority: file.priority.as_ref().map(|p| priority(p.value)).unwrap_or_default(),
    }
}

/// Warns of keys that this version accepts but doesn't act on.
fn later(file: &WorkflowFile, cx: &mut Cx) {
    for key in ["budget", "sla"] {
        let Some(span) = file.place.key(key) else { continue };
        let message = format!("this version of moa does not act on `{key}` yet");
        cx.warn(codes::NOT_YET, span, message).help(match key {
            "budget" => "give the agents that spend a `budget:` in their own files",
            _ => "limit the run with `timeout:` meanwhile",
        });
    }
    type Fits = fn(&Json) -> bool;
    let shapes: [(&str, &Option<Raw>, &str, Fits); 2] = [
        ("budget", &file.budget, "a mapping", Json::is_object),
        ("sla", &file.sla, "a duration or a mapping", |v| v.is_string() || v.is_object()),
    ];
    for (key, raw, expected, fits) in shapes {
        let Some(raw) = raw.as_ref().filter(|raw| !fits(&raw.json)) else { continue };
        cx.wrong_type(&raw.node, &format!("{expected} for `{key}`"));
    }
}

/// Priority by its text.
pub(super) fn priority(text: PriorityText) -> Priority {
    match text {
        PriorityText::Critical => Priority::Critical,
        PriorityText::High => Priority::High,
        PriorityText::Medium => Priority::Medium,
        PriorityText::Low => Priority::Low,
    }
}

fn concurrency(file: &Short<At<u32>, crate::model::ConcurrencyFile>, cx: &mut Cx) -> Concurrency {
    let (limit, key, on_limit) = match file {
        Short::Short(limit) => (Some(limit), None, None),
        Short::Long(long) => (long.limit.as_ref(), long.key.as_ref(), long.on_limit.as_ref()),
    };
    if let Some(zero) = limit.filter(|l| l.value == 0) {
        let message = "a limit of 0 would never let a run start".into();
        cx.error(codes::WRONG_VALUE, zero.span.clone(), message).help("write 1 or more");
    }
    Concurrency {
        key: key.map(|k| k.program.clone()),
        limit: limit.map_or(1, |l| l.value),
        on_limit: match on_limit.map(|o| o.value) {
            None | Some(OnLimitText::Queue) => OnLimit::Queue,
            Some(OnLimitText::Skip) => OnLimit::Skip,
            Some(OnLimitText::CancelRunning) => OnLimit::CancelRunning,
            Some(OnLimitText::ReplacePending) => OnLimit::ReplacePending,
        },
    }
}

/// No names at all.
struct Nothing;

impl Scope for Nothing {
    fn lookup(&self, _: &str) -> Option<Value> {
        None
    }
}

fn fairness(file: &Short<Expr, FairnessFile>, cx: &mut Cx) -> FairnessPlan {
    let (key, weight) = match file {
        Short::Short(key) => (key, None),
        Short::Long(long) => (&long.key, long.weight.as_ref()),
    };
    // What is known now need not wait for the first run.
    let is_constant = |weight: &&Expr| weight.uses.is_empty();
    if let Some(weight) = weight.filter(is_constant)
        && let Err(message) = fairness_weight(&weight.program, &Nothing)
    {
        let message = format!("`weight`: {message}");
        cx.error(codes::WRONG_VALUE, weight.span.clone(), message).help(
            "write how many turns its tasks get for each turn of others, 1 when it is as theirs",
        );
    }
    FairnessPlan { key: key.program.clone(), weight: weight.map(|w| w.program.clone()) }
}

/// A retry policy of its layers, the outermost first; `None` when no layer is given.
pub(crate) fn retry_policy(
    layers: &[Option<&Short<At<Never>, RetryFile>>],
    cx: &mut Cx,
) -> Option<RetryPolicy> {
    let mut policy = None;
    let mut longest_given = false;
    for layer in layers.iter().flatten() {
        let file = match layer {
            Short::Short(_) => {
                policy = Some(RetryPolicy::never());
                continue;
            }
            Short::Long(file) => file,
        };
        // A layer within `never` begins anew.
        let base = policy.take().filter(|p| *p != RetryPolicy::never()).unwrap_or_default();
        longest_given |= file.max_delay.is_some();
        policy = Some(overlay(base, file, cx));
    }
    let mut policy = policy?;
    if !longest_given {
        policy.max_delay = policy.max_delay.max(policy.delay);
    }
    Some(policy)
}

fn overlay(mut policy: RetryPolicy, file: &RetryFile, cx: &mut Cx) -> RetryPolicy {
    if let (Some(_), Some(retries)) = (&file.max_attempts, &file.max_retries) {
        let message = "`max_attempts` and `max_retries` say the same thing twice".into();
        let d = cx.error(codes::MISFIT, retries.span.clone(), message);
        d.cause("`max_attempts` counts the first attempt, `max_retries` doesn't");
        d.help("keep one of the two");
    }
    let attempts = file.max_attempts.as_ref().map(|n| (n.value, 1, n));
    let attempts =
        attempts.or(file.max_retries.as_ref().map(|n| (n.value.saturating_add(1), 0, n)));
    if let Some((attempts, least, at)) = attempts {
        if (1..=ATTEMPTS_MAX).contains(&attempts) {
            policy.max_attempts = attempts;
        } else {
            let most = ATTEMPTS_MAX - 1 + least;
            let message = format!("expected a number from {least} to {most}, found {}", at.value);
            cx.error(codes::WRONG_VALUE, at.span.clone(), message);
        }
    }
    if let Some(backoff) = &file.backoff {
        policy.backoff = match backoff.value {
            BackoffText::Constant => Backoff::Constant,
            BackoffText::Linear => Backoff::Linear,
            BackoffText::Exponential => Backoff::Exponential,
        };
    }
    if let Some(jitter) = &file.jitter {
        if (0.0..=1.0).contains(&jitter.value) {
            policy.jitter = jitter.value;
        } else {
            let message = format!("expected a share from 0 to 1, found {}", jitter.value);
            cx.error(codes::WRONG_VALUE, jitter.span.clone(), message).help("0.1 varies by 10 %");
        }
    }
    let span = |at: &Option<At<crate::scalar::Duration>>| at.as_ref().map(|d| d.value.0);
    policy.delay = span(&file.delay).unwrap_or(policy.delay);
    policy.max_delay = span(&file.max_delay).unwrap_or(policy.max_delay);
    policy.max_elapsed = span(&file.max_elapsed).or(policy.max_elapsed);
    policy.when = file.when.as_ref().map(|w| w.program.source().to_owned()).or(policy.when);
    if let Some(longest) = file.max_delay.as_ref().filter(|d| d.value.0 < policy.delay) {
        let Span(delay) = policy.delay;
        let message = format!("`max_delay` is shorter than `delay` ({})", Span(delay));
        cx.error(codes::WRONG_VALUE, longest.span.clone(), message);
    }
    policy
}

/// Checks declared params.
pub(crate) fn param_specs(params: &Entries<Raw>, cx: &mut Cx) -> Vec<ParamSpec> {
    params.0.iter().map(|(name, raw)| param_spec(name, raw, cx)).collect()
}

/// Whether a text is a name in expressions.
pub(crate) fn is_identifier(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
        && text.len() <= 64
}

/// Reports a name that expressions can't use.
fn check_identifier(name: &At<String>, what: &str, cx: &mut Cx) {
    let text = &name.value;
    if !is_identifier(text) {
        let message = format!("{text:?} can't be the name of {what}");
        let d = cx.error(codes::BAD_NAME, name.span.clone(), message);
        d.cause("expressions use it as a name: letters, digits and `_`, no digit first");
        let legal = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let fixed: String = text.chars().take(64).map(legal).collect();
        if is_identifier(&fixed) {
            d.help(format!("did you mean `{fixed}`?"));
        }
    }
}

fn param_spec(name: &At<String>, raw: &Raw, cx: &mut Cx) -> ParamSpec {
    check_identifier(name, "a param", cx);
    let mut schema = match &raw.json {
        Json::Null => Map::new(),
        Json::String(kind) => Map::from_iter([("type".to_owned(), Json::String(kind.clone()))]),
        Json::Object(map) => map.clone(),
        _ => {
            let d = cx.wrong_type(&raw.node, "a type or a mapping with a JSON Schema");
            d.help(format!("write `{}: {{type: string}}`", name.value));
            Map::new()
        }
    };
    let default = schema.remove("default");
    let mut required = default.is_none();
    if let Some(Json::Bool(given)) = schema.get("required").cloned() {
        schema.remove("required");
        required = given && default.is_none();
    }
    let before = cx.errors();
    check_schema_node(&raw.node, cx);
    let mut schema = Json::Object(schema);
    match json_schema::compile(&schema) {
        Ok(validator) => {
            let wrong = default.as_ref().map(|d| json_schema::violations(&validator, d));
            for violation in wrong.unwrap_or_default() {
                let node = raw.node.get("default").unwrap_or(&raw.node);
                let message = format!("the default of `{}` is not allowed", name.value);
                let d = cx.error(codes::BAD_PARAM, node.span.clone(), message);
                d.cause(violation.message);
            }
        }
        Err(cause) => {
            // A wrong type was reported with its place.
            if cx.errors() == before {
                let message = format!("`{}` is not a JSON Schema", name.value);
                cx.error(codes::BAD_PARAM, raw.node.span.clone(), message).cause(cause);
            }
            schema = Json::Bool(true);
        }
    }
    ParamSpec { name: name.value.clone(), schema, default, required }
}

/// Reports types and keywords of a schema that JSON Schema doesn't have: it would ignore them.
pub(super) fn check_schema_node(node: &Node, cx: &mut Cx) {
    let kinds: Vec<&Node> = match &node.data {
        Data::Text(_) => vec![node],
        Data::Map(entries) => {
            for (key, _) in entries {
                let known = json_schema::KEYWORDS.contains(&key.text.as_str());
                if known || key.text.starts_with("x-") {
                    continue;
                }
                let message = format!("JSON Schema has no keyword `{}`", key.text);
                let d = cx.error(codes::UNKNOWN_KEY, key.span.clone(), message);
                match nearest(&key.text, json_schema::KEYWORDS) {
                    Some(near) => d.help(format!("did you mean `{near}`?")),
                    None => d.help("remarks of your own begin with `x-`"),
                };
            }
            match node.get("type").map(|t| &t.data) {
                Some(Data::List(kinds)) => kinds.iter().map(|k| &**k).collect(),
                Some(_) => node.get("type").map(|t| vec![&**t]).unwrap_or_default(),
                None => Vec::new(),
            }
        }
        _ => Vec::new(),
    };
    for kind in kinds {
        let known = matches!(&kind.data, Data::Text(t) if json_schema::TYPES.contains(&t.as_str()));
        if known {
            continue;
        }
        let message = format!("{} is not a type", kind.describe());
        let d = cx.error(codes::BAD_PARAM, kind.span.clone(), message);
        let word = if let Data::Text(t) = &kind.data { t.as_str() } else { "" };
        match json_schema::nearest_type(word) {
            Some(near) => d.help(format!("did you mean `{near}`?")),
            None => d.help(format!("write one of: {}", json_schema::TYPES.join(", "))),
        };
    }
}

fn constants(vars: &Entries<Raw>, cx: &mut Cx) -> BTreeMap<String, Json> {
    for (name, raw) in &vars.0 {
        check_identifier(name, "a constant", cx);
        stray(&raw.node, "constants are not evaluated", cx);
    }
    vars.0.iter().map(|(name, raw)| (name.value.clone(), raw.json.clone())).collect()
}

/// Reports `${{ }}` beneath a node whose texts are not evaluated.
pub(super) fn stray(node: &Node, cause: &str, cx: &mut Cx) {
    match &node.data {
        Data::Text(text) if text.contains("${{") => {
            let message = "`${{ }}` is not evaluated here".into();
            cx.error(codes::STRAY_TEMPLATE, node.span.clone(), message).cause(cause);
        }
        Data::List(items) => items.iter().for_each(|n| stray(n, cause, cx)),
        Data::Map(entries) => entries.iter().for_each(|(_, n)| stray(n, cause, cx)),
        _ => {}
    }
}

/// Checks an `outputs` mapping.
pub(super) fn outputs(file: Option<&Entries<model::Output>>, cx: &mut Cx) -> Vec<Output> {
    let mut outputs = Vec::new();
    for (name, output) in file.iter().flat_map(|entries| &entries.0) {
        check_identifier(name, "an output", cx);
        if RESERVED_FIELDS.contains(&name.value.as_str()) {
            let message = format!("`{}` can't be the name of an output", name.value);
            let d = cx.error(codes::BAD_NAME, name.span.clone(), message);
            d.cause(format!("`STEP.{}` means something else in expressions", name.value));
        }
        let (value, schema) = match output {
            Short::Short(expr) => (expr, None),
            Short::Long(long) => (&long.value, long.schema.as_ref()),
        };
        outputs.push(Output {
            name: name.value.clone(),
            value: value.program.clone(),
            schema: schema.map(|schema| Schema::new(check_schema(schema, cx))),
        });
    }
    outputs
}

/// Fields that every step has; an output of that name could not be reached by `STEP.NAME`.
pub(super) const RESERVED_FIELDS: [&str; 9] = [
    "success",
    "failed",
    "skipped",
    "status",
    "output",
    "error",
    "attempt",
    "started_at",
    "duration",
];

/// Checks a schema that stands for itself; answers it written out.
pub(crate) fn check_schema(schema: &Raw, cx: &mut Cx) -> Json {
    let before = cx.errors();
    check_schema_node(&schema.node, cx);
    let json = match &schema.json {
        Json::String(kind) => serde_json::json!({"type": kind}),
        other => other.clone(),
    };
    if let (Err(cause), true) = (json_schema::compile(&json), cx.errors() == before) {
        let message = "this is not a JSON Schema".into();
        cx.error(codes::BAD_PARAM, schema.node.span.clone(), message).cause(cause);
    }
    json
}

/// Where an identifier that is not allowed as a loop's variable stands.
pub(super) fn check_variable(name: &At<String>, cx: &mut Cx) {
    check_identifier(name, "a variable", cx);
    if RESERVED.contains(&name.value.as_str()) {
        let message = format!("`{}` can't be the name of a variable", name.value);
        let d = cx.error(codes::BAD_NAME, name.span.clone(), message);
        d.cause("it means something else in expressions");
    }
}
