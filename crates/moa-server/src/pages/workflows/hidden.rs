//! What of a schema was a secret, and is not shown.

use moa_core::workflow::ParamSpec;
use serde_json::Value as Json;

use super::form::MARK;

/// Whether a part of what a param takes was a secret, and is not shown.
pub fn is_hidden(param: &ParamSpec) -> bool {
    has_mark(&param.schema)
}

/// Whether a schema has something hidden that values are checked against: what is said to people is not.
fn has_mark(schema: &Json) -> bool {
    let is_said = |key: &str, value: &Json| match key {
        "title" | "description" | "$comment" => value.is_string(),
        "examples" => value.is_array(),
        _ => false,
    };
    match schema {
        Json::Object(all) => all.iter().any(|(key, value)| match key.as_str() {
            // Values, whatever their keys are called.
            "const" | "enum" => value.to_string().contains(MARK),
            _ => key.contains(MARK) || !is_said(key, value) && has_mark(value),
        }),
        Json::Array(all) => all.iter().any(has_mark),
        Json::String(text) => text.contains(MARK),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_said_to_people_hides_nothing_of_what_is_taken() {
        let hidden = |schema: Json| {
            is_hidden(&ParamSpec { name: "size".into(), schema, required: true, default: None })
        };
        for open in [
            json!({"type": "string", "description": "not ***"}),
            json!({"title": "***", "$comment": "***", "examples": ["***"]}),
            json!({"properties": {"a": {"description": "***"}}}),
        ] {
            assert!(!hidden(open.clone()), "{open}");
        }
        for closed in [
            json!({"pattern": "^***$"}),
            json!({"items": {"enum": ["a", "***"]}}),
            json!({"const": {"title": "***"}}),
            json!({"properties": {"title": {"const": "***"}}}),
            json!({"properties": {"***": {}}}),
        ] {
            assert!(hidden(closed.clone()), "{closed}");
        }
    }
}
