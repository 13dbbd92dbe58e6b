//! `cargo xtask tidy`: the rules of the house that the compiler doesn't know.
//!
//! Each rule is a function from the tree to findings, in a module of its own. A finding that has to
//! be lived with stands in `xtask/tidy-allow.txt` with its reason; that file is a ratchet: an entry
//! that is no longer needed, or larger than needed, is itself a finding. It is also run as a test.
//! Absent: what rustfmt, rustc and clippy check already.

mod allow;
mod docs;
mod edges;
mod leftovers;
mod modules;
mod purity;
mod size;
mod source;
mod tree;
mod words;

use std::fmt;
use std::path::Path;

use tree::Tree;

/// Something that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The file, from the root.
    path: String,
    /// The line, from 1; 0 = the whole file.
    line: usize,
    /// The rule's name, as in the allow file.
    rule: &'static str,
    /// What in the file it is about (a function, a word); part of what the allow file names.
    item: String,
    /// How large it is, for rules about sizes.
    size: Option<u64>,
    /// What is wrong, and what to do.
    message: String,
}

impl Finding {
    fn new(
        rule: &'static str,
        path: &str,
        line: usize,
        item: &str,
        message: impl Into<String>,
    ) -> Self {
        let (path, item) = (path.to_owned(), item.to_owned());
        Self { path, line, rule, item, size: None, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { path, line, rule, message, .. } = self;
        match line {
            0 => write!(f, "{path}: {message} [{rule}]"),
            line => write!(f, "{path}:{line}: {message} [{rule}]"),
        }
    }
}

type Rule = fn(&Tree) -> Vec<Finding>;

const RULES: &[Rule] = &[
    size::check,
    edges::check,
    purity::check,
    words::check,
    leftovers::check,
    modules::check,
    docs::check,
];

/// Checks the tree at `root` and prints what it finds.
pub fn run(root: &Path) -> Result<(), String> {
    let (findings, files) = check(root)?;
    for finding in &findings {
        eprintln!("{finding}");
    }
    match findings.len() {
        0 => {
            eprintln!("tidy: {files} files are tidy");
            Ok(())
        }
        n => Err(format!(
            "{n} finding(s); mend them, or add a line with a reason to {}",
            allow::FILE
        )),
    }
}

fn check(root: &Path) -> Result<(Vec<Finding>, usize), String> {
    let tree = Tree::read(root)?;
    let findings = RULES.iter().flat_map(|rule| rule(&tree)).collect();
    let allowed = tree.text(allow::FILE).unwrap_or_default();
    let mut findings = allow::apply(allowed, findings);
    findings.sort();
    Ok((findings, tree.files.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_tidy() {
        let (findings, _) = check(&crate::root()).expect("the tree can be read");
        let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert!(lines.is_empty(), "{}", lines.join("\n"));
    }
}
