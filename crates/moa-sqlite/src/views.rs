//! The read side: queries on read-only connections, each with a thread of its own that is started
//! when it is needed and ends when it has had nothing to do for a while.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moa_ports::store::Error as StoreError;
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::error::{Error, Fail, Verdict};
use crate::schema;
use crate::writer::Health;

/// Threads that read at once.
const READERS_MAX: usize = 3;
/// How long a thread waits for the next question before it ends.
const READER_IDLE: Duration = Duration::from_secs(5);

/// A question to a reader: gets a connection, or why there is none.
type Job = Box<dyn FnOnce(&mut Reader) + Send>;

/// Answers questions about the database, for as long as it lives.
#[derive(Clone)]
pub(crate) struct Readers {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    /// Whether a node writes beside us; else the file may be still.
    live: bool,
    health: Arc<Health>,
    jobs: Sender<Job>,
    queue: Arc<Mutex<Receiver<Job>>>,
    waiting: Arc<AtomicUsize>,
    threads: Arc<AtomicUsize>,
}

impl Readers {
    /// Readers of a database to which a writer of ours writes (`live`), or perhaps nobody.
    pub fn new(path: PathBuf, live: bool, health: Arc<Health>) -> Self {
        let (jobs, queue) = channel();
        Self {
            shared: Arc::new(Shared {
                path,
                live,
                health,
                jobs,
                queue: Arc::new(Mutex::new(queue)),
                waiting: Arc::default(),
                threads: Arc::default(),
            }),
        }
    }

    /// The database.
    pub fn path(&self) -> &std::path::Path {
        &self.shared.path
    }

    /// Asks a question on a reader's thread.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> Result<T, Fail> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = &self.shared;
        if let Some(check) = shared.health.damaged() {
            return Err(StoreError::Corrupt(crate::error::damage(&shared.path, &check)));
        }
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |reader| {
            // Who asked may have gone away.
            let _ = answer.send(reader.answer(question));
        });
        let gone = || StoreError::Unavailable("a reader of the store ended".to_owned());
        shared.jobs.send(job).map_err(|_| gone())?;
        shared.start_thread().map_err(|e| StoreError::Unavailable(e.to_string()))?;
        answered.await.map_err(|_| gone())?
    }
}

impl Shared {
    /// Starts one more thread if all are busy and there may be one more.
    fn start_thread(&self) -> std::io::Result<()> {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            return Ok(());
        }
        let more = |n: usize| (n < READERS_MAX).then_some(n + 1);
        if self.threads.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_err() {
            return Ok(());
        }
        let mut reader = Reader {
            path: self.path.clone(),
            live: self.live,
            health: Arc::clone(&self.health),
            conn: None,
        };
        let queue = Arc::clone(&self.queue);
        let waiting = Arc::clone(&self.waiting);
        let threads = Count(Arc::clone(&self.threads));
        let body = move || {
            let _threads = threads;
            loop {
                waiting.fetch_add(1, Ordering::SeqCst);
                let next =
                    queue.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(READER_IDLE);
                waiting.fetch_sub(1, Ordering::SeqCst);
                match next {
                    Ok(job) => job(&mut reader),
                    Err(_) => return,
                }
            }
        };
        std::thread::Builder::new().name("moa-reader".to_owned()).spawn(body)?;
        Ok(())
    }
}

/// Counts a thread down when it ends, however it ends.
struct Count(Arc<AtomicUsize>);

impl Drop for Count {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// One reading thread's connection.
struct Reader {
    path: PathBuf,
    live: bool,
    health: Arc<Health>,
    /// The connection, and whether it takes the file for still.
    conn: Option<(Connection, bool)>,
}

impl Reader {
    fn answer<T>(
        &mut self,
        question: impl FnOnce(&Connection) -> Result<T, Fail>,
    ) -> Result<T, StoreError> {
        let conn = self.open()?;
        let answer = question(conn);
        answer.map_err(|fail| {
            let verdict = fail.verdict();
            match &verdict {
                Verdict::Corrupt(check) => self.health.damage(check),
                Verdict::Broken(_) => self.conn = None,
                Verdict::Refused(_) | Verdict::Invalid(_) => {}
            }
            verdict.into_error(&self.path)
        })
    }

    /// The connection; a new one when the old one took the file for still and it no longer is.
    fn open(&mut self) -> Result<&Connection, Error> {
        let still = !self.live && !has_log(&self.path);
        let conn = match self.conn.take() {
            Some((conn, was_still)) if was_still == still => conn,
            _ if still => schema::open_still(&self.path)?,
            _ => schema::open_reader(&self.path)?,
        };
        Ok(&self.conn.insert((conn, still)).0)
    }
}

/// Whether there is something in a write-ahead log: a node runs, or was killed.
pub(crate) fn has_log(path: &std::path::Path) -> bool {
    std::fs::metadata(schema::beside(path, "-wal")).is_ok_and(|log| log.len() > 0)
}
