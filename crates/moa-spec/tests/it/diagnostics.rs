//! What people are told about their mistakes: each file of `data/bad`, rendered.

use std::fs;
use std::path::Path;

use moa_core::ids::Name;
use moa_spec::{Diagnostic, Source, parse_agents, parse_settings, parse_workflow, render};

fn bad(folder: &str, diagnose: impl Fn(&Source, &Name) -> Vec<Diagnostic>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/bad").join(folder);
    let mut files: Vec<_> = fs::read_dir(root).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let stem = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let source =
            Source::new(format!("{folder}/{stem}.yaml"), fs::read_to_string(&file).unwrap());
        let diagnostics = diagnose(&source, &Name::new(&stem).unwrap());
        assert!(!diagnostics.is_empty(), "{stem} has no mistakes");
        let shown = render(&diagnostics, &[source], false);
        insta::with_settings!({snapshot_path => "../data/bad/snapshots", prepend_module_to_snapshot => false}, {
            insta::assert_snapshot!(format!("{folder}_{stem}"), shown);
        });
    }
}

#[test]
fn workflows() {
    bad("workflows", |source, id| parse_workflow(source, id).1);
}

#[test]
fn agents() {
    bad("agents", |source, id| parse_agents(source, id).1);
}

#[test]
fn settings() {
    bad("settings", |source, _| parse_settings(source).1);
}

#[test]
fn colours_only_when_asked() {
    let source = Source::new("x.yaml", "stps: []\n");
    let (_, diagnostics) = parse_workflow(&source, &Name::new("x").unwrap());
    let sources = [source];
    assert!(!render(&diagnostics, &sources, false).contains('\x1b'));
    assert!(render(&diagnostics, &sources, true).contains("\x1b[1;31merror"));
}

#[test]
fn a_missing_source_costs_only_the_excerpt() {
    let source = Source::new("x.yaml", "stps: []\n");
    let (_, diagnostics) = parse_workflow(&source, &Name::new("x").unwrap());
    let shown = render(&diagnostics, &[], false);
    assert!(shown.contains("x.yaml:1:1") && !shown.contains("stps: []"), "{shown}");
}
