//! A node that answers some requests and others not, or says that it is busy: whoever follows
//! something there is not held by it.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};

use rustix::process::Signal;

use super::Elsewhere;
use super::breaks::read_request;
use crate::http::Api;
use crate::project::{Project, signal};

const WAITS: &str = "\
steps:
  - {id: say, run: echo log}
  - {id: ask, depends_on: [say], approve: {title: 'go on?'}}
";

/// What stands between somebody and a node does with a request.
enum Does {
    Passes,
    /// Takes it, and keeps the connection open.
    IsSilent,
    Says(String),
}

/// Stands before a node; tells of each request that is not passed on.
fn before(
    to: String,
    does: impl Fn(&str) -> Does + Send + Sync + 'static,
) -> (String, Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let (sender, kept) = channel();
    let does = Arc::new(does);
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let (to, does, sender) = (to.clone(), does.clone(), sender.clone());
            std::thread::spawn(move || {
                let Some(request) = read_request(&client) else { return };
                match does(&String::from_utf8_lossy(&request)) {
                    Does::Passes => {
                        let mut node = TcpStream::connect(&to).expect("the node listens");
                        node.write_all(&request).expect("it reads");
                        // The command may have gone.
                        let _ = std::io::copy(&mut node, &mut &client);
                    }
                    Does::IsSilent => {
                        let _ = sender.send(());
                        // Until the command goes.
                        let _ = std::io::copy(&mut &client, &mut std::io::sink());
                    }
                    Does::Says(answer) => {
                        let _ = (&client).write_all(answer.as_bytes());
                        let _ = sender.send(());
                    }
                }
            });
        }
    });
    (url, kept)
}

#[test]
fn whoever_follows_something_goes_at_once_although_a_node_never_answers() {
    let project = Project::with("waits", WAITS);
    let node = project.up();
    let direct = Elsewhere::new(&project, &node, "operator");
    let address = Api::nobody(&node).address;
    for args in [
        &["run", "waits", "--watch"][..],
        &["runs", "watch", "last"],
        &["runs", "logs", "last", "--follow"],
        &["events", "tail", "--follow"],
    ] {
        // All is answered until nothing is.
        let silent = Arc::new(AtomicBool::new(false));
        let is_silent = silent.clone();
        let (url, kept) =
            before(address.clone(), move |_| match is_silent.load(Ordering::SeqCst) {
                true => Does::IsSilent,
                false => Does::Passes,
            });
        let there = Elsewhere::at(&url, &direct.token);
        let mut command = there.command(args);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it can be started");
        let mut lines = BufReader::new(child.stdout.as_mut().expect("it is piped"));
        let mut line = String::new();
        lines.read_line(&mut line).expect("it says something");
        assert_ne!(line, "", "{args:?}");
        silent.store(true, Ordering::SeqCst);
        kept.recv().expect("a request that is not answered");
        signal(child.id(), Signal::INT);
        assert_eq!(child.wait().expect("it ends").code(), Some(130), "{args:?}");
    }
}

#[test]
fn a_stream_that_is_refused_for_long_keeps_nobody_from_what_happens() {
    let project = Project::with("hello", "steps: [{id: say, run: echo log}]\n");
    let node = project.up();
    let direct = Elsewhere::new(&project, &node, "operator");
    let busy = "{\"code\":\"too_many_requests\",\"detail\":\"too many requests\"}";
    let answer = format!(
        "HTTP/1.1 429 Too Many Requests\r\nConnection: close\r\nRetry-After: 999999\r\n\
         Content-Type: application/problem+json\r\nContent-Length: {}\r\n\r\n{busy}",
        busy.len()
    );
    let (url, _kept) = before(Api::nobody(&node).address, move |request| {
        match request.contains("/api/v1/events/stream") {
            true => Does::Says(answer.clone()),
            false => Does::Passes,
        }
    });
    let there = Elsewhere::at(&url, &direct.token);
    let said = there.call(&["run", "hello", "--watch"]).expect(0);
    assert!(said.out.contains("say succeeded"), "{}", said.out);
}
