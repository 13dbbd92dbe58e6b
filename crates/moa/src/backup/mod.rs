//! Backups: a folder (or a tar file of one) with a copy of the store at one instant, the artifacts
//! that it refers to, the project's own files, and a manifest with the hash of every file.
//!
//! A backup is there whole or not at all: it is written under another name, and gets its own when all
//! of it is on the disk ([`place`]). [`make`] writes one, beside a node or without one; [`unnamed`] is how a
//! node makes one for somebody elsewhere, and [`fetch`] how that is taken there; [`restore`] checks one and
//! puts it in the place of a project's state. Absent by intent: secrets (`.env`), tokens and sessions, and
//! the identity of the state, by which a node knows the processes of earlier nodes: a copy elsewhere is another one.

pub mod fetch;
pub mod make;
pub mod place;
pub mod restore;
pub mod sink;
pub mod unnamed;

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path};

pub use moa_view::node::Holds;
use serde::{Deserialize, Serialize};

use crate::exit::{Exit, Failure};

/// The version of the form of a backup.
pub const FORMAT: u32 = 1;
/// The manifest's name.
pub const MANIFEST: &str = "manifest.json";
/// The folder of what goes to `.moa`.
pub const STATE: &str = "state";
/// The folder of the project's own files.
pub const PROJECT: &str = "project";
/// The store, inside [`STATE`].
pub const STORE: &str = "state/moa.db";
/// The folder of what triggers have found, inside [`STATE`].
pub const FOUND: &str = "watch";
/// Bytes copied at once.
const CHUNK: usize = 1 << 20;

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// The moa that made it.
    pub moa: String,
    /// The store's schema.
    pub schema: u32,
    /// The project's name.
    pub project: String,
    /// The instant of the store's copy, RFC 3339.
    pub created_at: String,
    /// The newest event in it.
    pub last_event: u64,
    /// Whether it was made beside a node.
    pub live: bool,
    /// What it holds beside the store.
    pub holds: Holds,
    /// Artifacts that runs refer to and that were gone when they should be copied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// Every file but this one.
    pub files: Vec<Entry>,
}

/// One file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Where it is in the backup.
    pub path: String,
    /// Its bytes.
    pub bytes: u64,
    /// BLAKE3 of its content.
    pub blake3: String,
}

impl Entry {
    /// The path, if it stays inside the backup.
    fn safe_path(&self) -> Option<&Path> {
        let path = Path::new(&self.path);
        let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
        let known = [STATE, PROJECT].iter().any(|folder| path.starts_with(folder));
        (plain && known).then_some(path)
    }
}

/// Opens a file to copy it. What has become something else since it was listed is none: a pipe would be
/// waited for.
fn open(path: &Path) -> io::Result<File> {
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(nonblock).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other(format!("{} is no file", path.display()))),
    }
}

/// Copies a file and puts the copy on the disk; answers its bytes and hash. Who may run it stays.
fn copy(from: &Path, to: &Path) -> io::Result<(u64, String)> {
    let file = open(from)?;
    make_folder(to.parent().unwrap_or(Path::new(".")))?;
    let mut options = File::options();
    let mut out = options.write(true).create(true).truncate(true).mode(0o600).open(to)?;
    if file.metadata()?.mode() & 0o100 != 0 {
        out.set_permissions(Permissions::from_mode(0o700))?;
    }
    let copied = pour(file, &mut out)?;
    out.sync_all()?;
    Ok(copied)
}

/// Reads a file to its end; answers its bytes and hash.
fn measure(path: &Path) -> io::Result<(u64, String)> {
    pour(File::open(path)?, &mut io::sink())
}

fn pour(mut from: impl Read, to: &mut impl Write) -> io::Result<(u64, String)> {
    let mut hasher = blake3::Hasher::new();
    let mut chunk = vec![0; CHUNK];
    let mut bytes = 0;
    loop {
        let read = match from.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        hasher.update(&chunk[..read]);
        to.write_all(&chunk[..read])?;
        bytes += read as u64;
    }
    Ok((bytes, hasher.finalize().to_hex().to_string()))
}

fn make_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Puts a folder's list of names on the disk.
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// The regular files beneath a folder, as paths relative to it, sorted; no link is followed.
fn walk(folder: &Path) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut open = vec![String::new()];
    while let Some(inner) = open.pop() {
        let entries = match fs::read_dir(folder.join(&inner)) {
            Ok(entries) => entries,
            // There is none, or it has just been deleted.
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        for entry in entries {
            let entry = entry?;
            // A name that isn't UTF-8 is none of ours.
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
            let path = if inner.is_empty() { name } else { format!("{inner}/{name}") };
            let kind = entry.file_type()?;
            if kind.is_dir() {
                open.push(path);
            } else if kind.is_file() {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Removes a folder or file, if it is there.
fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(e) => Err(e),
    };
    match removed {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    let mut failure = Failure::io(format!("can't write {}", path.display()), error);
    failure.exit = Exit::Unavailable;
    failure
}
