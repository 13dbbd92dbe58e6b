//! The read side: queries on read-only connections, each with a thread of its own that is started
//! when it is needed and ends when it has had nothing to do for a while.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use moa_ports::store::Error as StoreError;
use rusqlite::Connection;
use tokio::sync::{Semaphore, oneshot};

use crate::error::{Error, Fail, Verdict};
use crate::schema;
use crate::writer::Health;

/// Threads that read at once.
const READERS_MAX: usize = 3;
/// Questions that wait for a thread at most: who asks more than that is told to come again.
const WAITING_MAX: usize = 1000;
/// Searches that are under way or wait for their turn, at most: each of them takes long.
const SEARCHES_MAX: usize = 9;
/// How long a thread waits for the next question before it ends.
const READER_IDLE: Duration = Duration::from_secs(5);

/// A question, and where its answer goes.
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
    queue: Arc<Queue>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    searches: Searches,
}

/// One search is under way at once, so that whoever reads something else finds a thread.
struct Searches {
    places: Arc<Semaphore>,
    turn: Arc<Semaphore>,
}

impl Default for Searches {
    fn default() -> Self {
        let of = |permits| Arc::new(Semaphore::new(permits));
        Self { places: of(SEARCHES_MAX), turn: of(1) }
    }
}

/// Questions on their way to the threads.
#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Threads that wait for a question.
    waiting: usize,
    /// Threads that have not decided to end.
    alive: usize,
    closed: bool,
}

impl Readers {
    /// Readers of a database to which a writer of ours writes (`live`), or perhaps nobody.
    pub fn new(path: PathBuf, live: bool, health: Arc<Health>) -> Self {
        let (queue, threads, searches) = Default::default();
        Self { shared: Arc::new(Shared { path, live, health, queue, threads, searches }) }
    }

    /// The database.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Asks a question on a reader's thread.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl Fn(&Connection) -> Result<T, Fail> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = &self.shared;
        if let Some(check) = shared.health.damaged() {
            return Err(crate::error::damage(&shared.path, check));
        }
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |reader| {
            // Who asked may have gone away, while it waited or since.
            if !answer.is_closed() {
                let _ = answer.send(reader.answer(question));
            }
        });
        shared.enqueue(job)?;
        let gone = |_| StoreError::Unavailable("a reader of the store ended".to_owned());
        answered.await.map_err(gone)?
    }

    /// Asks a question that takes long, when those before it are answered.
    pub async fn ask_in_turn<T: Send + 'static>(
        &self,
        question: impl Fn(&Connection) -> Result<T, Fail> + Send + 'static,
    ) -> Result<T, StoreError> {
        let Searches { places, turn } = &self.shared.searches;
        let place = places.clone().try_acquire_owned().map_err(|_| StoreError::Busy)?;
        let closed = |_| StoreError::Unavailable("the store is closed".to_owned());
        let turn = turn.clone().acquire_owned().await.map_err(closed)?;
        self.ask(move |conn| {
            // Until it is answered, also when nobody waits for that any more.
            let _held = (&place, &turn);
            question(conn)
        })
        .await
    }

    /// Lets the questions asked so far be answered, and closes every connection.
    pub fn close(&self) {
        self.shared.close();
    }
}

/// The value; what a panic left there is whole, as each change is a single one.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    /// Hands a question to a thread; to a new one if all are busy and there may be one more.
    fn enqueue(&self, job: Job) -> Result<(), StoreError> {
        let mut state = locked(&self.queue.state);
        if state.closed {
            return Err(StoreError::Unavailable("the store is closed".to_owned()));
        }
        if state.jobs.len() >= WAITING_MAX {
            return Err(StoreError::Busy);
        }
        state.jobs.push_back(job);
        if state.jobs.len() > state.waiting && state.alive < READERS_MAX {
            state.alive += 1;
            drop(state);
            let no_thread = |e| StoreError::Unavailable(format!("no thread to read with: {e}"));
            return self.start_thread().map_err(no_thread);
        }
        drop(state);
        self.queue.changed.notify_one();
        Ok(())
    }

    fn start_thread(&self) -> std::io::Result<()> {
        let mut reader = Reader {
            path: self.path.clone(),
            live: self.live,
            health: Arc::clone(&self.health),
            conn: None,
        };
        let mut alive = Alive { queue: Arc::clone(&self.queue), counted: true };
        let body = move || {
            while let Some(job) = alive.queue.next() {
                job(&mut reader);
            }
            alive.counted = false;
        };
        let mut threads = locked(&self.threads);
        threads.retain(|thread| !thread.is_finished());
        threads.push(std::thread::Builder::new().name("moa-reader".to_owned()).spawn(body)?);
        Ok(())
    }

    fn close(&self) {
        locked(&self.queue.state).closed = true;
        self.queue.changed.notify_all();
        let threads = std::mem::take(&mut *locked(&self.threads));
        for thread in threads {
            // The last owner may be who got an answer on a reader's own thread.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

impl Queue {
    /// The next question; `None` when the thread that asks shall end. It is counted down in the
    /// same breath, so that whoever asks next knows that it must start another one.
    fn next(&self) -> Option<Job> {
        let mut state = locked(&self.state);
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if state.closed {
                state.alive -= 1;
                return None;
            }
            state.waiting += 1;
            let waited = self.changed.wait_timeout(state, READER_IDLE);
            let (again, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = again;
            state.waiting -= 1;
            if timeout.timed_out() && state.jobs.is_empty() {
                state.alive -= 1;
                return None;
            }
        }
    }
}

/// Counts a thread down that a panic ends, or that never started.
struct Alive {
    queue: Arc<Queue>,
    counted: bool,
}

impl Drop for Alive {
    fn drop(&mut self) {
        if self.counted {
            locked(&self.queue.state).alive -= 1;
        }
    }
}

/// One reading thread's connection.
struct Reader {
    path: PathBuf,
    live: bool,
    health: Arc<Health>,
    /// The connection; with the file's stamp when it takes the file for still.
    conn: Option<(Connection, Option<Stamp>)>,
}

impl Reader {
    fn answer<T>(
        &mut self,
        question: impl Fn(&Connection) -> Result<T, Fail>,
    ) -> Result<T, StoreError> {
        let before = Stamp::of(&self.path);
        let (conn, still) = self.open()?;
        let mut answer = question(conn);
        if still && (has_log(&self.path) || Stamp::of(&self.path) != before) {
            // A node has started meanwhile: what was read from the file may not fit together.
            let (conn, _) = self.open()?;
            answer = question(conn);
        }
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

    /// The connection, and whether it takes the file for still; a new one when that has changed.
    fn open(&mut self) -> Result<(&Connection, bool), Error> {
        let still = !self.live && !has_log(&self.path);
        let stamp = Stamp::of(&self.path);
        let kept = self.conn.take().filter(|(_, was)| match was {
            Some(was) => still && *was == stamp,
            None => !still,
        });
        let conn = match kept {
            Some((conn, _)) => conn,
            None if still => schema::open_still(&self.path)?,
            None => schema::open_reader(&self.path)?,
        };
        Ok((&self.conn.insert((conn, still.then_some(stamp))).0, still))
    }
}

/// Tells whether a file is still the one that it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    length: u64,
    changed: Option<std::time::SystemTime>,
}

impl Stamp {
    fn of(path: &Path) -> Self {
        let meta = std::fs::metadata(path).ok();
        let length = meta.as_ref().map_or(0, std::fs::Metadata::len);
        Self { length, changed: meta.and_then(|meta| meta.modified().ok()) }
    }
}

/// Whether there is something in a write-ahead log: a node runs, or was killed.
pub(crate) fn has_log(path: &Path) -> bool {
    std::fs::metadata(schema::beside(path, "-wal")).is_ok_and(|log| log.len() > 0)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;
    use crate::{Options, SqliteStore};

    #[test]
    fn so_many_questions_wait_and_no_more() {
        let readers = Readers::new("nowhere".into(), true, Arc::default());
        let (answered, answers) = channel();
        let (hold, held) = channel::<()>();
        let held = Arc::new(Mutex::new(held));
        let ask = |n: usize| {
            let (answered, held) = (answered.clone(), Arc::clone(&held));
            readers.shared.enqueue(Box::new(move |_| {
                answered.send(n).expect("somebody listens");
                // Until the other end is gone.
                let _ = locked(&held).recv();
            }))
        };
        // Each thread takes one, and has it.
        for n in 0..READERS_MAX {
            ask(n).expect("there is room");
            answers.recv().expect("it is asked");
        }
        for n in 0..WAITING_MAX {
            ask(READERS_MAX + n).expect("there is room");
        }
        assert_eq!(ask(0), Err(StoreError::Busy));
        drop(hold);
        assert_eq!(answers.iter().take(WAITING_MAX).count(), WAITING_MAX);
        ask(0).expect("there is room again");
    }

    /// A question that takes until the sender is gone; it says when it has begun.
    fn long(began: Sender<()>) -> (impl Fn(&Connection) -> Result<(), Fail>, Sender<()>) {
        let (hold, held) = channel::<()>();
        let held = Mutex::new(held);
        let question = move |_: &Connection| {
            began.send(()).expect("somebody listens");
            let _ = locked(&held).recv();
            Ok(())
        };
        (question, hold)
    }

    fn poll<T>(future: &mut std::pin::Pin<Box<impl Future<Output = T>>>) -> Option<T> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(value) => Some(value),
            std::task::Poll::Pending => None,
        }
    }

    #[tokio::test]
    async fn one_search_at_once_and_few_that_wait_and_none_for_nobody() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("moa.db");
        let _store = SqliteStore::open(&path, Options::default()).expect("a store");
        let readers = Readers::new(path, true, Arc::default());
        let (began, begins) = channel();
        let (first, hold) = long(began);
        let mut first = Box::pin(readers.ask_in_turn(first));
        assert!(poll(&mut first).is_none());
        begins.recv().expect("it is under way");
        let quick = |_: &Connection| Ok(());
        let mut others: Vec<_> =
            (1..SEARCHES_MAX).map(|_| Box::pin(readers.ask_in_turn(quick))).collect();
        assert!(others.iter_mut().all(|other| poll(other).is_none()));
        assert_eq!(readers.ask_in_turn(quick).await, Err(StoreError::Busy));
        // Each other question finds a thread, however many searches wait.
        readers.ask(quick).await.expect("it is answered");
        // Who has asked goes: the search is under way, and nobody gets its turn before it ends.
        drop(first);
        assert!(others.iter_mut().all(|other| poll(other).is_none()));
        // It is the search itself that has the turn and a place, not who waited for it.
        let Searches { places, turn } = &readers.shared.searches;
        assert_eq!((places.available_permits(), turn.available_permits()), (0, 0));
        assert_eq!(readers.ask_in_turn(quick).await, Err(StoreError::Busy));
        drop(hold);
        for other in others {
            other.await.expect("it is answered");
        }
        readers.ask_in_turn(quick).await.expect("there is room again");
    }

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_is_not_looked_up() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("moa.db");
        let _store = SqliteStore::open(&path, Options::default()).expect("a store");
        let readers = Readers::new(path, true, Arc::default());
        let (began, begins) = channel();
        let mut busy = Vec::new();
        for _ in 0..READERS_MAX {
            let (question, hold) = long(began.clone());
            let mut asked = Box::pin(readers.ask(question));
            assert!(poll(&mut asked).is_none());
            begins.recv().expect("it is under way");
            busy.push((asked, hold));
        }
        let (looked, looks) = channel();
        let look = |name: &'static str| {
            let looked = looked.clone();
            readers.ask(move |_: &Connection| {
                looked.send(name).expect("somebody listens");
                Ok(())
            })
        };
        let mut gone = Box::pin(look("gone"));
        assert!(poll(&mut gone).is_none());
        drop(gone);
        let mut there = Box::pin(look("there"));
        assert!(poll(&mut there).is_none());
        drop(busy);
        there.await.expect("it is answered");
        readers.close();
        drop(looked);
        assert_eq!(looks.iter().collect::<Vec<_>>(), ["there"]);
    }
}
