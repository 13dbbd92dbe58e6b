//! The run machine.
mod input;
pub use input::*;
