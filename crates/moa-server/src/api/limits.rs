//! What is used of agents' limits.

use axum::extract::State;
use moa_core::ids::Name;
use moa_core::limit::{LimitState, Line, Unit};
use moa_view::now;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::agents::find;
use super::paging::Part;
use crate::App;
use crate::error::Result;
use crate::extract::{Json, Query};

/// A limit of an agent, as it stands.
#[derive(Debug, Serialize, ToSchema)]
pub struct LimitItem {
    /// The agent.
    agent: String,
    /// The limit: `5/1h`, `10000/day`, `20.00 USD/day`, `circuit breaker`, `the agent's own pause`.
    limit: String,
    /// `open`, `closed`, `half-open`, `full` or `free`.
    state: &'static str,
    /// What is used of it, in attempts, units, failures in a row, or `unit`.
    used: u64,
    /// How much there is.
    of: u64,
    /// What a budget counts: `micro_usd`, millionths of a US dollar, or `tokens`; null = it is no budget.
    unit: Option<&'static str>,
    /// Until when attempts wait for it.
    until: Option<String>,
}

impl LimitItem {
    /// A limit of an agent.
    pub fn new(agent: &Name, line: &Line) -> Self {
        Self {
            agent: agent.to_string(),
            limit: line.limit.clone(),
            state: line.state,
            used: line.used,
            of: line.of,
            unit: line.unit.map(|unit| match unit {
                Unit::Usd => "micro_usd",
                Unit::Tokens => "tokens",
            }),
            until: line.until.map(|at| at.to_string()),
        }
    }
}

/// Limits.
#[derive(Debug, Serialize, ToSchema)]
pub struct LimitList {
    /// By agent.
    limits: Vec<LimitItem>,
    /// `cursor` of the next page; null = this is the last one.
    next: Option<String>,
}

/// Which limits.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Filter {
    /// Only of this agent.
    #[serde(default)]
    agent: Option<String>,
    /// At most so many, up to 500; 50 when not given.
    #[serde(default)]
    limit: Option<usize>,
    /// Go on where a page ended: its `next`.
    #[serde(default)]
    cursor: Option<String>,
}

/// What is used of agents' limits
#[utoipa::path(
    get, path = "/api/v1/limits", tag = "agents", params(Filter),
    responses((status = 200, description = "By agent", body = LimitList)),
)]
pub async fn list(State(app): State<App>, Query(filter): Query<Filter>) -> Result<Json<LimitList>> {
    let agents = match &filter.agent {
        Some(name) => vec![find(&app, name).await?],
        None => app.control().agents().await.into_values().collect(),
    };
    let used = app.reader().limits().await?;
    let (nothing, now) = (LimitState::default(), now());
    let status = app.control().status().await;
    let limits = agents.iter().flat_map(|spec| {
        let mut lines = used.get(&spec.id).unwrap_or(&nothing).report(&spec.limits, now);
        if let Some(held) = status.held(&spec.id, now) {
            held.mark(&spec.limits, &mut lines);
        }
        let item = |(place, line)| (place, LimitItem::new(&spec.id, line));
        lines.iter().enumerate().map(item).collect::<Vec<(usize, LimitItem)>>()
    });
    let part = Part::new(filter.limit, filter.cursor);
    let (limits, next) = part.by(limits.collect(), |(place, item)| (item.agent.clone(), *place))?;
    Ok(Json(LimitList { limits: limits.into_iter().map(|(_, item)| item).collect(), next }))
}
