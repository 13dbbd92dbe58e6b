//! One process at a time: a lock file beside the database, with the number of the process in it.
//! The kernel gives the lock back when the process ends, however it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::Error;

/// Held as long as it lives.
pub(crate) struct Lock {
    _file: File,
}

/// The lock file of a database: `moa.lock` in its folder.
pub(crate) fn path_of(database: &Path) -> PathBuf {
    database.with_file_name("moa.lock")
}

/// How long the lock of a process that is gone is waited for.
const GONE: Duration = Duration::from_secs(5);

/// Whether a process is no more. Where that can't be seen it is not.
fn is_gone(pid: u32) -> bool {
    let all = Path::new("/proc");
    all.join("self").exists() && !all.join(pid.to_string()).exists()
}

/// How long one who has the lock is waited for.
fn patience(pid: Option<u32>, wait: Duration) -> Duration {
    match pid {
        // A program that it was just starting has it for a moment.
        Some(pid) if is_gone(pid) => wait.max(GONE),
        _ => wait,
    }
}

impl Lock {
    /// Takes the lock, or says who has it after waiting so long.
    pub fn take(database: &Path, wait: Duration) -> Result<Self, Error> {
        let start = Instant::now();
        loop {
            match Self::attempt(database) {
                Err(Error::Locked { pid, .. }) if start.elapsed() < patience(pid, wait) => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                taken => return taken,
            }
        }
    }

    fn attempt(database: &Path) -> Result<Self, Error> {
        let path = path_of(database);
        let unavailable = |e: std::io::Error| Error::Unavailable {
            path: path.clone(),
            reason: format!("{e}; moa must be able to write in this folder"),
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(unavailable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // Who has the lock may not have written its number yet.
                let pid =
                    file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                return Err(Error::Locked { path: database.to_owned(), pid });
            }
            Err(TryLockError::Error(e)) => return Err(unavailable(e)),
        }
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        write(&mut file).map_err(unavailable)?;
        Ok(Self { _file: file })
    }
}
