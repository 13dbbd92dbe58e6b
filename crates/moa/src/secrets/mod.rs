//! Secrets: looked up by name when an attempt starts, and kept, shown or logged nowhere.
//!
//! In this order: the variable `MOA_SECRET_<NAME>`; the project's env file, by its own names; the
//! folder of credentials that systemd gives (`$CREDENTIALS_DIRECTORY/<NAME>`); the folder of
//! `secrets.folder`, where Docker and Podman put theirs; the file `.moa/secrets/<NAME>`; the encrypted
//! store in the project's database. The first that has the name decides, also when what it has can't
//! be used: nothing else is taken in its place. A name is letters, digits and `_`, so never a path.

mod env_file;
mod key;
pub mod seal;
pub mod vault;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use moa_connectors::{Redactor, SECRET_BYTES_MIN};
use moa_ports::agent::Secrets;
use moa_ports::sealed::SealedRow;
use moa_spec::Settings;
use serde_json::Value as Json;
use zeroize::{Zeroize as _, Zeroizing};

pub use env_file::read_env_file;
pub use key::{KeySource, create as create_key};

use crate::control::protocol::SecretLine;
use crate::exit::Result;
use crate::project::{Layout, Project};
use crate::wire;

/// Bytes of one secret.
pub const SECRET_BYTES_MAX: usize = 64 << 10;
/// Bytes of a secret's name.
const NAME_BYTES_MAX: usize = 128;
/// Files of a folder of secrets that are listed.
const FILES_MAX: usize = 1000;
/// The beginning of variables that are secrets.
const VARIABLE: &str = "MOA_SECRET_";

/// Where the secrets of a project are looked up; cloning it gives another door to the same.
#[derive(Clone)]
pub struct SecretStore(Arc<Inner>);

struct Inner {
    root: PathBuf,
    env_file: PathBuf,
    folder: PathBuf,
    key: KeySource,
    /// What the encrypted store holds, as it is there: nothing of it can be read without the key.
    sealed: RwLock<BTreeMap<String, SealedRow>>,
    /// Names that the project's files use.
    used: RwLock<BTreeSet<String>>,
}

/// Where a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A variable of the node's environment.
    Environment,
    /// The project's env file.
    EnvFile(String),
    /// systemd's credentials.
    Credentials,
    /// A folder with a file for each secret.
    Folder(String),
    /// The encrypted store.
    Store,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment => f.write_str("environment"),
            Self::EnvFile(name) => f.write_str(name),
            Self::Credentials => f.write_str("systemd credentials"),
            Self::Folder(folder) => f.write_str(folder),
            Self::Store => f.write_str("encrypted store"),
        }
    }
}

/// A secret that a source has: its value, or why that can't be used.
type Had = std::result::Result<Zeroizing<String>, String>;

impl fmt::Debug for SecretStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretStore").finish_non_exhaustive()
    }
}

/// Whether a secret can be called so.
pub fn is_name(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.chars().all(legal)
}

impl SecretStore {
    /// The secrets of the project in `root`, of whose encrypted store nothing is known yet.
    pub fn new(root: &Path, settings: &Settings) -> Self {
        let from = &settings.secrets;
        Self(Arc::new(Inner {
            root: root.into(),
            env_file: from.env_file.clone().into(),
            folder: root.join(&from.folder),
            key: KeySource::new(root, from.key_file.as_deref()),
            sealed: RwLock::default(),
            used: RwLock::default(),
        }))
    }

    /// The secrets of a project as its settings say, with those of its encrypted store.
    ///
    /// # Errors
    /// Its env file, a setting in the environment or its store is broken.
    pub fn of(layout: &Layout, project: &Project) -> Result<Self> {
        let config = crate::node::read_config(layout, project)?;
        let secrets = Self::new(&layout.root, &config.settings);
        secrets.set_sealed(wire::sealed(layout)?);
        Ok(secrets)
    }

    /// Says what the encrypted store holds now.
    pub fn set_sealed(&self, rows: Vec<SealedRow>) {
        let rows = rows.into_iter().map(|row| (row.name.clone(), row)).collect();
        *self.0.sealed.write().unwrap_or_else(PoisonError::into_inner) = rows;
    }

    /// What the encrypted store holds, by name.
    pub fn sealed(&self) -> Vec<SealedRow> {
        let rows = self.0.sealed.read().unwrap_or_else(PoisonError::into_inner);
        rows.values().cloned().collect()
    }

    /// Says which names the project's files use.
    pub fn set_used(&self, names: BTreeSet<String>) {
        *self.0.used.write().unwrap_or_else(PoisonError::into_inner) = names;
    }

    /// Where the key of the encrypted store comes from.
    pub fn key(&self) -> &KeySource {
        &self.0.key
    }

    /// The sources that have a secret, the one that decides first.
    fn all(&self, name: &str) -> Vec<(Source, Had)> {
        if !is_name(name) {
            return Vec::new();
        }
        let inner = &*self.0;
        let mut all = Vec::new();
        if let Some(value) = std::env::var_os(format!("{VARIABLE}{name}")) {
            let value = value.into_string().map(Zeroizing::new);
            let value = value.map_err(|_| "it is not UTF-8".to_owned());
            all.push((Source::Environment, value.and_then(checked)));
        }
        let shown = inner.env_file.display().to_string();
        // Read anew each time: an edit holds from the next attempt on, and nothing stays in memory.
        // What is wrong with the file is said where the settings are read.
        let env = read_env_file(&inner.root, &inner.env_file).unwrap_or_default();
        for (key, mut value) in env {
            match key == name {
                true => all.push((Source::EnvFile(shown.clone()), checked(Zeroizing::new(value)))),
                false => value.zeroize(),
            }
        }
        for (source, folder) in self.folders() {
            let had = read_secret(&folder.join(name));
            all.extend(had.map(|had| (source, had.and_then(checked))));
        }
        all.extend(self.of_store(name).map(|had| (Source::Store, had.and_then(checked))));
        all
    }

    /// Secrets that are there and can't be read, each with the reason: nothing finds these in a text.
    pub fn unread(&self) -> BTreeMap<String, String> {
        let of = |name: &String| {
            let files = self.folders().into_iter();
            let files = files.filter_map(|(_, folder)| read_secret(&folder.join(name)));
            files.chain(self.of_store(name)).find_map(std::result::Result::err)
        };
        let names = self.names().into_iter();
        names.filter_map(|name| of(&name).map(|why| (name, why))).collect()
    }

    /// Folders with a file for each secret.
    fn folders(&self) -> Vec<(Source, PathBuf)> {
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        let own = ".moa/secrets";
        let mut folders: Vec<_> =
            credentials.map(|f| (Source::Credentials, f)).into_iter().collect();
        let shown = self.0.folder.display().to_string();
        folders.push((Source::Folder(shown), self.0.folder.clone()));
        folders.push((Source::Folder(own.into()), self.0.root.join(own)));
        folders
    }

    /// What the encrypted store has of that name.
    fn of_store(&self, name: &str) -> Option<Had> {
        let row = || {
            let rows = self.0.sealed.read().unwrap_or_else(PoisonError::into_inner);
            rows.get(name).map(|row| row.sealed.clone())
        };
        let open = |sealed: &[u8]| {
            let ring = self.0.key.require().map_err(|failure| failure.message)?;
            let key = ring.of(sealed).map_err(|e| e.to_string())?;
            seal::open(key, name, sealed).map_err(|e| e.to_string())
        };
        let mut sealed = row()?;
        loop {
            let opened = open(&sealed);
            // Its key may have gone since it was looked up: then it is sealed with another one.
            match row().filter(|now| opened.is_err() && *now != sealed) {
                Some(now) => sealed = now,
                None => return Some(opened),
            }
        }
    }

    /// How a secret is: the source that decides, why what it has can't be used, and others that have
    /// it too.
    pub fn look(&self, name: &str) -> Option<Look> {
        let mut all = self.all(name).into_iter();
        let (source, had) = all.next()?;
        Some(Look { source, wrong: had.err(), hidden: all.map(|(source, _)| source).collect() })
    }

    /// Names that some source has, or that the project's files use. Of the env file, only those that
    /// are used: the others may be settings.
    pub fn names(&self) -> BTreeSet<String> {
        let mut names = self.0.used.read().unwrap_or_else(PoisonError::into_inner).clone();
        let rows = self.0.sealed.read().unwrap_or_else(PoisonError::into_inner);
        names.extend(rows.keys().cloned());
        let variables = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        names.extend(variables.filter_map(|n| n.strip_prefix(VARIABLE).map(str::to_owned)));
        for (source, folder) in self.folders() {
            // Those of the system may hold much that is meant for others.
            if source == Source::Credentials || source == Source::Folder(".moa/secrets".into()) {
                let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
                let files = entries.filter_map(|entry| entry.file_name().into_string().ok());
                names.extend(files.take(FILES_MAX).filter(|n| is_name(n)));
            }
        }
        names.retain(|name| is_name(name));
        names
    }

    /// How all of them are, by name; `uses` says by what each is used.
    pub fn lines(&self, uses: &BTreeMap<String, BTreeSet<String>>) -> Vec<SecretLine> {
        self.set_used(uses.keys().cloned().collect());
        let changed: BTreeMap<_, _> =
            self.sealed().into_iter().map(|row| (row.name, row.changed_at)).collect();
        let line = |name: String| {
            let look = self.look(&name);
            let state = match &look {
                None => "missing",
                Some(Look { wrong: Some(_), .. }) => "unusable",
                Some(_) => "set",
            };
            let used_by = uses.get(&name).into_iter().flatten().cloned().collect();
            let source = look.as_ref().map(|look| look.source.to_string());
            let hidden = look.iter().flat_map(|l| &l.hidden).map(Source::to_string).collect();
            let error = look.and_then(|look| look.wrong);
            let changed_at = changed.get(&name).map(|at| at.to_string());
            SecretLine { state: state.into(), source, error, hidden, changed_at, used_by, name }
        };
        self.names().into_iter().map(line).collect()
    }

    /// Takes every secret that is known by name out of what is about to be written.
    pub fn redact(&self, value: &mut Json) {
        self.redactor().json(value);
    }

    /// What takes every secret that is known by name now out of what is about to be written.
    pub fn redactor(&self) -> Redactor {
        Redactor::new(self.known().iter().map(|secret| secret.as_str()))
    }
}

/// How a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// The source that decides.
    pub source: Source,
    /// Why what it has can't be used; `None` = it can.
    pub wrong: Option<String>,
    /// Other sources that have it, which don't count.
    pub hidden: Vec<Source>,
}

impl Secrets for SecretStore {
    fn get(&self, name: &str) -> Option<Zeroizing<String>> {
        let (_, had) = self.all(name).into_iter().next()?;
        had.ok()
    }

    fn fault(&self, name: &str) -> Option<String> {
        let look = self.look(name)?;
        Some(format!("{} ({})", look.wrong?, look.source))
    }

    fn known(&self) -> Vec<Zeroizing<String>> {
        let all = self.names().into_iter().flat_map(|name| self.all(&name));
        all.filter_map(|(_, had)| had.ok()).collect()
    }
}

/// A value that can be used. One that can't be redacted is not: it would be found everywhere, and who
/// guesses has it soon.
fn checked(value: Zeroizing<String>) -> Had {
    match value.len() {
        0 => Err("it is empty".to_owned()),
        bytes if bytes < SECRET_BYTES_MIN => Err(format!(
            "it has fewer than {SECRET_BYTES_MIN} bytes, and could not be kept out of logs"
        )),
        bytes if bytes > SECRET_BYTES_MAX => {
            Err(format!("it has more than {SECRET_BYTES_MAX} bytes"))
        }
        _ => Ok(value),
    }
}

/// The secret in a file; `None` = there is no such file.
fn read_secret(path: &Path) -> Option<Had> {
    let read = || -> io::Result<Zeroizing<Vec<u8>>> {
        let mut options = std::fs::File::options();
        std::os::unix::fs::OpenOptionsExt::custom_flags(
            options.read(true),
            rustix::fs::OFlags::NONBLOCK.bits().cast_signed(),
        );
        let file = options.open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        let mut bytes = Zeroizing::new(Vec::new());
        file.take(SECRET_BYTES_MAX as u64 + 2).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = match read() {
        Ok(bytes) => bytes,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return None;
        }
        Err(e) => return Some(Err(format!("it can't be read: {e}"))),
    };
    let Ok(text) = std::str::from_utf8(&bytes) else {
        return Some(Err("it is not UTF-8".to_owned()));
    };
    // An editor ends the last line; the secret doesn't.
    Some(Ok(Zeroizing::new(text.strip_suffix('\n').unwrap_or(text).to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(root: &Path) -> SecretStore {
        let mut settings = Settings::default();
        settings.secrets.folder = "docker".into();
        settings.secrets.key_file = Some("../key".into());
        SecretStore::new(root, &settings)
    }

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("mkdir");
        std::fs::write(path, text).expect("it is written");
    }

    #[test]
    fn the_first_source_that_has_a_secret_decides() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let root = dir.path().join("project");
        write(&root, ".env", "TOKEN='a b$c'\n# note\nexport KEY=keys\n");
        write(&root, "docker/TOKEN", "hidden");
        write(&root, "docker/DOCKER", "dock\n\n");
        write(&root, ".moa/secrets/DOCKER", "hidden");
        write(&root, ".moa/secrets/FILE", "file\n");
        let key = create_key(&dir.path().join("key")).expect("a key");
        let sealed = |name: &str| SealedRow {
            name: name.into(),
            version: 1,
            sealed: seal::seal(&key, name, "stored").expect("it is sealed"),
            changed_at: moa_core::time::Millis(0),
        };
        let secrets = of(&root);
        secrets.set_sealed(vec![sealed("STORED"), sealed("FILE")]);
        let get = |name: &str| secrets.get(name).map(|value| value.to_string());
        assert_eq!(get("TOKEN").as_deref(), Some("a b$c"));
        assert_eq!(get("KEY").as_deref(), Some("keys"));
        assert_eq!(get("DOCKER").as_deref(), Some("dock\n"));
        assert_eq!(get("FILE").as_deref(), Some("file"));
        assert_eq!(get("STORED").as_deref(), Some("stored"));
        assert_eq!([get("../.env"), get("NONE"), get("")], [None, None, None]);
        let look = secrets.look("FILE").expect("it is there");
        assert_eq!((look.wrong, look.hidden), (None, vec![Source::Store]));
        assert_eq!(format!("{secrets:?}"), "SecretStore { .. }");
        let names: Vec<_> = secrets.names().into_iter().collect();
        assert_eq!(names, ["DOCKER", "FILE", "STORED"]);
        let mut said = serde_json::json!({"text": "it is stored", "more": ["fil", 1]});
        secrets.redact(&mut said);
        assert_eq!(said, serde_json::json!({"text": "it is ***", "more": ["fil", 1]}));
    }

    #[test]
    fn a_secret_is_there_at_every_moment_of_a_change_of_the_key() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let root = dir.path().join("project");
        std::fs::create_dir(&root).expect("mkdir");
        let path = dir.path().join("key");
        let mut key = create_key(&path).expect("a key");
        let row = |version: u64, sealed: Vec<u8>| SealedRow {
            name: "STORED".into(),
            version,
            sealed,
            changed_at: moa_core::time::Millis(0),
        };
        let mut sealed = seal::seal(&key, "STORED", "stored").expect("it is sealed");
        let secrets = of(&root);
        secrets.set_sealed(vec![row(1, sealed.clone())]);
        std::thread::scope(|scope| {
            let looks = || (0..4000).for_each(|_| assert_eq!(secrets.fault("STORED"), None));
            let looking = [scope.spawn(looks), scope.spawn(looks)];
            let mut version = 1;
            while looking.iter().any(|thread| !thread.is_finished()) {
                version += 1;
                let next = key::begin_change(&path).expect("it is begun");
                sealed = seal::rewrap(&key, &next, "STORED", &sealed).expect("it is sealed anew");
                secrets.set_sealed(vec![row(version, sealed.clone())]);
                key::end_change(&path).expect("it is ended");
                key = next;
            }
            for thread in looking {
                thread.join().expect("it was there at all times");
            }
        });
        assert_eq!(secrets.get("STORED").as_deref().map(String::as_str), Some("stored"));
    }

    #[test]
    fn what_can_not_be_used_is_not_passed_over() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let root = dir.path().join("project");
        write(&root, "docker/LONG", &"x".repeat(SECRET_BYTES_MAX + 1));
        write(&root, "docker/FULL", &"x".repeat(SECRET_BYTES_MAX));
        write(&root, "docker/SHORT", "abc\n");
        write(&root, "docker/LEAST", "abcd\n");
        write(&root, "docker/EMPTY", "\n");
        write(&root, ".env", "BRIEF=abc\nNOTHING=\n");
        std::fs::create_dir(root.join("docker/FOLDER")).expect("mkdir");
        std::fs::write(root.join("docker/BYTES"), [0xff, 0xfe]).expect("it is written");
        let key = seal::MasterKey::random().expect("random");
        let row = |name: &str, sealed: Vec<u8>| SealedRow {
            name: name.into(),
            version: 1,
            sealed,
            changed_at: moa_core::time::Millis(0),
        };
        let sealed = seal::seal(&key, "OTHER", "value").expect("it is sealed");
        let secrets = of(&root);
        let rows = ["OTHER", "LONG"].map(|name| row(name, sealed.clone()));
        secrets.set_sealed([rows.to_vec(), vec![row("BROKEN", vec![1, 2])]].concat());
        let fault = |name: &str| secrets.fault(name).unwrap_or_default();
        assert!(fault("LONG").contains("more than 65536 bytes"), "{}", fault("LONG"));
        assert!(fault("FOLDER").contains("not a regular file"), "{}", fault("FOLDER"));
        assert!(fault("BYTES").contains("not UTF-8"), "{}", fault("BYTES"));
        assert!(fault("OTHER").contains("can't read the key file"), "{}", fault("OTHER"));
        create_key(&dir.path().join("key")).expect("a key");
        assert!(fault("OTHER").contains("sealed with another key"), "{}", fault("OTHER"));
        assert!(fault("BROKEN").contains("damaged"), "{}", fault("BROKEN"));
        for name in ["SHORT", "BRIEF"] {
            assert!(fault(name).contains("fewer than 4 bytes"), "{}", fault(name));
            assert!(!fault(name).contains("abc"), "{}", fault(name));
        }
        for name in ["EMPTY", "NOTHING"] {
            assert!(fault(name).contains("it is empty"), "{}", fault(name));
        }
        assert_eq!(secrets.get("LEAST").as_deref().map(String::as_str), Some("abcd"));
        for name in
            ["SHORT", "BRIEF", "EMPTY", "NOTHING", "LONG", "FOLDER", "BYTES", "OTHER", "BROKEN"]
        {
            assert_eq!(secrets.get(name), None, "{name}");
        }
        assert_eq!(secrets.get("FULL").map(|value| value.len()), Some(SECRET_BYTES_MAX));
    }
}
