//! The job that counts what has happened, and warns of targets that will be missed.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use moa_core::target::Outlook;
use moa_core::time::Millis;
use moa_engine::jobs::retention::Retention;
use moa_engine::jobs::{Instants, Job};
use moa_ports::views::Views;
use moa_spec::Settings;
use serde_json::{Value as Json, json};
use tokio::sync::Mutex;

use crate::metrics::targets::{Production, Standing, production, standings};
use crate::metrics::{Counters, Days};
use crate::node::notifier::{Notice, Tell};
use crate::project::Layout;

/// Events that are counted while somebody waits.
const SHORT: u64 = 200;

/// The counters of the project that this node serves.
pub struct Counting {
    state: PathBuf,
    views: Arc<dyn Views>,
    settings: Settings,
    /// One at a time reads, counts and writes.
    turn: Mutex<()>,
}

impl Counting {
    /// Of a project.
    pub fn new(layout: &Layout, settings: &Settings, views: Arc<dyn Views>) -> Arc<Self> {
        let (state, settings) = (layout.state(), settings.clone());
        Arc::new(Self { state, views, settings, turn: Mutex::default() })
    }

    /// Counts what has happened. When this returns, that is on the disk.
    ///
    /// # Errors
    /// What went wrong, for people.
    pub async fn count(&self) -> Result<Counters, String> {
        self.change(|_| {}).await
    }

    /// How production stands. Who looks waits for no long counting: what has happened in a long time
    /// is in it once the job has counted it.
    ///
    /// # Errors
    /// What went wrong, for people.
    pub async fn production(&self, now: Millis) -> Result<Production, String> {
        let state = self.state.clone();
        let read = tokio::task::spawn_blocking(move || Counters::read(&state)).await;
        let read = read.map_err(|e| e.to_string())?.map_err(|failure| failure.message)?;
        let last = self.views.last_event().await.map_err(|e| e.to_string())?;
        let is_short = last.saturating_sub(read.counted_to()) <= SHORT;
        let is_busy = self.turn.try_lock().is_err();
        let counters = if is_short && !is_busy { self.count().await? } else { read };
        Ok(production(&counters, &self.settings, now))
    }

    /// The same, and changes something more.
    async fn change(&self, change: impl FnOnce(&mut Counters) + Send) -> Result<Counters, String> {
        let _turn = self.turn.lock().await;
        let before = Counters::read(&self.state).map_err(|failure| failure.message)?;
        let mut counters = before.clone();
        let counted = counters.count(&self.views, &self.settings).await;
        change(&mut counters);
        if counters != before {
            let (state, new) = (self.state.clone(), counters.clone());
            let written = tokio::task::spawn_blocking(move || new.write(&state)).await;
            written.map_err(|e| e.to_string())?.map_err(|e| format!("counters: {e}"))?;
        }
        counted.map_err(|failure| failure.message)?;
        Ok(counters)
    }
}

/// Retention that deletes nothing that has not been counted.
pub struct AfterCounting {
    /// What counts.
    pub counting: Arc<Counting>,
    /// What deletes: only runs that ended a while before it is activated.
    pub retention: Retention,
}

#[async_trait]
impl Job for AfterCounting {
    async fn activate(&self, at: Instants) -> Result<Json, String> {
        self.counting.count().await?;
        self.retention.activate(at).await
    }
}

/// The job.
pub struct Metrics {
    /// What counts.
    pub counting: Arc<Counting>,
    /// Tells people; `None` = this node is there for one run, and warns nobody.
    pub notifier: Option<Arc<dyn Tell>>,
}

#[async_trait]
impl Job for Metrics {
    async fn activate(&self, at: Instants) -> Result<Json, String> {
        let counters = self.counting.count().await?;
        let Some(notifier) = &self.notifier else { return Ok(json!({"warnings": 0})) };
        let (now, settings) = (at.wall, &self.counting.settings);
        let all = standings(&counters, settings, now);
        let missed = all.into_iter().filter(|standing| standing.outlook == Outlook::TooLittle);
        let news: Vec<Standing> = missed.filter(|s| !counters.is_known(&s.key())).collect();
        // A channel that takes nothing must not hold up the others.
        let (mut told, mut failed) = (Vec::new(), Vec::new());
        for standing in &news {
            match self.warn(standing, &**notifier).await {
                Ok(()) => told.push(standing.key()),
                Err(why) => failed.push(format!("{}: {why}", standing.metric)),
            }
        }
        let warnings = told.len();
        if !told.is_empty() {
            // The run that tells it is the same one, also when this is lost.
            let today = Days::of(settings).day(now);
            let remember = |counters: &mut Counters| {
                told.into_iter().for_each(|key| counters.remember(key, today));
            };
            self.counting.change(remember).await?;
        }
        match failed.is_empty() {
            true => Ok(json!({"warnings": warnings})),
            false => Err(failed.join("; ")),
        }
    }
}

impl Metrics {
    async fn warn(&self, standing: &Standing, notifier: &dyn Tell) -> Result<(), String> {
        let message = standing.told();
        tracing::warn!(metric = standing.metric, "{message}");
        let target = self
            .counting
            .settings
            .targets
            .iter()
            .find(|(name, _)| name.as_str() == standing.metric);
        let Some(channel) = target.and_then(|(_, target)| target.notify.clone()) else {
            return Ok(());
        };
        let notice = Notice {
            key: standing.key(),
            channel,
            level: "warning".to_owned(),
            title: format!("{} will be below its minimum", standing.metric),
            message,
            about: json!({ "type": "target.missed", "target": standing }),
        };
        notifier.tell(&notice).await.map_err(|failure| failure.message)
    }
}
