//! Lists of runs: by status, by workflow, by what somebody types.

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use moa_core::ids::Name;
use moa_core::run::RunStatus;
use moa_core::time::Millis;
use moa_core::workflow::{NOTIFY_WORKFLOW, notify_workflow};
use moa_ports::search::{Found, TEXT_CHARS_MAX};
use moa_ports::views::{RunFilter, RunSummary};
use moa_view::{now, text};
use serde::Deserialize;

use super::{Page, bulk, live, page, parts, prose, views};
use crate::App;
use crate::api::runs::list::{cursor, found, name, statuses};
use crate::api::views::ViewFilter;
use crate::auth::Identity;
use crate::error::Result;
use crate::extract::Query;

/// Runs of a page.
const RUNS: usize = 50;

/// Which runs.
#[derive(Debug, Default, Deserialize)]
pub struct Wanted {
    /// Statuses with commas; `open` = all that have not ended.
    #[serde(default)]
    status: String,
    /// Of this workflow.
    #[serde(default)]
    workflow: String,
    /// What somebody looks for: digits of an id, a workflow, or words that a run holds.
    #[serde(default)]
    q: String,
    /// Started by this run.
    #[serde(default)]
    parent: String,
    /// Older than this run.
    #[serde(default)]
    cursor: String,
}

impl Wanted {
    /// What is wanted, without the page of it.
    fn filter(&self) -> ViewFilter {
        ViewFilter {
            status: self.status.clone(),
            workflow: self.workflow.clone(),
            q: self.q.clone(),
            parent: self.parent.clone(),
        }
    }

    /// The same, with another status.
    fn with_status(&self, status: &str) -> ViewFilter {
        ViewFilter { status: status.to_owned(), ..self.filter() }
    }
}

/// The list.
pub async fn show(
    State(app): State<App>,
    who: Identity,
    Query(mut wanted): Query<Wanted>,
) -> Result<Response> {
    let names = workflows(&app).await?;
    wanted.q = wanted.q.trim().to_owned();
    if let Some(path) = run_of(&app, &wanted.q).await {
        return Ok(Redirect::to(&path).into_response());
    }
    if names.iter().any(|name| name.as_str() == wanted.q) {
        wanted.workflow = std::mem::take(&mut wanted.q);
    }
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let mut filter = RunFilter {
        statuses: statuses(&wanted.status)?,
        workflow: given(&wanted.workflow).as_deref().map(name).transpose()?,
        before: given(&wanted.cursor).as_deref().map(cursor).transpose()?,
        except: wanted.workflow.is_empty().then(notify_workflow),
        limit: RUNS,
        ..RunFilter::default()
    };
    if let Some(parent) = given(&wanted.parent) {
        filter.parent = Some(app.reader().find(&parent).await?);
    }
    let live = if filter.before.is_none() { live::ask(&app).await? } else { None };
    let Found { runs, next } = found(&app, filter, &wanted.q).await?;
    let totals = app.reader().views.totals().await?;
    let next = next.map(|run| views::query(&wanted.filter(), &run.to_string()));
    let may = who.may_ask("GET", "/runs/bulk", None) && who.may_ask("POST", "/runs/bulk", None);
    let body = html! {
        (search(&wanted, &names))
        (views::chips(&app, &who, &wanted.filter()).await?)
        nav class="chips" aria-label="By status" {
            @let all = totals.runs.values().sum::<u64>();
            @let open = open(&totals.runs);
            (chip(&wanted, "", "All", Some(all)))
            (chip(&wanted, "open", "Open", Some(open)))
            @for status in RunStatus::ALL {
                @let word = status.as_str();
                (chip(&wanted, word, word, totals.runs.get(word).copied()))
            }
        }
        @if may && !runs.is_empty() {
            form action="/runs/bulk" { (table(&runs, now(), true)) (bulk::choice()) }
        } @else { (table(&runs, now(), false)) }
        @if runs.is_empty() { (nothing(&wanted, next.is_some())) }
        @if let Some(next) = next {
            p { a class="button" rel="next" href={ "/runs" (next) } {
                @if wanted.q.is_empty() { "Older runs" } @else { "Look through older runs" }
            } }
        }
    };
    let json = format!("/api/v1/runs{}", views::query(&wanted.filter(), &wanted.cursor));
    let title = "Runs";
    let shown =
        Page { nav: "/runs", title, json: Some(json), live, body: Some(body), ..Page::default() };
    Ok(page(&app, &who, shown).into_response())
}

/// How many have not ended.
pub fn open(runs: &std::collections::BTreeMap<String, u64>) -> u64 {
    let open = RunStatus::ALL.into_iter().filter(|status| !status.is_terminal());
    open.filter_map(|status| runs.get(status.as_str())).sum()
}

/// The workflows that have versions in the store.
async fn workflows(app: &App) -> Result<Vec<Name>> {
    let files = app.control().workflows().await?;
    Ok(files.into_iter().map(|file| file.name).collect())
}

/// The run that somebody means by digits of its id.
async fn run_of(app: &App, words: &str) -> Option<String> {
    let digits: String = words.chars().filter(|c| *c != '-').collect();
    let is_id = digits.len() >= 4 && digits.chars().all(|c| c.is_ascii_hexdigit());
    if words != "last" && !is_id {
        return None;
    }
    app.reader().find(words).await.ok().map(parts::run_path)
}

fn search(wanted: &Wanted, names: &[Name]) -> Markup {
    html! {
        form class="filter" role="search" action="/runs" {
            label class="unseen" for="q" { "Search" }
            input id="q" type="search" name="q" value=(wanted.q) autocomplete="off"
                placeholder="Run id, workflow, error, param  ( / )" maxlength=(TEXT_CHARS_MAX);
            label class="unseen" for="workflow" { "Workflow" }
            select id="workflow" name="workflow" {
                option value="" { "All workflows" }
                @for name in names {
                    option value=(name) selected[name.as_str() == wanted.workflow] { (name) }
                }
                // Not among the others: they are moa's own.
                option value=(NOTIFY_WORKFLOW) selected[wanted.workflow == NOTIFY_WORKFLOW] {
                    "Notifications (" (NOTIFY_WORKFLOW) ")"
                }
            }
            @if !wanted.status.is_empty() {
                input type="hidden" name="status" value=(wanted.status);
            }
            button class="button" { "Search" }
        }
    }
}

fn chip(wanted: &Wanted, status: &str, name: &str, count: Option<u64>) -> Markup {
    html! {
        a href=(views::path(&wanted.with_status(status)))
            aria-current=[(wanted.status == status).then_some("true")] {
            (name) " "
            @if wanted.workflow.is_empty() && wanted.q.is_empty() { span class="num" { (count.unwrap_or(0)) } }
        }
    }
}

/// What is said of a page without runs; `more`: there are some that were not looked through.
fn nothing(wanted: &Wanted, more: bool) -> Markup {
    if !wanted.q.is_empty() {
        let title = if more { "Nothing found so far" } else { "Nothing fits" };
        return parts::empty(
            title,
            &html! {
                p { "No run " @if more { "of those that were looked through " }
                    "holds “" (parts::line(&wanted.q)) "” in its workflow, error, params or who started it." }
                @if !more { a href="/runs" { "All runs" } }
            },
        );
    }
    let filtered = wanted.filter() != ViewFilter::default() || !wanted.cursor.is_empty();
    match filtered {
        true => parts::empty("No such runs", &html! { a href="/runs" { "All runs" } }),
        false => parts::empty(
            "No runs yet",
            &html! {
                p { "Start one from " a href="/workflows" { "a workflow's page" } ", with "
                    code { "moa run WORKFLOW" } ", or by "
                    a href="/schedules" { "a schedule" } "." }
            },
        ),
    }
}

/// Runs as a table, with boxes to check.
pub fn table(runs: &[RunSummary], now: Millis, boxes: bool) -> Markup {
    html! {
        @if !runs.is_empty() {
            div class="table" {
                table class="stack" {
                    thead { tr {
                        @if boxes { th {
                            input type="checkbox" data-all="" aria-label="Check all runs";
                        } }
                        th { "Run" } th { "Status" } th { "Workflow" } th { "Started" }
                        th class="num" { "Took" } th { "By" } th { "Error" }
                    } }
                    tbody { @for run in runs { (row(run, now, boxes)) } }
                }
            }
        }
    }
}

fn row(run: &RunSummary, now: Millis, boxes: bool) -> Markup {
    html! {
        tr data-to=(parts::run_path(run.run)) data-key=(run.run) {
            @if boxes { td class="spare" {
                input type="checkbox" name="run" value=(run.run)
                    aria-label={ "Check run " (run.run.short()) };
            } }
            td { (parts::run_link(run.run)) }
            td { (parts::run_status(run.status)) }
            td class="one" { a href={ "/runs?workflow=" (run.workflow) } title=(run.workflow) { (run.workflow) } }
            td class="nowrap" { (parts::time(run.started_at.unwrap_or(run.created_at), now)) }
            td class="num spare" { (parts::took(run.started_at, run.finished_at, now)) }
            td class="dim spare cause" title=(text::safe_line(&run.cause)) { span class="cut" { (prose::line(&run.cause)) } }
            td class="wide over" {
                @if let Some(error) = &run.error {
                    span class="error cut" { (parts::line(&text::cut(error, 300))) }
                }
            }
        }
    }
}
