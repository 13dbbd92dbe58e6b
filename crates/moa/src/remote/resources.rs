//! Agents, alerts, rules, settings and secrets of a node elsewhere.

use moa_core::alert::{Alert, Book};
use moa_core::ids::Name;
use moa_core::time::Span;
use moa_spec::Source;
use moa_view::activity::Activity;
use moa_view::node::{Rotated, RuleDone, RuleRequest, SecretLine};
use moa_view::rows::Ask;
use moa_view::target::Setting;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use zeroize::Zeroizing;

use super::project::percent_encoded;
use super::{Call, Remote};
use crate::exit::{Exit, Failure, Result};

/// What became of a wish about a rule.
#[derive(Debug, Deserialize)]
struct RuleChange {
    name: Name,
    changed: bool,
    created: bool,
}

/// A secret that was set.
#[derive(Debug, Deserialize)]
struct SecretSet {
    version: u64,
    hidden_by: Option<String>,
}

impl Remote {
    /// Notes that somebody has taken notice of an alert, or says that it is over; answers it. Who
    /// that is, the token says.
    pub async fn settle(&self, key: &str, over: bool, note: Option<String>) -> Result<Alert> {
        let act = if over { "resolve" } else { "ack" };
        let path = format!("/api/v1/alerts/{}/{act}", percent_encoded(key));
        let call = Call::post(&path, Some(json!({"note": note}))).repeatable();
        self.json::<Json>(call).await?;
        let book: Book = self.ask(Ask::Alerts).await?;
        let gone = || Failure::not_found(format!("there is no alert {key} any more"));
        book.get(key).cloned().ok_or_else(gone)
    }

    /// Does something with a rule.
    pub async fn rule(&self, request: RuleRequest) -> Result<RuleDone> {
        let at = |name: &Name| format!("/api/v1/rules/{name}");
        let change: RuleChange = match request {
            RuleRequest::Put { name, path, text, replace, expect: _ } => {
                let mut rule = document(&path, text)?;
                if let Some(name) = name {
                    rule["name"] = name.as_str().into();
                }
                let named = rule["name"].as_str().and_then(|name| Name::new(name).ok());
                match named.filter(|_| replace) {
                    Some(name) => {
                        let path = at(&name);
                        let call = Call { method: Method::PUT, ..Call::post(&path, Some(rule)) };
                        self.json(call.repeatable()).await?
                    }
                    // Asked for twice, it is there the second time.
                    None => self.json(Call::post("/api/v1/rules", Some(rule)).repeatable()).await?,
                }
            }
            RuleRequest::Switch { name, on } => {
                let path = format!("{}/{}", at(&name), if on { "enable" } else { "disable" });
                self.json(Call::post(&path, None).repeatable()).await?
            }
            RuleRequest::Delete { name, expect: _ } => {
                let path = at(&name);
                let call = Call { method: Method::DELETE, again: false, ..Call::get(&path) };
                self.call(call).await?;
                return Ok(RuleDone { name, changed: true, created: false, differs: false });
            }
        };
        let RuleChange { name, changed, created } = change;
        Ok(RuleDone { name, changed, created, differs: false })
    }

    /// What an agent did in a time that ends now.
    pub async fn worked(&self, agent: &Name, span: Span) -> Result<Activity> {
        let path = format!("/api/v1/agents/{agent}/metrics");
        let query = vec![("range", span.to_string())];
        self.json(Call { query, ..Call::get(&path) }).await
    }

    /// Its settings, as it tells them to others: what is secret is not in them.
    pub async fn config(&self) -> Result<Vec<Setting>> {
        self.list("/api/v1/config", "settings").await
    }

    /// How the secrets are, without their values.
    pub async fn secrets(&self) -> Result<Vec<SecretLine>> {
        self.list("/api/v1/secrets", "secrets").await
    }

    /// Keeps a secret; answers its version, and the source that has it too and is asked before.
    pub async fn set_secret(
        &self,
        name: &str,
        value: &Zeroizing<String>,
    ) -> Result<(u64, Option<String>)> {
        let path = format!("/api/v1/secrets/{}", percent_encoded(name));
        let body = json!({"value": value.as_str()});
        let call = Call { method: Method::PUT, ..Call::post(&path, Some(body)) };
        let set: SecretSet = self.json(call).await?;
        Ok((set.version, set.hidden_by))
    }

    /// Deletes a secret.
    pub async fn delete_secret(&self, name: &str) -> Result<()> {
        let path = format!("/api/v1/secrets/{}", percent_encoded(name));
        let call = Call { method: Method::DELETE, again: false, ..Call::get(&path) };
        self.call(call).await.map(drop)
    }

    /// Has all secrets sealed with another key, which the node makes itself where it can. Asked once: a
    /// second time would change it again.
    pub async fn rotate_key(&self) -> Result<Rotated> {
        self.json(Call::post("/api/v1/secrets/rotate-key", None)).await
    }
}

/// What a rule's text says, as the API takes it.
fn document(path: &str, text: String) -> Result<Json> {
    let source = Source::new(path, text);
    let (document, found) = moa_spec::document(&source);
    match document {
        Some(document) if document.is_object() => Ok(document),
        _ => {
            let detail = moa_spec::render(&found, &[source], false);
            Err(Failure::new(Exit::Invalid, format!("{path} is no rule")).detail(detail))
        }
    }
}
