//! Server-sent events: all events of a part as one piece of the answer, in one write.

use std::convert::Infallible;
use std::fmt::Write;

use axum::Extension;
use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt};
use tokio::time::{Instant, interval_at};

use super::BEAT;
use super::feed::{Feed, Told};
use crate::serve::Listening;

/// What is sent when nothing has happened for long: a comment, which no browser tells of.
const ALIVE: &str = ":\n\n";
/// Bytes that an event takes beside its text, about.
const FRAME_BYTES: usize = 64;

/// An answer that tells what happens, until either side ends it.
///
/// As <https://html.spec.whatwg.org/multipage/server-sent-events.html> has it: `id`, the type as
/// `event`, the CloudEvent as `data`.
pub fn events(feed: Feed) -> Response {
    let mut beats = interval_at(Instant::now() + BEAT, BEAT);
    let parts = futures_util::stream::unfold(feed, |mut feed| async move {
        let piece = written(&feed.next().await?);
        Some((piece, feed))
    });
    let mut parts = Box::pin(parts);
    // What is waited for goes on being waited for over each beat.
    let pieces = futures_util::stream::poll_fn(move |cx| {
        let part = parts.as_mut().poll_next(cx);
        if part.is_ready() {
            beats.reset();
            return part;
        }
        beats.poll_tick(cx).map(|_| Some(ALIVE.to_owned()))
    });
    let pieces = pieces.map(Ok::<_, Infallible>);
    let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-cache")];
    (Extension(Listening), headers, Body::from_stream(pieces)).into_response()
}

/// Events as they are sent.
fn written(part: &[Told]) -> String {
    let bytes = part.iter().map(|told| told.text.len() + FRAME_BYTES).sum();
    let mut piece = String::with_capacity(bytes);
    for Told { at, kind, text } in part {
        debug_assert!(!text.contains(['\n', '\r']), "JSON in one line");
        let _ = write!(piece, "id: {at}\nevent: {kind}\ndata: ");
        piece.push_str(text);
        piece.push_str("\n\n");
    }
    piece
}

#[cfg(test)]
mod tests {
    use super::super::mark::Mark;
    use super::*;

    fn told(seq: u64, text: &str) -> Told {
        let at = Mark { seq, index: Some(0) };
        Told { at, kind: "run.started".into(), text: text.into() }
    }

    #[test]
    fn each_event_ends_with_an_empty_line() {
        let part = [told(7, r#"{"a":1}"#), told(9, r#"{"b":2}"#)];
        assert_eq!(
            written(&part),
            "id: 7.0\nevent: run.started\ndata: {\"a\":1}\n\n\
             id: 9.0\nevent: run.started\ndata: {\"b\":2}\n\n"
        );
        assert_eq!(written(&[]), "");
    }
}
