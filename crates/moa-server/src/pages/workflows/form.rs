//! The form that starts a run: a field for each param, made from its JSON Schema.

use std::collections::BTreeSet;

use maud::{Markup, html};
use moa_core::ids::Name;
use moa_core::workflow::{ParamSpec, Plan};
use serde_json::Value as Json;

use super::Shown;
use super::pattern::for_browser;
use crate::auth::{FORM_BYTES_MAX, Identity};
use crate::pages::filled::{self, Filled, Words};
use crate::pages::parts;

/// How the names of params begin in a form: so that no param is taken for a field of ours.
pub const PARAM: &str = "p.";

/// Bytes of the values in a form, as a browser sends them: half of what a form may have, so that there is
/// room to change them. Values that don't fit stay out of it.
pub const VALUES_BYTES_MAX: usize = FORM_BYTES_MAX / 2;

/// What stands where a secret was.
pub const MARK: &str = "***";

/// The name of a field that names a param of which an emptied field means the empty text.
const EMPTIED: &str = "emptied";

/// The same of null.
const NULLED: &str = "nulled";

/// How it begins what an empty field says of itself.
const EMPTY: &str = "empty: ";

/// Choices that a label says.
const EITHER_MAX: usize = 12;

/// Characters that a field of one line is for.
const LINE_MAX: u64 = 200;

/// Bytes of JSON on one line of a field.
const LINE_BYTES_MAX: usize = 60;

/// Where the form goes.
pub fn path(workflow: &Name) -> String {
    format!("/workflows/{workflow}/start")
}

/// What becomes of a form that starts a run.
pub const WORDS: Words = Words {
    refused: "No run was started",
    in_doubt: "Nobody knows whether a run was started",
    then: "Sending the same again starts no second one.",
};

/// The form.
pub fn form(who: &Identity, plan: &Plan, shown: &Shown, filled: Option<&Filled>) -> Markup {
    let inside = inside(plan, shown.version.is_some(), filled);
    parts::form(who, (&path(&plan.workflow), None), None, &inside)
}

fn inside(plan: &Plan, of_version: bool, filled: Option<&Filled>) -> Markup {
    let mut room = VALUES_BYTES_MAX;
    let priority = filled.map_or("", |filled| filled.sent("priority"));
    html! {
        @if let Some(filled) = filled {
            (filled.summary(&WORDS, |param| id_of(&format!("{PARAM}{param}"))))
        }
        (filled::key(filled))
        @if of_version { input type="hidden" name="version" value=(plan.hash); }
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
    }
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
    let bare = ParamSpec { default: Some(Json::Null), required: false, ..param.clone() };
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
    let mut words = vec![type_words(schema)];
    for (key, word) in [("minItems", "at least"), ("maxItems", "at most")] {
        if let Some(count) = schema.get(key).and_then(Json::as_u64) {
            words.push(format!("{word} {count}"));
        }
    }
    if schema.get("uniqueItems") == Some(&Json::Bool(true)) {
        words.push("none twice".into());
    }
    if is_nullable(schema) {
        words.push("or null".into());
    }
    for (key, word, behind) in BOUNDS {
        if let Some(value) = schema.get(key) {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            words.push(format!("{word} {value}{behind}"));
        }
    }
    words.join(", ")
}

/// The type of a value in words, with that of the items of a list.
fn type_words(schema: &Json) -> String {
    let types = schema.get("type").and_then(Json::as_array);
    match (kind(schema), types) {
        (Some("array"), _) => match schema.get("items") {
            Some(items) => match items.get("enum").and_then(Json::as_array) {
                Some(all) => format!("list of {}", either(all.iter().map(text).collect())),
                None => match items.get("type").and_then(Json::as_str) {
                    Some(kind) => format!("list of {kind}"),
                    None => "list".into(),
                },
            },
            None => "list".into(),
        },
        (Some(kind), _) => kind.to_owned(),
        (None, Some(types)) => either(types.iter().map(text).collect()),
        (None, None) if choices(schema).is_some() => "one of these".to_owned(),
        (None, None) => "any".to_owned(),
    }
}

/// `a, b or c`; what is much is cut.
fn either(mut all: Vec<String>) -> String {
    all.retain(|one| !one.contains(MARK));
    if all.len() > EITHER_MAX {
        all.truncate(EITHER_MAX);
        return format!("{}, …", all.join(", "));
    }
    match all.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        _ => all.concat(),
    }
}

/// The type of a schema, but for null.
fn kind(schema: &Json) -> Option<&str> {
    match schema.get("type")? {
        Json::Array(all) => {
            let mut others = all.iter().filter_map(Json::as_str).filter(|kind| *kind != "null");
            others.next().filter(|_| others.next().is_none())
        }
        one => one.as_str(),
    }
}

/// Keywords with which more is said of a value than its type and bounds do.
const MORE: [&str; 8] = ["const", "oneOf", "anyOf", "allOf", "not", "if", "$ref", "$dynamicRef"];

/// Whether a value may be null beside another type, and nothing else forbids it.
fn is_nullable(schema: &Json) -> bool {
    let all = |key: &str| schema.get(key).and_then(Json::as_array);
    let of_types = |types: &Vec<Json>| types.len() == 2 && types.iter().any(|kind| kind == "null");
    all("type").is_some_and(of_types)
        && all("enum").is_none_or(|choices| choices.contains(&Json::Null))
        && !MORE.iter().any(|key| schema.get(key).is_some())
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
    let Field { param, given, .. } = *field;
    let default = given.or(param.default.as_ref()).filter(|value| !value.is_null()).map(text);
    // A default with a secret is not shown; what is left empty is not given, and so has its default.
    let default = default.filter(|text| given.is_some() || !text.contains(MARK));
    let emptied = Emptied::of(param);
    // What was typed stands there as it was.
    let value = match field.filled {
        Some(filled) => Some(filled.typed(&param.name).to_owned()).filter(|text| !text.is_empty()),
        None => default.clone(),
    };
    let needed = param.required && default.is_none() && emptied != Emptied::Null;
    let said = match given {
        // It is taken for unchanged.
        Some(was) if text(was).is_empty() => format!("{EMPTY}it stays as it was"),
        _ => emptied.said(param),
    };
    html! {
        @if let Some(marker) = emptied.marker() {
            input type="hidden" name=(marker) value=(param.name);
        }
        @match choices(&param.schema) {
            Some(choices) => {
                @let none = (default.is_none() || is_nullable(&param.schema)).then_some(said.as_str());
                (select(field, &choices, value.as_deref(), needed, none))
            },
            None => (typed(field, value, needed, &said)),
        }
    }
}

/// What a field means that somebody leaves or makes empty.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Emptied {
    /// The empty text.
    Text,
    /// Null.
    Null,
    /// The default, or nothing.
    Absent,
}

impl Emptied {
    fn of(param: &ParamSpec) -> Self {
        let has = |key: &str| param.schema.get(key).is_some();
        let default = param.default.as_ref().and_then(Json::as_str);
        let is_shown = param.default.as_ref().is_none_or(|value| !text(value).contains(MARK));
        if is_nullable(&param.schema) && is_shown && param.default != Some(Json::Null) {
            return Self::Null;
        }
        let is_free =
            !["enum", "const", "pattern", "format", "oneOf", "anyOf", "allOf", "not", "$ref"]
                .into_iter()
                .any(has);
        let least = param.schema.get("minLength").and_then(Json::as_u64).unwrap_or(0);
        let is_text = kind(&param.schema) == Some("string") && is_free && least == 0;
        match default.is_some_and(|text| !text.is_empty()) && is_text && is_shown {
            true => Self::Text,
            false => Self::Absent,
        }
    }

    /// The name of an input that says so to the server.
    fn marker(self) -> Option<&'static str> {
        match self {
            Self::Text => Some(EMPTIED),
            Self::Null => Some(NULLED),
            Self::Absent => None,
        }
    }

    /// What stands in the field while it is empty.
    fn said(self, param: &ParamSpec) -> String {
        let default = param.default.as_ref().filter(|value| !value.is_null()).map(text);
        match (self, default) {
            (Self::Text, _) => format!("{EMPTY}the empty text"),
            (Self::Null, _) => format!("{EMPTY}null"),
            // Nobody sees what it is.
            (Self::Absent, Some(default)) if default.contains(MARK) => MARK.into(),
            (Self::Absent, Some(default)) if default.is_empty() => format!("{EMPTY}the empty text"),
            (Self::Absent, Some(default)) if default.len() <= LINE_BYTES_MAX => {
                format!("{EMPTY}the default {default} is used")
            }
            _ if param.default.is_some() => format!("{EMPTY}the default is used"),
            _ if param.required => String::new(),
            _ => format!("{EMPTY}not given"),
        }
    }
}

/// The params that somebody has filled in, as texts. What is left empty is not given, unless the form says
/// what it means.
pub fn texts(fields: &[(String, String)]) -> Vec<(String, String)> {
    let named = |marker: &str| -> BTreeSet<&str> {
        let marks = fields.iter().filter(|(key, _)| key == marker);
        marks.map(|(_, name)| name.as_str()).collect()
    };
    let (emptied, nulled) = (named(EMPTIED), named(NULLED));
    let given = fields.iter().filter_map(|(key, value)| {
        let name = key.strip_prefix(PARAM)?;
        let value = match value.trim().is_empty() {
            false => sent(value),
            true if nulled.contains(name) => "null".into(),
            true if emptied.contains(name) => sent(value),
            true => return None,
        };
        Some((name.to_owned(), value))
    });
    given.collect()
}

/// What a value may be, each with what is said of it; `None` = anything else too.
fn choices(schema: &Json) -> Option<Vec<(String, String)>> {
    let same = |value: &Json| (text(value), text(value));
    let titled = |one: &Json| {
        let value = one.get("const").filter(|value| !value.is_array() && !value.is_object())?;
        // Of a text without a type its quotes say that it is one.
        let is_read_so = kind(schema).is_some() || !value.is_string();
        let sent = if is_read_so { text(value) } else { value.to_string() };
        let title =
            one.get("title").and_then(Json::as_str).map_or_else(|| text(value), str::to_owned);
        (!value.is_null()).then_some((sent, title))
    };
    let all: Vec<(String, String)> = if let Some(all) = schema.get("enum").and_then(Json::as_array)
    {
        all.iter().filter(|value| !value.is_null()).map(same).collect()
    } else if let Some(all) = schema.get("oneOf").and_then(Json::as_array) {
        all.iter().map(titled).collect::<Option<_>>()?
    } else if kind(schema) == Some("boolean") {
        [true, false].map(|value| same(&value.into())).into()
    } else {
        return None;
    };
    Some(
        all.into_iter()
            .filter(|(value, title)| ![value, title].iter().any(|t| t.contains(MARK)))
            .collect(),
    )
}

/// A field to choose in; `none` = nothing can be chosen too, and what that means.
fn select(
    field: &Field<'_>,
    choices: &[(String, String)],
    value: Option<&str>,
    needed: bool,
    none: Option<&str>,
) -> Markup {
    let (wrong, about) = (field.is_wrong.then_some("true"), field.described_by());
    // A value that is shown without its quotes, as an untyped const.
    let quoted = value.map(|value| Json::from(value).to_string());
    let is = |choice: &str| value == Some(choice) || quoted.as_deref() == Some(choice);
    html! {
        select id=(field.id) name={ (PARAM) (field.param.name) } required[needed]
            aria-invalid=[wrong] aria-describedby=[about] autofocus[field.is_first()] {
            @if let Some(said) = none {
                option value="" {
                    (if said.is_empty() { "–" } else { said.strip_prefix(EMPTY).unwrap_or(said) })
                }
            }
            @for (choice, title) in choices {
                option value=(choice) selected[is(choice)] { (title) }
            }
        }
    }
}

/// A field that somebody types into; `said` stands there while it is empty.
fn typed(field: &Field<'_>, value: Option<String>, needed: bool, said: &str) -> Markup {
    let (schema, id, name) =
        (&field.param.schema, field.id, format!("{PARAM}{}", field.param.name));
    let (wrong, about) = (field.is_wrong.then_some("true"), field.described_by());
    let first = field.is_first();
    let number = |key: &str| schema.get(key).filter(|value| value.is_number());
    let written = schema.get("pattern").and_then(Json::as_str);
    let pattern = written.and_then(for_browser);
    // A browser says it when a text doesn't fit.
    let title = pattern.as_ref().and(written).map(|written| format!("like {written}"));
    let said_line = Some(said).filter(|said| !said.is_empty());
    let is_date = schema.get("format").and_then(Json::as_str) == Some("date")
        && value.as_ref().is_none_or(|text| is_date(text));
    let fits = |kind: &str| value.as_deref().is_none_or(|text| is_number(text, kind));
    html! {
        @match kind(schema) {
            // What is no number would be thrown away.
            Some(kind @ ("integer" | "number")) if fits(kind) => {
                @let Steps { min, max, step } = Steps::of(schema, kind == "integer");
                input type="number" id=(id) name=(name) required[needed]
                    aria-invalid=[wrong] aria-describedby=[about] autofocus[first]
                    step=(step) min=[min] max=[max] placeholder=[said_line]
                    value=(value.unwrap_or_default());
            },
            Some("string" | "integer" | "number") if !is_long(schema, value.as_deref()) => {
                input type=(if is_date { "date" } else { "text" }) id=(id) name=(name)
                    required[needed] minlength=[number("minLength")]
                    pattern=[&pattern] title=[title] placeholder=[said_line]
                    aria-invalid=[wrong] aria-describedby=[about] autofocus[first]
                    value=(value.unwrap_or_default());
            },
            kind => {
                @let text = kind == Some("string");
                textarea id=(id) name=(name) required[needed] spellcheck="false"
                    minlength=[number("minLength").filter(|_| text)]
                    aria-invalid=[wrong] aria-describedby=[about] autofocus[first]
                    placeholder=(as_json(kind, said)) {
                    // The first line break belongs to the tag.
                    "\n" (value.unwrap_or_default())
                }
            },
        }
    }
}

/// How something is written that has no field of its own, and what it means left empty.
fn as_json(kind: Option<&str>, said: &str) -> String {
    let how = match kind {
        Some("string") => "",
        Some("array") => "JSON, such as [\"a\", \"b\"]",
        Some("object") => "JSON, such as {\"key\": \"value\"}",
        _ => "JSON",
    };
    [how, said].iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join("; ")
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
    use crate::error::{Code, Problem};

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
        assert!(
            hidden.contains("<option value=\"\">***</option>"),
            "nobody sees what it is: {hidden}"
        );
        assert_eq!(hidden.matches("***").count(), 1, "{hidden}");
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
                "pattern=\"^[a-z]+$\"",
                "minlength=\"2\"",
                "at most 9 characters",
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
        has(json!({"type": "string", "maxLength": 201}), &["<textarea"]);
        has(json!({"type": "string", "maxLength": 200}), &["type=\"text\""]);
        let unsure = shown(json!({"type": "string", "pattern": "\\p{L}"}), None);
        assert!(!unsure.contains(" pattern="), "{unsure}");
    }

    #[test]
    fn a_form_that_is_refused_keeps_its_key_and_what_nobody_knows() {
        let plan = json!({"workflow": "shop", "hash": "00".repeat(32), "title": "shop", "steps": [], "bodies": []});
        let plan: Plan = serde_json::from_value(plan).expect("a plan");
        let shown = |code: Code, text: &str, more: &[(&str, &str)]| {
            let sent = [&[("key", "sent-key")], more].concat();
            let sent = sent.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
            let problem = Problem::new(code, text);
            let filled = Filled::new(&[], sent.collect(), problem, Vec::new());
            inside(&plan, false, Some(&filled)).into_string()
        };
        let (none, nobody) = ("No run was started", "Nobody knows whether a run was started");
        let doubt = "name=\"doubt\"";
        for code in Code::ALL {
            let page = shown(code, "it did not go well", &[]);
            let in_doubt = code.status().is_server_error() || code == Code::Timeout;
            assert!(page.contains("value=\"sent-key\""), "{code:?}: {page}");
            assert_eq!(page.contains(none), !in_doubt, "{code:?}: {page}");
            let said = [nobody, "starts no second one", doubt];
            assert_eq!(said.map(|said| page.contains(said)), [in_doubt; 3], "{code:?}: {page}");
            // What refuses it later doesn't tell what became of it before.
            let later = shown(code, "it did not go well", &[("doubt", "yes")]);
            assert!(!later.contains(none), "{code:?}: {later}");
            for said in [nobody, "starts no second one", doubt, "value=\"sent-key\""] {
                assert!(later.contains(said), "{said}: {code:?}: {later}");
            }
        }
        let run = moa_core::ids::RunId::v7(1_700_000_000_000, 7);
        let other =
            format!("the idempotency key \"form-sent-key\" belongs to run {run} with other params");
        let page = shown(Code::Conflict, &other, &[("doubt", "yes")]);
        assert!(page.contains(&format!("href=\"/runs/{run}\"")), "{page}");
        for gone in [none, nobody, doubt, "value=\"sent-key\""] {
            assert!(!page.contains(gone), "{gone}: {page}");
        }
    }

    #[test]
    fn a_field_says_what_empty_means_and_the_server_hears_it() {
        let text = shown(json!({"type": "string"}), Some(json!("x")));
        assert!(text.contains("name=\"emptied\" value=\"size\""), "{text}");
        assert!(text.contains("empty: the empty text"), "{text}");
        let long = shown(json!({"type": "string", "minLength": 1}), Some(json!("x")));
        assert!(
            !long.contains("emptied") && long.contains("empty: the default x is used"),
            "{long}"
        );
        let number = shown(json!({"type": "integer"}), Some(json!(5)));
        assert!(number.contains("placeholder=\"empty: the default 5 is used\""), "{number}");
        let needed = shown(json!({"type": "string"}), None);
        assert!(!needed.contains("placeholder"), "{needed}");
        let null = shown(json!({"type": ["integer", "null"]}), None);
        assert!(null.contains("type=\"number\"") && null.contains("empty: null"), "{null}");
        assert!(null.contains("name=\"nulled\"") && !null.contains(" required"), "{null}");
        let hidden = shown(json!({"type": "string"}), Some(json!("a ***")));
        assert!(!hidden.contains("emptied"), "{hidden}");
        let sent = |all: &[(&str, &str)]| {
            let all: Vec<_> = all.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            texts(&all)
        };
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(sent(&[("emptied", "a"), ("p.a", ""), ("p.b", "")]), [pair("a", "")]);
        assert_eq!(
            sent(&[("nulled", "a"), ("p.a", " "), ("p.b", "1")]),
            [pair("a", "null"), pair("b", "1")]
        );
    }

    #[test]
    fn a_choice_says_what_choosing_nothing_means() {
        let optional = |schema: Json, default: Option<Json>| {
            let param = ParamSpec { name: "size".into(), schema, required: false, default };
            field(&param, None, None).into_string()
        };
        let none = |said: &str| format!("<option value=\"\">{said}</option>");
        // Its `enum` has no null, so nothing is sent.
        let left = json!({"type": ["string", "null"], "enum": ["a", "b"]});
        let left = optional(left, None);
        assert!(left.contains(&none("not given")) && !left.contains("nulled"), "{left}");
        let null = optional(json!({"type": ["string", "null"], "enum": ["a", null]}), None);
        assert!(null.contains(&none("null")) && null.contains("name=\"nulled\""), "{null}");
        for key in ["const", "oneOf", "anyOf", "allOf", "not", "$ref"] {
            let mut schema = json!({"type": ["string", "null"]});
            schema[key] = json!([]);
            let other = optional(schema, None);
            assert!(!other.contains("nulled") && !other.contains("or null"), "{key}: {other}");
        }
        let schema = json!({"type": ["string", "null"], "enum": ["a", null]});
        let default = Some(Json::Null);
        let param = ParamSpec { name: "size".into(), schema, required: false, default };
        let was = field(&param, Some(&json!("a")), None).into_string();
        assert!(was.contains(&none("the default is used")), "what had a value can be null: {was}");
        let needed = shown(json!({"enum": ["a", "b"]}), None);
        assert!(needed.contains(&none("–")) && needed.contains(" required"), "{needed}");
        let default = optional(json!({"enum": ["a", "b"]}), Some(json!("a")));
        assert!(!default.contains("value=\"\""), "{default}");
    }

    #[test]
    fn lists_and_alternatives_say_what_they_take() {
        let list = json!({"type": "array", "items": {"enum": ["a", "b", "c"]}, "minItems": 2});
        let list = shown(list, None);
        assert!(list.contains("list of a, b or c, at least 2"), "{list}");
        assert!(list.contains("JSON, such as ["), "{list}");
        let titled =
            json!({"oneOf": [{"const": "1", "title": "One <a>"}, {"const": 2, "title": "Two"}]});
        let titled = shown(titled, Some(json!("1")));
        assert!(
            titled.contains("<option value=\"&quot;1&quot;\" selected>One &lt;a&gt;"),
            "{titled}"
        );
        assert!(titled.contains("<option value=\"2\">Two"), "{titled}");
        let either = shown(json!({"type": ["string", "integer"]}), None);
        assert!(either.contains("string or integer"), "{either}");
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
