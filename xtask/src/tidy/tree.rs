//! The files of the repository, read once.

use std::fs;
use std::path::Path;

use super::source::Source;
use crate::command;

/// A file of the repository.
pub struct File {
    /// Its path from the root, with `/`.
    pub path: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its text, when it is text.
    pub text: Option<String>,
    /// Its parts, when it is Rust.
    pub source: Option<Source>,
}

/// All files that are, or would be, under version control.
pub struct Tree {
    /// The files in order of their paths.
    pub files: Vec<File>,
}

impl Tree {
    /// Reads the files below `root`.
    pub fn read(root: &Path) -> Result<Self, String> {
        let mut paths = listed_by_git(root).unwrap_or_else(|| walked(root));
        paths.sort();
        paths.dedup();
        let files = paths.iter().filter_map(|path| read(root, path)).collect();
        Ok(Self { files })
    }

    /// A tree of the given files, for tests of rules.
    #[cfg(test)]
    pub fn of(files: &[(&str, &str)]) -> Self {
        let files = files.iter().map(|(path, text)| File::new(path, text.as_bytes().to_vec()));
        Self { files: files.collect() }
    }

    /// The text of the file at `path`.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.files.iter().find(|f| f.path == path)?.text.as_deref()
    }

    /// The Rust files.
    pub fn rust(&self) -> impl Iterator<Item = (&File, &Source)> {
        self.files.iter().filter_map(|f| Some((f, f.source.as_ref()?)))
    }

    /// Whether there is a file or a folder at `path`.
    pub fn has(&self, path: &str) -> bool {
        let folder = format!("{path}/");
        self.files.iter().any(|f| f.path == path || f.path.starts_with(&folder))
    }
}

impl File {
    fn new(path: &str, bytes: Vec<u8>) -> Self {
        let size = bytes.len() as u64;
        let text = String::from_utf8(bytes).ok();
        let rust = path.ends_with(".rs");
        let source = text.as_deref().filter(|_| rust).map(Source::new);
        Self { path: path.to_owned(), bytes: size, text, source }
    }
}

/// A file that is listed but gone (deleted, not yet committed) is no file.
fn read(root: &Path, path: &str) -> Option<File> {
    let bytes = fs::read(root.join(path)).ok()?;
    Some(File::new(path, bytes))
}

fn listed_by_git(root: &Path) -> Option<Vec<String>> {
    let args = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let listed = command::output(root, "git", &args)?;
    let paths: Vec<String> =
        listed.split('\0').filter(|p| !p.is_empty()).map(str::to_owned).collect();
    (!paths.is_empty()).then_some(paths)
}

/// Where there is no git, or no repository (an unpacked archive): everything but what is built.
fn walked(root: &Path) -> Vec<String> {
    let mut paths = Vec::new();
    let mut open = vec![String::new()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(root.join(&folder)).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
            let built = ["target", ".git", ".moa", "moa-demo"].contains(&name.as_str());
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && !built => open.push(path),
                Ok(kind) if kind.is_file() => paths.push(path),
                _ => {}
            }
        }
    }
    paths
}
