//! One-time links: whoever has one may sign in with it once, for a short time.
//!
//! A link on a command line could be read by every user of the machine while a browser starts. So
//! `moa open` hands the browser a file that only its user can read, and that leads to the link; it is
//! removed when the link is used, or works no more.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use maud::{DOCTYPE, html};
use moa_core::time::Millis;
use serde::{Deserialize, Serialize};

use super::role::Role;
use super::scope::Scope;
use super::tokens::{hash, random_hex};

/// How long a link works.
pub const LINK_WORKS: Duration = Duration::from_secs(15 * 60);
/// Links at once; the oldest make room for new ones.
const LINKS_MAX: usize = 100;
/// Links of one maker at once; its oldest make room for its new ones.
const LINKS_OF_ONE_MAX: usize = 5;
/// The folder of files that lead to links, inside the state folder.
const PAGES: &str = "open";

/// The links that were given out. They end with the process.
#[derive(Debug)]
pub struct Links {
    folder: PathBuf,
    open: Mutex<Vec<Link>>,
}

#[derive(Debug)]
struct Link {
    /// Of the code.
    hash: String,
    until: Instant,
    grant: Grant,
    /// Removed with it.
    _page: Option<PageFile>,
}

/// What a link gives to who has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// What it allows.
    pub role: Role,
    /// Who asked for it over the API; `None` = the user of the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maker: Option<Maker>,
}

impl From<Role> for Grant {
    fn from(role: Role) -> Self {
        Self { role, maker: None }
    }
}

/// Who asked for a link: what it opens reaches no further than they do, and ends with them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maker {
    /// The id of the token, session or JWT.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// To what it is narrowed; empty = to nothing less than all.
    pub scopes: Vec<Scope>,
    /// The token that the session ends with.
    pub of: Option<String>,
    /// When it ends.
    pub until: Option<Millis>,
}

#[derive(Debug)]
struct PageFile(PathBuf);

impl Drop for PageFile {
    fn drop(&mut self) {
        // Somebody may have removed it; the link works once whatever becomes of the file.
        let _ = fs::remove_file(&self.0);
    }
}

/// A link that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// It.
    pub url: String,
    /// What the audit log calls it.
    pub name: String,
    /// A file that leads there, when it was asked for.
    pub page: Option<PathBuf>,
}

impl Links {
    /// None yet; files of those of before are removed.
    pub fn new(state: &Path) -> Self {
        let folder = state.join(PAGES);
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "pages of links that work no more can't be removed");
            }
            _ => {}
        }
        Self { folder, open: Mutex::default() }
    }

    /// A link that works once: the address `before` and a code.
    ///
    /// Whoever asks over the API takes the place of no link but those of their own.
    ///
    /// # Errors
    /// `with_page`, and the file that leads there can't be written; there are too many links.
    pub fn make(
        &self,
        before: &str,
        grant: Grant,
        now: Instant,
        with_page: bool,
    ) -> io::Result<Made> {
        let code = random_hex::<32>();
        let hash = hash(&code);
        let (url, name) = (format!("{before}{code}"), name_of(&hash));
        let page = with_page.then(|| self.page(&url)).transpose()?;
        let path = page.as_ref().map(|page| page.0.clone());
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|link| link.until > now);
        make_room(&mut open, grant.maker.as_ref())?;
        open.push(Link { hash, until: now + LINK_WORKS, grant, _page: page });
        Ok(Made { url, name, page: path })
    }

    fn page(&self, url: &str) -> io::Result<PageFile> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let page = PageFile(self.folder.join(format!("{}.html", random_hex::<8>())));
        let mut options = fs::OpenOptions::new();
        let mut file = options.create_new(true).write(true).mode(0o600).open(&page.0)?;
        file.write_all(leading_to(url).as_bytes())?;
        Ok(page)
    }

    /// Uses up a code; answers what it gives and what the audit log calls it, if it works.
    pub fn take(&self, code: &str, now: Instant) -> Option<(Grant, String)> {
        let wanted = hash(code);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let place = open.iter().position(|link| link.hash == wanted && link.until > now)?;
        Some((open.remove(place).grant, name_of(&wanted)))
    }

    /// Forgets those that work no more, and removes their files.
    pub fn forget(&self, now: Instant) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|link| link.until > now);
    }
}

/// Makes room for one more.
fn make_room(open: &mut Vec<Link>, maker: Option<&Maker>) -> io::Result<()> {
    let Some(maker) = maker else {
        if open.len() >= LINKS_MAX {
            open.remove(0);
        }
        return Ok(());
    };
    let is_own = |link: &Link| link.grant.maker.as_ref().is_some_and(|of| of.id == maker.id);
    let own = open.iter().filter(|link| is_own(link)).count();
    if own >= LINKS_OF_ONE_MAX
        && let Some(oldest) = open.iter().position(is_own)
    {
        open.remove(oldest);
    } else if open.len() >= LINKS_MAX {
        let text = format!("{LINKS_MAX} links wait to be used");
        return Err(io::Error::new(io::ErrorKind::QuotaExceeded, text));
    }
    Ok(())
}

/// A page that leads to an address at once.
pub fn leading_to(url: &str) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="referrer" content="no-referrer";
                meta http-equiv="refresh" content={ "0;url=" (url) };
                title { "moa" }
            }
            body { p { a href=(url) { "Open the dashboard" } } }
        }
    };
    page.into_string()
}

/// What a link is called where its code must not stand.
fn name_of(hash: &str) -> String {
    format!("link_{}", &hash[..12])
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn code(made: &Made) -> &str {
        made.url.strip_prefix("http://x/?c=").expect("the address, and then the code")
    }

    #[test]
    fn a_link_works_once_and_not_for_long() {
        let folder = tempfile::tempdir().expect("a folder");
        let links = Links::new(folder.path());
        let now = Instant::now();
        let make = || links.make("http://x/?c=", Role::Admin.into(), now, false).expect("no file");
        let made = make();
        assert_eq!(links.take("other", now), None);
        assert_eq!(links.take(code(&made), now), Some((Role::Admin.into(), made.name.clone())));
        assert_eq!(links.take(code(&made), now), None);
        assert_eq!(links.take(code(&make()), now + LINK_WORKS), None);
    }

    #[test]
    fn the_page_of_a_link_is_its_users_alone_and_goes_with_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let links = Links::new(folder.path());
        let now = Instant::now();
        let make = || links.make("http://x/?c=", Role::Viewer.into(), now, true).expect("a file");
        let (used, late, left) = (make(), make(), make());
        let page = |made: &Made| made.page.clone().expect("it was asked for");
        let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode();
        assert_eq!(mode(&page(&used)) & 0o777, 0o600);
        assert_eq!(mode(&folder.path().join(PAGES)) & 0o777, 0o700);
        assert!(fs::read_to_string(page(&used)).expect("text").contains(code(&used)));
        assert!(!page(&used).to_string_lossy().contains(code(&used)));
        links.take(code(&used), now).expect("it works");
        assert!(!page(&used).exists() && page(&late).exists());
        links.forget(now + LINK_WORKS);
        assert!(!page(&late).exists() && !page(&left).exists());
        // What a process that was killed left behind.
        let stale = make();
        std::mem::forget(links);
        let _next = Links::new(folder.path());
        assert!(!page(&stale).exists());
    }

    #[test]
    fn who_asks_over_the_api_takes_no_place_but_their_own() {
        let folder = tempfile::tempdir().expect("a folder");
        let links = Links::new(folder.path());
        let now = Instant::now();
        let make = |id: Option<&str>| {
            let maker = id.map(|id| Maker {
                id: id.into(),
                name: "ci".into(),
                scopes: Vec::new(),
                of: None,
                until: None,
            });
            links.make("http://x/?c=", Grant { role: Role::Viewer, maker }, now, false)
        };
        let (local, first) = (make(None).expect("room"), make(Some("a")).expect("room"));
        for _ in 0..LINKS_MAX {
            make(Some("a")).expect("its oldest makes room");
        }
        assert_eq!(links.take(code(&first), now), None, "it has made room");
        for n in 0..LINKS_MAX - 1 - LINKS_OF_ONE_MAX {
            make(Some(&format!("other {n}"))).expect("room");
        }
        make(Some("one more")).expect_err("there are too many");
        assert!(links.take(code(&local), now).is_some(), "that of the node's user is there");
    }
}
