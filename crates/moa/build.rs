//! Embeds the project templates: a list of their files, each with its bytes and whether it is a
//! program. Made at build time, so that the binary needs nothing beside it.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let templates = root.join("../../templates").canonicalize().expect("templates/ is there");
    println!("cargo::rerun-if-changed={}", templates.display());
    let mut code = String::from("&[\n");
    for folder in entries(&templates).into_iter().filter(|path| path.is_dir()) {
        let name = folder.file_name().expect("it has a name").to_string_lossy().into_owned();
        let mut files = Vec::new();
        collect(&folder, &mut files);
        // Writing to a String can't fail.
        let _ = writeln!(code, "    Template {{ name: {name:?}, files: &[");
        for file in files {
            let path = file.strip_prefix(&folder).expect("it is inside").to_string_lossy();
            let mode = fs::metadata(&file).expect("it can be read").permissions().mode();
            let program = mode & 0o100 != 0;
            let _ = writeln!(
                code,
                "        File {{ path: {path:?}, program: {program}, bytes: include_bytes!({:?}) }},",
                file.to_string_lossy()
            );
        }
        code.push_str("    ] },\n");
    }
    code.push_str("]\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("templates.rs"), code).expect("the build folder can be written");
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let read = fs::read_dir(folder).expect("it can be read");
    let mut paths: Vec<PathBuf> = read.map(|e| e.expect("it can be read").path()).collect();
    paths.sort();
    paths
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for path in entries(folder) {
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}
