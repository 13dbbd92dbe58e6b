//! How often an address may be wrong about who it is.
//!
//! A secret has 256 bits, so nobody guesses one; this keeps those who try from costing anything.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Wrong attempts at once.
const FAILURES_MAX: u32 = 10;
/// Time after which one of them is forgotten.
const FORGIVEN_EVERY: Duration = Duration::from_secs(6);
/// Addresses remembered; more are strangers again.
const ADDRESSES_MAX: usize = 10_000;

/// Failures by address: how many, and when the count was true.
#[derive(Debug, Default)]
pub struct Limiter {
    failures: Mutex<BTreeMap<IpAddr, (u32, Instant)>>,
}

impl Limiter {
    /// How long an address has to wait before it is listened to again; `None` = not at all.
    pub fn wait(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, since) = failures.get(&address)?;
        let left = count.saturating_sub(forgiven(now.saturating_duration_since(*since)));
        let passed = now.saturating_duration_since(*since).as_secs() % FORGIVEN_EVERY.as_secs();
        (left >= FAILURES_MAX).then(|| FORGIVEN_EVERY - Duration::from_secs(passed))
    }

    /// Notes that an address was wrong.
    pub fn failed(&self, address: IpAddr, now: Instant) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= ADDRESSES_MAX {
            failures.retain(|_, (count, since)| {
                *count > forgiven(now.saturating_duration_since(*since))
            });
            // All of them at it: whoever came first is forgotten first.
            if failures.len() >= ADDRESSES_MAX {
                failures.clear();
            }
        }
        let entry = failures.entry(address).or_insert((0, now));
        let gone = forgiven(now.saturating_duration_since(entry.1));
        entry.0 = entry.0.saturating_sub(gone).saturating_add(1);
        entry.1 += FORGIVEN_EVERY * gone;
        if entry.0 == 1 {
            entry.1 = now;
        }
    }
}

fn forgiven(passed: Duration) -> u32 {
    u32::try_from(passed.as_secs() / FORGIVEN_EVERY.as_secs()).unwrap_or(u32::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_wrong_too_often_waits_and_others_do_not() {
        let limiter = Limiter::default();
        let (bad, good) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let now = Instant::now();
        for _ in 0..FAILURES_MAX {
            assert_eq!(limiter.wait(bad, now), None);
            limiter.failed(bad, now);
        }
        assert_eq!(limiter.wait(bad, now), Some(FORGIVEN_EVERY));
        assert_eq!(limiter.wait(good, now), None);
        let later = now + FORGIVEN_EVERY;
        assert_eq!(limiter.wait(bad, later), None);
        limiter.failed(bad, later);
        assert_eq!(limiter.wait(bad, later), Some(FORGIVEN_EVERY));
        assert_eq!(limiter.wait(bad, now + Duration::from_secs(1 << 40)), None);
    }
}
