//! The coming days over all schedules.

use std::collections::BTreeMap;

use axum::extract::State;
use moa_view::now;
use serde::Serialize;
use utoipa::ToSchema;

use super::triggers::known;
use crate::App;
use crate::error::Result;
use crate::extract::Json;
use crate::pages::schedules::Coming;
use crate::pages::schedules::calendar::{by_day, is_full};

/// Local times of one schedule and day that are told.
const TIMES: usize = 3;

/// The coming days.
#[derive(Debug, Serialize, ToSchema)]
pub struct Calendar {
    /// The project's time zone, in which today is the first day.
    zone: String,
    /// The next 14 days, in order.
    days: Vec<CalendarDay>,
}

/// A day.
#[derive(Debug, Serialize, ToSchema)]
pub struct CalendarDay {
    /// Its date.
    day: String,
    /// The schedules that are due on it, by name; each day as the zone of its schedule has it.
    schedules: Vec<CalendarEntry>,
}

/// What is due of a schedule on a day.
#[derive(Debug, Serialize, ToSchema)]
pub struct CalendarEntry {
    /// The trigger.
    trigger: String,
    /// Its slots of that day.
    slots: usize,
    /// Whether there are more: no more than so many are counted.
    more: bool,
    /// The local times of the first ones.
    first: Vec<String>,
}

/// The coming days over all schedules
///
/// What schedules that may start runs have in the next 14 days.
#[utoipa::path(
    get, path = "/api/v1/calendar", tag = "triggers",
    responses((status = 200, description = "Day by day", body = Calendar)),
)]
pub async fn get(State(app): State<App>) -> Result<Json<Calendar>> {
    let all = known(&app, None).await?;
    let zone = app.control().zone();
    let entry = |(trigger, slots): (String, Vec<Coming<'_>>)| CalendarEntry {
        trigger,
        slots: slots.len(),
        more: is_full(slots.len()),
        first: slots.into_iter().take(TIMES).map(|slot| slot.local).collect(),
    };
    let day = |(day, schedules): (String, BTreeMap<String, Vec<Coming<'_>>>)| CalendarDay {
        day,
        schedules: schedules.into_iter().map(entry).collect(),
    };
    let days = by_day(&all, now(), &zone).into_iter().map(day).collect();
    Ok(Json(Calendar { zone: zone.name().to_owned(), days }))
}
