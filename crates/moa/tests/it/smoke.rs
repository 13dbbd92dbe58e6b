//! The templates that do real work, served by the real binary for real minutes: their agents' real
//! programs, on their real schedules made fast, through a crash in the middle.
//!
//! Left out unless they are asked for, since they take as long as they take: `cargo xtask smoke`.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use serde_json::Value as Json;

use crate::project::Project;

/// How long a template is served, in seconds.
fn seconds() -> u64 {
    let minutes = std::env::var("MOA_SMOKE_MINUTES").unwrap_or_else(|_| "1".to_owned());
    (minutes.parse::<f64>().expect("MOA_SMOKE_MINUTES is a number") * 60.0) as u64
}

/// A template whose schedules are due each few seconds.
struct Fast {
    project: Project,
    /// Seconds between two slots, by workflow.
    every: BTreeMap<&'static str, i64>,
}

impl Fast {
    fn new(template: &str, every: &[(&'static str, i64)]) -> Self {
        let project = Project::of_template(template);
        for (workflow, seconds) in every {
            let path = format!("workflows/{workflow}.yaml");
            let text = project.read(&path);
            let fast = |line: &str| match line.starts_with("schedule:") {
                true if line.contains("slot.at") => {
                    format!(
                        "schedule: {{every: {seconds}s, params: {{now: \"${{{{ slot.at }}}}\"}}}}\n"
                    )
                }
                true => format!("schedule: {{every: {seconds}s}}\n"),
                false => format!("{line}\n"),
            };
            let text: String = text.lines().map(fast).collect();
            assert!(text.contains(&format!("every: {seconds}s")), "{text}");
            project.write(&path, &text);
        }
        Self { project, every: every.iter().copied().collect() }
    }

    fn json(&self, args: &[&str]) -> Vec<Json> {
        let said = self.project.call(&[args, &["--json"]].concat()).expect(0).json();
        said.as_array().expect("a list").clone()
    }

    /// Serves it for half of the time, does something, kills it, serves it for the rest, and lets
    /// come to an end what has begun.
    fn serve(&self, meanwhile: impl FnOnce(&Project)) {
        let half = Duration::from_millis(seconds() * 500);
        let node = self.project.up();
        node.watch(half / 2);
        meanwhile(&self.project);
        node.watch(half / 2);
        node.kill();
        let node = self.project.up();
        node.watch(half);
        for workflow in self.every.keys() {
            self.project.call(&["schedules", "pause", workflow, "--reason", "the end"]).expect(0);
        }
        let open = |run: &Json| run["finished_at"].is_null();
        for run in self.json(&["runs", "list", "-n", "100000"]).into_iter().filter(open) {
            // However it ends: that is looked at later.
            self.project.call(&["runs", "watch", run["run"].as_str().expect("an id")]);
        }
        self.project.call(&["jobs", "run", "metrics"]).expect(0);
        self.check();
        let (code, said) = node.stop();
        assert_eq!(code, 0, "{said}");
    }

    /// What the commands say agrees, and is as it should be.
    fn check(&self) {
        self.project.call(&["doctor"]).expect(0);
        let runs = self.json(&["runs", "list", "-n", "100000"]);
        for (workflow, every) in &self.every {
            let slots = self.json(&["schedules", "slots", workflow, "-n", "100000"]);
            let mut slots: Vec<&Json> =
                slots.iter().filter(|slot| slot["outcome"] != "skipped_paused").collect();
            slots.sort_by_key(|slot| second(&slot["at"]));
            let holes =
                slots.windows(2).filter(|w| second(&w[1]["at"]) - second(&w[0]["at"]) != *every);
            assert_eq!(holes.count(), 0, "{workflow}: {slots:#?}");
            let mut outcomes: BTreeMap<&str, usize> = BTreeMap::new();
            for slot in &slots {
                let outcome = slot["outcome"].as_str().expect("an outcome");
                *outcomes.entry(outcome).or_default() += 1;
                match outcome {
                    "started" => assert_eq!(slot["result"], "succeeded", "{workflow}: {slot}"),
                    "skipped_overlap" | "skipped_limit" => {}
                    _ => panic!("{workflow}: {slot}"),
                }
            }
            eprintln!("{workflow}: {} slots, {outcomes:?}", slots.len());
            let started = outcomes.get("started").copied().unwrap_or(0);
            let own = runs.iter().filter(|run| {
                run["workflow"] == *workflow
                    && run["cause"].as_str().is_some_and(|cause| cause.contains("schedule"))
            });
            assert_eq!(own.count(), started, "{workflow}");
            assert!(started > 1, "{workflow}: {outcomes:?}");
        }
    }

    fn total(&self, metric: &str) -> u64 {
        let all = self.project.call(&["metrics", "--json"]).expect(0).json();
        all[metric]["total"].as_f64().expect("a number") as u64
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let Ok(read) = fs::read_dir(self.project.root.join(folder)) else { return Vec::new() };
        let names = read.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned());
        names.collect()
    }
}

/// The second of an instant.
fn second(at: &Json) -> i64 {
    let at: jiff::Timestamp = at.as_str().expect("an instant").parse().expect("an instant");
    at.as_second()
}

#[test]
#[ignore = "takes minutes: cargo xtask smoke"]
fn video_production_makes_videos_for_minutes() {
    let fast = Fast::new(
        "video-production",
        &[
            ("content-curation", 15),
            ("video-production", 5),
            ("upload-batch", 20),
            ("analytics", 10),
            ("style-guide", 30),
            ("gap-analysis", 30),
        ],
    );
    fast.serve(|_| {});
    let produced = fast.total("videos_produced");
    let published = fast.names("channel/videos");
    let ready = fast.names("data/ready");
    eprintln!("{produced} videos, {} published, {} ready", published.len(), ready.len());
    // A day has six; the day may have ended meanwhile.
    assert!((1..=12).contains(&produced), "{produced}");
    assert_eq!(produced as usize, published.len() + ready.len());
    for video in &published {
        let folder = fast.project.root.join("channel/videos").join(video);
        assert!(folder.join("index.html").is_file(), "{video}");
    }
    assert!(fast.names("data/claims").is_empty());
    assert!(!published.is_empty() && fast.project.root.join("channel/index.html").is_file());
    assert!(fast.project.root.join("reports/analytics.md").is_file());
    let state = fast.project.read("data/tasks/orchestrator_state.json");
    assert!(serde_json::from_str::<Json>(&state).is_ok(), "{state}");
}

#[test]
#[ignore = "takes minutes: cargo xtask smoke"]
fn continuous_monitoring_watches_for_minutes() {
    let every = [("continuous-monitoring", 5), ("traffic", 2), ("daily-report", 20)];
    let fast = Fast::new("continuous-monitoring", &every);
    fast.serve(|project| {
        for version in ["version=1.1.0", "version=1.2.0"] {
            project.call(&["run", "release", "-q", "-p", version]).expect(0);
        }
    });
    let link = fs::read_link(fast.project.root.join("service/current")).expect("a link");
    let told = fast.project.read("notifications/ops.jsonl");
    assert!(link.ends_with("1.1.0"), "{} is live; {told}", link.display());
    let rollbacks = told.lines().filter(|line| line.contains("\"title\":\"Rollback\"")).count();
    assert_eq!(rollbacks, 1, "{told}");
    // Each round of monitoring leaves a row of what it measured.
    let tables = fast.names("metrics").into_iter().filter(|name| name.ends_with(".csv"));
    let rows: usize =
        tables.map(|t| fast.project.read(&format!("metrics/{t}")).lines().count() - 1).sum();
    let runs = fast.json(&["runs", "list", "-n", "100000"]);
    let rounds = runs.iter().filter(|run| run["workflow"] == "continuous-monitoring").count();
    eprintln!("{rounds} rounds, {rows} rows, {} tasks", fast.total("tasks_completed"));
    assert_eq!(rows, rounds);
    assert!(!fast.names("reports").is_empty());
}
