//! Where the master key of the encrypted store comes from: `MOA_SECRETS_KEY`, the file of
//! `secrets.key_file`, or the credential `moa-secrets-key` of systemd.
//!
//! It is read anew for each use and kept nowhere. A key that is on its way out stands beside it, so
//! that what it sealed can still be opened: `MOA_SECRETS_KEY_OLD`, or the credential
//! `moa-secrets-key-old`; of a file, one that a change of the key was about to put in its place.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use moa_ports::sealed::SealedRow;
use zeroize::Zeroizing;

use super::seal::{self, KeyId, MasterKey};
use crate::exit::{Exit, Failure, Result};
use crate::files::plain;

/// The variable with the key.
pub const VARIABLE: &str = "MOA_SECRETS_KEY";
/// The variable with the key of before.
const OLD_VARIABLE: &str = "MOA_SECRETS_KEY_OLD";
/// The name of systemd's credential with the key.
const CREDENTIAL: &str = "moa-secrets-key";
/// Bytes of a file with a key: more is none.
const FILE_BYTES_MAX: u64 = 1024;

/// Where a key came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// [`VARIABLE`].
    Environment,
    /// The file of the settings.
    File(PathBuf),
    /// A credential of systemd.
    Credential(PathBuf),
}

/// Where keys are looked for.
#[derive(Debug, Clone)]
pub struct KeySource {
    root: PathBuf,
    file: Option<PathBuf>,
}

/// The keys there are.
pub struct Keyring {
    /// Where the first one came from.
    pub place: Place,
    /// What new secrets are sealed with, then others that may have sealed what is there.
    keys: Vec<MasterKey>,
}

impl KeySource {
    /// For the project in `root`, whose settings name a file or none.
    pub fn new(root: &Path, file: Option<&str>) -> Self {
        Self { root: root.into(), file: file.map(|file| plain(&root.join(file))) }
    }

    /// Reads the keys; `None` when there is none.
    ///
    /// # Errors
    /// One that is named can't be read, or others can read it, or it is no key.
    pub fn load(&self) -> Result<Option<Keyring>> {
        let variable = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        if let Some(text) = variable(VARIABLE) {
            let key = parse(&Zeroizing::new(text), VARIABLE)?;
            let old = variable(OLD_VARIABLE).map(Zeroizing::new);
            let old = old.map(|text| parse(&text, OLD_VARIABLE)).transpose()?;
            let keys = [Some(key), old].into_iter().flatten().collect();
            return Ok(Some(Keyring { place: Place::Environment, keys }));
        }
        if let Some(path) = &self.file {
            if path.starts_with(&self.root) {
                let text = format!("the key file {} is in the project's folder", path.display());
                return Err(Failure::new(Exit::Invalid, text)
                    .hint("keep it elsewhere: whoever gets a copy of the folder must not get it"));
            }
            let key = read(path, true)?;
            let next = Some(next_of(path)).filter(|next| next.exists());
            let next = next.map(|next| read(&next, true)).transpose()?;
            let keys = [Some(key), next].into_iter().flatten().collect();
            return Ok(Some(Keyring { place: Place::File(path.clone()), keys }));
        }
        let Some(folder) = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from) else {
            return Ok(None);
        };
        let path = folder.join(CREDENTIAL);
        if !path.exists() {
            return Ok(None);
        }
        let old = Some(folder.join(format!("{CREDENTIAL}-old"))).filter(|old| old.exists());
        let old = old.map(|old| read(&old, false)).transpose()?;
        let keys = [Some(read(&path, false)?), old].into_iter().flatten().collect();
        Ok(Some(Keyring { place: Place::Credential(path), keys }))
    }

    /// Reads the keys, of which there must be one.
    ///
    /// # Errors
    /// As [`Self::load`]; and when there is none.
    pub fn require(&self) -> Result<Keyring> {
        self.load()?.ok_or_else(|| {
            Failure::refused("there is no key for the encrypted store of secrets")
                .hint("make one with `moa secrets new-key FILE`, outside of the project")
                .hint(
                    "then set `secrets: {key_file: FILE}` in moa.yaml, or MOA_SECRETS_KEY_FILE, \
                     or MOA_SECRETS_KEY to what is in it",
                )
        })
    }
}

impl Keyring {
    /// What new secrets are sealed with. Where a change of the key was interrupted after it had been
    /// written, that is the new one already.
    pub fn current(&self, rows: &[SealedRow]) -> &MasterKey {
        let used =
            |key: &&MasterKey| rows.iter().any(|row| seal::key_of(&row.sealed) == Ok(key.id()));
        let next = matches!(self.place, Place::File(_)).then(|| self.keys.get(1)).flatten();
        next.filter(used).unwrap_or(&self.keys[0])
    }

    /// The key of that name.
    pub fn get(&self, id: KeyId) -> Option<&MasterKey> {
        self.keys.iter().find(|key| key.id() == id)
    }

    /// The key that a sealed secret needs.
    pub fn of(&self, sealed: &[u8]) -> std::result::Result<&MasterKey, seal::Error> {
        let id = seal::key_of(sealed)?;
        self.get(id).ok_or(seal::Error::OtherKey(id))
    }
}

fn parse(text: &str, place: &str) -> Result<MasterKey> {
    MasterKey::from_hex(text).ok_or_else(|| {
        let text = format!("{place} holds no key: it is not 64 hexadecimal digits");
        Failure::new(Exit::Invalid, text).hint("`moa secrets new-key FILE` makes one")
    })
}

/// Reads a key. `private` says that nobody else may be able to.
fn read(path: &Path, private: bool) -> Result<MasterKey> {
    let shown = path.display().to_string();
    let failed = |e: io::Error| Failure::io(format!("can't read the key file {shown}"), &e);
    let file = File::options()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
        .map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    if !meta.is_file() {
        return Err(failed(io::Error::other("it is not a regular file")));
    }
    let own = meta.uid() == rustix::process::geteuid().as_raw() || meta.uid() == 0;
    if private && (meta.mode() & 0o077 != 0 || !own) {
        let text = format!("others can read the key file {shown}, or change it");
        let hint = format!("`chmod 600 {shown}`; it must belong to the user of the node");
        return Err(Failure::refused(text).hint(hint));
    }
    let mut text = Zeroizing::new(String::new());
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    parse(&text, &shown)
}

/// The file of a key that is about to take the place of another.
fn next_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// Writes a new key to a file that must not be there; nobody else can read it.
pub fn create(path: &Path) -> Result<MasterKey> {
    let key = MasterKey::random().map_err(|e| Failure::refused(e.to_string()))?;
    let write = || -> io::Result<()> {
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(key.to_hex().as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        sync_folder(path)
    };
    write().map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => {
            let text = format!("{} is there already", path.display());
            Failure::refused(text).hint("name a new file: a key is never written over")
        }
        _ => Failure::io(format!("can't write {}", path.display()), &e),
    })?;
    Ok(key)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// Writes the key that is to take the place of the one in `path`, or reads one that was left there.
pub fn begin_change(path: &Path) -> Result<MasterKey> {
    let next = next_of(path);
    if next.exists() { read(&next, true) } else { create(&next) }
}

/// Puts the new key in the place of the old one.
pub fn end_change(path: &Path) -> Result<()> {
    let rename = || std::fs::rename(next_of(path), path).and_then(|()| sync_folder(path));
    rename().map_err(|e| Failure::io(format!("can't replace {}", path.display()), &e))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn row(key: &MasterKey) -> SealedRow {
        let sealed = seal::seal(key, "A", "value").expect("it is sealed");
        let changed_at = moa_core::time::Millis(0);
        SealedRow { name: "A".into(), version: 1, sealed, changed_at }
    }

    #[test]
    fn a_key_file_is_private_outside_of_the_project_and_never_written_over() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path().join("project");
        std::fs::create_dir(&root).expect("mkdir");
        let path = dir.path().join("key");
        let key = create(&path).expect("it is made");
        assert!(create(&path).is_err());
        let source = KeySource::new(&root, Some("../key"));
        let ring = source.load().expect("it is read").expect("there is one");
        assert_eq!(ring.keys[0].id(), key.id());
        for mode in [0o640, 0o604] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("chmod");
            let failure = source.load().err().expect("others can read it");
            assert!(failure.message.contains("others can read"), "{}", failure.message);
        }
        create(&root.join("key")).expect("it is made");
        let inside = KeySource::new(&root, Some("key")).load().err().expect("it is inside");
        assert!(inside.message.contains("in the project's folder"), "{}", inside.message);
        std::fs::write(&path, "not a key").expect("it is written");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("chmod");
        let failure = source.load().err().expect("it is none");
        assert!(!failure.message.contains("not a key"), "{}", failure.message);
    }

    #[test]
    fn an_interrupted_change_of_the_key_locks_nobody_out() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path().join("project");
        let path = dir.path().join("key");
        let old = create(&path).expect("it is made");
        let source = KeySource::new(&root, path.to_str());
        let next = begin_change(&path).expect("it is begun");
        let ring = || source.load().expect("they are read").expect("there is one");
        // Before the change is written, and after it.
        assert_eq!(ring().current(&[row(&old)]).id(), old.id());
        assert_eq!(ring().current(&[row(&next)]).id(), next.id());
        assert!(ring().of(&row(&next).sealed).is_ok() && ring().of(&row(&old).sealed).is_ok());
        assert_eq!(begin_change(&path).expect("again").id(), next.id());
        end_change(&path).expect("it is ended");
        assert_eq!(ring().current(&[]).id(), next.id());
        assert!(ring().of(&row(&old).sealed).is_err());
    }
}
