//! What runs leave in the project's state: attempt logs, work folders, artifacts. Lists them with
//! their sizes and ages, and deletes what it is told to. Absent: the decision what is old; that
//! needs to know what became of the runs.

use std::fs::{self, DirEntry, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use moa_core::ids::RunId;
use moa_ports::artifacts::{ArtifactHash, hash_of_name};

use crate::artifact;

/// Which folder of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunFolder {
    /// Its attempt logs.
    Logs,
    /// What its steps hand to each other in files.
    Work,
}

impl RunFolder {
    /// Both.
    pub const ALL: [RunFolder; 2] = [RunFolder::Logs, RunFolder::Work];

    fn name(self) -> &'static str {
        match self {
            RunFolder::Logs => "logs",
            RunFolder::Work => "work",
        }
    }
}

/// Something that is kept of a run or for several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept<T> {
    /// Which run or artifact.
    pub of: T,
    /// Its bytes.
    pub bytes: u64,
    /// When it was last changed, or stored again.
    pub changed: SystemTime,
}

/// The files that runs leave in a project's state.
#[derive(Debug, Clone)]
pub struct StateFiles {
    state: PathBuf,
}

impl StateFiles {
    /// Those beneath the project's state folder.
    pub fn new(state: &Path) -> Self {
        Self { state: state.to_owned() }
    }

    /// The folders of runs. Bytes are those of the files in it, not of folders further down.
    ///
    /// # Errors
    /// The folder above them can't be read.
    pub fn folders(&self, kind: RunFolder) -> io::Result<Vec<Kept<RunId>>> {
        let mut found = Vec::new();
        each(&self.state.join(kind.name()), |entry| {
            let Some(of) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                return Ok(());
            };
            let mut bytes = 0;
            each(&entry.path(), |file| {
                bytes += file.metadata()?.len();
                Ok(())
            })?;
            found.push(Kept { of, bytes, changed: entry.metadata()?.modified()? });
            Ok(())
        })?;
        Ok(found)
    }

    /// Deletes a folder of a run; answers whether there was one.
    ///
    /// # Errors
    /// Something in it can't be deleted.
    pub fn remove_folder(&self, kind: RunFolder, run: RunId) -> io::Result<bool> {
        match fs::remove_dir_all(self.state.join(kind.name()).join(run.to_string())) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// The artifacts.
    ///
    /// # Errors
    /// The folders can't be read.
    pub fn artifacts(&self) -> io::Result<Vec<Kept<ArtifactHash>>> {
        let mut found = Vec::new();
        self.each_artifact(|entry| {
            if let Some(of) = entry.file_name().to_str().and_then(hash_of_name) {
                let meta = entry.metadata()?;
                found.push(Kept { of, bytes: meta.len(), changed: meta.modified()? });
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// At most `max` bytes of an artifact from byte `from`, and how many it has. Whoever begins at the
    /// beginning gets nothing of one that is not what was stored.
    ///
    /// # Errors
    /// `NotFound` when there is none, `InvalidData` when it is damaged, else what the disk says.
    pub fn read_artifact(
        &self,
        hash: &ArtifactHash,
        from: u64,
        max: usize,
    ) -> io::Result<(Vec<u8>, u64)> {
        let mut file = File::open(self.artifact(hash))?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        if from == 0 {
            let mut hasher = blake3::Hasher::new();
            hasher.update_reader(&file)?;
            if hasher.finalize() != *hash {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the artifact is damaged"));
            }
        }
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(max as u64).read_to_end(&mut bytes)?;
        Ok((bytes, meta.len()))
    }

    fn artifact(&self, hash: &ArtifactHash) -> PathBuf {
        let name: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        self.state.join("artifacts").join(&name[..2]).join(&name)
    }

    /// Deletes an artifact unless it was stored again after that instant; answers whether it is gone.
    ///
    /// # Errors
    /// It can't be deleted.
    pub fn remove_artifact(
        &self,
        hash: &ArtifactHash,
        unless_after: SystemTime,
    ) -> io::Result<bool> {
        artifact::remove(&self.artifact(hash), unless_after)
    }

    /// Deletes what was being written to the artifacts when a process died before that instant;
    /// answers how many.
    ///
    /// # Errors
    /// The folders can't be read, or something can't be deleted.
    pub fn remove_fragments(&self, before: SystemTime) -> io::Result<usize> {
        let mut removed = 0;
        self.each_artifact(|entry| {
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                removed += usize::from(artifact::remove(&entry.path(), before)?);
            }
            Ok(())
        })?;
        Ok(removed)
    }

    fn each_artifact(&self, mut look: impl FnMut(&DirEntry) -> io::Result<()>) -> io::Result<()> {
        each(&self.state.join("artifacts"), |folder| match folder.file_type()?.is_dir() {
            true => each(&folder.path(), &mut look),
            false => Ok(()),
        })
    }
}

/// Looks at each entry of a folder; at none when there is no folder. What vanishes meanwhile is
/// passed over.
fn each(folder: &Path, mut look: impl FnMut(&DirEntry) -> io::Result<()>) -> io::Result<()> {
    let gone = |e: &io::Error| e.kind() == io::ErrorKind::NotFound;
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if gone(&e) || e.kind() == io::ErrorKind::NotADirectory => return Ok(()),
        Err(e) => return Err(e),
    };
    for entry in entries {
        match look(&entry?) {
            Err(e) if !gone(&e) => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ArtifactStore;

    const AGE: Duration = Duration::from_secs(3600);

    fn write(path: PathBuf, text: &str) {
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    #[test]
    fn folders_of_runs_are_found_and_deleted() {
        let dir = tempfile::tempdir().expect("a folder");
        let files = StateFiles::new(dir.path());
        assert_eq!(files.folders(RunFolder::Logs).expect("a list"), []);
        let run = RunId(7);
        let folder = dir.path().join("logs").join(run.to_string());
        write(folder.join("a.1.log"), "12345");
        write(folder.join("b.1.log"), "123");
        write(dir.path().join("logs/somebody's/file"), "1");
        write(dir.path().join("logs/file"), "1");
        let found = files.folders(RunFolder::Logs).expect("a list");
        assert_eq!(found.iter().map(|f| (f.of, f.bytes)).collect::<Vec<_>>(), [(run, 8)]);
        assert!(!files.remove_folder(RunFolder::Work, run).expect("there is none"));
        assert!(files.remove_folder(RunFolder::Logs, run).expect("deleted"));
        assert!(!folder.exists() && dir.path().join("logs/file").exists());
    }

    #[test]
    fn an_artifact_that_is_stored_again_is_not_old_any_more() {
        let dir = tempfile::tempdir().expect("a folder");
        let (files, store) = (StateFiles::new(dir.path()), ArtifactStore::new(dir.path()));
        let old = SystemTime::now() - 2 * AGE;
        let put = |content: &[u8]| {
            let artifact = store.put(content).expect("stored");
            let file = fs::File::options().write(true).open(&artifact.path).expect("a file");
            file.set_modified(old).expect("it is old");
            artifact
        };
        let (again, gone) = (put(b"again"), put(b"gone"));
        write(dir.path().join("artifacts/ab/.part.1.2"), "half");
        store.put(b"again").expect("stored again");
        let before = SystemTime::now() - AGE;
        for kept in files.artifacts().expect("a list") {
            let is_gone = files.remove_artifact(&kept.of, before).expect("it can be deleted");
            assert_eq!(is_gone, kept.changed <= before);
        }
        assert!(again.path.exists() && !gone.path.exists());
        assert_eq!(
            files.remove_fragments(before).expect("looked"),
            0,
            "somebody may be writing it"
        );
        assert_eq!(files.remove_fragments(SystemTime::now() + AGE).expect("looked"), 1);
        assert_eq!(files.artifacts().expect("a list").len(), 1);
    }
}
