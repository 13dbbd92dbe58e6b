//! The job that calls whoever wants to hear of what happens: each event that a subscription asks for
//! becomes a delivery, which is a run of its own.
//!
//! `.moa/webhooks.json` holds how far each subscription has come. It is written after the deliveries are
//! durable; a process that dies in between makes them again by the same keys, and these are one run.
//! One that is missing in the settings goes on where it was if it is back within an hour.
//! A receiver that answers 410 wants no more calls: its subscription is switched off there, until
//! somebody switches it on again or it has another address. The history says what it answered, so that
//! is found however often the process dies.

pub mod kept;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex as StdMutex, PoisonError, RwLock};

use async_trait::async_trait;
use moa_core::event::Event;
use moa_core::ids::Name;
use moa_core::machine::BUS;
use moa_core::time::Millis;
use moa_core::trigger::is_own_event;
use moa_core::workflow::NOTIFY_WORKFLOW;
use moa_engine::jobs::{Instants, Job};
use moa_ports::views::{HistoryRow, Views};
use moa_spec::{Settings, Subscription, channel_of};
use moa_view::events::{
    Names, PUBLISHED, Told, hide_in, is_type_of_runs, published_fits, told, type_fits, type_of,
};
use serde_json::{Value as Json, json};
use tokio::sync::Mutex;

use self::kept::{FILE, Gone, Kept};
use crate::exit::{Failure, Result};
use crate::node::aside;
use crate::node::notifier::{Notice, Tell};
use crate::project::Layout;
use crate::reader::Reader;
use crate::secrets::SecretStore;
use crate::{view, wire};

/// Commits read at once, and their events.
const PART: usize = 200;
const PART_EVENTS: usize = 2000;
/// Parts of one activation at most: what is left is done at the next.
const PARTS_MAX: usize = 50;
/// Bytes of an event that a receiver is told; of a larger one it is told where it is.
const EVENT_BYTES_MAX: usize = 128 << 10;

/// Webhooks by name.
pub type Subscriptions = BTreeMap<Name, Subscription>;

/// Calls whoever wants to hear of what happens.
pub struct Webhooks {
    state: PathBuf,
    views: Arc<dyn Views>,
    subscriptions: RwLock<Arc<Subscriptions>>,
    /// Webhooks whose address has changed while this node runs: until when the receiver at the old
    /// one may still be answering.
    moved: StdMutex<BTreeMap<Name, Millis>>,
    secrets: SecretStore,
    /// Takes deliveries; `None` = this node is there for one run, and calls nobody.
    notifier: Option<Arc<dyn Tell>>,
    /// Held by whoever changes what is kept.
    turn: Mutex<()>,
}

impl Webhooks {
    /// Of a project.
    pub fn new(
        layout: &Layout,
        settings: &Settings,
        views: Arc<dyn Views>,
        secrets: SecretStore,
        notifier: Option<Arc<dyn Tell>>,
    ) -> Self {
        let subscriptions = RwLock::new(Arc::new(settings.webhooks.clone()));
        let (moved, turn) = (StdMutex::default(), Mutex::new(()));
        Self { state: layout.state(), views, subscriptions, moved, secrets, notifier, turn }
    }

    /// All webhooks, by name; those that are not active too.
    pub fn all(&self) -> Arc<Subscriptions> {
        self.subscriptions.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts others in their place: what is told from now on is told as they say.
    pub fn set(&self, webhooks: &Subscriptions) {
        let now = Arc::new(webhooks.clone());
        let mut known = self.subscriptions.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *known, now);
        drop(known);
        let mut moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, one) in &*before {
            let other = webhooks.get(name).is_none_or(|now| now.receiver.url != one.receiver.url);
            if other {
                moved.insert(name.clone(), view::now().after(one.receiver.timeout));
            }
        }
    }

    /// All webhooks, and those of them that are to be called.
    fn all_and_active(&self) -> (Arc<Subscriptions>, Subscriptions) {
        let all = self.all();
        let active = all.iter().filter(|(_, one)| one.active);
        let active = active.map(|(name, one)| (name.clone(), one.clone())).collect();
        (all, active)
    }

    /// Whether what a receiver said then may have been said at another address.
    fn may_have_moved(&self, name: &Name, at: Millis) -> bool {
        let moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner);
        moved.get(name).is_some_and(|until| at <= *until)
    }

    /// Calls a webhook again whose receiver was gone, of what happens from now on; answers whether it
    /// was.
    ///
    /// # Errors
    /// There is no such webhook, or it is not active; the store or the disk.
    pub async fn enable(&self, name: &Name) -> Result<bool> {
        self.require(name)?;
        let _turn = self.turn.lock().await;
        let mut kept = self.kept().await?;
        kept.fit(&self.all(), view::now());
        if kept.gone.remove(name).is_none() {
            return Ok(false);
        }
        kept.marks.insert(name.clone(), self.views.last_event().await?);
        self.keep(&kept).await?;
        Ok(true)
    }

    /// Those that are switched off because their receivers are gone.
    ///
    /// # Errors
    /// None, unless moa itself fails.
    pub async fn gone(&self) -> Result<BTreeMap<Name, Gone>> {
        let (state, all) = (self.state.clone(), self.all());
        aside(move || Ok(kept::gone(&state, &all, view::now()))).await
    }

    fn require(&self, name: &Name) -> Result<()> {
        if self.all().get(name).is_some_and(|one| one.active) {
            return Ok(());
        }
        let failure = Failure::not_found(format!("there is no active webhook {name}"));
        Err(failure.hint("`webhooks` in moa.yaml names them"))
    }

    /// Has an event delivered that says nothing, to try whether it arrives; answers its id.
    ///
    /// # Errors
    /// There is no such webhook, or it is not active; the store.
    pub async fn test(&self, name: &Name) -> Result<String> {
        let Some(notifier) = &self.notifier else {
            return Err(Failure::refused("this node is there for one run, and calls nobody"));
        };
        self.require(name)?;
        let id = format!("test-{:016x}", wire::random_u64());
        let event = json!({
            "specversion": "1.0", "id": id, "source": "moa", "type": "moa.webhook.test",
            "time": view::now().to_string(), "data": {"webhook": name},
        });
        notifier.tell(&notice_of(name, id.clone(), event)).await?;
        Ok(id)
    }

    async fn deliver(&self, notifier: &dyn Tell) -> Result<u64> {
        let _turn = self.turn.lock().await;
        let last = self.views.last_event().await?;
        let (all, active) = self.all_and_active();
        let mut kept = self.kept().await?;
        let before = kept.clone();
        kept.fit(&all, view::now());
        for name in active.keys().filter(|name| !kept.gone.contains_key(*name)) {
            // One that is new, or that nothing is known of any more, tells of what happens from now on. A store that was put back from a
            // backup is behind.
            let mark = kept.marks.entry(name.clone()).or_insert(last);
            *mark = (*mark).min(last);
        }
        let mut delivered = 0;
        for _ in 0..PARTS_MAX {
            let Some(from) = kept.marks.values().min().copied().filter(|from| *from < last) else {
                break;
            };
            delivered += self.part((from, &active), &mut kept, notifier).await?;
            self.keep(&kept).await?;
        }
        if kept != before {
            self.keep(&kept).await?;
        }
        Ok(delivered)
    }

    async fn kept(&self) -> Result<Kept> {
        let state = self.state.clone();
        aside(move || Ok(Kept::read(&state))).await
    }

    /// Writes it; it is on the disk when this returns.
    async fn keep(&self, kept: &Kept) -> Result<()> {
        let (state, kept) = (self.state.clone(), kept.clone());
        let write = move || {
            kept.write(&state).map_err(|e| Failure::io(format!("can't write .moa/{FILE}"), &e))
        };
        aside(write).await
    }

    /// Delivers what a part of the history tells; moves the marks behind it.
    async fn part(
        &self,
        (from, active): (u64, &Subscriptions),
        kept: &mut Kept,
        notifier: &dyn Tell,
    ) -> Result<u64> {
        let rows = self.views.events(from, PART, PART_EVENTS).await?;
        let Some(end) = rows.last().map(|row| row.seq) else {
            // What was there is deleted by now.
            let last = self.views.last_event().await?;
            kept.marks.values_mut().for_each(|mark| *mark = (*mark).max(last));
            return Ok(0);
        };
        let (reader, mut names, mut delivered) =
            (Reader::new(self.views.clone()), Names::default(), 0);
        for row in &rows {
            self.heed(row, active, kept).await?;
            let wants = |one: &Subscription| row.events.iter().any(|event| fits(one, event));
            let behind = |name: &Name| kept.marks.get(name).is_some_and(|mark| *mark < row.seq);
            let wanted = active.iter().filter(|(name, one)| behind(name) && wants(one));
            let wanted: Vec<_> = wanted.collect();
            if wanted.is_empty() {
                continue;
            }
            let (workflow, steps) = names.of(&reader, row).await?;
            if workflow.as_str() == NOTIFY_WORKFLOW {
                // Telling of what tells would never end.
                continue;
            }
            for event in told(row, &workflow, &steps) {
                for (name, one) in &wanted {
                    let of = one.workflows.is_empty()
                        || row.run != BUS && one.workflows.contains(&workflow);
                    if of && fits(one, event.event) {
                        notifier.tell(&self.notice(name, &event).await?).await?;
                        delivered += 1;
                    }
                }
            }
        }
        kept.marks.values_mut().for_each(|mark| *mark = (*mark).max(end));
        Ok(delivered)
    }

    /// The delivery of an event. What people have published may hold secrets.
    async fn notice(&self, webhook: &Name, event: &Told<'_>) -> Result<Notice> {
        let mut document = event.cloud_event();
        if event.published().is_some() {
            let secrets = self.secrets.clone();
            let hide = move || {
                let redactor = secrets.redactor();
                hide_in(&mut document, &move |value: &mut Json| redactor.json(value));
                Ok(document)
            };
            document = aside(hide).await?;
        }
        Ok(notice(webhook, event, document))
    }

    /// Switches off the webhook whose receiver refused a delivery because it is gone, if that is what
    /// a commit tells of.
    async fn heed(&self, row: &HistoryRow, active: &Subscriptions, kept: &mut Kept) -> Result<()> {
        let refused = |name: &&Name| {
            row.events.iter().any(|event| match event {
                Event::StepFailed { error, .. } => wire::is_gone(&channel_of(name), &error.message),
                _ => false,
            })
        };
        let Some(name) = active.keys().find(refused) else { return Ok(()) };
        // It may be deleted by now. What a run of the project says is no answer of a receiver.
        let Some(run) = self.views.run(row.run).await? else { return Ok(()) };
        if run.row.workflow.as_str() != NOTIFY_WORKFLOW {
            return Ok(());
        }
        // What it said before it was switched on again counts no more.
        if kept.marks.get(name).is_none_or(|mark| row.seq <= *mark)
            || self.may_have_moved(name, row.at)
        {
            return Ok(());
        }
        kept.marks.remove(name);
        kept.gone.insert(name.clone(), Gone::new(&active[name], row.at, row.run));
        tracing::warn!(webhook = %name, run = %row.run,
            "a webhook is switched off: its receiver says that it is gone");
        Ok(())
    }
}

fn fits(one: &Subscription, event: &Event) -> bool {
    let kind = type_of(event);
    one.types.iter().any(|pattern| match event {
        Event::EventPublished(_) => is_meant(kind, pattern),
        _ => type_fits(kind, pattern),
    })
}

/// Whether a pattern means what somebody has published under that type. What is called as moa calls what
/// happens in runs, and what other webhooks brought, is meant by `event.published` alone: who takes
/// `run.failed` wants to hear of runs, and two nodes that tell each other all would never end.
fn is_meant(kind: &str, pattern: &str) -> bool {
    match is_type_of_runs(kind) || is_own_event(kind) {
        true => pattern.strip_prefix("moa.").unwrap_or(pattern) == PUBLISHED,
        false => published_fits(kind, pattern),
    }
}

fn notice(webhook: &Name, event: &Told<'_>, mut document: Json) -> Notice {
    let bytes = document.to_string().len();
    if bytes > EVENT_BYTES_MAX {
        document["data"] = json!({ "omitted_bytes": bytes });
    }
    // The event's own id is one of its run's source alone.
    let id = format!("{}-{}-{}", event.run, event.seq, event.index);
    notice_of(webhook, id, document)
}

/// The delivery of a document by that id.
fn notice_of(webhook: &Name, id: String, event: Json) -> Notice {
    let kind = event["type"].as_str().unwrap_or_default().to_owned();
    Notice {
        key: id,
        channel: channel_of(webhook),
        level: "info".into(),
        title: kind,
        message: String::new(),
        about: event,
    }
}

/// The job.
pub struct Calls(pub Arc<Webhooks>);

#[async_trait]
impl Job for Calls {
    async fn activate(&self, _at: Instants) -> std::result::Result<Json, String> {
        let Some(notifier) = &self.0.notifier else { return Ok(json!({})) };
        let delivered = self.0.deliver(&**notifier).await.map_err(|failure| failure.message)?;
        Ok(json!({ "delivered": delivered }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_publish_is_not_taken_for_what_happens_in_runs() {
        for (kind, pattern, is_told) in [
            ("order.paid", "order.*", true),
            ("order.paid", "*", true),
            ("order.paid", "event.published", true),
            ("run.failed", "run.failed", false),
            ("run.failed", "*", false),
            ("run.failed", "moa.event.published", true),
            ("webhook.shop.paid", "*", false),
            ("webhook.shop.paid", "webhook.*", false),
            ("webhook.shop.paid", "event.published", true),
        ] {
            assert_eq!(is_meant(kind, pattern), is_told, "{kind} {pattern}");
        }
    }
}
