//! Work folders: one for each run, there before its first program starts.
//!
//! Most runs put nothing into theirs, and runs come by the thousand. An empty folder that no attempt
//! uses any more is therefore handed on to the next run by renaming it, which costs little: making
//! and removing folders one after another makes some file systems (ext4) ever slower. A folder that
//! something was put into stays.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use moa_core::ids::RunId;

/// The work folders of all runs.
pub(super) struct WorkFolders {
    folder: PathBuf,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// How many attempts use the folder of a run.
    users: HashMap<RunId, usize>,
    /// Runs whose last attempt for now has ended.
    unused: Vec<RunId>,
}

/// An attempt's use of its run's folder.
pub(super) struct AtWork {
    folders: Arc<WorkFolders>,
    run: RunId,
}

impl WorkFolders {
    /// The folders beneath `folder`.
    pub fn new(folder: PathBuf) -> Arc<Self> {
        Arc::new(Self { folder, known: Mutex::default() })
    }

    /// Makes sure that the run's folder is there.
    ///
    /// # Errors
    /// It can't be made.
    pub fn enter(self: &Arc<Self>, run: RunId) -> io::Result<AtWork> {
        // Held while the folder is made, so that nobody hands on a folder that is being entered.
        let mut known = self.lock();
        match known.users.get_mut(&run) {
            Some(users) => *users += 1,
            None => {
                self.make(run, &mut known)?;
                known.users.insert(run, 1);
            }
        }
        Ok(AtWork { folders: self.clone(), run })
    }

    fn make(&self, run: RunId, known: &mut Known) -> io::Result<()> {
        let path = self.path(run);
        while let Some(old) = known.unused.pop() {
            if known.users.get(&old) != Some(&0) {
                continue;
            }
            known.users.remove(&old);
            // A folder of that run may be there since before this process began: then it is kept.
            if self.is_empty(old) && !path.exists() && fs::rename(self.path(old), &path).is_ok() {
                return Ok(());
            }
        }
        fs::create_dir_all(path)
    }

    fn is_empty(&self, run: RunId) -> bool {
        fs::read_dir(self.path(run)).is_ok_and(|mut entries| entries.next().is_none())
    }

    fn path(&self, run: RunId) -> PathBuf {
        self.folder.join(run.to_string())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        let mut known = self.folders.lock();
        if let Some(users) = known.users.get_mut(&self.run) {
            *users -= 1;
            if *users == 0 {
                known.unused.push(self.run);
            }
        }
    }
}

impl Drop for WorkFolders {
    fn drop(&mut self) {
        let unused = std::mem::take(&mut self.lock().unused);
        for run in unused {
            // Fails, as it should, when there is something in it.
            let _ = fs::remove_dir(self.path(run));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_empty_folders_that_nobody_uses_are_handed_on() {
        let dir = tempfile::tempdir().expect("a folder");
        let folders = WorkFolders::new(dir.path().to_owned());
        let there =
            || -> Vec<u128> { (1..9).filter(|&run| folders.path(RunId(run)).exists()).collect() };
        let enter = |run: u128| folders.enter(RunId(run)).expect("a folder");
        let (first, second) = (enter(1), enter(1));
        drop(first);
        let third = enter(3);
        assert_eq!(there(), [1, 3], "1 is still used");
        drop(second);
        let again = enter(1);
        let fourth = enter(4);
        assert_eq!(there(), [1, 3, 4], "1 is used again");
        fs::write(folders.path(RunId(3)).join("file"), "").expect("a file");
        drop((again, third));
        drop(enter(5));
        assert_eq!(there(), [3, 4, 5], "1 was empty and became 5");
        drop((enter(6), fourth));
        let path = folders.path(RunId(3));
        drop(folders);
        assert!(path.exists());
        assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 1);
    }
}
