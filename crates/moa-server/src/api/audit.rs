//! The audit log: who did what, and whether that record is whole.

use axum::extract::State;
use moa_core::schedule::Zone;
use moa_core::time::{Millis, Span};
use moa_view::audit::{self, Verdict};
use moa_view::{now, trigger};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::runs::list::limit;
use crate::App;
use crate::error::{Problem, Result};
use crate::extract::{Json, Query};

/// Acts of a page at most.
const ACTS_MAX: usize = 500;
/// Entries that one question looks through.
const LOOK: u64 = 10_000;

/// Which acts.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Filter {
    /// Only since this instant, or so long ago: `2h`.
    #[serde(default)]
    since: Option<String>,
    /// Only of this action: `run.cancel`; `secret.*` are all that begin so.
    #[serde(default)]
    action: Option<String>,
    /// Only of those whose name holds this text.
    #[serde(default)]
    who: Option<String>,
    /// At most so many, up to 500; 50 when not given.
    #[serde(default)]
    limit: Option<usize>,
    /// Go on where a page ended: its `next`.
    #[serde(default)]
    cursor: Option<u64>,
}

/// Acts.
#[derive(Debug, Serialize, ToSchema)]
pub struct ActPage {
    /// The newest first; as `moa audit list --json` tells each.
    #[schema(value_type = Vec<Object>)]
    acts: Vec<Value>,
    /// `cursor` of the next page, which may be empty; null = this is the last one.
    next: Option<u64>,
}

/// Who did what
#[utoipa::path(
    get, path = "/api/v1/audit", tag = "audit", params(Filter),
    responses((status = 200, description = "The newest first", body = ActPage)),
)]
pub async fn list(State(app): State<App>, Query(asked): Query<Filter>) -> Result<Json<ActPage>> {
    let filter = audit::Filter {
        since: asked.since.as_deref().map(since).transpose()?,
        action: asked.action,
        who: asked.who,
        before: asked.cursor,
        limit: limit(asked.limit, 50, ACTS_MAX)?,
        look: Some(LOOK),
    };
    let found = audit::list(&*app.reader().views, &filter).await?;
    let acts = found.acts.iter().map(audit::Listed::document).collect();
    Ok(Json(ActPage { acts, next: found.next }))
}

/// An instant, or how long ago.
fn since(text: &str) -> Result<Millis> {
    if let Ok(span) = text.parse::<Span>() {
        return Ok(Millis(now().0.saturating_sub_unsigned(span.0)));
    }
    trigger::instant(text, &Zone::utc()).map_err(|_| {
        Problem::invalid(format!("{text:?} is neither an instant nor a duration"))
            .hint("write 2026-01-31T18:00:00Z, or 2h")
    })
}

/// Whether the log is whole.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditVerdict {
    /// Whether nothing was found.
    whole: bool,
    /// Entries that were looked at.
    entries: u64,
    /// The newest entry: `seq`, `hash`.
    #[schema(value_type = Option<Object>)]
    head: Value,
    /// Anchors that were compared.
    anchors: usize,
    /// One line for each thing that is wrong.
    findings: Vec<String>,
    /// What is worth knowing, and not wrong.
    notes: Vec<String>,
}

/// Check the audit log
///
/// Against its chain of hashes, and the anchors that the project has.
#[utoipa::path(
    get, path = "/api/v1/audit/verify", tag = "audit",
    responses((status = 200, description = "What was found", body = AuditVerdict)),
)]
pub async fn verify(State(app): State<App>) -> Result<Json<AuditVerdict>> {
    let Verdict { entries, head, anchors, findings, notes } = app.control().verify_audit().await?;
    let whole = findings.is_empty();
    let head = serde_json::to_value(head).unwrap_or_default();
    Ok(Json(AuditVerdict { whole, entries, head, anchors, findings, notes }))
}
