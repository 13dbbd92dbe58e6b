//! A server that behaves as the YouTube Data API v3 documents it, as far as uploads go: OAuth tokens,
//! resumable sessions, the uploads playlist, videos, thumbnails. Faults can be ordered.
//!
//! It is a model with state: what a test asserts is what the channel holds in the end.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value as Json, json};

pub const CLIENT_SECRET: &str = "client-secret-52f1";
pub const REFRESH_TOKEN: &str = "refresh-token-a9c3";
/// Google stores uploads in units of this.
const UNIT: usize = 256 * 1024;

/// What goes wrong next; each is used up by going wrong once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection breaks after this many bytes of a chunk.
    Cut(usize),
    /// A chunk arrives whole and only its beginning is kept: 308 with a smaller range.
    Partial(usize),
    /// A chunk or a question is answered with this status, and nothing is kept.
    Status(u16),
    /// The last chunk arrives, the video is made, and the answer is lost.
    LoseAnswer,
    /// The token is refused, although it should live.
    Unauthorized,
    /// The quota is used up.
    Quota,
    /// The session is forgotten.
    Forget,
    /// The address of the session is on another host.
    Elsewhere,
}

#[derive(Default)]
pub struct State {
    pub faults: Vec<Fault>,
    pub tokens: u32,
    refused: Vec<String>,
    sessions: BTreeMap<String, Upload>,
    pub videos: Vec<Video>,
    /// Each request: method, path without query, and what it asked or brought.
    pub seen: Vec<String>,
    pub revoked: bool,
}

struct Upload {
    resource: Json,
    total: usize,
    bytes: Vec<u8>,
    video: Option<usize>,
}

#[derive(Clone)]
pub struct Video {
    pub id: String,
    pub resource: Json,
    pub bytes: Vec<u8>,
    pub thumbnail: Option<Vec<u8>>,
}

#[derive(Clone)]
pub struct Server {
    pub url: String,
    state: Arc<Mutex<State>>,
}

struct Request {
    method: String,
    path: String,
    query: BTreeMap<String, String>,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
}

fn answer(status: u16, body: &Json) -> Answer {
    Answer { status, headers: Vec::new(), body: body.to_string() }
}

fn refusal(status: u16, reason: &str) -> Answer {
    let error =
        json!({"code": status, "message": format!("no: {reason}"), "errors": [{"reason": reason}]});
    answer(status, &json!({ "error": error }))
}

impl Server {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let server = Self { url, state: Arc::default() };
        let serving = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, serving) = (stream.expect("a connection"), serving.clone());
                std::thread::spawn(move || serving.serve(&mut stream));
            }
        });
        server
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("not poisoned")
    }

    pub fn order(&self, faults: &[Fault]) {
        self.state().faults.extend(faults);
    }

    /// The secrets of an account that this server knows.
    pub fn secrets(&self) -> [(String, String); 5] {
        [
            ("YOUTUBE_CLIENT_ID", "client-1"),
            ("YOUTUBE_CLIENT_SECRET", CLIENT_SECRET),
            ("YOUTUBE_REFRESH_TOKEN", REFRESH_TOKEN),
            ("YOUTUBE_API_URL", &format!("{}/", self.url)),
            ("YOUTUBE_TOKEN_URL", &format!("{}/token", self.url)),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
    }

    fn serve(&self, stream: &mut TcpStream) {
        let Some((mut request, length)) = read_head(stream) else { return };
        let cut = {
            let mut state = self.state();
            let uploads = request.path.starts_with("/session/") && length > 0;
            match state.faults.first() {
                Some(Fault::Cut(after)) if uploads => {
                    let after = *after;
                    state.faults.remove(0);
                    Some(after.min(length))
                }
                _ => None,
            }
        };
        request.body = vec![0; cut.unwrap_or(length)];
        if stream.read_exact(&mut request.body).is_err() {
            return;
        }
        let given = self.handle(&request, cut.is_some());
        let Some(given) = given else { return };
        let mut head = format!("HTTP/1.1 {} X\r\nConnection: close\r\n", given.status);
        for (name, value) in &given.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n", given.body.len()));
        // Whoever asked may have gone.
        let _ = stream.write_all((head + &given.body).as_bytes());
    }

    /// The answer; none when the connection breaks.
    fn handle(&self, request: &Request, cut: bool) -> Option<Answer> {
        let mut state = self.state();
        let range = request.headers.get("content-range").map_or("", String::as_str);
        state.seen.push(format!("{} {} {range}", request.method, request.path).trim().to_owned());
        if request.path == "/token" {
            return Some(state.token(&String::from_utf8_lossy(&request.body)));
        }
        let token = request.headers.get("authorization").map_or("", String::as_str);
        let expected = format!("Bearer access-{}", state.tokens);
        if token != expected || state.refused.contains(&expected) {
            return Some(refusal(401, "authError"));
        }
        if state.take(Fault::Unauthorized) {
            state.refused.push(expected);
            return Some(refusal(401, "authError"));
        }
        let id = request.path.strip_prefix("/session/");
        match (request.method.as_str(), request.path.as_str()) {
            ("PUT", _) if id.is_some() => state.put(id.unwrap_or_default(), request, cut),
            ("POST", "/upload/youtube/v3/videos") => Some(state.begin(request, &self.url)),
            ("POST", "/upload/youtube/v3/thumbnails/set") => Some(state.thumbnail(request)),
            ("GET", "/youtube/v3/channels") => Some(answer(
                200,
                &json!({"items": [{"contentDetails": {"relatedPlaylists": {"uploads": "UU1"}}}]}),
            )),
            ("GET", "/youtube/v3/playlistItems") => Some(state.playlist(request)),
            ("GET", "/youtube/v3/videos") => Some(state.list(request)),
            _ => Some(refusal(404, "notFound")),
        }
    }
}

impl State {
    fn take(&mut self, fault: Fault) -> bool {
        let next = self.faults.first() == Some(&fault);
        if next {
            self.faults.remove(0);
        }
        next
    }

    fn token(&mut self, form: &str) -> Answer {
        let has = |pair: String| form.split('&').any(|part| part == pair);
        let known = has(format!("client_secret={CLIENT_SECRET}"))
            && has(format!("refresh_token={REFRESH_TOKEN}"))
            && has("client_id=client-1".into())
            && has("grant_type=refresh_token".into());
        if self.revoked || !known {
            let error = json!({"error": "invalid_grant", "error_description": "revoked"});
            return answer(400, &error);
        }
        self.tokens += 1;
        let token = format!("access-{}", self.tokens);
        answer(200, &json!({"access_token": token, "expires_in": 3599, "token_type": "Bearer"}))
    }

    fn begin(&mut self, request: &Request, url: &str) -> Answer {
        if self.take(Fault::Quota) {
            return refusal(403, "quotaExceeded");
        }
        let header = |name: &str| request.headers.get(name).map_or("", String::as_str);
        let resumable = request.query.get("uploadType").is_some_and(|t| t == "resumable");
        let resource: Json = serde_json::from_slice(&request.body).unwrap_or_default();
        let total = header("x-upload-content-length").parse().unwrap_or(0);
        if !resumable || total == 0 || !header("x-upload-content-type").starts_with("video/") {
            return refusal(400, "badRequest");
        }
        let id = format!("s{}", self.sessions.len() + 1);
        let upload = Upload { resource, total, bytes: Vec::new(), video: None };
        self.sessions.insert(id.clone(), upload);
        let host = if self.take(Fault::Elsewhere) { "https://evil.example" } else { url };
        Answer {
            status: 200,
            headers: vec![("Location", format!("{host}/session/{id}"))],
            body: String::new(),
        }
    }

    fn put(&mut self, id: &str, request: &Request, cut: bool) -> Option<Answer> {
        if let Some(Fault::Status(status)) = self.faults.first().copied() {
            self.faults.remove(0);
            return Some(refusal(status, "backendError"));
        }
        if self.take(Fault::Forget) {
            self.sessions.remove(id);
        }
        let keep = match self.faults.first().copied() {
            Some(Fault::Partial(keep)) if !request.body.is_empty() => {
                self.faults.remove(0);
                Some(keep)
            }
            _ => None,
        };
        let lose = self.faults.first() == Some(&Fault::LoseAnswer);
        let Some(upload) = self.sessions.get_mut(id) else {
            return Some(refusal(404, "notFound"));
        };
        let range = request.headers.get("content-range").map_or("", String::as_str);
        let (part, total) = range.strip_prefix("bytes ")?.split_once('/')?;
        assert_eq!(total.parse(), Ok(upload.total), "{range}");
        if part != "*" && upload.video.is_none() {
            let (first, last) = part.split_once('-')?;
            let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
            assert!(first <= upload.bytes.len(), "a gap before {range}");
            let ends = last + 1 == upload.total;
            assert!(ends || (last + 1 - first).is_multiple_of(UNIT), "{range}");
            let mut arrived = request.body.len();
            if cut {
                arrived -= arrived % UNIT;
            }
            arrived = arrived.min(keep.unwrap_or(arrived));
            upload.bytes.truncate(first);
            upload.bytes.extend_from_slice(&request.body[..arrived]);
        }
        if upload.bytes.len() == upload.total && upload.video.is_none() {
            upload.video = Some(self.videos.len());
            self.videos.push(Video {
                id: format!("vid{}", self.videos.len() + 1),
                resource: upload.resource.clone(),
                bytes: upload.bytes.clone(),
                thumbnail: None,
            });
            if lose {
                self.faults.remove(0);
                return None;
            }
        }
        if cut {
            return None;
        }
        let upload = &self.sessions[id];
        match upload.video {
            Some(at) => Some(answer(201, &resource(&self.videos[at]))),
            None => {
                let headers = match upload.bytes.len() {
                    0 => Vec::new(),
                    n => vec![("Range", format!("bytes=0-{}", n - 1))],
                };
                Some(Answer { status: 308, headers, body: String::new() })
            }
        }
    }

    fn thumbnail(&mut self, request: &Request) -> Answer {
        let id = request.query.get("videoId").cloned().unwrap_or_default();
        match self.videos.iter_mut().find(|video| video.id == id) {
            Some(video) => {
                video.thumbnail = Some(request.body.clone());
                answer(200, &json!({"items": [{}]}))
            }
            None => refusal(404, "videoNotFound"),
        }
    }

    /// Newest first, in pages of what is asked for.
    fn playlist(&self, request: &Request) -> Answer {
        let number = |name: &str, or: usize| {
            request.query.get(name).and_then(|text| text.parse().ok()).unwrap_or(or)
        };
        let (from, most) = (number("pageToken", 0), number("maxResults", 5));
        let item = |video: &Video| json!({"contentDetails": {"videoId": video.id}});
        let items: Vec<Json> = self.videos.iter().rev().skip(from).take(most).map(item).collect();
        let mut page = json!({ "items": items });
        if from + most < self.videos.len() {
            page["nextPageToken"] = (from + most).to_string().into();
        }
        answer(200, &page)
    }

    fn list(&self, request: &Request) -> Answer {
        let ids = request.query.get("id").cloned().unwrap_or_default();
        let known = |id: &str| self.videos.iter().find(|video| video.id == id);
        let items: Vec<Json> = ids.split(',').filter_map(known).map(resource).collect();
        answer(200, &json!({ "items": items }))
    }
}

fn resource(video: &Video) -> Json {
    let mut resource = video.resource.clone();
    resource["id"] = video.id.as_str().into();
    let views = (video.bytes.len() % 1000).to_string();
    resource["statistics"] = json!({"viewCount": views, "likeCount": "3"});
    resource
}

/// A request up to its body, and how long that is.
fn read_head(stream: &mut TcpStream) -> Option<(Request, usize)> {
    let (mut text, mut byte) = (Vec::new(), [0]);
    while !text.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        text.push(byte[0]);
    }
    let text = String::from_utf8(text).expect("text");
    let mut lines = text.lines();
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let query = pairs.map(|(name, value)| (name.to_owned(), value.replace("%2C", ","))).collect();
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.get("content-length").and_then(|n| n.parse().ok()).unwrap_or(0);
    let path = path.to_owned();
    Some((Request { method, path, query, headers, body: Vec::new() }, length))
}
