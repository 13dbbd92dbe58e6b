//! `cargo xtask bench`: builds the release binary and the bench program, and runs it.

use std::path::Path;

use crate::command;

/// Builds and runs the benches; `args` go to the bench program.
pub fn run(root: &Path, args: &[String]) -> Result<(), String> {
    let build = ["build", "--release", "--package", "moa", "--package", "moa-bench", "--bins"];
    command::run(command::cargo(root, &build))?;
    let mut bench =
        command::cargo(root, &["run", "--release", "--quiet", "--package", "moa-bench", "--"]);
    bench.args(args);
    command::run(bench)
}
