//! Live events: as they are committed, over a WebSocket or as server-sent events.
//!
//! A stream takes up behind any event, and has each event behind it once, in order. All streams share
//! what is read of the newest commits (`ring`); each has a place of its own in it (`feed`). A
//! reader that doesn't read holds up nobody: at most one part of events waits for it, and it is cut
//! off in the end.

pub mod changes;
pub mod commit;
mod feed;
pub mod mark;
mod ring;
mod sent;

use std::time::Duration;

use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{FromRequestParts, State};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::response::Response;
use futures_util::SinkExt;
use serde::Deserialize;
use tokio::time::MissedTickBehavior;
use utoipa::IntoParams;

use self::feed::{Feed, Part};
use crate::App;
use crate::auth::Identity;
use crate::error::{Problem, Result};
use crate::extract::Query;

pub use self::ring::Hub;

/// Time between two signs of life, and two looks whether who listens still may.
const BEAT: Duration = Duration::from_secs(15);
/// How long one message to a WebSocket may take.
const SEND_WAIT: Duration = Duration::from_secs(30);
/// Bytes of a message that a client sends; nothing is expected of it.
const MESSAGE_BYTES_MAX: usize = 4096;
/// Bytes that are read of a client at once: each stream has such a buffer.
const READ_BYTES: usize = 4096;
/// Bytes that are gathered before they are sent.
const WRITE_BYTES: usize = 16 << 10;

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
    /// Only of runs of this workflow.
    #[serde(default)]
    workflow: Option<String>,
    /// Only of steps that are actions of this agent.
    #[serde(default)]
    agent: Option<String>,
    /// Only those that hold all of these words, each of them in its type or in its data as JSON; small
    /// and capital letters are the same.
    #[serde(default)]
    q: Option<String>,
    /// Only events that were published, and come from this source.
    #[serde(default)]
    source: Option<String>,
    /// Only the event that was published with this key, or as a CloudEvent with this id.
    #[serde(default)]
    key: Option<String>,
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
        (status = 101, description = "A WebSocket",
         headers(("upgrade" = String, description = "`websocket`"),
                 ("sec-websocket-accept" = String, description = "As RFC 6455 has it"))),
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
            let upgrade = upgrade
                .max_message_size(MESSAGE_BYTES_MAX)
                .read_buffer_size(READ_BYTES)
                .write_buffer_size(WRITE_BYTES);
            let listeners = app.listeners().clone();
            upgrade.on_upgrade(async move |socket| {
                listeners.spawn(tell(socket, feed));
            })
        }
        None => sent::events(feed),
    })
}

/// Tells a WebSocket what happens, until either side ends it.
async fn tell(mut socket: WebSocket, mut feed: Feed) {
    let mut beats = tokio::time::interval(BEAT);
    // A long send makes no two beats follow each other at once.
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Whether the client has answered since the beat before.
    let mut alive = true;
    loop {
        let sent = tokio::select! {
            // What the client said is heard before it is judged.
            biased;
            came = socket.recv() => match came {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => {
                    alive = true;
                    continue;
                }
            },
            part = feed.next() => match part {
                Some(part) => tokio::time::timeout(SEND_WAIT, send(&mut socket, part)).await,
                None => break,
            },
            _ = beats.tick() => {
                if !alive {
                    return;
                }
                alive = false;
                let ping = socket.send(Message::Ping(Default::default()));
                tokio::time::timeout(SEND_WAIT, ping).await
            }
        };
        if !matches!(sent, Ok(Ok(()))) {
            return;
        }
    }
    // It may be gone already.
    let _ = tokio::time::timeout(SEND_WAIT, socket.send(Message::Close(None))).await;
}

/// Sends a part of events with as few writes as it takes.
async fn send(socket: &mut WebSocket, part: Part) -> std::result::Result<(), axum::Error> {
    for told in part {
        socket.feed(Message::Text(told.text)).await?;
    }
    socket.flush().await?;
    // Who waits for this processor, the engine for one, waits for one listener and not for as long as a
    // thread may run.
    std::thread::yield_now();
    Ok(())
}
