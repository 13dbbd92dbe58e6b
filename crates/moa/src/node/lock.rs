//! The lock of a project: one node at a time. Held by the kernel for the life of the process, so a
//! crash leaves nothing behind that has to be cleaned up.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use crate::exit::{Exit, Failure, Result};

/// The lock of a project, held until dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Whether the lock was free.
pub enum Taken {
    /// It is ours now.
    Ours(Lock),
    /// Another process has it.
    By(Holder),
}

/// For how long a process takes the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stay {
    /// Until it is stopped: it serves the project.
    Lasting,
    /// For one run, a backup, a restore.
    Passing,
}

/// Who has the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// Its process, if it has written it down yet.
    pub pid: Option<u32>,
    /// Whether it will give the lock back by itself.
    pub stay: Stay,
}

/// What a holder writes behind its process when it doesn't stay.
const PASSING: &str = "passing";

impl Holder {
    /// Whether the process that wrote itself down is no more.
    fn is_gone(&self) -> bool {
        let pid = self.pid.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        pid.is_some_and(|pid| test_kill_process(pid) == Err(Errno::SRCH))
    }

    fn read(file: &mut File) -> Self {
        let mut text = String::new();
        // Its owner may be writing it just now.
        let _ = file.read_to_string(&mut text);
        let mut words = text.split_whitespace();
        let pid = words.next().and_then(|pid| pid.parse().ok());
        let passing = words.next() == Some(PASSING);
        Self { pid, stay: if passing { Stay::Passing } else { Stay::Lasting } }
    }
}

/// How long the lock of a process that is gone is waited for.
const GONE: Duration = Duration::from_secs(5);

/// Tries to take the lock of a project. `state` is its `.moa` folder, which exists.
pub fn take(state: &Path, stay: Stay) -> Result<Taken> {
    let start = Instant::now();
    loop {
        match attempt(state, stay)? {
            // A program that it was just starting, or a command that just looked, has it for a moment.
            Taken::By(by) if by.is_gone() && start.elapsed() < GONE => {
                std::thread::sleep(Duration::from_millis(5));
            }
            taken => return Ok(taken),
        }
    }
}

fn attempt(state: &Path, stay: Stay) -> Result<Taken> {
    let path = state.join("node.lock");
    let failed = |e: &std::io::Error| unusable(&path, e);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|e| failed(&e))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            return Ok(Taken::By(Holder::read(&mut file)));
        }
        Err(e) => return Err(failed(&e.into())),
    }
    let mut write = || {
        file.set_len(0)?;
        file.rewind()?;
        let pid = std::process::id();
        match stay {
            Stay::Lasting => writeln!(file, "{pid}"),
            Stay::Passing => writeln!(file, "{pid} {PASSING}"),
        }
    };
    write().map_err(|e| failed(&e))?;
    Ok(Taken::Ours(Lock { _file: file }))
}

/// Whether a node runs, and which process it is; without taking anything.
pub fn holder(state: &Path) -> Option<Option<u32>> {
    let mut file = File::open(state.join("node.lock")).ok()?;
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Err(Errno::WOULDBLOCK) => Some(Holder::read(&mut file).pid),
        // Given back when the file is closed.
        _ => None,
    }
}

/// The state folder can't be written.
pub fn unusable(path: &Path, error: &std::io::Error) -> Failure {
    let mut failure = Failure::io(format!("can't use {}", path.display()), error);
    failure.exit = Exit::Unavailable;
    failure.hint("a node needs to write to the project's folder .moa")
}

/// The refusal of a second node.
pub fn refusal(pid: Option<u32>) -> Failure {
    let who = pid.map_or_else(|| "starting just now".into(), |pid| format!("pid {pid}"));
    let failure = Failure::refused(format!("a node serves this project already ({who})"));
    match pid {
        Some(pid) => failure.hint(format!("stop it with Ctrl-C or `kill {pid}`")),
        None => failure.hint("try again in a moment"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_is_taken_once_and_free_again_when_dropped() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        assert_eq!(holder(dir.path()), None);
        for stay in [Stay::Passing, Stay::Lasting] {
            let Ok(Taken::Ours(lock)) = take(dir.path(), stay) else { panic!("it is free") };
            let Ok(Taken::By(by)) = take(dir.path(), stay) else { panic!("it is taken") };
            assert_eq!(by, Holder { pid: Some(std::process::id()), stay });
            assert_eq!(holder(dir.path()), Some(by.pid));
            drop(lock);
        }
        assert!(matches!(take(dir.path(), Stay::Lasting), Ok(Taken::Ours(_))));
    }

    #[test]
    fn what_a_process_that_is_gone_left_to_another_is_waited_for() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut child = std::process::Command::new("true").spawn().expect("it starts");
        let pid = child.id();
        child.wait().expect("it ends");
        let path = dir.path().join("node.lock");
        std::fs::write(&path, format!("{pid}\n")).expect("written");
        let inherited = File::open(&path).expect("it is there");
        flock(&inherited, FlockOperation::LockShared).expect("it is free");
        let waits = std::thread::scope(|scope| {
            let waits = scope.spawn(|| take(dir.path(), Stay::Lasting));
            let looked = attempt(dir.path(), Stay::Lasting);
            assert!(matches!(looked, Ok(Taken::By(by)) if by.is_gone()));
            drop(inherited);
            waits.join().expect("no panic")
        });
        assert!(matches!(waits, Ok(Taken::Ours(_))));
    }
}
