//! The artifact store: outputs that are too large for the history, by the hash of their content.
//!
//! A folder, `<state>/artifacts/<first two digits>/<hash>`. A file appears whole and on the disk, or
//! not at all, and never changes: the same content has the same name. Absent: which ones may be
//! deleted (retention decides that, and only of those that were not stored again lately), other
//! storages.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::SystemTime;

/// A folder of artifacts.
#[derive(Debug)]
pub struct ArtifactStore {
    folder: PathBuf,
    /// Makes names of temporary files unique in this process.
    next: AtomicU64,
}

/// A stored artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// BLAKE3 of the content, 64 hexadecimal digits.
    pub hash: String,
    /// Bytes of the content.
    pub bytes: u64,
    /// The file.
    pub path: PathBuf,
}

impl ArtifactStore {
    /// The store beneath `state_dir`. Nothing is made before something is stored.
    pub fn new(state_dir: &Path) -> Self {
        Self { folder: state_dir.join("artifacts"), next: AtomicU64::new(0) }
    }

    /// Stores `content`; it is on the disk when this returns.
    ///
    /// # Errors
    /// The disk is full, or the folder can't be written.
    pub fn put(&self, content: &[u8]) -> io::Result<Artifact> {
        let hash = blake3::hash(content).to_hex().to_string();
        let folder = self.folder.join(&hash[..2]);
        let path = folder.join(&hash);
        let artifact = Artifact { bytes: content.len() as u64, path, hash };
        // Held until it is there, so that nobody deletes as old what is being stored again.
        let _kept = SWEEP.read().unwrap_or_else(PoisonError::into_inner);
        if is_there(&artifact)? {
            return Ok(artifact);
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let temporary = folder.join(format!(".{}.{}.{number}", artifact.hash, std::process::id()));
        let written = write_new(&temporary, content)
            .and_then(|()| fs::rename(&temporary, &artifact.path))
            .and_then(|()| File::open(&folder)?.sync_all())
            .and_then(|()| File::open(&self.folder)?.sync_all());
        if let Err(e) = written {
            let _ = fs::remove_file(&temporary);
            return Err(e);
        }
        Ok(artifact)
    }

    /// The content of the artifact with that hash.
    ///
    /// # Errors
    /// `InvalidInput` when it isn't a hash, `NotFound` when there is none, `InvalidData` when the
    /// content on the disk isn't what was stored.
    pub fn get(&self, hash: &str) -> io::Result<Vec<u8>> {
        let is_digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if hash.len() != 64 || !hash.bytes().all(is_digit) {
            let message = format!("{hash:?} is not the hash of an artifact");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let content = fs::read(self.folder.join(&hash[..2]).join(hash))?;
        if blake3::hash(&content).to_hex().as_str() != hash {
            let message = format!("the artifact {hash} is damaged");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        Ok(content)
    }
}

/// Held shared while an artifact is stored, alone while one is deleted.
static SWEEP: RwLock<()> = RwLock::new(());

/// Whether the content is stored already; then it is as new as if it were stored now.
fn is_there(artifact: &Artifact) -> io::Result<bool> {
    let file = match File::open(&artifact.path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(e),
    };
    let meta = file.metadata()?;
    if !meta.is_file() || meta.len() != artifact.bytes {
        return Ok(false);
    }
    file.set_modified(SystemTime::now())?;
    Ok(true)
}

/// Deletes a file of the store unless it is newer than that; answers whether it is gone.
pub(crate) fn remove(path: &Path, unless_after: SystemTime) -> io::Result<bool> {
    let _alone = SWEEP.write().unwrap_or_else(PoisonError::into_inner);
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.modified()? > unless_after => Ok(false),
        Ok(_) => fs::remove_file(path).map(|()| true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(e) => Err(e),
    }
}

fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_stored_once_and_checked() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = ArtifactStore::new(dir.path());
        let first = store.put(b"content").expect("stored");
        assert_eq!(store.put(b"content").expect("stored again"), first);
        assert_eq!(store.get(&first.hash).expect("read"), b"content");
        let folder = first.path.parent().expect("a folder");
        assert_eq!(fs::read_dir(folder).expect("a list").count(), 1);

        fs::write(&first.path, b"damaged").expect("written");
        let kind = |hash: &str| store.get(hash).map_err(|e| e.kind());
        assert_eq!(kind(&first.hash), Err(io::ErrorKind::InvalidData));
        assert_eq!(kind(&"0".repeat(64)), Err(io::ErrorKind::NotFound));
        assert_eq!(kind("../../etc/passwd"), Err(io::ErrorKind::InvalidInput));
    }
}
