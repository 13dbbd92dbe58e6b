//! Deleting the file of a workflow or an agent for somebody who is not at this machine.
//!
//! The file must be what it is taken for, and nothing else may need it: neither another file, nor a
//! rule, nor, unless it is asked for, an open run. Runs keep the version that they have, and so does
//! what is kept of them: nothing of the history goes with the file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use moa_core::ids::{Name, VersionHash};
use moa_core::run::RunStatus;
use moa_ports::views::RunFilter;
use moa_server::control::{Expect, FileOf, Open, Removal};
use moa_spec::Source;

use super::edit::{File, find, holds, refuse_own, tag};
use super::{Node, aside, triggers};
use crate::exit::{Exit, Failure, Result};
use crate::files::Beneath;
use crate::needed;
use crate::project::{self, Served};
use crate::reader::plan;
use crate::refresh::Watched;
use crate::text::plural;

/// Runs that are read at once.
const PART: usize = 500;
/// Rules that are named.
const RULES: usize = 5;

impl Node {
    /// Deletes the file of a workflow, whatever it says; answers how many runs of it are open.
    pub async fn delete_workflow(&self, workflow: Name, keep_open_runs: bool) -> Result<usize> {
        let open = if keep_open_runs { Open::Keep } else { Open::Refuse };
        let file = FileOf::Workflow(workflow);
        match self.delete_file(&file, &Expect::Something, open).await? {
            Removal::Gone { open_runs } => Ok(open_runs),
            Removal::Needed { text, .. } => {
                let why = "other files of the project need it; nothing is deleted";
                Err(Failure::new(Exit::Invalid, why).detail(text))
            }
            Removal::Differs(_) => Err(Failure::refused("somebody has changed it meanwhile")),
        }
    }

    /// Deletes the file of a workflow or an agent.
    pub async fn delete_file(&self, file: &FileOf, expect: &Expect, open: Open) -> Result<Removal> {
        refuse_own(file)?;
        let mut watched = self.watched.lock().await;
        let before = match self.removable(&mut watched, file, expect).await? {
            Ok(before) => before,
            Err(removal) => return Ok(removal),
        };
        let workflows = watched.project.workflows.clone();
        drop(watched);
        // There may be many: whoever starts a run, or saves a file, waits for none of them.
        let open_runs = self.refuse_used(&workflows, file, &before, open).await?;

        let mut watched = self.watched.lock().await;
        let now = match self.removable(&mut watched, file, expect).await? {
            Ok(now) => now,
            Err(removal) => return Ok(removal),
        };
        if now.text != before.text {
            return Ok(Removal::Differs(tag(&now.text)));
        }
        self.refuse_started(file, open).await?;
        let beneath = beneath(&watched)?;
        let path = now.path;
        beneath
            .remove(Path::new(&path))
            .map_err(|e| Failure::io(format!("can't delete {path}"), &e))?;
        self.look_again(&mut watched).await;
        Ok(Removal::Gone { open_runs })
    }

    /// The file, if it is what it is taken for and nothing else of the project needs it.
    async fn removable(
        &self,
        watched: &mut Watched,
        file: &FileOf,
        expect: &Expect,
    ) -> Result<std::result::Result<Found, Removal>> {
        self.look(watched).await?;
        let File { path, text } = find(&beneath(watched)?, file)?;
        let Some(text) = text else {
            let text = format!("there is no file of the {} {}", file.word(), file.name());
            return Err(Failure::not_found(text));
        };
        let tag = tag(&text);
        if !holds(expect, Some(&tag)) {
            return Ok(Err(Removal::Differs(tag)));
        }
        let (of, layout) = (path.clone(), watched.layout().clone());
        let (now, then) = aside(move || project::with_file(&layout, &of, None)).await?;
        let harm = then.new_errors(&now);
        if harm.has_errors() {
            let (diagnostics, text) = (harm.json(), harm.render(false));
            return Ok(Err(Removal::Needed { diagnostics, text }));
        }
        Ok(Ok(Found { path, text }))
    }

    /// Refuses when a run of a workflow was started while others were looked for. Of an agent none
    /// starts: no file asks it any more.
    async fn refuse_started(&self, file: &FileOf, open: Open) -> Result<()> {
        let FileOf::Workflow(name) = file else { return Ok(()) };
        self.refuse_ruled(name).await?;
        if open == Open::Keep {
            return Ok(());
        }
        let filter = RunFilter { workflow: Some(name.clone()), limit: 1, ..open_ones() };
        match self.views.runs(&filter).await?.is_empty() {
            true => Ok(()),
            false => Err(is_open(file, 1)),
        }
    }

    /// Refuses while rules or open runs need what a file has; answers how many open runs there are.
    async fn refuse_used(
        &self,
        workflows: &BTreeMap<Name, Arc<Served>>,
        file: &FileOf,
        found: &Found,
        open: Open,
    ) -> Result<usize> {
        let runs = match file {
            FileOf::Workflow(name) => {
                self.refuse_ruled(name).await?;
                self.open_runs(Some(name), |_| true).await?
            }
            FileOf::Agent(name) => {
                let source = Source::new(&*found.path, String::from_utf8_lossy(&found.text));
                let gone = moa_spec::parse_agents(&source, name).0.into_iter().map(|spec| spec.id);
                let using = self.versions_using(workflows, &gone.collect()).await?;
                self.open_runs(None, |hash| using.contains(&hash)).await?
            }
        };
        if runs == 0 || open == Open::Keep {
            return Ok(runs);
        }
        Err(is_open(file, runs))
    }

    /// Rules are in the store: they would start nothing from then on.
    async fn refuse_ruled(&self, workflow: &Name) -> Result<()> {
        let all = triggers::all(&*self.views).await?;
        let rules = all
            .iter()
            .filter(|row| row.spec.rule && !row.state.removed && row.spec.workflow == *workflow);
        let names: Vec<&str> = rules.map(|row| row.spec.name.as_str()).collect();
        if names.is_empty() {
            return Ok(());
        }
        let shown = names.iter().take(RULES).copied().collect::<Vec<_>>().join(", ");
        let start = if names.len() == 1 { "starts" } else { "start" };
        let text = format!("{} {start} it: {shown}", plural(names.len(), "rule"));
        Err(Failure::refused(text).hint("delete them first: `moa rules delete NAME`"))
    }

    /// Runs that have not ended, of a workflow or of all, whose version is a wanted one.
    async fn open_runs(
        &self,
        workflow: Option<&Name>,
        wanted: impl Fn(VersionHash) -> bool,
    ) -> Result<usize> {
        let mut filter = RunFilter { workflow: workflow.cloned(), limit: PART, ..open_ones() };
        let mut count = 0;
        loop {
            let runs = self.views.runs(&filter).await?;
            count += runs.iter().filter(|run| wanted(run.hash)).count();
            match runs.last() {
                Some(last) if runs.len() == PART => filter.before = Some(last.run),
                _ => return Ok(count),
            }
        }
    }

    /// The kept versions of which a run may ask one of these agents.
    async fn versions_using(
        &self,
        workflows: &BTreeMap<Name, Arc<Served>>,
        gone: &BTreeSet<Name>,
    ) -> Result<BTreeSet<VersionHash>> {
        let agents = self.worker.agents();
        let mut using = BTreeSet::new();
        for version in self.views.workflows(None).await? {
            let used = needed::agents_of(&plan(&version)?, workflows, &agents);
            if used.iter().any(|agent| gone.contains(agent)) {
                using.insert(version.hash);
            }
        }
        Ok(using)
    }
}

/// A file that can be deleted.
struct Found {
    /// Relative to the project.
    path: String,
    text: Vec<u8>,
}

fn beneath(watched: &Watched) -> Result<Beneath> {
    let root = &watched.layout().root;
    Beneath::new(root).map_err(|e| Failure::io(format!("can't open {}", root.display()), &e))
}

/// Runs that have not ended.
fn open_ones() -> RunFilter {
    let open = RunStatus::ALL.into_iter().filter(|status| !status.is_terminal());
    RunFilter { statuses: open.collect(), ..RunFilter::default() }
}

/// That so many runs are open which need a file.
fn is_open(file: &FileOf, runs: usize) -> Failure {
    let is = if runs == 1 { "is" } else { "are" };
    let (word, name) = (file.word(), file.name());
    let text = format!("{} of the {word} {name} {is} open", plural(runs, "run"));
    let failure = Failure::refused(text);
    match file {
        FileOf::Workflow(_) => failure
            .hint("wait for them, or cancel them")
            .hint("asked to keep them, they go on with the version that they have"),
        FileOf::Agent(_) => failure
            .hint("wait for them, or cancel them")
            .hint("asked to keep them, those of their steps fail that ask this agent"),
    }
}
