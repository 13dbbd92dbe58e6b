//! What the pure parts must not touch: clocks, chance, threads, files, async; and in the core also
//! collections whose order is different at every start. Simulation and replay stand on it.

use super::Finding;
use super::source::find_whole;
use super::tree::Tree;

const RULE: &str = "purity";

/// Path prefixes of pure code.
const PURE: &[&str] = &[CORE, "crates/moa-engine/src/node.rs", "crates/moa-engine/src/node/"];
const CORE: &str = "crates/moa-core/src/";

const FORBIDDEN: &[(&str, &str)] = &[
    ("Instant::now", "time is an argument"),
    ("SystemTime::now", "time is an argument"),
    ("Timestamp::now", "time is an argument"),
    ("Zoned::now", "time is an argument"),
    ("rand::", "chance is a hash of ids"),
    ("RandomState", "its order differs between starts"),
    ("std::thread", "no threads"),
    ("std::fs", "no I/O"),
    ("std::net", "no I/O"),
    ("std::env", "settings are arguments"),
    ("std::process", "no I/O"),
    ("stdin()", "no I/O"),
    ("stdout()", "no I/O"),
    ("stderr()", "no I/O"),
    ("tokio", "no async"),
    ("async fn", "no async"),
    (".await", "no async"),
    ("println!", "no I/O"),
    ("eprintln!", "no I/O"),
];

/// In the core, which is replayed by others. The node machine looks up by key only.
const UNORDERED: &[(&str, &str)] = &[
    ("HashMap", "its order differs between starts; use BTreeMap"),
    ("HashSet", "its order differs between starts; use BTreeSet"),
];

/// Checks the pure parts.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    let pure = |path: &str| PURE.iter().any(|p| path.starts_with(p));
    for (file, source) in tree.rust().filter(|(f, _)| pure(&f.path)) {
        for (i, line) in source.code.lines().enumerate() {
            let unordered = UNORDERED.iter().filter(|_| file.path.starts_with(CORE));
            for (what, why) in FORBIDDEN.iter().chain(unordered) {
                if find_whole(line, what).is_some() {
                    let message = format!("`{what}` in pure code: {why}");
                    found.push(Finding::new(RULE, &file.path, i + 1, what, message));
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impure_code_is_found_and_prose_is_not() {
        let text = "//! No HashMap here.\nuse std::collections::HashMap;\nlet s = \"tokio\";\n\
                    let t = Instant::now();\nlet brand = brand::x();\n";
        let tree = Tree::of(&[("crates/moa-core/src/a.rs", text), ("crates/moa/src/a.rs", text)]);
        let items: Vec<_> = check(&tree).into_iter().map(|f| (f.line, f.item)).collect();
        assert_eq!(items, [(2, "HashMap".to_owned()), (4, "Instant::now".to_owned())]);
    }
}
