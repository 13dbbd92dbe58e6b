//! Files of this user that lead a browser to a node elsewhere: what stands on a command line is no secret.
//!
//! Nobody here hears of it when a link has been used, so a file goes when the next one is made and its link
//! works no more.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use moa_server::auth::links::{LINK_WORKS, leading_to};

use super::contexts;
use crate::exit::{Failure, Result};
use crate::files::{Beneath, PRIVATE};

/// What the names of such files begin with, and end with.
const NAME: (&str, &str) = ("open-", ".html");

/// The folder of them.
pub struct Pages(PathBuf);

impl Pages {
    /// Those of the user, beside the contexts.
    ///
    /// # Errors
    /// Nobody says where that is, or it can't be made.
    pub fn of_user() -> Result<Self> {
        contexts::make_folder().map(Self)
    }

    /// Makes a file that leads to a link, and removes those whose links work no more.
    ///
    /// # Errors
    /// It can't be written.
    pub fn leading_to(&self, link: &str) -> Result<PathBuf> {
        self.forget(SystemTime::now());
        let random = crate::wire::random_u64();
        let name = format!("{}{random:016x}{}", NAME.0, NAME.1);
        Beneath::new(&self.0)
            .and_then(|folder| {
                folder.write_as(Path::new(&name), leading_to(link).as_bytes(), PRIVATE)
            })
            .map_err(|e| Failure::io(format!("can't write into {}", self.0.display()), &e))?;
        Ok(self.0.join(name))
    }

    fn forget(&self, now: SystemTime) {
        let Ok(files) = fs::read_dir(&self.0) else { return };
        for file in files.filter_map(std::result::Result::ok) {
            let name = file.file_name();
            let name = name.to_string_lossy();
            let is_one = name.starts_with(NAME.0) && name.ends_with(NAME.1);
            let age = file.metadata().and_then(|meta| meta.modified()).map(|at| {
                // A clock that was set back leaves it for once more.
                now.duration_since(at).unwrap_or_default()
            });
            if is_one && age.is_ok_and(|age| age >= LINK_WORKS) {
                // Another command may have removed it.
                let _ = fs::remove_file(file.path());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_leads_to_a_link_and_goes_with_the_next_one_later() {
        let dir = tempfile::tempdir().expect("a folder");
        let pages = Pages(dir.path().to_owned());
        fs::write(dir.path().join("contexts.yaml"), "current: x").expect("written");
        let first = pages.leading_to("https://x/sign-in?code=01").expect("a file");
        assert!(fs::read_to_string(&first).expect("text").contains("https://x/sign-in?code=01"));
        let mode = fs::metadata(&first).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let second = pages.leading_to("https://x/sign-in?code=02").expect("a file");
        assert!(first.exists() && second.exists(), "its link still works");
        pages.forget(SystemTime::now() + LINK_WORKS);
        assert!(!first.exists() && !second.exists());
        assert!(dir.path().join("contexts.yaml").exists(), "and nothing else");
    }
}
