//! Params given to a run, against those that its workflow declares.

use moa_core::limits::PARAMS_BYTES_MAX;
use moa_core::workflow::{ParamSpec, Plan};
use serde::Serialize;
use serde_json::{Map, Value as Json};

use crate::json_schema;
use crate::suggest::nearest;

/// A param that a run can't start with, or without.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ParamError {
    /// The param.
    pub name: String,
    /// What is wrong with it.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl ParamError {
    /// What is wrong, for who sees the field that it is about.
    pub fn of_field(&self) -> String {
        let (name, message) = (&self.name, &self.message);
        if *message == missing_message(name) {
            return "it is needed".into();
        }
        match message.strip_prefix(&format!("`{name}")) {
            Some(rest) if rest.starts_with("`: ") => rest["`: ".len()..].to_owned(),
            Some(place) if place.starts_with('/') => format!("`{place}"),
            _ => message.clone(),
        }
    }
}

impl std::fmt::Display for ParamError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ParamError {}

/// Checks the params of a run and fills in the defaults. A workflow that declares none takes any.
///
/// # Errors
/// Every param that is unknown, missing or not allowed by its schema.
pub fn check_params(
    plan: &Plan,
    given: &Map<String, Json>,
) -> Result<Map<String, Json>, Vec<ParamError>> {
    check_against(&plan.params, given)
}

/// The same of values that somebody gives for whatever has such specs; none take any.
///
/// # Errors
/// Every value that is unknown, missing or not allowed by its schema.
pub fn check_against(
    specs: &[ParamSpec],
    given: &Map<String, Json>,
) -> Result<Map<String, Json>, Vec<ParamError>> {
    let mut errors = Vec::new();
    let bytes = serde_json::to_vec(given).map_or(0, |v| v.len());
    if bytes > PARAMS_BYTES_MAX {
        errors.push(ParamError {
            name: String::new(),
            message: format!("the params have {bytes} bytes; at most {PARAMS_BYTES_MAX} are taken"),
            help: Some("put the data into a file and give its path".into()),
        });
        return Err(errors);
    }
    if specs.is_empty() {
        return Ok(given.clone());
    }
    for name in given.keys().filter(|name| !specs.iter().any(|s| s.name == **name)) {
        errors.push(unknown(name, specs));
    }
    let mut params = Map::new();
    for spec in specs {
        match given.get(&spec.name) {
            Some(value) => {
                errors.extend(violations(spec, value));
                params.insert(spec.name.clone(), value.clone());
            }
            None => match &spec.default {
                Some(default) => {
                    params.insert(spec.name.clone(), default.clone());
                }
                None if spec.required => errors.push(missing(spec)),
                None => {}
            },
        }
    }
    if errors.is_empty() { Ok(params) } else { Err(errors) }
}

fn unknown(name: &str, specs: &[ParamSpec]) -> ParamError {
    let names = specs.iter().map(|s| s.name.as_str());
    let help = match nearest(name, names.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("its params are: {}", names.collect::<Vec<_>>().join(", ")),
    };
    let message = format!("the workflow has no param `{name}`");
    ParamError { name: name.into(), message, help: Some(help) }
}

fn missing_message(name: &str) -> String {
    format!("the param `{name}` is missing")
}

fn missing(spec: &ParamSpec) -> ParamError {
    let name = &spec.name;
    let kind = spec.schema.get("type").and_then(Json::as_str).unwrap_or("value");
    ParamError {
        name: name.clone(),
        message: missing_message(name),
        help: Some(format!("give it with `--param {name}=…` ({kind})")),
    }
}

fn violations(spec: &ParamSpec, value: &Json) -> Vec<ParamError> {
    let name = &spec.name;
    let error = |message| ParamError { name: name.clone(), message, help: describe(spec) };
    let validator = match json_schema::compile(&spec.schema) {
        Ok(validator) => validator,
        Err(e) => return vec![error(format!("the schema of `{name}` is wrong: {e}"))],
    };
    let found = json_schema::violations(&validator, value).into_iter();
    found.map(|v| error(format!("`{name}{}`: {}", v.pointer, v.message))).collect()
}

fn describe(spec: &ParamSpec) -> Option<String> {
    let text = spec.schema.get("description").and_then(Json::as_str);
    text.map(|text| format!("`{}` is: {text}", spec.name))
}

/// Makes a param's value of text, as from a command line: a number, a boolean or JSON where its
/// type asks for that, else the text itself.
///
/// # Errors
/// When the text is not a value of the declared type.
pub fn param_from_text(spec: &ParamSpec, text: &str) -> Result<Json, ParamError> {
    let types: Vec<&str> = match spec.schema.get("type") {
        Some(Json::String(one)) => vec![one],
        Some(Json::Array(many)) => many.iter().filter_map(Json::as_str).collect(),
        _ => return Ok(untyped(spec, text)),
    };
    let parsed: Option<Json> = serde_json::from_str(text).ok();
    for kind in types.iter().filter(|kind| **kind != "string") {
        let fits = parsed.as_ref().is_some_and(|value| match *kind {
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            "null" => value.is_null(),
            _ => false,
        });
        if let (true, Some(value)) = (fits, &parsed) {
            return Ok(value.clone());
        }
    }
    if types.contains(&"string") {
        return Ok(Json::String(text.to_owned()));
    }
    let name = &spec.name;
    let example = match types.first() {
        Some(&"integer") => "5",
        Some(&"number") => "0.5",
        Some(&"boolean") => "true",
        Some(&"array") => "'[1, 2]'",
        Some(&"object") => "'{\"key\": \"value\"}'",
        _ => "null",
    };
    Err(ParamError {
        name: name.clone(),
        message: format!("`{name}`: {text:?} is not of type {}", types.join(" or ")),
        help: Some(format!("write it as `{name}={example}`")),
    })
}

/// A text for a param without a type: the value of its `enum` that is written so, a JSON scalar, or
/// the text.
fn untyped(spec: &ParamSpec, text: &str) -> Json {
    match spec.schema.get("enum") {
        Some(Json::Array(allowed)) if allowed.iter().any(|value| value == text) => {
            Json::String(text.to_owned())
        }
        _ => free_param(text),
    }
}

/// A text for a param that is not declared: the JSON scalar that it is, or the text.
pub fn free_param(text: &str) -> Json {
    match serde_json::from_str::<Json>(text) {
        Ok(value @ (Json::Null | Json::Bool(_) | Json::Number(_))) => value,
        Ok(Json::String(inner)) => Json::String(inner),
        _ => Json::String(text.to_owned()),
    }
}
