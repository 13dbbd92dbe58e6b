//! What an evaluation may use: steps, so that it ends, and bytes, so that it fits.

use crate::limits::{EXPRESSION_ALLOC_BYTES_MAX, EXPRESSION_STEPS_MAX};

/// What is left to use. Bytes are counted as they are allocated and never given back.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    steps: u64,
    bytes: u64,
}

/// Which of the two is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exhausted {
    Steps,
    Bytes,
    Depth,
}

impl Budget {
    /// The whole budget of one expression.
    pub fn new() -> Self {
        Self { steps: EXPRESSION_STEPS_MAX, bytes: EXPRESSION_ALLOC_BYTES_MAX }
    }

    /// No limit: for values that are outside of an evaluation.
    pub fn unlimited() -> Self {
        Self { steps: u64::MAX, bytes: u64::MAX }
    }

    /// Takes so many steps.
    pub fn steps(&mut self, n: u64) -> Result<(), Exhausted> {
        self.steps = self.steps.checked_sub(n).ok_or(Exhausted::Steps)?;
        Ok(())
    }

    /// Takes so many bytes.
    pub fn bytes(&mut self, n: u64) -> Result<(), Exhausted> {
        self.bytes = self.bytes.checked_sub(n).ok_or(Exhausted::Bytes)?;
        Ok(())
    }
}

impl Exhausted {
    pub fn message(self) -> String {
        match self {
            Self::Steps => {
                format!("the expression takes more than {EXPRESSION_STEPS_MAX} steps")
            }
            Self::Bytes => format!(
                "the expression takes more than {} MiB of memory",
                EXPRESSION_ALLOC_BYTES_MAX >> 20
            ),
            Self::Depth => {
                format!("the value is nested more than {} deep", crate::limits::OUTPUT_DEPTH_MAX)
            }
        }
    }

    pub fn hint(self) -> &'static str {
        match self {
            Self::Steps => "loop over fewer items, or do this work in a step",
            Self::Bytes => "select the part that is needed before building lists or text of it",
            Self::Depth => "build a flatter value",
        }
    }
}
