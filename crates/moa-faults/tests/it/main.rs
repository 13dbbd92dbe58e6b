//! Faults of the real binary, and the checker that judges what is left.

mod checker;
