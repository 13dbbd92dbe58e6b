//! How a command ends: exit codes, and failures that say what, where and what next.

use std::process::ExitCode;

use moa_core::ids::RunId;
use moa_ports::store;

/// The exit codes of `moa`; documented in the book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All went well.
    Ok = 0,
    /// What was asked for was done, and failed: a run, a test, a check.
    Failed = 1,
    /// The command line, or an expression on it, is wrong.
    Usage = 2,
    /// A file of the project is wrong.
    Invalid = 3,
    /// There is no such run, workflow, agent, project.
    NotFound = 4,
    /// It can't be done in this state: another node serves the project, a run has ended already.
    Refused = 5,
    /// The store can't be reached or written.
    Unavailable = 6,
    /// The store is damaged.
    Damaged = 7,
    /// The store was written by a newer moa.
    Newer = 8,
    /// More is asked than can be answered at once: try again in a moment.
    Busy = 9,
    /// Stopped by Ctrl-C or SIGTERM before the end.
    Interrupted = 130,
}

impl Exit {
    /// All of them.
    const ALL: [Exit; 11] = [
        Exit::Ok,
        Exit::Failed,
        Exit::Usage,
        Exit::Invalid,
        Exit::NotFound,
        Exit::Refused,
        Exit::Unavailable,
        Exit::Damaged,
        Exit::Newer,
        Exit::Busy,
        Exit::Interrupted,
    ];

    /// The exit with this code; [`Exit::Failed`] when there is none.
    fn of(code: u8) -> Self {
        Self::ALL.into_iter().find(|exit| *exit as u8 == code).unwrap_or(Exit::Failed)
    }
}

/// How to go on with a damaged store.
pub const RESTORE: [&str; 3] = [
    "stop the node of the project",
    "put back a backup with `moa restore BACKUP`; it keeps the damaged state beside it",
    "start moa again",
];

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// A command that did not do what it was asked.
#[derive(Debug)]
pub struct Failure {
    /// How the process ends.
    pub exit: Exit,
    /// What went wrong, in one sentence without a full stop.
    pub message: String,
    /// Where: a file, when the message doesn't say it.
    pub place: Option<String>,
    /// Longer text to show before it as it is: diagnostics with excerpts.
    pub detail: Option<String>,
    /// What to do next. What follows a line break stands beneath.
    pub hints: Vec<String>,
}

/// The result of a command or a part of one.
pub type Result<T = Exit> = std::result::Result<T, Failure>;

impl Failure {
    /// A failure with nothing but a message.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), place: None, detail: None, hints: Vec::new() }
    }

    /// The command line is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Something of that name does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Exit::NotFound, message)
    }

    /// It can't be done in this state.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(Exit::Refused, message)
    }

    /// The store is damaged: which check failed, and the file when it is known.
    pub fn damaged(check: impl std::fmt::Display, place: Option<String>) -> Self {
        let mut restore =
            String::from("nothing more is read from it or written to it; to restore it,");
        for (n, step) in RESTORE.iter().enumerate() {
            restore.push_str(&format!("\n  {}. {step}", n + 1));
        }
        let failure = Self::new(Exit::Damaged, format!("the store is damaged: {check}"));
        let failure = Self { place, ..failure };
        failure.hint(restore).hint("`moa doctor` lists all that is damaged")
    }

    /// No run has that id.
    pub fn unknown_run(run: RunId) -> Self {
        Self::not_found(format!("there is no run {run}")).hint("`moa runs list` shows the runs")
    }

    /// Adds what to do next.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds text to show as it is.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// A file or folder could not be read, written or made.
    pub fn io(doing: impl std::fmt::Display, error: &std::io::Error) -> Self {
        use std::io::ErrorKind as Kind;
        let exit = match error.kind() {
            Kind::NotFound => Exit::NotFound,
            Kind::StorageFull | Kind::QuotaExceeded | Kind::ReadOnlyFilesystem => Exit::Unavailable,
            _ => Exit::Refused,
        };
        let failure = Self::new(exit, format!("{doing}: {error}"));
        match error.kind() {
            Kind::StorageFull => failure.hint("free some disk space, then try again"),
            Kind::PermissionDenied => failure.hint("check who owns it and its permissions"),
            _ => failure,
        }
    }
}

impl From<Failure> for store::Error {
    fn from(failure: Failure) -> Self {
        let Failure { exit, message, place, detail, hints } = failure;
        let told = store::Elsewhere { exit: exit as u8, message, place, detail, hints };
        Self::Elsewhere(Box::new(told))
    }
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        let message = error.to_string();
        match error {
            store::Error::Corrupt { place, check } => Self::damaged(check, Some(place)),
            store::Error::Unavailable(_) | store::Error::Unknown(_) => {
                Self::new(Exit::Unavailable, message)
                    .hint("`moa doctor` checks the disk and the store")
            }
            store::Error::Busy => Self::new(Exit::Busy, message).hint("try again in a moment"),
            store::Error::Newer { .. } => Self::new(Exit::Newer, message),
            store::Error::Older { .. } => Self::refused(message)
                .hint("a node of this moa upgrades it when it starts: `moa up`"),
            store::Error::Invalid(_) => Self::new(Exit::Refused, message),
            store::Error::Elsewhere(told) => {
                let store::Elsewhere { exit, message, place, detail, hints } = *told;
                Self { exit: Exit::of(exit), message, place, detail, hints }
            }
        }
    }
}

impl From<moa_engine::handle::Error> for Failure {
    fn from(error: moa_engine::handle::Error) -> Self {
        use moa_engine::handle::Error;
        let message = error.to_string();
        match error {
            Error::UnknownRun { run } => Self::unknown_run(run),
            Error::UnknownWorkflow { .. } => {
                Self::not_found(message).hint("`moa workflows list` shows the workflows")
            }
            Error::Rejected { .. } => Self::refused(message),
            Error::Unavailable { .. } => Self::new(Exit::Unavailable, message)
                .hint("nothing was done; `moa doctor` checks the disk and the store"),
            Error::Stopping => {
                Self::new(Exit::Unavailable, message).hint("start a node with `moa up`")
            }
        }
    }
}
