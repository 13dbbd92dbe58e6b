//! One word for one thing: synonyms that this project does not use, in names and in prose; and
//! paths that exist on one machine only.

use super::Finding;
use super::tree::{File, Tree};

/// What isn't said, and what is said instead. Lower case, words apart: `dead letter` stands for
/// `dead_letter`, `DeadLetter` and `dead-letters` alike.
const SYNONYMS: &[(&str, &str)] = &[
    ("dag", "workflow"),
    ("saga", "workflow, or compensation"),
    ("workflow instance", "run"),
    ("workflow execution", "run"),
    ("workflow invocation", "run"),
    ("run instance", "run"),
    ("work item", "task"),
    ("retry count", "attempt"),
    ("dead letter", "dead"),
    ("permanently failed", "dead, or failed for good"),
    ("visibility timeout", "lease"),
    ("lease timeout", "lease"),
    ("nack", "release, or fail"),
    ("dedupe id", "idempotency key"),
    ("dedup key", "idempotency key"),
    ("idempotence key", "idempotency key"),
    ("request id", "idempotency key"),
    ("cron job", "schedule"),
    ("delayed job", "timer"),
    ("audit trail", "history, or audit log"),
    ("event log", "history"),
    ("event sourcing", "events and their fold"),
    ("task executor", "worker"),
    ("task runner", "worker"),
    ("job queue", "queue"),
];

/// Folders of one machine. Pieced together, so that this file is none of its own findings.
const MACHINE: &[&str] = &[
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
    concat!("/wo", "rk/"),
    concat!("/fa", "rm/"),
];

/// Checks words in Rust and Markdown, and machine paths in every text file.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for (file, text) in tree.files.iter().filter_map(|f| Some((f, f.text.as_deref()?))) {
        let spoken = speaks(file);
        for (i, line) in text.lines().enumerate() {
            if spoken {
                found.extend(synonyms(&file.path, i + 1, line));
            }
            found.extend(machine_paths(&file.path, i + 1, line));
        }
    }
    found
}

/// Whether the file is our own words: templates hold what users of other systems wrote, and this
/// file holds the list itself.
fn speaks(file: &File) -> bool {
    let ours = file.path.ends_with(".rs") || file.path.ends_with(".md");
    ours && !file.path.starts_with("templates/") && file.path != "xtask/src/tidy/words.rs"
}

fn synonyms(path: &str, number: usize, line: &str) -> Vec<Finding> {
    let words = apart(line);
    let fits = |(said, instead): &(&'static str, &'static str)| {
        let whole = words.contains(&format!(" {said} ")) || words.contains(&format!(" {said}s "));
        whole.then(|| {
            let message = format!("we don't say {said:?}, but {instead}");
            Finding::new("words", path, number, &said.replace(' ', "-"), message)
        })
    };
    SYNONYMS.iter().filter_map(fits).collect()
}

fn machine_paths(path: &str, number: usize, line: &str) -> Vec<Finding> {
    let fits = |folder: &&'static str| {
        line.match_indices(*folder).find_map(|(at, _)| {
            // Inside a longer path it is just a folder of that name.
            let before = line[..at].chars().next_back();
            let inside = before.is_some_and(|c| c.is_alphanumeric() || "._-~}$*/)".contains(c));
            let message = format!("`{folder}` is a folder of one machine");
            (!inside).then(|| Finding::new("machine-paths", path, number, folder, message))
        })
    };
    MACHINE.iter().filter_map(fits).collect()
}

/// The words of a line in lower case between single spaces; names are cut at `_` and at humps.
fn apart(line: &str) -> String {
    let mut words = String::from(" ");
    let mut last = ' ';
    for c in line.chars() {
        let hump = c.is_uppercase() && last.is_lowercase();
        if (hump || !c.is_alphanumeric()) && !words.ends_with(' ') {
            words.push(' ');
        }
        if c.is_alphanumeric() {
            words.extend(c.to_lowercase());
        }
        last = c;
    }
    if !words.ends_with(' ') {
        words.push(' ');
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_into_words() {
        assert_eq!(apart("a DeadLetter x_y, Z"), " a dead letter x y z ");
    }

    #[test]
    fn synonyms_are_found_in_names_and_prose() {
        let text = "/// A DAG of steps.\nfn retry_count() {}\nlet dagger = 1; // sagas\n";
        let tree = Tree::of(&[("crates/a/src/a.rs", text), ("templates/x/a.rs", text)]);
        let items: Vec<_> = check(&tree).into_iter().map(|f| (f.line, f.item)).collect();
        let want = [(1, "dag"), (2, "retry-count"), (3, "saga")];
        assert_eq!(items, want.map(|(line, item)| (line, item.to_owned())));
    }

    #[test]
    fn paths_of_one_machine_are_found() {
        let text = format!("see {} and .moa/work/x\n", concat!("/wo", "rk/main"));
        let found = check(&Tree::of(&[("docs/a.txt", &text)]));
        assert_eq!(found.len(), 1);
    }
}
