//! Which of a service's addresses is called: the least loaded one that is healthy.
//!
//! What is known of an address is only what the calls of this process showed. One that could not be
//! reached, or whose gateway said so, is left out for a while, unless all are.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long an address is left out after it failed.
const OUT: Duration = Duration::from_secs(30);
/// Addresses that are remembered although nothing is going on there.
const IDLE_MAX: usize = 1000;

/// What is known of the addresses that were called.
#[derive(Default)]
pub(super) struct Endpoints(Mutex<Known>);

#[derive(Default)]
struct Known {
    states: HashMap<String, State>,
    calls: u64,
}

#[derive(Default)]
struct State {
    in_flight: u32,
    out_until: Option<Instant>,
    /// The number of the last call, so that equals take turns.
    last: u64,
}

/// One call of an address.
pub(super) struct Endpoint<'a> {
    endpoints: &'a Endpoints,
    url: String,
}

impl Endpoints {
    /// The one of `urls` to call now; `None` when there are none.
    pub fn choose(&self, urls: &[String], now: Instant) -> Option<Endpoint<'_>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.states.len() > IDLE_MAX {
            known.states.retain(|_, s| s.in_flight > 0 || s.out_until.is_some_and(|t| t > now));
        }
        let rank = |url: &String| {
            let state = known.states.get(url);
            let out = state.and_then(|s| s.out_until).filter(|until| *until > now);
            (out, state.map_or((0, 0), |s| (s.in_flight, s.last)))
        };
        let url = urls.iter().min_by_key(|url| rank(url))?.clone();
        known.calls += 1;
        let number = known.calls;
        let state = known.states.entry(url.clone()).or_default();
        state.in_flight += 1;
        state.last = number;
        Some(Endpoint { endpoints: self, url })
    }

    fn state(&self, url: &str, change: impl FnOnce(&mut State)) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.states.get_mut(url).map(change);
    }
}

impl Endpoint<'_> {
    /// The address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Notes how the call ended.
    pub fn ended(&self, failing: bool, now: Instant) {
        self.endpoints.state(&self.url, |s| s.out_until = failing.then(|| now + OUT));
    }
}

impl Drop for Endpoint<'_> {
    fn drop(&mut self) {
        self.endpoints.state(&self.url, |s| s.in_flight = s.in_flight.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_loaded_healthy_address_is_chosen() {
        let urls = ["a", "b", "c"].map(str::to_owned);
        let endpoints = Endpoints::default();
        let now = Instant::now();
        let choose = |now| endpoints.choose(&urls, now).expect("there are some");
        let (one, two, three) = (choose(now), choose(now), choose(now));
        assert_eq!([one.url(), two.url(), three.url()], ["a", "b", "c"], "they take turns");
        drop(two);
        let four = choose(now);
        assert_eq!(four.url(), "b", "it has nothing to do");
        drop((one, three, four));

        choose(now).ended(true, now);
        let next: Vec<String> = (0..4).map(|_| choose(now).url().to_owned()).collect();
        assert!(!next.contains(&"a".to_owned()), "{next:?}");
        choose(now).ended(true, now + Duration::from_secs(1));
        choose(now).ended(true, now + Duration::from_secs(2));
        assert_eq!(choose(now).url(), "a", "all are out, this one for the longest");
        let later = now + OUT + Duration::from_secs(3);
        assert_eq!(endpoints.choose(&urls[1..2], later).expect("one").url(), "b");
        assert!(endpoints.choose(&[], now).is_none());
    }
}
