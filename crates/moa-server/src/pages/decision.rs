//! The form of an approval: fields that its decider fills in, made as those of the form that starts a run.

use maud::{Markup, html};
use moa_core::workflow::ParamSpec;
use serde_json::{Map, Value as Json, json};

use super::filled::Filled;
use super::workflows::form::{self, MARK, PARAM, VALUES_BYTES_MAX};

/// Fields of a form; what is more is shown with the request.
const FIELDS_MAX: usize = 50;

/// What a schema of the whole form may say: the rest would not be checked field by field.
const WHOLE: [&str; 5] = ["type", "properties", "required", "title", "description"];

/// How deep the schema of a field may be.
const DEPTH_MAX: usize = 16;

const TYPES: [&str; 7] = ["string", "integer", "number", "boolean", "array", "object", "null"];

/// The fields of a request's `form`: name to type or JSON Schema, or one schema of an object. None when it
/// has no form, or one that fields can't show and check whole: that is shown with the request.
pub fn fields(request: &Json) -> Vec<ParamSpec> {
    let form = request.get("form").and_then(Json::as_object);
    form.and_then(shown).unwrap_or_default()
}

fn shown(form: &Map<String, Json>) -> Option<Vec<ParamSpec>> {
    let is_schema = form.get("type").is_some_and(|kind| kind == "object")
        || form.get("properties").is_some_and(Json::is_object)
        || form.keys().any(|key| key.starts_with('$'));
    let (all, needed) = if is_schema { whole(form)? } else { (form, Vec::new()) };
    if all.len() > FIELDS_MAX {
        return None;
    }
    let mut room = VALUES_BYTES_MAX;
    let field = |(name, kind): (&String, &Json)| {
        let field = field(name, kind, needed.contains(&name.as_str()))?;
        // Without room to send it nobody could even reject.
        room = room.checked_sub(bytes(&field))?;
        Some(field)
    };
    all.iter().map(field).collect()
}

/// The properties of a schema of an object, and those that it needs.
fn whole(form: &Map<String, Json>) -> Option<(&Map<String, Json>, Vec<&str>)> {
    let is_known = |key: &String| WHOLE.contains(&key.as_str());
    if form.get("type")? != "object" || !form.keys().all(is_known) {
        return None;
    }
    let all = form.get("properties")?.as_object()?;
    let needed = match form.get("required") {
        Some(names) => names.as_array()?.iter().map(Json::as_str).collect::<Option<Vec<_>>>()?,
        None => Vec::new(),
    };
    needed.iter().all(|name| all.contains_key(*name)).then_some((all, needed))
}

fn field(name: &str, kind: &Json, needed: bool) -> Option<ParamSpec> {
    let mut schema = match kind {
        Json::String(kind) => of_word(kind),
        Json::Object(schema) => schema.clone(),
        Json::Bool(true) => Map::new(),
        _ => return None,
    };
    let own = schema.get("required").and_then(Json::as_bool);
    if own.is_some() {
        // Of a schema, `required` names the keys of an object.
        schema.remove("required");
    }
    let default = schema.get("default").cloned();
    let required = (needed || own == Some(true)) && default.is_none();
    let schema = Json::Object(schema);
    // A value that isn't shown as it is must not be approved unseen.
    let is_hidden = default.iter().chain(choices(&schema)).any(|v| form::text(v).contains(MARK));
    if is_hidden || !is_plain(&schema, DEPTH_MAX) || (kind.is_object() && !compiles(&schema)) {
        return None;
    }
    Some(ParamSpec { name: name.to_owned(), schema, required, default })
}

fn choices(schema: &Json) -> &[Json] {
    schema.get("enum").and_then(Json::as_array).map_or(&[], Vec::as_slice)
}

/// Bytes of a field in the body of the form, with the largest of what it offers.
fn bytes(field: &ParamSpec) -> usize {
    let values = field.default.iter().chain(choices(&field.schema));
    let most = values.map(|value| form::sent_bytes(&form::text(value))).max().unwrap_or(0);
    // Its name may stand there twice: with what an empty field means.
    PARAM.len() + 2 * form::sent_bytes(&field.name) + "&=&emptied=".len() + most
}

/// Whether a schema stands for itself, without references and alternatives, so that a text can be taken
/// for what it asks for.
fn is_plain(schema: &Json, depth: usize) -> bool {
    let Some(depth) = depth.checked_sub(1) else { return false };
    let Some(schema) = schema.as_object() else { return schema == true };
    let has_type = schema.contains_key("type");
    let is_scalar = |value: &Json| !value.is_array() && !value.is_object();
    schema.iter().all(|(key, value)| match key.as_str() {
        "default" | "examples" => true,
        "title" | "description" | "format" => value.is_string(),
        "type" => match value {
            Json::Array(all) => !all.is_empty() && all.iter().all(is_type),
            one => is_type(one),
        },
        "enum" => value
            .as_array()
            .is_some_and(|all| !all.is_empty() && (has_type || all.iter().all(is_scalar))),
        // Of a text without a type nobody knows what it is to be.
        _ if !has_type => false,
        "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf" => {
            value.is_number()
        }
        "minLength" | "maxLength" | "minItems" | "maxItems" => value.is_u64(),
        "pattern" => value.is_string(),
        "uniqueItems" => value.is_boolean(),
        "required" => value.is_array(),
        "items" => is_plain(value, depth),
        "additionalProperties" => value.is_boolean() || is_plain(value, depth),
        "properties" => {
            value.as_object().is_some_and(|all| all.values().all(|v| is_plain(v, depth)))
        }
        _ => false,
    })
}

fn is_type(word: &Json) -> bool {
    word.as_str().is_some_and(|word| TYPES.contains(&word))
}

/// Whether values can be checked against a schema; of a plain one that is soon known.
fn compiles(schema: &Json) -> bool {
    let options = jsonschema::options().with_draft(jsonschema::Draft::Draft202012).offline();
    let patterns = jsonschema::PatternOptions::regex().size_limit(1 << 20);
    options.with_pattern_options(patterns).build(schema).is_ok()
}

/// The schema that a word stands for; of one that isn't known, that of anything.
fn of_word(kind: &str) -> Map<String, Json> {
    let schema = match kind {
        "string" | "integer" | "number" | "boolean" | "array" | "object" => json!({"type": kind}),
        "date" => json!({"type": "string", "format": "date"}),
        _ => json!({}),
    };
    schema.as_object().cloned().unwrap_or_default()
}

/// The fields, with ids that begin so: several forms may stand on a page.
pub fn form(fields: &[ParamSpec], id: &str, filled: Option<&Filled>) -> Markup {
    html! {
        @for field in fields {
            (form::field_called(field, None, filled, &format!("{id}-{}", field.name)))
        }
    }
}

/// What somebody has filled in, by field.
pub fn given(sent: &[(String, String)]) -> Vec<(String, String)> {
    form::texts(sent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(form: Json) -> Vec<(String, Json, bool)> {
        let fields = fields(&json!({"title": "Deploy?", "form": form}));
        fields.into_iter().map(|field| (field.name, field.schema, field.required)).collect()
    }

    #[test]
    fn a_form_is_names_with_types_or_schemas_or_one_schema() {
        let note = ("note".to_owned(), json!({"type": "string"}), false);
        assert_eq!(told(json!({"note": "string"})), std::slice::from_ref(&note));
        let size = json!({"type": "integer", "minimum": 1});
        let found = told(json!({"size": {"type": "integer", "minimum": 1, "required": true}}));
        assert_eq!(found, [("size".to_owned(), size.clone(), true)]);
        let whole = json!({
            "type": "object", "properties": {"note": {"type": "string"}, "size": size},
            "required": ["size"],
        });
        assert_eq!(told(whole), [note, ("size".to_owned(), size, true)]);
        let day = told(json!({"on": "date", "what": "thing"}));
        assert_eq!(day[0].1["format"], "date");
        assert_eq!(day[1].1, json!({}));
        for none in [json!(null), json!("text"), json!([1])] {
            assert!(told(none).is_empty());
        }
    }

    #[test]
    fn a_form_that_fields_would_not_check_whole_has_none() {
        let of = |properties: Json| json!({"type": "object", "properties": properties});
        let with = |key: &str, value: Json| {
            let mut form = of(json!({"note": {"type": "string"}}));
            form[key] = value;
            form
        };
        let kind = |schema: Json| json!({"note": schema});
        assert_eq!(told(with("description", json!("Why"))).len(), 1);
        for none in [
            with("$defs", json!({"Size": {"type": "integer"}})),
            with("additionalProperties", json!(false)),
            with("dependentRequired", json!({"note": ["size"]})),
            with("allOf", json!([{"required": ["note"]}])),
            with("required", json!(["size"])),
            with("required", json!(true)),
            json!({"type": "object"}),
            json!({"properties": {"note": {"type": "string"}}}),
            json!({"$ref": "#/$defs/Size"}),
            of(json!({"note": {"$ref": "#/$defs/Size"}})),
            of(json!({"note": {"type": "text"}})),
            of(json!({"note": false})),
            kind(json!({"type": "text"})),
            kind(json!({"type": "string", "pattern": "("})),
            kind(json!({"type": "array", "items": {"$ref": "#"}})),
            kind(json!({"type": "object", "required": ["a", 7]})),
            kind(json!({"anyOf": [{"type": "string"}, {"type": "null"}]})),
            json!({"note": "string", "odd": 7}),
        ] {
            assert!(told(none.clone()).is_empty(), "{none}");
        }
        let plain = kind(json!({"type": "array", "items": {"type": "string", "pattern": "^a+$"}}));
        assert_eq!(told(plain).len(), 1);
    }

    #[test]
    fn what_a_field_would_hide_or_a_post_not_hold_is_not_shown_as_fields() {
        let with = |default: &str| json!({"note": {"type": "string", "default": default}});
        assert_eq!(told(with("one\n**\ntwo")).len(), 1);
        assert!(told(with("one\n***\ntwo")).is_empty());
        assert!(told(json!({"note": {"enum": ["a", "***"]}})).is_empty());
        let half = "x".repeat(VALUES_BYTES_MAX / 2);
        assert_eq!(told(with(&half)).len(), 1);
        let both = json!({
            "a": {"type": "string", "default": half}, "b": {"enum": ["c", half]},
        });
        assert!(told(both).is_empty());
    }
}
