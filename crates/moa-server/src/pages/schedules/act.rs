//! What can be done with a trigger, for those who may.

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use moa_core::trigger::{TriggerAnswer, TriggerCommand};
use moa_view::trigger::Known;
use serde::Deserialize;

use super::{called, path};
use crate::App;
use crate::api::triggers::change::must_start;
use crate::api::triggers::find;
use crate::auth::Identity;
use crate::auth::tokens::random_hex;
use crate::error::{Code, Problem, Result};
use crate::extract::{Form, Path};
use crate::pages::parts::{self, Ask, ask};

/// The buttons that fit a trigger.
pub fn actions(who: &Identity, known: &Known) -> Markup {
    let to = format!("{}/act", path(known));
    let one = |label: &str, act: &str, about: &str, more: Markup| {
        let fields = html! { input type="hidden" name="act" value=(act); (more) };
        ask(who, &Ask { label, to: &to, called: called(known), about, danger: false, fields })
    };
    html! {
        (one("Start now", "start", "It starts a run with the params of a slot at this moment.",
            html! { input type="hidden" name="key" value=(random_hex::<8>()); }))
        @if known.state().paused.is_some() {
            (one("Resume", "resume", "It starts runs again. What happened meanwhile is not made up \
                for.", html! {}))
        } @else {
            (one("Pause", "pause", "It starts nothing until it is resumed, across restarts too. Runs \
                that go on are not stopped.", html! {
                div class="field" {
                    label for="why-pause" { "Why" }
                    input id="why-pause" name="reason" maxlength="500" autocomplete="off";
                }
            }))
        }
        @if known.spec.schedule().is_some() {
            (parts::go(who, (&format!("{}/backfill", path(known)), called(known)), "Backfill…"))
        }
    }
}

/// What somebody wants.
#[derive(Debug, Deserialize)]
pub struct Asked {
    act: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    number: Option<u32>,
}

/// Does it.
pub async fn act(
    State(app): State<App>,
    who: Identity,
    Path(name): Path<String>,
    Form(asked): Form<Asked>,
) -> Result<Response> {
    let known = find(&app, &name).await?;
    if matches!(asked.act.as_str(), "resume" | "start") {
        must_start(&who, &known)?;
    }
    let by = who.cause();
    let command = match asked.act.as_str() {
        "pause" => TriggerCommand::Pause { by, reason: asked.reason },
        "resume" => TriggerCommand::Resume,
        "start" => TriggerCommand::Start {
            key: asked.key.unwrap_or_else(random_hex::<8>),
            by,
            params: None,
            overlap: None,
            priority: None,
        },
        "cancel_backfill" => TriggerCommand::CancelBackfill { number: asked.number },
        other => return Err(Problem::invalid(format!("{other:?} can't be done with a trigger"))),
    };
    let to = match app.control().trigger(known.spec.id(), command).await? {
        // The run comes into being right after the answer: its trigger's page tells of it till then.
        TriggerAnswer::Decided { run: Some(run), .. } => {
            match app.reader().views.run_part(run, 0, 0).await? {
                Some(_) => parts::run_path(run),
                None => path(&known),
            }
        }
        TriggerAnswer::Decided { outcome, reason, run: None } if !outcome.is_open() => {
            let why = reason.unwrap_or_else(|| outcome.as_str().replace('_', " "));
            let text = format!("{} started no run: {why}", known.spec.title());
            return Err(Problem::new(Code::Conflict, text));
        }
        _ => path(&known),
    };
    Ok(Redirect::to(&to).into_response())
}
