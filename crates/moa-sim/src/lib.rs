//! moa-sim
