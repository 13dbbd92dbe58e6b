//! Counters, targets, and the settings with where they came from.

use axum::extract::State;
use moa_view::target::{Counted, Setting, Standing};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::paging::Part;
use crate::App;
use crate::error::Result;
use crate::extract::{Json, Query};

/// A counter of what the work brings.
#[derive(Debug, Serialize, ToSchema)]
pub struct CounterItem {
    /// Its name.
    metric: String,
    /// Of the day that goes on, in the project's zone.
    today: f64,
    /// Of the month.
    month: f64,
    /// Of the year.
    year: f64,
    /// Of all time.
    total: f64,
    /// The day on which counting began.
    since: Option<String>,
    /// The last thirty days, the newest last.
    days: Vec<DayItem>,
}

/// What a day brought.
#[derive(Debug, Serialize, ToSchema)]
pub struct DayItem {
    /// The day.
    day: String,
    /// What was counted.
    count: f64,
}

impl From<Counted> for CounterItem {
    fn from(counted: Counted) -> Self {
        let Counted { metric, today, month, year, total, since, days } = counted;
        let since = since.map(|day| day.to_string());
        let days = days.into_iter().map(|(day, count)| DayItem { day: day.to_string(), count });
        Self { metric, today, month, year, total, since, days: days.collect() }
    }
}

/// Counters.
#[derive(Debug, Serialize, ToSchema)]
pub struct CounterList {
    /// By name.
    metrics: Vec<CounterItem>,
    /// `cursor` of the next page; null = this is the last one.
    next: Option<String>,
}

/// What has been counted
///
/// The counters that `metrics` in `moa.yaml` names, and `tasks_completed` and `tasks_failed`.
#[utoipa::path(
    get, path = "/api/v1/metrics", tag = "metrics", params(Part),
    responses((status = 200, description = "By name", body = CounterList)),
)]
pub async fn counters(
    State(app): State<App>,
    Query(part): Query<Part>,
) -> Result<Json<CounterList>> {
    let counted = app.control().production().await?.counters;
    let (counted, next) = part.of(counted, |counted| counted.metric.clone())?;
    Ok(Json(CounterList { metrics: counted.into_iter().map(CounterItem::from).collect(), next }))
}

/// A target in the period that goes on.
#[derive(Debug, Serialize, ToSchema)]
pub struct TargetItem {
    /// The counter.
    metric: String,
    /// `day`, `month` or `year`.
    period: &'static str,
    /// Its first day.
    from: String,
    /// What was counted so far.
    count: f64,
    /// Less is too little.
    minimum: Option<f64>,
    /// As much as is wanted.
    target: Option<f64>,
    /// More is too much.
    maximum: Option<f64>,
    /// What it is heading for; null = too little is known yet.
    forecast: Option<f64>,
    /// `open`, `too_little`, `enough`, `good` or `too_much`.
    outlook: &'static str,
}

impl From<Standing> for TargetItem {
    fn from(standing: Standing) -> Self {
        let Standing { metric, period, from, count, bounds, forecast, outlook } = standing;
        Self {
            metric,
            period: period.as_str(),
            from: from.to_string(),
            count,
            minimum: bounds.minimum,
            target: bounds.target,
            maximum: bounds.maximum,
            forecast,
            outlook: outlook.as_str(),
        }
    }
}

/// Targets.
#[derive(Debug, Serialize, ToSchema)]
pub struct TargetList {
    /// By counter and period.
    targets: Vec<TargetItem>,
    /// `cursor` of the next page; null = this is the last one.
    next: Option<String>,
}

/// How production stands against its targets
#[utoipa::path(
    get, path = "/api/v1/targets", tag = "metrics", params(Part),
    responses((status = 200, description = "By counter and period", body = TargetList)),
)]
pub async fn targets(State(app): State<App>, Query(part): Query<Part>) -> Result<Json<TargetList>> {
    let targets = app.control().production().await?.targets;
    let key = |target: &Standing| (target.metric.clone(), target.period);
    let (targets, next) = part.by(targets, key)?;
    Ok(Json(TargetList { targets: targets.into_iter().map(TargetItem::from).collect(), next }))
}

/// A setting.
#[derive(Debug, Serialize, ToSchema)]
pub struct SettingItem {
    /// Its path: `limits.max_running`.
    key: String,
    /// Its value. Of addresses only the host is told; what is secret is not told.
    #[schema(value_type = Value)]
    value: Value,
    /// Where it came from: `default`, `moa.yaml:3`, `environment (MOA_LOG_LEVEL)`.
    origin: String,
}

/// Settings.
#[derive(Debug, Serialize, ToSchema)]
pub struct SettingList {
    /// By path.
    settings: Vec<SettingItem>,
    /// `cursor` of the next page; null = this is the last one.
    next: Option<String>,
}

/// The settings that the node was started with, and where each came from
#[utoipa::path(
    get, path = "/api/v1/config", tag = "state", params(Part),
    responses((status = 200, description = "By path", body = SettingList)),
)]
pub async fn config(State(app): State<App>, Query(part): Query<Part>) -> Result<Json<SettingList>> {
    let (settings, next) = part.of(app.control().config(), |setting| setting.key.clone())?;
    let item = |s: Setting| SettingItem { key: s.key, value: s.value, origin: s.origin };
    Ok(Json(SettingList { settings: settings.into_iter().map(item).collect(), next }))
}
