//! The one way in which files of a project are opened: beneath its folder, and never beyond.
//!
//! A link that leads out of the folder, a device, a pipe or a file above the size limit is refused,
//! whoever put it there. Linux 5.6 and newer resolve the path in one call (`openat2`); elsewhere it
//! is walked folder by folder and no link is followed. A file is written beside its place under a name
//! that is made anew, and moved there when it is whole.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use moa_core::limits::FILE_BYTES_MAX;
use rustix::fs::{AtFlags, Dir, Mode, OFlags};

/// The mode of a file for its owner alone.
pub const PRIVATE: u32 = 0o600;
/// The mode of a file that the owner's group may read too.
pub const SHARED: u32 = 0o640;
/// The mode of a file that everybody may read.
pub const PUBLIC: u32 = 0o644;

/// A folder whose files may be opened.
#[derive(Debug)]
pub struct Beneath {
    root: OwnedFd,
}

/// What tells quickly whether a file has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Change time in nanoseconds; a program can't set it back.
    pub ctime: i128,
    /// Modification time in nanoseconds.
    pub mtime: i128,
    /// Bytes.
    pub size: u64,
    /// The file itself.
    pub inode: u64,
}

/// One file as read.
#[derive(Debug)]
pub struct Content {
    /// Its bytes; one more than the limit when it is too large.
    pub bytes: Vec<u8>,
    /// What it was when it was read.
    pub stamp: Stamp,
}

impl Beneath {
    /// Opens the folder.
    pub fn new(root: &Path) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(Self { root: rustix::fs::open(root, flags, Mode::empty())? })
    }

    /// Reads a file, at most one byte more than [`FILE_BYTES_MAX`].
    pub fn read(&self, path: &Path) -> io::Result<Content> {
        let file = File::from(self.open(path, OFlags::RDONLY | OFlags::NONBLOCK)?);
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        let mut bytes = Vec::with_capacity(meta.size().min(FILE_BYTES_MAX as u64) as usize);
        (&file).take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
        Ok(Content { bytes, stamp: stamp(&meta) })
    }

    /// Puts `bytes` in the place of a file that is there, whole or not at all; its mode stays.
    pub fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let name = path.file_name().ok_or_else(no_name)?;
        let old = File::from(self.open(path, OFlags::RDONLY | OFlags::NONBLOCK)?).metadata()?;
        let folder = self.parent(path)?;
        put(&folder, name, bytes, Mode::from_raw_mode(old.mode() & 0o7777))
    }

    /// Writes a file, whole or not at all, in the place of one that may be there; folders that are
    /// missing are made. A link in its place is replaced, and not followed.
    pub fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.write_as(path, bytes, SHARED)
    }

    /// The same, with the mode that the file is to have.
    pub fn write_as(&self, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
        let name = path.file_name().ok_or_else(no_name)?;
        let folders = path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty());
        for folder in folders.collect::<Vec<_>>().into_iter().rev() {
            match self.open(folder, OFlags::RDONLY | OFlags::DIRECTORY) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                other => {
                    other?;
                    continue;
                }
            }
            let new = folder.file_name().ok_or_else(no_name)?;
            match rustix::fs::mkdirat(self.parent(folder)?, new, Mode::from_raw_mode(0o777)) {
                // Somebody else has made it meanwhile.
                Err(rustix::io::Errno::EXIST) => {}
                made => made?,
            }
        }
        put(&self.parent(path)?, name, bytes, Mode::from_raw_mode(mode))
    }

    /// Removes a file, or a link itself; it is gone from the disk when this returns.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        let name = path.file_name().ok_or_else(no_name)?;
        let folder = self.parent(path)?;
        rustix::fs::unlinkat(&folder, name, AtFlags::empty())?;
        Ok(rustix::fs::fsync(folder)?)
    }

    /// The folder that something is in.
    fn parent(&self, path: &Path) -> io::Result<OwnedFd> {
        match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            Some(folder) => self.open(folder, OFlags::RDONLY | OFlags::DIRECTORY),
            None => Ok(rustix::io::fcntl_dupfd_cloexec(&self.root, 0)?),
        }
    }

    /// What tells whether the file has changed, without reading it.
    pub fn stamp(&self, path: &Path) -> io::Result<Stamp> {
        let file = File::from(self.open(path, OFlags::RDONLY | OFlags::NONBLOCK)?);
        Ok(stamp(&file.metadata()?))
    }

    /// The names in a folder, sorted; none when there is no such folder. Names that aren't UTF-8
    /// are left out: nothing of a project has one.
    pub fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let fd = match self.open(folder, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(fd) => fd,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e),
        };
        let mut names = Vec::new();
        for entry in Dir::new(fd)? {
            if let Ok(name) = entry?.file_name().to_str()
                && !matches!(name, "." | "..")
            {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    fn open(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let plain = path.components().all(|c| matches!(c, Component::Normal(_)));
        if !plain || path.as_os_str().is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is not beneath the folder",
            ));
        }
        self.open_beneath(path, flags | OFlags::CLOEXEC | OFlags::NOCTTY)
    }

    #[cfg(target_os = "linux")]
    fn open_beneath(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        use rustix::fs::ResolveFlags;
        use rustix::io::Errno;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        // EAGAIN: a folder was renamed meanwhile, and the kernel asks for another try.
        for _ in 0..16 {
            match rustix::fs::openat2(&self.root, path, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN) => {}
                Err(Errno::NOSYS) => return self.walk(path, flags),
                Err(Errno::XDEV) => {
                    return Err(io::Error::other("it is a link that leads out of the project"));
                }
                other => return Ok(other?),
            }
        }
        Err(io::Error::other("its folder keeps being renamed"))
    }

    #[cfg(not(target_os = "linux"))]
    fn open_beneath(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        self.walk(path, flags)
    }

    /// Folder by folder, no link followed.
    fn walk(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let between = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mut folder = rustix::io::fcntl_dupfd_cloexec(&self.root, 0)?;
        let mut components = path.components().peekable();
        while let Some(component) = components.next() {
            let last = components.peek().is_none();
            let flags = if last { flags | OFlags::NOFOLLOW } else { between };
            folder = rustix::fs::openat(&folder, component.as_os_str(), flags, Mode::empty())?;
        }
        Ok(folder)
    }
}

fn no_name() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "it is not a file")
}

/// Puts a file in its place in a folder, whole or not at all; it is on the disk when this returns.
fn put(folder: &OwnedFd, name: &OsStr, bytes: &[u8], mode: Mode) -> io::Result<()> {
    let number = std::process::id();
    let temporary = format!(".{}.moa-{number}", name.to_string_lossy());
    // It may never have been made.
    let forget = || rustix::fs::unlinkat(folder, &temporary, AtFlags::empty());
    // Nothing that somebody else put there is written to: neither a link nor a file with two names.
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let write = || {
        let _ = forget();
        let made = rustix::fs::openat(folder, &temporary, flags, Mode::RUSR | Mode::WUSR)?;
        let mut out = File::from(made);
        rustix::fs::fchmod(&out, mode)?;
        out.write_all(bytes)?;
        out.sync_all()?;
        rustix::fs::renameat(folder, &temporary, folder, name)?;
        Ok(rustix::fs::fsync(folder)?)
    };
    write().inspect_err(|_| {
        let _ = forget();
    })
}

/// Writes a file that a person named: beneath the project where its path is in it, and else in the
/// folder that it names.
///
/// # Errors
/// It can't be written; or what is there is no regular file, but a device, a pipe, a folder, or a
/// link to one.
pub fn write_named(root: &Path, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let path = plain(path);
    refuse_special(&path)?;
    if let Ok(within) = path.strip_prefix(root) {
        return Beneath::new(root)?.write_as(within, bytes, mode);
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(no_name());
    };
    std::fs::create_dir_all(folder)?;
    Beneath::new(folder)?.write_as(Path::new(name), bytes, mode)
}

/// Refuses what a file must not take the place of.
fn refuse_special(path: &Path) -> io::Result<()> {
    match std::fs::metadata(path) {
        Ok(meta) if !meta.is_file() => return Err(io::Error::other("it is not a regular file")),
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    // `/dev/stdout` leads to a regular file when the output goes to one; it is still no file.
    let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
    match folder.filter(|_| path.is_symlink()) {
        Some(folder) if ["/dev", "/proc"].iter().any(|of| folder.starts_with(of)) => {
            Err(io::Error::other("it is not a regular file"))
        }
        _ => Ok(()),
    }
}

/// What a project is made of, and where moa keeps its state: no other file is written there.
const OWN: [&str; 5] = ["moa.yaml", "workflows", "agents", "calendars", ".env"];
/// Folders in the state that hold nothing but what settings name.
const ROOM: [&str; 2] = ["log", "health"];
/// Files that must not be written to under another name either.
const PRECIOUS: [&str; 7] = [
    "moa.yaml",
    ".env",
    ".moa/moa.db",
    ".moa/moa.db-wal",
    ".moa/moa.db-shm",
    ".moa/counters.json",
    ".moa/alerts.json",
];

/// Refuses to write to what the project is made of or to moa's own state: by its own name, through
/// links, or as another name of the same file.
///
/// # Errors
/// It is one of those; `path` can't be looked at.
pub fn refuse_own(root: &Path, path: &Path) -> io::Result<()> {
    let root = root.canonicalize()?;
    let real = resolved(&root.join(path))?;
    let mut parts = real.strip_prefix(&root).into_iter().flat_map(Path::components);
    let mut part = || parts.next().and_then(|part| part.as_os_str().to_str());
    let what = match part() {
        Some(first) if OWN.contains(&first) => Some("part of the project"),
        Some(".moa") if !part().is_some_and(|second| ROOM.contains(&second)) => {
            Some("part of moa's own state")
        }
        _ => None,
    };
    let same = std::fs::metadata(&real).ok().and_then(|meta| {
        PRECIOUS.into_iter().find(|name| {
            let own = std::fs::metadata(root.join(name));
            own.is_ok_and(|own| (own.dev(), own.ino()) == (meta.dev(), meta.ino()))
        })
    });
    match same.map(|name| format!("another name of {name}")).or(what.map(str::to_owned)) {
        Some(what) => {
            let text = format!("it is {what}, which would be destroyed");
            Err(io::Error::new(io::ErrorKind::InvalidInput, text))
        }
        None => Ok(()),
    }
}

/// An absolute path without links; what is not there yet follows what is.
fn resolved(path: &Path) -> io::Result<PathBuf> {
    let path = plain(path);
    let mut there = path.as_path();
    loop {
        match there.canonicalize() {
            Ok(real) => {
                let rest = path.strip_prefix(there).unwrap_or(Path::new(""));
                return Ok(if rest.as_os_str().is_empty() { real } else { real.join(rest) });
            }
            // A link to what isn't there: where it leads to is not known.
            Err(e) if there.is_symlink() => return Err(e),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                there = there.parent().ok_or(e)?;
            }
            Err(e) => return Err(e),
        }
    }
}

/// An absolute path without `..`, as it is written.
pub fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}

fn stamp(meta: &std::fs::Metadata) -> Stamp {
    let nanos = |s: i64, ns: i64| i128::from(s) * 1_000_000_000 + i128::from(ns);
    Stamp {
        ctime: nanos(meta.ctime(), meta.ctime_nsec()),
        mtime: nanos(meta.mtime(), meta.mtime_nsec()),
        size: meta.size(),
        inode: meta.ino(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_outside_is_opened() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let inside = dir.path().join("inside");
        std::fs::create_dir(&inside).expect("mkdir");
        std::fs::write(dir.path().join("secret"), "s").expect("write");
        std::fs::write(inside.join("real"), "r").expect("write");
        std::os::unix::fs::symlink("../secret", inside.join("out")).expect("link");
        std::os::unix::fs::symlink("/etc/passwd", inside.join("absolute")).expect("link");
        let beneath = Beneath::new(&inside).expect("open");
        for path in ["out", "absolute", "../secret", "/etc/passwd", "a/../../secret", "", "."] {
            assert!(beneath.read(Path::new(path)).is_err(), "{path:?}");
        }
        assert_eq!(beneath.read(Path::new("real")).expect("read").bytes, b"r");
        for link in ["out", "absolute"] {
            assert!(beneath.walk(Path::new(link), OFlags::RDONLY).is_err(), "{link:?}");
        }
        assert_eq!(beneath.list(Path::new("nowhere")).expect("list"), Vec::<String>::new());
    }

    #[test]
    fn nothing_is_written_or_removed_through_links() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (inside, outside) = (dir.path().join("inside"), dir.path().join("outside"));
        std::fs::create_dir_all(inside.join("data")).expect("mkdir");
        std::fs::create_dir(&outside).expect("mkdir");
        std::fs::write(outside.join("precious"), "p").expect("write");
        symlink("../outside", inside.join("away")).expect("link");
        let temporary = |name: &str| format!("data/.{name}.moa-{}", std::process::id());
        for name in ["new", "old"] {
            let planted = inside.join(temporary(name));
            std::fs::hard_link(outside.join("precious"), planted).expect("link");
        }
        symlink("../../outside/precious", inside.join("data/linked")).expect("link");
        std::fs::write(inside.join("data/old"), "o").expect("write");
        let beneath = Beneath::new(&inside).expect("open");
        beneath.write(Path::new("data/new"), b"1").expect("written");
        beneath.replace(Path::new("data/old"), b"2").expect("written");
        beneath.write(Path::new("data/linked"), b"3").expect("written");
        beneath.write(Path::new("made/for/it"), b"4").expect("written");
        for (name, text) in [("data/new", b"1"), ("data/linked", b"3"), ("made/for/it", b"4")] {
            assert_eq!(beneath.read(Path::new(name)).expect("read").bytes, text);
        }
        for out in ["away/x", "away/y/x", "../x", "a/../../x", "/x"] {
            assert!(beneath.write(Path::new(out), b"x").is_err(), "{out}");
        }
        assert!(write_named(&inside, &inside.join("data/../away/x"), b"x", SHARED).is_err());
        assert!(beneath.remove(Path::new("away/precious")).is_err());
        write_named(&inside, &outside.join("named"), b"n", PUBLIC).expect("a person named it");
        let mode = std::fs::metadata(outside.join("named")).expect("it is there").mode();
        assert_eq!(mode & 0o777, PUBLIC);
        assert_eq!(std::fs::read(outside.join("precious")).expect("read"), b"p");
        assert_eq!(std::fs::read_dir(&outside).expect("ls").count(), 2);
    }

    #[test]
    fn a_file_takes_the_place_of_nothing_but_a_file() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (inside, outside) = (dir.path().join("inside"), dir.path().join("outside"));
        std::fs::create_dir_all(&inside).expect("mkdir");
        std::fs::create_dir_all(outside.join("folder")).expect("mkdir");
        for pipe in [inside.join("pipe"), outside.join("pipe")] {
            let status = std::process::Command::new("mkfifo").arg(&pipe).status();
            assert!(status.expect("mkfifo").success());
            symlink(&pipe, pipe.with_extension("link")).expect("link");
            for path in [&pipe, &pipe.with_extension("link")] {
                let before = std::fs::symlink_metadata(path).expect("it is there");
                assert!(write_named(&inside, path, b"x", SHARED).is_err(), "{}", path.display());
                let after = std::fs::symlink_metadata(path).expect("it is there");
                assert_eq!(after.ino(), before.ino(), "{}", path.display());
            }
        }
        assert!(write_named(&inside, &outside.join("folder"), b"x", SHARED).is_err());
        assert!(refuse_special(Path::new("/dev/null")).is_err());
        assert!(refuse_special(Path::new("/dev/stdout")).is_err());
        refuse_special(&outside.join("new")).expect("there is nothing");
    }

    #[test]
    fn what_a_project_is_made_of_is_not_written_over() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().expect("a temporary folder");
        let root = dir.path();
        for folder in [".moa/log", "workflows", "data"] {
            std::fs::create_dir_all(root.join(folder)).expect("mkdir");
        }
        for file in ["moa.yaml", ".moa/moa.db", ".env"] {
            std::fs::write(root.join(file), "x").expect("write");
        }
        symlink("../.moa/moa.db", root.join("data/link")).expect("link");
        symlink("../.moa", root.join("data/state")).expect("link");
        symlink("../.moa/new", root.join("data/nowhere")).expect("link");
        std::fs::hard_link(root.join(".moa/moa.db"), root.join("data/hard")).expect("link");
        let own = [
            ".moa/moa.db",
            ".moa/log/../moa.db",
            ".moa",
            ".moa/new",
            ".moa/artifacts/x",
            "moa.yaml",
            "workflows/new.yaml",
            "agents",
            ".env",
            "data/link",
            "data/state/x",
            "data/nowhere",
            "data/hard",
        ];
        for path in own {
            assert!(refuse_own(root, Path::new(path)).is_err(), "{path}");
            assert!(refuse_own(root, &root.join(path)).is_err(), "{path}");
        }
        for path in [".moa/log/moa.log", ".moa/health/x.json", "data/new/x", "../elsewhere", "x"] {
            refuse_own(root, Path::new(path)).expect(path);
        }
    }

    #[test]
    fn a_pipe_is_refused_and_does_not_block() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("pipe");
        let status = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(status.expect("mkfifo").success());
        let beneath = Beneath::new(dir.path()).expect("open");
        assert!(beneath.read(Path::new("pipe")).is_err());
    }
}
