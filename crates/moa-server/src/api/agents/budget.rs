//! An agent's budget, and what people grant beyond it.

use axum::extract::State;
use axum::http::HeaderMap;
use moa_core::agent::AgentSpec;
use moa_core::limit::{LimitState, Share, Unit, Usage, Usd};
use moa_core::time::Millis;
use moa_engine::handle::GrantRequest;
use moa_view::now;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::find;
use crate::App;
use crate::api::runs::start::idempotency_key;
use crate::error::{Problem, Result};
use crate::extract::{Json, Path};

/// What an agent may spend in the window of the calendar that now is in, and what it has spent.
#[derive(Debug, Serialize, ToSchema)]
pub struct BudgetItem {
    /// How long a window is: `hour`, `day`, `week` or `month`.
    per: String,
    /// The IANA time zone whose calendar counts.
    timezone: String,
    /// What happens once it is used up: `pause`, `fail` or `ask`.
    on_exceed: &'static str,
    /// Whether it is used up: no attempt starts.
    exceeded: bool,
    /// When the window began.
    since: String,
    /// When the next one begins.
    resets_at: String,
    /// US dollars; null = they have no limit.
    usd: Option<UsdItem>,
    /// Tokens; null = they have no limit.
    tokens: Option<TokensItem>,
}

/// An amount of US dollars. Decimal numbers, exact to a millionth: `20.00`.
#[derive(Debug, Serialize, ToSchema)]
pub struct UsdItem {
    /// What was spent.
    used: String,
    /// What there is, with what was granted.
    of: String,
    /// What was granted of it.
    granted: String,
}

/// A number of tokens.
#[derive(Debug, Serialize, ToSchema)]
pub struct TokensItem {
    /// What was spent.
    used: u64,
    /// What there is, with what was granted.
    of: u64,
    /// What was granted of it.
    granted: u64,
}

impl BudgetItem {
    /// The budget of an agent, if it has one.
    pub fn new(spec: &AgentSpec, used: &LimitState, at: Millis) -> Option<Self> {
        let (budget, stands) = (spec.limits.budget.as_ref()?, used.budget_now(&spec.limits, at)?);
        let of = |unit: Unit| stands.shares.iter().find(move |share| share.unit == unit);
        let usd = |share: &Share| UsdItem {
            used: Usd(share.used).to_string(),
            of: Usd(share.of).to_string(),
            granted: Usd(share.granted).to_string(),
        };
        let tokens = |share: &Share| {
            let Share { used, of, granted, .. } = *share;
            TokensItem { used, of, granted }
        };
        let timezone = if budget.timezone.is_empty() { "UTC" } else { &budget.timezone };
        Some(Self {
            per: budget.per.to_string(),
            timezone: timezone.to_owned(),
            on_exceed: budget.on_exceed.as_str(),
            exceeded: stands.full().is_some(),
            since: stands.since.to_string(),
            resets_at: stands.resets_at.to_string(),
            usd: of(Unit::Usd).map(usd),
            tokens: of(Unit::Tokens).map(tokens),
        })
    }
}

/// What is added to a budget.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// US dollars: `5`, `"0.25"`; millionths count.
    #[serde(default)]
    #[schema(value_type = Option<f64>, minimum = 0)]
    usd: Usd,
    /// Tokens.
    #[serde(default)]
    #[schema(value_type = Option<u64>)]
    tokens: u64,
}

/// A budget after something was granted.
#[derive(Debug, Serialize, ToSchema)]
pub struct Granted {
    /// The agent.
    agent: String,
    /// Its budget.
    budget: Option<BudgetItem>,
}

/// Grant an agent more
///
/// Adds to its budget, for the window of the calendar that now is in; tasks that waited for it start at once. Answered
/// when it is durable. With an `Idempotency-Key` the same request may be sent again: the agent's newest 64 grants are known by
/// their keys. Without one it grants again.
#[utoipa::path(
    post, path = "/api/v1/agents/{agent}/grant", tag = "agents",
    params(
        ("agent" = String, Path, description = "Its id"),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key is one grant"),
    ),
    request_body = Grant,
    responses((status = 200, description = "Its budget by now", body = Granted)),
)]
pub async fn grant(
    State(app): State<App>,
    Path(name): Path<String>,
    headers: HeaderMap,
    Json(grant): Json<Grant>,
) -> Result<Json<Granted>> {
    let spec = find(&app, &name).await?;
    let key = idempotency_key(&headers)?;
    give(&app, &spec, Usage { usd: grant.usd, tokens: grant.tokens }, key).await?;
    let used = app.reader().limits().await?.remove(&spec.id).unwrap_or_default();
    let budget = BudgetItem::new(&spec, &used, now());
    Ok(Json(Granted { agent: spec.id.to_string(), budget }))
}

/// Grants something, if it is something; the same key is the same grant.
///
/// # Errors
/// It is nothing, or more than anybody means; the agent has no budget; it can't be written.
pub async fn give(app: &App, spec: &AgentSpec, more: Usage, key: Option<String>) -> Result<()> {
    let more = more.meant().map_err(Problem::invalid)?;
    if more.is_nothing() {
        let hint = "give `usd`, `tokens`, or both, each more than 0";
        return Err(Problem::invalid("nothing would be granted").hint(hint));
    }
    app.control().grant(GrantRequest { agent: spec.id.clone(), more, key }).await?;
    Ok(())
}
