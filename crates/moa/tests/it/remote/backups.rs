//! Backups of a node elsewhere: made by it, sent as one archive, checked where they come to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value as Json, json};

use super::Elsewhere;
use super::breaks::read_request;
use crate::http::{Api, pause};
use crate::project::{Node, Project, call_in, signal};
use crate::readers::connect;

const PATH: &str = "/api/v1/backup";
/// An output too large for the store, and a signal to wait for.
const LARGE: &str = "
steps:
  - {id: large, run: \"printf '\\\"'; head -c 400000 /dev/zero | tr '\\\\0' x; printf '\\\"'\"}
  - {id: ask, wait_for: {signal: go}}
";
/// More than lies between two programs of which one doesn't read.
const MUCH: usize = 64 << 20;

fn shop() -> Project {
    let project = Project::with("large", LARGE);
    project.workflow("quick", "steps: [{id: one, agent: noop, action: a}]\n");
    project
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> =
        entries.map(|e| e.expect("one").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Whether the state holds something of a backup.
fn is_left(project: &Project) -> bool {
    names(&project.root.join(".moa")).iter().any(|name| name.contains("backup"))
}

fn keys(made: &Json) -> Vec<&String> {
    made.as_object().expect("an object").keys().collect()
}

fn acts(project: &Project) -> Vec<Json> {
    let log = project.call(&["audit", "list", "--action", "backup", "--json"]).expect(0).json();
    log.as_array().expect("a list").clone()
}

#[test]
fn a_backup_fetched_while_a_run_goes_on_is_restored_with_its_history() {
    let project = shop();
    project.write(".env", "KEY=of-nobody-else\n");
    let node = project.up();
    let there = Elsewhere::new(&project, &node, "admin");
    let run = there.call(&["run", "large", "--detach"]).expect(0).out.trim().to_owned();
    project.events().until("step.waiting", "ask");
    let made = there.call(&["backup", "kept/", "--logs", "--json"]).expect(0).json();
    assert!(!is_left(&project), "{:?}", names(&project.root.join(".moa")));
    assert_eq!((&made["live"], &made["missing"]), (&json!(true), &json!([])));
    let holds = json!({"artifacts": true, "logs": true, "work": false, "project": true});
    assert_eq!(made["holds"], holds);
    let name = made["path"].as_str().and_then(|path| path.strip_prefix("kept/")).expect("a name");
    assert!(name.starts_with("shop-20") && name.ends_with("Z.tar"), "{name}");
    assert_eq!(names(&there.path("kept")), [name]);
    // The same is told of one that is made here.
    let to = project.outside().join("copy.tar");
    let here = project.call(&["backup", to.to_str().expect("UTF-8"), "--logs", "--json"]);
    assert_eq!(keys(&here.expect(0).json()), keys(&made));

    // It is the work of a token, and names what came of it.
    let act = &acts(&project)[0];
    assert_eq!((&act["outcome"], &act["object"]), (&json!("done"), &json!(name)), "{act}");
    assert!(act["who"].as_str().is_some_and(|who| who.starts_with("token:")), "{act}");

    let from = there.path("kept").join(name);
    let bytes = std::fs::read(&from).expect("it is there");
    let secret = b"of-nobody-else";
    assert!(!bytes.windows(secret.len()).any(|part| part == secret), "it holds no .env");
    let (from, into) = (from.to_str().expect("UTF-8"), there.path("new"));
    let new = into.to_str().expect("UTF-8");
    call_in(project.outside(), &["restore", from, "--into", new]).expect(0);
    let history = ["runs", "history", &run, "--json"];
    let (mine, theirs) = (project.call(&history).expect(0), call_in(&into, &history).expect(0));
    assert_eq!(theirs.json(), mine.json());
    assert!(into.join(format!(".moa/logs/{run}")).exists());
    // It goes on where it was, with its artifact.
    let _other = crate::project::up_in(&into);
    call_in(&into, &["runs", "signal", &run, "go"]).expect(0);
    call_in(&into, &["runs", "watch", &run]).expect(0);
    assert_eq!(call_in(&into, &["runs", "show", &run, "--json"]).json()["status"], "succeeded");
}

#[test]
fn a_fetched_backup_has_the_name_that_it_is_given_and_takes_nobody_elses_place() {
    let project = shop();
    let node = project.up();
    let there = Elsewhere::new(&project, &node, "admin");
    project.run("quick");
    let said = there.call(&["backup", "one.tar", "--no-artifacts", "--no-project"]).expect(0);
    assert_eq!(said.out.trim(), "one.tar");
    let checked = there.bare(&["restore", "--check", "one.tar", "--json"]).output();
    let manifest: Json =
        serde_json::from_slice(&checked.expect("it can be started").stdout).expect("JSON");
    let holds = json!({"artifacts": false, "logs": false, "work": false, "project": false});
    assert_eq!(manifest["holds"], holds);
    let asked = acts(&project).len();
    for (to, code, why) in [("one.tar", 5, "is there already"), ("two", 2, "ends in .tar")] {
        let said = there.call(&["backup", to]).expect(code);
        assert!(said.err.contains(why), "{to}: {}", said.err);
    }
    assert_eq!(acts(&project).len(), asked, "the node isn't asked in vain");
    assert_eq!(names(&there.path("")), ["one.tar"]);
}

#[test]
fn only_admins_without_scopes_get_a_backup() {
    let project = shop();
    let node = project.up();
    project.run("quick");
    for role in ["viewer", "approver", "operator"] {
        let said = Elsewhere::new(&project, &node, role).call(&["backup", "x.tar"]).expect(5);
        let text = format!("this takes the role admin, and yours is {role}");
        assert!(said.err.contains(&text), "{}", said.err);
    }
    let all = ["runs", "workflows", "triggers", "events", "agents", "webhooks", "alerts", "read"];
    let all = [&all[..], &["metrics", "node", "secrets", "tokens", "audit"]].concat();
    let narrow = Api::with_scopes(&project, &node, "admin", &all);
    let refused = narrow.post(PATH, &json!({})).refused(403, "forbidden");
    assert!(refused["detail"].as_str().is_some_and(|text| text.contains("a copy of all there is")));
    Api::nobody(&node).post(PATH, &json!({})).refused(401, "unauthenticated");
    assert_eq!(acts(&project), Vec::<Json>::new());

    let admin = Api::with_role(&project, &node, "admin");
    admin.post(PATH, &json!({"log": true})).refused(400, "invalid_request");
    admin.get(PATH).refused(405, "method_not_allowed");
    let sent = admin.send("POST", PATH, "", "").expect(200);
    assert_eq!(sent.header("content-type"), Some("application/x-tar"));
    assert_eq!(sent.header("cache-control"), Some("no-store"));
    let name = sent.header("content-disposition").expect("a name");
    assert!(name.starts_with("attachment; filename=\"shop-20"), "{name}");
}

/// A backup that somebody has asked for, and reads no more of than the head of the answer.
fn begun(api: &Api) -> TcpStream {
    let mut stream = connect(api);
    let (host, token) = (&api.address, api.token());
    let request = format!(
        "POST {PATH} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: 13\r\n\r\n{{\"work\":true}}"
    );
    stream.write_all(request.as_bytes()).expect("it reads");
    // A large buffer would read ahead.
    let mut reader = BufReader::with_capacity(64, stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).expect("it answers") > 0, "{head}");
    }
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    reader.into_inner()
}

/// A project with something to send that takes a while.
fn bulky() -> (Project, Node, Api) {
    let project = shop();
    project.run("quick");
    project.write(".moa/work/some/thing", &"x".repeat(MUCH));
    let node = project.up();
    let api = Api::with_role(&project, &node, "admin");
    (project, node, api)
}

#[test]
fn one_is_made_and_sent_at_a_time() {
    let (project, node, api) = bulky();
    let first = begun(&api);
    // It is made, and being sent: nothing of it has a name any more.
    assert!(!is_left(&project));
    let refused = api.post(PATH, &json!({})).refused(409, "conflict");
    assert!(refused["hints"][0].as_str().is_some_and(|hint| hint.contains("wait")), "{refused}");
    let there = Elsewhere::at(&format!("http://{}", api.address), api.token());
    let said = there.call(&["backup", "x.tar"]).expect(5);
    assert!(said.err.contains("another backup of this node"), "{}", said.err);
    assert_eq!(names(&there.path("")), Vec::<String>::new());
    // Others are answered meanwhile.
    api.get("/readyz").expect(200);
    drop(first);
    while api.post(PATH, &json!({"artifacts": false})).status == 409 {
        pause();
    }
    // Whoever has read one may ask for the next one at once.
    for _ in 0..3 {
        api.post(PATH, &json!({"artifacts": false})).expect(200);
    }

    // A stop waits for nobody who reads nothing.
    let held = begun(&api);
    let (code, said) = node.stop();
    assert_eq!(code, 0, "{said}");
    drop(held);
    assert!(!is_left(&project));
}

#[test]
fn what_a_node_that_is_killed_leaves_of_a_backup_goes_away_with_the_next_start() {
    let (project, node, api) = bulky();
    let held = begun(&api);
    node.kill();
    drop(held);
    assert!(!is_left(&project), "what is sent has no name");
    // As if it had been killed while it made one.
    project.write(".moa/backup.partial/archive", "half of it");
    let node = project.up();
    assert!(!is_left(&project));
    project.write(".moa/backup.partial/staged/x", "half of it");
    let api = Api::with_role(&project, &node, "admin");
    api.post(PATH, &json!({})).expect(200);
    assert!(!is_left(&project));
}

#[test]
fn a_backup_that_can_not_be_made_is_a_problem_and_leaves_nothing() {
    let project = shop();
    let node = project.up();
    project.run("quick");
    let api = Api::with_role(&project, &node, "admin");
    // Something that is no file of the state stands where one is read.
    std::fs::create_dir_all(project.root.join(".moa/views.json")).expect("made");
    api.post(PATH, &json!({})).refused(503, "unavailable");
    assert!(!is_left(&project));
    std::fs::remove_dir(project.root.join(".moa/views.json")).expect("removed");
    api.post(PATH, &json!({})).expect(200);
    let outcomes: Vec<Json> = acts(&project).iter().map(|act| act["outcome"].clone()).collect();
    assert_eq!(outcomes, ["done", "refused"]);
}

/// Stands before a node, and does something to the bytes of each answer, which is an archive. Of one that
/// `then` keeps it stays connected.
fn before(to: String, change: impl Fn(&mut Vec<u8>) + Send + 'static, then: Then) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for client in listener.incoming().map_while(Result::ok) {
            let Some(request) = read_request(&client) else { continue };
            let mut node = TcpStream::connect(&to).expect("the node listens");
            node.write_all(&request).expect("it reads");
            let mut answer = Vec::new();
            node.read_to_end(&mut answer).expect("it answers");
            assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
            change(&mut answer);
            let _ = (&client).write_all(&answer);
            kept.extend((then == Then::Keeps).then_some(client));
        }
    });
    url
}

/// What becomes of a connection when all was said.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Closes,
    Keeps,
}

#[test]
fn who_is_interrupted_while_a_backup_comes_keeps_nothing_of_it() {
    let project = shop();
    let node = project.up();
    project.run("quick");
    let direct = Elsewhere::new(&project, &node, "admin");
    let half = |answer: &mut Vec<u8>| answer.truncate(answer.len() / 2);
    let url = before(Api::nobody(&node).address, half, Then::Keeps);
    let there = Elsewhere::at(&url, &direct.token);
    let mut child = there.command(&["backup", "x.tar"]).spawn().expect("it can be started");
    while !there.path(".x.tar.moa-backup-partial").exists() {
        std::thread::yield_now();
    }
    signal(child.id(), Signal::INT);
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    assert_eq!(names(&there.path("")), Vec::<String>::new());
}

#[test]
fn what_comes_torn_or_changed_leaves_nothing() {
    let project = shop();
    let node = project.up();
    project.run("quick");
    let (api, direct) = (Api::nobody(&node), Elsewhere::new(&project, &node, "admin"));
    let torn =
        before(api.address.clone(), |answer| answer.truncate(answer.len() / 2), Then::Closes);
    let there = Elsewhere::at(&torn, &direct.token);
    for to in ["x.tar", "kept/"] {
        let said = there.call(&["backup", to]).expect(6);
        assert!(said.err.contains("broke in the middle"), "{}", said.err);
    }
    assert_eq!(names(&there.path("")), ["kept"]);
    assert_eq!(names(&there.path("kept")), Vec::<String>::new());

    let changed = before(
        api.address,
        |answer| {
            let store = answer.windows(6).position(|part| part == b"SQLite").expect("the store");
            answer[store + 5000] ^= 1;
        },
        Then::Closes,
    );
    let there = Elsewhere::at(&changed, &direct.token);
    let said = there.call(&["backup", "x.tar"]).expect(7);
    assert!(said.err.contains("sent no good backup"), "{}", said.err);
    assert_eq!(names(&there.path("")), Vec::<String>::new());
}
