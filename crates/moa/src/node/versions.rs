//! The store keeps every version of a workflow that is served, so that its runs go on with it.

use moa_ports::store::{Store, WorkflowVersion};
use moa_ports::views::Views;
use moa_spec::Source;
use tokio::sync::oneshot;

use crate::exit::{Exit, Failure, Result};
use crate::project::Served;
use crate::reader::plan;
use crate::refresh::Watched;
use crate::view;
use crate::wire::Stores;

/// Makes what is served and what the store keeps the same.
pub(super) async fn keep(watched: &mut Watched, stores: &Stores) -> Result<()> {
    fall_back(watched, &*stores.views).await?;
    put_versions(&*stores.store, &*stores.views, watched).await
}

/// Workflows whose files are broken at the start go on with the newest version in the store.
async fn fall_back(watched: &mut Watched, views: &dyn Views) -> Result<()> {
    // Without its agent, the last good version of a workflow would only fail.
    for name in watched.broken.difference(&watched.agentless).cloned().collect::<Vec<_>>() {
        let versions = views.workflows(Some(&name)).await?;
        let Some(version) = versions.first() else { continue };
        let path = format!("workflows/{name}.yaml");
        let served = Served {
            plan: plan(version)?,
            source: Source::new(path, version.source.clone()),
            tests: Vec::new(),
            triggers: None,
        };
        watched.fall_back(name, served);
    }
    Ok(())
}

/// Keeps every version that the store doesn't have as the newest yet.
async fn put_versions(store: &dyn Store, views: &dyn Views, watched: &Watched) -> Result<()> {
    let kept = views.workflows(None).await?;
    for (name, served) in &watched.project.workflows {
        let newest = kept.iter().find(|version| version.workflow == *name);
        if newest.is_none_or(|version| version.hash != served.plan.hash) {
            put_version(store, served).await?;
        }
    }
    Ok(())
}

/// Keeps the versions that the store has not taken yet. What it does not take now is tried again at
/// the next look.
pub(super) async fn put_unkept(store: &dyn Store, watched: &mut Watched) -> Result<()> {
    while let Some(name) = watched.unkept.first().cloned() {
        if let Some(served) = watched.project.workflows.get(&name) {
            put_version(store, served).await?;
            let version = served.plan.hash.short();
            tracing::info!(workflow = %name, version, "a workflow has changed");
        }
        watched.unkept.remove(&name);
    }
    Ok(())
}

/// Keeps a version as the newest of its workflow.
pub(super) async fn put_version(store: &dyn Store, served: &Served) -> Result<()> {
    let plan = serde_json::to_string(&served.plan).map_err(|e| {
        let text = format!("the plan of {} can't be written as JSON: {e}", served.plan.workflow);
        Failure::new(Exit::Invalid, text)
    })?;
    let now = view::now();
    let version = WorkflowVersion {
        workflow: served.plan.workflow.clone(),
        hash: served.plan.hash,
        version: served.plan.version.clone(),
        source: served.source.text.clone(),
        plan,
        created_at: now,
    };
    let (reply, answer) = oneshot::channel();
    // The receiver is there until the answer.
    store.put_workflow(now, version, Box::new(move |done| drop(reply.send(done))));
    let gone = || moa_ports::store::Error::Unavailable("the store has stopped".into());
    answer.await.map_err(|_| gone())??;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use moa_core::ids::Name;
    use moa_sqlite::SqliteStore;
    use moa_sqlite::fault::{FileKind, IoFault, IoFaults, IoOp};

    use super::*;
    use crate::project::{self, Layout};

    /// A disk that can be full.
    #[derive(Default)]
    struct Disk(AtomicBool);

    impl IoFaults for Disk {
        fn check(&self, op: IoOp, _: FileKind) -> Option<IoFault> {
            (self.0.load(Ordering::Relaxed) && op == IoOp::Write).then_some(IoFault::Full)
        }
    }

    #[tokio::test]
    async fn a_version_that_the_store_did_not_take_is_put_at_the_next_look() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let layout = Layout { root: dir.path().into() };
        std::fs::create_dir(dir.path().join("workflows")).expect("mkdir");
        std::fs::write(dir.path().join("moa.yaml"), "").expect("written");
        let disk = Arc::new(Disk::default());
        let options =
            moa_sqlite::Options { io_faults: Some(disk.clone()), ..moa_sqlite::Options::default() };
        let store = SqliteStore::open(&dir.path().join("moa.db"), options).expect("a store");
        let loaded = project::load(&layout, None).expect("it can be read");
        let mut watched = Watched::new(layout, loaded);
        let file = dir.path().join("workflows/hello.yaml");
        std::fs::write(file, "steps: [{run: echo hello}]\n").expect("written");
        watched.look().expect("a look").expect("a change");

        disk.0.store(true, Ordering::Relaxed);
        put_unkept(&store, &mut watched).await.expect_err("the disk is full");
        assert_eq!(watched.look().expect("a look"), None, "the file has not changed again");
        put_unkept(&store, &mut watched).await.expect_err("the disk is still full");

        disk.0.store(false, Ordering::Relaxed);
        put_unkept(&store, &mut watched).await.expect("there is room");
        let name = Name::new("hello").expect("a name");
        let kept = store.workflows(Some(&name)).await.expect("it can be read");
        let hashes: Vec<_> = kept.iter().map(|version| version.hash).collect();
        assert_eq!(hashes, [watched.project.workflows[&name].plan.hash]);
        assert!(watched.unkept.is_empty());
    }
}
