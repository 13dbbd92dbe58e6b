//! Views of lists of runs: filters that somebody keeps under a name, for everybody.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use moa_ports::search::TEXT_CHARS_MAX;
use moa_view::now;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::paging::Part;
use super::runs::list::{name as workflow_name, statuses};
use crate::App;
use crate::auth::Identity;
use crate::control::{SavedView, VIEWS_MAX};
use crate::error::{Problem, Result};
use crate::extract::{Json, Path, Query};

/// Characters of a view's name.
pub const NAME_CHARS_MAX: usize = 60;

/// A view.
#[derive(Debug, Serialize, ToSchema)]
pub struct ViewItem {
    /// Its name.
    pub view: String,
    /// Its filter.
    pub filter: ViewFilter,
    /// Who saved it last.
    pub by: String,
    /// When.
    pub at: String,
}

/// Which runs a view shows: the keys of `GET /api/v1/runs`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ViewFilter {
    /// Only of these statuses, with commas; `open` = all that have not ended.
    #[serde(default)]
    pub status: String,
    /// Only of this workflow.
    #[serde(default)]
    pub workflow: String,
    /// Only those that hold this text.
    #[serde(default)]
    pub q: String,
    /// Only those that this run started.
    #[serde(default)]
    pub parent: String,
}

/// Views.
#[derive(Debug, Serialize, ToSchema)]
pub struct ViewList {
    /// By name.
    views: Vec<ViewItem>,
    /// `cursor` of the next page; null = this is the last one.
    next: Option<String>,
}

/// The views that are saved.
///
/// # Errors
/// They can't be read.
pub async fn all(app: &App) -> Result<Vec<ViewItem>> {
    let all = app.control().saved_views().await?;
    let item = |(view, saved): (String, SavedView)| {
        let SavedView { status, workflow, q, parent, by, at } = saved;
        let filter = ViewFilter { status, workflow, q, parent };
        ViewItem { view, filter, by, at: at.to_string() }
    };
    Ok(all.into_iter().map(item).collect())
}

/// Saves a view; answers whether it is new.
///
/// # Errors
/// The filter is none, or fits every run; there are too many views.
pub async fn save(app: &App, who: &Identity, view: &str, filter: ViewFilter) -> Result<bool> {
    let view = view.trim();
    let chars = view.chars().count();
    if chars == 0 || chars > NAME_CHARS_MAX || view.chars().any(char::is_control) {
        let text = format!("a view's name has 1 to {NAME_CHARS_MAX} characters on one line");
        return Err(Problem::invalid(text));
    }
    if filter == ViewFilter::default() {
        return Err(
            Problem::invalid("the filter fits every run").hint("say `status`, or another key")
        );
    }
    statuses(&filter.status)?;
    if !filter.workflow.is_empty() {
        workflow_name(&filter.workflow)?;
    }
    if filter.q.chars().count() > TEXT_CHARS_MAX {
        return Err(Problem::invalid(format!("`q` has at most {TEXT_CHARS_MAX} characters")));
    }
    let ViewFilter { status, workflow, q, mut parent } = filter;
    if !parent.is_empty() {
        // As it may be written in the list; a short id may fit others later.
        parent = super::runs::find(app, &parent).await?.to_string();
    }
    let saved = SavedView { status, workflow, q, parent, by: who.cause(), at: now() };
    Ok(app.control().save_view(view.to_owned(), saved).await?)
}

/// Views
///
/// Filters of lists of runs that people have saved under a name; the dashboard shows them above its
/// list. A project has at most 100.
#[utoipa::path(
    get, path = "/api/v1/views", tag = "views", params(Part),
    responses((status = 200, description = "By name", body = ViewList)),
)]
pub async fn list(State(app): State<App>, Query(part): Query<Part>) -> Result<Json<ViewList>> {
    const { assert!(VIEWS_MAX == 100, "the document says so") }
    let (views, next) = part.of(all(&app).await?, |item| item.view.clone())?;
    Ok(Json(ViewList { views, next }))
}

/// Save a view
///
/// One that is there takes this filter.
#[utoipa::path(
    put, path = "/api/v1/views/{view}", tag = "views",
    params(("view" = String, Path, description = "Its name, for people: up to 60 characters")),
    request_body = ViewFilter,
    responses(
        (status = 201, description = "It is new", body = ViewFilter),
        (status = 200, description = "It is so now", body = ViewFilter),
    ),
)]
pub async fn put(
    State(app): State<App>,
    who: Identity,
    Path(view): Path<String>,
    Json(filter): Json<ViewFilter>,
) -> Result<Response> {
    let new = save(&app, &who, &view, filter.clone()).await?;
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(filter)).into_response())
}

/// Delete a view
#[utoipa::path(
    delete, path = "/api/v1/views/{view}", tag = "views",
    params(("view" = String, Path, description = "Its name")),
    responses((status = 204, description = "It is gone")),
)]
pub async fn delete(State(app): State<App>, Path(view): Path<String>) -> Result<StatusCode> {
    app.control().delete_view(view).await?;
    Ok(StatusCode::NO_CONTENT)
}
