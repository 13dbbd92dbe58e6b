//! The form of an approval: fields that its decider fills in, made as those of the form that starts a run.

use maud::{Markup, html};
use moa_core::workflow::ParamSpec;
use serde_json::{Map, Value as Json, json};

use super::workflows::form::{self, PARAM};

/// Fields of a form; what is more is shown with the request.
const FIELDS_MAX: usize = 50;

/// The fields of a request's `form`: name to type or JSON Schema, or one schema of an object. None when it
/// has no form, or one that can't be shown as fields.
pub fn fields(request: &Json) -> Vec<ParamSpec> {
    let Some(form) = request.get("form").and_then(Json::as_object) else { return Vec::new() };
    let (all, needed) = match (form.get("type"), form.get("properties")) {
        (Some(Json::String(kind)), Some(Json::Object(all))) if kind == "object" => {
            (all, form.get("required").and_then(Json::as_array))
        }
        _ => (form, None),
    };
    if all.len() > FIELDS_MAX {
        return Vec::new();
    }
    let is_needed = |name: &str| needed.is_some_and(|all| all.iter().any(|one| one == name));
    all.iter().map(|(name, kind)| field(name, kind, is_needed(name))).collect()
}

fn field(name: &str, kind: &Json, needed: bool) -> ParamSpec {
    let mut schema = match kind {
        Json::String(kind) => of_word(kind),
        Json::Object(schema) => schema.clone(),
        _ => Map::new(),
    };
    let own = schema.get("required").and_then(Json::as_bool);
    if own.is_some() {
        // Of a schema, `required` names the keys of an object.
        schema.remove("required");
    }
    let default = schema.get("default").cloned();
    let required = (needed || own == Some(true)) && default.is_none();
    ParamSpec { name: name.to_owned(), schema: schema.into(), required, default }
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
pub fn form(fields: &[ParamSpec], id: &str) -> Markup {
    html! { @for field in fields { (form::field_called(field, None, &format!("{id}-{}", field.name))) } }
}

/// What somebody has filled in, by field. What is left empty isn't given.
pub fn given(sent: &[(String, String)]) -> Vec<(String, String)> {
    let of_field = |(name, value): &(String, String)| {
        let name = name.strip_prefix(PARAM).filter(|_| !value.trim().is_empty())?;
        Some((name.to_owned(), form::sent(value)))
    };
    sent.iter().filter_map(of_field).collect()
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
        let day = told(json!({"on": "date", "odd": 7, "what": "thing"}));
        assert_eq!(day[0].1["format"], "date");
        assert_eq!((&day[1].1, &day[2].1), (&json!({}), &json!({})));
        for none in [json!(null), json!("text"), json!([1])] {
            assert!(told(none).is_empty());
        }
    }
}
