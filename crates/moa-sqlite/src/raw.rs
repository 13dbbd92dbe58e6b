//! Reading a database file beside SQLite without taking SQLite's locks away.
//!
//! POSIX drops all locks that a process has on a file as soon as it closes any descriptor of it
//! (fcntl(2), "Advisory record locking"). SQLite takes care of its own descriptors and can't know of
//! ours; without its lock, the next program that opens and closes the database takes itself for the
//! last one and deletes the write-ahead log. So a file that is read raw has one descriptor in the
//! whole process, which is closed when nobody has it any more: whoever keeps a connection keeps it too.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// A file: its device and its number there.
type Key = (u64, u64);

static OPEN: Mutex<BTreeMap<Key, Weak<File>>> = Mutex::new(BTreeMap::new());

/// Opens a file for reading; the descriptor is shared with everybody who has it open already. Read it
/// with positions alone.
pub(crate) fn open(path: &Path) -> io::Result<Arc<File>> {
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    open.retain(|_, file| file.strong_count() > 0);
    let known = |open: &BTreeMap<Key, Weak<File>>, key| open.get(&key).and_then(Weak::upgrade);
    if let Some(file) = known(&open, key(&std::fs::metadata(path)?)) {
        return Ok(file);
    }
    let file = File::open(path)?;
    let key = key(&file.metadata()?);
    if let Some(shared) = known(&open, key) {
        // The file has been put into its place since it was looked at. To close it would be the fault
        // that this is all about.
        std::mem::forget(file);
        return Ok(shared);
    }
    let file = Arc::new(file);
    open.insert(key, Arc::downgrade(&file));
    Ok(file)
}

fn key(meta: &Metadata) -> Key {
    (meta.dev(), meta.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_one_descriptor() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("a");
        std::fs::write(&path, "a").expect("a file");
        let first = open(&path).expect("it opens");
        let again = open(&path).expect("it opens");
        assert!(Arc::ptr_eq(&first, &again));
        std::fs::rename(&path, dir.path().join("b")).expect("it is moved");
        std::fs::write(&path, "another").expect("a file");
        assert!(!Arc::ptr_eq(&first, &open(&path).expect("it opens")));
    }
}
