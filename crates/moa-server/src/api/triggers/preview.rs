//! What a backfill would do, for the API and the page that asks before it begins one.

use axum::extract::State;
use moa_core::limits::BACKFILL_AT_ONCE_MAX;
use moa_core::schedule::Reprocess;
use moa_core::trigger::BackfillRequest;
use moa_core::workflow::Priority;
use moa_view::backfill::{Judged, Preview, Slots};
use moa_view::trigger::{Known, instant};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::find;
use crate::App;
use crate::api::paging::Part;
use crate::auth::tokens::random_hex;
use crate::error::{Code, Problem, Result};
use crate::extract::{Json, Path, Query};

/// Which slots, and how they are started.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// The first instant; local times are those of the schedule's zone.
    pub from: String,
    /// The end, not in the range.
    pub to: String,
    /// From the newest slot to the oldest.
    pub reverse: bool,
    /// So many runs at once.
    pub at_once: Option<u32>,
    /// Which slots that have had a run get another one.
    pub reprocess: Reprocess,
    /// Also slots that may have had runs which nobody remembers.
    pub forgotten: bool,
    /// Priority of the runs.
    pub priority: Option<Priority>,
    /// The same key is the same backfill.
    pub key: Option<String>,
}

impl Wish {
    /// What the node is asked for, by somebody.
    ///
    /// # Errors
    /// An instant is none, the range ends before it begins, or it is too many runs at once.
    pub fn request(self, known: &Known, by: String) -> Result<BackfillRequest> {
        let table = known.table()?;
        let zone = &table.schedule().zone;
        let (from, to) = (instant(&self.from, zone)?, instant(&self.to, zone)?);
        if from >= to {
            return Err(Problem::invalid(format!("the range ends at {to}, before it begins")));
        }
        let at_once = self.at_once.unwrap_or(1);
        if !(1..=BACKFILL_AT_ONCE_MAX).contains(&at_once) {
            let text = format!("runs at once are from 1 to {BACKFILL_AT_ONCE_MAX}");
            return Err(Problem::invalid(text));
        }
        let Self { reverse, reprocess, forgotten, priority, key, .. } = self;
        let key = key.unwrap_or_else(random_hex::<8>);
        Ok(BackfillRequest { key, from, to, reverse, at_once, reprocess, forgotten, priority, by })
    }
}

/// What a backfill would do, were it asked for now.
///
/// # Errors
/// It is no schedule, the range is too long, or the store can't be read.
pub async fn preview(app: &App, known: &Known, request: &BackfillRequest) -> Result<Preview> {
    // An impossible date costs long to look for: elsewhere than where requests are answered.
    let (of, wanted) = (known.clone(), request.clone());
    let slots = tokio::task::spawn_blocking(move || Slots::of(&of, &wanted)).await;
    let slots = slots.map_err(|_| Problem::new(Code::Internal, "the slots can't be found"))??;
    let age = app.control().occurrences_age().await?;
    Ok(slots.preview(Some(&*app.reader().views), known, request, age).await?)
}

/// Which slots, and how they would be started.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Asked {
    /// The first instant; local times are those of the schedule's zone.
    from: String,
    /// The end, not in the range.
    to: String,
    /// From the newest slot to the oldest.
    #[serde(default)]
    reverse: bool,
    /// Which slots that have had a run get another one: `none`, `failed` or `all`.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    reprocess: Reprocess,
    /// Also those that are older than what the store remembers: they may have had runs.
    #[serde(default)]
    forgotten: bool,
    /// At most so many slots, up to 500; 50 when not given.
    #[serde(default)]
    limit: Option<usize>,
    /// Go on where a page ended: its `next`.
    #[serde(default)]
    cursor: Option<String>,
}

/// What a backfill would do.
#[derive(Debug, Serialize, ToSchema)]
pub struct BackfillPreview {
    /// The schedule.
    name: String,
    /// Slots of the range, on all pages.
    total: usize,
    /// Those that would be started.
    starts: usize,
    /// Those that may have had a run which nobody remembers.
    forgotten: usize,
    /// Why the backfill would be refused; null = it would begin.
    refused: Option<String>,
    /// In the order in which it goes over them: `slot`, `local`, whether it `starts`, whether it is
    /// `forgotten` what became of it; the `outcome` that it had, the last `run` and its `result`.
    #[schema(value_type = Vec<Object>)]
    slots: Vec<Value>,
    /// `cursor` of the next page; null = this is the last one.
    next: Option<String>,
}

/// What a backfill would do
///
/// The slots of the range, whether each would be started or passed over, and what it had. Nothing is
/// changed; the slots are those that `POST` of the same path goes over.
#[utoipa::path(
    get, path = "/api/v1/triggers/{trigger}/backfill", tag = "triggers",
    params(("trigger" = String, Path, description = "The schedule"), Asked),
    responses((status = 200, description = "What would be started", body = BackfillPreview)),
)]
pub async fn get(
    State(app): State<App>,
    Path(name): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Json<BackfillPreview>> {
    let known = find(&app, &name).await?;
    let Asked { from, to, reverse, reprocess, forgotten, limit, cursor } = asked;
    let part = Part::new(limit, cursor);
    part.most()?;
    let wish = Wish { from, to, reverse, reprocess, forgotten, ..Wish::default() };
    let request = wish.request(&known, String::new())?;
    let Preview { name, starts, forgotten, refused, slots } =
        preview(&app, &known, &request).await?;
    let total = slots.len();
    let (slots, next) = part.behind(slots, |judged: &Judged| judged.slot.clone())?;
    let slots = slots.iter().map(serde_json::to_value).collect::<serde_json::Result<_>>();
    let slots = slots.map_err(|e| Problem::new(Code::Internal, e.to_string()))?;
    Ok(Json(BackfillPreview { name, total, starts, forgotten, refused, slots, next }))
}
