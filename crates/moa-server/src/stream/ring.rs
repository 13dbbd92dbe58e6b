//! The newest commits, told once for however many listen.
//!
//! Without it each listener would read each commit from the store and write it as JSON for itself:
//! a thousand of them would do the same work a thousand times, and take from the store what the
//! engine needs. So one task reads on for all, and they share what it has read. Who falls behind
//! what is kept reads from the store again, a few at a time.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use moa_engine::handle::Committed;
use moa_view::events::Names;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Semaphore, SemaphorePermit, broadcast, watch};

use super::commit::Commit;
use crate::App;
use crate::error::Result;
use crate::serve::stopped;

/// Commits read at once.
pub const COMMITS: usize = 64;
/// Events read at once, about: a commit may hold thousands.
pub const EVENTS: usize = 4096;
/// Commits that are kept.
const KEPT_MAX: usize = 4096;
/// Bytes that they may take.
const KEPT_BYTES_MAX: usize = 8 << 20;
/// How long commits are gathered after some were told: wakes all listeners a hundred times a second
/// at most, and holds up a lone commit by nothing.
const GATHER: Duration = Duration::from_millis(10);
/// How much longer for each listener: each write costs the same for one event as for twenty, and a
/// thousand listeners that are woken a hundred times a second would take a processor for that alone.
const GATHER_EACH: Duration = Duration::from_micros(40);
/// The longest that a person doesn't see.
const GATHER_MAX: Duration = Duration::from_millis(50);
/// When the store is read although nothing was announced: another node may have committed.
const LOOK: Duration = Duration::from_secs(15);
/// Listeners that read from the store at once.
const BEHIND_MAX: usize = 4;

/// The ring of a server, while anybody listens.
pub struct Hub {
    current: tokio::sync::Mutex<Weak<Ring>>,
    behind: Semaphore,
}

impl Default for Hub {
    fn default() -> Self {
        Self { current: Default::default(), behind: Semaphore::new(BEHIND_MAX) }
    }
}

impl Hub {
    /// The ring that tells of every commit from now on; it ends when nobody holds it.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn join(&self, app: &App) -> Result<Arc<Ring>> {
        let mut current = self.current.lock().await;
        if let Some(ring) = current.upgrade().filter(|ring| ring.newest().is_some()) {
            return Ok(ring);
        }
        // Before the store is asked: what is committed meanwhile is announced.
        let commits = app.control().subscribe();
        let ring = Arc::new(Ring::new(app.reader().views.last_event().await?));
        app.listeners().spawn(fill(app.clone(), Arc::downgrade(&ring), commits));
        *current = Arc::downgrade(&ring);
        Ok(ring)
    }

    /// Waits for the turn to read from the store.
    pub async fn turn(&self) -> SemaphorePermit<'_> {
        self.behind.acquire().await.expect("it is never closed")
    }
}

/// Commits in order, without a gap.
pub struct Ring {
    kept: Mutex<Kept>,
    /// The event number of the newest; `None` = there will be no more.
    newest: watch::Sender<Option<u64>>,
    /// How many have joined.
    joined: AtomicUsize,
}

struct Kept {
    /// Every commit behind this one, up to the newest, is kept.
    from: u64,
    bytes: usize,
    commits: VecDeque<Arc<Commit>>,
}

impl Ring {
    fn new(newest: u64) -> Self {
        let kept = Kept { from: newest, bytes: 0, commits: VecDeque::new() };
        Self {
            kept: Mutex::new(kept),
            newest: watch::channel(Some(newest)).0,
            joined: AtomicUsize::new(0),
        }
    }

    /// The event number of the newest commit; `None` = there will be no more.
    pub fn newest(&self) -> Option<u64> {
        *self.newest.borrow()
    }

    /// Tells when there is a newer one.
    pub fn watch(&self) -> watch::Receiver<Option<u64>> {
        self.newest.subscribe()
    }

    /// How long commits are gathered for as many as listen now.
    fn gather(&self) -> Duration {
        let listeners = u32::try_from(self.newest.receiver_count()).unwrap_or(u32::MAX);
        (GATHER + GATHER_EACH.saturating_mul(listeners)).min(GATHER_MAX)
    }

    /// A place among those who listen, for [`Ring::lag`].
    pub fn place(&self) -> usize {
        self.joined.fetch_add(1, Ordering::Relaxed)
    }

    /// How much later than the first one a listener is told, by its place: over the time for which
    /// commits are gathered, so that a thousand of them are told evenly and never all at once.
    pub fn lag(&self, place: usize) -> Duration {
        let listeners = u32::try_from(self.newest.receiver_count()).unwrap_or(u32::MAX).max(1);
        let place = u32::try_from(place % listeners as usize).unwrap_or(0);
        (self.gather() - GATHER) / listeners * place
    }

    /// Some commits behind an event number, oldest first.
    ///
    /// # Errors
    /// What follows it is not kept; from the answer on it is.
    pub fn behind(&self, seq: u64) -> std::result::Result<Vec<Arc<Commit>>, u64> {
        let kept = self.lock();
        if seq < kept.from {
            return Err(kept.from);
        }
        let first = kept.commits.partition_point(|commit| commit.seq <= seq);
        Ok(kept.commits.range(first..).take(COMMITS).cloned().collect())
    }

    fn push(&self, commits: Vec<Commit>) {
        let Some(newest) = commits.last().map(|commit| commit.seq) else { return };
        let mut kept = self.lock();
        for commit in commits {
            kept.bytes += commit.bytes();
            kept.commits.push_back(Arc::new(commit));
        }
        while kept.commits.len() > KEPT_MAX || kept.bytes > KEPT_BYTES_MAX {
            let Some(oldest) = kept.commits.pop_front() else { break };
            kept.bytes -= oldest.bytes();
            kept.from = oldest.seq;
        }
        drop(kept);
        self.newest.send_replace(Some(newest));
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads on for a ring, until nobody holds it.
async fn fill(app: App, ring: Weak<Ring>, mut commits: broadcast::Receiver<Arc<Committed>>) {
    let mut names = Names::default();
    let mut ending = app.ending();
    let closed = ring.upgrade().map(|ring| ring.newest.clone());
    while let Some(ring) = ring.upgrade() {
        let Some(newest) = ring.newest() else { break };
        match read(&app, &mut names, newest).await {
            Ok(more) if more.is_empty() => {
                drop(ring);
                if !announced(&mut commits, &mut ending, newest).await {
                    break;
                }
            }
            Ok(more) => {
                let is_all = more.len() < COMMITS
                    && more.iter().map(|commit| commit.events.len()).sum::<usize>() < EVENTS;
                ring.push(more);
                let gather = ring.gather();
                drop(ring);
                if is_all {
                    tokio::time::sleep(gather).await;
                }
            }
            Err(problem) => {
                tracing::warn!("streams end: {}", problem.detail);
                break;
            }
        }
    }
    if let Some(newest) = closed {
        newest.send_replace(None);
    }
}

async fn read(app: &App, names: &mut Names, after: u64) -> Result<Vec<Commit>> {
    let rows = app.reader().views.events(after, COMMITS, EVENTS).await?;
    Commit::all(app, names, &rows).await
}

/// Waits for a sign that there may be more; false = there will be none.
///
/// What the node announces is only a hint: what is told is read from the store, so nothing is missed
/// while announcements are late, lost, or come before the commit can be read.
async fn announced(
    commits: &mut broadcast::Receiver<Arc<Committed>>,
    ending: &mut watch::Receiver<bool>,
    newest: u64,
) -> bool {
    loop {
        tokio::select! {
            () = stopped(ending) => return false,
            commit = commits.recv() => match commit {
                Ok(commit) if commit.seq <= newest => {}
                Ok(_) | Err(RecvError::Lagged(_)) => return true,
                Err(RecvError::Closed) => return false,
            },
            () = tokio::time::sleep(LOOK) => return true,
        }
    }
}

#[cfg(test)]
mod tests {
    use moa_core::ids::{Name, RunId};

    use super::super::commit::Told;
    use super::*;

    fn commits(seqs: impl IntoIterator<Item = u64>, bytes: usize) -> Vec<Commit> {
        let text = || "x".repeat(bytes).into();
        let event = || Told::new(0, "run.started", None, text());
        let workflow = || Name::new("w").expect("a name");
        let commit =
            |seq| Commit { seq, run: RunId(1), workflow: workflow(), events: vec![event()] };
        seqs.into_iter().map(commit).collect()
    }

    fn seqs(ring: &Ring, behind: u64) -> std::result::Result<Vec<u64>, u64> {
        Ok(ring.behind(behind)?.iter().map(|commit| commit.seq).collect())
    }

    #[test]
    fn a_ring_tells_what_is_behind_a_number_and_says_when_it_has_it_no_more() {
        let ring = Ring::new(10);
        assert_eq!(seqs(&ring, 10), Ok(vec![]));
        assert_eq!(seqs(&ring, 9), Err(10));
        // Numbers may be left out, and a listener may ask behind one that is.
        ring.push(commits([11, 14, 15], 1));
        assert_eq!(ring.newest(), Some(15));
        assert_eq!(seqs(&ring, 10), Ok(vec![11, 14, 15]));
        assert_eq!(seqs(&ring, 12), Ok(vec![14, 15]));
        assert_eq!(seqs(&ring, 99), Ok(vec![]));
    }

    #[test]
    fn the_more_listen_the_longer_commits_are_gathered_up_to_what_nobody_sees() {
        let ring = Ring::new(0);
        assert_eq!(ring.gather(), GATHER);
        let mut listeners: Vec<_> = (0..100).map(|_| ring.watch()).collect();
        assert_eq!(ring.gather(), Duration::from_millis(14));
        listeners.extend((0..10_000).map(|_| ring.watch()));
        assert_eq!(ring.gather(), GATHER_MAX);
        listeners.clear();
        assert_eq!(ring.gather(), GATHER);
    }

    #[test]
    fn who_listens_is_told_evenly_over_the_time_that_commits_are_gathered() {
        let ring = Ring::new(0);
        assert_eq!(ring.lag(7), Duration::ZERO, "nobody else listens");
        let _listeners: Vec<_> = (0..1000).map(|_| ring.watch()).collect();
        let lags: Vec<_> = (0..1000).map(|_| ring.lag(ring.place())).collect();
        assert_eq!(lags[0], Duration::ZERO);
        assert!(lags.windows(2).all(|pair| pair[1] - pair[0] == GATHER_EACH));
        assert!(lags[999] < ring.gather() - GATHER, "before more is told");
        assert_eq!(ring.lag(1003), lags[3], "places are found again as others go");
    }

    #[test]
    fn a_ring_keeps_so_many_commits_and_so_many_bytes() {
        let many = Ring::new(0);
        let last = KEPT_MAX as u64 + 7;
        many.push(commits(1..=last, 1));
        assert_eq!(seqs(&many, 6), Err(7));
        assert_eq!(seqs(&many, 7).map(|all| all.len()), Ok(COMMITS));
        assert_eq!(seqs(&many, last - 1), Ok(vec![last]));
        let large = Ring::new(0);
        large.push(commits(1..=3, KEPT_BYTES_MAX / 2));
        assert_eq!(seqs(&large, 0), Err(2));
        assert_eq!(seqs(&large, 2), Ok(vec![3]));
        // One that is too large for it is read from the store by each.
        large.push(commits([4], KEPT_BYTES_MAX + 1));
        assert_eq!(seqs(&large, 3), Err(4));
        assert_eq!(large.lock().bytes, 0);
    }
}
