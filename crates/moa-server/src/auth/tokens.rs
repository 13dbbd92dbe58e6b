//! Tokens and sessions, kept in a file of the project's state folder.
//!
//! Only hashes are kept: a token is 256 random bits, so a fast hash tells nothing of it. Commands
//! change the file while a node runs, and a node notices at the next request: changes are made under
//! a lock beside the file, by putting a whole new file in its place. So a process that dies anywhere
//! leaves either the old file or the new one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use moa_core::time::Millis;
use serde::{Deserialize, Serialize};

use super::role::Role;
use super::scope::{SCOPES_MAX, Scope};

/// The file, inside the state folder.
pub const FILE: &str = "tokens.json";
/// The lock beside it.
const LOCK: &str = "tokens.lock";
/// Tokens at most.
pub const TOKENS_MAX: usize = 1000;
/// Sessions at most, of all together.
pub const SESSIONS_MAX: usize = 2000;
/// Sessions of one owner at most; the oldest of its own make room for new ones.
pub const SESSIONS_OF_ONE_MAX: usize = 30;
/// Bytes of a name at most.
pub const NAME_BYTES_MAX: usize = 100;
/// How exactly it is known when a token was used last.
const USED_EVERY_MS: i64 = 60_000;

/// Why tokens can't be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file can't be read or written.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file is not what it has to be.
    #[error("{} is not a list of tokens: {why}", path.display())]
    Broken {
        /// Which file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// There is no such token.
    #[error("there is no token {0}")]
    Unknown(String),
    /// There are too many of them.
    #[error("there are {TOKENS_MAX} tokens or {SESSIONS_MAX} sessions, and no more are kept")]
    Full,
    /// The name can't be one.
    #[error("{0}")]
    Name(String),
}

/// Something that says who asks, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Names it; no secret.
    pub id: String,
    /// What it is.
    pub kind: Kind,
    /// What people call it.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// To what; empty = to everything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<Scope>,
    /// BLAKE3 of the secret.
    pub hash: String,
    /// When it was made.
    pub created_at: Millis,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Millis>,
    /// When it was used last, about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Millis>,
    /// The token that a session was opened with, or what a token was made with; it ends with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// Whose session it is, when no token opened it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

impl Entry {
    /// Whose it is: what one owner opens takes no place from another.
    fn owner(&self) -> Option<&str> {
        self.of.as_deref().or(self.owner.as_deref())
    }
}

/// Kinds of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A program's, sent with each request.
    Token,
    /// A browser's, in a cookie.
    Session,
}

/// What is to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct New {
    /// What it is.
    pub kind: Kind,
    /// What people call it.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// To what; empty = to everything.
    #[serde(default)]
    pub scopes: Vec<Scope>,
    /// When it ends.
    pub expires_at: Option<Millis>,
    /// The token that a session is opened with, or what a token is made with.
    #[serde(default)]
    pub of: Option<String>,
    /// Whose session it is, when no token opens it.
    #[serde(default)]
    pub owner: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    tokens: Vec<Entry>,
}

/// Which content of the file is known: it is another one when any of these differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp(u64, u64, i64, i64);

/// The tokens of a project.
#[derive(Debug)]
pub struct Tokens {
    folder: PathBuf,
    known: Mutex<(Option<Stamp>, Arc<Vec<Entry>>)>,
}

impl Tokens {
    /// Those of the project with this state folder.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), known: Mutex::default() }
    }

    fn path(&self) -> PathBuf {
        self.folder.join(FILE)
    }

    fn io(&self, error: io::Error) -> Error {
        Error::Io { path: self.path(), error }
    }

    /// All that are there, the expired ones included.
    ///
    /// # Errors
    /// The file can't be read, or is broken.
    pub fn list(&self) -> Result<Arc<Vec<Entry>>, Error> {
        let stamp = match fs::metadata(self.path()) {
            Ok(m) => Some(Stamp(m.ino(), m.size(), m.mtime(), m.mtime_nsec())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(self.io(e)),
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.0 != stamp || stamp.is_none() {
            known.1 = Arc::new(self.read()?.tokens);
            known.0 = stamp;
        }
        Ok(known.1.clone())
    }

    fn read(&self) -> Result<Document, Error> {
        let text = match fs::read_to_string(self.path()) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Document::default()),
            Err(e) => return Err(self.io(e)),
        };
        let broken = |why: String| Error::Broken { path: self.path(), why };
        let document: Document = serde_json::from_str(&text).map_err(|e| broken(e.to_string()))?;
        match document.version {
            1 => Ok(document),
            version => Err(broken(format!("version {version} is not known"))),
        }
    }

    /// Changes the list. What the change answers with `Err` changes nothing.
    fn update<T>(
        &self,
        change: impl FnOnce(&mut Vec<Entry>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let make = || {
            let mut options = fs::OpenOptions::new();
            options.create(true).truncate(false).write(true).mode(0o600);
            let lock = options.open(self.folder.join(LOCK))?;
            lock.lock()?;
            Ok(lock)
        };
        // Given back when it is closed.
        let _lock: File = make().map_err(|e| self.io(e))?;
        let mut document = self.read()?;
        let before = document.tokens.clone();
        let answer = change(&mut document.tokens)?;
        if document.tokens != before {
            document.version = 1;
            self.write(&document).map_err(|e| self.io(e))?;
        }
        Ok(answer)
    }

    fn write(&self, document: &Document) -> io::Result<()> {
        let part = self.folder.join(format!("{FILE}.part"));
        // One that a process left behind may have any rights.
        match fs::remove_file(&part) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let mut options = fs::OpenOptions::new();
        let mut file = options.create_new(true).write(true).mode(0o600).open(&part)?;
        file.write_all(&serde_json::to_vec_pretty(document)?)?;
        file.sync_all()?;
        fs::rename(&part, self.path())?;
        File::open(&self.folder)?.sync_all()
    }

    /// Makes one; answers it and its secret, which is kept nowhere.
    ///
    /// # Errors
    /// The file can't be changed, there are too many, or its name can't be one.
    pub fn create(&self, new: New, now: Millis) -> Result<(Entry, String), Error> {
        let name = name(&new.name).map_err(Error::Name)?;
        if new.scopes.len() > SCOPES_MAX {
            return Err(Error::Name(format!("a token has at most {SCOPES_MAX} scopes")));
        }
        let secret = match new.kind {
            Kind::Token => format!("moa_{}", random_hex::<32>()),
            Kind::Session => random_hex::<32>(),
        };
        let prefix = if new.kind == Kind::Token { "tok" } else { "ses" };
        let entry = Entry {
            id: format!("{prefix}_{}", random_hex::<6>()),
            kind: new.kind,
            name,
            role: new.role,
            scopes: new.scopes,
            hash: hash(&secret),
            created_at: now,
            expires_at: new.expires_at,
            last_used_at: None,
            of: new.of,
            owner: new.owner,
        };
        self.update(|entries| {
            let ended = |e: &Entry| e.kind == Kind::Session && is_over(e, now);
            entries.retain(|e| !ended(e));
            make_room(entries, &entry)?;
            entries.push(entry.clone());
            Ok(())
        })?;
        Ok((entry, secret))
    }

    /// Takes one away, with the sessions that it opened and the tokens that end with it; answers it.
    ///
    /// # Errors
    /// There is none with this id, or the file can't be changed.
    pub fn revoke(&self, id: &str) -> Result<Entry, Error> {
        self.update(|entries| {
            let found = entries.iter().find(|entry| entry.id == id).cloned();
            let found = found.ok_or_else(|| Error::Unknown(id.to_owned()))?;
            end(entries, id);
            Ok(found)
        })
    }

    /// The one with this secret, if it holds now.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn find(&self, secret: &str, kind: Kind, now: Millis) -> Result<Option<Entry>, Error> {
        let entries = self.list()?;
        // Who can choose what is hashed learns nothing from how long two hashes are alike.
        let hash = hash(secret);
        let found = entries.iter().find(|entry| entry.kind == kind && entry.hash == hash);
        let Some(entry) = found.filter(|entry| !is_over(entry, now)) else { return Ok(None) };
        let opener = entry.of.as_ref().map(|of| entries.iter().find(|e| e.id == *of));
        match opener {
            Some(None) => Ok(None),
            Some(Some(token)) if is_over(token, now) => Ok(None),
            _ => Ok(Some(entry.clone())),
        }
    }

    /// Whether the last use of one is so long ago that it is worth noting this one.
    pub fn is_use_news(entry: &Entry, now: Millis) -> bool {
        entry.last_used_at.is_none_or(|at| now.0.saturating_sub(at.0).abs() >= USED_EVERY_MS)
    }

    /// Notes that one was used.
    ///
    /// # Errors
    /// The file can't be changed.
    pub fn used(&self, id: &str, now: Millis) -> Result<(), Error> {
        self.update(|entries| {
            if let Some(entry) = entries.iter_mut().find(|entry| entry.id == id) {
                entry.last_used_at = Some(now);
            }
            Ok(())
        })
    }
}

/// Takes one away with all that was made with it, and with that.
fn end(entries: &mut Vec<Entry>, id: &str) {
    let mut gone = vec![id.to_owned()];
    while let Some(id) = gone.pop() {
        let ends = |e: &Entry| e.id == id || e.of.as_deref() == Some(&id);
        gone.extend(entries.iter().filter(|e| ends(e) && e.id != id).map(|e| e.id.clone()));
        entries.retain(|e| !ends(e));
    }
}

/// Makes a place for one more: a session takes that of the oldest of its own owner, nobody else's.
fn make_room(entries: &mut Vec<Entry>, new: &Entry) -> Result<(), Error> {
    let is_own = |e: &Entry| e.kind == Kind::Session && e.owner() == new.owner();
    let (own, alike) = entries.iter().fold((0, 0), |(own, alike), e| {
        (own + usize::from(is_own(e)), alike + usize::from(e.kind == new.kind))
    });
    let is_full = match new.kind {
        Kind::Token => alike >= TOKENS_MAX,
        Kind::Session => own >= SESSIONS_OF_ONE_MAX || alike >= SESSIONS_MAX,
    };
    if is_full {
        let oldest = entries.iter().find(|e| new.kind == Kind::Session && is_own(e));
        let oldest = oldest.ok_or(Error::Full)?.id.clone();
        end(entries, &oldest);
    }
    Ok(())
}

/// A name for a token.
///
/// # Errors
/// It is empty, too long, or holds what a terminal would obey.
pub fn name(text: &str) -> Result<String, String> {
    let text = text.trim();
    let is_fine = !text.is_empty() && text.len() <= NAME_BYTES_MAX;
    match is_fine && !text.chars().any(char::is_control) {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "the name of a token has 1 to {NAME_BYTES_MAX} bytes and no control characters"
        )),
    }
}

/// Whether it holds no more.
pub fn is_over(entry: &Entry, now: Millis) -> bool {
    entry.expires_at.is_some_and(|at| at <= now)
}

/// What is kept of a secret.
pub fn hash(secret: &str) -> String {
    blake3::hash(secret.as_bytes()).to_hex().to_string()
}

/// `N` random bytes, as hexadecimal digits.
pub fn random_hex<const N: usize>() -> String {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system has randomness");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(kind: Kind, of: Option<String>, expires_at: Option<Millis>) -> New {
        let (name, scopes) = ("ci".into(), Vec::new());
        New { kind, name, role: Role::Operator, scopes, expires_at, of, owner: None }
    }

    #[test]
    fn a_token_is_known_by_its_secret_alone_until_it_is_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let tokens = Tokens::new(folder.path());
        let made = tokens.create(new(Kind::Token, None, Some(Millis(100))), Millis(1));
        let (entry, secret) = made.expect("made");
        let kept = fs::read_to_string(folder.path().join(FILE)).expect("the file");
        assert!(!kept.contains(&secret[4..]) && kept.contains(&entry.hash));
        let mode = fs::metadata(folder.path().join(FILE)).expect("the file").mode();
        assert_eq!(mode & 0o777, 0o600);
        let find = |text: &str, at| tokens.find(text, Kind::Token, Millis(at)).expect("read");
        assert_eq!(find(&secret, 99), Some(entry.clone()));
        assert_eq!(find(&secret, 100), None);
        assert_eq!(find(&entry.hash, 99), None);
        assert_eq!(find("", 99), None);
        let as_session = tokens.find(&secret, Kind::Session, Millis(2)).expect("read");
        assert_eq!(as_session, None);
    }

    #[test]
    fn what_another_process_changes_holds_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let (node, command) = (Tokens::new(folder.path()), Tokens::new(folder.path()));
        assert!(node.list().expect("none yet").is_empty());
        let (entry, secret) =
            command.create(new(Kind::Token, None, None), Millis(1)).expect("made");
        assert!(node.find(&secret, Kind::Token, Millis(2)).expect("read").is_some());
        command.revoke(&entry.id).expect("revoked");
        assert!(node.find(&secret, Kind::Token, Millis(2)).expect("read").is_none());
        assert!(matches!(command.revoke(&entry.id), Err(Error::Unknown(_))));
    }

    #[test]
    fn a_session_ends_with_the_token_that_opened_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let tokens = Tokens::new(folder.path());
        let token = new(Kind::Token, None, Some(Millis(50)));
        let (token, _) = tokens.create(token, Millis(1)).expect("made");
        let session = new(Kind::Session, Some(token.id.clone()), Some(Millis(90)));
        let (_, secret) = tokens.create(session, Millis(1)).expect("made");
        let find = |at| tokens.find(&secret, Kind::Session, Millis(at)).expect("read");
        assert!(find(49).is_some());
        assert!(find(50).is_none());
        tokens.revoke(&token.id).expect("revoked");
        assert!(find(2).is_none());
        assert!(tokens.list().expect("read").is_empty());
    }

    #[test]
    fn a_broken_file_lets_nobody_in_and_is_not_written_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let tokens = Tokens::new(folder.path());
        for text in ["", "{}", r#"{"version":2,"tokens":[]}"#, "[1"] {
            fs::write(folder.path().join(FILE), text).expect("written");
            let found = tokens.find("x", Kind::Token, Millis(1));
            assert!(matches!(found, Err(Error::Broken { .. })), "{text}");
            let made = tokens.create(new(Kind::Token, None, None), Millis(1));
            assert!(matches!(made, Err(Error::Broken { .. })), "{text}");
            let kept = fs::read_to_string(folder.path().join(FILE)).expect("there");
            assert_eq!(kept, text);
        }
    }

    #[test]
    fn a_session_takes_the_place_of_none_but_its_owners() {
        let folder = tempfile::tempdir().expect("a folder");
        let tokens = Tokens::new(folder.path());
        let mut at = 0;
        let mut open = |of: &str| {
            at += 1;
            let made = tokens.create(new(Kind::Session, Some(of.into()), None), Millis(at));
            made.expect("made").0.id
        };
        let other = open("tok_other");
        let own: Vec<String> = (0..=SESSIONS_OF_ONE_MAX).map(|_| open("tok_own")).collect();
        let kept = || -> Vec<String> {
            tokens.list().expect("read").iter().map(|entry| entry.id.clone()).collect()
        };
        let expected: Vec<String> = [other].iter().chain(&own[1..]).cloned().collect();
        assert_eq!(kept(), expected);
        // What the session that made place had made, went with it, and what was made with that.
        let twin = |of: &str| {
            let made = tokens.create(new(Kind::Token, Some(of.into()), None), Millis(50));
            made.expect("made").0.id
        };
        let first = twin(&own[1]);
        let second = twin(&first);
        open("tok_own");
        assert!(!kept().contains(&own[1]) && !kept().contains(&first) && !kept().contains(&second));
        let filler = tokens.list().expect("read")[0].clone();
        let filled = tokens.update(|entries| {
            let filler =
                |n| Entry { id: format!("f{n}"), of: Some(format!("t{n}")), ..filler.clone() };
            entries.extend((entries.len()..SESSIONS_MAX).map(filler));
            Ok(())
        });
        filled.expect("filled");
        let stranger = new(Kind::Session, Some("tok_third".into()), None);
        let full = tokens.create(stranger, Millis(99));
        assert!(matches!(full, Err(Error::Full)), "nobody else loses a session for it");
        tokens
            .create(new(Kind::Session, Some("tok_own".into()), None), Millis(99))
            .expect("its own");
        assert!(!kept().contains(&own[2]) && kept().contains(&own[3]));
        tokens.create(new(Kind::Token, None, None), Millis(99)).expect("tokens have other places");
    }

    #[test]
    fn there_are_so_many_tokens_and_no_more() {
        let folder = tempfile::tempdir().expect("a folder");
        let tokens = Tokens::new(folder.path());
        let (first, _) = tokens.create(new(Kind::Token, None, None), Millis(1)).expect("made");
        let filled = tokens.update(|entries| {
            let filler = |n| Entry { id: format!("f{n}"), ..first.clone() };
            entries.extend((1..TOKENS_MAX).map(filler));
            Ok(())
        });
        filled.expect("filled");
        let full = tokens.create(new(Kind::Token, None, None), Millis(1));
        assert!(matches!(full, Err(Error::Full)));
        assert_eq!(tokens.list().expect("read").len(), TOKENS_MAX);
    }
}
