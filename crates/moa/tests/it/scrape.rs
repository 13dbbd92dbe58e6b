//! A real Prometheus scrapes a real node.

use std::collections::BTreeSet;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use crate::http::Api;
use crate::project::Project;

const WORK: &str = "steps:\n  - {id: fine, agent: tool, action: work, params: {code: 0}}\n  \
    - {id: wrong, agent: tool, action: work, params: {code: 1}, retry: {max_attempts: 1}}\n";
const TOOL: &str = "command: [sh, -c, 'exit \"$MOA_PARAM_CODE\"']\nactions: {work: {}}\n\
    budget: {usd: 1}\n";
const HOLD: &str = "steps: [{agent: holder, action: hold}]\n";
const HOLDER: &str = "command: [sh, -c, 'while [ ! -e go ]; do sleep 0.1; done']\n\
    actions: {hold: {}}\nconcurrency: 1\n";

/// What is deployed beside moa.
fn deployed(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(name)
}

/// How long an answer may take: it is there after the first scrape.
const PATIENCE: Duration = Duration::from_secs(60);

struct Prometheus {
    child: Child,
    api: Api,
}

impl Prometheus {
    fn start(folder: &Path) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
        let address = format!("127.0.0.1:{}", port.expect("a port").port());
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", folder.join("prometheus.yml").display()));
        command.arg(format!("--storage.tsdb.path={}", folder.join("data").display()));
        command.arg(format!("--web.listen-address={address}"));
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        // It is needed: `cargo xtask test` brings it.
        let child = child.unwrap_or_else(|e| {
            panic!(
                "there is no prometheus ({e}): `cargo xtask test` or `apt-get install prometheus`"
            )
        });
        Self { child, api: Api::at(address) }
    }

    /// What it says at a path, once it is as wanted.
    fn until(&mut self, path: &str, wanted: impl Fn(&Json) -> bool) -> Json {
        let start = Instant::now();
        let mut last = Json::Null;
        loop {
            assert!(start.elapsed() < PATIENCE, "{path}: {last:#}");
            assert!(self.child.try_wait().expect("a status").is_none(), "Prometheus has ended");
            // In HTTP/1.0, which knows no chunks.
            let ask = format!("GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.api.address);
            let is_there = TcpStream::connect(&self.api.address).is_ok();
            let answer = is_there.then(|| self.api.raw(ask.as_bytes()));
            if let Some(answer) = answer.filter(|answer| answer.status != 503) {
                let said = answer.json();
                // What it can't read is never right.
                assert_eq!(said["status"], "success", "{path}: {said:#}");
                if wanted(&said["data"]) {
                    return said["data"].clone();
                }
                last = said;
            }
            crate::http::pause();
        }
    }

    /// The series of an expression, once there are any.
    fn series(&mut self, expression: &str) -> Vec<Json> {
        let query: String = expression.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let has_some = |data: &Json| data["result"].as_array().is_some_and(|r| !r.is_empty());
        let data = self.until(&format!("/api/v1/query?query={query}"), has_some);
        data["result"].as_array().expect("series").clone()
    }

    /// The answer to a query, by the label, once there is one.
    fn ask(&mut self, query: &str, label: &str) -> Vec<(String, f64)> {
        let row = |row: &Json| {
            let of = row["metric"][label].as_str().unwrap_or_default().to_owned();
            (of, row["value"][1].as_str().and_then(|n| n.parse().ok()).expect("a number"))
        };
        self.series(query).iter().map(row).collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn prometheus_scrapes_a_node() {
    let project = Project::with("work", WORK);
    project.write("agents/tool.yaml", TOOL);
    project.workflow("hold", HOLD);
    project.write("agents/holder.yaml", HOLDER);
    project.write("moa.yaml", "name: shop\nmetrics: {fine: {step: fine}}\n");
    let node = project.up();
    let api = Api::with_role(&project, &node, "viewer");
    project.call(&["run", "work"]).expect(1);
    project.call(&["jobs", "run", "metrics"]).expect(0);
    // An attempt that runs, and a task that waits for it.
    for _ in 0..2 {
        project.call(&["run", "hold", "--detach"]).expect(0);
    }

    let folder = project.outside();
    let config = fs::read_to_string(deployed("prometheus/prometheus.yml")).expect("it is there");
    let config = config.replace("127.0.0.1:3020", &api.address).replace("15s", "1s");
    fs::write(folder.join("prometheus.yml"), config).expect("a file");
    fs::write(folder.join("moa.token"), api.token()).expect("a file");
    fs::copy(deployed("prometheus/moa-alerts.yml"), folder.join("moa-alerts.yml")).expect("a file");
    let check = |args: &[&str]| {
        let said = Command::new("promtool").args(args).current_dir(folder).output();
        let said = said.expect("it comes with Prometheus");
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    };
    check(&["check", "config", "prometheus.yml"]);
    check(&["check", "rules", "moa-alerts.yml"]);

    let mut prometheus = Prometheus::start(folder);
    let one = |of: &str| vec![(of.to_owned(), 1.0)];
    let runs = prometheus.ask("orchestrator_workflows_total", "status");
    assert_eq!(runs, one("failed"));
    assert_eq!(prometheus.ask("up", "job"), one("moa"));
    let executions = prometheus.ask("orchestrator_agent_executions_total", "agent");
    assert_eq!(executions, vec![("tool".to_owned(), 2.0)]);
    assert_eq!(prometheus.ask("orchestrator_agent_errors_total", "agent"), one("tool"));
    let latency = prometheus.ask("orchestrator_agent_latency_seconds_count", "agent");
    assert_eq!(latency, executions);
    let duration = "orchestrator_workflow_duration_seconds_bucket{le=\"+Inf\"}";
    assert_eq!(prometheus.ask(duration, "job"), one("moa"));
    assert_eq!(prometheus.ask("orchestrator_workflows_active", "job")[0].1, 2.0);
    assert_eq!(prometheus.ask("orchestrator_success_rate", "job")[0].1, 0.0);
    assert_eq!(prometheus.ask("moa_metric{metric=\"fine\"}", "metric"), one("fine"));
    assert!(prometheus.ask("moa_commit_seconds_sum", "job")[0].1 > 0.0);
    assert!(prometheus.ask("process_resident_memory_bytes{job=\"moa\"}", "job")[0].1 > 1e6);
    let routes = "moa_http_request_duration_seconds_count{method=\"GET\",status=\"2xx\"}";
    assert_eq!(prometheus.ask(routes, "route")[0].0, "/metrics");
    panels_have_series(&mut prometheus);
    rules_are_evaluated(&mut prometheus);
    all_that_is_used_is_there(&api);
}

/// Asks for what each panel shows, as Grafana does.
fn panels_have_series(prometheus: &mut Prometheus) {
    let graphs = fs::read_to_string(deployed("grafana/moa.json")).expect("it is there");
    let graphs: Json = serde_json::from_str(&graphs).expect("JSON");
    let panels = graphs["panels"].as_array().expect("panels");
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let expressions: Vec<&str> =
        targets.map(|target| target["expr"].as_str().expect("an expression")).collect();
    assert!(expressions.len() > 20, "{expressions:?}");
    for expression in expressions {
        let filled = expression.replace("$__rate_interval", "1m");
        let filled = filled.replace("$instance", ".*").replace("$agent", ".*");
        assert!(!filled.contains('$'), "a variable of nobody: {filled}");
        assert!(!prometheus.series(&filled).is_empty());
    }
    // What people choose from.
    for variable in graphs["templating"]["list"].as_array().expect("variables") {
        let Some(query) = variable["query"]["query"].as_str() else { continue };
        let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
        let (series, label) = inner.and_then(|inner| inner.split_once(", ")).expect("a query");
        for row in prometheus.series(series) {
            assert!(row["metric"][label].is_string(), "{query}: {row}");
        }
    }
}

/// Alerts without a series while nothing is wrong.
const QUIET: [&str; 7] = [
    "MoaDown",
    "MoaStoreTakesNothing",
    "MoaRunsQuarantined",
    "MoaTasksWait",
    "MoaBudgetUsedUp",
    "MoaSchedulesLate",
    "MoaFilesRunOut",
];
/// Those that say something here: half of the runs fail, and so does an agent; the disk may be slow.
const RESTLESS: [&str; 3] = ["MoaRunsFail", "MoaAgentFails", "MoaCommitsSlow"];

/// Has Prometheus itself evaluate the alerts, which are silent while nothing is wrong; all that they
/// compare has series.
fn rules_are_evaluated(prometheus: &mut Prometheus) {
    let is_done = |data: &Json| {
        let rules = data["groups"][0]["rules"].as_array();
        rules.is_some_and(|rules| rules.iter().all(|rule| rule["health"] != "unknown"))
    };
    let data = prometheus.until("/api/v1/rules?type=alert", is_done);
    let mut names = Vec::new();
    for rule in data["groups"][0]["rules"].as_array().expect("rules") {
        assert_eq!(rule["health"], "ok", "{rule:#}");
        let name = rule["name"].as_str().expect("a name");
        let is_silent = rule["state"] == "inactive";
        assert!(is_silent || !QUIET.contains(&name), "{rule:#}");
        names.push(name.to_owned());
        for series in selectors(rule["query"].as_str().expect("an expression")) {
            assert!(!prometheus.series(&series).is_empty());
        }
    }
    let known: BTreeSet<_> = QUIET.iter().chain(&RESTLESS).map(ToString::to_string).collect();
    assert_eq!(names.into_iter().collect::<BTreeSet<_>>(), known);
}

/// The series that an expression is made of: `up{job="moa"}`.
fn selectors(expression: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(start) = rest.find(|c: char| c.is_ascii_alphabetic()) {
        rest = &rest[start..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let (word, behind) = rest.split_at(end.unwrap_or(rest.len()));
        rest = behind;
        if word != "up"
            && !["orchestrator_", "moa_", "process_"].iter().any(|p| word.starts_with(p))
        {
            continue;
        }
        let labels = behind.starts_with('{').then(|| behind.find('}').expect("an end") + 1);
        found.push(format!("{word}{}", &behind[..labels.unwrap_or(0)]));
        rest = &behind[labels.unwrap_or(0)..];
    }
    assert!(!found.is_empty(), "{expression}");
    found
}

fn all_that_is_used_is_there(api: &Api) {
    // Every number that graphs and alerts are made of is there.
    let known = api.get("/metrics").expect(200).body;
    let graphs = fs::read_to_string(deployed("grafana/moa.json")).expect("it is there");
    let alerts = fs::read_to_string(deployed("prometheus/moa-alerts.yml")).expect("it is there");
    let words = |text: &str| -> Vec<String> {
        let parts = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let ours = parts.filter(|word| {
            ["orchestrator_", "moa_", "process_"].iter().any(|p| word.starts_with(p))
        });
        ours.map(str::to_owned).collect()
    };
    let used = [words(&graphs), words(&alerts)].concat();
    assert!(used.len() > 20, "{used:?}");
    for name in used {
        assert!(known.contains(&format!("\n{name}")), "{name} is not in\n{known}");
    }
}
