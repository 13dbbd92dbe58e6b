//! Which node a command talks to: a flag says it, the environment, a context, or the folder that it
//! is called in; in this order.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use moa_core::ids::Name;
use moa_spec::Source;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{Remote, Token};
use crate::cli::Where;
use crate::exit::{Exit, Failure, Result};
use crate::files::{Beneath, PRIVATE};

/// The context that is the project of the folder.
pub const LOCAL: &str = "local";
/// What a command holds that changes the contexts, beside their file.
const LOCK: &str = ".contexts.lock";
/// Bytes of a token at most.
const TOKEN_BYTES_MAX: u64 = 4096;
/// Bytes of the file of contexts at most.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What a command works on.
#[derive(Clone)]
pub enum Chosen {
    /// A project of this machine.
    Here,
    /// A node elsewhere.
    There {
        /// It.
        remote: Remote,
        /// Whether this command names it: not when it is the current context alone.
        named: bool,
    },
}

/// A node with a name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stored {
    /// Its address.
    pub url: String,
    /// The token.
    #[serde(default)]
    pub token: Option<String>,
    /// A file with the authority of its certificate.
    #[serde(default)]
    pub ca_cert: Option<PathBuf>,
}

/// The contexts of a user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contexts {
    /// The one that is used when nothing else is said.
    #[serde(default)]
    pub current: Option<String>,
    /// By name.
    #[serde(default)]
    pub contexts: BTreeMap<String, Stored>,
}

/// A variable of the environment, when it says something.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// What this command works on.
///
/// # Errors
/// There is no such context; what is said contradicts itself.
pub fn choose(flags: &Where) -> Result<Chosen> {
    let named = |remote| Ok(Chosen::There { remote, named: true });
    match (&flags.url, &flags.context, &flags.project) {
        (Some(_), Some(_), _) | (Some(_), _, Some(_)) | (_, Some(_), Some(_)) => {
            return Err(Failure::usage("say one of --url, --context and --project"));
        }
        (_, _, Some(_)) => return Ok(Chosen::Here),
        (Some(url), ..) => return named(at(url, "--url", flags)?),
        (_, Some(context), _) => return of_context(context, "--context", flags, true),
        _ => {}
    }
    if let Some(url) = variable("MOA_URL") {
        return named(at(&url, "MOA_URL", flags)?);
    }
    if let Some(context) = variable("MOA_CONTEXT") {
        return of_context(&context, "MOA_CONTEXT", flags, true);
    }
    if variable("MOA_PROJECT").is_some() {
        return Ok(Chosen::Here);
    }
    match Contexts::read()?.current {
        Some(current) => of_context(&current, "the current context", flags, false),
        None => Ok(Chosen::Here),
    }
}

/// How a command's node was chosen, for people who ask for it.
pub fn by(chosen: &Chosen) -> String {
    match chosen {
        Chosen::Here => "the project of this folder".into(),
        Chosen::There { remote, .. } => remote.by().to_owned(),
    }
}

fn at(url: &str, by: &str, flags: &Where) -> Result<Remote> {
    let token = match token_of_flags(flags)? {
        Some(token) => Some(token),
        None => token_of_environment()?,
    };
    let ca_cert = flags.ca_cert.clone().or_else(|| variable("MOA_CA_CERT").map(PathBuf::from));
    Remote::new(url, by.to_owned(), token, ca_cert.as_deref())
}

fn of_context(name: &str, by: &str, flags: &Where, named: bool) -> Result<Chosen> {
    if name == LOCAL {
        return Ok(Chosen::Here);
    }
    let mut contexts = Contexts::read()?;
    let Some(stored) = contexts.contexts.remove(name) else {
        return Err(contexts.unknown(name).hint(format!("it is named by {by}")));
    };
    let by = format!("{by} ({name})");
    // Never the token of the environment: it may be another node's.
    let own = stored.token.map(|text| Token { text: text.into(), from: by.clone() });
    let token = token_of_flags(flags)?.or(own);
    let ca_cert = flags.ca_cert.clone().or(stored.ca_cert);
    let remote = Remote::new(&stored.url, by, token, ca_cert.as_deref())?;
    Ok(Chosen::There { remote, named })
}

/// The token that the command line gives.
///
/// # Errors
/// It can't be read, or is none.
pub fn token_of_flags(flags: &Where) -> Result<Option<Token>> {
    match (&flags.token, &flags.token_file) {
        (Some(_), Some(_)) => Err(Failure::usage("give either --token or --token-file")),
        (Some(text), None) => token(text.clone().into(), "--token").map(Some),
        (None, Some(file)) if file.as_os_str() == "-" => {
            let mut text = Zeroizing::new(String::new());
            let read = std::io::stdin().take(TOKEN_BYTES_MAX).read_to_string(&mut text);
            read.map_err(|e| Failure::io("can't read the token from standard input", &e))?;
            token(text, "standard input").map(Some)
        }
        (None, Some(file)) => {
            let mut text = Zeroizing::new(String::new());
            std::fs::File::open(file)
                .and_then(|f| f.take(TOKEN_BYTES_MAX).read_to_string(&mut text))
                .map_err(|e| Failure::io(format!("can't read {}", file.display()), &e))?;
            token(text, &file.display().to_string()).map(Some)
        }
        (None, None) => Ok(None),
    }
}

fn token_of_environment() -> Result<Option<Token>> {
    variable("MOA_TOKEN").map(|text| token(text.into(), "MOA_TOKEN")).transpose()
}

fn token(text: Zeroizing<String>, from: &str) -> Result<Token> {
    let bare = text.trim();
    match !bare.is_empty() && bare.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(Token { text: bare.to_owned().into(), from: from.to_owned() }),
        false => Err(Failure::usage(format!("what {from} holds is no token"))
            .hint("`moa token create NAME --role ROLE` makes one")),
    }
}

/// Where a user's settings are.
fn folder() -> Result<PathBuf> {
    let home = || variable("HOME").map(PathBuf::from);
    let base = match variable("XDG_CONFIG_HOME").map(PathBuf::from) {
        Some(base) if base.is_absolute() => Some(base),
        _ if cfg!(target_os = "macos") => home().map(|h| h.join("Library/Application Support")),
        _ => home().map(|home| home.join(".config")),
    };
    let base = base.ok_or_else(|| {
        Failure::refused("nobody says where your settings are").hint("set HOME or XDG_CONFIG_HOME")
    })?;
    Ok(base.join("moa"))
}

/// The folder of a user's settings, which is made for its user alone when there is none.
///
/// # Errors
/// This user has no home; the folder can't be made.
pub fn make_folder() -> Result<PathBuf> {
    let folder = folder()?;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
    made.map_err(|e| Failure::io(format!("can't make {}", folder.display()), &e))?;
    Ok(folder)
}

impl Contexts {
    /// Where they are kept.
    ///
    /// # Errors
    /// This user has no home.
    pub fn path() -> Result<PathBuf> {
        Ok(folder()?.join("contexts.yaml"))
    }

    /// Reads them; none when there is no file, or no home.
    ///
    /// # Errors
    /// The file can't be read, or is wrong.
    pub fn read() -> Result<Self> {
        match Self::path() {
            Ok(path) => Self::read_at(&path),
            Err(_) => Ok(Self::default()),
        }
    }

    fn read_at(path: &Path) -> Result<Self> {
        let open = std::fs::File::open(path);
        let file = match open {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            opened => opened,
        };
        let mut text = Zeroizing::new(String::new());
        file.and_then(|file| {
            let mode = file.metadata()?.mode();
            if mode & 0o077 != 0 {
                let text = "others may read it, and it holds tokens: chmod 600";
                return Err(std::io::Error::other(text));
            }
            file.take(FILE_BYTES_MAX).read_to_string(&mut text)
        })
        .map_err(|e| Failure::io(format!("can't use {}", path.display()), &e))?;
        Self::parse(&text).map_err(|why| {
            let text = format!("{} is wrong: {why}", path.display());
            Failure::new(Exit::Invalid, text).hint("mend it, or delete it and add them again")
        })
    }

    /// What is wrong is said without the text: it holds tokens.
    fn parse(text: &str) -> std::result::Result<Self, String> {
        let source = Source::new("contexts.yaml", text);
        let (document, diagnostics) = moa_spec::document(&source);
        if let Some(wrong) = diagnostics.iter().find(|d| d.is_error()) {
            return Err(format!("line {} can't be read ({})", wrong.line, wrong.code));
        }
        match document {
            Some(document) => serde_json::from_value(document).map_err(|_| {
                "it has `current`, and `contexts` of which each has url, token, ca_cert".into()
            }),
            None => Ok(Self::default()),
        }
    }

    /// Changes them, and keeps what came of it. Commands that do so at once do it one after another,
    /// so that none undoes what another did.
    ///
    /// # Errors
    /// Of `change`, and then nothing is changed; the file can't be read or written.
    pub fn change<T>(change: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let folder = folder()?;
        let path = folder.join(LOCK);
        let lock = || {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
            let mut options = std::fs::OpenOptions::new();
            let file =
                options.create(true).truncate(false).write(true).mode(PRIVATE).open(&path)?;
            file.lock()?;
            Ok(file)
        };
        let _lock =
            lock().map_err(|e| Failure::io(format!("can't lock {}", path.display()), &e))?;
        let mut contexts = Self::read()?;
        let done = change(&mut contexts)?;
        contexts.write()?;
        Ok(done)
    }

    /// Keeps them: whole or not at all, and for this user alone.
    fn write(&self) -> Result<()> {
        let path = Self::path()?;
        let failed = |e: &std::io::Error| Failure::io(format!("can't write {}", path.display()), e);
        let folder = folder()?;
        let name = path.file_name().map(Path::new).unwrap_or(&path);
        let beneath = Beneath::new(&folder).map_err(|e| failed(&e))?;
        beneath.write_as(name, self.text().as_bytes(), PRIVATE).map_err(|e| failed(&e))
    }

    fn text(&self) -> Zeroizing<String> {
        // A text in quotes as JSON has it is one of YAML too.
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let mut out =
            String::from("# Written by `moa context`. It holds tokens: keep it to yourself.\n");
        if let Some(current) = &self.current {
            out.push_str(&format!("current: {}\n", quoted(current)));
        }
        if !self.contexts.is_empty() {
            out.push_str("contexts:\n");
        }
        for (name, Stored { url, token, ca_cert }) in &self.contexts {
            out.push_str(&format!("  {}:\n    url: {}\n", quoted(name), quoted(url)));
            if let Some(token) = token {
                out.push_str(&format!("    token: {}\n", quoted(token)));
            }
            if let Some(file) = ca_cert {
                out.push_str(&format!("    ca_cert: {}\n", quoted(&file.to_string_lossy())));
            }
        }
        out.into()
    }

    /// The failure of naming a context that isn't there.
    pub fn unknown(&self, name: &str) -> Failure {
        let failure = Failure::not_found(format!("there is no context {name}"));
        match crate::text::nearest(name, self.contexts.keys().map(String::as_str)) {
            Some(near) => failure.hint(format!("did you mean {near}?")),
            None => failure.hint("`moa context list` lists them, `moa context add` makes one"),
        }
    }

    /// A name that a context can have.
    ///
    /// # Errors
    /// It can't be one.
    pub fn name(text: &str) -> Result<String> {
        if text == LOCAL {
            return Err(Failure::usage("local is the project of the folder; choose another name"));
        }
        let name = Name::new(text).map_err(|e| Failure::usage(format!("{text:?}: {e}")))?;
        Ok(name.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let stored = Stored {
            url: "https://moa.example.com/a\"b".into(),
            token: Some("moa_x: #y".into()),
            ca_cert: Some("/etc/ca \u{1b}.pem".into()),
        };
        let bare = Stored { url: "http://[::1]:3020".into(), token: None, ca_cert: None };
        let contexts = Contexts {
            current: Some("prod".into()),
            contexts: [("prod".to_owned(), stored), ("yes".to_owned(), bare)].into(),
        };
        assert_eq!(Contexts::parse(&contexts.text()), Ok(contexts));
        assert_eq!(Contexts::parse(&Contexts::default().text()), Ok(Contexts::default()));
    }

    #[test]
    fn what_is_wrong_is_said_without_tokens() {
        for wrong in [
            "contexts:\n  a: {url: http://x, token: secret-1, more: 1}\n",
            "contexts:\n  a: {url: http://x, token: secret-1\n",
            "contexts:\n  a: {url: [secret-1]}\n",
            "contexts: {a: {token: secret-1}}\n",
            "contexts: {a: secret-1}\n",
            "contexts: {a: {url: &secret-1}}\n",
        ] {
            let why = Contexts::parse(wrong).expect_err(wrong);
            assert!(!why.contains("secret-1"), "{why}");
        }
    }
}
