//! The simulator at work: seeds that must hold, bugs that must be found, pairs that must be reached.

mod coverage;
mod plants;
mod run;
mod seeds;
