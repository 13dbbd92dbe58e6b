//! The API and the dashboard of a node, on threads of their own: whoever asks much of them holds up
//! neither the local socket nor the supervisor.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use moa_connectors::StateFiles;
use moa_core::agent::AgentSpec;
use moa_core::alert::{Alert, Book};
use moa_core::event::Published;
use moa_core::ids::{Name, RunId};
use moa_core::schedule::Zone;
use moa_core::time::{Millis, Span};
use moa_core::trigger::{TriggerAnswer, TriggerCommand, TriggerId};
use moa_core::workflow::{ParamSpec, Plan};
use moa_engine::audit::{Actor, Came, Deed};
use moa_engine::handle::{Change, Committed, ForkRequest, GrantRequest, Started};
use moa_engine::jobs::JobStatus;
use moa_engine::meter::Meter;
use moa_engine::series::Series;
use moa_ports::artifacts::ArtifactHash;
use moa_ports::store::WorkflowVersion;
use moa_ports::triggers::{Posted, TriggerRow};
use moa_ports::views::Views;
use moa_server::auth::Asker;
use moa_server::auth::links::Grant;
use moa_server::auth::refusals::Refusal;
use moa_server::auth::tokens::{Entry, New};
use moa_server::control::{
    AgentTest, AgentTried, Archive, AttemptLog, Control, Drawing, Edit, Expect, Fault, FileOf,
    FileWorkflow, Hook, LastTest, LogPart, Open, Removal, SavedView,
};
use moa_server::serve::{self, Serving, Waits};
use moa_server::tls::Tls;
use moa_server::{App, SignIn};
use moa_spec::{ParamError, Subscription};
use moa_view::activity::Activity;
use moa_view::audit::Verdict;
use moa_view::compare::Hide;
use moa_view::fleet::Fleet;
use moa_view::node::{ChannelLine, Holds, Rotated};
use moa_view::rows::ProjectFile;
use moa_view::target::{Production, Setting};
use moa_view::trigger::Known;
use serde_json::{Map, Value as Json, json};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use super::backups::Waiting;
use super::came::{edited, removed, tried};
use super::issuers::Issuers;
use super::{Node, aside, edit};
use crate::audit::{anchor, verify};
use crate::channels;
use crate::config::Config;
use crate::control::protocol::{
    NodeStatus, PausedAgent, Reply, Request, RuleDone, RuleRequest, SecretLine, SecretText,
    StartRun,
};
use crate::control::server;
use crate::exit::{Exit, Failure, Result};
use crate::metrics::Counters;
use crate::node::threads::Threads;
use crate::project::{self, Layout};
use crate::refresh::Watched;
use crate::wire;

/// How long an issuer of JWTs or a provider may take to answer.
const ISSUER_WAIT: Duration = Duration::from_secs(10);

/// A server that runs.
pub struct Http {
    /// Where it listens.
    pub address: SocketAddr,
    /// What signs browsers in.
    pub sign_in: SignIn,
    stop: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
    /// Dropped with it.
    _threads: Threads,
}

impl Http {
    /// Serves a node.
    pub fn start(
        listener: TcpListener,
        tls: Option<Tls>,
        node: &Arc<Node>,
        layout: &Layout,
        config: &Config,
    ) -> Result<Self> {
        let server = &config.settings.server;
        let wait = test_wait().map_or(ISSUER_WAIT, |wait| wait.min(ISSUER_WAIT));
        let issuers = Issuers::new(layout, server, &node.secrets, wait)?;
        let waits = test_wait().map_or(Waits::default(), Waits::all);
        let make = || {
            let address = listener.local_addr()?;
            listener.set_nonblocking(true)?;
            Ok((address, Threads::new()?))
        };
        let (address, threads) = make().map_err(|e| Failure::io("can't start the server", &e))?;
        let folder = layout.root.file_name().map(|name| name.to_string_lossy().into_owned());
        let options = moa_server::Options {
            project: config.settings.name.clone().or(folder).unwrap_or_else(|| "moa".into()),
            state: layout.state(),
            address,
            hosts: server.hosts.clone(),
            public_url: server.public_url.clone(),
            requests_per_second: server.requests_per_second,
            tls: tls.is_some(),
            waits,
            jwt: issuers.jwt,
            oidc: issuers.oidc,
            listeners: threads.listeners().clone(),
        };
        let reports = PathBuf::from(&config.settings.health.folder);
        let channels = channels::lines(&config.settings.notify.channels);
        let (zone, config) = (config.settings.timezone.clone(), node.config(config));
        let (mine, layout) = (node.clone(), layout.clone());
        let served = Served { node: mine, layout, config, channels, reports, zone };
        let (stop, stopped) = watch::channel(false);
        let app = App::new(options, Arc::new(served), stopped.clone());
        let sign_in = app.sign_in();
        let (router, listeners) = (app.router(), threads.listeners().clone());
        let serving = Serving { router, tls, waits, listeners, stop: stopped };
        let task = threads.requests().spawn(async move {
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => {
                    let served = serve::serve(listener, connections_max(), serving);
                    // What is being written down is not cut off by the end.
                    tokio::join!(served, app.write_refusals());
                    app.last_refusals().await;
                }
                Err(error) => tracing::error!(%error, "the server can't start"),
            }
        });
        tracing::info!(%address, "the API is served");
        Ok(Self { address, sign_in, stop, task: Some(task), _threads: threads })
    }

    /// Stops it; requests under way get a short time to end.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        if let Some(task) = self.task.take() {
            // It may have failed; it is over in any case.
            let _ = task.await;
        }
    }
}

/// Connections at once; fewer where a test can't open that many.
fn connections_max() -> usize {
    let wanted = std::env::var("MOA_TEST_SERVER_CONNECTIONS").ok();
    wanted.and_then(|text| text.parse().ok()).unwrap_or(serve::CONNECTIONS_MAX)
}

/// How long a test wants others to be waited for.
fn test_wait() -> Option<Duration> {
    let wanted = std::env::var("MOA_TEST_SERVER_WAIT_MS").ok()?;
    wanted.parse().ok().map(Duration::from_millis)
}

/// A node as its server sees it.
struct Served {
    node: Arc<Node>,
    layout: Layout,
    config: Vec<Setting>,
    channels: Vec<ChannelLine>,
    /// The folder of the health reports.
    reports: PathBuf,
    zone: Zone,
}

impl Served {
    /// Does what the local socket does for such a request, and writes it down as it does.
    async fn act(&self, request: Request) -> Result<Reply> {
        let (node, actor) = (self.node.clone(), actor());
        to_the_end(async move { server::act(&node, &actor, request).await }).await
    }

    /// Has an agent make an attempt outside of any run, and writes that down.
    async fn tried(&self, deed: Deed, asked: AgentTest) -> Result<AgentTried> {
        let (node, layout, actor) = (self.node.clone(), self.layout.clone(), actor());
        to_the_end(async move {
            let work = node.test_agent(&layout, asked);
            node.audit().act(&actor, deed, work, tried).await
        })
        .await
    }

    /// What the files of the project say by now.
    async fn looked(&self) -> Result<Arc<Node>> {
        let node = self.node.clone();
        to_the_end(async move {
            let mut watched = node.watched.lock().await;
            node.look(&mut watched).await?;
            drop(watched);
            Ok(node)
        })
        .await
    }

    /// What is to be done with a file, as the audit log tells it.
    fn deed(&self, file: &FileOf, [of_workflow, of_agent]: [&'static str; 2]) -> Deed {
        let before = edit::read(&self.layout, file).map(|(_, tag)| tag);
        let action = match file {
            FileOf::Workflow(_) => of_workflow,
            FileOf::Agent(_) => of_agent,
        };
        Deed::new(action, file.name().as_str()).before(json!({"tag": before}))
    }

    /// Does something with files where it holds nobody up.
    async fn with_files<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Layout) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let layout = self.layout.clone();
        aside(move || work(&layout)).await
    }

    /// Workflows with the texts of their files, and without the secrets in what is wrong with them.
    async fn with_texts(&self, mut found: Vec<FileWorkflow>) -> Result<Vec<FileWorkflow>> {
        let problems = found.iter_mut().map(|one| std::mem::take(&mut one.problems)).collect();
        let problems = Node::redacted_problems(self.node.clone(), problems).await?;
        for (one, problems) in found.iter_mut().zip(problems) {
            one.problems = problems;
        }
        self.with_files(|layout| Ok(found.into_iter().map(|one| with_file(layout, one)).collect()))
            .await
    }
}

/// A workflow of the files as they were looked at last, but for its text.
fn known(watched: &Watched, name: &Name) -> Option<FileWorkflow> {
    let served = watched.project.workflows.get(name);
    let broken = watched.broken.contains(name);
    (broken || served.is_some()).then(|| FileWorkflow {
        name: name.clone(),
        file: None,
        served: served.map(|w| (w.plan.clone(), w.source.text.clone())),
        broken,
        problems: watched.problems.of_workflow(name).json(),
    })
}

/// The same with the text of its file, which is read without the lock of the project.
fn with_file(layout: &Layout, workflow: FileWorkflow) -> FileWorkflow {
    FileWorkflow { file: edit::read(layout, &FileOf::Workflow(workflow.name.clone())), ..workflow }
}

#[async_trait]
impl Control for Served {
    fn zone(&self) -> Zone {
        self.zone.clone()
    }

    fn views(&self) -> Arc<dyn Views> {
        self.node.views.clone()
    }

    async fn start_run(&self, start: StartRun) -> Result<(Started, Option<String>)> {
        match self.act(Request::Start(Box::new(start))).await? {
            Reply::Started { outcome, warning } => Ok((outcome, warning)),
            _ => Err(unexpected()),
        }
    }

    async fn fork(&self, fork: ForkRequest) -> Result<RunId> {
        match self.act(Request::Fork(Box::new(fork))).await? {
            Reply::Forked { run } => Ok(run),
            _ => Err(unexpected()),
        }
    }

    async fn change(&self, run: RunId, change: Change) -> Result<()> {
        self.act(Request::Change { run, change }).await.map(drop)
    }

    async fn trigger(&self, trigger: TriggerId, command: TriggerCommand) -> Result<TriggerAnswer> {
        match self.act(Request::Trigger { trigger, command }).await? {
            Reply::Triggered { answer } => Ok(*answer),
            _ => Err(unexpected()),
        }
    }

    async fn occurrences_age(&self) -> Result<Option<Span>> {
        let node = self.looked().await?;
        Ok(node.watched.lock().await.project.settings.retention.occurrences.age)
    }

    async fn rule(&self, request: RuleRequest) -> Result<RuleDone> {
        match self.act(Request::Rule(request)).await? {
            Reply::Rule(done) => Ok(done),
            _ => Err(unexpected()),
        }
    }

    fn rule_document(&self, rule: &Known) -> Json {
        crate::triggers::rule_json(rule, crate::view::now())
    }

    async fn secrets(&self) -> Result<Vec<SecretLine>> {
        let node = self.node.clone();
        to_the_end(async move { node.secrets().await }).await
    }

    async fn set_secret(
        &self,
        name: String,
        value: Zeroizing<String>,
    ) -> Result<(u64, Option<String>)> {
        match self.act(Request::SetSecret { name, value: SecretText::new(value) }).await? {
            Reply::SecretSet { version, hidden_by } => Ok((version, hidden_by)),
            _ => Err(unexpected()),
        }
    }

    async fn delete_secret(&self, name: String) -> Result<()> {
        self.act(Request::DeleteSecret { name }).await.map(drop)
    }

    async fn rotate_key(&self) -> Result<Rotated> {
        match self.act(Request::RotateKey).await? {
            Reply::Rotated(rotated) => Ok(rotated),
            _ => Err(unexpected()),
        }
    }

    async fn backup(&self, holds: Holds) -> Result<Archive> {
        let (node, layout, actor) = (self.node.clone(), self.layout.clone(), actor());
        let (_waiting, wanted) = Waiting::new();
        to_the_end(async move { node.backup(&actor, layout, holds, wanted).await }).await
    }

    async fn verify_audit(&self) -> Result<Verdict> {
        let (layout, views) = (self.layout.clone(), self.node.views.clone());
        let folder = self.reports.clone();
        to_the_end(async move {
            let anchors = anchor::all(&layout.root, &layout.state(), &folder);
            verify::log(Some(&*views), anchors).await
        })
        .await
    }

    async fn switch_agent(&self, agent: Name, paused: Option<PausedAgent>) -> Result<bool> {
        match self.act(Request::Agent { agent, paused }).await? {
            Reply::AgentSwitched { changed } => Ok(changed),
            _ => Err(unexpected()),
        }
    }

    async fn grant(&self, request: GrantRequest) -> Result<()> {
        match self.act(Request::Grant(request)).await? {
            Reply::Changed => Ok(()),
            _ => Err(unexpected()),
        }
    }

    async fn put_file(&self, file: FileOf, text: String, expect: Expect) -> Result<Edit> {
        let asked = json!({"bytes": text.len(), "tag": edit::tag(text.as_bytes())});
        let deed = self.deed(&file, ["workflow.put", "agent.put"]).asked(asked);
        let (node, layout, actor) = (self.node.clone(), self.layout.clone(), actor());
        to_the_end(async move {
            let work = node.put_file(&layout, &file, text, &expect);
            node.audit().act(&actor, deed, work, edited).await
        })
        .await
    }

    async fn delete_file(&self, file: FileOf, expect: Expect, open: Open) -> Result<Removal> {
        let asked = json!({"keep_open_runs": open == Open::Keep});
        let deed = self.deed(&file, ["workflow.delete", "agent.delete"]).asked(asked);
        let (node, actor) = (self.node.clone(), actor());
        to_the_end(async move {
            let work = node.delete_file(&file, &expect, open);
            node.audit().act(&actor, deed, work, removed).await
        })
        .await
    }

    async fn file(&self, file: FileOf) -> Result<Option<(String, String)>> {
        self.with_files(move |layout| Ok(edit::read(layout, &file))).await
    }

    async fn test_agent(&self, asked: AgentTest) -> Result<AgentTried> {
        let deed = Deed::new("agent.test", asked.agent.as_str());
        let deed = deed.asked(json!({"action": asked.action, "params": asked.params}));
        self.tried(deed, asked).await
    }

    fn channels(&self) -> Vec<ChannelLine> {
        self.channels.clone()
    }

    async fn test_channel(&self, channel: Name, message: String, by: String) -> Result<AgentTried> {
        let mut known = self.channels.iter().map(|line| &line.channel);
        if !known.clone().any(|name| *name == channel) {
            return Err(channels::unknown(&channel, &mut known));
        }
        let params = channels::params_of_test(&channel, &message);
        let Json::Object(params) = params else { return Err(unexpected()) };
        let agent = Name::new("notify").map_err(|e| Failure::usage(e.to_string()))?;
        let deed = Deed::new("channel.test", channel.as_str()).asked(json!({"message": message}));
        let asked = AgentTest { agent, action: "send".into(), params, timeout: None, by };
        self.tried(deed, asked).await
    }

    async fn agent_tests(&self) -> BTreeMap<Name, LastTest> {
        self.node.agent_tests()
    }

    async fn saved_views(&self) -> Result<BTreeMap<String, SavedView>> {
        let node = self.node.clone();
        aside(move || node.saved().read()).await
    }

    async fn save_view(&self, name: String, view: SavedView) -> Result<bool> {
        let asked = json!({
            "status": view.status, "workflow": view.workflow, "q": view.q, "parent": view.parent,
        });
        let before = self.saved_views().await?.get(&name).map(|view| json!(view));
        let deed = Deed { before, ..Deed::new("view.put", name.as_str()).asked(asked) };
        let (node, actor) = (self.node.clone(), actor());
        let new = |done: &Result<bool>| match done {
            Ok(new) => Came::Done { object: None, after: Some(json!({"new": new})) },
            Err(failure) => Came::Refused(failure.message.clone()),
        };
        to_the_end(async move {
            let keeper = node.clone();
            let work = aside(move || keeper.saved().put(name, view));
            node.audit().act(&actor, deed, work, new).await
        })
        .await
    }

    async fn delete_view(&self, name: String) -> Result<()> {
        let before = self.saved_views().await?.get(&name).map(|view| json!(view));
        let deed = Deed { before, ..Deed::new("view.delete", name.as_str()) };
        let (node, actor) = (self.node.clone(), actor());
        let gone = |done: &Result<()>| match done {
            Ok(()) => Came::Done { object: None, after: None },
            Err(failure) => Came::Refused(failure.message.clone()),
        };
        to_the_end(async move {
            let keeper = node.clone();
            let work = aside(move || keeper.saved().delete(&name));
            node.audit().act(&actor, deed, work, gone).await
        })
        .await
    }

    fn diff(&self, from: &Plan, to: &Plan) -> Json {
        serde_json::to_value(moa_spec::diff(from, to)).unwrap_or_default()
    }

    async fn artifact(&self, hash: ArtifactHash, from: u64, max: usize) -> Result<(Vec<u8>, u64)> {
        self.with_files(move |layout| {
            let files = StateFiles::new(&layout.state());
            files.read_artifact(&hash, from, max).map_err(|e| match e.kind() {
                io::ErrorKind::NotFound => Failure::not_found("the artifact is deleted by now")
                    .hint("`retention.artifacts` in moa.yaml says how long they are kept"),
                io::ErrorKind::InvalidData => Failure::damaged(e, None),
                _ => Failure::io("can't read the artifact", &e),
            })
        })
        .await
    }

    fn webhooks(&self) -> Vec<(Name, Name, Json)> {
        let webhooks = self.node.webhooks();
        let one = |(name, one): (&Name, &Subscription)| {
            let document = serde_json::to_value(one).unwrap_or_default();
            (name.clone(), moa_spec::channel_of(name), document)
        };
        webhooks.iter().map(one).collect()
    }

    fn former_webhook(&self, channel: &str) -> Option<Name> {
        let name = moa_spec::webhook_of(channel)?;
        (!self.node.webhooks().contains_key(&name)).then_some(name)
    }

    async fn gone_webhooks(&self) -> Result<BTreeMap<Name, (Millis, RunId)>> {
        let gone = self.node.gone_webhooks().await?.into_iter();
        Ok(gone.map(|(name, gone)| (name, (gone.since, gone.run))).collect())
    }

    async fn enable_webhook(&self, webhook: Name) -> Result<bool> {
        match self.act(Request::EnableWebhook { webhook }).await? {
            Reply::WebhookEnabled { changed } => Ok(changed),
            _ => Err(unexpected()),
        }
    }

    async fn test_webhook(&self, webhook: Name) -> Result<String> {
        let deed = Deed::new("webhook.test", webhook.as_str());
        let (node, actor) = (self.node.clone(), actor());
        to_the_end(async move {
            let came = |done: &Result<String>| match done {
                Ok(id) => Came::Done { object: None, after: Some(json!({"id": id})) },
                Err(failure) => Came::Refused(failure.message.clone()),
            };
            node.audit().act(&actor, deed, node.test_webhook(&webhook), came).await
        })
        .await
    }

    async fn hooks(&self, workflow: &Name) -> Result<Vec<Hook>> {
        let (node, workflow) = (self.node.clone(), workflow.clone());
        to_the_end(async move { node.hooks(&workflow).await }).await
    }

    async fn hooked(&self, event: String, data: Json, key: String) -> Result<bool> {
        let (node, key, data) = (self.node.clone(), Some(key), Arc::new(data));
        let (source, by) = (Some("/hooks".to_owned()), Some("webhook".to_owned()));
        let event = Published { event, key, source, by, data, ..Published::default() };
        Ok(to_the_end(async move { node.tell(event).await }).await?.new)
    }

    async fn publish(&self, event: Published) -> Result<Posted> {
        match self.act(Request::Publish { event: Box::new(event) }).await? {
            Reply::Published(posted) => Ok(posted),
            _ => Err(unexpected()),
        }
    }

    async fn make_token(&self, new: New) -> Result<(Entry, Zeroizing<String>)> {
        match self.act(Request::MakeToken { new }).await? {
            Reply::TokenMade { entry, secret } => Ok((entry, secret.value().clone())),
            _ => Err(unexpected()),
        }
    }

    async fn end_token(&self, id: &str, sign_out: bool) -> Result<Entry> {
        match self.act(Request::EndToken { id: id.to_owned(), sign_out }).await? {
            Reply::TokenEnded { entry } => Ok(entry),
            _ => Err(unexpected()),
        }
    }

    async fn sign_in_link(&self, grant: Grant) -> Result<String> {
        let Grant { role, maker } = grant;
        match self.act(Request::SignIn { role, page: false, maker }).await? {
            Reply::Link { url, .. } => Ok(url),
            _ => Err(unexpected()),
        }
    }

    async fn note_refusal(&self, refusal: Refusal) -> Result<()> {
        let node = self.node.clone();
        to_the_end(async move {
            let Refusal { asker: Asker { who, from }, action, object, why, times } = refusal;
            let deed = Deed::new(action, object);
            let deed = if times > 1 { deed.asked(json!({"times": times})) } else { deed };
            node.audit().refused(&Actor { who, from }, &deed, why).await?;
            Ok(())
        })
        .await
    }

    async fn refresh(&self) -> Result<Option<String>> {
        let node = self.node.clone();
        to_the_end(async move { node.refresh().await }).await
    }

    async fn status(&self) -> NodeStatus {
        self.node.status().await
    }

    async fn redact(&self, value: Json) -> Json {
        Node::redacted(self.node.clone(), value).await
    }

    async fn redactor(&self) -> Result<Box<Hide>> {
        let redactor = Node::redactor(self.node.clone()).await?;
        Ok(Box::new(move |value| redactor.json(value)))
    }

    async fn redact_version(&self, version: WorkflowVersion) -> Result<WorkflowVersion> {
        Node::redacted_version(self.node.clone(), version).await
    }

    async fn redact_plans(&self, plans: Vec<Plan>) -> Result<Vec<Option<Plan>>> {
        Node::redacted_plans(self.node.clone(), plans).await
    }

    async fn redact_triggers(&self, rows: Vec<TriggerRow>) -> Result<Vec<TriggerRow>> {
        Node::redacted_triggers(self.node.clone(), rows).await
    }

    async fn fleet(&self) -> Fleet {
        self.node.fleet()
    }

    async fn meter(&self) -> Meter {
        self.node.engine.meter().await
    }

    async fn counted(&self) -> Result<BTreeMap<String, f64>> {
        let state = self.layout.state();
        let read = tokio::task::spawn_blocking(move || Counters::read(&state)).await;
        let counters = read.map_err(|e| Failure::new(Exit::Failed, e.to_string()))??;
        Ok(counters.all().map(|(name, counter)| (name.to_owned(), counter.total)).collect())
    }

    async fn production(&self) -> Result<Production> {
        let node = self.node.clone();
        to_the_end(async move { node.production().await }).await
    }

    async fn series(&self) -> Series {
        self.node.series()
    }

    async fn worked(&self, agent: &Name, span: Span) -> Result<Activity> {
        self.node.worked(agent, span).await
    }

    async fn alerts(&self) -> Result<Book> {
        self.node.alerts().await
    }

    async fn acknowledge(&self, key: String, by: String, note: Option<String>) -> Result<Alert> {
        match self.act(Request::Acknowledge { key, by, note }).await? {
            Reply::Acknowledged(alert) => Ok(*alert),
            _ => Err(unexpected()),
        }
    }

    async fn resolve(&self, key: String, by: String, note: Option<String>) -> Result<Alert> {
        match self.act(Request::Resolve { key, by, note }).await? {
            Reply::Acknowledged(alert) => Ok(*alert),
            _ => Err(unexpected()),
        }
    }

    fn config(&self) -> Vec<Setting> {
        self.config.clone()
    }

    async fn is_well(&self) -> bool {
        self.node.is_well().await
    }

    fn subscribe(&self) -> broadcast::Receiver<Arc<Committed>> {
        self.node.subscribe()
    }

    async fn held_back(&self) -> Option<moa_core::time::Millis> {
        let look = |layout: &Layout| Ok(super::triggers::held_back(&layout.state()));
        self.with_files(look).await.ok().flatten()
    }

    fn jobs(&self) -> Vec<JobStatus> {
        self.node.jobs()
    }

    async fn run_job(&self, name: &str) -> Result<JobStatus> {
        match self.act(Request::RunJob { name: name.to_owned() }).await? {
            Reply::JobDone(status) => Ok(*status),
            _ => Err(unexpected()),
        }
    }

    async fn workflows(&self) -> Result<Vec<FileWorkflow>> {
        let node = self.looked().await?;
        let watched = node.watched.lock().await;
        let served = &watched.project.workflows;
        let names = served.keys().chain(watched.broken.iter());
        let names: std::collections::BTreeSet<&Name> = names.collect();
        let found: Vec<_> = names.into_iter().filter_map(|name| known(&watched, name)).collect();
        drop(watched);
        self.with_texts(found).await
    }

    async fn workflow(&self, name: Name) -> Result<Option<FileWorkflow>> {
        let found = known(&*self.looked().await?.watched.lock().await, &name);
        Ok(self.with_texts(found.into_iter().collect()).await?.pop())
    }

    async fn files(&self, settings: bool, whole: bool) -> Result<Vec<ProjectFile>> {
        let node = self.node.clone();
        self.with_files(move |layout| node.files(layout, settings, whole)).await
    }

    async fn check_workflow(&self, name: Name, text: String) -> Result<Vec<Json>> {
        let project = self.looked().await?.watched.lock().await.project.clone();
        let check = move |_: &Layout| Ok(project::check_text(&project, &name, text).json());
        let found = vec![self.with_files(check).await?];
        Ok(Node::redacted_problems(self.node.clone(), found).await?.concat())
    }

    fn check_params(
        &self,
        plan: &Plan,
        params: Map<String, Json>,
        texts: &[(String, String)],
    ) -> Result<Map<String, Json>> {
        project::check_params(plan, params, texts)
    }

    fn check_fields(
        &self,
        fields: &[ParamSpec],
        texts: &[(String, String)],
    ) -> std::result::Result<Map<String, Json>, Vec<Fault>> {
        project::check_fields(fields, texts).map_err(|errors| {
            let fault = |e: ParamError| Fault { message: e.of_field(), field: e.name };
            errors.into_iter().map(fault).collect()
        })
    }

    fn draw(&self, plan: &Plan, language: Drawing) -> String {
        match language {
            Drawing::Mermaid => moa_spec::graph_mermaid(plan),
            Drawing::Dot => moa_spec::graph_dot(plan),
        }
    }

    async fn agents(&self) -> BTreeMap<Name, Arc<AgentSpec>> {
        Node::shown_agents(self.node.clone()).await
    }

    async fn logs(&self, run: RunId) -> Result<Vec<AttemptLog>> {
        let list = move |layout: &Layout| wire::list_logs(layout, run);
        let logs = self.with_files(list).await?;
        let log = |log: wire::LogFile| AttemptLog {
            run,
            step: step_of(&log),
            attempt: log.attempt,
            bytes: log.bytes,
        };
        Ok(logs.into_iter().map(log).collect())
    }

    async fn log_part(&self, log: AttemptLog, from: u64, max: usize) -> Result<LogPart> {
        self.with_files(move |layout| {
            let fits =
                |file: &wire::LogFile| file.attempt == log.attempt && step_of(file) == log.step;
            let file = wire::list_logs(layout, log.run)?.into_iter().find(fits);
            let file = file.ok_or_else(|| Failure::not_found("the log is gone"))?;
            let wire::LogPart { left_out, bytes, next } = wire::read_log(&file.path, from, max)?;
            Ok(LogPart { left_out, bytes, next })
        })
        .await
    }
}

/// Does something to its end, also when nobody waits for it any more: a request is dropped in the
/// middle when its browser goes away.
async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let done = tokio::spawn(work).await;
    done.map_err(|_| Failure::new(Exit::Unavailable, "moa failed on this request"))?
}

/// Who asks for what is being answered.
fn actor() -> Actor {
    match Asker::current() {
        Some(Asker { who, from }) => Actor { who, from },
        None => Actor { who: "the server".into(), from: "itself".into() },
    }
}

fn unexpected() -> Failure {
    Failure::new(Exit::Refused, "the node answers something else")
}

/// The step that a log is of, as people name it.
fn step_of(log: &wire::LogFile) -> String {
    match log.iteration.as_str() {
        "" => log.step.clone(),
        iteration => format!("{}[{iteration}]", log.step),
    }
}
