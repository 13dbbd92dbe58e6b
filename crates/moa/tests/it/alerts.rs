//! Alerts, with the real binary: what is wrong is raised, told, noticed and over.

use serde_json::{Value as Json, json};

use crate::notify::Receiving;
use crate::project::Project;

const RULES: &str = "failure_rate: {runs: 2, window: 1h}, agent_down: {failures: 2}";

/// A project whose workflow fails as long as the file `ok` is not there, and which tells `url`.
fn project(url: &str, alerts: &str) -> Project {
    let project = Project::with(
        "letters",
        "steps: [{id: write, agent: writer, action: go, retry: {max_attempts: 1}}]\n",
    );
    project.write(
        "agents/writer.yaml",
        "command: [sh, -c, 'test -e ok || { echo \"<!channel> no ink\" >&2; exit 2; }']\n",
    );
    let settings = format!(
        "notify: {{channels: {{hook: {{webhook: {{url: '{url}', timeout: 2m}}}}}}}}\n\
         alerts: {{notify: [hook], group: 0s, resolve_after: 0s, {alerts}}}\n"
    );
    project.write("moa.yaml", &settings);
    project
}

fn fail(project: &Project) {
    project.call(&["run", "letters", "-q"]).expect(1);
}

fn look(project: &Project) {
    project.call(&["jobs", "run", "alerts"]).expect(0);
}

fn open(project: &Project) -> Vec<Json> {
    project.call(&["alerts", "list", "--json"]).expect(0).json().as_array().expect("rows").clone()
}

fn keys(project: &Project) -> Vec<String> {
    open(project).iter().map(|alert| alert["key"].as_str().expect("a key").to_owned()).collect()
}

#[test]
fn what_is_wrong_is_told_once_noticed_and_over() {
    let receiver = Receiving::new(|_| Some("200 OK"));
    let project = project(&receiver.url, &format!("rules: {{{RULES}}}"));
    assert_eq!(keys(&project), [""; 0]);
    let node = project.up();
    look(&project);
    fail(&project);
    look(&project);
    assert_eq!(keys(&project), [""; 0]);
    fail(&project);
    look(&project);
    assert_eq!(keys(&project), ["agent_down/writer", "failure_rate/letters"]);
    let told = receiver.next().body;
    assert_eq!(
        (&told["type"], &told["data"]["title"]),
        (&json!("alert.raised"), &json!("2 alerts"))
    );
    assert_eq!(told["data"]["level"], "critical");
    assert_eq!(told["data"]["about"]["alerts"][0]["key"], "agent_down/writer");

    // It is told once, however often it is seen, and whoever serves the project.
    look(&project);
    node.kill();
    let _node = project.up();
    look(&project);
    assert!(receiver.requests.try_recv().is_err(), "it was told twice");

    project.call(&["alerts", "ack", "agent_down/writer", "--note", "on it"]).expect(0);
    let shown = project.call(&["alerts", "show", "agent_down/writer"]).expect(0);
    assert!(shown.out.contains("on it") && shown.out.contains("acknowledged"), "{}", shown.out);
    assert!(project.call(&["alerts", "ack", "nothing/there"]).expect(4).err.contains("no open"));

    project.write("ok", "");
    project.run("letters");
    look(&project);
    assert_eq!(keys(&project), ["failure_rate/letters"]);
    let told = receiver.next().body;
    assert_eq!(told["type"], "alert.resolved");
    assert_eq!(told["data"]["title"], "Resolved: The agent writer is down");
    project.run("letters");
    project.run("letters");
    look(&project);
    assert_eq!(receiver.next().body["data"]["title"], "Resolved: Runs of letters fail");
    let all = project.call(&["alerts", "list", "--all", "--json"]).expect(0).json();
    assert!(all.as_array().is_some_and(|all| all.iter().all(|a| a["state"] == "resolved")));
    assert_eq!(all[1]["acknowledged"]["note"], "on it", "{all}");
}

#[test]
fn a_broken_channel_is_an_alert_that_it_is_not_told_of() {
    let receiver = Receiving::new(|_| Some("410 Gone"));
    let project = project(&receiver.url, "rules: {disk: {free: 1000TiB}}");
    let _node = project.up();
    look(&project);
    assert_eq!(receiver.next().body["data"]["title"], "There is little room on the disk");
    while keys(&project).len() < 2 {
        look(&project);
    }
    assert_eq!(keys(&project), ["disk/state", "channel/hook"]);
    let shown = project.call(&["alerts", "show", "channel/hook", "--json"]).expect(0).json();
    assert_eq!(shown["notify"], json!([]));
    assert!(shown["text"].as_str().expect("text").contains("HTTP 410"), "{shown}");
    look(&project);
    assert!(receiver.requests.try_recv().is_err(), "a circle");
    let log = project.read(".moa/log/moa.log");
    assert!(log.contains("could not be delivered and is given up"), "{log}");
}

#[test]
fn what_was_raised_before_a_kill_is_told_after_it() {
    // The first request is never answered: the process dies while it waits.
    let receiver = Receiving::new(|n| (n > 0).then_some("200 OK"));
    let project = project(&receiver.url, "rules: {disk: {free: 1000TiB}}");
    let node = project.up();
    let first = receiver.next();
    node.kill();
    let _node = project.up();
    let second = receiver.next();
    assert_eq!((first.id, first.body), (second.id, second.body));
    look(&project);
    assert!(receiver.requests.try_recv().is_err(), "it was told twice");
}

#[test]
fn nobody_looks_where_that_is_not_wanted() {
    let project = project("http://127.0.0.1:1", "enabled: false, rules: {disk: {free: 1000TiB}}");
    let _node = project.up();
    look(&project);
    assert_eq!(keys(&project), [""; 0]);
}

/// What is wrong is raised and told once, somebody takes notice of it, and it is over by itself.
/// `wrong` makes it wrong, as often as it has to; `over` ends it.
fn goes_round(
    project: &Project,
    receiver: &Receiving,
    (key, title): (&str, &str),
    wrong: impl Fn(),
    over: impl FnOnce(),
) {
    let is_open = || keys(project).iter().any(|open| open.starts_with(key));
    while !is_open() {
        wrong();
        look(project);
    }
    let told = receiver.next().body;
    assert_eq!(told["type"], "alert.raised", "{told}");
    assert_eq!(told["data"]["title"], title);
    let whole = told["data"]["about"]["alerts"][0]["key"].as_str().expect("a key").to_owned();
    assert!(whole.starts_with(key), "{told}");
    look(project);
    look(project);
    assert!(receiver.requests.try_recv().is_err(), "{key} was told twice");
    project.call(&["alerts", "ack", &whole, "--note", "seen"]).expect(0);
    over();
    while is_open() {
        look(project);
    }
    let told = receiver.next().body;
    assert_eq!(told["type"], "alert.resolved", "{told}");
    assert_eq!(told["data"]["title"], format!("Resolved: {title}"));
    let all = project.call(&["alerts", "list", "--all", "--json"]).expect(0).json();
    let one = all.as_array().and_then(|all| all.iter().find(|a| a["key"] == whole.as_str()));
    let one = one.expect("it is kept");
    assert_eq!((&one["state"], &one["acknowledged"]["note"]), (&json!("resolved"), &json!("seen")));
    assert!(receiver.requests.try_recv().is_err(), "{key} was told twice");
}

/// The agent of [`project`], with a limit.
fn limit(project: &Project, limit: &str) {
    let agent = project.read("agents/writer.yaml");
    let kept = agent.lines().next().expect("a line").to_owned();
    project.write("agents/writer.yaml", &format!("{kept}\n{limit}"));
}

#[test]
fn a_breaker_that_opens_goes_round() {
    let receiver = Receiving::new(|_| Some("200 OK"));
    let project = project(&receiver.url, "rules: {}");
    // What a program refuses says nothing of its health, other failures do.
    project.write(
        "agents/writer.yaml",
        &project.read("agents/writer.yaml").replace("exit 2", "exit 1"),
    );
    limit(&project, "circuit_breaker: {failures: 2, within: 10m, open_for: 1h}\n");
    let _node = project.up();
    let about = ("breaker/writer", "The breaker of writer is open");
    fail(&project);
    fail(&project);
    goes_round(&project, &receiver, about, || {}, || limit(&project, ""));
}

#[test]
fn a_quota_that_is_used_up_goes_round() {
    let receiver = Receiving::new(|_| Some("200 OK"));
    let project = project(&receiver.url, "rules: {quota: {enabled: true}}");
    limit(&project, "quota: 1/month\n");
    project.write("ok", "");
    let _node = project.up();
    project.run("letters");
    let about = ("quota/writer", "The quota of writer is used up");
    goes_round(&project, &receiver, about, || {}, || limit(&project, "quota: 5/month\n"));
}

#[test]
fn a_run_that_is_stuck_goes_round() {
    let receiver = Receiving::new(|_| Some("200 OK"));
    let project = project(&receiver.url, "rules: {stuck: {after: 1s}}");
    project.workflow("hold", "steps: [{run: 'until test -e go; do sleep 0.05; done'}]\n");
    let _node = project.up();
    let run = project.call(&["run", "hold", "--detach"]).expect(0).out.trim().to_owned();
    let about = (format!("stuck/{run}"), "A run of hold is stuck");
    let over = || {
        project.write("go", "");
        project.call(&["runs", "watch", &run]).expect(0);
    };
    goes_round(&project, &receiver, (&about.0, about.1), || {}, over);
}

#[test]
fn steps_that_fail_for_good_go_round() {
    let receiver = Receiving::new(|_| Some("200 OK"));
    let rules = "dead: {enabled: true, window: 3s}, failure_rate: {enabled: false}, \
                 agent_down: {enabled: false}";
    let project = project(&receiver.url, &format!("rules: {{{rules}}}"));
    let _node = project.up();
    look(&project);
    // It is over once it is older than what is looked at.
    let about = ("dead/", "Steps of letters have failed for good");
    fail(&project);
    look(&project);
    while keys(&project).is_empty() {
        fail(&project);
        look(&project);
    }
    let told = receiver.next().body;
    assert_eq!((&told["type"], &told["data"]["title"]), (&json!("alert.raised"), &json!(about.1)));
    let key = told["data"]["about"]["alerts"][0]["key"].as_str().expect("a key");
    assert!(key.starts_with(about.0), "{key}");
    while !keys(&project).is_empty() {
        look(&project);
    }
    assert_eq!(receiver.next().body["data"]["title"], format!("Resolved: {}", about.1));
    assert!(receiver.requests.try_recv().is_err(), "it was told twice");
}

#[test]
fn a_target_that_will_be_missed_goes_round() {
    let receiver = Receiving::new(|_| Some("200 OK"));
    let project = project(&receiver.url, "rules: {}");
    let settings = project.read("moa.yaml");
    let more = "metrics: {letters: {workflow: letters}}\n\
                targets: {letters: {year: {minimum: 1}}}\n";
    project.write("moa.yaml", &format!("{settings}{more}"));
    let counter = json!({"after": 0, "since": "2020-01-01", "total": 0.0, "days": {}});
    let counters = json!({"format": 1, "counters": {"letters": counter}});
    project.write(".moa/counters.json", &counters.to_string());
    let _node = project.up();
    let about = ("target/", "letters will be below its minimum");
    let over = || {
        project.write("ok", "");
        project.run("letters");
    };
    goes_round(&project, &receiver, about, || {}, over);
}

#[test]
fn a_trigger_that_nobody_serves_goes_round() {
    let receiver = Receiving::new(|_| Some("200 OK"));
    let project = project(&receiver.url, "rules: {late: {after: 1s}, missed: {enabled: false}}");
    project.workflow("tick", "steps: [{run: 'true'}]\nschedule: {every: 1s, overlap: skip}\n");
    let _node = project.up();
    // Something holds the store, so that nothing can be made durable, and no trigger be served.
    let store = rusqlite::Connection::open(project.root.join(".moa/moa.db")).expect("the store");
    store.execute_batch("BEGIN IMMEDIATE").expect("it is free now and then");
    while keys(&project).is_empty() {
        std::thread::yield_now();
    }
    assert_eq!(keys(&project), ["late/tick/1"]);
    store.execute_batch("ROLLBACK").expect("it can be given back");
    let told = receiver.next().body;
    assert_eq!(told["data"]["title"], "The trigger tick/1 is late", "{told}");
    assert_eq!(told["type"], "alert.raised");
    while !keys(&project).is_empty() {
        look(&project);
    }
    assert_eq!(receiver.next().body["data"]["title"], "Resolved: The trigger tick/1 is late");
}

#[test]
fn in_quiet_hours_only_what_is_bad_enough_is_told_at_once() {
    let receiver = Receiving::new(|_| Some("200 OK"));
    // The hours around this one, whenever that is.
    let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    let hour = |by: i8| format!("{:02}:00", (now.hour() + 24 + by).rem_euclid(24));
    let rules = "failure_rate: {runs: 1}, agent_down: {failures: 1}";
    let quiet = format!("quiet: {{from: '{}', to: '{}', timezone: UTC}}", hour(-2), hour(3));
    let project = project(&receiver.url, &format!("{quiet}, rules: {{{rules}}}"));
    let _node = project.up();
    look(&project);
    fail(&project);
    look(&project);
    assert_eq!(keys(&project), ["agent_down/writer", "failure_rate/letters"]);
    let told = receiver.next().body;
    assert_eq!(told["data"]["title"], "The agent writer is down", "{told}");
    look(&project);
    assert!(receiver.requests.try_recv().is_err(), "a warning was told at night");
    // What is over by the morning is not told then.
    project.write("ok", "");
    project.run("letters");
    project.run("letters");
    project.run("letters");
    while !keys(&project).is_empty() {
        look(&project);
    }
    let told = receiver.next().body;
    assert_eq!(told["data"]["title"], "Resolved: The agent writer is down", "{told}");
    assert!(receiver.requests.try_recv().is_err(), "a warning was told at night");
}
