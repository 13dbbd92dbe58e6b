//! Checks a backup, and puts it in the place of a project's state.
//!
//! The new state is made complete beside the old one and checked there; then the two change places
//! in one step. Whenever the process dies, the project has the whole old state or the whole new one,
//! and the old one is never deleted.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use moa_engine::audit::Deed;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use serde_json::json;

use super::{FORMAT, MANIFEST, Manifest, PROJECT, STATE};
use super::{copy, make_folder, measure, remove, sync_folder, unwritable};
use crate::audit;
use crate::exit::{Exit, Failure, Result};
use crate::node::agents;
use crate::node::lock::{self, Stay};
use crate::project::{Layout, SETTINGS_FILE};
use crate::wire;
use moa_server::auth::tokens;

/// Bytes of the largest manifest that is read.
const MANIFEST_BYTES_MAX: u64 = 1 << 30;
/// The beginning of the name of a state that is being made.
const STAGED: &str = ".moa.restoring-";
/// The beginning of the name of a state that was replaced.
const REPLACED: &str = ".moa.before-";
/// Says inside a state that it isn't complete.
const INCOMPLETE: &str = "incomplete";

/// A backup that was found.
pub struct Backup {
    root: PathBuf,
    /// Whether the folder was unpacked for us.
    unpacked: bool,
    /// What it holds.
    pub manifest: Manifest,
}

impl Drop for Backup {
    fn drop(&mut self) {
        if self.unpacked {
            let _ = remove(&self.root);
        }
    }
}

/// What was restored.
pub struct Restored {
    /// The project's folder.
    pub root: PathBuf,
    /// Where the state of before is kept.
    pub before: Option<PathBuf>,
}

/// Opens a backup: a folder, or a tar file, which is unpacked beside itself for the time being.
pub fn open(path: &Path) -> Result<Backup> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".unpacked-{}", std::process::id()));
    open_at(path, name.into())
}

/// The same; a tar file is unpacked to a new folder `to`.
pub fn open_at(path: &Path, to: PathBuf) -> Result<Backup> {
    let (root, unpacked) = match path.is_file() {
        true => (unpack(path, to)?, true),
        false => (path.to_owned(), false),
    };
    // From here on what was unpacked goes away again.
    let empty = Manifest {
        format: FORMAT,
        moa: String::new(),
        schema: 0,
        project: String::new(),
        created_at: String::new(),
        last_event: 0,
        live: false,
        holds: super::Holds::default(),
        missing: Vec::new(),
        files: Vec::new(),
    };
    let mut backup = Backup { root, unpacked, manifest: empty };
    backup.manifest = read_manifest(&backup.root, path)?;
    Ok(backup)
}

fn read_manifest(root: &Path, path: &Path) -> Result<Manifest> {
    let file = root.join(MANIFEST);
    let size = match fs::metadata(&file) {
        Ok(meta) => meta.len(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let text = format!("{} is not a backup: it has no {MANIFEST}", path.display());
            let failure = Failure::not_found(text);
            return Err(failure.hint("`moa backup TO` makes one; an unfinished one is none"));
        }
        Err(e) => return Err(Failure::io(format!("can't read {}", file.display()), &e)),
    };
    let wrong = |why: String| damaged(path, &format!("its manifest can't be read: {why}"));
    if size > MANIFEST_BYTES_MAX {
        return Err(wrong(format!("it has {size} bytes")));
    }
    let text = fs::read(&file).map_err(|e| wrong(e.to_string()))?;
    let manifest: Manifest = serde_json::from_slice(&text).map_err(|e| wrong(e.to_string()))?;
    if manifest.format > FORMAT || manifest.schema > wire::SCHEMA {
        let text = format!("{} was made by a newer moa ({})", path.display(), manifest.moa);
        return Err(Failure::new(Exit::Newer, text).hint("install that moa, or a newer one"));
    }
    Ok(manifest)
}

fn unpack(path: &Path, to: PathBuf) -> Result<PathBuf> {
    let unpack = || {
        remove(&to)?;
        make_folder(&to)?;
        let mut archive = tar::Archive::new(io::BufReader::new(File::open(path)?));
        archive.set_preserve_permissions(false);
        for entry in archive.entries()? {
            let mut entry = entry?;
            // Links and devices are never in a backup; a path that leads out is refused.
            if entry.header().entry_type().is_file() {
                entry.unpack_in(&to)?;
            }
        }
        Ok(())
    };
    unpack().map_err(|e: io::Error| {
        let _ = remove(&to);
        if is_of_this_machine(&e) {
            return unwritable(&to, &e);
        }
        let failure = Failure::new(Exit::Damaged, format!("can't unpack {}", path.display()));
        failure.hint(e.to_string())
    })?;
    Ok(to)
}

/// Whether there is no room to unpack an archive, or no right: that says nothing of the archive.
fn is_of_this_machine(error: &io::Error) -> bool {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    [StorageFull, QuotaExceeded, PermissionDenied, ReadOnlyFilesystem].contains(&error.kind())
}

fn damaged(path: &Path, what: &str) -> Failure {
    let text = format!("the backup {} is damaged: {what}", path.display());
    Failure::new(Exit::Damaged, text).hint("nothing was changed; use another backup")
}

/// Checks every file of a backup, and the store in it.
pub fn check(backup: &Backup) -> Result<()> {
    let root = &backup.root;
    for entry in &backup.manifest.files {
        let Some(path) = entry.safe_path() else {
            return Err(damaged(root, &format!("{:?} is no path of a backup", entry.path)));
        };
        let found = measure(&root.join(path))
            .map_err(|e| damaged(root, &format!("{} can't be read: {e}", entry.path)))?;
        if found != (entry.bytes, entry.blake3.clone()) {
            return Err(damaged(root, &format!("{} is not as it was written", entry.path)));
        }
    }
    if !backup.manifest.files.iter().any(|entry| entry.path == super::STORE) {
        return Err(damaged(root, "it has no store"));
    }
    wire::check_store(&root.join(super::STORE)).map(drop)
}

/// Puts a checked backup in the place of a project's state. `stamp` tells this restore from others.
pub fn replace(backup: &Backup, layout: &Layout, stamp: &str) -> Result<Restored> {
    let state = layout.state();
    // Held until the end, so that no node starts on a state that goes away.
    let _lock = match state.is_dir() {
        true => match lock::take(&state, Stay::Passing)? {
            lock::Taken::Ours(lock) => Some(lock),
            lock::Taken::By(by) => return Err(lock::refusal(by.pid)),
        },
        false => None,
    };
    let root = &layout.root;
    remove_incomplete(root).map_err(|e| unwritable(root, &e))?;
    let staged = root.join(format!("{STAGED}{stamp}"));
    stage(backup, &staged, &state).map_err(|e| unwritable(&staged, &e))?;
    // What was written is what was read? A disk may lie.
    wire::check_store(&staged.join("moa.db"))?;
    write_down(backup, layout, &staged.join("moa.db"))?;
    let before = root.join(format!("{REPLACED}{stamp}"));
    let before = swap(&staged, &state, &before).map_err(|e| unwritable(&state, &e))?;
    Ok(Restored { root: root.clone(), before })
}

/// Writes the restore down in the audit log of the state that is about to be put in place, with the
/// end of the log that it replaces: what is there and not in the backup isn't missing, but replaced.
fn write_down(backup: &Backup, layout: &Layout, store: &Path) -> Result<()> {
    let replaced = wire::audit_head(layout);
    let manifest = &backup.manifest;
    let about = json!({"created_at": manifest.created_at, "last_event": manifest.last_event});
    let deed = Deed::new("restore", &manifest.project)
        .before(json!({"audit": replaced}))
        .asked(json!({"backup": about, "from": backup.root}));
    wire::add_to_audit(store, &audit::this_user(), &deed)
}

/// Makes the new state complete, under its own name.
fn stage(backup: &Backup, staged: &Path, state: &Path) -> io::Result<()> {
    make_folder(staged)?;
    File::create(staged.join(INCOMPLETE))?.sync_all()?;
    for entry in &backup.manifest.files {
        let Some(path) = entry.safe_path() else { continue };
        let Ok(inner) = path.strip_prefix(STATE) else { continue };
        let copied = copy(&backup.root.join(path), &staged.join(inner))?;
        if copied != (entry.bytes, entry.blake3.clone()) {
            let text = format!("{} was changed while it was copied", entry.path);
            return Err(io::Error::other(text));
        }
    }
    // The same project on the same machine: its node has to know the processes of before.
    match copy(&state.join("id"), &staged.join("id")) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        Err(_) => remove(&staged.join("id"))?,
        Ok(_) => {}
    }
    // What somebody has paused or let go on since is meant for now, and so is who may come in: a token
    // that was revoked since stays revoked, and no backup holds any. A damaged one goes along too: the
    // node then asks, rather than guesses.
    for file in [agents::FILE, tokens::FILE] {
        match copy(&state.join(file), &staged.join(file)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    fs::remove_file(staged.join(INCOMPLETE))?;
    sync_folder(staged)
}

/// Removes what a restore that was killed left behind. What is complete may be the old state, and
/// stays.
fn remove_incomplete(root: &Path) -> io::Result<()> {
    for entry in fs::read_dir(root)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with(STAGED) && path.join(INCOMPLETE).exists() {
            remove(&path)?;
        }
    }
    Ok(())
}

/// Lets the new state take the place of the old one, in one step where the file system can; answers
/// where the old one is now.
fn swap(staged: &Path, state: &Path, before: &Path) -> io::Result<Option<PathBuf>> {
    let root = state.parent().unwrap_or(Path::new("."));
    if !state.exists() {
        fs::rename(staged, state)?;
        sync_folder(root)?;
        return Ok(None);
    }
    match renameat_with(CWD, staged, CWD, state, RenameFlags::EXCHANGE) {
        Ok(()) => {
            sync_folder(root)?;
            fs::rename(staged, before)?;
        }
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            // Two steps: between them there is no state, but both are whole under their own names.
            fs::rename(state, before)?;
            fs::rename(staged, state)?;
        }
        Err(e) => return Err(e.into()),
    }
    sync_folder(root)?;
    Ok(Some(before.to_owned()))
}

/// Makes a new project from a checked backup.
pub fn into_new(backup: &Backup, folder: &Path, stamp: &str) -> Result<Restored> {
    let empty = match fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_none(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => true,
        Err(e) => return Err(Failure::io(format!("can't look into {}", folder.display()), &e)),
    };
    if !empty {
        let text = format!("{} is not an empty folder", folder.display());
        return Err(Failure::refused(text).hint("name a new one"));
    }
    let failed = |e: io::Error| unwritable(folder, &e);
    fs::create_dir_all(folder).map_err(failed)?;
    for entry in &backup.manifest.files {
        let Some(path) = entry.safe_path() else { continue };
        let Ok(inner) = path.strip_prefix(PROJECT) else { continue };
        copy(&backup.root.join(path), &folder.join(inner)).map_err(failed)?;
    }
    if !folder.join(SETTINGS_FILE).exists() {
        // A backup without the project's files: at least it is a project.
        let mut file = File::create(folder.join(SETTINGS_FILE)).map_err(failed)?;
        let line = format!("name: {}\n", serde_json::json!(backup.manifest.project));
        file.write_all(line.as_bytes()).map_err(failed)?;
    }
    let root = fs::canonicalize(folder).map_err(failed)?;
    replace(backup, &Layout { root }, stamp)
}
