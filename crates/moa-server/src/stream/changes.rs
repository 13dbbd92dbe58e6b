//! That events of a filter have happened, for pages: no more than where the last of them stands.
//!
//! A page asks for itself again when it hears of something, so what it shows is as whole after a
//! break of the stream as before: a browser that takes it up again says what it had heard of last. What
//! it then asks for holds all that was committed before the message, so that one message tells of
//! it all: however much happens, no page falls behind.

use std::convert::Infallible;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};

use super::feed::Feed;
use super::{BEAT, Filter};
use crate::App;
use crate::auth::Identity;
use crate::error::Result;
use crate::extract::Query;
use crate::serve::Listening;

/// Time between two messages, at the least.
const PACE: Duration = Duration::from_secs(1);

/// Says that events of a filter have happened, as they do.
pub async fn stream(
    State(app): State<App>,
    who: Identity,
    Query(filter): Query<Filter>,
    headers: HeaderMap,
) -> Result<Response> {
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let feed = Feed::open(&app, who, &filter, last).await?;
    let said = futures_util::stream::unfold((feed, false), |(mut feed, paced)| async move {
        if paced {
            // What comes meanwhile is in the next message.
            tokio::time::sleep(PACE).await;
        }
        let last = feed.next().await?.pop()?;
        feed.pass();
        Some((
            Ok::<_, Infallible>(Event::default().id(last.at.to_string()).data("{}")),
            (feed, true),
        ))
    });
    let events = Sse::new(said).keep_alive(KeepAlive::new().interval(BEAT));
    Ok((Extension(Listening), events).into_response())
}
