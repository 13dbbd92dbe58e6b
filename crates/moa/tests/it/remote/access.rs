//! Who gets into a node elsewhere, and over which channels it tells people something.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::{Value as Json, json};

use super::Elsewhere;
use crate::http::Api;
use crate::notify::Receiving;
use crate::project::{Node, Project, Said};

const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";

fn shop() -> (Project, Node) {
    let project = Project::with("hello", "steps: [{run: 'true'}]\n");
    let node = project.up();
    (project, node)
}

fn code_of(text: &str) -> String {
    let code = text.split("code=").nth(1).unwrap_or_else(|| panic!("no code: {text}"));
    code.chars().take_while(char::is_ascii_hexdigit).collect()
}

/// The browser that a link signs in: what it is, as `/api/v1/me` tells it; `None` = the link works not.
fn signed_in(node: &Node, code: &str) -> Option<(String, Json)> {
    let nobody = Api::nobody(node);
    let answer = nobody.send("POST", "/sign-in", FORM, &format!("code={code}"));
    if answer.status != 303 {
        assert_eq!(answer.status, 401, "{answer:?}");
        return None;
    }
    let cookie = answer.header("set-cookie").expect("a session").split(';').next();
    let cookie = format!("Cookie: {}\r\n", cookie.expect("its value"));
    let me = nobody.send("GET", "/api/v1/me", &cookie, "").expect(200).json();
    Some((cookie, me))
}

#[test]
fn a_link_made_elsewhere_gives_what_its_token_may_and_ends_with_it() {
    let (project, node) = shop();
    let operator = Elsewhere::new(&project, &node, "operator");
    let link = operator.call(&["open", "--print"]).expect(0).out;
    assert!(link.starts_with(&format!("{}/sign-in?code=", operator.url)), "{link}");
    let code = code_of(&link);
    let (cookie, me) = signed_in(&node, &code).expect("it works");
    assert!(me["id"].as_str().is_some_and(|id| id.starts_with("ses_")), "{me}");
    assert_eq!(me["role"], "operator", "{me}");
    assert_eq!(signed_in(&node, &code), None, "it works once");
    let less = operator.call(&["open", "--role", "viewer", "--json"]).expect(0).json();
    let less = code_of(less["url"].as_str().expect("a link"));
    assert_eq!(signed_in(&node, &less).expect("it works").1["role"], "viewer");
    let more = operator.call(&["open", "--print", "--role", "admin"]).expect(5);
    assert!(more.err.contains("this takes the role admin, and yours is operator"), "{}", more.err);

    // Revoked, the token takes its sessions along, and its links.
    let unused = code_of(&operator.call(&["open", "--print"]).expect(0).out);
    let listed = project.call(&["token", "list", "--json"]).expect(0).json();
    let all = listed.as_array().expect("tokens").iter();
    let mut tokens = all.filter(|one| one["kind"] == "token" && one["role"] == "operator");
    let id = tokens.next().expect("the operator's")["id"].as_str().expect("an id").to_owned();
    project.call(&["token", "revoke", &id]).expect(0);
    let nobody = Api::nobody(&node);
    nobody.send("GET", "/api/v1/me", &cookie, "").expect(401);
    assert_eq!(signed_in(&node, &unused), None);
    operator.call(&["open", "--print"]).expect(5);

    let audit = project.call(&["audit", "list", "--action", "sign_in.link", "--json"]).expect(0);
    let audit = audit.json();
    let entry = &audit.as_array().expect("entries")[0];
    assert!(entry["who"].as_str().is_some_and(|who| who.starts_with(&format!("token:{id}"))));
    assert!(!audit.to_string().contains(&code), "the log holds no code");
}

#[test]
fn a_link_of_a_narrow_token_that_ends_is_as_narrow_and_ends_then() {
    let (project, node) = shop();
    let args = ["--scope", "runs:hello", "--expires", "1h", "--json"];
    let args = [&["token", "create", "ci", "--role", "operator"][..], &args].concat();
    let made = project.call(&args).expect(0).json();
    let url = format!("http://{}", Api::nobody(&node).address);
    let ci = Elsewhere::at(&url, made["token"].as_str().expect("a token"));
    let (_, me) =
        signed_in(&node, &code_of(&ci.call(&["open", "--print"]).expect(0).out)).expect("it works");
    assert_eq!((&me["role"], &me["scopes"]), (&json!("operator"), &json!(["runs:hello"])), "{me}");
    let listed = project.call(&["token", "list", "--json"]).expect(0).json();
    let all = listed.as_array().expect("tokens").iter();
    let ends: Vec<&Json> = all.map(|one| &one["expires_at"]).collect();
    assert_eq!(ends.len(), 2, "{listed}");
    assert!(ends[0].is_string() && ends[0] == ends[1], "the session ends with the token: {listed}");
}

#[test]
fn the_browser_that_is_opened_elsewhere_is_told_the_link_by_no_command_line() {
    let (project, node) = shop();
    let there = Elsewhere::new(&project, &node, "viewer");
    let script = format!(
        "#!/bin/sh\nprintf '%s' \"$*\" > {0}/args\nstat -c %a \"$1\" > {0}/mode\ncp \"$1\" {0}/page\n",
        there.path("").display()
    );
    std::fs::write(there.path("xdg-open"), script).expect("written");
    let mode = PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(there.path("xdg-open"), mode).expect("a program");
    let opened = |folder: &Path| -> Command {
        let mut command = there.command(&["open"]);
        let path = std::env::var("PATH").expect("a path");
        command.env("PATH", format!("{}:{path}", folder.display())).env("DISPLAY", ":0");
        command
    };
    let said = opened(&there.path("")).output().expect("it can be started");
    let told = Said::from(said).expect(0);
    let read = |name: &str| std::fs::read_to_string(there.path(name)).expect("written");
    let code = code_of(&read("page"));
    assert_eq!((code.len(), read("mode").trim()), (64, "600"));
    for text in [read("args"), told.out, told.err] {
        assert!(!text.contains(&code), "{text}");
    }
    assert_eq!(signed_in(&node, &code).expect("it works").1["role"], "viewer");
}

#[test]
fn channels_of_a_node_elsewhere_are_tried_by_the_node() {
    let receiver = Receiving::new(|n| Some(if n == 0 { "200 OK" } else { "403 No" }));
    let project = Project::with("letters", "steps: [{run: 'true'}]\n");
    let channels = "{hook: {webhook: {url: '${{ secrets.HOOK }}'}}, log: {file: log.jsonl}}";
    project.write("moa.yaml", &format!("notify: {{channels: {channels}}}\n"));
    project.write(".env", &format!("HOOK={}\nTOKEN=s3cret-value\n", receiver.url));
    let node = project.up();
    let there = Elsewhere::new(&project, &node, "operator");
    let listed = there.call(&["notify", "list", "--json"]).expect(0).json();
    assert_eq!(listed, project.call(&["notify", "list", "--json"]).expect(0).json());
    let sent = there.call(&["notify", "test", "hook", "--message", "Ding", "--json"]).expect(0);
    assert_eq!(sent.json()["output"]["status"], 200);
    let told = receiver.next().body;
    assert_eq!(
        (&told["data"]["title"], &told["data"]["message"]),
        (&json!("A test of moa"), &json!("Ding"))
    );
    let refused = there.call(&["notify", "test", "hook"]).expect(1);
    assert!(refused.err.contains("HTTP 403"), "{}", refused.err);
    assert!(!refused.err.contains(&receiver.url), "{}", refused.err);
    there.call(&["notify", "test", "log"]).expect(0);
    assert!(project.read("log.jsonl").contains("This is a test"));
    assert!(there.call(&["notify", "test", "hok"]).expect(4).err.contains("did you mean hook"));
    // What is sent is said by who asks, and no secret of the node's.
    let asks = ["notify", "test", "log", "--message", "it is ${{ secrets.TOKEN }}"];
    assert!(there.call(&asks).expect(2).err.contains("plain text"));
    assert!(!project.read("log.jsonl").contains("s3cret-value"));
    let viewer = Elsewhere::new(&project, &node, "viewer");
    for args in [&["notify", "list"][..], &["notify", "test", "log"]] {
        assert!(viewer.call(args).expect(5).err.contains("role operator"), "{args:?}");
    }
    let audit = project.call(&["audit", "list", "--action", "channel.test", "--json"]).expect(0);
    let audit = audit.json();
    let outcomes = audit.as_array().expect("entries").iter();
    let outcomes: Vec<_> = outcomes.map(|one| (&one["object"], &one["outcome"])).collect();
    assert!(outcomes.contains(&(&json!("hook"), &json!("done"))), "{audit}");
}
