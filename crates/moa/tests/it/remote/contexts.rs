//! Nodes with names, and which one a command talks to.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use super::{Elsewhere, shop};
use crate::project::Said;

fn said(mut command: std::process::Command) -> Said {
    command.output().expect("it can be started").into()
}

#[test]
fn contexts_are_kept_and_chosen_in_their_order() {
    let project = shop();
    let node = project.up();
    let there = Elsewhere::new(&project, &node, "viewer");
    let call = |args: &[&str]| said(there.bare(args));
    // A token from another program, by its standard input.
    let mut add = there.bare(&["context", "add", "prod", "--url", &there.url, "--token-file", "-"]);
    let mut child = add.stdin(Stdio::piped()).spawn().expect("it can be started");
    let mut stdin = child.stdin.take().expect("it is piped");
    writeln!(stdin, "{}", there.token).expect("it reads");
    drop(stdin);
    assert!(child.wait().expect("it ends").success());
    let file = there.path(".config/moa/contexts.yaml");
    let mode = std::fs::metadata(&file).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    call(&["runs", "list"]).expect(4);
    call(&["runs", "list", "--context", "prod"]).expect(0);
    call(&["context", "add", "lab", "--url", "http://127.0.0.1:9", "--use"]).expect(0);
    call(&["runs", "list"]).expect(6);
    let listed = call(&["context", "list", "--json"]).expect(0).json();
    let marks: Vec<_> = listed.as_array().expect("a list").iter().map(|c| &c["current"]).collect();
    assert_eq!(marks, [true, false]);
    assert!(!listed.to_string().contains(&there.token), "{listed}");

    // The environment is before the current context, a flag before the environment.
    let mut command = there.bare(&["runs", "list"]);
    command.env("MOA_CONTEXT", "prod");
    said(command).expect(0);
    let mut command = there.bare(&["context", "show", "--context", "prod", "--json"]);
    command.env("MOA_URL", "http://127.0.0.1:9");
    let shown = said(command).expect(0).json();
    assert_eq!(shown["url"], there.url);
    assert_eq!((&shown["by"], &shown["role"]), (&"--context (prod)".into(), &"viewer".into()));
    // A token of the environment is not for a context that has its own.
    let mut command = there.bare(&["runs", "list", "--context", "prod"]);
    command.env("MOA_TOKEN", "another");
    said(command).expect(0);
    // Nor for one that has none; and a proxy gets no token for this machine.
    let url = there.url.as_str();
    call(&["context", "add", "bare", "--url", url]).expect(0);
    let mut command = there.bare(&["runs", "list", "--context", "bare"]);
    command.env("MOA_TOKEN", &there.token).env("http_proxy", "http://127.0.0.1:9");
    assert!(said(command).expect(5).err.contains("token"));
    let mut command = there.bare(&["runs", "list", "--url", url]);
    command.env("MOA_TOKEN", &there.token).env("http_proxy", "http://127.0.0.1:9");
    said(command).expect(0);
    call(&["context", "remove", "bare"]).expect(0);
    let mut command = there.bare(&["runs", "list", "--context", "local"]);
    command.current_dir(&project.root);
    said(command).expect(0);

    call(&["context", "use", "prod"]).expect(0);
    call(&["runs", "list"]).expect(0);
    call(&["runs", "list", "--context", "prd"]).expect(4);
    call(&["runs", "list", "--context", "prod", "--url", &there.url]).expect(2);
    call(&["context", "remove", "prod"]).expect(0);
    call(&["runs", "list"]).expect(4);
    let text = std::fs::read_to_string(&file).expect("it is there");
    assert!(!text.contains(&there.token), "{text}");
    call(&["context", "add", "local", "--url", "http://x"]).expect(2);

    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).expect("it is ours");
    assert!(call(&["runs", "list"]).expect(5).err.contains("chmod 600"));
}

#[test]
fn contexts_that_are_added_at_once_are_all_kept() {
    let there = Elsewhere::at("http://127.0.0.1:9", "t");
    let names: Vec<String> = (10..40).map(|n| format!("node-{n}")).collect();
    let add = |name: &String| {
        let args = ["context", "add", name, "--url", "http://127.0.0.1:9", "--token", "t"];
        there.bare(&args).spawn().expect("it can be started")
    };
    let added: Vec<_> = names.iter().map(add).collect();
    for mut child in added {
        assert!(child.wait().expect("it ends").success());
    }
    let listed = said(there.bare(&["context", "list", "--json"])).expect(0).json();
    let listed = listed.as_array().expect("a list").iter();
    assert_eq!(listed.map(|c| c["name"].clone()).collect::<Vec<_>>(), names);
    // What was written is whole, and for its user alone, as is what they wait for each other by.
    for file in std::fs::read_dir(there.path(".config/moa")).expect("a folder") {
        let file = file.expect("a file");
        let mode = file.metadata().expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{:?}", file.path());
    }
}

#[test]
fn what_is_of_this_machine_is_refused_elsewhere() {
    let there = Elsewhere::at("http://127.0.0.1:9", "t");
    for args in [
        &["up"][..],
        &["init", "x"],
        &["demo"],
        &["restore", "x"],
        &["service", "status"],
        &["workflows", "fmt"],
        &["test"],
    ] {
        let said = there.call(args).expect(5);
        let text = "works on a folder of its own machine, and not on http://127.0.0.1:9";
        assert!(said.err.contains(text), "{args:?}: {}", said.err);
        assert!(said.err.contains("chosen by MOA_URL"), "{args:?}: {}", said.err);
    }
    // A context that is merely the current one says nothing about this machine.
    let call = |args: &[&str]| said(there.bare(args));
    call(&["context", "add", "lab", "--url", "http://127.0.0.1:9", "--use"]).expect(0);
    call(&["init", "x"]).expect(0);
    // What a node elsewhere can do is asked of that one.
    let asked = call(&["backup", "x.tar"]).expect(6);
    assert!(asked.err.contains("chosen by the current context (lab)"), "{}", asked.err);
}
