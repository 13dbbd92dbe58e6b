//! Filters of lists of runs that people keep under a name, for everybody who looks at the dashboard. A
//! small file beneath the project's state: whole or not at all, and on the disk when it is answered.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use moa_server::control::{SavedView, VIEWS_MAX};

use super::Node;
use crate::exit::{Exit, Failure, Result};
use crate::files::{Beneath, PRIVATE};

/// The file, beneath the project's state.
pub const FILE: &str = "views.json";

/// Views that are kept, by name.
type All = BTreeMap<String, SavedView>;

/// What is kept of them.
pub struct Saved {
    state: PathBuf,
    /// Held while the file is read and written.
    turn: Mutex<()>,
}

impl Saved {
    /// Those of a project.
    pub fn new(state: &Path) -> Self {
        Self { state: state.to_owned(), turn: Mutex::new(()) }
    }

    /// All of them.
    ///
    /// # Errors
    /// The file can't be read, or is damaged: it is not written over then.
    pub fn read(&self) -> Result<All> {
        let path = self.state.join(FILE);
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| {
                let text = format!("{} is damaged: {error}", path.display());
                let hint = "it holds the saved views of the dashboard: mend it, or delete it";
                Failure::new(Exit::Damaged, text).hint(hint)
            }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(All::new()),
            Err(e) => Err(Failure::io(format!("can't read {}", path.display()), &e)),
        }
    }

    /// Changes them; answers what `change` does, when it is on the disk.
    fn change<T>(&self, change: impl FnOnce(&mut All) -> Result<T>) -> Result<T> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.read()?;
        let mut all = before.clone();
        let answer = change(&mut all)?;
        if all != before {
            let write = || {
                let bytes = serde_json::to_vec_pretty(&all)?;
                Beneath::new(&self.state)?.write_as(Path::new(FILE), &bytes, PRIVATE)
            };
            write().map_err(|e| Failure::io("can't note the saved views", &e))?;
        }
        Ok(answer)
    }

    /// Keeps one; answers whether there was none of this name.
    pub fn put(&self, name: String, view: SavedView) -> Result<bool> {
        self.change(|all| {
            if !all.contains_key(&name) && all.len() >= VIEWS_MAX {
                let text = format!("there are {VIEWS_MAX} views; a project has at most so many");
                return Err(Failure::refused(text).hint("delete one of them"));
            }
            Ok(all.insert(name, view).is_none())
        })
    }

    /// Forgets one.
    pub fn delete(&self, name: &str) -> Result<()> {
        self.change(|all| match all.remove(name) {
            Some(_) => Ok(()),
            None => Err(Failure::not_found(format!("there is no view {name:?}"))),
        })
    }
}

impl Node {
    /// The views that people have saved.
    pub fn saved(&self) -> &Saved {
        &self.notes.saved
    }
}

#[cfg(test)]
mod tests {
    use moa_core::time::Millis;

    use super::*;

    fn view(status: &str) -> SavedView {
        SavedView { status: status.into(), at: Millis(1), by: "ann".into(), ..SavedView::default() }
    }

    #[test]
    fn so_many_are_kept_and_a_damaged_file_is_not_written_over() {
        let dir = tempfile::tempdir().expect("a folder");
        let saved = Saved::new(dir.path());
        for i in 0..VIEWS_MAX {
            assert!(saved.put(format!("view {i}"), view("open")).expect("it is kept"));
        }
        let refused = saved.put("more".into(), view("open")).expect_err("there are enough");
        assert_eq!(refused.exit, Exit::Refused);
        // One that is there can be changed.
        assert!(!saved.put("view 3".into(), view("failed")).expect("it is kept"));
        saved.delete("view 4").expect("it is there");
        assert_eq!(saved.delete("view 4").expect_err("it is gone").exit, Exit::NotFound);
        let again = Saved::new(dir.path()).read().expect("it can be read");
        assert_eq!((again.len(), &*again["view 3"].status), (VIEWS_MAX - 1, "failed"));

        fs::write(dir.path().join(FILE), "{").expect("it can be written");
        assert_eq!(saved.put("x".into(), view("open")).expect_err("damaged").exit, Exit::Damaged);
        assert_eq!(fs::read(dir.path().join(FILE)).expect("it is there"), b"{");
    }
}
