//! The agents of `continuous-monitoring`, as a model: the service, its releases and incidents.

use std::collections::{BTreeMap, BTreeSet};

use moa_core::ids::mix;
use moa_core::machine::Outcome;
use moa_core::time::{Millis, Span};
use moa_ports::agent::Task;
use serde_json::{Value as Json, json};

use super::worker::{Model, chance, gives};
use super::{DAY, HOUR};

/// The release that breaks requests.
pub const BAD: &str = "1.2.0";

/// A service, and who watches it.
pub struct Service {
    live: String,
    /// What was live before the bad release.
    good: String,
    /// Requests to the live release, and those of them that failed.
    requests: u64,
    errors: u64,
    incidents: BTreeSet<String>,
    /// What was answered to a step, so that a repeated attempt gets the same.
    notes: BTreeMap<String, (Millis, Json)>,
    pub rollbacks: u64,
    pub opened: u64,
    pub closed: u64,
    pub reports: u64,
    pub visits: u64,
}

impl Default for Service {
    fn default() -> Self {
        let first = || "1.0.0".to_owned();
        Self {
            live: first(),
            good: first(),
            requests: 0,
            errors: 0,
            incidents: BTreeSet::new(),
            notes: BTreeMap::new(),
            rollbacks: 0,
            opened: 0,
            closed: 0,
            reports: 0,
            visits: 0,
        }
    }
}

impl Service {
    fn switch_to(&mut self, version: &str) {
        if self.live != BAD {
            self.good.clone_from(&self.live);
        }
        version.clone_into(&mut self.live);
        (self.requests, self.errors) = (0, 0);
    }

    fn deploy(&mut self, params: &Json) -> Json {
        let version = params["version"].as_str().expect("a version");
        let previous = self.live.clone();
        self.switch_to(version);
        json!({"version": version, "previous": previous, "current": version})
    }

    fn rollback(&mut self) -> Json {
        let (from, to) = (self.live.clone(), self.good.clone());
        self.switch_to(&to);
        self.rollbacks += 1;
        json!({"rolled_back": true, "from": from, "to": to})
    }

    fn visit(&mut self, params: &Json) -> Json {
        let requests = params["requests"].as_u64().expect("a number");
        let broken = if self.live == BAD { requests / 4 } else { 0 };
        self.requests += requests;
        self.errors += broken;
        self.visits += 1;
        json!({
            "version": self.live, "requests": requests, "answered": requests - broken,
            "refused": 0, "broken": broken,
        })
    }

    fn track(&self) -> Json {
        let rate = if self.requests == 0 { 0.0 } else { self.errors as f64 / self.requests as f64 };
        json!({
            "error_rate": rate, "version": self.live, "requests": self.requests,
            "errors": self.errors, "worst_count": self.errors, "worst_route": "GET /quote",
        })
    }

    fn sync(&mut self, params: &Json) -> Json {
        let problems = params["problems"].as_array().expect("a list");
        let present: BTreeSet<String> =
            problems.iter().filter_map(|p| p.as_str()).map(str::to_owned).collect();
        let opened: Vec<&String> = present.difference(&self.incidents).collect();
        let closed: Vec<&String> = self.incidents.difference(&present).collect();
        self.opened += u64::from(!opened.is_empty());
        self.closed += u64::from(!closed.is_empty());
        let answer = json!({"opened": opened, "closed": closed, "open": present.len()});
        self.incidents = present;
        answer
    }
}

/// What is wrong with the machine in an hour: now and then its disk is full.
fn problems(now: Millis) -> Json {
    let hour = now.0.unsigned_abs() / HOUR.0;
    if mix(hour).is_multiple_of(41) { json!(["disk: 97 % used"]) } else { json!([]) }
}

impl Model for Service {
    fn act(&mut self, task: &Task, now: Millis) -> (Span, Outcome) {
        if let Some((_, same)) = self.notes.get(&task.idempotency_key) {
            return gives(1, same.clone());
        }
        let params = &task.params.value;
        let what = format!("{}.{}", task.agent, task.action);
        let output = match what.as_str() {
            "agent8.collect_metrics" => json!({
                "file": "metrics/day.csv", "cpu_percent": 12.5, "load1": 0.4,
                "memory_percent": 40.1, "disk_percent": 55.0, "requests": 150, "p95_ms": 12,
            }),
            "agent8.check_limits" => {
                let problems = problems(now);
                json!({"ok": problems == json!([]), "problems": problems})
            }
            "agent9.track_errors" => self.track(),
            "agent9.sync_incidents" => self.sync(params),
            "agent9.daily_report" => {
                self.reports += 1;
                json!({"report": "reports/day.md", "removed": 3})
            }
            "agent19.deploy" => self.deploy(params),
            "agent19.rollback" => self.rollback(),
            "agent19.status" => {
                json!({"version": self.live, "healthy": true, "releases": ["1.0.0", "1.1.0", BAD]})
            }
            "visitors.send" => self.visit(params),
            other => panic!("nobody has said what {other} answers"),
        };
        // Only what changes something has to be the same when it is asked for again.
        if matches!(task.action.as_str(), "sync_incidents" | "deploy" | "rollback") {
            self.notes.retain(|_, (at, _)| now.since(*at) < DAY);
            self.notes.insert(task.idempotency_key.clone(), (now, output.clone()));
        }
        gives(1 + chance(task, 2, 3), output)
    }
}
