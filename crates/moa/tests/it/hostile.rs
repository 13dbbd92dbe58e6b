//! What must not work: strangers on the socket, secrets in what is shown.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use serde_json::{Value as Json, json};

use crate::project::Project;

struct Raw {
    read: BufReader<UnixStream>,
    write: UnixStream,
}

impl Raw {
    fn connect(project: &Project) -> Self {
        let write = UnixStream::connect(project.root.join(".moa/moa.sock")).expect("it listens");
        let read = BufReader::new(write.try_clone().expect("a second end"));
        Self { read, write }
    }

    fn send(&mut self, bytes: &[u8]) {
        // The node may have closed already.
        let _ = self.write.write_all(bytes);
    }

    fn reply(&mut self) -> Option<Json> {
        let mut line = String::new();
        match self.read.read_line(&mut line) {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(serde_json::from_str(&line).expect("a line of JSON")),
        }
    }
}

#[test]
fn nonsense_on_the_socket_is_refused_and_hurts_nobody() {
    let project = Project::with("hello", "steps:\n  - run: echo hi\n");
    let _node = project.up();
    let mode = std::fs::metadata(project.root.join(".moa/moa.sock")).expect("it is there");
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);

    let hello = b"{\"op\":\"hello\",\"protocol\":2}\n";
    let first: [&[u8]; 5] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"{\"op\":\"status\"}\n",
        b"{\"op\":\"hello\",\"protocol\":999}\n",
        b"{\"op\":\"nothing\"}\n",
        b"\xff\xfe\n",
    ];
    for bytes in first {
        let mut raw = Raw::connect(&project);
        raw.send(bytes);
        let reply = raw.reply().expect("a reply");
        assert_eq!(reply["reply"], "error", "{reply}");
        assert_eq!(raw.reply(), None, "the connection is closed");
    }
    let mut raw = Raw::connect(&project);
    raw.send(hello);
    assert_eq!(raw.reply().expect("a reply")["reply"], "hello");
    raw.send(b"{\"op\":\"status\"}\n");
    assert_eq!(raw.reply().expect("a reply")["reply"], "status");
    let deep = format!("{{\"op\":\"start\",\"params\":{}", "[".repeat(100_000));
    raw.send(deep.as_bytes());
    raw.send(b"\n");
    assert_eq!(raw.reply().expect("a reply")["reply"], "error");

    let mut raw = Raw::connect(&project);
    raw.send(hello);
    raw.reply();
    for _ in 0..100 {
        raw.send(&[b'x'; 64 << 10]);
    }
    let reply = raw.reply();
    assert!(reply.is_none_or(|r| r["reply"] == "error"));
    // Cut off in the middle, and never read.
    Raw::connect(&project).send(b"{\"op\":");
    assert_eq!(project.run("hello")["status"], "success");
}

#[test]
fn secrets_are_used_and_never_shown() {
    let workflow = r#"
steps:
  - id: call
    agent: caller
    action: call
    params: {token: "${{ secrets.TOKEN }}"}
    env: {AUTH: "Bearer ${{ secrets.TOKEN }}"}
"#;
    let project = Project::with("call", workflow);
    project.write(
        "agents/caller.yaml",
        "command: [sh, -c, 'cat > got; printenv AUTH >> got; printenv AUTH; cat got >&2']\n",
    );
    project.write(".env", "TOKEN=hunter2-and-more\n");
    let said = project.call(&["run", "call", "--json"]).expect(0);
    assert!(project.read("got").contains("hunter2-and-more"), "the agent had it");
    let shown = [
        said.out,
        project.call(&["export"]).out,
        project.call(&["runs", "logs", "last"]).out,
        project.call(&["runs", "show", "last"]).out,
        project.call(&["state"]).out,
        project.call(&["config", "--json"]).out,
        project.read(".moa/log/moa.log"),
        String::from_utf8_lossy(&std::fs::read(project.root.join(".moa/moa.db")).expect("db"))
            .into(),
    ];
    for (i, text) in shown.iter().enumerate() {
        assert!(!text.contains("hunter2"), "{i}: {text}");
    }
}

#[test]
fn texts_of_agents_cannot_command_a_terminal() {
    let project = Project::with(
        "evil",
        "steps:\n  - {id: a, run: \"printf '\\\\033]0;owned\\\\007bad' >&2; exit 2\", retry: never}\n",
    );
    let said = project.call(&["run", "evil"]).expect(1);
    assert!(!said.out.contains('\x1b') && !said.err.contains('\x1b'), "{:?}", said.out);
    let shown = project.call(&["runs", "show", "last"]).expect(0);
    assert!(!shown.out.contains('\x1b'), "{:?}", shown.out);
}

#[test]
fn params_of_the_wrong_shape_reach_no_agent() {
    let project = Project::with(
        "typed",
        "params: {n: {type: integer, minimum: 1}}\nsteps:\n  - run: touch ran\n",
    );
    let _node = project.up();
    for value in ["0", "one", "1.5", ""] {
        project.call(&["run", "typed", "-p", &format!("n={value}")]).expect(2);
    }
    assert!(!project.root.join("ran").exists());
    let result = project.call(&["run", "typed", "-p", "n=1", "--json"]).expect(0).json();
    assert_eq!(result["metrics"]["failedSteps"], json!(0));
}
