//! Rows of the store, for commands of moa on other machines.

use axum::extract::State;
use moa_core::machine::BUS;
use moa_ports::triggers::{OccurrenceFilter, TriggerFilter, TriggerRow};
use moa_view::rows::{self, Ask, Question};
use moa_view::trigger::Known;
use serde_json::Value;

use crate::App;
use crate::api::agents::attempts_of;
use crate::api::triggers::{hidden, seen};
use crate::api::workflows::writes;
use crate::auth::Identity;
use crate::auth::role::Role;
use crate::error::Result;
use crate::extract::Json;

/// Rows of the store
///
/// What a command of moa on another machine reads: a question of [`moa_view::rows`] and its answer,
/// the row as the store has it. Its form belongs to the version of moa (`format`); programs use the
/// other paths, which stay. The audit log takes the role admin; who may only look sees the files of
/// agents without addresses, and without the values of headers and variables; who could not write a
/// workflow or a trigger sees it without the secrets that the node knows.
#[utoipa::path(
    post, path = "/api/v1/rows", tag = "state",
    request_body = Object,
    responses((status = 200, description = "The rows", body = Value)),
)]
pub async fn ask(
    State(app): State<App>,
    who: Identity,
    Json(question): Json<Value>,
) -> Result<Json<Value>> {
    let ask = Question::read(question)?;
    if ask.is_audit() {
        who.must_be(Role::Admin)?;
    }
    let control = app.control();
    let answer = match ask {
        Ask::Status => rows::json(control.status().await)?,
        Ask::Fleet => {
            let mut fleet = control.fleet().await;
            if !who.role.includes(Role::Operator) {
                moa_view::fleet::for_viewers(&mut fleet);
            }
            rows::json(fleet)?
        }
        Ask::Ended(agent) => rows::json(attempts_of(&app, &agent).await?)?,
        Ask::Jobs => rows::json(control.jobs())?,
        Ask::HeldBack => rows::json(control.held_back().await)?,
        Ask::Alerts => rows::json(control.alerts().await?)?,
        Ask::Production => rows::json(control.production().await?)?,
        // Settings may say more than is shown to everybody who looks at runs.
        Ask::Files => {
            let whole = who.role.includes(Role::Operator);
            rows::json(control.files(who.role == Role::Admin, whole).await?)?
        }
        Ask::Workflow(hash) => {
            let mut kept = app.reader().views.workflow(hash).await?;
            if let Some(version) = kept.take_if(|kept| !writes(&who, kept.workflow.as_str())) {
                kept = Some(control.redact_version(version).await?);
            }
            rows::json(kept)?
        }
        Ask::Trigger(id) => {
            let row = app.reader().views.trigger(id).await?;
            rows::json(triggers(&app, &who, row.into_iter().collect()).await?.pop())?
        }
        Ask::Triggers(filter) => {
            let limit = filter.limit.clamp(1, rows::ROWS_MAX);
            let found = app.reader().views.triggers(&TriggerFilter { limit, ..filter }).await?;
            rows::json(triggers(&app, &who, found).await?)?
        }
        Ask::Occurrences { trigger, filter } => {
            let limit = filter.limit.min(rows::ROWS_MAX);
            let filter = OccurrenceFilter { limit, ..filter };
            let found = app.reader().views.occurrences(trigger, &filter).await?;
            rows::json(hidden(&app, found).await?)?
        }
        ask @ Ask::Events { .. } => {
            let answer = rows::answer(&*app.reader().views, ask).await?.unwrap_or_default();
            hidden_rows(&app, answer).await?
        }
        ask => rows::answer(&*app.reader().views, ask).await?.unwrap_or_default(),
    };
    Ok(Json(answer))
}

/// Rows of the history as everybody may see them: what people have published may hold secrets.
async fn hidden_rows(app: &App, mut rows: Value) -> Result<Value> {
    let bus = Value::from(BUS.to_string());
    let of_bus = |row: &&mut Value| row["run"] == bus;
    let found = rows.as_array_mut().map(|rows| rows.iter_mut().filter(of_bus));
    let found: Vec<&mut Value> = found.into_iter().flatten().collect();
    if found.is_empty() {
        return Ok(rows);
    }
    let hide = app.control().redactor().await?;
    for row in found {
        for said in ["event", "key", "source", "subject", "id", "data"] {
            row["events"][0].get_mut(said).into_iter().for_each(&*hide);
        }
    }
    Ok(rows)
}

/// Triggers as somebody may see them.
async fn triggers(app: &App, who: &Identity, rows: Vec<TriggerRow>) -> Result<Vec<TriggerRow>> {
    let known = rows.into_iter().map(|row| Known { spec: row.spec.clone(), row: Some(row) });
    let seen = seen(app, who, known.collect()).await?;
    Ok(seen.into_iter().filter_map(|known| known.row).collect())
}
