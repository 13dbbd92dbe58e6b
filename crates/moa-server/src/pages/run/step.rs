//! One step of a run: its attempts, what it was given, what it answered, what it wrote.

use axum::extract::State;
use maud::{Markup, html};
use moa_core::ids::RunId;
use moa_core::run::StepRow;
use moa_core::step::{ErrorKind, StepStatus, WaitReason};
use moa_core::time::Millis;
use moa_core::workflow::{PlanStep, StepKind};
use moa_view::attempts::Attempt;
use moa_view::why::answer_step;
use moa_view::{deed, summary, text, tree};
use serde::Deserialize;
use serde_json::Value as Json;

use super::{Shown, document, frame, steps, timeline};
use crate::App;
use crate::api::runs::get::{given, of_name, unknown};
use crate::auth::Identity;
use crate::auth::tokens::random_hex;
use crate::control::AttemptLog;
use crate::error::Result;
use crate::extract::{Path, Query};
use crate::pages::inbox;
use crate::pages::parts::{self, Ask, ask};

/// Bytes of a log shown; the link has all of it.
const LOG_BYTES_MAX: usize = 64 << 10;

/// The path of a step's page.
pub fn path(run: RunId, step: &str) -> String {
    format!("/runs/{run}/steps/{}", escaped(step))
}

/// The name of a step in a path.
fn escaped(step: &str) -> String {
    // Names are made of letters, digits, `_`, `[`, `]`, `.` and `,`; brackets are not for paths.
    step.replace('[', "%5B").replace(']', "%5D")
}

/// Which attempt, and when.
#[derive(Debug, Default, Deserialize)]
pub struct Chosen {
    /// Its number; the last one when not given.
    #[serde(default)]
    attempt: Option<u32>,
    /// As it was at this version of the run; as it is now when not given.
    #[serde(default)]
    at: Option<u64>,
}

/// A step.
pub async fn show(
    State(app): State<App>,
    who: Identity,
    Path((run, step)): Path<(String, String)>,
    Query(chosen): Query<Chosen>,
) -> Result<Markup> {
    let shown = Shown::find(&app, &run, chosen.at).await?;
    let part = format!("/steps/{}", escaped(&step));
    let json = format!("/api/v1/runs/{}{part}{}", shown.id(), shown.query());
    let Some(row) = of_name(&shown.run, &step) else {
        // It may have come to be later.
        if shown.at.is_none() || of_name(&app.reader().run(shown.id()).await?, &step).is_none() {
            return Err(unknown(shown.id(), &step));
        }
        let json = document(&shown);
        let none = parts::empty("It was not there yet", &html! { "Step " (step) " came later." });
        return Ok(frame(&app, &who, &shown, &part, json, none));
    };
    let made = shown.attempts(&app).await?;
    let made = made.get(&row.inst).map_or(&[][..], Vec::as_slice);
    // Of an old run the history is deleted first: its logs are found by their numbers.
    let last = || (shown.at.is_none() && row.attempt > 0).then_some(row.attempt);
    let made_last = made.last().map(|attempt| attempt.attempt);
    let number = chosen.attempt.or(made_last).or_else(last);
    let attempt = made.iter().find(|attempt| Some(attempt.attempt) == number);
    let known = shown.at.is_none() || attempt.is_some();
    let logs = if known { app.control().logs(shown.id()).await? } else { Vec::new() };
    let log = logs.into_iter().find(|log| log.step == step && Some(log.attempt) == number);
    let goes_on = shown.at.is_some() && attempt.is_some_and(|made| made.outcome.is_none());
    let plan = shown.run.graph.plan().step(row.plan);
    let body = html! {
        header class="title" {
            h2 { (step) } (parts::step_status(row.status))
            (doing(&who, plan))
            div class="actions" { (again(&who, &shown, &step)) }
        }
        (facts(&shown, row))
        (why(&app, &shown, row).await?)
        @if shown.at.is_none() && row.wait.is_some_and(WaitReason::asks) {
            div class="note wait" { (inbox::question(&who, shown.called(), row, shown.now, None)) }
        }
        @if let Some(child) = steps::child(row) {
            p { "Its run: " (parts::run_link(child)) }
        }
        @if let Some(error) = &row.error {
            section class="card" id="error" data-error="" {
                h2 { "Error" span class="dim" { (kind_words(error.kind)) } }
                pre class="value error" { (text::safe(&error.message)) }
            }
        }
        (attempts_table(&shown, &step, made, number))
        (self::log(&app, &shown, log, goes_on).await?)
        div class="cards" {
            section class="card" {
                h2 { "Input" a href={ "/workflows/" (shown.run.row.workflow) "/source?version="
                    (shown.run.row.hash) "#L" (plan.line) } { "line " (plan.line) " of its workflow" } }
                (input(&app, &who, &shown, row, &plan.kind).await)
            }
            section class="card" { h2 { "Output" } (output(&shown, row)) }
        }
    };
    Ok(frame(&app, &who, &shown, &part, json, body))
}

/// What it does, with the way to the agent or the workflow that does it.
fn doing(who: &Identity, plan: &PlanStep) -> Markup {
    let said = deed(plan);
    let to = match &plan.kind {
        StepKind::Task { agent, .. } => Some(format!("/agents/{agent}")),
        StepKind::Child { workflow, .. } => Some(format!("/workflows/{workflow}")),
        _ => None,
    };
    html! {
        @match to.filter(|to| who.may_ask("GET", to, None)) {
            Some(to) => a href=(to) { (parts::line(&said)) },
            None => span class="dim" { (parts::line(&said)) },
        }
    }
}

/// Why it doesn't go on: what the page of the run says about it, or else about the run as a whole.
async fn why(app: &App, shown: &Shown, row: &StepRow) -> Result<Markup> {
    use StepStatus::{Pending, Ready, Waiting};
    let is_held = matches!(row.status, Pending | Ready | Waiting);
    // What it asks people stands below.
    let asks = row.wait.is_some_and(WaitReason::asks);
    if shown.at.is_some() || !is_held || asks || shown.run.row.status.is_terminal() {
        return Ok(html! {});
    }
    let (pending, node, limits) = super::known(app, shown).await?;
    let mut all = answer_step(&shown.run, row.inst, &pending, Some(&node), &limits);
    // Which step it is stands above.
    all.iter_mut().for_each(|reason| reason.step = None);
    Ok(html! {
        @if !all.is_empty() {
            section class="note wait" aria-label="Why" {
                ul { @for reason in &all { li { (super::reason(shown, reason)) } } }
            }
        }
    })
}

/// When it was done, and how long it took.
fn facts(shown: &Shown, row: &StepRow) -> Markup {
    let began = row.began();
    let ready = row.ready_at.filter(|_| row.status == StepStatus::Ready);
    let word = if row.finished_at.is_some() || shown.at.is_some() { "Took" } else { "So far" };
    html! {
        @if began.is_some() || ready.is_some() {
            dl class="facts" {
                @if let Some(at) = began {
                    div { dt { (word) } dd { (shown.took(began, row.finished_at)) } }
                    div { dt { "Started" } dd { (parts::time(at, shown.now)) } }
                }
                @if let Some(at) = ready {
                    div { dt { "Ready since" } dd { (parts::time(at, shown.now)) } }
                }
                @if row.attempt > 0 { div { dt { "Attempts" } dd { (row.attempt) } } }
            }
        }
    }
}

/// The kind of an error, in words: `queue timeout`.
fn kind_words(kind: ErrorKind) -> String {
    let word = serde_json::to_value(kind).ok();
    let word = word.as_ref().and_then(Json::as_str).unwrap_or_default().replace('_', " ");
    if kind == ErrorKind::Retryable { "may go well another time".into() } else { word }
}

/// Why there is no output.
fn none_yet(row: &StepRow, now: Millis) -> String {
    match row.status {
        StepStatus::Pending | StepStatus::Ready => "It comes when the step has run".into(),
        StepStatus::Running => "It comes when the step has succeeded".into(),
        StepStatus::Succeeded => "None".into(),
        StepStatus::Failed => "None: the step has failed".into(),
        StepStatus::Cancelled => "None: the step was cancelled".into(),
        StepStatus::Waiting | StepStatus::Skipped => tree::detail(row, now),
    }
}

fn again(who: &Identity, shown: &Shown, step: &str) -> Markup {
    let ended = shown.at.is_none() && shown.run.row.status.is_terminal();
    html! {
        @if ended {
            (parts::go(who, (&format!("{}/fork?from={}", parts::run_path(shown.id()), escaped(step)),
                Some(shown.called().1)), "From here with other params"))
            (ask(who, &Ask {
                label: "Run again from here",
                to: &format!("{}/repeat", parts::run_path(shown.id())),
                called: Some(shown.called().1),
                about: "A new run does this step and all that depends on it again, and takes over \
                    the rest.",
                danger: false,
                fields: html! {
                    input type="hidden" name="key" value=(random_hex::<12>());
                    input type="hidden" name="from" value=(step);
                    input type="hidden" name="step" value="true";
                },
            }))
        }
    }
}

fn attempts_table(shown: &Shown, step: &str, made: &[Attempt], chosen: Option<u32>) -> Markup {
    let at = shown.at.map_or_else(String::new, |then| format!("&at={}", then.version));
    html! {
        @if made.len() > 1 {
            div class="table" {
                table class="stack" {
                    thead { tr {
                        th { "Attempt" } th { "Outcome" } th { "Started" } th class="num" { "Took" }
                        th { "Error" }
                    } }
                    tbody {
                        @for attempt in made {
                            tr class=[(Some(attempt.attempt) == chosen).then_some("here")] {
                                td { a href={ (path(shown.id(), step)) "?attempt=" (attempt.attempt) (at) } {
                                    (attempt.attempt)
                                } }
                                td { @let word = attempt.outcome.map_or("running", timeline::word);
                                    span class={ "status " (word) } { (word) } }
                                td { (parts::time(attempt.started_at, shown.now)) }
                                td class="num" {
                                    (shown.took(Some(attempt.started_at), attempt.ended_at))
                                }
                                td class="wide over" {
                                    @if !attempt.usage.is_nothing() {
                                        div class="dim" { "spent " (attempt.usage) }
                                    }
                                    @if let Some(error) = &attempt.error {
                                        span class="error cut" {
                                            (parts::line(&tree::first_line(&error.message)))
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

async fn log(app: &App, shown: &Shown, log: Option<AttemptLog>, later: bool) -> Result<Markup> {
    let Some(log) = log else { return Ok(html! {}) };
    let number = log.attempt;
    let from = log.bytes.saturating_sub(LOG_BYTES_MAX as u64);
    let step = escaped(&log.step);
    let path = format!("/api/v1/runs/{}/logs/{step}/{number}", shown.id());
    let part = app.control().log_part(log, from, LOG_BYTES_MAX).await?;
    let said = String::from_utf8_lossy(&part.bytes);
    let grows = shown.at.is_none() && !shown.run.row.status.is_terminal();
    Ok(html! {
        section class="card" {
            h2 { "Log of attempt " (number) a href=(path) { "all of it" } }
            // Lines of a log have no time of their own.
            @if later {
                p class="dim" { "It went on: what the attempt wrote after that moment is shown too." }
            }
            @if from > 0 || part.left_out > 0 {
                p class="dim" { "The end of it; what comes before is left out here." }
            }
            pre class="log" tabindex="0" data-keep="" data-key={ "log " (number) }
                data-log=[grows.then_some(&path)] data-next=(part.next) { (text::safe(&said)) }
        }
    })
}

async fn input(app: &App, who: &Identity, shown: &Shown, row: &StepRow, kind: &StepKind) -> Markup {
    let source = match kind {
        StepKind::Task { params, .. } | StepKind::Child { params, .. } => params.source(),
        StepKind::Emit { data, .. } => data.source(),
        StepKind::Approve { request, .. } => request.source(),
        _ => &Json::Null,
    };
    let workflow = shown.run.row.workflow.as_str();
    let source = &given(app, who, workflow, source.clone()).await;
    let input = summary::input(&shown.run, row).unwrap_or_default();
    let given = Some(given(app, who, workflow, input).await).filter(|input| !input.is_null());
    html! {
        @match given.filter(|_| !source.is_null()) {
            Some(given) => {
                (parts::value(&given))
                @if given != *source {
                    details { summary class="dim" { "As the workflow says it" } (parts::value(source)) }
                }
            }
            None if source.is_null() => p class="dim" { "None." },
            None => {
                (parts::value(source))
                p class="dim" { "As the workflow says it; expressions are evaluated when it starts." }
            }
        }
    }
}

fn output(shown: &Shown, row: &StepRow) -> Markup {
    html! {
        @match (row.output.as_deref(), row.wait) {
            (Some(output), _) => (parts::value(output)),
            (None, Some(WaitReason::Children)) => p class="dim" { "It waits for what is inside it." },
            (None, _) => p class="dim" { (none_yet(row, shown.moment())) "." },
        }
    }
}
