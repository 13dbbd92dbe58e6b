//! One-time links: whoever has one may sign in with it once, for a short time.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::role::Role;
use super::tokens::{hash, random_hex};

/// How long a link works.
pub const LINK_WORKS: Duration = Duration::from_secs(15 * 60);
/// Links at once; the oldest make room for new ones.
const LINKS_MAX: usize = 100;

/// The links that were given out. They end with the process.
#[derive(Debug, Default)]
pub struct Links {
    /// Hash of the code, until when, for whom.
    open: Mutex<Vec<(String, Instant, Role)>>,
}

impl Links {
    /// A code that works once.
    pub fn make(&self, role: Role, now: Instant) -> String {
        let code = random_hex::<32>();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|(_, until, _)| *until > now);
        if open.len() >= LINKS_MAX {
            open.remove(0);
        }
        open.push((hash(&code), now + LINK_WORKS, role));
        code
    }

    /// Uses up a code; answers the role that it gives, if it works.
    pub fn take(&self, code: &str, now: Instant) -> Option<Role> {
        let wanted = hash(code);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let place = open.iter().position(|(hash, until, _)| *hash == wanted && *until > now)?;
        Some(open.remove(place).2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_works_once_and_not_for_long() {
        let links = Links::default();
        let now = Instant::now();
        let code = links.make(Role::Admin, now);
        assert_eq!(links.take("other", now), None);
        assert_eq!(links.take(&code, now), Some(Role::Admin));
        assert_eq!(links.take(&code, now), None);
        let late = links.make(Role::Admin, now);
        assert_eq!(links.take(&late, now + LINK_WORKS), None);
    }
}
