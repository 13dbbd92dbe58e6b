//! What the server has answered, in numbers.

use std::fmt::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::{Method, StatusCode};

use super::Out;

/// Methods that are told apart; others are told together.
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "DELETE", "other"];
/// Classes of statuses.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Answers, by method and class of status, and how long they took.
#[derive(Debug, Clone, Default)]
pub struct Requests(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    answered: [[AtomicU64; CLASSES.len()]; METHODS.len()],
    nanos: AtomicU64,
}

impl Requests {
    /// A request was answered, after so long.
    pub fn answered(&self, method: &Method, status: StatusCode, took: Duration) {
        let known = METHODS.iter().position(|name| *name == method.as_str());
        let class = usize::from(status.as_u16() / 100).clamp(1, CLASSES.len()) - 1;
        let count = &self.0.answered[known.unwrap_or(METHODS.len() - 1)][class];
        count.fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.0.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    pub(super) fn encode(&self, out: &mut Out<'_>) -> Result<(), Error> {
        let each = METHODS.iter().zip(&self.0.answered).flat_map(|(method, counts)| {
            let classes = CLASSES.iter().zip(counts);
            classes.map(move |(class, n)| ([*method, *class], n.load(Ordering::Relaxed) as f64))
        });
        let each = each.filter(|(_, n)| *n > 0.0);
        out.counters_by_two("moa_http_requests", "Answers", ["method", "status"], each)?;
        let seconds = self.0.nanos.load(Ordering::Relaxed) as f64 / 1e9;
        out.counter("moa_http_request_seconds", "Time that all answers took together", seconds)
    }
}
