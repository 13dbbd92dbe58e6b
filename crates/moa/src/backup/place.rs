//! The place that a backup will have: its name, taken for one process, and what is hidden beside it
//! until all of it is on the disk.
//!
//! A process that is killed leaves nothing behind that anybody would wait for: the next one that takes
//! the same name removes it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, OFlags, RenameFlags, flock, renameat_with};
use rustix::io::Errno;

use super::{MANIFEST, make_folder, remove, sync_folder, unwritable};
use crate::exit::{Failure, Result};

/// The ending of a backup in one file.
pub const TAR: &str = "tar";
/// Names that are tried when others are taken.
const NAMES_MAX: u32 = 100;

/// A place of this process alone, as long as this is there. What was put beside it goes away with it.
pub struct Place {
    path: PathBuf,
    /// What becomes the backup.
    pub partial: PathBuf,
    /// For what is needed while it is made.
    pub staged: PathBuf,
    _claim: Claim,
}

impl Place {
    /// Takes a place: `to`, or in `to`, which is a folder, one that is called `name`.
    ///
    /// # Errors
    /// Something is there already, or another process has it; it can't be written.
    pub fn take(to: &Path, name: &str) -> Result<Self> {
        let (path, claim) = claim(to, name)?;
        let (partial, staged) = (beside(&path, "partial"), beside(&path, "staged"));
        if claim.taken_up {
            // What a backup that was killed left behind is of no use.
            let removed = remove(&partial).and_then(|()| remove(&staged));
            removed.map_err(|e| unwritable(&partial, &e))?;
        }
        if let Some(other) = [&partial, &staged].into_iter().find(|p| p.symlink_metadata().is_ok())
        {
            return Err(Failure::refused(format!("{} is in the way", other.display()))
                .hint("moa doesn't know whose it is: delete it, or name another place"));
        }
        Ok(Self { path, partial, staged, _claim: claim })
    }

    /// Whether the backup is to be one file.
    pub fn is_tar(&self) -> bool {
        is_tar(&self.path)
    }

    /// Gives the backup its name, now that all of it is on the disk; answers it.
    ///
    /// # Errors
    /// It can't be written, or something else has got the name meanwhile.
    pub fn fill(self) -> Result<PathBuf> {
        put_in_place(&self.partial, &self.path).map_err(|e| unwritable(&self.path, &e))?;
        let parent = folder_of(&self.path);
        sync_folder(parent).map_err(|e| unwritable(parent, &e))?;
        Ok(self.path.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Before the claim is given back. What can't be removed the next one removes.
        let _ = remove(&self.partial).and_then(|()| remove(&self.staged));
    }
}

/// Whether a name is that of a backup in one file.
pub fn is_tar(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == TAR)
}

/// Whether `to` is a folder for backups, which get names of their own there; else it is the name of a
/// new one.
///
/// # Errors
/// Something is there already.
pub fn is_for_many(to: &Path) -> Result<bool> {
    let exists = || {
        let text = format!("{} is there already", to.display());
        Err(Failure::refused(text).hint("name another one: a backup is never written over"))
    };
    match (to.is_dir(), to.exists()) {
        (true, _) if to.join(MANIFEST).exists() => exists(),
        (true, _) => Ok(true),
        (false, true) => exists(),
        // What ends with a slash is a folder for backups, also when there is none yet.
        (false, false) => Ok(to.as_os_str().as_encoded_bytes().ends_with(b"/")),
    }
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
fn claim(to: &Path, name: &str) -> Result<(PathBuf, Claim)> {
    let free = is_for_many(to)?;
    if free {
        fs::create_dir_all(to).map_err(|e| unwritable(to, &e))?;
    }
    let named = if free { to.join(name) } else { to.to_owned() };
    for n in 1..=NAMES_MAX {
        let path = match n {
            1 => named.clone(),
            _ => numbered(&named, n),
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
    let text = format!("too many backups are written to {}", to.display());
    Err(Failure::refused(text).hint("wait until they are done"))
}

/// The same name with a number, in front of the ending of an archive.
fn numbered(path: &Path, n: u32) -> PathBuf {
    let archive = is_tar(path);
    let stem = if archive { path.with_extension("") } else { path.to_owned() };
    let mut name = stem.into_os_string();
    name.push(format!("-{n}"));
    if archive {
        name.push(format!(".{TAR}"));
    }
    name.into()
}

/// What a backup needs while it is made: hidden, and by a name that nobody else uses.
fn beside(path: &Path, what: &str) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".moa-backup-{what}"));
    path.with_file_name(name)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_got_no_name_goes_away_and_names_that_are_taken_are_passed_over() {
        let dir = tempfile::tempdir().expect("a folder");
        let to = dir.path().join("kept/");
        let first = Place::take(&to, "shop.tar").expect("it is free");
        let second = Place::take(&to, "shop.tar").expect("another one is free");
        assert_eq!(second.path, to.join("shop-2.tar"));
        fs::write(&first.partial, "all of it").expect("written");
        fs::write(&second.partial, "half").expect("written");
        fs::create_dir(&second.staged).expect("made");
        drop(second);
        assert_eq!(first.fill().expect("it gets its name"), to.join("shop.tar"));
        let left = fs::read_dir(&to).expect("ls").map(|entry| entry.expect("one").file_name());
        assert_eq!(left.collect::<Vec<_>>(), ["shop.tar"]);
        assert!(Place::take(&to.join("shop.tar"), "").is_err(), "it is there already");
        assert_eq!(numbered(Path::new("a/shop"), 3), Path::new("a/shop-3"));
    }
}
