//! Validation of values against JSON Schemas that authors wrote.
//!
//! Absent by intent: remote references (a schema that names one is refused) and regular expressions
//! with backtracking (patterns run in linear time).

use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use jsonschema::{Draft, PatternOptions, ValidationError, Validator};
use serde_json::Value as Json;

use crate::suggest::nearest;

/// Keywords of JSON Schema 2020-12 that say something about a value, and the annotations.
pub(crate) const KEYWORDS: [&str; 54] = [
    "$anchor",
    "$comment",
    "$defs",
    "$id",
    "$ref",
    "$schema",
    "additionalProperties",
    "allOf",
    "anyOf",
    "const",
    "contains",
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
    "default",
    "definitions",
    "dependentRequired",
    "dependentSchemas",
    "deprecated",
    "description",
    "else",
    "enum",
    "example",
    "examples",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "if",
    "items",
    "maxContains",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minContains",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "not",
    "oneOf",
    "pattern",
    "patternProperties",
    "prefixItems",
    "properties",
    "propertyNames",
    "readOnly",
    "required",
    "then",
    "title",
    "type",
    "unevaluatedItems",
    "unevaluatedProperties",
];

/// The types of JSON Schema.
pub(crate) const TYPES: [&str; 7] =
    ["string", "integer", "number", "boolean", "array", "object", "null"];

/// The type that is probably meant by a word of another language.
pub(crate) fn nearest_type(word: &str) -> Option<&'static str> {
    let known = match word {
        "int" | "long" | "i64" => "integer",
        "str" | "text" => "string",
        "bool" => "boolean",
        "float" | "double" | "decimal" => "number",
        "list" | "sequence" => "array",
        "map" | "dict" | "mapping" | "json" => "object",
        _ => return nearest(word, TYPES),
    };
    Some(known)
}

/// Compiles a schema; the error says what is wrong with it.
pub(crate) fn compile(schema: &Json) -> Result<Validator, String> {
    let options = jsonschema::options()
        .with_draft(Draft::Draft202012)
        .offline()
        .with_pattern_options(PatternOptions::regex().size_limit(1 << 20));
    options.build(schema).map_err(|e| describe(&e))
}

/// One way in which a value doesn't meet its schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    /// JSON pointer to the value at fault.
    pub(crate) pointer: String,
    /// What is wrong with it.
    pub(crate) message: String,
    /// Whether it is about which keys a mapping has.
    pub(crate) about_keys: bool,
}

/// All ways in which `value` doesn't meet the schema.
pub(crate) fn violations(validator: &Validator, value: &Json) -> Vec<Violation> {
    let violations = validator.iter_errors(value).map(|e| Violation {
        pointer: e.instance_path().to_string(),
        message: describe(&e),
        about_keys: matches!(e.kind(), Kind::Required { .. } | Kind::AdditionalProperties { .. }),
    });
    violations.collect()
}

/// Checks a step's output against the schema declared for it.
///
/// # Errors
/// One sentence for each way in which `value` doesn't meet `schema`, or what is wrong with `schema`.
pub fn check_output(schema: &Json, value: &Json) -> Result<(), String> {
    let validator = compile(schema).map_err(|e| format!("the schema is wrong: {e}"))?;
    let found = violations(&validator, value);
    if found.is_empty() {
        return Ok(());
    }
    let sentences = found.iter().take(10).map(|v| match v.pointer.as_str() {
        "" => v.message.clone(),
        pointer => format!("{pointer}: {}", v.message),
    });
    Err(sentences.collect::<Vec<_>>().join("; "))
}

fn describe(e: &ValidationError) -> String {
    let found = brief(e.instance());
    match e.kind() {
        Kind::Type { kind: TypeKind::Single(one) } => format!("{found} is not of type {one}"),
        Kind::Enum { options } => {
            let options = options.as_array().map(|all| all.iter().map(brief).collect::<Vec<_>>());
            format!("{found} is not one of {}", options.unwrap_or_default().join(", "))
        }
        Kind::Constant { expected_value } => format!("{found} is not {}", brief(expected_value)),
        Kind::Pattern { pattern } => format!("{found} doesn't match the pattern {pattern}"),
        Kind::Minimum { limit } => format!("{found} is less than {limit}"),
        Kind::Maximum { limit } => format!("{found} is more than {limit}"),
        Kind::MinLength { limit } => format!("{found} has fewer than {limit} characters"),
        Kind::MaxLength { limit } => format!("{found} has more than {limit} characters"),
        Kind::Required { property } => format!("{} is missing", brief(property)),
        Kind::AdditionalProperties { unexpected } => {
            format!("unknown: {}", unexpected.join(", "))
        }
        Kind::Format { format } if format == "regex" => {
            format!("{found} is not a regular expression")
        }
        Kind::Referencing(_) => "it refers to something outside itself".into(),
        _ => clip(&e.to_string()),
    }
}

fn brief(value: &Json) -> String {
    clip(&value.to_string())
}

fn clip(text: &str) -> String {
    if text.chars().count() <= 200 {
        return text.into();
    }
    let cut: String = text.chars().take(199).collect();
    format!("{cut}…")
}
