//! Doing the same with several runs: first what would be done, then the button.

use axum::extract::State;
use maud::{Markup, html};
use moa_core::ids::RunId;

use moa_view::text;

use super::{Page, page, parts};
use crate::App;
use crate::api::runs::bulk::{Act, BulkResult, Chosen, RUNS_MAX, Wanted, named};
use crate::api::runs::start::KEY_BYTES_MAX;
use crate::auth::Identity;
use crate::auth::tokens::random_hex;
use crate::error::{Problem, Result};
use crate::extract::{Form, Query};

/// What can be done, for people.
fn title(act: Act) -> &'static str {
    match act {
        Act::Pause => "Pause",
        Act::Resume => "Resume",
        Act::Cancel => "Cancel",
        Act::Terminate => "Terminate",
        Act::Retry => "Retry",
    }
}

type Fields = Vec<(String, String)>;

/// What is chosen below a list of runs.
pub fn choice() -> Markup {
    html! {
        div class="filter bulk" {
            // The script says how many.
            strong data-chosen="" data-keep="" aria-live="polite" {}
            label for="act" { "With the runs that are checked" }
            select id="act" name="act" {
                @for act in Act::ALL { option value=(act.as_str()) { (title(act)) } }
            }
            button class="button" { "Go on…" }
        }
    }
}

/// What somebody wants of which runs.
async fn wish(app: &App, fields: &Fields) -> Result<(Wanted, Vec<Chosen>)> {
    let all = |wanted: &str| {
        let of = fields.iter().filter(move |(name, _)| name == wanted);
        of.map(|(_, value)| value.clone()).collect::<Vec<String>>()
    };
    let word = all("act").into_iter().next().unwrap_or_default();
    let known = Act::ALL.into_iter().find(|act| act.as_str() == word);
    let unknown = || Problem::invalid(format!("{word:?} can't be done with runs"));
    let act = known.ok_or_else(unknown)?;
    let key = all("key").into_iter().next().filter(|key| !key.is_empty());
    if key.as_ref().is_some_and(|key| key.len() > KEY_BYTES_MAX) {
        return Err(Problem::invalid(format!("a key has at most {KEY_BYTES_MAX} bytes")));
    }
    let runs = named(app, &all("run"), RUNS_MAX).await?;
    Ok((Wanted { act, reason: None, key }, runs))
}

/// What would be done.
pub async fn show(
    State(app): State<App>,
    who: Identity,
    Query(fields): Query<Fields>,
) -> Result<Markup> {
    let (wanted, runs) = wish(&app, &fields).await?;
    let (act, preview) = (wanted.act, wanted.preview(&runs));
    let body = html! {
        @if runs.is_empty() {
            (parts::empty("No run is checked", &html! { a href="/runs" { "Back to the runs" } }))
        } @else {
            (parts::form(&who, ("/runs/bulk", None), None, &html! {
                input type="hidden" name="act" value=(act.as_str());
                // Sent twice, it is done once.
                input type="hidden" name="key" value=(random_hex::<12>());
                table {
                    thead { tr { th { "Run" } th { "Workflow" } th { "Status" } th { "What is done" } } }
                    tbody {
                        @for (Chosen { run, workflow, status, .. }, would) in runs.iter().zip(&preview.results) {
                            tr {
                                td { (parts::run_link(*run)) }
                                td class="breaks" { (workflow) }
                                td { (parts::run_status(*status)) }
                                td {
                                    @if would.would() {
                                        input type="hidden" name="run" value=(run);
                                        (title(act))
                                    } @else { span class="dim" { "stays as it is" } }
                                }
                            }
                        }
                    }
                }
                div class="buttons" {
                    @if preview.fit > 0 {
                        button class="button primary" { (title(act)) " " (text::plural(preview.fit, "run")) }
                    }
                    a class="button" href="/runs" { "Back" }
                }
            }))
        }
    };
    let named: Vec<String> = runs.iter().map(|run| run.run.to_string()).collect();
    let (act, named) = (act.as_str(), named.join(","));
    let json = format!("/api/v1/runs/bulk?action={act}&runs={named}");
    Ok(frame(&app, &who, title(wanted.act), Some(json), body))
}

fn frame(app: &App, who: &Identity, name: &str, json: Option<String>, body: Markup) -> Markup {
    let title = format!("{name} several runs");
    let above = vec![("/runs".into(), "Runs".into())];
    let body = Some(body);
    page(app, who, Page { nav: "/runs", title: &title, above, json, body, ..Page::default() })
}

/// Does it, one run after the other; what can't be done with one stops none of the others.
pub async fn act(
    State(app): State<App>,
    who: Identity,
    Form(fields): Form<Fields>,
) -> Result<Markup> {
    let (wanted, runs) = wish(&app, &fields).await?;
    let done = wanted.done(&app, &who, &runs).await?;
    let body = html! {
        table {
            thead { tr { th { "Run" } th { "What became of it" } } }
            tbody {
                @for (run, done) in runs.iter().zip(&done) {
                    tr {
                        td { (parts::run_link(run.run)) }
                        td { (became(done)) }
                    }
                }
            }
        }
        p { a class="button" href="/runs" { "Back to the runs" } }
    };
    Ok(frame(&app, &who, title(wanted.act), None, body))
}

fn became(done: &BulkResult) -> Markup {
    let new = done.new_run.as_ref().and_then(|run| run.parse::<RunId>().ok());
    html! {
        @match (done.outcome, new) {
            ("done", Some(new)) => { "repeated by " (parts::run_link(new)) },
            ("done", None) => span class="succeeded" { "done" },
            ("passed_over", _) => span class="dim" { "stays as it is: it is " (done.status) },
            (outcome, _) => span class="error" {
                @match outcome {
                    "left" => "left as it is: ",
                    "unknown" => "it takes long, and goes on: ",
                    _ => "",
                }
                (parts::line(done.error.as_deref().unwrap_or_default()))
            },
        }
    }
}
