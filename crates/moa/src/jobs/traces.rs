//! The job that sends traces of runs to a collector.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex as Slot, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use moa_core::time::{Millis, Span};
use moa_engine::jobs::{Instants, Job};
use moa_ports::agent::Secrets as _;
use moa_ports::views::Views;
use moa_spec::{Otlp, Secretive, Settings};
use moa_view::node::TracesStatus;
use serde_json::{Value as Json, json};
use tokio::sync::Mutex;

use crate::project::Layout;
use crate::secrets::SecretStore;
use crate::traces::otlp::{self, Resource};
use crate::traces::{Follower, Kept, standard};
use crate::view;
use crate::wire::otlp::{Collector, Refused, Target};

/// Commits that are read at once.
const PART: usize = 500;
/// Events of them.
const PART_EVENTS: usize = 5000;
/// Spans in a request, and bytes of them: less than what any collector takes.
const SPANS_MAX: usize = 512;
const BYTES_MAX: usize = 512 << 10;
/// How long the collector is left alone after it failed: twice as long each time.
const PAUSE_MIN: Span = Span::seconds(1);
const PAUSE_MAX: Span = Span::minutes(1);
/// How long a node that stops waits for the collector.
const LAST: Duration = Duration::from_secs(3);

/// What sends traces of the project that this node serves.
pub struct Sending {
    state: PathBuf,
    views: Arc<dyn Views>,
    secrets: SecretStore,
    otlp: Otlp,
    /// Headers that the environment gives.
    headers: BTreeMap<String, String>,
    resource: Resource,
    collector: Collector,
    /// One at a time.
    turn: Mutex<Turn>,
    status: Slot<TracesStatus>,
}

/// What is known from one time to the next.
struct Turn {
    follower: Follower,
    /// Spans that were not taken yet, and the last event that they are made of.
    waiting: Option<(u64, VecDeque<Json>)>,
    /// When the collector is asked again, and how often it failed.
    pause: Option<(Millis, u32)>,
}

impl Sending {
    /// Of a project.
    pub fn new(
        layout: &Layout,
        settings: &Settings,
        views: Arc<dyn Views>,
        secrets: SecretStore,
    ) -> Arc<Self> {
        let env = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let otlp = settings.tracing.otlp.clone();
        let folder = layout.root.file_name().map(|name| name.to_string_lossy().into_owned());
        let project = settings.name.clone().or(folder);
        let mut resource: Resource = BTreeMap::new();
        resource.extend(project.map(|project| ("moa.project".to_owned(), project)));
        resource.extend(standard::resource(&env));
        let own = [
            ("service.name", otlp.service_name.as_str()),
            ("service.version", env!("CARGO_PKG_VERSION")),
            ("telemetry.sdk.name", "moa"),
            ("telemetry.sdk.language", "rust"),
            ("telemetry.sdk.version", env!("CARGO_PKG_VERSION")),
        ];
        resource.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let follower = Follower::new(views.clone(), otlp.sample);
        Arc::new(Self {
            state: layout.state(),
            views,
            secrets,
            otlp,
            headers: standard::headers(&env),
            resource,
            collector: Collector::default(),
            turn: Mutex::new(Turn { follower, waiting: None, pause: None }),
            status: Slot::default(),
        })
    }

    /// How far traces have been sent; `None` = none are.
    pub fn status(&self) -> Option<TracesStatus> {
        self.otlp.endpoint.as_ref()?;
        Some(self.status.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    fn note(&self, change: impl FnOnce(&mut TracesStatus)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Notes that what happens from now on is sent, unless an earlier node has noted it.
    pub async fn begin(&self) {
        if self.otlp.endpoint.is_none() {
            return;
        }
        let last = self.views.last_event().await.map_err(|e| e.to_string());
        let begun = match last {
            Ok(last) => self.kept(last).await.map(drop),
            Err(why) => Err(why),
        };
        if let Err(why) = begun {
            tracing::warn!("traces can't be sent yet: {why}");
        }
    }

    /// Sends what is left when the node stops, as far as that is quick.
    pub async fn send_last(&self) {
        if self.otlp.endpoint.is_none() {
            return;
        }
        // What was not sent is sent by the next node.
        let sent = tokio::time::timeout(LAST, self.send(view::now())).await;
        if !matches!(sent, Ok(Ok(_))) {
            tracing::warn!("traces were not all sent; the next node sends the rest");
        }
    }

    async fn send(&self, now: Millis) -> Result<Json, String> {
        let mut turn = self.turn.lock().await;
        let last = self.views.last_event().await.map_err(|e| e.to_string())?;
        let mut kept = self.kept(last).await?;
        self.note(|status| status.behind = last - kept.after);
        if let Some((until, _)) = turn.pause.filter(|(until, _)| *until > now) {
            let until = until.to_string();
            return Ok(json!({"sent": 0, "behind": last - kept.after, "paused_until": until}));
        }
        let mut sent = 0;
        loop {
            if turn.waiting.is_none() {
                turn.waiting = self.next(&mut turn.follower, kept.after, last).await?;
            }
            let Some((end, spans)) = &mut turn.waiting else { break };
            let end = *end;
            match self.deliver(spans).await {
                Ok(taken) => sent += taken,
                Err(refused) => return Err(self.refused(&mut turn, now, last, refused)),
            }
            (turn.waiting, turn.pause) = (None, None);
            kept = Kept::after(end);
            self.keep(&kept).await?;
            self.note(|status| {
                (status.behind, status.error) = (last.saturating_sub(end), None);
            });
        }
        Ok(json!({"sent": sent, "behind": last.saturating_sub(kept.after)}))
    }

    /// The spans of what happened next, and the last event that they are made of.
    async fn next(
        &self,
        follower: &mut Follower,
        after: u64,
        last: u64,
    ) -> Result<Option<(u64, VecDeque<Json>)>, String> {
        if after >= last {
            return Ok(None);
        }
        let rows = self.views.events(after, PART, PART_EVENTS).await.map_err(|e| e.to_string())?;
        let Some(end) = rows.last().map(|row| row.seq) else { return Ok(None) };
        let spans = follower.follow(&rows).await.map_err(|failure| failure.message)?;
        if spans.is_empty() {
            return Ok(Some((end, VecDeque::new())));
        }
        let redactor = self.secrets.redactor();
        let redact = |text: &str| redactor.text(text).into_owned();
        let spans = spans.iter().map(|span| otlp::span(span, &redact)).collect();
        Ok(Some((end, spans)))
    }

    /// Sends spans, and takes out of them what needs not be sent again; answers how many.
    async fn deliver(&self, spans: &mut VecDeque<Json>) -> Result<u64, Refused> {
        let mut sent = 0;
        while !spans.is_empty() {
            let count = fitting(spans);
            let part = spans.make_contiguous();
            let body = otlp::request(&self.resource, &part[..count]).to_string().into_bytes();
            let taken = self.collector.send(&self.target()?, body).await;
            let all = count as u64;
            match taken {
                Ok(taken) => {
                    let rejected = taken.rejected.min(all);
                    if rejected > 0 {
                        tracing::warn!(rejected, "the collector rejected spans: {}", taken.message);
                    }
                    sent += all - rejected;
                    self.note(|status| {
                        status.sent += all - rejected;
                        status.dropped += rejected;
                    });
                }
                Err(Refused::Never(why)) => {
                    tracing::error!(spans = all, "the collector will never take some spans: {why}");
                    self.note(|status| {
                        status.dropped += all;
                        status.failures += 1;
                    });
                }
                Err(later) => return Err(later),
            }
            spans.drain(..count);
        }
        Ok(sent)
    }

    fn target(&self) -> Result<Target, Refused> {
        let mut headers = BTreeMap::new();
        for (name, value) in &self.otlp.headers {
            let value = match value {
                Secretive::Plain(text) => text.clone(),
                Secretive::Secret(secret) => {
                    let missing = || Refused::Later {
                        why: format!("there is no secret {secret} for the header {name}"),
                        after: None,
                    };
                    self.secrets.get(secret.as_str()).ok_or_else(missing)?.trim().to_owned()
                }
            };
            headers.insert(name.clone(), value);
        }
        headers.extend(self.headers.clone());
        Ok(Target {
            endpoint: self.otlp.endpoint.clone().unwrap_or_default(),
            exact: self.otlp.exact,
            headers,
            timeout: self.otlp.timeout.to_std(),
        })
    }

    /// The collector is left alone for a while: as long as it says, or longer each time.
    fn refused(&self, turn: &mut Turn, now: Millis, last: u64, refused: Refused) -> String {
        let times = turn.pause.map_or(0, |(_, times)| times);
        let doubled = Span(PAUSE_MIN.0 << times.min(10)).min(PAUSE_MAX);
        let pause = match &refused {
            Refused::Later { after: Some(after), .. } => *after,
            _ => doubled,
        };
        turn.pause = Some((now.after(pause), times + 1));
        let mut redacted = json!(refused.to_string());
        self.secrets.redact(&mut redacted);
        let why = redacted.as_str().unwrap_or_default().to_owned();
        self.note(|status| {
            status.failures += 1;
            status.error = Some(why.clone());
        });
        let behind = self.status().map_or(last, |status| status.behind);
        format!("the collector of traces doesn't take them: {why}; {behind} events wait")
    }

    /// How far traces have been sent. Nothing is sent of what was before the first time.
    async fn kept(&self, last: u64) -> Result<Kept, String> {
        let state = self.state.clone();
        let read = tokio::task::spawn_blocking(move || Kept::read(&state)).await;
        let read = read.map_err(|e| e.to_string())?.map_err(|failure| failure.message)?;
        match read {
            Some(kept) if kept.after <= last => Ok(kept),
            // There is none, or the store was put back from an older backup.
            _ => {
                let kept = Kept::after(last);
                self.keep(&kept).await?;
                Ok(kept)
            }
        }
    }

    async fn keep(&self, kept: &Kept) -> Result<(), String> {
        let (state, kept) = (self.state.clone(), kept.clone());
        let written = tokio::task::spawn_blocking(move || kept.write(&state)).await;
        written.map_err(|e| e.to_string())?.map_err(|e| format!("traces: {e}"))
    }
}

/// How many of the first spans fit into a request; at least one.
fn fitting(spans: &VecDeque<Json>) -> usize {
    let mut bytes = 0;
    let fits = |span: &&Json| {
        bytes += span.to_string().len();
        bytes <= BYTES_MAX
    };
    spans.iter().take(SPANS_MAX).take_while(fits).count().max(1)
}

/// The job.
pub struct Traces(pub Arc<Sending>);

#[async_trait]
impl Job for Traces {
    async fn activate(&self, at: Instants) -> Result<Json, String> {
        if self.0.otlp.endpoint.is_some() {
            return self.0.send(at.engine).await;
        }
        let state = self.0.state.clone();
        let removed = tokio::task::spawn_blocking(move || Kept::remove(&state)).await;
        removed.map_err(|e| e.to_string())?.map_err(|e| format!("traces: {e}"))?;
        Ok(json!({"sent": 0}))
    }
}
