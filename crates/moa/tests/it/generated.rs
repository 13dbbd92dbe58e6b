//! Requests that are made up from the API's document, right ones and wrong ones: whatever comes, the
//! answer is one that the document knows, and moa has no fault.
//!
//! They follow from a seed: the same one makes the same requests. `MOA_TEST_SEED` and
//! `MOA_TEST_REQUESTS` (for each operation) take others.

use serde_json::{Map, Value as Json, json};

use crate::contract::Contract;
use crate::http::Api;
use crate::project::Project;

const WORKFLOW: &str = "\
params: {name: {type: string, default: you}}
schedule: {cron: '0 3 1 1 *'}
on: {id: hook, webhook: {signature: none}}
steps: [{id: say, run: echo hello}]
";

/// Requests for each operation, when nobody says how many.
const REQUESTS: u64 = 8;
/// How deep made-up documents are.
const DEPTH_MAX: usize = 5;

/// Texts that have been wrong somewhere, and some that may be right.
const TEXTS: &[&str] = &[
    "",
    "a",
    "hello",
    "last",
    "shell",
    "paid",
    "retention",
    "open",
    "running,waiting",
    "run.*",
    "1h",
    "-1",
    "0",
    "99999999999999999999",
    "1e400",
    "null",
    "2026-01-01",
    "2026-02-30T25:61",
    "-9999-12-31T23:59:59Z",
    "9999-12-31T23:59:60.999999999+23:59",
    "00000000-0000-0000-0000-000000000000",
    "ffffffffffffffffffffffffffffffff",
    "../../etc/passwd",
    "a/b",
    "%00",
    "%",
    "\u{0}",
    "\u{202e}x\u{feff}",
    "ü€😀",
    "' OR 1=1 --",
    "${{ secrets.A }}",
    "{{ x }}",
    "<script>alert(1)</script>",
    "\r\nX: y",
    "*",
    "a:b:c",
    "rule:paid",
    "hello/on_1",
    "{\"a\":",
];

/// Numbers that lie at ends.
const NUMBERS: &[i64] = &[
    0,
    1,
    -1,
    2,
    10,
    100,
    1000,
    1001,
    i32::MAX as i64,
    i32::MIN as i64,
    u32::MAX as i64,
    i64::MAX,
    i64::MIN,
];

/// A source of chance that follows from its seed.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, most: usize) -> usize {
        (self.next() % most.max(1) as u64) as usize
    }

    fn one_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }

    fn pick<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }

    fn text(&mut self) -> String {
        match self.below(12) {
            0 => "x".repeat(self.below(5000)),
            _ => self.pick(TEXTS).to_owned(),
        }
    }

    fn number(&mut self) -> Json {
        match self.below(6) {
            0 => json!(0.5),
            1 => json!(u64::MAX),
            _ => NUMBERS[self.below(NUMBERS.len())].into(),
        }
    }

    /// Anything.
    fn anything(&mut self, depth: usize) -> Json {
        match self.below(if depth == 0 { 5 } else { 7 }) {
            0 => Json::Null,
            1 => self.one_in(2).into(),
            2 => self.number(),
            3 | 4 => self.text().into(),
            5 => (0..self.below(4)).map(|_| self.anything(depth - 1)).collect(),
            _ => {
                let some = (0..self.below(4)).map(|_| (self.text(), self.anything(depth - 1)));
                Json::Object(some.collect())
            }
        }
    }

    /// A value of a schema, or one time in so many something else.
    fn value(&mut self, schema: &Json, all: &Json, depth: usize) -> Json {
        if depth == 0 || self.one_in(15) {
            return self.anything(1);
        }
        if let Some(name) = schema["$ref"].as_str() {
            let name = name.rsplit('/').next().unwrap_or_default();
            return self.value(&all["components"]["schemas"][name], all, depth);
        }
        for several in ["oneOf", "anyOf", "allOf"] {
            if let Some(list) = schema[several].as_array() {
                let one = &list[self.below(list.len())];
                return self.value(one, all, depth - 1);
            }
        }
        if let Some(list) = schema["enum"].as_array() {
            return list[self.below(list.len())].clone();
        }
        let kinds: Vec<&str> = match &schema["type"] {
            Json::String(kind) => vec![kind],
            Json::Array(kinds) => kinds.iter().filter_map(Json::as_str).collect(),
            _ => return self.anything(2),
        };
        match kinds[self.below(kinds.len())] {
            "string" => self.text().into(),
            "integer" | "number" => self.number(),
            "boolean" => self.one_in(2).into(),
            "array" => {
                let item = &schema["items"];
                (0..self.below(4)).map(|_| self.value(item, all, depth - 1)).collect()
            }
            "object" => self.object(schema, all, depth),
            _ => Json::Null,
        }
    }

    fn object(&mut self, schema: &Json, all: &Json, depth: usize) -> Json {
        let Some(known) = schema["properties"].as_object() else {
            let some = (0..self.below(4)).map(|_| (self.text(), self.anything(2)));
            return Json::Object(some.collect());
        };
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        let mut object = Map::new();
        for (name, property) in known {
            let wanted = required.contains(&json!(name));
            if (wanted && !self.one_in(20)) || (!wanted && self.one_in(2)) {
                object.insert(name.clone(), self.value(property, all, depth - 1));
            }
        }
        if self.one_in(20) {
            object.insert("surplus".into(), self.anything(1));
        }
        Json::Object(object)
    }
}

/// A text as a part of a path or a query.
fn escaped(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    let byte = |b: u8| if plain(b) { (b as char).to_string() } else { format!("%{b:02X}") };
    text.bytes().map(byte).collect()
}

/// A made-up request.
struct Request {
    target: String,
    headers: String,
    body: String,
}

impl Request {
    fn new(dice: &mut Dice, path: &str, operation: &Json, document: &Json, run: &str) -> Self {
        let (mut target, mut query, mut headers) = (path.to_owned(), Vec::new(), String::new());
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let name = parameter["name"].as_str().unwrap_or_default();
            let value = match dice.value(&parameter["schema"], document, DEPTH_MAX) {
                Json::String(text) => text,
                other => other.to_string(),
            };
            match parameter["in"].as_str() {
                Some("path") => {
                    let value = match (name, dice.below(3)) {
                        ("run", 0 | 1) => run.to_owned(),
                        ("workflow", 0 | 1) => "hello".into(),
                        // An empty part is another path.
                        _ if value.is_empty() => "x".into(),
                        _ => value,
                    };
                    target = target.replace(&format!("{{{name}}}"), &escaped(&value));
                }
                Some("query") if dice.one_in(2) => {
                    query.push(format!("{}={}", escaped(name), escaped(&value)));
                }
                Some("header") if dice.one_in(2) => {
                    let fits = |c: &char| c.is_ascii_graphic() || *c == ' ';
                    let value: String = value.chars().filter(fits).take(300).collect();
                    headers.push_str(&format!("{name}: {value}\r\n"));
                }
                _ => {}
            }
        }
        if !query.is_empty() {
            target = format!("{target}?{}", query.join("&"));
        }
        let content = operation["requestBody"]["content"].as_object();
        let (kind, said) = content.and_then(|all| all.iter().next()).unzip();
        let mut body = String::new();
        if let (Some(kind), Some(said)) = (kind, said) {
            body = match dice.value(&said["schema"], document, DEPTH_MAX) {
                Json::String(text) if !kind.ends_with("json") => text,
                value => value.to_string(),
            };
            if dice.one_in(15) {
                body.truncate(body.floor_char_boundary(dice.below(body.len())));
            }
            let kind = if dice.one_in(20) { "text/html" } else { kind };
            headers.push_str(&format!("Content-Type: {kind}\r\n"));
        }
        Self { target, headers, body }
    }
}

#[test]
fn whatever_is_asked_the_answer_is_documented_and_no_fault() {
    let project = Project::with("hello", WORKFLOW);
    let key = project.outside().join("key");
    project.call(&["secrets", "new-key", key.to_str().expect("UTF-8")]).expect(0);
    project.write(
        "moa.yaml",
        "secrets: {key_file: ../key}\n\
         webhooks: {nobody: {url: 'http://127.0.0.1:9/', types: [run.paused]}}\n",
    );
    let node = project.up();
    let api = Api::with_role(&project, &node, "admin");
    let new = api.post("/api/v1/runs", &json!({"workflow": "hello"})).expect(201).json();
    let run = new["run"].as_str().expect("an id").to_owned();
    api.ended(&run);
    let mut contract = Contract::new(api.clone());
    let document = contract.document.clone();
    let number = |name: &str, usual| {
        let given = std::env::var(name).ok().and_then(|text| text.parse().ok());
        given.unwrap_or(usual)
    };
    let (seed, requests) = (number("MOA_TEST_SEED", 1), number("MOA_TEST_REQUESTS", REQUESTS));
    let mut dice = Dice(seed);
    let paths = document["paths"].as_object().expect("paths");
    for (path, item) in paths {
        // A stream doesn't end.
        for (method, operation) in item.as_object().expect("methods") {
            if path.ends_with("/stream") {
                continue;
            }
            let method = method.to_ascii_uppercase();
            for _ in 0..requests {
                let request = Request::new(&mut dice, path, operation, &document, &run);
                let Request { target, headers, body } = request;
                let answer = api.send(&method, &target, &headers, &body);
                let said =
                    || format!("seed {seed}: {method} {target}\n{headers}\n{body}\n{answer:?}");
                assert!((200..500).contains(&answer.status), "{}", said());
                contract.check(&method, path, &answer);
            }
        }
    }
    // It is as well as it was.
    api.get("/readyz").expect(200);
    // Somebody may have paused what does the work.
    api.post("/api/v1/agents/shell/resume", &json!({})).expect(200);
    let new = api.post("/api/v1/runs", &json!({"workflow": "hello"})).expect(201).json();
    assert_eq!(api.ended(new["run"].as_str().expect("an id"))["status"], "success");
}
