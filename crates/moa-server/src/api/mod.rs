//! The API: one file for each resource, and the table of its routes.
//!
//! A new resource is a file with handlers that `#[utoipa::path]` documents, and lines in [`add`].

pub mod agents;
pub mod alerts;
pub mod audit;
pub mod events;
pub mod health;
pub mod history;
pub mod jobs;
pub mod limits;
pub mod me;
pub mod metrics;
pub mod nodes;
pub mod production;
pub mod rows;
pub mod rules;
pub mod runs;
pub mod secrets;
pub mod seed;
pub mod state;
pub mod tasks;
pub mod tokens;
pub mod triggers;
pub mod webhooks;
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
use crate::error::ProblemDocument;
use crate::extract::tag_response;
use crate::routes::Routes;

/// The routes of the API, each with who may ask for it.
pub fn add(routes: Routes) -> Routes {
    others(definitions(runs(routes)))
}

/// Runs, and what they do.
#[rustfmt::skip]
fn runs(routes: Routes) -> Routes {
    routes
        .api(Least(Viewer), routes!(runs::list::list))
        .api(Least(Operator), routes!(runs::start::start))
        .api(Least(Operator), routes!(runs::bulk::bulk))
        .api(Least(Viewer), routes!(runs::get::get))
        .api(Least(Viewer), routes!(runs::get::document))
        .api(Least(Viewer), routes!(runs::get::steps))
        .api(Least(Viewer), routes!(runs::get::history))
        .api(Least(Viewer), routes!(runs::get::why))
        .api(Least(Viewer), routes!(runs::logs::list))
        .api(Least(Viewer), routes!(runs::logs::get))
        .api(Least(Viewer), routes!(runs::artifacts::list))
        .api(Least(Viewer), routes!(runs::artifacts::get))
        .api(Least(Operator), routes!(runs::change::cancel))
        .api(Least(Operator), routes!(runs::change::terminate))
        .api(Least(Operator), routes!(runs::change::pause))
        .api(Least(Operator), routes!(runs::change::resume))
        .api(Either(Operator, Approver), routes!(runs::change::signal))
        .api(Least(Operator), routes!(runs::repeat::retry))
        .api(Least(Operator), routes!(runs::repeat::rerun))
        .api(Least(Operator), routes!(runs::repeat::fork))
        .api(Least(Viewer), routes!(tasks::list))
}

/// What runs are made of, and what starts them.
#[rustfmt::skip]
fn definitions(routes: Routes) -> Routes {
    routes
        .api(Least(Viewer), routes!(workflows::list))
        .api(Least(Viewer), routes!(workflows::get))
        .api(Least(Viewer), routes!(workflows::source))
        .api(Least(Admin), routes!(workflows::edit::put))
        .api(Least(Viewer), routes!(workflows::versions))
        .api(Least(Viewer), routes!(workflows::diff))
        .api(Least(Viewer), routes!(workflows::graph))
        .api(Least(Operator), routes!(workflows::validate))
        .api(Least(Operator), routes!(workflows::execute))
        .api(Least(Viewer), routes!(triggers::list))
        .api(Least(Viewer), routes!(triggers::schedules))
        .api(Least(Viewer), routes!(triggers::get))
        .api(Least(Viewer), routes!(triggers::next))
        .api(Least(Viewer), routes!(triggers::slots))
        .api(Least(Viewer), routes!(triggers::why))
        .api(Least(Operator), routes!(triggers::change::pause))
        .api(Least(Operator), routes!(triggers::change::resume))
        .api(Least(Operator), routes!(triggers::change::start))
        .api(Least(Operator), routes!(triggers::change::backfill))
        .api(Least(Operator), routes!(triggers::change::cancel_backfill))
        .api(Least(Viewer), routes!(rules::test_trigger))
        .api(Least(Viewer), routes!(rules::list))
        .api(Least(Operator), routes!(rules::create))
        .api(Least(Viewer), routes!(rules::get))
        .api(Least(Operator), routes!(rules::replace))
        .api(Least(Operator), routes!(rules::delete))
        .api(Least(Operator), routes!(rules::enable))
        .api(Least(Operator), routes!(rules::disable))
        .api(Least(Viewer), routes!(rules::test))
}

/// All else.
#[rustfmt::skip]
fn others(routes: Routes) -> Routes {
    routes
        .api(Public, routes!(health::healthz))
        .api(Public, routes!(health::readyz))
        .api(Least(Viewer), routes!(health::health))
        .api(Least(Viewer), routes!(metrics::scrape))
        .api(Least(Viewer), routes!(state::get))
        .api(Least(Viewer), routes!(me::get))
        .api(Least(Viewer), routes!(rows::ask))
        .api(Least(Viewer), routes!(document_json))
        .api(Least(Admin), routes!(tokens::list))
        .api(Least(Admin), routes!(tokens::create))
        .api(Least(Admin), routes!(tokens::revoke))
        .api(Least(Operator), routes!(secrets::list))
        .api(Least(Admin), routes!(secrets::put))
        .api(Least(Admin), routes!(secrets::delete))
        .api(Least(Admin), routes!(audit::list))
        .api(Least(Admin), routes!(audit::verify))
        .api(Least(Viewer), routes!(nodes::list))
        .api(Least(Viewer), routes!(agents::list))
        .api(Least(Viewer), routes!(agents::get))
        .api(Least(Operator), routes!(agents::pause))
        .api(Least(Operator), routes!(agents::resume))
        .api(Least(Operator), routes!(agents::drain))
        .api(Least(Viewer), routes!(agents::health))
        .api(Least(Viewer), routes!(agents::metrics))
        .api(Least(Viewer), routes!(events::query))
        .api(Least(Operator), routes!(events::publish))
        .api(Least(Viewer), routes!(crate::stream::stream))
        .api(Least(Viewer), routes!(limits::list))
        .api(Least(Viewer), routes!(alerts::list))
        .api(Least(Operator), routes!(alerts::ack))
        .api(Least(Operator), routes!(alerts::resolve))
        .api(Least(Viewer), routes!(production::counters))
        .api(Least(Viewer), routes!(production::targets))
        .api(Least(Viewer), routes!(history::get))
        .api(Least(Admin), routes!(production::config))
        .api(Least(Viewer), routes!(jobs::list))
        .api(Least(Admin), routes!(jobs::run))
        .api(Least(Viewer), routes!(webhooks::list))
        .api(Least(Viewer), routes!(webhooks::deliveries))
        .api(Least(Operator), routes!(webhooks::test))
        .api(Least(Operator), routes!(webhooks::redeliver))
        .api(Public, routes!(crate::hooks::of_workflow))
        .api(Public, routes!(crate::hooks::of_trigger))
        .api(Least(Operator), routes!(seed::execute))
        .api(Least(Viewer), routes!(seed::run))
        .api(Least(Viewer), routes!(seed::agents))
        .api(Least(Viewer), routes!(seed::agent_metrics))
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
