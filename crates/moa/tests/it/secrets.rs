//! Secrets that are needed and not there are found before anything starts.

use std::io::Write;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use serde_json::Value as Json;

use crate::project::{Node, Project, Said};
use crate::remote::Elsewhere;

const WORKFLOW: &str = r#"
steps:
  - {id: before, run: echo x >> count}
  - {id: mail, agent: mailer, action: send}
  - {id: use, run: "test \"$TOKEN\" = tok1", env: {TOKEN: "${{ secrets.API_TOKEN }}"}}
"#;

fn project() -> Project {
    let project = Project::with("send", WORKFLOW);
    project.workflow("whole", "steps:\n  - {workflow: send}\n");
    project.workflow("plain", "steps:\n  - {run: \"true\"}\n");
    project.write(
        "agents/mailer.yaml",
        "command: [sh, -c, 'test \"$P\" = hunter22']\nenv: {P: \"${{ secrets.MAIL_PASSWORD }}\"}\n",
    );
    project
}

#[test]
fn validate_warns_of_each_use_where_it_stands() {
    let project = project();
    let found = project.call(&["workflows", "validate", "--strict", "--json"]).expect(0).json();
    let found: Vec<String> = found
        .as_array()
        .expect("an array")
        .iter()
        .map(|d| format!("{} {}:{}", d["code"].as_str().unwrap_or("-"), d["path"], d["line"]))
        .collect();
    let expected = ["MOA0406 \"agents/mailer.yaml\":2", "MOA0406 \"workflows/send.yaml\":5"];
    assert_eq!(found, expected);
    let one = project.call(&["workflows", "validate", "workflows/plain.yaml"]).expect(0);
    assert!(one.err.contains("no mistakes"), "{}", one.err);
    project.write(".env", "API_TOKEN=tok1\nMAIL_PASSWORD=hunter22\n");
    let said = project.call(&["workflows", "validate"]).expect(0);
    assert!(said.err.contains("no mistakes"), "{}", said.err);
}

#[test]
fn a_run_is_refused_before_it_begins() {
    let project = project();
    project.write(".env", "API_TOKEN=tok1\n");
    for workflow in ["send", "whole"] {
        let said = project.call(&["run", workflow]).expect(5);
        let needs = format!("{workflow} needs a secret that is not there");
        assert!(said.err.contains(&needs), "{}", said.err);
        assert!(said.err.contains("MAIL_PASSWORD (agent mailer)"), "{}", said.err);
        assert!(said.err.contains("MAIL_PASSWORD=... to .env"), "{}", said.err);
        assert!(!said.err.contains("API_TOKEN") && !said.err.contains("tok1"), "{}", said.err);
    }
    let said = project.call(&["run", "send", "--dry-run"]).expect(0);
    assert!(said.err.contains("MAIL_PASSWORD"), "{}", said.err);
    assert!(!project.root.join("count").exists());
    project.run("plain");

    let mut command = project.command(&["run", "whole", "--json"]);
    let said = command.env("MOA_SECRET_MAIL_PASSWORD", "hunter22").output().expect("it starts");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
}

#[test]
fn a_node_warns_and_takes_secrets_that_come_later() {
    let project = project();
    project.write(".env", "API_TOKEN=tok1\n");
    let node = project.up();
    assert!(node.said.contains("there is no secret MAIL_PASSWORD"), "{}", node.said);
    assert!(!node.said.contains("API_TOKEN"), "{}", node.said);
    project.call(&["run", "send"]).expect(5);
    let doctor = project.call(&["doctor"]).out;
    assert!(doctor.contains("not there: MAIL_PASSWORD"), "{doctor}");
    project.write(".env", "API_TOKEN=tok1\nMAIL_PASSWORD=hunter22\n");
    assert_eq!(project.run("send")["status"], "success");
}

/// A project with an encrypted store and its key.
fn with_store() -> Project {
    let project = project();
    let key = project.outside().join("key");
    project.call(&["secrets", "new-key", key.to_str().expect("UTF-8")]).expect(0);
    project.write("moa.yaml", "name: shop\nsecrets: {key_file: ../key}\n");
    project
}

/// Calls moa with something on its stdin.
fn tell(project: &Project, args: &[&str], text: &str) -> Said {
    let mut command = project.command(args);
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    // It may end without reading.
    let _ = stdin.write_all(text.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("it ends").into()
}

fn line(project: &Project, name: &str) -> Json {
    let all = project.call(&["secrets", "list", "--json"]).expect(0).json();
    let mut all = all.as_array().expect("an array").iter();
    all.find(|line| line["name"] == name).cloned().unwrap_or_default()
}

#[test]
fn secrets_are_kept_sealed_with_a_node_and_without_one() {
    let project = with_store();
    assert_eq!(line(&project, "API_TOKEN")["state"], "missing");
    assert_eq!(line(&project, "API_TOKEN")["used_by"][0], "workflow send");
    tell(&project, &["secrets", "set", "API_TOKEN"], "tok1\n").expect(0);
    let node = project.up();
    project.call(&["run", "send"]).expect(5);
    tell(&project, &["secrets", "set", "MAIL_PASSWORD"], "wrong-one").expect(0);
    tell(&project, &["secrets", "set", "MAIL_PASSWORD"], "hunter22").expect(0);
    assert_eq!(line(&project, "MAIL_PASSWORD")["source"], "encrypted store");
    assert_eq!(project.run("send")["status"], "success");
    node.stop();
    // And where no node runs.
    assert_eq!(line(&project, "MAIL_PASSWORD")["state"], "set");
    assert_eq!(project.run("send")["status"], "success");
    let database = std::fs::read(project.root.join(".moa/moa.db")).expect("it is read");
    let has = |text: &str| database.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(has("MAIL_PASSWORD") && !has("hunter22") && !has("wrong-one"));
    project.call(&["secrets", "delete", "MAIL_PASSWORD"]).expect(0);
    project.call(&["secrets", "delete", "MAIL_PASSWORD"]).expect(4);
    project.call(&["run", "send"]).expect(5);
    let acts = project.call(&["audit", "list", "--action", "secret.*", "--json"]).expect(0).json();
    let acts: Vec<_> = acts.as_array().expect("an array").iter().rev().collect();
    let brief: Vec<_> = acts.iter().map(|act| (&act["object"], &act["after"]["version"])).collect();
    assert_eq!(
        serde_json::json!(brief),
        serde_json::json!([
            ["API_TOKEN", 1],
            ["MAIL_PASSWORD", 1],
            ["MAIL_PASSWORD", 2],
            ["MAIL_PASSWORD", null],
            ["MAIL_PASSWORD", null],
        ])
    );
}

#[test]
fn what_is_set_wrongly_is_refused_and_says_why() {
    let project = project();
    let said = tell(&project, &["secrets", "set", "API_TOKEN"], "tok1").expect(5);
    assert!(said.err.contains("there is no key") && said.err.contains("new-key"), "{}", said.err);
    let project = with_store();
    for (name, value) in
        [("../x", "v"), ("a b", "v"), ("", "v"), ("A", ""), ("A", "\n"), ("A", "abc")]
    {
        tell(&project, &["secrets", "set", name], value).expect(2);
    }
    tell(&project, &["secrets", "set", "A"], &"x".repeat((64 << 10) + 1)).expect(2);
    // One that could not be kept out of logs is not used, wherever it comes from.
    project.write(".env", "API_TOKEN=abc\nMAIL_PASSWORD=hunter22\n");
    let said = project.call(&["run", "send"]);
    assert_ne!(said.code, 0, "{}", said.out);
    let why = "fewer than 4 bytes";
    assert!(said.err.contains(why) && !said.err.contains("abc"), "{}", said.err);
    let listed = project.call(&["secrets", "list"]).expect(0).out;
    assert!(listed.contains("unusable"), "{listed}");
    project.write(".env", "");
    let said = project.call(&["secrets", "set", "A", "value"]).expect(2);
    assert!(said.err.contains("unexpected argument"), "{}", said.err);
    tell(&project, &["secrets", "set", "API_TOKEN"], "sealed-value").expect(0);
    // Another source that is asked before is told.
    project.write(".env", "API_TOKEN=tok1\n");
    let said = tell(&project, &["secrets", "set", "API_TOKEN"], "sealed-value").expect(0);
    assert!(said.err.contains(".env has a API_TOKEN too"), "{}", said.err);
    project.write(".env", "");
    let key = project.outside().join("key");
    let old = std::fs::read(&key).expect("it is read");
    std::fs::remove_file(&key).expect("it is deleted");
    let lost = line(&project, "API_TOKEN");
    assert_eq!(lost["state"], "unusable");
    assert!(lost["error"].as_str().expect("a text").contains("can't read the key file"), "{lost}");
    project.call(&["secrets", "new-key", key.to_str().expect("UTF-8")]).expect(0);
    let other = line(&project, "API_TOKEN")["error"].to_string();
    assert!(other.contains("sealed with another key"), "{other}");
    let said = project.call(&["run", "send"]).expect(5);
    assert!(said.err.contains("API_TOKEN is set, but can't be used"), "{}", said.err);
    let said = project.call(&["secrets", "rotate-key"]).expect(5);
    assert!(said.err.contains("put the key that it was sealed with back"), "{}", said.err);
    std::fs::write(&key, old).expect("it is put back");
    assert_eq!(line(&project, "API_TOKEN")["state"], "set");
}

/// The key of before, as a change of the key says that it is kept, for nobody else to read.
fn kept(rotated: &Json) -> String {
    let path = rotated["kept"].as_str().expect("a file");
    let meta = std::fs::metadata(path).expect("it is there");
    assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    std::fs::read_to_string(path).expect("it is read")
}

#[test]
fn a_node_elsewhere_changes_its_key_and_tells_none() {
    let project = with_store();
    tell(&project, &["secrets", "set", "API_TOKEN"], "tok1").expect(0);
    tell(&project, &["secrets", "set", "MAIL_PASSWORD"], "hunter22").expect(0);
    let file = project.outside().join("key");
    let key = || std::fs::read_to_string(&file).expect("it is read");
    let node = project.up();
    for role in ["viewer", "approver", "operator"] {
        let there = Elsewhere::new(&project, &node, role);
        let said = there.call(&["secrets", "rotate-key"]).expect(5);
        assert!(said.err.contains("takes the role admin"), "{role}: {}", said.err);
    }
    let there = Elsewhere::new(&project, &node, "admin");
    // Sent twice, as by somebody who lost the answer: nothing is lost, of neither time.
    let change = || {
        let before = key();
        let said = there.call(&["secrets", "rotate-key", "--json"]).expect(0);
        let (told, rotated) = (said.out.clone() + &said.err, said.json());
        assert_eq!((&rotated["secrets"], kept(&rotated)), (&2.into(), before.clone()));
        assert_ne!(key(), before);
        assert!(!told.contains(before.trim()) && !told.contains(key().trim()), "{told}");
        assert_eq!(rotated["place"].as_str(), file.to_str());
        assert_eq!(project.run("send")["status"], "success");
        rotated
    };
    let (first, _) = (change(), change());
    kept(&first);
    let said = there.call(&["secrets", "rotate-key"]).expect(0);
    assert!(said.err.contains(&there.url) && said.err.contains("is kept in"), "{}", said.err);
    let acts = ["audit", "list", "--action", "secret.rotate_key", "--json"];
    let acts = project.call(&acts).expect(0).json();
    let mut all = acts.as_array().expect("an array").iter();
    assert!(all.all(|act| act["after"]["secrets"] == 2), "{acts}");
    node.stop();
    // What a node without such a file can't do, it says as it does here.
    project.write("moa.yaml", "name: shop\n");
    let mut command = project.command(&["up"]);
    command.env("MOA_SECRETS_KEY", key().trim());
    let node = Node::start(command);
    let there = Elsewhere::new(&project, &node, "admin");
    let args = ["secrets", "rotate-key"];
    let (here, there) = (project.call(&args).expect(5), there.call(&args).expect(5));
    assert!(there.err.contains("MOA_SECRETS_KEY_OLD"), "{}", there.err);
    assert_eq!(there.err, here.err);
}

#[test]
fn a_new_key_takes_the_place_of_the_old_one() {
    let project = with_store();
    tell(&project, &["secrets", "set", "API_TOKEN"], "tok1").expect(0);
    tell(&project, &["secrets", "set", "MAIL_PASSWORD"], "hunter22").expect(0);
    let key = project.outside().join("key");
    let old = std::fs::read_to_string(&key).expect("it is read");
    let node = project.up();
    let rotated = project.call(&["secrets", "rotate-key", "--json"]).expect(0).json();
    assert_eq!(rotated["secrets"], 2);
    assert_eq!(kept(&rotated), old, "backups of before need it");
    let new = std::fs::read_to_string(&key).expect("it is read");
    assert_ne!(new, old);
    assert_eq!(project.run("send")["status"], "success");
    node.stop();
    // From a variable to another one.
    project.write("moa.yaml", "name: shop\n");
    let with = |args: &[&str], now: &str, before: &str| -> Said {
        let mut command = project.command(args);
        command.env("MOA_SECRETS_KEY", now.trim()).env("MOA_SECRETS_KEY_OLD", before.trim());
        command.output().expect("it starts").into()
    };
    with(&["run", "send"], &new, "").expect(0);
    with(&["secrets", "rotate-key"], &new, "").expect(5);
    with(&["run", "send"], &old, "").expect(5);
    with(&["secrets", "rotate-key"], &old, &new).expect(0);
    with(&["run", "send"], &old, "").expect(0);
    let said = with(&["secrets", "list"], "no key", "").expect(0);
    assert!(said.err.contains("holds no key") && !said.err.contains("no key:  "), "{}", said.err);
}

#[test]
fn backups_hold_what_is_sealed_and_never_the_key() {
    let project = with_store();
    tell(&project, &["secrets", "set", "API_TOKEN"], "sealed-value").expect(0);
    let backup = project.outside().join("backup.tar");
    let backup = backup.to_str().expect("UTF-8");
    project.call(&["backup", backup, "--logs", "--work"]).expect(0);
    let key = std::fs::read_to_string(project.outside().join("key")).expect("it is read");
    let bytes = std::fs::read(backup).expect("it is read");
    let has = |text: &str| bytes.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(has("API_TOKEN") && !has("sealed-value") && !has(key.trim()));
    project.call(&["secrets", "delete", "API_TOKEN"]).expect(0);
    project.call(&["restore", backup]).expect(0);
    assert_eq!(line(&project, "API_TOKEN")["state"], "set");
}
