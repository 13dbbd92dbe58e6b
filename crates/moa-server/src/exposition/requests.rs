//! What the server has answered, in numbers.

use std::collections::BTreeMap;
use std::fmt::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::{Method, StatusCode};
use axum::response::Response;
use moa_engine::meter::Histogram;

use super::Out;

/// Methods that are told apart; others are told together.
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "DELETE", OTHER];
/// Classes of statuses.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
/// What has no route or method of its own.
const OTHER: &str = "other";
/// Upper bounds of the classes of durations, in seconds: those that exporters usually have.
const SECONDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The template of the route that answered: `/api/v1/runs/{run}`. There are as many as the server has
/// routes, whatever is asked for.
#[derive(Debug, Clone)]
pub struct Template(pub Arc<str>);

/// A route, a method and a class of statuses, by their places.
type Kind = (Arc<str>, usize, usize);

/// Answers, by route, method and class of status, and how long they took.
#[derive(Debug, Clone, Default)]
pub struct Requests(Arc<Mutex<BTreeMap<Kind, Histogram>>>);

impl Requests {
    /// A request was answered, after so long.
    pub fn answered(&self, method: &Method, response: &Response, took: Duration) {
        let known = METHODS.iter().position(|name| *name == method.as_str());
        let class = class_of(response.status());
        let route = response.extensions().get::<Template>();
        let route = route.map_or_else(|| OTHER.into(), |route| route.0.clone());
        let kind = (route, known.unwrap_or(METHODS.len() - 1), class);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = all.entry(kind).or_insert_with(|| Histogram::new(&SECONDS));
        seconds.add(took.as_secs_f64());
    }

    pub(super) fn encode(&self, out: &mut Out<'_>) -> Result<(), Error> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut counts = BTreeMap::new();
        for ((_, method, class), seconds) in &all {
            *counts.entry((*method, *class)).or_default() += seconds.count();
        }
        let each = counts.iter().map(|((method, class), n): (&(usize, usize), &u64)| {
            ([METHODS[*method], CLASSES[*class]], *n as f64)
        });
        out.counters_by_two("moa_http_requests", "Answers", ["method", "status"], each)?;
        let each = all.iter().map(|((route, method, class), seconds)| {
            ([&**route, METHODS[*method], CLASSES[*class]], seconds)
        });
        let name = "moa_http_request_duration_seconds";
        let about = "From the head of a request to the head of its answer";
        out.histograms_by_three(name, about, ["route", "method", "status"], each)
    }
}

fn class_of(status: StatusCode) -> usize {
    usize::from(status.as_u16() / 100).clamp(1, CLASSES.len()) - 1
}
