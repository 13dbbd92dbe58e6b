//! Files that make a supervisor keep a node running: systemd, launchd, and WinSW for Windows.
//!
//! A service serves one project. What differs between supervisors is their file's text and a few
//! commands; each has a module. Only systemd is exercised by tests.

mod launchd;
pub mod systemd;
mod windows;

use std::path::PathBuf;

use moa_core::time::Span;

/// A supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Supervisor {
    /// Linux.
    Systemd,
    /// macOS.
    Launchd,
    /// Windows, with WinSW starting moa in WSL.
    Windows,
}

impl Supervisor {
    /// The one of this system.
    pub fn here() -> Self {
        if cfg!(target_os = "macos") { Self::Launchd } else { Self::Systemd }
    }
}

/// What a service is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name: `moa-PROJECT`.
    pub name: String,
    /// The project's folder.
    pub root: PathBuf,
    /// The program.
    pub program: PathBuf,
    /// The user that it runs as; `None` = a service of the user who installs it.
    pub user: Option<String>,
    /// Whether it may run as root.
    pub allow_root: bool,
    /// How long running attempts get at a stop.
    pub grace: Span,
}

impl Service {
    /// The file's text.
    pub fn text(&self, supervisor: Supervisor) -> String {
        match supervisor {
            Supervisor::Systemd => systemd::text(self),
            Supervisor::Launchd => launchd::text(self),
            Supervisor::Windows => windows::text(self),
        }
    }

    /// The file's name.
    pub fn file_name(&self, supervisor: Supervisor) -> String {
        match supervisor {
            Supervisor::Systemd => format!("{}.service", self.name),
            Supervisor::Launchd => format!("{}.plist", launchd::label(self)),
            Supervisor::Windows => format!("{}.xml", self.name),
        }
    }

    /// The folder that the file belongs into.
    pub fn folder(&self, supervisor: Supervisor) -> Option<PathBuf> {
        let home = || std::env::var_os("HOME").map(PathBuf::from).filter(|p| p.is_absolute());
        match (supervisor, self.user.is_some()) {
            (Supervisor::Systemd, true) => Some("/etc/systemd/system".into()),
            (Supervisor::Systemd, false) => {
                let config = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
                let config = config.filter(|path| path.is_absolute());
                let config = config.or_else(|| home().map(|home| home.join(".config")))?;
                Some(config.join("systemd/user"))
            }
            (Supervisor::Launchd, true) => Some("/Library/LaunchDaemons".into()),
            (Supervisor::Launchd, false) => home().map(|home| home.join("Library/LaunchAgents")),
            (Supervisor::Windows, _) => None,
        }
    }

    /// The commands that make the supervisor take the file over, or let it go.
    pub fn commands(&self, supervisor: Supervisor, deed: Deed) -> Vec<Vec<String>> {
        match supervisor {
            Supervisor::Systemd => systemd::commands(self, deed),
            Supervisor::Launchd => launchd::commands(self, deed),
            Supervisor::Windows => windows::commands(self, deed),
        }
    }

    /// The arguments of the program.
    fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["up".to_owned(), "--project".to_owned()];
        arguments.push(self.root.display().to_string());
        arguments.extend(self.allow_root.then(|| "--allow-root".to_owned()));
        arguments
    }
}

/// What is done with a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// It starts at each boot from now on, and now if so wanted.
    Install {
        /// Whether it is started at once.
        now: bool,
    },
    /// It is stopped, and starts no more. Before the file goes.
    Leave,
    /// The file is gone.
    Gone,
    /// How is it?
    Status,
}

fn words(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// Text inside an XML element.
fn xml(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
