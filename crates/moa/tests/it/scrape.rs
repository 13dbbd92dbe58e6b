//! A real Prometheus scrapes a real node.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::http::Api;
use crate::project::Project;

const WORK: &str = "steps:\n  - {id: fine, agent: tool, action: work, params: {code: 0}}\n  \
    - {id: wrong, agent: tool, action: work, params: {code: 1}, retry: {max_attempts: 1}}\n";
const TOOL: &str = "command: [sh, -c, 'exit \"$MOA_PARAM_CODE\"']\nactions: {work: {}}\n";

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
        Self { child: child.expect("it can be started"), api: Api::at(address) }
    }

    /// The answer to a query, by the label, once there is one.
    fn ask(&mut self, query: &str, label: &str) -> Vec<(String, f64)> {
        let start = Instant::now();
        loop {
            assert!(start.elapsed() < PATIENCE, "no answer to {query}");
            assert!(self.child.try_wait().expect("a status").is_none(), "Prometheus has ended");
            let path = format!("/api/v1/query?query={query}");
            let found = self.api.try_get(&path).filter(|answer| answer.status == 200);
            let found = found.map(|answer| answer.json()["data"]["result"].clone());
            let rows = found.as_ref().and_then(|rows| rows.as_array()).filter(|r| !r.is_empty());
            if let Some(rows) = rows {
                let row = |row: &serde_json::Value| {
                    let of = row["metric"][label].as_str().unwrap_or_default().to_owned();
                    (of, row["value"][1].as_str().and_then(|n| n.parse().ok()).expect("a number"))
                };
                return rows.iter().map(row).collect();
            }
            std::thread::yield_now();
        }
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
    let path = std::env::var_os("PATH").unwrap_or_default();
    if !std::env::split_paths(&path).any(|dir| dir.join("prometheus").is_file()) {
        eprintln!("left out: there is no prometheus (cargo xtask test says how to get it)");
        return;
    }
    let project = Project::with("work", WORK);
    project.write("agents/tool.yaml", TOOL);
    project.write("moa.yaml", "name: shop\nmetrics: {fine: {step: fine}}\n");
    let node = project.up();
    let api = Api::with_role(&project, &node, "viewer");
    project.call(&["run", "work"]).expect(1);
    project.call(&["jobs", "run", "metrics"]).expect(0);

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
    let duration = "orchestrator_workflow_duration_seconds_bucket{le=%22%2BInf%22}";
    assert_eq!(prometheus.ask(duration, "job"), one("moa"));
    assert_eq!(prometheus.ask("orchestrator_workflows_active", "job")[0].1, 0.0);
    assert_eq!(prometheus.ask("orchestrator_success_rate", "job")[0].1, 0.0);
    assert_eq!(prometheus.ask("moa_metric{metric=%22fine%22}", "metric"), one("fine"));
    assert!(prometheus.ask("moa_commit_seconds_sum", "job")[0].1 > 0.0);
    assert!(prometheus.ask("process_resident_memory_bytes{job=%22moa%22}", "job")[0].1 > 1e6);
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
        // No task waits or runs just now.
        let family = name.starts_with("moa_tasks_");
        let is_there = known.contains(&format!("\n{name}")) || (family && known.contains(&name));
        assert!(is_there, "{name} is not in\n{known}");
    }
}
