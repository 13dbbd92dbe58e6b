//! Triggers of the project's files: put into the store when a node starts and at every edit.
//!
//! The store has what a trigger said last, the files what it says now. A file that is broken, or that
//! can't be found out about, leaves its triggers as they are.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use moa_core::ids::Name;
use moa_core::limits::MARK_AHEAD_MS;
use moa_core::schedule::Restarts;
use moa_core::time::Millis;
use moa_core::trigger::{Source, TriggerId, TriggerSpec};
use moa_engine::Handle;
use moa_engine::handle::{Error, ServeTriggers};
use moa_ports::triggers::{TriggerFilter, TriggerRow};
use moa_ports::views::Views;
use tokio::sync::watch;

use crate::exit::Result;
use crate::project::Project;
use crate::refresh::Watched;
use crate::view::now;

/// Triggers read at once.
const ROWS: usize = 1000;
/// The last starts of nodes that serve the project, beneath its state folder.
const STARTS: &str = "starts.json";

/// How a node serves triggers that starts now: held until they are as the files say, and without
/// catching up while nodes are started again and again.
pub fn serving(state: &Path) -> ServeTriggers {
    let path = state.join(STARTS);
    let mut restarts = restarts(&path);
    let now = now();
    restarts.started(now);
    let text = serde_json::to_string(&restarts).unwrap_or_default();
    if let Err(error) = std::fs::write(&path, text) {
        tracing::warn!(%error, "can't note this start in {}", path.display());
    }
    let catch_up_from = restarts.calm_at(now);
    if let Some(at) = catch_up_from {
        tracing::warn!(
            "nodes were started too often lately: slots missed meanwhile wait until {at}"
        );
    }
    ServeTriggers { catch_up_from, held: true }
}

/// Until when slots that were missed are held back, because nodes were started too often lately.
pub fn held_back(state: &Path) -> Option<Millis> {
    restarts(&state.join(STARTS)).calm_at(now())
}

fn restarts(path: &Path) -> Restarts {
    // What can't be read was never written, or by a machine that lost power: it begins anew.
    let text = std::fs::read_to_string(path).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

/// Those that it serves, for whoever finds occurrences for them.
pub type Reactions = watch::Sender<Arc<Vec<TriggerSpec>>>;

/// Makes the triggers what the files say, then lets the engine serve them.
pub async fn begin(engine: &Handle, views: &dyn Views, watched: &Watched) -> Result<Reactions> {
    put(engine, views, watched).await?;
    engine.serve_triggers();
    Ok(Reactions::new(list(&watched.project)))
}

/// The triggers of a project's files.
pub fn wanted(project: &Project) -> BTreeMap<TriggerId, TriggerSpec> {
    let of = |name: &Name| project.workflows.get(name).and_then(|served| served.triggers.clone());
    let known = project.workflows.iter().filter_map(|(name, served)| {
        served.triggers.as_ref().map(|own| own.specs(name, &of, &project.calendars))
    });
    known.flatten().map(|spec| (spec.id(), spec)).collect()
}

/// The same as a list.
pub fn list(project: &Project) -> Arc<Vec<TriggerSpec>> {
    Arc::new(wanted(project).into_values().collect())
}

/// Makes the triggers what the files say.
pub async fn put(engine: &Handle, views: &dyn Views, watched: &Watched) -> Result<()> {
    let mut wanted = wanted(&watched.project);
    for row in all(views).await? {
        let spec = &*row.spec;
        let id = spec.id();
        match wanted.remove(&id) {
            Some(same) if same == *spec && !row.state.removed => {
                if is_ahead(&row, now()) {
                    tell(&spec.title(), engine.judge_trigger(id).await.map(|_| "is judged anew"))?;
                }
            }
            Some(edited) => put_one(engine, edited).await?,
            // What no file says, no file takes away.
            None if spec.rule => keep_rule(engine, watched, &row).await?,
            None if row.state.removed || is_unknown(watched, spec) => {}
            None => {
                tell(&spec.title(), engine.remove_trigger(id).await.map(|_| "is removed"))?;
            }
        }
    }
    for (_, new) in wanted {
        put_one(engine, new).await?;
    }
    Ok(())
}

/// A rule stays; but it must not start runs of a workflow that is gone.
async fn keep_rule(engine: &Handle, watched: &Watched, row: &TriggerRow) -> Result<()> {
    if row.state.removed {
        return Ok(());
    }
    let (id, spec) = (row.spec.id(), &row.spec);
    let known = watched.project.workflows.contains_key(&spec.workflow)
        || watched.unlisted
        || watched.broken.contains(&spec.workflow);
    if row.state.orphaned == known {
        let done = engine.orphan_trigger(id, !known).await;
        let what = if known { "has its workflow again" } else { "has lost its workflow" };
        tell(&spec.title(), done.map(|_| what))?;
    }
    if is_ahead(row, now()) {
        tell(&spec.title(), engine.judge_trigger(id).await.map(|_| "is judged anew"))?;
    }
    Ok(())
}

/// Says of a rule whether its workflow is gone.
pub async fn orphan(engine: &Handle, id: TriggerId, gone: bool) -> Result<()> {
    engine.orphan_trigger(id, gone).await?;
    Ok(())
}

/// Whether a schedule was dealt with up to an instant that is far ahead, or occurrences were collected
/// at one that is yet to come: the clock was wrong, and nobody would look at it before.
fn is_ahead(row: &TriggerRow, now: Millis) -> bool {
    let mark = row.state.schedule.as_ref().map(|state| state.mark);
    let newest = row.state.collected.as_ref().map(|collected| collected.last.max(collected.since));
    mark.is_some_and(|at| at.0.saturating_sub(now.0) > MARK_AHEAD_MS)
        || newest.is_some_and(|at| at > now)
}

/// Makes a trigger of the files that the store doesn't have yet, so that it can be switched before a
/// node has served it.
pub async fn put_unless_there(
    engine: &Handle,
    views: &dyn Views,
    watched: &Watched,
    id: TriggerId,
) -> Result<()> {
    let is_there = views.trigger(id).await?.is_some_and(|row| !row.state.removed);
    match wanted(&watched.project).remove(&id) {
        Some(spec) if !is_there => put_one(engine, spec).await,
        _ => Ok(()),
    }
}

/// Makes the triggers that listen to a type of events what the files say, before one is published that
/// no node acts on yet.
pub async fn put_listeners(
    engine: &Handle,
    views: &dyn Views,
    watched: &Watched,
    kind: &str,
) -> Result<()> {
    let listens =
        |spec: &TriggerSpec| matches!(&spec.source, Source::Event { event, .. } if event == kind);
    for (id, spec) in wanted(&watched.project).into_iter().filter(|(_, spec)| listens(spec)) {
        let row = views.trigger(id).await?;
        if row.is_none_or(|row| row.state.removed || *row.spec != spec) {
            put_one(engine, spec).await?;
        }
    }
    Ok(())
}

/// Whether nobody knows what the files say about a trigger.
fn is_unknown(watched: &Watched, spec: &TriggerSpec) -> bool {
    let served = watched.project.workflows.get(&spec.workflow);
    watched.unlisted
        || watched.broken.contains(&spec.workflow)
        || served.is_some_and(|served| served.triggers.is_none())
}

async fn put_one(engine: &Handle, spec: TriggerSpec) -> Result<()> {
    let title = spec.title();
    tell(&title, engine.put_trigger(spec).await.map(|_| "is put"))
}

/// Logs what became of a trigger. One that is refused must not keep the others from being put.
fn tell(title: &str, done: std::result::Result<&str, Error>) -> Result<()> {
    match done {
        Ok(what) => tracing::info!(trigger = title, "a trigger {what}"),
        Err(Error::Rejected { reason }) => {
            tracing::error!(trigger = title, "a trigger can't be put: {reason}");
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// All triggers of the store.
pub async fn all(views: &dyn Views) -> Result<Vec<TriggerRow>> {
    let mut rows: Vec<TriggerRow> = Vec::new();
    loop {
        let last = rows.last().map(|row| (row.spec.workflow.clone(), row.spec.label()));
        let filter = TriggerFilter { workflow: None, after: last, limit: ROWS };
        let more = views.triggers(&filter).await?;
        let done = more.len() < ROWS;
        rows.extend(more);
        if done {
            return Ok(rows);
        }
    }
}

#[cfg(test)]
mod tests {
    use moa_core::schedule::Overlap;
    use moa_core::time::Span;
    use moa_core::trigger::{Collect, Collected, Source, TriggerState};

    use super::*;

    #[test]
    fn what_was_collected_by_a_clock_that_was_ahead_is_looked_at() {
        let name = |text: &str| Name::new(text).expect("a name");
        let (quiet, within) = (Some(Span::seconds(3)), Span::seconds(8));
        let spec = TriggerSpec {
            workflow: name("w"),
            name: name("t"),
            rule: false,
            source: Source::Event { event: "go".into(), matches: None },
            enabled: true,
            overlap: Overlap::Allow,
            max_lateness: None,
            pause_after: None,
            collect: Some(Collect { quiet, within, max: 100 }),
            guard: Default::default(),
            priority: None,
            params: Default::default(),
        };
        let at = Millis(1_800_000_000_000);
        let collected = Collected { since: at, last: at.after(Span(1)), held: Vec::new() };
        let state = TriggerState { collected: Some(collected), ..TriggerState::default() };
        let row = TriggerRow { version: 1, spec: Arc::new(spec), state, due_at: None };
        // Half an hour is less than what slots are judged anew for, and more than anybody waits.
        for back_ms in [1, 30 * 60_000, 24 * 60 * 60_000] {
            assert!(is_ahead(&row, Millis(at.0 - back_ms)), "{back_ms}");
        }
        assert!(!is_ahead(&row, at.after(Span(1))));
    }
}
