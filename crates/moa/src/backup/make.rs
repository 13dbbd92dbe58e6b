//! Makes a backup.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::place::Place;
use super::sink::Sink;
use super::{FORMAT, FOUND, Holds, Manifest, PROJECT, STATE};
use super::{unwritable, walk};
use crate::exit::{Exit, Failure, Result};
use crate::files::refuse_own;
use crate::jobs::webhooks::kept;
use crate::node::lock::{self, Stay};
use crate::node::{agents, saved, trials};
use crate::project::{self, Layout, SETTINGS_FILE};
use crate::wire::{self, Copied};
use crate::{alerts, metrics, traces};

/// Folders of the project that belong to it, beside the settings.
const PROJECT_FOLDERS: [&str; 3] = ["agents", "calendars", "workflows"];

/// Files of the state that go along, where they are there: what is counted, which agents are paused and
/// how they were tested, alerts, how far webhooks and traces have come, and the filters that people
/// have saved.
const ALONG: [&str; 7] = [
    metrics::FILE,
    agents::FILE,
    trials::FILE,
    alerts::FILE,
    kept::FILE,
    traces::FILE,
    saved::FILE,
];

/// What to back up.
pub struct Request<'a> {
    /// The project.
    layout: &'a Layout,
    /// Its name.
    name: String,
    /// What beside the store.
    holds: Holds,
    /// The instant.
    now: jiff::Timestamp,
    /// Whether somebody still waits for it.
    wanted: &'a dyn Fn() -> bool,
}

impl<'a> Request<'a> {
    /// A backup of a project as it is now, for as long as it is `wanted`.
    ///
    /// # Errors
    /// The project's files can't be read.
    pub fn new(layout: &'a Layout, holds: Holds, wanted: &'a dyn Fn() -> bool) -> Result<Self> {
        let name = project::load(layout, None)?.project.settings.name;
        let folder = || layout.root.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.or_else(folder).unwrap_or_else(|| "project".into());
        let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
        let name = name.chars().map(plain).collect();
        Ok(Self { layout, name, holds, now: jiff::Timestamp::now(), wanted })
    }

    /// The name of the backup, where nobody names it.
    pub fn title(&self) -> String {
        format!("{}-{}", self.name, self.now.strftime("%Y%m%dT%H%M%SZ"))
    }

    fn must_be_wanted(&self) -> Result<()> {
        let text = "nobody waits for the backup any more";
        if (self.wanted)() { Ok(()) } else { Err(Failure::new(Exit::Unavailable, text)) }
    }
}

/// A backup that was made.
pub struct Made {
    /// Where it is.
    pub path: PathBuf,
    /// What it holds.
    pub manifest: Manifest,
}

/// Makes a backup; it is on the disk, and checked, when this returns. `told` gets the pages of the
/// store copied so far, and those of all.
pub fn make(request: &Request<'_>, to: &Path, told: &mut dyn FnMut(u64, u64)) -> Result<Made> {
    let absolute = std::path::absolute(to).map_err(|e| unwritable(to, &e))?;
    refuse_own(&request.layout.root, &absolute).map_err(|e| {
        Failure::usage(format!("can't write {}: {e}", to.display()))
            .hint("name another place, such as backups/, or better one on another disk")
    })?;
    let place = Place::take(to, &request.title())?;
    let sink = match place.is_tar() {
        true => Sink::tar(&place.partial, place.staged.clone()),
        false => Sink::folder(&place.partial),
    };
    let sink = sink.map_err(|e| unwritable(&place.partial, &e))?;
    let manifest = fill(request, to, sink, told)?;
    Ok(Made { path: place.fill()?, manifest })
}

/// Fills a sink; `to` is where that is, for people.
pub(super) fn fill(
    request: &Request<'_>,
    to: &Path,
    mut sink: Sink,
    told: &mut dyn FnMut(u64, u64),
) -> Result<Manifest> {
    let failed = |e: io::Error| unwritable(to, &e);
    let state = request.layout.state();
    // Whoever has the lock is the only one that may write to the store.
    let lock = match state.is_dir() {
        true => Some(lock::take(&state, Stay::Passing)?),
        false => None,
    };
    let live = matches!(lock, Some(lock::Taken::By(_)));
    // Before the store: what is behind it goes on from there, but none may be ahead of it.
    for file in ALONG {
        match sink.add(&state.join(file), &format!("{STATE}/{file}")) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            done => done.map_err(failed)?,
        }
    }
    // Of files that were found, none may be taken for told that the store doesn't know of.
    for path in walk(&state.join(FOUND)).map_err(failed)? {
        let name = format!("{STATE}/{FOUND}/{path}");
        match sink.add(&state.join(FOUND).join(path), &name) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            done => done.map_err(failed)?,
        }
    }
    let store = sink.store();
    let copied = copy_store(request, &store, live, told)?;
    drop(lock);
    wire::check_store(&store)?;
    sink.add_store().map_err(failed)?;
    let mut missing = Vec::new();
    let files = collect(request, copied.artifacts.as_deref()).map_err(failed)?;
    for (from, name) in files {
        request.must_be_wanted()?;
        match sink.add(&from, &name) {
            // Deleted since it was listed: a log or a work folder of a run that is old.
            Err(e) if e.kind() == io::ErrorKind::NotFound => missing.push(name),
            done => done.map_err(failed)?,
        }
    }
    missing.retain(|name| name.starts_with("state/artifacts"));
    let manifest = Manifest {
        format: FORMAT,
        moa: env!("CARGO_PKG_VERSION").into(),
        schema: copied.schema,
        project: request.name.clone(),
        created_at: request.now.to_string(),
        last_event: copied.last_event,
        live,
        holds: request.holds,
        missing,
        files: sink.entries().to_vec(),
    };
    sink.finish(&manifest).map_err(failed)?;
    Ok(manifest)
}

/// Copies the store as it is at one instant, unless nobody waits for that any more.
fn copy_store(
    request: &Request<'_>,
    to: &Path,
    live: bool,
    told: &mut dyn FnMut(u64, u64),
) -> Result<Copied> {
    let mut told = |done, all| {
        told(done, all);
        if (request.wanted)() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    let copied = wire::copy_store(request.layout, to, live, &mut told);
    request.must_be_wanted()?;
    copied
}

/// The files to copy, with their names in the backup.
fn collect(
    request: &Request<'_>,
    artifacts: Option<&[moa_ports::artifacts::ArtifactHash]>,
) -> io::Result<Vec<(PathBuf, String)>> {
    let Holds { artifacts: with_artifacts, logs, work, project } = request.holds;
    let state = request.layout.state();
    let mut files = Vec::new();
    let mut whole = |folder: &str| -> io::Result<()> {
        for path in walk(&state.join(folder))? {
            files.push((state.join(folder).join(&path), format!("{STATE}/{folder}/{path}")));
        }
        Ok(())
    };
    if logs {
        whole("logs")?;
    }
    if work {
        whole("work")?;
    }
    match artifacts.filter(|_| with_artifacts) {
        Some(needed) => files.extend(needed.iter().map(|hash| {
            let name: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
            let path = format!("artifacts/{}/{name}", &name[..2]);
            (state.join(&path), format!("{STATE}/{path}"))
        })),
        None if with_artifacts => whole("artifacts")?,
        None => {}
    }
    if project {
        let root = &request.layout.root;
        files.push((root.join(SETTINGS_FILE), format!("{PROJECT}/{SETTINGS_FILE}")));
        for folder in PROJECT_FOLDERS {
            for path in walk(&root.join(folder))? {
                let name = format!("{PROJECT}/{folder}/{path}");
                files.push((root.join(folder).join(path), name));
            }
        }
    }
    Ok(files)
}
