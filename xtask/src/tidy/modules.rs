//! Every Rust file belongs to a crate, says what it is, and has a name that says something.
//!
//! rustc passes over a file that no `mod` names: a test file that was forgotten looks like one that
//! passes.

use super::Finding;
use super::source::find_whole;
use super::tree::{File, Tree};

/// Names that say nothing: a thing lives beside what it belongs to.
const EMPTY_NAMES: &[&str] = &["utils", "util", "common", "helpers", "helper", "types", "misc"];

/// Checks that files are declared, have a header and a telling name.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for (file, _) in tree.rust() {
        let Some((root, inner)) = split(&file.path) else { continue };
        let stem = inner.trim_end_matches("/mod.rs").trim_end_matches(".rs");
        let name = stem.rsplit('/').next().unwrap_or(stem);
        if EMPTY_NAMES.contains(&name) {
            let message = format!("{name:?} says nothing; name it after what is in it");
            found.push(Finding::new("module-names", &file.path, 0, name, message));
        }
        if !is_declared(tree, root, inner, stem, name) {
            let message = "no `mod` declares this file: it is never compiled";
            found.push(Finding::new("forgotten", &file.path, 0, name, message));
        }
        let header = file.text.as_deref().is_some_and(|t| t.trim_start().starts_with("//!"));
        if !header && root.ends_with("src") {
            let message = "no header: say in `//!` what it is, why, and what is absent";
            found.push(Finding::new("headers", &file.path, 1, name, message));
        }
    }
    found.extend(test_binaries(tree));
    found
}

/// Cuts a path into the folder of its crate's root file and the rest: `crates/x/src`, `a/b.rs`.
fn split(path: &str) -> Option<(&str, &str)> {
    ["/src/", "/tests/it/", "/benches/"].into_iter().find_map(|part| {
        let at = path.find(part)?;
        Some((&path[..at + part.len() - 1], &path[at + part.len()..]))
    })
}

fn is_declared(tree: &Tree, root: &str, inner: &str, stem: &str, name: &str) -> bool {
    let is_root = ["lib.rs", "main.rs"].contains(&inner) || inner.starts_with("bin/");
    if is_root || root.ends_with("benches") {
        return true;
    }
    let parents: Vec<String> = match stem.rsplit_once('/') {
        None => vec![format!("{root}/lib.rs"), format!("{root}/main.rs")],
        Some((above, _)) => vec![format!("{root}/{above}.rs"), format!("{root}/{above}/mod.rs")],
    };
    parents.iter().filter_map(|p| source(tree, p)).any(|parent| declares(parent, name))
}

fn source<'a>(tree: &'a Tree, path: &str) -> Option<&'a File> {
    tree.files.iter().find(|f| f.path == path)
}

fn declares(parent: &File, name: &str) -> bool {
    let code = parent.source.as_ref().map_or("", |s| s.code.as_str());
    let declared = format!("mod {name};");
    code.lines().any(|line| find_whole(line, &declared).is_some())
}

/// One test binary a crate: `tests/it/main.rs`. Others are linked one by one, which takes longer.
fn test_binaries(tree: &Tree) -> Vec<Finding> {
    let beside = tree.rust().filter(|(file, _)| {
        let mut parts = file.path.split('/').skip_while(|p| *p != "tests").skip(1);
        let own_binary = parts.next().is_some_and(|p| p.ends_with(".rs"));
        own_binary && file.path.starts_with("crates/")
    });
    let message = "one test binary a crate: make it a module of tests/it/main.rs";
    beside.map(|(file, _)| Finding::new("test-binaries", &file.path, 0, "", message)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgotten_files_are_found() {
        let tree = Tree::of(&[
            ("crates/a/src/lib.rs", "//! A.\nmod b;\npub mod c;\n// mod e;\n"),
            ("crates/a/src/b.rs", "//! B.\n"),
            ("crates/a/src/c/mod.rs", "//! C.\nmod d;\n"),
            ("crates/a/src/c/d.rs", "fn d() {}\n"),
            ("crates/a/src/e.rs", "//! E.\n"),
            ("crates/a/tests/it/main.rs", "mod x;\n"),
            ("crates/a/tests/it/x.rs", ""),
            ("crates/a/tests/it/y.rs", ""),
            ("crates/a/tests/z.rs", ""),
            ("crates/a/src/utils.rs", "//! U.\n"),
        ]);
        let found: Vec<_> = check(&tree).into_iter().map(|f| (f.rule, f.path)).collect();
        let want = [
            ("headers", "crates/a/src/c/d.rs"),
            ("forgotten", "crates/a/src/e.rs"),
            ("forgotten", "crates/a/tests/it/y.rs"),
            ("module-names", "crates/a/src/utils.rs"),
            ("forgotten", "crates/a/src/utils.rs"),
            ("test-binaries", "crates/a/tests/z.rs"),
        ];
        assert_eq!(found, want.map(|(rule, path)| (rule, path.to_owned())));
    }
}
