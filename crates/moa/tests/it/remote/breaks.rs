//! A node elsewhere that goes away and comes back, and connections that break.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};

use super::Elsewhere;
use crate::http::Api;
use crate::project::{Project, Said};

const LONG: &str = "\
steps:
  - {id: first, run: echo one}
  - {id: second, run: 'echo $$ > began; echo two; while [ ! -e go ]; do sleep 0.05; done; echo three'}
  - {id: third, run: echo four}
";

/// A command that goes on, and what it has said so far.
struct Going {
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
}

impl Going {
    fn start(there: &Elsewhere, args: &[&str]) -> Self {
        let mut command = there.command(args);
        let spawned = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn();
        let mut child = spawned.expect("it can be started");
        let out = BufReader::new(child.stdout.take().expect("it is piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            out.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line)));
        });
        Self { child, lines, said: Vec::new() }
    }

    fn until(&mut self, part: &str) {
        while !self.said.last().is_some_and(|line| line.contains(part)) {
            self.said.push(self.lines.recv().unwrap_or_else(|_| panic!("{part}: {:?}", self.said)));
        }
    }

    fn ended(mut self) -> (i32, Vec<String>) {
        self.said.extend(self.lines.iter());
        let code = self.child.wait().expect("it ends").code();
        (code.unwrap_or(-1), self.said)
    }
}

/// What a node that is killed and started again leaves of its lines: each once, and none is missing.
#[test]
fn what_is_followed_goes_on_where_it_was_when_a_node_comes_back() {
    let project = Project::with("long", LONG);
    let node = project.up();
    let there = Elsewhere::new(&project, &node, "operator");
    let address = Api::nobody(&node).address;
    let mut run = Going::start(&there, &["run", "long", "--watch"]);
    run.until("second started");
    project.wait_for("began");
    let mut logs = Going::start(&there, &["runs", "logs", "last", "--follow"]);
    logs.until("second.1 | two");
    let mut tail =
        Going::start(&there, &["events", "tail", "--follow", "-n", "1000", "--type", "step.*"]);
    tail.until("step.started\tsecond");
    std::fs::remove_file(project.root.join("began")).expect("it is there");

    node.kill();
    let node = project.up_with(&["--listen", &address]);
    project.wait_for("began");
    project.write("go", "");
    let (code, watched) = run.ended();
    assert_eq!(code, 0, "{watched:?}");
    let (code, written) = logs.ended();
    assert_eq!(code, 0, "{written:?}");

    let again = project.call(&["runs", "watch", "last"]).expect(0);
    let again: Vec<&str> = again.out.lines().collect();
    assert!(watched.len() > 5, "{watched:?}");
    assert_eq!(watched, again);
    let all = project.call(&["runs", "logs", "last"]).expect(0);
    let sorted = |lines: &mut Vec<String>| lines.sort();
    let (mut written, mut all) = (written, all.out.lines().map(str::to_owned).collect::<Vec<_>>());
    sorted(&mut written);
    sorted(&mut all);
    assert_eq!(written, all);

    tail.until("step.succeeded\tthird");
    let unique: BTreeSet<&String> = tail.said.iter().collect();
    assert_eq!(unique.len(), tail.said.len(), "{:?}", tail.said);
    let query = project.call(&["events", "query", "--type", "step.*"]).expect(0);
    assert_eq!(tail.said, query.out.lines().collect::<Vec<_>>());
    tail.child.kill().expect("it goes on");
    drop(node);
}

/// Passes requests on, and what comes back; of the first that has `part` in its head, not that.
fn loses_one_answer(to: String, part: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        let lost = Arc::new(AtomicBool::new(false));
        for client in listener.incoming().map_while(Result::ok) {
            let (to, lost) = (to.clone(), lost.clone());
            // A stream doesn't end.
            std::thread::spawn(move || {
                let Some(request) = read_request(&client) else { return };
                let mut node = TcpStream::connect(&to).expect("the node listens");
                node.write_all(&request).expect("it reads");
                let mut answer = Vec::new();
                node.read_to_end(&mut answer).expect("it answers");
                let is_meant = String::from_utf8_lossy(&request).contains(part);
                if is_meant && !lost.swap(true, Ordering::Relaxed) {
                    return;
                }
                // The command may have gone.
                let _ = (&client).write_all(&answer);
            });
        }
    });
    address
}

/// Stands before a node whose runs change all the time: each part of one, but for the first, is of
/// another version.
pub fn always_changes(to: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Some(request) = read_request(&client) else { continue };
            let mut node = TcpStream::connect(&to).expect("the node listens");
            node.write_all(&request).expect("it reads");
            let mut answer = String::new();
            node.read_to_string(&mut answer).expect("it answers");
            let request = String::from_utf8_lossy(&request);
            if request.contains("run_part") && !request.contains("\"from\":0") {
                // As long as before.
                let digit = answer.rfind("\"version\":").expect("a version") + 10;
                let other = if &answer[digit..=digit] == "8" { "9" } else { "8" };
                answer.replace_range(digit..=digit, other);
            }
            // The command may have gone.
            let _ = (&client).write_all(answer.as_bytes());
        }
    });
    address
}

/// A whole request, which asks for one answer on its connection.
pub fn read_request(client: &TcpStream) -> Option<Vec<u8>> {
    let mut reader = BufReader::new(client);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line == "\r\n" {
            break;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let mut request = format!("{head}Connection: close\r\n\r\n").into_bytes();
    request.extend(body);
    Some(request)
}

#[test]
fn a_start_whose_answer_is_lost_is_asked_for_again_and_starts_one_run() {
    let project = Project::with("hello", "steps: [{id: say, run: echo log}]\n");
    let node = project.up();
    let direct = Elsewhere::new(&project, &node, "operator");
    let address = loses_one_answer(Api::nobody(&node).address, "POST /api/v1/runs ");
    let there = Elsewhere::at(&format!("http://{address}"), &direct.token);
    let said: Said = there.call(&["run", "hello", "--json"]).expect(0);
    assert_eq!(said.json()["status"], "success");
    let runs = project.call(&["runs", "list", "--json"]).expect(0).json();
    assert_eq!(runs.as_array().map(Vec::len), Some(1), "{runs}");
}

#[test]
fn a_repetition_whose_answer_is_lost_is_asked_for_again_and_makes_one_run() {
    let project = Project::with("hello", "steps: [{id: say, run: 'exit 1', retry: never}]\n");
    let node = project.up();
    let direct = Elsewhere::new(&project, &node, "operator");
    direct.call(&["run", "hello"]).expect(1);
    let address = loses_one_answer(Api::nobody(&node).address, "/retry ");
    let there = Elsewhere::at(&format!("http://{address}"), &direct.token);
    there.call(&["runs", "retry", "last"]).expect(1);
    let runs = project.call(&["runs", "list", "--json"]).expect(0).json();
    assert_eq!(runs.as_array().map(Vec::len), Some(2), "{runs}");
}

#[test]
fn what_must_not_be_done_twice_is_not_asked_for_again() {
    let project = Project::with("hello", "steps: [{id: say, run: echo log}]\n");
    let node = project.up();
    let direct = Elsewhere::new(&project, &node, "admin");
    let address = loses_one_answer(Api::nobody(&node).address, "POST /api/v1/tokens ");
    let there = Elsewhere::at(&format!("http://{address}"), &direct.token);
    let said = there.call(&["token", "create", "once"]).expect(6);
    assert!(said.err.contains("what was asked for may have been done"), "{}", said.err);
    let tokens = project.call(&["token", "list", "--json"]).expect(0).json();
    let once = tokens.as_array().expect("a list").iter().filter(|token| token["name"] == "once");
    assert_eq!(once.count(), 1, "{tokens}");
}
