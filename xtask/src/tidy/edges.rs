//! Which crate may know which: core <- ports <- {sqlite, connectors, engine} <- view <- server <- moa;
//! spec <- moa; sim -> core, ports, engine. Nobody but the binary, the benches and the tests of the binary knows
//! a store. And what the core may depend on at all.

use super::Finding;
use super::tree::Tree;

const RULE: &str = "edges";

/// A crate and the crates of this workspace that it may depend on.
const EDGES: &[(&str, &[&str])] = &[
    ("moa-core", &[]),
    ("moa-spec", &["moa-core"]),
    ("moa-ports", &["moa-core"]),
    ("moa-sqlite", &["moa-core", "moa-ports"]),
    ("moa-connectors", &["moa-core", "moa-ports"]),
    ("moa-engine", &["moa-core", "moa-ports"]),
    ("moa-sim", &["moa-core", "moa-ports", "moa-engine"]),
    ("moa-view", &["moa-core", "moa-ports", "moa-engine"]),
    ("moa-server", &["moa-core", "moa-ports", "moa-engine", "moa-view"]),
    ("moa", MOA),
    ("moa-bench", &["moa-core", "moa-ports", "moa-sqlite", "moa-connectors", "moa-engine"]),
    ("moa-faults", &["moa-core", "moa-ports", "moa-sqlite"]),
    ("xtask", &[]),
];

/// What the binary puts together.
const MOA: &[&str] = &[
    "moa-core",
    "moa-spec",
    "moa-ports",
    "moa-sqlite",
    "moa-connectors",
    "moa-engine",
    "moa-view",
    "moa-server",
];

/// What tests may know beside that: they write their workflows as people do.
const TEST_EDGES: &[(&str, &str)] = &[("moa-engine", "moa-spec"), ("moa-sim", "moa-spec")];

/// What the pure core may use beside the standard library. More is a decision to be written down.
const CORE: &[&str] = &["blake3", "jiff", "regex-lite", "serde", "serde_json", "thiserror"];

/// Checks every `Cargo.toml` of the workspace.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    let manifests = tree.files.iter().filter(|f| f.path.ends_with("/Cargo.toml"));
    for (file, text) in manifests.filter_map(|f| Some((f, f.text.as_deref()?))) {
        let folder = file.path.trim_end_matches("/Cargo.toml");
        let folder = folder.rsplit('/').next().unwrap_or(folder);
        let Some((name, allowed)) = EDGES.iter().find(|(name, _)| *name == folder) else {
            let message = format!("{folder} is not in the table of crate edges (xtask tidy)");
            found.push(Finding::new(RULE, &file.path, 0, folder, message));
            continue;
        };
        for (line, used, dev) in dependencies(text) {
            let ours = used == "moa" || used.starts_with("moa-");
            let allowed_in_tests = dev && TEST_EDGES.contains(&(*name, used));
            if ours && !allowed.contains(&used) && !allowed_in_tests {
                let message = format!("{name} must not depend on {used}");
                found.push(Finding::new(RULE, &file.path, line, used, message));
            }
            if *name == "moa-core" && !ours && !dev && !CORE.contains(&used) {
                let message = format!("the core depends on {} and nothing else", CORE.join(", "));
                found.push(Finding::new(RULE, &file.path, line, used, message));
            }
        }
    }
    found
}

/// The keys of all dependency tables: line, name, whether only tests use it.
fn dependencies(text: &str) -> Vec<(usize, &str, bool)> {
    let mut found = Vec::new();
    let mut table = "";
    for (i, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[') {
            table = header.trim_end_matches(']');
            // `[dependencies.serde]` names its key in the header.
            if let Some((_, key)) = table.split_once("dependencies.") {
                found.push((i + 1, key, table.contains("dev-")));
            }
        } else if table.ends_with("dependencies") && !line.starts_with('#') {
            let key = line.split(['.', '=', ' ']).next().unwrap_or_default();
            if !key.is_empty() {
                found.push((i + 1, key, table.contains("dev-")));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_against_the_direction_are_found() {
        let core = "[package]\nname = \"moa-core\"\n[dependencies]\nmoa-ports.workspace = true\n\
                    tokio = \"1\"\n[dev-dependencies]\nproptest = \"1\"\n";
        let sim = "[dependencies.moa-sqlite]\nworkspace = true\n";
        let tree = Tree::of(&[
            ("crates/moa-core/Cargo.toml", core),
            ("crates/moa-sim/Cargo.toml", sim),
            ("crates/moa-new/Cargo.toml", ""),
        ]);
        let items: Vec<_> = check(&tree).into_iter().map(|f| f.item).collect();
        assert_eq!(items, ["moa-ports", "tokio", "moa-sqlite", "moa-new"]);
    }
}
