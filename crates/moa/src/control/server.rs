//! The node's end of the socket.
//!
//! Each connection is a task of the node's own small runtime; the engine has a thread of its own
//! and never waits for one. A client that doesn't read is dropped.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use moa_core::ids::RunId;
use moa_engine::audit::Actor;
use moa_engine::handle::Committed;
use moa_server::auth::links::{Grant, Made};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Semaphore, broadcast};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::protocol::{PROTOCOL, Refusal, Reply, Request, SecretText};
use super::{REQUEST_BYTES_MAX, read_line, socket};
use crate::audit::{self, Subject};
use crate::exit::{Exit, Failure, Result};
use crate::node::Node;

/// Connections at once; each may hold a request of the largest size.
const CONNECTIONS_MAX: usize = 128;
/// How long a new client may take for its first request.
const HELLO_WAIT: Duration = Duration::from_secs(10);
/// How long a client may take to read a reply.
const WRITE_WAIT: Duration = Duration::from_secs(30);

/// A socket that listens, removed when dropped.
pub struct Listener {
    listener: UnixListener,
    path: PathBuf,
}

impl Listener {
    /// Listens for a project. The caller holds the project's lock, so a socket that is there
    /// already was left behind by a node that is gone.
    pub fn bind(state: &Path) -> Result<Self> {
        let make = || {
            let path = socket::choose(state)?;
            match std::fs::remove_file(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
            // The socket must never be open to others, not even for a moment.
            let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
            let bound = UnixListener::bind(&path);
            rustix::process::umask(before);
            Ok(Self { listener: bound?, path })
        };
        make().map_err(|e| Failure::io("can't listen on the local socket", &e))
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Answers clients until dropped.
    pub async fn serve(self, node: Arc<Node>) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let node = node.clone();
                    tokio::spawn(async move {
                        let _place = place;
                        if let Err(error) = converse(stream, &node).await {
                            tracing::debug!(%error, "a connection ended");
                        }
                    });
                }
                Err(error) => {
                    // Out of descriptors, most likely: it may pass.
                    tracing::warn!(%error, "can't accept connections on the local socket");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // It may be gone with its folder.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Whether the other end belongs to the user of this process, or to root.
fn trusted(stream: &UnixStream) -> io::Result<bool> {
    let peer = stream.peer_cred()?.uid();
    Ok(peer == 0 || peer == rustix::process::geteuid().as_raw())
}

async fn converse(stream: UnixStream, node: &Arc<Node>) -> io::Result<()> {
    if !trusted(&stream)? {
        tracing::warn!(uid = stream.peer_cred()?.uid(), "refused a connection of another user");
        return Ok(());
    }
    let peer = stream.peer_cred()?;
    let actor = audit::peer(peer.uid(), peer.pid());
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    let first = timeout(HELLO_WAIT, next(&mut read)).await.map_err(io::Error::from)??;
    match first {
        Some(Ok(Request::Hello { protocol: PROTOCOL })) => {
            send(&mut write, &Reply::Hello(node.info())).await?;
        }
        Some(Ok(Request::Hello { protocol })) => {
            let text = format!(
                "this node speaks version {PROTOCOL} of the protocol, this command {protocol}"
            );
            let hint = "restart the node with the moa that you use";
            return refuse(&mut write, Failure::refused(text).hint(hint)).await;
        }
        Some(Ok(_)) => {
            return refuse(&mut write, Failure::usage("the first request must be hello")).await;
        }
        Some(Err(failure)) => return refuse(&mut write, failure).await,
        None => return Ok(()),
    }
    while let Some(request) = next(&mut read).await? {
        match request {
            Ok(Request::Subscribe { run }) => {
                let commits = node.subscribe();
                send(&mut write, &Reply::Subscribed).await?;
                return stream_commits(read, write, commits, run).await;
            }
            Ok(request) => {
                let reply = act(node, &actor, request).await;
                let reply = reply.unwrap_or_else(|failure| Reply::Error(failure.into()));
                send(&mut write, &reply).await?;
            }
            Err(failure) => return refuse(&mut write, failure).await,
        }
    }
    Ok(())
}

/// The next request; an inner error is one that the client made.
async fn next(read: &mut BufReader<OwnedReadHalf>) -> io::Result<Option<Result<Request>>> {
    match read_line(read, REQUEST_BYTES_MAX).await {
        Ok(None) => Ok(None),
        // It may hold a secret.
        Ok(Some(line)) => Ok(Some(
            serde_json::from_slice(&Zeroizing::new(line))
                .map_err(|e| Failure::usage(format!("the request isn't understood: {e}"))),
        )),
        Err(e) if e.kind() == io::ErrorKind::InvalidData => {
            let text = format!("a request has at most {REQUEST_BYTES_MAX} bytes");
            Ok(Some(Err(Failure::usage(text))))
        }
        Err(e) => Err(e),
    }
}

/// Does what is asked for; what changes something is in the audit log before it is done.
pub async fn act(node: &Arc<Node>, actor: &Actor, mut request: Request) -> Result<Reply> {
    if let Request::Publish { event } = &mut request {
        event.by = Some(actor.who.clone());
    }
    let Some(mut deed) = audit::deed(&request, node.views()).await? else {
        return answer(node, request).await;
    };
    let subject = Subject::of(&request);
    if let Some(subject) = &subject {
        deed.before = subject.state(node).await?;
    }
    let work = async {
        let reply = answer(node, request).await?;
        let then = match (&reply, subject) {
            // What came of it is another run; the one that was repeated is as it was.
            (Reply::Forked { .. }, _) | (_, None) => None,
            // It is done, whether it can be read again or not.
            (_, Some(subject)) => subject.state(node).await.unwrap_or_default(),
        };
        Ok((reply, then))
    };
    node.audit().act(actor, deed, work, audit::came).await.map(|(reply, _)| reply)
}

async fn answer(node: &Arc<Node>, request: Request) -> Result<Reply> {
    Ok(match request {
        Request::Start(start) => {
            let (outcome, warning) = node.start_run(*start).await?;
            Reply::Started { outcome, warning }
        }
        Request::Fork(fork) => Reply::Forked { run: node.fork(*fork).await? },
        Request::Change { run, change } => {
            node.change(run, change).await?;
            Reply::Changed
        }
        Request::Trigger { trigger, command } => {
            Reply::Triggered { answer: Box::new(node.trigger(trigger, command).await?) }
        }
        Request::Publish { event } => Reply::Published(node.publish(*event).await?),
        Request::Rule(request) => Reply::Rule(node.rule(request).await?),
        Request::Agent { agent, paused } => {
            Reply::AgentSwitched { changed: node.switch_agent(agent, paused).await? }
        }
        Request::Grant(request) => {
            node.grant(request).await?;
            Reply::Changed
        }
        Request::Delete { workflow, keep_open_runs } => {
            Reply::Deleted { open_runs: node.delete_workflow(workflow, keep_open_runs).await? }
        }
        Request::EnableWebhook { webhook } => {
            Reply::WebhookEnabled { changed: node.enable_webhook(&webhook).await? }
        }
        Request::Serve { run } => {
            node.serve(run).await?;
            Reply::Changed
        }
        Request::Status => Reply::Status(Box::new(node.status().await)),
        Request::Refresh => Reply::Refreshed { warning: node.refresh().await? },
        Request::Fleet => Reply::Fleet(Box::new(node.fleet())),
        Request::Worked { agent, span } => Reply::Worked(node.worked(&agent, span).await?),
        Request::Jobs => Reply::Jobs { jobs: node.jobs() },
        Request::Acknowledge { key, by, note } => {
            Reply::Acknowledged(Box::new(node.acknowledge(&key, by, note).await?))
        }
        Request::Resolve { key, by, note } => {
            Reply::Acknowledged(Box::new(node.resolve(&key, by, note).await?))
        }
        Request::RunJob { name } => Reply::JobDone(Box::new(node.run_job(&name).await?)),
        Request::SignIn { role, page, maker } => {
            let Made { url, name, page } = node.sign_in_link(Grant { role, maker }, page)?;
            Reply::Link { url, name, page }
        }
        Request::MakeToken { new } => {
            let (entry, secret) = node.make_token(new).await?;
            Reply::TokenMade { entry, secret: SecretText::new(secret) }
        }
        Request::EndToken { id, .. } => Reply::TokenEnded { entry: node.end_token(id).await? },
        Request::Secrets => Reply::Secrets { secrets: node.secrets().await? },
        Request::SetSecret { name, value } => {
            let (version, hidden_by) = node.set_secret(&name, value.value()).await?;
            Reply::SecretSet { version, hidden_by }
        }
        Request::DeleteSecret { name } => {
            node.delete_secret(&name).await?;
            Reply::Changed
        }
        Request::RotateKey => Reply::Rotated(node.rotate_key().await?),
        Request::Hello { .. } | Request::Subscribe { .. } => return Err(greeted()),
    })
}

fn greeted() -> Failure {
    Failure::usage("the connection has greeted already")
}

async fn refuse(write: &mut OwnedWriteHalf, failure: Failure) -> io::Result<()> {
    debug_assert_ne!(failure.exit, Exit::Ok, "a refusal is no success");
    send(write, &Reply::Error(Refusal::from(failure))).await
}

async fn send(write: &mut OwnedWriteHalf, reply: &Reply) -> io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    timeout(WRITE_WAIT, write.write_all(&line)).await.map_err(io::Error::from)?
}

async fn stream_commits(
    mut read: BufReader<OwnedReadHalf>,
    mut write: OwnedWriteHalf,
    mut commits: broadcast::Receiver<Arc<Committed>>,
    run: Option<RunId>,
) -> io::Result<()> {
    loop {
        let reply = tokio::select! {
            // The client sends nothing more: anything here is its end.
            _ = read_line(&mut read, REQUEST_BYTES_MAX) => return Ok(()),
            commit = commits.recv() => match commit {
                Ok(commit) if run.is_none_or(|run| run == commit.run) => {
                    Reply::Event { seq: commit.seq, run: commit.run, version: commit.version }
                }
                Ok(_) => continue,
                Err(RecvError::Lagged(_)) => Reply::Lagged,
                Err(RecvError::Closed) => return Ok(()),
            },
        };
        send(&mut write, &reply).await?;
    }
}
