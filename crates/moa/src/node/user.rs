//! Which user a node runs as: agents have every right that it has, so not root unless asked for.

use std::path::Path;

use crate::exit::Failure;

/// What is said about the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Fine,
    /// It is root, and may be.
    Warn,
    /// It is root, and nobody asked for that.
    Refuse,
}

/// Judges the user of this process.
pub fn judge(allowed: bool) -> Verdict {
    verdict(rustix::process::geteuid().is_root(), allowed, in_container())
}

fn verdict(root: bool, allowed: bool, container: bool) -> Verdict {
    match (root, allowed || container) {
        (false, _) => Verdict::Fine,
        // In a container root is what most have, and it is fenced in.
        (true, true) => Verdict::Warn,
        (true, false) => Verdict::Refuse,
    }
}

/// Whether this is a container, as far as its maker says so.
pub fn in_container() -> bool {
    let marked = ["/.dockerenv", "/run/.containerenv"].iter().any(|path| Path::new(path).exists());
    let told = ["container", "KUBERNETES_SERVICE_HOST"];
    marked || told.iter().any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

/// The words of the warning.
pub const WARNING: &str = "this is root: agents have every right on this machine";

/// The refusal.
pub fn refusal() -> Failure {
    Failure::refused("this is root, and agents would have every right on this machine")
        .hint("run it as a user of its own: `useradd --system moa`, then `sudo -u moa moa up`")
        .hint("or allow it: --allow-root, MOA_ALLOW_ROOT=true, `allow_root: true` in moa.yaml")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_refused_unless_asked_for_or_fenced_in() {
        assert_eq!(verdict(false, false, false), Verdict::Fine);
        assert_eq!(verdict(true, false, false), Verdict::Refuse);
        assert_eq!(verdict(true, true, false), Verdict::Warn);
        assert_eq!(verdict(true, false, true), Verdict::Warn);
    }
}
