//! `cargo xtask bench`: builds the release binary and the bench program, and runs it.

use std::path::Path;
use std::process::Command;

use crate::{command, test};

/// Builds and runs the benches; `args` go to the bench program.
pub fn run(root: &Path, args: &[String]) -> Result<(), String> {
    let build = ["build", "--release", "--package", "moa", "--package", "moa-bench", "--bins"];
    command::run(command::cargo(root, &build))?;
    // Started directly: `cargo run` of one package would build what both share once more.
    let mut bench = Command::new(test::target(root).join("release/moa-bench"));
    bench.current_dir(root);
    bench.args(args);
    command::run(bench)
}
