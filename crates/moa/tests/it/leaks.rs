//! Secrets are planted in every place that they can come from, used in every way, and looked for in
//! all that moa writes or says.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Stdio;

use serde_json::json;

use crate::http::Api;
use crate::project::{Node, Project, Said};

/// Names, and what is planted under them: with characters that every encoding changes.
const PLANTED: [(&str, &str); 6] = [
    ("OF_ENVIRONMENT", "zq1-environment\"&/\\ÿ>end"),
    ("OF_ENV_FILE", "zq2-dotenvfile+&/?%end"),
    ("OF_CREDENTIALS", "zq3-credentials\"&/\\ÿ>end"),
    ("OF_FOLDER", "zq4-runsecrets\"&/\\ÿ>end"),
    ("OF_STATE", "zq5-statefolder\"&/\\ÿ>end\nsecond-line-zq5b\n"),
    ("OF_STORE", "zq6-encrypted\"&/\\ÿ>end"),
];

/// Says a secret in many ways: whole, in two writes, encoded, in its result.
const PARROT: &str = r#"#!/bin/sh
printf 'whole %s\n' "$S"; printf 'whole %s\n' "$S" >&2
half=$((${#S} / 2)); first=$(printf %s "$S" | head -c $half)
printf %s "$first"; printf '%s\n' "${S#"$first"}"
printf '{"user:%s' "$S" | base64 -w 0; echo
printf %s "$S" | base64 -w 0 | tr '+/' '-_'; echo
printf %s "$S" | od -An -v -tx1 | tr -d ' \n'; echo
cat > stdin.$$; cat stdin.$$; rm stdin.$$
e=$(printf %s "$S" | sed 's/\\/\\\\/g; s/"/\\"/g' | sed ':a;N;$!ba;s/\n/\\n/g')
case "$1" in
  fail) printf 'it failed with %s\n' "$S" >&2; exit 3 ;;
  raw) printf '"raw %s"' "$e" > "$MOA_OUTPUT" ;;
  *) printf '{"plain": "%s", "list": ["%s", {"%s": "key"}]}' "$e" "$e" "$e" > "$MOA_OUTPUT" ;;
esac
"#;

fn project() -> Project {
    let project = Project::empty();
    let outside = |name: &str| project.outside().join(name);
    let key = outside("key");
    project.call(&["secrets", "new-key", key.to_str().expect("UTF-8")]).expect(0);
    for (folder, name, value) in
        [("credentials", PLANTED[2].0, PLANTED[2].1), ("run-secrets", PLANTED[3].0, PLANTED[3].1)]
    {
        std::fs::create_dir_all(outside(folder)).expect("mkdir");
        std::fs::write(outside(folder).join(name), value).expect("it is written");
    }
    project.write(".env", &format!("{}='{}'\n", PLANTED[1].0, PLANTED[1].1));
    project.write(&format!(".moa/secrets/{}", PLANTED[4].0), PLANTED[4].1);
    project.write(
        "moa.yaml",
        "name: shop\nsecrets: {key_file: ../key, folder: ../run-secrets}\n\
         log: {level: trace}\nhealth: {folder: reports, state_file: reports/state.json}\n\
         notify: {channels: {team: {file: notifications/team.jsonl}}}\n",
    );
    project.write("parrot.sh", PARROT);
    project
}

/// Calls moa with the environment that a node of the project has.
fn with_sources(project: &Project, args: &[&str]) -> std::process::Command {
    let mut command = project.command(args);
    command.env(format!("MOA_SECRET_{}", PLANTED[0].0), PLANTED[0].1);
    command.env("CREDENTIALS_DIRECTORY", project.outside().join("credentials"));
    command
}

/// Workflows that use a secret in every way.
fn add_workflows(project: &Project, port: u16) {
    project.write("agents/parrot.yaml", "command: [sh, parrot.sh]\nenv: {S: '${{ params.s }}'}\n");
    for (name, _) in PLANTED {
        let secret = format!("${{{{ secrets.{name} }}}}");
        let lower = name.to_lowercase();
        project.write(
            &format!("agents/caller_{lower}.yaml"),
            &format!(
                "http: {{url: 'http://127.0.0.1:{port}/{lower}', \
                 headers: {{authorization: 'Bearer {secret}'}}}}\n"
            ),
        );
        let header = if name == "OF_STATE" { "# no header can hold it\n" } else { "" };
        let call = match header.is_empty() {
            true => format!(
                "  - {{id: call, agent: caller_{lower}, action: call, params: {{t: '{secret}'}}}}\n"
            ),
            false => String::new(),
        };
        project.workflow(
            &lower,
            &format!(
                "steps:\n\
                 \x20 - {{id: say, run: sh parrot.sh, env: {{S: '{secret}'}}}}\n\
                 \x20 - {{id: raw, run: sh parrot.sh raw, env: {{S: '{secret}'}}}}\n\
                 {call}\
                 \x20 - {{id: tell, notify: {{channel: team, text: 'got ${{{{ steps.say.output.plain }}}}'}}}}\n\
                 \x20 - {{id: spy, run: 'env; cat /proc/self/cmdline'}}\n\
                 \x20 - {{id: fail, run: sh parrot.sh fail, retry: never, env: {{S: '{secret}'}}}}\n"
            ),
        );
    }
}

/// A server that sends back what it was sent.
fn mirror() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("it listens");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || listener.incoming().flatten().for_each(reflect));
    port
}

fn reflect(mut stream: TcpStream) {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n > 0) {
        head.extend(byte);
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    let _ = stream.read_exact(&mut body);
    let said = json!({"head": text, "body": String::from_utf8_lossy(&body)}).to_string();
    let _ = write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{said}",
        said.len()
    );
}

/// What gives a planted secret away: the value, its lines, and its usual forms.
fn tells() -> Vec<(&'static str, Vec<u8>)> {
    let mut tells = Vec::new();
    for (name, value) in PLANTED {
        // The part that all forms of a kind have in common, whatever stands beside it.
        let core = value.split(['"', '+', '&']).next().expect("a part");
        tells.push((name, core.as_bytes().to_vec()));
        let hex: String = core.bytes().map(|b| format!("{b:02x}")).collect();
        tells.push((name, hex.into_bytes()));
        for shift in 0..3 {
            tells.push((name, base64_inside(core.as_bytes(), shift)));
        }
    }
    tells.push(("OF_STATE", b"second-line-zq5b".to_vec()));
    tells
}

/// What base64 of a text looks like when it stands `shift` bytes behind a group's beginning, without
/// what depends on its neighbours.
fn base64_inside(bytes: &[u8], shift: usize) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let padded: Vec<u8> = std::iter::repeat_n(0, shift).chain(bytes.iter().copied()).collect();
    let mut out = Vec::new();
    for group in padded.chunks_exact(3) {
        let n = group.iter().fold(0u32, |n, b| n << 8 | u32::from(*b));
        out.extend((0..4).map(|i| LETTERS[(n >> (18 - 6 * i) & 63) as usize]));
    }
    out.drain(..(shift * 8).div_ceil(6));
    out
}

#[track_caller]
fn nothing_in(place: &str, bytes: &[u8]) {
    for (name, tell) in tells() {
        let at = bytes.windows(tell.len()).position(|part| part == tell);
        if let Some(at) = at {
            let around = &bytes[at.saturating_sub(80)..(at + 80).min(bytes.len())];
            panic!("{name} is in {place}: {}", String::from_utf8_lossy(around));
        }
    }
}

/// Looks through every file of a folder, but those where secrets are meant to be.
fn nothing_beneath(folder: &Path) {
    for entry in walk(folder) {
        let path = entry.display().to_string();
        if !path.ends_with("/.env") && !path.contains("/.moa/secrets/") {
            nothing_in(&path, &std::fs::read(&entry).unwrap_or_default());
        }
    }
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => walk(&entry.path()),
            Ok(kind) if kind.is_file() => vec![entry.path()],
            _ => Vec::new(),
        })
        .collect()
}

/// All that a person can ask about the project.
fn questions(runs: &[String]) -> Vec<Vec<String>> {
    let plain: [&[&str]; 17] = [
        &["secrets", "list"],
        &["secrets", "list", "--json"],
        &["audit", "list", "--json", "-n", "0"],
        &["audit", "verify", "--json"],
        &["runs", "list", "--json"],
        &["events", "query", "--limit", "0", "--json"],
        &["events", "tail", "-n", "1000"],
        &["state"],
        &["export"],
        &["export", "--check-format"],
        &["config", "--json"],
        &["doctor"],
        &["metrics", "--json"],
        &["jobs", "list", "--json"],
        &["agents", "list", "--json"],
        &["workflows", "list", "--json"],
        &["limits", "--json"],
    ];
    let mut all: Vec<Vec<String>> =
        plain.iter().map(|args| args.iter().map(|arg| (*arg).to_owned()).collect()).collect();
    for run in runs {
        for words in ["runs show", "runs show --json", "runs history", "runs logs", "runs why"] {
            let mut words = words.split(' ').map(str::to_owned).collect::<Vec<_>>();
            words.insert(2, run.clone());
            all.push(words);
        }
    }
    all
}

/// All that can be read of a run and its workflow over HTTP: the API, the dashboard, the metrics.
fn nothing_served(project: &Project, node: &Node, run: &str, workflow: &str) {
    let api = Api::with_role(project, node, "admin");
    let (_, _, table) = moa_server::table();
    let mut read = 0;
    for row in table.iter().filter(|row| row.method == "GET" && !row.path.ends_with("/stream")) {
        let path = row.path.replace("{run}", run).replace("{workflow}", workflow);
        let path = path.replace("{agent}", "parrot").replace("{step}", "say");
        let path = path.replace("{attempt}", "1").replace("{id}", run);
        if path.contains('{') {
            continue;
        }
        let said = api.get(&path);
        nothing_in(&path, said.head.as_bytes());
        nothing_in(&path, said.body.as_bytes());
        read += usize::from(said.status == 200);
    }
    assert!(read > 50, "{read} of the routes were read");
}

#[test]
fn planted_secrets_are_nowhere_in_what_moa_writes_or_says() {
    let project = project();
    add_workflows(&project, mirror());
    let mut command = with_sources(&project, &["secrets", "set", PLANTED[5].0]);
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(PLANTED[5].1.as_bytes()).expect("it is told");
    drop(stdin);
    Said::from(child.wait_with_output().expect("it ends")).expect(0);
    let node = Node::start(with_sources(&project, &["up"]));
    nothing_in("what the node says", node.said.as_bytes());
    let mut runs = Vec::new();
    for (name, _) in PLANTED {
        let run = ["run", &name.to_lowercase(), "--watch"];
        let said = Said::from(with_sources(&project, &run).output().expect("it starts"));
        nothing_in("what a run says", said.out.as_bytes());
        nothing_in("what a run says to people", said.err.as_bytes());
        // The last step fails, as it should; all others have had the secret.
        assert_eq!(said.code, 1, "{} {}", said.out, said.err);
        let last = project.call(&["runs", "list", "-n", "1", "--json"]).expect(0).json();
        let run = last[0]["run"].as_str().expect("an id").to_owned();
        let shown = project.call(&["runs", "show", &run]).expect(0).out;
        let error = shown.lines().find(|line| line.contains("exit code 3: "));
        assert!(error.is_some_and(|line| line.ends_with("***")), "{shown}");
        runs.push(run);
    }
    project.call(&["jobs", "run", "health"]).expect(0);
    assert!(project.read("notifications/team.jsonl").contains("got ***"));
    nothing_beneath(&project.root);
    for args in questions(&runs) {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let said = Said::from(with_sources(&project, &args).output().expect("it starts"));
        assert!(said.code < 2, "{args:?}: {} {}", said.code, said.err);
        nothing_in(&format!("{args:?}"), said.out.as_bytes());
        nothing_in(&format!("{args:?} (stderr)"), said.err.as_bytes());
    }
    for (run, (name, _)) in runs.iter().zip(PLANTED) {
        nothing_served(&project, &node, run, &name.to_lowercase());
    }
    let backup = project.outside().join("backup.tar");
    project.call(&["backup", backup.to_str().expect("UTF-8"), "--logs", "--work"]).expect(0);
    nothing_in("the backup", &std::fs::read(&backup).expect("it is read"));
    let (_, said) = node.stop();
    nothing_in("what the node says at its end", said.as_bytes());
    nothing_beneath(&project.root);
}

/// A secret that stands as it is in files, and what is known of it.
const WRITTEN: &str = "plugh-secret-word";

/// A project in which somebody has written a secret wherever a text can stand.
fn written_out() -> Project {
    let workflow = format!(
        "name: The {WRITTEN} title\ndescription: About {WRITTEN}\nparams:\n\
         \x20 key: {{type: string, default: {WRITTEN}, description: such as {WRITTEN}}}\n\
         \x20 pick: {{enum: [a, {WRITTEN}], default: {WRITTEN}}}\n\
         schedule: {{cron: '0 9 * * *', params: {{key: {WRITTEN}}}}}\n\
         on:\n\
         \x20 - {{id: order, event: shop.order, match: event.data.key == '{WRITTEN}', params: {{key: {WRITTEN}}}}}\n\
         steps:\n\
         \x20 - {{id: say, name: Say {WRITTEN}, run: 'echo {WRITTEN}', env: {{A: {WRITTEN}}}}}\n\
         \x20 - {{id: maybe, condition: \"params.key == '{WRITTEN}'\", run: 'true'}}\n\
         \x20 - {{id: ask, approve: 'Is it {WRITTEN}?'}}\n"
    );
    let project = Project::with("open", &workflow);
    project.write(".env", &format!("PRINTER={WRITTEN}\n"));
    project.workflow(
        "uses",
        "steps:\n  - {id: say, run: 'true', env: {P: '${{ secrets.PRINTER }}'}}\n",
    );
    project
        .workflow("broken", &format!("steps:\n  - {{id: say, run: 'true', timeout: {WRITTEN}}}\n"));
    project.write(
        "agents/printer.yaml",
        &format!("command: [sh, -c, 'echo {WRITTEN}']\ndescription: With {WRITTEN}\n"),
    );
    project
}

#[test]
fn what_somebody_has_written_out_is_for_who_may_write_it() {
    let project = written_out();
    let node = project.up();
    let operator = Api::with_role(&project, &node, "operator");
    let rule = json!({"name": "writes", "run": "open", "on": {
        "event": "shop.sale", "match": format!("event.data.key == '{WRITTEN}'"),
        "params": {"key": WRITTEN},
    }});
    operator.post("/api/v1/rules", &rule).expect(201);
    let broken = operator.post("/api/v1/workflows/broken/execute", &json!({}));
    assert!(broken.body.contains("MOA0") && !broken.body.contains(WRITTEN), "{}", broken.body);
    let reason = json!({"reason": format!("It is {WRITTEN}")});
    operator.post("/api/v1/triggers/rule%3Awrites/pause", &reason).expect(200);
    let (_, _, table) = moa_server::table();
    let looks = table.iter().filter(|row| row.method == "GET" && !row.path.ends_with("/stream"));
    let paths: Vec<String> = looks.flat_map(|row| written_paths(&row.path)).collect();
    // Operators write rules.
    let viewer = Api::with_role(&project, &node, "viewer");
    for (api, writes) in [(viewer, false), (operator, true)] {
        let mut read = 0;
        for path in paths.iter().filter(|path| !writes || !path.contains("rule")) {
            let said = api.get(path);
            let mut body = said.body.clone();
            if writes && let Some(at) = body.find("rule:writes") {
                body.truncate(at);
            }
            assert!(!body.contains(WRITTEN), "{path}: {}", around(&body));
            read += usize::from(said.status == 200);
        }
        assert!(read > 60, "{read} of the routes were read");
        for ask in [json!({"triggers": {"limit": 100}}), json!("files")] {
            let question = json!({"format": moa_view::rows::FORMAT, "ask": ask});
            let said = api.post("/api/v1/rows", &question).expect(200).body;
            assert!(said.contains("open"), "{said}");
            let is_own = writes && said.contains("\"rule\":true");
            assert!(is_own || !said.contains(WRITTEN), "{}", around(&said));
        }
    }
    let admin = Api::with_role(&project, &node, "admin");
    for path in ["/api/v1/workflows/open", "/api/v1/rules/writes", "/api/v1/agents/printer/source"]
    {
        let said = admin.get(path).expect(200).body;
        assert!(said.contains(WRITTEN), "who writes {path} sees it: {said}");
    }
}

#[test]
fn what_a_step_is_given_by_its_workflow_is_for_who_may_write_that() {
    let project = written_out();
    let script = format!("echo it is {WRITTEN}; echo {WRITTEN} >&2; exit 1");
    project.workflow("given", &format!("steps:\n  - {{id: say, run: '{script}', retry: never}}\n"));
    let node = project.up();
    let said = project.call(&["run", "given", "--json"]).expect(1);
    assert!(!said.out.contains(WRITTEN) && !said.err.contains(WRITTEN), "{}{}", said.out, said.err);
    let run = said.json()["workflowId"].as_str().expect("an id").to_owned();
    let log = project.call(&["runs", "logs", &run]).expect(0).out;
    assert!(log.contains("it is ***") && !log.contains(WRITTEN), "{log}");
    let paths = [format!("/api/v1/runs/{run}/steps/say"), format!("/runs/{run}/steps/say")];
    for (role, shown) in [("viewer", false), ("operator", false), ("admin", true)] {
        let api = Api::with_role(&project, &node, role);
        for path in &paths {
            let said = api.get(path).expect(200).body;
            assert!(said.contains("it is"), "{said}");
            assert_eq!(said.contains(WRITTEN), shown, "{role} {path}: {}", around(&said));
        }
    }
}

#[test]
fn two_runs_beside_each_other_show_what_each_of_them_shows() {
    let project = written_out();
    for said in [format!("it is {WRITTEN}"), format!("it was {WRITTEN}")] {
        let steps = format!("steps:\n  - {{id: say, run: 'echo {said}'}}\n");
        project.workflow("given", &steps);
        project.call(&["run", "given", "-q"]).expect(0);
    }
    let node = project.up();
    for (role, shown) in [("viewer", false), ("operator", false), ("admin", true)] {
        let api = Api::with_role(&project, &node, role);
        for path in ["/api/v1/runs/last/compare", "/runs/last/compare"] {
            let said = api.get(path).expect(200).body;
            assert!(said.contains("it was"), "{said}");
            assert_eq!(said.contains(WRITTEN), shown, "{role} {path}: {}", around(&said));
        }
    }
}

#[test]
fn the_settings_list_the_secrets_that_the_api_lists() {
    let project = written_out();
    let node = project.up();
    let operator = Api::with_role(&project, &node, "operator");
    let listed = operator.get("/api/v1/secrets").expect(200).json()["secrets"].clone();
    let of_env = listed.as_array().expect("a list").iter().find(|line| line["name"] == "PRINTER");
    assert_eq!(of_env.expect("that of .env")["source"], ".env");
    assert_eq!(operator.get("/api/v1/settings").expect(200).json()["secrets"], listed);
    let page = operator.get("/settings").expect(200).body;
    let row = page.split("<tr").find(|row| row.contains("PRINTER")).expect("its row");
    assert!(row.contains(".env") && row.contains("workflow uses"), "{row}");
    let viewer = Api::with_role(&project, &node, "viewer");
    assert!(viewer.get("/api/v1/settings").expect(200).json()["secrets"].is_null());
    assert!(!viewer.get("/settings").expect(200).body.contains("PRINTER"));
}

fn around(text: &str) -> &str {
    let at = text.find(WRITTEN).unwrap_or_default();
    let start = text.floor_char_boundary(at.saturating_sub(200));
    &text[start..text.ceil_char_boundary(at + 100)]
}

/// What a path of the table is asked with.
fn written_paths(path: &str) -> Vec<String> {
    let path = path.replace("{rule}", "writes").replace("{agent}", "printer");
    let mut paths = vec![path];
    for (name, values) in [
        ("{workflow}", &["open", "broken", "uses"][..]),
        ("{trigger}", &["rule%3Awrites", "open%2Fschedule", "open%2Forder"]),
        ("{name}", &["rule%3Awrites"]),
    ] {
        let one = |path: String| match path.contains(name) {
            true => values.iter().map(|value| path.replace(name, value)).collect(),
            false => vec![path],
        };
        paths = paths.into_iter().flat_map(one).collect();
    }
    paths.retain(|path| !path.contains('{'));
    paths
}

/// What the project's settings alone name is a secret too: addresses and keys of those who are told.
#[test]
fn secrets_of_settings_are_hidden_and_listed() {
    let named = [
        ("SLACK", "http://127.0.0.1:1/zq7-slack", "channel team"),
        ("SIGNS", "zq8-signs-channel", "channel hook"),
        ("MAILS", "zq9-mails-password", "channel post"),
        ("BILLS", "whsec_enExMC1iaWxsaW5nLXdlYmhvb2stc2VjcmV0", "webhook billing"),
        ("TRACES", "zq11-traces-header", "tracing"),
    ];
    let project = Project::empty();
    project.write(
        "moa.yaml",
        "notify:
  channels:
    team: {slack: {url: '${{ secrets.SLACK }}'}}
    hook: {webhook: {url: 'http://127.0.0.1:1/', secret: '${{ secrets.SIGNS }}'}}
    post: {mail: {host: 127.0.0.1, port: 1, tls: none, username: me, from: a@b.example, to: [c@d.example], password: '${{ secrets.MAILS }}'}}
webhooks:
  billing: {url: 'http://127.0.0.1:1/', secret: '${{ secrets.BILLS }}', types: [run.failed]}
tracing: {otlp: {endpoint: 'http://127.0.0.1:1', headers: {key: '${{ secrets.TRACES }}'}}}
",
    );
    let lines: Vec<String> =
        named.iter().map(|(name, value, _)| format!("{name}={value}\n")).collect();
    project.write(".env", &lines.concat());
    project.workflow(
        "shows",
        "steps: [{id: show, run: 'cat .env; cat .env >&2; exit 2', retry: never}]\n",
    );
    let node = project.up();
    let said = project.call(&["run", "shows", "--watch"]);
    let logs = project.call(&["runs", "logs", "last"]).expect(0);
    let runs = project.call(&["runs", "list", "--json"]).expect(0);
    node.stop();
    let alone = project.call(&["run", "shows"]);
    let logs_alone = project.call(&["runs", "logs", "last"]).expect(0);
    for said in [said, logs, runs, alone, logs_alone] {
        let text = said.out + &said.err;
        assert!(text.contains("***"), "{text}");
        let found = named.iter().find(|(_, value, _)| text.contains(value));
        assert_eq!(found, None, "{text}");
    }
    let listed = project.call(&["secrets", "list", "--json"]).expect(0).json();
    for (name, _, by) in named {
        let line = listed.as_array().expect("a list").iter().find(|line| line["name"] == name);
        let line = line.unwrap_or_else(|| panic!("{name}: {listed}"));
        assert_eq!((&line["state"], &line["used_by"]), (&json!("set"), &json!([by])));
    }
}
