//! Leaving out a test so that it is seen: `cargo xtask test` prints what stands here.

use std::fs;
use std::path::{Path, PathBuf};

/// Says that a test is left out, and why.
pub fn skip(test: &str, why: &str) {
    println!("left out: {test}: {why}");
    if let Some(folder) = std::env::var_os("MOA_TEST_SKIPS") {
        let file = PathBuf::from(folder).join(test);
        fs::write(&file, why).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    }
}

/// Whether a program is there; if not, the test is left out.
pub fn needs(test: &str, program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let beside = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let there = std::env::split_paths(&path).chain(beside).any(|dir| dir.join(program).is_file());
    if !there {
        skip(test, &format!("{program} is missing"));
    }
    there
}

/// Whether this is root; if not, the test is left out.
pub fn needs_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skip(test, "only root can mount file systems");
    }
    root
}

/// Whether every crash point is asked for, and not a sample.
pub fn all_of_them() -> bool {
    std::env::var_os("MOA_FAULTS_ALL").is_some()
}

/// A folder for a test on the disk that the build is on (`/tmp` may be memory).
pub fn disk() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}
