//! Writes the audit log: who does what, before it is done, and what came of it.
//!
//! Whoever lets people change something does it through [`Audit::act`]: the command socket, an API.
//! An act is begun only when its entry is durable, so there is none without one. What came of it is a
//! second entry, which is durable before the answer is given. Entries of acts that come at the same
//! time share a transaction; the engine's own batches wait for none of it. Absent: who may do what,
//! and the chain itself, which the store keeps ([`moa_ports::audit`]).

use std::future::Future;
use std::sync::Arc;

use moa_core::time::Millis;
use moa_ports::audit::{Act, AuditHead, Phase};
use moa_ports::store::{self, Batch, Store};
use serde_json::{Value as Json, json};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// Entries that wait to be written, at most: whoever comes later waits for a place.
const WAITING_MAX: usize = 1024;
/// Entries of one transaction.
const BATCH_MAX: usize = 256;
/// Bytes of JSON that are kept of how something was before or after.
const DETAIL_BYTES_MAX: usize = 16 << 10;
/// Bytes of the other texts of an entry.
const TEXT_BYTES_MAX: usize = 1024;

/// Who does something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// Who: `unix:1000 (ann)`, `token:ID`.
    pub who: String,
    /// From where: `socket (pid 4711)`, `http 192.0.2.7`.
    pub from: String,
}

impl Actor {
    /// The entry of something that is as good as done: it takes effect with its entry.
    pub fn done(&self, deed: &Deed, at: Millis) -> Act {
        Act { phase: Phase::Done, ..self.asks(deed, at) }
    }

    /// The entry of something that is going to be done.
    fn asks(&self, deed: &Deed, at: Millis) -> Act {
        Act {
            at,
            who: self.who.clone(),
            from: self.from.clone(),
            action: deed.action.to_owned(),
            object: deed.object.clone(),
            phase: Phase::Asked,
            of: None,
            before: deed.before.clone(),
            after: deed.asked.clone(),
            error: None,
        }
    }
}

/// What is going to be done.
#[derive(Debug, Clone, PartialEq)]
pub struct Deed {
    /// What: `run.cancel`.
    pub action: &'static str,
    /// To what.
    pub object: String,
    /// How that is now, as far as it is known.
    pub before: Option<Json>,
    /// What is asked for.
    pub asked: Option<Json>,
}

impl Deed {
    /// One of which nothing more is known.
    pub fn new(action: &'static str, object: impl Into<String>) -> Self {
        Self { action, object: object.into(), before: None, asked: None }
    }

    /// Says how the object is now.
    #[must_use]
    pub fn before(mut self, before: Json) -> Self {
        self.before = Some(before);
        self
    }

    /// Says what is asked for.
    #[must_use]
    pub fn asked(mut self, asked: Json) -> Self {
        self.asked = Some(asked);
        self
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Came {
    /// It is done; how the object is now. The name is another one when it was not known before (of a
    /// run that was started).
    Done {
        /// The object, when that was not known before.
        object: Option<String>,
        /// How it is now.
        after: Option<Json>,
    },
    /// It was refused, or failed: why.
    Refused(String),
}

impl Came {
    /// Done, and nothing more to say.
    pub const DONE: Self = Self::Done { object: None, after: None };
}

/// How an audit log is written.
pub struct Options {
    /// Where to.
    pub store: Arc<dyn Store>,
    /// The wall clock.
    pub clock: Arc<dyn Fn() -> Millis + Send + Sync>,
    /// Takes secrets out of what an entry says.
    pub redact: Arc<dyn Fn(&mut Json) + Send + Sync>,
    /// Told of the newest entry after each transaction.
    pub told: Arc<dyn Fn(AuditHead) + Send + Sync>,
}

/// Where acts are written down; cloning it gives another door to the same log.
#[derive(Clone)]
pub struct Audit {
    entries: mpsc::Sender<Entry>,
    clock: Arc<dyn Fn() -> Millis + Send + Sync>,
    redact: Arc<dyn Fn(&mut Json) + Send + Sync>,
}

/// What writes an audit log.
pub struct Writing {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Writing {
    /// Writes what has come, takes nothing more, and lets go of the store.
    pub async fn end(self) {
        // It may have ended already.
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

/// A text to be written, and who waits for it.
struct Entry {
    body: String,
    reply: oneshot::Sender<Result<u64, store::Error>>,
}

impl Audit {
    /// Starts to write, on the runtime of the caller, until [`Writing::end`].
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn start(options: Options) -> (Self, Writing) {
        let Options { store, clock, redact, told } = options;
        let (entries, queue) = mpsc::channel(WAITING_MAX);
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(write(queue, stopped, store, clock.clone(), told));
        (Self { entries, clock, redact }, Writing { stop, task })
    }

    /// Does something, once it is written down that somebody asked for it; then writes down what
    /// came of it, which `came` tells from the result.
    ///
    /// # Errors
    /// What `work` answers; or, as an error of the store, that the act could not be written down:
    /// then it was not begun. When only the second entry can't be written, that is logged, and the
    /// result is what it was: the act is done.
    pub async fn act<T, E: From<store::Error>>(
        &self,
        actor: &Actor,
        deed: Deed,
        work: impl Future<Output = Result<T, E>>,
        came: impl FnOnce(&Result<T, E>) -> Came,
    ) -> Result<T, E> {
        let asked = self.asked(actor, &deed).await?;
        let result = work.await;
        if let Err(error) = self.ended(actor, &deed, asked, came(&result)).await {
            let (action, object) = (deed.action, &deed.object);
            tracing::error!(%error, action, object, "what came of an act is not in the audit log");
        }
        result
    }

    /// Writes down that somebody asks for something. Answers the entry's number, when it is durable.
    ///
    /// # Errors
    /// The store's: then it must not be done.
    pub async fn asked(&self, actor: &Actor, deed: &Deed) -> Result<u64, store::Error> {
        self.add(actor.asks(deed, (self.clock)())).await
    }

    /// Writes down what came of it.
    ///
    /// # Errors
    /// The store's.
    pub async fn ended(
        &self,
        actor: &Actor,
        deed: &Deed,
        asked: u64,
        came: Came,
    ) -> Result<u64, store::Error> {
        let (phase, object, after, error) = match came {
            Came::Done { object, after } => (Phase::Done, object, after, None),
            Came::Refused(why) => (Phase::Refused, None, None, Some(why)),
        };
        let asks = actor.asks(deed, (self.clock)());
        let object = object.unwrap_or_else(|| deed.object.clone());
        self.add(Act { object, phase, of: Some(asked), before: None, after, error, ..asks }).await
    }

    /// Writes down something that was refused before anything of it was begun.
    ///
    /// # Errors
    /// The store's.
    pub async fn refused(
        &self,
        actor: &Actor,
        deed: &Deed,
        why: String,
    ) -> Result<u64, store::Error> {
        let asks = actor.asks(deed, (self.clock)());
        self.add(Act { phase: Phase::Refused, error: Some(why), ..asks }).await
    }

    async fn add(&self, act: Act) -> Result<u64, store::Error> {
        let gone = |_| store::Error::Unavailable("the audit log is closed".into());
        let body = body_of(act, &*self.redact)?;
        let (reply, answer) = oneshot::channel();
        let sent = self.entries.send(Entry { body, reply }).await;
        sent.map_err(|_| store::Error::Unavailable("the audit log is closed".into()))?;
        answer.await.map_err(gone)?
    }
}

/// An act as text: without secrets, and no longer than an entry may be.
pub fn body_of(act: Act, redact: &dyn Fn(&mut Json)) -> Result<String, store::Error> {
    let wrong = |e: serde_json::Error| store::Error::Invalid(format!("an audit entry: {e}"));
    let cut = |text: String| {
        let mut end = text.len().min(TEXT_BYTES_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        if end < text.len() { format!("{}…", &text[..end]) } else { text }
    };
    let mut act = act;
    // Before anything is cut: what is left of a secret that was cut in two would not be found.
    for detail in [&mut act.before, &mut act.after].into_iter().flatten() {
        redact(detail);
        shorten(detail);
    }
    let mut words = json!([act.who, act.from, act.object, act.error]);
    redact(&mut words);
    let text = |i: usize| words[i].as_str().map(|text| cut(text.to_owned()));
    act.who = text(0).unwrap_or_default();
    act.from = text(1).unwrap_or_default();
    act.object = text(2).unwrap_or_default();
    act.error = text(3);
    serde_json::to_string(&act).map_err(wrong)
}

/// Puts size and hash in the place of what is too large for an entry.
fn shorten(detail: &mut Json) {
    let text = detail.to_string();
    if text.len() > DETAIL_BYTES_MAX {
        let hash = blake3::hash(text.as_bytes()).to_hex();
        *detail = json!({"omitted_bytes": text.len(), "blake3": hash.as_str()});
    }
}

/// Writes what comes, as much at once as there is, until no more can come.
async fn write(
    mut queue: mpsc::Receiver<Entry>,
    mut stopped: oneshot::Receiver<()>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Fn() -> Millis + Send + Sync>,
    told: Arc<dyn Fn(AuditHead) + Send + Sync>,
) {
    let mut entries = Vec::new();
    let mut open = true;
    loop {
        let came = tokio::select! {
            biased;
            came = queue.recv_many(&mut entries, BATCH_MAX) => came,
            // Dropped without a word: it goes on as long as there is a door to it.
            stop = &mut stopped, if open => {
                open = false;
                if stop.is_ok() {
                    queue.close();
                }
                continue;
            }
        };
        if came == 0 {
            return;
        }
        let (audit, replies): (Vec<_>, Vec<_>) =
            entries.drain(..).map(|entry| (entry.body, entry.reply)).unzip();
        let (reply, answer) = oneshot::channel();
        let batch = Batch { now: clock(), audit, ..Batch::default() };
        // The receiver is there until the answer.
        store.commit(batch, Box::new(move |done| drop(reply.send(done))));
        let gone = |_| Err(store::Error::Unavailable("the store is closed".into()));
        let done = answer.await.unwrap_or_else(gone);
        if let Ok(outcome) = &done
            && let Some(head) = outcome.audit.last()
        {
            told(*head);
        }
        for (i, reply) in replies.into_iter().enumerate() {
            let missing = || store::Error::Unknown("the store gave an entry no number".into());
            let number = match &done {
                Ok(outcome) => outcome.audit.get(i).map(|head| head.seq).ok_or_else(missing),
                Err(error) => Err(error.clone()),
            };
            // Whoever asked may have gone.
            let _ = reply.send(number);
        }
    }
}
