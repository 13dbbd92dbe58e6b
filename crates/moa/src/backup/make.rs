//! Makes a backup.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, OFlags, RenameFlags, flock, renameat_with};
use rustix::io::Errno;

use super::{Entry, FORMAT, FOUND, Holds, MANIFEST, Manifest, PROJECT, STATE, STORE};
use super::{copy, make_folder, measure, remove, sync_folder, unwritable, walk};
use crate::exit::{Failure, Result};
use crate::files::refuse_own;
use crate::jobs::webhooks::kept;
use crate::node::lock::{self, Stay};
use crate::node::{agents, saved, trials};
use crate::project::{Layout, SETTINGS_FILE};
use crate::{alerts, metrics, traces, wire};

/// The ending of a backup in one file.
const TAR: &str = "tar";
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

/// What to back up, and where to.
pub struct Request<'a> {
    /// The project.
    pub layout: &'a Layout,
    /// Its name.
    pub name: String,
    /// A folder, or a file that ends in `.tar`.
    pub to: &'a Path,
    /// What beside the store.
    pub holds: Holds,
    /// The instant.
    pub now: jiff::Timestamp,
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
pub fn make(request: &Request<'_>, told: &mut dyn FnMut(u64, u64)) -> Result<Made> {
    let absolute = std::path::absolute(request.to).map_err(|e| unwritable(request.to, &e))?;
    refuse_own(&request.layout.root, &absolute).map_err(|e| {
        Failure::usage(format!("can't write {}: {e}", request.to.display()))
            .hint("name another place, such as backups/, or better one on another disk")
    })?;
    let (path, ours) = claim(request)?;
    let (partial, staged) = (beside(&path, "partial"), beside(&path, "staged"));
    let clean = || remove(&partial).and_then(|()| remove(&staged));
    if ours.taken_up {
        // What a backup that was killed left behind is of no use.
        clean().map_err(|e| unwritable(&partial, &e))?;
    }
    if let Some(other) = [&partial, &staged].into_iter().find(|p| p.symlink_metadata().is_ok()) {
        return Err(Failure::refused(format!("{} is in the way", other.display()))
            .hint("moa doesn't know whose it is: delete it, or name another place"));
    }
    let made = match path.extension().is_some_and(|ending| ending == TAR) {
        true => Sink::tar(&partial, staged.clone()),
        false => Sink::folder(&partial),
    };
    let made = made.map_err(|e| unwritable(&partial, &e)).and_then(|s| fill(request, s, told));
    let manifest = made.inspect_err(|_| drop(clean()))?;
    put_in_place(&partial, &path).map_err(|e| {
        let _ = clean();
        unwritable(&path, &e)
    })?;
    let parent = folder_of(&path);
    sync_folder(parent).map_err(|e| unwritable(parent, &e))?;
    Ok(Made { path, manifest })
}

/// Gives a backup its name, which nothing else may have got meanwhile.
fn put_in_place(partial: &Path, path: &Path) -> io::Result<()> {
    match renameat_with(CWD, partial, CWD, path, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => match path.symlink_metadata() {
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(_) => fs::rename(partial, path),
        },
        done => Ok(done?),
    }
}

/// The folder that something is in.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Says where the backup will be, and takes that for this process alone as long as the file is open.
/// A process that is killed leaves nothing behind that anybody would wait for.
fn claim(request: &Request<'_>) -> Result<(PathBuf, Claim)> {
    let (named, free) = target(request)?;
    for n in 1..=NAMES_MAX {
        let path = match n {
            1 => named.clone(),
            _ => beside_numbered(&named, n),
        };
        let folder = folder_of(&path);
        let claim = make_folder(folder).and_then(|()| Claim::take(&path));
        let claim = claim.map_err(|e| unwritable(&path, &e))?;
        // Whoever had it before may just have put its backup there.
        if let Some(claim) = claim.filter(|_| !path.exists()) {
            return Ok((path, claim));
        }
        if !free {
            let text = format!("another backup is written to {}", path.display());
            return Err(Failure::refused(text).hint("name another one, or wait until it is done"));
        }
    }
    let text = format!("too many backups are written to {}", request.to.display());
    Err(Failure::refused(text).hint("wait until they are done"))
}

/// Names that are tried when others are taken.
const NAMES_MAX: u32 = 100;

fn beside_numbered(path: &Path, n: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!("-{n}"));
    name.into()
}

/// The right to write a backup of a name. The file goes with it.
struct Claim {
    path: PathBuf,
    /// Whether the file is of another backup, which was killed: then what it left is there too.
    taken_up: bool,
    _file: File,
}

/// What is in the file of a claim: it was made by moa, and may be removed by it.
const CLAIM: &[u8] = b"A backup is being made by moa. This file goes away with it.\n";

impl Claim {
    /// Takes it; `None` when another process has it.
    ///
    /// # Errors
    /// Its file can't be made; or there is one that is not moa's.
    fn take(of: &Path) -> io::Result<Option<Self>> {
        let path = beside(of, "lock");
        loop {
            let mut options = File::options();
            let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
            let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
            let mut file = options.custom_flags(flags).open(&path)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(e) => return Err(e.into()),
            }
            // Whoever had it may have removed the file since it was opened: then it is another one's.
            let (ours, there) = (file.metadata()?, fs::symlink_metadata(&path));
            if there.is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())) {
                let taken_up = mark(&mut file, &ours)
                    .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))?;
                return Ok(Some(Self { path, taken_up, _file: file }));
            }
        }
    }
}

/// Marks the file of a claim as moa's; answers whether it was so before.
fn mark(file: &mut File, meta: &fs::Metadata) -> io::Result<bool> {
    let mut there = Vec::new();
    if meta.is_file() {
        file.take(CLAIM.len() as u64 + 1).read_to_end(&mut there)?;
    }
    if !meta.is_file() || !CLAIM.starts_with(&there) {
        return Err(io::Error::other("it is in the way, and not of moa"));
    }
    if there == CLAIM {
        return Ok(true);
    }
    // Just made; or a process died while it wrote this, and has written nothing else.
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(CLAIM)?;
    file.sync_all()?;
    Ok(false)
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Before the lock is given back: nobody else has this file then.
        let _ = fs::remove_file(&self.path);
    }
}

/// Where the backup will be: a folder that is there already gets one inside it, whose name is ours to
/// choose.
fn target(request: &Request<'_>) -> Result<(PathBuf, bool)> {
    let to = request.to;
    let exists = |path: &Path| {
        let text = format!("{} is there already", path.display());
        Err(Failure::refused(text).hint("name another one: a backup is never written over"))
    };
    // What ends with a slash is a folder for backups, also when there is none yet.
    let is_folder = to.as_os_str().as_encoded_bytes().ends_with(b"/") && !to.exists();
    if is_folder {
        fs::create_dir_all(to).map_err(|e| unwritable(to, &e))?;
    }
    if to.is_dir() {
        if to.join(MANIFEST).exists() {
            return exists(to);
        }
        let name = format!("{}-{}", request.name, request.now.strftime("%Y%m%dT%H%M%SZ"));
        return Ok((to.join(name), true));
    }
    if to.exists() { exists(to) } else { Ok((to.to_owned(), false)) }
}

/// What a backup needs while it is made: hidden, and by a name that nobody else uses.
fn beside(path: &Path, what: &str) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".moa-backup-{what}"));
    path.with_file_name(name)
}

fn fill(request: &Request<'_>, mut sink: Sink, told: &mut dyn FnMut(u64, u64)) -> Result<Manifest> {
    let failed = |e: io::Error| unwritable(request.to, &e);
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
    let copied = wire::copy_store(request.layout, &store, live, told)?;
    drop(lock);
    wire::check_store(&store)?;
    sink.add_store().map_err(failed)?;
    let mut missing = Vec::new();
    let files = collect(request, copied.artifacts.as_deref()).map_err(failed)?;
    for (from, name) in files {
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

/// Where the files of a backup go.
struct Sink {
    kind: Kind,
    entries: Vec<Entry>,
}

enum Kind {
    Folder(PathBuf),
    /// The archive, and a file for what has to be complete before it can be added.
    Tar(Box<tar::Builder<BufWriter<File>>>, PathBuf),
}

impl Sink {
    fn folder(path: &Path) -> io::Result<Self> {
        make_folder(&path.join(STATE))?;
        Ok(Self { kind: Kind::Folder(path.to_owned()), entries: Vec::new() })
    }

    fn tar(path: &Path, staged: PathBuf) -> io::Result<Self> {
        if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            make_folder(folder)?;
        }
        let file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
        let mut archive = tar::Builder::new(BufWriter::with_capacity(1 << 20, file));
        archive.mode(tar::HeaderMode::Deterministic);
        Ok(Self { kind: Kind::Tar(Box::new(archive), staged), entries: Vec::new() })
    }

    fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Where the store's copy is to be written.
    fn store(&self) -> PathBuf {
        match &self.kind {
            Kind::Folder(root) => root.join(STORE),
            Kind::Tar(_, staged) => staged.clone(),
        }
    }

    /// Takes in the store's copy.
    fn add_store(&mut self) -> io::Result<()> {
        let (bytes, blake3) = measure(&self.store())?;
        self.append(STORE)?;
        self.entries.push(Entry { path: STORE.into(), bytes, blake3 });
        Ok(())
    }

    /// Takes in a file. One that is being written is taken as far as it has come.
    fn add(&mut self, from: &Path, name: &str) -> io::Result<()> {
        let to = match &self.kind {
            Kind::Folder(root) => root.join(name),
            Kind::Tar(_, staged) => staged.clone(),
        };
        let (bytes, blake3) = copy(from, &to)?;
        self.append(name)?;
        self.entries.push(Entry { path: name.into(), bytes, blake3 });
        Ok(())
    }

    /// Adds what is staged to the archive.
    fn append(&mut self, name: &str) -> io::Result<()> {
        let Kind::Tar(archive, staged) = &mut self.kind else { return Ok(()) };
        archive.append_path_with_name(&*staged, name)?;
        fs::remove_file(staged)
    }

    /// Writes the manifest, the last file, and puts everything on the disk.
    fn finish(self, manifest: &Manifest) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(manifest)?;
        text.push(b'\n');
        match self.kind {
            Kind::Folder(root) => {
                let mut options = File::options();
                options.write(true).create_new(true).mode(0o600);
                let mut file = options.open(root.join(MANIFEST))?;
                file.write_all(&text)?;
                file.sync_all()?;
                for folder in folders(&root)? {
                    sync_folder(&folder)?;
                }
                Ok(())
            }
            Kind::Tar(mut archive, _) => {
                let mut header = tar::Header::new_gnu();
                header.set_size(text.len() as u64);
                header.set_mode(0o600);
                header.set_cksum();
                archive.append_data(&mut header, MANIFEST, text.as_slice())?;
                let file = archive.into_inner()?.into_inner().map_err(|e| e.into_error())?;
                file.sync_all()
            }
        }
    }
}

/// A folder and all folders beneath it.
fn folders(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut all = vec![root.to_owned()];
    let mut next = 0;
    while next < all.len() {
        for entry in fs::read_dir(&all[next])? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                all.push(entry.path());
            }
        }
        next += 1;
    }
    Ok(all)
}
