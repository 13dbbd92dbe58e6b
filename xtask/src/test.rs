//! `cargo xtask test`: sets up what tests need and passes all tests.
//!
//! Uses nextest where it is installed (a process for each test, a summary at the end), else `cargo
//! test`. What had to be left out is printed before and after: tests say so themselves by writing a
//! file into the folder that `MOA_TEST_SKIPS` names.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{command, needs};

/// Runs the tests; what follows `--` in `args` goes to the test runner.
pub fn run(root: &Path, args: &[String]) -> Result<(), String> {
    let (own, passed) = match args.iter().position(|a| a == "--") {
        Some(at) => (&args[..at], &args[at + 1..]),
        None => (args, &[][..]),
    };
    let mut quick = false;
    for arg in own {
        match arg.as_str() {
            "--quick" => quick = true,
            other => return Err(format!("unknown option {other:?}; see `cargo xtask help`")),
        }
    }
    let missing = set_up(root)?;
    let (done, took) = command::timed("test", || {
        // The binary that is broken and judged is built with the tests of its own package; building
        // it alone would build its dependencies once more, with fewer features.
        let mut tests = runner(root);
        tests.arg("--workspace");
        if quick {
            tests.args(["--exclude", "moa-faults"]);
        }
        tests.args(passed);
        command::run(tests)
    });
    let skipped = skipped(root);
    for line in missing.iter().chain(&skipped) {
        eprintln!("left out: {line}");
    }
    if quick {
        eprintln!("left out: the tests of moa-faults, which kill the real binary (--quick)");
    }
    let all = missing.is_empty() && skipped.is_empty() && !quick;
    let how = if all { "all" } else { "all that could run" };
    done.map(|()| eprintln!("tests: {how} passed in {}", command::seconds(took)))
}

/// Provides what tests need. Answers what is missing, which in CI is an error.
pub fn set_up(root: &Path) -> Result<Vec<String>, String> {
    let mut missing = needs::provide();
    let target = target(root);
    for provided in [needs::provide_axe(&target), needs::provide_schemathesis(&target)] {
        missing.programs.extend(provided.err());
    }
    for line in missing.programs.iter().chain(&missing.rights) {
        eprintln!("{line}");
    }
    if missing.fatal {
        return Err("without that no test can run".into());
    }
    if needs::is_ci() && !missing.programs.is_empty() {
        return Err("in CI no program may be missing".into());
    }
    let folder = skips(root);
    // An earlier run's notes would be read as this run's.
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    }
    fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    Ok(missing.programs.into_iter().chain(missing.rights).collect())
}

/// The test runner: nextest where it is installed, else cargo's own.
pub fn runner(root: &Path) -> Command {
    let mut command = if command::exists("cargo-nextest") {
        command::cargo(root, &["nextest", "run", "--no-fail-fast"])
    } else {
        command::cargo(root, &["test", "--no-fail-fast"])
    };
    command.env("MOA_TEST_SKIPS", skips(root));
    command
}

/// What tests wrote about having left something out.
pub fn skipped(root: &Path) -> Vec<String> {
    let files = fs::read_dir(skips(root)).into_iter().flatten().flatten();
    let mut lines: Vec<String> = files
        .filter_map(|f| {
            let name = f.file_name().to_string_lossy().into_owned();
            let why = fs::read_to_string(f.path()).ok()?;
            Some(format!("{name}: {}", why.trim()))
        })
        .collect();
    lines.sort();
    lines
}

fn skips(root: &Path) -> PathBuf {
    target(root).join("test-skips")
}

/// Where cargo puts what it builds.
pub fn target(root: &Path) -> PathBuf {
    root.join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}
