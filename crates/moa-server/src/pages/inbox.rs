//! What waits for a person: approvals, signals, outcomes that nobody knows.

use axum::extract::State;
use maud::{Markup, html};
use moa_core::ids::{Name, RunId};
use moa_core::run::{RunStatus, StepRow};
use moa_core::step::WaitReason;
use moa_core::time::Millis;
use moa_core::workflow::ParamSpec;
use moa_ports::views::RunFilter;
use moa_view::events::Names;
use moa_view::{now, text};
use serde::Deserialize;
use serde_json::Value as Json;

use super::decision;
use super::filled::{Filled, Words};
use super::run::step;
use super::workflows::form;
use super::{Page, live, page, parts};
use crate::App;
use crate::api::runs::list::cursor;
use crate::auth::Identity;
use crate::auth::role::Role;
use crate::error::Result;
use crate::extract::Query;

/// Runs of a page.
const RUNS: usize = 20;
/// Questions of one run that are listed.
const OF_RUN: usize = 20;

/// What steps of a run ask.
pub struct Asks {
    /// The run.
    pub run: RunId,
    /// Its workflow.
    pub workflow: Name,
    /// The first of its steps that wait for a person, with their names.
    pub rows: Vec<(StepRow, String)>,
    /// Whether there are more of them.
    pub more: bool,
}

/// The newest runs with steps that wait for people, and where the next page begins.
pub async fn waits(
    app: &App,
    before: Option<RunId>,
    limit: usize,
) -> Result<(Vec<Asks>, Option<RunId>)> {
    let statuses = RunStatus::ALL.into_iter().filter(|status| !status.is_terminal()).collect();
    let filter =
        RunFilter { statuses, asks: true, before, limit: limit + 1, ..RunFilter::default() };
    let runs = app.reader().views.runs(&filter).await?;
    let (mut names, mut found) = (Names::default(), Vec::new());
    for summary in runs.iter().take(limit) {
        // It may be deleted, or have gone on, meanwhile.
        let mut rows = app.reader().views.asking(summary.run, OF_RUN + 1).await?;
        let more = rows.len() > OF_RUN;
        rows.truncate(OF_RUN);
        let steps = rows.iter().map(|row| row.inst);
        let (workflow, mut names) = names.named(app.reader(), summary.run, steps).await?;
        let named = |row: StepRow| names.remove(&row.inst).map(|named| (row, named.step));
        let rows: Vec<_> = rows.into_iter().filter_map(named).collect();
        if !rows.is_empty() {
            found.push(Asks { run: summary.run, workflow, rows, more });
        }
    }
    let next = runs.get(limit - 1).filter(|_| runs.len() > limit).map(|run| run.run);
    Ok((found, next))
}

/// Which part.
#[derive(Debug, Default, Deserialize)]
pub struct Part {
    /// Of runs older than this one.
    #[serde(default)]
    before: Option<String>,
}

/// The inbox.
pub async fn show(
    State(app): State<App>,
    who: Identity,
    Query(part): Query<Part>,
) -> Result<Markup> {
    let now = now();
    let live = live::ask(&app).await?;
    let before = part.before.as_deref().map(cursor).transpose()?;
    let (found, next) = waits(&app, before, RUNS).await?;
    let count = app.reader().views.totals().await?.asks;
    let body = html! {
        @if found.is_empty() {
            (parts::empty("Nothing waits for you", &html! {
                p { "Steps with " code { "approve:" } " and " code { "wait_for: {signal: …}" }
                    " are listed here as long as they wait for somebody; so are actions of which nobody \
                    knows whether they happened." }
            }))
        } @else { p class="dim" { (text::plural(count as usize, "question")) ", of the newest run first" } }
        @for asks in &found {
            @for (row, name) in &asks.rows { (card(&who, asks, row, name, now)) }
            @if asks.more {
                p { "… and more of " a href=(parts::run_path(asks.run)) { "this run" } }
            }
        }
        @if let Some(next) = next {
            p { a class="button" href={ "/inbox?before=" (next) } { "Older questions" } }
        }
    };
    let cursor = before.map_or_else(String::new, |before| format!("&cursor={before}"));
    let json = format!("/api/v1/runs?status=open&asks=true&limit={RUNS}{cursor}");
    Ok(page(
        &app,
        &who,
        Page {
            nav: "/inbox",
            title: "Inbox",
            json: Some(json),
            live,
            body: Some(body),
            ..Page::default()
        },
    ))
}

fn card(who: &Identity, asks: &Asks, row: &StepRow, name: &str, now: Millis) -> Markup {
    let run = asks.run;
    html! {
        section class="card" data-key={ (run) "." (row.inst) } {
            h2 {
                span {
                    a href=(parts::run_path(run)) { (asks.workflow) } " / "
                    a href=(step::path(run, name)) { (name) }
                }
                (parts::time_or_dash(row.ready_at, now))
            }
            (question(who, (run, asks.workflow.as_str()), row, now, None))
        }
    }
}

/// What a step of a run of a workflow asks, and the form that answers it, for who may. `filled`: the form
/// was refused.
pub fn question(
    who: &Identity,
    (run, workflow): (RunId, &str),
    row: &StepRow,
    now: Millis,
    filled: Option<&Filled>,
) -> Markup {
    let detail = row.data.as_ref().and_then(|data| data.detail.as_deref());
    let signal = detail.and_then(|detail| detail.get("signal")).and_then(Json::as_str);
    let Some((wait, signal)) = row.wait.zip(signal) else { return html! {} };
    let role = if wait == WaitReason::Approval { Role::Approver } else { Role::Operator };
    let request = detail.and_then(|detail| detail.get("request")).filter(|r| !r.is_null());
    let to = format!("{}/decide", parts::run_path(run));
    let own = who.role_at("POST", &to, Some(workflow));
    let may = own.is_some_and(|own| own.includes(role));
    // What somebody has typed who may not answer any more is not taken from them.
    let is_form = may || filled.is_some();
    let has_fields = wait == WaitReason::Approval && is_form;
    let fields = request.filter(|_| has_fields).map(decision::fields).unwrap_or_default();
    // Several runs may ask on one page.
    let id = format!("answer-{}-{}", run.short(), row.inst);
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
        @if let Some(request) = request { (asked(request, !fields.is_empty())) }
        @if let Some(filled) = filled {
            (filled.summary(&words(Some(wait)), |field| form::id_of(&format!("{id}-{field}"))))
        }
        @if is_form {
            (parts::form(who, (&to, Some(workflow)), None, &html! {
                input type="hidden" name="signal" value=(signal);
                (answers(&id, row, wait, &fields, filled))
            }))
        }
        @match may {
            true => {},
            false if who.own_role.includes(role) => p class="dim" {
                "Answering takes a token whose scopes reach the runs of " (workflow) "."
            },
            false => p class="dim" { "Answering takes the role " (role) "." },
        }
    }
}

/// What becomes of an answer to what a step waits for; `None` = to nothing any more.
pub fn words(wait: Option<WaitReason>) -> Words {
    let (refused, in_doubt) = match wait {
        Some(WaitReason::Approval) => ("It is not decided", "Nobody knows whether it is decided"),
        Some(WaitReason::UnknownOutcome) | None => {
            ("The answer is not taken", "Nobody knows whether the answer is taken")
        }
        Some(_) => ("The signal is not sent", "Nobody knows whether the signal is sent"),
    };
    Words { refused, in_doubt, then: "Look at the run before you send it again." }
}

/// What a step says to whom it asks: its title, and what it has beside that and its fields.
fn asked(request: &Json, has_fields: bool) -> Markup {
    let mut rest = request.clone();
    if has_fields && let Some(all) = rest.as_object_mut() {
        all.remove("form");
    }
    let title = rest.as_object_mut().and_then(|all| all.remove("title"));
    let title = title.as_ref().and_then(Json::as_str);
    let is_all = title.is_some() && rest.as_object().is_some_and(serde_json::Map::is_empty);
    html! {
        @match title {
            Some(title) => {
                p { strong { (parts::line(title)) } }
                @if !is_all { (parts::value(&rest)) }
            },
            None => (parts::value(&rest)),
        }
    }
}

fn answers(
    id: &str,
    row: &StepRow,
    wait: WaitReason,
    fields: &[ParamSpec],
    filled: Option<&Filled>,
) -> Markup {
    let sent = |name: &str| filled.map_or("", |filled| filled.sent(name));
    html! {
        @match wait {
            WaitReason::Approval => {
                (decision::form(fields, id, filled))
                div class="field" {
                    label for=(id) { "Comment" }
                    input id=(id) name="comment" maxlength="2000" value=(sent("comment"));
                }
                button class="button primary" name="approved" value="true" { "Approve" } " "
                // Who rejects needs not fill in what an approval takes.
                button class="button danger" name="approved" value="false"
                    formnovalidate[!fields.is_empty()] { "Reject" }
            },
            WaitReason::UnknownOutcome => {
                input type="hidden" name="attempt" value=(row.attempt);
                button class="button" name="done" value="true" { "It happened" } " "
                button class="button" name="done" value="false" { "It did not: do it again" }
            },
            _ => {
                div class="field" {
                    label for=(id) { "Payload" }
                    textarea id=(id) name="payload" placeholder="JSON or text; may be empty" {
                        // The first line break belongs to the tag.
                        "\n" (sent("payload"))
                    }
                }
                button class="button primary" { "Send the signal" }
            },
        }
    }
}
