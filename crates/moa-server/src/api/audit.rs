//! The audit log: who did what, and whether that record is whole.

use axum::extract::State;
use moa_view::audit::{self, Verdict};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::form_urlencoded;
use utoipa::{IntoParams, ToSchema};

use super::runs::list::limit;
use super::window::Window;
use crate::App;
use crate::error::{Problem, Result};
use crate::extract::{Json, Query};

/// Acts of a page at most.
const ACTS_MAX: usize = 500;
/// Entries that one question looks through.
const LOOK: u64 = 10_000;

/// Which acts.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Filter {
    /// Only of those whose name holds this text.
    #[serde(default)]
    pub who: Option<String>,
    /// Only of this action: `run.cancel`; `secret.*` are all that begin so.
    #[serde(default)]
    pub action: Option<String>,
    /// Only what was done to something whose name holds this text.
    #[serde(default)]
    pub object: Option<String>,
    /// Only with this outcome: `done`, `refused`, or `asked`, when it isn't known.
    #[serde(default)]
    pub outcome: Option<String>,
    /// Only since this instant, or so long ago: `2h`, counted from the first page on.
    #[serde(default)]
    pub since: Option<String>,
    /// Only up to this instant, or so long before the first page.
    #[serde(default)]
    pub until: Option<String>,
    /// At most so many, up to 500; 50 when not given.
    #[serde(default)]
    pub limit: Option<usize>,
    /// Go on with older ones where a page ended: its `next`.
    #[serde(default)]
    pub cursor: Option<String>,
    /// Go on with newer ones where a page began: its `previous`. Not with a cursor.
    #[serde(default)]
    pub after: Option<String>,
}

impl Filter {
    /// What is wanted, as the log is asked, and of which time all pages are.
    ///
    /// # Errors
    /// Something of it can't be meant.
    pub fn read(&self) -> Result<(audit::Filter, Window)> {
        if self.cursor.is_some() && self.after.is_some() {
            return Err(Problem::invalid("a page goes on one way: cursor or after"));
        }
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let place = self.cursor.as_deref().or(self.after.as_deref());
        let (since, until) = (self.since.as_deref(), self.until.as_deref());
        let (window, place) = Window::read(since, until, place)?;
        let place = place.map(number).transpose()?;
        let filter = audit::Filter {
            since: window.since,
            until: window.until,
            action: given(&self.action),
            who: given(&self.who),
            object: given(&self.object),
            outcome: given(&self.outcome).map(|text| audit::outcome(&text)).transpose()?,
            before: place.filter(|_| self.cursor.is_some()),
            after: place.filter(|_| self.after.is_some()),
            limit: limit(self.limit, 50, ACTS_MAX)?,
            look: Some(LOOK),
        };
        Ok((filter, window))
    }

    /// The same as a query.
    pub fn query(&self) -> String {
        let Self { who, action, object, outcome, since, until, limit, cursor, after } = self;
        let texts = [
            ("who", who),
            ("action", action),
            ("object", object),
            ("outcome", outcome),
            ("since", since),
            ("until", until),
            ("limit", &limit.map(|limit| limit.to_string())),
            ("cursor", cursor),
            ("after", after),
        ];
        let texts = texts.into_iter().filter_map(|(name, text)| Some((name, text.clone()?)));
        let given = texts.filter(|(_, text)| !text.is_empty());
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(given).finish();
        if query.is_empty() { query } else { format!("?{query}") }
    }
}

/// The number of an entry.
fn number(text: &str) -> Result<u64> {
    let wrong =
        |_| Problem::invalid(format!("{text:?} is no cursor")).hint("send `next` of a page");
    text.parse().map_err(wrong)
}

/// Acts.
#[derive(Debug, Serialize, ToSchema)]
pub struct ActPage {
    /// The newest first; as `moa audit list --json` tells each.
    #[schema(value_type = Vec<Object>)]
    acts: Vec<Value>,
    /// `cursor` of the page of older ones, which may be empty; null = the log begins here.
    next: Option<String>,
    /// `after` of the page of newer ones, which may be empty; null = there are no newer ones yet.
    previous: Option<String>,
}

/// Who did what
#[utoipa::path(
    get, path = "/api/v1/audit", tag = "audit", params(Filter),
    responses((status = 200, description = "The newest first", body = ActPage)),
)]
pub async fn list(State(app): State<App>, Query(asked): Query<Filter>) -> Result<Json<ActPage>> {
    let (filter, window) = asked.read()?;
    let found = audit::list(&*app.reader().views, &filter).await?;
    let acts = found.acts.iter().map(audit::Listed::document).collect();
    let [next, previous] = [found.older, found.newer].map(|seq| seq.map(|seq| window.cursor(seq)));
    Ok(Json(ActPage { acts, next, previous }))
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
