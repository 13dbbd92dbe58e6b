//! What backfills repeat.

use serde::{Deserialize, Serialize};

/// Which slots that have a run already get another one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reprocess {
    /// None.
    #[default]
    None,
    /// Those whose last run failed.
    Failed,
    /// All whose last run has ended.
    All,
}
