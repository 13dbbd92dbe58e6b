//! The page of a run: what all its parts have in common, and its steps.

pub mod act;
pub mod compare;
pub mod data;
pub mod fork;
pub mod history;
pub mod step;
pub mod steps;
pub mod timeline;

use std::collections::BTreeMap;

use axum::extract::State;
use maud::{Markup, html};
use moa_core::event::InstIx;
use moa_core::ids::RunId;
use moa_core::machine::Run;
use moa_core::run::{RunStatus, StepRow};
use moa_core::step::{StepStatus, WaitReason};
use moa_core::time::Millis;
use moa_ports::views::Pending;
use moa_view::attempts::{self, Attempt};
use moa_view::node::NodeStatus;
use moa_view::why::{Limits, Reason};
use moa_view::{now, summary, tree, why};
use serde::Deserialize;

use super::{Page, graph, inbox, live, page, parts, prose};
use crate::App;
use crate::auth::Identity;
use crate::error::Result;
use crate::extract::{Path, Query};

/// Questions to people shown.
const QUESTIONS: usize = 5;

/// Which state of a run.
#[derive(Debug, Default, Deserialize)]
pub struct Moment {
    /// As it was at this version; as it is now when not given.
    #[serde(default)]
    pub at: Option<u64>,
    /// Every step, however many there are.
    #[serde(default)]
    pub all: bool,
}

/// A moment of the past.
#[derive(Debug, Clone, Copy)]
pub struct Then {
    /// The run's version.
    pub version: u64,
    /// When it came to be.
    pub at: Millis,
    /// Whether there are later ones.
    pub later: bool,
}

/// A run with what its pages need.
pub struct Shown {
    /// It.
    pub run: Run,
    /// As it was; `None` = as it is now.
    pub at: Option<Then>,
    /// This moment.
    pub now: Millis,
}

impl Shown {
    /// Finds it.
    ///
    /// # Errors
    /// There is none.
    pub async fn find(app: &App, text: &str, at: Option<u64>) -> Result<Self> {
        let id = app.reader().find(text).await?;
        let now = now();
        Ok(match at {
            None => Self { run: app.reader().run(id).await?, at: None, now },
            Some(version) => {
                let (run, at) = app.reader().run_at(id, version).await?;
                let later = !app.reader().views.history(id, version, 1).await?.is_empty();
                Self { run, at: Some(Then { version, at, later }), now }
            }
        })
    }

    /// Its id and its workflow.
    pub fn called(&self) -> (RunId, &str) {
        (self.id(), self.run.row.workflow.as_str())
    }

    /// Its id.
    pub fn id(&self) -> RunId {
        self.run.row.run
    }

    /// What a link to the same moment ends with.
    pub fn query(&self) -> String {
        self.at.map_or_else(String::new, |then| format!("?at={}", then.version))
    }

    /// The address of a step, as it is shown here.
    pub fn step(&self, name: &str) -> String {
        format!("{}{}", step::path(self.id(), name), self.query())
    }

    /// The moment that it is shown at.
    pub fn moment(&self) -> Millis {
        self.at.map_or(self.now, |then| then.at)
    }

    /// How long something took, or had taken so far.
    pub fn took(&self, start: Option<Millis>, end: Option<Millis>) -> Markup {
        parts::took(start, end.or(self.at.map(|then| then.at)), self.now)
    }

    /// Attempts of each step, as far as they had come.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn attempts(&self, app: &App) -> Result<BTreeMap<InstIx, Vec<Attempt>>> {
        let mut history = app.reader().history(self.id(), 0).await?;
        history.retain(|row| self.at.is_none_or(|then| row.version <= then.version));
        Ok(attempts::of_history(&history))
    }
}

/// The steps of a run.
pub async fn show(
    State(app): State<App>,
    who: Identity,
    Path(run): Path<String>,
    Query(moment): Query<Moment>,
) -> Result<Markup> {
    let shown = Shown::find(&app, &run, moment.at).await?;
    let body = html! {
        @if shown.at.is_none() {
            (reasons(&app, &shown).await?)
            (questions(&who, &shown))
        }
        (graph::of_run(&shown.run, |name| shown.step(name)))
        (steps::table(&shown, moment.all))
    };
    let json = document(&shown);
    Ok(frame(&app, &who, &shown, "", json, body))
}

/// The call that answers all of a run, as it is shown.
fn document(shown: &Shown) -> String {
    format!("/api/v1/runs/{}/document{}", shown.id(), shown.query())
}

/// What it asks people.
fn questions(who: &Identity, shown: &Shown) -> Markup {
    let waits = |row: &&StepRow| row.wait.is_some_and(WaitReason::asks);
    html! {
        @for row in shown.run.steps().filter(waits).take(QUESTIONS) {
            @let name = shown.run.step_name(row.inst);
            section class="card" data-key={ "question " (row.inst) } {
                h2 { a href=(step::path(shown.id(), &name)) { (name) } }
                (inbox::question(who, shown.called(), row, shown.now, None))
            }
        }
    }
}

/// What is said of a run of the past; `part` is what is shown of it.
fn travel(shown: &Shown, then: Then, part: &str) -> Markup {
    let Then { version, at, later } = then;
    let run = parts::run_path(shown.id());
    let path = format!("{run}{part}");
    html! {
        div class="note wait" {
            "As it was at version " (version) ", " (parts::time(at, shown.now)) ". "
            @if version > 1 { a href={ (path) "?at=" (version - 1) } { "One back" } " · " }
            @if later { a href={ (path) "?at=" (version + 1) } { "One on" } " · " }
            a href={ (run) "/history" } { "History" } " · "
            a href=(path) { "Now" }
        }
    }
}

/// Why it doesn't go on.
async fn reasons(app: &App, shown: &Shown) -> Result<Markup> {
    let run = &shown.run;
    if run.row.status == RunStatus::Succeeded {
        return Ok(html! {});
    }
    let (pending, node, limits) = known(app, shown).await?;
    let answer = why::answer(run, &pending, Some(&node), &[], &limits, false);
    let class = match run.row.status {
        RunStatus::Failed => "note bad",
        RunStatus::Running | RunStatus::Pending => "note",
        _ => "note wait",
    };
    let all: Vec<&Reason> = answer.reasons.iter().chain(&answer.steps).collect();
    Ok(html! {
        @if !all.is_empty() {
            section class=(class) aria-label="Why" {
                ul {
                    @for reason in all.iter().take(12) {
                        li { (self::reason(shown, reason)) }
                    }
                }
                @if all.len() > 12 { p class="dim" { "… and " (all.len() - 12) " more" } }
                @if let Some(name) = first_failed(shown) {
                    p { a href={ (step::path(shown.id(), &name)) "#error" } { "The step " (name) ", and what it wrote" } }
                }
            }
        }
    })
}

/// What is known of what a run may wait for.
async fn known(app: &App, shown: &Shown) -> Result<(Pending, NodeStatus, Limits)> {
    let pending = app.reader().views.pending(shown.id()).await?;
    let node = app.control().status().await;
    let limits =
        Limits { agents: app.control().agents().await, used: app.reader().limits().await? };
    Ok((pending, node, limits))
}

/// The step that failed before all others: what it is inside of failed with it.
fn first_failed(shown: &Shown) -> Option<String> {
    let run = &shown.run;
    let failed = run.steps().filter(|row| row.status == StepStatus::Failed);
    let first = failed.min_by_key(|row| (row.finished_at, std::cmp::Reverse(row.inst)))?;
    Some(run.step_name(first.inst))
}

fn reason(shown: &Shown, reason: &Reason) -> Markup {
    html! {
        @if let Some(step) = &reason.step {
            a href=(step::path(shown.id(), step)) { (step) } ": "
        }
        (prose::line(&reason.reason))
        @if let Some(until) = reason.until { ", " (parts::time(until, shown.now)) }
        @if let Some(unblock) = &reason.unblock {
            span class="do dim" { code { (parts::line(unblock)) } }
        }
    }
}

/// A page about a run: its head, the way to its parts, and one of them, whose address below that of
/// the run is `part`.
///
/// `json` is the call of the API that answers the same.
pub fn frame(
    app: &App,
    who: &Identity,
    shown: &Shown,
    part: &str,
    json: String,
    body: Markup,
) -> Markup {
    let run = &shown.run;
    let path = parts::run_path(shown.id());
    // What stands in the history is not of a moment.
    let moment = |to: &str| match to {
        "/history" | "/compare" => String::new(),
        _ => shown.query(),
    };
    let of_step = part.starts_with("/steps/");
    let tabs = [
        ("", "Steps"),
        ("/timeline", "Timeline"),
        ("/history", "History"),
        ("/data", "Data"),
        ("/compare", "Compare"),
    ];
    let body = html! {
        (facts(shown))
        nav class="tabs" aria-label="Parts of the run" {
            @for (to, name) in tabs {
                @let here = to == part || of_step && to.is_empty();
                a href={ (path) (to) (moment(to)) } aria-current=[here.then_some("page")] { (name) }
            }
        }
        @if let Some(then) = shown.at { (travel(shown, then, part)) }
        (body)
    };
    let title = run.row.workflow.to_string();
    // The answer to a form is no page that can be asked for again.
    let is_answer = part == act::DECIDE;
    let live = (shown.at.is_none() && !run.row.status.is_terminal() && !is_answer)
        .then(|| live::of_run(shown.id(), run.version));
    page(
        app,
        who,
        Page {
            nav: "/runs",
            title: &title,
            above: vec![("/runs".into(), "Runs".into())],
            beside: Some(html! {
                (parts::run_status(run.row.status))
                code class="dim" title="The run's id" { (shown.id()) }
            }),
            actions: Some(act::actions(who, shown)),
            json: Some(json),
            called: Some(shown.called().1),
            live,
            body: Some(body),
            ..Page::default()
        },
    )
}

/// What stands before how long something took, or has taken so far.
fn took_word(over: bool) -> &'static str {
    if over { "Took" } else { "Runs for" }
}

/// What is known of a run as a whole.
fn facts(shown: &Shown) -> Markup {
    let (run, now) = (&shown.run, shown.now);
    let row = &run.row;
    html! {
        dl class="facts" {
            div { dt { "Workflow" } dd { a href={ "/workflows/" (row.workflow) } { (row.workflow) } } }
            div { dt { (took_word(row.finished_at.is_some() || shown.at.is_some())) } dd { (shown.took(row.started_at, row.finished_at)) } }
            div { dt { "Progress" } dd { (summary::progress(run)) } }
            div { dt { "Started" } dd { (parts::time(row.started_at.unwrap_or(row.created_at), now)) } }
            div { dt { "By" } dd { (prose::line(&row.extra.cause)) } }
            div { dt { "Version" } dd {
                a href={ "/workflows/" (row.workflow) "?version=" (row.hash) } {
                    @if let Some(label) = &run.graph.plan().version { (label) " · " }
                    code { (row.hash.short()) }
                }
            } }
            @if let Some(parent) = &row.parent {
                div { dt { "Started by run" } dd { (parts::run_link(parent.run)) } }
            }
            @if let Some(of) = row.extra.forked_from {
                div { dt { "Repeats" } dd { (parts::run_link(of)) } }
            }
            @if let Some(key) = &row.extra.concurrency_key {
                div { dt { "Concurrency key" } dd { (parts::line(key)) } }
            }
        }
        @if let (Some(error), RunStatus::Failed) = (&row.error, row.status) {
            p class="unseen" { "Failed: " (tree::first_line(&error.message)) }
        }
    }
}
