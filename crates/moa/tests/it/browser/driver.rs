//! A real Chromium, driven over the WebDriver protocol of its own driver.
//!
//! The driver takes small HTTP requests with JSON on a port of this machine, so it is talked to like
//! the API ([`Api`]). Each browser has a profile of its own that is thrown away. What it asks hosts
//! for, and what its console says, is kept by the driver and judged by [`Browser::is_clean`].

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};

use crate::http::Api;
use crate::project::{Node, Project, skip};

/// How long the page may take until it is as wanted, in milliseconds: only a fault takes so long.
const PATIENCE_MS: u64 = 60_000;
/// The key of an element in the protocol.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
/// Looks again and again whether the page is as wanted, each time it is drawn.
const LOOK: &str = "const done = arguments[arguments.length - 1];
    const is = () => { try { return (() => { BODY })(); } catch (_) { return false; } };
    const look = () => { const it = is(); if (it) done(it); else requestAnimationFrame(look); };
    look();";

/// A browser; closed when dropped.
pub struct Browser {
    driver: Child,
    /// Where the driver listens.
    address: String,
    session: String,
    /// The node's address: `http://127.0.0.1:41234`.
    pub base: String,
    _profile: tempfile::TempDir,
}

/// Whether there is a browser; a test that needs one says that it is left out otherwise.
pub fn is_there(test: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let has = |program: &str| std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    let there = has("chromium") && has("chromedriver");
    if !there {
        skip(test, "chromium or chromedriver is missing");
    }
    there
}

impl Browser {
    /// A browser for a node, on no page yet.
    pub fn start(node: &Node) -> Self {
        let profile = tempfile::tempdir().expect("a temporary folder");
        // It ends with who started it, however that ends: then there is nothing more to read.
        let mut command = Command::new("sh");
        command.args(["-c", "chromedriver --port=0 & read _; kill -9 0"]);
        command.env("HOME", profile.path()).stderr(Stdio::null()).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut driver = command.spawn().expect("it can be started");
        let mut lines = BufReader::new(driver.stdout.take().expect("it is piped")).lines();
        let port = loop {
            let line = lines.next().expect("the driver has ended").expect("text");
            if let Some((_, rest)) = line.split_once("started successfully on port ") {
                break rest.trim_end_matches('.').to_owned();
            }
        };
        std::thread::spawn(move || lines.for_each(drop));
        let address = format!("127.0.0.1:{port}");
        let asked = capabilities(&profile.path().join("profile").display().to_string());
        let made = send(&address, "POST", "/session", &asked).expect("a session");
        let session = made["sessionId"].as_str().expect("a session").to_owned();
        let base = format!("http://{}", Api::nobody(node).address);
        let browser = Self { driver, address, session, base, _profile: profile };
        let timeouts = json!({"script": PATIENCE_MS, "pageLoad": PATIENCE_MS, "implicit": 0});
        browser.call("timeouts", &timeouts);
        browser
    }

    /// A browser that is signed in with a link, on the first page.
    pub fn signed_in(project: &Project, node: &Node, role: &str) -> Self {
        let browser = Self::start(node);
        browser.sign_in(project, role);
        browser
    }

    /// Signs in with a link; it is on the first page then.
    pub fn sign_in(&self, project: &Project, role: &str) {
        let link = project.call(&["open", "--print", "--role", role]).expect(0).out;
        self.go(link.trim());
        self.click("form.sign-in button");
        self.until("return location.pathname === '/' && document.querySelector('h1')");
    }

    fn try_call(&self, path: &str, body: &Json) -> Result<Json, String> {
        send(&self.address, "POST", &format!("/session/{}/{path}", self.session), body)
    }

    #[track_caller]
    fn call(&self, path: &str, body: &Json) -> Json {
        self.try_call(path, body).unwrap_or_else(|why| panic!("{path} {body}: {why}"))
    }

    /// Goes to a page: a path of the node, or an address.
    #[track_caller]
    pub fn go(&self, to: &str) {
        let url = if to.starts_with('/') { format!("{}{to}", self.base) } else { to.to_owned() };
        self.call("url", &json!({"url": url}));
    }

    /// What a script answers.
    #[track_caller]
    pub fn script(&self, body: &str) -> Json {
        self.call("execute/sync", &json!({"script": body, "args": []}))
    }

    /// Waits until a script answers something; a page that is left meanwhile is no hindrance.
    #[track_caller]
    pub fn until(&self, body: &str) -> Json {
        let script = json!({"script": LOOK.replace("BODY", body), "args": []});
        let start = Instant::now();
        loop {
            match self.try_call("execute/async", &script) {
                Ok(value) => return value,
                Err(why) if start.elapsed() >= Duration::from_millis(PATIENCE_MS) => {
                    panic!("never: {body}\n{why}\non {}", self.text())
                }
                // Another page came.
                Err(_) => {}
            }
        }
    }

    /// Waits until the page says so.
    #[track_caller]
    pub fn until_says(&self, words: &str) {
        self.until(&format!("return document.body.innerText.includes({})", json!(words)));
    }

    /// The first element that fits, once there is one.
    #[track_caller]
    fn find(&self, css: &str) -> String {
        self.until(&format!("return document.querySelector({})", json!(css)));
        let found = self.call("element", &json!({"using": "css selector", "value": css}));
        found[ELEMENT].as_str().expect("an element").to_owned()
    }

    /// Clicks as a person does: on what is seen.
    #[track_caller]
    pub fn click(&self, css: &str) {
        let path = format!("element/{}/click", self.find(css));
        self.call(&path, &json!({}));
    }

    /// Types into a field.
    #[track_caller]
    pub fn write(&self, css: &str, text: &str) {
        let element = self.find(css);
        self.call(&format!("element/{element}/clear"), &json!({}));
        self.call(&format!("element/{element}/value"), &json!({"text": text}));
    }

    /// Types keys on the page.
    #[track_caller]
    pub fn keys(&self, keys: &str) {
        let press = |key: char| {
            [json!({"type": "keyDown", "value": key}), json!({"type": "keyUp", "value": key})]
        };
        let actions: Vec<Json> = keys.chars().flat_map(press).collect();
        self.call("actions", &json!({"actions": [{"type": "key", "id": "k", "actions": actions}]}));
    }

    /// Moves the mouse to a place of the window.
    #[track_caller]
    pub fn point(&self, (x, y): (i64, i64)) {
        let to = json!({"type": "pointerMove", "duration": 0, "x": x, "y": y});
        let mouse = json!({"type": "pointer", "id": "m", "actions": [to]});
        self.call("actions", &json!({"actions": [mouse]}));
    }

    /// Puts a finger on a place of the window, and takes it away before it is a tap.
    #[track_caller]
    pub fn touch(&self, (x, y): (i64, i64)) {
        let on = json!({"type": "touchStart", "touchPoints": [{"x": x, "y": y}]});
        self.cdp("Input.dispatchTouchEvent", &on);
        let off = json!({"type": "touchCancel", "touchPoints": []});
        self.cdp("Input.dispatchTouchEvent", &off);
    }

    /// Presses a button that asks first, and then the one in its question.
    #[track_caller]
    pub fn confirm(&self, label: &str) {
        let mark = format!(
            "const all = [...document.querySelectorAll('details.ask')];
             const ask = all.find((a) => a.querySelector('summary').textContent === {0});
             if (!ask) return false;
             for (const a of all) a.removeAttribute('data-test');
             ask.setAttribute('data-test', 'here'); return true;",
            json!(label)
        );
        self.until(&mark);
        self.click("details[data-test] > summary");
        self.click("details[data-test] form button");
    }

    /// The path of the page.
    pub fn path(&self) -> String {
        self.script("return location.pathname").as_str().expect("a path").to_owned()
    }

    /// What the page says.
    pub fn text(&self) -> String {
        let text = self.script("return location.href + '\\n' + document.body.innerText");
        text.as_str().expect("text").to_owned()
    }

    /// Speaks to the browser itself.
    #[track_caller]
    pub fn cdp(&self, command: &str, params: &Json) -> Json {
        self.call("goog/cdp/execute", &json!({"cmd": command, "params": params}))
    }

    /// Looks like a screen this wide; in the dark when wanted.
    pub fn look_like(&self, width: u32, dark: bool) {
        let phone = width < 760;
        let size = json!({
            "width": width, "height": if phone { 844 } else { 900 }, "deviceScaleFactor": 1,
            "mobile": phone,
        });
        self.cdp("Emulation.setDeviceMetricsOverride", &size);
        let scheme = if dark { "dark" } else { "light" };
        let scheme = json!({"name": "prefers-color-scheme", "value": scheme});
        let still = json!({"name": "prefers-reduced-motion", "value": "reduce"});
        self.cdp("Emulation.setEmulatedMedia", &json!({"features": [scheme, still]}));
    }

    /// The whole page as PNG.
    pub fn picture(&self) -> Vec<u8> {
        let asked = json!({"format": "png", "captureBeyondViewport": true});
        let made = self.cdp("Page.captureScreenshot", &asked);
        STANDARD.decode(made["data"].as_str().expect("a picture")).expect("base64")
    }

    fn log(&self, kind: &str) -> Vec<Json> {
        let entries = self.call("se/log", &json!({"type": kind}));
        entries.as_array().expect("entries").clone()
    }

    /// What is not as it should be since this was asked last: the console has an error or a warning,
    /// the policy was not kept, or somebody else than the node was asked for something.
    pub fn complaints(&self) -> Vec<String> {
        let said = self.log("browser");
        let mut all: Vec<String> = said.iter().map(|entry| entry["message"].to_string()).collect();
        for entry in self.log("performance") {
            let message = entry["message"].as_str().expect("a message");
            let event: Json = serde_json::from_str(message).expect("JSON");
            if event["message"]["method"] == "Network.requestWillBeSent" {
                let url = event["message"]["params"]["request"]["url"].as_str().expect("a URL");
                // A page that the browser itself brings is no host.
                let is_hosted = !["data:", "chrome:", "about:", "blob:"]
                    .iter()
                    .any(|kind| url.starts_with(kind));
                let is_own = url.starts_with(&format!("{}/", self.base));
                if is_hosted && !is_own {
                    all.push(format!("it asked for {url}"));
                }
            }
        }
        all
    }

    /// There is nothing to complain about.
    #[track_caller]
    pub fn is_clean(&self) {
        let complaints = self.complaints();
        assert!(complaints.is_empty(), "{complaints:#?}");
    }
}

/// Sends a command to the driver; answers its value, or why there is none. The driver keeps its end
/// of the connection open, so what comes is read by its length.
fn send(address: &str, method: &str, path: &str, body: &Json) -> Result<Json, String> {
    let body = body.to_string();
    let mut stream = TcpStream::connect(address).map_err(|e| e.to_string())?;
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n"
    );
    stream.write_all(format!("{head}{body}").as_bytes()).map_err(|e| e.to_string())?;
    let mut reader = BufReader::new(stream);
    let (mut good, mut length) = (false, 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).map_err(|e| e.to_string())?;
        good |= line.starts_with("HTTP/1.1 200");
        let pair =
            line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        length = pair.and_then(|(_, value)| value.trim().parse().ok()).unwrap_or(length);
        if line.trim().is_empty() {
            break;
        }
    }
    let mut answer = vec![0; length];
    reader.read_exact(&mut answer).map_err(|e| e.to_string())?;
    let answer: Json = serde_json::from_slice(&answer).map_err(|e| e.to_string())?;
    match good {
        true => Ok(answer["value"].clone()),
        false => Err(answer["value"]["message"].to_string()),
    }
}

fn capabilities(profile: &str) -> Json {
    let args = [
        "--headless",
        // It ends when its driver does.
        "--remote-debugging-pipe",
        // Tests run as root in many places.
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--hide-scrollbars",
        "--window-size=1280,900",
        &format!("--user-data-dir={profile}"),
    ];
    json!({"capabilities": {"alwaysMatch": {
        "browserName": "chrome",
        "goog:chromeOptions": {"args": args},
        "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
    }}})
}

impl Drop for Browser {
    fn drop(&mut self) {
        // With the session ends the browser; what is left of it ends with the driver.
        let path = format!("/session/{}", self.session);
        let _ = send(&self.address, "DELETE", &path, &Json::Null);
        drop(self.driver.stdin.take());
        let _ = self.driver.wait();
    }
}
