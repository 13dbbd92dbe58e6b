//! Where the socket of a project is.
//!
//! `.moa/moa.sock`, unless that path is longer than the kernel takes (108 bytes with the zero);
//! then a name made of the project's path in `$XDG_RUNTIME_DIR` or `/tmp/moa-UID`, kept in
//! `.moa/socket` so that every command finds the same one whatever its environment says.

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Bytes of a socket's path, without the zero at its end.
const PATH_BYTES_MAX: usize = 107;

/// The socket's path as a client looks for it; `None` when there has never been one.
pub fn find(state: &Path) -> Option<PathBuf> {
    match std::fs::read_to_string(state.join("socket")) {
        Ok(text) if !text.trim().is_empty() => Some(PathBuf::from(text.trim())),
        _ => Some(state.join("moa.sock")).filter(|path| fits(path)),
    }
}

fn fits(path: &Path) -> bool {
    path.as_os_str().len() <= PATH_BYTES_MAX
}

/// The socket's path for a node that is about to listen: decided, and kept for clients.
pub fn choose(state: &Path) -> io::Result<PathBuf> {
    let near = state.join("moa.sock");
    let note = state.join("socket");
    if fits(&near) {
        match std::fs::remove_file(&note) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => return Ok(near),
        }
    }
    let hash = blake3::hash(state.as_os_str().as_encoded_bytes());
    let path = runtime_folder()?.join(format!("moa-{}.sock", &hash.to_hex()[..16]));
    std::fs::write(&note, format!("{}\n", path.display()))?;
    Ok(path)
}

/// A folder for sockets that nobody else can write to.
fn runtime_folder() -> io::Result<PathBuf> {
    let uid = rustix::process::getuid().as_raw();
    if let Some(folder) = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from)
        && folder.is_absolute()
        && folder.as_os_str().len() < 64
        && private(&folder, uid)
    {
        return Ok(folder);
    }
    let folder = PathBuf::from(format!("/tmp/moa-{uid}"));
    match std::fs::DirBuilder::new().mode(0o700).create(&folder) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    // Somebody else may have made it first.
    if !private(&folder, uid) {
        let text = format!("{} isn't a folder of yours alone", folder.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    Ok(folder)
}

fn private(folder: &Path, uid: u32) -> bool {
    std::fs::symlink_metadata(folder)
        .is_ok_and(|m| m.is_dir() && m.uid() == uid && m.permissions().mode() & 0o022 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_paths_get_a_short_socket_that_clients_find() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let near = choose(dir.path()).expect("a path");
        assert_eq!(near, dir.path().join("moa.sock"));
        assert_eq!(find(dir.path()), Some(near));
        let deep = dir.path().join("x".repeat(120));
        std::fs::create_dir(&deep).expect("mkdir");
        assert_eq!(find(&deep), None);
        let far = choose(&deep).expect("a path");
        assert!(fits(&far), "{far:?}");
        assert_eq!(find(&deep).as_ref(), Some(&far));
        assert_eq!(choose(&deep).expect("a path"), far);
    }
}
