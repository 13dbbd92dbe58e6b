//! The one way in which files of a project are opened: beneath its folder, and never beyond.
//!
//! A link that leads out of the folder, a device, a pipe or a file above the size limit is refused,
//! whoever put it there. Linux 5.6 and newer resolve the path in one call (`openat2`); elsewhere it
//! is walked folder by folder and no link is followed. Nothing is written but a file in the place of
//! one that is there.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path};

use moa_core::limits::FILE_BYTES_MAX;
use rustix::fs::{Dir, Mode, OFlags};

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
        let no_name = || io::Error::new(io::ErrorKind::InvalidInput, "it is not a file");
        let name = path.file_name().ok_or_else(no_name)?;
        let old = File::from(self.open(path, OFlags::RDONLY | OFlags::NONBLOCK)?).metadata()?;
        let folder = match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            Some(folder) => self.open(folder, OFlags::RDONLY | OFlags::DIRECTORY)?,
            None => rustix::io::fcntl_dupfd_cloexec(&self.root, 0)?,
        };
        let number = std::process::id();
        let temporary = format!(".{}.moa-{number}", name.to_string_lossy());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(old.mode() & 0o7777);
        let write = || {
            let made = rustix::fs::openat(&folder, &temporary, flags, Mode::RUSR | Mode::WUSR)?;
            let mut out = File::from(made);
            rustix::fs::fchmod(&out, mode)?;
            out.write_all(bytes)?;
            out.sync_all()?;
            Ok(rustix::fs::renameat(&folder, &temporary, &folder, name)?)
        };
        write().inspect_err(|_| {
            // It may never have been made.
            let _ = rustix::fs::unlinkat(&folder, &temporary, rustix::fs::AtFlags::empty());
        })
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
    fn a_pipe_is_refused_and_does_not_block() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("pipe");
        let status = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(status.expect("mkfifo").success());
        let beneath = Beneath::new(dir.path()).expect("open");
        assert!(beneath.read(Path::new("pipe")).is_err());
    }
}
