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
    /// Whether the last call that ended reached it.
    reached: Option<bool>,
    /// The number of the last call, so that equals take turns.
    last: u64,
}

/// What is known of an address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EndpointState {
    /// Calls that go on there.
    pub calls: u32,
    /// Whether the last call that ended reached it; `None` = none has ended.
    pub reached: Option<bool>,
    /// How long it is left out yet.
    pub out_for: Option<Duration>,
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

    /// What is known of each of these addresses.
    pub fn states(&self, urls: &[String], now: Instant) -> Vec<EndpointState> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |url: &String| {
            known.states.get(url).map_or_else(EndpointState::default, |state| {
                let left = state.out_until.and_then(|until| until.checked_duration_since(now));
                let out_for = left.filter(|left| !left.is_zero());
                EndpointState { calls: state.in_flight, reached: state.reached, out_for }
            })
        };
        urls.iter().map(of).collect()
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
        self.endpoints.state(&self.url, |s| {
            s.out_until = failing.then(|| now + OUT);
            s.reached = Some(!failing);
        });
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

        let known = |at| endpoints.states(&urls, at);
        assert!(known(now).iter().all(|state| *state == EndpointState::default()));
        let call = choose(now);
        assert_eq!(known(now)[0].calls, 1);
        call.ended(true, now);
        drop(call);
        let out = EndpointState { reached: Some(false), out_for: Some(OUT), calls: 0 };
        assert_eq!(known(now)[0], out);
        assert_eq!(known(now + OUT)[0], EndpointState { out_for: None, ..out });
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
