//! What waits for a person: approvals, signals, outcomes that nobody knows.

use axum::extract::State;
use maud::{Markup, html};
use moa_core::machine::Run;
use moa_core::run::{RunStatus, StepRow};
use moa_core::step::WaitReason;
use moa_core::time::Millis;
use moa_ports::views::RunFilter;
use moa_view::now;
use serde_json::Value as Json;

use super::run::step;
use super::{Page, csrf, live, page, parts};
use crate::App;
use crate::auth::Identity;
use crate::auth::role::Role;
use crate::error::Result;

/// Open runs that are looked through.
const RUNS: usize = 60;
/// Questions listed.
const QUESTIONS: usize = 50;

/// Whether only a person ends this wait.
pub fn is_for_people(wait: WaitReason) -> bool {
    matches!(wait, WaitReason::Approval | WaitReason::Signal | WaitReason::UnknownOutcome)
}

/// The steps of open runs that wait for people; whether there may be more.
pub async fn waits(app: &App) -> Result<(Vec<(Run, Vec<StepRow>)>, bool)> {
    let statuses = vec![RunStatus::Waiting, RunStatus::Running, RunStatus::Paused];
    let filter = RunFilter { statuses, limit: RUNS, ..RunFilter::default() };
    let runs = app.reader().views.runs(&filter).await?;
    let (mut found, mut count) = (Vec::new(), 0);
    for summary in &runs {
        let run = app.reader().run(summary.run).await?;
        let rows: Vec<StepRow> =
            run.steps().filter(|row| row.wait.is_some_and(is_for_people)).cloned().collect();
        count += rows.len();
        if !rows.is_empty() {
            found.push((run, rows));
        }
    }
    Ok((found, runs.len() == RUNS || count > QUESTIONS))
}

/// The inbox.
pub async fn show(State(app): State<App>, who: Identity) -> Result<Markup> {
    let now = now();
    let live = live::ask(&app).await?;
    let (found, more) = waits(&app).await?;
    let all = found.iter().flat_map(|(run, rows)| rows.iter().map(move |row| (run, row)));
    let body = html! {
        @if found.is_empty() {
            (parts::empty("Nothing waits for you", &html! {
                p { "Steps with " code { "approve:" } " and " code { "wait_for: {signal: …}" }
                    " are listed here as long as they wait for somebody." }
            }))
        }
        @for (run, row) in all.take(QUESTIONS) {
            section class="card" data-key={ (run.row.run) "." (row.inst) } {
                h2 {
                    span {
                        a href=(parts::run_path(run.row.run)) { (run.row.workflow) } " / "
                        a href=(step::path(run.row.run, &run.step_name(row.inst))) {
                            (run.step_name(row.inst))
                        }
                    }
                    (parts::time_or_dash(row.ready_at, now))
                }
                (question(&who, run, row, now))
            }
        }
        @if more { p class="dim" { "There may be more: only the newest open runs are looked at." } }
    };
    Ok(page(
        &app,
        &who,
        Page {
            nav: "/inbox",
            title: "Inbox",
            json: Some("/api/v1/runs?status=waiting".into()),
            live,
            body: Some(body),
            ..Page::default()
        },
    ))
}

/// What a step asks, and the form that answers it, for who may.
pub fn question(who: &Identity, run: &Run, row: &StepRow, now: Millis) -> Markup {
    let detail = row.data.as_ref().and_then(|data| data.detail.as_deref());
    let signal = detail.and_then(|detail| detail.get("signal")).and_then(Json::as_str);
    let Some((wait, signal)) = row.wait.zip(signal) else { return html! {} };
    let role = if wait == WaitReason::Approval { Role::Approver } else { Role::Operator };
    let request = detail.and_then(|detail| detail.get("request")).filter(|r| !r.is_null());
    html! {
        @match wait {
            WaitReason::Approval => p { "A person is to approve or reject this." },
            WaitReason::UnknownOutcome => p {
                "Nobody knows whether attempt " (row.attempt) " happened: "
                (parts::line(detail.and_then(|d| d.get("why")).and_then(Json::as_str).unwrap_or("")))
            },
            _ => p { "It waits for the signal " code { (parts::line(signal)) } "." },
        }
        @if let Some(until) = row.until { p { "Its time is over " (parts::time(until, now)) "." } }
        @if let Some(request) = request { (parts::value(request)) }
        @if who.role.includes(role) {
            form method="post" action={ (parts::run_path(run.row.run)) "/decide" } {
                (csrf(who))
                input type="hidden" name="signal" value=(signal);
                (answers(row, wait))
            }
        } @else {
            p class="dim" { "Answering takes the role " (role) "." }
        }
    }
}

fn answers(row: &StepRow, wait: WaitReason) -> Markup {
    let id = format!("answer-{}", row.inst);
    html! {
        @match wait {
            WaitReason::Approval => {
                div class="field" {
                    label for=(id) { "Comment" }
                    input id=(id) name="comment" maxlength="2000" autocomplete="off";
                }
                button class="button primary" name="approved" value="true" { "Approve" } " "
                button class="button danger" name="approved" value="false" { "Reject" }
            },
            WaitReason::UnknownOutcome => {
                input type="hidden" name="attempt" value=(row.attempt);
                button class="button" name="done" value="true" { "It happened" } " "
                button class="button" name="done" value="false" { "It did not: do it again" }
            },
            _ => {
                div class="field" {
                    label for=(id) { "Payload" }
                    textarea id=(id) name="payload" placeholder="JSON or text; may be empty" {}
                }
                button class="button primary" { "Send the signal" }
            },
        }
    }
}
