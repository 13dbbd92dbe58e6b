//! What went into a run and what came out of it; and the whole run to take along.

use axum::extract::State;
use maud::{Markup, html};

use super::{Moment, Shown, document, frame};
use crate::App;
use crate::auth::Identity;
use crate::error::Result;
use crate::extract::{Path, Query};
use crate::pages::parts;

/// Params and output.
pub async fn show(
    State(app): State<App>,
    who: Identity,
    Path(run): Path<String>,
    Query(moment): Query<Moment>,
) -> Result<Markup> {
    let shown = Shown::find(&app, &run, moment.at).await?;
    let row = &shown.run.row;
    let (id, workflow) = shown.called();
    let body = html! {
        div class="cards" {
            section class="card" { h2 { "Params" } (parts::value(&row.params)) }
            section class="card" {
                h2 { "Output" }
                @match row.output.as_deref() {
                    Some(output) => (parts::value(output)),
                    None if row.status.is_terminal() => p class="dim" {
                        "None: the workflow has no " code { "outputs:" } ", or it did not succeed."
                    },
                    None => p class="dim" { "It comes when the run has succeeded." },
                }
            }
        }
        @if let Some(error) = &row.error {
            section class="card" { h2 { "Error" } pre class="value error" { (error.message) } }
        }
        div class="buttons" {
            (parts::download(&who, (&document(&shown), Some(workflow)),
                &format!("run-{id}.json"), "Download the run as JSON"))
            (parts::download(&who, (&format!("/api/v1/runs/{id}/history?limit=1000"), Some(workflow)),
                &format!("history-{id}.json"), "Download its history"))
        }
    };
    let json = document(&shown);
    Ok(frame(&app, &who, &shown, "/data", json, body))
}
