//! Validation of values against JSON Schemas that authors wrote.
//!
//! Absent by intent: remote references (a schema that names one is refused), regular expressions
//! with backtracking (patterns run in linear time), and schemas that take for ever or more stack than
//! there is: [`bounds`] refuses some, and [`mod@metered`] counts the steps of each check.

mod bounds;
mod metered;

use std::sync::Arc;

use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use jsonschema::{Draft, PatternOptions, ValidationError, Validator};
use moa_core::limits::SCHEMA_STEPS_MAX;
use moa_core::schema::{Breach, Check, Schemas};
use serde_json::Value as Json;

use crate::suggest::nearest;
use metered::{Metered, MeteredJson, metered};

/// Keywords of JSON Schema 2020-12 that say something about a value, and the annotations.
pub(crate) const KEYWORDS: [&str; 58] = [
    "$anchor",
    "$comment",
    "$defs",
    "$dynamicAnchor",
    // It is known here to be refused with what to write instead.
    "$dynamicRef",
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
    "uniqueItems",
    "writeOnly",
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
pub(crate) fn compile(schema: &Json) -> Result<Compiled, String> {
    bounds::check(schema)?;
    let options = jsonschema::options_for::<MeteredJson>()
        .with_draft(Draft::Draft202012)
        .offline()
        .with_pattern_options(PatternOptions::regex().size_limit(1 << 20));
    options.build(schema).map(Compiled).map_err(|e| describe(&e))
}

/// A schema that values can be checked against.
pub(crate) struct Compiled(Validator<MeteredJson>);

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

/// Steps that looking for all violations may take. They are collected before the first one is seen,
/// so this bounds memory; beyond it only the first one is looked for.
const ALL_STEPS_MAX: u64 = 200_000;
/// Steps that looking for the first violation may take.
const FIRST_STEPS_MAX: u64 = 1_000_000;

/// The ways in which `value` doesn't meet the schema; where there are very many, the first.
pub(crate) fn violations(Compiled(validator): &Compiled, value: &Json) -> Vec<Violation> {
    let steps = SCHEMA_STEPS_MAX;
    let only =
        |message: String| vec![Violation { pointer: String::new(), message, about_keys: false }];
    match metered(value, steps, |node| validator.is_valid(node)) {
        Some(true) => return Vec::new(),
        Some(false) => {}
        None => return only(format!("checking it takes more than {steps} steps")),
    }
    let all = |node: Metered| validator.iter_errors(node).map(|e| violation(&e)).collect();
    let first = |node: Metered| validator.validate(node).err().map(|e| vec![violation(&e)]);
    metered(value, ALL_STEPS_MAX, all)
        .or_else(|| metered(value, FIRST_STEPS_MAX, first).flatten())
        .unwrap_or_else(|| only("it is not allowed, and telling why takes too long".into()))
}

fn violation(e: &ValidationError) -> Violation {
    Violation {
        pointer: e.instance_path().to_string(),
        message: describe(e),
        about_keys: matches!(e.kind(), Kind::Required { .. } | Kind::AdditionalProperties { .. }),
    }
}

/// JSON Schema for the run machine: what it compiles the schemas of outputs with.
#[derive(Debug, Clone, Copy, Default)]
pub struct OutputSchemas;

impl Schemas for OutputSchemas {
    fn compile(&self, schema: &Json) -> Arc<dyn Check> {
        Arc::new(OutputSchema(compile(schema)))
    }
}

/// A compiled schema, or why it can't be used.
struct OutputSchema(Result<Compiled, String>);

impl Check for OutputSchema {
    fn check(&self, value: &Json) -> Result<(), Vec<Breach>> {
        let compiled = self.0.as_ref().map_err(|cause| {
            let message = format!("the schema itself is wrong: {cause}");
            vec![Breach { pointer: String::new(), message }]
        })?;
        let found = violations(compiled, value).into_iter();
        let found: Vec<Breach> =
            found.map(|v| Breach { pointer: v.pointer, message: v.message }).collect();
        if found.is_empty() { Ok(()) } else { Err(found) }
    }
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
