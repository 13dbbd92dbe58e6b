//! Doing the same with several runs: first what would be done, then the button.

use axum::extract::State;
use maud::{Markup, html};
use moa_core::ids::RunId;
use moa_core::run::RunStatus;
use moa_engine::handle::{ForkFrom, ForkRequest};

use super::run::act::named;
use super::{Page, csrf, page, parts};
use crate::App;
use crate::api::runs::change::apply;
use crate::auth::Identity;
use crate::error::{Problem, Result};
use crate::extract::{Form, Query};

/// Runs at once.
const RUNS: usize = 100;
/// What can be done: its word, and what it says.
const ACTS: &[(&str, &str)] = &[
    ("pause", "Pause"),
    ("resume", "Resume"),
    ("cancel", "Cancel"),
    ("terminate", "Terminate"),
    ("retry", "Retry"),
];

type Fields = Vec<(String, String)>;

/// What is chosen below a list of runs.
pub fn choice() -> Markup {
    html! {
        div class="filter bulk" {
            label for="act" { "With the runs that are checked" }
            select id="act" name="act" {
                @for (word, name) in ACTS { option value=(word) { (name) } }
            }
            button class="button" { "Go on…" }
        }
    }
}

struct Chosen {
    act: &'static str,
    name: &'static str,
    runs: Vec<(RunId, RunStatus)>,
}

impl Chosen {
    async fn of(app: &App, fields: &Fields) -> Result<Self> {
        let word = fields.iter().find(|(name, _)| name == "act");
        let word = word.map_or("", |(_, word)| word.as_str());
        let known = ACTS.iter().find(|(known, _)| *known == word);
        let (act, name) =
            known.ok_or_else(|| Problem::invalid(format!("{word:?} can't be done with runs")))?;
        let mut runs = Vec::new();
        for (_, text) in fields.iter().filter(|(name, _)| name == "run") {
            let run = app.reader().find(text).await?;
            if let Some(snapshot) = app.reader().views.run_part(run, 0, 0).await? {
                runs.push((run, snapshot.row.status));
            }
        }
        if runs.len() > RUNS {
            return Err(Problem::invalid(format!("at most {RUNS} runs at once")));
        }
        Ok(Self { act, name, runs })
    }

    /// Whether it can be done with a run of this status.
    fn fits(&self, status: RunStatus) -> bool {
        match self.act {
            "retry" => matches!(status, RunStatus::Failed | RunStatus::Cancelled),
            "resume" => status == RunStatus::Paused,
            "pause" => !status.is_terminal() && status != RunStatus::Paused,
            _ => !status.is_terminal(),
        }
    }
}

/// What would be done.
pub async fn show(
    State(app): State<App>,
    who: Identity,
    Query(fields): Query<Fields>,
) -> Result<Markup> {
    let chosen = Chosen::of(&app, &fields).await?;
    let fit = chosen.runs.iter().filter(|(_, status)| chosen.fits(*status)).count();
    let body = html! {
        @if chosen.runs.is_empty() {
            (parts::empty("No run is checked", &html! { a href="/runs" { "Back to the runs" } }))
        } @else {
            form method="post" action="/runs/bulk" {
                (csrf(&who))
                input type="hidden" name="act" value=(chosen.act);
                table {
                    thead { tr { th { "Run" } th { "Status" } th { "" } } }
                    tbody {
                        @for (run, status) in &chosen.runs {
                            tr {
                                td { (parts::run_link(*run)) }
                                td { (parts::run_status(*status)) }
                                td {
                                    @if chosen.fits(*status) {
                                        input type="hidden" name="run" value=(run);
                                        (chosen.name)
                                    } @else { span class="dim" { "stays as it is" } }
                                }
                            }
                        }
                    }
                }
                p {
                    @if fit > 0 { button class="button primary" { (chosen.name) " " (fit) } " " }
                    a class="button" href="/runs" { "Back" }
                }
            }
        }
    };
    Ok(frame(&app, &who, chosen.name, body))
}

fn frame(app: &App, who: &Identity, name: &str, body: Markup) -> Markup {
    let title = format!("{name} several runs");
    let above = vec![("/runs".into(), "Runs".into())];
    page(app, who, Page { nav: "/runs", title: &title, above, body: Some(body), ..Page::default() })
}

/// Does it, one run after the other; what can't be done with one stops none of the others.
pub async fn act(
    State(app): State<App>,
    who: Identity,
    Form(fields): Form<Fields>,
) -> Result<Markup> {
    let chosen = Chosen::of(&app, &fields).await?;
    let mut done = Vec::new();
    for (run, _) in &chosen.runs {
        done.push((*run, one(&app, &who, chosen.act, *run).await));
    }
    let body = html! {
        table {
            thead { tr { th { "Run" } th { "What became of it" } } }
            tbody {
                @for (run, said) in &done {
                    tr {
                        td { (parts::run_link(*run)) }
                        td {
                            @match said {
                                Ok(None) => span class="succeeded" { "done" },
                                Ok(Some(new)) => { "repeated by " (parts::run_link(*new)) },
                                Err(problem) => span class="error" { (parts::line(&problem.detail)) },
                            }
                        }
                    }
                }
            }
        }
        p { a class="button" href="/runs" { "Back to the runs" } }
    };
    Ok(frame(&app, &who, chosen.name, body))
}

async fn one(app: &App, who: &Identity, act: &str, run: RunId) -> Result<Option<RunId>> {
    if act == "retry" {
        let from = ForkFrom::Failed;
        let request =
            ForkRequest { run, from, params: None, idempotency_key: None, cause: who.cause() };
        return Ok(Some(app.control().fork(request).await?));
    }
    apply(app, &run.to_string(), named(act, "", who)?).await?;
    Ok(None)
}
