//! The identity of a trigger, and of the runs that it starts.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::{Name, RunId};
use crate::time::Millis;

/// The id of a trigger: a UUID derived from its name, so that the same trigger has it at every
/// start and on every node. Version 8: never the id of a run that somebody started.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TriggerId(pub u128);

impl TriggerId {
    /// The id of the trigger `workflow/name`.
    pub fn of(workflow: &Name, name: &Name) -> Self {
        Self::derived(&format!("trigger {workflow}/{name}"))
    }

    /// The id of the rule `name`, whichever workflow's runs it starts.
    pub fn of_rule(name: &Name) -> Self {
        Self::derived(&format!("rule {name}"))
    }

    fn derived(text: &str) -> Self {
        let bits = first_bits(&blake3::hash(text.as_bytes()));
        Self(bits & !(0xF_u128 << 76 | 0b11_u128 << 62) | 0x8_u128 << 76 | 0b10_u128 << 62)
    }

    /// Where messages to it go: it has an address as a run has one.
    pub fn address(self) -> RunId {
        RunId(self.0)
    }

    /// The id of the run that the occurrence `key` starts, the same however often it is asked for.
    /// `at` is an instant that belongs to the occurrence: lists show the run at that place.
    pub fn run(self, key: &str, at: Millis) -> RunId {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.to_bytes());
        hasher.update(key.as_bytes());
        let random = first_bits(&hasher.finalize());
        let id = RunId::v7(u64::try_from(at.0).unwrap_or(0), random).0;
        RunId(id & !(0xF_u128 << 76) | 0x8_u128 << 76)
    }

    /// The sixteen bytes, big-endian.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// The reverse of [`TriggerId::to_bytes`].
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }
}

fn first_bits(hash: &blake3::Hash) -> u128 {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.as_bytes()[..16]);
    u128::from_be_bytes(bytes)
}

impl fmt::Display for TriggerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address().fmt(f)
    }
}

impl fmt::Debug for TriggerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TriggerId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        text.parse::<RunId>().map(|id| Self(id.0))
    }
}

impl Serialize for TriggerId {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.address().serialize(s)
    }
}

impl<'de> Deserialize<'de> for TriggerId {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        RunId::deserialize(d).map(|id| Self(id.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).expect("a name")
    }

    #[test]
    fn ids_are_derived_and_are_never_those_of_ordinary_runs() {
        let nightly = TriggerId::of(&name("build"), &name("nightly"));
        assert_eq!(nightly, TriggerId::of(&name("build"), &name("nightly")));
        assert_ne!(nightly, TriggerId::of(&name("build"), &name("hourly")));
        let paid = TriggerId::of_rule(&name("paid"));
        assert_eq!(paid.to_string(), "60394630-32df-8b54-9e1b-a4b6161a0784");
        assert_eq!(&nightly.to_string()[14..15], "8");
        assert!("89ab".contains(&nightly.to_string()[19..20]));
        assert_eq!(nightly.to_string().parse(), Ok(nightly));
    }

    #[test]
    fn a_run_s_id_follows_from_the_occurrence_and_sorts_by_its_instant() {
        let trigger = TriggerId::of(&name("build"), &name("nightly"));
        let other = TriggerId::of(&name("build"), &name("hourly"));
        let at = Millis(1_800_000_000_000);
        let run = trigger.run("2027", at);
        assert_eq!(run, trigger.run("2027", at));
        assert_ne!(run, trigger.run("2028", at));
        assert_ne!(run, other.run("2027", at));
        assert!(run < trigger.run("2027", at.after(crate::time::Span(1))));
        assert_eq!(&run.to_string()[14..15], "8");
    }
}
