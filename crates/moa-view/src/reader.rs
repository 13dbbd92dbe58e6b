//! Reading the store: runs by short ids, with their plans.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use moa_core::event::InstIx;
use moa_core::ids::{Name, RunId, VersionHash};
use moa_core::limit::LimitState;
use moa_core::machine::{Graph, Run};
use moa_core::time::Millis;
use moa_core::workflow::{Plan, notify_workflow};
use moa_ports::store::{Snapshot, WorkflowVersion};
use moa_ports::views::{HistoryRow, RunFilter, Views};

use crate::events::Named;
use crate::exit::{Failure, Result};
use crate::text;

/// Rows of history read at once.
const HISTORY_ROWS: usize = 2000;

/// Plans that are kept; more are read again.
const GRAPHS_MAX: usize = 200;

/// The read side of a project's store.
#[derive(Clone)]
pub struct Reader {
    /// The store.
    pub views: Arc<dyn Views>,
    graphs: Arc<Mutex<HashMap<VersionHash, Arc<Graph>>>>,
}

impl Reader {
    /// Reads through views that are open already.
    pub fn new(views: Arc<dyn Views>) -> Self {
        Self { views, graphs: Arc::default() }
    }

    /// What has been used of agents' limits.
    pub async fn limits(&self) -> Result<BTreeMap<Name, LimitState>> {
        let rows = self.views.limits().await?;
        Ok(rows.into_iter().map(|row| (row.agent, row.state)).collect())
    }

    /// The run that a person means: an id, a unique start or end of one, or `last`.
    pub async fn find(&self, text: &str) -> Result<RunId> {
        if text == "last" {
            return self.newest().await;
        }
        if let Ok(run) = text.parse::<RunId>() {
            return Ok(run);
        }
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        if digits.is_empty() || !digits.chars().all(|c| c.is_ascii_hexdigit()) || digits.len() > 32
        {
            return Err(Failure::usage(format!("{text:?} is not a run id"))
                .hint("give an id, a unique start or end of one, or `last`"));
        }
        let found = self.views.find_runs(&digits.to_ascii_lowercase()).await?;
        match found.as_slice() {
            [] => Err(Failure::not_found(format!("there is no run {text}"))
                .hint("`moa runs list` shows the runs")),
            [run] => Ok(*run),
            several => {
                let ids: Vec<String> = several.iter().map(ToString::to_string).collect();
                Err(Failure::usage(format!("{text} fits several runs: {}", ids.join(", ")))
                    .hint("give more digits"))
            }
        }
    }

    /// The newest run that was started from outside: what other runs start stands beside them.
    async fn newest(&self) -> Result<RunId> {
        let mut filter =
            RunFilter { except: Some(notify_workflow()), limit: 100, ..RunFilter::default() };
        let mut newest = None;
        loop {
            let page = self.views.runs(&filter).await?;
            newest = newest.or(page.first().map(|run| run.run));
            if let Some(run) = page.iter().find(|run| run.parent.is_none()) {
                return Ok(run.run);
            }
            filter.before = page.last().map(|run| run.run);
            if page.len() < filter.limit {
                return newest.ok_or_else(|| Failure::not_found("there are no runs yet"));
            }
        }
    }

    /// A run as it is now.
    pub async fn run(&self, id: RunId) -> Result<Run> {
        let snapshot = self.views.run(id).await?.ok_or_else(|| Failure::unknown_run(id))?;
        let graph = self.graph(snapshot.row.hash).await?;
        Run::restore(snapshot.row, snapshot.steps, snapshot.version, graph).map_err(damaged)
    }

    /// A run but for its steps: however many these are, it takes the same.
    ///
    /// # Errors
    /// There is none, or the store can't be read.
    pub async fn head(&self, id: RunId) -> Result<Snapshot> {
        let found = self.views.run_part(id, 0, 0).await?;
        found.ok_or_else(|| Failure::unknown_run(id))
    }

    /// Those of some runs that don't belong to any of these roots, in order.
    pub async fn not_below(
        &self,
        roots: &[RunId],
        runs: impl IntoIterator<Item = RunId>,
    ) -> Result<Vec<RunId>> {
        let mut others = Vec::new();
        for run in runs {
            let root = self.views.run_part(run, 0, 0).await?.map(|head| head.root);
            if root.is_none_or(|root| !roots.contains(&root)) {
                others.push(run);
            }
        }
        Ok(others)
    }

    /// Those of some runs that are this one or that it has started, in whatever way.
    pub async fn below(
        &self,
        top: RunId,
        runs: impl IntoIterator<Item = RunId>,
    ) -> Result<BTreeSet<RunId>> {
        let mut below = BTreeSet::new();
        for run in runs {
            let mut next = Some(run);
            while let Some(id) = next.filter(|id| *id != top) {
                let snapshot = self.views.run_part(id, 0, 0).await?;
                next = snapshot.and_then(|snapshot| snapshot.row.parent).map(|parent| parent.run);
            }
            below.extend(next.map(|_| run));
        }
        Ok(below)
    }

    /// A run as it was at a version, and when that was: its history up to there, folded.
    pub async fn run_at(&self, id: RunId, version: u64) -> Result<(Run, Millis)> {
        let snapshot = self.head(id).await?;
        if version == 0 || version > snapshot.version {
            let newest = snapshot.version;
            return Err(Failure::not_found(format!("the run has versions 1 to {newest}"))
                .hint(format!("`moa runs history {id}` shows them")));
        }
        let graph = self.graph(snapshot.row.hash).await?;
        let mut rows = self.history(id, 0).await?;
        if rows.first().is_some_and(|row| row.version > 1) {
            return Err(Failure::not_found("the history of this run is deleted by its age")
                .hint("`retention.history` in moa.yaml says how long it is kept"));
        }
        rows.retain(|row| row.version <= version);
        let at = rows.last().map_or(Millis::default(), |row| row.at);
        let events = rows.iter().map(|row| (row.at, row.events.as_slice()));
        Ok((Run::fold(events, graph).map_err(damaged)?, at))
    }

    /// The history of a run behind version `after`.
    pub async fn history(&self, id: RunId, after: u64) -> Result<Vec<HistoryRow>> {
        let mut rows: Vec<HistoryRow> = Vec::new();
        loop {
            let after = rows.last().map_or(after, |row| row.version);
            let more = self.views.history(id, after, HISTORY_ROWS).await?;
            if more.is_empty() {
                return Ok(rows);
            }
            rows.extend(more);
        }
    }

    /// The plan of a version, with its indices.
    pub async fn graph(&self, hash: VersionHash) -> Result<Arc<Graph>> {
        let known = |graphs: &Mutex<HashMap<_, Arc<Graph>>>| {
            graphs.lock().unwrap_or_else(PoisonError::into_inner).get(&hash).cloned()
        };
        if let Some(graph) = known(&self.graphs) {
            return Ok(graph);
        }
        let version = self.views.workflow(hash).await?.ok_or_else(|| {
            damaged(format!("workflow version {} is not in the store", hash.short()))
        })?;
        let graph = Arc::new(Graph::new(plan(&version)?).map_err(damaged)?);
        let mut graphs = self.graphs.lock().unwrap_or_else(PoisonError::into_inner);
        if graphs.len() >= GRAPHS_MAX {
            graphs.clear();
        }
        graphs.insert(hash, graph.clone());
        Ok(graph)
    }

    /// The workflow of a run, and the names of these of its steps; `None` = there is no such run.
    /// Steps that it doesn't have are left out.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn step_names(
        &self,
        run: RunId,
        steps: &[InstIx],
    ) -> Result<Option<(Name, HashMap<InstIx, Named>)>> {
        let Some(places) = self.views.places(run, steps).await? else { return Ok(None) };
        if steps.is_empty() {
            return Ok(Some((places.workflow, HashMap::new())));
        }
        let graph = self.graph(places.hash).await?;
        let place = |inst: InstIx| places.steps.get(&inst).copied();
        let named = |inst: &InstIx| {
            let step = graph.step_name(*inst, place)?;
            let agent = graph.agent(place(*inst)?.plan).cloned();
            Some((*inst, Named { step, agent }))
        };
        let names = steps.iter().filter_map(named).collect();
        Ok(Some((places.workflow, names)))
    }

    /// A version of a workflow: the newest, or the one whose label is, or whose hash starts with,
    /// the given text.
    pub async fn version(&self, name: &Name, label: Option<&str>) -> Result<WorkflowVersion> {
        let versions = self.views.workflows(Some(name)).await?;
        if versions.is_empty() {
            return Err(Failure::not_found(format!("the store has no version of workflow {name}"))
                .hint("versions are kept when a node serves them: `moa up`, `moa run`"));
        }
        let Some(label) = label else {
            return self.whole(versions[0].clone()).await;
        };
        let fits = |v: &&WorkflowVersion| {
            v.version.as_deref() == Some(label) || v.hash.to_string().starts_with(label)
        };
        let found = versions.iter().find(fits).cloned().ok_or_else(|| {
            let labels = versions.iter().filter_map(|v| v.version.as_deref());
            let failure = Failure::not_found(format!("workflow {name} has no version {label}"));
            match text::nearest(label, labels) {
                Some(near) => failure.hint(format!("did you mean {near}?")),
                None => failure.hint(format!("`moa workflows versions {name}` lists them")),
            }
        })?;
        self.whole(found).await
    }

    /// The version of a workflow before another one, in the order in which they came to hold; before a file
    /// that the store doesn't know yet, the newest.
    ///
    /// # Errors
    /// There is none before it; the store can't be read.
    pub async fn version_before(&self, plan: &Plan) -> Result<WorkflowVersion> {
        let versions = self.views.workflows(Some(&plan.workflow)).await?;
        let at = versions.iter().position(|version| version.hash == plan.hash);
        match versions.get(at.map_or(0, |at| at + 1)) {
            Some(before) => self.whole(before.clone()).await,
            None => {
                let (name, hash) = (&plan.workflow, plan.hash.short());
                let text = format!("workflow {name} has no version before {hash}");
                Err(Failure::not_found(text)
                    .hint("there is another one once its file is changed, and a node serves it"))
            }
        }
    }

    /// A version with its text and plan: a list from another machine comes without.
    async fn whole(&self, version: WorkflowVersion) -> Result<WorkflowVersion> {
        if !version.plan.is_empty() {
            return Ok(version);
        }
        let whole = self.views.workflow(version.hash).await?;
        whole.ok_or_else(|| {
            damaged(format!("workflow version {} is not in the store", version.hash.short()))
        })
    }
}

/// The plan of a kept version.
pub fn plan(version: &WorkflowVersion) -> Result<Plan> {
    serde_json::from_str(&version.plan).map_err(|e| {
        damaged(format!("the plan of {} {} is broken: {e}", version.workflow, version.hash.short()))
    })
}

fn damaged(what: impl std::fmt::Display) -> Failure {
    Failure::damaged(what, None)
}

#[cfg(test)]
mod tests {
    use moa_core::run::StepRow;
    use moa_core::step::StepStatus;
    use moa_ports::memory::MemoryStore;
    use moa_ports::store::Store;
    use moa_ports::suite::{answer, block_on, build};

    use super::*;

    /// A loop, and a task of an agent in it.
    fn version(hash: VersionHash) -> WorkflowVersion {
        let plan = serde_json::json!({
            "workflow": "build", "hash": hash, "title": "build",
            "steps": [
                {"id": "each", "body": 0, "kind": {
                    "kind": "foreach", "items": "params.n", "var": "i", "collect": false, "body": 1,
                }},
                {"id": "one", "body": 1, "kind": {"kind": "task", "agent": "a", "action": "x"}},
            ],
            "bodies": [{"start": 0, "count": 1}, {"start": 1, "count": 1}],
        });
        WorkflowVersion { hash, plan: plan.to_string(), ..build::version("build", 1, None) }
    }

    fn put(store: &MemoryStore, hash: VersionHash) {
        let put = answer(|reply| store.put_workflow(build::NOW, version(hash), reply));
        put.expect("it is kept");
    }

    #[test]
    fn a_step_is_named_by_where_it_stands() {
        let store = Arc::new(MemoryStore::single());
        let row = build::row(build::run(1));
        put(&store, row.hash);
        let inside = |inst, iteration| StepRow {
            plan: 1,
            owner: Some(0),
            iteration,
            ..build::step(inst, StepStatus::Succeeded)
        };
        let outer = StepRow { plan: 0, ..build::step(0, StepStatus::Running) };
        let steps = vec![outer, inside(1, 0), inside(5, 4), StepRow { plan: 9, ..inside(6, 5) }];
        let batch = build::batch(vec![build::with_steps(build::create(row), steps)]);
        answer(|reply| store.commit(batch, reply)).expect("it is written");
        let reader = Reader::new(store);
        let names = |steps: &[InstIx]| {
            let found = block_on(reader.step_names(build::run(1), steps)).expect("it is read");
            let named = |named: Named| (named.step, named.agent.map(|agent| agent.to_string()));
            let (workflow, names) = found.expect("a run");
            assert_eq!(workflow.as_str(), "build");
            names.into_iter().map(|(inst, of)| (inst, named(of))).collect::<BTreeMap<_, _>>()
        };
        let one = ("one[4]".to_owned(), Some("a".to_owned()));
        let each = ("each".to_owned(), None);
        // What has no row, or contradicts the plan, has no name.
        assert_eq!(names(&[5, 0, 6, 77]), BTreeMap::from([(0, each), (5, one)]));
        assert_eq!(names(&[]), BTreeMap::new());
        assert!(block_on(reader.step_names(build::run(2), &[0])).expect("it is read").is_none());
    }

    #[test]
    fn so_many_plans_are_kept_and_no_more() {
        let store = Arc::new(MemoryStore::single());
        let reader = Reader::new(store.clone());
        for n in 0..GRAPHS_MAX + 5 {
            let mut hash = VersionHash([0; 32]);
            hash.0[..8].copy_from_slice(&n.to_le_bytes());
            put(&store, hash);
            block_on(reader.graph(hash)).expect("it is read");
            let kept = reader.graphs.lock().expect("it is whole");
            assert!(kept.contains_key(&hash) && kept.len() <= GRAPHS_MAX, "{}", kept.len());
        }
    }
}
