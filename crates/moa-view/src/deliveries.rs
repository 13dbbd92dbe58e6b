//! Deliveries of webhooks as people see them: runs of the workflow that is part of moa, by what they carry.

use std::borrow::Cow;
use std::collections::BTreeMap;

use moa_core::ids::{Name, RunId};
use moa_core::run::RunStatus;
use moa_core::workflow::notify_workflow;
use moa_engine::handle::{ForkFrom, ForkRequest};
use moa_ports::store::Snapshot;
use moa_ports::views::{ChannelRow, Notifies, RunFilter, Views};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::exit::{Failure, Result};
use crate::reader::Reader;

/// Runs read at once.
const PAGE: usize = 100;
/// Runs that one question looks at.
const LOOK: usize = 1000;
/// The state of one that was given up.
const DEAD: &str = "dead";

/// A delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// The run that delivers it.
    pub run: String,
    /// What receivers know it by: `webhook-id`.
    pub id: String,
    /// The type of its event.
    #[serde(rename = "type")]
    pub kind: String,
    /// `delivered`; `dead`, when it was given up; `open`, while it is tried; `stopped` by somebody.
    pub state: Cow<'static, str>,
    /// Whether it is dead, and was made again since, however that went.
    pub superseded: bool,
    /// When it was first to be delivered.
    pub created_at: String,
    /// When it was over.
    pub finished_at: Option<String>,
    /// How often its receiver was called.
    pub attempts: u32,
    /// What its receiver answered last, an HTTP status; `None` = nothing yet, or no answer came.
    pub status: Option<u16>,
    /// Why it is dead, or why the last call of one that is tried was none.
    pub error: Option<String>,
}

/// How the deliveries over a channel stand.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// The newest.
    pub last: Option<Delivery>,
    /// Those that are tried.
    pub open: u64,
    /// Those that were given up, and not made again.
    pub dead: u64,
}

/// Which deliveries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Which {
    /// The channel that delivers them.
    pub channel: Name,
    /// Only those that were given up, and not made again.
    pub dead: bool,
    /// Only older than this run.
    pub before: Option<RunId>,
    /// At most so many.
    pub limit: usize,
}

/// Deliveries, the newest first, and the run where the next part goes on. That one may be empty: so
/// many runs are looked at for one part, and no more.
///
/// # Errors
/// The store can't be read.
pub async fn list(views: &dyn Views, which: &Which) -> Result<(Vec<Delivery>, Option<RunId>)> {
    let channel = which.channel.as_str();
    let statuses = if which.dead { vec![RunStatus::Failed] } else { Vec::new() };
    let mut filter = RunFilter { statuses, before: which.before, ..over(channel, None) };
    let (mut found, mut looked) = (Vec::new(), 0);
    while looked < LOOK {
        filter.limit = PAGE;
        let runs = views.with_first_steps(&filter).await?;
        let Some(last) = runs.last().map(|last| last.row.run) else { return Ok((found, None)) };
        filter.before = Some(last);
        looked += runs.len();
        for run in &runs {
            let mut delivery = read(run);
            if delivery.state == DEAD {
                let later = newest(views, channel, &delivery.id).await?;
                delivery.superseded = later.is_some_and(|later| later.row.run != run.row.run);
            }
            if which.dead && delivery.superseded {
                continue;
            }
            if found.len() == which.limit {
                let last: Option<&Delivery> = found.last();
                let next = last.and_then(|last| last.run.parse().ok());
                return Ok((found, next));
            }
            found.push(delivery);
        }
    }
    Ok((found, filter.before))
}

/// Deliveries over a channel: all, or those that receivers know by the same id.
fn over(channel: &str, id: Option<&str>) -> RunFilter {
    let notifies = Notifies { channel: channel.to_owned(), key: id.map(str::to_owned) };
    let workflow = Some(notify_workflow());
    RunFilter { workflow, notifies: Some(notifies), ..RunFilter::default() }
}

/// The newest run of a delivery over a channel, by the delivery's id.
async fn newest(views: &dyn Views, channel: &str, id: &str) -> Result<Option<Snapshot>> {
    let filter = RunFilter { limit: 1, ..over(channel, Some(id)) };
    Ok(views.with_first_steps(&filter).await?.pop())
}

/// Those of these runs whose delivery was made again since, with the run that makes it.
///
/// # Errors
/// That run was given up too: it is the one to be made again. Or the store can't be read.
async fn made_since(
    views: &dyn Views,
    channel: &Name,
    runs: &[(RunId, String)],
) -> Result<BTreeMap<RunId, RunId>> {
    let mut made = BTreeMap::new();
    for (run, id) in runs {
        let later = newest(views, channel.as_str(), id).await?;
        let Some(later) = later.filter(|later| later.row.run != *run) else { continue };
        if state_of(later.row.status) == DEAD {
            let text = format!("the delivery of run {run} was made again, and is dead again");
            let hint = format!("have run {} made again", later.row.run);
            return Err(Failure::refused(text).hint(hint));
        }
        made.insert(*run, later.row.run);
    }
    Ok(made)
}

/// What is to be made again.
#[derive(Debug, Clone, Copy)]
pub struct Again<'a> {
    /// The webhook.
    pub webhook: &'a Name,
    /// The channel that delivers to it.
    pub channel: &'a Name,
    /// Whether the settings want it to be called; `None` = they don't name it any more.
    pub active: Option<bool>,
    /// The runs that were to deliver; `None` = the newest whose delivery is dead.
    pub runs: Option<&'a [String]>,
    /// So many of those.
    pub most: usize,
}

/// The runs whose delivery is to be made again, each with the run that has done so since.
///
/// # Errors
/// The webhook is called no more; one of the runs delivers nothing to it, or another one is to be named in
/// its place; the store can't be read.
pub async fn again(reader: &Reader, asked: Again<'_>) -> Result<Vec<(RunId, Option<RunId>)>> {
    let Again { webhook, channel, active, runs, most } = asked;
    match active {
        Some(true) => {}
        Some(false) => {
            return Err(Failure::refused(format!("the webhook {webhook} is switched off"))
                .hint("calls are made again once it is `active: true` in moa.yaml"));
        }
        None => {
            let text = format!("the webhook {webhook} was removed: nobody knows whom to call");
            return Err(Failure::refused(text)
                .hint("calls are made again once it is in `webhooks` of moa.yaml again"));
        }
    }
    let views = &*reader.views;
    let Some(named) = runs else {
        let which = Which { channel: channel.clone(), dead: true, before: None, limit: most };
        let (dead, _) = list(views, &which).await?;
        let runs = dead.into_iter().filter_map(|delivery| delivery.run.parse::<RunId>().ok());
        return Ok(runs.map(|run| (run, None)).collect());
    };
    if named.len() > most {
        return Err(Failure::usage(format!("at most {most} at once")));
    }
    let mut ids: Vec<(RunId, String)> = Vec::new();
    for text in named {
        let run = reader.find(text).await?;
        let known = reader.head(run).await?;
        if !is_over(&known.row.params, channel) {
            return Err(Failure::not_found(format!("run {run} delivers nothing to {webhook}")));
        }
        ids.push((run, id_of(&known.row.params)));
    }
    let made = made_since(views, channel, &ids).await?;
    Ok(ids.into_iter().map(|(run, _)| (run, made.get(&run).copied())).collect())
}

/// What a node is asked for to make the delivery of a run again; asked twice, it does so once.
pub fn request(run: RunId, cause: String) -> ForkRequest {
    let idempotency_key = Some(format!("redeliver/{run}"));
    ForkRequest { run, from: ForkFrom::Failed, params: None, idempotency_key, cause }
}

/// How the deliveries over each channel stand.
///
/// # Errors
/// The store can't be read.
pub async fn standings(views: &dyn Views) -> Result<BTreeMap<String, Standing>> {
    let mut all = BTreeMap::new();
    for ChannelRow { channel, last, open, dead } in views.channels().await? {
        // One that is gone by now is no more.
        let last = views.run_part(last, 0, 1).await?.map(|run| read(&run));
        all.insert(channel, Standing { last, open, dead });
    }
    Ok(all)
}

/// The delivery that a run makes.
fn read(run: &Snapshot) -> Delivery {
    let row = &run.row;
    let text = |name: &str| row.params[name].as_str().unwrap_or_default().to_owned();
    let kind = row.params["about"]["type"].as_str().unwrap_or_default().to_owned();
    let of_run = || row.error.as_ref().map(|error| error.message.clone());
    let error = last_error(run).or_else(of_run);
    let attempts = run.steps.first().map_or(0, |step| step.attempt.saturating_sub(step.released));
    Delivery {
        run: row.run.to_string(),
        id: text("key"),
        kind,
        state: state_of(row.status).into(),
        superseded: false,
        created_at: row.created_at.to_string(),
        finished_at: row.finished_at.map(|at| at.to_string()),
        attempts,
        status: status(run).or_else(|| error.as_deref().and_then(status_in)),
        error: error.filter(|_| row.status != RunStatus::Succeeded),
    }
}

fn last_error(run: &Snapshot) -> Option<String> {
    Some(run.steps.first()?.error.as_ref()?.message.clone())
}

/// What the receiver has answered to a call that it took.
fn status(run: &Snapshot) -> Option<u16> {
    run.steps.first()?.output.as_ref()?.get("status")?.as_u64()?.try_into().ok()
}

/// The HTTP status that the error of a call begins with, behind the name of its channel.
fn status_in(error: &str) -> Option<u16> {
    let said = error.split_once("`: HTTP ")?.1;
    said.get(..3)?.parse().ok()
}

fn state_of(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Succeeded => "delivered",
        RunStatus::Failed => DEAD,
        RunStatus::Cancelled => "stopped",
        _ => "open",
    }
}

/// What receivers know a delivery by, of its run's params.
fn id_of(params: &Json) -> String {
    params["key"].as_str().unwrap_or_default().to_owned()
}

/// Whether a document of params is that of a delivery over this channel.
fn is_over(params: &Json, channel: &Name) -> bool {
    params["channel"].as_str() == Some(channel.as_str())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use moa_ports::memory::MemoryStore;
    use moa_ports::store::Store;
    use moa_ports::suite::{answer, block_on, build};
    use serde_json::json;

    use super::*;

    /// Notifications, the oldest first: channel, id, status.
    fn store(all: impl IntoIterator<Item = (&'static str, String, RunStatus)>) -> MemoryStore {
        let store = MemoryStore::single();
        let create = |(n, (channel, id, status))| {
            let mut row = build::row_in(build::run(n), status);
            row.workflow = notify_workflow();
            row.params = Arc::new(json!({"channel": channel, "key": id}));
            build::create(row)
        };
        let commits: Vec<_> = (1..).zip(all).map(create).collect();
        for part in commits.chunks(500) {
            answer(|reply| store.commit(build::batch(part.to_vec()), reply)).expect("written");
        }
        store
    }

    fn which(dead: bool, before: Option<RunId>, limit: usize) -> Which {
        Which { channel: Name::new("webhook-a").expect("a name"), dead, before, limit }
    }

    fn listed(store: &MemoryStore, which: &Which) -> (Vec<Delivery>, Option<RunId>) {
        block_on(list(store, which)).expect("it can be read")
    }

    #[test]
    fn what_a_noisy_webhook_has_pushed_out_is_found_and_counted() {
        let noise = (0..LOOK + 500).map(|n| ("webhook-b", n.to_string(), RunStatus::Succeeded));
        let dead = ("webhook-a", "x".to_owned(), RunStatus::Failed);
        let store = store([dead].into_iter().chain(noise));
        let all = block_on(standings(&store)).expect("it can be read");
        assert_eq!((all["webhook-a"].dead, all["webhook-b"].dead), (1, 0));
        for dead in [false, true] {
            let (found, next) = listed(&store, &which(dead, None, 10));
            assert_eq!((found.len(), next), (1, None));
            assert_eq!((&*found[0].state, found[0].superseded), ("dead", false));
        }
    }

    #[test]
    fn what_was_made_again_is_known_on_whatever_page_it_stands() {
        let one = |id: &str, status| ("webhook-a", id.to_owned(), status);
        let (dead, done) = (RunStatus::Failed, RunStatus::Succeeded);
        // Of another channel is another delivery.
        let other = ("webhook-b", "z".to_owned(), done);
        let all =
            [one("x", dead), one("y", dead), one("z", dead), one("x", dead), one("y", done), other];
        let store = store(all);
        let run = |n| build::run(n);
        let told = |limit| {
            let (mut all, mut before) = (Vec::new(), None);
            loop {
                let (found, next) = listed(&store, &which(false, before, limit));
                all.extend(found.into_iter().map(|one| (one.run, one.superseded)));
                before = next;
                if next.is_none() {
                    return all;
                }
            }
        };
        let expected = [(5, false), (4, false), (3, false), (2, true), (1, true)];
        let expected = expected.map(|(n, superseded)| (run(n).to_string(), superseded));
        for limit in [1, 2, 3, 9] {
            assert_eq!(told(limit), expected, "{limit}");
        }
        let dead: Vec<_> = listed(&store, &which(true, None, 9)).0;
        assert_eq!(dead.iter().map(|one| &one.id[..]).collect::<Vec<_>>(), ["x", "z"]);
        let (second, next) = listed(&store, &which(true, Some(run(4)), 9));
        assert_eq!((second.len(), &second[0].id[..], next), (1, "z", None));

        let channel = which(true, None, 1).channel;
        let made = |n, id: &str| block_on(made_since(&store, &channel, &[(run(n), id.into())]));
        assert_eq!(made(2, "y").expect("it has arrived"), BTreeMap::from([(run(2), run(5))]));
        for (n, id) in [(3, "z"), (4, "x")] {
            assert_eq!(made(n, id).expect("it is the newest"), BTreeMap::new());
        }
        let refused = made(1, "x").expect_err("the newer one is dead").message;
        assert!(refused.contains("dead again"), "{refused}");
        let standing = &block_on(standings(&store)).expect("it can be read")["webhook-a"];
        assert_eq!((standing.dead, standing.open), (2, 0));
        assert_eq!(standing.last.as_ref().map(|last| &last.run), Some(&run(5).to_string()));
    }

    #[test]
    fn the_status_is_that_of_the_receiver_and_not_one_that_it_speaks_of() {
        assert_eq!(status_in("channel `webhook-a`: HTTP 410 Gone"), Some(410));
        assert_eq!(status_in("channel `webhook-a`: no answer: HTTP 410"), None);
        assert_eq!(status_in("channel `webhook-a`: HTTP 4"), None);
    }
}
