//! Nothing is too large to be read at once: functions, files, what is under version control.

use super::Finding;
use super::tree::Tree;

const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 800;
const FILE_BYTES_MAX: u64 = 500 << 10;

/// Checks the sizes of functions and files.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for (file, source) in tree.rust() {
        let lines = source.code.lines().count();
        if lines > FILE_LINES_MAX {
            let message = format!("{lines} lines; {FILE_LINES_MAX} is the limit: split it");
            let finding = Finding::new("file-lines", &file.path, 0, "", message);
            found.push(Finding { size: Some(lines as u64), ..finding });
        }
        for function in source.functions() {
            let (name, lines) = (&function.name, function.lines);
            if lines > FUNCTION_LINES_MAX {
                let limit = FUNCTION_LINES_MAX;
                let message = format!("{name} has {lines} lines; {limit} is the limit: split it");
                let finding =
                    Finding::new("function-lines", &file.path, function.line, name, message);
                found.push(Finding { size: Some(lines as u64), ..finding });
            }
        }
    }
    for file in tree.files.iter().filter(|f| f.bytes > FILE_BYTES_MAX) {
        let message = format!("{} bytes; {FILE_BYTES_MAX} is the limit", file.bytes);
        let finding = Finding::new("file-bytes", &file.path, 0, "", message);
        found.push(Finding { size: Some(file.bytes), ..finding });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_functions_and_files_are_found() {
        let body = "    x();\n".repeat(69);
        let long = format!("fn long() {{\n{body}}}\nfn short() {{}}\n");
        let file = "\n".repeat(801);
        let big = "x".repeat(513_000);
        let tree = Tree::of(&[("a.rs", &long), ("b.rs", &file), ("c.txt", &big)]);
        let found: Vec<_> = check(&tree).into_iter().map(|f| (f.rule, f.size)).collect();
        let want = [("function-lines", 71), ("file-lines", 801), ("file-bytes", 513_000)];
        assert_eq!(found, want.map(|(rule, size)| (rule, Some(size))));
    }
}
