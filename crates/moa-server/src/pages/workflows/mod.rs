//! Workflows: the list, and the page of one.

pub mod form;
mod hidden;
mod pattern;
pub mod source;
pub mod start;
pub mod statistics;
pub mod versions;

use axum::extract::State;
use maud::{Markup, html};
use moa_core::ids::Name;
use moa_core::time::Millis;
use moa_core::workflow::Plan;
use moa_ports::views::{RunFilter, RunSummary};
use moa_view::exit::Failure;
use moa_view::trigger::when;
use moa_view::{is_container, now, reader};
use serde::Deserialize;
use serde_json::Value as Json;

use super::filled::Filled;
use super::{Page, graph, live, page, parts, runs, schedules};
use crate::App;
use crate::api::runs::list::name;
use crate::api::triggers::{known, seen};
use crate::api::workflows::{hidden, redacted_plan};
use crate::auth::Identity;
use crate::auth::scope::Resource;
use crate::control::FileWorkflow;
use crate::error::{Problem, Result};
use crate::extract::{Path, Query};

/// Runs on the page of a workflow.
const RUNS: usize = 8;
/// Triggers on the page of a workflow.
const TRIGGERS: usize = 6;
/// Workflows whose last run is looked up for the list.
const LAST_RUNS: usize = 200;

/// Which version.
#[derive(Debug, Default, Deserialize)]
pub struct Version {
    /// A label or the start of a hash; what the file says now when not given.
    #[serde(default)]
    pub version: Option<String>,
}

/// A workflow with what its pages need.
pub struct Shown {
    /// Its id.
    pub name: Name,
    /// What its file says; `None` = there is no file, only versions that are kept.
    pub file: Option<FileWorkflow>,
    /// What is shown of it, and the text that it was made from; `None` = its file never had none
    /// but errors.
    pub plan: Option<(Plan, String)>,
    /// Which version was asked for.
    pub version: Option<String>,
}

impl Shown {
    /// Finds it.
    ///
    /// # Errors
    /// There is none, or no such version of it.
    pub async fn find(app: &App, text: &str, version: Option<String>) -> Result<Self> {
        let name = name(text)?;
        let file = app.control().workflow(name.clone()).await?;
        let kept = match (&version, &file) {
            (Some(label), _) => Some(app.reader().version(&name, Some(label)).await?),
            (None, None) => {
                let kept = app.reader().views.workflows(Some(&name)).await?;
                let unknown = || Failure::not_found(format!("there is no workflow {name}"));
                Some(kept.into_iter().next().ok_or_else(unknown)?)
            }
            (None, Some(_)) => None,
        };
        let plan = match kept {
            Some(kept) => Some((reader::plan(&kept)?, kept.source)),
            None => file.as_ref().and_then(|file| file.served.clone()),
        };
        let plan = match plan {
            Some((plan, source)) => Some((redacted_plan(app, plan).await?, source)),
            None => None,
        };
        Ok(Self { name, file, plan, version })
    }

    /// What is wrong with its file, when that is what is shown.
    pub fn problems(&self) -> &[Json] {
        match (&self.file, &self.version) {
            (Some(file), None) => &file.problems,
            _ => &[],
        }
    }

    /// Its plan.
    ///
    /// # Errors
    /// Its file has nothing but errors.
    pub fn plan(&self) -> Result<&Plan> {
        let plan = self.plan.as_ref().map(|(plan, _)| plan);
        plan.ok_or_else(|| {
            let text = format!("the file of workflow {} has errors", self.name);
            Problem::new(crate::error::Code::InvalidFiles, text)
        })
    }
}

/// The list.
pub async fn show(State(app): State<App>, who: Identity) -> Result<Markup> {
    let live = live::ask(&app).await?;
    let files = hidden(&app, app.control().workflows().await?, |_| true).await?;
    let now = now();
    let mut rows = Vec::new();
    for (i, file) in files.iter().enumerate() {
        let seen = who.sees(Resource::Runs, Some(file.name.as_str()));
        let last = match i < LAST_RUNS && seen {
            true => last_run(&app, &file.name).await?,
            false => None,
        };
        rows.push(row(file, last.as_ref(), seen, now));
    }
    let body = html! {
        @if rows.is_empty() {
            (parts::empty("No workflows yet", &html! {
                p { "Write " code { "workflows/hello.yaml" } ":" }
                pre tabindex="0" { "steps:\n  - {id: hello, run: echo hello}" }
                p { "It appears here as soon as it is saved. " code { "moa init --list" }
                    " lists templates." }
            }))
        } @else {
            div class="table" {
                table class="stack" {
                    thead { tr {
                        th { "Workflow" } th { "Last run" } th { "Title" } th { "Version" }
                        th class="num" { "Steps" }
                    } }
                    tbody { @for row in &rows { (row) } }
                }
            }
        }
    };
    let shown = Page {
        nav: "/workflows",
        title: "Workflows",
        json: Some("/api/v1/workflows?limit=500".into()),
        live,
        body: Some(body),
        ..Page::default()
    };
    Ok(page(&app, &who, shown))
}

async fn last_run(app: &App, workflow: &Name) -> Result<Option<RunSummary>> {
    Ok(last_runs(app, workflow, 1).await?.into_iter().next())
}

async fn last_runs(app: &App, workflow: &Name, limit: usize) -> Result<Vec<RunSummary>> {
    let filter = RunFilter { workflow: Some(workflow.clone()), limit, ..RunFilter::default() };
    Ok(app.reader().views.runs(&filter).await?)
}

fn row(file: &FileWorkflow, last: Option<&RunSummary>, seen: bool, now: Millis) -> Markup {
    let plan = file.served.as_ref().map(|(plan, _)| plan);
    let path = format!("/workflows/{}", file.name);
    let steps = |plan: &Plan| plan.steps.iter().filter(|step| !is_container(step)).count();
    html! {
        tr data-to=(path) data-key=(file.name) {
            td {
                a href=(path) { (file.name) }
                @if file.broken {
                    div class="failed" { span class="sign" aria-hidden="true" { "✗ " } "mistakes in its file" }
                }
            }
            td class="nowrap" {
                @match last {
                    Some(run) => {
                        (parts::run_status(run.status)) " "
                        (parts::time(run.started_at.unwrap_or(run.created_at), now))
                    },
                    None => @if seen { span class="dim" { "never ran" } },
                }
            }
            td class="wide over" {
                @if let Some(plan) = plan {
                    @if plan.title != file.name.as_str() { (parts::line(&plan.title)) }
                    @if let Some(about) = &plan.description {
                        div class="dim cut" { (parts::line(about)) }
                    }
                }
            }
            td class="spare" { @if let Some(plan) = plan {
                @if let Some(label) = &plan.version { (label) " " }
                code class="dim" { (plan.hash.short()) }
            } }
            td class="num spare" { @if let Some(plan) = plan { (steps(plan)) } }
        }
    }
}

/// A workflow.
pub async fn one(
    State(app): State<App>,
    who: Identity,
    Path(workflow): Path<String>,
    Query(asked): Query<Version>,
) -> Result<Markup> {
    let shown = Shown::find(&app, &workflow, asked.version).await?;
    whole(&app, &who, &shown, None).await
}

/// All of a workflow; `filled`: its form was refused.
pub async fn whole(
    app: &App,
    who: &Identity,
    shown: &Shown,
    filled: Option<&Filled>,
) -> Result<Markup> {
    // The answer to a form is no page that can be asked for again.
    let live = if filled.is_none() { live::ask(app).await? } else { None };
    let name = &shown.name;
    let sees_runs = who.sees(Resource::Runs, Some(name.as_str()));
    let starts = who.may_ask("POST", &form::path(name), None);
    let plan = shown.plan.as_ref().map(|(plan, _)| plan);
    let lines = |step: &moa_core::workflow::PlanStep| {
        Some(format!("/workflows/{name}/source{}#L{}", query(shown), step.line))
    };
    let body = html! {
        @if let Some(about) = plan.and_then(|plan| plan.description.as_ref()) {
            p class="about" { (parts::line(about)) }
        }
        (problems(shown))
        (triggers(app, who, name).await?)
        @if let Some(plan) = plan { (graph::of_plan(plan, lines)) }
        div class="cards" {
            @if let Some(plan) = plan.filter(|_| starts) {
                section class="card" { h2 { "Start a run" } (form::form(who, plan, shown, filled)) }
            }
            @if sees_runs { (statistics::card(app, name).await?) }
        }
        @if sees_runs { (last_card(app, name).await?) }
    };
    let json = Some(format!("/api/v1/workflows/{name}{}", served(shown)));
    Ok(frame(app, who, shown, "", json, live, body))
}

/// What starts it by itself.
async fn triggers(app: &App, who: &Identity, name: &Name) -> Result<Markup> {
    if !who.sees(Resource::Triggers, Some(name.as_str())) {
        return Ok(html! {});
    }
    let all = seen(app, who, known(app, Some(name.clone())).await?).await?;
    let now = now();
    Ok(html! {
        @if !all.is_empty() {
            dl class="facts" {
                @for trigger in all.iter().take(TRIGGERS) {
                    div { dt { "Started by" } dd {
                        a href=(schedules::path(trigger)) { (trigger.spec.title()) } ": "
                        code { (parts::line(&when(&trigger.spec))) }
                        @if trigger.word().0 != "active" { ", " span class="waiting" { (trigger.word().0) } }
                        @else if let Some(next) = trigger.next(now) { ", next " (parts::time(next.at, now)) }
                    } }
                }
                @if all.len() > TRIGGERS { div { dt { "… and " (all.len() - TRIGGERS) " more" } } }
            }
        }
    })
}

async fn last_card(app: &App, name: &Name) -> Result<Markup> {
    let last = last_runs(app, name, RUNS).await?;
    Ok(html! {
        section class="card" {
            h2 { "Last runs" a href={ "/runs?workflow=" (name) } { "all of them" } }
            @if last.is_empty() { (parts::empty("It has never run", &html! {})) }
            (runs::table(&last, now(), false))
        }
    })
}

/// What the call of the API that answers the same ends with: a workflow that has no file has versions.
pub fn served(shown: &Shown) -> String {
    match (&shown.file, &shown.plan) {
        (None, Some((plan, _))) => format!("?version={}", plan.hash),
        _ => query(shown),
    }
}

/// What a link to the same version ends with.
pub fn query(shown: &Shown) -> String {
    let version = shown.version.as_ref().and(shown.plan.as_ref());
    version.map_or_else(String::new, |(plan, _)| format!("?version={}", plan.hash))
}

/// A page about a workflow.
pub fn frame(
    app: &App,
    who: &Identity,
    shown: &Shown,
    part: &str,
    json: Option<String>,
    live: Option<(String, String)>,
    body: Markup,
) -> Markup {
    let path = format!("/workflows/{}", shown.name);
    let tabs = [("", "Workflow"), ("/source", "Source"), ("/versions", "Versions")];
    let title = shown.plan.as_ref().map_or(shown.name.as_str(), |(plan, _)| plan.title.as_str());
    let body = html! {
        nav class="tabs" aria-label="Parts of the workflow" {
            @for (to, name) in tabs {
                a href={ (path) (to) (if to == "/versions" { String::new() } else { query(shown) }) }
                    aria-current=[(to == part).then_some("page")] { (name) }
            }
        }
        (body)
    };
    let beside = html! {
        @if title != shown.name.as_str() { code class="dim" { (shown.name) } }
        @if let Some((plan, _)) = &shown.plan {
            @if let Some(label) = &plan.version { span class="dim" { (label) } }
            code class="dim" title={ "This version: " (plan.hash) } { (plan.hash.short()) }
        }
        @if shown.version.is_some() { span class="status waiting" { "a version that is kept" } }
    };
    page(
        app,
        who,
        Page {
            nav: "/workflows",
            title,
            above: vec![("/workflows".into(), "Workflows".into())],
            beside: Some(beside),
            json,
            live,
            body: Some(body),
            ..Page::default()
        },
    )
}

/// What is wrong with the file.
pub fn problems(shown: &Shown) -> Markup {
    let all = shown.problems();
    let is_broken = shown.file.as_ref().is_some_and(|file| file.broken);
    let field = |found: &Json, key: &str| found[key].as_str().unwrap_or_default().to_owned();
    html! {
        @if !all.is_empty() && shown.version.is_none() {
            div class={ "note " (if is_broken { "bad" } else { "wait" }) } {
                @if is_broken {
                    p { "Its file has mistakes; "
                        @if shown.plan.is_some() { "what was good last is served." }
                        @else { "it can't run." }
                    }
                }
                ul {
                    @for found in all.iter().take(20) {
                        li {
                            @if let Some(line) = found["line"].as_u64() {
                                a href={ "/workflows/" (shown.name) "/source#L" (line) } {
                                    "line " (line)
                                } ": "
                            }
                            (parts::said(&field(found, "message"))) " "
                            code class="dim" { (field(found, "code")) }
                            @if let Some(help) = found["help"].as_str() {
                                div class="dim" { (parts::said(help)) }
                            }
                        }
                    }
                }
            }
        }
    }
}
