//! What can be done with a run, for those who may.

use std::str::FromStr;

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use moa_core::ids::RunId;
use moa_core::run::{RunStatus, StepRow};
use moa_core::step::WaitReason;
use moa_engine::handle::{Change, ForkFrom};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Shown, document, frame, step};
use crate::App;
use crate::api::runs::change::{APPROVE, apply};
use crate::api::runs::{StartedRun, repeat};
use crate::auth::Identity;
use crate::auth::role::Role;
use crate::auth::tokens::random_hex;
use crate::control::Fault;
use crate::error::{Code, Problem, Result};
use crate::extract::{Form, Path};
use crate::pages::filled::Filled;
use crate::pages::parts::{self, Ask, ask};
use crate::pages::{decision, inbox};

/// What the path of a run ends with where people decide.
pub const DECIDE: &str = "/decide";

/// The buttons that fit a run.
pub fn actions(who: &Identity, shown: &Shown) -> Markup {
    if shown.at.is_some() {
        return html! {};
    }
    let path = parts::run_path(shown.id());
    match shown.run.row.status.is_terminal() {
        true => again(who, shown, &path),
        false => under_way(who, shown, &path),
    }
}

fn under_way(who: &Identity, shown: &Shown, path: &str) -> Markup {
    let to = format!("{path}/change");
    let one = |label: &str, what: &str, about: &str, danger: bool, reason: bool| {
        let fields = html! {
            input type="hidden" name="change" value=(what);
            @if reason {
                div class="field" {
                    label for={ "why-" (what) } { "Why" }
                    input id={ "why-" (what) } name="reason" maxlength="500" autocomplete="off";
                }
            }
        };
        ask(who, &Ask { label, to: &to, called: Some(shown.called().1), about, danger, fields })
    };
    html! {
        @if shown.run.row.status == RunStatus::Paused || shown.run.row.extra.paused {
            (one("Resume", "resume", "Attempts may start again.", false, false))
        } @else {
            (one("Pause", "pause", "Attempts that run go on to their end; no new one starts.",
                false, false))
        }
        (one("Cancel", "cancel", "What runs is stopped; then what cleans up is done.", true, true))
        (one("Terminate", "terminate", "It ends now, and nothing cleans up.", true, true))
    }
}

fn again(who: &Identity, shown: &Shown, path: &str) -> Markup {
    let to = format!("{path}/repeat");
    let one = |label: &str, from: &str, about: &str| {
        let fields = html! {
            // Sent twice, it makes one run.
            input type="hidden" name="key" value=(random_hex::<12>());
            input type="hidden" name="from" value=(from);
        };
        ask(
            who,
            &Ask { label, to: &to, called: Some(shown.called().1), about, danger: false, fields },
        )
    };
    html! {
        @if shown.run.row.status != RunStatus::Succeeded {
            (one("Retry", "failed", "A new run does again what failed or was cancelled, and takes \
                over the rest."))
        }
        (one("Start again", "", "A new run with the same params does everything again."))
        (parts::go(who, (&format!("{path}/fork"), Some(shown.called().1)), "With other params"))
    }
}

/// A change that a form asks for.
#[derive(Debug, Deserialize)]
pub struct Asked {
    change: String,
    #[serde(default)]
    reason: String,
}

fn back(path: String) -> Response {
    Redirect::to(&path).into_response()
}

/// Changes a run.
pub async fn change(
    State(app): State<App>,
    who: Identity,
    Path(run): Path<String>,
    Form(asked): Form<Asked>,
) -> Result<Response> {
    let id = app.reader().find(&run).await?;
    apply(&app, &id.to_string(), named(&asked.change, &asked.reason, &who)?).await?;
    Ok(back(parts::run_path(id)))
}

/// The change that a word means.
///
/// # Errors
/// None.
pub fn named(word: &str, reason: &str, who: &Identity) -> Result<Change> {
    let reason = match reason.trim() {
        "" => format!("asked for by {}", who.cause()),
        given => given.to_owned(),
    };
    Ok(match word {
        "pause" => Change::Pause,
        "resume" => Change::Resume,
        "cancel" => Change::Cancel { reason },
        "terminate" => Change::Terminate { reason },
        other => return Err(Problem::invalid(format!("{other:?} is no change of a run"))),
    })
}

/// From where a run is done again.
#[derive(Debug, Deserialize)]
pub struct Again {
    /// `failed`, a step, or nothing for all of it.
    #[serde(default)]
    from: String,
    /// Whether `from` names a step.
    #[serde(default)]
    step: bool,
    /// The same key makes one run.
    #[serde(default)]
    key: Option<String>,
}

/// Starts a run that repeats this one.
pub async fn again_from(
    State(app): State<App>,
    who: Identity,
    Path(run): Path<String>,
    Form(again): Form<Again>,
) -> Result<Response> {
    let from = match (again.step, again.from.as_str()) {
        (true, _) => ForkFrom::Step(again.from),
        (false, "failed") => ForkFrom::Failed,
        (false, _) => ForkFrom::Start,
    };
    let again = repeat::Again { from, params: repeat::Params::Same, key: again.key };
    to_new(repeat::begin(&app, &who, &run, again).await?)
}

/// Goes to a run that has just been made.
///
/// # Errors
/// None was.
pub fn to_new(started: StartedRun) -> Result<Response> {
    match started.run {
        Some(run) => Ok(back(format!("/runs/{run}"))),
        None => Err(Problem::new(Code::Conflict, "no run was started")),
    }
}

/// What a person says to a run that waits: the `signal`; of an approval whether it is `approved`, a
/// `comment` and the fields of its form; of an outcome that nobody knows the `attempt`, and whether it is
/// `done`; of any other signal its `payload`, JSON or text.
type Decision = Vec<(String, String)>;

/// Why a decision was not taken.
struct Refused {
    problem: Problem,
    faults: Vec<Fault>,
}

impl<P: Into<Problem>> From<P> for Refused {
    fn from(problem: P) -> Self {
        Self { problem: problem.into(), faults: Vec::new() }
    }
}

/// Tells a run. What is refused is shown again with what was filled in.
pub async fn decide(
    State(app): State<App>,
    who: Identity,
    Path(run): Path<String>,
    Form(decision): Form<Decision>,
) -> Result<Response> {
    match told(&app, &who, &run, &decision).await {
        Ok(id) => Ok(back(parts::run_path(id))),
        Err(refused) => once_more(&app, &who, &run, decision, refused).await,
    }
}

/// The question again, with what was filled in and what is wrong with it. When nothing asks that any more
/// there is only what was typed, for who wants to use it elsewhere.
async fn once_more(
    app: &App,
    who: &Identity,
    run: &str,
    decision: Decision,
    Refused { problem, faults }: Refused,
) -> Result<Response> {
    let Ok(shown) = Shown::find(app, run, None).await else { return Err(problem) };
    let signal = said(&decision, "signal").unwrap_or_default();
    let detail = |row: &StepRow| row.data.as_ref().and_then(|data| data.detail.clone());
    let asks = |row: &&StepRow| {
        let is_open = row.wait.is_some_and(WaitReason::asks);
        is_open && detail(row).is_some_and(|asked| asked["signal"] == signal)
    };
    let Some(row) = shown.run.steps().find(asks) else {
        let filled = Filled::new(&[], decision, problem, faults);
        let body = html! {
            section class="card" {
                h2 { "Your answer" }
                (filled.summary(&inbox::words(None), str::to_owned))
                (filled.typed_before())
            }
        };
        let page = frame(app, who, &shown, DECIDE, document(&shown), body);
        return Ok(filled.answer(page));
    };
    let request = detail(row).map(|asked| asked["request"].clone()).unwrap_or_default();
    let filled = Filled::new(&decision::fields(&request), decision, problem, faults);
    let name = shown.run.step_name(row.inst);
    let body = html! {
        section class="card" {
            h2 { a href=(step::path(shown.id(), &name)) { (name) } }
            (inbox::question(who, shown.called(), row, shown.now, Some(&filled)))
        }
    };
    let page = frame(app, who, &shown, DECIDE, document(&shown), body);
    Ok(filled.answer(page))
}

async fn told(
    app: &App,
    who: &Identity,
    run: &str,
    decision: &Decision,
) -> std::result::Result<RunId, Refused> {
    let said = |key: &str| said(decision, key).unwrap_or_default();
    let signal = said("signal").to_owned();
    if signal.is_empty() {
        return Err(Problem::invalid("the signal is missing").into());
    }
    let decides = signal.starts_with(APPROVE);
    who.must_be(if decides { Role::Approver } else { Role::Operator })?;
    let id = app.reader().find(run).await?;
    let approved = parsed(decision, "approved", "true or false")?;
    let attempt: Option<u32> = parsed(decision, "attempt", "a number")?;
    let done: Option<bool> = parsed(decision, "done", "true or false")?;
    let payload = match (decides, approved, attempt, done) {
        (true, Some(approved), ..) => {
            let mut payload =
                json!({"approved": approved, "by": who.name, "comment": said("comment")});
            let form = filled(app, id, &signal, decision, approved).await?;
            if let Some(form) = form {
                payload["form"] = form;
            }
            payload
        }
        (true, None, ..) => return Err(Problem::invalid("the decision is missing").into()),
        (false, _, Some(attempt), Some(done)) => json!({"attempt": attempt, "done": done}),
        _ => payload(said("payload")),
    };
    let change = Change::Signal { name: signal, key: None, payload };
    apply(app, &id.to_string(), change).await?;
    Ok(id)
}

fn said<'a>(decision: &'a Decision, key: &str) -> Option<&'a str> {
    decision.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
}

/// What is said under a key, when something is.
fn parsed<T: FromStr>(decision: &Decision, key: &str, what: &str) -> Result<Option<T>> {
    let parse = |text: &str| text.parse().map_err(|_| Problem::invalid(format!("{key}: {what}")));
    said(decision, key).map(parse).transpose()
}

/// What somebody has filled into the form of an approval, checked against it when they approve; `None` = it
/// has none, or it is rejected.
async fn filled(
    app: &App,
    run: RunId,
    signal: &str,
    decision: &Decision,
    approved: bool,
) -> std::result::Result<Option<Value>, Refused> {
    if !approved {
        return Ok(None);
    }
    // However many are open: what is filled in must not get lost.
    let rows = app.reader().views.asking(run, usize::MAX).await?;
    let detail = |row: &StepRow| row.data.as_ref().and_then(|data| data.detail.clone());
    let Some(asked) = rows.iter().filter_map(detail).find(|asked| asked["signal"] == signal) else {
        let message = "no step asks for that; look at the state of the run again";
        return Err(Problem::new(Code::Conflict, message).into());
    };
    let fields = decision::fields(&asked["request"]);
    if fields.is_empty() {
        return Ok(None);
    }
    let texts = decision::given(decision);
    match app.control().check_fields(&fields, &texts) {
        Ok(form) => Ok(Some(Value::Object(form))),
        Err(faults) => {
            let said: Vec<String> =
                faults.iter().map(|f| format!("`{}`: {}", f.field, f.message)).collect();
            let text = format!("the form doesn't fit: {}", said.join("; "));
            Err(Refused { problem: Problem::invalid(text), faults })
        }
    }
}

fn payload(text: &str) -> Value {
    match text.trim() {
        "" => Value::Null,
        text => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
    }
}
