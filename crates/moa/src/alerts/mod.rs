//! Alerts of a project: what is kept of them, what is looked at, and what the history says.
//!
//! `.moa/alerts.json` holds the alerts, what is still to be told of them, and what happened lately with
//! the number of the last event that is in it. All is replaced together, before anything is told: so a
//! process that dies tells what it had to tell, and never tells of the same twice. Start at
//! `jobs::alerts`.

pub mod follow;
pub mod look;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use moa_core::alert::{Book, Watch};
use serde::{Deserialize, Serialize};

use crate::exit::{Exit, Failure, Result};
use crate::files::Beneath;

/// The file, in the folder of the project's state.
pub const FILE: &str = "alerts.json";
/// The form of the file.
const FORMAT: u32 = 1;

/// What is kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    format: u32,
    /// The alerts.
    pub book: Book,
    /// What happened lately.
    pub watch: Watch,
}

/// The file of a project's alerts.
pub fn path(state: &Path) -> PathBuf {
    state.join(FILE)
}

impl Kept {
    /// Reads what is kept; `None` when nothing is yet.
    ///
    /// # Errors
    /// A file that can't be read or isn't one of alerts.
    pub fn read(state: &Path) -> Result<Option<Self>> {
        let path = path(state);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Failure::io(format!("can't read {}", path.display()), &e)),
        };
        let read: serde_json::Result<Self> = serde_json::from_slice(&bytes);
        let kept = read.ok().filter(|kept| kept.format == FORMAT).ok_or_else(|| {
            let text = format!("{} holds no alerts of this moa", path.display());
            Failure::new(Exit::Damaged, text)
                .hint("remove it: what is wrong now will be found, and told, again")
        })?;
        Ok(Some(kept))
    }

    /// Writes it, whole or not at all; it is on the disk when this returns.
    ///
    /// # Errors
    /// What the disk says.
    pub fn write(&mut self, state: &Path) -> io::Result<()> {
        self.format = FORMAT;
        Beneath::new(state)?.write(Path::new(FILE), &serde_json::to_vec(self)?)
    }
}
