//! The SQLite store against the suite of all stores, against the memory store, and against faults.

mod backup;
mod damage;
mod differential;
mod faults;
mod fixture;
mod log;
mod opening;
mod parts;
mod retention;
mod rules;
