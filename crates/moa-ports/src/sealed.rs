//! Secrets as a store keeps them: sealed by whoever writes them. A store knows no key.

use moa_core::time::Millis;
use serde::{Deserialize, Serialize};

/// A secret that a store keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedRow {
    /// Its name.
    pub name: String,
    /// Goes up with each write.
    pub version: u64,
    /// What only the holder of the key can read.
    pub sealed: Vec<u8>,
    /// When it was written.
    pub changed_at: Millis,
}

/// A change of a secret. Those of a batch are written all or none: when one of them was made from
/// another version than the store has, or two are about one name, `sealed_refused` is answered and
/// none is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedWrite {
    /// Its name.
    pub name: String,
    /// The version that it was made from: 0 when there is none. Written as `expected + 1`.
    pub expected: u64,
    /// What is kept from now on; `None` = nothing more.
    pub sealed: Option<Vec<u8>>,
}
