//! Calls of a node's API over a plain socket, byte by byte where a test wants that.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use serde_json::Value as Json;

use crate::project::{Node, Project};

/// A node's API, as somebody with a token sees it.
#[derive(Clone)]
pub struct Api {
    /// `127.0.0.1:41234`.
    pub address: String,
    token: Option<String>,
    /// The address that it asks from; none = whichever.
    from: Option<[u8; 4]>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// With its end, as it came.
    pub head: String,
    pub body: String,
}

/// Before a node is asked again: half as often as one token may, or a fast machine is told to wait.
pub fn pause() {
    std::thread::sleep(Duration::from_millis(10));
}

impl Api {
    /// Nobody.
    pub fn nobody(node: &Node) -> Self {
        let line = node.said.lines().find_map(|line| line.trim().strip_prefix("dashboard"));
        let url = line.expect("the node says where the dashboard is").trim();
        let address = url.strip_prefix("http://").expect("it is an address").to_owned();
        Self { address, token: None, from: None }
    }

    /// Nobody, somewhere else.
    pub fn at(address: String) -> Self {
        Self { address, token: None, from: None }
    }

    /// The same from an address that nobody has asked from.
    pub fn another_address(&self) -> Self {
        static ASKED: AtomicU16 = AtomicU16::new(1);
        let [high, low] = ASKED.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        self.clone().from([127, 1, high, low])
    }

    /// The same from an address of this machine.
    pub fn from(self, address: [u8; 4]) -> Self {
        Self { from: Some(address), ..self }
    }

    /// A connection.
    pub fn connect(&self) -> TcpStream {
        let Some(from) = self.from else {
            return TcpStream::connect(&self.address).expect("it listens");
        };
        let connect = async {
            let socket = tokio::net::TcpSocket::new_v4()?;
            socket.bind((from, 0).into())?;
            socket.connect(self.address.parse().expect("an address")).await?.into_std()
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let stream = runtime.expect("a runtime").block_on(connect).expect("it listens");
        stream.set_nonblocking(false).expect("it can be waited for");
        stream
    }

    /// Somebody with a new token of this role.
    pub fn with_role(project: &Project, node: &Node, role: &str) -> Self {
        let made = project.call(&["token", "create", role, "--role", role, "-q"]).expect(0);
        Self { token: Some(made.out.trim().to_owned()), ..Self::nobody(node) }
    }

    /// Somebody with a new token of this role that is narrowed to these scopes.
    pub fn with_scopes(project: &Project, node: &Node, role: &str, scopes: &[&str]) -> Self {
        let mut args = vec!["token", "create", role, "--role", role, "-q"];
        args.extend(scopes.iter().flat_map(|scope| ["--scope", scope]));
        let made = project.call(&args).expect(0);
        Self { token: Some(made.out.trim().to_owned()), ..Self::nobody(node) }
    }

    /// The token.
    pub fn token(&self) -> &str {
        self.token.as_deref().expect("somebody")
    }

    /// Sends bytes, and reads to the end.
    pub fn raw(&self, request: &[u8]) -> Answer {
        let mut stream = self.connect();
        stream.write_all(request).expect("it reads");
        let mut answer = Vec::new();
        // It may cut off what it refuses.
        let _ = stream.read_to_end(&mut answer);
        Answer::read(&String::from_utf8_lossy(&answer))
    }

    /// Sends a request with more headers (each with its line end) and a body.
    pub fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n{headers}");
        if !headers.contains("Host:") {
            head.push_str(&format!("Host: {}\r\n", self.address));
        }
        if let Some(token) = &self.token {
            head.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        if !body.is_empty() {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        loop {
            let answer = self.raw(format!("{head}\r\n{body}").as_bytes());
            // Who asks that often is told to wait now and then.
            if answer.status != 429 || self.token.is_none() {
                return answer;
            }
            pause();
        }
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, "", "")
    }

    pub fn post(&self, path: &str, body: &Json) -> Answer {
        self.send("POST", path, "Content-Type: application/json\r\n", &body.to_string())
    }

    /// Asks until the answer is as wanted.
    pub fn until(&self, path: &str, wanted: impl Fn(&Json) -> bool) -> Json {
        self.until_answer(path, |answer| wanted(&answer.json())).json()
    }

    /// Asks until the answer is as wanted, of whatever form.
    pub fn until_answer(&self, path: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
        loop {
            let answer = self.get(path).expect(200);
            if wanted(&answer) {
                return answer;
            }
            pause();
        }
    }

    /// The result of a run, when it has ended.
    pub fn ended(&self, run: &str) -> Json {
        self.until(&format!("/api/v1/runs/{run}"), |result| result["status"] != "running")
    }
}

impl Answer {
    pub fn read(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Self { status, head: format!("{head}\r\n"), body: body.to_owned() }
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}\n{}", self.head, self.body);
        self
    }

    /// Refused, with this code.
    #[track_caller]
    pub fn refused(self, status: u16, code: &str) -> Json {
        let answer = self.expect(status);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        let problem = answer.json();
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status);
        assert_eq!(problem["request"].as_str(), answer.header("x-request-id"));
        problem
    }

    #[track_caller]
    pub fn json(&self) -> Json {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// Its headers, with names in lower case.
    pub fn headers(&self) -> Vec<(String, String)> {
        let pairs = self.head.lines().filter_map(|line| line.split_once(": "));
        pairs.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let pairs = self.head.lines().filter_map(|line| line.split_once(": "));
        pairs.into_iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}
