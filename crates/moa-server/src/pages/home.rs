//! The overview.

use axum::extract::State;
use maud::{Markup, html};
use moa_ports::views::RunFilter;
use moa_view::{now, text};

use super::page;
use crate::App;
use crate::auth::Identity;
use crate::error::Result;

/// Runs shown.
const RUNS: usize = 20;

/// What goes on, and what happened last.
pub async fn show(State(app): State<App>, who: Identity) -> Result<Markup> {
    let views = &app.reader().views;
    let runs = views.runs(&RunFilter { limit: RUNS, ..RunFilter::default() }).await?;
    let totals = views.totals().await?;
    let status = app.control().status().await;
    let now = now();
    let body = html! {
        @if let Some(why) = &status.engine.degraded {
            p class="warning" { "The store can't be written: " (why) }
        }
        dl class="numbers" {
            @for (status, count) in &totals.runs { div { dt { (status) } dd { (count) } } }
            div { dt { "attempts running" } dd { (totals.running) } }
        }
        table {
            thead { tr { th { "Run" } th { "Workflow" } th { "Status" } th { "Created" } } }
            tbody {
                @for run in &runs {
                    tr {
                        td { a href={ "/api/v1/runs/" (run.run) } { code { (run.run) } } }
                        td { (run.workflow) }
                        td class={ "status " (run.status.as_str()) } { (run.status.as_str()) }
                        td title=(run.created_at) { (text::relative(run.created_at, now)) }
                    }
                }
                @if runs.is_empty() { tr { td colspan="4" { "No runs yet." } } }
            }
        }
    };
    Ok(page(&app, &who, "/", "Overview", &body))
}
