//! The upload session of a step, written down before the first byte is sent, so that a later attempt
//! goes on with it. In the run's own folder; readable by its owner alone, because whoever has the
//! address can upload.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// An upload that was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Session {
    /// Its address.
    pub uri: String,
    /// BLAKE3 of the file, and its length: another file needs another session.
    pub hash: String,
    pub bytes: u64,
    /// The server it was begun at.
    pub api: String,
}

/// Where the session of an upload with that tag is kept.
pub(super) fn path(work_dir: &Path, tag: &str) -> PathBuf {
    work_dir.join(format!("youtube-{tag}.json"))
}

/// The session that was kept, if there is one that can be read.
pub(super) fn load(path: &Path) -> Option<Session> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Keeps a session: whole, and on the disk when this returns.
pub(super) fn save(path: &Path, session: &Session) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let temporary = path.with_extension(format!("tmp-{}", std::process::id()));
    let mut file =
        File::options().create(true).write(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(&serde_json::to_vec(session)?)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(folder)?.sync_all()
}

/// Forgets a session that the server no longer knows.
pub(super) fn forget(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_kept_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().expect("a folder");
        let path = path(&dir.path().join("new"), "moa-1");
        let session = Session { uri: "u".into(), hash: "h".into(), bytes: 3, api: "a".into() };
        assert_eq!(load(&path), None);
        save(&path, &session).expect("saved");
        assert_eq!(load(&path), Some(session));
        assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600);
        fs::write(&path, "{").expect("torn");
        assert_eq!(load(&path), None);
        forget(&path).expect("forgotten");
        forget(&path).expect("forgotten before");
    }
}
