//! Breaks the real binary and checks what is left.
//!
//! [`history`] is what is known after a fault: what was acknowledged, what agents say that they did,
//! what moa says happened. [`check`] holds the invariants that these three must meet, written
//! against the words of the documentation and not against moa's own code, so that a mistake there
//! is not repeated here. The faults themselves are in `tests/it`. Absent: simulated faults; they are
//! in moa-sim, by the thousand and without a process.

pub mod check;
pub mod history;
