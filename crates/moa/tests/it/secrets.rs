//! Secrets that are needed and not there are found before anything starts.

use crate::project::Project;

const WORKFLOW: &str = r#"
steps:
  - {id: before, run: echo x >> count}
  - {id: mail, agent: mailer, action: send}
  - {id: use, run: "test \"$TOKEN\" = t1", env: {TOKEN: "${{ secrets.API_TOKEN }}"}}
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
    project.write(".env", "API_TOKEN=t1\nMAIL_PASSWORD=hunter22\n");
    let said = project.call(&["workflows", "validate"]).expect(0);
    assert!(said.err.contains("no mistakes"), "{}", said.err);
}

#[test]
fn a_run_is_refused_before_it_begins() {
    let project = project();
    project.write(".env", "API_TOKEN=t1\n");
    for workflow in ["send", "whole"] {
        let said = project.call(&["run", workflow]).expect(5);
        let needs = format!("{workflow} needs a secret that is not there");
        assert!(said.err.contains(&needs), "{}", said.err);
        assert!(said.err.contains("MAIL_PASSWORD (agent mailer)"), "{}", said.err);
        assert!(said.err.contains("MAIL_PASSWORD=... to .env"), "{}", said.err);
        assert!(!said.err.contains("API_TOKEN") && !said.err.contains("t1"), "{}", said.err);
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
    project.write(".env", "API_TOKEN=t1\n");
    let node = project.up();
    assert!(node.said.contains("there is no secret MAIL_PASSWORD"), "{}", node.said);
    assert!(!node.said.contains("API_TOKEN"), "{}", node.said);
    project.call(&["run", "send"]).expect(5);
    let doctor = project.call(&["doctor"]).out;
    assert!(doctor.contains("not there: MAIL_PASSWORD"), "{doctor}");
    project.write(".env", "API_TOKEN=t1\nMAIL_PASSWORD=hunter22\n");
    assert_eq!(project.run("send")["status"], "success");
}
