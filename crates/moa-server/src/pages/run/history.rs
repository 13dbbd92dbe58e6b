//! What happened in a run, event by event; each leads to the run as it was then.

use axum::extract::State;
use maud::{Markup, html};
use moa_core::time::Millis;
use moa_view::events::{Names, told, type_of};
use moa_view::text;
use serde::Deserialize;

use super::{Shown, frame, step};
use crate::App;
use crate::auth::Identity;
use crate::error::Result;
use crate::extract::{Path, Query};
use crate::pages::{parts, prose};

/// Commits of a page.
const COMMITS: usize = 200;

/// Events of one commit.
const EVENTS: usize = 50;

/// Which part.
#[derive(Debug, Default, Deserialize)]
pub struct Part {
    /// Behind this version.
    #[serde(default)]
    after: u64,
}

/// How long after its start something happened: of what is over, "18s ago" would say the same of all.
fn after(shown: &Shown, at: Millis) -> Markup {
    let begun = shown.run.row.created_at;
    html! { time datetime=(at) title=(at) { (text::duration(at.since(begun))) } }
}

/// The history of a run.
pub async fn show(
    State(app): State<App>,
    who: Identity,
    Path(run): Path<String>,
    Query(part): Query<Part>,
) -> Result<Markup> {
    let shown = Shown::find(&app, &run, None).await?;
    let rows = app.reader().views.history(shown.id(), part.after, COMMITS).await?;
    // A part may be shorter than asked for.
    let more = rows.last().is_some_and(|row| row.version < shown.run.version);
    let mut names = Names::default();
    let mut lines = Vec::new();
    for row in &rows {
        let (workflow, steps) = names.of(app.reader(), row).await?;
        if row.events.len() > EVENTS {
            let left = row.events.len() - EVENTS;
            lines.push(html! {
                tr { td colspan="5" class="dim" { "… of version " (row.version) ", " (left) " more" } }
            });
        }
        // One commit may hold thousands: the last of them tell most.
        for event in told(row, &workflow, &steps).skip(row.events.len().saturating_sub(EVENTS)) {
            lines.push(html! {
                tr data-key={ (event.seq) "." (event.index) } {
                    td class="nowrap num" { (after(&shown, event.at)) }
                    td { a href={ (parts::run_path(event.run)) "?at=" (event.version) }
                        title="The run as it was then" { (event.version) } }
                    td { (type_of(event.event)) }
                    td {
                        @if let Some(name) = event.step {
                            a href=(step::path(event.run, name)) { (name) }
                        }
                    }
                    td class="wide over" { span class="cut" { (prose::line(&event.remark())) } }
                }
            });
        }
    }
    let body = html! {
        div class="table" {
            table class="stack" {
                thead { tr {
                    th class="num" { "After" } th { "Version" } th { "Event" } th { "Step" } th { "What" }
                } }
                tbody { @for line in &lines { (line) } }
            }
        }
        @if lines.is_empty() {
            (parts::empty("No history", &html! {
                "It is deleted by its age: " code { "retention.history" } " in moa.yaml says when."
            }))
        }
        @if let (true, Some(last)) = (more, rows.last()) {
            p { a class="button" href={ "?after=" (last.version) } { "Later events" } }
        }
    };
    let json = format!("/api/v1/runs/{}/history?after={}&limit={COMMITS}", shown.id(), part.after);
    Ok(frame(&app, &who, &shown, "/history", json, body))
}
