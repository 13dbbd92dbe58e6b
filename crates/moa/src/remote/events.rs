//! Hints that something was committed: the API's stream of events, of which nothing is kept. What
//! happened is read from the store, so a hint that comes late, twice or never does no harm.

use std::time::{Duration, Instant};

use moa_core::ids::RunId;
use reqwest::header::CONTENT_TYPE;
use tokio::sync::watch;
use tokio::time::timeout;

use super::{BUSY_WAIT_MAX, Broken, Call, Remote, answer};
use crate::exit::{Failure, Result};

/// A node sends a sign of life every 15 seconds.
const SILENCE_MAX: Duration = Duration::from_secs(45);
/// How long a stream may take to begin: a proxy that holds it back holds nobody up.
const BEGIN_WAIT: Duration = Duration::from_secs(3);

impl Remote {
    /// Tells of every commit from now on, of one run or of all. The sender is dropped when the stream
    /// ends.
    ///
    /// # Errors
    /// The node doesn't answer, refuses, or has too many requests for too long.
    pub async fn listen(&self, run: Option<RunId>) -> Result<watch::Receiver<()>> {
        let query = run.map(|run| ("run", run.to_string())).into_iter().collect();
        let call = Call { query, ..Call::get("/api/v1/events/stream") };
        let began = Instant::now();
        let mut response = loop {
            match self.open(&call).await {
                Ok(response) => break response,
                Err(Broken::Busy(wait, _)) if began.elapsed() + wait <= BUSY_WAIT_MAX => {
                    tokio::time::sleep(wait).await;
                }
                Err(
                    Broken::Busy(_, failure)
                    | Broken::Unreached(failure)
                    | Broken::Unknown(failure)
                    | Broken::Refused(failure),
                ) => return Err(failure),
            }
        };
        let (sender, receiver) = watch::channel(());
        tokio::spawn(async move {
            while let Ok(Ok(Some(piece))) = timeout(SILENCE_MAX, response.chunk()).await {
                // A comment is a sign of life alone.
                if !piece.starts_with(b":") && sender.send(()).is_err() {
                    return;
                }
            }
        });
        Ok(receiver)
    }

    async fn open(&self, call: &Call<'_>) -> std::result::Result<reqwest::Response, Broken> {
        let sent = timeout(BEGIN_WAIT, self.request(call).send()).await;
        let late = || {
            let text = format!("{} takes too long to answer", self.url());
            Broken::Unknown(Failure::new(crate::exit::Exit::Unavailable, text))
        };
        let response = sent.map_err(|_| late())?.map_err(|e| self.broken(call, &e))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if status.is_success() && kind.is_some_and(|kind| kind.starts_with("text/event-stream")) {
            return Ok(response);
        }
        // What is too large, or doesn't come, is not read to its end: it is no refusal of moa.
        let mut body = Vec::new();
        let mut response = response;
        while let Ok(Ok(Some(piece))) = timeout(BEGIN_WAIT, response.chunk()).await {
            if body.len() + piece.len() > answer::PROBLEM_BYTES_MAX {
                break;
            }
            body.extend_from_slice(&piece);
        }
        Err(answer::refusal(self, call.path, status, &headers, &body))
    }
}
