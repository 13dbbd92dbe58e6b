//! Workflows: what the project's files say, and the versions that are kept.

pub mod edit;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use moa_core::workflow::Plan;
use moa_view::exit::Failure;
use moa_view::reader::plan;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::files::text;
use super::paging::{Part, no_cursor};
use super::runs::StartedRun;
use super::runs::list::name;
use super::runs::start::{NewRun, Urgency, answer, begin};
use crate::App;
use crate::auth::Identity;
use crate::control::{Drawing, FileWorkflow};
use crate::error::{Code, Problem, Result};
use crate::extract::{Json, Path, Query, tag_response};

/// A workflow of the project's files.
#[derive(Debug, Serialize, ToSchema)]
pub struct WorkflowItem {
    /// Its id.
    workflow: String,
    /// Whether its file has no errors. If it has, the last good version is served, if there is one.
    valid: bool,
    /// Its title.
    title: Option<String>,
    /// What it is for.
    description: Option<String>,
    /// The author's label.
    version: Option<String>,
    /// Its version.
    hash: Option<String>,
    /// Steps that do something.
    steps: Option<usize>,
    /// Its params: name, JSON Schema, default, whether it is required.
    #[schema(value_type = Vec<Object>)]
    params: Value,
    /// What is wrong with its file, and what looks wrong.
    #[schema(value_type = Vec<Object>)]
    diagnostics: Vec<Value>,
    /// Its text, where that is asked for.
    source: Option<String>,
}

impl From<FileWorkflow> for WorkflowItem {
    fn from(file: FileWorkflow) -> Self {
        let plan = file.served.as_ref().map(|(plan, _)| plan);
        let steps =
            |plan: &Plan| plan.steps.iter().filter(|step| !moa_view::is_container(step)).count();
        Self {
            workflow: file.name.to_string(),
            valid: !file.broken,
            title: plan.map(|plan| plan.title.clone()),
            description: plan.and_then(|plan| plan.description.clone()),
            version: plan.and_then(|plan| plan.version.clone()),
            hash: plan.map(|plan| plan.hash.to_string()),
            steps: plan.map(steps),
            params: plan.map_or(Value::Array(Vec::new()), |plan| {
                serde_json::to_value(&plan.params).unwrap_or_default()
            }),
            diagnostics: file.problems,
            source: None,
        }
    }
}

/// The workflows of the project's files.
#[derive(Debug, Serialize, ToSchema)]
pub struct WorkflowList {
    /// By id.
    workflows: Vec<WorkflowItem>,
    /// `cursor` of the next page; null = this is the last one.
    next: Option<String>,
}

/// Workflows
#[utoipa::path(
    get, path = "/api/v1/workflows", tag = "workflows", params(Part),
    responses((status = 200, description = "Those of the project's files", body = WorkflowList)),
)]
pub async fn list(
    State(app): State<App>,
    who: Identity,
    Query(part): Query<Part>,
) -> Result<Json<WorkflowList>> {
    let files = app.control().workflows().await?;
    let (files, next) = part.of(files, |file| file.name.to_string())?;
    let files = seen(&app, &who, files).await?;
    Ok(Json(WorkflowList { workflows: files.into_iter().map(WorkflowItem::from).collect(), next }))
}

/// Which version.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Version {
    /// A version label or the start of a hash; what the file says now when not given.
    #[serde(default)]
    version: Option<String>,
}

/// Which version, and what of it.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Shown {
    /// A version label or the start of a hash; what the file says now when not given.
    #[serde(default)]
    version: Option<String>,
    /// With its text.
    #[serde(default)]
    source: bool,
}

/// The plan and the text of a version.
async fn version(app: &App, workflow: &str, version: Option<&str>) -> Result<(Plan, String)> {
    let name = name(workflow)?;
    if let Some(label) = version {
        let kept = app.reader().version(&name, Some(label)).await?;
        return Ok((plan(&kept)?, kept.source));
    }
    let file = file(app, workflow).await?;
    file.served.ok_or_else(|| {
        let text = format!("the file of workflow {workflow} has errors");
        let problem = Problem::new(Code::InvalidFiles, text);
        problem.hint(format!("/api/v1/workflows/{workflow} tells them"))
    })
}

async fn file(app: &App, workflow: &str) -> Result<FileWorkflow> {
    let name = name(workflow)?;
    let found = app.control().workflow(name.clone()).await?;
    let unknown = || Failure::not_found(format!("there is no workflow {name}"));
    Ok(found.ok_or_else(unknown)?)
}

/// A workflow
///
/// Secrets that the node knows are shown in its text to nobody who could not write it.
#[utoipa::path(
    get, path = "/api/v1/workflows/{workflow}", tag = "workflows",
    params(("workflow" = String, Path, description = "Its id"), Shown),
    responses((status = 200, description = "As its file says", body = WorkflowItem)),
)]
pub async fn get(
    State(app): State<App>,
    who: Identity,
    Path(workflow): Path<String>,
    Query(asked): Query<Shown>,
) -> Result<Json<WorkflowItem>> {
    let (mut item, source) = match &asked.version {
        Some(label) => {
            let served = version(&app, &workflow, Some(label)).await?;
            let (name, source) = (name(&workflow)?, served.1.clone());
            let kept = FileWorkflow {
                name,
                broken: false,
                problems: Vec::new(),
                served: Some(served),
                file: None,
            };
            (item(&app, &who, kept).await?, Some(source))
        }
        None => {
            let file = file(&app, &workflow).await?;
            let own = file.file.as_ref().map(|(own, _)| own.clone());
            let source = own.or_else(|| file.served.as_ref().map(|(_, served)| served.clone()));
            (item(&app, &who, file).await?, source)
        }
    };
    if let Some(source) = source.filter(|_| asked.source) {
        item.source = Some(shown(&app, &who, &workflow, source).await);
    }
    Ok(Json(item))
}

/// The text of a workflow
///
/// Without `version` it is that of the file, whatever is wrong with it; its `ETag` is what `If-Match` of
/// a change takes. Secrets that the node knows are shown to nobody who could not write it.
#[utoipa::path(
    get, path = "/api/v1/workflows/{workflow}/source", tag = "workflows",
    params(("workflow" = String, Path, description = "Its id"), Version),
    responses(
        (status = 200, description = "YAML", body = String, content_type = "text/plain"),
        (status = 304, description = "As the client has it"),
    ),
)]
pub async fn source(
    State(app): State<App>,
    who: Identity,
    Path(workflow): Path<String>,
    Query(asked): Query<Version>,
    headers: HeaderMap,
) -> Result<Response> {
    let shown = async |own: String| shown(&app, &who, &workflow, own).await;
    if asked.version.is_none()
        && let Some((own, tag)) = file(&app, &workflow).await?.file
    {
        let own = shown(own).await;
        return Ok(tag_response(&headers, &tag, || text(own)));
    }
    Ok(text(shown(version(&app, &workflow, asked.version.as_deref()).await?.1).await))
}

/// Whether somebody may write a workflow: who does takes what is there, and writes all of it back.
pub fn writes(who: &Identity, workflow: &str) -> bool {
    who.may_ask("PUT", &format!("/api/v1/workflows/{workflow}/source"), None)
}

/// Workflows as somebody may see them: of one that is none without the secrets in it, nothing is said.
async fn seen(app: &App, who: &Identity, files: Vec<FileWorkflow>) -> Result<Vec<FileWorkflow>> {
    hidden(app, files, |file| !writes(who, file.name.as_str())).await
}

/// Workflows of which some show no secret that the node knows.
///
/// # Errors
/// They can't be looked through.
pub async fn hidden(
    app: &App,
    mut files: Vec<FileWorkflow>,
    of: impl Fn(&FileWorkflow) -> bool,
) -> Result<Vec<FileWorkflow>> {
    let plans = files.iter().filter(|file| of(file)).filter_map(|file| file.served.as_ref());
    let plans = plans.map(|(plan, _)| plan.clone()).collect();
    let mut plans = app.control().redact_plans(plans).await?.into_iter();
    for file in files.iter_mut().filter(|file| of(file) && file.served.is_some()) {
        let plan = plans.next().flatten();
        file.served = file.served.take().and_then(|(_, source)| Some((plan?, source)));
    }
    Ok(files)
}

async fn item(app: &App, who: &Identity, file: FileWorkflow) -> Result<WorkflowItem> {
    let seen = seen(app, who, vec![file.clone()]).await?;
    Ok(WorkflowItem::from(seen.into_iter().next().unwrap_or(file)))
}

/// A plan as somebody may see it.
///
/// # Errors
/// It is none without the secrets in it.
pub async fn seen_plan(app: &App, who: &Identity, plan: Plan) -> Result<Plan> {
    if writes(who, plan.workflow.as_str()) {
        return Ok(plan);
    }
    redacted_plan(app, plan).await
}

/// A plan without the secrets that the node knows.
///
/// # Errors
/// It is none without them.
pub async fn redacted_plan(app: &App, plan: Plan) -> Result<Plan> {
    let name = plan.workflow.clone();
    let clean = app.control().redact_plans(vec![plan]).await?.pop().flatten();
    let text = || format!("{name} has secrets where its steps can't do without");
    Ok(clean.ok_or_else(|| Failure::refused(text()).hint("who may write it reads its file"))?)
}

/// The text of a workflow as somebody may see it.
async fn shown(app: &App, who: &Identity, workflow: &str, own: String) -> String {
    if writes(who, workflow) { own } else { redacted(app, &own).await }
}

/// A text without the secrets that the node knows.
pub async fn redacted(app: &App, text: &str) -> String {
    match app.control().redact(text.into()).await {
        Value::String(text) => text,
        _ => String::new(),
    }
}

/// A refusal without the secrets that the node knows: it may quote what a workflow declares.
pub async fn redacted_problem(app: &App, mut problem: Problem) -> Problem {
    problem.detail = redacted(app, &problem.detail).await;
    for hint in &mut problem.hints {
        *hint = redacted(app, hint).await;
    }
    problem
}

/// A version that is kept.
#[derive(Debug, Serialize, ToSchema)]
pub struct VersionItem {
    /// The workflow.
    workflow: String,
    /// Its identity.
    hash: String,
    /// The author's label.
    version: Option<String>,
    /// When it was first kept.
    created_at: String,
}

/// The versions of a workflow.
#[derive(Debug, Serialize, ToSchema)]
pub struct VersionList {
    /// The newest first.
    versions: Vec<VersionItem>,
    /// `cursor` of the next page; null = this is the last one.
    next: Option<String>,
}

/// The versions of a workflow
#[utoipa::path(
    get, path = "/api/v1/workflows/{workflow}/versions", tag = "workflows",
    params(("workflow" = String, Path, description = "Its id"), Part),
    responses((status = 200, description = "The newest first", body = VersionList)),
)]
pub async fn versions(
    State(app): State<App>,
    Path(workflow): Path<String>,
    Query(part): Query<Part>,
) -> Result<Json<VersionList>> {
    let most = part.most()?;
    // An older text that comes again is the newest, and another may be deleted meanwhile: the number in
    // the order in which versions were put says where a page goes on.
    let before =
        part.cursor().map(|text| text.parse::<u64>().map_err(|_| no_cursor(text))).transpose()?;
    let views = &app.reader().views;
    let mut kept = views.versions_put(&name(&workflow)?, before, most + 1).await?;
    if kept.is_empty() && before.is_none() {
        // Either it has no version yet, or there is no such workflow.
        file(&app, &workflow).await?;
    }
    let more = kept.len() > most;
    kept.truncate(most);
    let next = kept.last().filter(|_| more).map(|(put, _)| put.to_string());
    let item = |(_, version): (u64, moa_ports::store::WorkflowVersion)| VersionItem {
        workflow: version.workflow.to_string(),
        hash: version.hash.to_string(),
        version: version.version,
        created_at: version.created_at.to_string(),
    };
    Ok(Json(VersionList { versions: kept.into_iter().map(item).collect(), next }))
}

/// Which two versions.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Two {
    /// A version label or the start of a hash; the version before the other one when not given.
    #[serde(default)]
    from: Option<String>,
    /// The other one; what the file says now when not given.
    #[serde(default)]
    to: Option<String>,
}

/// What differs between two versions.
#[derive(Debug, Serialize, ToSchema)]
pub struct Difference {
    /// The version of `from`.
    from: String,
    /// The version of `to`.
    to: String,
    /// What differs in what is done; as `moa workflows diff --json` tells it.
    #[schema(value_type = Vec<Object>)]
    changes: Value,
    /// What differs in the texts, as a unified diff.
    text: String,
}

/// What differs between two versions
///
/// Without `from` and `to`, what the file says now is compared with the version before it; where there is
/// none, that is answered with `not_found`. Secrets that the node knows are shown to nobody who could not write the workflow.
#[utoipa::path(
    get, path = "/api/v1/workflows/{workflow}/diff", tag = "workflows",
    params(("workflow" = String, Path, description = "Its id"), Two),
    responses((status = 200, description = "What differs", body = Difference)),
)]
pub async fn diff(
    State(app): State<App>,
    who: Identity,
    Path(workflow): Path<String>,
    Query(two): Query<Two>,
) -> Result<Json<Difference>> {
    let (to, is) = version(&app, &workflow, two.to.as_deref()).await?;
    let (from, was) = match two.from.as_deref() {
        Some(label) => version(&app, &workflow, Some(label)).await?,
        None => {
            let before = app.reader().version_before(&to).await?;
            (plan(&before)?, before.source)
        }
    };
    let mut changes = app.control().diff(&from, &to);
    if !writes(&who, &workflow) {
        changes = app.control().redact(changes).await;
    }
    // Redacted before they are compared: what differs may cut a secret of several lines.
    let was = shown(&app, &who, &workflow, was).await;
    let is = shown(&app, &who, &workflow, is).await;
    let (old, new) = (from.hash.to_string(), to.hash.to_string());
    let lines = similar::TextDiff::from_lines(&was, &is);
    let text = lines.unified_diff().header(&old, &new).to_string();
    Ok(Json(Difference { changes, from: old, to: new, text }))
}

/// Which drawing.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Graph {
    /// A version label or the start of a hash; what the file says now when not given.
    #[serde(default)]
    version: Option<String>,
    /// The language of the drawing; `mermaid` when not given.
    #[serde(default)]
    format: Format,
}

/// Languages of drawings.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Mermaid.
    #[default]
    Mermaid,
    /// Graphviz.
    Dot,
}

/// A workflow as a drawing
#[utoipa::path(
    get, path = "/api/v1/workflows/{workflow}/graph", tag = "workflows",
    params(("workflow" = String, Path, description = "Its id"), Graph),
    responses((status = 200, description = "The drawing", body = String, content_type = "text/plain")),
)]
pub async fn graph(
    State(app): State<App>,
    who: Identity,
    Path(workflow): Path<String>,
    Query(asked): Query<Graph>,
) -> Result<Response> {
    let (plan, _) = version(&app, &workflow, asked.version.as_deref()).await?;
    let plan = seen_plan(&app, &who, plan).await?;
    let language = match asked.format {
        Format::Mermaid => Drawing::Mermaid,
        Format::Dot => Drawing::Dot,
    };
    Ok(text(app.control().draw(&plan, language)))
}

/// A text to check.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Draft {
    /// The text; that of the workflow's file when not given.
    #[serde(default)]
    source: Option<String>,
}

/// What is wrong with a text.
#[derive(Debug, Serialize, ToSchema)]
pub struct Checked {
    /// Whether there are no errors.
    valid: bool,
    /// What is wrong, and what looks wrong.
    #[schema(value_type = Vec<Object>)]
    diagnostics: Vec<Value>,
}

/// Check a workflow
///
/// The text is checked as if it stood in the workflow's file, with the agents and workflows of the
/// project; nothing is kept.
#[utoipa::path(
    post, path = "/api/v1/workflows/{workflow}/validate", tag = "workflows",
    params(("workflow" = String, Path, description = "Its id; it need not exist yet")),
    request_body = Option<Draft>,
    responses((status = 200, description = "What is wrong", body = Checked)),
)]
pub async fn validate(
    State(app): State<App>,
    Path(workflow): Path<String>,
    body: Option<Json<Draft>>,
) -> Result<Json<Checked>> {
    let diagnostics = match body.and_then(|Json(draft)| draft.source) {
        Some(text) => app.control().check_workflow(name(&workflow)?, text).await?,
        None => file(&app, &workflow).await?.problems,
    };
    let valid = diagnostics.iter().all(|found| found["severity"] != "error");
    Ok(Json(Checked { valid, diagnostics }))
}

/// How a workflow is executed.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Execute {
    /// A version label or the start of a hash; what the file says now when not given.
    #[serde(default)]
    version: Option<String>,
    /// Params by name.
    #[serde(default)]
    #[schema(value_type = Object)]
    params: Map<String, Value>,
    /// Priority, when not the workflow's.
    #[serde(default)]
    priority: Option<Urgency>,
}

/// Start a run of a workflow
#[utoipa::path(
    post, path = "/api/v1/workflows/{workflow}/execute", tag = "workflows",
    params(
        ("workflow" = String, Path, description = "Its id"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key starts one run"),
    ),
    request_body = Option<Execute>,
    responses(
        (status = 201, description = "It exists now", body = StartedRun,
         headers(("location" = String, description = "The run"))),
        (status = 200, description = "It existed already, or none was started", body = StartedRun,
         headers(("location" = String, description = "The run, if there is one"))),
    ),
)]
pub async fn execute(
    State(app): State<App>,
    who: Identity,
    Path(workflow): Path<String>,
    headers: HeaderMap,
    body: Option<Json<Execute>>,
) -> Result<Response> {
    let Execute { version, params, priority } = body.map(|Json(body)| body).unwrap_or_default();
    let texts = Default::default();
    let new = NewRun { workflow: name(&workflow)?, version, params, texts, priority };
    Ok(answer(begin(&app, &who, &headers, new).await?))
}
