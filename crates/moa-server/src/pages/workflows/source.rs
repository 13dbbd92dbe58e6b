//! The text of a workflow, with what is wrong in it.

use std::collections::BTreeMap;

use axum::extract::State;
use maud::{Markup, html};
use moa_view::text;

use super::{Shown, Version, frame, problems, query};
use crate::App;
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
    // Lines of a file with errors are not those of the text that is served.
    let is_broken = shown.file.as_ref().is_some_and(|file| file.broken);
    let marked: BTreeMap<u64, &str> = match is_broken {
        true => BTreeMap::new(),
        false => shown
            .problems()
            .iter()
            .filter_map(|found| Some((found["line"].as_u64()?, found["message"].as_str()?)))
            .collect(),
    };
    let body = html! {
        (problems(&shown))
        @match &shown.plan {
            None => (parts::empty("Nothing is served", &html! { "Its file has errors." })),
            Some((_, source)) => {
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
    let json = format!("/api/v1/workflows/{}/source{}", shown.name, query(&shown));
    Ok(frame(&app, &who, &shown, "/source", Some(json), None, body))
}
