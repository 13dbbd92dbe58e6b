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

use super::role::Role;
use super::tokens::{hash, random_hex};

/// How long a link works.
pub const LINK_WORKS: Duration = Duration::from_secs(15 * 60);
/// Links at once; the oldest make room for new ones.
const LINKS_MAX: usize = 100;
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
    role: Role,
    /// Removed with it.
    _page: Option<PageFile>,
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
    /// # Errors
    /// `with_page`, and the file that leads there can't be written.
    pub fn make(
        &self,
        before: &str,
        role: Role,
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
        if open.len() >= LINKS_MAX {
            open.remove(0);
        }
        open.push(Link { hash, until: now + LINK_WORKS, role, _page: page });
        Ok(Made { url, name, page: path })
    }

    fn page(&self, url: &str) -> io::Result<PageFile> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let page = PageFile(self.folder.join(format!("{}.html", random_hex::<8>())));
        let mut options = fs::OpenOptions::new();
        let mut file = options.create_new(true).write(true).mode(0o600).open(&page.0)?;
        let text = html! {
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
        file.write_all(text.into_string().as_bytes())?;
        Ok(page)
    }

    /// Uses up a code; answers the role that it gives and what the audit log calls it, if it works.
    pub fn take(&self, code: &str, now: Instant) -> Option<(Role, String)> {
        let wanted = hash(code);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let place = open.iter().position(|link| link.hash == wanted && link.until > now)?;
        Some((open.remove(place).role, name_of(&wanted)))
    }

    /// Forgets those that work no more, and removes their files.
    pub fn forget(&self, now: Instant) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|link| link.until > now);
    }
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
        let make = || links.make("http://x/?c=", Role::Admin, now, false).expect("no file");
        let made = make();
        assert_eq!(links.take("other", now), None);
        assert_eq!(links.take(code(&made), now), Some((Role::Admin, made.name.clone())));
        assert_eq!(links.take(code(&made), now), None);
        assert_eq!(links.take(code(&make()), now + LINK_WORKS), None);
    }

    #[test]
    fn the_page_of_a_link_is_its_users_alone_and_goes_with_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let links = Links::new(folder.path());
        let now = Instant::now();
        let make = || links.make("http://x/?c=", Role::Viewer, now, true).expect("a file");
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
}
