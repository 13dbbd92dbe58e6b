//! `cargo xtask ci`: what a change must pass, in the order of what fails soonest.

use std::path::Path;
use std::time::Duration;

use crate::{command, test, tidy};

/// Runs every check; stops at the first that fails. Prints how long each took.
pub fn run(root: &Path) -> Result<(), String> {
    let mut times: Vec<(&str, Duration)> = Vec::new();
    let mut part = |name: &'static str, check: &dyn Fn() -> Result<(), String>| {
        let (done, took) = command::timed(name, check);
        times.push((name, took));
        done.map_err(|why| format!("{name} failed: {why}"))
    };
    let cargo = |args: &[&str]| command::run(command::cargo(root, args));

    part("format", &|| cargo(&["fmt", "--all", "--check"]))?;
    part("tidy", &|| tidy::run(root))?;
    part("lints", &|| {
        cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"])
    })?;
    part("docs", &|| {
        let args = ["doc", "--workspace", "--no-deps", "--document-private-items", "--quiet"];
        let mut doc = command::cargo(root, &args);
        // Private items are documented too, so links to them lead somewhere.
        doc.env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private-intra-doc-links");
        command::run(doc)
    })?;
    part("test", &|| test::run(root, &[]))?;

    let all: Duration = times.iter().map(|(_, took)| *took).sum();
    let each: Vec<String> =
        times.iter().map(|(name, took)| format!("{name} {}", command::seconds(*took))).collect();
    eprintln!("\nci: all passed in {} ({})", command::seconds(all), each.join(", "));
    Ok(())
}
