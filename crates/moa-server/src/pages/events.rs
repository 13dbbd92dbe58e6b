//! What happens in all runs, as it happens.

use axum::extract::State;
use maud::{Markup, html};
use moa_core::time::Millis;
use moa_view::events::{Names, Patterns, Picked, Told, type_of};
use moa_view::now;
use serde::Deserialize;

use super::run::step;
use super::{Page, live, page, parts};
use crate::App;
use crate::api::events::Parts;
use crate::auth::Identity;
use crate::error::Result;
use crate::extract::Query;

/// Commits looked at.
const COMMITS: usize = 400;
/// Events listed.
const EVENTS: usize = 200;
/// Events listed of one commit: it may hold thousands, and its run's page shows them.
const LINES_A_COMMIT: usize = 100;
/// Bytes of events looked at, about.
const BYTES: usize = 4 << 20;
/// What people filter by most.
const USUAL: &[(&str, &str)] = &[
    ("", "All"),
    ("run.*", "Runs"),
    ("step.failed,attempt.failed,run.failed", "Failures"),
    ("signal.*,event.*", "Signals and events"),
];

/// Which events.
#[derive(Debug, Default, Deserialize)]
pub struct Wanted {
    /// Types with commas.
    #[serde(default)]
    types: String,
    /// Before this event number.
    #[serde(default)]
    before: Option<u64>,
}

/// The stream.
pub async fn show(
    State(app): State<App>,
    who: Identity,
    Query(asked): Query<Wanted>,
) -> Result<Markup> {
    let live = if asked.before.is_none() { live::ask(&app).await? } else { None };
    let now = now();
    let patterns = Patterns::read(&asked.types);
    let mut upto = asked.before.map_or(u64::MAX, |before| before.saturating_sub(1));
    let lines = lines(&app, &mut upto, &patterns, now).await?;
    let body = body(&asked, &lines, upto);
    let shown = Page {
        nav: "/events",
        title: "Events",
        json: Some("/api/v1/events".into()),
        live,
        body: Some(body),
        ..Page::default()
    };
    Ok(page(&app, &who, shown))
}

/// The newest events that are wanted, until there are enough of them or enough was looked at; leaves
/// in `upto` the event number from which on nothing was, and 0 when there is nothing more.
async fn lines(app: &App, upto: &mut u64, patterns: &Patterns, now: Millis) -> Result<Vec<Markup>> {
    let (mut names, mut lines) = (Names::default(), Vec::new());
    let mut parts = Parts::new(None, true, COMMITS, BYTES);
    while lines.len() < EVENTS
        && let Some(rows) = parts.next(app, *upto).await?
    {
        if rows.is_empty() {
            *upto = 0;
        }
        for row in &rows {
            if lines.len() >= EVENTS {
                break;
            }
            *upto = row.seq.saturating_sub(1);
            let mut fit = patterns.of(row)?;
            fit.drain(..fit.len().saturating_sub(LINES_A_COMMIT));
            if !fit.is_empty() {
                let picked = Picked::read(app.reader(), &mut names, row, &fit).await?;
                lines.extend(picked.told().rev().map(|event| line(&event, now)));
            }
        }
        if *upto == 0 {
            break;
        }
    }
    Ok(lines)
}

fn line(event: &Told<'_>, now: Millis) -> Markup {
    html! {
        tr data-key={ (event.seq) "." (event.index) } {
            td class="nowrap" { (parts::time(event.at, now)) }
            td { (type_of(event.event)) }
            td { (event.workflow) " " (parts::run_link(event.run)) }
            td { @if let Some(name) = event.step {
                a href=(step::path(event.run, name)) { (name) }
            } }
            td class="wide over" { span class="cut" { (parts::line(&event.remark())) } }
        }
    }
}

/// The filters and the list.
fn body(asked: &Wanted, lines: &[Markup], after: u64) -> Markup {
    html! {
        form class="filter" role="search" action="/events" {
            label class="unseen" for="types" { "Types" }
            input id="types" type="search" name="types" value=(asked.types) autocomplete="off"
                placeholder="step.failed, run.*";
            button class="button" { "Filter" }
        }
        nav class="chips" aria-label="Usual filters" {
            @for (types, name) in USUAL {
                a href={ "/events" (if types.is_empty() { "" } else { "?types=" }) (types) }
                    aria-current=[(asked.types == *types).then_some("true")] { (name) }
            }
        }
        @if lines.is_empty() {
            (parts::empty("No such event", &html! { "Among the newest " (COMMITS) " commits." }))
        } @else {
            div class="table" {
                table class="stack" {
                    thead { tr {
                        th { "When" } th { "Event" } th { "Run" } th { "Step" } th { "What" }
                    } }
                    tbody { @for line in lines { (line) } }
                }
            }
        }
        @if after > 0 {
            form action="/events" {
                input type="hidden" name="types" value=(asked.types);
                input type="hidden" name="before" value=(after + 1);
                button class="button" { "Older events" }
            }
        }
    }
}
