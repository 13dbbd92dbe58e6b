//! Webhooks of a node elsewhere.

use moa_core::ids::Name;
use moa_view::deliveries::Delivery;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::{Call, Remote};
use crate::cmd::webhooks::Line;
use crate::exit::Result;

/// Deliveries that one answer holds.
const PAGE: usize = 200;

#[derive(Debug, Deserialize)]
struct Page {
    deliveries: Vec<Delivery>,
    next: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Made {
    redelivered: Vec<Json>,
}

#[derive(Debug, Deserialize)]
struct Called {
    id: String,
}

#[derive(Debug, Deserialize)]
struct Enabled {
    changed: bool,
}

impl Remote {
    /// Who is called when something happens.
    pub async fn webhooks(&self) -> Result<Vec<Line>> {
        self.list("/api/v1/webhooks", "webhooks").await
    }

    /// Deliveries that were given up, the newest first.
    pub async fn dead_deliveries(&self, webhook: &Name, limit: usize) -> Result<Vec<Delivery>> {
        let path = format!("/api/v1/webhooks/{webhook}/deliveries");
        let (mut found, mut cursor) = (Vec::new(), None::<String>);
        while found.len() < limit {
            let part = (limit - found.len()).min(PAGE).to_string();
            let mut query = vec![("dead", "true".to_owned()), ("limit", part)];
            query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
            let page: Page = self.json(Call { query, ..Call::get(&path) }).await?;
            let is_empty = page.deliveries.is_empty();
            found.extend(page.deliveries);
            match page.next.filter(|_| !is_empty) {
                Some(next) => cursor = Some(next),
                None => break,
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    /// Has deliveries made again: those of these runs, or all that are dead. Asked twice, once.
    pub async fn redeliver(&self, webhook: &Name, runs: &[String]) -> Result<Vec<Json>> {
        let path = format!("/api/v1/webhooks/{webhook}/redeliver");
        let body = if runs.is_empty() { json!({}) } else { json!({"runs": runs}) };
        let made: Made = self.json(Call::post(&path, Some(body)).repeatable()).await?;
        Ok(made.redelivered)
    }

    /// Has a webhook called; answers the id of what it is told.
    pub async fn test_webhook(&self, webhook: &Name) -> Result<String> {
        let path = format!("/api/v1/webhooks/{webhook}/test");
        let called: Called = self.json(Call::post(&path, None)).await?;
        Ok(called.id)
    }

    /// Calls a webhook again whose receiver was gone; answers whether it was.
    pub async fn enable_webhook(&self, webhook: &Name) -> Result<bool> {
        let path = format!("/api/v1/webhooks/{webhook}/enable");
        let enabled: Enabled = self.json(Call::post(&path, None).repeatable()).await?;
        Ok(enabled.changed)
    }
}
