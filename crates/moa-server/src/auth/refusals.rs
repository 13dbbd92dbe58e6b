//! What is refused, for the audit log: tokens and links that are not known, and what somebody may not.
//!
//! Whoever is refused chooses how often, so not each refusal is an entry: the first one of somebody is
//! one at once, and those of the next minute are one together, with their number. Of very many at the
//! same time, who is not among the first is told with all others. Who is known has places that no
//! stranger takes, and strangers together get so many in an hour: so they fill no disk, and push nothing
//! out of a log that is limited. An answer waits for none of it. Absent: that something is refused
//! because the log can't be written.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::Asker;

/// Refusals of somebody are told together for so long.
const WINDOW: Duration = Duration::from_secs(60);
/// Those of many strangers are told together for so long.
const HOUR: Duration = Duration::from_secs(3600);
/// Of so many strangers at once is told from where they come.
const STRANGERS_MAX: usize = 64;
/// So many of them in an hour, however long each of them goes on.
const STRANGERS_AN_HOUR: usize = 120;
/// Of so many at once that are known is told who they are.
const KNOWN_MAX: usize = 1000;
/// Whom an [`Asker`] calls so is not known.
const NOBODY: &str = "nobody";
/// Who is told with all others.
const MANY: &str = "many";

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

/// Who is told together, and of what: the known by who they are, strangers by where they come from.
type Place = (Asker, &'static str);

#[derive(Debug, Default)]
struct Windows {
    known: BTreeMap<Place, Window>,
    strangers: BTreeMap<Place, Window>,
    /// When an hour of strangers began, and how many places they have got in it.
    hour: Option<(Instant, usize)>,
}

impl Windows {
    /// The window of a refusal; it is the one of many, where there is no place.
    fn of(&mut self, refusal: &mut Refusal, now: Instant) -> &mut Window {
        let action = refusal.action;
        let window = || Window { began: now, told: false, rest: None };
        if refusal.asker.who != NOBODY {
            let who = Asker { who: refusal.asker.who.clone(), from: String::new() };
            let place = (who, action);
            if self.known.len() < KNOWN_MAX || self.known.contains_key(&place) {
                return self.known.entry(place).or_insert_with(window);
            }
        } else {
            let place = (refusal.asker.clone(), action);
            if self.strangers.contains_key(&place) || self.takes_stranger(now) {
                return self.strangers.entry(place).or_insert_with(window);
            }
        }
        refusal.asker = Asker { who: MANY.into(), from: "http, many addresses".into() };
        self.strangers.entry((refusal.asker.clone(), action)).or_insert_with(window)
    }

    /// Whether there is a place for one more stranger, which is taken then.
    fn takes_stranger(&mut self, now: Instant) -> bool {
        let is_over = |began: Instant| now.saturating_duration_since(began) >= HOUR;
        let (began, count) = self.hour.filter(|(began, _)| !is_over(*began)).unwrap_or((now, 0));
        let single = self.strangers.keys().filter(|(asker, _)| asker.who == NOBODY).count();
        let takes = count < STRANGERS_AN_HOUR && single < STRANGERS_MAX;
        self.hour = Some((began, count + usize::from(takes)));
        takes
    }
}

/// How long those of somebody are told together.
fn lasts(asker: &Asker) -> Duration {
    if asker.who == MANY { HOUR } else { WINDOW }
}

/// All that is to be told.
#[derive(Debug, Default)]
pub struct Refusals {
    windows: Mutex<Windows>,
    news: Notify,
}

impl Refusals {
    fn windows(&self) -> MutexGuard<'_, Windows> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes one.
    pub fn note(&self, refusal: Refusal, now: Instant) {
        let mut refusal = refusal;
        let mut windows = self.windows();
        let window = windows.of(&mut refusal, now);
        let before = window.rest.as_ref().map_or(0, |rest| rest.times);
        window.rest = Some(Refusal { times: before + refusal.times, ..refusal });
        drop(windows);
        self.news.notify_one();
    }

    /// What is to be told by now, and when there is more.
    fn due(&self, now: Instant) -> (Vec<Refusal>, Option<Instant>) {
        let mut windows = self.windows();
        let mut due = Vec::new();
        let mut tell = |(asker, _): &Place, window: &mut Window| {
            let is_over = now.saturating_duration_since(window.began) >= lasts(asker);
            if is_over || !window.told {
                due.extend(window.rest.take());
                window.told = true;
            }
            !is_over
        };
        windows.known.retain(&mut tell);
        windows.strangers.retain(&mut tell);
        let all = windows.known.iter().chain(&windows.strangers);
        let then = all.map(|((asker, _), window)| window.began + lasts(asker)).min();
        (due, then)
    }

    /// All that is not told yet.
    pub fn rest(&self) -> Vec<Refusal> {
        let mut windows = self.windows();
        let (known, strangers) =
            (std::mem::take(&mut windows.known), std::mem::take(&mut windows.strangers));
        known.into_values().chain(strangers.into_values()).filter_map(|one| one.rest).collect()
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
        assert_eq!(due.len(), STRANGERS_MAX + 1);
        assert_eq!(due.iter().map(|refusal| refusal.times).sum::<u64>(), 10_000);
        refusals.note(refusal("0", "x"), start);
        assert_eq!(refusals.rest().len(), 1);
        assert_eq!(refusals.rest(), []);
    }

    #[test]
    fn strangers_take_no_place_of_the_known_and_get_few_in_an_hour() {
        let refusals = Refusals::default();
        let start = Instant::now();
        let known = |n: usize, from: &str| {
            let asker = Asker { who: format!("token:{n} (x)"), from: from.into() };
            Refusal { asker, action: "access", ..refusal("", "x") }
        };
        let (mut entries, mut times) = (0, 0);
        // Each minute of a day of another thousand addresses.
        for minute in 0..24 * 60 {
            let now = start + Duration::from_secs(minute * 60);
            for n in 0..1000 {
                refusals.note(refusal(&format!("{minute} {n}"), "x"), now);
            }
            refusals.note(known(minute as usize, "a"), now);
            refusals.note(known(minute as usize, "b"), now);
            let (due, _) = refusals.due(now);
            let (ours, others): (Vec<_>, Vec<_>) =
                due.into_iter().partition(|one| one.asker.who.starts_with("token:"));
            assert_eq!(ours, [Refusal { times: 2, ..known(minute as usize, "b") }]);
            entries += others.len();
            times += others.iter().map(|one| one.times).sum::<u64>();
        }
        times += refusals.rest().iter().map(|one| one.times).sum::<u64>();
        assert_eq!(times, 24 * 60 * 1000, "each is counted");
        assert!(entries <= 24 * (STRANGERS_AN_HOUR * 2 + 2), "{entries}");
    }
}
