//! Faults of the real binary, and the checker that judges what is left.

mod chance;
mod checker;
mod crash_sweep;
mod damage;
mod disk;
mod kill9;
mod load;
mod memory;
mod node;
mod project;
mod skip;
