//! Where the master key of the encrypted store comes from: `MOA_SECRETS_KEY`, the file of
//! `secrets.key_file`, or the credential `moa-secrets-key` of systemd.
//!
//! It is read anew for each use and kept nowhere. A key that is on its way out stands beside it, so
//! that what it sealed can still be opened: `MOA_SECRETS_KEY_OLD`, or the credential
//! `moa-secrets-key-old`; of a file, one that a change of the key was about to put in its place.
//!
//! A change of a key file writes, each durable before the next begins: the key of before to
//! `FILE.old-ID`, where it stays; the new one to `FILE.new`; the secrets, sealed with the new one; and
//! `FILE.new` over `FILE`. Each file is there whole or not at all, so that whatever ends the node in
//! between, the key that the secrets need is in `FILE` or in `FILE.new`.

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
            // First the one that may take the other's place meanwhile: that one is read then.
            let next = read_next(path)?;
            let keys = [Some(read(path, true)?), next].into_iter().flatten().collect();
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
    let file = open(path).map_err(|e| unread(path, &e))?;
    read_open(file, path, private)
}

fn unread(path: &Path, error: &io::Error) -> Failure {
    Failure::io(format!("can't read the key file {}", path.display()), error)
}

fn open(path: &Path) -> io::Result<File> {
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    File::options().read(true).custom_flags(nonblock).open(path)
}

fn read_open(file: File, path: &Path, private: bool) -> Result<MasterKey> {
    let shown = path.display().to_string();
    let failed = |e: io::Error| unread(path, &e);
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

/// A file beside the one of the key.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// The file of a key that is about to take the place of another.
fn next_of(path: &Path) -> PathBuf {
    beside(path, ".new")
}

/// The key that is about to take the place of another; `None` = there is none, or what is there is no
/// key, so that nothing is sealed with it.
fn read_next(path: &Path) -> Result<Option<MasterKey>> {
    let next = next_of(path);
    let file = match open(&next) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(unread(&next, &e)),
    };
    match read_open(file, &next, true) {
        Ok(key) => Ok(Some(key)),
        Err(failure) if failure.exit == Exit::Invalid => Ok(None),
        Err(failure) => Err(failure),
    }
}

fn random() -> Result<MasterKey> {
    MasterKey::random().map_err(|e| Failure::refused(e.to_string()))
}

/// Writes a key to a new file that nobody else can read.
fn write(key: &MasterKey, path: &Path) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(key.to_hex().as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}

/// Writes a new key to a file that must not be there; nobody else can read it.
pub fn create(path: &Path) -> Result<MasterKey> {
    let key = random()?;
    write(&key, path).and_then(|()| sync_folder(path)).map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => {
            let text = format!("{} is there already", path.display());
            Failure::refused(text).hint("name a new file: a key is never written over")
        }
        _ => unwritten(path, &e),
    })?;
    Ok(key)
}

fn unwritten(path: &Path, error: &io::Error) -> Failure {
    Failure::io(format!("can't write {}", path.display()), error)
}

/// Writes a key to a file that is there whole or not at all, whatever happens meanwhile.
fn put(key: &MasterKey, path: &Path) -> Result<()> {
    let part = beside(path, ".part");
    let put = || {
        match std::fs::remove_file(&part) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            // One that was not finished.
            _ => {}
        }
        write(key, &part)?;
        std::fs::rename(&part, path)?;
        sync_folder(path)
    };
    put().map_err(|e| unwritten(path, &e))
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// Keeps the key in `path` in a file of its own, which nothing writes over: backups need it as long as
/// there are some of before. Answers the file.
pub fn keep(path: &Path) -> Result<PathBuf> {
    let key = read(path, true)?;
    let kept = beside(path, &format!(".old-{}", key.id()));
    if !kept.try_exists().map_err(|e| unread(&kept, &e))? {
        put(&key, &kept)?;
    } else if !read(&kept, true).is_ok_and(|other| other.id() == key.id()) {
        let text = format!("{} is there, and is not that key", kept.display());
        return Err(Failure::refused(text).hint("move it elsewhere: it may be of use to somebody"));
    }
    Ok(kept)
}

/// Writes the key that is to take the place of the one in `path`, or reads one that was left there.
pub fn begin_change(path: &Path) -> Result<MasterKey> {
    if let Some(left) = read_next(path)? {
        return Ok(left);
    }
    let key = random()?;
    put(&key, &next_of(path))?;
    Ok(key)
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

    #[test]
    fn a_change_of_the_key_that_was_cut_short_is_begun_anew() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("key");
        let old = create(&path).expect("it is made");
        let source = KeySource::new(&dir.path().join("project"), path.to_str());
        // Files that are there in part: of this moa, and of one that wrote them in place.
        for (ending, text) in [(".new.part", "0123"), (".new", "")] {
            let part = beside(&path, ending);
            std::fs::write(&part, text).expect("it is written");
            std::fs::set_permissions(&part, PermissionsExt::from_mode(0o600)).expect("chmod");
            let ring = source.load().expect("they are read").expect("there is one");
            assert_eq!(ring.current(&[row(&old)]).id(), old.id(), "{ending}");
            let next = begin_change(&path).expect("it is begun");
            assert_eq!(begin_change(&path).expect("again").id(), next.id());
            std::fs::remove_file(next_of(&path)).expect("it is there");
        }
    }

    #[test]
    fn a_key_of_before_is_kept_and_never_written_over() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("key");
        let first = create(&path).expect("it is made");
        std::fs::write(beside(&path, &format!(".old-{}.part", first.id())), "0").expect("a rest");
        let kept = keep(&path).expect("it is kept");
        assert_eq!(keep(&path).expect("again"), kept);
        assert_eq!(read(&kept, true).expect("for nobody else").id(), first.id());
        begin_change(&path).expect("it is begun");
        end_change(&path).expect("it is ended");
        assert_ne!(keep(&path).expect("the second one"), kept);
        assert_eq!(read(&kept, true).expect("it is there still").id(), first.id());
        // Another thing of that name stays as it is.
        let other = dir.path().join("other");
        let key = create(&other).expect("it is made");
        let taken = beside(&other, &format!(".old-{}", key.id()));
        std::fs::write(&taken, "mine").expect("it is written");
        let failure = keep(&other).expect_err("it is another one");
        assert!(failure.message.contains("is not that key"), "{}", failure.message);
        assert_eq!(std::fs::read_to_string(&taken).expect("it is read"), "mine");
    }
}
