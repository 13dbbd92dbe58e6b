//! Identifiers: runs, workflows, agents, steps, nodes, workflow versions.
//!
//! One name type checks every name that a user can choose, so that a name is never a path.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::limits::{NAME_LENGTH_MAX, STEP_ID_LENGTH_MAX};

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text is empty.
    #[error("a name must not be empty")]
    Empty,
    /// The text is longer than the limit (characters).
    #[error("a name has at most {max} characters, this one has {length}")]
    TooLong {
        /// Characters found.
        length: usize,
        /// Characters allowed.
        max: usize,
    },
    /// The text holds a character that names don't have.
    #[error("{found:?} can't stand in a name; allowed are {allowed}")]
    Character {
        /// The first offending character.
        found: char,
        /// The allowed characters, in words.
        allowed: &'static str,
    },
}

/// The name of a workflow, an agent, a channel or a node: `[A-Za-z0-9_-]{1,64}`, so never a path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(Arc<str>);

impl Name {
    /// Checks `text` and makes a name of it.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let allowed = "letters, digits, '_' and '-'";
        check(text, NAME_LENGTH_MAX, allowed, |_, c| {
            c.is_ascii_alphanumeric() || c == '_' || c == '-'
        })?;
        Ok(Self(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The id of a step: a CEL identifier, `[a-z_][a-z0-9_]*`, at most 64 characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StepId(Arc<str>);

impl StepId {
    /// Checks `text` and makes a step id of it.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let allowed = "lower-case letters, digits and '_', and no digit first";
        check(text, STEP_ID_LENGTH_MAX, allowed, |i, c| {
            c.is_ascii_lowercase() || c == '_' || (i > 0 && c.is_ascii_digit())
        })?;
        Ok(Self(text.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check(
    text: &str,
    max: usize,
    allowed: &'static str,
    legal: impl Fn(usize, char) -> bool,
) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if let Some((_, found)) = text.chars().enumerate().find(|&(i, c)| !legal(i, c)) {
        return Err(NameError::Character { found, allowed });
    }
    if text.len() > max {
        return Err(NameError::TooLong { length: text.len(), max });
    }
    Ok(())
}

macro_rules! text_id {
    ($type:ty) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(&text)
            }
        }
        impl FromStr for $type {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }
        impl From<$type> for String {
            fn from(id: $type) -> String {
                id.0.to_string()
            }
        }
        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}
text_id!(Name);
text_id!(StepId);

/// The id of a run: a UUID, version 7 when a person or a trigger starts it, derived (version 8)
/// when a parent run starts it, so that starting a child twice starts one child.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub u128);

impl RunId {
    /// A version 7 UUID (RFC 9562) of `millis` since the epoch and 74 bits taken from `random`.
    pub fn v7(millis: u64, random: u128) -> Self {
        let time = u128::from(millis & 0xFFFF_FFFF_FFFF) << 80;
        let high = (random >> 62) & 0xFFF;
        let low = random & 0x3FFF_FFFF_FFFF_FFFF;
        Self(time | (0x7 << 76) | (high << 64) | (0b10 << 62) | low)
    }

    /// The id of the child that step instance `step` of run `self` starts in its `attempt`:
    /// always the same for the same three. Keeps the parent's time bits, so that children sort
    /// beside their parents.
    pub fn child(self, step: u32, attempt: u32) -> Self {
        let seed = mix(self.0 as u64 ^ mix((self.0 >> 64) as u64));
        let a = mix(seed ^ (u64::from(step) << 32 | u64::from(attempt)));
        let b = mix(a ^ seed.rotate_left(17));
        let time = self.0 & (0xFFFF_FFFF_FFFF_u128 << 80);
        let low = u128::from(a) & 0x3FFF_FFFF_FFFF_FFFF;
        Self(time | (0x8 << 76) | (u128::from(b & 0xFFF) << 64) | (0b10 << 62) | low)
    }

    /// The sixteen bytes, big-endian: their order is the order of time.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// The reverse of [`RunId::to_bytes`].
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    /// The last twelve hexadecimal digits: how lists show a run where that is unique.
    pub fn short(self) -> String {
        format!("{:012x}", self.0 & 0xFFFF_FFFF_FFFF)
    }
}

/// SplitMix64's finaliser (Steele, Lea, Flood 2014): a bijection that spreads every bit.
pub fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let h = format!("{:032x}", self.0);
        write!(f, "{}-{}-{}-{}-{}", &h[..8], &h[8..12], &h[12..16], &h[16..20], &h[20..])
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for RunId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        if digits.len() != 32 {
            return Err(format!("{text:?} is not a run id (32 hexadecimal digits)"));
        }
        u128::from_str_radix(&digits, 16).map(Self).map_err(|e| format!("{text:?}: {e}"))
    }
}

impl Serialize for RunId {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RunId {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The identity of a workflow version: the hash of its checked content (32 bytes).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VersionHash(pub [u8; 32]);

impl VersionHash {
    /// The first twelve hexadecimal digits: how lists show a version.
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

impl fmt::Display for VersionHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for VersionHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for VersionHash {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a version hash (64 hexadecimal digits)");
        if text.len() != 64 || !text.is_ascii() {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for VersionHash {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for VersionHash {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The id of one start of one moa process: a new one at every start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_never_paths() {
        for bad in ["", "..", "a/b", "a\\b", "a b", "ü", ".hidden", "a\0", &"x".repeat(65)] {
            assert!(Name::new(bad).is_err(), "{bad:?}");
        }
        assert!(Name::new("build-project_2").is_ok());
    }

    #[test]
    fn step_ids_are_cel_identifiers() {
        for bad in ["build-api", "1st", "Build", "", "a.b"] {
            assert!(StepId::new(bad).is_err(), "{bad:?}");
        }
        assert!(StepId::new("_build_api2").is_ok());
    }

    #[test]
    fn run_ids_round_trip_and_carry_their_version() {
        let id = RunId::v7(1_700_000_000_000, u128::MAX);
        assert_eq!(id.to_string().parse::<RunId>(), Ok(id));
        assert_eq!(&id.to_string()[14..15], "7");
        let child = id.child(3, 1);
        assert_eq!(&child.to_string()[14..15], "8");
        assert_ne!(child, id.child(3, 2));
        assert_eq!(child, id.child(3, 1));
    }
}
