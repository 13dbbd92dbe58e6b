//! The SQLite store against the suite of all stores, against the memory store, and against faults.

mod differential;
mod fixture;
mod rules;
