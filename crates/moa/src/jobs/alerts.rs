//! The job that looks for what is wrong, and has people told of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use moa_core::alert::{Acknowledged, Alert, Book, Message, Refused, Rule, Severity};
use moa_core::ids::RunId;
use moa_core::time::Millis;
use moa_engine::jobs::{Instants, Job};
use moa_ports::views::Views;
use moa_spec::Settings;
use serde_json::{Value as Json, json};
use tokio::sync::Mutex;

use super::metrics::Counting;
use crate::alerts::Kept;
use crate::alerts::follow::follow;
use crate::alerts::look::{Agents, Look, Stuck};
use crate::exit::{Failure, Result};
use crate::jobs::webhooks::Webhooks;
use crate::node::notifier::{Notice, Tell};
use crate::project::Layout;
use crate::view;

/// The alerts of the project that this node serves.
pub struct Alerting {
    state: PathBuf,
    views: Arc<dyn Views>,
    settings: Settings,
    agents: Box<dyn Fn() -> Agents + Send + Sync>,
    counting: Arc<Counting>,
    calls: Arc<Webhooks>,
    /// Tells people; `None` = this node is there for one run, and looks at nothing.
    notifier: Option<Arc<dyn Tell>>,
    /// One at a time reads and writes. The run up to which the last look for what is stuck came.
    turn: Mutex<Option<RunId>>,
}

impl Alerting {
    /// Of a project. `agents` answers those that there are just then.
    pub fn new(
        layout: &Layout,
        settings: &Settings,
        views: Arc<dyn Views>,
        agents: Box<dyn Fn() -> Agents + Send + Sync>,
        (counting, calls): (Arc<Counting>, Arc<Webhooks>),
        notifier: Option<Arc<dyn Tell>>,
    ) -> Arc<Self> {
        let (state, settings, turn) = (layout.state(), settings.clone(), Mutex::default());
        Arc::new(Self { state, views, settings, agents, counting, calls, notifier, turn })
    }

    async fn read(&self) -> Result<Option<Kept>> {
        let state = self.state.clone();
        let read = tokio::task::spawn_blocking(move || Kept::read(&state)).await;
        read.map_err(|e| Failure::refused(format!("a fault of moa: {e}")))?
    }

    async fn write(&self, kept: &Kept) -> std::result::Result<(), String> {
        let (state, mut kept) = (self.state.clone(), kept.clone());
        let written = tokio::task::spawn_blocking(move || kept.write(&state)).await;
        written.map_err(|e| e.to_string())?.map_err(|e| format!("alerts: {e}"))
    }

    /// Notes that somebody has taken notice of an alert; answers it. When this returns, that is on
    /// the disk.
    ///
    /// # Errors
    /// There is no such open alert; the disk.
    pub async fn acknowledge(&self, key: &str, by: String, note: Option<String>) -> Result<Alert> {
        let by = Acknowledged { by, at: view::now(), note };
        self.change(|book| book.acknowledge(key, by)).await
    }

    /// Notes that somebody says an alert is over; answers it. When this returns, that is on the disk.
    ///
    /// # Errors
    /// There is no such open alert; the disk.
    pub async fn resolve(&self, key: &str, by: String, note: Option<String>) -> Result<Alert> {
        let by = Acknowledged { by, at: view::now(), note };
        self.change(|book| book.resolve(key, by)).await
    }

    /// What is known of alerts.
    ///
    /// # Errors
    /// The file can't be read.
    pub async fn book(&self) -> Result<Book> {
        Ok(self.read().await?.unwrap_or_default().book)
    }

    async fn change(
        &self,
        change: impl FnOnce(&mut Book) -> std::result::Result<Alert, Refused> + Send,
    ) -> Result<Alert> {
        let _turn = self.turn.lock().await;
        let mut kept = self.read().await?.unwrap_or_default();
        let alert = change(&mut kept.book).map_err(|refused| {
            Failure::not_found(refused.to_string()).hint("`moa alerts list` lists them")
        })?;
        self.write(&kept).await.map_err(Failure::refused)?;
        Ok(alert)
    }

    async fn look(&self, at: Instants, notifier: &dyn Tell) -> std::result::Result<Json, String> {
        let mut turn = self.turn.lock().await;
        let before = self.read().await.map_err(|failure| failure.message)?;
        let mut kept = match before.clone() {
            Some(kept) => kept,
            None => self.first().await.map_err(|failure| failure.message)?,
        };
        let agents = (self.agents)();
        let mut failed = Vec::new();
        if let Err(failure) = follow(&mut kept.watch, &self.views, &agents, at.engine).await {
            failed.push(failure.message);
        }
        let counters = self.counting.count().await.unwrap_or_else(|why| {
            failed.push(why);
            Default::default()
        });
        let gone = self.calls.gone().await.unwrap_or_else(|failure| {
            failed.push(failure.message);
            Default::default()
        });
        let look = Look {
            at,
            settings: &self.settings,
            webhooks: &self.calls.all(),
            gone: &gone,
            views: &*self.views,
            agents: &agents,
            watch: &kept.watch,
            counters: &counters,
            state: &self.state,
            stuck: Stuck {
                known: kept.book.about(Rule::Stuck).filter_map(|id| id.parse().ok()).collect(),
                after: *turn,
            },
        };
        let found = look.all().await;
        *turn = found.stuck_after;
        failed.extend(found.failed);
        let alerts = &self.settings.alerts;
        let open = opened(&kept);
        kept.book.judge(at.wall, &found.looked, found.findings, alerts.resolve_after);
        log_changes(&open, &kept);
        let messages = kept.book.messages(at.wall, &alerts.policy);
        // Before anything is told: whoever comes after a crash knows that it is to be told.
        if before.as_ref() != Some(&kept) {
            self.write(&kept).await?;
        }
        let mut told = 0;
        for message in messages {
            match notifier.tell(&notice(&message)).await {
                Ok(()) => {
                    kept.book.taken(&message.id);
                    told += 1;
                }
                Err(failure) => failed.push(format!("{}: {}", message.channel, failure.message)),
            }
        }
        if told > 0 {
            self.write(&kept).await?;
        }
        match failed.is_empty() {
            true => Ok(json!({"open": kept.book.open().len(), "told": told})),
            false => Err(failed.join("; ")),
        }
    }

    /// What is kept where nothing has been looked at yet: nobody is told of the past.
    async fn first(&self) -> Result<Kept> {
        let mut kept = Kept::default();
        kept.watch.after = self.views.last_event().await?;
        Ok(kept)
    }
}

/// The job.
pub struct Alerts(pub Arc<Alerting>);

#[async_trait]
impl Job for Alerts {
    async fn activate(&self, at: Instants) -> std::result::Result<Json, String> {
        match &self.0.notifier {
            Some(notifier) if self.0.settings.alerts.enabled => self.0.look(at, &**notifier).await,
            _ => Ok(json!({"open": 0, "told": 0})),
        }
    }
}

type Opened = BTreeMap<String, (Severity, String, Option<Millis>)>;

fn opened(kept: &Kept) -> Opened {
    let of = |alert: &&Alert| {
        (alert.key.clone(), (alert.severity, alert.title.clone(), alert.raised_at))
    };
    kept.book.open().iter().map(of).collect()
}

fn log_changes(before: &Opened, kept: &Kept) {
    for alert in kept.book.open() {
        let is_new = before.get(&alert.key).is_none_or(|(severity, ..)| *severity < alert.severity);
        if is_new {
            let (key, severity) = (&alert.key, alert.severity.as_str());
            tracing::warn!(alert = key, severity, "{}: {}", alert.title, alert.text);
        }
    }
    let now = opened(kept);
    for (key, (_, title, _)) in before.iter().filter(|(key, _)| !now.contains_key(*key)) {
        tracing::info!(alert = key, "resolved: {title}");
    }
}

fn notice(message: &Message) -> Notice {
    let kind = if message.resolved { "alert.resolved" } else { "alert.raised" };
    let alert = |alert: &Alert| {
        json!({
            "key": alert.key,
            "rule": alert.rule,
            "severity": alert.severity,
            "title": alert.title,
            "since": alert.since.to_string(),
            "raised_at": alert.raised_at.map(|at| at.to_string()),
            "resolved_at": alert.resolved_at.map(|at| at.to_string()),
        })
    };
    let alerts: Vec<Json> = message.alerts.iter().map(alert).collect();
    Notice {
        key: message.id.clone(),
        channel: message.channel.clone(),
        level: message.severity.as_str().to_owned(),
        title: message.title.clone(),
        message: message.text.clone(),
        about: json!({ "type": kind, "alerts": alerts }),
    }
}
