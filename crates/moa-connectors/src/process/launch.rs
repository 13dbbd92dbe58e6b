//! Starting a program, and what is known of it while it lives.
//!
//! Every process that moa starts for an agent is started here. No code runs between fork and exec,
//! so the system's quick way of starting a process is used. Limits are set from outside, right after
//! the start: a program could do a little before they hold (some microseconds), which is harmless
//! for what they are: guards against accidents.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::{Component, Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError, RwLock};

use moa_core::agent::ProcessLimits;
use moa_ports::agent::TaskError;
use rustix::process::{Pid, Signal};
use tokio::net::unix::pipe::Receiver;

use super::environment::Environment;
use super::records::Recorded;

/// The programs that this process started and has not reaped.
pub(super) static LEADERS: Leaders = Leaders { starting: RwLock::new(()), known: Mutex::new(None) };

pub(super) struct Leaders {
    /// Held for reading while a program is started, until it is known. Held for writing by who
    /// reaps processes that are not known.
    pub starting: RwLock<()>,
    known: Mutex<Option<HashSet<i32>>>,
}

impl Leaders {
    pub fn contains(&self, pid: i32) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().is_some_and(|known| known.contains(&pid))
    }

    fn insert(&self, pid: i32) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get_or_insert_default().insert(pid);
    }

    fn remove(&self, pid: i32) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get_or_insert_default().remove(&pid);
    }
}

/// The folder that a program runs in: the project's, or one beneath it.
///
/// # Errors
/// It isn't beneath the project, or isn't a folder.
pub(super) fn folder(project: &Path, cwd: Option<&str>) -> Result<PathBuf, String> {
    let Some(cwd) = cwd else { return Ok(project.to_owned()) };
    let outside = || format!("the folder {cwd:?} is not beneath the project's folder");
    let mut path = project.to_owned();
    let relative = Path::new(cwd).strip_prefix(project).unwrap_or(Path::new(cwd));
    for part in relative.components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return Err(outside());
            }
        }
    }
    if path.is_dir() { Ok(path) } else { Err(format!("the folder {cwd:?} doesn't exist")) }
}

/// The file of a program: a name with a slash is a path from the project's folder, any other is
/// looked up in `PATH`.
fn find(program: &str, project: &Path, environment: &Environment) -> Result<PathBuf, String> {
    if program.contains('/') {
        let path = project.join(program);
        return match path.is_file() {
            true => Ok(path),
            false => Err(format!("there is no program {program:?} ({})", path.display())),
        };
    }
    let path = environment.get(std::ffi::OsStr::new("PATH")).cloned().unwrap_or_default();
    let found = std::env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(program))
        .find(|file| is_executable(file));
    found.ok_or_else(|| {
        let hint = match project.join(program).is_file() {
            true => format!("; the project has a file of that name: write ./{program}"),
            false => format!("; looked in {}", path.to_string_lossy()),
        };
        format!("there is no program {program:?}{hint}")
    })
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    file.metadata().is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

/// A file that holds `document`, to be read from its beginning; it has no name.
pub(super) fn stdin(document: &[u8], scratch: &Path) -> io::Result<File> {
    let mut file = nameless(scratch)?;
    file.write_all(document)?;
    file.rewind()?;
    Ok(file)
}

#[cfg(target_os = "linux")]
fn nameless(scratch: &Path) -> io::Result<File> {
    use rustix::fs::{MemfdFlags, memfd_create};
    match memfd_create("moa-stdin", MemfdFlags::CLOEXEC) {
        Ok(fd) => Ok(File::from(fd)),
        Err(_) => nameless_on_disk(scratch),
    }
}

#[cfg(not(target_os = "linux"))]
fn nameless(scratch: &Path) -> io::Result<File> {
    nameless_on_disk(scratch)
}

fn nameless_on_disk(scratch: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = scratch.join(format!("stdin-{}-{number}", std::process::id()));
    let mut options = File::options();
    let file = options.create_new(true).read(true).write(true).mode(0o600).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

/// What a program is started with.
pub(super) struct Launch<'a> {
    pub argv: &'a [String],
    pub project: &'a Path,
    pub folder: &'a Path,
    pub environment: &'a Environment,
    pub stdin: File,
    pub limits: &'a ProcessLimits,
}

impl Launch<'_> {
    /// Starts it.
    ///
    /// # Errors
    /// Permanent when it can't be started as it is declared, retryable when the system is short of
    /// something.
    pub fn start(self) -> Result<Live, TaskError> {
        let Some((program, args)) = self.argv.split_first() else {
            return Err(TaskError::Permanent("the agent's command is empty".to_owned()));
        };
        let file = find(program, self.project, self.environment).map_err(TaskError::Permanent)?;
        let mut command = Command::new(&file);
        command.arg0(program).args(args);
        command.env_clear().envs(self.environment).current_dir(self.folder);
        command.stdin(self.stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let starting = LEADERS.starting.read().unwrap_or_else(PoisonError::into_inner);
        let child = command.spawn().map_err(|e| not_started(program, &e))?;
        let pid = pid_of(&child);
        LEADERS.insert(pid.as_raw_nonzero().get());
        drop(starting);
        // From here on it lives: dropping `live` kills it.
        let mut live = Live { child, pid, watch: None, record: None, reaped: false };
        live.watch = Some(Watch::new(pid).map_err(|e| {
            TaskError::Retryable(format!("the program {program:?} can't be watched: {e}"))
        })?);
        set_limits(pid, self.limits)
            .map_err(|e| TaskError::Permanent(format!("the agent's limits can't be set: {e}")))?;
        Ok(live)
    }
}

fn pid_of(child: &Child) -> Pid {
    let raw = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    raw.expect("the system numbers processes from 1 and within 31 bits")
}

fn not_started(program: &str, error: &io::Error) -> TaskError {
    use rustix::io::Errno;
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    let hint = match errno {
        Some(Errno::ACCESS) => "it may not be executed; try `chmod +x`",
        Some(Errno::NOENT) => "it, or the interpreter in its first line, doesn't exist",
        Some(Errno::NOEXEC) => "it is no program for this machine, or a script without `#!`",
        Some(Errno::TOOBIG) => "its arguments and environment are too long; use standard input",
        Some(Errno::ISDIR | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG | Errno::INVAL) => {
            "it is no program"
        }
        None => "its arguments or environment hold a NUL character",
        Some(_) => {
            return TaskError::Retryable(format!("{program:?} can't be started now: {error}"));
        }
    };
    TaskError::Permanent(format!("{program:?} can't be started: {hint} ({error})"))
}

fn set_limits(pid: Pid, limits: &ProcessLimits) -> io::Result<()> {
    use rustix::process::Resource;
    /// Seconds after SIGXCPU at which the system kills the process.
    const CPU_GRACE: u64 = 5;
    let all = [
        (Resource::As, limits.memory_bytes, 0),
        (Resource::Cpu, limits.cpu_seconds, CPU_GRACE),
        (Resource::Nofile, limits.files, 0),
        (Resource::Fsize, limits.file_bytes, 0),
    ];
    for (resource, limit, more) in all {
        if let Some(limit) = limit {
            set_limit(pid, resource, limit, limit.saturating_add(more))?;
        }
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn set_limit(
    pid: Pid,
    resource: rustix::process::Resource,
    soft: u64,
    hard: u64,
) -> io::Result<()> {
    let limit = rustix::process::Rlimit { current: Some(soft), maximum: Some(hard) };
    match rustix::process::prlimit(Some(pid), resource, limit) {
        // It may have ended already.
        Ok(_) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn set_limit(
    _pid: Pid,
    _resource: rustix::process::Resource,
    _soft: u64,
    _hard: u64,
) -> io::Result<()> {
    Err(io::Error::other("limits of processes need Linux"))
}

/// A program that was started and is not reaped yet. Dropping it kills its group.
pub(super) struct Live {
    child: Child,
    pid: Pid,
    watch: Option<Watch>,
    /// Stands until the program is about to be reaped: from then on its number may be anybody's.
    record: Option<Recorded>,
    reaped: bool,
}

impl Live {
    /// Its process id, which is also its group's.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Keeps a record of it as long as it must be known.
    pub fn keep_record(&mut self, record: Option<Recorded>) {
        self.record = record;
    }

    /// Standard output and standard error, once.
    pub fn take_pipes(&mut self) -> (Option<OwnedFd>, Option<OwnedFd>) {
        let (out, err) = (self.child.stdout.take(), self.child.stderr.take());
        (out.map(OwnedFd::from), err.map(OwnedFd::from))
    }

    /// Waits until it has ended. It isn't reaped, so its number stays its own.
    pub async fn exited(&self) {
        match &self.watch {
            Some(watch) => watch.exited().await,
            None => std::future::pending().await,
        }
    }

    /// Sends a signal to every process of its group.
    pub fn signal(&self, signal: Signal) {
        // Fails when nobody is left in the group, which is as good.
        let _ = rustix::process::kill_process_group(self.pid, signal);
    }

    /// Takes its status; to be called when it has ended.
    ///
    /// # Errors
    /// Somebody else reaped it.
    pub fn reap(&mut self) -> io::Result<ExitStatus> {
        self.record = None;
        let status = self.child.wait();
        self.reaped = true;
        LEADERS.remove(self.pid.as_raw_nonzero().get());
        status
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if self.reaped {
            return;
        }
        self.signal(Signal::KILL);
        self.record = None;
        if let Ok(Some(_)) = self.child.try_wait() {
            LEADERS.remove(self.pid.as_raw_nonzero().get());
            return;
        }
        // It takes a moment to die. Without a runtime this process is about to end as well.
        let (Some(watch), Ok(runtime)) = (self.watch.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        let pid = self.pid;
        runtime.spawn(async move {
            watch.exited().await;
            let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::NOHANG);
            LEADERS.remove(pid.as_raw_nonzero().get());
        });
    }
}

/// Tells when a process has ended.
enum Watch {
    /// By a descriptor of the process.
    Descriptor(Receiver),
    /// By looking whenever some child has ended, where there are no such descriptors.
    Children(Pid),
}

impl Watch {
    #[cfg(target_os = "linux")]
    fn new(pid: Pid) -> io::Result<Self> {
        use rustix::process::{PidfdFlags, pidfd_open};
        match pidfd_open(pid, PidfdFlags::NONBLOCK) {
            Ok(fd) => {
                // The runtime only asks the system when the descriptor is readable, which for one of a
                // process means that it has ended. Nothing is ever read from it.
                Receiver::from_owned_fd_unchecked(fd).map(Self::Descriptor)
            }
            Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => Ok(Self::Children(pid)),
            Err(e) => Err(e.into()),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn new(pid: Pid) -> io::Result<Self> {
        Ok(Self::Children(pid))
    }

    async fn exited(&self) {
        match self {
            Self::Descriptor(fd) => {
                // Only fails when the runtime is shutting down; then nobody waits any more.
                if fd.readable().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
            Self::Children(pid) => child_exited(*pid).await,
        }
    }
}

async fn child_exited(pid: Pid) {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    use tokio::signal::unix::{SignalKind, signal};
    // Listening begins before looking, so no end is missed.
    let Ok(mut ends) = signal(SignalKind::child()) else { return std::future::pending().await };
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    while let Ok(None) = waitid(WaitId::Pid(pid), options) {
        if ends.recv().await.is_none() {
            return std::future::pending().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_stay_beneath_the_project() {
        let project = tempfile::tempdir().expect("a folder");
        let project = project.path();
        std::fs::create_dir(project.join("sub")).expect("a folder");
        assert_eq!(folder(project, None), Ok(project.to_owned()));
        assert_eq!(folder(project, Some("./sub")), Ok(project.join("sub")));
        let inside = project.join("sub");
        assert_eq!(folder(project, inside.to_str()), Ok(inside.clone()));
        for outside in ["..", "sub/../..", "/etc", "sub/../sub", "missing"] {
            assert!(folder(project, Some(outside)).is_err(), "{outside}");
        }
    }
}
