//! What was meant to go before the work was called done; and tests that wait by sleeping.

use super::Finding;
use super::source::{Source, find_whole};
use super::tree::Tree;

const RULE: &str = "leftovers";

/// In code: forms that mean unfinished. Pieced together where this file would find itself.
const CODE: &[(&str, &str)] = &[
    ("dbg!", "left from debugging"),
    ("todo!", "not written yet"),
    ("unimplemented!", "not written yet"),
    ("#[ignore", "a test that is not run; assert what holds today instead"),
];

/// In comments.
const PROSE: &[&str] =
    &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK")];

const SLEEPS: &[&str] = &["thread::sleep", "time::sleep"];

/// Checks Rust for leftovers, and tests for sleeps.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for (file, source) in tree.rust() {
        for (i, (code, prose)) in source.code.lines().zip(source.prose.lines()).enumerate() {
            for (what, why) in CODE.iter().filter(|(what, _)| find_whole(code, what).is_some()) {
                let message = format!("`{what}`: {why}");
                found.push(Finding::new(RULE, &file.path, i + 1, what, message));
            }
            for what in PROSE.iter().filter(|what| find_whole(prose, what).is_some()) {
                let message = format!("{what}: do it, or say what holds today and why");
                found.push(Finding::new(RULE, &file.path, i + 1, what, message));
            }
        }
        if file.path.contains("/tests/") {
            found.extend(sleeps(&file.path, source));
        }
    }
    found
}

fn sleeps(path: &str, source: &Source) -> Vec<Finding> {
    let lines = source.code.lines().enumerate();
    let slept = lines.filter(|(_, line)| SLEEPS.iter().any(|s| find_whole(line, s).is_some()));
    let message = "a sleep is no synchronisation: wait for what you wait for";
    slept.map(|(i, _)| Finding::new("sleeps", path, i + 1, "", message)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_are_found() {
        let note = concat!("// TO", "DO later");
        let text = format!("{note}\nfn a() {{ todo!(\"x\") }}\n#[ignore = \"slow\"]\nlet s = 1;");
        let found = check(&Tree::of(&[("src/a.rs", &text)]));
        let lines: Vec<_> = found.iter().map(|f| f.line).collect();
        assert_eq!(lines, [1, 2, 3]);
    }

    #[test]
    fn sleeps_are_found_in_tests_only() {
        let text = "fn a() { std::thread::sleep(x); }\n";
        let tree = Tree::of(&[("crates/a/tests/it/a.rs", text), ("crates/a/src/a.rs", text)]);
        let paths: Vec<_> = check(&tree).into_iter().map(|f| f.path).collect();
        assert_eq!(paths, ["crates/a/tests/it/a.rs"]);
    }
}
