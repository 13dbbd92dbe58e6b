//! What has been used of agents' limits, as the store keeps it.

use moa_core::ids::{Name, RunId};
use moa_core::limit::LimitState;
use serde::{Deserialize, Serialize};

/// What has been used of one agent's limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LimitRow {
    /// The agent.
    pub agent: Name,
    /// Goes up with each write.
    pub version: u64,
    /// What has been used.
    pub state: LimitState,
}

/// A change of what has been used. Not written when the row has another version than `expected`;
/// then the commits of `runs`, whose attempts it counts, are refused (`Conflict`) as well.
#[derive(Debug, Clone, PartialEq)]
pub struct LimitWrite {
    /// The agent.
    pub agent: Name,
    /// The version that it was made from: 0 when there is no row. Written as `expected + 1`.
    pub expected: u64,
    /// What has been used with it.
    pub state: LimitState,
    /// Runs whose commit in the same batch starts an attempt that it counts.
    pub runs: Vec<RunId>,
}
