//! The engine of moa: the node machine ([`node`], pure) and the thin shell that performs what it
//! asks for. Absent: how agents are reached, which store it is, where workflows come from.

pub mod audit;
pub mod clock;
pub mod handle;
pub mod jobs;
pub mod meter;
pub mod node;
pub mod series;
mod shell;
pub mod spread;
pub mod virtual_time;

pub use handle::{Engine, Handle};
