//! What is refused, for the audit log: tokens and links that are not known, and what somebody may not.
//!
//! Whoever is refused chooses how often, so not each refusal is an entry: the first one of somebody is
//! one at once, and those of the next minute are one together, with their number. Of very many at the
//! same time, who is not among the first is told with all others. So this fills no disk, and an answer
//! waits for none of it. Absent: that something is refused because the log can't be written.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::Asker;

/// Refusals of somebody are told together for so long.
const WINDOW: Duration = Duration::from_secs(60);
/// Of so many at once is told who they are.
const KNOWN_MAX: usize = 64;

/// Something that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// To whom.
    pub asker: Asker,
    /// `sign_in`, or `access`.
    pub action: &'static str,
    /// What they came with, or asked for.
    pub object: String,
    /// Why.
    pub why: String,
    /// How often; with the first one told as it came, the others of its minute.
    pub times: u64,
}

/// Refusals that are told together.
#[derive(Debug)]
struct Window {
    began: Instant,
    /// Whether the first one is told.
    told: bool,
    /// Those that are not told, the newest as it came.
    rest: Option<Refusal>,
}

/// All that is to be told.
#[derive(Debug, Default)]
pub struct Refusals {
    windows: Mutex<BTreeMap<(Asker, &'static str), Window>>,
    news: Notify,
}

impl Refusals {
    fn windows(&self) -> MutexGuard<'_, BTreeMap<(Asker, &'static str), Window>> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes one.
    pub fn note(&self, refusal: Refusal, now: Instant) {
        let mut windows = self.windows();
        let key = |asker: &Asker| (asker.clone(), refusal.action);
        let mut key_of = key(&refusal.asker);
        let mut refusal = refusal;
        if windows.len() >= KNOWN_MAX && !windows.contains_key(&key_of) {
            refusal.asker = Asker { who: "many".into(), from: "http, many addresses".into() };
            key_of = (refusal.asker.clone(), refusal.action);
        }
        let window =
            windows.entry(key_of).or_insert_with(|| Window { began: now, told: false, rest: None });
        let before = window.rest.as_ref().map_or(0, |rest| rest.times);
        window.rest = Some(Refusal { times: before + refusal.times, ..refusal });
        drop(windows);
        self.news.notify_one();
    }

    /// What is to be told by now, and when there is more.
    fn due(&self, now: Instant) -> (Vec<Refusal>, Option<Instant>) {
        let mut windows = self.windows();
        let mut due = Vec::new();
        windows.retain(|_, window| {
            let is_over = now.saturating_duration_since(window.began) >= WINDOW;
            if is_over || !window.told {
                due.extend(window.rest.take());
                window.told = true;
            }
            !is_over
        });
        (due, windows.values().map(|window| window.began + WINDOW).min())
    }

    /// All that is not told yet.
    pub fn rest(&self) -> Vec<Refusal> {
        let windows = std::mem::take(&mut *self.windows());
        windows.into_values().filter_map(|window| window.rest).collect()
    }

    /// Waits until there is something to tell.
    pub async fn next(&self) -> Vec<Refusal> {
        loop {
            let (due, then) = self.due(Instant::now());
            if !due.is_empty() {
                return due;
            }
            match then {
                None => self.news.notified().await,
                Some(then) => {
                    let ended = tokio::time::timeout_at(then.into(), self.news.notified()).await;
                    // Either is a reason to look again.
                    drop(ended);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(from: &str, object: &str) -> Refusal {
        let asker = Asker { who: "nobody".into(), from: from.into() };
        let (object, why) = (object.into(), "why".into());
        Refusal { asker, action: "sign_in", object, why, times: 1 }
    }

    #[test]
    fn the_first_is_told_at_once_and_the_others_of_a_minute_together() {
        let refusals = Refusals::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        refusals.note(refusal("a", "one"), start);
        let (due, then) = refusals.due(start);
        assert_eq!((due, then), (vec![refusal("a", "one")], Some(at(60))));
        for n in 1..=1000 {
            refusals.note(refusal("a", &n.to_string()), at(1));
        }
        refusals.note(refusal("b", "other"), at(1));
        assert_eq!(refusals.due(at(59)).0, [refusal("b", "other")]);
        let all = Refusal { times: 1000, ..refusal("a", "1000") };
        assert_eq!(refusals.due(at(60)), (vec![all], Some(at(61))));
        assert_eq!(refusals.due(at(61)), (vec![], None));
        refusals.note(refusal("a", "again"), at(62));
        assert_eq!(refusals.due(at(62)).0.len(), 1, "it is a new one");
    }

    #[test]
    fn of_very_many_only_some_are_known_and_all_are_counted() {
        let refusals = Refusals::default();
        let start = Instant::now();
        for n in 0..10_000 {
            refusals.note(refusal(&format!("{n}"), "x"), start);
        }
        let (due, _) = refusals.due(start);
        assert_eq!(due.len(), KNOWN_MAX + 1);
        assert_eq!(due.iter().map(|refusal| refusal.times).sum::<u64>(), 10_000);
        refusals.note(refusal("0", "x"), start);
        assert_eq!(refusals.rest().len(), 1);
        assert_eq!(refusals.rest(), []);
    }
}
