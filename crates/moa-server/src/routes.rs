//! Routes, each with who may ask for it, what it is about, and what the API's document says of it.
//!
//! There is no way to add a route without saying who may and which scope reaches it: [`Routes::api`] and [`Routes::page`] are
//! the only ones, and each puts the check in front of its handler.

use axum::Router;
use axum::extract::{RawPathParams, Request};
use axum::middleware::{Next, from_fn};
use axum::response::IntoResponse;
use axum::routing::MethodRouter;
use utoipa::ToSchema;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn, Paths};
use utoipa::openapi::schema::{Object, Schema, Type};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{ContentBuilder, OpenApi, PathItem, Ref, RefOr, ResponseBuilder};

use crate::App;
use crate::auth::require;
use crate::auth::role::Access;
use crate::auth::scope::Area;
use crate::error::ProblemDocument;
use crate::exposition::Template;

/// What `utoipa_axum::routes!` makes of handlers.
pub type Documented = (Vec<(String, RefOr<Schema>)>, Paths, MethodRouter<App>);

/// One row of the table of routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// `GET`.
    pub method: String,
    /// `/api/v1/runs/{run}`.
    pub path: String,
    /// Who may.
    pub access: Access,
    /// What it is about: which scopes reach it.
    pub area: Area,
}

/// Routes being gathered.
pub struct Routes {
    router: Router<App>,
    /// What programs are told; `None` = nobody asks for it here, and nothing of it is kept.
    document: Option<OpenApi>,
    table: Vec<Row>,
}

impl Routes {
    /// None yet.
    pub fn new(document: Option<OpenApi>) -> Self {
        Self { router: Router::new(), document, table: Vec::new() }
    }

    /// Adds handlers of one path of the API that are documented by `#[utoipa::path]`.
    pub fn api(
        mut self,
        access: Access,
        area: impl Into<Area>,
        (schemas, paths, methods): Documented,
    ) -> Self {
        let area = area.into();
        if let Some(document) = &mut self.document {
            let components = document.components.get_or_insert_default();
            components.schemas.extend(schemas);
        }
        for (path, mut item) in paths.paths {
            for (method, operation) in operations(&mut item) {
                let row = Row { method: method.into(), path: path.clone(), access, area };
                self.table.push(row);
                operation.operation_id = Some(operation_id(method, &path));
                describe(operation, access, area);
            }
            let handlers = guarded(access, area, &path, methods.clone());
            self.router = self.router.route(&path, handlers);
            let Some(document) = &mut self.document else { continue };
            match document.paths.paths.get_mut(&path) {
                Some(known) => known.merge_operations(item),
                None => {
                    document.paths.paths.insert(path, item);
                }
            }
        }
        self
    }

    /// Adds a page: what the dashboard shows or does, not in the document.
    pub fn page(
        mut self,
        access: Access,
        area: impl Into<Area>,
        method: &'static str,
        path: &str,
        handler: MethodRouter<App>,
    ) -> Self {
        let area = area.into();
        self.table.push(Row { method: method.into(), path: path.into(), access, area });
        self.router = self.router.route(path, guarded(access, area, path, handler));
        self
    }

    /// The router, the document and the table.
    pub fn finish(self) -> (Router<App>, Option<OpenApi>, Vec<Row>) {
        (self.router, self.document, self.table)
    }
}

/// Handlers behind the check of who may ask; each answer says whose it is.
fn guarded(
    access: Access,
    area: Area,
    path: &str,
    methods: MethodRouter<App>,
) -> MethodRouter<App> {
    let template = Template(path.into());
    let check = move |params: RawPathParams, request: Request, next: Next| {
        let template = template.clone();
        async move {
            let mut response = require((access, area), params, request, next).await.into_response();
            response.extensions_mut().insert(template);
            response
        }
    };
    methods.route_layer(from_fn(check))
}

fn operations(item: &mut PathItem) -> Vec<(&'static str, &mut Operation)> {
    let PathItem { get, put, post, delete, patch, .. } = item;
    let all = [("GET", get), ("PUT", put), ("POST", post), ("DELETE", delete), ("PATCH", patch)];
    all.into_iter().filter_map(|(name, operation)| Some((name, operation.as_mut()?))).collect()
}

/// The name of an operation for programs that are made from the document: `get_runs_run_why`.
fn operation_id(method: &str, path: &str) -> String {
    let parts = path.split(['/', '{', '}', '-']).filter(|part| !part.is_empty() && *part != "v1");
    let words: Vec<&str> = parts.map(|part| part.trim_end_matches(".json")).collect();
    format!("{}_{}", method.to_ascii_lowercase(), words.join("_"))
}

/// Says how a client asks for what has changed alone, where it can.
fn tell_tags(operation: &mut Operation) {
    let responses = &mut operation.responses.responses;
    if !responses.contains_key("304") {
        return;
    }
    for status in ["200", "304"] {
        if let Some(RefOr::T(response)) = responses.get_mut(status) {
            let tag = header("Which version of it this is", Type::String);
            response.headers.insert("etag".into(), tag.into());
        }
    }
    let param = ParameterBuilder::new()
        .name("If-None-Match")
        .parameter_in(ParameterIn::Header)
        .description(Some("ETags of what the client has"))
        .schema(Some(Object::with_type(Type::String)))
        .build();
    operation.parameters.get_or_insert_default().push(param.into());
}

fn header(about: &str, of: Type) -> Header {
    HeaderBuilder::new().schema(Some(Object::with_type(of))).description(Some(about)).build()
}

/// Says in the document who may, and how refusals look.
fn describe(operation: &mut Operation, access: Access, area: Area) {
    let problem = Ref::from_schema_name(ProblemDocument::name());
    let content = ContentBuilder::new().schema(Some(problem)).build();
    let refused = ResponseBuilder::new()
        .description("It is refused: a problem document says why")
        .content("application/problem+json", content)
        .header("retry-after", header("Seconds to wait, of 429 and 503", Type::Integer))
        .header("allow", header("The methods that there are, of 405", Type::String))
        .header("www-authenticate", header("How to say who asks, of 401", Type::String))
        .build();
    tell_tags(operation);
    operation.responses.responses.entry("default".into()).or_insert_with(|| refused.into());
    if access == Access::Public {
        operation.security = Some(Vec::new());
        return;
    }
    let none: [&str; 0] = [];
    let token = SecurityRequirement::new("token", none);
    let session = SecurityRequirement::new("session", none);
    operation.security = Some(vec![token, session]);
    let text = operation.description.take().unwrap_or_default();
    let scope = match area {
        Area::Free => String::new(),
        Area::Code | Area::Backup => ", and a token without scopes".into(),
        Area::Whole => ", and of a token with scopes `read`".into(),
        Area::Of(of) | Area::ByBody(of) => format!(", and of a token with scopes `{of}`"),
        Area::ByQuery(of) => {
            format!(", and of a token with scopes `{of}`, or `{of}:NAME` with `workflow=NAME`")
        }
    };
    let text = format!("{text}\n\nTakes the role {access}{scope}.");
    operation.description = Some(text.trim().to_owned());
}
