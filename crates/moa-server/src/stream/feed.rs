//! What one listener gets: the events that it asked for, each once, in order.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::ws::Utf8Bytes;
use moa_view::events::{Names, PUBLISHED};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::commit::Commit;
use super::mark::Mark;
use super::ring::{COMMITS, EVENTS, Ring};
use super::{BEAT, Filter};
use crate::App;
use crate::api::events::{Asked, Wanted};
use crate::auth::Identity;
use crate::error::Result;
use crate::serve::stopped;

/// Events that are sent together.
pub type Part = Vec<Told>;

/// Bytes of a part: it ends with the event that goes beyond.
const PART_BYTES: usize = 64 << 10;

/// What is no time to wait: timers are no finer.
const TICK: Duration = Duration::from_millis(1);
/// Bytes of commits that a listener holds while it is slow, but for a larger one.
const HELD_BYTES: usize = 256 << 10;

/// An event to send.
pub struct Told {
    /// Its place among the events, which is its id.
    pub at: Mark,
    /// Its type, without the prefix `moa.`.
    pub kind: Cow<'static, str>,
    /// It as a CloudEvent, JSON.
    pub text: Utf8Bytes,
}

/// Events for one listener.
pub struct Feed {
    app: App,
    who: Identity,
    mark: Mark,
    wanted: Wanted,
    ring: Arc<Ring>,
    newest: watch::Receiver<Option<u64>>,
    /// Its place among all who listen: it is told a little after those before it.
    place: usize,
    /// Commits that are looked at, and how many of them and of the next one's events have been.
    commits: Vec<Arc<Commit>>,
    looked: (usize, usize),
    /// When it was looked at last whether who listens still may.
    judged: Instant,
    ending: watch::Receiver<bool>,
    _permit: OwnedSemaphorePermit,
}

impl Feed {
    /// Events behind what is asked for.
    ///
    /// # Errors
    /// What is asked for is wrong, or there are too many streams.
    pub async fn open(
        app: &App,
        who: Identity,
        filter: &Filter,
        last: Option<&str>,
    ) -> Result<Self> {
        let Filter { types, run, workflow, agent, q, source, key, .. } = filter;
        let asked = Asked {
            types: types.as_deref(),
            run: run.as_deref(),
            workflow: workflow.as_deref(),
            agent: agent.as_deref(),
            q: q.as_deref(),
            source: source.as_deref(),
            key: key.as_deref(),
            ..Asked::default()
        };
        let wanted = Wanted::read(app, asked).await?;
        let mark = last.or(filter.after.as_deref()).map(Mark::read).transpose()?;
        let permit = app.stream_place()?;
        let ring = app.hub().join(app).await?;
        let newest = app.reader().views.last_event().await?;
        let mark = mark.map_or(Mark::behind(newest), |mark| mark.within(newest));
        Ok(Self {
            app: app.clone(),
            who,
            mark,
            wanted,
            newest: ring.watch(),
            place: ring.place(),
            ring,
            commits: Vec::new(),
            looked: (0, 0),
            judged: Instant::now(),
            ending: app.ending(),
            _permit: permit,
        })
    }

    /// The next events, at least one; `None` = the stream ends.
    ///
    /// It may be dropped while it waits, and nothing is lost.
    pub async fn next(&mut self) -> Option<Part> {
        loop {
            if self.judged.elapsed() >= BEAT {
                if !self.app.auth().holds(&self.who) {
                    return None;
                }
                self.judged = Instant::now();
            }
            if *self.ending.borrow() {
                return None;
            }
            let part = self.part();
            if !part.is_empty() {
                return Some(part);
            }
            // What comes from here on is seen by `changed`.
            let newest = (*self.newest.borrow_and_update())?;
            match self.read().await {
                Err(problem) => {
                    tracing::warn!("a stream ends: {}", problem.detail);
                    return None;
                }
                // Others have their turn, however much there is of which nothing is wanted.
                Ok(true) => tokio::task::yield_now().await,
                Ok(false) if self.mark.seq < newest => {}
                Ok(false) => tokio::select! {
                    () = stopped(&mut self.ending) => return None,
                    changed = self.newest.changed() => {
                        changed.ok()?;
                        self.turn().await;
                    }
                    () = tokio::time::sleep(BEAT) => {}
                },
            }
        }
    }

    /// Waits until its turn has come.
    async fn turn(&self) {
        let lag = self.ring.lag(self.place);
        if lag >= TICK {
            tokio::time::sleep(lag).await;
        }
    }

    /// Passes over all that has been committed and told of by now.
    pub fn pass(&mut self) {
        if let Some(newest) = self.ring.newest().filter(|newest| *newest >= self.mark.seq) {
            self.mark = Mark::behind(newest);
            self.commits.clear();
            self.looked = (0, 0);
        }
    }

    /// A part of the events that have been read.
    fn part(&mut self) -> Part {
        let (mut part, mut bytes) = (Part::new(), 0);
        while let Some(commit) = self.commits.get(self.looked.0) {
            let events = if self.wanted.has(commit.run, Some(&commit.workflow)) {
                &commit.events[..]
            } else {
                &[]
            };
            while let Some(event) = events.get(self.looked.1) {
                if bytes >= PART_BYTES {
                    return part;
                }
                self.looked.1 += 1;
                if self.mark.passes(commit.seq, event.index) && self.wanted.has_event(event) {
                    bytes += event.text.len();
                    let at = Mark { seq: commit.seq, index: Some(event.index) };
                    // What people have published is not called as what happens in runs.
                    let kind = match event.published {
                        true => Cow::Borrowed(PUBLISHED),
                        false => event.kind.clone(),
                    };
                    part.push(Told { at, kind, text: event.text.clone() });
                }
            }
            if commit.seq >= self.mark.seq {
                self.mark = Mark::behind(commit.seq);
            }
            self.looked = (self.looked.0 + 1, 0);
        }
        self.commits.clear();
        self.looked = (0, 0);
        part
    }

    /// Takes the commits behind the mark, from the ring or the store; answers whether there are any.
    async fn read(&mut self) -> Result<bool> {
        let from = self.mark.read_from();
        let kept = match self.ring.behind(from) {
            Ok(commits) => {
                self.hold(commits);
                return Ok(!self.commits.is_empty());
            }
            Err(kept) => kept,
        };
        let old = self.old(from).await?;
        if old.is_empty() {
            // What was there was committed before, and is pruned.
            self.mark = Mark::behind(kept);
        }
        self.hold(old);
        Ok(true)
    }

    /// Holds the first of some commits until they are sent; the others are read again.
    fn hold(&mut self, mut commits: Vec<Arc<Commit>>) {
        let mut bytes = 0;
        let is_within = |commit: &Arc<Commit>| {
            let is_first = bytes == 0;
            bytes += commit.bytes();
            is_first || bytes <= HELD_BYTES
        };
        let held = commits.iter().map(is_within).take_while(|within| *within).count();
        commits.truncate(held);
        self.commits = commits;
    }

    /// Commits that the ring has no more, or never had.
    async fn old(&self, from: u64) -> Result<Vec<Arc<Commit>>> {
        let _turn = self.app.hub().turn().await;
        let mut names = Names::default();
        let rows = self.app.reader().views.events(from, COMMITS, EVENTS).await?;
        let commits = Commit::all(&self.app, &mut names, &rows).await?;
        Ok(commits.into_iter().map(Arc::new).collect())
    }
}
