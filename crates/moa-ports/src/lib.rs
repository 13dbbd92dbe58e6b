//! The seams of moa: traits behind which there is more than one implementation.
//!
//! [`store`] is the write side (what the engine needs), [`views`] the read side (what people and
//! screens need), [`agent`] how work is done. `memory` is a whole store in memory, for tests, the
//! simulator and virtual time; `suite` is what every store must pass. Absent: anything about how a
//! particular database or agent works.

pub mod agent;
pub mod artifacts;
pub mod audit;
pub mod limit;
pub mod memory;
pub mod sealed;
pub mod search;
pub mod store;
pub mod suite;
pub mod triggers;
pub mod views;
