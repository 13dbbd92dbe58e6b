//! Deliveries of webhooks as people see them: runs of the workflow that is part of moa, by what they carry.

use std::collections::{BTreeMap, BTreeSet};

use moa_core::ids::{Name, RunId};
use moa_core::run::RunStatus;
use moa_core::workflow::notify_workflow;
use moa_ports::store::Snapshot;
use moa_ports::views::{RunFilter, Views};
use serde::Serialize;
use serde_json::Value as Json;

use crate::exit::{Failure, Result};

/// Runs read at once.
const PAGE: usize = 100;
/// Runs that one question looks at, on one side of where it begins.
const LOOK: usize = 4000;
/// The state of one that was given up.
const DEAD: &str = "dead";
/// The newest runs that are looked at where deliveries are counted.
pub const COUNTED_MAX: usize = 1000;

/// A delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Delivery {
    /// The run that delivers it.
    pub run: String,
    /// What receivers know it by: `webhook-id`.
    pub id: String,
    /// The type of its event.
    #[serde(rename = "type")]
    pub kind: String,
    /// `delivered`; `dead`, when it was given up; `open`, while it is tried; `stopped` by somebody.
    pub state: &'static str,
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
    pub open: usize,
    /// Those that were given up, and not made again.
    pub dead: usize,
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
/// many notifications are looked at for one part, and no more.
///
/// # Errors
/// The store can't be read.
pub async fn list(views: &dyn Views, which: &Which) -> Result<(Vec<Delivery>, Option<RunId>)> {
    let mut looking = Looking::new(views, LOOK);
    looking.filter.before = which.before;
    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    // What is before the first part is read when it matters.
    let mut newer = which.before.is_none().then(BTreeMap::new);
    while let Some(part) = looking.next().await? {
        for (channel, mut delivery) in part {
            if channel != which.channel.as_str() {
                continue;
            }
            let is_newest = seen.insert(delivery.id.clone());
            if delivery.state == DEAD {
                if let (None, Some(before)) = (&newer, which.before) {
                    newer = Some(newest_since(views, &which.channel, before).await?);
                }
                let is_later = newer.as_ref().is_some_and(|all| all.contains_key(&delivery.id));
                delivery.superseded = !is_newest || is_later;
            }
            if which.dead && (delivery.state != DEAD || delivery.superseded) {
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
    let next = looking.filter.before.filter(|_| !looking.is_over);
    Ok((found, next))
}

/// The newest run of each delivery over a channel, by the delivery's id: among this run and so many
/// that are newer.
async fn newest_since(
    views: &dyn Views,
    channel: &Name,
    since: RunId,
) -> Result<BTreeMap<String, Delivery>> {
    let mut looking = Looking::new(views, LOOK);
    looking.filter.after = Some(RunId(since.0.saturating_sub(1)));
    looking.filter.oldest_first = true;
    let mut newest = BTreeMap::new();
    while let Some(part) = looking.next().await? {
        let over = part.into_iter().filter(|(over, _)| over == channel.as_str());
        newest.extend(over.map(|(_, delivery)| (delivery.id.clone(), delivery)));
    }
    Ok(newest)
}

/// Those of these runs whose delivery was made again since, with the run that makes it.
///
/// # Errors
/// That run was given up too: it is the one to be made again. Or the store can't be read.
pub async fn made_since(
    views: &dyn Views,
    channel: &Name,
    runs: &[(RunId, String)],
) -> Result<BTreeMap<RunId, RunId>> {
    let mut made = BTreeMap::new();
    let Some(oldest) = runs.iter().map(|(run, _)| *run).min() else { return Ok(made) };
    let newest = newest_since(views, channel, oldest).await?;
    for (run, id) in runs {
        let Some(last) = newest.get(id) else { continue };
        match last.run.parse() {
            Ok(later) if later != *run && last.state != DEAD => _ = made.insert(*run, later),
            Ok(later) if later != *run => {
                let text = format!("the delivery of run {run} was made again, and is dead again");
                return Err(Failure::refused(text).hint(format!("have run {later} made again")));
            }
            _ => {}
        }
    }
    Ok(made)
}

/// How the deliveries over each channel stand, of the newest [`COUNTED_MAX`] notifications of all.
///
/// # Errors
/// The store can't be read.
pub async fn standings(views: &dyn Views) -> Result<BTreeMap<String, Standing>> {
    let mut looking = Looking::new(views, COUNTED_MAX);
    let mut all: BTreeMap<String, Standing> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    while let Some(part) = looking.next().await? {
        for (channel, delivery) in part {
            // One that was made again is as the newer one.
            if !seen.insert((channel.clone(), delivery.id.clone())) {
                continue;
            }
            let standing = all.entry(channel).or_default();
            standing.open += usize::from(delivery.state == "open");
            standing.dead += usize::from(delivery.state == DEAD);
            standing.last.get_or_insert(delivery);
        }
    }
    Ok(all)
}

/// A look through notifications, a page at a time.
struct Looking<'a> {
    views: &'a dyn Views,
    filter: RunFilter,
    /// So many may still be looked at.
    left: usize,
    /// Whether there are no more.
    is_over: bool,
}

impl<'a> Looking<'a> {
    fn new(views: &'a dyn Views, left: usize) -> Self {
        let filter = RunFilter { workflow: Some(notify_workflow()), ..RunFilter::default() };
        Self { views, filter, left, is_over: false }
    }

    /// The next ones with their channels; `None` = there are no more, or enough were looked at.
    async fn next(&mut self) -> Result<Option<Vec<(String, Delivery)>>> {
        if self.is_over || self.left == 0 {
            return Ok(None);
        }
        self.filter.limit = PAGE.min(self.left);
        let runs = self.views.with_first_steps(&self.filter).await?;
        let Some(last) = runs.last().map(|last| last.row.run) else {
            self.is_over = true;
            return Ok(None);
        };
        self.left = self.left.saturating_sub(runs.len());
        *(if self.filter.oldest_first {
            &mut self.filter.after
        } else {
            &mut self.filter.before
        }) = Some(last);
        Ok(Some(runs.iter().map(read).collect()))
    }
}

/// The delivery that a run makes, and its channel.
fn read(run: &Snapshot) -> (String, Delivery) {
    let row = &run.row;
    let text = |name: &str| row.params[name].as_str().unwrap_or_default().to_owned();
    let kind = row.params["about"]["type"].as_str().unwrap_or_default().to_owned();
    let of_run = || row.error.as_ref().map(|error| error.message.clone());
    let error = last_error(run).or_else(of_run);
    let attempts = run.steps.first().map_or(0, |step| step.attempt.saturating_sub(step.released));
    let delivery = Delivery {
        run: row.run.to_string(),
        id: text("key"),
        kind,
        state: state_of(row.status),
        superseded: false,
        created_at: row.created_at.to_string(),
        finished_at: row.finished_at.map(|at| at.to_string()),
        attempts,
        status: status(run).or_else(|| error.as_deref().and_then(status_in)),
        error: error.filter(|_| row.status != RunStatus::Succeeded),
    };
    (text("channel"), delivery)
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
pub fn id_of(params: &Json) -> String {
    params["key"].as_str().unwrap_or_default().to_owned()
}

/// Whether a document of params is that of a delivery over this channel.
pub fn is_over(params: &Json, channel: &Name) -> bool {
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
    fn what_a_noisy_webhook_has_pushed_out_is_found_by_going_on() {
        let noise = (0..LOOK + 500).map(|n| ("webhook-b", n.to_string(), RunStatus::Succeeded));
        let dead = ("webhook-a", "x".to_owned(), RunStatus::Failed);
        let store = store([dead].into_iter().chain(noise));
        for dead in [false, true] {
            let (found, next) = listed(&store, &which(dead, None, 10));
            assert_eq!(found, []);
            let (found, next) = listed(&store, &which(dead, next, 10));
            assert_eq!((found.len(), next), (1, None));
            assert_eq!((found[0].state, found[0].superseded), ("dead", false));
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
