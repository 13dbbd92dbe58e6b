//! The job that writes the health report of each hour.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use jiff::civil::Date;
use moa_core::time::{Millis, Span};
use moa_engine::jobs::{Instants, Job};
use moa_ports::views::Views;
use moa_spec::{Health as Settings, OWN_METRICS};
use serde::Serialize;
use serde_json::{Number, Value as Json, json};

use super::metrics::Counting;
use crate::audit::anchor::{self, Anchor};
use crate::cmd::state;
use crate::files::{Beneath, refuse_own};
use crate::metrics::{Counters, Days};
use crate::place::Place;
use crate::project::Layout;

/// The job.
pub struct Health {
    /// The project.
    pub layout: Layout,
    /// Where reports go.
    pub settings: Settings,
    /// How long those of earlier days are kept; `None` = for good.
    pub keep: Option<Span>,
    /// What the store holds.
    pub views: Arc<dyn Views>,
    /// What counts.
    pub counting: Arc<Counting>,
    /// The days that reports go by.
    pub days: Days,
    /// When the node started, by the engine's clock.
    pub started_at: Millis,
    /// Whether this node stays: one that is there for one run reports nothing.
    pub lasting: bool,
}

/// The instant of a report.
struct Now<'a> {
    wall: Millis,
    days: &'a Days,
}

impl Now<'_> {
    fn day(&self) -> Date {
        self.days.day(self.wall)
    }

    fn ago(&self, age: Span) -> Date {
        self.days.day(Millis(self.wall.0.saturating_sub_unsigned(age.0)))
    }
}

/// A report. Its names are those that people's scripts read.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    timestamp: String,
    uptime_hours: f64,
    task_queue_size: u64,
    active_tasks: u64,
    completed_tasks: Number,
    failed_tasks: Number,
    metrics: BTreeMap<String, Number>,
}

/// A whole number without a point.
pub fn whole(count: f64) -> Number {
    match count.fract() == 0.0 && count.abs() < 9e15 {
        true => Number::from(count as i64),
        false => Number::from_f64(count).unwrap_or_else(|| Number::from(0)),
    }
}

impl Report {
    /// How things are.
    fn new(counters: &Counters, (ready, running): (u64, u64), up: Span, now: &Now<'_>) -> Self {
        let total = |name: &str| counters.get(name).map_or(0.0, |counter| counter.total);
        let [completed, failed] = OWN_METRICS.map(|name| whole(total(name)));
        let mut metrics = BTreeMap::new();
        let today = now.day();
        for (name, counter) in counters.all() {
            if OWN_METRICS.contains(&name) {
                metrics.insert(name.to_owned(), whole(counter.total));
                continue;
            }
            let of_today = counter.days.get(&today).copied().unwrap_or(0.0);
            metrics.insert(format!("{name}_today"), whole(of_today));
            metrics.insert(format!("{name}_total"), whole(counter.total));
        }
        let hours = up.0 as f64 / 3_600_000.0;
        // To the second: such as 2025-12-11T22:00:00Z.
        let timestamp = jiff::Timestamp::from_millisecond(now.wall.0).unwrap_or_default();
        Self {
            timestamp: timestamp.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            uptime_hours: (hours * 10.0).round() / 10.0,
            task_queue_size: ready,
            active_tasks: running,
            completed_tasks: completed,
            failed_tasks: failed,
            metrics,
        }
    }
}

#[async_trait]
impl Job for Health {
    async fn activate(&self, at: Instants) -> Result<Json, String> {
        if !self.lasting {
            return Ok(json!({}));
        }
        let counters = self.counting.count().await?;
        let totals = self.views.totals().await.map_err(|e| e.to_string())?;
        let now = Now { wall: at.wall, days: &self.days };
        let up = at.engine.since(self.started_at);
        let report = Report::new(&counters, (totals.ready, totals.running), up, &now);
        let (root, folder) = (&self.layout.root, Path::new(&self.settings.folder));
        let path = folder.join(name_of(now.day()));
        write(root, path.clone(), &report).await?;
        if let Some(head) = self.views.audit_head().await.map_err(|e| e.to_string())? {
            let (root, folder, day) = (root.clone(), folder.to_owned(), now.day());
            let anchor = Anchor::new(head, now.wall);
            let add = move || anchor::add(&root, &folder, day, &anchor);
            tokio::task::spawn_blocking(add).await.map_err(|e| e.to_string())??;
        }
        if let Some(keep) = self.keep {
            remove_old(root, folder, now.ago(keep));
        }
        if let Some(file) = &self.settings.state_file {
            let document = state::document(&Place::Here(self.layout.clone()))
                .await
                .map_err(|failure| failure.message)?;
            write(root, file.into(), &document).await?;
        }
        Ok(json!({"file": root.join(path)}))
    }
}

fn name_of(day: Date) -> String {
    format!("health_{}.json", day.strftime("%Y%m%d"))
}

async fn write(root: &Path, path: PathBuf, document: &impl Serialize) -> Result<(), String> {
    let mut text = serde_json::to_vec_pretty(document).map_err(|e| e.to_string())?;
    text.push(b'\n');
    let (root, shown) = (root.to_owned(), path.display().to_string());
    let write = move || {
        refuse_own(&root, &path)?;
        Beneath::new(&root)?.write(&path, &text)
    };
    let written = tokio::task::spawn_blocking(write).await;
    written.map_err(|e| e.to_string())?.map_err(|e| format!("can't write {shown}: {e}"))
}

/// Deletes the reports of days before one. What can't be deleted stays.
fn remove_old(root: &Path, folder: &Path, before: Date) {
    let Ok(beneath) = Beneath::new(root) else { return };
    let oldest = name_of(before);
    for name in beneath.list(folder).unwrap_or_default() {
        let is_report = name.len() == oldest.len()
            && name
                .strip_prefix("health_")
                .and_then(|rest| rest.strip_suffix(".json"))
                .is_some_and(|date| date.bytes().all(|b| b.is_ascii_digit()));
        if is_report && name < oldest {
            let _ = beneath.remove(&folder.join(&name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_the_names_that_scripts_read() {
        let days = Days::of(&moa_spec::Settings::default());
        let now = Now { wall: Millis(1_765_490_400_000), days: &days };
        let report = Report::new(&Counters::default(), (12, 2), Span(174_600_000), &now);
        let json = serde_json::to_value(&report).expect("JSON");
        let wanted = json!({
            "timestamp": "2025-12-11T22:00:00Z",
            "uptime_hours": 48.5,
            "task_queue_size": 12,
            "active_tasks": 2,
            "completed_tasks": 0,
            "failed_tasks": 0,
            "metrics": {},
        });
        assert_eq!(json, wanted);
        assert_eq!(name_of(now.day()), "health_20251211.json");
    }

    #[test]
    fn only_old_reports_are_removed() {
        let dir = tempfile::tempdir().expect("a folder");
        let (root, outside) = (dir.path().join("project"), dir.path().join("outside"));
        let names = ["health_20251201.json", "health_20251211.json", "health_old.json", "moa.log"];
        for folder in [root.join("data"), outside.clone()] {
            std::fs::create_dir_all(&folder).expect("mkdir");
            names.iter().for_each(|name| std::fs::write(folder.join(name), "{}").expect("a file"));
        }
        std::os::unix::fs::symlink("../outside", root.join("away")).expect("a link");
        for folder in ["data", "away"] {
            remove_old(&root, Path::new(folder), jiff::civil::date(2025, 12, 11));
        }
        let there = |name: &&str| root.join("data").join(name).exists();
        assert!(!there(&names[0]) && names[1..].iter().all(there));
        assert!(names.iter().all(|name| outside.join(name).exists()), "a link leads there");
    }
}
