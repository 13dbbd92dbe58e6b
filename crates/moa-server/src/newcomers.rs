//! Connections on which nobody has said yet who they are.
//!
//! A connection has its place before anything is known of it: who opens many and says nothing, or shakes
//! hands slowly, would keep everybody else out until each of them has waited too long. So, once half of
//! the places are taken, an address has a share of what is left to strangers: one more connection ends
//! its oldest that is still a stranger's. Who brings a token, a session or a JWT is none, for as long as
//! the connection lasts. Absent: a limit for who is known; those have rates of their own.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::AbortHandle;

/// The part of all places that the strangers of one address may have, when places are getting few.
const SHARE: usize = 8;

/// Those of all addresses.
#[derive(Debug, Default)]
pub struct Newcomers(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    last: u64,
    /// By origin, the oldest first; what ends one is known soon after it has come.
    by_origin: HashMap<Origin, BTreeMap<u64, Option<AbortHandle>>>,
}

/// Where connections come from, as far as one who has many addresses can't choose it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Origin {
    /// This machine, all of whose addresses are everybody's on it.
    Here,
    /// An address.
    Address(IpAddr),
    /// A network of IPv6: one subscriber has at least so much.
    Network([u16; 4]),
}

impl Origin {
    fn of(address: IpAddr) -> Self {
        let address = address.to_canonical();
        match address {
            _ if address.is_loopback() => Self::Here,
            IpAddr::V4(_) => Self::Address(address),
            IpAddr::V6(v6) => Self::Network(network(v6)),
        }
    }
}

fn network(address: Ipv6Addr) -> [u16; 4] {
    let [a, b, c, d, ..] = address.segments();
    [a, b, c, d]
}

/// A connection that has come; it is no newcomer any more when this is dropped.
#[derive(Debug)]
pub struct Arrival {
    all: Arc<Newcomers>,
    origin: Origin,
    number: u64,
}

impl Newcomers {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more from an address.
    pub fn arrive(self: &Arc<Self>, address: IpAddr) -> Arc<Arrival> {
        let origin = Origin::of(address);
        let mut waiting = self.waiting();
        waiting.last += 1;
        let number = waiting.last;
        waiting.by_origin.entry(origin).or_default().insert(number, None);
        Arc::new(Arrival { all: self.clone(), origin, number })
    }
}

impl Arrival {
    /// Says what ends this connection, unless it is known by now.
    pub fn ended_by(&self, handle: AbortHandle) {
        let mut waiting = self.all.waiting();
        let own = waiting.by_origin.get_mut(&self.origin);
        if let Some(place) = own.and_then(|own| own.get_mut(&self.number)) {
            *place = Some(handle);
        }
    }

    /// Ends the oldest newcomers of the same origin when there are more of them than their share of
    /// `places`, and half of those are taken: an origin that came first may have had all of that half. Answers whether it did.
    pub fn make_room(&self, taken: usize, places: usize) -> bool {
        let mut waiting = self.all.waiting();
        let Some(own) = waiting.by_origin.get_mut(&self.origin) else { return false };
        let share = (places / SHARE).max(1);
        if taken * 2 <= places || own.len() <= share {
            return false;
        }
        while own.len() > share {
            match own.pop_first() {
                Some((_, Some(oldest))) => oldest.abort(),
                Some((number, None)) => {
                    own.insert(number, None);
                    break;
                }
                None => break,
            }
        }
        true
    }

    /// Somebody has said on it who they are.
    pub fn is_known(&self) {
        let mut waiting = self.all.waiting();
        if let Some(own) = waiting.by_origin.get_mut(&self.origin) {
            own.remove(&self.number);
            if own.is_empty() {
                waiting.by_origin.remove(&self.origin);
            }
        }
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        self.is_known();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[tokio::test]
    async fn an_origin_loses_its_oldest_stranger_and_nobody_elses() {
        let all = Arc::new(Newcomers::default());
        let never = || tokio::spawn(std::future::pending::<()>());
        let come = |from: &str| {
            let (arrival, task) = (all.arrive(address(from)), never());
            arrival.ended_by(task.abort_handle());
            (arrival, task)
        };
        let (other, _other_task) = come("192.0.2.2");
        let (known, known_task) = come("192.0.2.1");
        known.is_known();
        let (_first, first_task) = come("192.0.2.1");
        let (_second, second_task) = come("192.0.2.1");
        let (third, _third_task) = come("192.0.2.1");
        assert!(!third.make_room(8, 16), "half of the places are free");
        assert!(!other.make_room(16, 16), "it has its share");
        assert!(third.make_room(9, 16));
        assert!(first_task.await.expect_err("it is ended").is_cancelled());
        assert!(!third.make_room(16, 16), "it is at its share now");
        let (fourth, _fourth_task) = come("192.0.2.1");
        assert!(fourth.make_room(16, 16));
        assert!(second_task.await.expect_err("it is ended").is_cancelled());
        assert!(!known_task.is_finished());
    }

    #[tokio::test]
    async fn who_came_first_keeps_no_more_than_a_share() {
        let all = Arc::new(Newcomers::default());
        let task = || tokio::spawn(std::future::pending::<()>());
        let mut tasks = Vec::new();
        let mut come = || {
            let (arrival, task) = (all.arrive(address("192.0.2.1")), task());
            arrival.ended_by(task.abort_handle());
            tasks.push(task);
            arrival
        };
        let early: Vec<_> = (0..8).map(|_| come()).collect();
        assert!(early.iter().all(|arrival| !arrival.make_room(8, 16)));
        let last = come();
        assert!(last.make_room(9, 16));
        assert!(!last.make_room(16, 16), "it is at its share now");
        let kept = tasks.split_off(7);
        for task in tasks {
            assert!(task.await.expect_err("it is ended").is_cancelled());
        }
        assert!(kept.iter().all(|task| !task.is_finished()));
    }

    #[test]
    fn what_has_ended_counts_no_more_and_networks_count_as_one() {
        let all = Arc::new(Newcomers::default());
        drop(all.arrive(address("192.0.2.1")));
        assert!(all.waiting().by_origin.is_empty());
        let same =
            [("127.0.0.1", "::1"), ("127.0.0.1", "127.9.9.9"), ("::ffff:192.0.2.1", "192.0.2.1")];
        for (one, other) in same.into_iter().chain([("2001:db8::1", "2001:db8::ffff:1")]) {
            assert_eq!(Origin::of(address(one)), Origin::of(address(other)), "{one} {other}");
        }
        assert_ne!(Origin::of(address("2001:db8::1")), Origin::of(address("2001:db8:0:1::1")));
    }
}
