//! Who may use a node's API and dashboard: tokens, links, sessions, and what is written down of it.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value as Json, json};

use crate::http::{Answer, Api};
use crate::project::{Node, Project};

const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";
const BROWSER: &str = "Accept: text/html\r\n";

fn shop() -> (Project, Node) {
    let project = Project::with("hello", "steps:\n  - run: echo hi\n");
    let node = project.up();
    (project, node)
}

fn cookie(signed: &Answer) -> String {
    let cookie = signed.header("set-cookie").expect("a cookie");
    format!("Cookie: {}\r\n", cookie.split(';').next().expect("a pair"))
}

fn code_of(link: &str) -> String {
    link.trim().rsplit_once("code=").expect("a code").1.to_owned()
}

/// The acts of an action, the newest first.
fn acts(project: &Project, action: &str) -> Vec<Json> {
    let log = project
        .call(&["audit", "list", "--json", "-n", "500", "--action", action])
        .expect(0)
        .json();
    log.as_array().expect("a list").clone()
}

#[test]
fn tokens_made_on_the_command_line_are_in_the_audit_log_with_and_without_a_node() {
    let project = Project::with("hello", "steps:\n  - run: echo hi\n");
    let made = project.call(&["token", "create", "early", "--role", "admin", "--json"]);
    let early = made.expect(0).json();
    let node = project.up();
    let token = early["token"].as_str().expect("a token");
    let header = format!("Authorization: Bearer {token}\r\n");
    Api::nobody(&node).send("GET", "/api/v1/me", &header, "").expect(200);
    let made = project.call(&["token", "create", "late", "--expires", "1d", "--json"]);
    let late = made.expect(0).json();
    project.call(&["token", "revoke", late["id"].as_str().expect("an id")]).expect(0);
    project.call(&["token", "revoke", "tok_unknown"]).expect(4);
    project.call(&["token", "create", " "]).expect(2);

    let created = acts(&project, "token.create");
    let objects: Vec<_> = created.iter().map(|act| &act["object"]).collect();
    for made in [&early, &late] {
        let id = made["id"].as_str().expect("an id");
        let object = json!(format!("{id} ({})", made["name"].as_str().expect("a name")));
        assert!(objects.contains(&&object), "{created:#?}");
        let text = json!(created).to_string();
        assert!(!text.contains(&made["token"].as_str().expect("a token")[4..]), "{text}");
    }
    for act in &created {
        let (who, from) = (act["who"].as_str().expect("who"), act["from"].as_str().expect("from"));
        assert!(who.starts_with("unix:") && from.starts_with("socket (pid "), "{act}");
    }
    let revoked = acts(&project, "token.revoke");
    let outcomes: Vec<_> = revoked.iter().map(|act| &act["outcome"]).collect();
    assert_eq!(outcomes, ["refused", "done"], "{revoked:#?}");
}

#[test]
fn who_signs_in_and_out_is_in_the_audit_log() {
    let (project, node) = shop();
    let nobody = Api::nobody(&node);
    let code = code_of(&project.call(&["open", "--print"]).expect(0).out);
    let by_link = nobody.send("POST", "/sign-in", FORM, &format!("code={code}")).expect(303);
    let viewer = Api::with_role(&project, &node, "viewer");
    let id = viewer.get("/api/v1/me").expect(200).json()["id"].as_str().expect("one").to_owned();
    let body = format!("token={}", viewer.token());
    let by_token = nobody.send("POST", "/sign-in", FORM, &body).expect(303);
    nobody.send("POST", "/sign-in", FORM, "token=moa_wrong").expect(401);

    let made = acts(&project, "sign_in.link");
    let link = made[0]["object"].as_str().expect("its name");
    assert!(link.starts_with("link_") && !code.contains(&link[5..]), "{made:#?}");
    let mut signed = acts(&project, "sign_in");
    signed.retain(|act| act["outcome"] == "done");
    let who: Vec<_> = signed.iter().map(|act| act["who"].as_str().expect("who")).collect();
    assert_eq!(who, [&format!("token:{id} (viewer)"), link], "{signed:#?}");
    assert!(signed.iter().all(|act| act["from"] == "http 127.0.0.1"), "{signed:#?}");

    for signed in [by_link, by_token] {
        let cookie = cookie(&signed);
        let me = nobody.send("GET", "/api/v1/me", &cookie, "").expect(200).json();
        let session = me["id"].as_str().expect("an id");
        let csrf = format!("csrf={}", me["csrf"].as_str().expect("a token"));
        nobody.send("POST", "/sign-out", &format!("{cookie}{FORM}"), &csrf).expect(303);
        let out = acts(&project, "sign_out");
        assert!(out[0]["object"].as_str().expect("it").starts_with(session), "{out:#?}");
        assert!(out[0]["who"].as_str().expect("who").starts_with(&format!("session:{session}")));
    }
}

#[test]
fn who_is_refused_is_in_the_audit_log_in_few_entries() {
    let (project, node) = shop();
    let nobody = Api::nobody(&node);
    let viewer = Api::with_role(&project, &node, "viewer");
    let id = viewer.get("/api/v1/me").expect(200).json()["id"].as_str().expect("one").to_owned();
    for n in 0..7 {
        nobody.send("POST", "/sign-in", FORM, &format!("token=moa_wrong-{n}")).expect(401);
    }
    let start = || viewer.post("/api/v1/runs", &json!({"workflow": "hello"}));
    start().refused(403, "forbidden");
    let admin = Api::with_role(&project, &node, "admin");
    let is_there = |log: &Json| log["acts"].as_array().is_some_and(|acts| !acts.is_empty());
    admin.until("/api/v1/audit?action=access", is_there);
    for _ in 0..39 {
        start().refused(403, "forbidden");
    }
    let last = viewer.send("DELETE", "/api/v1/tokens/tok_1?why=x", "", "");
    last.refused(403, "forbidden");
    // Nobody who says nothing was refused anything.
    nobody.get("/api/v1/runs").expect(401);
    node.stop();
    let refused = |action: &str| {
        let mut all = acts(&project, action);
        all.retain(|act| act["outcome"] == "refused");
        let times = |act: &Json| act["asked"]["times"].as_u64().unwrap_or(1);
        let sum: u64 = all.iter().map(times).sum();
        // How many there are in a minute says another test: a slow machine takes longer here.
        assert!((all.len() as u64) < sum, "{all:#?}");
        (all, sum)
    };
    let (signed, times) = refused("sign_in");
    assert_eq!(times, 7, "{signed:#?}");
    assert_eq!(
        (&signed[0]["who"], &signed[0]["from"]),
        (&json!("nobody"), &json!("http 127.0.0.1"))
    );
    assert!(!json!(signed).to_string().contains("moa_wrong"), "{signed:#?}");
    let (asked, times) = refused("access");
    assert_eq!(times, 41, "{asked:#?}");
    assert_eq!(asked[0]["who"], format!("token:{id} (viewer)"), "{asked:#?}");
    let oldest = &asked[asked.len() - 1]["object"];
    assert_eq!(
        (oldest, &asked[0]["object"]),
        (&json!("POST /api/v1/runs"), &json!("DELETE /api/v1/tokens/tok_1"))
    );
    assert!(asked[0].to_string().contains("takes the role"), "{asked:#?}");
}

#[test]
fn whom_a_node_refused_before_it_stopped_is_in_the_audit_log() {
    let (project, node) = shop();
    let admin = Api::with_role(&project, &node, "admin");
    let made = (0..40).map(|n| {
        let new = json!({"name": format!("v{n}"), "role": "viewer"});
        let made = admin.post("/api/v1/tokens", &new).expect(201).json();
        made["token"].as_str().expect("a token").to_owned()
    });
    let made: Vec<String> = made.collect();
    let nobody = Api::nobody(&node);
    for token in &made {
        let headers = format!("Authorization: Bearer {token}\r\n");
        nobody.send("DELETE", "/api/v1/tokens/tok_1", &headers, "").refused(403, "forbidden");
    }
    node.stop();
    let mut all = acts(&project, "access");
    all.retain(|act| act["outcome"] == "refused");
    let who: std::collections::BTreeSet<String> =
        all.iter().map(|act| act["who"].to_string()).collect();
    assert_eq!(who.len(), made.len(), "{who:?}");
}

#[test]
fn one_token_opens_sessions_at_its_own_cost() {
    let (project, node) = shop();
    let nobody = Api::nobody(&node);
    let code = code_of(&project.call(&["open", "--print"]).expect(0).out);
    let admin = nobody.send("POST", "/sign-in", FORM, &format!("code={code}")).expect(303);
    let viewer = Api::with_role(&project, &node, "viewer");
    let body = format!("token={}", viewer.token());
    let mut opened = 0;
    let refused = loop {
        let said = nobody.send("POST", "/sign-in", FORM, &body);
        match said.status {
            303 => opened += 1,
            _ => break said,
        }
    };
    assert!(opened >= 30, "{opened}");
    refused.refused(429, "too_many_requests");
    nobody.send("GET", "/api/v1/me", &cookie(&admin), "").expect(200);
    viewer.get("/api/v1/me").expect(200);
}

#[test]
fn the_browser_that_is_opened_is_told_the_link_by_no_command_line() {
    let (project, node) = shop();
    let folder = project.root.join("bin");
    std::fs::create_dir(&folder).expect("mkdir");
    let script = "#!/bin/sh\nprintf '%s' \"$*\" > args\nstat -c %a \"$1\" > mode\ncp \"$1\" page\n";
    let opener = folder.join("xdg-open");
    std::fs::write(&opener, script).expect("written");
    std::fs::set_permissions(&opener, PermissionsExt::from_mode(0o755)).expect("a program");
    let path = std::env::var("PATH").expect("a path");
    let mut command = project.command(&["open"]);
    command.env("PATH", format!("{}:{path}", folder.display())).env("DISPLAY", ":0");
    let said = crate::project::Said::from(command.output().expect("it starts")).expect(0);
    let page = project.read("page");
    let code = page.split("code=").nth(1).expect("a code");
    let code: String = code.chars().take_while(char::is_ascii_hexdigit).collect();
    assert_eq!(code.len(), 64);
    let args = project.read("args");
    assert!(!args.contains(&code) && !said.out.contains(&code) && !said.err.contains(&code));
    assert_eq!(project.read("mode").trim(), "600");
    assert!(std::path::Path::new(&args).exists(), "{args}");
    let nobody = Api::nobody(&node);
    nobody.send("POST", "/sign-in", FORM, &format!("code={code}")).expect(303);
    assert!(!std::path::Path::new(&args).exists(), "it goes with its link");
}

#[test]
fn signing_in_leads_to_what_was_asked_for_and_nowhere_else() {
    let (project, node) = shop();
    let nobody = Api::nobody(&node);
    let asked = "/runs?status=failed&workflow=hello";
    let led = nobody.send("GET", asked, BROWSER, "").expect(303);
    let to = led.header("location").expect("where to").to_owned();
    assert_eq!(to, "/sign-in?to=%2Fruns%3Fstatus%3Dfailed%26workflow%3Dhello");
    let form = nobody.send("GET", &to, BROWSER, "").expect(200).body;
    assert!(
        form.contains("name=\"to\" value=\"/runs?status=failed&amp;workflow=hello\""),
        "{form}"
    );
    let viewer = Api::with_role(&project, &node, "viewer");
    let sign_in = |to: &str| {
        let body = format!("token={}&to={to}", viewer.token());
        let said = nobody.send("POST", "/sign-in", FORM, &body).expect(303);
        said.header("location").expect("where to").to_owned()
    };
    assert_eq!(sign_in("%2Fruns%3Fstatus%3Dfailed%26workflow%3Dhello"), asked);
    for hostile in [
        "%2F%2Fevil.example",
        "%2F%5Cevil.example",
        "https%3A%2F%2Fevil.example",
        "evil.example",
        "javascript%3Aalert(1)",
        "%2F%09%2Fevil.example",
        "%2Fx%0D%0ASet-Cookie%3A%20a%3Db",
    ] {
        assert_eq!(sign_in(hostile), "/", "{hostile}");
        let form = nobody.send("GET", &format!("/sign-in?to={hostile}"), BROWSER, "").expect(200);
        assert!(!form.body.contains("name=\"to\""), "{hostile}: {}", form.body);
    }
}

#[test]
fn a_link_of_another_site_finds_the_session_that_it_did_not_send() {
    let (_project, node) = shop();
    let nobody = Api::nobody(&node);
    let from = |site: &str| {
        let headers = format!("{BROWSER}Sec-Fetch-Mode: navigate\r\nSec-Fetch-Site: {site}\r\n");
        nobody.send("GET", "/runs?status=failed", &headers, "")
    };
    let page = from("cross-site").expect(200).body;
    assert!(page.contains("content=\"0;url=/runs?status=failed\""), "{page}");
    from("same-origin").expect(303);
}

/// Sends the same request many times at once, from an address of this machine; answers those that
/// were refused, and how many were not.
fn flood(api: &Api, from: [u8; 4], path: &str, token: Option<&str>) -> (Vec<Answer>, usize) {
    let token = token.map_or(String::new(), |token| format!("Authorization: Bearer {token}\r\n"));
    let one = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{token}", api.address);
    let all = format!("{}{one}Connection: close\r\n\r\n", format!("{one}\r\n").repeat(20));
    let mut stream = api.clone().from(from).connect();
    stream.write_all(all.as_bytes()).expect("it reads");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("it answers");
    let answers: Vec<Answer> = text
        .split("HTTP/1.1 ")
        .filter(|part| !part.is_empty())
        .map(|part| Answer::read(&format!("HTTP/1.1 {part}")))
        .collect();
    assert_eq!(answers.len(), 21, "{text}");
    let (refused, taken): (Vec<_>, Vec<_>) = answers.into_iter().partition(|a| a.status == 429);
    assert!(taken.iter().all(|answer| answer.status == 200), "{taken:?}");
    (refused, taken.len())
}

#[test]
fn who_asks_too_often_waits_and_nobody_else_does() {
    let project = Project::with("hello", "steps: [{run: 'true'}]\n");
    project.write("moa.yaml", "server: {requests_per_second: 1}\n");
    let node = project.up();
    let [hasty, calm] = ["viewer", "operator"].map(|role| Api::with_role(&project, &node, role));
    let nobody = Api::nobody(&node);
    let here = [127, 0, 0, 1];
    let ask = |api: &Api| {
        let token = format!("Authorization: Bearer {}\r\n", api.token());
        nobody.send("GET", "/api/v1/me", &token, "")
    };
    let (mut refused, taken) = flood(&nobody, here, "/api/v1/me", Some(hasty.token()));
    assert!(taken >= 2 && !refused.is_empty(), "{taken}");
    let refused = refused.remove(0);
    assert_eq!(refused.header("retry-after"), Some("1"));
    refused.refused(429, "too_many_requests");
    // Another token from the same address, and no token at all, have places of their own.
    ask(&calm).expect(200);
    nobody.get("/healthz").expect(200);
    // Nor does a crowd without a token take any from those who have one, or from other addresses.
    let (refused, _) = flood(&nobody, here, "/healthz", None);
    assert!(!refused.is_empty());
    ask(&calm).expect(200);
    let (_, taken) = flood(&nobody, [127, 0, 0, 2], "/healthz", None);
    assert!(taken >= 2, "{taken}");
    // A token has its places wherever it is used from.
    let (refused, _) = flood(&nobody, [127, 0, 0, 3], "/api/v1/me", Some(hasty.token()));
    assert!(!refused.is_empty());
    // It is listened to again.
    hasty.get("/api/v1/me").expect(200);
    project.call(&["config"]).expect(0);
    project.write("moa.yaml", "server: {requests_per_second: 0}\n");
    let said = project.call(&["config"]).expect(3);
    assert!(said.err.contains("expected a number from 1 to 100000"), "{}", said.err);
}
