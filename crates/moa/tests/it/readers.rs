//! Those who listen to live events and don't read them, with the real binary: nobody waits for them,
//! they take little memory, they are cut off, and have what they missed when they come back.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use serde_json::{Value as Json, json};
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};

use crate::http::{Api, pause};
use crate::project::{Node, Project};

const HELLO: &str = "\
params: {text: {type: string, default: ''}}
steps: [{id: say, run: 'true'}]
";

/// How long a reader may read nothing, in milliseconds.
const READER_WAIT_MS: &str = "4000";
/// Listeners of each sort that read nothing.
const DEAF: usize = 15;
/// Runs whose events they would get, and bytes of each: together more than what lies between two
/// programs holds.
const RUNS: usize = 200;
const RUN_BYTES: usize = 20_000;
/// Bytes by which the node may grow meanwhile: far less than what all of them would get.
const GROWTH_BYTES_MAX: u64 = 48 << 20;

/// A node that waits for readers as long as said.
fn shop() -> (Project, Node, Api) {
    let project = Project::with("hello", HELLO);
    let mut command = project.command(&["up"]);
    command.env("MOA_TEST_SERVER_WAIT_MS", READER_WAIT_MS);
    let node = Node::start(command);
    let api = Api::with_role(&project, &node, "operator");
    (project, node, api)
}

/// The most memory that a process has had.
fn peak_bytes(node: &Node) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", node.pid())).expect("it lives");
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).expect("VmHWM");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

/// The connections to a node that it has not closed, by the ports of their other ends.
fn open_ends(api: &Api) -> BTreeSet<u16> {
    let port: u16 = api.address.rsplit(':').next().and_then(|p| p.parse().ok()).expect("a port");
    let table = fs::read_to_string("/proc/net/tcp").expect("Linux");
    let ends = table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let of = |field: &str| u16::from_str_radix(field.rsplit(':').next()?, 16).ok();
        let (local, other, state) = (of(fields.next()?)?, of(fields.next()?)?, fields.next()?);
        // Established, or closed by the other end alone.
        (local == port && matches!(state, "01" | "08")).then_some(other)
    });
    ends.collect()
}

/// A listener from the first event on, which has read that it is one, and nothing else.
enum Deaf {
    Sent(BufReader<TcpStream>),
    Socket(Box<WebSocket<TcpStream>>),
}

/// A connection that holds little of what nobody reads: otherwise what a listener would get could all
/// lie between the two programs, and nobody would wait for anything.
pub fn connect(api: &Api) -> TcpStream {
    let connect = async {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(4096)?;
        socket.connect(api.address.parse().expect("an address")).await?.into_std()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let stream = runtime.expect("a runtime").block_on(connect).expect("it listens");
    stream.set_nonblocking(false).expect("it can be waited for");
    stream
}

impl Deaf {
    fn sent(api: &Api, headers: &str) -> Self {
        let mut stream = connect(api);
        let (host, token) = (&api.address, api.token());
        let request = format!(
            "GET /api/v1/events/stream?after=0 HTTP/1.0\r\nHost: {host}\r\n\
             Authorization: Bearer {token}\r\n{headers}\r\n"
        );
        stream.write_all(request.as_bytes()).expect("it reads");
        // A large buffer would read ahead.
        let mut reader = BufReader::with_capacity(64, stream);
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line).expect("it answers");
            assert_ne!(line, "");
        }
        Self::Sent(reader)
    }

    fn socket(api: &Api, after: &str) -> Self {
        let url = format!("ws://{}/api/v1/events/stream?after={after}", api.address);
        let mut request = url.into_client_request().expect("a request");
        let bearer = format!("Bearer {}", api.token()).parse().expect("a header");
        request.headers_mut().insert("authorization", bearer);
        let stream = connect(api);
        let (socket, _) = tungstenite::client(request, stream).expect("a socket");
        Self::Socket(Box::new(socket))
    }

    fn end(&self) -> u16 {
        let stream = match self {
            Self::Sent(reader) => reader.get_ref(),
            Self::Socket(socket) => socket.get_ref(),
        };
        stream.local_addr().expect("an address").port()
    }

    /// The id of the next event; `None` = the connection has ended.
    fn next(&mut self) -> Option<String> {
        match self {
            Self::Sent(reader) => {
                let (mut id, mut line) = (None, String::new());
                loop {
                    line.clear();
                    let read = reader.read_line(&mut line).unwrap_or(0);
                    if read == 0 || !line.ends_with('\n') {
                        return None;
                    }
                    match line.trim_end() {
                        // An event that has come in part is none.
                        "" if id.is_some() => return id,
                        line => {
                            id = line.strip_prefix("id: ").map(str::to_owned).or(id);
                        }
                    }
                }
            }
            Self::Socket(socket) => loop {
                match socket.read() {
                    Ok(Message::Text(text)) => {
                        let event: Json = serde_json::from_str(text.as_str()).expect("JSON");
                        return event["id"].as_str().map(str::to_owned);
                    }
                    Ok(Message::Close(_)) | Err(_) => return None,
                    Ok(_) => {}
                }
            },
        }
    }
}

fn all(api: &Api) -> Vec<String> {
    let (mut ids, mut after) = (Vec::new(), "0".to_owned());
    loop {
        let page = api.get(&format!("/api/v1/events?after={after}")).expect(200).json();
        let events = page["events"].as_array().expect("a list");
        ids.extend(events.iter().filter_map(|event| event["id"].as_str().map(str::to_owned)));
        if page["next"] == json!(page["newest"].to_string()) {
            return ids;
        }
        page["next"].as_str().expect("a mark").clone_into(&mut after);
    }
}

#[test]
fn who_reads_nothing_is_cut_off_and_has_all_when_it_comes_back() {
    let (project, node, api) = shop();
    let text = "x".repeat(RUN_BYTES);
    let body = json!({"workflow": "hello", "params": {"text": text}});
    let runs: Vec<Json> =
        (0..RUNS).map(|_| api.post("/api/v1/runs", &body).expect(201).json()).collect();
    for run in &runs {
        assert_eq!(api.ended(run["run"].as_str().expect("an id"))["status"], "success");
    }
    let before = peak_bytes(&node);
    let mut deaf: Vec<Deaf> = (0..DEAF).map(|_| Deaf::sent(&api, "")).collect();
    deaf.extend((0..DEAF).map(|_| Deaf::socket(&api, "0")));
    let mut ends: BTreeSet<u16> = deaf.iter().map(Deaf::end).collect();
    // The engine goes on, and so does whoever reads.
    project.call(&["run", "hello"]).expect(0);
    let ids = all(&api);
    let mut reader = Deaf::socket(&api, "0");
    for id in &ids {
        assert_eq!(reader.next().as_ref(), Some(id));
    }
    // They don't read, so it is the node that ends each of them.
    while !ends.is_empty() {
        let open = open_ends(&api);
        ends.retain(|end| open.contains(end));
        api.get("/readyz").expect(200);
        pause();
    }
    let growth = peak_bytes(&node).saturating_sub(before);
    println!("the node grew by {} KiB", growth >> 10);
    assert!(growth < GROWTH_BYTES_MAX, "the node grew by {} MiB", growth >> 20);

    project.call(&["run", "hello"]).expect(0);
    let ids = all(&api);
    // What lay between is still there to read, and is cut off somewhere.
    for mut deaf in deaf {
        let mut had: Vec<String> = std::iter::from_fn(|| deaf.next()).collect();
        assert!(had.len() < ids.len(), "it was not cut off");
        let last = had.last().cloned().unwrap_or_else(|| "0".into());
        let mut again = match deaf {
            Deaf::Sent(_) => Deaf::sent(&api, &format!("Last-Event-ID: {last}\r\n")),
            Deaf::Socket(_) => Deaf::socket(&api, &last),
        };
        while had.len() < ids.len() {
            had.push(again.next().expect("it goes on"));
        }
        assert_eq!(had, ids);
    }
}
