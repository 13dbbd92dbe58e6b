//! `cargo xtask faults`: the tests that kill the real binary, on their own.

use std::path::Path;

use crate::{command, test};

/// Runs the fault tests; with `--all` every crash point instead of a sample.
pub fn run(root: &Path, args: &[String]) -> Result<(), String> {
    let mut all = false;
    for arg in args {
        match arg.as_str() {
            "--all" => all = true,
            other => return Err(format!("unknown option {other:?}; see `cargo xtask help`")),
        }
    }
    let missing = test::set_up(root)?;
    command::run(command::cargo(root, &["build", "--package", "moa"]))?;
    let mut tests = test::runner(root);
    tests.args(["--package", "moa-faults"]);
    if all {
        tests.env("MOA_FAULTS_ALL", "1");
    }
    let done = command::run(tests);
    for line in missing.iter().chain(&test::skipped(root)) {
        eprintln!("left out: {line}");
    }
    done
}
