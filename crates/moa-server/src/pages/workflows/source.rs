//! The text of a workflow, with what is wrong in it.

use std::collections::BTreeMap;

use axum::extract::State;
use maud::{Markup, html};
use moa_view::text;
use serde_json::Value as Json;

use super::{Shown, Version, frame, problems};
use crate::App;
use crate::api::workflows::redacted;
use crate::auth::Identity;
use crate::error::Result;
use crate::extract::{Path, Query};
use crate::pages::parts;

/// The text.
pub async fn show(
    State(app): State<App>,
    who: Identity,
    Path(workflow): Path<String>,
    Query(asked): Query<Version>,
) -> Result<Markup> {
    let shown = Shown::find(&app, &workflow, asked.version).await?;
    // Mistakes are those of the file, which is not what is served while it has errors.
    let own = shown.file.as_ref().filter(|file| file.broken && shown.version.is_none());
    let own = own.and_then(|file| Some(file.file.as_ref()?.0.as_str()));
    let served = shown.plan.as_ref().map(|(_, source)| source.as_str());
    let source = match own.or(served) {
        Some(source) => Some(redacted(&app, source).await),
        None => None,
    };
    let problems_of =
        |found: &Json| Some((found["line"].as_u64()?, found["message"].as_str()?.to_owned()));
    let marked: BTreeMap<u64, String> = shown.problems().iter().filter_map(problems_of).collect();
    let body = html! {
        (problems(&shown))
        @if let (Some(_), Some((plan, _))) = (own, &shown.plan) {
            p class="dim" {
                "This is the file. What is served is "
                a href={ "?version=" (plan.hash) } { "the version before" } "."
            }
        }
        @match &source {
            None => (parts::empty("Nothing is served", &html! { "Its file can't be read." })),
            Some(source) => {
                pre class="source" tabindex="0" {
                    @for (i, line) in source.lines().enumerate() {
                        @let number = i as u64 + 1;
                        @let found = marked.get(&number);
                        span id={ "L" (number) } title=[found]
                            class={ "line" (if found.is_some() { " bad" } else { "" }) } {
                            span class="at" { (number) } (text::safe(line)) "\n"
                        }
                    }
                }
            },
        }
    };
    let version = super::served(&shown);
    let more = if version.is_empty() { "?" } else { "&" };
    let json = format!("/api/v1/workflows/{}{version}{more}source=true", shown.name);
    Ok(frame(&app, &who, &shown, "/source", Some(json), None, body))
}
