//! The API's document as pages to browse: which calls there are, who may make them, what they take and
//! what they answer.
//!
//! Made on the server from the document that programs get, so that both say the same. Nothing is
//! loaded from elsewhere.

use axum::extract::State;
use maud::{Markup, html};
use serde_json::Value as Json;

use super::{Page, page, parts};
use crate::App;
use crate::auth::Identity;
use crate::error::{Code, Problem, Result};

/// How deep types are written out.
const DEPTH_MAX: usize = 6;

/// A call.
struct Call<'a> {
    method: String,
    path: &'a str,
    operation: &'a Json,
}

impl Call<'_> {
    fn text(&self, key: &str) -> &str {
        self.operation[key].as_str().unwrap_or_default()
    }

    fn id(&self) -> &str {
        self.text("operationId")
    }
}

fn tag_of(operation: &Json) -> &str {
    operation["tags"][0].as_str().unwrap_or("other")
}

/// The calls of a document, by tag.
fn calls(document: &Json) -> Vec<(&str, Vec<Call<'_>>)> {
    let mut groups: Vec<(&str, Vec<Call<'_>>)> = Vec::new();
    let paths = document["paths"].as_object();
    for (path, item) in paths.into_iter().flatten() {
        for (method, operation) in item.as_object().into_iter().flatten() {
            let call = Call { method: method.to_ascii_uppercase(), path, operation };
            let tag = tag_of(operation);
            match groups.iter_mut().find(|(known, _)| *known == tag) {
                Some((_, calls)) => calls.push(call),
                None => groups.push((tag, vec![call])),
            }
        }
    }
    groups.sort_by_key(|(tag, _)| *tag);
    groups
}

/// All calls.
pub async fn show(State(app): State<App>, who: Identity) -> Result<Markup> {
    let broken = || Problem::new(Code::Internal, "the API's document can't be read");
    let document: Json = serde_json::from_slice(app.document()).map_err(|_| broken())?;
    let groups = calls(&document);
    let body = html! {
        p class="about" { (parts::said(document["info"]["description"].as_str().unwrap_or_default())) }
        nav class="chips" aria-label="Parts of the API" {
            @for (tag, calls) in &groups {
                a href={ "#" (tag) } { (tag) " " span class="num" { (calls.len()) } }
            }
        }
        @for (tag, calls) in &groups {
            h2 id=(tag) { (tag) }
            div class="calls" { @for call in calls { (one(call, &document, app.base_url())) } }
        }
    };
    Ok(page(
        &app,
        &who,
        Page {
            nav: "/settings",
            title: "The API",
            above: vec![("/settings".into(), "Settings".into())],
            json: Some("/api/v1/openapi.json".into()),
            body: Some(body),
            ..Page::default()
        },
    ))
}

fn one(call: &Call<'_>, document: &Json, base: &str) -> Markup {
    let about = call.text("description");
    html! {
        details class="card" id=(call.id()) data-key=(call.id()) {
            summary {
                code { span class="verb" { (call.method) } " " (call.path) } " " (call.text("summary"))
            }
            @for line in about.split("\n\n").filter(|line| !line.is_empty()) { p { (parts::said(&line.replace('\n', " "))) } }
            (parameters(call))
            @if let Some(content) = call.operation["requestBody"]["content"].as_object() {
                h3 { "Body" }
                @for (kind, said) in content {
                    p { code { (kind) } }
                    pre class="value" tabindex="0" { (shape(&said["schema"], document, 0)) }
                }
            }
            h3 { "Answers" }
            @for (status, response) in call.operation["responses"].as_object().into_iter().flatten() {
                p { code { (status) } " " (parts::said(response["description"].as_str().unwrap_or_default())) }
                @for (kind, said) in response["content"].as_object().into_iter().flatten() {
                    @if status != "default" {
                        pre class="value" tabindex="0" {
                            (kind) "\n" (shape(&said["schema"], document, 0))
                        }
                    }
                }
            }
            h3 { "Example" }
            pre class="value" tabindex="0" { (curl(call, document, base)) }
        }
    }
}

fn parameters(call: &Call<'_>) -> Markup {
    let all = call.operation["parameters"].as_array();
    html! {
        @if let Some(all) = all.filter(|all| !all.is_empty()) {
            h3 { "Parameters" }
            div class="table" { table {
                thead { tr { th { "Name" } th { "In" } th { "Type" } th { "Meaning" } } }
                tbody {
                    @for one in all {
                        tr {
                            td {
                                code { (one["name"].as_str().unwrap_or_default()) }
                                @if one["required"] == true { " " span class="dim" { "required" } }
                            }
                            td { (one["in"].as_str().unwrap_or_default()) }
                            td { (word(&one["schema"])) }
                            td { (parts::said(one["description"].as_str().unwrap_or_default())) }
                        }
                    }
                }
            } }
        }
    }
}

/// The word for a type.
fn word(schema: &Json) -> String {
    match &schema["type"] {
        Json::String(kind) => kind.clone(),
        Json::Array(kinds) => {
            let kinds = kinds.iter().filter_map(Json::as_str).filter(|kind| *kind != "null");
            kinds.collect::<Vec<_>>().join(" or ")
        }
        _ => schema["$ref"].as_str().and_then(|r| r.rsplit('/').next()).unwrap_or("any").into(),
    }
}

/// The schema that a reference leads to.
fn resolved<'a>(schema: &'a Json, document: &'a Json) -> &'a Json {
    let name = schema["$ref"].as_str().and_then(|r| r.rsplit('/').next());
    name.map_or(schema, |name| &document["components"]["schemas"][name])
}

/// A type written out as a document would stand, with what each key means behind it.
fn shape(schema: &Json, document: &Json, depth: usize) -> String {
    let own = resolved(schema, document);
    for several in ["oneOf", "anyOf"] {
        let list = own[several].as_array().into_iter().flatten();
        let mut list = list.filter(|one| one["type"] != "null");
        if let Some(one) = list.next() {
            return shape(one, document, depth);
        }
    }
    if let Some(words) = own["enum"].as_array() {
        return words.iter().map(Json::to_string).collect::<Vec<_>>().join(" | ");
    }
    if depth >= DEPTH_MAX {
        return "…".into();
    }
    let indent = "  ".repeat(depth + 1);
    if let Some(properties) = own["properties"].as_object() {
        let line = |(name, property): (&String, &Json)| {
            let about = property["description"].as_str().unwrap_or_default();
            let about = about.lines().next().map_or(String::new(), |line| format!("  # {line}"));
            let inner = shape(property, document, depth + 1);
            // What a key means stands before a type of several lines.
            match inner.contains('\n') {
                true => format!("{indent}{name}:{about}\n{indent}  {inner}\n"),
                false => format!("{indent}{name}: {inner}{about}\n"),
            }
        };
        let lines: String = properties.iter().map(line).collect();
        return format!("{{\n{lines}{}}}", "  ".repeat(depth));
    }
    if own["items"].is_object() {
        return format!("[{}]", shape(&own["items"], document, depth));
    }
    word(own)
}

/// A call as it can be typed.
fn curl(call: &Call<'_>, document: &Json, base: &str) -> String {
    let mut line = "curl -H \"Authorization: Bearer $TOKEN\"".to_owned();
    if call.method != "GET" {
        line.push_str(&format!(" -X {}", call.method));
    }
    let content = call.operation["requestBody"]["content"].as_object();
    if let Some((kind, said)) = content.and_then(|content| content.iter().next()) {
        line.push_str(&format!(" -H 'Content-Type: {kind}'"));
        match kind.ends_with("json") {
            true => {
                let example = example(&said["schema"], document, 0);
                line.push_str(&format!(" \\\n  -d '{}'", example.to_string().replace('\'', "")));
            }
            false => line.push_str(" \\\n  --data-binary @FILE"),
        }
    }
    let path = call.path.replace('{', "$").replace('}', "");
    format!("{line} \\\n  \"{base}{path}\"")
}

/// What has to be in a body.
fn example(schema: &Json, document: &Json, depth: usize) -> Json {
    let own = resolved(schema, document);
    let several = ["oneOf", "anyOf"].into_iter().find_map(|key| own[key].as_array());
    if let Some(one) = several.and_then(|list| list.iter().find(|one| one["type"] != "null")) {
        return example(one, document, depth);
    }
    if let Some(given) = own.get("example").or(own["enum"].get(0)) {
        return given.clone();
    }
    let required = own["required"].as_array().into_iter().flatten().filter_map(Json::as_str);
    match word(own).as_str() {
        _ if depth >= DEPTH_MAX => Json::Null,
        "object" => {
            let of = |name: &str| {
                (name.to_owned(), example(&own["properties"][name], document, depth + 1))
            };
            Json::Object(required.map(of).collect())
        }
        "array" => Json::Array(Vec::new()),
        "integer" | "number" => 1.into(),
        "boolean" => true.into(),
        _ => "…".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_stands_on_the_page_once_and_can_be_typed() {
        let document = serde_json::to_value(crate::table().1).expect("it is JSON");
        let groups = calls(&document);
        let all: Vec<&Call<'_>> = groups.iter().flat_map(|(_, calls)| calls).collect();
        let named: usize = document["paths"]
            .as_object()
            .map_or(0, |paths| paths.values().filter_map(Json::as_object).map(|m| m.len()).sum());
        assert_eq!(all.len(), named);
        for call in all {
            assert_ne!(tag_of(call.operation), "other", "{} {}", call.method, call.path);
            let shown = one(call, &document, "http://moa").into_string();
            assert!(shown.contains(call.path) && shown.contains("curl"), "{shown}");
            assert!(!shown.contains("<script"), "{shown}");
        }
        let typed = groups.iter().flat_map(|(_, calls)| calls);
        let start = typed.into_iter().find(|call| call.id() == "post_api_runs").expect("a call");
        let typed = curl(start, &document, "http://moa");
        assert!(typed.contains("{\"workflow\":\"build-project\"}"), "{typed}");
    }
}
