//! The job that calls whoever wants to hear of what happens: each event that a subscription asks for
//! becomes a delivery, which is a run of its own.
//!
//! `.moa/webhooks.json` holds how far each subscription has come. It is written after the deliveries are
//! durable; a process that dies in between makes them again by the same keys, and these are one run.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use moa_core::ids::Name;
use moa_core::workflow::NOTIFY_WORKFLOW;
use moa_engine::jobs::{Instants, Job};
use moa_ports::views::Views;
use moa_spec::{Settings, Subscription, channel_of};
use moa_view::events::{Names, Told, told, type_fits, type_of};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::exit::{Failure, Result};
use crate::node::notifier::{Notice, Tell};
use crate::project::Layout;
use crate::reader::Reader;
use crate::view;

/// The file, beneath the project's state.
const FILE: &str = "webhooks.json";
/// Commits read at once, and their events.
const PART: usize = 200;
const PART_EVENTS: usize = 2000;
/// Parts of one activation at most: what is left is done at the next.
const PARTS_MAX: usize = 50;
/// Bytes of an event that a receiver is told; of a larger one it is told where it is.
const EVENT_BYTES_MAX: usize = 128 << 10;

/// How far each subscription has come: the number of the last commit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Marks(BTreeMap<Name, u64>);

impl Marks {
    /// Those on the disk. A file that can't be read is no reason to call anybody twice: they begin now.
    fn read(state: &Path) -> Self {
        match fs::read_to_string(state.join(FILE)) {
            Ok(text) => serde_json::from_str(&text).unwrap_or_else(|error| {
                tracing::error!(%error, "{FILE} is damaged: webhooks tell of what happens from now on");
                Self::default()
            }),
            Err(_) => Self::default(),
        }
    }

    fn write(&self, state: &Path) -> io::Result<()> {
        let (path, new) = (state.join(FILE), state.join(format!("{FILE}.new")));
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(state)?.sync_all()
    }
}

/// Calls whoever wants to hear of what happens.
pub struct Webhooks {
    state: PathBuf,
    views: Arc<dyn Views>,
    subscriptions: BTreeMap<Name, Subscription>,
    /// Takes deliveries; `None` = this node is there for one run, and calls nobody.
    notifier: Option<Arc<dyn Tell>>,
}

impl Webhooks {
    /// Of a project.
    pub fn new(
        layout: &Layout,
        settings: &Settings,
        views: Arc<dyn Views>,
        notifier: Option<Arc<dyn Tell>>,
    ) -> Self {
        let active = settings.webhooks.iter().filter(|(_, one)| one.active);
        let subscriptions = active.map(|(name, one)| (name.clone(), one.clone())).collect();
        Self { state: layout.state(), views, subscriptions, notifier }
    }

    /// Has an event delivered that says nothing, to try whether it arrives; answers its id.
    ///
    /// # Errors
    /// There is no such webhook, or it is not active; the store.
    pub async fn test(&self, name: &Name) -> Result<String> {
        let Some(notifier) = &self.notifier else {
            return Err(Failure::refused("this node is there for one run, and calls nobody"));
        };
        if !self.subscriptions.contains_key(name) {
            let failure = Failure::not_found(format!("there is no active webhook {name}"));
            return Err(
                failure.hint("`webhooks` in moa.yaml names them; changes hold after a restart")
            );
        }
        let id = format!("test-{:016x}", crate::wire::random_u64());
        let event = json!({
            "specversion": "1.0", "id": id, "source": "moa", "type": "moa.webhook.test",
            "time": view::now().to_string(), "data": {"webhook": name},
        });
        notifier.tell(&notice_of(name, id.clone(), event)).await?;
        Ok(id)
    }

    async fn deliver(&self, notifier: &dyn Tell) -> Result<u64> {
        let last = self.views.last_event().await?;
        let mut marks = Marks::read(&self.state);
        let before = marks.clone();
        marks.0.retain(|name, _| self.subscriptions.contains_key(name));
        for name in self.subscriptions.keys() {
            // One that is new tells of what happens from now on. A store that was put back from a
            // backup is behind.
            let mark = marks.0.entry(name.clone()).or_insert(last);
            *mark = (*mark).min(last);
        }
        let mut delivered = 0;
        for _ in 0..PARTS_MAX {
            let Some(from) = marks.0.values().min().copied().filter(|from| *from < last) else {
                break;
            };
            delivered += self.part(from, &mut marks, notifier).await?;
            self.keep(&marks)?;
        }
        if marks != before {
            self.keep(&marks)?;
        }
        Ok(delivered)
    }

    fn keep(&self, marks: &Marks) -> Result<()> {
        marks.write(&self.state).map_err(|e| Failure::io(format!("can't write .moa/{FILE}"), &e))
    }

    /// Delivers what a part of the history tells; moves the marks behind it.
    async fn part(&self, from: u64, marks: &mut Marks, notifier: &dyn Tell) -> Result<u64> {
        let rows = self.views.events(from, PART, PART_EVENTS).await?;
        let Some(end) = rows.last().map(|row| row.seq) else {
            // What was there is deleted by now.
            let last = self.views.last_event().await?;
            marks.0.values_mut().for_each(|mark| *mark = (*mark).max(last));
            return Ok(0);
        };
        let (reader, mut names, mut delivered) =
            (Reader::new(self.views.clone()), Names::default(), 0);
        for row in &rows {
            let wants = |one: &Subscription| row.events.iter().any(|e| fits(one, type_of(e)));
            let behind = |name: &Name| marks.0.get(name).is_some_and(|mark| *mark < row.seq);
            let wanted = self.subscriptions.iter().filter(|(name, one)| behind(name) && wants(one));
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
                    let of = one.workflows.is_empty() || one.workflows.contains(&workflow);
                    if of && fits(one, type_of(event.event)) {
                        notifier.tell(&notice(name, &event)).await?;
                        delivered += 1;
                    }
                }
            }
        }
        marks.0.values_mut().for_each(|mark| *mark = (*mark).max(end));
        Ok(delivered)
    }
}

fn fits(one: &Subscription, kind: &str) -> bool {
    one.types.iter().any(|pattern| type_fits(kind, pattern))
}

/// The delivery of an event.
fn notice(webhook: &Name, event: &Told<'_>) -> Notice {
    let mut document = event.cloud_event();
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
