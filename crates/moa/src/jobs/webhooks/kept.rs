//! What is kept of webhooks: how far each has come, and which are switched off because their
//! receivers are gone.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use moa_core::ids::{Name, RunId};
use moa_core::time::Millis;
use moa_spec::Subscription;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::files::Beneath;

/// The file, beneath the project's state.
pub const FILE: &str = "webhooks.json";

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

/// What is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// The number of the last commit that each has heard of.
    pub marks: BTreeMap<Name, u64>,
    /// Those that are switched off.
    pub gone: BTreeMap<Name, Gone>,
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
            Ok(Read::Before(marks)) => Self { marks, gone: BTreeMap::new() },
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

    /// Forgets what is no webhook any more, and that a receiver is gone where there is another one.
    pub fn fit(&mut self, subscriptions: &BTreeMap<Name, Subscription>) {
        let is_it = |name: &Name, gone: &Gone| {
            subscriptions.get(name).is_some_and(|one| url(one) == gone.url)
        };
        self.gone.retain(|name, gone| is_it(name, gone));
        let gone = &self.gone;
        self.marks.retain(|name, _| subscriptions.contains_key(name) && !gone.contains_key(name));
    }
}

/// Those of these webhooks that are switched off because their receivers are gone.
pub fn gone(state: &Path, webhooks: &BTreeMap<Name, Subscription>) -> BTreeMap<Name, Gone> {
    let mut kept = Kept::read(state);
    kept.fit(webhooks);
    kept.gone.retain(|name, _| webhooks.get(name).is_some_and(|one| one.active));
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
}
