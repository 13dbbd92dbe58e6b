//! The form that starts a run: a field for each param, made from its JSON Schema.

use maud::{Markup, html};
use moa_core::ids::Name;
use moa_core::workflow::{ParamSpec, Plan};
use serde_json::Value as Json;

use super::Shown;
use super::pattern::for_browser;
use crate::auth::tokens::random_hex;
use crate::auth::{FORM_BYTES_MAX, Identity};
use crate::pages::filled::Filled;
use crate::pages::parts;

/// How the names of params begin in a form: so that no param is taken for a field of ours.
pub const PARAM: &str = "p.";

/// Bytes of the values in a form, as a browser sends them: half of what a form may have, so that there is
/// room to change them. Values that don't fit stay out of it.
pub const VALUES_BYTES_MAX: usize = FORM_BYTES_MAX / 2;

/// What stands where a secret was.
pub const MARK: &str = "***";

/// Characters that a field of one line is for.
const LINE_MAX: u64 = 200;

/// Bytes of JSON on one line of a field.
const LINE_BYTES_MAX: usize = 60;

/// Where the form goes.
pub fn path(workflow: &Name) -> String {
    format!("/workflows/{workflow}/start")
}

/// The form.
pub fn form(who: &Identity, plan: &Plan, shown: &Shown, filled: Option<&Filled>) -> Markup {
    let mut room = VALUES_BYTES_MAX;
    let priority = filled.map_or("", |filled| filled.sent("priority"));
    let inside = html! {
        @if let Some(filled) = filled {
            (filled.summary("No run was started", |param| id_of(&format!("{PARAM}{param}"))))
        }
        // Sent twice, it starts one run.
        input type="hidden" name="key" value=(random_hex::<12>());
        @if shown.version.is_some() { input type="hidden" name="version" value=(plan.hash); }
        @for param in &plan.params { (field_within(param, &mut room, filled)) }
        @if plan.params.is_empty() { p class="dim" { "It takes no params." } }
        div class="field" {
            label for="priority" { "Priority" }
            select id="priority" name="priority" {
                option value="" { "as the workflow says" }
                @for word in ["critical", "high", "medium", "low"] {
                    option value=(word) selected[word == priority] { (word) }
                }
            }
        }
        button class="button primary" { "Start" }
    };
    parts::form(who, (&path(&plan.workflow), None), None, &inside)
}

/// The field of a param with its default, as long as there is room. What is left empty is not given, and
/// so has its default, whether that is shown or not.
fn field_within(param: &ParamSpec, room: &mut usize, filled: Option<&Filled>) -> Markup {
    let bytes = param.default.as_ref().map_or(0, |default| sent_bytes(&text(default)));
    if let Some(left) = room.checked_sub(bytes) {
        *room = left;
        return field(param, None, filled);
    }
    let bytes = param.default.as_ref().map_or(0, |default| default.to_string().len());
    let bare = ParamSpec { default: None, required: false, ..param.clone() };
    html! {
        (field(&bare, None, filled))
        p class="dim" {
            "Left empty, " (parts::line(&param.name)) " is as the workflow says: with "
            (moa_view::text::bytes(bytes as u64)) " that is too large for a form."
        }
    }
}

/// The field of a param. It holds `given`, as far as something is; the default when nothing is said.
pub fn field(param: &ParamSpec, given: Option<&Json>, filled: Option<&Filled>) -> Markup {
    field_called(param, given, filled, &format!("{PARAM}{}", param.name))
}

/// The same with an id made of this, where the page has others of the name. When the form was refused it
/// holds what was typed, and says what is wrong with that.
pub fn field_called(
    param: &ParamSpec,
    given: Option<&Json>,
    filled: Option<&Filled>,
    id: &str,
) -> Markup {
    let said = |key: &str| param.schema.get(key).and_then(Json::as_str);
    let id = id_of(id);
    let wrong = filled.map(|filled| filled.wrong(&param.name)).unwrap_or_default();
    html! {
        div class="field" data-key=(id) {
            label for=(id) { (label(param)) }
            (input(&Field { param, given, filled, id: &id, is_wrong: !wrong.is_empty() }))
            @if !wrong.is_empty() {
                span class="failed" id={ (id) "-wrong" } {
                    span class="sign" aria-hidden="true" { "✗ " } (parts::line(&wrong.join("; ")))
                }
            }
            @if let Some(about) = said("description") { span class="dim" { (parts::line(about)) } }
        }
    }
}

/// An id that lists of ids and addresses can name.
pub fn id_of(text: &str) -> String {
    let safe = |c: char| match c.is_ascii_alphanumeric() || "._-".contains(c) {
        true => c.to_string(),
        false => format!(":{:x}", u32::from(c)),
    };
    text.chars().map(safe).collect()
}

/// A field to be drawn.
struct Field<'a> {
    param: &'a ParamSpec,
    given: Option<&'a Json>,
    filled: Option<&'a Filled>,
    id: &'a str,
    is_wrong: bool,
}

impl Field<'_> {
    /// Whether the focus goes here: to the first that is wrong.
    fn is_first(&self) -> bool {
        self.filled.is_some_and(|filled| filled.is_first(&self.param.name))
    }

    /// What says more of it.
    fn described_by(&self) -> Option<String> {
        self.is_wrong.then(|| format!("{}-wrong", self.id))
    }
}

/// Keywords that bound a value, each with the words around what it says.
const BOUNDS: [(&str, &str, &str); 8] = [
    ("minimum", "from", ""),
    ("exclusiveMinimum", "more than", ""),
    ("maximum", "to", ""),
    ("exclusiveMaximum", "less than", ""),
    ("multipleOf", "a multiple of", ""),
    ("minLength", "at least", " characters"),
    ("maxLength", "at most", " characters"),
    ("pattern", "like", ""),
];

/// What stands above the field of a param.
pub fn label(param: &ParamSpec) -> Markup {
    html! {
        (parts::line(&param.name))
        @if param.required { span class="failed" title="needed" aria-label="needed" { " *" } }
        " " span class="dim" { (words(param)) }
    }
}

/// The type of a param, and its bounds.
fn words(param: &ParamSpec) -> String {
    let schema = &param.schema;
    let mut words = vec![match kind(schema) {
        Some(kind) => kind.to_owned(),
        None if schema.get("enum").is_some() => "one of these".to_owned(),
        None => "any".to_owned(),
    }];
    for (key, word, behind) in BOUNDS {
        if let Some(value) = schema.get(key) {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            words.push(format!("{word} {value}{behind}"));
        }
    }
    words.join(", ")
}

fn kind(schema: &Json) -> Option<&str> {
    schema.get("type").and_then(Json::as_str)
}

/// A value as a field holds it; what is long on several lines.
pub fn text(value: &Json) -> String {
    match value {
        Json::Null => String::new(),
        Json::String(text) => text.clone(),
        other => {
            let short = other.to_string();
            let is_long = short.len() > LINE_BYTES_MAX;
            match serde_json::to_string_pretty(other) {
                Ok(pretty) if is_long => pretty,
                _ => short,
            }
        }
    }
}

/// A text as a browser sends it back that has shown it, but for the ends of lines.
pub fn sent(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

/// Bytes of a text in the body of a form.
pub fn sent_bytes(text: &str) -> usize {
    let lines = sent(text).replace('\n', "\r\n");
    url::form_urlencoded::byte_serialize(lines.as_bytes()).map(str::len).sum()
}

fn input(field: &Field<'_>) -> Markup {
    let Field { param, given, id, .. } = *field;
    let (schema, name) = (&param.schema, format!("{PARAM}{}", param.name));
    let default = given.or(param.default.as_ref()).filter(|value| !value.is_null()).map(text);
    // A default with a secret is not shown; what is left empty is not given, and so has its default.
    let default = default.filter(|text| given.is_some() || !text.contains(MARK));
    let hidden = (given.is_none()
        && default.is_none()
        && param.default.as_ref().is_some_and(|d| !d.is_null()))
    .then_some(MARK);
    let needed = param.required && default.is_none();
    // What was typed stands there as it was.
    let value = match field.filled {
        Some(filled) => Some(filled.typed(&param.name).to_owned()).filter(|text| !text.is_empty()),
        None => default.clone(),
    };
    let choices: Option<Vec<String>> = schema
        .get("enum")
        .and_then(Json::as_array)
        .map(|all| all.iter().map(text).filter(|choice| !choice.contains(MARK)).collect());
    let choices = choices.or_else(|| {
        (kind(schema) == Some("boolean")).then(|| vec!["true".to_owned(), "false".to_owned()])
    });
    let number = |key: &str| schema.get(key).filter(|value| value.is_number());
    let (wrong, about) = (field.is_wrong.then_some("true"), field.described_by());
    let first = field.is_first();
    let written = schema.get("pattern").and_then(Json::as_str);
    let pattern = written.and_then(for_browser);
    // A browser says it when a text doesn't fit.
    let title = pattern.as_ref().and(written).map(|written| format!("like {written}"));
    html! {
        @if let Some(choices) = choices {
            select id=(id) name=(name) required[needed] aria-invalid=[wrong] aria-describedby=[about]
                autofocus[first] {
                @if default.is_none() { option value="" { "–" } }
                @for choice in &choices {
                    option value=(choice) selected[value.as_ref() == Some(choice)] { (choice) }
                }
            }
        } @else {
            @match kind(schema) {
                // What is no number would be thrown away.
                Some(kind @ ("integer" | "number")) if value.as_deref().is_none_or(|text| is_number(text, kind)) => {
                    @let Steps { min, max, step } = Steps::of(schema, kind == "integer");
                    input type="number" id=(id) name=(name) required[needed]
                        aria-invalid=[wrong] aria-describedby=[about] autofocus[first]
                        step=(step) min=[min] max=[max]
                        value=(value.unwrap_or_default());
                },
                Some("string" | "integer" | "number") if !is_long(schema, value.as_deref()) => {
                    @let date = schema.get("format").and_then(Json::as_str) == Some("date")
                        && value.as_ref().is_none_or(|text| is_date(text));
                    input type=(if date { "date" } else { "text" }) id=(id) name=(name)
                        required[needed] minlength=[number("minLength")] maxlength=[number("maxLength")]
                        pattern=[&pattern] title=[title] placeholder=[hidden]
                        aria-invalid=[wrong] aria-describedby=[about] autofocus[first]
                        value=(value.unwrap_or_default());
                },
                kind => {
                    @let text = kind == Some("string");
                    textarea id=(id) name=(name) required[needed] spellcheck="false"
                        minlength=[number("minLength").filter(|_| text)]
                        maxlength=[number("maxLength").filter(|_| text)]
                        aria-invalid=[wrong] aria-describedby=[about] autofocus[first]
                        placeholder=[(kind != Some("string")).then_some("JSON")] {
                        // The first line break belongs to the tag.
                        "\n" (value.unwrap_or_default())
                    }
                },
            }
        }
    }
}

/// Whether a browser takes a text for a number of a kind.
fn is_number(text: &str, kind: &str) -> bool {
    serde_json::from_str::<serde_json::Number>(text.trim())
        .is_ok_and(|number| kind != "integer" || !number.is_f64())
}

/// Whether a text needs several lines: one that has them, which a field of one line would lose, or that may
/// be long.
fn is_long(schema: &Json, value: Option<&str>) -> bool {
    let may_be = schema.get("maxLength").and_then(Json::as_u64).is_some_and(|max| max > LINE_MAX);
    let has_lines = value.is_some_and(|text| text.contains(['\n', '\r']));
    has_lines || may_be && schema.get("pattern").is_none() && schema.get("format").is_none()
}

/// What a field for numbers takes: its bounds as far as a browser knows such.
#[derive(Debug, PartialEq)]
struct Steps {
    min: Option<String>,
    max: Option<String>,
    step: String,
}

impl Steps {
    fn of(schema: &Json, is_integer: bool) -> Self {
        let number = |key: &str| schema.get(key).filter(|value| value.is_number());
        if !is_integer {
            // A bound that is itself too much is told by the server.
            let bound = |key, exclusive| number(key).or(number(exclusive)).map(Json::to_string);
            let (min, max) =
                (bound("minimum", "exclusiveMinimum"), bound("maximum", "exclusiveMaximum"));
            return Self { min, max, step: "any".into() };
        }
        let whole = |key: &str| number(key).and_then(Json::as_i64);
        let least = [whole("minimum"), whole("exclusiveMinimum").and_then(|n| n.checked_add(1))];
        let most = [whole("maximum"), whole("exclusiveMaximum").and_then(|n| n.checked_sub(1))];
        let (min, max) = (least.into_iter().flatten().max(), most.into_iter().flatten().min());
        // Steps are counted from the least: so that has to be one.
        let step = whole("multipleOf").filter(|step| *step > 0);
        let min = match (min, step) {
            (Some(min), Some(step)) => {
                min.checked_add((step - min.rem_euclid(step)) % step).or(Some(min))
            }
            _ => min,
        };
        let step = step.filter(|step| min.is_some_and(|min| min.rem_euclid(*step) == 0));
        let text = |number: Option<i64>| number.map(|number| number.to_string());
        Self { min: text(min), max: text(max), step: step.unwrap_or(1).to_string() }
    }
}

/// Whether a browser takes a text for a date, and doesn't throw it away.
fn is_date(text: &str) -> bool {
    text.parse::<jiff::civil::Date>().is_ok_and(|date| date.to_string() == text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(schema: Json, default: Option<Json>) -> String {
        let param = ParamSpec { name: "size".into(), schema, required: default.is_none(), default };
        field(&param, None, None).into_string()
    }

    #[test]
    fn fields_are_as_the_schema_says() {
        let number = shown(json!({"type": "integer", "minimum": 1, "maximum": 9}), None);
        assert!(number.contains("type=\"number\"") && number.contains("max=\"9\""), "{number}");
        assert!(number.contains(" required"), "{number}");
        let choice = shown(json!({"enum": ["s", "<m>"]}), Some(json!("<m>")));
        assert!(choice.contains("value=\"&lt;m&gt;\" selected"), "{choice}");
        assert!(!choice.contains(" required") && !choice.contains("<m>"), "{choice}");
        let yes = shown(json!({"type": "boolean"}), Some(json!(false)));
        assert!(yes.contains("value=\"false\" selected"), "{yes}");
        let hidden = shown(json!({"type": "string"}), Some(json!("a ***")));
        assert!(
            hidden.contains("value=\"\"") && hidden.contains("placeholder=\"***\""),
            "{hidden}"
        );
        let hidden = shown(json!({"enum": ["s", "***"]}), Some(json!("***")));
        assert!(hidden.contains("–") && !hidden.contains("***"), "{hidden}");
        let list = shown(json!({"type": "array"}), Some(json!([1, 2])));
        assert!(list.contains("<textarea") && list.contains("[1,2]"), "{list}");
    }

    #[test]
    fn fields_carry_what_a_browser_can_check() {
        let has = |schema: Json, wanted: &[&str]| {
            let shown = shown(schema, None);
            for words in wanted {
                assert!(shown.contains(words), "{words}: {shown}");
            }
        };
        has(
            json!({"type": "string", "pattern": "^[a-z]+$", "minLength": 2, "maxLength": 9}),
            &[
                "pattern=\"[\\s\\S]*(?:^[a-z]+$)[\\s\\S]*\"",
                "minlength=\"2\"",
                "maxlength=\"9\"",
                "title=\"like ^[a-z]+$\"",
                "at least 2 characters",
            ],
        );
        has(
            json!({"type": "integer", "exclusiveMinimum": 1, "exclusiveMaximum": 9}),
            &["min=\"2\"", "max=\"8\"", "step=\"1\"", "more than 1"],
        );
        has(
            json!({"type": "integer", "minimum": 4, "multipleOf": 5}),
            &["min=\"5\"", "step=\"5\"", "a multiple of 5"],
        );
        // Without a least one a browser would count from the default.
        has(json!({"type": "integer", "multipleOf": 5}), &["step=\"1\""]);
        has(json!({"type": "number", "exclusiveMinimum": 0.5}), &["min=\"0.5\"", "step=\"any\""]);
        has(json!({"type": "string", "maxLength": 201}), &["<textarea", "maxlength=\"201\""]);
        has(json!({"type": "string", "maxLength": 200}), &["type=\"text\""]);
        let unsure = shown(json!({"type": "string", "pattern": "\\p{L}"}), None);
        assert!(!unsure.contains(" pattern="), "{unsure}");
    }

    #[test]
    fn the_bytes_of_a_text_are_those_that_a_browser_sends() {
        for (text, body) in [("a b", "a+b"), ("ü", "%C3%BC"), ("a\nb", "a%0D%0Ab"), ("", "")] {
            assert_eq!(sent_bytes(text), body.len(), "{text:?}");
        }
    }

    #[test]
    fn a_value_that_is_given_is_what_the_field_holds() {
        let schema = json!({"type": "string", "format": "date"});
        let default = Some(json!("2026-01-01"));
        let param = ParamSpec { name: "on".into(), schema, required: false, default };
        let shown = |given: Json| field(&param, Some(&given), None).into_string();
        assert!(shown(json!("2026-05-06")).contains("type=\"date\""));
        assert!(shown(json!("soon")).contains("type=\"text\""), "a date field would drop it");
        let lines = shown(json!("\none\n<two>"));
        assert!(lines.contains(">\n\none\n&lt;two&gt;</textarea>"), "{lines}");
        assert!(!shown(Json::Null).contains("2026-01-01"), "nothing was given");
    }
}
