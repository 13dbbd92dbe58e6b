//! Hostile requests against the real server: each has one safe outcome, and hurts nobody.
//!
//! Tokens of issuers are attacked in [`crate::jwt`] and [`crate::oidc`], TLS in [`crate::tls`], signing
//! in in [`crate::access`]; what stands in pages is looked at in [`crate::pages`] too.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value as Json, json};

use crate::http::{Answer, Api};
use crate::project::{Node, Project};

const TAG: &str = concat!("x-re", "quest-id");
const JSON: &str = "Content-Type: application/json\r\n";
const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";

/// What comes of an attack: exactly this.
#[derive(Clone, Copy, Debug)]
enum Want {
    /// A problem document with this status and code.
    Refused(u16, &'static str),
    /// This status and nothing else: it was no request of HTTP.
    Bare(u16),
    /// The connection is cut without an answer.
    Cut,
}

use Want::{Bare, Cut, Refused};

/// The token is not known, or there is none.
const NOBODY: Want = Refused(401, "unauthenticated");
/// It is understood, and wrong.
const WRONG: Want = Refused(400, "invalid_request");
/// There is nothing.
const NOTHING: Want = Refused(404, "not_found");
/// It is for another host.
const ELSEWHERE: Want = Refused(421, "host_not_allowed");

impl Want {
    #[track_caller]
    fn check(self, what: &str, said: Answer) {
        let (status, body) = match self {
            Refused(status, code) => {
                assert_eq!(said.status, status, "{what}: {}\n{}", said.head, said.body);
                let problem = said.json();
                assert_eq!(problem["code"], code, "{what}: {problem}");
                assert_eq!(said.header("content-type"), Some("application/problem+json"), "{what}");
                return;
            }
            Bare(status) => (status, ""),
            Cut => (0, ""),
        };
        assert_eq!((said.status, said.body.as_str()), (status, body), "{what}: {}", said.head);
    }
}

/// A shop with a node, and everybody who may ask.
struct World {
    project: Project,
    node: Node,
    nobody: Api,
    viewer: Api,
    operator: Api,
    admin: Api,
}

impl World {
    fn new() -> Self {
        let project = Project::with("hello", "steps:\n  - {id: hello, run: echo hi}\n");
        let mut command = project.command(&["up"]);
        command.env("MOA_TEST_SERVER_WAIT_MS", "700");
        let node = Node::start(command);
        let of = |role: &str| Api::with_role(&project, &node, role);
        let (viewer, operator, admin) = (of("viewer"), of("operator"), of("admin"));
        Self { nobody: Api::nobody(&node), viewer, operator, admin, project, node }
    }

    /// Nothing has happened to the server, and it started nothing.
    #[track_caller]
    fn is_well(&self, runs: usize) {
        self.nobody.get("/readyz").expect(200);
        let listed = self.admin.get("/api/v1/runs").expect(200).json();
        assert_eq!(listed["runs"].as_array().map(Vec::len), Some(runs), "{listed}");
        let log = self.project.read(".moa/log/moa.log");
        assert!(!log.contains("panicked"), "{log}");
    }

    /// The cookie and the CSRF token of a new session of an admin.
    fn session(&self) -> (String, String) {
        let link = self.project.call(&["open", "--print"]).expect(0).out;
        let code = link.trim().rsplit_once("code=").expect("a code").1;
        let signed = self.nobody.send("POST", "/sign-in", FORM, &format!("code={code}"));
        let cookie = signed.expect(303).header("set-cookie").expect("a cookie").to_owned();
        let cookie = format!("Cookie: {}\r\n", cookie.split(';').next().expect("a pair"));
        let me = self.nobody.send("GET", "/api/v1/me", &cookie, "").expect(200).json();
        (cookie, me["csrf"].as_str().expect("a token").to_owned())
    }

    fn raw(&self, text: &str) -> Answer {
        let token = self.operator.token();
        let text = text.replace("{host}", &self.nobody.address).replace("{token}", token);
        self.nobody.raw(text.as_bytes())
    }
}

#[test]
fn who_is_not_who_they_say_gets_nothing() {
    let world = World::new();
    let token = world.admin.token().to_owned();
    let made = json!({"name": "gone", "role": "admin"});
    let gone = world.admin.post("/api/v1/tokens", &made).expect(201).json();
    let id = gone["id"].as_str().expect("an id");
    world.admin.send("DELETE", &format!("/api/v1/tokens/{id}"), "", "").expect(204);
    let brief = json!({"name": "brief", "role": "admin", "expires_in": "1ms"});
    let brief = world.admin.post("/api/v1/tokens", &brief).expect(201).json();
    let kept: Json = serde_json::from_str(&world.project.read(".moa/tokens.json")).expect("JSON");
    let entry = &kept["tokens"][0];
    let text = |value: &Json| value.as_str().expect("text").to_owned();
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let attacks = [
        ("nothing", String::new(), NOBODY),
        ("an empty token", bearer(""), NOBODY),
        ("a wrong token", bearer(&format!("moa_{}", "0".repeat(64))), NOBODY),
        ("a token that was revoked", bearer(&text(&gone["token"])), NOBODY),
        ("a token that is over", bearer(&text(&brief["token"])), NOBODY),
        ("the hash that is kept", bearer(&text(&entry["hash"])), NOBODY),
        ("the id of a token", bearer(&text(&entry["id"])), NOBODY),
        ("a token cut short", bearer(&token[..token.len() - 1]), NOBODY),
        ("a token in capitals", bearer(&token.to_uppercase()), NOBODY),
        ("two tokens in one", bearer(&format!("{token},{token}")), NOBODY),
        ("another scheme", format!("Authorization: Basic {token}\r\n"), NOBODY),
        ("no scheme", format!("Authorization: {token}\r\n"), NOBODY),
        ("a token as a cookie", format!("Cookie: moa_session={token}\r\n"), NOBODY),
        ("a token in another header", format!("X-Auth-Token: {token}\r\n"), NOBODY),
        ("a good and a wrong token", format!("{}{}", bearer(&token), bearer("moa_0")), WRONG),
        ("a wrong and a good token", format!("{}{}", bearer("moa_0"), bearer(&token)), WRONG),
        ("whom a proxy would name", "X-Forwarded-User: admin\r\n".into(), NOBODY),
        ("this machine, it says", "X-Forwarded-For: 127.0.0.1\r\n".into(), NOBODY),
    ];
    for (what, headers, want) in attacks {
        want.check(what, world.nobody.send("GET", "/api/v1/tokens", &headers, ""));
    }
    for query in ["token", "access_token", "api_key", "authorization"] {
        let path = format!("/api/v1/tokens?{query}={token}");
        NOBODY.check(query, world.nobody.get(&path));
    }
    // Roles are those of the token, whatever else is said.
    let raise = [
        ("POST", "/api/v1/tokens", r#"{"name":"x","role":"admin"}"#),
        ("DELETE", "/api/v1/tokens/tok_1", ""),
        ("GET", "/api/v1/tokens", ""),
        ("POST", "/api/v1/runs?role=admin", r#"{"workflow":"hello"}"#),
    ];
    for (method, path, body) in raise {
        let headers = format!("{JSON}X-Role: admin\r\n");
        let said = world.viewer.send(method, path, &headers, body);
        Refused(403, "forbidden").check(path, said);
    }
    world.is_well(0);
}

#[test]
fn pages_of_others_change_nothing() {
    let world = World::new();
    let (cookie, csrf) = world.session();
    let (_, other) = world.session();
    let run = r#"{"workflow":"hello"}"#;
    let missing = Refused(403, "csrf_missing");
    let attacks = [
        ("no CSRF token", JSON.to_owned(), run, missing),
        ("an empty one", format!("{JSON}X-CSRF-Token: \r\n"), run, missing),
        ("that of another session", format!("{JSON}X-CSRF-Token: {other}\r\n"), run, missing),
        ("JSON as a form sends it", "Content-Type: text/plain\r\n".into(), run, missing),
        ("a form without it", FORM.into(), "workflow=hello", missing),
        ("a form with another", FORM.into(), "csrf=0&workflow=hello", missing),
    ];
    for (what, headers, body, want) in attacks {
        want.check(
            what,
            world.nobody.send("POST", "/api/v1/runs", &format!("{cookie}{headers}"), body),
        );
    }
    let said = world.nobody.send(
        "POST",
        &format!("/api/v1/runs?csrf={csrf}"),
        &format!("{cookie}{JSON}"),
        run,
    );
    missing.check("it in the query", said);
    world.is_well(0);
}

#[test]
fn pages_of_other_origins_change_nothing() {
    let world = World::new();
    let (cookie, csrf) = world.session();
    let run = r#"{"workflow":"hello"}"#;
    let host = &world.nobody.address;
    let foreign = Refused(403, "origin_not_allowed");
    let attacks = [
        (
            "another site",
            format!("{JSON}X-CSRF-Token: {csrf}\r\nOrigin: https://evil.example\r\n"),
            run,
            foreign,
        ),
        (
            "a page in a sandbox",
            format!("{JSON}X-CSRF-Token: {csrf}\r\nOrigin: null\r\n"),
            run,
            foreign,
        ),
        (
            "another port of this machine",
            format!("{JSON}X-CSRF-Token: {csrf}\r\nOrigin: http://127.0.0.1:1\r\n"),
            run,
            foreign,
        ),
        (
            "a name that begins like this one",
            format!("{JSON}X-CSRF-Token: {csrf}\r\nOrigin: http://{host}.evil.example\r\n"),
            run,
            foreign,
        ),
        (
            "two origins",
            format!(
                "{JSON}X-CSRF-Token: {csrf}\r\nOrigin: http://{host}\r\nOrigin: http://evil\r\n"
            ),
            run,
            foreign,
        ),
    ];
    for (what, headers, body, want) in attacks {
        want.check(
            what,
            world.nobody.send("POST", "/api/v1/runs", &format!("{cookie}{headers}"), body),
        );
    }
    world.is_well(0);
}

#[test]
fn methods_are_what_the_first_line_says() {
    let world = World::new();
    let id =
        world.viewer.get("/api/v1/me").expect(200).json()["id"].as_str().expect("one").to_owned();
    for header in ["X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method"] {
        let headers = format!("{header}: DELETE\r\n");
        let said = world.admin.send("GET", &format!("/api/v1/tokens/{id}"), &headers, "");
        Refused(405, "method_not_allowed").check(header, said);
    }
    let said = world.admin.send("POST", &format!("/api/v1/tokens/{id}"), FORM, "_method=DELETE");
    Refused(405, "method_not_allowed").check("a method in a form", said);
    // An act on all secrets is no secret of its name.
    for method in ["PUT", "DELETE"] {
        let path = "/api/v1/secrets/rotate-key";
        let said = world.admin.send(method, path, JSON, r#"{"value": "12345678"}"#);
        Refused(405, "method_not_allowed").check(method, said);
    }
    world.viewer.get("/api/v1/me").expect(200);
    for method in ["TRACE", "CONNECT", "PROPFIND", "BREW"] {
        let said = world.admin.send(method, "/api/v1/runs", "", "");
        Refused(405, "method_not_allowed").check(method, said);
    }
    world.is_well(0);
}

#[test]
fn names_that_were_made_to_point_here_get_no_answer() {
    let world = World::new();
    for host in [
        "evil.example",
        "evil.example:3020",
        "127.0.0.1.evil.example",
        "localhost.evil",
        "[::1].evil",
    ] {
        let said = world.viewer.send("GET", "/api/v1/runs", &format!("Host: {host}\r\n"), "");
        ELSEWHERE.check(host, said);
    }
    let said = world.viewer.send("GET", "/healthz", "Host: evil.example\r\n", "");
    ELSEWHERE.check("also where no token is needed", said);
    let attacks = [
        (
            "two hosts",
            "GET /healthz HTTP/1.1\r\nHost: {host}\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
            WRONG,
        ),
        ("no host", "GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n", WRONG),
        (
            "an empty host",
            "GET /healthz HTTP/1.1\r\nHost: \r\nConnection: close\r\n\r\n",
            ELSEWHERE,
        ),
        (
            "somebody in front",
            "GET /healthz HTTP/1.1\r\nHost: a@{host}\r\nConnection: close\r\n\r\n",
            ELSEWHERE,
        ),
        (
            "a whole address of another",
            "GET http://evil.example/healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n",
            ELSEWHERE,
        ),
    ];
    for (what, request, want) in attacks {
        want.check(what, world.raw(request));
    }
    // What a proxy would say is not believed.
    let headers =
        "Accept: text/html\r\nX-Forwarded-Host: evil.example\r\nForwarded: host=evil.example\r\n";
    let headers = format!("Host: {}\r\n{headers}", world.nobody.address);
    let said = world.nobody.send("GET", "/runs", &headers, "").expect(303);
    assert_eq!(said.header("location"), Some("/sign-in?to=%2Fruns"));
    // WebSockets are asked for by pages of any site.
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let stream = |api: &Api, more: &str| {
        api.send("GET", "/api/v1/events/stream", &format!("{upgrade}{more}"), "")
    };
    Refused(403, "origin_not_allowed")
        .check("a page of another site", stream(&world.viewer, "Origin: https://evil.example\r\n"));
    Refused(401, "unauthenticated").check("nobody", stream(&world.nobody, ""));
    world.is_well(0);
}

#[test]
fn paths_lead_nowhere_else() {
    let world = World::new();
    world.project.write("secret.txt", "the crown jewels");
    let said =
        world.operator.post("/api/v1/runs", &json!({"workflow": "hello"})).expect(201).json();
    let run = said["run"].as_str().expect("an id").to_owned();
    world.operator.ended(&run);
    // Each of them is one part of a path, or several.
    let up = [
        ("../moa.yaml", false),
        ("..%2fmoa.yaml", true),
        ("%2e%2e%2fmoa.yaml", true),
        ("%252e%252e%252fmoa.yaml", true),
        ("..%5cmoa.yaml", true),
        ("....//moa.yaml", false),
        ("%2fetc%2fpasswd", true),
        ("moa.yaml%00.css", true),
        ("~root", true),
        ("%2e%2e", true),
    ];
    let places = [
        // What names a file or a row has to be a name; what is looked for in a list is not there.
        ("/assets/PART", NOTHING),
        ("/api/v1/workflows/PART", WRONG),
        ("/api/v1/agents/PART", NOTHING),
        ("/api/v1/runs/PART", WRONG),
        ("/api/v1/runs/RUN/logs/PART/1", NOTHING),
        ("/api/v1/workflows/PART/source", WRONG),
        ("/api/v1/workflows/PART/graph", WRONG),
        ("/api/v1/triggers/PART", NOTHING),
    ];
    for (place, want) in places {
        let asked = |part: &str| {
            let path = place.replace("RUN", &run).replace("PART", part);
            let said = world.viewer.get(&path);
            assert!(!said.body.contains("name: shop"), "{path}: {}", said.body);
            (path, said)
        };
        for (part, is_one) in up {
            let (path, said) = asked(part);
            // Of several parts there is no such route.
            let want = if is_one { want } else { NOTHING };
            want.check(&path, said);
        }
        // It is no text.
        let (path, said) = asked("..%c0%afmoa.yaml");
        WRONG.check(&path, said);
    }
    for name in ["../secret", "/etc/passwd", "..", "a/b", "hello\u{0}", "-x", ""] {
        let said = world.operator.post("/api/v1/runs", &json!({"workflow": name}));
        // It may begin with a dash, where no command line reads it.
        let want = if name == "-x" { NOTHING } else { WRONG };
        want.check(name, said);
    }
    world.is_well(1);
}

#[test]
fn what_looks_like_a_command_is_text() {
    let world = World::new();
    let said =
        world.operator.post("/api/v1/runs", &json!({"workflow": "hello"})).expect(201).json();
    world.operator.ended(said["run"].as_str().expect("an id"));
    for text in [
        "'%20OR%20'1'='1",
        "hello'%3B%20DROP%20TABLE%20runs%3B--",
        "hello%22%20--",
        "%25",
        "hello%00",
        "x')%20UNION%20SELECT%20*%20FROM%20tokens--",
        "%F0%9F%92%A5",
        "..%2f",
        "*",
    ] {
        for key in ["workflow", "status", "cursor", "parent"] {
            WRONG.check(text, world.viewer.get(&format!("/api/v1/runs?{key}={text}")));
        }
        // It is looked for, and isn't there.
        let found = world.viewer.get(&format!("/api/v1/runs?q={text}")).expect(200).json();
        assert_eq!(found["runs"], json!([]), "{text}");
        if text != "*" {
            let found = world.viewer.get(&format!("/api/v1/events?types={text}&after=0"));
            assert_eq!(found.expect(200).json()["events"], json!([]), "{text}");
        }
    }
    // A wildcard of SQL is a name like any other.
    let found = world.viewer.get("/api/v1/runs?workflow=_").expect(200).json();
    assert_eq!(found["runs"], json!([]));
    for query in [
        "limit=-1",
        "limit=0",
        "limit=1e9",
        "limit=99999999999999999999",
        "limit=NaN",
        "cursor=-5",
        "parent=x",
        "status=%0d%0aX-Evil:%201",
        "limit=1&limit=2",
        "workflow[]=x",
    ] {
        WRONG.check(query, world.viewer.get(&format!("/api/v1/runs?{query}")));
    }
    // Nothing that is said comes back as a header of its own.
    let odd = ["a%0d%0aSet-Cookie:%20x=y", "%0d%0a%0d%0a<html>", "x%0aX-Evil:%201"];
    for text in odd {
        for path in
            [format!("/sign-in?to=/{text}"), format!("/{text}"), format!("/api/v1/runs/{text}")]
        {
            let said = world.viewer.get(&path);
            assert_eq!((said.header("set-cookie"), said.header("x-evil")), (None, None), "{path}");
        }
    }
    let said = world.viewer.send("GET", "/healthz", &format!("{TAG}: a b<script>\r\n"), "");
    let id = said.header(TAG).expect("an id");
    assert!(id.chars().all(|c| c.is_ascii_hexdigit()), "{id}");
    // Names that command terminals or spreadsheets are no names.
    for name in ["\u{1b}[2J", "a\r\nb", "\u{0}", "", &"x".repeat(200)] {
        let said = world.admin.post("/api/v1/tokens", &json!({"name": name, "role": "viewer"}));
        WRONG.check(name, said);
    }
    world.is_well(1);
}

#[test]
fn what_is_too_much_or_broken_is_refused() {
    let world = World::new();
    let api = &world.operator;
    let deep = format!("{{\"workflow\":\"hello\",\"params\":{}", "{\"a\":".repeat(50_000));
    let wide =
        format!("{{\"workflow\":\"hello\",\"params\":{{\"a\":[{}0]}}}}", "0,".repeat(1_000_000));
    let large = format!(r#"{{"workflow":"{}"}}"#, "x".repeat(5 << 20));
    let bodies = [
        ("nothing", "", WRONG),
        ("no object", "[]", WRONG),
        ("null", "null", WRONG),
        ("cut off", r#"{"workflow":"hel"#, WRONG),
        ("two documents", r#"{"workflow":"hello"}{"workflow":"hello"}"#, WRONG),
        ("a key twice", r#"{"workflow":"hello","workflow":"other"}"#, WRONG),
        ("a key of nobody", r#"{"workflow":"hello","command":"rm -rf /"}"#, WRONG),
        ("a workflow to execute", r#"{"workflow":"hello","source":"steps: []"}"#, WRONG),
        ("another type", r#"{"workflow":{"$ne":null}}"#, WRONG),
        ("too deep", &deep, WRONG),
        ("too large", &large, Refused(413, "too_large")),
        ("a number beyond all", r#"{"workflow":"hello","params":{"n":1e999}}"#, WRONG),
        ("half of a character", "{\"workflow\":\"hello\",\"params\":{\"a\":\"\\ud800\"}}", WRONG),
        ("text before it", "\u{feff}{\"workflow\":\"hello\"}", WRONG),
        (
            "JSON with prototypes",
            r#"{"workflow":"nothing","params":{"__proto__":{"x":1}}}"#,
            NOTHING,
        ),
    ];
    for (what, body, want) in bodies {
        want.check(what, api.send("POST", "/api/v1/runs", JSON, body));
    }
    let said = api.send("POST", "/api/v1/runs", JSON, &wide);
    WRONG.check("a list of a million", said);
    for kind in [
        "text/plain",
        "application/xml",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
    ] {
        let headers = format!("Content-Type: {kind}\r\n");
        let said = api.send("POST", "/api/v1/runs", &headers, r#"{"workflow":"hello"}"#);
        Refused(415, "unsupported_media_type").check(kind, said);
    }
    // As long as what the server reads at once of a head: whatever came is read when it is refused, and
    // no answer is lost.
    let full = |begin: String| format!("{begin}{}", "x".repeat((64 << 10) - begin.len()));
    let host = format!("HTTP/1.1\r\nHost: {}\r\n", world.nobody.address);
    let long = full("GET /api/v1/runs?workflow=".into());
    Bare(431).check("a long address", world.nobody.raw(long.as_bytes()));
    let long = full(format!("GET /healthz {host}X: "));
    Bare(431).check("a long header", world.nobody.raw(long.as_bytes()));
    let many: String = (0..300).map(|n| format!("X-{n}: 1\r\n")).collect();
    Bare(431).check("many headers", api.send("GET", "/healthz", &many, ""));
    world.is_well(0);
}

#[test]
fn yaml_that_grows_and_events_that_are_none_are_refused() {
    let world = World::new();
    let api = &world.operator;
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for n in 1..20 {
        let before = vec![format!("*a{}", n - 1); 9].join(", ");
        bomb.push_str(&format!("a{n}: &a{n} [{before}]\n"));
    }
    for (source, code) in [
        (bomb.as_str(), "MOA0005"),
        ("steps: [", "MOA0003"),
        ("\u{0}", "MOA0003"),
        ("!!python/object:os.system x", "MOA0008"),
        ("steps: *nobody\n", "MOA0102"),
    ] {
        let said = api.post("/api/v1/workflows/draft/validate", &json!({"source": source}));
        let said = said.expect(200).json();
        assert_eq!(said["valid"], false, "{source}");
        assert_eq!(said["diagnostics"][0]["code"], code, "{source}");
    }
    // CloudEvents that are none.
    let ce = "Content-Type: application/cloudevents+json\r\n";
    let batch = "Content-Type: application/cloudevents-batch+json\r\n";
    for (kind, body) in [
        (ce, "{}"),
        (ce, "[]"),
        (ce, r#"{"specversion":"9","id":"1","source":"s","type":"t"}"#),
        (ce, r#"{"specversion":"1.0","id":"","source":"s","type":"t"}"#),
        (ce, r#"{"specversion":"1.0","id":"1","source":"s","type":"a\u001b[2J"}"#),
        (batch, "{}"),
        (batch, r#"[{"specversion":"1.0"}]"#),
        (batch, "[1,2]"),
    ] {
        WRONG.check(body, api.send("POST", "/api/v1/events", kind, body));
    }
    world.is_well(0);
}

#[test]
fn one_request_is_one_request() {
    let world = World::new();
    let start = "POST /api/v1/runs HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\
        Content-Type: application/json\r\n";
    let inner = "POST /api/v1/workflows/hello/execute HTTP/1.1\r\nHost: {host}\r\n\
        Authorization: Bearer {token}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let heads = [
        ("two lengths", "Content-Length: 5\r\nContent-Length: 6\r\n", Bare(400)),
        ("a list of lengths", "Content-Length: 5, 6\r\n", Bare(400)),
        ("a signed length", "Content-Length: +5\r\n", Bare(400)),
        ("a length below nothing", "Content-Length: -1\r\n", Bare(400)),
        ("a length in hexadecimal", "Content-Length: 0x5\r\n", Bare(400)),
        ("a length beyond all", "Content-Length: 99999999999999999999999\r\n", Bare(400)),
        ("an encoding of nobody", "Transfer-Encoding: xchunked\r\n", Bare(400)),
        ("chunks, and then not", "Transfer-Encoding: chunked, identity\r\n", Bare(400)),
        ("a blank before the colon", "Content-Length : 5\r\n", Bare(400)),
        ("a header that goes on", "X: a\r\n b\r\nContent-Length: 5\r\n", Bare(400)),
        ("a header with a line end", "X: a\rContent-Length: 0\r\n", Bare(400)),
        ("a header with nothing in it", ": a\r\n", Bare(400)),
    ];
    for (what, head, want) in heads {
        want.check(what, world.raw(&format!("{start}{head}\r\nxxxxx{inner}")));
    }
    // Chunks and a length: it is chunks, and the connection ends; what follows is no request.
    let both =
        format!("{start}Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{inner}");
    let said = world.raw(&both);
    assert_eq!(said.status, 400, "{}", said.body);
    assert_eq!(said.body.matches("HTTP/1.1").count(), 0, "one answer: {}", said.body);
    for chunks in
        ["zz\r\nx\r\n0\r\n\r\n", "ffffffffffffffffff\r\nx\r\n0\r\n\r\n", "-1\r\n\r\n", "5;\r\nab"]
    {
        let said = world.raw(&format!(
            "{start}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n{chunks}"
        ));
        WRONG.check(chunks, said);
    }
    let lines = [
        ("another protocol", "GET / HTTQ/1.1\r\nHost: {host}\r\n\r\n", Bare(400)),
        ("HTTP of before", "GET /\r\n", Bare(400)),
        ("a version of nobody", "GET / HTTP/9.9\r\nHost: {host}\r\n\r\n", Bare(400)),
        ("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Cut),
        ("a method that is none", "G(T / HTTP/1.1\r\nHost: {host}\r\n\r\n", Bare(400)),
        ("blanks in the path", "GET /a b HTTP/1.1\r\nHost: {host}\r\n\r\n", Bare(400)),
        ("nonsense", "\u{0}\u{1}\u{2}\u{3}\r\n\r\n", Bare(400)),
    ];
    for (what, line, want) in lines {
        want.check(what, world.raw(line));
    }
    world.is_well(0);
}

/// Sends, and reads until the other side ends it.
fn until_cut(world: &World, request: &str) -> String {
    let token = world.operator.token();
    let text = request.replace("{host}", &world.nobody.address).replace("{token}", token);
    let mut stream = TcpStream::connect(&world.nobody.address).expect("it listens");
    stream.write_all(text.as_bytes()).expect("it reads");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn who_is_slow_is_cut_off_and_holds_up_nobody() {
    let world = World::new();
    // Half of a header, half of a body, nothing at all: each ends by itself.
    let said = until_cut(&world, "GET /healthz HTTP/1.1\r\nHost: {host}\r\nX: ");
    assert_eq!(said, "");
    let said = until_cut(
        &world,
        "POST /api/v1/runs HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"workflow\":",
    );
    assert!(said.starts_with("HTTP/1.1 400"), "{said}");
    assert_eq!(until_cut(&world, ""), "");
    let kept = "GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n";
    assert!(until_cut(&world, kept).starts_with("HTTP/1.1 200"), "and then it is cut off");
    // Readers who never read: runs go on, and everybody else is answered.
    let readers: Vec<TcpStream> = (0..20)
        .map(|_| {
            let mut stream = TcpStream::connect(&world.nobody.address).expect("it listens");
            let request = format!(
                "GET /api/v1/events/stream?after=0 HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\r\n",
                world.nobody.address,
                world.viewer.token()
            );
            stream.write_all(request.as_bytes()).expect("it reads");
            stream
        })
        .collect();
    for _ in 0..30 {
        let said = world.operator.post("/api/v1/runs", &json!({"workflow": "hello"})).expect(201);
        let run = said.json()["run"].as_str().expect("an id").to_owned();
        assert_eq!(world.operator.ended(&run)["status"], "success");
    }
    drop(readers);
    world.is_well(30);
    drop(world.node);
}

#[test]
fn who_opens_connections_and_says_nothing_takes_no_place_of_others() {
    let project = Project::with("hello", "steps:\n  - {id: hello, run: echo hi}\n");
    let mut command = project.command(&["up"]);
    // Silence is waited for an hour: nobody is let in because of an end of that.
    command.env("MOA_TEST_SERVER_WAIT_MS", "3600000").env("MOA_TEST_SERVER_CONNECTIONS", "32");
    let node = Node::start(command);
    let viewer = Api::with_role(&project, &node, "viewer");
    let open = |text: &str| {
        let mut stream = TcpStream::connect(&viewer.address).expect("it listens");
        // It may have been ended.
        let _ = stream.write_all(text.as_bytes());
        stream
    };
    let ask =
        format!("Host: {}\r\nAuthorization: Bearer {}\r\n\r\n", viewer.address, viewer.token());
    let mut known = open(&format!("GET /api/v1/me HTTP/1.1\r\n{ask}"));
    let mut byte = [0];
    known.read_exact(&mut byte).expect("it is answered");
    let silent = ["", "GET / HTTP/1.1\r\nX: ", "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"];
    let crowd: Vec<TcpStream> = silent.iter().cycle().take(150).map(|text| open(text)).collect();
    for _ in 0..5 {
        viewer.get("/api/v1/runs").expect(200);
    }
    // Who had said who they are keeps the connection.
    known
        .write_all(format!("GET /api/v1/me HTTP/1.1\r\nConnection: close\r\n{ask}").as_bytes())
        .expect("it is open");
    let mut rest = String::new();
    known.read_to_string(&mut rest).expect("it is answered");
    assert_eq!(rest.matches("HTTP/1.1 200").count(), 1, "{rest}");
    drop(crowd);
}

/// Markup, in every way that a text could become it.
const MARKUP: [&str; 4] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "' onmouseover='alert(1)",
    "</title><svg/onload=alert(1)>",
];

/// A project in which every text is markup.
fn of_markup() -> Project {
    let all = MARKUP.join(" ");
    let quoted = json!(all).to_string();
    let project = Project::empty();
    project.write(
        "workflows/odd.yaml",
        &format!(
            "name: {quoted}\ndescription: {quoted}\nversion: {quoted}\n\
             params:\n  text: {{type: string, default: {quoted}, description: {quoted}}}\n\
             steps:\n\
             \x20 - {{id: says, agent: odd, action: x, params: {{text: '${{{{ params.text }}}}'}}}}\n\
             \x20 - {{id: tells, emit: {{type: odd.event, data: {{text: '${{{{ params.text }}}}'}}}}}}\n\
             \x20 - {{id: asks, approve: {{title: {quoted}, description: {quoted}}}}}\n"
        ),
    );
    project.write(
        "workflows/bad.yaml",
        &format!("name: {quoted}\nsteps:\n  - {{id: fails, agent: bad, action: x}}\n"),
    );
    project.write("says", &format!("{{\"text\": {quoted}}}\n"));
    project.write("tells", &format!("{all}\n"));
    let about = format!("name: {quoted}\ndescription: {quoted}\n");
    project.write(
        "agents/odd.yaml",
        &format!("{about}command: [sh, -c, 'cat tells >&2; cat says']\n"),
    );
    project
        .write("agents/bad.yaml", &format!("{about}command: [sh, -c, 'cat tells >&2; exit 2']\n"));
    project
}

#[test]
fn whoever_writes_a_text_writes_no_page() {
    let project = of_markup();
    let node = project.up();
    let all = MARKUP.join(" ");
    let admin = Api::with_role(&project, &node, "admin");
    let start = |workflow: &str, params: Json| {
        let body = json!({"workflow": workflow, "params": params});
        let headers = format!("{JSON}Idempotency-Key: {workflow}\r\n");
        let said = admin.send("POST", "/api/v1/runs", &headers, &body.to_string()).expect(201);
        said.json()["run"].as_str().expect("an id").to_owned()
    };
    let (odd, bad) = (start("odd", json!({"text": all})), start("bad", json!({})));
    admin.until(&format!("/api/v1/runs/{odd}/steps"), |steps| {
        steps["steps"][2]["status"] == "waiting"
    });
    assert_eq!(admin.ended(&bad)["status"], "failure");
    for text in MARKUP {
        admin.post("/api/v1/tokens", &json!({"name": text, "role": "viewer"})).expect(201);
        admin.post("/api/v1/events", &json!({"type": text, "data": {"a": text}})).expect(200);
        let reason = json!({"reason": text});
        let run = start_again(&admin, text);
        admin.post(&format!("/api/v1/runs/{run}/cancel"), &reason).expect(200);
    }
    let browser = crate::pages::Browser::new(&project, &node, "admin");
    let mut pages: Vec<String> = crate::pages::paths_of_all();
    for run in [&odd, &bad] {
        let parts =
            ["", "/timeline", "/history", "/data", "/compare", "/steps/says", "/steps/fails"];
        pages.extend(parts.map(|part| format!("/runs/{run}{part}")));
    }
    pages.extend(["odd", "bad"].map(|name| format!("/workflows/{name}")));
    pages.extend(["odd", "bad"].map(|name| format!("/agents/{name}")));
    pages.retain(|page| !page.ends_with(&format!("{odd}/steps/fails")));
    pages.retain(|page| !page.ends_with(&format!("{bad}/steps/says")));
    let mut seen = 0;
    for path in pages {
        // It looks for markup that is none of its own.
        let body = browser.page(&path);
        seen += body.matches("&lt;script&gt;alert(1)").count();
        for text in ["<script>alert", "<img src=x", "onmouseover='alert", "<svg/onload"] {
            let escaped = text.starts_with("onmouseover");
            assert!(escaped || !body.contains(text), "{path}: {text}");
        }
    }
    assert!(seen >= 10, "the texts are shown: {seen}");
}

/// A run to be cancelled.
fn start_again(api: &Api, key: &str) -> String {
    let body = json!({"workflow": "odd", "params": {"text": key}});
    let said = api.post("/api/v1/runs", &body).expect(201).json();
    said["run"].as_str().expect("an id").to_owned()
}
