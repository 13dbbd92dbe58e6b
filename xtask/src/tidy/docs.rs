//! Documents that must fit something else: a page for every error code, links that lead somewhere,
//! change notes of one form, a table of contents that names every page.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use super::tree::{File, Tree};

/// The list of decisions.
const DECISIONS: &str = "docs/decisions/README.md";

/// Checks pages of error codes, change notes, links and tables of contents.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut found = error_pages(tree);
    for (file, text) in tree.files.iter().filter_map(|f| Some((f, f.text.as_deref()?))) {
        if !file.path.ends_with(".md") || file.path.starts_with("templates/") {
            continue;
        }
        found.extend(links(tree, &file.path, text));
        let note = file.path.strip_prefix("changes/").is_some_and(|n| n != "README.md");
        if note {
            found.extend(change_note(&file.path, text));
        }
        if file.path == DECISIONS || file.path.ends_with("/SUMMARY.md") {
            found.extend(contents(tree, &file.path, text));
        }
    }
    found
}

/// Every code has a page, every page a code.
fn error_pages(tree: &Tree) -> Vec<Finding> {
    let mut used: BTreeMap<String, (&File, usize)> = BTreeMap::new();
    for (file, _) in tree.rust().filter(|(f, _)| f.path.contains("/src/")) {
        for (i, line) in file.text.as_deref().unwrap_or_default().lines().enumerate() {
            for code in codes(line) {
                used.entry(code).or_insert((file, i + 1));
            }
        }
    }
    let page = |f: &&File| f.path.contains("/pages/") && f.path.ends_with(".md");
    let pages: BTreeMap<String, &File> = tree
        .files
        .iter()
        .filter(page)
        .filter_map(|f| Some((codes(f.path.rsplit('/').next()?).into_iter().next()?, f)))
        .collect();
    let mut found = Vec::new();
    for (code, (file, line)) in used.iter().filter(|(code, _)| !pages.contains_key(*code)) {
        let message = format!("{code} has no page (pages/{code}.md)");
        found.push(Finding::new("error-pages", &file.path, *line, code, message));
    }
    for (code, file) in pages.iter().filter(|(code, _)| !used.contains_key(*code)) {
        let message = format!("no code {code} is used");
        found.push(Finding::new("error-pages", &file.path, 0, code, message));
    }
    found
}

/// The codes (`MOA` and four digits) in a line.
fn codes(line: &str) -> Vec<String> {
    let is_code = |at: usize| {
        let rest = &line.as_bytes()[at + 3..];
        rest.len() >= 4
            && rest[..4].iter().all(u8::is_ascii_digit)
            && !rest.get(4).is_some_and(u8::is_ascii_digit)
    };
    let starts = line.match_indices("MOA").map(|(at, _)| at);
    starts.filter(|at| is_code(*at)).map(|at| line[at..at + 7].to_owned()).collect()
}

/// A change note: a title, what it means for users, and what they have to do.
fn change_note(path: &str, text: &str) -> Vec<Finding> {
    let mut wrong = Vec::new();
    let name = path.trim_start_matches("changes/").trim_end_matches(".md");
    if !name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-') {
        wrong.push("the file's name is words in lower case, joined by `-`".to_owned());
    }
    if !text.starts_with("# ") {
        wrong.push("the first line is `# What changed`".to_owned());
    }
    for section in ["## Impact on users", "## Migration"] {
        let body = text.split_once(section).map(|(_, rest)| rest.split("\n## ").next());
        if body.flatten().is_none_or(|b| b.trim().is_empty()) {
            wrong.push(format!("`{section}` is missing or empty (write \"None.\" if so)"));
        }
    }
    wrong.into_iter().map(|m| Finding::new("change-notes", path, 0, "", m)).collect()
}

/// Links to files lead to files.
fn links(tree: &Tree, path: &str, text: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    for (i, target) in targets(text) {
        let file = target.split(['#', '?']).next().unwrap_or_default();
        let foreign = target.contains("://") || target.starts_with("mailto:") || file.is_empty();
        let resolved = resolve(path, file);
        if !foreign && !resolved.as_deref().is_some_and(|r| r.is_empty() || tree.has(r)) {
            let message = format!("the link {target:?} leads nowhere");
            found.push(Finding::new("links", path, i, target, message));
        }
    }
    found
}

/// The targets of links outside of code blocks and code spans, with their lines.
fn targets(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (i, line) in text.lines().enumerate() {
        fenced ^= line.trim_start().starts_with("```");
        if fenced {
            continue;
        }
        for (at, _) in line.match_indices("](") {
            let quoted = line[..at].matches('`').count() % 2 == 1;
            let rest = &line[at + 2..];
            if let Some(end) = rest.find([')', ' ']).filter(|_| !quoted) {
                found.push((i + 1, rest[..end].trim_matches(['<', '>'])));
            }
        }
    }
    found
}

/// `link`, seen from the file `from`, as a path from the root; `None` when it leads outside.
fn resolve(from: &str, link: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in link.trim_end_matches('/').split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// A book's table of contents names every page of the book.
fn contents(tree: &Tree, path: &str, text: &str) -> Vec<Finding> {
    let folder = path.trim_end_matches("SUMMARY.md").trim_end_matches("README.md");
    let named: BTreeSet<String> =
        targets(text).into_iter().filter_map(|(_, target)| resolve(path, target)).collect();
    let pages = tree.files.iter().filter(|f| f.path.starts_with(folder));
    let pages = pages.filter(|f| f.path.ends_with(".md") && f.path != path);
    let message = format!("{path} doesn't name this page: nobody will find it");
    pages
        .filter(|f| !named.contains(&f.path))
        .map(|f| Finding::new("contents", &f.path, 0, "", message.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(files: &[(&str, &str)]) -> Vec<(&'static str, String)> {
        check(&Tree::of(files)).into_iter().map(|f| (f.rule, f.message)).collect()
    }

    #[test]
    fn codes_and_pages_go_together() {
        let code = concat!("A = \"MO", "A0001\", B = \"MO", "A0002\", MO", "A00031\n");
        let found = rules(&[("crates/a/src/a.rs", code), ("crates/a/src/pages/MOA0001.md", "x")]);
        assert_eq!(found.len(), 1, "{found:?}");
        let found = rules(&[("crates/a/src/pages/MOA0001.md", "x")]);
        assert_eq!(found.len(), 1, "{found:?}");
    }

    #[test]
    fn links_lead_to_files() {
        let text = "[a](b.md#x) [c](../README.md) [d](https://x.y) [e](no.md) `[f](no)`\n\
                    ```\n[g](no)\n```\n";
        let found = rules(&[("docs/a.md", text), ("docs/b.md", ""), ("README.md", "")]);
        assert_eq!(found, [("links", "the link \"no.md\" leads nowhere".to_owned())]);
    }

    #[test]
    fn change_notes_have_one_form() {
        let good = "# Runs can fork\n\n## Impact on users\n\nThey can.\n\n## Migration\n\nNone.\n";
        assert_eq!(rules(&[("changes/runs-can-fork.md", good)]), []);
        let bad = "Runs can fork\n\n## Impact on users\n\n## Migration\n";
        assert_eq!(rules(&[("changes/Fork.md", bad)]).len(), 4);
    }

    #[test]
    fn the_table_of_contents_is_whole() {
        let files = [("docs/SUMMARY.md", "- [A](a.md)\n"), ("docs/a.md", ""), ("docs/b/c.md", "")];
        let found = rules(&files);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].0, "contents");
    }
}
