//! Tells people what no run of the project tells them: each notification is a run of a workflow that
//! is part of moa, so that it is durable before anything is sent, is tried again, and has a history.

use std::sync::Arc;

use async_trait::async_trait;
use moa_core::ids::Name;
use moa_core::workflow::{NOTIFY_WORKFLOW, Plan, notify_workflow};
use moa_engine::Handle;
use moa_engine::handle::StartRequest;
use moa_ports::store::Store;
use moa_ports::views::Views;
use moa_spec::Source;
use serde_json::{Value as Json, json};

use crate::exit::{Exit, Failure, Result};
use crate::project::Served;

/// The workflow.
const SOURCE: &str = include_str!("moa-notify.yaml");
/// Bytes of a message; what is longer is cut, so that a run's params stay small.
const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// What people are told.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    /// The same key over the same channel is delivered by one run, however often it is asked for;
    /// and it is what receivers know the notification by.
    pub key: String,
    /// Over which channel.
    pub channel: Name,
    /// `critical`, `warning` or `info`.
    pub level: String,
    /// One line.
    pub title: String,
    /// The rest.
    pub message: String,
    /// For programs, an object; its `type` is the type of a webhook.
    pub about: Json,
}

/// Takes what people are to be told.
#[async_trait]
pub trait Tell: Send + Sync {
    /// Takes a notice, once for each key and channel. When this returns, it will be delivered, or
    /// be a failed run.
    ///
    /// # Errors
    /// The store can't take it now, or the node is stopping; asking again is safe.
    async fn tell(&self, notice: &Notice) -> Result<()>;
}

/// Starts the runs that tell people something.
pub struct Notifier {
    engine: Handle,
    store: Arc<dyn Store>,
    views: Arc<dyn Views>,
    served: Served,
}

impl Notifier {
    /// Over the channels of the project that the engine runs.
    ///
    /// # Errors
    /// None, unless the workflow that is part of moa is broken.
    pub fn new(engine: Handle, store: Arc<dyn Store>, views: Arc<dyn Views>) -> Result<Self> {
        Ok(Self { engine, store, views, served: served()? })
    }
}

#[async_trait]
impl Tell for Notifier {
    /// Starts the run that delivers it, unless there is one already.
    async fn tell(&self, notice: &Notice) -> Result<()> {
        let hash = self.served.plan.hash;
        if self.views.workflow(hash).await?.is_none() {
            super::versions::put_version(&*self.store, &self.served).await?;
        }
        let Notice { key, channel, level, title, message, about } = notice;
        let request = StartRequest {
            workflow: self.served.plan.workflow.clone(),
            version: Some(hash.to_string()),
            params: json!({
                "channel": channel,
                "key": key,
                "level": level,
                "title": cut(title),
                "message": cut(message),
                "about": about,
            }),
            idempotency_key: Some(format!("{NOTIFY_WORKFLOW}/{channel}/{key}")),
            priority: None,
            trace: None,
            cause: "moa".to_owned(),
        };
        self.engine.start_run(request).await?;
        Ok(())
    }
}

fn cut(text: &str) -> String {
    if text.len() <= MESSAGE_BYTES_MAX {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(MESSAGE_BYTES_MAX);
    format!("{}... ({} bytes more)", &text[..end], text.len() - end)
}

fn served() -> Result<Served> {
    let source = Source::new(format!("{NOTIFY_WORKFLOW}.yaml"), SOURCE.to_owned());
    let (workflow, found) = moa_spec::parse_workflow(&source, &notify_workflow());
    let Some(workflow) = workflow else {
        let text = format!("{NOTIFY_WORKFLOW}, which is part of moa, is broken: {found:?}");
        return Err(Failure::new(Exit::Invalid, text));
    };
    let plan: Plan = moa_spec::compile(&workflow);
    Ok(Served { plan, source, tests: Vec::new(), triggers: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_delivers_is_a_good_workflow_and_takes_what_it_is_given() {
        let served = served().expect("it is good");
        let params = json!({
            "channel": "ops", "key": "k", "level": "info", "title": "", "message": "", "about": {},
        });
        let params = params.as_object().expect("an object");
        moa_spec::check_params(&served.plan, params).expect("they fit");
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        let long = cut(&"ü".repeat(MESSAGE_BYTES_MAX));
        assert!(long.ends_with("ü... (65536 bytes more)"), "{}", &long[long.len() - 40..]);
    }
}
