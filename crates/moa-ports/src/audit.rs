//! The audit log as a store keeps it: who did what, when and from where, in a chain of hashes.
//!
//! An entry is a text that never changes ([`Act`] as JSON, as a rule) with a number and a hash. The
//! hash covers the number, the text and the hash of the entry before, so that an entry that is
//! changed, left out or put elsewhere breaks the chain from there on. The store gives the numbers and
//! computes the hashes, in the transaction that writes the entries: nobody else knows the newest.
//! A chain says nothing of entries taken off its end, or of one that was made anew as a whole: for
//! that, heads of it are kept elsewhere. Old entries may be removed from its beginning: an entry that is
//! added in the same transaction says which was the last of them ([`pruned`]), so the chain can be
//! followed from there. Absent: whether the text is true.

use std::fmt;
use std::str::FromStr;

use moa_core::time::Millis;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value as Json;

/// Says what is hashed, so that the hash of an entry is never that of anything else.
const CONTEXT: &str = "moa audit entry 1";

/// The hash of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AuditHash(pub [u8; 32]);

/// The newest entry of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditHead {
    /// Its number: 1 for the first entry, and one more for each.
    pub seq: u64,
    /// Its hash.
    pub hash: AuditHash,
}

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Its number.
    pub seq: u64,
    /// Its hash.
    pub hash: AuditHash,
    /// What it says, as it was written.
    pub body: String,
}

/// Something that somebody does, as the text of an entry. One is written before it is done, and
/// another when it is known what came of it: an act of which there is only the first may have been
/// done or not, because moa ended in the middle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Act {
    /// When it was written.
    pub at: Millis,
    /// Who: `unix:1000 (ann)` for a user of the machine, `token:ID` for a token of the API.
    pub who: String,
    /// From where: `socket (pid 4711)`, `http 192.0.2.7`, `cli`.
    pub from: String,
    /// What: `run.start`, `secret.set`; see the manual for all of them.
    pub action: String,
    /// To what: a run, a trigger, a secret's name.
    pub object: String,
    /// What is known of it.
    pub phase: Phase,
    /// Of one that was asked before: the number of that entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<u64>,
    /// How the object was before, as far as that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Json>,
    /// What was asked for, or how the object was after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Json>,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What is known of an act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It is going to be done.
    Asked,
    /// It is done.
    Done,
    /// It was refused, or failed.
    Refused,
}

impl Phase {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Asked, Self::Done, Self::Refused];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Done => "done",
            Self::Refused => "refused",
        }
    }
}

impl AuditHead {
    /// The head of a chain after one more entry that says `body`.
    pub fn next(before: Option<&Self>, body: &str) -> Self {
        let seq = before.map_or(0, |head| head.seq).saturating_add(1);
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        hasher.update(&seq.to_le_bytes());
        hasher.update(&before.map_or([0; 32], |head| head.hash.0));
        hasher.update(body.as_bytes());
        Self { seq, hash: AuditHash(*hasher.finalize().as_bytes()) }
    }
}

impl AuditEntry {
    /// Its number and hash.
    pub const fn head(&self) -> AuditHead {
        AuditHead { seq: self.seq, hash: self.hash }
    }

    /// The act that it tells of; `None` = the text is another one.
    pub fn act(&self) -> Option<Act> {
        serde_json::from_str(&self.body).ok()
    }
}

/// What an entry does that says which entries were removed.
pub const PRUNE: &str = "audit.prune";

/// The last entry that was removed, if an act says so.
pub fn pruned(act: &Act) -> Option<AuditHead> {
    let head = act.before.as_ref().filter(|_| act.action == PRUNE && act.phase == Phase::Done)?;
    serde_json::from_value(head.get("last")?.clone()).ok()
}

impl fmt::Display for AuditHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for AuditHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for AuditHash {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |_| format!("{text:?} is not a hash (64 hexadecimal digits)");
        blake3::Hash::from_hex(text).map(|hash| Self(*hash.as_bytes())).map_err(wrong)
    }
}

impl Serialize for AuditHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AuditHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_tells_number_text_and_what_was_before() {
        let first = AuditHead::next(None, "a");
        let second = AuditHead::next(Some(&first), "a");
        let other = AuditHead::next(Some(&AuditHead::next(None, "b")), "a");
        assert_eq!((first.seq, second.seq), (1, 2));
        assert_ne!(first.hash, second.hash);
        assert_ne!(second.hash, other.hash);
        let skipped = AuditHead { seq: 7, ..first };
        assert_ne!(AuditHead::next(Some(&skipped), "a").hash, second.hash);
        let text = second.hash.to_string();
        assert_eq!(text.parse(), Ok(second.hash));
        assert!("12".parse::<AuditHash>().is_err());
    }
}
