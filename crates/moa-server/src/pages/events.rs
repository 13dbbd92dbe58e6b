//! What happens in all runs, as it happens.

use axum::extract::State;
use maud::{Markup, html};
use moa_core::time::Millis;
use moa_view::events::{Names, Told, told, type_of};
use moa_view::now;
use serde::Deserialize;

use super::run::step;
use super::{Page, live, page, parts};
use crate::App;
use crate::api::events::{PART, patterns, wanted};
use crate::auth::Identity;
use crate::error::Result;
use crate::extract::Query;

/// Commits looked at.
const COMMITS: usize = 400;
/// Events listed.
const EVENTS: usize = 200;
/// Events listed of one commit: it may hold thousands, and its run's page shows them.
const LINES_A_COMMIT: usize = 100;
/// Events looked at, about.
const LOOKED: usize = 20_000;
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
    let patterns = patterns(Some(&asked.types));
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
async fn lines(app: &App, upto: &mut u64, patterns: &[String], now: Millis) -> Result<Vec<Markup>> {
    let (mut names, mut lines) = (Names::default(), Vec::new());
    let (mut commits, mut looked) = (0, 0);
    while lines.len() < EVENTS && commits < COMMITS && looked < LOOKED {
        let rows = app.reader().views.latest(*upto, PART.0, PART.1).await?;
        *upto = rows.last().map_or(0, |oldest| oldest.seq.saturating_sub(1));
        if rows.is_empty() {
            break;
        }
        for row in &rows {
            commits += 1;
            looked += row.events.len();
            if !row.events.iter().any(|event| wanted(patterns, type_of(event))) {
                continue;
            }
            let (workflow, steps) = names.of(app.reader(), row).await?;
            let fit: Vec<_> = told(row, &workflow, &steps)
                .filter(|event| wanted(patterns, type_of(event.event)))
                .collect();
            lines.extend(fit.iter().rev().take(LINES_A_COMMIT).map(|event| line(event, now)));
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
