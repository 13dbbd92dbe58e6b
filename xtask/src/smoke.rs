//! `cargo xtask smoke`: the templates that do real work, served by the real binary for real minutes.

use std::path::Path;

use crate::{command, test};

/// Minutes, when nobody says.
const MINUTES: &str = "3";

/// Runs the smoke tests, which are left out of all others; `--minutes N` says for how long.
pub fn run(root: &Path, args: &[String]) -> Result<(), String> {
    let minutes = match args {
        [] => MINUTES,
        [flag, minutes] if flag == "--minutes" => minutes,
        other => return Err(format!("unknown options {other:?}; see `cargo xtask help`")),
    };
    if !minutes.parse::<f64>().is_ok_and(|minutes| (0.5..=600.0).contains(&minutes)) {
        return Err(format!("--minutes {minutes}: a number from 0.5 to 600 is wanted"));
    }
    let missing = test::set_up(root)?;
    let mut tests = test::runner(root);
    tests.args(["--package", "moa", "--test", "it"]);
    // Figures are printed, and both runners name what is ignored in their own way.
    match command::exists("cargo-nextest") {
        true => tests.args(["--run-ignored", "only", "--no-capture", "smoke::"]),
        false => tests.args(["smoke::", "--", "--ignored", "--nocapture"]),
    };
    tests.env("MOA_SMOKE_MINUTES", minutes);
    let done = command::run(tests);
    for line in &missing {
        eprintln!("left out: {line}");
    }
    done
}
