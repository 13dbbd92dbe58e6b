//! Live events: as they are committed, over a WebSocket or as server-sent events.
//!
//! A stream takes up behind any event, and has each event behind it once, in order. The node's
//! announcements are only hints: what is sent is read from the store, so nothing is missed while
//! they are late, lost, or come before the commit can be read. A reader that doesn't read holds up
//! nobody: at most one part of events waits for it, and it is cut off in the end.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{FromRequestParts, State};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use moa_core::ids::RunId;
use moa_engine::handle::Committed;
use moa_view::events::{Names, told, type_of};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast, watch};
use utoipa::IntoParams;

use crate::App;
use crate::api::events::{patterns, wanted};
use crate::api::runs::find;
use crate::auth::Identity;
use crate::error::{Problem, Result};
use crate::extract::Query;
use crate::serve::stopped;

/// Commits read at once.
const COMMITS: usize = 64;
/// Time between two signs of life, and two looks whether who listens still may.
const BEAT: Duration = Duration::from_secs(15);
/// How long one message to a WebSocket may take.
const SEND_WAIT: Duration = Duration::from_secs(30);
/// Bytes of a message that a client sends; nothing is expected of it.
const MESSAGE_BYTES_MAX: usize = 4096;

/// Which events.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Filter {
    /// Only behind this one: an event number (`sequence`), or the `id` of an event; from now on when
    /// not given. A browser that takes up server-sent events again says it in `Last-Event-ID`.
    #[serde(default)]
    after: Option<String>,
    /// Only of these types, with commas: `step.failed,run.*`.
    #[serde(default)]
    types: Option<String>,
    /// Only of this run.
    #[serde(default)]
    run: Option<String>,
}

/// A WebSocket, if that is what is asked for.
pub struct MaybeSocket(Option<WebSocketUpgrade>);

impl FromRequestParts<App> for MaybeSocket {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        if !parts.headers.contains_key("upgrade") {
            return Ok(Self(None));
        }
        let upgrade = WebSocketUpgrade::from_request_parts(parts, app).await;
        let upgrade = upgrade.map_err(|rejection| Problem::invalid(rejection.body_text()))?;
        Ok(Self(Some(upgrade)))
    }
}

/// Events as they happen
///
/// A WebSocket, when the request asks for one: each message is a CloudEvent. Server-sent events
/// otherwise: `id`, the type as `event`, the CloudEvent as `data`. Each event behind `after` comes
/// once, in order. Who reads too slowly for too long is cut off, and takes up again where it was.
#[utoipa::path(
    get, path = "/api/v1/events/stream", tag = "events", params(Filter),
    responses(
        (status = 200, description = "Server-sent events", body = String,
         content_type = "text/event-stream"),
        (status = 101, description = "A WebSocket"),
    ),
)]
pub async fn stream(
    State(app): State<App>,
    who: Identity,
    Query(filter): Query<Filter>,
    MaybeSocket(socket): MaybeSocket,
    headers: HeaderMap,
) -> Result<Response> {
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let feed = Feed::open(&app, who, &filter, last).await?;
    Ok(match socket {
        Some(upgrade) => {
            upgrade.max_message_size(MESSAGE_BYTES_MAX).on_upgrade(move |socket| tell(socket, feed))
        }
        None => {
            let beats = KeepAlive::new().interval(BEAT);
            Sse::new(server_sent(feed)).keep_alive(beats).into_response()
        }
    })
}

/// Where a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Mark {
    /// Event number of a commit.
    seq: u64,
    /// The event of it that came last; `None` = all did.
    index: Option<usize>,
}

impl Mark {
    /// `7`, or `7.2`, the id of an event.
    fn read(text: &str) -> Result<Self> {
        let parsed = match text.split_once('.') {
            None => text.parse().ok().map(|seq| Self { seq, index: None }),
            Some((seq, index)) => seq
                .parse()
                .ok()
                .zip(index.parse().ok())
                .map(|(seq, index)| Self { seq, index: Some(index) }),
        };
        parsed.ok_or_else(|| {
            Problem::invalid(format!("{text:?} is neither an event number nor the id of an event"))
        })
    }

    /// From which commit the store is asked on.
    fn read_from(self) -> u64 {
        if self.index.is_some() { self.seq.saturating_sub(1) } else { self.seq }
    }

    /// Whether an event is behind it.
    fn passes(self, seq: u64, index: usize) -> bool {
        match self.index {
            _ if seq != self.seq => seq > self.seq,
            None => false,
            Some(last) => index > last,
        }
    }
}

/// An event to send.
struct Told {
    id: String,
    kind: String,
    event: Value,
}

/// Events for one listener.
struct Feed {
    app: App,
    who: Identity,
    mark: Mark,
    patterns: Vec<String>,
    run: Option<RunId>,
    commits: broadcast::Receiver<Arc<Committed>>,
    names: Names,
    waiting: VecDeque<Told>,
    /// When it was looked at last whether who listens still may.
    judged: Instant,
    ending: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
}

impl Feed {
    async fn open(app: &App, who: Identity, filter: &Filter, last: Option<&str>) -> Result<Self> {
        // Before the store is asked: what is committed meanwhile is announced.
        let commits = app.control().subscribe();
        let run = match &filter.run {
            Some(run) => Some(find(app, run).await?),
            None => None,
        };
        let mark = match last.or(filter.after.as_deref()) {
            Some(text) => Mark::read(text)?,
            None => Mark { seq: app.reader().views.last_event().await?, index: None },
        };
        Ok(Self {
            _place: app.stream_place()?,
            app: app.clone(),
            who,
            mark,
            patterns: patterns(filter.types.as_deref()),
            run,
            commits,
            names: Names::default(),
            waiting: VecDeque::new(),
            judged: Instant::now(),
            ending: app.ending(),
        })
    }

    /// The next event; `None` = the stream ends.
    async fn next(&mut self) -> Option<Told> {
        loop {
            if self.judged.elapsed() >= BEAT {
                if !self.app.auth().holds(&self.who) {
                    return None;
                }
                self.judged = Instant::now();
            }
            if let Some(told) = self.waiting.pop_front() {
                return Some(told);
            }
            if *self.ending.borrow() {
                return None;
            }
            match self.read().await {
                // Perhaps there is more.
                Ok(true) => {}
                Ok(false) => {
                    if !self.hint().await {
                        return None;
                    }
                }
                Err(problem) => {
                    tracing::warn!("a stream ends: {}", problem.detail);
                    return None;
                }
            }
        }
    }

    /// Reads a part of what is behind the mark; answers whether there was any.
    async fn read(&mut self) -> Result<bool> {
        let rows = self.app.reader().views.events(self.mark.read_from(), COMMITS).await?;
        let mut found = false;
        for row in &rows {
            found |= self.mark.passes(row.seq, usize::MAX);
            let is_ours = self.run.is_none_or(|run| run == row.run)
                && row.events.iter().any(|event| wanted(&self.patterns, type_of(event)));
            if is_ours {
                let (workflow, steps) = self.names.of(self.app.reader(), row).await?;
                let fit = told(row, &workflow, &steps).filter(|event| {
                    self.mark.passes(event.seq, event.index)
                        && wanted(&self.patterns, type_of(event.event))
                });
                self.waiting.extend(fit.map(|event| Told {
                    id: format!("{}.{}", event.seq, event.index),
                    kind: type_of(event.event).into(),
                    event: event.cloud_event(),
                }));
            }
            if row.seq >= self.mark.seq {
                self.mark = Mark { seq: row.seq, index: None };
            }
        }
        Ok(found)
    }

    /// Waits for a sign that there may be more; false = the stream ends.
    async fn hint(&mut self) -> bool {
        loop {
            tokio::select! {
                () = stopped(&mut self.ending) => return false,
                commit = self.commits.recv() => match commit {
                    // What is behind it in the queue is read with it.
                    Ok(commit) if commit.seq <= self.mark.seq => {}
                    Ok(_) | Err(RecvError::Lagged(_)) => return true,
                    Err(RecvError::Closed) => return false,
                },
                // What nobody announced, because another node committed it.
                () = tokio::time::sleep(BEAT) => return true,
            }
        }
    }
}

fn server_sent(
    feed: Feed,
) -> impl futures_util::Stream<Item = std::result::Result<Sent, axum::Error>> {
    futures_util::stream::unfold(feed, |mut feed| async move {
        let Told { id, kind, event } = feed.next().await?;
        let sent = Sent::default().id(id).event(kind).json_data(event);
        Some((sent, feed))
    })
}

/// Tells a WebSocket what happens, until either side ends it.
async fn tell(mut socket: WebSocket, mut feed: Feed) {
    let mut beats = tokio::time::interval(BEAT);
    // Whether the client has answered since the beat before.
    let mut alive = true;
    loop {
        let message = tokio::select! {
            told = feed.next() => match told {
                Some(Told { event, .. }) => Message::text(event.to_string()),
                None => break,
            },
            came = socket.recv() => match came {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => {
                    alive = true;
                    continue;
                }
            },
            _ = beats.tick() => {
                if !alive {
                    return;
                }
                alive = false;
                Message::Ping(Default::default())
            }
        };
        let sent = tokio::time::timeout(SEND_WAIT, socket.send(message)).await;
        if !matches!(sent, Ok(Ok(()))) {
            return;
        }
    }
    // It may be gone already.
    let _ = tokio::time::timeout(SEND_WAIT, socket.send(Message::Close(None))).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_passes_what_is_behind_it_alone() {
        let whole = Mark::read("7").expect("a mark");
        assert_eq!(whole.read_from(), 7);
        assert!(!whole.passes(7, 0) && !whole.passes(6, 9) && whole.passes(8, 0));
        let part = Mark::read("7.2").expect("a mark");
        assert_eq!(part.read_from(), 6);
        assert!(!part.passes(7, 2) && part.passes(7, 3) && part.passes(8, 0));
        assert!(!part.passes(6, 5));
        for wrong in ["", "x", "-1", "7.", ".7", "7.2.1", "1e9"] {
            assert!(Mark::read(wrong).is_err(), "{wrong}");
        }
    }
}
