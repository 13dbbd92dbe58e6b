//! The commands' end of the socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use moa_core::alert::Alert;
use moa_core::event::Published;
use moa_core::ids::{Name, RunId};
use moa_core::time::Span;
use moa_core::trigger::{TriggerAnswer, TriggerCommand, TriggerId};
use moa_engine::handle::{Change, ForkRequest, GrantRequest, Started};
use moa_engine::jobs::JobStatus;
use moa_ports::triggers::Posted;
use moa_server::auth::role::Role;
use moa_server::auth::tokens::{Entry, New};
use moa_view::activity::Activity;
use moa_view::fleet::Fleet;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::protocol::{
    NodeInfo, NodeStatus, PROTOCOL, PausedAgent, Reply, Request, Rotated, RuleDone, RuleRequest,
    SecretLine, SecretText, StartRun,
};
use super::{REPLY_BYTES_MAX, read_line, socket};
use crate::exit::{Exit, Failure, Result};
use crate::remote::Remote;

/// How long a node may take to greet; it may be opening a large store.
const HELLO_WAIT: Duration = Duration::from_secs(5);

/// A connection to a running node: to its socket, or to its API where it is elsewhere.
pub struct Client {
    link: Link,
    /// Which node it is; one elsewhere is not asked.
    pub node: NodeInfo,
    /// Whether something was asked and not answered.
    broken: bool,
}

enum Link {
    Socket(Box<Socket>),
    Api(Remote),
}

struct Socket {
    read: BufReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
}

impl Client {
    /// Connects to the node of a project; `None` when none runs. `state` is the `.moa` folder.
    pub async fn connect(state: &Path) -> Result<Option<Self>> {
        let Some(path) = socket::find(state) else { return Ok(None) };
        let stream = match UnixStream::connect(&path).await {
            Ok(stream) => stream,
            // Nobody listens, or whoever did was just ending.
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::NotFound
                        | io::ErrorKind::ConnectionRefused
                        | io::ErrorKind::ConnectionReset
                ) =>
            {
                return Ok(None);
            }
            Err(e) => {
                return Err(Failure::io(format!("can't connect to {}", path.display()), &e));
            }
        };
        let (read, write) = stream.into_split();
        let socket = Socket { read: BufReader::new(read), write };
        let mut client = Self::new(Link::Socket(Box::new(socket)));
        let hello = client.ask(&Request::Hello { protocol: PROTOCOL });
        let said = tokio::time::timeout(HELLO_WAIT, hello).await.map_err(|_| {
            Failure::new(Exit::Unavailable, "the node of this project doesn't answer")
                .hint(format!("see {}", state.join("log/moa.log").display()))
        })?;
        let reply = match said {
            // It was just ending, and took no more connections than it had.
            Err(_) if client.broken => return Ok(None),
            said => said?,
        };
        match reply {
            Reply::Hello(node) => client.node = node,
            other => return Err(unexpected(&other)),
        }
        Ok(Some(client))
    }

    /// A node elsewhere, which serves its project for good.
    pub fn of(remote: Remote) -> Self {
        Self::new(Link::Api(remote))
    }

    fn new(link: Link) -> Self {
        let node = NodeInfo {
            protocol: 0,
            moa: String::new(),
            pid: 0,
            node: moa_core::ids::NodeId(0),
            started_at: moa_core::time::Millis(0),
            transient: false,
        };
        Self { link, node, broken: false }
    }

    fn api(&self) -> Option<&Remote> {
        match &self.link {
            Link::Socket(_) => None,
            Link::Api(remote) => Some(remote),
        }
    }

    /// Whether the node is there for another command, and ends with that.
    pub fn is_passing(&self) -> bool {
        self.node.transient && self.node.pid != std::process::id()
    }

    /// Whether the node has gone without an answer: what was asked for may have been done.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Starts a run; also answers diagnostics when a broken edit was passed over.
    pub async fn start(&mut self, start: StartRun) -> Result<(Started, Option<String>)> {
        if let Some(remote) = self.api() {
            return remote.start(start).await;
        }
        match self.ask(&Request::Start(Box::new(start))).await? {
            Reply::Started { outcome, warning } => Ok((outcome, warning)),
            other => Err(unexpected(&other)),
        }
    }

    /// Repeats a run in part.
    pub async fn fork(&mut self, fork: ForkRequest) -> Result<RunId> {
        if let Some(remote) = self.api() {
            return remote.fork(fork).await;
        }
        match self.ask(&Request::Fork(Box::new(fork))).await? {
            Reply::Forked { run } => Ok(run),
            other => Err(unexpected(&other)),
        }
    }

    /// Changes a run.
    pub async fn change(&mut self, run: RunId, change: Change) -> Result<()> {
        if let Some(remote) = self.api() {
            return remote.change(run, change).await;
        }
        match self.ask(&Request::Change { run, change }).await? {
            Reply::Changed => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Does something with a trigger.
    pub async fn trigger(
        &mut self,
        trigger: TriggerId,
        command: TriggerCommand,
    ) -> Result<TriggerAnswer> {
        if let Some(remote) = self.api() {
            return remote.trigger(trigger, command).await;
        }
        match self.ask(&Request::Trigger { trigger, command }).await? {
            Reply::Triggered { answer } => Ok(*answer),
            other => Err(unexpected(&other)),
        }
    }

    /// Publishes an event; answers its number, and whether it is new.
    pub async fn publish(&mut self, event: Published) -> Result<Posted> {
        if let Some(remote) = self.api() {
            return remote.publish(event).await;
        }
        match self.ask(&Request::Publish { event: Box::new(event) }).await? {
            Reply::Published(posted) => Ok(posted),
            other => Err(unexpected(&other)),
        }
    }

    /// Does something with a rule.
    pub async fn rule(&mut self, request: RuleRequest) -> Result<RuleDone> {
        if let Some(remote) = self.api() {
            return remote.rule(request).await;
        }
        match self.ask(&Request::Rule(request)).await? {
            Reply::Rule(done) => Ok(done),
            other => Err(unexpected(&other)),
        }
    }

    /// Lets an agent take no new task, or take them again; answers whether it was otherwise before.
    pub async fn switch_agent(&mut self, agent: Name, paused: Option<PausedAgent>) -> Result<bool> {
        if let Some(remote) = self.api() {
            return remote.switch_agent(&agent, paused).await;
        }
        match self.ask(&Request::Agent { agent, paused }).await? {
            Reply::AgentSwitched { changed } => Ok(changed),
            other => Err(unexpected(&other)),
        }
    }

    /// Adds to the budget of an agent.
    pub async fn grant(&mut self, request: GrantRequest) -> Result<()> {
        if let Some(remote) = self.api() {
            return remote.grant(request).await;
        }
        match self.ask(&Request::Grant(request)).await? {
            Reply::Changed => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Deletes the file of a workflow; answers how many runs of it have not ended.
    pub async fn delete_workflow(&mut self, workflow: Name, keep_open_runs: bool) -> Result<usize> {
        if let Some(remote) = self.api() {
            return remote.delete_workflow(&workflow, keep_open_runs).await;
        }
        match self.ask(&Request::Delete { workflow, keep_open_runs }).await? {
            Reply::Deleted { open_runs } => Ok(open_runs),
            other => Err(unexpected(&other)),
        }
    }

    /// Calls a webhook again whose receiver was gone; answers whether it was.
    pub async fn enable_webhook(&mut self, webhook: Name) -> Result<bool> {
        if let Some(remote) = self.api() {
            return remote.enable_webhook(&webhook).await;
        }
        match self.ask(&Request::EnableWebhook { webhook }).await? {
            Reply::WebhookEnabled { changed } => Ok(changed),
            other => Err(unexpected(&other)),
        }
    }

    /// Has a run executed that is there already, also by a node that was started for another one.
    pub async fn serve(&mut self, run: RunId) -> Result<()> {
        match self.ask(&Request::Serve { run }).await? {
            Reply::Changed => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// What the node is doing.
    pub async fn status(&mut self) -> Result<NodeStatus> {
        if let Some(remote) = self.api() {
            return remote.status().await;
        }
        match self.ask(&Request::Status).await? {
            Reply::Status(status) => Ok(*status),
            other => Err(unexpected(&other)),
        }
    }

    /// What agents do and did.
    pub async fn fleet(&mut self) -> Result<Fleet> {
        match self.ask(&Request::Fleet).await? {
            Reply::Fleet(fleet) => Ok(*fleet),
            other => Err(unexpected(&other)),
        }
    }

    /// What an agent did in a time that ends now.
    pub async fn worked(&mut self, agent: Name, span: Span) -> Result<Activity> {
        if let Some(remote) = self.api() {
            return remote.worked(&agent, span).await;
        }
        match self.ask(&Request::Worked { agent, span }).await? {
            Reply::Worked(activity) => Ok(activity),
            other => Err(unexpected(&other)),
        }
    }

    /// What is known of the internal jobs.
    pub async fn jobs(&mut self) -> Result<Vec<JobStatus>> {
        if let Some(remote) = self.api() {
            return remote.jobs().await;
        }
        match self.ask(&Request::Jobs).await? {
            Reply::Jobs { jobs } => Ok(jobs),
            other => Err(unexpected(&other)),
        }
    }

    /// Notes that somebody has taken notice of an alert; answers it.
    pub async fn acknowledge(
        &mut self,
        key: String,
        by: String,
        note: Option<String>,
    ) -> Result<Alert> {
        if let Some(remote) = self.api() {
            return remote.settle(&key, false, note).await;
        }
        match self.ask(&Request::Acknowledge { key, by, note }).await? {
            Reply::Acknowledged(alert) => Ok(*alert),
            other => Err(unexpected(&other)),
        }
    }

    /// Notes that somebody says an alert is over; answers it.
    pub async fn resolve(
        &mut self,
        key: String,
        by: String,
        note: Option<String>,
    ) -> Result<Alert> {
        if let Some(remote) = self.api() {
            return remote.settle(&key, true, note).await;
        }
        match self.ask(&Request::Resolve { key, by, note }).await? {
            Reply::Acknowledged(alert) => Ok(*alert),
            other => Err(unexpected(&other)),
        }
    }

    /// Does an internal job out of turn; answers when it is done.
    pub async fn run_job(&mut self, name: &str) -> Result<JobStatus> {
        if let Some(remote) = self.api() {
            return remote.run_job(name).await;
        }
        match self.ask(&Request::RunJob { name: name.to_owned() }).await? {
            Reply::JobDone(status) => Ok(*status),
            other => Err(unexpected(&other)),
        }
    }

    /// Makes a link that signs a browser in, once; and a file that leads there, if it is wanted.
    pub async fn sign_in_link(
        &mut self,
        role: Role,
        page: bool,
    ) -> Result<(String, Option<PathBuf>)> {
        match self.ask(&Request::SignIn { role, page, maker: None }).await? {
            Reply::Link { url, page, .. } => Ok((url, page)),
            other => Err(unexpected(&other)),
        }
    }

    /// Makes a token; answers it and its secret, which is kept nowhere.
    pub async fn make_token(&mut self, new: New) -> Result<(Entry, SecretText)> {
        match self.ask(&Request::MakeToken { new }).await? {
            Reply::TokenMade { entry, secret } => Ok((entry, secret)),
            other => Err(unexpected(&other)),
        }
    }

    /// Ends a token or session; answers it.
    pub async fn end_token(&mut self, id: String) -> Result<Entry> {
        match self.ask(&Request::EndToken { id, sign_out: false }).await? {
            Reply::TokenEnded { entry } => Ok(entry),
            other => Err(unexpected(&other)),
        }
    }

    /// How the secrets are.
    pub async fn secrets(&mut self) -> Result<Vec<SecretLine>> {
        if let Some(remote) = self.api() {
            return remote.secrets().await;
        }
        match self.ask(&Request::Secrets).await? {
            Reply::Secrets { secrets } => Ok(secrets),
            other => Err(unexpected(&other)),
        }
    }

    /// Keeps a secret; answers its version, and the source that has it too and is asked before.
    pub async fn set_secret(
        &mut self,
        name: String,
        value: SecretText,
    ) -> Result<(u64, Option<String>)> {
        if let Some(remote) = self.api() {
            return remote.set_secret(&name, value.value()).await;
        }
        match self.ask(&Request::SetSecret { name, value }).await? {
            Reply::SecretSet { version, hidden_by } => Ok((version, hidden_by)),
            other => Err(unexpected(&other)),
        }
    }

    /// Deletes a secret.
    pub async fn delete_secret(&mut self, name: String) -> Result<()> {
        if let Some(remote) = self.api() {
            return remote.delete_secret(&name).await;
        }
        match self.ask(&Request::DeleteSecret { name }).await? {
            Reply::Changed => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Seals all secrets with another key.
    pub async fn rotate_key(&mut self) -> Result<Rotated> {
        if let Some(remote) = self.api() {
            return remote.rotate_key().await;
        }
        match self.ask(&Request::RotateKey).await? {
            Reply::Rotated(rotated) => Ok(rotated),
            other => Err(unexpected(&other)),
        }
    }

    /// Makes the connection a stream of commits.
    pub async fn subscribe(mut self, run: Option<RunId>) -> Result<Hints> {
        if let Some(remote) = self.api() {
            return Ok(Hints(remote.listen(run).await?));
        }
        let reply = self.ask(&Request::Subscribe { run }).await?;
        match (reply, self.link) {
            (Reply::Subscribed, Link::Socket(socket)) => {
                Ok(Hints::listen(socket.read, socket.write))
            }
            (other, _) => Err(unexpected(&other)),
        }
    }

    async fn ask(&mut self, request: &Request) -> Result<Reply> {
        let Link::Socket(socket) = &mut self.link else { return Err(here_only(request)) };
        // It may hold a secret.
        let mut line = serde_json::to_vec(request)
            .map(Zeroizing::new)
            .map_err(|e| Failure::usage(format!("the request can't be written as JSON: {e}")))?;
        line.push(b'\n');
        let gone = |e: io::Error| {
            Failure::new(Exit::Unavailable, format!("the connection to the node broke: {e}"))
                .hint("what was asked for may have been done: look with `moa runs list`")
        };
        self.broken = true;
        socket.write.write_all(&line).await.map_err(gone)?;
        let line = read_line(&mut socket.read, REPLY_BYTES_MAX).await.map_err(gone)?;
        let line = line.ok_or_else(|| gone(io::ErrorKind::UnexpectedEof.into()))?;
        self.broken = false;
        match serde_json::from_slice(&line) {
            Ok(Reply::Error(refusal)) => Err(refusal.into()),
            Ok(reply) => Ok(reply),
            Err(e) => Err(Failure::refused(format!("the node's reply isn't understood: {e}"))
                .hint("is it another version of moa? restart it")),
        }
    }
}

/// What the API has no path for.
fn here_only(request: &Request) -> Failure {
    let name = serde_json::to_value(request).ok();
    let name = name.and_then(|v| v["op"].as_str().map(str::to_owned)).unwrap_or_default();
    Failure::refused(format!("a node elsewhere can't be asked for that ({name})"))
        .hint("do it on its machine, in the folder of its project")
}

fn unexpected(reply: &Reply) -> Failure {
    let name = serde_json::to_value(reply).ok();
    let name = name.and_then(|v| v["reply"].as_str().map(str::to_owned)).unwrap_or_default();
    Failure::refused(format!("the node gave an unexpected reply ({name})"))
        .hint("is it another version of moa? restart it")
}

/// Tells that something was committed; says nothing of what: the store knows.
pub struct Hints(watch::Receiver<()>);

impl Hints {
    fn listen(mut read: BufReader<OwnedReadHalf>, write: OwnedWriteHalf) -> Self {
        let (sender, receiver) = watch::channel(());
        tokio::spawn(async move {
            // Closing the write half would end the stream.
            let _open = write;
            while let Ok(Some(_)) = read_line(&mut read, REPLY_BYTES_MAX).await {
                if sender.send(()).is_err() {
                    return;
                }
            }
        });
        Self(receiver)
    }

    /// Waits for something new since the last call; false when the node is gone.
    pub async fn changed(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}
