//! What a node tells people of how it is: alerts, production, what it did over time, its settings.

use moa_core::alert::{Alert, Book};
use moa_core::ids::Name;
use moa_core::time::Span;
use moa_engine::series::Series;
use moa_view::activity::{self, Activity};
use moa_view::fleet::{AgentDay, Fleet};
use moa_view::target::{Production, Setting};

use super::Node;
use crate::config::{self, Config};
use crate::exit::{Exit, Failure, Result};
use crate::view;

impl Node {
    /// Notes that somebody has taken notice of an alert; answers it.
    pub async fn acknowledge(&self, key: &str, by: String, note: Option<String>) -> Result<Alert> {
        self.jobs.alerting.acknowledge(key, by, note).await
    }

    /// Notes that somebody says an alert is over; answers it.
    pub async fn resolve(&self, key: &str, by: String, note: Option<String>) -> Result<Alert> {
        self.jobs.alerting.resolve(key, by, note).await
    }

    /// What is known of alerts.
    pub async fn alerts(&self) -> Result<Book> {
        self.jobs.alerting.book().await
    }

    /// How production stands.
    pub async fn production(&self) -> Result<Production> {
        let counted = self.jobs.counting.production(view::now()).await;
        counted.map_err(|why| Failure::new(Exit::Failed, why))
    }

    /// What it did over time.
    pub fn series(&self) -> Series {
        self.jobs.sampling.series()
    }

    /// What an agent did in a time that ends now.
    ///
    /// # Errors
    /// That is longer than is kept.
    pub async fn worked(&self, agent: &Name, span: Span) -> Result<Activity> {
        let worked = self.jobs.sampling.worked(agent, span).await;
        let (part, since) = worked.ok_or_else(activity::too_long)?;
        Ok(Activity::counted(&part, since))
    }

    /// What agents do right now, and what they did in a day. It takes as long as there are agents and
    /// attempts that run, whatever has been done.
    pub fn fleet(&self) -> Fleet {
        let mut fleet = self.worker.at_work();
        for (agent, part) in self.jobs.sampling.day(view::now()) {
            fleet.entry(agent).or_default().day = AgentDay::of(&part);
        }
        fleet
    }

    /// Its settings as people see them: what is secret is not in them.
    pub fn config(&self, config: &Config) -> Vec<Setting> {
        let lines = config.lines().into_iter().map(|line| {
            let mut value = config::public(&line.key, line.value);
            self.secrets.redact(&mut value);
            Setting { key: line.key, value, origin: line.origin.to_string() }
        });
        lines.collect()
    }
}
