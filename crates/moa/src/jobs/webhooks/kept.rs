//! What is kept of webhooks: how far each has come, and which are switched off because their
//! receivers are gone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use moa_core::ids::{Name, RunId};
use moa_core::time::{Millis, Span};
use moa_spec::Subscription;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::files::Beneath;

/// The file, beneath the project's state.
pub const FILE: &str = "webhooks.json";

/// How long is kept what is known of a webhook that is not in the settings: editors empty a file before
/// they write it.
const AWAY_MAX: Span = Span::minutes(60);
/// Of how many at most.
const AWAY_COUNT_MAX: usize = 1000;

/// A webhook whose receiver wants no more calls: it answered 410.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gone {
    /// When it said so.
    pub since: Millis,
    /// The run whose delivery it refused.
    pub run: RunId,
    /// Its address, or the name of the secret that holds it: another receiver is not gone.
    url: Json,
}

impl Gone {
    /// Of a webhook as it is now.
    pub fn new(one: &Subscription, since: Millis, run: RunId) -> Self {
        Self { since, run, url: url(one) }
    }
}

fn url(one: &Subscription) -> Json {
    serde_json::to_value(&one.receiver.url).unwrap_or_default()
}

/// A webhook that is not in the settings, and may come back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Away {
    /// When that was first seen.
    since: Millis,
    /// How far it had come.
    mark: Option<u64>,
    /// That it was switched off.
    gone: Option<Gone>,
    /// Its address, or the name of the secret that holds it: another receiver hears of nothing that
    /// happened before it was there.
    #[serde(default)]
    url: Json,
}

/// What is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// The number of the last commit that each has heard of.
    pub marks: BTreeMap<Name, u64>,
    /// Those that are switched off.
    pub gone: BTreeMap<Name, Gone>,
    /// Where those are called that have a mark.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    urls: BTreeMap<Name, Json>,
    /// Those that were in the settings not long ago.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    away: BTreeMap<Name, Away>,
}

/// As it was before receivers could be gone: the marks alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum Read {
    Now(Kept),
    Before(BTreeMap<Name, u64>),
}

impl Kept {
    /// What is on the disk. A file that can't be read is no reason to call anybody twice: they begin
    /// now.
    pub fn read(state: &Path) -> Self {
        let Ok(text) = fs::read_to_string(state.join(FILE)) else { return Self::default() };
        match serde_json::from_str(&text) {
            Ok(Read::Now(kept)) => kept,
            Ok(Read::Before(marks)) => Self { marks, ..Self::default() },
            Err(error) => {
                tracing::error!(%error, "{FILE} is damaged: webhooks tell of what happens from now on");
                Self::default()
            }
        }
    }

    /// Writes it, whole or not at all; it is on the disk when this returns.
    ///
    /// # Errors
    /// What the disk says.
    pub fn write(&self, state: &Path) -> io::Result<()> {
        Beneath::new(state)?.write(Path::new(FILE), &serde_json::to_vec(self)?)
    }

    /// Makes it fit all webhooks that there are, active or not: forgets how far those have come that
    /// aren't active, and that a receiver is gone where there is another one. One that is not there
    /// is forgotten an hour later: until then it goes on where it was when it comes back.
    pub fn fit(&mut self, subscriptions: &BTreeMap<Name, Subscription>, now: Millis) {
        self.put_away(subscriptions, now);
        self.bring_back(subscriptions);
        let active = |name: &Name| subscriptions.get(name).filter(|one| one.active);
        self.gone.retain(|name, gone| active(name).is_some_and(|one| url(one) == gone.url));
        let gone = &self.gone;
        self.marks.retain(|name, _| active(name).is_some() && !gone.contains_key(name));
        self.urls =
            self.marks.keys().filter_map(|name| Some((name.clone(), url(active(name)?)))).collect();
    }

    fn put_away(&mut self, subscriptions: &BTreeMap<Name, Subscription>, now: Millis) {
        for away in self.away.values_mut() {
            // The clock was set back.
            away.since = away.since.min(now);
        }
        let known = self.marks.keys().chain(self.gone.keys());
        let missing = known.filter(|name| !subscriptions.contains_key(*name));
        for name in missing.cloned().collect::<BTreeSet<_>>() {
            let (mark, gone) = (self.marks.remove(&name), self.gone.remove(&name));
            let url = self.urls.remove(&name).unwrap_or_default();
            self.away.insert(name, Away { since: now, mark, gone, url });
        }
        self.away.retain(|_, away| now.since(away.since) < AWAY_MAX);
        while self.away.len() > AWAY_COUNT_MAX {
            let oldest = self.away.iter().min_by_key(|(_, away)| away.since);
            let Some(oldest) = oldest.map(|(name, _)| name.clone()) else { break };
            self.away.remove(&oldest);
        }
    }

    fn bring_back(&mut self, subscriptions: &BTreeMap<Name, Subscription>) {
        let back =
            self.away.keys().filter_map(|name| Some((name.clone(), subscriptions.get(name)?)));
        for (name, one) in back.collect::<Vec<_>>() {
            let Some(Away { mark, gone, url: at, .. }) = self.away.remove(&name) else { continue };
            // What is known of it by now is newer.
            if self.marks.contains_key(&name) || self.gone.contains_key(&name) {
                continue;
            }
            let mark = mark.filter(|_| at == url(one));
            self.marks.extend(mark.map(|mark| (name.clone(), mark)));
            self.gone.extend(gone.map(|gone| (name, gone)));
        }
    }
}

/// Those of these webhooks that are switched off at that time because their receivers are gone.
pub fn gone(
    state: &Path,
    webhooks: &BTreeMap<Name, Subscription>,
    now: Millis,
) -> BTreeMap<Name, Gone> {
    let mut kept = Kept::read(state);
    kept.fit(webhooks, now);
    kept.gone
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_older_moa_kept_is_read_and_nonsense_begins_anew() {
        let state = tempfile::tempdir().expect("a temporary folder");
        let read = |text: &str| {
            fs::write(state.path().join(FILE), text).expect("it can be written");
            Kept::read(state.path())
        };
        let name = |text| Name::new(text).expect("a name");
        let kept = read(r#"{"marks": 7, "billing": 12}"#);
        assert_eq!(kept.marks, [(name("billing"), 12), (name("marks"), 7)].into());
        assert_eq!(read(r#"{"marks": {"a": 1}, "gone": {}}"#).marks, [(name("a"), 1)].into());
        assert_eq!(read("{"), Kept::default());
        kept.write(state.path()).expect("it can be written");
        assert_eq!(Kept::read(state.path()), kept);
    }

    fn webhooks(names: &[&str]) -> BTreeMap<Name, Subscription> {
        let one = |name: &&str| {
            let url = moa_spec::Secretive::Plain("https://example.com".to_owned());
            let receiver = moa_spec::Webhook { url, secret: None, timeout: Span::seconds(10) };
            let one =
                Subscription { receiver, types: Vec::new(), workflows: Vec::new(), active: true };
            (Name::new(name).expect("a name"), one)
        };
        names.iter().map(one).collect()
    }

    #[test]
    fn a_webhook_that_comes_back_within_an_hour_goes_on_where_it_was() {
        let (all, start) = (webhooks(&["a", "b"]), Millis(1_000_000_000));
        let name = |text| Name::new(text).expect("a name");
        let b = &all[&name("b")];
        let before = Kept {
            marks: [(name("a"), 7)].into(),
            gone: [(name("b"), Gone::new(b, start, RunId(1)))].into(),
            urls: [(name("a"), url(b))].into(),
            away: BTreeMap::new(),
        };
        let mut kept = before.clone();
        kept.fit(&BTreeMap::new(), start);
        assert!(kept.marks.is_empty() && kept.gone.is_empty());
        // It is kept on the disk, and an hour begins when it was missed first.
        let text = serde_json::to_string(&kept).expect("JSON");
        let kept: Kept = serde_json::from_str(&text).expect("JSON");
        let hour = start.after(AWAY_MAX);
        let back = |at: &[Millis]| {
            let mut kept = kept.clone();
            at.iter().for_each(|at| kept.fit(&BTreeMap::new(), *at));
            kept.fit(&all, at[at.len() - 1]);
            kept
        };
        assert_eq!(back(&[Millis(start.0 + 1), Millis(hour.0 - 1)]), before);
        assert_eq!(back(&[Millis(start.0 + 1), hour]), Kept::default());
        // Another receiver under its name begins anew.
        let mut others = all.clone();
        for other in others.values_mut() {
            other.receiver.url = moa_spec::Secretive::Plain("https://example.org".to_owned());
        }
        let mut other = kept.clone();
        other.fit(&others, Millis(start.0 + 1));
        assert_eq!(other, Kept::default());
        // A clock that was set back keeps nothing for longer.
        assert_eq!(back(&[Millis(0)]), before);
        assert_eq!(back(&[Millis(0), Millis(0).after(AWAY_MAX)]), Kept::default());
    }

    #[test]
    fn one_that_is_not_active_is_forgotten_and_no_number_of_others_is_kept() {
        let start = Millis(1_000_000_000);
        let mut all = webhooks(&["a"]);
        let mut kept =
            Kept { marks: [(Name::new("a").expect("a name"), 7)].into(), ..Kept::default() };
        kept.fit(&BTreeMap::new(), start);
        all.values_mut().for_each(|one| one.active = false);
        kept.fit(&all, start);
        assert_eq!(kept, Kept::default());
        for n in 0..AWAY_COUNT_MAX + 2 {
            let name = Name::new(&format!("w{n}")).expect("a name");
            kept.marks.insert(name, 1);
            kept.fit(&BTreeMap::new(), start.after(Span(n as u64)));
        }
        assert_eq!(kept.away.len(), AWAY_COUNT_MAX);
        let oldest = kept.away.values().map(|away| away.since).min();
        assert_eq!(oldest, Some(start.after(Span(2))));
    }
}
