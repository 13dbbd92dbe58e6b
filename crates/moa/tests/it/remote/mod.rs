//! The command line on a node elsewhere: called in an empty folder, by the API alone.

mod access;
mod backups;
mod breaks;
mod contexts;
mod silent;
mod stranger;

use std::process::Command;

use moa_view::rows::{FORMAT, STEPS_BYTES_MAX, STEPS_MAX};
use serde_json::Value as Json;

use self::breaks::always_changes;
use crate::http::Api;
use crate::project::{Node, Project, Said, moa};

/// Somebody on another machine, so to speak.
pub struct Elsewhere {
    dir: tempfile::TempDir,
    pub url: String,
    pub token: String,
}

impl Elsewhere {
    pub fn new(project: &Project, node: &Node, role: &str) -> Self {
        let api = Api::with_role(project, node, role);
        Self::at(&format!("http://{}", api.address), api.token())
    }

    pub fn at(url: &str, token: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        Self { dir, url: url.to_owned(), token: token.to_owned() }
    }

    /// A command of theirs, which nothing says what it works on.
    pub fn bare(&self, args: &[&str]) -> Command {
        let mut command = moa();
        command.current_dir(self.dir.path()).env("HOME", self.dir.path()).args(args);
        command
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.bare(args);
        command.env("MOA_URL", &self.url).env("MOA_TOKEN", &self.token);
        command
    }

    pub fn call(&self, args: &[&str]) -> Said {
        self.command(args).output().expect("it can be started").into()
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }
}

const SHOP: &str = "\
name: Shop
version: 1.2.0
params:
  n: {type: integer, default: 1}
  name: {type: string, default: you}
schedule: {cron: '0 3 * * *', timezone: Europe/Berlin}
on: {event: order.paid}
steps:
  - {id: log, run: 'echo hello $NAME; echo more >&2', env: {NAME: '${{ params.name }}'}}
  - {id: say, run: \"echo '{\\\"twice\\\": 4}'\"}
  - id: each
    foreach: {in: '[1, 2]', as: i}
    steps: [{id: pack, run: 'echo ${{ i }}'}]
  - {id: bad, run: 'echo oh >&2; exit 3', retry: never, continue: true}
outputs: {twice: say.twice}
";

const ASK: &str = "steps: [{id: ask, approve: {title: 'go on?'}}]\n";

fn shop() -> Project {
    let project = Project::with("shop", SHOP);
    project.workflow("ask", ASK);
    project.write("agents/writer.yaml", "command: [echo, '{}']\nconcurrency: 2\n");
    project
}

/// Commands that only look.
const LOOKS: &[&[&str]] = &[
    &["runs", "list"],
    &["runs", "list", "--status", "succeeded", "-n", "1"],
    &["runs", "show", "last"],
    &["runs", "show", "last", "--all", "--at", "3"],
    &["runs", "history", "last"],
    &["runs", "logs", "last"],
    &["runs", "logs", "last", "pack"],
    &["runs", "logs", "last", "say", "--attempt", "1"],
    &["runs", "export", "last"],
    &["runs", "export", "last", "--check-format"],
    &["runs", "why", "last"],
    &["runs", "show", "ffffffff"],
    &["runs", "logs", "last", "nothing"],
    &["workflows", "list"],
    &["workflows", "show", "shop"],
    &["workflows", "show", "shop@1.2.0"],
    &["workflows", "show", "shop", "--source"],
    &["workflows", "show", "shoop"],
    &["workflows", "graph", "shop"],
    &["workflows", "graph", "shop", "--format", "dot"],
    &["workflows", "versions"],
    &["workflows", "versions", "shop"],
    &["workflows", "diff", "shop", "ask"],
    &["workflows", "diff", "shop"],
    &["workflows", "validate"],
    &["schedules", "list"],
    &["schedules", "next", "shop/1", "-n", "3", "--after", "2027-03-28"],
    &["schedules", "slots", "shop/1"],
    &["schedules", "why", "shop/1", "2026-03-29T02:30"],
    &["schedules", "next", "-n", "3", "--after", "2027-03-28"],
    &["schedules", "next", "nothing"],
    &["triggers", "list"],
    &["triggers", "history", "shop/2"],
    &["triggers", "test", "shop/2", "--data", "{}"],
    &["agents", "list"],
    &["agents", "show", "writer"],
    &["agents", "show", "wroter"],
    &["limits"],
    &["events", "query", "--type", "step.*"],
    &["events", "list", "--since", "1h", "--until", "2099-01-01"],
    &["events", "list", "--until", "2001-01-01"],
    &["events", "query", "--run", "last"],
    &["events", "tail", "-n", "5"],
    &["token", "list"],
    &["audit", "list"],
    &["alerts", "list"],
    &["alerts", "show", "nothing"],
    &["metrics"],
    &["metrics", "--agent", "writer"],
    &["targets"],
    &["config"],
    &["rules", "list"],
    &["rules", "show", "vip"],
    &["secrets", "list"],
    &["export"],
    &["run", "shop", "--dry-run"],
];

/// Whether a line says how long something is ago or ahead.
fn has_age(line: &str) -> bool {
    let words = line.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let words: Vec<&str> = words.collect();
    let is_span = |word: &str| {
        word.ends_with(['s', 'm', 'h', 'd']) && word.starts_with(|c: char| c.is_ascii_digit())
    };
    words.contains(&"now")
        || words.contains(&"ago")
        || words.windows(2).any(|pair| pair[0] == "in" && is_span(pair[1]))
}

#[test]
fn what_is_shown_is_the_same_here_and_elsewhere() {
    let project = shop();
    project.run("shop");
    let node = project.up();
    let there = Elsewhere::new(&project, &node, "admin");
    project.call(&["rules", "create", "vip", "--on", "order.vip", "--run", "shop"]).expect(0);
    // The token notes its first use.
    there.call(&["runs", "list"]).expect(0);
    for args in LOOKS {
        for json in [false, true] {
            let mut args = args.to_vec();
            if json {
                args.push("--json");
            }
            let (mine, theirs) = (project.call(&args), there.call(&args));
            assert_eq!(theirs.code, mine.code, "{args:?}: {}{}", theirs.err, mine.err);
            let same = |said: &Said| {
                // A log's file is its machine's own; ages grow between two calls.
                let lines = said.out.lines().filter(|line| !line.contains("\"path\":"));
                let lines = lines.filter(|line| !has_age(line));
                lines.collect::<Vec<_>>().join("\n")
            };
            assert_eq!(same(&theirs), same(&mine), "{args:?}");
            if mine.code != 0 {
                assert_eq!(theirs.err, mine.err, "{args:?}");
            }
        }
    }
}

/// More steps than one answer holds.
#[test]
fn a_run_of_many_steps_is_read_elsewhere_in_parts() {
    let project = Project::with(
        "wide",
        "params: {n: {type: array}}\nsteps:\n  - id: each\n    foreach: {in: params.n, as: i}\n    \
         steps: [{id: one, agent: noop, action: done}]\n",
    );
    let node = project.up();
    let api = Api::with_role(&project, &node, "operator");
    let numbers: Vec<usize> = (0..STEPS_MAX + 10).collect();
    let asked = serde_json::json!({"workflow": "wide", "params": {"n": numbers}});
    let run = api.post("/api/v1/runs", &asked).expect(201).json()["run"].clone();
    api.ended(run.as_str().expect("an id"));
    let all = serde_json::json!({"format": FORMAT, "ask": {
        "run_part": {"run": run, "from": 0, "limit": u32::MAX},
    }});
    let part = api.post("/api/v1/rows", &all).expect(200).json();
    assert_eq!(part[0]["steps"].as_array().map(Vec::len), Some(STEPS_MAX));
    assert_eq!(part[1], true, "there are more");
    let there = Elsewhere::new(&project, &node, "viewer");
    let args = ["runs", "show", "last", "--json"];
    let (mine, theirs) = (project.call(&args), there.call(&args));
    assert_eq!((theirs.code, &theirs.err), (0, &mine.err));
    let (mine, theirs): (Json, Json) = (mine.json(), theirs.json());
    assert_eq!(theirs["steps"].as_array().map(Vec::len), Some(STEPS_MAX + 11));
    assert_eq!(theirs, mine);

    // While it is at work, no two parts are of one moment.
    let busy = Elsewhere::at(&format!("http://{}", always_changes(api.address)), &there.token);
    let theirs = busy.call(&args).expect(0).json();
    assert_eq!(theirs, mine);
}

#[test]
fn a_run_of_large_outputs_is_read_elsewhere_in_parts() {
    let output = "(printf '\"'; head -c 200000 /dev/zero | tr '\\0' x; printf '\"') > $MOA_OUTPUT";
    let steps: Vec<Json> =
        (0..50).map(|n| serde_json::json!({"id": format!("s{n}"), "run": output})).collect();
    let parallel = serde_json::json!({"steps": [{"id": "all", "parallel": steps}]});
    let project = Project::with("bulky", &parallel.to_string());
    let node = project.up();
    let run = project.call(&["run", "bulky", "--json"]).expect(0).json()["workflowId"].clone();
    let there = Elsewhere::new(&project, &node, "viewer");
    let api = Api::with_role(&project, &node, "viewer");
    let ask = |ask: Json| {
        let said = api.post("/api/v1/rows", &serde_json::json!({"format": FORMAT, "ask": ask}));
        let said = said.expect(200);
        let (bytes, said) = (said.body.len(), said.json());
        let steps = said[0]["steps"].as_array().expect("steps").clone();
        (bytes, steps, said[1].as_bool().expect("whether there are more"))
    };
    let part = |from: u64| serde_json::json!({"run_part": {"run": run, "from": from, "limit": 99}});
    let (bytes, first, more) = ask(part(0));
    assert!(
        more && first.len() < 51 && bytes < STEPS_BYTES_MAX + (1 << 20),
        "{bytes} {more} {}",
        first.len()
    );
    let last = first.last().expect("a step")["inst"].as_u64().expect("a number");
    let (_, rest, more) = ask(part(last + 1));
    assert_eq!((first.len() + rest.len(), more), (51, false));
    let (_, whole, more) = ask(serde_json::json!({"run": run}));
    assert_eq!((whole.len(), more), (51, false), "all at one moment");
    let args = ["runs", "show", "last", "--all", "--json"];
    let theirs = there.call(&args).expect(0).json();
    assert_eq!(theirs, project.call(&args).expect(0).json());
}

#[test]
fn what_is_done_elsewhere_is_done() {
    let project = shop();
    let node = project.up();
    let there = Elsewhere::new(&project, &node, "admin");
    let run = there.call(&["run", "shop", "-p", "n=7", "-p", "name=ann", "--json"]).expect(0);
    assert_eq!(run.json()["status"], "success");
    let last = project.call(&["runs", "show", "last", "--json"]).expect(0).json();
    assert_eq!(last["params"]["n"], 7, "texts become what is declared: {last}");
    assert_eq!(last["cause"], "api (admin)");
    let wrong = there.call(&["run", "shop", "-p", "n=many"]).expect(2);
    assert!(wrong.err.contains("the params don't fit"), "{}", wrong.err);

    let keyed = ["run", "shop", "--idempotency-key", "k", "--detach"];
    let (one, two) = (there.call(&keyed).expect(0), there.call(&keyed).expect(0));
    assert_eq!(one.out, two.out);
    there.call(&["runs", "watch", one.out.trim()]).expect(0);
    for again in [
        &["runs", "fork", "last", "-p", "name=bob"][..],
        &["runs", "rerun", "last", "--from", "say"],
    ] {
        there.call(again).expect(0);
    }
    let forked = project.call(&["runs", "show", "last", "--json"]).expect(0).json();
    assert_eq!(forked["params"]["name"], "bob");
    there.call(&["runs", "rerun", "last", "--from", "nothing"]).expect(4);

    let asked = there.call(&["run", "ask", "--detach"]).expect(0).out.trim().to_owned();
    until(&there, &["runs", "show", &asked, "--json"], |run| run["status"] == "waiting");
    let why = there.call(&["runs", "why", &asked]).expect(0);
    assert!(why.out.contains("moa runs signal"), "{}", why.out);
    let done = there.call(&["runs", "pause", &asked, "--json"]).expect(0).json();
    assert_eq!((&done["done"], &done["executed"]), (&true.into(), &true.into()));
    there.call(&["runs", "resume", &asked]).expect(0);
    there.call(&["runs", "signal", &asked, "approve.ask", "-p", "approved=true"]).expect(0);
    there.call(&["runs", "watch", &asked]).expect(0);
    there.call(&["runs", "cancel", &asked]).expect(5);
}

#[test]
fn an_agent_is_shown_elsewhere_by_few_questions_however_many_runs_it_worked_in() {
    let project = shop();
    let node = project.up();
    for _ in 0..12 {
        project.call(&["run", "shop", "-p", "name=ann", "-q"]);
    }
    let there = Elsewhere::new(&project, &node, "viewer");
    let api = Api::with_role(&project, &node, "viewer");
    let posts = || {
        let line = "moa_http_requests_total{method=\"POST\",status=\"2xx\"} ";
        let text = api.get("/metrics").expect(200).body;
        let count = text.split(line).nth(1).and_then(|rest| rest.lines().next());
        count.map_or(0, |count| count.parse::<f64>().expect("a number") as u32)
    };
    let before = posts();
    let shown = there.call(&["agents", "show", "shell", "--json"]).expect(0).json();
    assert!(shown["last_hour"]["executions"].as_u64() >= Some(12), "{shown}");
    assert!(posts() - before <= 5, "{} questions", posts() - before);
}

#[test]
fn what_a_backfill_elsewhere_would_do_is_what_the_node_says() {
    let project = shop();
    // What the node remembers is a setting, and who is no admin sees no settings.
    project.write("moa.yaml", "name: Shop\nretention: {occurrences: {age: 1s}}\n");
    let node = project.up();
    let there = Elsewhere::new(&project, &node, "viewer");
    let range = ["schedules", "backfill", "shop/1", "2020-01-01", "2022-01-01", "--dry-run"];
    let api = Api::with_role(&project, &node, "viewer");
    let path = "/api/v1/triggers/shop%2F1/backfill?from=2020-01-01&to=2022-01-01";
    api.until(path, |would| would["forgotten"] == 731);
    let told = there.call(&range).expect(0);
    assert!(told.err.contains("731 of 731 slots would be started"), "{}", told.err);
    assert!(told.err.contains("731 may have had runs"), "{}", told.err);
    let json = [&range[..], &["--json"]].concat();
    let would = there.call(&json).expect(0).json();
    assert_eq!(would, project.call(&json).expect(0).json(), "here as there");
    assert_eq!(would.as_array().map(Vec::len), Some(731));
    let long = ["schedules", "backfill", "shop/1", "1990-01-01", "2026-01-01", "--dry-run"];
    let (here, there) = (project.call(&long).expect(5), there.call(&long).expect(5));
    assert!(here.err.contains("more than 10000 slots"), "{}", here.err);
    assert!(there.err.contains("more than 10000 slots"), "{}", there.err);
}

#[test]
fn triggers_jobs_and_tokens_are_acted_on_elsewhere() {
    let project = shop();
    let node = project.up();
    let there = Elsewhere::new(&project, &node, "admin");
    let switched = there.call(&["schedules", "pause", "shop/1", "--json"]).expect(0).json();
    assert_eq!(switched["changed"], true);
    let again = there.call(&["schedules", "pause", "shop/1", "--json"]).expect(0).json();
    assert_eq!(again["changed"], false);
    there.call(&["schedules", "resume", "shop/1"]).expect(0);
    there.call(&["schedules", "trigger", "shop/1", "--key", "once"]).expect(0);
    let range = ["schedules", "backfill", "shop/1", "2026-01-01", "2026-01-03"];
    let would = there.call(&[&range[..], &["--dry-run", "--json"]].concat()).expect(0).json();
    assert_eq!(would.as_array().map(Vec::len), Some(2));
    let begun = there.call(&[&range[..], &["--forgotten", "--json"]].concat()).expect(0).json();
    assert_eq!(begun["slots"], 2);

    let publish = ["events", "publish", "order.paid", "-p", "n=1", "--key", "a", "--json"];
    assert_eq!(there.call(&publish).expect(0).json()["new"], true);
    assert_eq!(there.call(&publish).expect(0).json()["new"], false);
    let job = there.call(&["jobs", "run", "retention", "--json"]).expect(0).json();
    assert!(job["last"]["started_at"].is_number() && job["last"]["error"].is_null(), "{job}");
    let listed = there.call(&["jobs", "list", "--json"]).expect(0).json();
    assert!(listed.as_array().is_some_and(|jobs| jobs.len() > 3), "{listed}");

    let made = there.call(&["token", "create", "t", "--role", "viewer", "--json"]).expect(0).json();
    let (id, secret) = (made["id"].as_str().expect("an id"), made["token"].as_str());
    let viewer = Elsewhere::at(&there.url, secret.expect("a token"));
    viewer.call(&["runs", "list"]).expect(0);
    let refused = viewer.call(&["runs", "retry", "last"]).expect(5);
    let needs = "this takes the role operator, and yours is viewer";
    assert!(refused.err.contains(needs), "{}", refused.err);
    assert!(viewer.call(&["audit", "list"]).expect(5).err.contains("role admin"));
    there.call(&["token", "revoke", id]).expect(0);
    viewer.call(&["runs", "list"]).expect(5);

    there.call(&["audit", "verify"]).expect(0);
    assert_eq!(there.call(&["state", "--json"]).expect(0).json()["project"]["name"], "shop");
    let checks = there.call(&["doctor", "--json"]).expect(0).json();
    let access = checks.as_array().and_then(|all| all.iter().find(|c| c["check"] == "access"));
    assert_eq!(access.map(|check| &check["detail"]), Some(&"admin (admin)".into()));

    std::fs::write(there.path("draft.yaml"), "steps: [{id: a, agent: nobody}]\n").expect("a file");
    let found = there.call(&["workflows", "validate", "draft.yaml", "--json"]).expect(3).json();
    assert_eq!(found[0]["path"], "workflows/draft.yaml", "{found}");
}

/// Asks until an answer fits.
pub fn until(there: &Elsewhere, args: &[&str], fits: impl Fn(&Json) -> bool) -> Json {
    loop {
        let said = there.call(args).expect(0).json();
        if fits(&said) {
            return said;
        }
    }
}

#[test]
fn agents_are_tested_elsewhere() {
    let project = Project::with("hello", "steps: [{run: 'true'}]\n");
    let script = "echo \"it says $MOA_PARAM_TEXT\" >&2; test \"$MOA_PARAM_TEXT\" = good && echo 7";
    project.write(
        "agents/odd.yaml",
        &format!("command: [sh, -c, '{script}']\nactions: {{go: {{}}}}\n"),
    );
    let node = project.up();
    let there = Elsewhere::new(&project, &node, "admin");
    let ask =
        |text: &str| there.call(&["agents", "test", "odd", "go", "-p", &format!("text={text}")]);
    let good = ask("good").expect(0);
    assert_eq!(good.out.trim(), "7");
    assert!(good.err.contains("it says good"), "{}", good.err);
    let bad = ask("bad").expect(1);
    assert!(
        bad.err.contains("it says bad") && bad.err.contains("the attempt failed"),
        "{}",
        bad.err
    );
    let told = there.call(&["agents", "test", "odd", "go", "--json", "-p", "text=good"]).expect(0);
    assert_eq!(told.json()["output"], 7);
    there.call(&["agents", "test", "nobody", "go"]).expect(4);
    Elsewhere::new(&project, &node, "operator").call(&["agents", "test", "odd", "go"]).expect(5);
}

#[test]
fn rules_secrets_and_agents_are_changed_elsewhere() {
    let project = shop();
    let node = project.up();
    let there = Elsewhere::new(&project, &node, "admin");
    let make = ["rules", "create", "vip", "--on", "order.vip", "--run", "shop", "--json"];
    assert_eq!(there.call(&make).expect(0).json()["created"], true);
    assert_eq!(there.call(&make).expect(0).json()["created"], false);
    let other = ["rules", "create", "vip", "--on", "order.big", "--run", "shop", "--json"];
    there.call(&other).expect(5);
    let replaced = there.call(&[&other[..], &["--replace"]].concat()).expect(0).json();
    assert_eq!(replaced["changed"], true);
    there.call(&["rules", "disable", "vip"]).expect(0);
    let shown = project.call(&["rules", "show", "vip"]).expect(0).out;
    assert!(shown.contains("disabled") && shown.contains("order.big"), "{shown}");
    there.call(&["rules", "delete", "vip"]).expect(0);
    there.call(&["rules", "show", "vip"]).expect(4);

    let wrong = there.call(&["secrets", "set", "KEY"]);
    assert_eq!(wrong.code, 2, "nothing stands on stdin: {}", wrong.err);
    let switched = there.call(&["agents", "pause", "writer", "--json"]).expect(0).json();
    assert_eq!(switched["changed"], true);
    let agents = project.call(&["agents", "list", "--json"]).expect(0).json();
    assert!(agents[0]["paused"].is_object(), "{agents}");
    there.call(&["agents", "resume", "writer"]).expect(0);
    there.call(&["alerts", "ack", "nothing"]).expect(4);
    let by = there.call(&["alerts", "ack", "nothing", "--by", "me"]).expect(2);
    assert!(by.err.contains("knows by the token"), "{}", by.err);
}
