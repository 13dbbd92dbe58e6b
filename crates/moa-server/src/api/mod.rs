//! The API: one file for each resource, and the table of its routes.
//!
//! A new resource is a file with handlers that `#[utoipa::path]` documents, and lines in [`add`].

pub mod agents;
pub mod alerts;
pub mod audit;
pub mod backup;
pub mod calendar;
pub mod channels;
pub mod events;
pub mod files;
pub mod health;
pub mod history;
pub mod jobs;
pub mod limits;
pub mod links;
pub mod me;
pub mod metrics;
pub mod nodes;
pub mod overview;
pub mod paging;
pub mod production;
pub mod publish;
pub mod rows;
pub mod rules;
pub mod runs;
pub mod secrets;
pub mod seed;
pub mod settings;
pub mod state;
pub mod tasks;
pub mod tokens;
pub mod triggers;
pub mod views;
pub mod webhooks;
pub mod window;
pub mod workflows;

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{Info, OpenApi, OpenApiBuilder};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::routes;

use crate::auth::role::Access::{Either, Least, Public};
use crate::auth::role::Role::{Admin, Approver, Operator, Viewer};
use crate::auth::scope::Area::{Backup, ByBody, ByQuery, Code, Free, Whole};
use crate::auth::scope::Resource::{
    Agents, Alerts, Audit, Events, Metrics, Node, Runs, Secrets, Tokens, Triggers, Webhooks,
    Workflows,
};
use crate::error::ProblemDocument;
use crate::extract::tag_response;
use crate::routes::Routes;

/// The routes of the API, each with who may ask for it and what it is about.
pub fn add(routes: Routes) -> Routes {
    others(definitions(runs(routes)))
}

/// Runs, and what they do.
#[rustfmt::skip]
fn runs(routes: Routes) -> Routes {
    routes
        .api(Least(Viewer), ByQuery(Runs), routes!(runs::list::list))
        .api(Least(Operator), ByBody(Runs), routes!(runs::start::start))
        .api(Least(Operator), Runs, routes!(runs::bulk::preview))
        .api(Least(Operator), Runs, routes!(runs::bulk::bulk))
        .api(Least(Viewer), Runs, routes!(runs::get::get))
        .api(Least(Viewer), Runs, routes!(runs::get::document))
        .api(Least(Viewer), Runs, routes!(runs::get::steps))
        .api(Least(Viewer), Runs, routes!(runs::get::step))
        .api(Least(Viewer), Runs, routes!(runs::get::history))
        .api(Least(Viewer), Runs, routes!(runs::get::why))
        .api(Least(Viewer), Runs, routes!(runs::compare::compare))
        .api(Least(Viewer), Runs, routes!(runs::logs::list))
        .api(Least(Viewer), Runs, routes!(runs::logs::get))
        .api(Least(Viewer), Runs, routes!(runs::artifacts::list))
        .api(Least(Viewer), Runs, routes!(runs::artifacts::get))
        .api(Least(Operator), Runs, routes!(runs::change::cancel))
        .api(Least(Operator), Runs, routes!(runs::change::terminate))
        .api(Least(Operator), Runs, routes!(runs::change::pause))
        .api(Least(Operator), Runs, routes!(runs::change::resume))
        .api(Either(Operator, Approver), Runs, routes!(runs::change::signal))
        .api(Least(Operator), Runs, routes!(runs::repeat::retry))
        .api(Least(Operator), Runs, routes!(runs::repeat::rerun))
        .api(Least(Operator), Runs, routes!(runs::repeat::fork))
        .api(Least(Viewer), ByQuery(Runs), routes!(tasks::list))
        .api(Least(Viewer), Runs, routes!(views::list))
        .api(Least(Operator), Runs, routes!(views::put))
        .api(Least(Operator), Runs, routes!(views::delete))
}

/// What runs are made of, and what starts them.
#[rustfmt::skip]
fn definitions(routes: Routes) -> Routes {
    routes
        .api(Least(Viewer), Workflows, routes!(workflows::list))
        .api(Least(Viewer), Workflows, routes!(workflows::get))
        .api(Least(Viewer), Workflows, routes!(workflows::source))
        .api(Least(Admin), Code, routes!(workflows::edit::put))
        .api(Least(Admin), Workflows, routes!(workflows::edit::delete))
        .api(Least(Viewer), Workflows, routes!(workflows::versions))
        .api(Least(Viewer), Workflows, routes!(workflows::diff))
        .api(Least(Viewer), Workflows, routes!(workflows::graph))
        .api(Least(Operator), Workflows, routes!(workflows::validate))
        .api(Least(Operator), Runs, routes!(workflows::execute))
        .api(Least(Viewer), ByQuery(Triggers), routes!(triggers::list))
        .api(Least(Viewer), ByQuery(Triggers), routes!(triggers::schedules))
        .api(Least(Viewer), Triggers, routes!(calendar::get))
        .api(Least(Viewer), Triggers, routes!(triggers::get))
        .api(Least(Viewer), Triggers, routes!(triggers::next))
        .api(Least(Viewer), Triggers, routes!(triggers::slots))
        .api(Least(Viewer), Triggers, routes!(triggers::why))
        .api(Least(Operator), Triggers, routes!(triggers::change::pause))
        .api(Least(Operator), Triggers, routes!(triggers::change::resume))
        .api(Least(Operator), Triggers, routes!(triggers::change::start))
        .api(Least(Viewer), Triggers, routes!(triggers::preview::get))
        .api(Least(Operator), Triggers, routes!(triggers::change::backfill))
        .api(Least(Operator), Triggers, routes!(triggers::change::cancel_backfill))
        .api(Least(Viewer), Triggers, routes!(rules::test_trigger))
        .api(Least(Viewer), Triggers, routes!(rules::list))
        .api(Least(Operator), Triggers, routes!(rules::create))
        .api(Least(Viewer), Triggers, routes!(rules::get))
        .api(Least(Operator), Triggers, routes!(rules::replace))
        .api(Least(Operator), Triggers, routes!(rules::delete))
        .api(Least(Operator), Triggers, routes!(rules::enable))
        .api(Least(Operator), Triggers, routes!(rules::disable))
        .api(Least(Viewer), Triggers, routes!(rules::test))
}

/// All else.
#[rustfmt::skip]
fn others(routes: Routes) -> Routes {
    routes
        .api(Public, Free, routes!(health::healthz))
        .api(Public, Free, routes!(health::readyz))
        .api(Least(Viewer), Node, routes!(health::health))
        .api(Least(Viewer), Metrics, routes!(metrics::scrape))
        .api(Least(Viewer), Whole, routes!(state::get))
        .api(Least(Viewer), Whole, routes!(overview::get))
        .api(Least(Viewer), Node, routes!(settings::get))
        .api(Least(Viewer), Free, routes!(me::get))
        .api(Least(Viewer), Whole, routes!(rows::ask))
        .api(Least(Viewer), Free, routes!(document_json))
        .api(Least(Admin), Tokens, routes!(tokens::list))
        .api(Least(Admin), Tokens, routes!(tokens::create))
        .api(Least(Admin), Tokens, routes!(tokens::revoke))
        .api(Least(Viewer), Free, routes!(links::create))
        .api(Least(Operator), Node, routes!(channels::list))
        .api(Least(Operator), Node, routes!(channels::test))
        .api(Least(Operator), Secrets, routes!(secrets::list))
        .api(Least(Admin), Secrets, routes!(secrets::put))
        .api(Least(Admin), Secrets, routes!(secrets::delete))
        .api(Least(Admin), Secrets, routes!(secrets::rotate_key))
        .api(Least(Admin), Audit, routes!(audit::list))
        .api(Least(Admin), Audit, routes!(audit::verify))
        .api(Least(Admin), Backup, routes!(backup::make))
        .api(Least(Viewer), Node, routes!(nodes::list))
        .api(Least(Viewer), Agents, routes!(agents::list))
        .api(Least(Admin), Code, routes!(agents::edit::register))
        .api(Least(Viewer), Agents, routes!(agents::get))
        .api(Least(Admin), Agents, routes!(agents::edit::delete))
        .api(Least(Operator), Agents, routes!(agents::edit::source))
        .api(Least(Admin), Code, routes!(agents::edit::put))
        .api(Least(Admin), Code, routes!(agents::test::test))
        .api(Least(Operator), Agents, routes!(agents::pause))
        .api(Least(Operator), Agents, routes!(agents::resume))
        .api(Least(Operator), Agents, routes!(agents::drain))
        .api(Least(Operator), Agents, routes!(agents::budget::grant))
        .api(Least(Viewer), Agents, routes!(agents::health))
        .api(Least(Viewer), Agents, routes!(agents::metrics))
        .api(Least(Viewer), ByQuery(Runs), routes!(events::query))
        .api(Least(Viewer), Runs, routes!(events::get))
        .api(Least(Operator), ByBody(Events), routes!(publish::publish))
        .api(Least(Viewer), ByQuery(Runs), routes!(crate::stream::stream))
        .api(Least(Viewer), Node, routes!(limits::list))
        .api(Least(Viewer), Alerts, routes!(alerts::list))
        .api(Least(Operator), Alerts, routes!(alerts::ack))
        .api(Least(Operator), Alerts, routes!(alerts::resolve))
        .api(Least(Viewer), Metrics, routes!(production::counters))
        .api(Least(Viewer), Metrics, routes!(production::targets))
        .api(Least(Viewer), Metrics, routes!(history::get))
        .api(Least(Admin), Node, routes!(production::config))
        .api(Least(Viewer), Node, routes!(jobs::list))
        .api(Least(Admin), Node, routes!(jobs::run))
        .api(Least(Viewer), Webhooks, routes!(webhooks::list))
        .api(Least(Viewer), Webhooks, routes!(webhooks::deliveries))
        .api(Least(Operator), Webhooks, routes!(webhooks::enable))
        .api(Least(Operator), Webhooks, routes!(webhooks::test))
        .api(Least(Operator), Webhooks, routes!(webhooks::redeliver))
        .api(Public, Free, routes!(crate::hooks::of_workflow))
        .api(Public, Free, routes!(crate::hooks::of_trigger))
        .api(Least(Operator), ByBody(Runs), routes!(seed::execute))
        .api(Least(Viewer), Runs, routes!(seed::run))
        .api(Least(Viewer), Agents, routes!(seed::agents))
        .api(Least(Viewer), Agents, routes!(seed::agent_metrics))
}

/// The head of the API's document.
pub fn document() -> OpenApi {
    let about = "Everything that the command line can do to a running node. Send a token with each \
        request (`Authorization: Bearer TOKEN`); `moa token create` makes one. What is refused is \
        told by a problem document (RFC 9457) with a stable `code`.";
    let mut info = Info::new("moa", env!("CARGO_PKG_VERSION"));
    info.description = Some(about.into());
    let mut document = OpenApiBuilder::new().info(info).build();
    let components = document.components.get_or_insert_default();
    let token = Http::builder().scheme(HttpAuthScheme::Bearer).build();
    components.add_security_scheme("token", SecurityScheme::Http(token));
    let about = "The session of a browser; its name ends with the port. What changes something needs \
        the header X-CSRF-Token too.";
    let session = ApiKey::Cookie(ApiKeyValue::with_description("moa_session", about));
    components.add_security_scheme("session", SecurityScheme::ApiKey(session));
    let mut schemas = vec![(ProblemDocument::name().into_owned(), ProblemDocument::schema())];
    ProblemDocument::schemas(&mut schemas);
    components.schemas.extend(schemas);
    document
}

/// The document of this API
///
/// OpenAPI 3.1, made from the code that answers; `/api/docs` shows it to people.
#[utoipa::path(
    get, path = "/api/v1/openapi.json", tag = "state",
    responses(
        (status = 200, description = "The document", body = Object),
        (status = 304, description = "As the client has it"),
    ),
)]
async fn document_json(State(app): State<crate::App>, headers: HeaderMap) -> Response {
    let document = app.document().clone();
    let tag = blake3::hash(&document).to_hex()[..32].to_owned();
    let kind = [(header::CONTENT_TYPE, "application/json")];
    tag_response(&headers, &tag, || (kind, document).into_response())
}
