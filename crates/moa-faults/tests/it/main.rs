//! Faults of the real binary, and the checker that judges what is left.

mod chance;
mod checker;
mod clock;
mod crash_sweep;
mod damage;
mod disk;
mod kill9;
mod load;
mod memory;
mod mount;
mod node;
mod power;
mod project;
mod rows;
mod skip;
mod slots;
mod wal;
