//! File systems that a test mounts for itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system of its own, unmounted at the end.
pub struct Mount {
    /// Where it is mounted.
    pub dir: PathBuf,
}

impl Mount {
    /// Mounts; `None` where this machine doesn't let us.
    pub fn new(dir: &Path, args: &[&str]) -> Option<Self> {
        fs::create_dir_all(dir).expect("the mount point");
        let mounted = Command::new("mount").args(args).arg(dir).status().expect("mount");
        mounted.success().then(|| Self { dir: dir.to_owned() })
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a failed test may have left a file open.
        let _ = Command::new("umount").arg("-l").arg(&self.dir).status();
    }
}
