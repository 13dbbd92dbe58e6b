//! Secrets: looked up when an attempt starts, never kept, shown or logged.
//!
//! In this order: the variable `MOA_SECRET_<NAME>`; the project's env file, by its own names; the
//! folder of credentials that systemd gives (`$CREDENTIALS_DIRECTORY/<NAME>`); the file
//! `.moa/secrets/<NAME>`. A name is letters, digits and `_`, so never a path.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use moa_ports::agent::Secrets;

use crate::exit::{Exit, Failure, Result};
use crate::files::Beneath;
use crate::project::{Layout, Project};

/// Bytes of one secret.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// Where the secrets of a project are looked up.
pub struct SecretStore {
    root: PathBuf,
    env_file: PathBuf,
}

impl fmt::Debug for SecretStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretStore").finish_non_exhaustive()
    }
}

impl SecretStore {
    /// The secrets of the project in `root`, whose env file is `env_file`.
    pub fn new(root: &Path, env_file: &str) -> Self {
        Self { root: root.into(), env_file: env_file.into() }
    }
}

impl SecretStore {
    /// The secrets of a project as its settings say.
    ///
    /// # Errors
    /// Its env file or a setting in the environment is broken.
    pub fn of(layout: &Layout, project: &Project) -> Result<Self> {
        let config = crate::node::read_config(layout, project)?;
        Ok(Self::new(&layout.root, &config.settings.secrets.env_file))
    }
}

impl Secrets for SecretStore {
    fn get(&self, name: &str) -> Option<String> {
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(legal) {
            return None;
        }
        if let Ok(value) = std::env::var(format!("MOA_SECRET_{name}")) {
            return Some(value);
        }
        // Read anew each time: an edit holds from the next attempt on, and nothing stays in memory.
        let env = read_env_file(&self.root, &self.env_file).ok()?;
        if let Some(value) = env.get(name) {
            return Some(value.clone());
        }
        let folders = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        let mut folders = folders.into_iter().chain([self.root.join(".moa/secrets")]);
        folders.find_map(|folder| read_secret(&folder.join(name)))
    }
}

fn read_secret(path: &Path) -> Option<String> {
    let mut text = String::new();
    std::fs::File::open(path).ok()?.take(SECRET_BYTES_MAX).read_to_string(&mut text).ok()?;
    // An editor ends the last line; the secret doesn't.
    Some(text.strip_suffix('\n').unwrap_or(&text).to_owned())
}

/// The variables of an env file; none when there is no such file. Messages never show values.
pub fn read_env_file(root: &Path, env_file: &Path) -> Result<BTreeMap<String, String>> {
    let shown = env_file.display();
    let read = Beneath::new(root).and_then(|beneath| beneath.read(env_file));
    let bytes = match read {
        Ok(content) => content.bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(e) => return Err(Failure::io(format!("can't read {shown}"), &e)),
    };
    let mut variables = BTreeMap::new();
    for item in dotenvy::from_read_iter(&bytes[..]) {
        match item {
            Ok((name, value)) => variables.insert(name, value),
            Err(dotenvy::Error::LineParse(_, at)) => {
                let text =
                    format!("{shown} has a line that isn't NAME=value (near byte {at} of it)");
                return Err(Failure::new(Exit::Invalid, text).hint("quote values with spaces"));
            }
            Err(_) => {
                let text = format!("{shown} can't be read as lines of NAME=value");
                return Err(Failure::new(Exit::Invalid, text).hint("save it as UTF-8 text"));
            }
        };
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_come_from_the_env_file_and_from_files() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(dir.path().join(".env"), "TOKEN='a b$c'\n# note\nexport KEY=k\n")
            .expect("w");
        std::fs::create_dir_all(dir.path().join(".moa/secrets")).expect("mkdir");
        std::fs::write(dir.path().join(".moa/secrets/FILE"), "f\n").expect("write");
        let secrets = SecretStore::new(dir.path(), ".env");
        assert_eq!(secrets.get("TOKEN").as_deref(), Some("a b$c"));
        assert_eq!(secrets.get("KEY").as_deref(), Some("k"));
        assert_eq!(secrets.get("FILE").as_deref(), Some("f"));
        assert_eq!(secrets.get("../.env"), None);
        assert_eq!(secrets.get("NONE"), None);
        assert_eq!(format!("{secrets:?}"), "SecretStore { .. }");
    }

    #[test]
    fn a_broken_env_file_is_reported_without_its_content() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(dir.path().join(".env"), "TOKEN=ok\nhunter2 is my password\n").expect("w");
        let error = read_env_file(dir.path(), Path::new(".env")).expect_err("it is broken");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
}
